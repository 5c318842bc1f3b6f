"""Paired differences to a reference as a frame and a forest plot; hypervolumes as the same kind of plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import Margins, colour, grid, locator, room_for, shift_for_names
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._comparison_marks import gain_tick
from nasbench_rec.reports._comparison_points import ALL
from nasbench_rec.reports._comparison_units import Contender, Place, head, places, require
from nasbench_rec.reports._drawing import INK, LINE, MUTED, style
from nasbench_rec.reports._text import one_line, score

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import MARGIN

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
    """The label's value less the reference's at this pair of seeds."""
    mean: float
    low: float
    high: float
    interval: str
    """How the 95 % interval of the mean was made: t, BCa, constant (no width), none (one pair)."""
    pairs: int


def paired_frame(records: pd.DataFrame, reference: str = UNIFORM, metric: str = "test_auc") -> pd.DataFrame:
    """Return a `PairRow` per label and pair of seeds that it shares with its reference.

    `reference`: "uniform" is the uniform model; "random" the random widths of the same size; else a label, or the
    name of a method (`fixed`), which is then compared at the same plan budget. `DataError` where nothing has it.
    """
    require(records, [metric])
    found = list(places(records))
    rows = [row for place in found for row in _place_rows(place, reference, metric)]
    if not rows and not any(_reference(place, x, reference) for place in found for x in place.units):
        known = sorted({label for place in found for label in place.units})
        raise DataError(
            f"no record can be compared with {reference!r}: give {UNIFORM!r}, {RANDOM!r}, a method's name or one of "
            f"the labels {', '.join(known[:20])}{' …' if len(known) > 20 else ''}."
        )
    return frame_of(rows, PairRow)


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
        for pair in pairs.reset_index().to_dict("records"):
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
    if reference in place.units:
        return reference
    ratio = place.units[label]["ratio"].iloc[0]
    same = place.records[(place.records["name"] == reference) & (place.records["ratio"] == ratio)]
    return None if same.empty else str(same["label"].iloc[0])


@dataclass(frozen=True)
class Dot:
    """One line of a forest: a mean with its interval, and single values."""

    mean: float
    low: float
    high: float
    values: Sequence[float]
    text: str
    sure: bool | None
    """Whether the interval of the difference excludes zero; None where there is no difference."""


Forest = dict[tuple[str, str], dict[str, Dot]]


def draw_paired(frame: pd.DataFrame, smallest: float | None = MARGIN) -> Figure:
    """Draw `paired_frame` as a forest: a line per label, data sets and backbones beside each other.

    The band about zero is `smallest`, the least difference that matters; None: no band.
    """
    forest: Forest = {}
    for (dataset, backbone, label), part in frame.groupby(["dataset", "backbone", "label"]):
        row = part.iloc[0]
        sure = row["interval"] not in ("none", "constant") and bool(row["low"] > 0 or row["high"] < 0)
        values = part["difference"].tolist()
        dot = Dot(row["mean"], row["low"], row["high"], values, str(row["pairs"]), sure)
        forest.setdefault((str(dataset), str(backbone)), {})[str(label)] = dot
    metric = METRICS.get(str(frame["metric"].iloc[0]), str(frame["metric"].iloc[0]))
    references = sorted(frame["reference"].unique())
    against = one_line(references[0], 26) if len(references) == 1 else "reference of the same size"
    return _forest(forest, _order(frame), f"{metric} − {against}", smallest, gain_tick, zero=True)


def _order(frame: pd.DataFrame) -> list[str]:
    """Return the labels, by falling plan budget, then by mean difference over all data sets and backbones."""
    means = frame.groupby("label").agg(ratio=("ratio", "first"), mean=("mean", "mean")).reset_index()
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
        known = math.isfinite(row["difference_low"])
        sure = bool(row["difference_low"] > 0 or row["difference_high"] < 0) if known else None
        dot = Dot(row["hypervolume"], row["low"], row["high"], (), str(row["n"]), sure)
        forest.setdefault(place, {})[str(row["name"])] = dot
    means = frame.groupby("name")["hypervolume"].mean().reset_index()
    means["all"] = means["name"] != ALL
    order = means.sort_values(["all", "hypervolume", "name"], ascending=[True, False, True])["name"]
    first = frame.iloc[0]
    what = f"hypervolume above AUC {score(first['reference_auc'], 2)}, sizes 1 to {first['floor']:g}"
    return _forest(forest, list(map(str, order)), what, None, lambda v, _: score(v, 3), zero=False)


def _forest(
    forest: Forest,
    names: Sequence[str],
    what: str,
    band: float | None,
    tick: Callable[[float, float], str],
    zero: bool,
) -> Figure:
    with style():
        page = grid(
            [f"{dataset}, {backbone}" for dataset, backbone in forest],
            size=(2.5 if len(forest) > 1 else 3.6, LINE_HEIGHT * len(names) + 0.14),
            margins=Margins(left=0.1, bottom=0.48, right=0.3),
            head=0.42,
            across=min(ACROSS, len(forest)),
        )
        shown = [one_line(name, NAME) for name in names]
        shift_for_names(page.figure, page.panels, room_for(shown, NAME))
        for i, (axes, part) in enumerate(zip(page.panels, forest.values(), strict=True)):
            _lay(axes, shown if i % page.across == 0 else [""] * len(names))
            _band(axes, band, zero)
            _limits(axes, list(part.values()), zero)
            axes.xaxis.set_major_locator(locator(4))
            axes.xaxis.set_major_formatter(tick)
            _dots(axes, {y: part[name] for y, name in enumerate(names) if name in part})
        page.label(what, "")
        page.legend(_handles(forest, band, zero), columns=2 if len(forest) == 1 else 3)
    return page.figure


def _lay(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(names), parse_math=False, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
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

    look = {"color": colour(0), "marker": "s", "markersize": 5}
    ring: dict[str, Any] = {"markerfacecolor": "white", "linestyle": ""}
    than = "zero" if zero else "that of uniform narrow widths"
    handles: list[Any] = [
        Line2D([], [], **look, linewidth=1.5, label="mean, 95 % interval; at the right: pairs of seeds"),
        Line2D([], [], **look, **ring, label=f"not told apart from {than}"),
    ]
    if any(dot.values for part in forest.values() for dot in part.values()):
        handles.append(
            Line2D(
                [],
                [],
                marker="o",
                linestyle="",
                alpha=0.4,
                color=colour(0),
                label="one pair of seeds",
                **FAINT,
            )
        )
    if band:
        handles.append(Patch(color=LINE, label=f"too small to matter (±{score(band, 4)})"))
    return handles
