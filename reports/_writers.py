"""One leaderboard frame as files of text: CSV, Markdown and LaTeX. All foreign text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from nasbench_rec.reports._columns import (
    BELOW_RANDOM,
    CAPTION,
    COLUMNS,
    READING,
    Column,
    failures,
    not_above_random,
    shown,
)
from nasbench_rec.reports._glance import EXPLANATION, glance
from nasbench_rec.reports._rows import LeaderboardRow, grouped_rows
from nasbench_rec.reports._text import HEADING, encoded, latex_escape, markdown_escape, one_line

LATEX_COLUMNS = 8
"""How many columns a LaTeX table takes, by importance: more cannot be read at the width of a text."""

AUC = "test AUC"
"""The column in which the best stands in bold face."""

LATEX_LABEL = 34
"""Characters from which on the labels of a LaTeX table are broken into lines."""

LATEX_HEAD = r"""% In the preamble: \usepackage{booktabs} and \usepackage{graphicx}
% (tables too wide are scaled to the line).
% All numbers stand in leaderboard.csv.
"""


def csv(frame: pd.DataFrame) -> bytes:
    """Return the raw numbers: bytes, seconds, full precision, empty where unknown."""
    return encoded(frame.to_csv(index=False, lineterminator="\n"))


def markdown(frame: pd.DataFrame, title: str, explanations: Mapping[str, str] | None = None) -> bytes:
    """Return tables for GitHub, with notes on failures and the meaning of the columns."""
    blocks = [f"# {markdown_escape(one_line(title))}"]
    for dataset, backbone, rows in grouped_rows(frame):
        names = (one_line(dataset, HEADING), one_line(backbone, HEADING))
        blocks.append(f"## {', '.join(map(markdown_escape, names))}")
        blocks += _glance(rows)
        blocks.append(_markdown_table(rows))
        notes = failures(rows, only_partial=True)
        blocks.append(_list(notes))
        below = not_above_random(rows, explanations or {})
        blocks += [f"{BELOW_RANDOM}:", _list(below)] if below else []
    blocks.append("## How to read this")
    blocks.append("\n\n".join(markdown_escape(sentence) for sentence in READING))
    blocks.append("\n".join(f"- **{c.head}**: {markdown_escape(c.explanation)}" for c in COLUMNS))
    return encoded("\n\n".join(block for block in blocks if block) + "\n")


def _glance(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Return the table of means by budget with its explanation; the cells' bold face is meant."""
    lines = glance(rows)
    if not lines:
        return []
    lines = [[markdown_escape(line[0]), *line[1:]] for line in lines]
    lines.insert(1, ["---", *(["---:"] * (len(lines[0]) - 1))])
    return [EXPLANATION, "\n".join(f"| {' | '.join(line)} |" for line in lines)]


def _list(entries: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {markdown_escape(name)}: {markdown_escape(what)}" for name, what in entries)


def latex(frame: pd.DataFrame, title: str) -> bytes:
    """Return booktabs tables for an input file, one per data set and backbone."""
    tables = [_latex_table(*group, title) for group in grouped_rows(frame)]
    return encoded(LATEX_HEAD + "\n".join(tables))


def _markdown_table(rows: Sequence[LeaderboardRow]) -> str:
    columns = shown(rows)
    lines = [[c.head for c in columns], ["---:" if c.numeric else "---" for c in columns]]
    lines += [[_markdown_cell(c, row) for c in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _markdown_cell(column: Column, row: LeaderboardRow) -> str:
    """Return the cell; without any success, the reason stands in place of the test AUC, and the best is bold."""
    if column.head != AUC:
        return markdown_escape(column.text(row))
    text = markdown_escape(column.text(row) if row.n else one_line(row.reason))
    return f"**{text}**" if row.best else text


def _latex_table(dataset: str, backbone: str, rows: Sequence[LeaderboardRow], title: str) -> str:
    kept = sorted(shown(rows), key=lambda c: c.importance)[:LATEX_COLUMNS]
    columns = [c for c in COLUMNS if c in kept]
    texts = [[_latex_cell(c, row) for c in columns] for row in rows]
    table = pd.DataFrame(texts, columns=[latex_escape(c.head) for c in columns], dtype=object)
    wide = max(map(len, table.iloc[:, 0])) > LATEX_LABEL
    form = "".join("r" if c.numeric else "p{4.4cm}" if wide else "l" for c in columns)
    body = table.style.hide(axis="index").to_latex(hrules=True, column_format=form).rstrip()
    caption = f"{one_line(title)}: {one_line(dataset, HEADING)}, {one_line(backbone, HEADING)}. {CAPTION}"
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{latex_escape(caption)}}}",
            r"\medskip",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"{body}}}",
            *(
                rf"\par\footnotesize {latex_escape(name)}: {latex_escape(what)}"
                for name, what in failures(rows)
            ),
            r"\end{table}",
            "",
        ]
    )


def _latex_cell(column: Column, row: LeaderboardRow) -> str:
    text = latex_escape(column.text(row))
    text = text.replace("-", "$-$") if column.numeric and text != "---" else text
    return rf"\textbf{{{text}}}" if row.best and column.head == AUC else text
