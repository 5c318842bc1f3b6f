"""What a clustered model's routing did: shares of the splits, and each cluster's quality and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasbench_rec import metrics

SAMPLE = 2000
"""Test rows whose clusters a record keeps: the same rows whatever the seed, so that clusterings can be compared."""


def routing_report(
    clusters: dict[str, np.ndarray], k: int, labels: np.ndarray, logits: np.ndarray
) -> dict[str, Any]:
    """Return shares of the k clusters per split, their drift, and the scores of each cluster on test.

    `clusters` holds each split's clusters, int64 [N]; `labels` and `logits` [N] are of `test`. `drift` is the total
    variation distance between the shares of train and test, `sample` the clusters of the first test rows. The pooled
    AUC of separately trained models depends on their calibration: compare `mean_prediction` with `positive_rate`.
    """
    shares = {name: np.bincount(own, minlength=k) / max(len(own), 1) for name, own in clusters.items()}
    drift = float(np.abs(shares["train"] - shares["test"]).sum() / 2)
    of_test = [np.flatnonzero(clusters["test"] == c) for c in range(k)]
    return {
        "shares": {name: share.tolist() for name, share in shares.items()},
        "drift": drift,
        "sample": clusters["test"][:SAMPLE].tolist(),
        "clusters": [_cluster(labels[rows], logits[rows]) for rows in of_test],
    }


def _cluster(labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    both = len(labels) > 0 and 0 < labels.sum() < len(labels)
    known = len(labels) > 0
    return {
        "rows": len(labels),
        "positive_rate": float(labels.mean()) if known else None,
        "mean_prediction": float((1 / (1 + np.exp(-logits.astype(np.float64)))).mean()) if known else None,
        "auc": metrics.auc(labels, logits) if both else None,
        "logloss": metrics.logloss(labels, logits) if known else None,
    }
