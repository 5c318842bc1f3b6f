"""One study as Markdown and for a terminal. All foreign text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasbench_rec.reports import _study_rows as rows
from nasbench_rec.reports._printed import WIDEST, Column, markdown_table, shown
from nasbench_rec.reports._rich import fitting, rich_table
from nasbench_rec.reports._study_data import StudyFrames
from nasbench_rec.reports._study_figures import FIGURES
from nasbench_rec.reports._text import markdown_escape, one_line

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

TOP = 10
"""Trials that the page lists."""
READING = (
    "A trial is one configuration; its value is the mean of the objective over its units (data sets, backbones, "
    "seeds), on validation data only. No trial sees the test split.",
    "Complete trials alone have a value. A pruned trial was stopped because it was behind the others on its way; a "
    "failed one is never dropped: it is counted, with its reason.",
    "The best trial is the best of all that were tried, chosen with the same seeds that it is measured with, so its "
    "value and its lead over the defaults are optimistic. No interval is given, as one would be too narrow for the "
    "same cause. To learn the difference, run the configuration on test data with other seeds.",
    "Importances (PED-ANOVA) are shares, summing to 1 for each objective, in what sets the best tenth of the complete "
    "trials apart; a parameter that not all trials were asked for may have none. They and the figures describe the "
    "trials that the sampler chose. All parameters vary at once, and good regions get more trials: read them as hints, "
    "not as controlled comparisons.",
    "Times hold only within one machine and one run; they are those that stages took when they were computed.",
)


def markdown(frames: StudyFrames, figures: Mapping[str, bool]) -> str:
    """Return the page of a study; `figures`: each by name, and whether there was anything to show."""
    best = "Best configuration" if len(frames.goals) == 1 else "Pareto front"
    ranges, chosen = rows.range_rows(frames), rows.best_and_default(frames)
    top = rows.trial_rows(frames, frames.ranked().head(TOP))
    blocks = [
        f"# {markdown_escape(one_line(frames.title))}",
        markdown_escape(one_line(frames.question, 1000)),
        "## What was asked",
        markdown_escape(rows.asked_words(frames)),
        markdown_table(rows.range_columns(frames), ranges),
        f"## {best}",
        markdown_escape(rows.outcome_words(frames)),
        markdown_table(rows.trial_columns(frames), chosen),
        markdown_escape(rows.full_words(frames)),
        f"## Top {len(top)} of {len(frames.complete)} complete trials" if top else "",
        markdown_table(rows.trial_columns(frames), top),
        "## Trials",
        markdown_escape(rows.count_words(frames)),
        "\n".join(f"- {markdown_escape(a)}: {markdown_escape(b)}" for a, b in rows.reasons(frames)),
        markdown_escape(rows.health_words(frames)),
        "## Stage cache",
        markdown_escape(rows.savings_words(frames)),
        *_figures(figures),
        "## How to read this",
        "\n\n".join(map(markdown_escape, READING)),
        f"All numbers in full: `{_file(frames.name)}.csv` (trials) and `{_file(frames.name)}-units.csv` (units).",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _file(name: str) -> str:
    return one_line(name, 200).replace("`", "'")


def _figures(figures: Mapping[str, bool]) -> Iterator[str]:
    if any(figures.values()):
        yield "## Figures"
    for name in (name for name, drawn in figures.items() if drawn):
        yield f"![{name}]({name}.svg)\n\n{FIGURES[name].caption} ([PDF]({name}.pdf))"
    lost = [name for name, drawn in figures.items() if not drawn]
    if lost:
        yield f"Not drawn, as these trials have nothing to show in it: {', '.join(lost)}."


def blocks(frames: StudyFrames, width: int, top: int) -> list[Table | Text]:
    """Return rich tables and lines that fit `width` characters, the `top` best trials among them."""
    from rich.text import Text

    best = "Best and default" if len(frames.goals) == 1 else "Pareto front and default"
    ranked = frames.ranked()
    found: list[Table | Text] = [
        Text(one_line(frames.title), style="bold"),
        Text(one_line(frames.question, 1000)),
        Text(rows.asked_words(frames)),
        Text(),
        *_fitted(best, rows.trial_columns(frames), rows.best_and_default(frames), width),
        Text(rows.outcome_words(frames)),
        Text(rows.full_words(frames)),
        *_fitted(
            f"Top {min(top, len(ranked))} of {len(ranked)} complete trials",
            rows.trial_columns(frames),
            rows.trial_rows(frames, ranked.head(top)),
            width,
        ),
        Text(),
        Text(rows.count_words(frames)),
    ]
    found += [Text(f"{a}: {b}", style="red" if "failed" in a else "") for a, b in rows.reasons(frames)]
    found += [Text(words, style="yellow") for words in [rows.health_words(frames)] if words]
    found += [Text(rows.savings_words(frames)), Text()]
    return found + _fitted("Parameters", rows.range_columns(frames), rows.range_rows(frames), width)


def _look(row: Any) -> str:
    return "bold" if isinstance(row, rows.TrialRow) and row.best else ""


def _fitted(
    title: str, columns: Sequence[Column[Any]], every: Sequence[Any], width: int
) -> list[Table | Text]:
    """Return a table of the columns for which there is room, and a line that names the others."""
    from rich.text import Text

    if not every:
        return []
    offered = shown(every, columns)
    kept = fitting(offered, every, width, WIDEST)
    found: list[Table | Text] = [rich_table(title, kept, every, list(map(_look, every)), WIDEST)]
    left_out = [column.head for column in offered if column not in kept]
    if left_out:
        found.append(Text(f"Not shown at this width: {', '.join(left_out)}.", style="dim"))
    return found
