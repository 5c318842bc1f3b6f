"""How the figures look: style, scales, marks, and labels that keep clear of each other."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._labels import Box, place_labels
from nasbench_rec.reports._text import byte_size, fitted, fitted_label, letters, score, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE = "#1f2328", "#59636e", "#d1d9e0"
COLOURS = (0, 1, 2, 3, 4, 5, 9)
"""Those colours of seaborn's "colorblind" palette that show on white and on black."""
MARKERS = "os^vPX<>h"
FONT = 8.0
FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAexGothic", "IPAGothic"),
    *("PingFang SC", "Hiragino Sans", "Heiti SC", "Microsoft YaHei", "Yu Gothic", "Arial Unicode MS"),
)
"""Fonts with the letters of East Asia, which ours lacks, in the order in which they are taken."""
TITLE_WIDTH = 56
MANY, FAR, SMALL = 20, 3.0, 256
"""From how many points on bars may leave the axes, and so may points: those more than FAR interquartile ranges below
the median AUC, or SMALL times smaller than the largest."""
SIDE_STEP = 6.5
"""How far apart points of one size stand, in printer's points."""
PANEL = (5.6, 3.55)
"""Width and height of a panel in inches."""
MARGIN = (0.72, 0.7, 0.2, 0.5)
"""Around a panel's axes in inches: left, bottom, right, top."""
STYLE = {
    "svg.hashsalt": "nasbench-rec",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "axes.facecolor": "none",
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


@contextmanager
def fallen_back(figure: Figure) -> Iterator[None]:
    """Let an installed font draw the letters of East Asia, for a file that holds its fonts; without one they are boxes.

    Afterwards the figure is as it was.
    """
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and _is_wide(text.get_text())]
    families = [text.get_fontfamily() for text in texts]
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)  # it tells when such a font has no bold face
    try:
        for text, family in zip(texts, families, strict=True):
            text.set_fontfamily([*family, *installed()[:1]])
        yield
    finally:
        log.setLevel(level)
        for text, family in zip(texts, families, strict=True):
            text.set_fontfamily(family)


def _is_wide(text: str) -> bool:
    return any(letters(c) > 1 for c in text)


@lru_cache(maxsize=1)
def installed() -> tuple[str, ...]:
    """Return those of `FALLBACKS` that this machine has."""
    from matplotlib.font_manager import fontManager

    known = {font.name for font in fontManager.ttflist}
    return tuple(name for name in FALLBACKS if name in known)


def looks(points: pd.DataFrame, parts: Sequence[pd.DataFrame] = ()) -> dict[str, dict[str, Any]]:
    """Return a colour and a marker per method, the same in all panels.

    Where one data set and backbone are drawn in several `parts`, colours start anew in each, so that they differ
    inside it; `random`, which stands in all, is muted.
    """
    found: dict[str, dict[str, Any]] = {}
    for part in (points, *parts):
        names = sorted(set(part["method"]) - ({"fixed", "random"} if parts else set()))
        found |= {name: _look(i) for i, name in enumerate(names)}
    if parts:
        found |= {"random": {"color": MUTED, "marker": "x"}, "fixed": _look(0)}
    return found


def _look(i: int) -> dict[str, Any]:
    import seaborn

    palette = seaborn.color_palette("colorblind")
    return {"color": palette[COLOURS[i % len(COLOURS)]], "marker": MARKERS[i % len(MARKERS)]}


def place(figure: Figure, column: int, row: int, across: int, down: int) -> Axes:
    """Return axes at a place of the grid, with the margins in inches."""
    left, bottom, right, top = MARGIN
    width, height = across * PANEL[0], down * PANEL[1]
    x, y = column * PANEL[0] + left, (down - row - 1) * PANEL[1] + bottom
    size = ((PANEL[0] - left - right) / width, (PANEL[1] - bottom - top) / height)
    return figure.add_axes((x / width, y / height, *size))


