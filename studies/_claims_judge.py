"""From records to verdicts: paired values of a claim's arms, tests, Holm over its family, the rule, the controls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from nasbench_rec.studies._claims_form import Claim
from nasbench_rec.studies._claims_units import Cell, Pair
from nasbench_rec.studies._claims_values import METRICS, Record, value

from nasbench_rec.statistics import (
    Equivalence,
    NoiseSplit,
    PairedDifference,
    Verdict,
    equivalence,
    equivalence_shares,
    equivalence_verdict,
    holm,
    minimum_detectable,
    noninferiority,
    paired_difference,
    paired_test,
    seeds_to_decide,
    verdict,
    verdict_shares,
)
from nasbench_rec.unit import Unit

Records = Mapping[str, Record]
Outcome = Literal["supported", "refuted", "inconclusive", "not testable here"]
ControlState = Literal["does as well", "not shown to do worse", "does worse", "not run"]
OF_BOUND: Mapping[str, ControlState] = {
    "supported": "does as well",
    "refuted": "does worse",
    "inconclusive": "not shown to do worse",
}
"""A control of a value: whether it reaches the bound, too."""
LEAST = 6
"""Pairs below which nothing is decided."""


@dataclass(frozen=True)
class Point:
    """A pair of seeds: both values, their difference, and the records that hold them."""

    split_seed: int
    seed: int
    method: float
    other: float
    difference: float
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """The values of one arm at one place by pair of seeds, and what is missing."""

    values: Mapping[Pair, float]
    keys: Mapping[Pair, tuple[str, ...]]
    failed: int = 0
    """Units that failed."""
    absent: int = 0
    """Units that were not run."""
    silent: int = 0
    """Units that ran but have no such number."""


@dataclass(frozen=True)
class ControlResult:
    """A control against the method at one place: does it do as well without what the claim credits?"""

    name: str
    state: ControlState
    mean: float
    """Method less control, in the metric's own sign."""
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Comparison:
    """One comparison that a claim needs: at one place, with one comparator (or the bound), and what came of it."""

    claim: str
    dataset: str
    backbone: str
    ratio: float | None
    against: str
    scope: str
    outcome: Outcome
    reason: str
    mean: float = math.nan
    """Of the differences, method less comparator (or bound), in the metric's own sign."""
    low: float = math.nan
    high: float = math.nan
    interval: str = "none"
    level: float = math.nan
    p: float = math.nan
    """Of "no difference", two-sided; of an equivalence the larger one of two one-sided tests."""
    p_corrected: float = math.nan
    """By Holm over the family."""
    p_smallest: float = math.nan
    """Of "the difference is the smallest of interest", two-sided; of an equivalence of "it lies at a margin"."""
    p_smallest_corrected: float = math.nan
    family: str = ""
    family_size: int = 0
    n: int = 0
    planned: int = 0
    failed: int = 0
    absent: int = 0
    silent: int = 0
    minimum_detectable: float = math.nan
    claimed_within: bool | None = None
    seeds_needed: int | None = None
    seeds_if_claimed: int | None = None
    points: tuple[Point, ...] = ()
    controls: tuple[ControlResult, ...] = ()
    rows: NoiseSplit | None = None
    """What test rows add to the noise of seeds, where the store can tell; it decides nothing."""


@dataclass(frozen=True)
class Judged:
    """The verdict on a claim, with everything that it was derived from."""

    claim: Claim
    outcome: Outcome
    reason: str
    scope: str
    comparisons: tuple[Comparison, ...] = ()
    explained_by: tuple[str, ...] = ()
    """Controls that do as well, or are not shown to do worse, where the claim is supported."""
    unchecked: tuple[str, ...] = ()
    """Controls that have not run everywhere."""
    seeds_needed: int | None = None
    """Inconclusive only: the seeds that would decide all comparisons; None where that is not known."""


@dataclass(frozen=True)
class _Raw:
    """A comparison before its family is known."""

    cell: Cell
    against: str
    method: Side
    other: Side
    points: tuple[Point, ...]
    alpha: float
    found: PairedDifference
    equal: Equivalence | None = None
    p_for: float = 1.0
    """Of the test that may support."""
    p_against: float = 1.0
    """Of the test that may refute."""

    @property
    def better(self) -> Literal["greater", "less"]:
        """Which values of the metric are good."""
        claim = self.cell.claim
        usual = METRICS[claim.metric].direction if claim.metric in METRICS else "higher"
        return "less" if (claim.direction or usual) == "lower" else "greater"

    @property
    def family(self) -> str:
        """What its correction is over."""
        return self.cell.claim.family


