"""Paired differences over seeds: the mean with its interval, exact tests of "no difference", effect size."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from nasbench_rec._stat_arrays import choice, constant, finite_differences, pair, rounding, share

BCA_FROM = 6
"""Pairs from which BCa is made; below, resampling so few values cannot give a tail."""

RESAMPLES = 9_999
EXACT_UP_TO = 16
"""Differences up to which all 2**n sign flips are counted; above, 2**16 random ones."""

WILCOXON_EXACT_UP_TO = 200
"""Differences without ties up to which Wilcoxon's distribution is counted; above, it is normal."""

Method = Literal["none", "constant", "t", "BCa", "sign-flip"]
INTERVALS: tuple[Method, ...] = ("t", "BCa", "sign-flip")
"""Methods that make a real interval; a constant has no width, and "none" no bounds."""


@dataclass(frozen=True)
class PairedDifference:
    """The mean of paired differences with its interval; NaN bounds where no interval exists."""

    mean: float
    low: float
    high: float
    n: int
    """Pairs in which both values are finite."""
    method: Method
    """How the interval was made; "constant": all differences are equal, so it has no width."""
    sd: float = math.nan
    """Sample standard deviation of the differences; NaN under two pairs."""
    level: float = 0.95

    @property
    def excludes_zero(self) -> bool:
        """Whether a real interval (no constant) lies wholly on one side of zero."""
        return self.method in INTERVALS and (self.low > 0 or self.high < 0)

    @classmethod
    def missing(cls, level: float = 0.95) -> PairedDifference:
        """Return the difference of no pairs at all."""
        return cls(math.nan, math.nan, math.nan, 0, "none", level=level)


@dataclass(frozen=True)
class PairedTest:
    """A two-sided p-value of "no difference", with the smallest value that so few pairs could give."""

    p: float
    n: int
    smallest_p: float
    test: Literal["sign-flip", "wilcoxon"]


@dataclass(frozen=True)
class RankBiserial:
    """Matched-pairs rank-biserial correlation, (W+ - W-) / (W+ + W-), from -1 to 1 (Kerby 2014).

    W+ and W- are Wilcoxon's sums of the ranks of the positive and of the negative differences. 1: every
    difference is positive; 0: ranks balance, or no difference is nonzero.
    """

    value: float
    n: int
    """Pairs."""
    zeros: int
    """Pairs without a difference; they have no rank."""


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    level: float = 0.95,
    seed: int = 0,
    interval: Literal["auto", "t", "BCa", "sign-flip"] = "auto",
) -> PairedDifference:
    """Return the mean of `a - b` [n] with an interval of coverage `level`.

    Pairs with a value that is not finite are left out (`n` counts the rest); under two pairs there is no interval.

    - "t": Student's, for about normal differences.
    - "BCa": the bootstrap of Efron (1987) with `seed`; t under six pairs and where BCa is undefined. It is short: in
      4,000 samples of normal differences each bound failed 7 % of the time at n = 6, 5 % at 10 and 4 % at 20, where it
      should 2.5 %.
    - "sign-flip": the values m at which the exact test of `a - b = m` is not significant, which are bounded by means
      of subsets of the differences (Hartigan 1969). Its coverage is at least `level` for all symmetric differences
      (above 16 pairs up to the sampling of subsets by `seed`); so few pairs that no test reaches 1 - `level` have no
      interval: six are needed for .95. From eight normal differences on it excludes zero as often as t. The one to
      decide claims with.
    - "auto": sign-flip where it exists, at .95 from six pairs on; below, t.

    `DataError` if the lengths differ.
    """
    share("level", level)
    choice("interval", interval, "auto", "t", "BCa", "sign-flip")
    left, right = _finite_pairs(a, b)
    difference, n = left - right, len(left)
    if n == 0:
        return PairedDifference.missing(level)
    mean = float(difference.mean())
    if n == 1:
        return PairedDifference(mean, math.nan, math.nan, n, "none", level=level)
    if constant(left, right):
        mean = mean if abs(mean) > rounding(left, right) else 0.0
        return PairedDifference(mean, mean, mean, n, "constant", 0.0, level)
    sd = float(difference.std(ddof=1))
    low, high, method = _interval(difference, level, seed, interval)
    return PairedDifference(mean, low, high, n, method, sd, level)


