"""The page of a study: its best configuration, its trials, and each figure with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nasbench_rec.reports import _study_rows as words
from nasbench_rec.reports import _writers
from nasbench_rec.reports._drawing import style
from nasbench_rec.reports._printed import Column
from nasbench_rec.reports._site_board import minus
from nasbench_rec.reports._site_content import SiteStudy
from nasbench_rec.reports._site_figures import SiteFigure, site_figure
from nasbench_rec.reports._site_names import slug
from nasbench_rec.reports._site_pages import Card, plural
from nasbench_rec.reports._site_render import Pages
from nasbench_rec.reports._site_table import Cell, Head, Line, SiteTable, Value
from nasbench_rec.reports._study_data import Pairs, StudyFrames
from nasbench_rec.reports._study_figures import figures_with
from nasbench_rec.reports._study_writers import READING
from nasbench_rec.reports._text import HEADING, one_line

from nasbench_rec.errors import NasbenchError

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
            cards.append(Card("", one_line(study.name), [(f"cannot be read: {one_line(error, 400)}", "bad")]))
            continue
        files |= _study_page(pages, study.name, frames, contour)
        trials = f"{plural(len(frames.complete), 'complete trial')} of {len(frames.trials):,}"
        cards.append(
            Card(
                study_path(study.name),
                one_line(frames.title),
                [(one_line(frames.question, 300), ""), (trials, "muted")],
            )
        )
    return cards, files


def _study_page(pages: Pages, name: str, frames: StudyFrames, contour: Pairs) -> dict[str, bytes]:
    path, stem = study_path(name), slug(name)
    drawn, lost = _figures(frames, contour, stem)
    ranked = frames.ranked()
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
        trials=_trials(frames, words.trial_rows(frames, ranked), "trials", "All complete trials"),
        ranges=_ranges(frames),
        savings=words.savings_words(frames),
        figures=drawn,
        not_drawn=lost,
        reading=READING,
    )
    files = {path: page, f"studies/{stem}-trials.csv": _writers.csv(frames.trials)}
    files[f"studies/{stem}-units.csv"] = _writers.csv(frames.units)
    return files | {f"studies/{file}": data for figure in drawn for file, data in figure.files.items()}


def _figures(frames: StudyFrames, contour: Pairs, stem: str) -> tuple[list[SiteFigure], list[str]]:
    """Return the figures that have anything to show, and the names of the others."""
    drawn, lost = [], []
    for name, kind in figures_with(contour).items():
        data = kind.frame(frames)
        if data.empty:
            lost.append(name)
            continue
        with style():
            figure = kind.draw(data, frames)
        title = f"{name}: {one_line(frames.title, HEADING)}"
        drawn.append(site_figure(figure, data, f"{stem}-{name}", title, kind.caption, paper=True))
    return drawn, lost


def _trials(frames: StudyFrames, rows: Sequence[words.TrialRow], name: str, caption: str) -> SiteTable:
    pairs = list(zip(words.trial_columns(frames), _getters(frames), strict=True))
    return _table(name, caption, pairs, rows)


def _getters(frames: StudyFrames) -> list[Getter]:
    """Return what each column of `trial_columns` is sorted by."""
    values = [_goal(i) for i in range(len(frames.goals))]
    params = [_param(str(dimension["name"])) for dimension in frames.space]
    rest: list[Getter] = [lambda row: row.seconds, lambda row: row.health or None]
    return [lambda row: row.number, values[0], lambda row: row.difference, *values[1:], *params, *rest]


def _goal(place: int) -> Getter:
    return lambda row: row.values[place]


def _param(name: str) -> Getter:
    def get(row: words.TrialRow) -> Value:
        value = row.params[name]
        return value if isinstance(value, int | float) or value is None else str(value)

    return get


def _ranges(frames: StudyFrames) -> SiteTable:
    columns = words.range_columns(frames)
    texts: list[Getter] = [_text(column) for column in columns[:3]]
    importances = [_importance(i) for i in range(len(columns) - 3)]
    pairs = list(zip(columns, [*texts, *importances], strict=True))
    return _table("ranges", "Parameters", pairs, words.range_rows(frames))


def _text(column: Column[Any]) -> Getter:
    return lambda row: column.text(row) or None


def _importance(place: int) -> Getter:
    return lambda row: row.importances[place]


def _table(
    name: str, caption: str, pairs: Sequence[tuple[Column[Any], Getter]], rows: Sequence[Any]
) -> SiteTable:
    """Return a table of those columns in which there is anything."""
    kept = [(c, get) for c, get in pairs if not c.importance or any(c.text(row) for row in rows)]
    heads = [Head(c.head, c.explanation, c.numeric) for c, _ in kept]
    lines = [
        Line([Cell(minus(c.text(row)) if c.numeric else c.text(row), value=get(row)) for c, get in kept])
        for row in rows
    ]
    return SiteTable(name, caption, heads, lines)