def judge(
    claims: Sequence[Claim], cells: Sequence[Cell], records: Records, alpha: float = 0.05
) -> list[Judged]:
    """Return the verdict on each claim from its cells' records; a pure function of them."""
    raw = [
        _raw(cell, against, records, alpha)
        for cell in cells
        if not cell.missing
        for against in _against(cell)
    ]
    lost = Counter(c.claim.family for c in cells if c.missing for _ in _against(c))
    corrected_for, corrected_against = _corrected(raw, "p_for", lost), _corrected(raw, "p_against", lost)
    sizes = Counter(r.family for r in raw) + lost
    done: dict[str, list[Comparison]] = {}
    controls: dict[int, tuple[ControlResult, ...]] = {}
    for i, r in enumerate(raw):
        found = _compared(r, corrected_for[i], corrected_against[i], sizes[r.family])
        if id(r.cell) not in controls:
            controls[id(r.cell)] = tuple(_control(r, name, records) for name in r.cell.claim.controls)
        done.setdefault(r.cell.claim.id, []).append(replace(found, controls=controls[id(r.cell)]))
    return [
        _judged(claim, done.get(claim.id, []), [c for c in cells if c.claim == claim]) for claim in claims
    ]


def _against(cell: Cell) -> tuple[str, ...]:
    return cell.claim.comparators or (f"{cell.claim.bound:g}",)


def side_of(units: Mapping[Pair, Sequence[Unit]], metric: str, records: Records) -> Side:
    """Return an arm's values; a tuned arm counts, in each pair of seeds, with its best validation AUC."""
    values: dict[Pair, float] = {}
    keys: dict[Pair, tuple[str, ...]] = {}
    failed = absent = silent = 0
    for pair, options in units.items():
        records_of = [records.get(unit.key) for unit in options]
        absent += sum(r is None for r in records_of)
        failed += sum(r is not None and r["status"] != "ok" for r in records_of)
        good = [r for r in records_of if r is not None and r["status"] == "ok"]
        if not good or None in records_of:
            continue
        best = max(good, key=lambda r: _rank(value(r, "scores.valid_auc")))
        number = value(best, metric)
        if math.isfinite(number):
            values[pair], keys[pair] = number, (str(best["key"]),)
        else:
            silent += 1
    return Side(values, keys, failed, absent, silent)


def _rank(auc: float) -> float:
    return auc if math.isfinite(auc) else -math.inf


def _raw(cell: Cell, against: str, records: Records, alpha: float) -> _Raw:
    claim = cell.claim
    method = side_of(cell.arms[claim.method], claim.metric, records)
    if claim.kind == "value":
        other = Side(dict.fromkeys(method.values, _number(claim.bound)), dict.fromkeys(method.values, ()))
    else:
        other = side_of(cell.arms[against], claim.metric, records)
    points = _points(method, other, claim.relative)
    a, b = _vectors(points, claim.relative)
    found = paired_difference(a, b, 1 - alpha, interval="sign-flip")
    raw = _Raw(cell, against, method, other, points, alpha, found)
    return _with_equivalence(raw, a, b) if claim.kind == "equivalence" else _with_tests(raw, a, b)


def _points(method: Side, other: Side, relative: bool) -> tuple[Point, ...]:
    found = []
    for pair in sorted(method.values.keys() & other.values.keys()):
        a, b = method.values[pair], other.values[pair]
        if relative and b == 0:
            continue
        difference = a / b - 1 if relative else a - b
        found.append(Point(*pair, a, b, difference, method.keys[pair] + other.keys[pair]))
    return tuple(found)


