"""The leaderboard in a terminal of any width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from nasbench_rec.reports._columns import BELOW_RANDOM, CAPTION, failures, not_above_random, shown
from nasbench_rec.reports._rich import fitting, rich_table
from nasbench_rec.reports._rows import grouped_rows
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
    columns = fitting(shown(rows), rows, width, LABEL_WIDTH)
    left_out = [column.head for column in shown(rows) if column not in columns]
    blocks: list[Table | Text] = [Text(one_line(title), style="bold")]
    for dataset, backbone, part in sections:
        blocks.append(Text())
        heading = f"{one_line(dataset, HEADING)}, {one_line(backbone, HEADING)}"
        styles = ["bold" if row.best else "" if row.n else "dim" for row in part]
        blocks.append(rich_table(heading, columns, part, styles, LABEL_WIDTH))
        blocks += [Text(f"{name}: {what}", style="red") for name, what in failures(part)]
        below = ", ".join(name for name, _ in not_above_random(part, {}))
        blocks += [Text(f"{BELOW_RANDOM}: {below}", style="dim")] if below else []
    blocks += [Text(), Text(CAPTION, style="dim")]
    if left_out:
        blocks.append(Text(f"Not shown at this width: {', '.join(left_out)}.", style="dim"))
    return Group(*blocks)
