"""Figures of the site: inline in the colours of its page, and beside it as SVG and as the numbers they are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from nasbench_rec.reports import _writers
from nasbench_rec.reports._rows import LeaderboardRow
from nasbench_rec.reports._site_names import slug
from nasbench_rec.reports._text import one_line

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from nasbench_rec.reports.comparison import Evidence

SHADED = ("widths",)
"""Figures whose shades carry meaning."""
MOST = 40
"""Rows of a figure of differences; more are left to its data."""
CAPTION = (
    "Test AUC less that of the uniform model, paired by seed, with its 95 % interval; to the right of the line is "
    "better. An interval that crosses the line does not show a difference."
)
WIDTH, ROW, TOP = 7.2, 0.2, 0.75
"""The figure's width, the height of a row, and what stands above and below the rows, in inches."""


@dataclass(frozen=True)
class SiteFigure:
    """A figure of a page."""

    name: str
    stem: str
    """Name of its files beside the page, without their ends."""
    caption: str
    inline: Markup
    files: Mapping[str, bytes]
    """SVG and CSV by file name."""
    paper: bool = False
    """Whether it stands on white in a dark page, too: its shades from light to dark carry meaning."""

    @property
    def short(self) -> str:
        """What it shows, without where."""
        return self.name.partition(":")[0]


def site_figure(
    figure: Figure, data: pd.DataFrame, stem: str, name: str, caption: str, paper: bool = False
) -> SiteFigure:
    """Return `figure`, made from the numbers `data`, for a page on which no other figure has the stem."""
    from markupsafe import Markup
    from nasbench_rec.reports.figures import inlined, svg

    image = svg(figure)
    inline = Markup(inlined(image, stem, name))
    files = {f"{stem}.svg": image, f"{stem}.csv": _writers.csv(data)}
    return SiteFigure(name, stem, caption, inline, files, paper)


@dataclass(frozen=True)
class Drawing:
    """A figure that a page may have: its name, what it shows, how that is drawn, how it is read."""

    name: str
    data: pd.DataFrame
    draw: Callable[[pd.DataFrame], Figure]
    caption: str


def drawn(drawings: Iterable[Drawing], stem: str, where: str) -> tuple[list[SiteFigure], list[str]]:
    """Return the figures that have anything to show, and the names of the others.

    Their files begin with `stem`. They stand on white: in most of them shades carry meaning, or hollow marks do.
    """
    from nasbench_rec.reports._drawing import style

    found, empty = [], []
    for drawing in drawings:
        if drawing.data.empty:
            empty.append(drawing.name)
            continue
        with style():
            figure = drawing.draw(drawing.data)
        name = f"{drawing.name}: {where}"
        found.append(
            site_figure(figure, drawing.data, f"{stem}-{drawing.name}", name, drawing.caption, paper=True)
        )
    return found, empty


def more_figures(evidence: Evidence, names: Sequence[str], where: str, *stem: str) -> list[SiteFigure]:
    """Return those of these figures of `reports.comparison` for which the evidence has anything to show."""
    from nasbench_rec.reports.comparison import FIGURES, comparison_frames

    frames = comparison_frames(evidence, names)[0] if names else {}
    return [
        site_figure(
            FIGURES[name].figure(frame),
            frame,
            slug(name, *stem),
            f"{FIGURES[name].title}: {where}" if where else FIGURES[name].title,
            FIGURES[name].reading,
            paper=name in SHADED,
        )
        for name, frame in frames.items()
    ]


def differences_frame(rows: Sequence[LeaderboardRow]) -> pd.DataFrame:
    """Return a row per row with a difference to the uniform model: where, its size, the difference, its interval."""
    names = ("dataset", "backbone", "label", "ratio", "embedding_ratio")
    numbers = ("", "_low", "_high", "_interval", "_pairs")
    fields = [*names, *(f"auc_difference{end}" for end in numbers)]
    known = [row for row in rows if row.auc_difference == row.auc_difference]
    return pd.DataFrame([{name: getattr(row, name) for name in fields} for row in known], columns=fields)


def draw_differences(frame: pd.DataFrame) -> Figure | None:
    """Draw the first rows of `differences_frame`, a line each, in their order; None where there are none."""
    from matplotlib.figure import Figure
    from nasbench_rec.reports._drawing import style

    shown = frame.head(MOST)
    if shown.empty:
        return None
    with style():
        figure = Figure(figsize=(WIDTH, TOP + ROW * len(shown)), layout="constrained")
        _forest(figure.add_subplot(), shown)
    return figure


def _forest(axes: Axes, shown: pd.DataFrame) -> None:
    import seaborn
    from nasbench_rec.reports._drawing import COLOURS, MUTED

    colour = seaborn.color_palette("colorblind")[COLOURS[0]]
    places = range(len(shown))
    axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.hlines(
        places, shown["auc_difference_low"], shown["auc_difference_high"], color=colour, linewidth=1.3
    )
    axes.plot(shown["auc_difference"], places, "o", color=colour, markersize=4.5)
    axes.set_yticks(places, [_named(row) for row in shown.to_dict("records")], parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("test AUC less that of the uniform model")
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    seaborn.despine(ax=axes, left=True)
    axes.tick_params(axis="y", length=0)


def _named(row: Mapping[Any, Any]) -> str:
    label, place = one_line(row["label"], 34), one_line(f"{row['dataset']}, {row['backbone']}", 40)
    return f"{label}  ·  {place}"
