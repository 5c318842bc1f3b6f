"""How panels of an ablation's figures are laid out: sizes in inches, so that text keeps its size in print."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from nasbench_rec.reports._drawing import COLOURS, INK
from nasbench_rec.reports._text import fitted, letters, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS, MANY_ACROSS, MANY = 3, 5, 12
"""Panels side by side, and as many where there are more than `MANY`."""
TITLE = 29
"""Characters of a line of a panel's title as wide as `PANEL`."""
PANEL = (1.85, 1.35)
LARGE = {1: (4.0, 2.3), 2: (2.9, 1.8)}
"""Sizes where there are as few panels."""
LETTER = 0.062
"""Width of a letter of normal size, in inches."""
GROUP = ["dataset", "backbone"]
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (5, 1.5, 1.2, 1.5)))


@dataclass(frozen=True)
class Margins:
    """Space around the axes of a panel, in inches."""

    left: float = 0.42
    bottom: float = 0.28
    right: float = 0.14
    top: float | None = None
    """None: as much as the titles need."""


@dataclass(frozen=True)
class Grid:
    """A figure of equal panels, with labels of both axes on the outside, a legend above and a bar at the right."""

    figure: Figure
    panels: list[Axes]
    across: int

    def label(self, x: str, y: str) -> None:
        """Write `x` below the lowest panel of each column and `y` beside the first of each row."""
        for i, axes in enumerate(self.panels):
            if i % self.across == 0:
                axes.set_ylabel(y)
            if i + self.across >= len(self.panels):
                axes.set_xlabel(x)

    def legend(self, handles: Sequence[Any], columns: int = 4) -> None:
        """Write a legend in the space above the panels."""
        height = self.figure.get_figheight()
        self.figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=(0.0, 1 - 0.02 / height),
            ncols=columns,
            frameon=False,
            handlelength=2.6,
            columnspacing=1.4,
            borderaxespad=0.2,
        )

    def colour_bar(self, mesh: Any, label: str) -> None:
        """Draw the scale of colours at the right of the first row."""
        width, box = self.figure.get_figwidth(), self.panels[0].get_position()
        axes = self.figure.add_axes((1 - 0.68 / width, box.y0, 0.1 / width, box.height))
        bar = self.figure.colorbar(mesh, cax=axes)
        bar.outline.set_visible(False)
        bar.set_label(label)


def grid(
    titles: Sequence[str],
    size: tuple[float, float] | None = None,
    margins: Margins | None = None,
    head: float = 0.24,
    aside: float = 0.0,
    across: int = 0,
    over: float = 0.0,
) -> Grid:
    """Return a figure with a panel per title; `head` is room for a legend, `aside` for a colour bar.

    `size` of a panel (None) and panels `across` (0) go by their number where they are not given. Titles may reach over
    the right margin by `over` inches.
    """
    from matplotlib.figure import Figure

    size = size or LARGE.get(len(titles), PANEL)
    room = title_letters(size[0] + over)
    space = margins or Margins()
    columns = min(across or (ACROSS if len(titles) <= MANY else MANY_ACROSS), len(titles))
    rows = math.ceil(len(titles) / columns)
    top = space.top if space.top is not None else 0.12 + 0.13 * max(len(wrapped(t, room)) for t in titles)
    wide, high = size[0] + space.left + space.right, size[1] + space.bottom + top
    outer = (0.16, 0.18)  # axis labels stand on the outside only
    width, height = outer[0] + columns * wide + aside, outer[1] + rows * high + head
    figure = Figure(figsize=(max(width, 5.4), height))
    panels = []
    for i, title in enumerate(titles):
        x = outer[0] + i % columns * wide + space.left
        y = height - head - (i // columns + 1) * high + space.bottom
        full = figure.get_figwidth()
        axes = figure.add_axes((x / full, y / height, size[0] / full, size[1] / height))
        panel_title(axes, title, room)
        panels.append(axes)
    return Grid(figure, panels, columns)


def title_letters(wide: float) -> int:
    """Return how many letters of a title stand above a panel so many inches wide."""
    return max(16, int(TITLE * wide / PANEL[0]))


def head_for(handles: Sequence[Any], columns: int) -> float:
    """Return the inches that a legend takes above the panels."""
    return 0.1 + 0.178 * math.ceil(len(handles) / columns)


def panel_title(axes: Axes, title: str, width: int = TITLE) -> None:
    """Write a panel's title on at most two lines."""
    axes.set_title(
        "\n".join(wrapped(title, width)), loc="left", fontsize=8, fontweight="bold", parse_math=False
    )


def panels(frame: pd.DataFrame, *extra: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Iterate over a title and the part of each variant (data set and backbone named where they differ)."""
    for keys, part in frame.groupby([*GROUP, "variant", *extra], sort=False):
        yield f"{where(frame, keys)}{keys[2]}", part


def sections(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Iterate over a title and the part of each data set and backbone."""
    for keys, part in frame.groupby(GROUP, sort=False):
        yield f"{keys[0]}, {keys[1]}", part


def where(frame: pd.DataFrame, keys: Sequence[Any]) -> str:
    """Return the data set and backbone of `keys` as a prefix; empty where the frame has one of each."""
    return f"{keys[0]}, {keys[1]}: " if len(frame[GROUP].drop_duplicates()) > 1 else ""


def room_for(names: Iterable[str], most: int) -> float:
    """Return the inches that names of at most `most` letters take."""
    return 0.1 + LETTER * min(most, max(map(letters, names), default=0))


def names_down(axes: Axes, names: Sequence[str], lines: int = 0, width: int = 48) -> None:
    """Write names as the ticks of the upright axis, the first on top, with room for at least `lines`."""
    axes.set_yticks(range(len(names)), [fitted(name, width) for name in names], parse_math=False, color=INK)
    axes.set_ylim(max(len(names), lines) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def colour(i: int) -> Any:
    """Return the i-th colour, safe for the colour-blind."""
    import seaborn

    return seaborn.color_palette("colorblind")[COLOURS[i % len(COLOURS)]]


def locator(ticks: int) -> Any:
    """Return a placing of at most `ticks` + 1 round ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(ticks)


def shift_for_names(figure: Figure, panels: Sequence[Axes], room: float) -> None:
    """Widen a figure by `room` inches at its left, for names."""
    boxes = [axes.get_position() for axes in panels]
    old, height = figure.get_size_inches()
    figure.set_size_inches(old + room, height)
    for axes, box in zip(panels, boxes, strict=True):
        x = (box.x0 * old + room) / (old + room)
        axes.set_position((x, box.y0, box.width * old / (old + room), box.height))


def inches(figure: Figure, place: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """Return a place (left, bottom, width, height) in inches as shares of the figure."""
    width, height = figure.get_size_inches()
    return place[0] / width, place[1] / height, place[2] / width, place[3] / height
