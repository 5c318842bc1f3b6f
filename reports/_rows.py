"""The row of a leaderboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nasbench_rec.statistics import PairedDifference


@dataclass(frozen=True)
class LeaderboardRow:
    """One label on one data set and backbone: means over the seeds that succeeded, NaN where unknown.

    Sizes are in bytes, times in seconds, `*_sd` are sample standard deviations over seeds, `*_difference` is
    this row minus the uniform model over the pairs of equal split seed and seed, with its 95 % interval.
    """

    dataset: str
    backbone: str
    label: str
    method: str
    ratio: float
    """The plan budget asked for, as a share of the uniform model's embedding bytes."""
    uniform: bool
    best: bool
    """Highest mean test AUC, no failed unit, and the paired interval against the second excludes zero."""
    best_at_budget: bool
    """The same among the rows of one plan budget."""
    n: int
    """Units that succeeded."""
    failed: int
    reason: str
    """The error of the first failed unit, by seed."""
    test_auc: float
    test_auc_sd: float
    test_logloss: float
    test_logloss_sd: float
    expected_auc: float
    expected_auc_sd: float
    auc_difference: float
    auc_difference_low: float
    auc_difference_high: float
    auc_difference_interval: str
    """How the interval was made: t, sign-flip, constant (all differences equal) or none (fewer than two pairs)."""
    auc_difference_pairs: int
    logloss_difference: float
    logloss_difference_low: float
    logloss_difference_high: float
    logloss_difference_interval: str
    logloss_difference_pairs: int
    random_difference: float
    """Test AUC less that of random widths of the same plan budget, paired alike; of a method without control of its
    size, less that of the smallest random plans that are no smaller than its own."""
    random_difference_low: float
    random_difference_high: float
    random_difference_interval: str
    random_difference_pairs: int
    width_correlation: float
    """Spearman's rank correlation of the plan's widths with the useful ones (planted data)."""
    width_correlation_sd: float
    useless_recall: float
    """Share of the useless fields that are dropped (planted data)."""
    useless_precision: float
    """Share of useless fields among the dropped ones, over the seeds that drop any (planted data)."""
    embedding_bytes: float
    embedding_ratio: float
    router_bytes: float
    total_bytes: float
    search_seconds: float
    retrain_seconds: float


def rows_of(frame: pd.DataFrame) -> list[LeaderboardRow]:
    """Return the rows of a leaderboard frame, in its order."""
    return [LeaderboardRow(**{str(k): v for k, v in row.items()}) for row in frame.to_dict("records")]


def grouped_rows(frame: pd.DataFrame) -> Iterator[tuple[str, str, list[LeaderboardRow]]]:
    """Iterate over data set, backbone and their rows."""
    for (dataset, backbone), part in frame.groupby(["dataset", "backbone"], sort=True):
        yield str(dataset), str(backbone), rows_of(part)


def flat(name: str, difference: PairedDifference) -> dict[str, Any]:
    """Return a paired difference as a row's fields: mean, bounds, how they were made, pairs."""
    return {
        name: difference.mean,
        f"{name}_low": difference.low,
        f"{name}_high": difference.high,
        f"{name}_interval": difference.method,
        f"{name}_pairs": difference.n,
    }
