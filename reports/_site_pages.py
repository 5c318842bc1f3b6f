"""The pages of a site that show leaderboard rows: the first one, one per data set, one per method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nasbench_rec.reports import figures
from nasbench_rec.reports._columns import (
    BELOW_RANDOM,
    COLUMNS,
    FIGURE_CAPTION,
    FIGURE_READING,
    READING,
    failures,
    not_above_random,
)
from nasbench_rec.reports._rows import LeaderboardRow, grouped_rows, rows_of
from nasbench_rec.reports._site_board import LEGEND, board, budget_text
from nasbench_rec.reports._site_columns import side_of_zero
from nasbench_rec.reports._site_content import About, SiteContent
from nasbench_rec.reports._site_figures import (
    CAPTION,
    MOST,
    SiteFigure,
    differences_frame,
    draw_differences,
    more_figures,
    site_figure,
)
from nasbench_rec.reports._site_names import dataset_page, method_of, method_page, slug
from nasbench_rec.reports._site_render import Pages, root_of
from nasbench_rec.reports._site_table import Cell, Head, Line, SiteTable
from nasbench_rec.reports._text import HEADING, clean, one_line, score, storable
from nasbench_rec.reports.comparison import Evidence

NAME = 80
"""Characters of a name in a card or an option."""
READ = (
    "A row is one method at one plan budget on one data set with one backbone; means are over the seeds that "
    "succeeded. In each place the uniform model comes first, then the others by mean test AUC. A number leads to its "
    "records."
)
POOLED = (
    "A data set with seed=* in its name stands for data sets that differ in their seed alone, each run with one seed "
    "of its own: the data's seed is part of the pair."
)
_, FAILED, _, TIMES = READING
"""The order of rows and the marks are told otherwise here: by `READ` and `LEGEND`."""
Files = dict[str, bytes]


@dataclass(frozen=True)
class Card:
    """A card of the first page: where it leads, what it is, and lines with their looks."""

    href: str
    title: str
    texts: Sequence[tuple[str, str]]


def lost_card(name: str, why: object) -> Card:
    """Return the card of what has no page, as it cannot be read: `why` says so."""
    return Card("", one_line(name), [(one_line(why, 400), "bad")])


def index_page(
    pages: Pages,
    frame: pd.DataFrame,
    content: SiteContent,
    cards: Mapping[str, Sequence[Card]],
    across: Sequence[SiteFigure],
    replaced: Sequence[tuple[str, str, str]],
    downloads: Sequence[tuple[str, str]],
) -> bytes:
    """Return the first page: the leaderboard, and what leads to all others.

    `cards` are those of each further part of the site, by its title.
    """
    rows = rows_of(frame)
    return pages.page(
        "index.html",
        "index",
        "leaderboard",
        lead=_lead(rows),
        reading=READ,
        legend=LEGEND,
        filters=list(_filters(rows)),
        table=board(rows, "board", "Leaderboard"),
        datasets=[_dataset_card(name, part) for name, part in _by(rows, "dataset")],
        methods=_methods_table(rows, content.methods),
        across=across,
        cards=cards,
        downloads=downloads,
        sentences=(
            FAILED,
            TIMES,
            *([POOLED] if any("seed=*" in r.dataset for r in rows) else []),
            FIGURE_READING,
        ),
        columns=COLUMNS,
        replaced=replaced,
    )


def _lead(rows: Sequence[LeaderboardRow]) -> str:
    counts = [len({getattr(row, name) for row in rows}) for name in ("dataset", "backbone")]
    methods = len({method_of(row.method) for row in rows})
    lost = sum(row.failed for row in rows)
    units = sum(row.n for row in rows)
    return (
        f"{plural(methods, 'method')} on {plural(counts[0], 'data set')} with "
        f"{plural(counts[1], 'backbone')}: {plural(units, 'unit')} succeeded, {lost:,} failed."
    )


def plural(count: int, noun: str) -> str:
    """Return `1 unit`, `2,000 units`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _filters(rows: Sequence[LeaderboardRow]) -> Iterator[tuple[str, int, list[tuple[str, str]]]]:
    """Iterate over the filters: name, the facet that it looks at, what may be chosen."""
    for place, name in enumerate(("dataset", "backbone")):
        names = sorted({getattr(row, name) for row in rows})
        yield ("Data set", "Backbone")[place], place, [(clean(n), one_line(n, NAME)) for n in names]
    budgets = {budget_text(row): row.ratio for row in rows}
    order = sorted(budgets, key=lambda text: (budgets[text] != budgets[text], -budgets[text]))
    yield "Budget", 2, [(text, text) for text in order]


