"""Is A as good as B, or no worse? Two one-sided t tests against margins stated before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from nasbench_rec._stat_arrays import choice, finite_differences, share
from nasbench_rec._stat_paired import paired_difference
from nasbench_rec.errors import DataError

MARGIN = 0.0005
"""The default margin, in AUC."""


@dataclass(frozen=True)
class Equivalence:
    """The mean of paired differences between its margins, with the interval that decides at level `alpha`.

    Schuirmann (1987): two one-sided tests of level `alpha` reject exactly where the interval of coverage 1 - 2 alpha
    lies within the margins. One infinite margin: non-inferiority, one test.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int
    lower: float
    """The margins, in the metric's unit."""
    upper: float
    p: float
    """The larger of the two one-sided p-values: small means within the margins."""
    alpha: float

    @property
    def within(self) -> bool:
        """Whether the whole interval lies within the margins."""
        return self.lower < self.low and self.high < self.upper

    @property
    def beyond(self) -> bool:
        """Whether the whole interval lies outside one margin."""
        return self.high <= self.lower or self.low >= self.upper


def equivalence(a: ArrayLike, b: ArrayLike, margin: float = MARGIN, alpha: float = 0.05) -> Equivalence:
    """Test that the mean of `a - b` [n] lies within -margin...margin.

    Differences that are all equal have an interval without width and p = 0 or 1. `DataError` for values that are not
    finite, under two pairs, and for a margin that is not positive.
    """
    _check_margin(margin)
    return _within(a, b, -margin, margin, alpha)


def noninferiority(
    a: ArrayLike,
    b: ArrayLike,
    margin: float = MARGIN,
    alpha: float = 0.05,
    better: Literal["greater", "less"] = "greater",
) -> Equivalence:
    """Test that `a` [n] is at most `margin` worse than `b` [n] on average.

    `better` says which values of the metric are good: "greater" for AUC, "less" for Logloss. Otherwise as
    `equivalence`.
    """
    _check_margin(margin)
    choice("better side", better, "greater", "less")
    lower, upper = (-margin, math.inf) if better == "greater" else (-math.inf, margin)
    return _within(a, b, lower, upper, alpha)


def _check_margin(margin: float) -> None:
    if not (math.isfinite(margin) and margin > 0):
        raise DataError(f"the margin is {margin}: give the largest difference that does not matter, above 0.")


def _within(a: ArrayLike, b: ArrayLike, lower: float, upper: float, alpha: float) -> Equivalence:
    difference = finite_differences(a, b, least=2)
    if share("alpha", alpha) >= 0.5:
        raise DataError(f"alpha is {alpha}: two one-sided tests need a level below 0.5, such as 0.05.")
    found = paired_difference(a, b, 1 - 2 * alpha, interval="t")
    if found.method == "constant":
        p = 0.0 if lower < found.mean < upper else 1.0
    else:
        p = _largest_p(difference, lower, upper)
    return Equivalence(found.mean, found.low, found.high, found.sd, found.n, lower, upper, p, alpha)


def _largest_p(difference: np.ndarray, lower: float, upper: float) -> float:
    from statsmodels.stats.weightstats import ttost_paired

    return float(ttost_paired(difference, np.zeros_like(difference), lower, upper)[0])
