"""One ablation as Markdown and for a terminal. All foreign text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from nasbench_rec.reports._ablation_columns import BAR_COLUMNS, columns, name_of, trouble
from nasbench_rec.reports._ablation_figures import FIGURES
from nasbench_rec.reports._ablation_health import Finding
from nasbench_rec.reports._ablation_rows import AblationRow, BarRow
from nasbench_rec.reports._printed import WIDEST, markdown_table, shown
from nasbench_rec.reports._rich import fitting, rich_table
from nasbench_rec.reports._text import HEADING, markdown_escape, one_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Row = TypeVar("Row", AblationRow, BarRow)


def sections(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Iterate over data set and backbone as a heading, and their rows, in the order of the rows."""
    for place in dict.fromkeys((row.dataset, row.backbone) for row in rows):
        title = ", ".join(one_line(name, HEADING) for name in place)
        yield title, [row for row in rows if (row.dataset, row.backbone) == place]


def markdown(
    rows: Sequence[AblationRow],
    bars: Sequence[BarRow],
    findings: Sequence[Finding],
    figures: Mapping[str, bool],
    words: tuple[str, str, str],
) -> str:
    """Return the page of an ablation; `words`: its title, its question and the name of the reference.

    `figures`: each figure asked for, and whether any record had what it needs.
    """
    title, question, reference = words
    blocks = [f"# {markdown_escape(one_line(title))}", markdown_escape(one_line(question, 1000))]
    for name, part in sections(rows):
        blocks += [f"## {markdown_escape(name)}", markdown_table(columns(reference), part)]
        notes = [(name_of(row), trouble(row)) for row in part if trouble(row)]
        blocks.append("\n".join(f"- {markdown_escape(a)}: {markdown_escape(b)}" for a, b in notes))
    if bars:
        blocks += ["## Bars", _verdict(bars)]
        for name, judged in sections(bars):
            blocks += [
                markdown_escape(name) if len(list(sections(bars))) > 1 else "",
                markdown_table(BAR_COLUMNS, judged),
            ]
    blocks += _health(findings, len(list(sections(rows))) > 1)
    blocks += _figures(figures)
    blocks += ["## How to read this", "\n".join(_explanations(rows, reference))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _verdict(bars: Sequence[BarRow]) -> str:
    return f"{sum(bar.met for bar in bars)} of {len(bars)} met."


def _health(findings: Sequence[Finding], several: bool) -> list[str]:
    if not findings:
        return []
    blocks = ["## Health"]
    for name in dict.fromkeys(finding.title(several) for finding in findings):
        own = [finding for finding in findings if finding.title(several) == name]
        blocks += [f"### {markdown_escape(name)}", "\n".join(f"- {_finding(finding)}" for finding in own)]
    return blocks


def _finding(finding: Finding) -> str:
    words = (finding.signature, finding.evidence, finding.source, finding.advice)
    signature, evidence, source, advice = map(markdown_escape, words)
    return f"**{signature}** ({finding.where}): {evidence} ({source}). To try: {advice}."


def _figures(figures: Mapping[str, bool]) -> list[str]:
    blocks = ["## Figures"] if figures else []
    for name, drawn in figures.items():
        if not drawn:
            blocks.append(f"{name}: not drawn, as no record has what it needs.")
            continue
        blocks.append(f"![{name}]({name}.svg)\n\n{FIGURES[name].caption} ([PDF]({name}.pdf))")
    return blocks


def _explanations(rows: Sequence[AblationRow], reference: str) -> Iterator[str]:
    for column in shown(rows, columns(reference)):
        yield f"- **{markdown_escape(column.head)}**: {markdown_escape(column.explanation)}"


def tables(
    rows: Sequence[AblationRow], bars: Sequence[BarRow], words: tuple[str, str, str], width: int
) -> list[Table | Text]:
    """Return rich tables that fit `width` characters: variants, failures, bars; columns by importance."""
    from rich.text import Text

    title, question, reference = words
    blocks: list[Table | Text] = [Text(one_line(title), style="bold"), Text(one_line(question, 1000))]
    kept = fitting(shown(rows, columns(reference)), rows, width, WIDEST)
    heads = [column.head for column in kept]
    for name, part in sections(rows):
        blocks += [Text(), rich_table(name, kept, part, [_faint(row) for row in part], WIDEST)]
        blocks += [Text(f"{name_of(row)}: {trouble(row)}", style="red") for row in part if trouble(row)]
        if "health" not in heads:
            blocks += [Text(f"{name_of(row)}: {row.health}", style="yellow") for row in part if row.health]
    left_out = [c.head for c in shown(rows, columns(reference)) if c.head not in heads]
    for name, judged in sections(bars):
        styles = ["" if bar.met else "red" for bar in judged]
        heading = f"Bars, {name}: {_verdict(judged)}"
        chosen = fitting(shown(judged, BAR_COLUMNS), judged, width, WIDEST)
        blocks += [Text(), rich_table(heading, chosen, judged, styles, WIDEST)]
    if left_out:
        blocks += [Text(), Text(f"Not shown at this width: {', '.join(left_out)}.", style="dim")]
    return blocks


def _faint(row: AblationRow) -> str:
    return "" if row.n else "dim"
