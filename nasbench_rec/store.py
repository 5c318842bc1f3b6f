"""The store: a folder of records, append-only. Only the driver writes records; stages stand beside them.

    records/<key>-<attempt>.json    stages/<kind>/<key>/    store.json

A failed unit that is run again gets a further attempt; the latest one counts and none is deleted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.config import canonical, write_text
from nasbench_rec.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

Record = dict[str, Any]
FORMAT = 1


class Store:
    """Records below a folder. Opening creates nothing; the first write does."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._check()

    def _check(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path}: is a file; give a folder for the store.")
        marker = self.path / "store.json"
        if not marker.exists():
            return
        try:
            found = json.loads(marker.read_text()).get("format")
        except (OSError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{marker}: cannot be read ({error}); this is no store, or a broken one."
            ) from None
        if found != FORMAT:
            raise StoreError(f"{marker}: has format {found}, this version reads {FORMAT}.")

    def create(self) -> Store:
        """Make the folder and its marker; a folder that cannot be written is a `StoreError`."""
        if not (self.path / "store.json").exists():
            write_text(self.path / "store.json", json.dumps({"format": FORMAT}) + "\n")
        probe = self.path / "records" / ".writable"
        write_text(probe, "")
        probe.unlink(missing_ok=True)
        return self

    @property
    def stages(self) -> Path:
        """Where stages stand."""
        return self.path / "stages"

    def add(self, record: Record) -> Path:
        """Append a record and return its file. Numbers that are not finite (of a curve, say) become null."""
        files = self._files.get(record["key"], [])
        attempt = _attempt(files[-1]) + 1 if files else 0
        while (path := self.path / "records" / f"{record['key']}-{attempt}.json").exists():
            attempt += 1  # another driver wrote since this store was opened
        text = json.dumps(_finite({**record, "attempt": attempt}), indent=1, allow_nan=False)
        write_text(path, text + "\n")
        self._files.setdefault(record["key"], []).append(path)
        return path

    @cached_property
    def _files(self) -> dict[str, list[Path]]:
        """Return the files of each key, oldest attempt first."""
        found: dict[str, list[Path]] = {}
        for path in (self.path / "records").glob("*-*.json"):
            key, _, attempt = path.stem.rpartition("-")
            if attempt.isdecimal() and not key.startswith("."):
                found.setdefault(key, []).append(path)
        return {key: sorted(files, key=_attempt) for key, files in found.items()}

    def __iter__(self) -> Iterator[Record]:
        """Yield the latest record of every key, oldest start first."""
        yield from sorted(
            (_read(files[-1]) for files in self._files.values()), key=lambda r: (r["started"], r["key"])
        )

    def get(self, key: str) -> Record | None:
        """Return the latest record of a key (or of the one key that starts with it), or None."""
        matches = [k for k in self._files if k.startswith(key)]
        if len(matches) > 1 and key not in matches:
            raise StoreError(f"key {key!r} is ambiguous in {self.path}: {', '.join(sorted(matches)[:5])}.")
        return _read(self._files[key if key in matches else matches[0]][-1]) if matches else None

    def keys(self) -> list[str]:
        """Return the keys of all records, sorted."""
        return sorted(self._files)

    def attempts(self, key: str) -> list[Path]:
        """Return the files of a key's records, oldest attempt first."""
        return list(self._files.get(key, []))

    def done(self, key: str) -> bool:
        """Return whether a unit has a record that is not a failure."""
        record = self.get(key)
        return record is not None and record["status"] == "ok"

    def frame(self) -> pd.DataFrame:
        """Return one row per record, the latest attempt of each unit."""
        import pandas as pd

        return pd.DataFrame([row(record) for record in self], columns=COLUMNS)


COLUMNS = [
    *(
        "key",
        "status",
        "error",
        "dataset",
        "backbone",
        "method",
        "label",
        "ratio",
        "config",
        "seed",
        "split_seed",
    ),
    *("test_auc", "test_logloss", "valid_auc", "valid_logloss", "expected_auc", "expected_logloss"),
    *("embedding_params", "embedding_bytes", "embedding_ratio", "router_bytes", "total_bytes"),
    *("width_correlation", "useless_recall", "useless_precision"),
    *("search_seconds", "search_trainings", "retrain_seconds", "peak_rss_bytes", "protocol", "fingerprint"),
]


def row(record: Record) -> dict[str, Any]:
    """Return the frame's row of a record; numbers of a failed unit are NaN."""
    unit = record["unit"]
    known = {**record, **record.get("scores", {}), **record.get("ledger", {}), **record.get("recovery", {})}
    known |= {
        "ratio": math.nan if unit["ratio"] is None else unit["ratio"],
        "config": canonical(unit["method"]["config"]),
        "protocol": canonical(unit["protocol"]),
        "seed": unit["seeds"]["init"],
        "split_seed": unit["seeds"]["split"],
    }
    text = {"error", "fingerprint"}
    return {c: known.get(c) if c in text or known.get(c) is not None else math.nan for c in COLUMNS}


def _attempt(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _finite(value: Any) -> Any:
    """Return JSON-able `value` with None for every number that is not finite."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(path: Path) -> Record:
    try:
        record = json.loads(path.read_text())
        if not (isinstance(record, dict) and {"key", "status", "started", "unit"} <= record.keys()):
            raise ValueError("it has no key, status, start or unit")
        return record
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: is no readable record ({error}); delete it and run the unit again."
        ) from None
