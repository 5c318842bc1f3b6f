"""What comparisons are made of: records with their contenders named, and scores paired by seed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._records import (
    GROUP,
    PAIR,
    groups,
    prepared,
    random_label,
    succeeded,
    uniform_label,
)
from numpy.typing import ArrayLike

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import PairedDifference, paired_difference

_BUDGET = re.compile(r" @ (1/\d+|[0-9.]+(?:e[+-]?\d+)?)(?![\w/.])")
OWN_SIZE = "own size"
"""The budget of what has no control of its size."""


@dataclass(frozen=True)
class Contender:
    """What a row of a comparison is about: one label on one data set and backbone."""

    dataset: str
    backbone: str
    label: str
    name: str
    """The label without its plan budget."""
    method: str
    ratio: float
    budget: str
    """In words: 1/2; "own size" for what has no control of it."""
    uniform: bool
    n: int
    failed: int


def stem(label: str, ratio: float) -> str:
    """Return a label without its plan budget: what is compared with itself over budgets."""
    found = list(_BUDGET.finditer(label)) if ratio == ratio else []
    return label[: found[-1].start()] + label[found[-1].end() :] if found else label


def budget(label: str, ratio: float) -> str:
    """Return a label's plan budget in words: `1/2`, or that it has none."""
    found = list(_BUDGET.finditer(label))
    if ratio != ratio:
        return OWN_SIZE
    return found[-1][1] if found else f"{ratio:g}"


def named(records: pd.DataFrame) -> pd.DataFrame:
    """Return prepared records with `name` (the label without its budget) and `budget` (in words)."""
    frame = prepared(records)
    pairs = list(zip(frame["label"], frame["ratio"], strict=True))
    return frame.assign(
        name=[stem(label, ratio) for label, ratio in pairs],
        budget=[budget(label, ratio) for label, ratio in pairs],
    )


@dataclass(frozen=True)
class Place:
    """The prepared records of one data set and backbone, by label, and how to pair them."""

    dataset: str
    backbone: str
    records: pd.DataFrame
    units: Mapping[str, pd.DataFrame] = field(repr=False)
    uniform: str | None
    """The label of the uniform model, None where it was not run."""

    _tables: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    def scores(self, label: str, metric: str = "test_auc") -> pd.Series:
        """Return the scores of a label by split seed and seed, NaN where it failed or was not run."""
        if metric not in self._tables:
            good = succeeded(self.records)
            self._tables[metric] = good.set_index([*PAIR, "label"])[metric].unstack("label")
        table = self._tables[metric]
        return table[label] if label in table else pd.Series(np.nan, index=table.index)

    def difference(self, label: str, other: str | None, metric: str = "test_auc") -> PairedDifference:
        """Return the paired difference of two labels; missing without the other one."""
        if other is None:
            return PairedDifference.missing()
        return difference(self.scores(label, metric), self.scores(other, metric))

    def mean(self, label: str, metric: str = "test_auc") -> PairedDifference:
        """Return the mean score of a label with its interval."""
        scores = self.scores(label, metric)
        return difference(scores, np.zeros(len(scores)))

    def pairs(self, label: str, other: str, metric: str = "test_auc") -> pd.DataFrame:
        """Return the scores `a` and `b` of two labels where both have one."""
        found = pd.DataFrame({"a": self.scores(label, metric), "b": self.scores(other, metric)})
        return found.dropna().sort_index()

    def random(self, label: str) -> str | None:
        """Return the label of random widths of the same size."""
        return random_label(self.records, self.units[label])


def places(records: pd.DataFrame) -> Iterator[Place]:
    """Iterate over data sets and backbones of `records` (the frame of `Store.frame()`)."""
    for dataset, backbone, group in groups(named(records)):
        units = {str(label): unit for label, unit in group.groupby("label", sort=True)}
        yield Place(dataset, backbone, group, units, uniform_label(group))


def difference(a: ArrayLike, b: ArrayLike) -> PairedDifference:
    """Return `paired_difference`, which several figures of one store ask for again."""
    return _difference(np.asarray(a, dtype=np.float64).tobytes(), np.asarray(b, dtype=np.float64).tobytes())


@lru_cache(maxsize=1 << 15)
def _difference(a: bytes, b: bytes) -> PairedDifference:
    return paired_difference(np.frombuffer(a), np.frombuffer(b))


def head(place: Place, label: str) -> dict[str, Any]:
    """Return what every row of a comparison begins with."""
    unit = place.units[label]
    first, failed = unit.iloc[0], int((unit["status"] != "ok").sum())
    return {
        "dataset": place.dataset,
        "backbone": place.backbone,
        "label": label,
        "name": str(first["name"]),
        "method": str(first["method"]),
        "ratio": float(first["ratio"]),
        "budget": str(first["budget"]),
        "uniform": label == place.uniform,
        "n": len(unit) - failed,
        "failed": failed,
    }


def budgets(frame: pd.DataFrame) -> list[tuple[float, str]]:
    """Return the plan budgets of a frame, the largest first, and last (NaN) that of what has none."""
    found = frame[["ratio", "budget"]].drop_duplicates("ratio").sort_values("ratio", ascending=False)
    return [(float(ratio), str(text)) for ratio, text in found.itertuples(index=False)]


def at_budget(frame: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Return the rows of a plan budget; of NaN those without one."""
    return frame[frame["ratio"].isna() if ratio != ratio else frame["ratio"] == ratio]


def mean_scores(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return mean test AUCs [data set and backbone, name] of a budget, and the names that lack one somewhere.

    A name with a failed unit somewhere has no score there: its mean would be over other seeds than the others'.
    """
    means = frame.groupby([*GROUP, "name"])["test_auc"].mean()
    means[frame.groupby([*GROUP, "name"])["status"].agg(lambda status: bool((status != "ok").any()))] = float(
        "nan"
    )
    table = means.unstack("name")
    whole = table.notna().all()
    return table.loc[:, whole], sorted(map(str, table.columns[~whole]))


def require(records: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse records without columns that only some comparisons need."""
    missing = [name for name in columns if name not in records]
    if missing:
        raise DataError(
            f"the records lack the columns {', '.join(missing)}; give the frame of `Store.frame()`."
        )
