"""The figures of a study by name: a frame, a drawer, and what the figure shows in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports import _study_frames as content
from nasbench_rec.reports._ablation_grid import (
    DASHES,
    LARGE,
    LETTER,
    PANEL,
    Grid,
    Margins,
    colour,
    grid,
    names_down,
    room_for,
)
from nasbench_rec.reports._drawing import INK, LINE, MARKERS, MUTED, style
from nasbench_rec.reports._labels import Box, place_labels
from nasbench_rec.reports._study_data import Goal, Pairs, StudyFrames, asked
from nasbench_rec.reports._study_scales import (
    NAME,
    SHADES,
    TIME_SHADES,
    Scale,
    beyond,
    crowded,
    lay_goal,
    lay_x,
    lay_y,
    limits,
    plain,
    scale_of,
    shades,
    tick_text,
)
from nasbench_rec.reports._text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST: dict[str, Any] = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "linestyle": ""}
DEFAULT: dict[str, Any] = {
    "color": INK,
    "marker": "D",
    "markersize": 5.5,
    "markeredgecolor": "white",
    "markeredgewidth": 0.7,
    "linestyle": "",
}
GREY: dict[str, Any] = {"color": MUTED, "alpha": 0.5, "markeredgewidth": 0, "linestyle": "", "marker": "o"}
EDGE: dict[str, Any] = {"edgecolors": MUTED, "linewidths": 0.5}
ENDS: Mapping[str, dict[str, Any]] = {
    "pruned": {"marker": "|", "markersize": 6, "linestyle": ""},
    "failed": {"marker": "x", "markersize": 5, "linestyle": ""},
}
Range = tuple[float, float]
BAR = 0.95
"""Room for a scale of colours at the right, in inches."""
LABELLED = 12
"""Points of a front up to which each is named."""
AXIS = 1.2
"""Distance of the axes of parallel coordinates, in inches."""
MANY_LINES = 50
"""Trials from which their lines are thin."""
BELOW = -0.12
"""Where a line stands that was not asked for a parameter."""
SEEDS = 8
"""Seeds up to which each has its own mark."""


def draw_history(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw values over trial numbers with the best until then, a panel per objective."""
    goals = frames.goals
    page = grid(_titles(goals), size=(4.9, 2.1) if len(goals) == 1 else None, head=0.42, margins=_wide(goals))
    for axes, goal in zip(page.panels, goals, strict=True):
        part = frame[frame["objective"] == goal.name]
        shown = limits(part["value"], goal)
        _history(axes, part, shown)
        lay_goal(axes, goal, shown)
        axes.set_ylim(shown[0] - 0.16 * (shown[1] - shown[0]))
        axes.set_xlim(frame["number"].min() - 0.8, frame["number"].max() + 0.8)
        axes.xaxis.set_major_locator(_whole(6))
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    page.label("trial", plain(goals[0].label) if len(goals) == 1 else "")
    page.legend(_history_legend(frame), columns=3)
    return page.figure


def _history(axes: Axes, part: pd.DataFrame, shown: Range) -> None:
    known = part.dropna(subset=["value"])
    axes.step(part["number"], part["best_so_far"], where="post", color=colour(1), linewidth=1.4, zorder=2)
    inside = known[~beyond(known["value"], shown)]
    axes.plot(inside["number"], inside["value"], "o", color=colour(0), markersize=4.5, zorder=3)
    _outside(axes, known["number"], known["value"], shown, colour(0))
    default = inside[inside["default"].astype(bool)]
    axes.plot(default["number"], default["value"], zorder=4, **DEFAULT)
    for state in ("pruned", "failed"):
        lost = part[part["state"] == state]
        axes.plot(
            lost["number"], [0.05] * len(lost), transform=axes.get_xaxis_transform(), **_end(state), zorder=3
        )


