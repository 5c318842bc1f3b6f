"""Printed columns as columns of the site: with values to sort by, and a second line for what follows a number."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nasbench_rec.reports._printed import Column
from nasbench_rec.reports._site_table import Cell, Head, Value
from nasbench_rec.reports._text import minus

from nasbench_rec.statistics import INTERVALS

_DETAIL = re.compile(r" (?=[±\[(]|equal, |1 pair$)")
"""Before the spread, interval or count that a printed number is followed by."""

TONES = (
    "Green and red: the 95 % interval of the difference lies wholly above or below zero; no correction for the number "
    "of comparisons is made."
)


@dataclass(frozen=True)
class SiteColumn:
    """A printed column, and what it is sorted by."""

    column: Column[Any]
    value: Callable[[Any], Value]
    descending: bool = False
    """Whether the first click sorts the highest first."""

    @property
    def head(self) -> Head:
        """Its head."""
        return Head(self.column.head, self.column.explanation, self.column.numeric, self.descending)

    def cell(self, row: Any, href: str = "", look: str = "") -> Cell:
        """Return the cell of a row; `href`: where its text leads, if it has one."""
        text, detail = self.column.text(row), ""
        if self.column.numeric:
            text, detail = split(minus(text))
        return Cell(text, detail, self.value(row), href if text else "", look)


def shown(columns: Sequence[SiteColumn], rows: Sequence[Any]) -> list[SiteColumn]:
    """Return the first column, and those others in which these rows have anything to show."""
    return [c for i, c in enumerate(columns) if i == 0 or any(c.column.text(row) for row in rows)]


def split(text: str) -> tuple[str, str]:
    """Return a number as printed, and what follows it: `.7812`, `±.0004`."""
    first, *rest = _DETAIL.split(text, maxsplit=1)
    return first, "".join(rest)


def side_of_zero(row: Any, name: str) -> int:
    """Say on which side of zero the 95 % interval of a row's difference lies: 1, -1, or 0 where it holds zero.

    `name` is what the row's fields start with. Equal differences and single pairs have no interval.
    """
    if getattr(row, f"{name}_interval") not in INTERVALS:
        return 0
    return int(getattr(row, f"{name}_low") > 0) - int(getattr(row, f"{name}_high") < 0)


def tone(row: Any, name: str) -> str:
    """Return the look of a difference of which more is better."""
    return {1: "good", -1: "bad"}.get(side_of_zero(row, name), "")