def panel(
    axes: Axes,
    title: str,
    part: pd.DataFrame,
    look: Mapping[str, Mapping[str, Any]],
    whole: pd.DataFrame | None = None,
) -> None:
    """Draw the points of one data set and backbone into `axes`, each in the look of its method.

    The axes hold all points of `whole` (by default `part`) but those far below or far smaller than the others, which
    a note names.
    """
    import seaborn

    seaborn.despine(ax=axes)
    axes.set_title("\n".join(wrapped(title, TITLE_WIDTH)), loc="left", parse_math=False)
    axes.set_xlabel("embedding size (bytes, logarithmic)")
    axes.set_ylabel("test AUC, mean over seeds")
    found, everything = _known(part), _known(part if whole is None else whole)
    lost = part[~part["label"].isin(found["label"])]
    near = within(everything)
    drawn, off = found[found["label"].isin(near["label"])], found[~found["label"].isin(near["label"])]
    if drawn.empty:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no unit succeeded", transform=axes.transAxes, ha="center", color=MUTED)
        return
    _scales(axes, near)
    drawn = drawn.assign(aside=_aside(axes, drawn["embedding_bytes"]))
    for method, points in drawn.groupby("method", sort=True):
        _method(axes, points, look[str(method)])
    for height in drawn.loc[drawn["uniform"], "test_auc"]:
        axes.axhline(height, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    _label_points(axes, drawn)
    notes = [f"without a point, as all units failed: {', '.join(lost['label'])}"] if len(lost) else []
    if len(off):
        texts = (
            f"{label} ({byte_size(size)}, {score(auc, 4)})"
            for label, size, auc in off[["label", "embedding_bytes", "test_auc"]].itertuples(index=False)
        )
        notes.insert(0, f"off the axes: {', '.join(texts)}")
    if notes:
        _note(axes, "; ".join(notes))


def _known(part: pd.DataFrame) -> pd.DataFrame:
    """Return the points that have a place, by size."""
    found = part[part["n"] > 0].dropna(subset=["test_auc", "embedding_bytes"])
    return found.sort_values(["embedding_bytes", "label"])


def within(drawn: pd.DataFrame) -> pd.DataFrame:
    """Return the points without those far below or far smaller than the others: they would squash all the rest."""
    if len(drawn) < MANY:
        return drawn
    low, middle, high = np.quantile(drawn["test_auc"], (0.25, 0.5, 0.75))
    near = drawn["test_auc"] >= middle - FAR * (high - low)
    return drawn[
        drawn["uniform"] | (near & (drawn["embedding_bytes"] >= drawn["embedding_bytes"].max() / SMALL))
    ]


def _note(axes: Axes, text: str) -> None:
    """Write a line or two below the axes."""
    axes.annotate(
        "\n".join(wrapped(text, 84)),
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(0, -34),
        textcoords="offset points",
        va="top",
        fontsize=7,
        color=MUTED,
        parse_math=False,
        annotation_clip=False,
    )


def _scales(axes: Axes, drawn: pd.DataFrame) -> None:
    """Set limits that hold all bars (of many points, all points), and ticks at powers of two bytes."""
    bars = len(drawn) < MANY
    sizes = drawn[["bytes_low", "bytes_high"] if bars else ["embedding_bytes"]].clip(lower=1).to_numpy()
    heights = drawn[["test_auc", "test_auc_low", "test_auc_high"] if bars else ["test_auc"]].to_numpy()
    low, high = np.log2(sizes.min()), np.log2(sizes.max())
    pad = max(0.12 * (high - low), 0.75)
    axes.set_xscale("log", base=2)
    axes.set_xlim(2 ** (low - pad), 2 ** (high + pad))
    step = max(1, math.ceil((high - low + 2 * pad) / 7))
    powers = range(math.ceil(low - pad), math.floor(high + pad) + 1, step)
    axes.set_xticks([2.0**power for power in powers], [_size_tick(power) for power in powers])
    axes.set_xticks([], minor=True)
    bottom, top = np.nanmin(heights), np.nanmax(heights)
    space = max((0.08 if bars else 0.2) * (top - bottom), 2e-4)
    axes.set_ylim(bottom - space, top + space)
    axes.yaxis.set_major_formatter(_tick)
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _aside(axes: Axes, sizes: pd.Series) -> np.ndarray:
    """Return a factor per point (ascending sizes) that sets points of about one size side by side."""
    spots = np.array([_on_page(axes, size, 0.0)[0] for size in sizes])
    shift, clusters = np.zeros(len(spots)), np.cumsum(np.diff(spots, prepend=spots[:1]) > 0.8 * SIDE_STEP)
    for cluster in np.unique(clusters):
        inside = np.flatnonzero(clusters == cluster)
        wanted = spots[inside].mean() + SIDE_STEP * (np.arange(len(inside)) - (len(inside) - 1) / 2)
        shift[inside] = wanted - spots[inside] if len(inside) > 1 else 0.0
    low, high = np.log2(axes.get_xlim())
    return 2 ** (shift / _points_wide(axes) * (high - low))


def _figure(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None  # these axes were made on one
    return figure


def _points_wide(axes: Axes) -> float:
    return float(axes.bbox.width * 72 / _figure(axes).dpi)


def _size_tick(power: int) -> str:
    number, unit = byte_size(2.0**power).split()
    return f"{float(number):g} {unit}"


def _tick(value: float, _: float) -> str:
    return score(value, 4).removesuffix("0")


def _method(axes: Axes, points: pd.DataFrame, look: Mapping[str, Any]) -> None:
    """Draw one method's points with their bars, joined where they differ in the plan budget alone."""
    x, y = points["embedding_bytes"].clip(lower=1) * points["aside"], points["test_auc"]
    if _is_curve(points):
        axes.plot(x, y, color=look["color"], linewidth=1, zorder=2)
    for at in range(len(points)):
        point = points.iloc[at]
        mark = {"color": INK, "marker": "D"} if point["uniform"] else look
        axes.vlines(
            x.iloc[at], point["test_auc_low"], point["test_auc_high"], color=mark["color"], linewidth=1.1
        )
        ends = [max(point[end], 1) * point["aside"] for end in ("bytes_low", "bytes_high")]
        axes.hlines(y.iloc[at], *ends, color=mark["color"], linewidth=1.1)
        axes.plot(x.iloc[at], y.iloc[at], linestyle="", markersize=5.5, zorder=3, **mark)


def _is_curve(points: pd.DataFrame) -> bool:
    budgets = points["ratio"].dropna()
    return (
        len(budgets) > 1 and budgets.is_unique and len(points) - len(budgets) <= int(points["uniform"].any())
    )


def _label_points(axes: Axes, drawn: pd.DataFrame) -> None:
    """Write each point's label (of a curve, the method's name once) where it covers least."""
    named = [entry for _, points in drawn.groupby("method", sort=True) for entry in _named(points)]
    spots = [_spot(axes, point) for _, point in named]
    sizes = [(0.56 * FONT * letters(text), 1.15 * FONT) for text, _ in named]
    left, bottom, right, top = np.asarray(axes.bbox.extents) * 72 / _figure(axes).dpi
    frame = Box(float(left), float(bottom), float(right), float(top))
    boxes = place_labels(spots, sizes, _obstacles(axes, drawn), frame)
    for (text, _), spot, box in zip(named, spots, boxes, strict=True):
        _write(axes, text, spot, box)


def _named(points: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """Return the texts to write for one method, each with its point."""
    rows = [points.iloc[at] for at in range(len(points))]
    if not _is_curve(points):
        return [(_label(row), row) for row in rows]
    others = [row for row in rows if not row["uniform"]]
    return [(_label(row), row) for row in rows if row["uniform"]] + [
        (fitted(row["method"], 34), row) for row in others[-1:]
    ]


def _label(point: pd.Series) -> str:
    return f"{fitted_label(str(point['label']), 34)}{' (uniform)' if point['uniform'] else ''}"


def _spot(axes: Axes, point: pd.Series) -> tuple[float, float]:
    return _on_page(axes, max(point["embedding_bytes"], 1) * point["aside"], point["test_auc"])


def _on_page(axes: Axes, size: float, auc: float) -> tuple[float, float]:
    """Return where a point lies on the figure, in printer's points."""
    x, y = axes.transData.transform((max(size, 1.0), auc)) * 72 / _figure(axes).dpi
    return float(x), float(y)


def _obstacles(axes: Axes, drawn: pd.DataFrame) -> list[Box]:
    """Return what labels should not cover: marks, bars, lines between points, the uniform model's line."""
    boxes = []
    for at in range(len(drawn)):
        point = drawn.iloc[at]
        x, y = _spot(axes, point)
        boxes.append(Box(x - 3.5, y - 3.5, x + 3.5, y + 3.5))
        if point["n"] > 1:
            ends = [_on_page(axes, 1, point[f"test_auc_{end}"])[1] for end in ("low", "high")]
            boxes.append(Box(x - 1, ends[0], x + 1, ends[1]))
    for height in drawn.loc[drawn["uniform"], "test_auc"]:
        y = _on_page(axes, 1, height)[1]
        boxes.append(Box(0, y - 0.5, _figure(axes).get_figwidth() * 72, y + 0.5))
    return boxes + _line_boxes(axes, drawn)


def _line_boxes(axes: Axes, drawn: pd.DataFrame) -> list[Box]:
    boxes = []
    for _, points in drawn.groupby("method"):
        spots = [_spot(axes, points.iloc[at]) for at in range(len(points))]
        for start, end in zip(spots, spots[1:], strict=False) if _is_curve(points) else ():
            along = np.linspace(start, end, 12)[1:-1]
            boxes += [Box(x - 1.5, y - 1.5, x + 1.5, y + 1.5) for x, y in along]
    return boxes


def _write(axes: Axes, text: str, spot: tuple[float, float], box: Box) -> None:
    """Write `text` into `box`, with a thin line from its point where that is not beside it."""
    nearest = box.nearest(*spot)
    far = math.dist(nearest, spot) > 8
    axes.annotate(
        text,
        xy=spot,
        xycoords="figure points",
        xytext=((box.left + box.right) / 2, (box.bottom + box.top) / 2),
        textcoords="figure points",
        ha="center",
        va="center_baseline",
        parse_math=False,
        annotation_clip=False,
    )
    if far:
        axes.annotate(
            "",
            xy=spot,
            xytext=nearest,
            xycoords="figure points",
            textcoords="figure points",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 4},
            annotation_clip=False,
        )
