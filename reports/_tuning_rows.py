"""The rows of an equal tuning: defaults against tuned configurations, pair by pair of seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_rows import difference, mean, sd
from nasbench_rec.reports._ablation_units import Cell, Records, Variant
from nasbench_rec.reports._records import GROUP, PAIR, uniform_label
from nasbench_rec.reports._rows import flat

from nasbench_rec.errors import DataError

SHARED = ("method", "ratio", "trials", "tuning_seconds", "default_valid", "tuned_valid", "changes")
"""What is said of a method's tuning, and so the same for all of its seeds."""
PLAN = (*GROUP, "label", *PAIR, "default_key", "tuned_key", *SHARED)
NUMBERS = (*PAIR, "test_auc", "test_logloss", "embedding_bytes", "embedding_ratio")
RECORD = ("key", "status", "error", *NUMBERS)
AUC, LOGLOSS = "test_auc", "test_logloss"


@dataclass(frozen=True)
class TuningRow:
    """One method on one data set and backbone, with its defaults and tuned; NaN where unknown.

    Means and sample standard deviations (`*_sd`) are over the seeds that succeeded on that side. Differences are
    over the pairs of equal split seed and seed that succeeded on both, with their 95 % intervals.
    """

    dataset: str
    backbone: str
    label: str
    method: str
    ratio: float
    """The plan budget, as a share of the uniform model's embedding bytes."""
    uniform: bool
    kept: bool
    """Whether the tuning found nothing better than the defaults, so that both are the same units."""
    planned: int
    """Pairs of seeds that were planned."""
    n: int
    """Pairs of seeds that succeeded on both sides."""
    default_failed: int
    default_missing: int
    """Units that were not run."""
    default_reason: str
    """The error of the first failed unit, by seed."""
    tuned_failed: int
    tuned_missing: int
    tuned_reason: str
    default_auc: float
    default_auc_sd: float
    tuned_auc: float
    tuned_auc_sd: float
    default_logloss: float
    default_logloss_sd: float
    tuned_logloss: float
    tuned_logloss_sd: float
    auc_gain: float
    """Test AUC tuned less default."""
    auc_gain_low: float
    auc_gain_high: float
    auc_gain_interval: str
    """How the interval was made: t, sign-flip, constant (all differences equal) or none (fewer than two pairs)."""
    auc_gain_pairs: int
    logloss_gain: float
    logloss_gain_low: float
    logloss_gain_high: float
    logloss_gain_interval: str
    logloss_gain_pairs: int
    default_valid: float
    tuned_valid: float
    valid_gain: float
    """Validation AUC in the tuning, best less defaults: optimistic, as the best was chosen by it."""
    default_vs_uniform: float
    """Test AUC with the defaults less that of the uniform model with its defaults."""
    default_vs_uniform_low: float
    default_vs_uniform_high: float
    default_vs_uniform_interval: str
    default_vs_uniform_pairs: int
    tuned_vs_uniform: float
    """Test AUC tuned less that of the tuned uniform model."""
    tuned_vs_uniform_low: float
    tuned_vs_uniform_high: float
    tuned_vs_uniform_interval: str
    tuned_vs_uniform_pairs: int
    unequal: float
    """Test AUC tuned less that of the uniform model with its defaults: what tuning one side only would claim."""
    unequal_low: float
    unequal_high: float
    unequal_interval: str
    unequal_pairs: int
    default_bytes: float
    tuned_bytes: float
    trials: int
    tuning_seconds: float
    changes: str


@dataclass(frozen=True)
class _Method:
    """A method's units with its defaults and tuned, in one order of seeds."""

    label: str
    shared: dict[str, Any]
    kept: bool
    default: Variant
    tuned: Variant


class _Sides(NamedTuple):
    """What a method is compared with; None: with nothing."""

    default: Variant | None
    tuned: Variant | None


def tuning_rows(plan: pd.DataFrame, records: pd.DataFrame) -> list[TuningRow]:
    """Return the rows by data set and backbone, then by tuned test AUC; methods without one come last.

    `DataError` if plan or records are not fit for it.
    """
    _check(plan, records)
    known = _by_key(records)
    return [row for _, part in plan.groupby(GROUP, sort=True) for row in _group_rows(part, known)]


def _group_rows(part: pd.DataFrame, known: Records) -> list[TuningRow]:
    methods = [_method(own, known) for _, own in part.groupby("label", sort=True)]
    uniform = uniform_label(_defaults(methods))
    reference = next((method for method in methods if method.label == uniform), None)
    rows = [_row(method, reference) for method in methods]
    return sorted(rows, key=lambda row: (math.isnan(row.tuned_auc), -row.tuned_auc, row.label))


def _defaults(methods: Sequence[_Method]) -> pd.DataFrame:
    """Return what tells which of the methods is the uniform model: a row per unit with defaults."""
    return pd.DataFrame(
        [
            {
                "label": method.label,
                "method": method.shared["method"],
                "ratio": float(method.shared["ratio"]),
                "embedding_ratio": unit.value("embedding_ratio"),
            }
            for method in methods
            for unit in method.default.units
        ]
    )


