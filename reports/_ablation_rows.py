"""The rows of an ablation's tables, and how they are counted from the units."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_units import BASE, NOT_RUN, Cell, Records, Variant, grouped, look
from nasbench_rec.reports._rows import flat
from nasbench_rec.reports._text import one_line

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import PairedDifference, paired_difference

LATENCY, ROUTING = "ledger.latency_seconds", "ledger.router_latency_seconds"
NEAR = ("near_0", "near_1")
TRAIN = "diagnostics.derive.bimodality.train"
HAMMING = "diagnostics.derive.hamming.between_samples"


class Bar(Protocol):
    """What a bar says (see `studies.ablation`); `versus` empty: the value itself is judged."""

    @property
    def name(self) -> str:
        """What is asked for."""

    @property
    def variant(self) -> str:
        """The variant judged."""

    @property
    def value(self) -> str:
        """A dotted path into its records."""

    @property
    def versus(self) -> str:
        """The variant whose value is taken off, pair by pair."""

    @property
    def at_least(self) -> float | None:
        """The lower bound."""

    @property
    def at_most(self) -> float | None:
        """The upper bound."""

    @property
    def hold_in(self) -> int:
        """In how many seeds it must hold; 0: the mean over seeds must."""


@dataclass(frozen=True)
class AblationRow:
    """One variant on one data set and backbone: means over the units that succeeded, NaN where unknown.

    Sizes are in bytes, times in seconds per batch, `*_sd` are sample standard deviations over seeds; `vs_*` is
    this row minus another over the pairs of equal split seed and seed, on `metric`, with its 95 % interval.
    """

    dataset: str
    backbone: str
    variant: str
    factor: str
    value: str
    chosen: bool
    """Whether the row is a `best_of` group: per pair of seeds the member with the best validation AUC."""
    n: int
    """Units that succeeded."""
    failed: int
    missing: int
    """Units that were not run."""
    reason: str
    """The error of the first failed unit, or that units were not run."""
    metric: str
    """What differences are taken on: expected_auc where it is known on this data, else test_auc."""
    test_auc: float
    test_auc_sd: float
    expected_auc: float
    expected_auc_sd: float
    logloss: float
    logloss_sd: float
    vs_default: float
    vs_default_low: float
    vs_default_high: float
    vs_default_interval: str
    """How the interval was made: t, BCa, constant (all differences equal) or none (fewer than two pairs)."""
    vs_default_pairs: int
    vs_reference: float
    vs_reference_low: float
    vs_reference_high: float
    vs_reference_interval: str
    vs_reference_pairs: int
    adjusted_rand: float
    adjusted_rand_min: float
    hamming: float
    """Mean share of gates in which two samples' masks differ."""
    near: float
    """Share of gate probabilities below .1 or above .9 on the training rows."""
    embedding_bytes: float
    router_bytes: float
    bytes_without_router: float
    latency_batch: float
    """Rows per inference call of the latencies: the largest batch that all variants were timed at."""
    latency_seconds: float
    latency_without_router_seconds: float
    health: str
    """Findings, each with the number of units that have it: `static-masks 2/3`."""


@dataclass(frozen=True)
class BarRow:
    """One bar on one data set and backbone, judged."""

    dataset: str
    backbone: str
    name: str
    variant: str
    versus: str
    value: str
    wanted: str
    seeds: tuple[str, ...]
    """The units: `seed`, or `split seed/seed` where there are several splits."""
    values: tuple[float, ...]
    """The value, or the paired difference, of each unit; NaN where it is missing."""
    mean: float
    hold: int
    """Units in which the value is within the bounds."""
    met: bool
    note: str
    """What is missing, and that it counts as not met."""


def ablation_rows(plan: pd.DataFrame, records: Records, reference: str) -> list[AblationRow]:
    """Return the rows in the order of the plan; `DataError` if the plan is not fit for it."""
    return [row for group in grouped(plan, records) for row in _group_rows(group, reference)]


def frame_of(rows: Sequence[Any], kind: type) -> pd.DataFrame:
    """Return rows of a dataclass `kind` as a frame with its fields as columns."""
    return pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(kind)])