def _whole(ticks: int) -> Any:
    """Return a placing of ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(ticks, integer=True, min_n_ticks=1)


def _outside(axes: Axes, x: Any, values: pd.Series, shown: Range, face: Any) -> None:
    """Mark values beyond the range shown by triangles at its edge."""
    out = beyond(values, shown)
    for at, value in zip(np.asarray(x)[out.to_numpy()], values[out], strict=True):
        low = value < shown[0]
        edge = shown[0] if low else shown[1]
        axes.plot(
            [at], [edge], "v" if low else "^", color=face, markeredgecolor=MUTED, markersize=5, zorder=3
        )


def _end(state: str) -> dict[str, Any]:
    return ENDS[state] | {"color": colour(3) if state == "failed" else MUTED}


def _history_legend(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    marks: list[Any] = [
        Line2D([], [], color=colour(0), marker="o", linestyle="", markersize=4.5, label="complete"),
        Line2D([], [], color=colour(1), label="best so far"),
    ]
    if (frame["default"].astype(bool) & frame["value"].notna()).any():
        marks.append(Line2D([], [], label="the method's defaults", **DEFAULT))
    states = [state for state in ENDS if (frame["state"] == state).any()]
    return marks + [Line2D([], [], label=f"{state}: no value", **_end(state)) for state in states]


def _titles(goals: Sequence[Goal]) -> list[str]:
    return [goal.label for goal in goals] if len(goals) > 1 else [""]


def _wide(goals: Sequence[Goal], bottom: float = 0.28) -> Margins:
    """Return margins with room for the ticks of these objectives."""
    return Margins(left=0.62 if any(goal.is_bytes for goal in goals) else 0.5, bottom=bottom)


def draw_slice(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw each objective over each parameter; shades are trial numbers."""
    found = {scale.name: scale for scale in content.scales(frames)}
    cells = [(goal, scale) for goal in frames.goals for scale in found.values()]
    several = len(frames.goals) > 1
    titles = [f"{one_line(s.name, 40)}: {g.label}" if several else one_line(s.name, 60) for g, s in cells]
    wide = LARGE.get(len(cells), PANEL)[0]
    upright = any(crowded(scale.ticks()[1], wide) for scale in found.values() if scale.choices)
    foot = 0.3 + (room_for([c for s in found.values() for c in s.choices], NAME) - 0.1 if upright else 0.0)
    page = grid(titles, margins=_wide(frames.goals, foot), head=0.24, aside=BAR)
    numbers = (int(frame["number"].min()), int(frame["number"].max()))
    shown = {goal.name: limits(frames.complete[goal.name], goal) for goal in frames.goals}
    mesh: Any = None
    for axes, (goal, scale) in zip(page.panels, cells, strict=True):
        part = frame[(frame["objective"] == goal.name) & (frame["parameter"] == scale.name)]
        mesh = _slice(axes, _aside(part, scale), shown[goal.name], numbers)
        lay_x(axes, scale, upright)
        lay_goal(axes, goal, shown[goal.name])
    page.label("", "" if several else plain(frames.goals[0].label))
    page.legend(_mark_legend(frame))
    _number_bar(page, mesh, numbers)
    return page.figure


def _aside(part: pd.DataFrame, scale: Scale) -> pd.DataFrame:
    """Set the points of one choice side by side, in the order of the trials."""
    if not scale.choices:
        return part
    along = part.groupby("x")["number"].rank(method="first")
    most = part.groupby("x")["number"].transform("size")
    return part.assign(x=part["x"] + (0.6 * (along - 0.5) / most - 0.3))


def _slice(axes: Axes, part: pd.DataFrame, shown: Range, numbers: tuple[int, int]) -> Any:
    inside = part[~beyond(part["value"], shown)]
    mesh = axes.scatter(
        inside["x"],
        inside["value"],
        c=inside["number"],
        cmap=shades(name=TIME_SHADES),
        vmin=numbers[0],
        vmax=max(numbers[1], numbers[0] + 1),
        s=20,
        zorder=3,
        **EDGE,
    )
    _outside(axes, part["x"], part["value"], shown, LINE)
    _ringed(axes, inside)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    return mesh


def _ringed(axes: Axes, points: pd.DataFrame, y: str = "value") -> None:
    """Mark the best trials by rings, the method's defaults by a diamond."""
    best, default = points[points["best"].astype(bool)], points[points["default"].astype(bool)]
    axes.plot(best["x"], best[y], color=colour(1), markeredgewidth=1.8, zorder=5, **BEST)
    axes.plot(default["x"], default[y], zorder=4, **DEFAULT)