def _vectors(points: Sequence[Point], relative: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return both values [n], in units of the second where the claim is relative."""
    a, b = (np.array([getattr(p, name) for p in points]) for name in ("method", "other"))
    return (a / b, np.ones_like(b)) if relative else (a, b)


def _with_tests(raw: _Raw, a: np.ndarray, b: np.ndarray) -> _Raw:
    """Add the p-values of "no difference" and of "the smallest effect of interest", both two-sided."""
    test, sign = raw.cell.claim.test, 1 if raw.better == "greater" else -1
    smallest = sign * _smallest(raw.cell.claim)
    p_for = _known(paired_test(a, b, test).p)
    p_against = _known(paired_test(a, b + smallest, test).p) if smallest else p_for
    return replace(raw, p_for=p_for, p_against=p_against)


def _with_equivalence(raw: _Raw, a: np.ndarray, b: np.ndarray) -> _Raw:
    claim = raw.cell.claim
    if len(a) < 2:
        return raw
    margin = _number(claim.interest)
    if claim.direction:
        found = noninferiority(a, b, margin, raw.alpha, raw.better)
    else:
        found = equivalence(a, b, margin, raw.alpha)
    return replace(raw, equal=found, p_for=found.p, p_against=1 - found.p)


def _smallest(claim: Claim) -> float:
    return 0.0 if claim.kind == "value" else _number(claim.interest)


def _number(value: float | None) -> float:
    return 0.0 if value is None else value


def _known(p: float) -> float:
    """A comparison without data keeps its place in the family."""
    return p if math.isfinite(p) else 1.0


def _corrected(raw: Sequence[_Raw], name: str, lost: Mapping[str, int]) -> list[float]:
    """Return each p-value corrected by Holm within its family; the `lost` comparisons of each count as p = 1."""
    found = [1.0] * len(raw)
    for family in {r.family for r in raw}:
        own = {str(i): float(getattr(r, name)) for i, r in enumerate(raw) if r.family == family}
        own |= {str(-i): 1.0 for i in range(1, lost.get(family, 0) + 1)}
        adjusted = {i: a.adjusted for i, a in holm(own).items()} if len(own) > 1 else own
        for i, p in adjusted.items():
            if int(i) >= 0:
                found[int(i)] = p
    return found


def _compared(raw: _Raw, p_for: float, p_against: float, family_size: int) -> Comparison:
    claim, found = raw.cell.claim, raw.found
    decided = _decided(raw, p_for, p_against)
    shown = raw.equal or found
    nothing = not raw.points
    return Comparison(
        claim.id,
        raw.cell.dataset,
        raw.cell.backbone,
        raw.cell.ratio,
        raw.against,
        raw.cell.scope,
        decided.outcome,
        _nothing(raw) if nothing else decided.reason,
        mean=found.mean,
        low=shown.low,
        high=shown.high,
        interval="two one-sided t" if raw.equal else found.method,
        level=1 - 2 * raw.alpha if raw.equal else found.level,
        p=math.nan if nothing else raw.p_for,
        p_corrected=math.nan if nothing else p_for,
        p_smallest=math.nan if nothing else raw.p_against,
        p_smallest_corrected=math.nan if nothing else p_against,
        family=raw.family,
        family_size=family_size,
        n=len(raw.points),
        planned=len(raw.cell.arms[claim.method]),
        failed=raw.method.failed + raw.other.failed,
        absent=raw.method.absent + raw.other.absent,
        silent=raw.method.silent + raw.other.silent,
        minimum_detectable=_detectable(found, raw.alpha),
        claimed_within=_within(claim, shown.low, shown.high),
        seeds_needed=_seeds(raw, decided, family_size),
        seeds_if_claimed=decided.seeds_if_claimed,
        points=raw.points,
    )


def _nothing(raw: _Raw) -> str:
    if raw.method.silent or raw.other.silent:
        return f"no record of these arms has a number at {raw.cell.claim.metric}"
    return "no pair of units has run" + (" without failure" if raw.method.failed + raw.other.failed else "")


def _decided(raw: _Raw, p_for: float, p_against: float) -> Verdict:
    """Apply the rule, and the correction for the family to both decisions."""
    claim = raw.cell.claim
    if raw.equal is not None:
        found, p = equivalence_verdict(raw.equal), p_for
    else:
        claimed = None if claim.claimed is None else abs(claim.claimed)
        p = _known(p_for)
        found = verdict(raw.found, raw.better, _smallest(claim), claimed, p)
    if found.outcome == "refuted" and p_against > raw.alpha:
        return replace(found, outcome="inconclusive", reason=f"{found.reason}, but {_weak(p_against)}")
    if found.outcome == "supported" and p > raw.alpha:
        return replace(found, outcome="inconclusive", reason=f"{found.reason}, but {_weak(p)}")
    return found


def _weak(p: float) -> str:
    return f"p is {p:.3g} after the correction for its family"


def _seeds(raw: _Raw, decided: Verdict, family_size: int) -> int | None:
    """Return the pairs that would decide if the effect is the one seen, with the family's correction (Bonferroni's)."""
    claim, found = raw.cell.claim, raw.found
    if decided.outcome != "inconclusive" or family_size == 1 or found.n < 2:
        return decided.seeds
    alpha = raw.alpha / family_size
    least = max(LEAST, math.ceil(1 - math.log2(alpha)))
    if raw.equal is not None:
        lower, upper = raw.equal.lower, raw.equal.upper
        return seeds_to_decide(
            lambda n: equivalence_shares(found.mean, found.sd, n, lower, upper, alpha), least=LEAST
        )
    smallest = _smallest(claim)
    return seeds_to_decide(
        lambda n: verdict_shares(decided.effect, found.sd, n, smallest, 1 - alpha), least=least
    )


def _detectable(found: PairedDifference, alpha: float) -> float:
    if found.n < 2 or not found.sd > 0:
        return math.nan
    return minimum_detectable(found.sd, found.n, alpha=alpha).effect


def _within(claim: Claim, low: float, high: float) -> bool | None:
    if claim.claimed is None or math.isnan(low):
        return None
    return low <= claim.claimed <= high


def _control(raw: _Raw, name: str, records: Records) -> ControlResult:
    """Compare the method with a control. It does as well if it is not shown to be worse by what matters."""
    claim = raw.cell.claim
    control = side_of(raw.cell.arms[name], claim.metric, records)
    points = _points(raw.method, control, claim.relative)
    a, b = _vectors(points, claim.relative)
    found = paired_difference(a, b, 1 - raw.alpha, interval="sign-flip")
    state = _state(raw, found, a, b)
    return ControlResult(name, state, found.mean, found.low, found.high, found.n)


def _state(raw: _Raw, found: PairedDifference, a: np.ndarray, b: np.ndarray) -> ControlState:
    if found.n < LEAST:
        return "not run" if found.n == 0 else "not shown to do worse"
    claim = raw.cell.claim
    if claim.kind == "value":
        reached = paired_difference(
            b, np.full_like(b, _number(claim.bound)), found.level, interval="sign-flip"
        )
        outcome = verdict(reached, raw.better, 0.0).outcome
        return OF_BOUND[outcome]
    if noninferiority(b, a, _number(claim.interest), raw.alpha, raw.better).within:
        return "does as well"
    worse = found.low > 0 if raw.better == "greater" else found.high < 0
    return "does worse" if worse else "not shown to do worse"


def _judged(claim: Claim, done: Sequence[Comparison], cells: Sequence[Cell]) -> Judged:
    lost = [_lost(cell, against) for cell in cells if cell.missing for against in _against(cell)]
    every = (*done, *lost)
    if claim.kind == "untestable" or not done:
        reason = claim.needs or "; ".join(dict.fromkeys(c.reason for c in lost)) or "nothing is compared"
        return Judged(claim, "not testable here", reason, "", every)
    outcome, reason = _overall(done)
    if lost:
        reason += f"; not tested on {', '.join(dict.fromkeys(c.dataset for c in lost))}"
    scope = " and ".join(dict.fromkeys(c.scope for c in done))
    explained, unchecked = _explained(done) if outcome == "supported" else ((), ())
    needed = _needed(done) if outcome == "inconclusive" else None
    return Judged(claim, outcome, reason, scope, every, explained, unchecked, needed)


def _lost(cell: Cell, against: str) -> Comparison:
    place = (cell.claim.id, cell.dataset, cell.backbone, cell.ratio, against, cell.scope)
    return Comparison(*place, "not testable here", cell.missing, planned=len(cell.claim.seeds))


def _overall(done: Sequence[Comparison]) -> tuple[Outcome, str]:
    """A claim holds where all of its comparisons do, and falls with one."""
    for outcome in ("refuted", "inconclusive"):
        found = [c for c in done if c.outcome == outcome]
        if found:
            return found[0].outcome, "; ".join(_named(c, len(done)) for c in found)
    return "supported", "; ".join(dict.fromkeys(c.reason for c in done))


def _named(comparison: Comparison, of: int) -> str:
    return comparison.reason if of == 1 else f"{place(comparison)}: {comparison.reason}"


def place(comparison: Comparison) -> str:
    """Return where and against what a comparison is."""
    ratio = "" if comparison.ratio is None else f" @ {comparison.ratio:g}"
    return f"{comparison.dataset}, {comparison.backbone}{ratio}, against {comparison.against}"


def _explained(done: Sequence[Comparison]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the controls that explain an effect away at some place, and those that have not run everywhere."""
    states: dict[str, set[str]] = {}
    for comparison in done:
        for control in comparison.controls:
            states.setdefault(control.name, set()).add(control.state)
    as_well = {"does as well", "not shown to do worse"}
    explained = tuple(name for name, found in states.items() if found & as_well)
    return explained, tuple(name for name, found in states.items() if "not run" in found)


def _needed(done: Iterable[Comparison]) -> int | None:
    needed = [c.seeds_needed for c in done if c.outcome == "inconclusive"]
    known = [n for n in needed if n is not None]
    return max(known) if needed and len(known) == len(needed) else None
