"""Paired differences to a reference as a frame and a forest plot; hypervolumes as the same kind of plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import (
    Grid,
    colour,
    head_for,
    inches,
    locator,
    panel_title,
    room_for,
    title_letters,
)
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._comparison_marks import gain_tick
from nasbench_rec.reports._comparison_points import ALL
from nasbench_rec.reports._comparison_units import Contender, Place, at_budget, head, places, require
from nasbench_rec.reports._drawing import INK, LINE, MUTED, style
from nasbench_rec.reports._records import PAIR
from nasbench_rec.reports._text import fitted, fitted_label, score

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import INTERVALS, MARGIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNIFORM, RANDOM = "uniform", "random"
METRICS = {
    "test_auc": "test AUC",
    "test_logloss": "test logloss",
    "expected_auc": "expected AUC",
    "valid_auc": "validation AUC",
}
NAME = 34
FAR = 4.0
"""The axis ends at this many times the median reach of the intervals; longer ones run off it."""
ACROSS = 3
"""Data sets and backbones beside each other."""
LINE_HEIGHT = 0.2
ABOVE, BELOW, ASIDE = 0.38, 0.48, 0.4
"""Inches above a row of panels, below it, and between two panels."""
FAINT: dict[str, Any] = {"markersize": 3.2, "markeredgewidth": 0}


@dataclass(frozen=True)
class PairRow(Contender):
    """One pair of seeds of one label and its reference; what sums the label up is repeated in each of its rows."""

    reference: str
    """The label that it is compared with."""
    metric: str
    split_seed: float
    seed: float
    difference: float
    """The label's value less the reference's at this pair of seeds; NaN (as both seeds) in the one row of a label that
    shares no pair with it."""
    mean: float
    low: float
    high: float
    interval: str
    """How the 95 % interval of the mean was made: t, sign-flip, constant (no width), none (under two pairs)."""
    pairs: int


def paired_frame(records: pd.DataFrame, reference: str = UNIFORM, metric: str = "test_auc") -> pd.DataFrame:
    """Return a `PairRow` per label and pair of seeds that it shares with its reference, or one that it shares none.

    `reference`: "uniform" is the uniform model; "random" the random widths of the same size; else a label, or the
    name of a method, of which, where it was run at several plan budgets (as `fixed` is), that of the same one counts.
    `DataError` where nothing can be paired with it.
    """
    require(records, [metric])
    found = list(places(records))
    rows = [row for place in found for row in _place_rows(place, reference, metric)]
    if not any(row.pairs for row in rows):
        raise DataError(_nothing(reference, sorted({label for place in found for label in place.units})))
    return frame_of(rows, PairRow)


def _nothing(reference: str, labels: Sequence[str]) -> str:
    """Say that nothing can be paired with the reference, and what to do."""
    if reference == RANDOM:
        return "no record shares a pair of seeds with random widths of its size; run the method random, too."
    known = f"{', '.join(labels[:20])}{' …' if len(labels) > 20 else ''}"
    return (
        f"no record shares a pair of seeds with {reference!r}: give {UNIFORM!r}, {RANDOM!r}, a method's name or one of "
        f"the labels {known}."
    )


def _place_rows(place: Place, reference: str, metric: str) -> Iterator[PairRow]:
    for label in place.units:
        other = _reference(place, label, reference)
        if other is None or other == label:
            continue
        pairs, mean = place.pairs(label, other, metric), place.difference(label, other, metric)
        common: dict[str, Any] = {
            "mean": mean.mean,
            "low": mean.low,
            "high": mean.high,
            "interval": mean.method,
            "pairs": mean.n,
        }
        lines = pairs.reset_index().to_dict("records") or [dict.fromkeys((*PAIR, "a", "b"), math.nan)]
        for pair in lines:
            yield PairRow(
                **head(place, label),
                reference=other,
                metric=metric,
                split_seed=float(pair["split_seed"]),
                seed=float(pair["seed"]),
                difference=float(pair["a"] - pair["b"]),
                **common,
            )


def _reference(place: Place, label: str, reference: str) -> str | None:
    """Return the label that `label` is compared with."""
    if reference == UNIFORM:
        return place.uniform
    if reference == RANDOM:
        return place.random(label)
    own = place.records[place.records["name"] == reference].drop_duplicates("label")
    if len(own) > 1:  # a method at several plan budgets
        own = at_budget(own, float(place.units[label]["ratio"].iloc[0]))
        return None if own.empty else str(own["label"].iloc[0])
    return str(own["label"].iloc[0]) if len(own) else reference if reference in place.units else None


@dataclass(frozen=True)
class Dot:
    """One line of a forest: a mean with its interval, and single values."""

    mean: float
    low: float
    high: float
    values: Sequence[float]
    text: str
    """What stands at the right: how many pairs of seeds, or units, it is the mean of."""
    sure: bool | None
    """Whether the interval of the difference excludes zero; None where there is no difference."""


Forest = dict[tuple[str, str], dict[str, Dot]]


def draw_paired(frame: pd.DataFrame, smallest: float | None = MARGIN) -> Figure:
    """Draw `paired_frame` as a forest: a line per label, data sets and backbones beside each other.

    The band about zero is `smallest`, the least difference of AUCs that matters; None: no band, nor for other metrics.
    """
    forest: Forest = {}
    for (dataset, backbone, label), part in frame.groupby(["dataset", "backbone", "label"]):
        row = part.iloc[0]
        sure = _excludes_zero(row["interval"], row["low"], row["high"])
        values = part["difference"].dropna().tolist()
        dot = Dot(row["mean"], row["low"], row["high"], values, _count(row["pairs"], row["failed"]), sure)
        forest.setdefault((str(dataset), str(backbone)), {})[str(label)] = dot
    metric = str(frame["metric"].iloc[0])
    band = smallest if metric.endswith("auc") else None
    what = f"{METRICS.get(metric, metric)} − {_against(frame)}"
    names = _order(frame)
    sizes = dict(zip(frame["label"], frame["budget"], strict=True))
    return _forest(forest, names, what, band, gain_tick, sizes)


def _excludes_zero(interval: str, low: float, high: float) -> bool:
    return interval in INTERVALS and bool(low > 0 or high < 0)


def _count(pairs: int, failed: int) -> str:
    """Return how many pairs there are, and after a stroke how many units failed: `9 ×1`."""
    return f"{pairs} ×{failed}" if failed else str(pairs)


def _against(frame: pd.DataFrame) -> str:
    """Return what the labels are compared with, in words."""
    names = sorted(frame["reference"].unique())
    if len(names) == 1:
        return fitted(names[0], 26)
    methods = {str(name).partition(" @ ")[0] for name in names}
    return f"{fitted(methods.pop(), 18)} of the same size" if len(methods) == 1 else "its reference"


def _order(frame: pd.DataFrame) -> list[str]:
    """Return the labels, by falling plan budget, then by mean difference over all data sets and backbones."""
    once = frame.drop_duplicates(["dataset", "backbone", "label"])
    means = once.groupby("label").agg(ratio=("ratio", "first"), mean=("mean", "mean")).reset_index()
    down = frame["metric"].iloc[0] == "test_logloss"
    ordered = means.sort_values(
        ["ratio", "mean", "label"], ascending=[False, down, True], na_position="first"
    )
    return [str(label) for label in ordered["label"]]


def draw_hypervolume(frame: pd.DataFrame) -> Figure:
    """Draw `hypervolume_frame` as dots with intervals: a line per method, data sets and backbones beside each other."""
    forest: Forest = {}
    for row in frame.to_dict("records"):
        place = (str(row["dataset"]), str(row["backbone"]))
        ends = row["difference_low"], row["difference_high"]
        sure = _excludes_zero(row["difference_interval"], *ends) if row["pairs"] else None
        dot = Dot(row["hypervolume"], row["low"], row["high"], (), str(row["n"]), sure)
        forest.setdefault(place, {})[str(row["name"])] = dot
    means = frame.groupby("name")["hypervolume"].mean().reset_index()
    means["all"] = means["name"] != ALL
    order = means.sort_values(["all", "hypervolume", "name"], ascending=[True, False, True])["name"]
    first = frame.iloc[0]
    what = f"hypervolume above AUC {score(first['reference_auc'], 2)}, sizes 1 to {first['floor']:g}"
    return _forest(forest, list(map(str, order)), what, None, lambda v, _: score(v, 3), None)


def _forest(
    forest: Forest,
    names: Sequence[str],
    what: str,
    band: float | None,
    tick: Callable[[float, float], str],
    sizes: Mapping[str, str] | None,
) -> Figure:
    """Draw dots in lines; `sizes`: of differences, which have a zero, the plan budget of each name.

    A row of panels has the lines that any of its panels needs.
    """
    from matplotlib.figure import Figure

    across, zero = min(ACROSS, len(forest)), sizes is not None
    rows = [list(forest)[i : i + across] for i in range(0, len(forest), across)]
    lines = [[name for name in names if any(name in forest[place] for place in row)] for row in rows]
    handles, columns = _handles(forest, band, zero), 2 if across < 3 else 3
    body, left = (
        2.5 if across > 1 else 3.6,
        room_for([fitted_label(name, NAME) for name in names], NAME) + 0.2,
    )
    with style():
        head, tall = head_for(handles, columns), [LINE_HEIGHT * len(own) + 0.14 for own in lines]
        wide = max(left + across * (body + ASIDE) + 0.1, 5.4)
        figure = Figure(figsize=(wide, head + sum(tall) + len(rows) * (ABOVE + BELOW)))
        top, panels = float(figure.get_figheight()) - head, []
        for row, own, high in zip(rows, lines, tall, strict=True):
            for i, place in enumerate(row):
                spot = (left + i * (body + ASIDE), top - ABOVE - high, body, high)
                panels.append(figure.add_axes(inches(figure, spot)))
                panel_title(panels[-1], ", ".join(place), title_letters(body + ASIDE / 2))
                _panel(panels[-1], forest[place], own, band, sizes, named=i == 0)
                panels[-1].xaxis.set_major_formatter(tick)
            top -= ABOVE + high + BELOW
        page = Grid(figure, panels, across)
        page.label(what, "")
        page.legend(handles, columns)
    return figure


def _panel(
    axes: Axes,
    part: Mapping[str, Dot],
    names: Sequence[str],
    band: float | None,
    sizes: Mapping[str, str] | None,
    named: bool,
) -> None:
    """Draw the lines of one data set and backbone; those of one plan budget stand together."""
    breaks = [i for i in range(1, len(names)) if sizes and sizes[names[i]] != sizes[names[i - 1]]]
    _lay(axes, [fitted_label(name, NAME) if named else "" for name in names], breaks)
    _band(axes, band, zero=sizes is not None)
    _limits(axes, list(part.values()), zero=sizes is not None)
    axes.xaxis.set_major_locator(locator(4))
    _dots(axes, {y: part[name] for y, name in enumerate(names) if name in part})


def _lay(axes: Axes, names: Sequence[str], breaks: Sequence[int]) -> None:
    axes.set_yticks(range(len(names)), list(names), parse_math=False, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for line in breaks:
        axes.axhline(line - 0.5, color=MUTED, linewidth=0.6)
    stripes = range(1, len(names), 2)
    axes.barh(
        stripes,
        [1] * len(stripes),
        height=1,
        transform=axes.get_yaxis_transform(),
        color=LINE,
        alpha=0.22,
        zorder=0,
    )


def _band(axes: Axes, band: float | None, zero: bool) -> None:
    if band:
        axes.axvspan(-band, band, color=LINE, alpha=0.7, linewidth=0, zorder=0.5)
    if zero:
        axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)


def _limits(axes: Axes, dots: Sequence[Dot], zero: bool) -> None:
    """Set limits that hold zero and all but the far means and bars."""
    means = np.array([dot.mean for dot in dots if math.isfinite(dot.mean)])
    if not len(means):
        return
    ends = np.array([[dot.low, dot.high] for dot in dots if dot.low < dot.high] or [[m, m] for m in means])
    middle = 0.0 if zero else float(np.median(means))
    reach = max(FAR * float(np.median(np.abs(ends - middle).max(axis=1))), 2.5 * MARGIN if zero else 1e-3)
    everything = np.concatenate([means, ends.ravel(), [middle]])
    near = everything[np.abs(everything - middle) <= reach]
    space = 0.06 * max(float(np.ptp(near)), 4e-4)
    axes.set_xlim(float(near.min()) - space, float(near.max()) + space)


def _dots(axes: Axes, dots: Mapping[int, Dot]) -> None:
    """Draw the dots of a panel by line: single pairs, intervals, means, and at the right their numbers."""
    low, high = axes.get_xlim()
    faint = [(v, y + 0.26) for y, dot in dots.items() for v in dot.values if low <= v <= high]
    axes.plot([x for x, _ in faint], [y for _, y in faint], "o", alpha=0.4, color=colour(0), **FAINT)
    bars = [(y, dot.low, dot.high) for y, dot in dots.items() if dot.low < dot.high]
    if bars:
        axes.hlines(*zip(*bars, strict=True), color=colour(0), linewidth=1.5, zorder=2)
    for y, dot in dots.items():
        if math.isfinite(dot.mean):
            _mean(axes, y, dot)
        _beside(axes, (1, y), dot.text, 5, xycoords=axes.get_yaxis_transform())


def _mean(axes: Axes, y: int, dot: Dot) -> None:
    """Draw a mean; one beyond the axis as an arrow at its end, with the number."""
    low, high = axes.get_xlim()
    where = min(max(dot.mean, low), high)
    form = ("|" if dot.sure is None else "s") if where == dot.mean else "<" if where == low else ">"
    look = {"color": colour(0), "markerfacecolor": colour(0) if dot.sure else "white", "markersize": 5}
    axes.plot([where], [y], form, zorder=3, clip_on=False, **look)
    if where != dot.mean:
        side = 1 if where == low else -1
        said = score(dot.mean, 4, signed=True)
        _beside(axes, (where, y), said, 6 * side, ha="left" if side > 0 else "right")


def _beside(axes: Axes, spot: tuple[float, float], text: str, shift: float, **options: Any) -> None:
    """Write small beside a spot, `shift` printer's points to the right."""
    axes.annotate(
        text,
        xy=spot,
        xytext=(shift, 0),
        textcoords="offset points",
        va="center",
        fontsize=6.5,
        color=MUTED,
        annotation_clip=False,
        **options,
    )


def _handles(forest: Forest, band: float | None, zero: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    dots = [dot for part in forest.values() for dot in part.values()]
    look: dict[str, Any] = {"color": colour(0), "marker": "s", "markersize": 5}
    ring = {**look, "markerfacecolor": "white", "linestyle": ""}
    than = "zero" if zero else "uniform narrow widths"
    lost = " (×: failed units)" if any("×" in dot.text for dot in dots) else ""
    handles: list[Any] = [
        Line2D(
            [], [], **look, linewidth=1.5, label=f"mean, 95 % interval; at the right: pairs of seeds{lost}"
        ),
        Line2D([], [], **ring, label=f"not told apart from {than}"),
    ]
    if any(dot.sure is None for dot in dots):
        bare = {**look, "marker": "|", "linestyle": ""}
        handles.append(Line2D([], [], **bare, label="the reference itself, or none of its sizes"))
    if any(dot.values for dot in dots):
        faint = {"color": colour(0), "alpha": 0.4, "linestyle": "", **FAINT}
        handles.append(Line2D([], [], marker="o", **faint, label="one pair of seeds"))
    if band:
        handles.append(Patch(color=LINE, label=f"too small to matter (±{score(band, 4)})"))
    return handles
