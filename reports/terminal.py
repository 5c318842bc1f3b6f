"""The leaderboard in a terminal of any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from nasbench_rec.reports._columns import CAPTION, COLUMNS, Column, failures, shown
from nasbench_rec.reports._rows import LeaderboardRow, grouped_rows
from nasbench_rec.reports._text import HEADING, one_line

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

LABEL_WIDTH = 28
"""Longer labels go on in the next line."""


def print_leaderboard(frame: pd.DataFrame, console: Console, title: str = "Leaderboard") -> None:
    """Print a leaderboard frame at the width of `console`."""
    console.print(leaderboard_tables(frame, console.width, title))


def leaderboard_tables(frame: pd.DataFrame, width: int, title: str) -> Group:
    """Return rich tables of a leaderboard frame that fit `width` characters.

    Of the columns those are shown for which there is room, by importance; a line below names the others.
    """
    from rich.console import Group
    from rich.text import Text

    sections = list(grouped_rows(frame))
    rows = [row for _, _, part in sections for row in part]
    columns = _fitting(rows, width)
    left_out = [column.head for column in shown(rows) if column not in columns]
    blocks: list[Table | Text] = [Text(one_line(title), style="bold")]
    for dataset, backbone, part in sections:
        blocks.append(Text())
        blocks.append(_table(f"{one_line(dataset, HEADING)}, {one_line(backbone, HEADING)}", part, columns))
        blocks += [Text(f"{name}: {what}", style="red") for name, what in failures(part)]
    blocks += [Text(), Text(CAPTION, style="dim")]
    if left_out:
        blocks.append(Text(f"Not shown at this width: {', '.join(left_out)}.", style="dim"))
    return Group(*blocks)


def _fitting(rows: Sequence[LeaderboardRow], width: int) -> list[Column]:
    """Return the columns that fit, taken by importance, in the order of the table."""
    from rich.cells import cell_len

    room, taken = width - 2, []
    for column in sorted(shown(rows), key=lambda c: c.importance):
        widest = max(cell_len(text) for text in [column.head, *(column.text(row) for row in rows)])
        needed = 2 + (widest if column.numeric else min(widest, LABEL_WIDTH))
        if column.importance == 0 or needed <= room:
            room -= needed
            taken.append(column)
    return [column for column in COLUMNS if column in taken]


def _table(title: str, rows: Sequence[LeaderboardRow], columns: Sequence[Column]) -> Table:
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
            max_width=None if column.numeric else LABEL_WIDTH,
            no_wrap=column.numeric,
            overflow="ellipsis" if column.numeric else "fold",
        )
    for row in rows:
        table.add_row(*(Text(column.text(row)) for column in columns), style="" if row.n else "dim")
    return table