def _by(rows: Sequence[LeaderboardRow], name: str) -> list[tuple[str, list[LeaderboardRow]]]:
    names = sorted({str(getattr(row, name)) for row in rows})
    return [(value, [row for row in rows if getattr(row, name) == value]) for value in names]


def _dataset_card(name: str, rows: Sequence[LeaderboardRow]) -> Card:
    texts = [
        (f"{one_line(backbone, NAME)}: {lead_words(part)}", "") for backbone, part in _by(rows, "backbone")
    ]
    return Card(dataset_page(name), one_line(name, NAME), texts)


def lead_words(rows: Sequence[LeaderboardRow]) -> str:
    """Say which row of one data set and backbone is ahead of all others, where that is more than seed noise."""
    ahead = next((row for row in rows if row.best), None)
    if ahead is not None:
        return f"{one_line(ahead.label, NAME)} is ahead by more than seed noise, test AUC {score(ahead.test_auc)}"
    return "no row is ahead of the second by more than seed noise"


def _methods_table(rows: Sequence[LeaderboardRow], known: Mapping[str, About]) -> SiteTable:
    heads = [
        Head("method", numeric=False),
        Head("title", numeric=False),
        Head("rows", "rows of the leaderboard: data set, backbone, budget"),
        Head("units", "units that succeeded", descending=True),
        Head("failed", "units that failed", descending=True),
        Head(
            "above uniform",
            "rows whose paired interval to the uniform model lies above zero",
            descending=True,
        ),
        Head(
            "below uniform",
            "rows whose paired interval to the uniform model lies below zero",
            descending=True,
        ),
    ]
    lines = [_method_line(name, own, known.get(name, About())) for name, own in _by_method(rows).items()]
    return SiteTable("methods-board", "Methods", heads, lines)


def _by_method(rows: Sequence[LeaderboardRow]) -> dict[str, list[LeaderboardRow]]:
    """Return the rows of each method, whatever its preset, by its name."""
    groups: dict[str, list[LeaderboardRow]] = {}
    for row in rows:
        groups.setdefault(method_of(row.method), []).append(row)
    return dict(sorted(groups.items()))


def _method_line(name: str, rows: Sequence[LeaderboardRow], about: About) -> Line:
    sides = [side_of_zero(row, "auc_difference") for row in rows]
    failed = sum(row.failed for row in rows)
    cells = [
        Cell(one_line(name, NAME), value=name, href=method_page(name)),
        Cell(one_line(about.title, NAME), value=about.title or None),
        _count(len(rows)),
        _count(sum(row.n for row in rows)),
        _count(failed, "bad" if failed else ""),
        _count(sides.count(1)),
        _count(sides.count(-1)),
    ]
    return Line(cells)


def _count(count: int, look: str = "") -> Cell:
    return Cell(f"{count:,}", value=count, look=look)


def dataset_pages(
    pages: Pages, frame: pd.DataFrame, points: pd.DataFrame, evidence: Evidence, content: SiteContent
) -> Files:
    """Return a page per data set, with the figures of each backbone and their files."""
    files: Files = {}
    names = _registered(evidence)
    for name, rows in _by(rows_of(frame), "dataset"):
        path = dataset_page(name)
        parts = [_part(path, part, points, evidence, content) for part in _by_backbone(frame, name)]
        about = content.datasets.get(names[name], About())
        drawn = [figure for part in parts for figure in (part["figure"], *part["more"])]
        files |= {f"datasets/{file}": data for figure in drawn for file, data in figure.files.items()}
        files[path] = pages.page(
            path,
            "dataset",
            "datasets",
            name=one_line(name, HEADING),
            about=about,
            facts=[
                *about.facts,
                ("rows of the leaderboard", f"{len(rows):,}"),
                ("units", _unit_words(rows)),
            ],
            parts_of=parts,
            below_random=BELOW_RANDOM,
        )
    return files


