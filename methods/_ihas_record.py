"""What an iHAS unit leaves in its record (the formulas are in `_ihas_diagnostics`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nasbench_rec.methods import _ihas_diagnostics as measure

from nasbench_rec.data import Split
from nasbench_rec.searcher import SearchTask


def record_gates(task: SearchTask, pi: np.ndarray, held: np.ndarray, masks: np.ndarray, cut: float) -> None:
    """Record the probabilities of training rows `pi` and search rows `held`, and the masks 1[pi > cut], all [N, D]."""
    kept, spread = measure.keep_rates(masks, task.fields, task.layout.dim)
    found: dict[str, Any] = {
        "fields": [f.name for f in task.fields],
        "cut": cut,
        "probability_histogram": {
            "train": measure.probability_histogram(pi),
            "search": measure.probability_histogram(held),
        },
        "bimodality": {"train": measure.bimodality(pi), "search": measure.bimodality(held)},
        "keep_rate_per_field": kept,
        "keep_rate_spread": spread,
        "sample_keep_rate": measure.sample_keep_rate(masks),
        "hamming": measure.hamming(masks, np.zeros(len(masks), dtype=np.int64), masks[:1]),
    }
    _keep(task, found)


def record_separation(
    task: SearchTask,
    features: np.ndarray,
    labels: np.ndarray,
    centroids: np.ndarray,
    recluster: Callable[[int], np.ndarray],
) -> None:
    """Record how well K-Means' clusters `labels` [N] of `features` [N, D] stand apart, and whether they hold."""
    found: dict[str, Any] = {
        "silhouette": measure.silhouette(features, labels, task.rng("silhouette")),
        "separation": measure.separation(features, labels, centroids),
        "stability": measure.stability(labels, recluster),
    }
    _keep(task, found)


def record_clusters(
    task: SearchTask,
    masks: np.ndarray,
    labels: np.ndarray,
    rows: Split,
    mean: np.ndarray,
    columns: np.ndarray,
) -> None:
    """Record the clusters `labels` of `rows`: their masks' averages `mean` [k, D] and final `columns` [k, F, d]."""
    sizes = np.bincount(labels, minlength=len(mean))
    found: dict[str, Any] = {
        "clusters": len(mean),
        "cluster_sizes": sizes.tolist(),
        "columns_kept": columns.mean((1, 2)).tolist(),
        "hamming": measure.hamming(masks, labels, columns),
        "cluster_field_information": measure.field_information(
            labels, rows.ids, task.fields, task.rng("field information")
        ),
        "cluster_masks_mean": mean.reshape(columns.shape).round(3).tolist(),
        "cluster_columns": columns.astype(int).tolist(),
    }
    _keep(task, found)


def _keep(task: SearchTask, found: dict[str, Any]) -> None:
    for name, value in found.items():
        task.diagnose(name, value)
