"""How the figures look: style, scales, marks, and labels that keep clear of each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nasbench_rec.reports._text import byte_size, one_line, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1f2328", "#59636e", "#d1d9e0"
COLOURS = (0, 1, 2, 3, 4, 5, 9)
"""Those colours of seaborn's "colorblind" palette that show on white and on black."""
MARKERS = "os^vPX<>h"
FONT = 8.0
PANEL = (5.6, 3.3)
"""Width and height of a panel in inches."""
MARGIN = (0.72, 0.55, 0.2, 0.4)
"""Around a panel's axes in inches: left, bottom, right, top."""
STYLE = {
    "svg.hashsalt": "nasbench-rec",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply matplotlib's defaults and ours, whatever the user has set, and give the user's back."""
    from matplotlib.style import context

    with context(["default", STYLE]):
        yield


def looks(points: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return a colour and a marker per method, the same in all panels."""
    import seaborn

    palette = seaborn.color_palette("colorblind")
    return {
        method: {"color": palette[COLOURS[i % len(COLOURS)]], "marker": MARKERS[i % len(MARKERS)]}
        for i, method in enumerate(sorted(points["method"].unique()))
    }


def place(figure: Figure, column: int, row: int, across: int, down: int) -> Axes:
    """Return axes at a place of the grid, with the margins in inches."""
    left, bottom, right, top = MARGIN
    width, height = across * PANEL[0], down * PANEL[1]
    x, y = column * PANEL[0] + left, (down - row - 1) * PANEL[1] + bottom
    size = ((PANEL[0] - left - right) / width, (PANEL[1] - bottom - top) / height)
    return figure.add_axes((x / width, y / height, *size))


def panel(axes: Axes, title: str, part: pd.DataFrame, look: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw the points of one data set and backbone into `axes`, each in the look of its method."""
    import seaborn

    seaborn.despine(ax=axes)
    axes.set_title(one_line(title, 70), loc="left", parse_math=False)
    axes.set_xlabel("embedding size (bytes, logarithmic)")
    axes.set_ylabel("test AUC, mean over seeds")
    drawn = part[part["n"] > 0].dropna(subset=["test_auc", "embedding_bytes"]).sort_values(["embedding_bytes", "label"])
    lost = part[~part["label"].isin(drawn["label"])]
    if drawn.empty:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no unit succeeded", transform=axes.transAxes, ha="center", color=MUTED)
        return
    _scales(axes, drawn)
    for method, points in drawn.groupby("method", sort=True):
        _method(axes, points, look[str(method)])
    for point in drawn[drawn["uniform"]].itertuples():
        axes.axhline(point.test_auc, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    _label_points(axes, drawn)
    if len(lost):
        text = one_line(f"failed: {', '.join(lost['label'])}", 60)
        axes.text(1, 1.02, text, transform=axes.transAxes, ha="right", color=MUTED, parse_math=False)


def _scales(axes: Axes, drawn: pd.DataFrame) -> None:
    """Set limits that hold all bars, and ticks at powers of two bytes."""
    low, high = np.log2(drawn["bytes_low"].clip(lower=1).min()), np.log2(drawn["bytes_high"].clip(lower=1).max())
    pad = max(0.12 * (high - low), 0.75)
    axes.set_xscale("log", base=2)
    axes.set_xlim(2 ** (low - pad), 2 ** (high + pad))
    step = max(1, math.ceil((high - low + 2 * pad) / 7))
    powers = range(math.ceil(low - pad), math.floor(high + pad) + 1, step)
    axes.set_xticks([2.0**power for power in powers], [byte_size(2.0**power).replace(".00", "") for power in powers])
    axes.set_xticks([], minor=True)
    heights = drawn[["test_auc", "test_auc_low", "test_auc_high"]].to_numpy()
    bottom, top = np.nanmin(heights), np.nanmax(heights)
    space = max(0.08 * (top - bottom), 2e-4)
    axes.set_ylim(bottom - space, top + space)
    axes.yaxis.set_major_formatter(_tick)
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _tick(value: float, _: int) -> str:
    return score(value, 4).removesuffix("0")


def _method(axes: Axes, points: pd.DataFrame, look: Mapping[str, Any]) -> None:
    """Draw one method's points with their bars, joined where they differ in the plan budget alone."""
    x, y = points["embedding_bytes"].clip(lower=1), points["test_auc"]
    if _is_curve(points):
        axes.plot(x, y, color=look["color"], linewidth=1, zorder=2)
    for at in range(len(points)):
        point = points.iloc[at]
        mark = {"color": INK, "marker": "D"} if point["uniform"] else look
        axes.vlines(x.iloc[at], point["test_auc_low"], point["test_auc_high"], color=mark["color"], linewidth=1.1)
        axes.hlines(y.iloc[at], max(point["bytes_low"], 1), point["bytes_high"], color=mark["color"], linewidth=1.1)
        axes.plot(x.iloc[at], y.iloc[at], linestyle="", markersize=5.5, zorder=3, **mark)


def _is_curve(points: pd.DataFrame) -> bool:
    budgets = points["ratio"].dropna()
    return len(budgets) > 1 and budgets.is_unique and len(points) - len(budgets) <= int(points["uniform"].any())


def _label_points(axes: Axes, drawn: pd.DataFrame) -> None:
    """Write each point's label (of a curve, the method's name at its largest plan) where it covers least."""
    texts, anchors = [], []
    for method, points in drawn.groupby("method", sort=True):
        curve = _is_curve(points)
        named = points[points["uniform"]] if curve else points
        texts += [f"{one_line(t, 34)}{' (uniform)' if u else ''}" for t, u in zip(named["label"], named["uniform"], strict=True)]
        anchors += list(named.index)
        rest = points[~points["uniform"]] if curve else points.iloc[:0]
        texts += [one_line(method, 34)] * min(1, len(rest))
        anchors += list(rest.index[-1:])
    spots, obstacles = _in_points(axes, drawn)
    for text, (x, y), anchor in zip(texts, _placed(texts, [spots[a] for a in anchors], obstacles, _size(axes)), anchors, strict=True):
        _write(axes, text, spots[anchor], (x, y))
