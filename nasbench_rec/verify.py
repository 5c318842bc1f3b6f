"""Re-running a record from itself, without any cached stage, and comparing everything but times."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from nasbench_rec.errors import StoreError
from nasbench_rec.pipeline import run_unit
from nasbench_rec.unit import read_unit

COMPARED = ("key", "status", "fingerprint", "scores", "plan", "predictions_sha256", "recovery")


def verify(record: dict[str, Any], data_dir: Path | None = None) -> list[str]:
    """Run the unit of `record` afresh with its thread count; return what differs, a line each.

    `StoreError` where the record no longer describes its own key: it was changed, or the method was.
    """
    unit = read_unit(record["unit"])
    if unit.key != record["key"]:
        raise StoreError(
            f"record {record['key']} describes a unit with key {unit.key}: the record, the method's version or the "
            "engine changed since; it cannot be verified with this version."
        )
    folder = data_dir or (Path(record["data_dir"]) if record["data_dir"] else None)
    with tempfile.TemporaryDirectory(prefix="nasbench-rec-verify-") as root:
        again = run_unit(unit, Path(root), folder, record["environment"]["threads"])
    found = [f"{name}: {_short(record.get(name))} then, {_short(again.get(name))} now" for name in COMPARED
             if _stable(record.get(name)) != _stable(again.get(name))]  # fmt: skip
    sizes = {"embedding_bytes", "total_bytes", "embedding_params"}
    then, now = record.get("ledger", {}), again.get("ledger", {})
    return found + [
        f"{s}: {then.get(s)} then, {now.get(s)} now" for s in sorted(sizes) if then.get(s) != now.get(s)
    ]


def _stable(value: Any) -> Any:
    """Leave out where a plan was stored."""
    return {k: v for k, v in value.items() if k != "folder"} if isinstance(value, dict) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 200 else text[:200] + "..."
