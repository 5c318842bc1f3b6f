"""Paired comparisons over seeds: the difference with its interval, and exact tests of "no difference"."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

BCA_FROM = 6
"""Pairs from which the bootstrap is used; below, resampling so few values cannot give a tail."""

RESAMPLES = 9_999
EXACT_UP_TO = 16
"""Differences up to which all 2**n sign flips are counted; above, 2**16 random ones."""


@dataclass(frozen=True)
class PairedDifference:
    """The mean of paired differences with its interval; NaN bounds where no interval exists."""

    mean: float
    low: float
    high: float
    n: int
    """Pairs in which both values are finite."""
    method: Literal["none", "constant", "t", "BCa"]
    """How the interval was made; "constant": all differences are equal, so it has no width."""

    @property
    def excludes_zero(self) -> bool:
        """Whether a real interval (t or BCa) lies wholly on one side of zero."""
        return self.method in ("t", "BCa") and (self.low > 0 or self.high < 0)

    @classmethod
    def missing(cls) -> PairedDifference:
        """Return the difference of no pairs at all."""
        return cls(math.nan, math.nan, math.nan, 0, "none")


@dataclass(frozen=True)
class PairedTest:
    """A two-sided p-value of "no difference", with the smallest value that so few pairs could give."""

    p: float
    n: int
    smallest_p: float
    test: Literal["sign-flip", "wilcoxon"]


def paired_difference(a: ArrayLike, b: ArrayLike, level: float = 0.95, seed: int = 0) -> PairedDifference:
    """Return the mean of `a - b` [n] with an interval of coverage `level`.

    Pairs with a value that is not finite are left out (`n` counts the rest). Under two pairs there is no
    interval; under six it is Student's t interval of the differences; from six on the BCa bootstrap (Efron
    1987) with `seed`, or again t where BCa is undefined. `ValueError` if the lengths differ.
    """
    difference, constant = _differences(a, b)
    n = len(difference)
    if n == 0:
        return PairedDifference.missing()
    mean = float(difference.mean())
    if n == 1:
        return PairedDifference(mean, math.nan, math.nan, n, "none")
    if constant:
        return PairedDifference(mean, mean, mean, n, "constant")
    low, high = _bca(difference, level, seed) if n >= BCA_FROM else (math.nan, math.nan)
    if math.isfinite(low) and math.isfinite(high):
        return PairedDifference(mean, low, high, n, "BCa")
    return PairedDifference(mean, *_student(difference, level), n, "t")


def paired_test(
    a: ArrayLike, b: ArrayLike, test: Literal["sign-flip", "wilcoxon"] = "sign-flip", seed: int = 0
) -> PairedTest:
    """Test whether `a - b` [n] is symmetric about zero, two-sided.

    "sign-flip" permutes the signs of the differences (statistic: their mean), "wilcoxon" those of their
    ranks, zeros left out; both are exact up to 16 nonzero differences and above use 2**16 random flips
    seeded by `seed`. With n pairs p cannot go below 2**(1 - n): **fewer than six never reach .05**.
    `ValueError` if the lengths differ.
    """
    difference, _ = _differences(a, b)
    nonzero = difference[difference != 0]
    smallest = min(1.0, 2.0 ** (1 - len(nonzero)))
    if len(nonzero) < 2:
        p = 1.0 if len(difference) else math.nan
    else:
        p = _sign_flip(nonzero if test == "sign-flip" else _signed_ranks(nonzero), seed)
    return PairedTest(p, len(difference), smallest, test)


def _differences(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, bool]:
    """Return the finite differences [n], and whether they are equal but for the rounding of a subtraction."""
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(
            f"paired values must be two vectors of one length, not {left.shape} and {right.shape}"
        )
    finite = np.isfinite(left) & np.isfinite(right)
    difference = left[finite] - right[finite]
    if len(difference) == 0:
        return difference, True
    rounding = 4 * np.finfo(np.float64).eps * max(np.abs(left[finite]).max(), np.abs(right[finite]).max())
    return difference, bool(np.ptp(difference) <= rounding)


def _student(difference: np.ndarray, level: float) -> tuple[float, float]:
    from scipy import stats

    n = len(difference)
    half = stats.t.ppf((1 + level) / 2, n - 1) * difference.std(ddof=1) / math.sqrt(n)
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


def _signed_ranks(nonzero: np.ndarray) -> np.ndarray:
    from scipy import stats

    return np.sign(nonzero) * stats.rankdata(np.abs(nonzero))
