"""An equal tuning as Markdown and for a terminal. All foreign text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from nasbench_rec.reports._printed import WIDEST, markdown_table, shown
from nasbench_rec.reports._rich import fitting, rich_table
from nasbench_rec.reports._text import HEADING, markdown_escape, one_line
from nasbench_rec.reports._tuning_columns import FIGURE, READING, TABLES, Columns, name_of, trouble, words
from nasbench_rec.reports._tuning_rows import TuningRow

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def sections(rows: Sequence[TuningRow]) -> Iterator[tuple[str, list[TuningRow]]]:
    """Iterate over data set and backbone as a heading, and their rows."""
    for place in dict.fromkeys((row.dataset, row.backbone) for row in rows):
        title = ", ".join(one_line(name, HEADING) for name in place)
        yield title, [row for row in rows if (row.dataset, row.backbone) == place]


def markdown(rows: Sequence[TuningRow], name: str, title: str) -> str:
    """Return the page of a tuning; its figure is `gains.svg`, its numbers `NAME.csv`, beside it."""
    blocks = [f"# {markdown_escape(one_line(title))}"]
    for heading, part in sections(rows):
        blocks += [f"## {markdown_escape(heading)}", markdown_escape(words(part))]
        for head, columns in _offered(part):
            blocks += [f"### {head}", markdown_table(columns, part)]
        notes = [(name_of(row), trouble(row)) for row in part if trouble(row)]
        blocks.append("\n".join(f"- {markdown_escape(a)}: {markdown_escape(b)}" for a, b in notes))
    blocks += ["## Figure", f"![gains](gains.svg)\n\n{markdown_escape(FIGURE)} ([PDF](gains.pdf))"]
    blocks += ["## How to read this", "\n\n".join(map(markdown_escape, READING))]
    blocks += ["\n".join(_explanations(rows))]
    blocks += [f"All numbers in full: `{one_line(name).replace('`', chr(39))}.csv`."]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _offered(part: Sequence[TuningRow]) -> Iterator[tuple[str, Columns]]:
    """Iterate over the tables that have more than names to show."""
    for head, columns in TABLES.items():
        if len(shown(part, columns)) > 1:
            yield head, columns


def _explanations(rows: Sequence[TuningRow]) -> Iterator[str]:
    every = {column.head: column for _, columns in _offered(rows) for column in shown(rows, columns)}
    for column in every.values():
        yield f"- **{markdown_escape(column.head)}**: {markdown_escape(column.explanation)}"


def tables(rows: Sequence[TuningRow], title: str, width: int) -> list[Table | Text]:
    """Return rich tables that fit `width` characters, what they show in words, and what failed."""
    from rich.text import Text

    blocks: list[Table | Text] = [Text(one_line(title), style="bold")]
    for heading, part in sections(rows):
        blocks += [Text(), Text(heading, style="bold"), Text(words(part))]
        for head, columns in _offered(part):
            blocks += [Text(), *_fitted(head, columns, part, width)]
        blocks += [Text(f"{name_of(row)}: {trouble(row)}", style="red") for row in part if trouble(row)]
    return [*blocks, Text(), *(Text(sentence, style="dim") for sentence in READING[:3])]


def _fitted(head: str, columns: Columns, part: Sequence[TuningRow], width: int) -> list[Table | Text]:
    from rich.text import Text

    offered = shown(part, columns)
    kept = fitting(offered, part, width, WIDEST)
    found: list[Any] = [rich_table(head, kept, part, ["" if row.n else "dim" for row in part], WIDEST)]
    left_out = [column.head for column in offered if column not in kept]
    if left_out:
        found.append(Text(f"Not shown at this width: {', '.join(left_out)}.", style="dim"))
    return found
