"""What shows whether an iHAS search found anything: probabilities, masks and clusters in numbers for the record.

Pure functions of arrays; N samples, F fields of d columns, D = F d gates, k clusters. Every result is JSON-able,
rounded to 6 digits, and the same for the same input: None stands for "not defined here".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from nasbench_rec.data import Field

DIP_VALUES = 20_000
"""Probabilities that the dip test and the coefficient see; its tables end at 72,000 and the cost grows with them."""

INFORMATION_ROWS = 20_000
NEAR = 0.1
VALLEY_BINS = 50
VALLEY_DEPTH = 0.5
"""A valley is at most this share of the lower one of its two peaks."""

VALLEY_SIDE = 0.02
"""Least share of the probabilities on either side of a valley: a handful of gates is no peak."""

Number = float | None


def rounded(value: float) -> Number:
    """Return `value` to 6 digits; None where it is not finite."""
    return round(float(value), 6) if math.isfinite(value) else None


def probability_histogram(pi: np.ndarray, bins: int = VALLEY_BINS) -> list[float]:
    """Return the share of the probabilities `pi` in each of `bins` equal bins of [0, 1]; the last holds 1."""
    counts = np.histogram(pi, bins=bins, range=(0.0, 1.0))[0]
    return [round(share, 6) for share in (counts / max(pi.size, 1)).tolist()]


def bimodality(pi: np.ndarray) -> dict[str, Number]:
    """Return how far the gate probabilities `pi` [N, D] are of two groups.

    `near_0`, `near_1`, `middle`: shares below .1, above .9 and between. `dip`, `dip_p`: Hartigan's dip and its p-value
    under one peak, which takes the values as independent (gates of one sample are not). `coefficient`: Sarle's with
    the correction for n; above 5/9, that of the uniform distribution, it points to two peaks, and skewness alone
    also raises it. `valley`: see there. Dip and coefficient are those of at most 20,000 values, always the same ones.
    """
    from diptest import diptest

    low, high = float((pi < NEAR).mean()), float((pi > 1 - NEAR).mean())
    sample = _some_values(pi)
    dip, p = diptest(sample) if len(sample) > 3 else (math.nan, math.nan)
    found = {"mean": float(pi.mean(dtype=float)), "near_0": low, "near_1": high, "middle": 1 - low - high}
    found |= {"dip": float(dip), "dip_p": float(p), "coefficient": sarle(sample)}
    return {name: rounded(value) for name, value in found.items()} | {"valley": valley(pi)}


def _some_values(pi: np.ndarray) -> np.ndarray:
    values = pi.reshape(-1)
    if len(values) > DIP_VALUES:
        values = values[np.random.default_rng(0).choice(len(values), DIP_VALUES, replace=False)]
    return values.astype(float)


def sarle(values: np.ndarray) -> float:
    """Return Sarle's bimodality coefficient of `values` [n], (g^2 + 1) / (k + 3 (n-1)^2 / ((n-2) (n-3))).

    g: skewness, k: excess kurtosis, both corrected for bias. NaN for constant values and for less than 4.
    """
    from scipy.stats import kurtosis, skew

    n = len(values)
    if n < 4 or np.ptp(values) < 1e-12:
        return math.nan
    g, k = float(skew(values, bias=False)), float(kurtosis(values, bias=False))
    return (g**2 + 1) / (k + 3 * (n - 1) ** 2 / ((n - 2) * (n - 3)))


def valley(pi: np.ndarray) -> Number:
    """Return the lowest point between the two peaks of the probabilities' histogram; None where there are not two.

    50 bins, smoothed over 3. Two peaks: between them some bin is at most half as high as the lower one, with at least
    2 % of the probabilities on either side. The middle of a flat valley.
    """
    counts = np.histogram(pi, bins=VALLEY_BINS, range=(0.0, 1.0))[0] / max(pi.size, 1)
    smooth = np.convolve(np.pad(counts, 1, "edge"), np.ones(3) / 3, "valid")
    left, right = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
    lower = np.minimum(left, right)
    depth = lower - smooth
    deepest = np.flatnonzero(depth >= depth.max() - 1e-12)
    at = int(deepest[len(deepest) // 2])
    sides = min(counts[:at].sum(), counts[at + 1 :].sum())
    if smooth[at] > VALLEY_DEPTH * lower[at] or sides < VALLEY_SIDE:
        return None
    return rounded((at + 0.5) / VALLEY_BINS)


def hamming(masks: np.ndarray, labels: np.ndarray, columns: np.ndarray) -> dict[str, Number]:
    """Return mean shares of differing gates, over all pairs and exactly.

    `masks` bool [N, D], `labels` the clusters 0..k-1 [N], `columns` the clusters' final masks [k, F, d].
    `between_samples`, `within_clusters`, `between_clusters`: over pairs of different samples, all, of the same and
    of different clusters. `cluster_masks`: over pairs of clusters. None where no pair exists.
    """
    k, width = len(columns), masks.shape[1]
    sizes = np.bincount(labels, minlength=k)
    ones = np.stack([masks[labels == c].sum(0, dtype=np.int64) for c in range(k)])
    inside = [float((on * (n - on)).sum()) for on, n in zip(ones, sizes, strict=True)]
    everyone = ones.sum(0)
    total, within = float((everyone * (len(masks) - everyone)).sum()), sum(inside)
    pairs, same = len(masks) * (len(masks) - 1) / 2, float((sizes * (sizes - 1) / 2).sum())
    final = columns.reshape(k, -1).astype(bool)
    different = [float((final[a] != final[b]).mean()) for a, b in combinations(range(k), 2)]
    return {
        "between_samples": _share(total, pairs * width),
        "within_clusters": _share(within, same * width),
        "between_clusters": _share(total - within, (pairs - same) * width),
        "cluster_masks": _share(sum(different), len(different)),
    }


def _share(part: float, whole: float) -> Number:
    return rounded(part / whole) if whole else None


def keep_rates(
    masks: np.ndarray, fields: Sequence[Field], dim: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return per field the kept share of its d = `dim` gates: the mean over samples, and the deviation over samples.

    `masks` bool [N, F d]. A field whose deviation is 0 is gated alike in every sample.
    """
    kept = masks.reshape(len(masks), len(fields), dim).mean(2)
    means, deviations = kept.mean(0).round(6).tolist(), kept.std(0).round(6).tolist()
    names = [f.name for f in fields]
    return dict(zip(names, means, strict=True)), dict(zip(names, deviations, strict=True))


