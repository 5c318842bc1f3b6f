"""Tables for a terminal: which columns there is room for, and the table itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.table import Table


class Printed(Protocol):
    """A column of a printed table."""

    @property
    def head(self) -> str:
        """What stands above it."""

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers: they stand to the right and are never broken."""

    @property
    def importance(self) -> int:
        """The smaller, the sooner it gets room; 0: always."""

    def text(self, row: Any) -> str:
        """Return the cell of a row."""


C = TypeVar("C", bound=Printed)


def fitting(columns: Sequence[C], rows: Sequence[Any], width: int, widest: int) -> list[C]:
    """Return the columns that fit `width` characters, taken by importance, in their order.

    Texts that are no numbers go on in the next line from `widest` characters on.
    """
    from rich.cells import cell_len

    room = width - 2
    taken: list[C] = []
    for column in sorted(columns, key=lambda c: c.importance):
        longest = max(cell_len(text) for text in [column.head, *(column.text(row) for row in rows)])
        needed = 2 + (longest if column.numeric else min(longest, widest))
        if column.importance == 0 or needed <= room:
            room -= needed
            taken.append(column)
    return [column for column in columns if column in taken]


def rich_table(
    title: str, columns: Sequence[Printed], rows: Sequence[Any], styles: Sequence[str], widest: int
) -> Table:
    """Return the table of `rows`, each in its style."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 0, 0, 1)
    )
    for column in columns:
        table.add_column(
            Text(column.head),
            justify="right" if column.numeric else "left",
            max_width=None if column.numeric else widest,
            no_wrap=column.numeric,
            overflow="ellipsis" if column.numeric else "fold",
        )
    for row, look in zip(rows, styles, strict=True):
        table.add_row(*(Text(column.text(row)) for column in columns), style=look)
    return table
