"""One leaderboard frame in five forms: terminal, CSV, Markdown, LaTeX and HTML. All foreign text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import pandas as pd

from nasbench_rec.reports._columns import COLUMNS, READING, Column, failure, failures, label, shown
from nasbench_rec.reports._records import groups
from nasbench_rec.reports._rows import LeaderboardRow, grouped_rows
from nasbench_rec.reports._text import clean, latex_escape, markdown_escape, one_line

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

LATEX_COLUMNS = 9
"""How many columns a LaTeX table takes, by importance: more cannot be read at the width of a text."""

LATEX_HEAD = r"""% In the preamble: \usepackage{booktabs} and \usepackage{graphicx} (tables too wide are scaled to the line).
% Names outside Latin letters need lualatex or xelatex. All numbers stand in leaderboard.csv.
"""


def csv(frame: pd.DataFrame) -> bytes:
    """Return the raw numbers: bytes, seconds, full precision, empty where unknown."""
    return _encoded(frame.to_csv(index=False, lineterminator="\n"))


def markdown(frame: pd.DataFrame, title: str) -> bytes:
    """Return tables for GitHub, with notes on failures and the meaning of the columns."""
    blocks = [f"# {markdown_escape(one_line(title))}"]
    for dataset, backbone, rows in grouped_rows(frame):
        blocks.append(f"## {markdown_escape(one_line(dataset))}, {markdown_escape(one_line(backbone))}")
        blocks.append(_markdown_table(rows))
        notes = failures(rows, only_partial=True)
        blocks += ["\n".join(f"- {markdown_escape(name)}: {markdown_escape(what)}" for name, what in notes)]
    blocks.append("## How to read this")
    blocks.append("\n\n".join(markdown_escape(sentence) for sentence in READING))
    blocks.append("\n".join(f"- **{c.head}**: {markdown_escape(c.explanation)}" for c in COLUMNS))
    return _encoded("\n\n".join(block for block in blocks if block) + "\n")


def latex(frame: pd.DataFrame, title: str) -> bytes:
    """Return booktabs tables to `\\input`, one per data set and backbone."""
    tables = [_latex_table(*group, title=title) for group in grouped_rows(frame)]
    return _encoded(LATEX_HEAD + "\n".join(tables))


def html(frame: pd.DataFrame, records: pd.DataFrame, figures: Mapping[tuple[str, str], str], title: str) -> bytes:
    """Return one self-contained page; `figures` holds trusted SVG by (data set, backbone), `records` the seeds."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    source = resources.files("nasbench_rec.reports").joinpath("leaderboard.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    units = {(dataset, backbone): group for dataset, backbone, group in groups(records)}
    sections = [
        _section(dataset, backbone, rows, units[dataset, backbone], Markup(figures[dataset, backbone]))
        for dataset, backbone, rows in grouped_rows(frame)
    ]
    page = environment.from_string(source).render(
        title=clean(title), sections=sections, columns=COLUMNS, reading=READING
    )
    return _encoded(page + "\n")


def terminal(frame: pd.DataFrame, width: int, title: str) -> Group:
    """Return rich tables that fit `width` characters: the most important columns that there is room for."""
    from rich.console import Group
    from rich.text import Text

    sections = list(grouped_rows(frame))
    columns = _fitting([rows for _, _, rows in sections], width)
    parts: list[Table | Text] = [Text(one_line(title), style="bold")]
    for dataset, backbone, rows in sections:
        parts.append(_terminal_table(f"{one_line(dataset)}, {one_line(backbone)}", rows, columns))
        parts += [Text(f"{name}: {what}", style="red") for name, what in failures(rows)]
    left_out = [c.head for c in shown([row for _, _, rows in sections for row in rows]) if c not in columns]
    parts.append(Text(_legend(columns, left_out), style="dim"))
    return Group(*parts)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="backslashreplace")


def _cells(row: LeaderboardRow, columns: Sequence[Column], failed: Callable[[LeaderboardRow], str]) -> list[str]:
    """Return the row's texts; where no unit succeeded, what `failed` says stands in place of the test AUC."""
    return [failed(row) if c.head == "test AUC" and not row.n else c.text(row) for c in columns]


def _markdown_table(rows: Sequence[LeaderboardRow]) -> str:
    columns = shown(rows)
    lines = [[c.head for c in columns], ["---:" if c.numeric else "---" for c in columns]]
    lines += [[markdown_escape(text) for text in _cells(row, columns, failure)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex_table(dataset: str, backbone: str, rows: Sequence[LeaderboardRow], title: str) -> str:
    kept = sorted(shown(rows), key=lambda c: c.importance)[:LATEX_COLUMNS]
    columns = [c for c in COLUMNS if c in kept]
    cells = [[_latex_cell(text, c) for text, c in zip(_cells(row, columns, lambda _: ""), columns, strict=True)] for row in rows]
    table = pd.DataFrame(cells, columns=[latex_escape(c.head) for c in columns], dtype=object)
    body = table.style.hide(axis="index").to_latex(hrules=True, column_format="".join("lr"[c.numeric] for c in columns))
    notes = [rf"\par\footnotesize {latex_escape(name)}: {latex_escape(what)}." for name, what in failures(rows)]
    caption = latex_escape(f"{one_line(title)}: {one_line(dataset)}, {one_line(backbone)}. {_caption(columns)}")
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            body.rstrip() + "}",
            *notes,
            r"\end{table}",
            "",
        ]
    )
