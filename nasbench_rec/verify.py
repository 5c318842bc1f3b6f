"""Re-running records from themselves, without any cached stage, and comparing everything but times."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasbench_rec.errors import NasbenchError, StoreError
from nasbench_rec.store import Record, Store

COMPARED = ("key", "status", "fingerprint", "scores", "plan", "predictions_sha256", "recovery")


@dataclass(frozen=True)
class Checked:
    """A record that was run again."""

    key: str
    label: str
    differences: tuple[str, ...] = ()
    trouble: str = ""
    """Why it cannot be run again here; empty: it was."""

    @property
    def reproduced(self) -> bool:
        """Whether it was run again and nothing differs."""
        return not self.differences and not self.trouble


@dataclass(frozen=True)
class Share:
    """How many of the records run again were reproduced, and what that says of all of the store's."""

    reproduced: int
    run: int
    least: float
    """The share of all records that is reproducible, at least, with confidence .95 (Clopper and Pearson 1934)."""


def verify(record: Record, data_dir: Path | None = None) -> list[str]:
    """Run the unit of `record` afresh with its thread count; return what differs, a line each.

    `StoreError` where the record no longer describes its own key: it was changed, or the method was.
    """
    from nasbench_rec.pipeline import run_unit
    from nasbench_rec.unit import read_unit

    unit = read_unit(record["unit"])
    if unit.key != record["key"]:
        raise StoreError(
            f"record {record['key']} describes a unit with key {unit.key}: the record, the method's version or the "
            "engine changed since; it cannot be verified with this version."
        )
    folder = data_dir or (Path(record["data_dir"]) if record["data_dir"] else None)
    with tempfile.TemporaryDirectory(prefix="nasbench-rec-verify-") as root:
        again = run_unit(unit, Path(root), folder, record["environment"]["threads"])
    return [*_differing(record, again), *_other_sizes(record, again)]


def _differing(then: Record, now: Record) -> Iterator[str]:
    for name in COMPARED:
        if _stable(then.get(name)) != _stable(now.get(name)):
            yield f"{name}: {_short(then.get(name))} then, {_short(now.get(name))} now"


def _other_sizes(record: Record, again: Record) -> Iterator[str]:
    then, now = record.get("ledger", {}), again.get("ledger", {})
    for name in ("embedding_bytes", "embedding_params", "total_bytes"):
        if then.get(name) != now.get(name):
            yield f"{name}: {then.get(name)} then, {now.get(name)} now"


def sample(store: Store, count: int, seed: int = 0) -> list[Record]:
    """Return `count` random records of a store that are no failures, or all where it has fewer.

    Equal stores and seeds give equal samples. `StoreError` where there is none.
    """
    good = {record["key"]: record for record in store if record["status"] == "ok"}
    if not good:
        raise StoreError(f"{store.path} has no successful record to verify; run units into it first.")
    keys = random.Random(seed).sample(sorted(good), min(count, len(good)))
    return [good[key] for key in keys]


def check(record: Record, data_dir: Path | None = None) -> Checked:
    """Run a record again; what cannot be run here is said and not raised."""
    key, label = str(record["key"]), str(record["label"])
    try:
        return Checked(key, label, tuple(verify(record, data_dir)))
    except NasbenchError as error:
        return Checked(key, label, trouble=str(error))


def share_of(checked: list[Checked], level: float = 0.95) -> Share:
    """Return the share reproduced among the records that could be run again."""
    from scipy import stats

    run = [c for c in checked if not c.trouble]
    good = sum(c.reproduced for c in run)
    least = float(stats.beta.ppf(1 - level, good, len(run) - good + 1)) if good else 0.0
    return Share(good, len(run), least)


def _stable(value: Any) -> Any:
    """Leave out where a plan was stored."""
    return {k: v for k, v in value.items() if k != "folder"} if isinstance(value, dict) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 200 else text[:200] + "..."
