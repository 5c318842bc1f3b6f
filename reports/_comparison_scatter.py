"""Drawers of AUC over a cost: the front as a stair, what lies below it shaded, names where there is room."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import Margins, colour, grid, head_for
from nasbench_rec.reports._comparison_marks import (
    figure_of,
    gain_tick,
    note,
    on_page,
    place_title,
    write_labels,
)
from nasbench_rec.reports._drawing import INK, LINE, MUTED, style
from nasbench_rec.reports._labels import Box
from nasbench_rec.reports._text import byte_size, fitted_label, score, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED, FEWER = 12, 8
"""Names in a panel, and in one of several; where there are more points, what is dominated goes without."""
NAME = 30
FAR, FEW = 3.0, 6
"""Points so many interquartile ranges below the lower quartile leave the axes, from `FEW` points on."""
CHANCE = 0.51
"""Points up to this AUC leave the axes where any other is above it."""
SMALL = 1024
"""Points so many times smaller than the largest leave a logarithmic axis."""
SIDE_STEP = 6.5
STANDINGS = {
    "front": "on the front",
    "close": "not told apart from the best at no higher cost",
    "dominated": "surely below it",
    "partial": "some units failed",
}


@dataclass(frozen=True)
class Axis:
    """What lies on the level axis."""

    name: str
    lay: Callable[[Axes, Sequence[float]], None]
    text: Callable[[float], str]
    least: float = 0.0
    """Smaller costs are drawn here: a logarithmic axis has no zero."""


def draw_pareto(frame: pd.DataFrame) -> Figure:
    """Draw `pareto_frame`: a panel per data set and backbone with several methods, bytes on a logarithmic axis."""
    return _draw(
        frame, Axis("embedding size (bytes, logarithmic)", _lay_bytes, byte_size, 1.0), budgets=False
    )


def draw_search_cost(frame: pd.DataFrame) -> Figure:
    """Draw `search_cost_frame` in training-equivalents: a panel per data set, backbone and plan budget with several."""
    name = "search cost (full trainings of the uniform model)"
    return _draw(frame, Axis(name, _lay_trainings, "{:.3g}".format), budgets=True)


def draw_search_seconds(frame: pd.DataFrame) -> Figure:
    """Draw `search_cost_frame` in seconds."""
    name = "search time (within one machine and one run only)"
    return _draw(frame, Axis(name, _lay_seconds, seconds), budgets=True)


def _draw(frame: pd.DataFrame, axis: Axis, budgets: bool) -> Figure:
    keys, sizes = ["dataset", "backbone", *(["budget"] if budgets else [])], set(frame["budget"])
    parts = [
        (place_title([*map(str, key)], part["n"], sizes if budgets else ()), part)
        for key, part in frame.groupby(keys, sort=False)
    ]
    parts = [(title, part) for title, part in parts if _anything(part, axis)] or parts
    handles, columns = _handles(frame), 2 if len(parts) == 1 else 3
    with style():
        page = grid(
            [title for title, _ in parts],
            size=(4.7, 3.0) if len(parts) == 1 else (4.3, 2.7) if len(parts) < 5 else (3.3, 2.3),
            margins=Margins(left=0.55, bottom=0.62, right=0.24, top=0.42),
            head=head_for(handles, columns),
            across=1 if len(parts) == 1 else 2,
        )
        mixed = frame["relative"].nunique() > 1
        for i, (axes, (_, part)) in enumerate(zip(page.panels, parts, strict=True)):
            _panel(axes, part, axis, NAMED if len(parts) == 1 else FEWER)
            axes.set_xlabel(axis.name)
            if mixed or i % page.across == 0:
                relative = bool(part["relative"].any())
                axes.set_ylabel("test AUC − uniform model" if relative else "test AUC, mean over seeds")
        page.legend(handles, columns)
    return page.figure


def _anything(part: pd.DataFrame, axis: Axis) -> bool:
    """Say whether a panel shows something to compare."""
    near = _near(part.dropna(subset=["value", "cost"]), axis)
    return len(near) > 1 and not near["uniform"].all()


def _panel(axes: Axes, part: pd.DataFrame, axis: Axis, named: int) -> None:
    import seaborn

    seaborn.despine(ax=axes)
    known = part.dropna(subset=["value", "cost"])  # a unit that failed, say, has neither
    known = known.assign(cost=known["cost"].clip(lower=axis.least)).sort_values(["cost", "label"])
    near = _near(known, axis)
    if near.empty:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no unit succeeded", transform=axes.transAxes, ha="center", color=MUTED)
        _off(axes, part, known, axis)
        return
    axis.lay(axes, near["cost"].tolist())
    _lay_values(axes, near)
    _stair(axes, near[near["standing"] == "front"])
    if part["relative"].any():
        axes.axhline(0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    spots = _spread(axes, near)
    _draw_points(axes, near, spots)
    _names(axes, near, spots, named)
    _off(axes, part, known[~known["label"].isin(near["label"])], axis)


def _near(known: pd.DataFrame, axis: Axis) -> pd.DataFrame:
    """Return the points without those that would squash all others."""
    if (known["test_auc"] > CHANCE).any():
        known = known[known["uniform"] | (known["test_auc"] > CHANCE)]
    if len(known) < FEW:
        return known
    low, high = known["value"].quantile([0.25, 0.75])
    keep = known["value"] >= low - FAR * max(high - low, 1e-3)
    if axis.least:
        keep &= known["cost"] >= known["cost"].max() / SMALL
    return known[keep | known["uniform"]]


def _lay_values(axes: Axes, near: pd.DataFrame) -> None:
    low, high = float(near["value"].min()), float(near["value"].max())
    reach = max(high - low, 4e-4)
    bars_low = max(float(near["value_low"].min()), low - 0.5 * reach)
    bars_high = min(float(near["value_high"].max()), high + 0.5 * reach)
    low, high = np.nanmin([low, bars_low]), np.nanmax([high, bars_high])
    axes.set_ylim(low - 0.08 * (high - low + reach), high + 0.12 * (high - low + reach))
    relative = bool(near["relative"].any())
    axes.yaxis.set_major_formatter(gain_tick if relative else lambda v, _: score(v, 4).removesuffix("0"))
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _stair(axes: Axes, front: pd.DataFrame) -> None:
    """Draw the front from its cheapest point to the right edge, and shade what it dominates."""
    if front.empty:
        return
    x = [*front["cost"], axes.get_xlim()[1]]
    y = [*front["value"], front["value"].iloc[-1]]
    axes.fill_between(x, y, axes.get_ylim()[0], step="post", color=LINE, alpha=0.35, linewidth=0, zorder=0)
    axes.step(x, y, where="post", color=colour(0), linewidth=1.1, zorder=2)


def _spread(axes: Axes, near: pd.DataFrame) -> list[tuple[float, float]]:
    """Return where points stand, those of about one cost side by side; what is on the front stays where it is.

    What is there for comparison only neither moves nor moves others.
    """
    pages = np.array([on_page(axes, *spot) for spot in zip(near["cost"], near["value"], strict=True)])
    rank = _importance(near).to_numpy()
    order = np.argsort(pages[:, 0], kind="stable")
    order = order[(near["standing"] != "reference").to_numpy()[order]]
    runs = np.cumsum(np.diff(pages[order, 0], prepend=pages[order[:1], 0]) > 0.8 * SIDE_STEP)
    for run in np.unique(runs):
        inside = order[runs == run]
        inside = inside[np.argsort(rank[inside], kind="stable")]
        step = min(SIDE_STEP, 60 / len(inside))
        sides = [(i + 1) // 2 * (1 if i % 2 else -1) for i in range(len(inside))]  # 0, 1, -1, 2, -2
        if len(inside) > 1:
            pages[inside, 0] = pages[inside[0], 0] + step * np.array(sides)
    back = axes.transData.inverted().transform(pages * figure_of(axes).dpi / 72)
    return [(float(x), float(y)) for x, y in back]


def _importance(near: pd.DataFrame) -> pd.Series:
    """Return what comes first: the uniform model, the front, what is not told apart from it."""
    return near["standing"].map({"front": 0, "close": 1}).fillna(2).where(~near["uniform"].astype(bool), -1)


def _draw_points(axes: Axes, near: pd.DataFrame, spots: Sequence[tuple[float, float]]) -> None:
    placed = near.assign(x=[x for x, _ in spots])
    for (standing, uniform), part in placed.groupby(["standing", "uniform"]):
        look = _look(str(standing), bool(uniform))
        dim = standing in ("dominated", "partial") and not uniform
        bars = part[part["value_low"] < part["value_high"]]
        axes.vlines(
            *(bars["x"], bars["value_low"], bars["value_high"]),
            linewidth=1.0,
            zorder=2,
            color=MUTED if dim else look["color"],
            alpha=0.45 if dim else 1.0,
        )
        axes.plot(part["x"], part["value"], linestyle="", zorder=3 if dim else 4, **look)


def _look(standing: str, uniform: bool) -> dict[str, Any]:
    if uniform:
        return {"color": INK, "marker": "D", "markersize": 5.5}
    hollow = {"markerfacecolor": "white", "markeredgewidth": 1.2}
    return {
        "front": {"color": colour(0), "marker": "o", "markersize": 6},
        "close": {"color": colour(0), "marker": "o", "markersize": 5.5, **hollow},
        "dominated": {"color": MUTED, "marker": ".", "markersize": 5},
    }.get(standing, {"color": MUTED, "marker": "x", "markersize": 4.5})


def _names(axes: Axes, near: pd.DataFrame, spots: Sequence[tuple[float, float]], most: int) -> None:
    """Write names: of all points where they are few, else of what is not dominated, and of random plans.

    The uniform model has a mark of its own, which the legend names.
    """
    others = near[~near["uniform"]]
    ranked = others.assign(rank=_importance(others)).sort_values(["rank", "value"], ascending=[True, False])
    if len(ranked) > most:
        ranked = ranked[(ranked["rank"] < 2) | (ranked["method"] == "random")]
    chosen = set(ranked.index[:most])
    which = "name" if near["budget"].nunique() == 1 else "label"
    named = [
        (fitted_label(str(row[which]), NAME), on_page(axes, *spot))
        for (i, row), spot in zip(near.iterrows(), spots, strict=True)
        if i in chosen
    ]
    write_labels(axes, [t for t, _ in named], [page for _, page in named], _obstacles(axes, near, spots))


def _obstacles(axes: Axes, near: pd.DataFrame, spots: Sequence[tuple[float, float]]) -> list[Box]:
    """Return what names should not cover: points, bars, the stair, the uniform model's line."""
    found = _lines(axes, near)
    for (x, y), low, high in zip(spots, near["value_low"], near["value_high"], strict=True):
        left, up = on_page(axes, x, y)
        found.append(Box(left - 3.5, up - 3.5, left + 3.5, up + 3.5))
        if low < high:
            found.append(Box(left - 1, on_page(axes, x, low)[1], left + 1, on_page(axes, x, high)[1]))
    return found