def _method(own: pd.DataFrame, known: Records) -> _Method:
    own = own.sort_values(PAIR)
    first = {str(name): value for name, value in own.iloc[0].items()}
    place = (str(first["dataset"]), str(first["backbone"]), str(first["label"]))
    default, tuned = (
        Variant(*place, "", "", "", chosen=False, units=list(_cells(own, f"{side}_key", known)))
        for side in ("default", "tuned")
    )
    kept = bool((own["default_key"].map(str) == own["tuned_key"].map(str)).all())
    return _Method(place[2], {name: first[name] for name in SHARED}, kept, default, tuned)


def _cells(own: pd.DataFrame, side: str, known: Records) -> Iterator[Cell]:
    for row in own.to_dict("records"):
        pair, record = tuple(int(row[name]) for name in PAIR), known.get(str(row[side]))
        if record is not None and tuple(record[name] for name in PAIR) != pair:
            raise DataError(
                f"record {row[side]} has {_seeds(record)}, but the plan has it for {_seeds(row)}; give the "
                "records of the plan's own units."
            )
        yield Cell(pair[0], pair[1], record)


def _seeds(row: Any) -> str:
    return f"seed {row['seed']:.0f} of split {row['split_seed']:.0f}"


def _row(method: _Method, reference: _Method | None) -> TuningRow:
    default, tuned, uniform = method.default, method.tuned, reference is method
    rival = _Sides(None, None) if reference is None or uniform else _Sides(reference.default, reference.tuned)
    differences = {
        "auc_gain": difference(tuned, default, AUC),
        "logloss_gain": difference(tuned, default, LOGLOSS),
        "default_vs_uniform": difference(default, rival.default, AUC),
        "tuned_vs_uniform": difference(tuned, rival.tuned, AUC),
        "unequal": difference(tuned, rival.default, AUC),
    }
    shared = method.shared
    default_valid, tuned_valid = float(shared["default_valid"]), float(shared["tuned_valid"])
    return TuningRow(
        dataset=default.dataset,
        backbone=default.backbone,
        label=method.label,
        method=str(shared["method"]),
        ratio=float(shared["ratio"]),
        uniform=uniform,
        kept=method.kept,
        planned=len(default.units),
        n=sum(a.ok and b.ok for a, b in zip(default.units, tuned.units, strict=True)),
        **_side("default", default),
        **_side("tuned", tuned),
        **{k: v for name, found in differences.items() for k, v in flat(name, found).items()},
        default_valid=default_valid,
        tuned_valid=tuned_valid,
        valid_gain=tuned_valid - default_valid,
        trials=int(shared["trials"]),
        tuning_seconds=float(shared["tuning_seconds"]),
        changes=str(shared["changes"]),
    )


def _side(name: str, variant: Variant) -> dict[str, Any]:
    failed = [unit.trouble for unit in variant.units if unit.record is not None and not unit.ok]
    auc, logloss = variant.values(AUC), variant.values(LOGLOSS)
    return {
        f"{name}_failed": len(failed),
        f"{name}_missing": sum(unit.record is None for unit in variant.units),
        f"{name}_reason": failed[0] if failed else "",
        f"{name}_auc": mean(auc),
        f"{name}_auc_sd": sd(auc),
        f"{name}_logloss": mean(logloss),
        f"{name}_logloss_sd": sd(logloss),
        f"{name}_bytes": mean(variant.values("embedding_bytes")),
    }


def _by_key(records: pd.DataFrame) -> Records:
    """Return the records by key, as recorded last; one that claims success without a test AUC has failed."""
    frame = records[list(RECORD)].drop_duplicates("key", keep="last").reset_index(drop=True)
    for name in NUMBERS:
        frame[name] = pd.to_numeric(frame[name]).astype("float64")
    for name in ("key", "status", "error"):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "").map(str)
    hollow = (frame["status"] == "ok") & ~np.isfinite(frame[AUC])
    frame.loc[hollow, ["status", "error"]] = ["failed", "its record has no test AUC"]
    return {str(row["key"]): {str(k): v for k, v in row.items()} for row in frame.to_dict("records")}


def _check(plan: pd.DataFrame, records: pd.DataFrame) -> None:
    """Refuse frames that lack something, and a plan that could pair units in two ways."""
    for frame, names, what, remedy in (
        (plan, PLAN, "plan", "plan_frame()"),
        (records, RECORD, "records", "Store.frame()"),
    ):
        missing = [name for name in names if name not in frame]
        if missing:
            raise DataError(
                f"{what}: the columns {', '.join(missing)} are missing; give the frame of `{remedy}`."
            )
    if plan.empty:
        raise DataError("the plan holds no pairs; give the tuning a method and a seed.")
    rivals = plan[plan.duplicated([*GROUP, "label", *PAIR])]
    if len(rivals):
        raise DataError(f"{_place(rivals)} is planned twice for {_seeds(rivals.iloc[0])}; plan each once.")
    for _, own in plan.groupby([*GROUP, "label"]):
        unlike = [name for name in SHARED if own[name].nunique(dropna=False) > 1]
        if unlike:
            raise DataError(
                f"{_place(own)} has several values of {', '.join(unlike)}; a method is tuned once."
            )


def _place(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    return f"{first['label']!r} on {first['dataset']}, {first['backbone']}"
