"""Clicks in the shape of Criteo's: 39 categorical fields with power-law values, 0.9 million values in all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

NUMERIC, CATEGORICAL, BUCKETS = 13, 26, 50
CARDINALITIES = (BUCKETS,) * NUMERIC + tuple(int(n) for n in np.geomspace(10, 300_000, CATEGORICAL).round())
SMALL = (BUCKETS,) * 4 + tuple(int(n) for n in np.geomspace(10, 3_000, 6).round())


def draw(
    rows: int, cardinalities: tuple[int, ...] = CARDINALITIES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Ids within each field, int32 [N, F], and labels, float32 [N], of an additive logistic model.

    The value of rank r has probability proportional to r^-1.1, in the bucketed numeric fields to r^-0.5.
    """
    rng = np.random.default_rng(seed)
    ids = np.empty((rows, len(cardinalities)), np.int32)
    logit = np.full(rows, -1.4)
    for field, size in enumerate(cardinalities):
        weight = np.arange(1, size + 1) ** (-0.5 if size == BUCKETS else -1.1)
        ids[:, field] = np.searchsorted(weight.cumsum() / weight.sum(), rng.random(rows)).clip(max=size - 1)
        logit += rng.normal(0.0, 0.25, size)[ids[:, field]]
    return ids, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)


def save(path: Path, rows: int) -> None:
    ids, labels = draw(rows)
    np.savez(path, ids=ids, labels=labels, cardinalities=np.array(CARDINALITIES))
