"""AUC over a cost, as frames: means with paired intervals, who is on the front, who is surely beaten; hypervolume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """"front": nothing that costs no more has a higher AUC, or the same for less; "close": not told apart from the
    best that costs no more (its paired 95 % interval holds zero, or there is none); "dominated": surely below it;
    "partial": units failed, so that the mean is over fewer seeds; "failed": all did; "unplaced": it shares no pair of
    seeds with the uniform model, or its cost is not known; "reference": the uniform model among plans of another
    budget, to which it is no alternative."""
    rival: str
    """The best that costs no more; empty on the front."""


def pareto_frame(records: pd.DataFrame) -> pd.DataFrame:
    """Return a `CostPoint` per label over embedding bytes; fronts are those of a data set and backbone."""
    rows = [
        point for place in places(records) for point in _points(place, "embedding_bytes", list(place.units))
    ]
    return frame_of(rows, CostPoint)


def search_cost_frame(records: pd.DataFrame, cost: Cost = "trainings") -> pd.DataFrame:
    """Return a `CostPoint` per label over the cost of its search; fronts are those of a plan budget.

    `cost`: "trainings" (full trainings of the uniform model) or "seconds", which hold within one machine and one run
    only. The uniform model stands at every budget, but is on the front of its own only: it is larger than the others.
    """
    column = COSTS[cost]
    require(records, [column])
    rows: list[CostPoint] = []
    for place in places(records):
        for ratio, text in budgets(place.records):
            labels = sorted(map(str, at_budget(place.records, ratio)["label"].unique()))
            if labels != [place.uniform]:
                rows += [replace(point, budget=text) for point in _points(place, column, labels)]
    return frame_of(rows, CostPoint)


def _points(place: Place, column: str, labels: Sequence[str]) -> list[CostPoint]:
    """Return the points of labels that are compared with each other, and that of the uniform model."""
    shown = list(dict.fromkeys([*labels, *([place.uniform] if place.uniform else [])]))
    values = {label: _value(place, label) for label in shown}
    costs = {label: _costs(place, label, column) for label in shown}
    standing = _standings(place, {x: values[x] for x in labels}, {x: costs[x][0] for x in labels})
    return [
        CostPoint(
            **head(place, label),
            cost=costs[label][0],
            cost_low=costs[label][1],
            cost_high=costs[label][2],
            test_auc=float(place.scores(label).mean()),
            value=values[label].mean,
            value_low=values[label].low,
            value_high=values[label].high,
            pairs=values[label].n,
            relative=place.uniform is not None,
            standing=standing.get(label, ("reference", ""))[0],
            rival=standing.get(label, ("reference", ""))[1],
        )
        for label in shown
    ]


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
    lost = {label: _lost(place, label, values[label], costs[label]) for label in values}
    whole = [label for label in values if not lost[label]]
    found = {}
    for label in values:
        if label not in whole:
            found[label] = (lost[label], "")
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


def _lost(place: Place, label: str, value: PairedDifference, cost: float) -> str:
    """Return why a label can be on no front; empty where it can."""
    failed = place.units[label]["status"] != "ok"
    if failed.all():
        return "failed"
    if not (math.isfinite(value.mean) and math.isfinite(cost)):
        return "unplaced"
    return "partial" if failed.any() else ""


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
    """To uniform narrow widths (`fixed`) at the same plan budgets, paired by seed, with its 95 % interval; NaN where
    they were not run at all of these."""
    difference_low: float
    difference_high: float
    difference_interval: str
    """How it was made: t, sign-flip, constant (no width), none (under two pairs)."""
    pairs: int
    reference_auc: float
    reference_ratio: float
    floor: float


def hypervolume_frame(records: pd.DataFrame, reference: Reference = REFERENCE) -> pd.DataFrame:
    """Return a `HypervolumeRow` per method with at least two sizes, and one of all methods together.

    The uniform model is a point of `fixed`. All methods together: of each pair of seeds that all of them were run with,
    the best at each size, which is optimistic as it is chosen on test data. Rows come by falling hypervolume in each
    data set and backbone.
    """
    rows: list[HypervolumeRow] = []
    for place in places(records):
        names: dict[str, list[str]] = {}
        for label, unit in place.units.items():
            names.setdefault(str(unit["name"].iloc[0]), []).append(label)
        several = {name: labels for name, labels in names.items() if len(labels) > 1}
        if several:
            found = [
                _volume(place, name, labels, _same_sizes(place, labels, names.get("fixed", ())), reference)
                for name, labels in several.items()
            ]
            found.append(_volume(place, ALL, list(place.units), (), reference))
            rows += sorted(found, key=lambda row: (row.name != ALL, -_known(row.hypervolume), row.name))
    return frame_of(rows, HypervolumeRow)


def _same_sizes(place: Place, labels: Sequence[str], fixed: Sequence[str]) -> list[str]:
    """Return the labels of uniform narrow widths at the plan budgets of `labels`; [] where one is missing.

    They have none themselves: there is nothing to compare.
    """
    own, known = ({_ratio(place, x): x for x in found} for found in (labels, fixed))
    if set(labels) & set(fixed) or not own.keys() <= known.keys():
        return []
    return [known[ratio] for ratio in own]


def _ratio(place: Place, label: str) -> float:
    """Return the plan budget, 1 of the uniform model; NaN, which equals nothing, of what lands where it lands."""
    return 1.0 if label == place.uniform else float(place.units[label]["ratio"].iloc[0])


def _known(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _areas(place: Place, labels: Sequence[str], reference: Reference, failures: bool = False) -> pd.Series:
    """Return the hypervolume of each pair of seeds at which every label succeeded; `failures`: was run."""
    units = pd.concat([place.units[label] for label in labels])
    areas = {}
    for pair, unit in units.groupby(PAIR):
        good = succeeded(unit)
        if len(unit if failures else good) == len(labels):
            areas[pair] = area(good["embedding_ratio"].to_numpy(), good["test_auc"].to_numpy(), reference)
    return pd.Series(list(areas.values()), pd.MultiIndex.from_tuples(areas, names=PAIR), dtype=float)


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
    place: Place, name: str, labels: Sequence[str], fixed: Sequence[str], reference: Reference
) -> HypervolumeRow:
    """Return the hypervolume of `labels`, and its difference to that of the labels `fixed` ([]: none)."""
    areas = _areas(place, labels, reference, failures=name == ALL)
    mean, lead = difference(areas, np.zeros(len(areas))), PairedDifference.missing()
    if fixed:
        both = pd.DataFrame({"a": areas, "b": _areas(place, fixed, reference)}).dropna()
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
        difference_interval=lead.method,
        pairs=lead.n,
        reference_auc=reference.auc,
        reference_ratio=reference.ratio,
        floor=reference.floor,
    )
