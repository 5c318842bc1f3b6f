"""Stages 2 and 3 of iHAS up to the plan: clusters of samples, and the columns that each cluster keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._ihas_diagnostics import field_information
from nasbench_rec.methods._ihas_gates import GatedEmbedding
from torch.nn.functional import binary_cross_entropy_with_logits

from nasbench_rec.data import Split
from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.model import CTRModel
from nasbench_rec.routers import FieldRouter
from nasbench_rec.searcher import SearchTask
from nasbench_rec.training import PREDICT_ROWS, ids_of, labels_of

Metric = Literal["euclidean", "within"]
WITHIN_STEPS = 30
MOST_CLUSTERS = 256
"""A field router stores the cluster of each value in one byte."""


def sample_rows(split: Split, rows: int, rng: np.random.Generator) -> Split:
    """Return the split, or a random sample of `rows` of its rows (in their order) where it has more."""
    if len(split) <= rows:
        return split
    return split.take(np.sort(rng.choice(len(split), rows, replace=False)))


@dataclass(frozen=True)
class Clusters:
    """K-Means' outcome for N rows of width D: labels [N], centroids [k, D], and the linear rule of new rows.

    A row x belongs to the cluster of the largest x' directions_c + offsets_c, which is its nearest centroid.
    """

    labels: np.ndarray
    centroids: np.ndarray
    directions: np.ndarray
    offsets: np.ndarray


def cluster(
    features: np.ndarray, k: int, restarts: int, rng: np.random.Generator, metric: Metric = "euclidean"
) -> Clusters:
    """Cluster `features` [N, D] by mini-batch K-Means; fewer than k clusters where no more are distinct.

    `within`: go on from there in the metric of the clusters' own scatter, S the pooled covariance within clusters:
    A = (S + s I)^-1 with s the mean of S's diagonal, i.e. S shrunk half-way to a multiple of the identity; labels,
    centroids and S in turns until the labels stay. Directions in which every cluster is wide then count less.
    """
    centroids = _k_means(features, k, restarts, rng)
    found = _nearest(features, centroids, np.eye(features.shape[1]))
    for _ in range(WITHIN_STEPS if metric == "within" and len(found.centroids) > 1 else 0):
        means = np.stack([features[found.labels == c].mean(0) for c in range(len(found.centroids))])
        better = _nearest(features, means, _within_metric(features - means[found.labels]))
        same = np.array_equal(better.labels, found.labels)
        if len(better.centroids) < len(found.centroids):
            break
        found = better
        if same:
            break
    return found


def _k_means(features: np.ndarray, k: int, restarts: int, rng: np.random.Generator) -> np.ndarray:
    """Return the centroids [k, D] of the run of least inertia (`n_init` would compare initialisations only)."""
    import warnings

    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    options = {"n_init": 1, "batch_size": 4096, "reassignment_ratio": 0.0}
    runs = [MiniBatchKMeans(k, random_state=int(rng.integers(2**31)), **options) for _ in range(restarts)]
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for run in runs:
            run.fit(features)
    return min(runs, key=lambda run: run.inertia_).cluster_centers_


def _within_metric(deviations: np.ndarray) -> np.ndarray:
    """Return (S + s I)^-1 for deviations from centroids [N, D]."""
    scatter = (deviations.T @ deviations).astype(np.float64) / len(deviations)
    return np.linalg.inv(scatter + max(scatter.trace() / len(scatter), 1e-12) * np.eye(len(scatter)))


def _nearest(features: np.ndarray, centroids: np.ndarray, metric: np.ndarray) -> Clusters:
    """Assign rows to their nearest centroid; centroids that no row is nearest to are left out."""
    directions = (centroids @ metric).astype(np.float32)
    offsets = (-(centroids * directions).sum(1) / 2).astype(np.float32)
    parts = np.array_split(features, max(1, len(features) // 8192))
    labels = np.concatenate([(part @ directions.T + offsets).argmax(1) for part in parts])
    kept, compact = np.unique(labels, return_inverse=True)
    return Clusters(compact, centroids[kept].astype(np.float32), directions[kept], offsets[kept])


def column_masks(mean: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return 1[mean >= theta_c], bool [k, D]; a cluster that would keep nothing keeps its most used column."""
    masks = mean >= theta[:, None]
    for mask, share in zip(masks, mean, strict=True):
        if not mask.any():
            mask[share.argmax()] = True
    return masks


@torch.no_grad()
def threshold_curve(
    task: SearchTask, model: CTRModel, mean: np.ndarray, rows: np.ndarray, grid: np.ndarray
) -> np.ndarray:
    """Return the Logloss of the search model under the cluster's mask at each theta, on its search rows."""
    if not rows.any():
        return np.zeros(len(grid))
    split, device = task.search.take(np.flatnonzero(rows)), task.protocol.device
    masks = torch.from_numpy(column_masks(np.repeat(mean[None], len(grid), 0), grid)).to(device)
    losses, labels = np.zeros(len(grid)), labels_of(split)
    embedding = model.eval().embedding
    assert isinstance(embedding, GatedEmbedding)
    for part, target in zip(ids_of(split).split(PREDICT_ROWS), labels.split(PREDICT_ROWS), strict=True):
        ids = part.to(device)
        e = embedding.lookup(ids)
        for i, mask in enumerate(masks):
            logits = model.backbone(e * mask.view_as(e[0]), ids).cpu()
            losses[i] += float(binary_cross_entropy_with_logits(logits, target, reduction="sum"))
    return losses / len(split)


def field_router(task: SearchTask, rows: Split, labels: np.ndarray, name: str | None) -> FieldRouter:
    """Return the best imitation of the clusters `labels` [N] of `rows` by one field's value.

    Every value goes to the cluster that most of its rows are in; values that were not seen go to the largest one.
    The field is `name`, or the one that says most about the clusters.
    """
    names = [f.name for f in task.fields]
    if name is None:
        known = field_information(labels, rows.ids, task.fields, task.rng("field information"))
        name = max(known, key=lambda field: known[field])
    if name not in names:
        raise ConfigError(f"ihas.cluster_field: {unknown('field', name, names)}")
    field = names.index(name)
    column = sum(f.columns for f in task.fields[:field])
    counts = np.zeros((task.fields[field].cardinality, int(labels.max()) + 1), dtype=np.int64)
    np.add.at(counts, (rows.ids[:, column], labels), 1)
    of_value = np.where(counts.any(1), counts.argmax(1), np.bincount(labels).argmax())
    used, compact = np.unique(of_value, return_inverse=True)
    if len(used) > MOST_CLUSTERS:
        raise ConfigError(
            f"ihas.clusters = field: {len(used)} clusters, at most {MOST_CLUSTERS}; lower ihas.k."
        )
    router = FieldRouter(task.layout, len(used), field)
    router.cluster_of_value.copy_(torch.from_numpy(compact.astype(np.uint8)))
    task.diagnose("cluster_field", name)
    return router