def _lines(axes: Axes, near: pd.DataFrame) -> list[Box]:
    """Return what the stair and the line of the uniform model cover."""
    front = near[near["standing"] == "front"]
    right, found = axes.get_xlim()[1], []
    heights = list(zip(front["cost"], [*front["cost"][1:], right], front["value"], strict=True))
    if near["relative"].any():
        heights.append((axes.get_xlim()[0], right, 0.0))
    for start, end, height in heights:
        (left, y), (stop, _) = on_page(axes, start, height), on_page(axes, end, height)
        found += [Box(x, y - 0.6, min(x + 12, stop), y + 0.6) for x in np.arange(left, stop, 12.0)]
    return found


def _off(axes: Axes, part: pd.DataFrame, far: pd.DataFrame, axis: Axis) -> None:
    """Say below the axes what is not on them."""
    lost, unplaced = (part.loc[part["standing"] == why, "label"] for why in ("failed", "unplaced"))
    signed = bool(part["relative"].any())
    texts = [
        f"{label} ({axis.text(cost)}, {score(value, 4, signed=signed)})"
        for label, cost, value in far[["label", "cost", "value"]].itertuples(index=False)
    ]
    said = [f"off the axes: {', '.join(texts)}"] if texts else []
    said += [f"all units failed: {', '.join(lost)}"] if len(lost) else []
    said += (
        [f"no seed of the uniform model, or cost not known: {', '.join(unplaced)}"] if len(unplaced) else []
    )
    note(axes, "; ".join(said))


