"""The noise of test rows beside that of seeds, for a comparison in AUC whose seeds share their test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from nasbench_rec.studies._claims_judge import Comparison, Judged
from nasbench_rec.studies._claims_values import METRICS, Record

from nasbench_rec.data import Dataset
from nasbench_rec.predictions import read
from nasbench_rec.statistics import NoiseSplit, noise_split
from nasbench_rec.store import Store
from nasbench_rec.unit import Unit

PAIR = 2
"""Records of a point: the method's and the comparator's."""


def with_row_noise(
    judged: Judged, units: Mapping[str, Unit], records: Mapping[str, Record], store: Store
) -> Judged:
    """Return a verdict with `rows` in each of its comparisons for which the store can tell it; it decides nothing."""
    if judged.claim.relative or judged.claim.kind == "value":
        return judged
    found = [
        replace(c, rows=row_noise(c, judged.claim.metric, units, records, store)) for c in judged.comparisons
    ]
    return replace(judged, comparisons=tuple(found))


def row_noise(
    comparison: Comparison,
    metric: str,
    units: Mapping[str, Unit],
    records: Mapping[str, Record],
    store: Store,
) -> NoiseSplit | None:
    """Return what test rows and seeds add to the error of the mean difference in test AUC (`noise_split`).

    None where the metric is no test AUC, where each seed has test rows of its own, as on planted data (its interval is
    about rows, too), and where the store lacks the data or predictions. `StoreError` where predictions were changed.
    """
    pairs = [point.keys for point in comparison.points if len(point.keys) == PAIR]
    keys = [key for pair in pairs for key in pair]
    if not pairs or not all(_is_test_auc(metric, records[key]) for key in keys):
        return None
    data = {units[key].task.data.key for key in keys}
    folder = store.stages / "prepare" / min(data)
    there = (folder / "meta.json").is_file() and all(_path(store, records[key]).is_file() for key in keys)
    if len(data) > 1 or not there:
        return None
    labels = np.asarray(Dataset.load(folder).split("test").labels)
    method, other = (
        (read(_path(store, records[key]), records[key]["predictions_sha256"])["test"] for key in side)
        for side in zip(*pairs, strict=True)
    )
    return noise_split(labels, method, other)


def _path(store: Store, record: Record) -> Path:
    return store.path / str(record["predictions"])


def _is_test_auc(metric: str, record: Record) -> bool:
    """Return whether a metric of this record is its test AUC: `auc` is the expected one where that is known."""
    paths = METRICS[metric].paths if metric in METRICS else (metric,)
    scores = record["scores"]
    known = next((p for p in paths if isinstance(scores.get(p.removeprefix("scores.")), (int, float))), "")
    return known == "scores.test_auc" and "predictions" in record
