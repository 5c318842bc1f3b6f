"""What the site takes from a store's records: the leaderboard's frame, and an excerpt of each record to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nasbench_rec.reports._page import ERROR_LIMIT
from nasbench_rec.reports._records import GROUP, PAIR, prepared
from nasbench_rec.reports._text import clean

from nasbench_rec.errors import DataError
from nasbench_rec.store import COLUMNS, row

PLACE = [*GROUP, "label", "config", *PAIR]
"""Two records that agree in these would stand in one place of the leaderboard."""
UNUSED = ("diagnostics", "stages", "traceback")
TAKEN = (
    *(
        "key",
        "status",
        "attempt",
        "started",
        "dataset",
        "backbone",
        "method",
        "label",
        "fingerprint",
        "scores",
    ),
    *("recovery", "plan", "search_seconds", "search_trainings", "retrain_seconds", "peak_rss_bytes"),
    *("predictions_sha256", "health", "environment", "unit"),
)
SIZES = (
    *("embedding_params", "embedding_bytes", "embedding_ratio", "router_bytes", "total_bytes", "items"),
    *("conventions", "optimizer_bytes", "values_per_lookup", "flops_per_row", "latency_seconds"),
)


@dataclass(frozen=True, eq=False)
class SiteRecords:
    """The records of a site."""

    frame: pd.DataFrame
    """Prepared, one row per record that counts."""
    excerpts: Mapping[str, Mapping[str, Any]]
    """What is shown of each record, by key."""
    full: Sequence[dict[str, Any]]
    """The same records as figures need them: with curves and plans, without diagnostics."""
    raw: pd.DataFrame
    """Their rows as a store gives them."""
    replaced: list[tuple[str, str, str]]
    """Key, label and place of every record that a later one of the same place takes the place of."""


def site_records(records: Iterable[Mapping[str, Any]], store: str) -> SiteRecords:
    """Read records, oldest start first; of several for one place of the leaderboard the latest counts.

    Such records differ in what a leaderboard does not show: the version of the method's code, say. `DataError`
    where `store` has none.
    """
    rows, excerpts, full = [], {}, []
    for record in records:
        full.append({k: v for k, v in record.items() if k not in UNUSED})
        rows.append({k: storable(v) if isinstance(v, str) else v for k, v in row(dict(record)).items()})
        excerpts[storable(str(record["key"]))] = excerpt(record)
    if not rows:
        raise DataError(f"{store} has no records to report; run `nasbench-rec leaderboard --store {store}`.")
    every = pd.DataFrame(rows, columns=COLUMNS)
    old = every[every.duplicated(PLACE, keep="last")]
    lost = [(str(r.key), str(r.label), f"{r.dataset}, {r.backbone}") for r in old.itertuples()]
    kept = every.drop(index=old.index)
    used = [full[i] for i in kept.index]
    return SiteRecords(prepared(kept), excerpts, used, kept.reset_index(drop=True), sorted(lost))


def storable(text: str) -> str:
    """Return text that a file can hold: a lone surrogate, which JSON can name, is written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def excerpt(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the site shows of a record: all but curves, diagnostics, stages, and paths of the machine."""
    found = {name: record[name] for name in TAKEN if record.get(name) not in (None, {}, [])}
    ledger = record.get("ledger") or {}
    if sizes := {name: ledger[name] for name in SIZES if name in ledger}:
        found["ledger"] = sizes
    if "plan" in found:
        found["plan"] = {k: v for k, v in found["plan"].items() if k != "folder"}
    if record.get("status") != "ok":
        found["error"] = clean(record.get("error") or "no reason was recorded", keep="\n\t")[:ERROR_LIMIT]
    return found