def _handles(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = [s for s in STANDINGS if (frame["standing"] == s).any()]
    handles: list[Any] = [
        Line2D([], [], linestyle="", label=STANDINGS[s], **_look(s, uniform=False)) for s in present
    ]
    if frame["uniform"].any():
        handles.append(Line2D([], [], linestyle="", label="uniform model", **_look("", uniform=True)))
    handles.append(
        Line2D([], [], color=colour(0), marker="|", linestyle="", label="95 % interval, paired by seed")
    )
    return [*handles, Patch(color=LINE, alpha=0.5, label="below the front")]


def _lay_bytes(axes: Axes, costs: Sequence[float]) -> None:
    low, high = math.log2(min(costs)), math.log2(max(costs))
    pad = max(0.12 * (high - low), 0.75)
    axes.set_xscale("log", base=2)
    axes.set_xlim(2 ** (low - pad), 2 ** (high + pad))
    step = max(1, math.ceil((high - low + 2 * pad) / 6))
    powers = range(math.ceil(low - pad), math.floor(high + pad) + 1, step)
    axes.set_xticks([2.0**p for p in powers], [_size(2.0**p) for p in powers])
    axes.set_xticks([], minor=True)


def _size(value: float) -> str:
    number, unit = byte_size(value).split()
    return f"{float(number):g} {unit}"


def _lay_trainings(axes: Axes, costs: Sequence[float]) -> None:
    _from_zero(axes, max(costs), 1.0, "{:g}".format)


def _lay_seconds(axes: Axes, costs: Sequence[float]) -> None:
    _from_zero(axes, max(costs), max(1.0, 10.0 ** math.floor(math.log10(max(*costs, 1.0)) - 2)), _time)


def _time(value: float) -> str:
    if value < 60:
        return f"{value:g} s"
    return f"{value / 60:.3g} min" if value < 7200 else f"{value / 3600:.3g} h"


def _from_zero(axes: Axes, most: float, unit: float, text: Callable[[float], str]) -> None:
    """Lay an axis that is even from 0 to `unit` and logarithmic above."""
    most = max(most, 0.4 * unit)
    end = most * (1.9 if most > unit else 1.25)
    axes.set_xscale("symlog", linthresh=unit, linscale=0.8)
    axes.set_xlim((-0.18 if most > 2 * unit else -0.1) * unit, end)
    shares = (0.2, 0.4, 0.6, 0.8, 1) if most <= unit else (0.5, 1)
    leads = (2, 5, 10) if most <= 50 * unit else (10,)
    ticks = [0.0, *shares, *(lead * 10.0**power for power in range(8) for lead in leads)]
    ticks = [tick * unit for tick in ticks if tick * unit <= end]
    axes.set_xticks(ticks, [text(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
