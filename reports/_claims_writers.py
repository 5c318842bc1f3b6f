"""A claim set's page in Markdown and its tables for a terminal. All foreign text is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nasbench_rec.reports._claims_columns import (
    CLAIM_COLUMNS,
    COMPARISON_COLUMNS,
    READING,
    amount,
)
from nasbench_rec.reports._claims_rows import (
    ClaimRow,
    ComparisonRow,
    Found,
    claim_rows,
    comparison_rows,
    number,
    said,
    where,
)
from nasbench_rec.reports._printed import WIDEST, markdown_table, shown
from nasbench_rec.reports._rich import fitting, rich_table
from nasbench_rec.reports._text import markdown_escape, one_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

OUTCOMES = ("supported", "refuted", "inconclusive", "not testable here")
STYLES = {"supported": "green", "refuted": "red", "inconclusive": "yellow", "not testable here": "dim"}


def summary(found: Found) -> str:
    """Return how many claims have which verdict."""
    counts = Counter(v["outcome"] for v in found["verdicts"])
    explained = sum(bool(v["explained_by"]) for v in found["verdicts"])
    parts = [f"{counts[o]} {o}" for o in OUTCOMES if counts[o]]
    more = f" ({explained} of the supported explained by a control)" if explained else ""
    total = len(found["verdicts"])
    return f"{total} claim{'s' if total > 1 else ''}: {', '.join(parts)}{more}."


def provenance(found: Found) -> list[str]:
    """Say when the set was frozen, what has run, and what a reader must know of the order of things."""
    recorded, units = found["recorded"], found["units"]
    lines = [f"Frozen {found['frozen']}, SHA-256 {found['sha256']}; alpha {found['alpha']:g}."]
    lines.append(f"{recorded} of {units} units have records; {found['failed']} failed and count as missing.")
    if found["before_freezing"]:
        lines.append(
            f"{found['before_freezing']} of these records are older than the frozen claims: for them the claims were "
            "not fixed before the runs."
        )
    if len(checks := found.get("checks", [])) > 1:
        looks = "; ".join(f"{c['time']}: {c['recorded']} records, up to {c['seeds']} seeds" for c in checks)
        lines.append(f"Checked {len(checks)} times ({looks}): a verdict that was waited for is worth less.")
    return lines


def markdown(found: Found, figure: str = "") -> str:
    """Return the page of a claim set; `figure`: Markdown that shows its figure."""
    blocks = [f"# {_text(found['title'])}", f"{_text(found['paper'])}. {_text(found['source'])}"]
    blocks += [summary(found), "\n".join(f"- {line}" for line in provenance(found))]
    blocks += ["## Verdicts", markdown_table(CLAIM_COLUMNS, claim_rows(found)), figure]
    for verdict in found["verdicts"]:
        blocks += _claim(verdict)
    blocks += ["## How to read this", "\n".join(f"- {line}" for line in READING), _columns(found)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _text(text: object) -> str:
    return markdown_escape(one_line(text, 2000))


def _claim(verdict: Found) -> Iterator[str]:
    claim = verdict["claim"]
    yield f"### {_text(claim['id'])}"
    yield f"> {_text(claim['sentence'])}\n>\n> {_text(claim['source'])}"
    yield f"**{_text(said(verdict))}**{_scope(verdict)}: {_text(verdict['reason'])}."
    notes = [f"Measured as: {_text(verdict['measured'])}."]
    notes += [_text(claim["reading"])] if claim["reading"] else []
    notes += [_seeds(verdict)] if verdict["seeds_asked"] != verdict["seeds_written"] else []
    yield " ".join(notes)
    yield markdown_table(COMPARISON_COLUMNS, _rows(verdict))
    yield "\n".join(dict.fromkeys(_points(verdict)))
    yield "\n".join(_row_noise(verdict))
    yield "\n".join(dict.fromkeys(_controls(verdict)))


def _scope(verdict: Found) -> str:
    return f" (scope: {_text(verdict['scope'])})" if verdict["scope"] else ""


def _seeds(verdict: Found) -> str:
    asked, written = verdict["seeds_asked"], verdict["seeds_written"]
    what = "a look" if asked < written else "extended after the claims were frozen"
    return f"With {asked} seeds instead of the {written} that the claim asks for: {what}."


def _rows(verdict: Found) -> list[ComparisonRow]:
    return comparison_rows({"verdicts": [verdict]})


def _points(verdict: Found) -> Iterator[str]:
    for c in verdict["comparisons"]:
        if c["outcome"] == "not testable here":
            yield f"- {_text(c['dataset'])}: not testable here: {_text(c['reason'])}"
        elif c["points"]:
            seeds = ", ".join(f"{_seed(p)}: {amount(p['difference'], True)}" for p in c["points"])
            yield f"- per seed, {_text(_place(c))}: {seeds}"


def _row_noise(verdict: Found) -> Iterator[str]:
    """Say what other test rows would add to the error of a mean difference."""
    for c in verdict["comparisons"]:
        if rows := c.get("rows"):
            errors = [amount(number(rows[name])) for name in ("row_se", "seed_se", "total_se")]
            interval = f"[{amount(rows['row_low'], True)}, {amount(rows['row_high'], True)}]"
            yield (
                f"- test rows, {_text(_place(c))}: standard error of the difference in test AUC {errors[0]} from "
                f"other rows (DeLong, {rows['rows']:,} rows), {errors[1]} from other seeds, {errors[2]} from both; "
                f"interval over rows alone {interval}"
            )


def _seed(point: Found) -> str:
    split = f"/{point['split_seed']}" if point["split_seed"] else ""
    return f"{point['seed']}{split}"


def _where(c: Found) -> str:
    return where(c["dataset"], c["backbone"], c["ratio"])


def _place(c: Found) -> str:
    return f"{_where(c)}, against {c['against']}"


def _controls(verdict: Found) -> Iterator[str]:
    for c in verdict["comparisons"]:
        for control in c["controls"]:
            interval = (
                "" if control["low"] is None else f" [{_signed(control, 'low')}, {_signed(control, 'high')}]"
            )
            difference = f"; method less control {_signed(control, 'mean')}{interval}, {control['n']} pairs"
            yield (
                f"- control, {_text(_where(c))}: {_text(control['name'])} **{control['state']}**"
                f"{difference if control['n'] else ''}"
            )


def _signed(control: Found, name: str) -> str:
    return amount(number(control[name]), True)


def _columns(found: Found) -> str:
    kept: Sequence[tuple[str, str]] = [
        *((c.head, c.explanation) for c in shown(claim_rows(found), CLAIM_COLUMNS)),
        *((c.head, c.explanation) for c in shown(comparison_rows(found), COMPARISON_COLUMNS)),
    ]
    return "\n".join(f"- **{markdown_escape(head)}**: {markdown_escape(what)}" for head, what in kept)


def tables(found: Found, width: int) -> list[Table | Text]:
    """Return rich tables that fit `width` characters: the verdicts, and where the set stands."""
    from rich.text import Text

    rows = claim_rows(found)
    kept = fitting(shown(rows, CLAIM_COLUMNS), rows, width, WIDEST)
    blocks: list[Table | Text] = [Text(one_line(found["title"]), style="bold")]
    blocks += [rich_table(summary(found), kept, rows, [_style(row) for row in rows], WIDEST), Text()]
    return blocks + [Text(line, style="dim") for line in provenance(found)]


def _style(row: ClaimRow) -> str:
    return "yellow" if row.said != row.outcome and row.outcome == "supported" else STYLES[row.outcome]
