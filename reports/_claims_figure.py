"""The differences that claims rest on as one forest plot: each in units of its smallest effect of interest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from nasbench_rec.reports._ablation_grid import Margins, colour, grid, room_for, shift_for_names
from nasbench_rec.reports._claims_rows import Found, frame_of, number, where
from nasbench_rec.reports._drawing import INK, LINE, MUTED, style
from nasbench_rec.reports._text import one_line, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXPLAINED = "supported, explained by a control"
NAME, PLACE = 40, 46
"""Letters of a claim's name, and of its place, that are shown."""
LINE_HEIGHT = 0.165
LINEAR = 1.0
"""The axis is linear up to the smallest effect of interest, and logarithmic beyond."""


@dataclass(frozen=True)
class EffectRow:
    """A difference that a claim rests on, on the claimed side, in units of its smallest effect of interest."""

    claim: str
    place: str
    """Data set, backbone, plan budget and comparator."""
    outcome: str
    effect: float
    low: float
    high: float
    claimed: float
    """The size in the paper; NaN where it gives none."""
    interest: float
    """The unit."""
    metric: str
    n: int


def effects_frame(found: Found) -> pd.DataFrame:
    """Return an `EffectRow` per comparison of a difference that has an interval, in the order of the set."""
    return frame_of(list(_effects(found)), EffectRow)


def _effects(found: Found) -> Iterator[EffectRow]:
    for verdict in found["verdicts"]:
        claim = verdict["claim"]
        if claim["kind"] != "difference":
            continue
        unit = claim["interest"] if claim["direction"] == "higher" else -claim["interest"]
        for c in verdict["comparisons"]:
            if c["low"] is None:
                continue
            ends = sorted((c["low"] / unit, c["high"] / unit))
            explained = c["outcome"] == "supported" and verdict["explained_by"]
            yield EffectRow(
                claim=claim["id"],
                place=f"{where(c['dataset'], c['backbone'], c['ratio'])}: {c['against']}",
                outcome=EXPLAINED if explained else c["outcome"],
                effect=c["mean"] / unit,
                low=ends[0],
                high=ends[1],
                claimed=number(claim["claimed"]) / unit,
                interest=claim["interest"],
                metric=claim["metric"],
                n=c["n"],
            )


def draw_effects(frame: pd.DataFrame) -> Figure:
    """Draw `effects_frame`, which must not be empty: a line per comparison, claims in the order of the set."""
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    names = [one_line(name, NAME) for name in _once([row["claim"] for row in rows])]
    places = [one_line(row["place"], PLACE) for row in rows]
    with style():
        page = grid(
            [""],
            size=(4.2, LINE_HEIGHT * len(rows) + 0.1),
            margins=Margins(left=0.1, bottom=0.34, right=room_for(places, PLACE), top=0.06),
            head=0.4,
        )
        shift_for_names(page.figure, page.panels, room_for(names, NAME))
        (axes,) = page.panels
        _lay(axes, names)
        _scale(axes, frame)
        for y, row in enumerate(rows):
            _draw(axes, y, row, places[y])
        page.label("effect on the claimed side, in smallest effects of interest", "")
        page.legend(_handles(frame), columns=3)
    return page.figure


def _once(names: Sequence[str]) -> list[str]:
    """Return the names, each at the first of its lines only."""
    return [name if not i or names[i - 1] != name else "" for i, name in enumerate(names)]


def _lay(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(names), parse_math=False, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for y, name in enumerate(names):
        if name and y:
            axes.axhline(y - 0.5, color=LINE, linewidth=0.6, zorder=0)


def _scale(axes: Axes, frame: pd.DataFrame) -> None:
    """Set an axis that holds all means and claimed sizes; intervals may leave it."""
    from matplotlib.ticker import NullLocator

    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.8)
    shown = frame[["effect", "claimed"]].to_numpy().ravel()
    low, high = (float(pd.Series(shown).agg(end)) for end in ("min", "max"))
    axes.set_xlim(min(1.6 * low, -2.0), max(1.6 * high, 4.0))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}".replace("-", "−"))
    axes.axvspan(0, 1, color=LINE, alpha=0.55, linewidth=0, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)


def _looks() -> dict[str, dict[str, Any]]:
    """Return the mark of each verdict: apart in form as well as in colour."""
    return {
        "supported": {"marker": "s", "color": colour(2), "markerfacecolor": colour(2)},
        EXPLAINED: {"marker": "D", "color": colour(2), "markerfacecolor": "white"},
        "refuted": {"marker": "X", "color": colour(3), "markerfacecolor": colour(3)},
        "inconclusive": {"marker": "o", "color": MUTED, "markerfacecolor": "white"},
    }


def _draw(axes: Axes, y: int, row: dict[str, Any], place: str) -> None:
    look = _looks()[row["outcome"]]
    axes.hlines(y, row["low"], row["high"], color=look["color"], linewidth=1.4, zorder=2)
    axes.plot([row["effect"]], [y], markersize=4.5, zorder=3, **look)
    if row["claimed"] == row["claimed"]:
        axes.plot([row["claimed"]], [y], "|", color=INK, markersize=7, markeredgewidth=1.4, zorder=4)
    axes.annotate(
        place,
        xy=(1, y),
        xycoords=axes.get_yaxis_transform(),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color=MUTED,
        parse_math=False,
        annotation_clip=False,
    )


def _handles(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], linewidth=1.4, markersize=4.5, label=name, **look)
        for name, look in _looks().items()
        if (frame["outcome"] == name).any()
    ]
    if frame["claimed"].notna().any():
        bar: dict[str, Any] = {"linestyle": "", "markersize": 7, "markeredgewidth": 1.4}
        handles.append(Line2D([], [], marker="|", color=INK, label="size in the paper", **bar))
    return [*handles, Patch(color=LINE, alpha=0.55, label="too small to matter")]


def effects_caption(frame: pd.DataFrame) -> str:
    """Say how to read the figure, with the unit of each metric."""
    units = frame.groupby("metric", sort=False)["interest"].unique()
    said = "; ".join(
        f"{one_line(metric, 90)}: {', '.join(score(u, 4) for u in sorted(values))}"
        for metric, values in units.items()
    )
    return (
        "A line per comparison: mean paired difference and its interval, positive on the side that is claimed, in "
        "units of the claim's smallest effect of interest (the gray band). The axis is logarithmic beyond it. Values "
        f"and equivalences are in the tables alone. Units: {said}."
    )
