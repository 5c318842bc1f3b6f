"""What a claim measures: names of metrics, and numbers of a record by path."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """A number of the record by name: the first of its paths that the record has."""

    paths: tuple[str, ...]
    direction: Literal["higher", "lower"]
    """Which values are better."""


METRICS: Mapping[str, Metric] = {
    "auc": Metric(("scores.expected_auc", "scores.test_auc"), "higher"),
    "logloss": Metric(("scores.expected_logloss", "scores.test_logloss"), "lower"),
    "test_auc": Metric(("scores.test_auc",), "higher"),
    "test_logloss": Metric(("scores.test_logloss",), "lower"),
    "expected_auc": Metric(("scores.expected_auc",), "higher"),
    "expected_logloss": Metric(("scores.expected_logloss",), "lower"),
    "embedding_bytes": Metric(("ledger.embedding_bytes",), "lower"),
    "embedding_params": Metric(("ledger.embedding_params",), "lower"),
    "total_bytes": Metric(("ledger.total_bytes",), "lower"),
    "search_seconds": Metric(("search_seconds",), "lower"),
    "retrain_seconds": Metric(("retrain_seconds",), "lower"),
    "search_trainings": Metric(("search_trainings",), "lower"),
    "peak_rss_bytes": Metric(("peak_rss_bytes",), "lower"),
}
"""`auc` and `logloss` are free of label noise where the true probabilities are known, as on planted data."""


def is_metric(name: str) -> bool:
    """Return whether a metric is known by name, or a dotted path, or a sum or difference of such."""
    return all(part in METRICS or ("." in part and all(part.split("."))) for _, part in terms(name))


def terms(metric: str) -> list[tuple[int, str]]:
    """Return the parts of `a + b - c`, each with its sign."""
    parts = re.split(r"\s([+-])\s", metric)
    signs = [1, *(1 if sign == "+" else -1 for sign in parts[1::2])]
    return list(zip(signs, parts[::2], strict=True))


def value(record: Record | None, metric: str) -> float:
    """Return a metric of a record that is no failure; NaN where it, or a part of it, is not known."""
    if record is None or record["status"] != "ok":
        return math.nan
    return sum(sign * _one(record, part) for sign, part in terms(metric))


def _one(record: Record, metric: str) -> float:
    for path in METRICS[metric].paths if metric in METRICS else (metric,):
        found = look(record, path)
        if isinstance(found, (int, float)):
            return float(found)
    return math.nan


def look(record: Any, path: str) -> Any:
    """Return what stands at a dotted path, whose steps are names, or places in a list; None where one is missing."""
    found: Any = record
    for name in path.split("."):
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif (
            isinstance(found, list) and re.fullmatch(r"-?\d+", name) and -len(found) <= int(name) < len(found)
        ):
            found = found[int(name)]
        else:
            return None
    return found
