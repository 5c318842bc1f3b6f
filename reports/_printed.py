"""What printed tables share: columns, the texts of means and differences, and a table in Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nasbench_rec.reports._text import decimals, markdown_escape, score

from nasbench_rec.statistics import INTERVALS

Row = TypeVar("Row")
WIDEST = 34
"""Longer words of a printed table go on in the next line."""


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A printed column of rows of one kind."""

    head: str
    explanation: str
    importance: int
    """Narrow terminals take the columns of lowest number; 0 is always shown."""
    text: Callable[[Row], str]
    numeric: bool = True


def shown(rows: Sequence[Row], every: Sequence[Column[Row]]) -> list[Column[Row]]:
    """Return the columns in which these rows have anything to show."""
    return [column for column in every if not column.importance or any(column.text(row) for row in rows)]


def markdown_table(columns: Sequence[Column[Row]], rows: Sequence[Row]) -> str:
    """Return a table for GitHub of those columns in which there is anything; empty without rows."""
    if not rows:
        return ""
    kept = shown(rows, columns)
    lines = [[markdown_escape(c.head) for c in kept], ["---:" if c.numeric else "---" for c in kept]]
    lines += [[markdown_escape(c.text(row)) for c in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_text(value: float, spread: float) -> str:
    """Return `.7812 ±.0004`."""
    if math.isnan(value):
        return ""
    shown = f" ±{score(spread, decimals(spread))}" if not math.isnan(spread) else ""
    return f"{score(value, decimals(spread))}{shown}"


def difference_text(row: Any, name: str) -> str:
    """Return `+.0012 [+.0003, +.0021] t, 3` of the fields that start with `name`."""
    value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
    kind, pairs = getattr(row, f"{name}_interval"), getattr(row, f"{name}_pairs")
    if not pairs:
        return ""
    places = decimals((high - low) / 4) if kind in INTERVALS else 4
    if kind in INTERVALS:
        said = f"[{score(low, places, signed=True)}, {score(high, places, signed=True)}] {kind}, {pairs}"
    else:
        said = f"equal, {pairs}" if kind == "constant" else "1 pair"
    return f"{score(value, places, signed=True)} {said}"
