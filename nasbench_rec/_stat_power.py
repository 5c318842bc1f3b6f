"""What a number of seeds can show: detectable differences, seeds needed, and the shares of verdicts in theory.

All take the standard deviation `sd` of the paired differences (not of one method's values) as known. It comes from few
seeds itself: with six, the true one may be 2.45 times as large (95 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from nasbench_rec._stat_arrays import share
from nasbench_rec.errors import DataError

MOST_SEEDS = 10_000
"""Seeds beyond which nobody would run; a larger number is given as None."""

SD_GRID = 500
"""Quantiles of the sample's standard deviation over which probabilities are averaged."""


@dataclass(frozen=True)
class Design:
    """A two-sided paired t test of level `alpha` that finds a true mean difference `effect` with `power`."""

    effect: float
    """In the unit of the metric; at least 0."""
    sd: float
    n: int
    """Pairs (seeds)."""
    alpha: float
    power: float


@dataclass(frozen=True)
class VerdictShares:
    """The probabilities of the three verdicts at a true effect; they sum to 1."""

    supported: float
    refuted: float
    inconclusive: float


def minimum_detectable(sd: float, n: int, power: float = 0.8, alpha: float = 0.05) -> Design:
    """Return the smallest true difference that a paired t test of `n` pairs finds with `power`.

    Noncentral t with n - 1 degrees of freedom and noncentrality sqrt(n) effect / sd (Cohen 1988, 2.2). `DataError`
    under two pairs.
    """
    from scipy.optimize import brentq

    _check(sd, power, alpha)
    if n < 2 or power <= alpha:
        raise DataError(
            f"{n} pairs, power {power}, alpha {alpha}: two pairs and a power above alpha are needed."
        )
    if sd == 0:
        return Design(0.0, 0.0, n, alpha, 1.0)
    high = 1.0
    while _power(high, n, alpha) < power:
        high *= 2
    ratio = float(brentq(lambda d: _power(d, n, alpha) - power, 0, high, xtol=1e-12))
    return Design(ratio * sd, sd, n, alpha, power)


def seeds_needed(effect: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> Design | None:
    """Return the fewest pairs with which a paired t test finds the true difference `effect` with at least `power`.

    The sign of `effect` does not matter. None where `MOST_SEEDS` are too few, as for an effect of 0.
    """
    _check(sd, power, alpha)
    effect = abs(effect)
    if not math.isfinite(effect):
        raise DataError(f"the effect is {effect}: give a finite difference of the metric.")
    if sd == 0:
        return Design(effect, 0.0, 2, alpha, 1.0) if effect else None
    n = _fewest(lambda n: _power(effect / sd, n, alpha) >= power)
    return None if n is None else Design(effect, sd, n, alpha, _power(effect / sd, n, alpha))


def verdict_shares(effect: float, sd: float, n: int, smallest: float, level: float = 0.95) -> VerdictShares:
    """Return how often `verdict` says what, where the true effect on the claimed side is `effect`.

    For normal differences of standard deviation `sd` and Student's intervals of coverage `level` from `n` pairs;
    `smallest` is the smallest effect of interest.
    """
    _check(sd, level)
    if sd == 0:
        return _certain(0 < effect >= smallest, effect < max(smallest, 0.0))
    half = _half_widths(sd, n, level)
    supported = _between(effect, sd, n, np.maximum(smallest, half), np.inf)
    refuted = _between(effect, sd, n, -np.inf, smallest - half)
    return VerdictShares(supported, refuted, 1 - supported - refuted)


def equivalence_shares(
    effect: float, sd: float, n: int, lower: float, upper: float, alpha: float = 0.05
) -> VerdictShares:
    """Return how often `equivalence_verdict` says what, where the true mean difference is `effect`.

    For normal differences, two one-sided t tests of level `alpha`, and the margins `lower` and `upper` (one of them
    may be infinite: non-inferiority).
    """
    _check(sd, alpha)
    if sd == 0:
        return _certain(lower < effect < upper, not lower < effect < upper)
    half = _half_widths(sd, n, 1 - 2 * alpha)
    supported = _between(effect, sd, n, lower + half, upper - half)
    refuted = _between(effect, sd, n, -np.inf, lower - half) + _between(effect, sd, n, upper + half, np.inf)
    return VerdictShares(supported, refuted, 1 - supported - refuted)


def seeds_to_decide(shares: Callable[[int], VerdictShares], power: float = 0.8, least: int = 2) -> int | None:
    """Return the fewest pairs, at least `least`, at which one of the two decisions has probability `power`.

    None where `MOST_SEEDS` are too few, as for a true effect that is exactly the smallest of interest.
    """

    def decided(n: int) -> bool:
        found = shares(n)
        return max(found.supported, found.refuted) >= power

    return _fewest(decided, least)


def _check(sd: float, *shares: float) -> None:
    if not (math.isfinite(sd) and sd >= 0):
        raise DataError(f"the standard deviation is {sd}: it must be finite and at least 0.")
    for value in shares:
        share("power, level or alpha", value)


def _certain(supported: bool, refuted: bool) -> VerdictShares:
    """Return the shares where all differences are equal."""
    return VerdictShares(float(supported), float(refuted), float(not (supported or refuted)))


def _power(ratio: float, n: int, alpha: float) -> float:
    """Return the power of the two-sided t test at effect / sd = `ratio`, both tails."""
    from scipy import stats

    critical, shift = stats.t.ppf(1 - alpha / 2, n - 1), math.sqrt(n) * ratio
    other = stats.nct.cdf(-critical, n - 1, shift)  # scipy gives NaN for tails below 1e-15
    return float(stats.nct.sf(critical, n - 1, shift) + np.nan_to_num(other))


def _fewest(enough: Callable[[int], bool], least: int = 2) -> int | None:
    """Return the smallest n in `least`...MOST_SEEDS with `enough(n)`, taken to stay true once it is."""
    low, high = least - 1, least
    while not enough(high):
        if high >= MOST_SEEDS:
            return None
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=1024)
def _relative_half_widths(n: int, level: float) -> np.ndarray:
    """Return t interval's half width over sigma at quantiles of the sample's standard deviation, [SD_GRID]."""
    from scipy.special import gammaincinv, stdtrit

    # s / sigma is the root of chi2(n - 1) / (n - 1)
    quantiles = 2 * gammaincinv((n - 1) / 2, (np.arange(SD_GRID) + 0.5) / SD_GRID)
    return stdtrit(n - 1, (1 + level) / 2) * np.sqrt(quantiles / (n - 1) / n)


def _half_widths(sd: float, n: int, level: float) -> np.ndarray:
    if n < 2:
        raise DataError(f"{n} pairs have no interval; at least two are needed.")
    return sd * _relative_half_widths(n, level)


def _between(effect: float, sd: float, n: int, low: np.ndarray | float, high: np.ndarray | float) -> float:
    """Return P(low < mean < high), averaged over the bounds that go with each sample standard deviation."""
    from scipy.special import ndtr

    error = max(sd / math.sqrt(n), float(np.finfo(np.float64).tiny))
    with np.errstate(over="ignore"):  # a bound that is infinitely many errors away has a tail of 0 or 1
        below, above = (low - effect) / error, (high - effect) / error
    return float(np.clip(ndtr(above) - ndtr(below), 0, None).mean())
