"""What a data set looks like: splits, fields, and how long their tails are. Frames first, then words and ink."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports import _writers
from nasbench_rec.reports._drawing import COLOURS, INK, MUTED, style
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports._printed import WIDEST, Column, markdown_table, shown
from nasbench_rec.reports._rich import fitting, rich_table
from nasbench_rec.reports._text import encoded, markdown_escape, one_line
from nasbench_rec.reports.figures import pdf, svg

from nasbench_rec.data import SPLITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Console, Group

    from nasbench_rec.data import Dataset

__all__ = [
    "draw_long_tail",
    "fields_frame",
    "long_tail_frame",
    "print_dataset",
    "splits_frame",
    "write_dataset",
]

SELDOM = 10
"""Ids seen in fewer training rows than this are the tail: the field's usual threshold on large data."""
RANKS = 160
ACROSS = 5
PANEL = (1.75, 1.45)


def splits_frame(data: Dataset) -> pd.DataFrame:
    """Return a row per split: rows, share of positive labels, fingerprint of its content."""
    rows = [
        {
            "split": name,
            "rows": len(data.split(name)),
            "positive": float(data.split(name).labels.mean()),
            "fingerprint": data.split_fingerprint(name),
        }
        for name in SPLITS
    ]
    return pd.DataFrame(rows)


def fields_frame(data: Dataset) -> pd.DataFrame:
    """Return a row per field.

    `ids`: rows of its embedding table; `values`: raw values that have an id of their own (missing counts as one);
    `counted`: the size as the recipe's papers count it; `rare_values`: values of train without an id; `top`: share
    of the most frequent id in train; `half`: how many ids make up half of all that occurs in train; `seldom`: share
    of the ids that occur in fewer than ten training rows; `missing`: share of missing cells in all rows;
    `unseen_valid`, `unseen_test`: share of rows whose value is rare or unseen in train. NaN where unknown.
    """
    known = data.origin.get("fields", {})
    counted = data.origin.get("encoding", {}).get("counted")
    rows = []
    for f, counts in zip(data.fields, data.counts, strict=True):
        about = known.get(f.name, {})
        unseen = about.get("unseen", {})
        rows.append(
            {
                "field": f.name,
                "kind": about.get("kind", "categorical"),
                "columns": f.columns,
                "ids": f.cardinality,
                "values": about.get("values", math.nan),
                "counted": _counted(about, counted),
                "rare_values": about.get("rare_values", math.nan),
                **_tail(counts),
                "missing": about.get("missing", math.nan),
                **{f"unseen_{name}": unseen.get(name, math.nan) for name in SPLITS[1:]},
            }
        )
    return pd.DataFrame(rows)


def _counted(about: dict[str, Any], how: str | None) -> float:
    """Return a field's size as the recipe counts it: its values and one or two ids more, or one if it has rare ones."""
    if how is None or "values" not in about:
        return math.nan
    more = {"one": 1, "two": 2, "if-rare": int(about["rare_values"] > 0)}
    return float(about["values"] + more[how])


def _tail(counts: np.ndarray) -> dict[str, float]:
    ordered = np.sort(counts[counts > 0])[::-1]
    total = max(int(ordered.sum()), 1)
    half = int(np.searchsorted(np.cumsum(ordered), total / 2)) + 1
    return {
        "top": float(ordered[0] / total) if len(ordered) else math.nan,
        "half": float(min(half, len(ordered))),
        "seldom": float((counts < SELDOM).mean()),
    }


def long_tail_frame(data: Dataset) -> pd.DataFrame:
    """Return `field`, `rank` and `count`: how often the id of a rank occurs in train, at growing ranks."""
    parts = []
    for f, counts in zip(data.fields, data.counts, strict=True):
        ordered = np.sort(counts[counts > 0])[::-1]
        if len(ordered):
            ranks = np.unique(np.geomspace(1, len(ordered), RANKS).round().astype(np.int64))
            parts.append(pd.DataFrame({"field": f.name, "rank": ranks, "count": ordered[ranks - 1]}))
    return pd.concat(parts, ignore_index=True)


