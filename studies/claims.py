"""Claims of papers, frozen before they are tested, and verdicts derived from the records.

STORE/claims/NAME/claims.json      the frozen claim set and its SHA-256, written before any unit runs
STORE/claims/NAME/checks.json      when it was checked, and with how many seeds
STORE/claims/NAME/verdicts.json    the verdicts with their evidence; NAME.md, the page made of it
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from nasbench_rec.studies._claims_form import Arm, Choice, Claim, ClaimSet, read_claims
from nasbench_rec.studies._claims_freeze import content_of, digest, freeze, read_frozen
from nasbench_rec.studies._claims_judge import Comparison, Judged, judge
from nasbench_rec.studies._claims_noise import with_row_noise
from nasbench_rec.studies._claims_units import Cell, cells_of, describe, too_small, units_of, with_seeds
from nasbench_rec.studies._claims_values import METRICS
from nasbench_rec.studies.ablation import PlannedUnit, Variant, queue
from nasbench_rec.studies.leaderboard import toml_names

from nasbench_rec.config import plain, read_toml, write_text
from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.store import Store
from nasbench_rec.unit import Unit

__all__ = [
    "METRICS",
    "Arm",
    "Cell",
    "Choice",
    "Claim",
    "ClaimSet",
    "Comparison",
    "Judged",
    "Opened",
    "cells_of",
    "content_of",
    "describe",
    "describe_claims",
    "digest",
    "folder_of",
    "freeze",
    "judge",
    "open_claims",
    "prepare_limited",
    "read_claims",
    "read_frozen",
    "shipped_claims",
    "shipped_path",
    "too_small",
    "units_of",
    "verdicts_of",
    "with_seeds",
    "write_verdicts",
]


@dataclass(frozen=True)
class Opened:
    """A claim set that is frozen in a store, with the seeds of this check and its cells."""

    claims: ClaimSet
    frozen: Mapping[str, Any]
    asked: ClaimSet
    """The claims with the seeds of this check."""
    cells: Sequence[Cell]

    @property
    def units(self) -> list[Unit]:
        """The units that the check needs, in an order in which no worker waits for a search that another one runs."""
        return queue([PlannedUnit(Variant("claims"), unit) for unit in units_of(self.cells)])


def open_claims(
    claims: ClaimSet,
    store: Store,
    data_dir: Path | None,
    seeds: int | None = None,
    datasets: Sequence[str] = (),
) -> Opened:
    """Freeze a claim set in a store, or find it frozen there, and look at what it needs; nothing is run.

    `StoreError` where the frozen one is another or was edited. `seeds`: look at so many seeds of each claim;
    `datasets`: leave out what is tested on others (empty: none).
    """
    _check_datasets(claims, datasets)
    frozen = freeze(claims, folder_of(store, claims.name))
    asked = with_seeds(claims, seeds)
    cells = [_left_out(cell, datasets) for cell in cells_of(asked, data_dir)]
    cells = too_small(cells, claims.least_rows, store.stages)
    return Opened(claims, frozen, asked, cells)


def _check_datasets(claims: ClaimSet, datasets: Sequence[str]) -> None:
    known = {dataset for claim in claims.claims for dataset in claim.datasets}
    for name in datasets:
        if name not in known:
            raise ConfigError(f"--datasets: {unknown('data set of these claims', name, known)}")


def _left_out(cell: Cell, datasets: Sequence[str]) -> Cell:
    """Return a cell of this check: a claim that is partly left out has to wait, and is not easier to support."""
    if not datasets or cell.dataset in datasets:
        return cell
    whole = not set(cell.claim.datasets) & set(datasets)
    text = f"{cell.dataset} is left out of this check" if whole else ""
    return replace(cell, missing=cell.missing or text, left_out=True)


def prepare_limited(opened: Opened, store: Store, data_dir: Path | None) -> Opened:
    """Prepare the data sets that must have a number of rows, and look again: no unit runs on a head of a file."""
    from nasbench_rec.preparation import prepare
    from nasbench_rec.stages import Stages

    least = opened.claims.least_rows
    limited = [c for c in opened.cells if c.dataset in least and not (c.missing or c.left_out)]
    for ref in {u.task.data.key: u.task.data for c in limited for u in c.units}.values():
        prepare(ref, Stages(store.stages), data_dir)
    return replace(opened, cells=too_small(opened.cells, opened.claims.least_rows, store.stages))


def verdicts_of(opened: Opened, store: Store) -> dict[str, Any]:
    """Return the verdicts and all they rest on, JSON-able, from the records of a store."""
    records = {u.key: r for c in opened.cells for u in c.units if (r := store.get(u.key)) is not None}
    judged = judge(opened.asked.claims, opened.cells, records, opened.claims.alpha)
    units = {u.key: u for c in opened.cells for u in c.units}
    judged = [with_row_noise(j, units, records, store) for j in judged]
    frozen = opened.frozen["frozen"]
    early = sorted(key for key, record in records.items() if record["started"] < frozen)
    words = {name: getattr(opened.claims, name) for name in ("name", "title", "paper", "source", "alpha")}
    return {
        **words,
        "sha256": opened.frozen["sha256"],
        "frozen": frozen,
        "units": len({u.key for c in opened.cells if not c.missing for u in c.units}),
        "recorded": len(records),
        "failed": sum(r["status"] != "ok" for r in records.values()),
        "before_freezing": len(early),
        "verdicts": [_verdict(j, c) for j, c in zip(judged, opened.claims.claims, strict=True)],
    }


def _verdict(judged: Judged, written: Claim) -> dict[str, Any]:
    """Return a verdict as JSON; numbers that are not finite are null."""
    found = {**plain(judged), "measured": describe(judged.claim)}
    seeds = len(judged.claim.seeds) * len(judged.claim.split_seeds)
    return {**found, "seeds_asked": seeds, "seeds_written": len(written.seeds) * len(written.split_seeds)}


def write_verdicts(opened: Opened, store: Store) -> dict[str, Any]:
    """Derive the verdicts, note the check, write `verdicts.json`; return its content."""
    folder = folder_of(store, opened.claims.name)
    found = verdicts_of(opened, store)
    found["checks"] = _note(folder / "checks.json", found)
    text = json.dumps(_finite(found), indent=1, allow_nan=False)
    write_text(folder / "verdicts.json", text + "\n")
    return json.loads(text)


def _note(path: Path, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Add this check to the list of checks: whoever looks several times can be seen to."""
    checks = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    seeds = max((v["seeds_asked"] for v in found["verdicts"]), default=0)
    entry = {"seeds": seeds, "recorded": found["recorded"], "units": found["units"]}
    if not checks or {k: checks[-1].get(k) for k in entry} != entry:
        checks.append({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry})
        write_text(path, json.dumps(checks, indent=1) + "\n")
    return checks


def _finite(value: Any) -> Any:
    """Return JSON-able `value` with None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def folder_of(store: Store, name: str) -> Path:
    """Return where a claim set stands in a store."""
    return store.path / "claims" / name


def _folder() -> Any:
    return files("nasbench_rec.studies") / "claims"


def shipped_claims() -> list[str]:
    """Return the names of the claim sets that come with the package."""
    return toml_names(_folder())


def shipped_path(name: str) -> Path:
    """Return the file of a claim set that comes with the package."""
    return Path(str(_folder() / f"{name}.toml"))


def describe_claims() -> list[dict[str, Any]]:
    """Return name, title, paper and number of claims of the sets that come with the package."""
    found = {name: read_toml(shipped_path(name)) for name in shipped_claims()}
    return [
        {"name": n, "title": v["title"], "paper": v["paper"], "claims": len(v["claims"])}
        for n, v in found.items()
    ]
