"""What the page and the terminal say of a study: the rows of its tables and its sentences, unescaped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nasbench_rec.reports._printed import Column
from nasbench_rec.reports._study_data import FULL, Goal, StudyFrames, is_numeric, value_text
from nasbench_rec.reports._text import one_line, score, seconds

STATES = ("complete", "pruned", "failed", "running", "waiting")
FRONT = 20
"""Trials of a front that are listed."""
REASONS = 8
"""Different reasons that are listed for trials that ended early."""
UNIT = ["dataset", "backbone", "split_seed", "seed"]


@dataclass(frozen=True)
class TrialRow:
    """A complete trial as a table shows it."""

    number: int
    best: bool
    default: bool
    seconds: float
    values: tuple[float, ...]
    difference: float
    """Of the first objective to the method's defaults; NaN where they have no value."""
    params: Mapping[str, Any]
    health: str = ""
    """Signs of a search that failed."""


@dataclass(frozen=True)
class RangeRow:
    """A parameter as a table shows it: what was asked, and its importance for each objective."""

    dimension: Mapping[str, Any]
    importances: tuple[float, ...]

    @property
    def name(self) -> str:
        """The name of the parameter."""
        return one_line(self.dimension["name"], 60)

    @property
    def asked(self) -> str:
        """Return the range or the choices in words."""
        d = self.dimension
        if d.get("choices"):
            return one_line(", ".join(value_text(choice) for choice in d["choices"]), 200)
        step = f", steps of {value_text(d['step'])}" if d.get("step") and not _unit_step(d) else ""
        scale = ", logarithmic" if d.get("log") else ""
        return f"{value_text(d.get('low'))} to {value_text(d.get('high'))}{scale}{step}"

    @property
    def when(self) -> str:
        """Return on which values of others it is asked for."""
        return one_line(_condition(self.dimension.get("when")), 120)


def _unit_step(dimension: Mapping[str, Any]) -> bool:
    return dimension["type"] == "int" and dimension["step"] == 1


def _condition(when: Any) -> str:
    if not isinstance(when, Mapping):
        return "" if when is None else str(when)
    parts = []
    for name, values in when.items():
        several = isinstance(values, Iterable) and not isinstance(values, str)
        parts.append(f"{name} = {' or '.join(map(str, values)) if several else values}")
    return ", ".join(parts)


def trial_rows(frames: StudyFrames, trials: pd.DataFrame) -> list[TrialRow]:
    """Return these complete trials as rows, in their order."""
    goal, base = frames.goals[0], default_of(frames)
    reference = math.nan if base is None else float(base[goal.name])
    return [
        TrialRow(
            number=int(trial["number"]),
            best=bool(trial["best"]),
            default=bool(trial["default"]),
            seconds=float(trial["seconds"]),
            values=tuple(float(trial[g.name]) for g in frames.goals),
            difference=float(trial[goal.name]) - reference,
            health=str(trial.get("health") or ""),
            params={name: trial.get(f"param.{name}") for name in _names(frames)},
        )
        for trial in trials.to_dict("records")
    ]


def _names(frames: StudyFrames) -> list[str]:
    return [str(dimension["name"]) for dimension in frames.space]


def default_of(frames: StudyFrames) -> pd.Series | None:
    """Return the complete trial of the method's defaults, the first of several."""
    found = frames.complete[frames.complete["default"].astype(bool)]
    return found.iloc[0] if len(found) else None


def best_and_default(frames: StudyFrames) -> list[TrialRow]:
    """Return the best trial, or up to `FRONT` on the Pareto front, and the defaults below."""
    ranked = frames.ranked()
    chosen = ranked[ranked["best"].astype(bool)].head(FRONT)
    default = frames.complete[frames.complete["default"].astype(bool)].head(1)
    return trial_rows(frames, pd.concat([chosen, default[~default["number"].isin(chosen["number"])]]))


def trial_columns(frames: StudyFrames) -> list[Column[Any]]:
    """Return the columns of a table of trials."""
    goals = frames.goals
    first = goals[0]
    columns: list[Column[Any]] = [Column("trial", "", 0, _trial, numeric=False)]
    values = [_value_column(i, goal) for i, goal in enumerate(goals)]
    place = 2 if len(goals) == 1 else 80
    difference = Column[Any]("− default", "", place, lambda row: _difference(row, first))
    columns += [values[0], difference, *values[1:]]
    columns += [_param_column(i, dimension) for i, dimension in enumerate(frames.space)]
    health = Column[Any]("health", "", 95, lambda row: row.health, numeric=False)
    return [*columns, Column("time", "", 90, lambda row: seconds(row.seconds)), health]


