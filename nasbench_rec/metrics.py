"""AUC and Logloss, on labels and, where the true probabilities are known, in expectation over the labels.

All functions compute in float64, take one-dimensional arrays of N rows, and raise DataError where the shapes
differ, a value is not finite, or (AUC only) one class is absent.
"""

from __future__ import annotations

import numpy as np

from nasbench_rec.errors import DataError


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve of `scores` [N] for 0/1 `labels` [N]; ties count one half."""
    return expected_auc(labels, scores)


def logloss(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean negative log-likelihood of 0/1 `labels` [N] under sigmoid(`logits` [N]), in nats."""
    return expected_logloss(labels, logits)


def expected_auc(p: np.ndarray, scores: np.ndarray) -> float:
    """Return the AUC without label noise, in O(N log N).

    A(s) = sum_i sum_j p_i (1 - p_j) ([s_i > s_j] + [s_i = s_j] / 2) / (sum p * sum (1 - p)), with `p` [N] the
    true P(y = 1); A(p) is the best that any scores can reach. For p in {0, 1} it is the ordinary AUC.
    """
    truth, ranked = _pair(p, scores)
    order = np.argsort(ranked, kind="stable")
    ranked = ranked[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positive = np.add.reduceat(truth[order], starts)
    negative = np.add.reduceat(1 - truth[order], starts)
    pairs = positive.sum() * negative.sum()
    if pairs <= 0:
        raise DataError("AUC needs both classes: all labels (or true probabilities) are 0, or all are 1")
    below = np.cumsum(negative) - negative
    # A sum, not a dot product: the result must not depend on how many threads BLAS has.
    return float((positive * (below + negative / 2)).sum() / pairs)


def expected_logloss(p: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean Logloss, in nats, of sigmoid(`logits` [N]) where the true P(y = 1) is `p` [N]."""
    truth, z = _pair(p, logits)
    return float(np.mean(np.logaddexp(0, z) - truth * z))


def _pair(truth: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, values = np.asarray(truth, np.float64), np.asarray(values, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape or truth.size == 0:
        raise DataError(f"metrics take two arrays [N] with N > 0; got {truth.shape} and {values.shape}")
    if not ((truth >= 0) & (truth <= 1)).all():
        raise DataError("labels (or true probabilities) must lie in [0, 1]")
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"row {bad} has the score {values[bad]}: the model diverged; lower the learning rate")
    return truth, values
