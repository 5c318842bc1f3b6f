"""What the report of a study is made from: its frames, its objectives, its parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nasbench_rec.reports._text import byte_size, decimals, one_line, score, seconds, three_digits

from nasbench_rec.errors import ConfigError, unknown

LABELS = {
    "valid_auc": "validation AUC",
    "valid_logloss": "validation logloss",
    "embedding_bytes": "embedding size",
    "router_bytes": "router size",
    "total_bytes": "model size",
    "search_seconds": "search time",
    "retrain_seconds": "retraining time",
}
"""What objectives are called; others go by their names."""
FULL = 17
"""Digits that tell any two numbers apart."""
ENDED = ("complete", "pruned", "failed")
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Goal:
    """One objective of a study: its name, which way is better, and how its values are written."""

    name: str
    direction: str

    @property
    def label(self) -> str:
        """What it is called in a figure or above a column."""
        return LABELS.get(self.name) or one_line(self.name.replace("_", " "), 40)

    @property
    def maximize(self) -> bool:
        """Whether larger is better."""
        return self.direction == "maximize"

    @property
    def is_bytes(self) -> bool:
        """Whether its values are sizes."""
        return self.name.endswith("_bytes")

    @property
    def is_score(self) -> bool:
        """Whether its values are written as those of AUC and logloss."""
        return self.name.endswith(("auc", "logloss"))

    def text(self, value: float, places: int = 4) -> str:
        """Return a value as people read it; empty for NaN."""
        if self.is_score:
            return score(value, places)
        if self.is_bytes:
            return byte_size(value)
        return seconds(value) if self.name.endswith("_seconds") else three_digits(value)

    def difference(self, value: float) -> str:
        """Return a difference with its sign; empty for NaN."""
        if math.isnan(value):
            return ""
        if self.is_score:
            return score(value, decimals(abs(value)), signed=True)
        return f"{'-' if value < 0 else '+'}{self.text(abs(value))}"

    def ascending(self, values: pd.Series) -> pd.Series:
        """Return values of which the smaller are the better."""
        return -values if self.maximize else values


@dataclass(frozen=True, eq=False)
class StudyFrames:
    """A study as frames, whichever engine ran it."""

    name: str
    title: str
    question: str
    engine: str
    trials: pd.DataFrame
    """A row per trial: number, state, reason, seconds, default, lost, best, objectives, `param.NAME`."""
    units: pd.DataFrame
    """A row per unit of a trial: number, state, data set, backbone, seeds, scores, sizes, times, `param.NAME`."""
    curves: pd.DataFrame
    """A row per report of a trial: number, state, step, value."""
    importances: pd.DataFrame
    """A row per objective and parameter; may be empty."""
    space: Sequence[Mapping[str, Any]]
    """The dimensions: name, type, low, high, log, step, choices, when."""
    objectives: Sequence[Mapping[str, str]]
    """Name and direction of each."""
    savings: Mapping[str, Any]
    """`computed_seconds`, `reused_seconds`, and per kind of stage how many were computed and reused."""

    @property
    def goals(self) -> list[Goal]:
        """The objectives in their order."""
        return [Goal(str(o["name"]), str(o["direction"])) for o in self.objectives]

    @property
    def complete(self) -> pd.DataFrame:
        """The trials that have a value, by number."""
        found = self.trials[self.trials["state"] == "complete"]
        return found.dropna(subset=[goal.name for goal in self.goals]).sort_values("number")

    def ranked(self) -> pd.DataFrame:
        """Return the complete trials, the best first: those on the front, then by the first objective."""
        goal, several = self.goals[0], len(self.goals) > 1
        keys = {"front": ~self.complete["best"].astype(bool) if several else False}
        keys["value"] = goal.ascending(self.complete[goal.name])
        order = pd.DataFrame(keys | {"number": self.complete["number"]}, index=self.complete.index)
        return self.complete.loc[order.sort_values(["front", "value", "number"]).index]

    def dimension(self, name: str) -> Mapping[str, Any]:
        """Return the dimension of a name; `ConfigError` names the nearest if there is none."""
        found = {str(dimension["name"]): dimension for dimension in self.space}
        if name not in found:
            raise ConfigError(unknown("parameter", name, found))
        return found[name]


def is_numeric(dimension: Mapping[str, Any]) -> bool:
    """Say whether a dimension is one of numbers in a range."""
    return dimension["type"] in ("int", "float")


def asked(trials: pd.DataFrame, name: str) -> pd.Series:
    """Return the values of a parameter in those trials in which it was asked."""
    column = f"param.{name}"
    return trials[column].dropna() if column in trials else pd.Series(dtype=object)


def value_text(value: Any, digits: int = 4) -> str:
    """Return a parameter's value as people read it (`FULL` digits: as it is); empty where it was not asked."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.{digits}g}" if digits < FULL else repr(float(value)).removesuffix(".0")
    return one_line(value, 60 if digits < FULL else 1000)
