"""The figures of an ablation by name: a frame, a drawer, and what the figure shows in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports import _ablation_frames as frames
from nasbench_rec.reports import _ihas_figures as ihas
from nasbench_rec.reports._ablation_grid import (
    DASHES,
    Margins,
    colour,
    grid,
    locator,
    names_down,
    room_for,
    sections,
    shift_for_names,
)
from nasbench_rec.reports._ablation_units import Records
from nasbench_rec.reports._drawing import INK, MUTED, style
from nasbench_rec.reports._text import one_line

from nasbench_rec.errors import ConfigError, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {"expected_auc": "expected AUC", "test_auc": "test AUC"}
SINGLE = "single settings"
LOST = 1.15
"""Space at the right for a note on missing units, in inches."""


def draw_factor(frame: pd.DataFrame) -> Figure:
    """Draw each variant's paired difference to the base with its interval, grouped by factor."""
    parts = list(sections(frame))
    lines = [_lines(part) for _, part in parts]
    room = room_for((name for part in lines for name, _ in part), 48)
    page = grid(
        [title if len(parts) > 1 else "" for title, _ in parts],
        size=(3.0, 0.17 * max(map(len, lines)) + 0.2),
        margins=Margins(left=room, bottom=0.45, right=LOST, top=None if len(parts) > 1 else 0.06),
        head=0.0,
        across=2,
    )
    for axes, (_, part), names in zip(page.panels, parts, lines, strict=True):
        _forest(axes, part, names, max(map(len, lines)))
        what = METRICS[part["metric"].iloc[0]]
        axes.set_xlabel(f"{what} − that of default\n(paired by seed, 95 % interval)")
    return page.figure


def _lines(part: pd.DataFrame) -> list[tuple[str, int | None]]:
    """Return the names down the side, each with its place in `part` (None: a heading)."""
    lines: list[tuple[str, int | None]] = []
    several = part["factor"].nunique() > 1 or part["factor"].iloc[0] != ""
    names = part["setting"].where(part["factor"] != "", part["variant"])
    for factor in part["factor"].unique():
        if several:
            lines.append((one_line(factor or SINGLE, 46), None))
        lines += [(one_line(names.iloc[at], 46), int(at)) for at in np.flatnonzero(part["factor"] == factor)]
    return lines


def _forest(axes: Axes, part: pd.DataFrame, lines: list[tuple[str, int | None]], most: int) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8)
    names_down(axes, [name for name, _ in lines], most)
    for text, (_, at) in zip(axes.get_yticklabels(), lines, strict=True):
        text.set_fontweight("bold" if at is None else "normal")
    for y, (_, at) in enumerate(lines):
        if at is not None:
            _difference(axes, y, part.iloc[at])
    ends = part[["low", "high", "mean"]].abs().to_numpy()
    widest = float(pd.Series(ends.ravel()).max()) if not pd.isna(ends).all() else 0.01
    axes.set_xlim(-1.08 * max(widest, 1e-4), 1.08 * max(widest, 1e-4))
    axes.xaxis.set_major_locator(locator(6))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _difference(axes: Axes, y: int, row: pd.Series) -> None:
    from matplotlib.transforms import blended_transform_factory

    lost = f"{row['lost']} of {row['units']} units missing" if row["lost"] else ""
    if lost:
        right = blended_transform_factory(axes.transAxes, axes.transData)
        axes.text(1.02, y, lost, transform=right, ha="left", va="center", color=MUTED, fontsize=6.5)
    if not math.isfinite(row["mean"]):
        return
    sure = math.isfinite(row["low"]) and (row["low"] > 0 or row["high"] < 0)
    axes.hlines(y, row["low"], row["high"], color=colour(0), linewidth=1.3)
    face = colour(0) if sure else "white"
    axes.plot([row["mean"]], [y], "o", color=colour(0), markerfacecolor=face, markersize=5, zorder=3)


def draw_bytes(points: pd.DataFrame) -> Figure:
    """Draw AUC over embedding bytes, a point per variant; a level bar ends at its size without the router."""
    from nasbench_rec.reports.figures import draw_auc_over_bytes

    figure = draw_auc_over_bytes(points)
    for axes, (_, part) in zip(figure.axes, points.groupby(["dataset", "backbone"]), strict=True):
        axes.set_ylabel(f"{METRICS[part['metric'].iloc[0]]}, mean over seeds")
        axes.set_xlabel("embedding size with router (bytes, logarithmic)")
    return figure


def draw_latency(frame: pd.DataFrame) -> Figure:
    """Draw seconds per batch of each variant with and without routing, a panel per batch size."""
    from matplotlib.lines import Line2D

    parts = [
        (f"{title}: " if len(frame[["dataset", "backbone"]].drop_duplicates()) > 1 else "", part)
        for title, part in sections(frame)
    ]
    cells = [
        (f"{title}batches of {size:,}", rows, part)
        for title, part in parts
        for size, rows in part.groupby("batch")
    ]
    most = max(part["variant"].nunique() for _, part in parts)
    room = room_for(frame["variant"], 48)
    across = max(part["batch"].nunique() for _, part in parts)
    page = grid(
        [title for title, _, _ in cells],
        size=(1.65, 0.2 * most + 0.15),
        margins=Margins(left=0.12, bottom=0.42),
        across=across,
    )
    shift_for_names(page.figure, page.panels, room)
    for i, (axes, (_, rows, part)) in enumerate(zip(page.panels, cells, strict=True)):
        names = list(part["variant"].unique())
        _times(axes, rows, names)
        names_down(axes, names if i % page.across == 0 else [""] * len(names), most)
    page.legend(
        [
            Line2D([], [], color=colour(0), marker="o", linestyle="", label="with routing"),
            Line2D(
                [], [], color=colour(0), marker="o", markerfacecolor="white", linestyle="", label="without"
            ),
            Line2D([], [], color=INK, linestyle=DASHES[1], label="uniform model"),
        ],
        columns=3,
    )
    return page.figure


