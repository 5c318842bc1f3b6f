"""The page of a study: its best configuration, its trials, and each figure with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from nasbench_rec.reports import _study_rows as words
from nasbench_rec.reports import _writers
from nasbench_rec.reports._printed import Column
from nasbench_rec.reports._site_columns import SiteColumn, shown
from nasbench_rec.reports._site_content import SiteStudy
from nasbench_rec.reports._site_figures import Drawing, drawn
from nasbench_rec.reports._site_names import slug
from nasbench_rec.reports._site_pages import Card, lost_card, plural
from nasbench_rec.reports._site_render import Pages
from nasbench_rec.reports._site_table import Line, SiteTable, Value
from nasbench_rec.reports._study_data import Pairs, StudyFrames
from nasbench_rec.reports._study_figures import StudyFigure, figures_with
from nasbench_rec.reports._study_writers import READING
from nasbench_rec.reports._text import HEADING, one_line

from nasbench_rec.errors import NasbenchError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Getter = Callable[[Any], Value]


def study_path(name: str) -> str:
    """Return the path of a study's page below the site."""
    return f"studies/{slug(name)}.html"


def study_pages(pages: Pages, studies: Sequence[SiteStudy]) -> tuple[list[Card], dict[str, bytes]]:
    """Return a card and a page per study; one that cannot be read has a card that says why."""
    cards: list[Card] = []
    files: dict[str, bytes] = {}
    for study in studies:
        try:
            frames, contour = study.read()
        except NasbenchError as error:
            cards.append(lost_card(study.name, error))
            continue
        files |= _study_page(pages, study.name, frames, contour)
        trials = f"{plural(len(frames.complete), 'complete trial')} of {len(frames.trials):,}"
        texts = [(one_line(frames.question, 300), ""), (trials, "muted")]
        cards.append(Card(study_path(study.name), one_line(frames.title), texts))
    return cards, files


def _study_page(pages: Pages, name: str, frames: StudyFrames, contour: Pairs) -> dict[str, bytes]:
    path, stem = study_path(name), slug(name)
    figures, empty = drawn(_drawings(frames, contour), stem, one_line(frames.title, HEADING))
    page = pages.page(
        path,
        "study",
        "studies",
        name=one_line(name),
        stem=stem,
        title=one_line(frames.title),
        question=one_line(frames.question, 1000),
        asked=words.asked_words(frames),
        best_title="Best configuration" if len(frames.goals) == 1 else "Pareto front",
        best=_trials(frames, words.best_and_default(frames), "best", "Best and default"),
        outcome=words.outcome_words(frames),
        full=words.full_words(frames),
        counts=words.count_words(frames),
        reasons=words.reasons(frames),
        health=words.health_words(frames),
        trials=_trials(frames, words.trial_rows(frames, frames.ranked()), "trials", "All complete trials"),
        ranges=_table("ranges", "Parameters", _range_columns(frames), words.range_rows(frames)),
        savings=words.savings_words(frames),
        figures=figures,
        not_drawn=empty,
        reading=READING,
    )
    files = {path: page, f"studies/{stem}-trials.csv": _writers.csv(frames.trials)}
    files[f"studies/{stem}-units.csv"] = _writers.csv(frames.units)
    return files | {f"studies/{file}": data for figure in figures for file, data in figure.files.items()}


def _drawings(frames: StudyFrames, contour: Pairs) -> Iterator[Drawing]:
    for name, kind in figures_with(contour).items():
        yield Drawing(name, kind.frame(frames), _drawer(kind, frames), kind.caption)


def _drawer(kind: StudyFigure, frames: StudyFrames) -> Callable[[pd.DataFrame], Figure]:
    return lambda data: kind.draw(data, frames)


def _trials(frames: StudyFrames, rows: Sequence[words.TrialRow], name: str, caption: str) -> SiteTable:
    looks = ["reference" if row.default else "" for row in rows]
    return _table(name, caption, _trial_columns(frames), rows, looks)


def _trial_columns(frames: StudyFrames) -> list[SiteColumn]:
    """Return the columns of a table of trials, with what each is sorted by; the first click shows the best first."""
    values = [_goal(i) for i in range(len(frames.goals))]
    params = [_param(str(dimension["name"])) for dimension in frames.space]
    rest: list[Getter] = [lambda row: row.seconds, lambda row: row.health or None]
    getters = [lambda row: row.number, values[0], lambda row: row.difference, *values[1:], *params, *rest]
    higher = [goal.maximize for goal in frames.goals]
    falling = [False, higher[0], *higher, *(False for _ in [*params, *rest])]
    return [SiteColumn(*of) for of in zip(words.trial_columns(frames), getters, falling, strict=True)]


def _goal(place: int) -> Getter:
    return lambda row: row.values[place]


def _param(name: str) -> Getter:
    def get(row: words.TrialRow) -> Value:
        value = row.params[name]
        return value if isinstance(value, int | float) or value is None else str(value)

    return get


def _range_columns(frames: StudyFrames) -> list[SiteColumn]:
    """Return the columns of the table of parameters: texts, then an importance for each objective."""
    columns = words.range_columns(frames)
    texts = len(columns) - len(frames.goals)
    found = [SiteColumn(column, _text(column)) for column in columns[:texts]]
    return found + [SiteColumn(c, _importance(i), descending=True) for i, c in enumerate(columns[texts:])]


def _text(column: Column[Any]) -> Getter:
    return lambda row: column.text(row) or None


def _importance(place: int) -> Getter:
    return lambda row: row.importances[place]


def _table(
    name: str, caption: str, columns: Sequence[SiteColumn], rows: Sequence[Any], looks: Sequence[str] = ()
) -> SiteTable:
    kept = shown(columns, rows)
    lines = [
        Line([column.cell(row) for column in kept], look)
        for row, look in zip(rows, looks or [""] * len(rows), strict=True)
    ]
    return SiteTable(name, caption, [column.head for column in kept], lines)
