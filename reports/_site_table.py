"""Tables of the site: cells as text, with the values that they are sorted and filtered by as JSON beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

Value = float | str | None


@dataclass(frozen=True)
class Head:
    """The head of a column."""

    text: str
    explanation: str = ""
    numeric: bool = True
    descending: bool = False
    """Whether the first click sorts the highest first."""
    wide: bool = False
    """Whether only wide windows have room for it."""


@dataclass(frozen=True)
class Cell:
    """A cell: its text and a second line, where it leads, and the value that it is sorted by (None: last)."""

    text: str
    detail: str = ""
    value: Value = None
    href: str = ""
    look: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table; its first cell heads it."""

    cells: Sequence[Cell]
    look: str = ""
    badges: Sequence[tuple[str, str]] = ()
    """Look and text of marks beside the first cell."""
    facets: Sequence[str] = ()
    """What the filters of the page look at."""
    tab: int = 2
    """The last cell at whose link the keyboard stops; those after it lead where one before them does."""
    name: str = ""
    """Its id in the page, where anything leads to it."""


def line_to(cells: Sequence[Cell], look: str = "") -> Line:
    """Return a line whose links all lead to the same place: the keyboard stops at the first of them."""
    return Line(cells, look, tab=next((i for i, cell in enumerate(cells) if cell.href), 0))


@dataclass(frozen=True)
class SiteTable:
    """A table that can be sorted by every column."""

    name: str
    """Its id in the page."""
    caption: str
    heads: Sequence[Head]
    lines: Sequence[Line]

    @property
    def data(self) -> Markup:
        """The values behind the cells as JSON for the page's script."""
        return embedded(
            {
                "columns": [{"descending": head.descending} for head in self.heads],
                "rows": [[_value(cell.value) for cell in line.cells] for line in self.lines],
                "facets": [list(line.facets) for line in self.lines],
            }
        )


def embedded(content: Any) -> Markup:
    """Return JSON that cannot end the script element that holds it, nor begin any other."""
    from markupsafe import Markup

    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def number(value: float) -> float | None:
    """Return a number to sort by; None where it is unknown."""
    return float(value) if math.isfinite(value) else None


def _value(value: Value) -> Value:
    return number(value) if isinstance(value, float) else value