def _times(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    for seconds in rows.loc[rows["uniform"], "seconds"]:
        axes.axvline(1000 * seconds, color=INK, linewidth=0.9, linestyle=DASHES[1], zorder=1)
    for row in rows.to_dict("records"):
        y, whole, alone = names.index(row["variant"]), 1000 * row["seconds"], 1000 * row["without"]
        if whole != alone:
            axes.hlines(y, alone, whole, color=colour(0), linewidth=1.3)
            axes.plot([alone], [y], "o", color=colour(0), markerfacecolor="white", markersize=5)
        axes.plot([whole], [y], "o", color=colour(0), markersize=5)
    axes.set_xlim(0, 1100 * float(rows["seconds"].max()))
    axes.set_xlabel("ms per batch")
    axes.xaxis.set_major_locator(locator(4))
    axes.grid(axis="x")
    axes.set_axisbelow(True)


@dataclass(frozen=True)
class NamedFigure:
    """A figure that an ablation can ask for by name."""

    frame: Callable[[pd.DataFrame, Records], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Any]
    caption: str

    def __call__(self, plan: pd.DataFrame, records: Records) -> Figure | None:
        """Return the figure; None where no record has what it needs."""
        content = self.frame(plan, records)
        if content.empty:
            return None
        with style():
            return self.draw(content)


FIGURES: Mapping[str, NamedFigure] = {
    "polarization-trend": NamedFigure(
        frames.trend_frame,
        ihas.draw_trend,
        "Gate probabilities over the epochs of the search: their mean, the shares near 0 (below .1) and near 1 "
        "(above .9), and the mean share of gates in which the masks of two samples differ. Lines are means over "
        "seeds, bands the range. Two peaks with a Hamming distance near zero are a static selection.",
    ),
    "histogram-over-time": NamedFigure(
        frames.histogram_over_time_frame,
        ihas.draw_histogram_over_time,
        "How the gates are spread over probabilities at each epoch, mean over seeds; the scale of colours is a "
        "square root, so that small shares show. Grey: no gates (warm-up).",
    ),
    "histogram": NamedFigure(
        frames.histogram_frame,
        ihas.draw_histogram,
        "Final gate probabilities of training and of search rows, mean over seeds; a gate above the cut is on in "
        "the deterministic mask.",
    ),
    "centroids": NamedFigure(
        frames.centroids_frame,
        ihas.draw_centroids,
        "Mean mask of each cluster, averaged over a field's columns; the number in a cell counts the columns that "
        "the cluster's final mask keeps. At the right the clusters' sizes. Separation: least distance of two "
        "centroids over the mean distance of rows to their own. One seed of each variant is shown.",
    ),
    "bimodality": NamedFigure(
        frames.bimodality_frame,
        ihas.draw_bimodality,
        "Whether two peaks of the probabilities mean instance-wise selection: a point is one unit. Only at the top "
        "right do samples have clear masks that differ; at the bottom right all samples share nearly one mask.",
    ),
    "agreement": NamedFigure(
        frames.agreement_frame,
        ihas.draw_agreement,
        "How far clusterings of the same test rows agree between seeds: a point is a pair of seeds, the mark "
        "their mean. Pairs in which one side has a single cluster are left out.",
    ),
    "threshold-curve": NamedFigure(
        frames.threshold_frame,
        ihas.draw_threshold_curve,
        "Logloss of each cluster on the validation rows over the threshold on its mean mask, less the lowest of "
        "that cluster.",
    ),
    "factor": NamedFigure(
        frames.factor_frame,
        draw_factor,
        "Each variant less the base (default), paired by seed. Filled: the 95 % interval excludes zero; without a "
        "line there is no interval (fewer than two pairs, or equal differences). No correction for the number of "
        "variants is made.",
    ),
    "auc-over-bytes": NamedFigure(
        frames.bytes_frame,
        draw_bytes,
        "Mean AUC with its 95 % interval over embedding bytes; the level bar of a variant ends at its size "
        "without the router.",
    ),
    "latency": NamedFigure(
        frames.latency_frame,
        draw_latency,
        "Time of one inference call per batch size, mean over seeds, with routing and, where rows are routed, "
        "without. Times hold only within one machine and one run.",
    ),
    "field-information": NamedFigure(
        frames.information_frame,
        ihas.draw_field_information,
        "Share of the clusters' entropy that the value of each field explains, chance level taken off, mean over "
        "seeds; shares from .05 on are written. A cell near 1 says that the clusters follow that one field.",
    ),
    "calibration": NamedFigure(
        frames.calibration_frame,
        ihas.draw_calibration,
        "Mean prediction of each cluster on its test rows less their positive rate, a point per seed and cluster; "
        "bars are the 95 % sampling noise of the positive rate, so a bar that misses zero is more than that noise.",
    ),
}
"""The figures by name; each is called with a plan and its records."""


def figure_of(name: str) -> NamedFigure:
    """Return the figure of a name; `ConfigError` names the nearest where there is none."""
    if name not in FIGURES:
        raise ConfigError(unknown("figure", name, FIGURES))
    return FIGURES[name]