def paired_test(
    a: ArrayLike, b: ArrayLike, test: Literal["sign-flip", "wilcoxon"] = "sign-flip", seed: int = 0
) -> PairedTest:
    """Test whether `a - b` [n] is symmetric about zero, two-sided.

    "sign-flip" permutes the signs of the differences (Fisher's randomization; statistic: their mean), "wilcoxon"
    those of their ranks, zeros left out. Both count all flips up to 16 nonzero differences and above use 2**16
    random ones seeded by `seed`; wilcoxon without ties is exact up to 200. Pairs with a value that is not finite are
    left out. With n pairs p cannot go below 2**(1 - n): **fewer than six never reach .05**. `DataError` if the
    lengths differ.
    """
    choice("test", test, "sign-flip", "wilcoxon")
    left, right = _finite_pairs(a, b)
    difference = left - right
    nonzero = difference[difference != 0]
    if len(nonzero) < 2:
        return PairedTest(1.0 if len(difference) else math.nan, len(difference), 1.0, test)
    ranks = _untied_ranks(nonzero) if test == "wilcoxon" else None
    sampled = ranks is None and len(nonzero) > EXACT_UP_TO
    smallest = 2 / (2**EXACT_UP_TO + 1) if sampled else 2.0 ** (1 - len(nonzero))
    if ranks is not None:
        p = _wilcoxon(ranks)
    else:
        p = _sign_flip(nonzero if test == "sign-flip" else _signed_ranks(nonzero), seed)
    return PairedTest(p, len(difference), smallest, test)


def rank_biserial(a: ArrayLike, b: ArrayLike) -> RankBiserial:
    """Return the rank-biserial effect size of `a - b` [n]; `DataError` for values that are not finite."""
    difference = finite_differences(a, b)
    nonzero = difference[difference != 0]
    zeros = len(difference) - len(nonzero)
    if not len(nonzero):
        return RankBiserial(0.0, len(difference), zeros)
    ranks = _signed_ranks(nonzero)
    return RankBiserial(float(ranks.sum() / np.abs(ranks).sum()), len(difference), zeros)


def _finite_pairs(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    left, right = pair(a, b)
    finite = np.isfinite(left) & np.isfinite(right)
    return left[finite], right[finite]


def _interval(difference: np.ndarray, level: float, seed: int, wanted: str) -> tuple[float, float, Method]:
    if wanted in ("sign-flip", "auto"):
        low, high = _typical_values(difference, level, seed)
        if math.isfinite(low) or wanted == "sign-flip":
            return low, high, "sign-flip" if math.isfinite(low) else "none"
    if wanted == "BCa" and len(difference) >= BCA_FROM:
        low, high = _bca(difference, level, seed)
        if math.isfinite(low) and math.isfinite(high):
            return low, high, "BCa"
    return (*_student(difference, level), "t")


def _student(difference: np.ndarray, level: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    n = len(difference)
    half = stdtrit(n - 1, (1 + level) / 2) * difference.std(ddof=1) / math.sqrt(n)
    return float(difference.mean() - half), float(difference.mean() + half)


def _bca(difference: np.ndarray, level: float, seed: int) -> tuple[float, float]:
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns and returns NaN where BCa is undefined
        interval = stats.bootstrap(
            (difference,),
            np.mean,
            confidence_level=level,
            n_resamples=RESAMPLES,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(interval.low), float(interval.high)


def _typical_values(difference: np.ndarray, level: float, seed: int) -> tuple[float, float]:
    """Return the k-th smallest and largest mean of a nonempty subset, k = (1 - level) / 2 of all 2**n subsets.

    The 2**n - 1 subset means cut the line into 2**n pieces that hold the centre of symmetry with equal probability.
    """
    exact, subsets = len(difference) <= EXACT_UP_TO, 2 ** min(len(difference), EXACT_UP_TO)
    k = int((1 - level) / 2 * subsets + 1e-9)
    if k == 0:
        return math.nan, math.nan
    rng, every = np.random.default_rng(seed), np.arange(subsets)
    sums, sizes = np.zeros(subsets), np.zeros(subsets)
    for i, value in enumerate(difference):
        chosen = every >> i & 1 if exact else rng.integers(0, 2, subsets)
        sums += chosen * value
        sizes += chosen
    means = np.sort(sums[sizes > 0] / sizes[sizes > 0])
    return float(means[k - 1]), float(means[-k])


def _sign_flip(values: np.ndarray, seed: int) -> float:
    from scipy import stats

    result = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=2**EXACT_UP_TO,
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _wilcoxon(signed_ranks: np.ndarray) -> float:
    from scipy import stats

    method = "exact" if len(signed_ranks) <= WILCOXON_EXACT_UP_TO else "asymptotic"
    return float(stats.wilcoxon(signed_ranks, method=method).pvalue)


def _untied_ranks(nonzero: np.ndarray) -> np.ndarray | None:
    """Return the signed ranks; None where two absolute differences are equal."""
    ranks = _signed_ranks(nonzero)
    return ranks if len(np.unique(np.abs(ranks))) == len(ranks) else None


def _signed_ranks(nonzero: np.ndarray) -> np.ndarray:
    from scipy import stats

    return np.sign(nonzero) * stats.rankdata(np.abs(nonzero))
