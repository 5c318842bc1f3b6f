"""The verdict on a claim: a rule of the interval alone, fixed before the runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

from nasbench_rec._stat_arrays import choice
from nasbench_rec._stat_equivalence import Equivalence
from nasbench_rec._stat_paired import PairedDifference
from nasbench_rec._stat_power import VerdictShares, equivalence_shares, seeds_to_decide, verdict_shares
from nasbench_rec.errors import DataError

DECIDES_FROM = 6
"""Pairs below which nothing is decided: with five, no two-sided exact test goes below .0625."""

Outcome = Literal["supported", "refuted", "inconclusive"]


@dataclass(frozen=True)
class Verdict:
    """What the runs say of a claim, why, and how many seeds would say more."""

    outcome: Outcome
    reason: str
    effect: float
    """Mean difference on the claimed side: positive where it points the way that is claimed."""
    low: float
    high: float
    n: int
    claimed_within: bool | None = None
    """Whether the claimed size lies in the interval; None where no size is claimed, or there is no interval."""
    seeds: int | None = None
    """Inconclusive only: more seeds than these, that would decide with power .8 if the true effect is the one seen
    here; None where 10,000 would not (it is too close to the smallest of interest), or the spread is unknown."""
    seeds_if_claimed: int | None = None
    """Inconclusive only: seeds that decide with power .8 if the true effect is the claimed one. No more than were
    run: an effect of that size would probably have shown."""


def verdict(
    found: PairedDifference,
    side: Literal["greater", "less"],
    smallest: float,
    claimed: float | None = None,
    p: float | None = None,
    least: int = DECIDES_FROM,
) -> Verdict:
    """Return the verdict on "the difference is on `side` of zero, and at least `smallest`".

    - `supported`: the interval excludes zero on the claimed side and the mean is at least `smallest`;
    - `refuted`: the interval excludes `smallest` on the claimed side, or excludes zero on the other side;
    - `inconclusive`: neither, or fewer than `least` pairs.

    `smallest` and the `claimed` size are distances from zero, at least 0. `p`, where given, is the p-value of the
    claim's test, corrected for its family: `supported` then also needs p <= 1 - level. An interval that keeps its
    level makes false `supported` at most (1 - level) / 2; use `paired_difference(..., interval="sign-flip")`. The
    seeds come from Student's intervals of normal differences (`verdict_shares`), without the correction.
    """
    choice("side", side, "greater", "less")
    _check(smallest, claimed, p)
    sign = 1 if side == "greater" else -1
    effect, low, high = sign * found.mean, *sorted((sign * found.low, sign * found.high))
    outcome, reason = _decide(effect, low, high, smallest)
    if found.n < least or math.isnan(low):
        outcome, reason = "inconclusive", _too_few(found.n, least)
    elif outcome == "supported" and p is not None and p > 1 - found.level:
        outcome, reason = "inconclusive", f"the interval excludes zero, but the corrected p is {p:.3g}"
    within = None if claimed is None or math.isnan(low) else low <= claimed <= high
    if outcome != "inconclusive":
        return Verdict(outcome, reason, effect, low, high, found.n, within)
    if found.method == "none":
        least = max(least, math.ceil(math.log2(2 / (1 - found.level)) - 1e-9))  # an interval must exist
    more = _seeds(found, smallest, effect, max(least, found.n + 1))
    return Verdict(
        outcome, reason, effect, low, high, found.n, within, more, _seeds(found, smallest, claimed, least)
    )


def equivalence_verdict(found: Equivalence, least: int = DECIDES_FROM) -> Verdict:
    """Return the verdict on "equal within the margins", or "no worse than the margin", of a `found` test.

    `supported`: the interval of coverage 1 - 2 alpha lies within the margins, so both one-sided tests reject;
    `refuted`: it lies wholly beyond one; else, or with fewer than `least` pairs, `inconclusive`. False `supported` and
    false `refuted` are at most alpha each. `seeds_if_claimed` takes the true difference to be zero.
    """
    values = found.mean, found.low, found.high, found.n
    within, beyond, crossing = _of_margins(found)
    if found.n >= least and found.within:
        return Verdict("supported", f"the interval lies {within}", *values)
    if found.n >= least and found.beyond:
        return Verdict("refuted", f"the interval lies {beyond}", *values)
    reason = _too_few(found.n, least) if found.n < least else f"the interval crosses {crossing}"
    more = _seeds_within(found, found.mean, max(least, found.n + 1))
    return Verdict("inconclusive", reason, *values, None, more, _seeds_within(found, 0.0, least))


def _of_margins(found: Equivalence) -> tuple[str, str, str]:
    """Say where an interval lies within, beyond and across the margins; an infinite one is none."""
    if math.isinf(found.upper):
        return f"above {found.lower:.4g}", f"below {found.lower:.4g}", f"the margin {found.lower:.4g}"
    if math.isinf(found.lower):
        return f"below {found.upper:.4g}", f"above {found.upper:.4g}", f"the margin {found.upper:.4g}"
    both = f"{found.lower:.4g} to {found.upper:.4g}"
    return f"within {both}", f"outside {both}", f"a margin of {both}"


def _check(smallest: float, claimed: float | None, p: float | None) -> None:
    for name, value in (("smallest effect of interest", smallest), ("claimed size", claimed)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise DataError(f"the {name} is {value}: give its distance from zero, at least 0.")
    if p is not None and not 0 <= p <= 1:
        raise DataError(f"the p-value is {p}: it must lie between 0 and 1; give None where there is no test.")


def _decide(effect: float, low: float, high: float, smallest: float) -> tuple[Outcome, str]:
    """Apply the rule to an interval on the claimed side."""
    if high < 0:
        return "refuted", "the interval excludes zero on the other side"
    if high < smallest:
        return "refuted", f"the interval excludes the smallest effect of interest, {smallest:.4g}"
    if low > 0 and effect >= smallest:
        return "supported", f"the interval excludes zero and the effect is at least {smallest:.4g}"
    if low > 0:
        return "inconclusive", f"the interval excludes zero, but the effect is below {smallest:.4g}"
    return "inconclusive", "the interval holds both zero and the smallest effect of interest"


def _too_few(n: int, least: int) -> str:
    return f"{n} pairs, fewer than {least}" if n < least else f"{n} pairs have no interval of this level"


def _seeds(found: PairedDifference, smallest: float, effect: float | None, least: int) -> int | None:
    """Return the pairs that would decide if the true effect on the claimed side were `effect`."""
    if effect is None or not (math.isfinite(effect) and math.isfinite(found.sd)):
        return None
    shares = partial(verdict_shares, effect, found.sd, smallest=smallest, level=found.level)
    return seeds_to_decide(shares, least=max(least, 2))


def _seeds_within(found: Equivalence, effect: float, least: int) -> int | None:
    """Return the pairs that would decide about equivalence if the true difference were `effect`."""

    def shares(n: int) -> VerdictShares:
        return equivalence_shares(effect, found.sd, n, found.lower, found.upper, found.alpha)

    return seeds_to_decide(shares, least=max(least, 2))
