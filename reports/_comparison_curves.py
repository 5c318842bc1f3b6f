"""Anytime curves: the best validation AUC so far over what search and retraining had spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import DASHES, Margins, colour, grid
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._comparison_marks import (
    beside,
    inside,
    note,
    on_page,
    place_title,
    spread_down,
)
from nasbench_rec.reports._comparison_units import Labelled, labelled, named
from nasbench_rec.reports._drawing import INK, MARKERS, MUTED, style
from nasbench_rec.reports._text import fitted, score
from nasbench_rec.reports._text import seconds as seconds_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
SEARCH, RETRAIN = "search", "retrain"
COLOURED = 7
"""Methods of a panel in colours of their own; the others, which end lower, are grey."""
WRITTEN = 16
"""Methods of a panel that are named."""
NAME = 26
FAR, LEAST = 3.0, 1e-3
"""Ends so many interquartile ranges below the lower quartile leave the axis, which reaches so far to both sides."""
STEP = 8.5
"""Printer's points from one name to the next."""


@dataclass(frozen=True)
class CurvePoint(Labelled):
    """The state of one label after it had spent `cost`, over the seeds that succeeded."""

    phase: str
    """"search": the search's own model, which nobody serves; "retrain": the model of the plan found."""
    cost: float
    """Training-equivalents or seconds, search and retraining together."""
    unit: str
    auc: float
    """Mean over seeds of the best validation AUC of this phase so far."""
    auc_low: float
    """Smallest and largest over seeds."""
    auc_high: float
    n: int


def anytime_frame(
    records: Sequence[Record], frame: pd.DataFrame, cost: Literal["trainings", "seconds"] = "trainings"
) -> pd.DataFrame:
    """Return a `CurvePoint` per label, phase and moment; `frame` is that of the same records (`Store.frame()`).

    A moment counts once every seed has reached the phase; a seed whose training stopped keeps its best. One
    training-equivalent is all epochs of the uniform model, so an epoch of retraining is one over the protocol's epochs.
    The moments of a search are not recorded, so its reports are spread evenly over what it spent. Of plans that are
    several models only the end is known.
    """
    known = {str(record["key"]): record for record in records if record["status"] == "ok"}
    rows: list[CurvePoint] = []
    good = named(frame)
    good = good[good["key"].isin(list(known))]
    for _, unit in good.groupby(["dataset", "backbone", "label"], sort=True):
        for phase in (SEARCH, RETRAIN):
            curves = [_curve(known[key], phase, cost) for key in unit["key"]]
            rows += _joined(labelled(unit), phase, [curve for curve in curves if len(curve)], cost)
    return frame_of(rows, CurvePoint)


def _curve(record: Record, phase: str, cost: str) -> np.ndarray:
    """Return costs and best AUCs so far [moments, 2] of one unit."""
    history = record.get("history") or {}
    spent = float(record.get("search_trainings" if cost == "trainings" else "search_seconds") or 0.0)
    if phase == SEARCH:
        aucs = [_auc(entry) for entry in history.get("search") or []]
        costs = spent * np.arange(1, len(aucs) + 1) / max(len(aucs), 1)
    else:
        costs, aucs = _retrained(record, history.get("retrain") or [], spent, cost)
    points = np.column_stack([costs, aucs]) if len(aucs) else np.empty((0, 2))
    points = points[np.isfinite(points).all(axis=1)]
    points[:, 1] = np.maximum.accumulate(points[:, 1]) if len(points) else points[:, 1]
    return points


def _retrained(
    record: Record, runs: Sequence[Sequence[Record]], spent: float, cost: str
) -> tuple[np.ndarray, list[float]]:
    """Return costs and AUCs of a retraining; of none, or of several models, only those of its end."""
    epochs = float(record["unit"]["protocol"]["epochs"])
    if len(runs) != 1:
        trainings = sum((len(run) / epochs for run in runs), 0.0)
        if record.get("routing") is not None and runs:  # each cluster's model sees its share of the rows
            trainings /= len(runs)
        more = trainings if cost == "trainings" else float(record.get("retrain_seconds") or 0.0)
        return np.array([spent + more]), [_number((record.get("scores") or {}).get("valid_auc"))]
    costs = [
        (i + 1) / epochs if cost == "trainings" else _number(entry.get("seconds"))
        for i, entry in enumerate(runs[0])
    ]
    return spent + np.array(costs, dtype=float), [_auc(entry) for entry in runs[0]]


def _auc(entry: Record) -> float:
    return _number(entry.get("auc"))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _joined(
    about: Mapping[str, Any], phase: str, curves: Sequence[np.ndarray], cost: str
) -> Iterator[CurvePoint]:
    """Iterate over the points of one label (`labelled`) and phase, the means of all its units' curves."""
    if not curves:
        return
    start = max(curve[0, 0] for curve in curves)
    moments = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    for moment in moments[moments >= start]:
        at = [curve[np.searchsorted(curve[:, 0], moment, side="right") - 1, 1] for curve in curves]
        yield CurvePoint(
            **about,
            phase=phase,
            cost=float(moment),
            unit=cost,
            auc=float(np.mean(at)),
            auc_low=float(np.min(at)),
            auc_high=float(np.max(at)),
            n=len(curves),
        )