def _difference(row: TrialRow, goal: Goal) -> str:
    return "" if row.default else goal.difference(row.difference)


def _trial(row: TrialRow) -> str:
    best = "best" if len(row.values) == 1 else "front"
    marks = [word for word, on in ((best, row.best), ("default", row.default)) if on]
    return f"{row.number} ({', '.join(marks)})" if marks else str(row.number)


def _value_column(i: int, goal: Goal) -> Column[Any]:
    return Column(goal.label, "", 1, lambda row: goal.text(row.values[i]))


def _param_column(i: int, dimension: Mapping[str, Any]) -> Column[Any]:
    name = str(dimension["name"])
    head, numeric = one_line(name, 28), is_numeric(dimension)
    return Column(head, "", 10 + i, lambda row: value_text(row.params[name]), numeric=numeric)


def range_rows(frames: StudyFrames) -> list[RangeRow]:
    """Return the parameters, the most important for the first objective first."""
    rows = [
        RangeRow(dimension, tuple(_importance(frames, goal, str(dimension["name"])) for goal in frames.goals))
        for dimension in frames.space
    ]
    return sorted(
        rows, key=lambda row: -row.importances[0] if row.importances[0] == row.importances[0] else 1
    )


def _importance(frames: StudyFrames, goal: Goal, name: str) -> float:
    known = frames.importances
    if known.empty:
        return math.nan
    found = known[(known["objective"] == goal.name) & (known["param"] == name)]["importance"]
    return float(found.iloc[0]) if len(found) else math.nan


def range_columns(frames: StudyFrames) -> list[Column[Any]]:
    """Return the columns of the table of parameters."""
    several = len(frames.goals) > 1
    columns: list[Column[Any]] = [
        Column("parameter", "", 0, lambda row: row.name, numeric=False),
        Column("range", "", 1, lambda row: row.asked, numeric=False),
        Column("only for", "", 4, lambda row: row.when, numeric=False),
    ]
    heads = [f"importance for {goal.label}" if several else "importance" for goal in frames.goals]
    return columns + [_importance_column(i, head) for i, head in enumerate(heads)]


def _importance_column(i: int, head: str) -> Column[Any]:
    return Column(head, "", 2 + i, lambda row: score(row.importances[i], 2))


def asked_words(frames: StudyFrames) -> str:
    """Say in one sentence what a trial's value is and on what it was measured."""
    ways = {True: "highest", False: "lowest"}
    goals = " and ".join(f"the {ways[goal.maximize]} {goal.label}" for goal in frames.goals)
    units = frames.units
    if units.empty:
        return f"Looked for: {goals}, on validation data; engine: {one_line(frames.engine)}."
    places = units[["dataset", "backbone"]].drop_duplicates().itertuples(index=False, name=None)
    where = "; ".join(one_line(", ".join(map(str, place))) for place in places)
    seeds = ", ".join(str(seed) for seed in sorted(units["seed"].unique()))
    return (
        f"Looked for: {goals}, on validation data, each trial's value being the mean over its units ({where}; "
        f"seeds {seeds}); engine: {one_line(frames.engine)}."
    )


def outcome_words(frames: StudyFrames) -> str:
    """Say what came out against the method's defaults, and why it is optimistic."""
    if frames.complete.empty:
        return "No trial is complete: there is no best configuration."
    if len(frames.goals) > 1:
        count = int(frames.complete["best"].astype(bool).sum())
        listed = f", of which the first {FRONT} are listed" if count > FRONT else ""
        front = f"{count} of {len(frames.complete)} complete trials are on the Pareto front{listed}."
        return f"{front} {OPTIMISM}"
    return f"{_single(frames)} {OPTIMISM}"


OPTIMISM = (
    "These values are on validation data, and the best of many trials is partly luck: it is too optimistic "
    "by an amount that grows with their number. What it is worth is seen only on test data and with seeds that "
    "no trial used."
)


def _single(frames: StudyFrames) -> str:
    goal, best, default = frames.goals[0], frames.ranked().iloc[0], default_of(frames)
    value = goal.text(float(best[goal.name]))
    if default is None:
        return (
            f"Trial {best['number']} is best: {value}. The method's defaults have no value to compare with."
        )
    base = goal.text(float(default[goal.name]))
    if default["number"] == best["number"]:
        return f"No trial is better than the method's defaults: {base}."
    difference = goal.difference(float(best[goal.name]) - float(default[goal.name]))
    return (
        f"Trial {best['number']} is best: {value}, the method's defaults {base}, difference {difference}"
        f"{_in_units(frames, int(best['number']), int(default['number']))}."
    )


