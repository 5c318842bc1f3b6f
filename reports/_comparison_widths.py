"""Found widths per field as a frame and a heat map, beside the planted ones where they are known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import inches, panel_title, room_for
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._comparison_marks import TITLE_LETTER, seeds_text
from nasbench_rec.reports._comparison_units import Labelled, labelled, named
from nasbench_rec.reports._drawing import INK, MUTED, style
from nasbench_rec.reports._text import fitted, fitted_label, score

from nasbench_rec.errors import StoreError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
Truth = Mapping[str, Mapping[str, float]]
"""Useful widths by field, by a data set's fingerprint."""
PLANTED = "planted: useful width"
NAME, FIELD = 34, 18
CELL = (0.3, 0.19)
SHADES = "Blues"
ANNOTATED = 24
"""Fields up to which widths are written into the cells."""


@dataclass(frozen=True)
class WidthRow(Labelled):
    """The width that one label gives one field: kept values per row of its table, mean over seeds."""

    field: str
    width: float
    width_sd: float
    share: float
    """Of the base width d."""
    base_width: int
    n: int
    planted: float
    """The useful width; NaN where it is not known, or not the same in the data of all seeds."""
    correlation: float
    """Of the label's widths with the useful ones (Spearman), mean over seeds; NaN where it is not known."""


def planted_widths(store: Path) -> dict[str, dict[str, float]]:
    """Return the useful widths by field of the store's planted data sets, by fingerprint; {} where there are none.

    `StoreError` for a data set whose manifest cannot be read.
    """
    found: dict[str, dict[str, float]] = {}
    for path in sorted((store / "stages" / "prepare").glob("*/manifest.json")):
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            widths = manifest["truth"].get("useful_width")
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{path}: cannot be read ({error}); delete its folder, it is made again."
            ) from None
        if widths:
            found[str(manifest["fingerprint"])] = {str(name): float(width) for name, width in widths.items()}
    return found


def widths_frame(records: Sequence[Record], frame: pd.DataFrame, truth: Truth | None = None) -> pd.DataFrame:
    """Return a `WidthRow` per label and field; `frame` is that of the same records (`Store.frame()`).

    `truth` is what `planted_widths` returns. Plans that are several models, or gates of a sample, count by the mean of
    what a row keeps.
    """
    known = {str(record["key"]): record for record in records if record["status"] == "ok"}
    good = named(frame)
    good = good[good["key"].isin(list(known))]
    rows: list[WidthRow] = []
    for _, unit in good.groupby(["dataset", "backbone", "label"], sort=True):
        own = [known[key] for key in unit["key"] if (known[key].get("plan") or {}).get("widths")]
        if own:
            rows += _unit_rows(unit, own, truth or {})
    return frame_of(rows, WidthRow)


def _unit_rows(unit: pd.DataFrame, records: Sequence[Record], truth: Truth) -> list[WidthRow]:
    base = int(records[0]["unit"]["protocol"]["dim"])
    fields = list(records[0]["plan"]["widths"])
    table = pd.DataFrame([record["plan"]["widths"] for record in records], columns=fields, dtype=float)
    planted = [truth.get(str(record.get("fingerprint")), {}) for record in records]
    return [
        WidthRow(
            **labelled(unit),
            field=str(name),
            width=float(table[name].mean()),
            width_sd=float(table[name].std()),
            share=float(table[name].mean()) / base,
            base_width=base,
            n=len(table),
            planted=_agreed([widths.get(str(name), math.nan) for widths in planted]),
            correlation=float(unit["width_correlation"].mean()),
        )
        for name in fields
    ]


def _agreed(values: Sequence[float]) -> float:
    """Return the value that all have; NaN where they differ."""
    return values[0] if len(set(values)) == 1 else math.nan


def draw_widths(frame: pd.DataFrame) -> Figure:
    """Draw `widths_frame` as heat maps: methods by fields, a map per data set and backbone, the planted row on top."""
    parts = list(frame.groupby(["dataset", "backbone"], sort=False))
    fields = [list(part["field"].unique()) for _, part in parts]
    labels = [_labels(part) for _, part in parts]
    body = max(CELL[0] * min(max(map(len, fields)), 40), 2.4)
    names = [name for rows in labels for name in rows]
    left = room_for(names, NAME)
    with style():
        return _maps(parts, fields, labels, body, left)