def draw_anytime(frame: pd.DataFrame) -> Figure:
    """Draw `anytime_frame`: a panel per data set, backbone and plan budget with several methods, a line for each."""
    keys = ["dataset", "backbone", "budget"]
    ratios = frame.groupby(keys, sort=False)["ratio"].first().fillna(2.0)
    order = sorted(ratios.index, key=lambda key: (key[0], key[1], -ratios[key]))
    parts = [frame[(frame[keys] == list(key)).all(axis=1)] for key in order]
    parts = [part for part in parts if part["name"].nunique() > 1] or parts
    sizes = set(frame["budget"])
    with style():
        page = grid(
            [place_title(part[keys].iloc[0].tolist(), part["n"], sizes) for part in parts],
            size=(3.9, 2.7) if len(parts) < 3 else (2.75, 2.3),
            margins=Margins(left=0.5, bottom=0.62, right=1.75, top=0.4),
            head=0.26,
            across=1 if len(parts) == 1 else 2,
            over=1.4,
        )
        look = _looks([_ends(part)["auc"] for part in parts])
        for axes, part in zip(page.panels, parts, strict=True):
            _panel(axes, part, look)
        seconds = frame["unit"].iloc[0] == "seconds"
        unit = "time within one machine and run" if seconds else "full trainings of the uniform model"
        page.label(f"search and retraining\n({unit})", "best validation AUC so far")
        page.legend(_handles(frame), columns=4)
    return page.figure


def _ends(part: pd.DataFrame) -> pd.DataFrame:
    """Return cost and AUC at the end of each name's retraining, the best first."""
    last = part[part["phase"] == RETRAIN].sort_values("cost").groupby("name")[["cost", "auc"]].last()
    return last.sort_values("auc", ascending=False, kind="stable")


def _looks(ends: Sequence[pd.Series]) -> dict[str, dict[str, Any]]:
    """Return a colour and a marker per name, the same in all panels: by its mean rank among their `ends`."""
    ranks = pd.concat([part.rank(ascending=False) for part in ends])
    order = ranks.groupby(level=0).mean().sort_values(kind="stable").index
    return {str(name): _look(i, str(name)) for i, name in enumerate(order)}


def _panel(axes: Axes, part: pd.DataFrame, look: Mapping[str, Mapping[str, Any]]) -> None:
    import seaborn

    seaborn.despine(ax=axes)
    last = _ends(part)
    for name in reversed([name for name in look if name in last.index]):
        for phase, curve in part[part["name"] == name].groupby("phase"):
            _line(axes, curve.sort_values("cost"), str(phase), look[name])
    _lay(axes, part, last["auc"])
    shown = [str(name) for name in last.index if last.loc[name, "auc"] >= axes.get_ylim()[0]]
    _write_names(axes, last, shown[:WRITTEN], look)


def _look(i: int, name: str) -> dict[str, Any]:
    if name == "fixed":
        return {"color": INK, "marker": "D"}
    return {"color": colour(i) if i < COLOURED else MUTED, "marker": MARKERS[i % len(MARKERS)]}


def _line(axes: Axes, curve: pd.DataFrame, phase: str, look: Mapping[str, Any]) -> None:
    searching = phase == SEARCH
    dim = 0.55 if searching or look["color"] == MUTED else 1.0
    axes.step(
        curve["cost"],
        curve["auc"],
        where="post",
        color=look["color"],
        alpha=dim,
        linewidth=0.9 if searching else 1.3,
        linestyle=DASHES[2] if searching else "-",
    )
    if not searching:
        low, high = curve["auc_low"], curve["auc_high"]
        if look["color"] != MUTED:
            axes.fill_between(
                curve["cost"], low, high, step="post", color=look["color"], alpha=0.1, linewidth=0
            )
        axes.plot(curve["cost"].iloc[-1:], curve["auc"].iloc[-1:], linestyle="", markersize=4, **look)


def _lay(axes: Axes, part: pd.DataFrame, ends: pd.Series) -> None:
    """Set limits that hold the ends but those far below the others, which a note names; beginnings may lie below."""
    shown = ends[ends >= _lowest(ends)]
    top, low = float(part["auc"].max()), float(shown.min())
    served = part.loc[(part["phase"] == RETRAIN) & part["name"].isin(shown.index), "auc"]
    low = min(low, max(float(served.quantile(0.1)), low - 0.5 * max(top - low, 2e-3)))
    space = max(0.06 * (top - low), LEAST - (top - low) / 2)
    axes.set_ylim(low - space, top + space)
    below = ", ".join(f"{name} ({score(float(auc), 4)})" for name, auc in ends[ends < low - space].items())
    note(axes, f"ends below the axis: {below}" if below else "")
    most = float(part["cost"].max())
    axes.set_xlim(0, most * 1.03 if most else 1.0)
    axes.yaxis.set_major_formatter(lambda value, _: score(value, 4).removesuffix("0"))
    seconds = part["unit"].iloc[0] == "seconds"
    axes.xaxis.set_major_formatter(lambda v, _: seconds_text(v).replace(".00 ", " ") if seconds else f"{v:g}")
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _lowest(ends: pd.Series) -> float:
    """Return the lowest end (a value per name) that is shown: `FAR` interquartile ranges below the lower quartile."""
    low, high = ends.quantile([0.25, 0.75])
    return float(low - FAR * max(high - low, 1e-3))


def _write_names(
    axes: Axes, last: pd.DataFrame, names: Sequence[str], look: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write names at the right of the panel, each beside the height at which its curve ends (`last`)."""
    box = inside(axes)
    heights = [min(on_page(axes, *last.loc[name])[1], box.top) for name in names]
    placed = spread_down(heights, STEP)
    shift = min(0.0, box.top + 4 - max(placed, default=0.0))
    shift = max(shift, box.bottom - 24 - min(placed, default=0.0))
    for name, y in zip(names, placed, strict=True):
        beside(axes, fitted(name, NAME), (box.right + 12, y + shift), look[name], None)


def _handles(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=INK, label="retraining of the plan found")]
    if (frame["phase"] == SEARCH).any():
        handles.append(
            Line2D([], [], color=INK, linestyle=DASHES[2], linewidth=0.9, label="the search's own model")
        )
    return [*handles, Patch(color=INK, alpha=0.12, label="range over seeds")]