def draw_long_tail(frame: pd.DataFrame) -> Figure:
    """Draw a panel per field: occurrences over rank, both logarithmic and on the same axes everywhere."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(frame["field"]))
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    with style():
        size = (across * PANEL[0] + 0.5, down * PANEL[1] + 0.8)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(grid.flat):
            if place < len(names):
                _panel(axes, names[place], frame[frame["field"] == names[place]])
            else:
                axes.set_visible(False)
        for column in range(across):  # the lowest panel of a column that is not full
            last = grid[(len(names) - 1 - column) // across, column]
            last.tick_params(labelbottom=True)
        figure.supxlabel("rank of the id by frequency (logarithmic)", fontsize=8, color=INK)
        figure.supylabel("occurrences in train (logarithmic)", fontsize=8, color=INK)
    return figure


def _panel(axes: Axes, name: str, part: pd.DataFrame) -> None:
    import seaborn

    colour = seaborn.color_palette("colorblind")[COLOURS[0]]
    axes.set(xscale="log", yscale="log")
    axes.plot(part["rank"], part["count"], color=colour, linewidth=1.3)
    axes.plot(part["rank"].iloc[-1:], part["count"].iloc[-1:], marker="o", markersize=2.5, color=colour)
    axes.axhline(SELDOM, color=MUTED, linewidth=0.6, linestyle=(0, (4, 3)))
    axes.set_title(one_line(name, 18), loc="left", fontsize=8, parse_math=False)
    axes.text(
        0.97, 0.92, f"{int(part['rank'].iloc[-1]):,} ids", transform=axes.transAxes, ha="right", va="top",
        fontsize=6.5, color=MUTED,
    )  # fmt: skip
    axes.grid(axis="y")
    seaborn.despine(ax=axes)


def _share(value: float) -> str:
    if math.isnan(value):
        return ""
    return "0" if value == 0 else "<.01 %" if value < 1e-4 else f"{100 * value:.3g} %"


def _whole(value: float) -> str:
    return "" if math.isnan(value) else f"{int(value):,}"


SPLIT_COLUMNS: tuple[Column[Any], ...] = (
    Column("split", "", 0, lambda r: r.split, numeric=False),
    Column("rows", "", 1, lambda r: f"{r.rows:,}"),
    Column("positive", "share of labels that are 1", 2, lambda r: f"{r.positive:.4f}"),
    Column("fingerprint", "SHA-256 of the split's content", 3, lambda r: r.fingerprint[:16], numeric=False),
)
FIELD_COLUMNS: tuple[Column[Any], ...] = (
    Column("field", "", 0, lambda r: one_line(r.field, 40), numeric=False),
    Column("kind", "how its cells were read", 7, lambda r: r.kind, numeric=False),
    Column("columns", "id columns of a multi-valued field", 8, lambda r: str(r.columns) if r.columns > 1 else ""),
    Column("ids", "rows of its embedding table", 1, lambda r: f"{r.ids:,}"),
    Column("values", "raw values with an id of their own", 9, lambda r: _whole(r.values)),
    Column("as counted", "its size as the recipe's papers count it", 10, lambda r: _whole(r.counted)),
    Column("rare", "values of train without an id", 6, lambda r: _whole(r.rare_values)),
    Column("top id", "share of the most frequent id in train", 2, lambda r: _share(r.top)),
    Column("half", "so many ids make up half of what occurs in train", 5, lambda r: _whole(r.half)),
    Column("seldom", "share of ids in fewer than ten training rows", 4, lambda r: _share(r.seldom)),
    Column("missing", "share of missing cells in all rows", 3, lambda r: _share(r.missing)),
    Column(
        "unseen in test", "share of test rows whose value is rare or unseen in train", 3,
        lambda r: _share(r.unseen_test),
    ),
)  # fmt: skip


def print_dataset(data: Dataset, console: Console) -> None:
    """Print splits, fields and notes at the width of `console`."""
    console.print(_blocks(data, console.width))


def _blocks(data: Dataset, width: int) -> Group:
    from rich.console import Group
    from rich.text import Text

    splits, fields = _rows(splits_frame(data)), _rows(fields_frame(data))
    columns = fitting(shown(fields, FIELD_COLUMNS), fields, width, WIDEST)
    left_out = [c.head for c in shown(fields, FIELD_COLUMNS) if c not in columns]
    blocks: list[Any] = [
        rich_table("splits", SPLIT_COLUMNS, splits, [""] * len(splits), WIDEST),
        Text(),
        rich_table("fields", columns, fields, [""] * len(fields), WIDEST),
        Text(),
        *(Text(line) for line in _words(data)),
    ]
    blocks += [Text(f"note: {note}", style="yellow") for note in data.origin.get("notes", [])]
    if left_out:
        blocks.append(Text(f"Not shown at this width: {', '.join(left_out)}.", style="dim"))
    return Group(*blocks)


def _rows(frame: pd.DataFrame) -> list[Any]:
    return list(frame.itertuples(index=False))


def _words(data: Dataset) -> list[str]:
    """Return sentences on totals, encoding, split, source, and the known answer."""
    fields = fields_frame(data)
    origin, lines = data.origin, []
    values = int(fields["values"].sum()) if fields["values"].notna().all() else None
    total = f"{int(fields['ids'].sum()):,} ids in {len(fields)} fields"
    if values is not None:
        total += f"; {values:,} raw values; {int(fields['counted'].sum()):,} as the recipe counts"
    lines.append(total)
    for name in ("encoding", "split", "label"):
        if name in origin:
            parts = (f"{k} {_plain(v)}" for k, v in origin[name].items() if v not in (None, [], ()))
            lines.append(f"{name}: " + ", ".join(parts))
    lines += [f"source: {name}, SHA-256 {digest[:16]}" for name, digest in origin.get("source", {}).items()]
    known = {k: v for k, v in data.truth.items() if isinstance(v, (int, float, str))}
    if known:
        lines.append("known answer: " + ", ".join(f"{k} {v}" for k, v in known.items()))
        lines += [f"  useful width of {name}: {width}" for name, width in data.truth["useful_width"].items()]
    return [one_line(line, 400) for line in lines]


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def write_dataset(data: Dataset, folder: Path) -> list[Path]:
    """Write `fields.csv`, `splits.csv`, `long-tail.csv`, the figure (SVG, PDF) and a page into `folder`."""
    tail = long_tail_frame(data)
    figure = draw_long_tail(tail)
    return write_files(
        folder,
        {
            "fields.csv": _writers.csv(fields_frame(data)),
            "splits.csv": _writers.csv(splits_frame(data)),
            "long-tail.csv": _writers.csv(tail),
            "long-tail.svg": svg(figure),
            "long-tail.pdf": pdf(figure),
            "dataset.md": encoded(_page(data)),
        },
    )


def _page(data: Dataset) -> str:
    splits, fields = _rows(splits_frame(data)), _rows(fields_frame(data))
    notes = data.origin.get("notes", [])
    blocks = [
        f"# {markdown_escape(one_line(data.name))}",
        markdown_table(SPLIT_COLUMNS, splits),
        markdown_table(FIELD_COLUMNS, fields),
        "![occurrences in train over rank](long-tail.svg)",
        _bullets(_words(data)),
        _bullets(notes),
        "## How to read this",
        _bullets([f"{c.head}: {c.explanation}" for c in FIELD_COLUMNS if c.explanation]),
        "The dashed line of the figure is at ten occurrences.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown_escape(line.strip())}" for line in lines)
