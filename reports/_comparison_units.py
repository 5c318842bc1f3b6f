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

PLACE = [*GROUP, "label", "config", *PAIR]
"""Two records that agree in these would stand in one place of a comparison."""
_BUDGET = re.compile(r" @ (1/\d+|[0-9.]+(?:e[+-]?\d+)?)(?![\w/.])")
_SEED = re.compile(r"(?<=[( ])seed=\d+(?=[,)])")
OWN_SIZE = "own size"
"""The budget of what has no control of its size."""


@dataclass(frozen=True)
class Labelled:
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


@dataclass(frozen=True)
class Contender(Labelled):
    """The same, with how its units went."""

    uniform: bool
    n: int
    """Units that succeeded."""
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


def newest(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records (oldest start first) without those whose place in a comparison a later one takes.

    Such records differ in what a comparison does not show: the version of a method's code, say.
    """
    return records[~records.duplicated(PLACE, keep="last")]


def pooled(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records with data sets that differ in their seed alone as one, called `planted (seed=*)`.

    Only where each was run with one seed, and each with another: the data's seed is then a part of it, and pairs of
    seeds stay what they were.
    """
    runs = records[["dataset", "seed"]].drop_duplicates()
    runs = runs.assign(pool=runs["dataset"].astype(str).map(_pool))
    chosen = runs[~runs.duplicated("dataset", keep=False)]
    chosen = chosen[chosen.duplicated("pool", keep=False)]
    clash = chosen.loc[chosen.duplicated(["pool", "seed"]), "pool"]
    chosen = chosen[~chosen["pool"].isin(clash)]
    new = dict(zip(chosen["dataset"], chosen["pool"], strict=True))
    return records.assign(dataset=[new.get(name, name) for name in records["dataset"]])


def _pool(name: str) -> str:
    """Return a data set's name with any seed: one that has none in its name is of the seed by default."""
    if _SEED.search(name):
        return _SEED.sub("seed=*", name)
    return f"{name[:-1]}, seed=*)" if name.endswith(")") else f"{name} (seed=*)"


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


def labelled(unit: pd.DataFrame) -> dict[str, Any]:
    """Return the fields of `Labelled` of a label's records (`named`)."""
    first = unit.iloc[0]
    texts = {name: str(first[name]) for name in ("dataset", "backbone", "label", "name", "method", "budget")}
    return {**texts, "ratio": float(first["ratio"])}


def head(place: Place, label: str) -> dict[str, Any]:
    """Return the fields of `Contender`."""
    unit = place.units[label]
    failed = int((unit["status"] != "ok").sum())
    return {
        **labelled(unit),
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


def shared_scores(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return test AUCs [data set, backbone and pair of seeds; name] of a budget, and the names that are left out.

    Left out are those that were not run, or have a failed unit, on some data set and backbone. Of the others only the
    pairs of seeds count that all of them have, so that every mean is over the same ones.
    """
    table = frame.pivot_table(index=[*GROUP, *PAIR], columns="name", values="test_auc", aggfunc="first")
    failed = set(frame.loc[frame["status"] != "ok", "name"])
    everywhere = table.notna().groupby(level=GROUP).any().all()
    whole = [name for name in table.columns if everywhere[name] and name not in failed]
    return table[whole].dropna(), sorted({*map(str, frame["name"])} - {*map(str, whole)})


def require(records: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse records without columns that only some comparisons need."""
    missing = [name for name in columns if name not in records]
    if missing:
        raise DataError(
            f"the records lack the columns {', '.join(missing)}; give the frame of `Store.frame()`."
        )
