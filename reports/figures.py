"""Figures: each a pure function from records to a small frame, and a drawer that only draws it."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._crowd import panels_of
from nasbench_rec.reports._drawing import INK, LINE, MUTED, PANEL, fallen_back, looks, panel, place, style
from nasbench_rec.reports._records import groups, prepared, succeeded, uniform_label
from nasbench_rec.reports._text import one_line

from nasbench_rec.statistics import paired_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINT_COLUMNS = (
    "dataset",
    "backbone",
    "label",
    "method",
    "level",
    "ratio",
    "uniform",
    "n",
    "failed",
    "embedding_bytes",
    "bytes_low",
    "bytes_high",
    "test_auc",
    "test_auc_low",
    "test_auc_high",
)
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)"}
"""The style-sheet colours that replace ours inside a page."""


def auc_over_bytes_frame(records: pd.DataFrame, levels: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return one point per label, data set and backbone: mean test AUC with its interval, bytes, their range.

    `levels` say by the method's name what it decides; they part the figure where it holds many methods.

    The interval is that of the mean over seeds (`paired_difference` against zero), NaN under two successes.
    `DataError` if the records are not fit for it.
    """
    points = []
    for _, _, group in groups(prepared(records)):
        uniform = uniform_label(group)
        points += [_point(unit, str(label) == uniform) for label, unit in group.groupby("label", sort=True)]
    found = pd.DataFrame(points, columns=list(POINT_COLUMNS))
    names = found["method"].astype(str).str.partition("/")[0]
    return found.assign(level=names.map(dict(levels or {})))


def _point(unit: pd.DataFrame, uniform: bool) -> dict[str, Any]:
    good, first = succeeded(unit), unit.iloc[0]
    mean = paired_difference(good["test_auc"], np.zeros(len(good)))
    return {
        **{name: first[name] for name in ("dataset", "backbone", "label", "method", "ratio")},
        "uniform": uniform,
        "n": len(good),
        "failed": len(unit) - len(good),
        "embedding_bytes": good["embedding_bytes"].mean(),
        "bytes_low": good["embedding_bytes"].min(),
        "bytes_high": good["embedding_bytes"].max(),
        "test_auc": mean.mean,
        "test_auc_low": mean.low,
        "test_auc_high": mean.high,
    }


def draw_auc_over_bytes(points: pd.DataFrame, columns: int = 2) -> Figure:
    """Draw a panel per data set and backbone of `auc_over_bytes_frame`, `columns` beside each other.

    Where a panel would hold too many methods to tell apart, it is drawn as several with equal axes, by what the
    methods decide; the uniform model and random plans stand in each of them.

    The global matplotlib settings and pyplot's state are left as they are.
    """
    from matplotlib.figure import Figure

    sets = [
        panels_of(f"{dataset}, {backbone}", part)
        for (dataset, backbone), part in points.groupby(["dataset", "backbone"])
    ]
    panels = [shown for group in sets for shown in group]
    look = looks(points, [shown.points for shown in panels if shown.whole is not None])
    across = min(columns, len(panels))
    cells = _cells([len(group) for group in sets], across)
    down = cells[-1][1] + 1
    with style():
        figure = Figure(figsize=(across * PANEL[0], down * PANEL[1]))
        for (column, row), shown in zip(cells, panels, strict=True):
            axes = place(figure, column, row, across, down)
            panel(axes, shown.title, shown.points, look, shown.whole)
    return figure


def _cells(sizes: Sequence[int], across: int) -> list[tuple[int, int]]:
    """Return column and row of each panel; what is drawn in several panels begins a row of its own."""
    cells: list[tuple[int, int]] = []
    at = 0
    for before, size in zip((1, *sizes), sizes, strict=False):
        if max(before, size) > 1:
            at = -(-at // across) * across
        cells += [(i % across, i // across) for i in range(at, at + size)]
        at += size
    return cells


def svg(figure: Figure, background: str = "white") -> bytes:
    """Return the figure as SVG; equal figures give equal bytes."""
    return _saved(figure, "svg", {"Date": None}, background)


def pdf(figure: Figure) -> bytes:
    """Return the figure as PDF; equal figures give equal bytes.

    Letters of East Asia, which our font lacks, are drawn by an installed one (`_drawing.FALLBACKS`), so that a figure
    with such letters depends on the machine's fonts; an SVG leaves them to its reader.
    """
    with fallen_back(figure):
        return _saved(figure, "pdf", {"CreationDate": None}, "white")


def inline_svg(points: pd.DataFrame, prefix: str) -> str:
    """Return the figure of `points` to stand in an HTML page: in its colours; ids begin with `prefix`."""
    name = one_line(", ".join(points.iloc[0][["dataset", "backbone"]]))
    image = svg(draw_auc_over_bytes(points, columns=1), "none")
    return inlined(image, prefix, f"Test AUC over embedding bytes: {name}")


def inlined(image: bytes, prefix: str, name: str) -> str:
    """Return one of our SVG to stand in an HTML page, called `name` there: in its colours; ids begin with `prefix`."""
    root = ElementTree.fromstring(image)
    _drop_background(root)
    for element in root.iter():
        element.tag = element.tag.removeprefix("{http://www.w3.org/2000/svg}")
        element.attrib = {k.rpartition("}")[2]: _on_page(k, v, prefix) for k, v in element.attrib.items()}
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    for size in ("width", "height"):
        root.attrib.pop(size)
    root.attrib |= {"role": "img", "aria-label": name}
    return ElementTree.tostring(root, encoding="unicode")


def _drop_background(root: ElementTree.Element) -> None:
    """Remove the ground of the whole figure, which is what matplotlib draws first: the page has one of its own."""
    for parent in root.iter():
        for child in parent:
            if child.get("id") == "patch_1":
                parent.remove(child)
                return


def _on_page(attribute: str, value: str, prefix: str) -> str:
    """Return an attribute's value with its ids made the figure's own and its colours those of the page."""
    if attribute == "id":
        return f"{prefix}-{value}"
    if value.startswith("#") and attribute.endswith("href"):
        return f"#{prefix}-{value[1:]}"
    value = value.replace("url(#", f"url(#{prefix}-")
    return re.sub("|".join(THEME), lambda match: THEME[match[0]], value)


def _saved(figure: Figure, form: str, metadata: Mapping[str, Any], background: str) -> bytes:
    buffer = io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a page's fonts may have it
        figure.savefig(buffer, format=form, metadata=dict(metadata), facecolor=background)
    return buffer.getvalue()