def full_words(frames: StudyFrames) -> str:
    """Return the best configuration in full precision; empty for several objectives and without a trial."""
    if len(frames.goals) > 1 or frames.complete.empty:
        return ""
    best = frames.ranked().iloc[0]
    values = {name: best.get(f"param.{name}") for name in _names(frames)}
    known = [f"{one_line(n, 60)} = {value_text(v, FULL)}" for n, v in values.items() if value_text(v)]
    return f"In full: {', '.join(known)}." if known else ""


def _in_units(frames: StudyFrames, best: int, default: int) -> str:
    """Say in how many units, paired, a trial is better than another."""
    goal, units = frames.goals[0], frames.units
    if units.empty or goal.name not in units:
        return ""
    one, other = (units[units["number"] == number] for number in (best, default))
    pairs = one.merge(other, on=UNIT, suffixes=("", "_default")).dropna(subset=[goal.name])
    if pairs.empty:
        return ""
    ahead = goal.ascending(pairs[goal.name]) < goal.ascending(pairs[f"{goal.name}_default"])
    return f" (better in {int(ahead.sum())} of {len(pairs)} units, paired by seed)"


def health_words(frames: StudyFrames) -> str:
    """Say which signs of a failed search the complete trials show; empty where there are none."""
    if "health" not in frames.complete:
        return ""
    shown = [set(str(text).split(", ")) - {""} for text in frames.complete["health"].fillna("")]
    counts = Counter(signature for found in shown for signature in found)
    if not counts:
        return ""
    ranked = sorted(counts.items(), key=lambda count: (-count[1], count[0]))
    said = ", ".join(f"{one_line(name, 40)} in {n}" for name, n in ranked)
    return f"Signs of failure among {len(shown)} complete trials (`run` explains them): {said}."


def count_words(frames: StudyFrames) -> str:
    """Count the trials by how they ended; those whose worker was lost apart."""
    trials = frames.trials
    lost = trials["lost"].astype(bool) if len(trials) else pd.Series(dtype=bool)
    own = trials[~lost]
    states = own["state"].value_counts()
    parts = [f"{states[state]} {state}" for state in STATES if state in states]
    said = f"{len(own)} trials: {', '.join(parts)}." if parts else "No trials yet."
    if lost.any():
        said += (
            f" {int(lost.sum())} more were lost with their worker and do not count; they were asked again."
        )
    return said


def reasons(frames: StudyFrames) -> list[tuple[str, str]]:
    """Return why trials failed or were pruned, the most frequent first: how many, and the reason."""
    found: list[tuple[str, str]] = []
    for state in ("failed", "pruned"):
        part = frames.trials[frames.trials["state"] == state]
        words = part["reason"].map(lambda text: one_line(text, 200) or "no reason was recorded")
        groups = sorted(part.groupby(words)["number"], key=lambda g: (-len(g[1]), int(g[1].min())))
        found += [(f"{len(n)} {state} ({_trials(n)})", str(reason)) for reason, n in groups[:REASONS]]
        rest = sum(len(n) for _, n in groups[REASONS:])
        found += [(f"{rest} {state}", "other reasons")] if rest else []
    return found


def _trials(numbers: pd.Series) -> str:
    first = [str(number) for number in sorted(numbers)]
    word = "trial" if len(first) == 1 else "trials"
    return f"{word} {', '.join(first[:6])}{', …' if len(first) > 6 else ''}"


def savings_words(frames: StudyFrames) -> str:
    """Say what the stage cache saved."""
    stages = {
        str(kind): (int(count[0]), int(count[1]))
        for kind, count in frames.savings.items()
        if isinstance(count, Sequence) and not isinstance(count, str)
    }
    reused = sum(again for _, again in stages.values())
    spent, saved = (float(frames.savings.get(f"{name}_seconds", 0.0)) for name in ("computed", "reused"))
    if not stages:
        return "No stages yet."
    kinds = ", ".join(f"{one_line(k, 40)} {again} of {new + again}" for k, (new, again) in stages.items())
    share = f", {saved / (spent + saved):.0%} of what they would have cost" if saved > 0 else ""
    return (
        f"{reused} of {sum(map(sum, stages.values()))} stages were found in the cache ({kinds}), which saved "
        f"{seconds(saved) or '0 s'}{share}; computing the others took {seconds(spent) or '0 s'}."
    )
