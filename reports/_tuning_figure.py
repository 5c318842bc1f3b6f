"""The figure of an equal tuning: from default to tuned test AUC, and the gain with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import (
    DASHES,
    Grid,
    Margins,
    colour,
    grid,
    locator,
    names_down,
    room_for,
    sections,
    shift_for_names,
)
from nasbench_rec.reports._comparison_marks import gain_tick
from nasbench_rec.reports._drawing import INK, MUTED, style
from nasbench_rec.reports._study_data import Goal
from nasbench_rec.reports._study_scales import lay_goal, limits
from nasbench_rec.reports._text import fitted_label, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOAL = Goal("test_auc", "maximize")
NAME = 34
"""Letters of a method's name."""
FAR = 3.0
"""The axis of gains ends at this many times the median reach of the intervals; longer ones run off it."""
BEYOND = 0.07
"""Where values beyond the range shown stand, as a share of it."""
SMALL = 6.5


def draw_gains(frame: pd.DataFrame) -> Figure:
    """Draw a row of two panels per data set and backbone of `tuning_frame`; see `_tuning_columns.FIGURE`.

    The global matplotlib settings and pyplot's state are left as they are.
    """
    parts = list(sections(frame))
    most = max(len(part) for _, part in parts)
    several = len(parts) > 1
    with style():
        page = grid(
            [text for title, _ in parts for text in (title if several else "", "")],
            size=(2.75, 0.23 * most + 0.12),
            margins=Margins(left=0.12, bottom=0.46, right=0.22, top=None if several else 0.06),
            head=0.26,
            across=2,
        )
        shift_for_names(page.figure, page.panels, room_for(map(_name, *_columns(frame)), NAME + 22))
        for i, (_, part) in enumerate(parts):
            _aucs(page.panels[2 * i], part, most)
            _gains(page.panels[2 * i + 1], part, most)
        _legend(page, frame)
    return page.figure


def _columns(frame: pd.DataFrame) -> list[list[Any]]:
    return [frame[name].tolist() for name in ("label", "uniform", "n", "planned")]


def _name(label: str, uniform: bool, n: int, planned: int) -> str:
    pairs = f" ({n} of {planned} pairs)" if n < planned else ""
    return f"{fitted_label(label, NAME)}{' (uniform)' if uniform else ''}{pairs}"


def _rows(axes: Axes, part: pd.DataFrame, names: Sequence[str], most: int) -> list[dict[str, Any]]:
    """Lay out a panel with a line per method; return the methods' values."""
    names_down(axes, names, most, NAME + 22)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return [{str(name): value for name, value in row.items()} for row in part.to_dict("records")]


def _aucs(axes: Axes, part: pd.DataFrame, most: int) -> None:
    rows = _rows(axes, part, list(map(_name, *_columns(part))), most)
    axes.set_xlabel("test AUC, mean over seeds")
    known = pd.concat([part["default_auc"], part["tuned_auc"]])
    if known.isna().all():
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no unit succeeded", transform=axes.transAxes, ha="center", color=MUTED)
        return
    shown = limits(known, GOAL)
    lay_goal(axes, GOAL, shown, upright=False)
    for auc in part.loc[part["uniform"], "tuned_auc"]:
        axes.axvline(auc, color=INK, linewidth=0.9, linestyle=DASHES[1], zorder=1)
    for y, row in enumerate(rows):
        _dumbbell(axes, y, row, shown)


def _dumbbell(axes: Axes, y: int, row: dict[str, Any], shown: tuple[float, float]) -> None:
    default, tuned = row["default_auc"], row["tuned_auc"]
    look = _look(row)
    if not row["kept"]:
        left, right = _drawn_at(default, shown), _drawn_at(tuned, shown)
        axes.hlines(y, left, right, color=look["color"], linewidth=1.5, zorder=2)
        _mark(axes, y, default, shown, look | {"markerfacecolor": "white", "markersize": 6.5})
    _mark(axes, y, tuned, shown, look | {"markersize": 5.0, "zorder": 4})
    if math.isnan(default) and math.isnan(tuned):
        _beside(axes, (0.0, y), "no unit succeeded", (2, 0), xycoords=axes.get_yaxis_transform())
    elif math.isnan(default) or math.isnan(tuned):
        lost, known = ("default", tuned) if math.isnan(default) else ("tuned", default)
        side = 1 if known < sum(shown) / 2 else -1
        _beside(axes, (_drawn_at(known, shown), y), f"no {lost} unit succeeded", (7 * side, -2))


