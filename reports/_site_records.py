"""What the site takes from a store's records: the leaderboard's frame, and an excerpt of each record to show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nasbench_rec.reports._comparison_units import newest, pooled
from nasbench_rec.reports._page import ERROR_LIMIT
from nasbench_rec.reports._records import prepared
from nasbench_rec.reports._text import clean, storable

from nasbench_rec.errors import DataError
from nasbench_rec.store import COLUMNS, row

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
    """Their rows as a store gives them, data sets pooled."""
    replaced: list[tuple[str, str, str]]
    """Key, label and place of every record that a later one of the same place takes the place of."""
    whole: Mapping[str, Mapping[str, Any]]
    """Those that were asked for as they are, diagnostics and all, by key."""


def site_records(
    records: Iterable[Mapping[str, Any]], store: str, whole: Collection[str] = ()
) -> SiteRecords:
    """Read records, oldest start first; of several for one place of the leaderboard the latest counts.

    Such records differ in what a leaderboard does not show: the version of the method's code, say. Data sets that
    differ in their seed alone, each run with one seed of its own, count as one. `whole` are the keys of records to
    keep as they are. `DataError` where `store` has none.
    """
    rows, excerpts, full, kept_whole = [], {}, [], {}
    for record in records:
        if record["key"] in whole:
            kept_whole[str(record["key"])] = record
        full.append({k: v for k, v in record.items() if k not in UNUSED})
        rows.append({k: storable(v) if isinstance(v, str) else v for k, v in row(dict(record)).items()})
        excerpts[storable(str(record["key"]))] = excerpt(record)
    if not rows:
        raise DataError(f"{store} has no records to report; run `nasbench-rec leaderboard --store {store}`.")
    every = pd.DataFrame(rows, columns=COLUMNS)
    kept = newest(every)
    old = every.drop(index=kept.index)
    lost = [(str(r.key), str(r.label), f"{r.dataset}, {r.backbone}") for r in old.itertuples()]
    used = [full[i] for i in kept.index]
    raw = pooled(kept.reset_index(drop=True))
    return SiteRecords(prepared(raw), excerpts, used, raw, sorted(lost), kept_whole)


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
