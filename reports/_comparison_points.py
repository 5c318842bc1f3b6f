"""AUC over a cost, as frames: means with paired intervals, who is on the front, who is surely beaten; hypervolume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._comparison_units import (
    Contender,
    Place,
    at_budget,
    budgets,
    difference,
    head,
    places,
    require,
    stem,
)
from nasbench_rec.reports._records import PAIR, succeeded

from nasbench_rec.statistics import PairedDifference

Cost = Literal["trainings", "seconds"]
COSTS: Mapping[str, str] = {"trainings": "search_trainings", "seconds": "search_seconds"}
ALL = "all methods together"


@dataclass(frozen=True)
class CostPoint(Contender):
    """One label on one data set and backbone: what it costs, and its mean test AUC beside the uniform model's."""

    cost: float
    """Mean over seeds: embedding bytes, or what the search took."""
    cost_low: float
    cost_high: float
    test_auc: float
    value: float
    """Test AUC less that of the uniform model, paired by seed; where that was not run, the mean test AUC."""
    value_low: float
    value_high: float
    pairs: int
    relative: bool
    """Whether `value` is such a difference."""
    standing: str
    """"front": nothing that costs no more has a higher AUC; "close": not told apart from the best that costs no
    more (its paired 95 % interval holds zero, or there is none); "dominated": surely below it; "partial": units
    failed, so that the mean is over fewer seeds; "failed": all did."""
    rival: str
    """The best that costs no more; empty on the front."""


def pareto_frame(records: pd.DataFrame) -> pd.DataFrame:
    """Return a `CostPoint` per label over embedding bytes; fronts are those of a data set and backbone."""
    rows = [
        point for place in places(records) for point in _points(place, "embedding_bytes", [list(place.units)])
    ]
    return frame_of(rows, CostPoint)


def search_cost_frame(records: pd.DataFrame, cost: Cost = "trainings") -> pd.DataFrame:
    """Return a `CostPoint` per label over the cost of its search; fronts are those of a plan budget.

    `cost`: "trainings" (full trainings of the uniform model) or "seconds", which hold within one machine and one run
    only. The uniform model, which searches nothing, stands at every budget.
    """
    column = COSTS[cost]
    require(records, [column])
    rows = []
    for place in places(records):
        for ratio, text in budgets(place.records):
            labels = [str(label) for label in at_budget(place.records, ratio)["label"].unique()]
            labels = list(dict.fromkeys([*labels, *([place.uniform] if place.uniform else [])]))
            if len(labels) > 1:
                rows += [{**vars(p), "budget": text} for p in _points(place, column, [sorted(labels)])]
    return pd.DataFrame(rows, columns=list(CostPoint.__dataclass_fields__))


def _points(place: Place, column: str, fronts: Sequence[Sequence[str]]) -> list[CostPoint]:
    found = []
    for labels in fronts:
        values = {label: _value(place, label) for label in labels}
        costs = {label: _costs(place, label, column) for label in labels}
        standing = _standings(place, values, {label: cost[0] for label, cost in costs.items()})
        for label in labels:
            value, cost = values[label], costs[label]
            found.append(
                CostPoint(
                    **head(place, label),
                    cost=cost[0],
                    cost_low=cost[1],
                    cost_high=cost[2],
                    test_auc=float(place.scores(label).mean()),
                    value=value.mean,
                    value_low=value.low,
                    value_high=value.high,
                    pairs=value.n,
                    relative=place.uniform is not None,
                    standing=standing[label][0],
                    rival=standing[label][1],
                )
            )
    return found


def _value(place: Place, label: str) -> PairedDifference:
    if place.uniform is not None:
        return place.difference(label, place.uniform)
    return place.mean(label)


def _costs(place: Place, label: str, column: str) -> tuple[float, float, float]:
    known = pd.to_numeric(succeeded(place.units[label])[column]).astype(float)
    return float(known.mean()), float(known.min()), float(known.max())


def _standings(
    place: Place, values: Mapping[str, PairedDifference], costs: Mapping[str, float]
) -> dict[str, tuple[str, str]]:
    """Return the standing of each label and the rival that decided it."""
    failed = {label: (place.units[label]["status"] != "ok").sum() for label in values}
    whole = [x for x in values if not failed[x] and math.isfinite(values[x].mean) and math.isfinite(costs[x])]
    found = {}
    for label in values:
        if label not in whole:
            found[label] = ("partial" if values[label].n else "failed", "")
            continue
        rival = min(
            (x for x in whole if costs[x] <= costs[label]), key=lambda x: (-values[x].mean, costs[x], x)
        )
        if rival == label or (values[rival].mean, costs[rival]) == (values[label].mean, costs[label]):
            found[label] = ("front", "")
        else:
            lead = place.difference(rival, label)
            sure = (lead.excludes_zero or lead.method == "constant") and lead.mean > 0
            found[label] = ("dominated" if sure else "close", rival)
    return found