def _look(row: dict[str, Any]) -> dict[str, Any]:
    return {"color": INK, "marker": "D"} if row["uniform"] else {"color": colour(0), "marker": "o"}


def _mark(axes: Axes, y: int, value: float, shown: tuple[float, float], look: dict[str, Any]) -> None:
    """Draw a value; one beyond the range shown as a triangle at its end, with the number beside it."""
    if math.isnan(value):
        return
    drawn, beyond = _drawn_at(value, shown), not shown[0] <= value <= shown[1]
    form = {"marker": "<" if value < shown[0] else ">"} if beyond else {}
    axes.plot([drawn], [y], **{"linestyle": "", "zorder": 3, **look, **form})
    if beyond:
        side = 1 if value < shown[0] else -1
        _beside(axes, (drawn, y), score(value, 4, signed=look["marker"] == "s"), (5 * side, 6))


def _drawn_at(value: float, shown: tuple[float, float]) -> float:
    """Return where a value stands: in the space outside of the range shown if it is beyond."""
    space = BEYOND * (shown[1] - shown[0])
    return float(np.clip(value, shown[0] - space, shown[1] + space))


def _gains(axes: Axes, part: pd.DataFrame, most: int) -> None:
    rows = _rows(axes, part, [""] * len(part), most)
    axes.set_xlabel("gain: tuned − default test AUC\n(paired by seed, 95 % interval)")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    low, high = _reach(part[~part["kept"]])
    space = 0.1 * (high - low)
    axes.set_xlim(low - space, high + space)
    axes.xaxis.set_major_locator(locator(4))
    axes.xaxis.set_major_formatter(gain_tick)
    side = 1 if high >= -low else -1
    for y, row in enumerate(rows):
        if row["kept"] or not row["auc_gain_pairs"]:
            said = "kept the defaults" if row["kept"] else "no pair succeeded"
            _beside(axes, (0, y), said, (5 * side, 0))
            continue
        look = {**_look(row), "marker": "s", "markersize": 4.5}
        axes.hlines(y, row["auc_gain_low"], row["auc_gain_high"], color=look["color"], linewidth=1.3)
        _mark(axes, y, row["auc_gain"], (low, high), look)


def _reach(part: pd.DataFrame) -> tuple[float, float]:
    """Return the range of gains to show: zero and all intervals but those far longer than the most."""
    names = ["auc_gain_low", "auc_gain_high", "auc_gain"]
    ends = part.loc[part["auc_gain_pairs"] > 0, names].to_numpy(dtype=float)
    if not len(ends):
        return -1e-3, 1e-3
    far = max(FAR * float(np.median(np.nanmax(np.abs(ends), axis=1))), 5e-4)
    near = ends[np.abs(ends) <= far]
    return min(float(near.min()), -2e-4), max(float(near.max()), 2e-4)


def _beside(
    axes: Axes, spot: tuple[float, float], text: str, shift: tuple[float, float], **options: Any
) -> None:
    """Write beside a spot, `shift` printer's points away."""
    axes.annotate(
        text,
        xy=spot,
        xytext=shift,
        textcoords="offset points",
        ha="left" if shift[0] > 0 else "right",
        va="center",
        color=MUTED,
        fontsize=SMALL,
        **options,
    )


def _legend(page: Grid, frame: pd.DataFrame) -> None:
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"color": colour(0), "marker": "o"}
    ring: dict[str, Any] = {"markerfacecolor": "white", "markersize": 6.5, "linestyle": ""}
    handles = [
        Line2D([], [], **look, **ring, label="defaults"),
        Line2D([], [], **look, markersize=5.0, linestyle="", label="tuned"),
    ]
    if frame.loc[frame["uniform"], "tuned_auc"].notna().any():
        handles.append(
            Line2D([], [], color=INK, linestyle=DASHES[1], linewidth=0.9, label="tuned uniform model")
        )
    handles.append(Line2D([], [], color=colour(0), marker="s", markersize=4.5, label="gain"))
    page.legend(handles, columns=4)
