"""What drawers of comparisons share: names that keep clear of each other, notes, words for numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._comparison_units import OWN_SIZE
from nasbench_rec.reports._drawing import FONT, MUTED
from nasbench_rec.reports._labels import Box, place_labels
from nasbench_rec.reports._text import letters, score, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTER = 0.56
"""Width of a letter, as a share of the size of the font."""
TITLE_LETTER = 0.068
"""Width of a letter of a panel's title, in inches."""


def figure_of(axes: Axes) -> Figure:
    """Return the figure that holds axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # these axes were made on one
    return figure


def on_page(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """Return where a point lies on the figure, in printer's points."""
    left, up = axes.transData.transform((x, y)) * 72 / figure_of(axes).dpi
    return float(left), float(up)


def inside(axes: Axes) -> Box:
    """Return the rectangle of axes, in printer's points."""
    left, bottom, right, top = np.asarray(axes.bbox.extents) * 72 / figure_of(axes).dpi
    return Box(float(left), float(bottom), float(right), float(top))


def write_labels(
    axes: Axes,
    texts: Sequence[str],
    spots: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    size: float = FONT - 0.5,
) -> None:
    """Write a text by each spot (printer's points) where it covers least, with a thin line where that is far."""
    sizes = [(LETTER * size * letters(text), 1.15 * size) for text in texts]
    for text, spot, box in zip(
        texts, spots, place_labels(spots, sizes, obstacles, inside(axes)), strict=True
    ):
        _write(axes, text, spot, box, size)


def _write(axes: Axes, text: str, spot: tuple[float, float], box: Box, size: float) -> None:
    place: dict[str, Any] = {
        "xycoords": "figure points",
        "textcoords": "figure points",
        "annotation_clip": False,
    }
    middle = ((box.left + box.right) / 2, (box.bottom + box.top) / 2)
    axes.annotate(
        text,
        xy=spot,
        xytext=middle,
        ha="center",
        va="center_baseline",
        fontsize=size,
        parse_math=False,
        **place,
    )
    nearest = box.nearest(*spot)
    if math.dist(nearest, spot) > 8:
        line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 4}
        axes.annotate("", xy=spot, xytext=nearest, arrowprops=line, **place)


def beside(
    axes: Axes, text: str, at: tuple[float, float], look: Mapping[str, Any], spot: tuple[float, float] | None
) -> None:
    """Write a mark (its `look`) and a text `at` a place right of the axes, led to from a `spot` (printer's points)."""
    from matplotlib.lines import Line2D

    figure = figure_of(axes)
    wide, high = 72 * figure.get_size_inches()
    mark: dict[str, Any] = {"linestyle": "", "markersize": 4, "transform": figure.transFigure}
    figure.add_artist(Line2D([at[0] / wide], [at[1] / high], **mark, **look))
    place: dict[str, Any] = {
        "xycoords": "figure points",
        "textcoords": "figure points",
        "annotation_clip": False,
    }
    right = (at[0] + 5, at[1])
    axes.annotate(text, xy=right, xytext=right, va="center", fontsize=7, parse_math=False, **place)
    if spot is None:
        return
    line = {"arrowstyle": "-", "color": look["color"], "linewidth": 0.5, "shrinkA": 2, "shrinkB": 3}
    axes.annotate("", xy=spot, xytext=(at[0] - 1, at[1]), arrowprops=line, **place)


def note(axes: Axes, text: str, down: float = 34) -> None:
    """Write at most two lines below axes, `down` printer's points under them; nothing for no text."""
    if not text:
        return
    width = axes.bbox.width * 72 / figure_of(axes).dpi
    axes.annotate(
        "\n".join(wrapped(text, int(width / (LETTER * 6.5)))),
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(0, -down),
        textcoords="offset points",
        va="top",
        fontsize=6.5,
        color=MUTED,
        parse_math=False,
        annotation_clip=False,
    )


def gain_tick(value: float, _: float) -> str:
    """Return what stands at a tick of differences."""
    return "0" if abs(value) < 1e-9 else score(value, 4, signed=True).removesuffix("0")


def plans_of(budget: str) -> str:
    """Return a plan budget in the words of a panel's title."""
    return f"plans of {budget} of the bytes" if budget[:1].isdigit() else budget


def place_title(place: Sequence[str], counts: pd.Series, budgets: Collection[str] = ()) -> str:
    """Return the title of a panel: data set, backbone, its plan budget where there are others, seeds (`counts`)."""
    size = [plans_of(place[2])] if set(budgets) - {OWN_SIZE} else []
    return f"{', '.join([*place[:2], *size])} ({seeds_text(counts)})"


def seeds_text(counts: pd.Series) -> str:
    """Return `3 seeds`, or `2 to 3 seeds` where rows differ; those without a success left out."""
    known = counts[counts > 0]
    if known.empty:
        return "no seed"
    low, high = int(known.min()), int(known.max())
    return f"{high} seed{'s' if high > 1 else ''}" if low == high else f"{low} to {high} seeds"


def spread_down(heights: Sequence[float], step: float) -> list[float]:
    """Return heights at least `step` apart, near those wanted and in their order (equal ones as given)."""
    order = sorted(range(len(heights)), key=lambda i: (heights[i], -i))
    clusters: list[tuple[float, int]] = []  # the lowest place of a run of texts, and how many they are
    for i in order:
        centre, count = heights[i], 1
        low = centre
        while clusters and clusters[-1][0] + clusters[-1][1] * step > low:
            below, many = clusters.pop()
            middle = (below + (many - 1) * step / 2) * many + centre * count
            count += many
            centre = middle / count
            low = centre - (count - 1) * step / 2
        clusters.append((low, count))
    places = [low + j * step for low, count in clusters for j in range(count)]
    return [places[order.index(i)] for i in range(len(heights))]