def sample_keep_rate(masks: np.ndarray) -> dict[str, float]:
    """Return `mean` and `sd`, over samples, of the share of gates that a sample keeps; `masks` bool [N, D]."""
    kept = masks.mean(1)
    return {"mean": round(float(kept.mean()), 6), "sd": round(float(kept.std()), 6)}


def silhouette(
    features: np.ndarray, labels: np.ndarray, rng: np.random.Generator, rows: int = 2000
) -> float | None:
    """Return the mean silhouette (-1..1) of at most `rows` random rows of `features` [N, D] in clusters `labels` [N].

    None where the rows drawn are of one cluster, or all of different ones.
    """
    from sklearn.metrics import silhouette_score

    chosen = rng.choice(len(labels), min(rows, len(labels)), replace=False)
    features, labels = features[chosen], labels[chosen]
    if not 1 < len(np.unique(labels)) < len(labels):
        return None
    return rounded(float(silhouette_score(features, labels)))


def separation(features: np.ndarray, labels: np.ndarray, centroids: np.ndarray) -> float | None:
    """Return the least distance of two `centroids` [k, D] over the mean distance of a row to its own.

    `features` [N, D], `labels` [N]. None for one cluster, and where every row lies on its centroid.
    """
    if len(centroids) < 2:
        return None
    parts = [_distances(features[labels == c], centroids[c]) for c in range(len(centroids))]
    spread = float(np.concatenate(parts).mean(dtype=float))
    least = min(float(_distances(a[None], b)[0]) for a, b in combinations(centroids, 2))
    return rounded(least / spread) if spread > 1e-9 else None


def _distances(rows: np.ndarray, point: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows - point, axis=1)


def stability(labels: np.ndarray, recluster: Callable[[int], np.ndarray], runs: int = 4) -> float | None:
    """Return the mean adjusted Rand index of clusters `labels` [N] and those of `recluster(seed)`, seed = 1..runs.

    1: every seed gives the same clusters; 0: as alike as chance. None for one cluster.
    """
    from sklearn.metrics import adjusted_rand_score

    if len(np.unique(labels)) < 2:
        return None
    return rounded(float(np.mean([adjusted_rand_score(labels, recluster(s)) for s in range(1, runs + 1)])))


def field_information(
    labels: np.ndarray, ids: np.ndarray, fields: Sequence[Field], rng: np.random.Generator
) -> dict[str, float]:
    """Return per field the share (0..1) of the cluster's entropy that the field's value explains.

    Mutual information of cluster and value, less what permuted clusters give (many values explain much by chance),
    over the cluster's entropy. `labels` [N], `ids` [N, C] in the order of the fields; of a multi-valued field the
    first column; at most 20,000 rows. One cluster has no entropy, of which every field explains 0.
    """
    chosen = rng.choice(len(labels), min(INFORMATION_ROWS, len(labels)), replace=False)
    labels, ids = np.unique(labels[chosen], return_inverse=True)[1], ids[chosen]
    entropy, chance = _entropy(np.bincount(labels)), rng.permutation(labels)
    if entropy <= 0:
        return {field.name: 0.0 for field in fields}
    first = np.cumsum([0] + [f.columns for f in fields[:-1]])
    found = {}
    for field, column in zip(fields, first, strict=True):
        values = np.unique(ids[:, column], return_inverse=True)[1]
        gained = _information(labels, values) - _information(chance, values)
        found[field.name] = round(min(1.0, max(0.0, gained / entropy)), 6)
    return found


def _information(labels: np.ndarray, values: np.ndarray) -> float:
    """Mutual information in nats of two codings 0..n-1 [N]."""
    both = np.bincount(values * (labels.max() + 1) + labels)
    return _entropy(np.bincount(labels)) + _entropy(np.bincount(values)) - _entropy(both)


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