@dataclass(frozen=True)
class Reference:
    """The point from which hypervolume is measured, and where the axis of sizes ends.

    Of each size from `floor` to `ratio` (shares of the uniform model's embedding bytes, on a logarithmic axis) the
    best test AUC that is reached with no more bytes counts as far as it is above `auc`.
    """

    auc: float = 0.5
    ratio: float = 1.0
    floor: float = 0.01


REFERENCE = Reference()


@dataclass(frozen=True)
class HypervolumeRow:
    """The hypervolume of one method over its plan budgets on one data set and backbone."""

    dataset: str
    backbone: str
    name: str
    method: str
    points: int
    """Sizes at which the method was run."""
    n: int
    """Seeds at which all of them succeeded."""
    hypervolume: float
    """Mean over seeds; the area over the axis' length, so 0.3 is an AUC .3 above the reference at every size."""
    hypervolume_sd: float
    low: float
    high: float
    difference: float
    """To uniform narrow widths (`fixed`), paired by seed, with its 95 % interval."""
    difference_low: float
    difference_high: float
    pairs: int
    reference_auc: float
    reference_ratio: float
    floor: float


def hypervolume_frame(records: pd.DataFrame, reference: Reference = REFERENCE) -> pd.DataFrame:
    """Return a `HypervolumeRow` per method with at least two sizes, and one of all methods together.

    The uniform model is a point of `fixed`. Rows come by falling hypervolume in each data set and backbone.
    """
    rows: list[HypervolumeRow] = []
    for place in places(records):
        names: dict[str, list[str]] = {}
        for label, unit in place.units.items():
            names.setdefault(stem(label, float(unit["ratio"].iloc[0])), []).append(label)
        several = {name: labels for name, labels in names.items() if len(labels) > 1}
        if not several:
            continue
        areas = {name: _areas(place, labels, reference) for name, labels in several.items()}
        fixed = areas.get("fixed", pd.Series(dtype=float))
        found = [_volume(place, name, several[name], areas[name], fixed, reference) for name in several]
        whole = _areas(place, sorted(place.units), reference, all_seeds=False)
        found.append(_volume(place, ALL, list(place.units), whole, pd.Series(dtype=float), reference))
        rows += sorted(found, key=lambda row: (row.name != ALL, -_known(row.hypervolume), row.name))
    return frame_of(rows, HypervolumeRow)


def _known(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _areas(place: Place, labels: Sequence[str], reference: Reference, all_seeds: bool = True) -> pd.Series:
    """Return the hypervolume of each pair of seeds; `all_seeds`: only of those at which every label succeeded."""
    good = succeeded(pd.concat([place.units[label] for label in labels]))
    areas = {
        pair: area(unit["embedding_ratio"].to_numpy(), unit["test_auc"].to_numpy(), reference)
        for pair, unit in good.groupby(PAIR)
        if not all_seeds or len(unit) == len(labels)
    }
    return pd.Series(areas, dtype=float)


def area(ratios: np.ndarray, aucs: np.ndarray, reference: Reference = REFERENCE) -> float:
    """Return the share of the box between `reference` and AUC 1 at its floor that points reach, times its height."""
    keep = (ratios <= reference.ratio * (1 + 1e-9)) & (aucs > reference.auc)
    ends = math.log(reference.ratio), math.log(reference.floor)
    spots = np.log(np.clip(ratios[keep], reference.floor, reference.ratio))
    order = np.argsort(spots, kind="stable")
    best = np.maximum.accumulate(aucs[keep][order]) if keep.any() else aucs[keep]
    steps = np.diff(np.append(spots[order], ends[0]))
    return float(((best - reference.auc) * steps).sum() / (ends[0] - ends[1]))


def _volume(
    place: Place,
    name: str,
    labels: Sequence[str],
    areas: pd.Series,
    fixed: pd.Series,
    reference: Reference,
) -> HypervolumeRow:
    mean = difference(areas, np.zeros(len(areas)))
    both = (
        pd.DataFrame({"a": areas, "b": fixed}).dropna()
        if name != "fixed"
        else pd.DataFrame({"a": [], "b": []})
    )
    lead = difference(both["a"], both["b"])
    return HypervolumeRow(
        place.dataset,
        place.backbone,
        name,
        "" if name == ALL else str(place.units[labels[0]]["method"].iloc[0]),
        points=len(labels),
        n=mean.n,
        hypervolume=mean.mean,
        hypervolume_sd=float(areas.std()),
        low=mean.low,
        high=mean.high,
        difference=lead.mean,
        difference_low=lead.low,
        difference_high=lead.high,
        pairs=lead.n,
        reference_auc=reference.auc,
        reference_ratio=reference.ratio,
        floor=reference.floor,
    )
