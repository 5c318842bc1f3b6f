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
from nasbench_rec.reports._comparison_marks import LETTER, inside, on_page, seeds_text, spread_down
from nasbench_rec.reports._comparison_units import named
from nasbench_rec.reports._drawing import INK, MARKERS, MUTED, style
from nasbench_rec.reports._text import one_line, score
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
STEP = 8.5
"""Printer's points from one name to the next."""


@dataclass(frozen=True)
class CurvePoint:
    """The state of one label after it had spent `cost`, over the seeds that succeeded."""

    dataset: str
    backbone: str
    label: str
    name: str
    method: str
    ratio: float
    budget: str
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
            rows += _joined(unit.iloc[0], phase, [curve for curve in curves if len(curve)], cost)
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
        longest = sum((len(run) / epochs for run in runs), 0.0)
        clusters = record.get("routing") is not None and len(runs) > 0
        trainings = (
            longest / len(runs) if clusters else longest
        )  # each cluster's model sees its share of the rows
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


def _joined(first: pd.Series, phase: str, curves: Sequence[np.ndarray], cost: str) -> Iterator[CurvePoint]:
    """Iterate over the points of one label and phase, the means of all its units' curves."""
    if not curves:
        return
    start = max(curve[0, 0] for curve in curves)
    moments = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    for moment in moments[moments >= start]:
        at = [curve[np.searchsorted(curve[:, 0], moment, side="right") - 1, 1] for curve in curves]
        keys = ("dataset", "backbone", "label", "name", "method", "ratio", "budget")
        yield CurvePoint(
            **{key: first[key] for key in keys},
            phase=phase,
            cost=float(moment),
            unit=cost,
            auc=float(np.mean(at)),
            auc_low=float(np.min(at)),
            auc_high=float(np.max(at)),
            n=len(curves),
        )


def draw_anytime(frame: pd.DataFrame) -> Figure:
    """Draw `anytime_frame`: a panel per data set, backbone and plan budget, a line per method."""
    keys = ["dataset", "backbone", "budget"]
    ratios = frame.groupby(keys, sort=False)["ratio"].first().fillna(2.0)
    order = sorted(ratios.index, key=lambda key: (key[0], key[1], -ratios[key]))
    parts = [frame[(frame[keys] == list(key)).all(axis=1)] for key in order]
    with style():
        page = grid(
            [_title(key, part) for key, part in zip(order, parts, strict=True)],
            size=(3.9, 2.7) if len(parts) < 3 else (2.75, 2.3),
            margins=Margins(left=0.5, bottom=0.46, right=1.45, top=0.4),
            head=0.26,
            across=1 if len(parts) == 1 else 2,
        )
        for axes, part in zip(page.panels, parts, strict=True):
            _panel(axes, part)
        seconds = frame["unit"].iloc[0] == "seconds"
        named_unit = "time (one machine and run)" if seconds else "full trainings of the uniform model"
        page.label(f"spent in search and retraining: {named_unit}", "best validation AUC so far")
        page.legend(_handles(frame), columns=4)
    return page.figure


def _title(key: Sequence[str], part: pd.DataFrame) -> str:
    size = f"plans of {key[2]}" if key[2][:1].isdigit() else key[2]
    return f"{one_line(key[0], 200)}, {one_line(key[1], 200)}: {size} ({seeds_text(part['n'])})"


def _panel(axes: Axes, part: pd.DataFrame) -> None:
    import seaborn

    seaborn.despine(ax=axes)
    served = part[part["phase"] == RETRAIN]
    ends = served.sort_values("cost").groupby("name")["auc"].last().sort_values(ascending=False)
    look = {name: _look(i, str(name)) for i, name in enumerate(ends.index)}
    for name in reversed(list(ends.index)):
        for phase, curve in part[part["name"] == name].groupby("phase"):
            _line(axes, curve.sort_values("cost"), str(phase), look[name])
    _lay(axes, part, served)
    _write_names(axes, served, list(ends.index[:WRITTEN]), look)


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


def _lay(axes: Axes, part: pd.DataFrame, served: pd.DataFrame) -> None:
    """Set limits that hold all ends, and of the beginnings the upper half of what is served."""
    ends = served.sort_values("cost").groupby("name")["auc"].last()
    top = float(part["auc"].max())
    low = min(float(served["auc"].quantile(0.1)), float(ends.quantile(0.1)))
    space = 0.06 * max(top - low, 1e-3)
    axes.set_ylim(low - space, top + space)
    most = float(part["cost"].max())
    axes.set_xlim(0, most * 1.03 if most else 1.0)
    axes.yaxis.set_major_formatter(lambda value, _: score(value, 3))
    if part["unit"].iloc[0] == "seconds":
        axes.xaxis.set_major_formatter(lambda value, _: seconds_text(value).replace(".00 ", " "))
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _write_names(
    axes: Axes, served: pd.DataFrame, names: Sequence[str], look: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write names at the right of the panel, each beside the height at which its curve ends."""
    box = inside(axes)
    last = served.sort_values("cost").groupby("name")[["cost", "auc"]].last()
    spots = [on_page(axes, *last.loc[name]) for name in names]
    heights = [min(max(y, box.bottom), box.top) for _, y in spots]
    placed = spread_down(heights, STEP)
    shift = min(0.0, box.top + 4 - max(placed, default=0.0))
    shift = max(shift, box.bottom - 24 - min(placed, default=0.0))
    place: dict[str, Any] = {
        "xycoords": "figure points",
        "textcoords": "figure points",
        "annotation_clip": False,
    }
    for name, (x, _), height, y in zip(names, spots, heights, placed, strict=True):
        text, at = one_line(name, NAME), (box.right + 12, y + shift)
        hue = look[name]["color"]
        axes.annotate(
            text, xy=at, xytext=at, va="center", fontsize=min(7.0, 96 / LETTER / max(len(text), 1)), color=hue,
            parse_math=False, **place,
        )  # fmt: skip
        line = {"arrowstyle": "-", "color": hue, "linewidth": 0.4, "alpha": 0.6, "shrinkA": 1, "shrinkB": 3}
        axes.annotate("", xy=(x, height), xytext=(at[0] - 1, at[1]), arrowprops=line, **place)


def _handles(frame: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], color=INK, label="retraining of the plan found")]
    if (frame["phase"] == SEARCH).any():
        handles.append(
            Line2D([], [], color=INK, linestyle=DASHES[2], linewidth=0.9, label="the search's own model")
        )
    return [*handles, Patch(color=INK, alpha=0.12, label="range over seeds")]