def _labels(part: pd.DataFrame) -> list[str]:
    """Return the rows of a map, those of one plan budget together, the planted widths first where known."""
    order = part.drop_duplicates("label").sort_values(
        ["ratio", "label"], ascending=[False, True], na_position="first"
    )
    return [*([PLANTED] if part["planted"].notna().any() else []), *map(str, order["label"])]


def _maps(
    parts: Sequence[tuple[Any, pd.DataFrame]],
    fields: Sequence[Sequence[str]],
    labels: Sequence[Sequence[str]],
    body: float,
    left: float,
) -> Figure:
    from matplotlib.figure import Figure

    tall = [CELL[1] * len(rows) for rows in labels]
    feet = [room_for(names, FIELD) + 0.12 for names in fields]
    aside = 0.75 if any(rows[0] == PLANTED for rows in labels) else 0.2
    figure = Figure(figsize=(left + body + aside + 0.75, sum(tall) + sum(feet) + 0.42 * len(parts)))
    top, mesh = float(figure.get_figheight()), cast(Any, None)
    for ((dataset, backbone), part), names, rows, height, foot in zip(
        parts, fields, labels, tall, feet, strict=True
    ):
        bottom = top - 0.42 - height
        axes = figure.add_axes(inches(figure, (left, bottom, body, height)))
        mesh = _map(axes, part, names, rows)
        said = f"d = {part['base_width'].iloc[0]}, mean over {seeds_text(part['n'])}"
        panel_title(axes, f"{dataset}, {backbone}: {said}", max(40, int((body + aside) / TITLE_LETTER)))
        top = bottom - foot
    full = float(figure.get_figheight())
    scale = figure.add_axes(inches(figure, (left + body + aside + 0.05, full - 1.55, 0.1, 1.1)))
    figure.colorbar(mesh, cax=scale, ticks=[0, 0.5, 1]).set_label("width / d")
    return figure


def _map(axes: Axes, part: pd.DataFrame, fields: Sequence[str], labels: Sequence[str]) -> Any:
    found = part.pivot_table(index="label", columns="field", values="width", aggfunc="first")
    base = float(part["base_width"].iloc[0])
    widths = found.reindex(index=list(labels), columns=list(fields)).to_numpy(dtype=float, copy=True)
    if labels[0] == PLANTED:
        widths[0] = part.drop_duplicates("field").set_index("field")["planted"].reindex(list(fields))
    mesh = axes.pcolormesh(widths / base, cmap=SHADES, vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
    _numbers(axes, widths, base)
    axes.set_xticks(
        np.arange(len(fields)) + 0.5, [fitted(f, FIELD) for f in fields], rotation=90, parse_math=False
    )
    axes.set_yticks(
        np.arange(len(labels)) + 0.5, [fitted_label(row, NAME) for row in labels], parse_math=False, color=INK
    )
    axes.invert_yaxis()
    axes.tick_params(length=0, labelsize=7)
    if labels[0] == PLANTED:
        axes.axhline(1, color=INK, linewidth=1)
        _correlations(axes, part, labels)
    return mesh


def _numbers(axes: Axes, widths: np.ndarray, base: float) -> None:
    if widths.shape[1] > ANNOTATED:
        return
    for (y, x), width in np.ndenumerate(widths):
        if math.isfinite(width):
            text = f"{width:.0f}" if abs(width - round(width)) < 0.05 else f"{width:.1f}"
            ink = "white" if width / base > 0.6 else INK
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=6, color=ink)


def _correlations(axes: Axes, part: pd.DataFrame, labels: Sequence[str]) -> None:
    """Write at the right how the widths rank with the useful ones."""
    known = part.drop_duplicates("label").set_index("label")["correlation"]
    place: dict[str, Any] = {
        "xycoords": axes.get_yaxis_transform(),
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    for y, label in enumerate(labels):
        text = "rank corr." if y == 0 else score(float(known[label]), 2, signed=True) or "—"
        axes.annotate(text, xy=(1, y + 0.5), xytext=(5, 0), va="center", fontsize=6.5, color=MUTED, **place)
