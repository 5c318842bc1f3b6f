"""DeLong's variance of AUC on the same test rows: row noise, and beside it the noise of seeds.

N rows, m of them positive and n negative. A row's component is the share of rows of the other class that it is ordered
right against: V10_i for a positive, V01_j for a negative (DeLong, DeLong and Clarke-Pearson 1988, equations 4 and 5);
both come from midranks in O(N log N) (Sun and Xu 2014, theorem 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nasbench_rec._stat_arrays import refuse_missing, share
from nasbench_rec.errors import DataError


@dataclass(frozen=True)
class AucEstimate:
    """The AUC of one model with its error over test rows; the normal interval, cut to [0, 1]."""

    auc: float
    se: float
    low: float
    high: float
    positives: int
    negatives: int
    level: float


@dataclass(frozen=True)
class AucDifference:
    """The AUC of A minus that of B on the same rows, with its error over test rows.

    `z` and the two-sided `p` are NaN where the estimated variance is 0 and the difference is not (two models that
    order every pair alike); equal orders have p = 1.
    """

    auc_a: float
    auc_b: float
    difference: float
    se: float
    low: float
    high: float
    z: float
    p: float
    rows: int
    level: float


@dataclass(frozen=True)
class NoiseSplit:
    """The mean difference of AUC over seeds, with what test rows and what seeds add to its error.

    Rows and seeds are crossed like the cases and readers of a reading study (Obuchowski and Rockette 1995):
    var(mean) = V_rows + V_seeds / k + V_both / k. The last part is in `row_se` and in `seed_se`, so that their squares
    add up to more than the total's.
    """

    difference: float
    row_se: float
    """Other test rows, these very models: DeLong's of the averaged components."""
    seed_se: float
    """Other seeds, these very rows: s / sqrt(k) of the k differences; NaN for one seed."""
    total_se: float
    """Other rows and other seeds; never below `row_se`, and equal to it for one seed."""
    row_low: float
    """Bounds from `row_se`, normal. Those of seeds are `paired_difference`'s."""
    row_high: float
    row_p: float
    seeds: int
    rows: int
    level: float

    @property
    def row_share(self) -> float:
        """The part of the total variance that more seeds would not remove; NaN where there is no noise."""
        return self.row_se**2 / self.total_se**2 if self.total_se else math.nan


def delong(labels: np.ndarray, scores: np.ndarray, level: float = 0.95) -> AucEstimate:
    """Return the AUC of `scores` [N] for 0/1 `labels` [N] with DeLong's standard error.

    `DataError` where lengths differ, a score is not finite, or a class has fewer than two rows.
    """
    positive = _positives(labels)
    v10, v01 = _components(positive, scores)
    auc, se = float(v10.mean()), math.sqrt(_variance(v10, v01))
    half = _normal(level) * se
    return AucEstimate(auc, se, max(0.0, auc - half), min(1.0, auc + half), len(v10), len(v01), level)


def delong_difference(
    labels: np.ndarray, scores_a: np.ndarray, scores_b: np.ndarray, level: float = 0.95
) -> AucDifference:
    """Compare two correlated AUCs, of `scores_a` and `scores_b` [N] on the same 0/1 `labels` [N].

    The components' differences give the variance at once: var(V10_a - V10_b) / m + var(V01_a - V01_b) / n.
    """
    positive = _positives(labels)
    (a10, a01), (b10, b01) = _components(positive, scores_a), _components(positive, scores_b)
    d10, d01 = a10 - b10, a01 - b01
    difference, se = float(d10.mean()), math.sqrt(_variance(d10, d01))
    half, (z, p) = _normal(level) * se, _test(difference, se)
    aucs = float(a10.mean()), float(b10.mean())
    return AucDifference(
        *aucs, difference, se, difference - half, difference + half, z, p, len(positive), level
    )


def noise_split(
    labels: np.ndarray, scores_a: Iterable[np.ndarray], scores_b: Iterable[np.ndarray], level: float = 0.95
) -> NoiseSplit:
    """Separate row noise from seed noise in the AUC of A minus B over k seeds.

    `scores_a` and `scores_b` give the scores [N] of one seed at a time, in pairs; they may be generators, so that one
    pair is in memory. total_se**2 = row_se**2 + seed_se**2 - V_both / k, where V_both (1 - 1 / k) is the excess of the
    single seeds' row variances, on average, over that of the mean over seeds.
    """
    positive = _positives(labels)
    s10, s01 = np.zeros(positive.sum()), np.zeros((~positive).sum())
    differences, single = [], []
    for a, b in zip(scores_a, scores_b, strict=True):
        (a10, a01), (b10, b01) = _components(positive, a), _components(positive, b)
        a10 -= b10
        a01 -= b01
        differences.append(float(a10.mean()))
        single.append(_variance(a10, a01))
        s10 += a10
        s01 += a01
    if not differences:
        raise DataError("there are no seeds: give the scores of at least one pair of models.")
    k = len(differences)
    mean, rows = float(np.mean(differences)), _variance(s10 / k, s01 / k)
    seeds, total = _seed_noise(differences, rows, float(np.mean(single)))
    half, (_, p) = _normal(level) * math.sqrt(rows), _test(mean, math.sqrt(rows))
    errors = math.sqrt(rows), math.sqrt(seeds), math.sqrt(total)
    return NoiseSplit(mean, *errors, mean - half, mean + half, p, k, len(positive), level)


def _seed_noise(differences: list[float], rows: float, single: float) -> tuple[float, float]:
    """Return the variance of the mean from seeds, and in total."""
    k = len(differences)
    if k < 2:
        return math.nan, rows
    seeds = float(np.var(differences, ddof=1)) / k
    both = max(0.0, single - rows) / (1 - 1 / k) / k
    return seeds, rows + max(0.0, seeds - both)


def _positives(labels: np.ndarray) -> np.ndarray:
    """Return which rows are positive, bool [N]."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise DataError("labels must be one vector of 0 and 1, a value per test row.")
    positive = labels.astype(bool)
    for name, count in (("positive", positive.sum()), ("negative", (~positive).sum())):
        if count < 2:
            raise DataError(f"{count} {name} rows have no variance; DeLong needs two of each class.")
    return positive


def _components(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return V10 [m] and V01 [n]; the mean of either is the AUC."""
    scores = np.asarray(scores, np.float64)
    if scores.shape != positive.shape:
        raise DataError(f"{positive.shape} labels and {scores.shape} scores: give a score per row.")
    refuse_missing(scores, "row")
    m, n = int(positive.sum()), int((~positive).sum())
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    tied = np.diff(np.r_[starts, len(scores)])
    ones = np.add.reduceat(positive[order].astype(np.int64), starts)
    # The midrank among all less the midrank within one's class counts the other class's rows below, ties one half.
    ones_below, zeros_below = _midcounts(ones), _midcounts(tied - ones)
    found = np.empty(len(scores))
    found[order] = np.where(
        positive[order], np.repeat(zeros_below, tied) / n, (m - np.repeat(ones_below, tied)) / m
    )
    return found[positive], found[~positive]


def _midcounts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts / 2


def _variance(v10: np.ndarray, v01: np.ndarray) -> float:
    """Return S10 / m + S01 / n."""
    return float(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))


def _normal(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + share("level", level)) / 2))


def _test(difference: float, se: float) -> tuple[float, float]:
    """Return z and the two-sided p."""
    from scipy.special import ndtr

    if se == 0:
        return (0.0, 1.0) if difference == 0 else (math.nan, math.nan)
    return difference / se, float(2 * ndtr(-abs(difference / se)))