def _unit_words(rows: Sequence[LeaderboardRow]) -> str:
    return f"{sum(row.n for row in rows):,} succeeded, {sum(row.failed for row in rows):,} failed"


def _registered(evidence: Evidence) -> dict[str, str]:
    """Return the name under which each data set is known, by what it is called in tables.

    A user's own table may be called as a known data set is, and settings are part of what one is called.
    """
    known = {storable(str(r["key"])): (r["unit"].get("data") or {}).get("name") for r in evidence.records}
    places = evidence.frame.drop_duplicates("dataset")
    return {str(name): str(known[key]) for name, key in zip(places["dataset"], places["key"], strict=True)}


def _by_backbone(frame: pd.DataFrame, dataset: str) -> list[list[LeaderboardRow]]:
    return [rows for _, _, rows in grouped_rows(frame[frame["dataset"] == dataset])]


def _part(
    path: str,
    rows: Sequence[LeaderboardRow],
    points: pd.DataFrame,
    evidence: Evidence,
    content: SiteContent,
) -> dict[str, Any]:
    """Return what a data set's page shows of the rows of one backbone."""
    dataset, backbone = rows[0].dataset, rows[0].backbone
    name = f"{one_line(dataset, NAME)}, {one_line(backbone, NAME)}"
    own = points[(points["dataset"] == dataset) & (points["backbone"] == backbone)]
    return {
        "backbone": one_line(backbone, HEADING),
        "words": f"{plural(len(rows), 'row')}; {lead_words(rows)}.",
        "table": board(rows, slug("board", backbone), f"Leaderboard of {name}", root_of(path), places=False),
        "failures": failures(rows),
        "below": not_above_random(rows, content.explanations),
        "figure": site_figure(
            figures.draw_auc_over_bytes(own, columns=1),
            own,
            slug("auc-over-bytes", dataset, backbone),
            f"Test AUC over embedding bytes: {name}",
            FIGURE_CAPTION,
        ),
        "more": more_figures(
            evidence.where(dataset=dataset, backbone=backbone), content.figures, name, dataset, backbone
        ),
    }


def method_pages(pages: Pages, frame: pd.DataFrame, content: SiteContent) -> Files:
    """Return a page per method, with its differences to the uniform model as a figure."""
    files: Files = {}
    for name, rows in _by_method(rows_of(frame)).items():
        files |= _method_page(pages, name, rows, content.methods.get(name, About()))
    return files


def _method_page(pages: Pages, name: str, rows: Sequence[LeaderboardRow], about: About) -> Files:
    path, figure = method_page(name), _method_figure(name, rows)
    page = pages.page(
        path,
        "method",
        "methods",
        name=one_line(name, HEADING),
        about=about,
        facts=about.facts,
        words=f"{plural(len(rows), 'row')} of the leaderboard; units: {_unit_words(rows)}.",
        table=board(rows, "board", f"Results of {one_line(name, NAME)}", root_of(path)),
        failures=failures(rows),
        figure=figure,
    )
    return {path: page} | {f"methods/{file}": data for file, data in (figure.files if figure else {}).items()}


def _method_figure(name: str, rows: Sequence[LeaderboardRow]) -> SiteFigure | None:
    data = differences_frame(rows)
    figure = draw_differences(data)
    if figure is None:
        return None
    title = f"Difference to the uniform model: {one_line(name, NAME)}"
    rest = f" Drawn are the first {MOST} of {len(data)} rows; the data have all." if len(data) > MOST else ""
    return site_figure(figure, data, slug("differences", name), title, CAPTION + rest)
