"""What the figures of a study show, as tidy frames: one function per figure, without ink."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._study_data import ENDED, Goal, Pairs, StudyFrames, asked, is_numeric
from nasbench_rec.reports._study_scales import Scale, choice_text, scale_of

from nasbench_rec.errors import ConfigError

FEW = 10
"""Distinct values up to which a parameter's values are compared one by one."""
LEAST = 4
"""Complete trials from which values between the trials are interpolated."""
UNIT = ["dataset", "backbone", "split_seed", "seed"]
Row = dict[str, Any]


def history_frame(frames: StudyFrames) -> pd.DataFrame:
    """Return a row per objective and ended trial: its value (NaN unless complete) and the best until then."""
    ended = frames.trials[frames.trials["state"].isin(ENDED)].sort_values("number")
    if frames.complete.empty:
        return pd.DataFrame()
    parts = []
    for goal in frames.goals:
        values = ended[goal.name].where(ended["state"] == "complete").astype(float)
        best = values.cummax() if goal.maximize else values.cummin()
        part = ended[["number", "state", "default", "best"]].assign(
            objective=goal.name, value=values, best_so_far=best.ffill()
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def slice_frame(frames: StudyFrames) -> pd.DataFrame:
    """Return a row per objective, parameter and complete trial that was asked for it: place `x` and value."""
    rows = [
        {"objective": goal.name, "parameter": scale.name, "x": x, "value": float(trial[goal.name])}
        | {name: trial[name] for name in ("number", "best", "default")}
        for goal in frames.goals
        for scale in scales(frames)
        for trial, x in _placed(frames, scale)
    ]
    return pd.DataFrame(rows)


def scales(frames: StudyFrames) -> list[Scale]:
    """Return the scale of each parameter that any complete trial was asked for."""
    found = [(dimension, asked(frames.complete, str(dimension["name"]))) for dimension in frames.space]
    return [scale_of(dimension, values) for dimension, values in found if len(values)]


def _placed(frames: StudyFrames, scale: Scale) -> Iterator[tuple[Row, float]]:
    trials = frames.complete.to_dict("records")
    places = scale.at(trial.get(f"param.{scale.name}") for trial in trials)
    for trial, x in zip(trials, places, strict=True):
        if not np.isnan(x):
            yield {str(name): value for name, value in trial.items()}, float(x)


def contour_frame(frames: StudyFrames, pairs: Pairs = ()) -> pd.DataFrame:
    """Return a row per pair of parameters and complete trial: places `x`, `y`, value of the first objective.

    Without `pairs` the two most important parameters of numbers are taken. `ConfigError` for a pair that names
    no parameter, or one of categories.
    """
    rows = []
    for x, y in _checked(frames, pairs) or _most_important(frames):
        ends = [scale_of(frames.dimension(n), asked(frames.complete, n)) for n in (x, y)]
        places = [dict(_numbered(frames, scale)) for scale in ends]
        rows += [
            {"x_name": x, "y_name": y, "number": trial["number"], "x": places[0][trial["number"]]}
            | {"y": places[1][trial["number"]], "value": float(trial[frames.goals[0].name])}
            | {"best": bool(trial["best"]), "default": bool(trial["default"])}
            for trial in frames.complete.to_dict("records")
            if trial["number"] in places[0] and trial["number"] in places[1]
        ]
    return pd.DataFrame(rows)


def _numbered(frames: StudyFrames, scale: Scale) -> Iterator[tuple[int, float]]:
    for trial, x in _placed(frames, scale):
        yield trial["number"], x


def _checked(frames: StudyFrames, pairs: Pairs) -> Pairs:
    for name in itertools.chain.from_iterable(pairs):
        if not is_numeric(frames.dimension(name)):
            allowed = ", ".join(repr(str(d["name"])) for d in frames.space if is_numeric(d))
            raise ConfigError(
                f"contour: {name!r} has no range of numbers; choose among {allowed or 'none here'}."
            )
    return pairs


def _most_important(frames: StudyFrames) -> list[tuple[str, str]]:
    """Return the two parameters of numbers that matter most, the first two where that is not known."""
    known = frames.importances
    weight: dict[str, float] = {}
    if len(known):
        own = known[known["objective"] == frames.goals[0].name]
        weight = dict(zip(own["param"].astype(str), own["importance"].astype(float), strict=True))
    varied = [
        str(d["name"])
        for d in frames.space
        if is_numeric(d) and asked(frames.complete, str(d["name"])).nunique() > 1
    ]
    first = sorted(varied, key=lambda name: -weight.get(name, 0.0))[:2]
    return [(first[0], first[1])] if len(first) == 2 else []


def surface(
    points: pd.DataFrame, x: Scale, y: Scale
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Return a surface through the values of `points`: x, y, value, and triangles as rows of three places.

    Linear between the trials on the axes' own scales, equal places averaged, nothing outside of their hull.
    None for fewer than `LEAST` places, or if they lie on a line.
    """
    from scipy.spatial import Delaunay, QhullError

    places = points.groupby(["x", "y"], as_index=False)["value"].mean()
    if len(places) < LEAST:
        return None
    across, up = places["x"].to_numpy(dtype=float), places["y"].to_numpy(dtype=float)
    try:
        corners = Delaunay(np.column_stack([x.share(across), y.share(up)])).simplices
    except QhullError:
        return None
    return across, up, places["value"].to_numpy(dtype=float), corners


def sensitivity_frame(frames: StudyFrames) -> pd.DataFrame:
    """Return a row per parameter of few values, value and unit of a complete trial: score, and value's best trial.

    The score is the first objective, which must be one that units have; the parameters are those of whole
    numbers or categories of which two to `FEW` values were tried.
    """
    goal = frames.goals[0]
    if goal.name not in frames.units or frames.units.empty:
        return pd.DataFrame()
    units = frames.units[frames.units["number"].isin(frames.complete["number"])].dropna(subset=[goal.name])
    parts = [_by_value(units, frames, dimension, goal) for dimension in frames.space]
    found = [part for part in parts if not part.empty]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _by_value(units: pd.DataFrame, frames: StudyFrames, dimension: Any, goal: Goal) -> pd.DataFrame:
    name, column = str(dimension["name"]), f"param.{dimension['name']}"
    if dimension["type"] == "float" or column not in units:
        return pd.DataFrame()
    values = units[column].map(choice_text)
    own = units[values != ""].assign(parameter=name, setting=values, score=units[goal.name].astype(float))
    if not 2 <= own["setting"].nunique() <= FEW:
        return pd.DataFrame()
    best = _best_of_each(own, frames, goal)
    own = own.assign(of_best=own["number"] == own["setting"].map(best), place=_order(own, dimension))
    groups = own.groupby(["setting", "dataset", "backbone"])
    own = own.assign(mean=groups["score"].transform("mean"), trials=groups["number"].transform("nunique"))
    columns = ["parameter", "setting", "place", "number", *UNIT, "score", "mean", "trials", "of_best"]
    return own[columns].sort_values(["dataset", "backbone", "place", "seed", "number"])


def _best_of_each(own: pd.DataFrame, frames: StudyFrames, goal: Goal) -> dict[str, int]:
    """Return the number of the best trial with each value of a parameter."""
    values = dict(zip(frames.complete["number"], goal.ascending(frames.complete[goal.name]), strict=True))
    return {
        str(setting): min(part["number"].unique(), key=lambda number: (values[number], number))
        for setting, part in own.groupby("setting")
    }


def _order(own: pd.DataFrame, dimension: Any) -> pd.Series:
    """Return the place of each value: numbers by size, choices as the space lists them."""
    seen = own["setting"].unique()
    if is_numeric(dimension):
        ordered = sorted(seen, key=float)
    else:
        listed = [choice_text(choice) for choice in dimension.get("choices") or ()]
        ordered = [c for c in listed if c in seen] + sorted(set(seen) - set(listed))
    return own["setting"].map({setting: i for i, setting in enumerate(ordered)})


def parallel_frame(frames: StudyFrames) -> pd.DataFrame:
    """Return a row per complete trial and parameter: `height` from 0 to 1 (NaN: not asked), first objective."""
    trials = frames.complete
    if len(trials) < 2:
        return pd.DataFrame()
    value = trials[frames.goals[0].name].astype(float)
    parts = []
    for scale in scales(frames):
        heights = scale.share(scale.at(trials[f"param.{scale.name}"]))
        head = trials[["number", "best"]].assign(parameter=scale.name)
        parts.append(head.assign(height=heights, value=value))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def importances_frame(frames: StudyFrames) -> pd.DataFrame:
    """Return a row per objective and parameter with its importance, the greatest first."""
    names = [goal.name for goal in frames.goals]
    known = frames.importances
    if known.empty or not (known["importance"] > 0).any():
        return pd.DataFrame()
    order = known.assign(place=known["objective"].map(names.index), down=-known["importance"])
    return (
        order.sort_values(["place", "down", "param"]).drop(columns=["place", "down"]).reset_index(drop=True)
    )


def pareto_frame(frames: StudyFrames) -> pd.DataFrame:
    """Return a row per pair of objectives and complete trial; `front`: none is better in both of the pair."""
    rows = []
    for x, y in itertools.combinations(frames.goals, 2):
        trials = frames.complete
        ahead = _front([goal.ascending(trials[goal.name].astype(float)) for goal in (x, y)])
        rows += [
            {"x_name": x.name, "y_name": y.name, "number": trial["number"], "x": float(trial[x.name])}
            | {"y": float(trial[y.name]), "front": bool(front)}
            | {"best": bool(trial["best"]), "default": bool(trial["default"])}
            for trial, front in zip(trials.to_dict("records"), ahead, strict=True)
        ]
    return pd.DataFrame(rows)


def _front(losses: Sequence[pd.Series]) -> np.ndarray:
    """Return which rows no other row betters in one and equals in the others, or betters in all."""
    table = np.column_stack([loss.to_numpy(dtype=float) for loss in losses])
    no_worse = (table[None] <= table[:, None]).all(axis=2)
    better = (table[None] < table[:, None]).any(axis=2)
    return np.asarray(~np.any(no_worse & better, axis=1))


def curves_frame(frames: StudyFrames) -> pd.DataFrame:
    """Return a row per report of an ended trial; `part` counts the pieces without a gap in the steps.

    Units and phases of a trial follow each other in the steps; each that ended early leaves a gap.
    """
    known = frames.curves
    if known.empty:
        return pd.DataFrame()
    known = known[known["state"].isin(ENDED)].dropna(subset=["value"]).sort_values(["number", "step"])
    if known.empty:
        return pd.DataFrame()
    apart = known.groupby("number")["step"].diff()
    usual = apart.min()
    part = (apart > usual).groupby(known["number"]).cumsum().astype(int)
    best = frames.trials.loc[frames.trials["best"].astype(bool), "number"]
    return known.assign(part=part, best=known["number"].isin(best)).reset_index(drop=True)