def _mark_legend(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    best = frame["best"].astype(bool)
    marks: list[Any] = []
    if best.any():
        ring = BEST | {"markersize": 7}
        name = _best_name(frame.loc[best, "number"])
        marks.append(Line2D([], [], color=colour(1), markeredgewidth=1.6, label=name, **ring))
    if frame["default"].astype(bool).any():
        marks.append(Line2D([], [], label="the method's defaults", **DEFAULT))
    return marks


def _best_name(numbers: pd.Series) -> str:
    return "best trial" if numbers.nunique() == 1 else "on the Pareto front"


def _number_bar(page: Grid, mesh: Any, numbers: tuple[int, int]) -> None:
    page.colour_bar(mesh, "trial")
    axis = page.figure.axes[-1].yaxis
    axis.set_major_locator(_whole(4))
    if numbers[0] == numbers[1]:
        axis.set_ticks([numbers[0]])


def draw_contour(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw the first objective over pairs of parameters: the trials, and values in between where they are enough."""
    goal = frames.goals[0]
    pairs = list(frame[["x_name", "y_name"]].drop_duplicates().itertuples(index=False, name=None))
    page = grid(
        _notes(frame, frames, pairs),
        size=(3.4, 2.5) if len(pairs) == 1 else None,
        margins=Margins(left=0.62, bottom=0.44),
        head=0.24,
        aside=BAR,
    )
    shown, mesh = limits(frame["value"], goal), None
    for axes, (x, y) in zip(page.panels, pairs, strict=True):
        part = frame[(frame["x_name"] == x) & (frame["y_name"] == y)]
        ends = _ends(frames, x, y)
        lay_x(axes, ends[0], turned=False)
        lay_y(axes, ends[1])
        mesh = _contour(axes, part, ends, goal, shown)
        axes.set_xlabel(one_line(x, 34), parse_math=False)
        axes.set_ylabel(one_line(y, 28), parse_math=False)
    page.legend(_mark_legend(frame))
    _goal_bar(page, mesh, goal)
    return page.figure


def _ends(frames: StudyFrames, x: str, y: str) -> tuple[Scale, Scale]:
    first, second = (scale_of(frames.dimension(n), asked(frames.complete, n)) for n in (x, y))
    return first, second


def _notes(frame: pd.DataFrame, frames: StudyFrames, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Say of each pair whether there are too few trials for values in between."""
    notes = []
    for x, y in pairs:
        part = frame[(frame["x_name"] == x) & (frame["y_name"] == y)]
        if content.surface(part, *_ends(frames, x, y)) is not None:
            notes.append("")
        elif len(part) < content.LEAST:
            notes.append(f"complete trials: {len(part)}, too few to fill in between")
        else:
            notes.append("nothing in between: the trials lie on a line")
    return notes


def _contour(axes: Axes, part: pd.DataFrame, ends: tuple[Scale, Scale], goal: Goal, shown: Range) -> Any:
    from matplotlib.tri import Triangulation

    look: dict[str, Any] = {"cmap": shades(not goal.maximize), "vmin": shown[0], "vmax": shown[1]}
    found = content.surface(part, *ends)
    if found is not None:
        values, levels = np.clip(found[2], *shown), np.linspace(*shown, 11)
        net = Triangulation(*found[:2], triangles=found[3])
        axes.tricontourf(net, values, levels, cmap=look["cmap"], zorder=1)
    mesh = axes.scatter(
        part["x"], part["y"], c=part["value"], s=22, zorder=3, **look, **EDGE | {"edgecolors": INK}
    )
    _ringed(axes, part, "y")
    return mesh


def _goal_bar(page: Grid, mesh: Any, goal: Goal) -> None:
    page.colour_bar(mesh, plain(goal.label))
    page.figure.axes[-1].yaxis.set_major_formatter(lambda value, _: tick_text(goal, value))


def draw_sensitivity(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw the units' scores at each value of a parameter: points by seed, means, the best trial of each value."""
    goal = frames.goals[0]
    places = list(frame.groupby(["parameter", "dataset", "backbone"], sort=False))
    several = frame[["dataset", "backbone"]].drop_duplicates().shape[0] > 1
    titles = [f"{keys[0]} on {keys[1]}, {keys[2]}" if several else str(keys[0]) for keys, _ in places]
    settings = [list(part.sort_values("place")["setting"].unique()) for _, part in places]
    count = len(f"n = {frame['trials'].max()}")
    size = LARGE.get(len(titles), PANEL)
    size = (max(size[0], LETTER * (count + 1.5) * max(map(len, settings))), size[1])
    words = [[one_line(setting, NAME) for setting in names] for names in settings]
    upright = [crowded(names, size[0]) for names in words]
    tall = [LETTER * max(map(len, names)) for names, up in zip(words, upright, strict=True) if up]
    foot = 0.42 + max(tall, default=0.0)
    page = grid(titles, size=size, margins=_wide([goal], foot), head=0.42)
    seeds = sorted(frame["seed"].unique())
    for axes, (_, part), names, up in zip(page.panels, places, settings, upright, strict=True):
        shown = limits(part["score"], goal)
        _sensitivity(axes, part, seeds, shown)
        lay_goal(axes, goal, shown)
        counts = part.groupby("setting")["trials"].first()
        said = [f"{one_line(n, NAME)}\nn = {counts[n]}" for n in names]
        axes.set_xticks(range(len(names)), said, rotation=90 if up else 0, parse_math=False)
        axes.set_xlim(-0.6, len(names) - 0.4)
    page.label("", plain(goal.label))
    page.legend(_seed_legend(seeds), columns=5)
    return page.figure


def _sensitivity(axes: Axes, part: pd.DataFrame, seeds: Sequence[Any], shown: Range) -> None:
    for i, seed in enumerate(seeds):
        own = part[part["seed"] == seed]
        x = own["place"] + 0.6 * ((i + 0.5) / len(seeds) - 0.5)
        for chosen, look in (
            (False, {"alpha": 0.45, "markeredgewidth": 0}),
            (True, {"markeredgecolor": INK}),
        ):
            some = own["of_best"] == chosen
            axes.plot(x[some], own.loc[some, "score"], zorder=3 + chosen, **_seed_look(i, len(seeds)) | look)
        _outside(axes, x, own["score"], shown, _seed_look(i, len(seeds))["color"])
    means = part.groupby("place")["mean"].first()
    for out, dash in ((False, "-"), (True, DASHES[2])):
        some = means[beyond(means, shown) == out]
        heights = some.clip(*shown)
        axes.hlines(
            heights, some.index - 0.38, some.index + 0.38, INK, linestyle=dash, linewidth=1.3, zorder=5
        )
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _seed_look(i: int, seeds: int) -> dict[str, Any]:
    i = i if seeds <= SEEDS else 0
    return {
        "color": colour(i),
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": "",
        "markersize": 5 if seeds <= SEEDS else 3.5,
    }


def _seed_legend(seeds: Sequence[Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    marks: list[Any] = []
    if 1 < len(seeds) <= SEEDS:
        marks += [
            Line2D([], [], label=f"seed {seed}", **_seed_look(i, len(seeds))) for i, seed in enumerate(seeds)
        ]
    if len(seeds) > SEEDS:
        marks.append(Line2D([], [], label="a unit, seeds side by side", **_seed_look(0, len(seeds))))
    best = _seed_look(0, len(seeds)) | {"markeredgecolor": INK, "label": "best trial of the value"}
    return [
        *marks,
        Line2D([], [], **best),
        Line2D([], [], color=INK, linewidth=1.3, label="mean over trials"),
    ]


def draw_parallel(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw a line per trial over the axes of all parameters, shaded by the first objective, the best on top."""
    goal, axes_of = frames.goals[0], content.scales(frames)
    width = max(AXIS * len(axes_of), 3.0)
    page = grid([""], size=(width, 2.5), margins=Margins(left=0.5, bottom=0.4, top=0.1), head=0.05, aside=BAR)
    axes, shown = page.panels[0], limits(frames.complete[goal.name], goal)
    table = frame.pivot_table(index="number", columns="parameter", values="height", dropna=False, sort=False)
    heights = table[[scale.name for scale in axes_of]]
    mesh = _shade(goal, shown)
    value = frame.groupby("number")["value"].first()
    best = set(frame.loc[frame["best"].astype(bool), "number"])
    order = goal.ascending(value).sort_values(ascending=False).index
    for height, number in enumerate(order):
        look = {"color": mesh.to_rgba(value[number]), "linewidth": 1.6 if len(order) <= MANY_LINES else 0.7}
        _line(axes, heights.loc[number], look, number in best, height)
    for at, scale in enumerate(axes_of):
        _upright(axes, at, scale, bool(heights[scale.name].isna().any()))
    axes.set_xticks(range(len(axes_of)), [one_line(s.name, 18) for s in axes_of], parse_math=False, color=INK)
    axes.set(xlim=(-0.4, len(axes_of) - 0.75), ylim=(BELOW - 0.06, 1.06), yticks=[])
    axes.tick_params(axis="x", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    _goal_bar(page, mesh, goal)
    return page.figure


def _shade(goal: Goal, shown: Range) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(*shown, clip=True), shades(not goal.maximize, SHADES))


def _line(axes: Axes, heights: pd.Series, look: Mapping[str, Any], best: bool, order: int) -> None:
    y = heights.fillna(BELOW).to_numpy(dtype=float)
    if best:
        axes.plot(range(len(y)), y, color=colour(1), linewidth=3.4, zorder=3 + order)
    axes.plot(range(len(y)), y, marker="o", markersize=3, zorder=3.5 + order, **look)


def _upright(axes: Axes, at: int, scale: Scale, not_asked: bool) -> None:
    """Draw one axis of parallel coordinates with what stands at it."""
    axes.vlines(at, 0, 1, color=MUTED, linewidth=0.9, zorder=1)
    places, words = scale.ticks()
    heights = scale.share(np.asarray(places, dtype=float))
    named = [*zip(heights, words, strict=True), *([(BELOW, "not asked")] if not_asked else [])]
    for height, word in named:
        axes.annotate(
            word,
            (at, height),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=6.5,
            color=INK,
            parse_math=False,
            zorder=10_000,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )


def draw_importances(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw the importance of each parameter as bars, a panel per objective."""
    goals = [goal for goal in frames.goals if (frame["objective"] == goal.name).any()]
    parts = [frame[frame["objective"] == goal.name] for goal in goals]
    most, names = max(map(len, parts)), frame["param"].astype(str).unique()
    room = room_for(names, 40)
    page = grid(
        [goal.label if len(frames.goals) > 1 else "" for goal in goals],
        size=(3.6 if len(goals) == 1 else 1.85, 0.2 * most + 0.15),
        margins=Margins(left=room, bottom=0.42, top=0.1 if len(frames.goals) == 1 else None),
        head=0.0,
    )
    for axes, part in zip(page.panels, parts, strict=True):
        places = [float(i) for i in range(len(part))]
        axes.barh(places, part["importance"], height=0.62, color=colour(0))
        for y, share in zip(places, part["importance"], strict=True):
            axes.text(
                share + 0.015, y, f"{share:.2f}".removeprefix("0"), va="center", fontsize=6.5, color=INK
            )
        names_down(axes, [str(name) for name in part["param"]], most, 40)
        axes.set_xlim(0, 1.12 * max(float(frame["importance"].max()), 0.5))
        axes.set_xlabel("share of importance")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    return page.figure


def draw_pareto(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw each pair of objectives: front joined, dominated trials grey."""
    goals = {goal.name: goal for goal in frames.goals}
    pairs = list(frame.groupby(["x_name", "y_name"], sort=False))
    page = grid(
        [""] * len(pairs),
        size=(4.3, 2.7) if len(pairs) == 1 else None,
        margins=Margins(left=0.85, bottom=0.42, top=0.1),
        head=0.24,
    )
    for axes, ((x, y), part) in zip(page.panels, pairs, strict=True):
        first, second = goals[str(x)], goals[str(y)]
        ranges = limits(part["x"], first), limits(part["y"], second)
        lay_goal(axes, first, ranges[0], upright=False)
        lay_goal(axes, second, ranges[1])
        axes.set_xlabel(plain(f"{first.label} ({_better(first)})"))
        axes.set_ylabel(plain(f"{second.label}\n({_better(second)})"))
        _pareto(axes, part, first, ranges)
    page.legend(_pareto_legend(frame))
    return page.figure


def _better(goal: Goal) -> str:
    return "more is better" if goal.maximize else "less is better"


def _pareto(axes: Axes, part: pd.DataFrame, x: Goal, ranges: tuple[Range, Range]) -> None:
    front = part[part["front"]].sort_values(["x", "y"])
    rest = part[~part["front"]]
    far = beyond(rest["x"], ranges[0]) | beyond(rest["y"], ranges[1])
    for hidden, look in ((False, GREY), (True, GREY | {"marker": "v", "markersize": 5.5})):
        some = rest[far == hidden]
        axes.plot(some["x"].clip(*ranges[0]), some["y"].clip(*ranges[1]), zorder=2, **look)
    corner: dict[str, Any] = {"where": "pre" if x.maximize else "post"}  # the line bounds what was reached
    axes.step(front["x"], front["y"], color=colour(0), linewidth=1.1, zorder=2.5, **corner)
    axes.plot(front["x"], front["y"], "o", color=colour(0), markersize=5.5, zorder=3)
    default = part[part["default"]]
    axes.plot(default["x"], default["y"], zorder=4, **DEFAULT)
    axes.grid()
    axes.set_axisbelow(True)
    if len(front) <= LABELLED:
        _numbers(axes, part, front)


def _numbers(axes: Axes, part: pd.DataFrame, front: pd.DataFrame) -> None:
    """Write the trial numbers of the front where they cover least."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # these axes were made on one
    points = 72 / figure.dpi
    spots = [tuple(spot) for spot in axes.transData.transform(front[["x", "y"]].to_numpy()) * points]
    marks = axes.transData.transform(part[["x", "y"]].to_numpy()) * points
    left, bottom, right, top = np.asarray(axes.bbox.extents) * points
    boxes = place_labels(
        [(float(x), float(y)) for x, y in spots],
        [(4.5 * len(str(number)) + 1, 7.5) for number in front["number"]],
        [Box(x - 3, y - 3, x + 3, y + 3) for x, y in marks],
        Box(float(left), float(bottom), float(right), float(top)),
    )
    for box, number in zip(boxes, front["number"], strict=True):
        place = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
        axes.annotate(
            str(number),
            place,
            xycoords="figure points",
            ha="center",
            va="center",
            fontsize=6.5,
            color=INK,
            annotation_clip=False,
        )


def _pareto_legend(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    marks: list[Any] = [
        Line2D([], [], color=colour(0), marker="o", markersize=5.5, label="Pareto front, with trial numbers")
    ]
    if (~frame["front"]).any():
        marks.append(Line2D([], [], label="dominated", **GREY))
    if frame["default"].any():
        marks.append(Line2D([], [], label="the method's defaults", **DEFAULT))
    return marks


CURVES: Mapping[str, dict[str, Any]] = {
    "complete": {"linestyle": "-", "linewidth": 0.9, "alpha": 0.6},
    "pruned": {"linestyle": DASHES[1], "linewidth": 1.0},
    "failed": {"linestyle": DASHES[2], "linewidth": 1.2},
}
COLOURED = {"complete": 0, "pruned": 1, "failed": 3}


def draw_curves(frame: pd.DataFrame, frames: StudyFrames) -> Figure:
    """Draw what each trial reported on its way, pruned ones dashed, the best thick."""
    goal = frames.goals[0]
    page = grid([""], size=(5.6, 2.4), margins=dataclasses.replace(_wide([goal]), top=0.1), head=0.24)
    axes = page.panels[0]
    for (number, _), part in frame.groupby(["number", "part"]):
        state, best = str(part["state"].iloc[0]), bool(part["best"].iloc[0])
        look = _curve(state, best)
        axes.plot(part["step"], part["value"], marker="." if len(part) == 1 else "", **look)
        if state != "complete" and part["step"].max() == frame.loc[frame["number"] == number, "step"].max():
            axes.plot(part["step"].iloc[-1:], part["value"].iloc[-1:], **_end(state) | {"markersize": 5})
    lay_goal(axes, goal, limits(frame["value"], goal))
    axes.xaxis.set_major_locator(_whole(6))
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    page.label("step: epochs of search and of retraining, unit after unit", plain(goal.label))
    page.legend(_curve_legend(frame))
    return page.figure


def _curve(state: str, best: bool) -> dict[str, Any]:
    if best:
        return {"color": INK, "linewidth": 1.8, "zorder": 4}
    return {"color": colour(COLOURED[state]), "zorder": 3 if state != "complete" else 2, **CURVES[state]}


def _curve_legend(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    states = [s for s in CURVES if ((frame["state"] == s) & ~frame["best"]).any()]
    marks: list[Any] = [Line2D([], [], label=state, **_curve(state, best=False)) for state in states]
    if frame["best"].any():
        marks.append(
            Line2D([], [], label=_best_name(frame["number"][frame["best"]]), **_curve("", best=True))
        )
    return marks


@dataclass(frozen=True)
class StudyFigure:
    """A figure of a study: what it shows as a frame, a drawer, and a caption."""

    frame: Callable[[StudyFrames], pd.DataFrame]
    draw: Callable[[pd.DataFrame, StudyFrames], Any]
    caption: str

    def __call__(self, frames: StudyFrames) -> Figure | None:
        """Return the figure; None where there is nothing to show."""
        shown = self.frame(frames)
        if shown.empty:
            return None
        with style():
            return self.draw(shown, frames)


OUT = " A triangle at the edge is a value far worse than the rest."
FIGURES: Mapping[str, StudyFigure] = {
    "history": StudyFigure(
        content.history_frame,
        draw_history,
        "Value of each trial in the order in which they were asked, and the best until then; trials without a value "
        "are marked at the foot." + OUT,
    ),
    "slice": StudyFigure(
        content.slice_frame,
        draw_slice,
        "Value over each parameter; all parameters vary at once, so a slope may belong to another one. Darker: "
        "later trials. Crowded places are where the sampler looked, not where most is known." + OUT,
    ),
    "contour": StudyFigure(
        content.contour_frame,
        draw_contour,
        "Value over two parameters: the trials as points, straight interpolation between them (where several share a "
        "place: their mean) as shades, dark: better; nothing outside of them. The other parameters vary along.",
    ),
    "sensitivity": StudyFigure(
        content.sensitivity_frame,
        draw_sensitivity,
        "Each unit of the complete trials at every value tried, by seed; n counts trials. Points with a rim are of "
        "the value's best trial, bars the mean over all its trials (dotted at the edge: far worse than shown). The "
        "other parameters vary along, and the sampler gives more trials to what looks good: neither bars nor best "
        "trials are a controlled comparison." + OUT,
    ),
    "parallel": StudyFigure(
        content.parallel_frame,
        draw_parallel,
        "A line per complete trial over all parameters; dark: better, and drawn last; orange behind a line: the best.",
    ),
    "importances": StudyFigure(
        content.importances_frame,
        draw_importances,
        "Share of each parameter in what sets the best tenth of the complete trials apart from all (PED-ANOVA); a "
        "tenth of few trials is very few.",
    ),
    "pareto": StudyFigure(
        content.pareto_frame,
        draw_pareto,
        "Pairs of objectives: a trial on the front (joined) is bettered by none in both; the others are grey."
        + OUT,
    ),
    "curves": StudyFigure(
        content.curves_frame,
        draw_curves,
        "What each trial reported on its way, from which pruning decides; units (seeds) and their phases, search and "
        "retraining, follow each other in the steps, so a line falls back where the next begins.",
    ),
}
"""The figures by name; each is called with the frames of a study."""


def figures_with(pairs: Pairs) -> dict[str, StudyFigure]:
    """Return the figures, contours of these pairs of parameters (none: the most important two)."""
    contour = dataclasses.replace(FIGURES["contour"], frame=lambda f: content.contour_frame(f, pairs))
    return {name: contour if name == "contour" else figure for name, figure in FIGURES.items()}