def metric_of(group: Sequence[Variant]) -> str:
    """Return what variants are compared on: the expected AUC where any unit has it, else the test AUC."""
    known = any(math.isfinite(v) for variant in group for v in variant.values("scores.expected_auc"))
    return "expected_auc" if known else "test_auc"


def difference(variant: Variant, other: Variant | None, path: str) -> PairedDifference:
    """Return the paired difference of two variants' numbers at `path`."""
    if other is None:
        return PairedDifference.missing()
    base = {unit.pair: unit.value(path) for unit in other.units}
    return paired_difference(variant.values(path), [base.get(unit.pair, math.nan) for unit in variant.units])


def mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values, NaN where there is none."""
    finite = [v for v in values if math.isfinite(v)]
    return float(np.mean(finite)) if finite else math.nan


def sd(values: Sequence[float]) -> float:
    """Return the sample standard deviation of the finite values, NaN under two."""
    finite = [v for v in values if math.isfinite(v)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan


def routing_seconds(unit: Cell, batch: str) -> float:
    """Return what routing takes of a batch; 0 where nothing is routed."""
    seconds = unit.value(f"{ROUTING}.{batch}")
    return seconds if math.isfinite(seconds) else 0.0


def _group_rows(group: Sequence[Variant], reference: str) -> Iterator[AblationRow]:
    named = {variant.name: variant for variant in group}
    metric, batch = metric_of(group), _largest_batch(group)
    for variant in group:
        rivals = {"vs_default": named.get(BASE), "vs_reference": named.get(reference)}
        differences = {
            key: difference(variant, None if variant is other else other, f"scores.{metric}")
            for key, other in rivals.items()
        }
        numbers = {k: v for key, value in differences.items() for k, v in flat(key, value).items()}
        yield AblationRow(
            dataset=variant.dataset,
            backbone=variant.backbone,
            variant=variant.name,
            factor=variant.factor,
            value=variant.setting,
            chosen=variant.chosen,
            metric=metric,
            health=", ".join(f"{k} {v}/{len(variant.good)}" for k, v in _signatures(variant).items()),
            **_counts(variant),
            **_scores(variant),
            **numbers,
            **_structure(variant),
            **_costs(variant, batch),
        )


def _counts(variant: Variant) -> dict[str, Any]:
    failed = [unit.trouble for unit in variant.units if unit.record is not None and not unit.ok]
    missing = sum(unit.record is None for unit in variant.units)
    reason = failed[0] if failed else f"{missing} of {len(variant.units)} units not run" if missing else ""
    if variant.lost_members and not reason:
        reason = f"chosen without {variant.lost_members} units of its members that failed or were not run"
    return {"n": len(variant.good), "failed": len(failed), "missing": missing, "reason": reason}


def _scores(variant: Variant) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, key in (
        ("test_auc", "test_auc"),
        ("expected_auc", "expected_auc"),
        ("logloss", "test_logloss"),
    ):
        values = variant.values(f"scores.{key}")
        found |= {name: mean(values), f"{name}_sd": sd(values)}
    return found


def _structure(variant: Variant) -> dict[str, Any]:
    rand = [v for v in variant.values("recovery.adjusted_rand") if math.isfinite(v)]
    near = np.sum([variant.values(f"{TRAIN}.{name}") for name in NEAR], axis=0)
    return {
        "adjusted_rand": mean(rand),
        "adjusted_rand_min": min(rand, default=math.nan),
        "hamming": mean(variant.values(HAMMING)),
        "near": mean(near.tolist()),
    }


def _costs(variant: Variant, batch: str) -> dict[str, Any]:
    total, router = (variant.values(f"ledger.{name}") for name in ("embedding_bytes", "router_bytes"))
    whole = [unit.value(f"{LATENCY}.{batch}") for unit in variant.units]
    routed = [routing_seconds(unit, batch) for unit in variant.units]
    return {
        "embedding_bytes": mean(total),
        "router_bytes": mean(router),
        "bytes_without_router": mean([a - b for a, b in zip(total, router, strict=True)]),
        "latency_batch": float(batch) if batch else math.nan,
        "latency_seconds": mean(whole),
        "latency_without_router_seconds": mean([a - b for a, b in zip(whole, routed, strict=True)]),
    }


def _largest_batch(group: Sequence[Variant]) -> str:
    """Return the largest batch that every timed unit was timed at; empty where there is none."""
    timed = [set(times) for variant in group for _, times in variant.found(LATENCY) if times]
    return max(set.intersection(*timed), key=int, default="") if timed else ""


def _signatures(variant: Variant) -> dict[str, int]:
    """Return how many units have each health finding, the most frequent first."""
    counts: dict[str, int] = {}
    for unit in variant.good:
        for name in dict.fromkeys(str(f["signature"]) for f in look(unit.record, "health") or []):
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def bar_rows(plan: pd.DataFrame, records: Records, bars: Sequence[Bar]) -> list[BarRow]:
    """Return a row per bar for each data set and backbone; `DataError` if a bar has no bound."""
    groups = list(grouped(plan, records))
    return [_bar_row(bar, group) for bar in bars for group in groups]


def _bar_row(bar: Bar, group: Sequence[Variant]) -> BarRow:
    named = {variant.name: variant for variant in group}
    variant, other = named.get(bar.variant), named.get(bar.versus)
    units = list(variant.units) if variant else []
    values = [unit.value(bar.value) for unit in units]
    if bar.versus:
        base = {unit.pair: unit.value(bar.value) for unit in other.units} if other else {}
        values = [v - base.get(unit.pair, math.nan) for v, unit in zip(values, units, strict=True)]
    hold = sum(_within(bar, value) for value in values)
    average = mean(values)
    complete = bool(values) and all(map(math.isfinite, values))
    return BarRow(
        *(group[0].dataset, group[0].backbone, bar.name, bar.variant, bar.versus, bar.value),
        wanted=_wanted(bar),
        seeds=_seed_names(units),
        values=tuple(values),
        mean=average,
        hold=hold,
        met=hold >= bar.hold_in if bar.hold_in else complete and _within(bar, average),
        note=_bar_note(bar, units, values, named),
    )


def _within(bar: Bar, value: float) -> bool:
    low = -math.inf if bar.at_least is None else bar.at_least
    high = math.inf if bar.at_most is None else bar.at_most
    return low <= value <= high


def _wanted(bar: Bar) -> str:
    bounds = [(bar.at_least, "at least"), (bar.at_most, "at most")]
    said = " and ".join(f"{word} {bound:g}" for bound, word in bounds if bound is not None)
    if not said:
        raise DataError(f"bar {bar.name!r} has no bound; give it at_least or at_most.")
    where = (
        f"in {bar.hold_in} seed{'s' if bar.hold_in > 1 else ''}" if bar.hold_in else "on average over seeds"
    )
    return f"{said} {where}"


def _seed_names(units: Sequence[Cell]) -> tuple[str, ...]:
    several = len({unit.split_seed for unit in units}) > 1
    return tuple(f"{unit.split_seed}/{unit.seed}" if several else str(unit.seed) for unit in units)


def _bar_note(bar: Bar, units: Sequence[Cell], values: Sequence[float], named: dict[str, Variant]) -> str:
    absent = [repr(name) for name in (bar.variant, bar.versus) if name and name not in named]
    if absent:
        return f"not met, as the plan has no variant {' and '.join(absent)}"
    pairs = zip(_seed_names(units), units, values, strict=True)
    lost = [(name, unit.trouble) for name, unit, value in pairs if not math.isfinite(value)]
    if not lost:
        return ""
    reasons = dict.fromkeys(
        why if why in ("", NOT_RUN) else f"failed: {one_line(why, 60)}" for _, why in lost
    )
    said = "; ".join(why or "its record or the one compared with has no such value" for why in reasons)
    return f"no value in seed {', '.join(name for name, _ in lost)} ({said}), which counts as not met"
