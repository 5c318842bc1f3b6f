"""Leaderboard rows as tables of the site."""

from __future__ import annotations

from collections.abc import Sequence

from nasbench_rec.reports._columns import COLUMNS, Column, shown
from nasbench_rec.reports._rows import LeaderboardRow
from nasbench_rec.reports._site_columns import TONES, tone
from nasbench_rec.reports._site_names import dataset_page, method_page, records_page
from nasbench_rec.reports._site_table import Cell, Head, Line, SiteTable, number
from nasbench_rec.reports._text import clean, minus, one_line

VALUES = {
    "seeds": "n",
    "test AUC": "test_auc",
    "AUC − uniform": "auc_difference",
    "AUC − random": "random_difference",
    "width corr.": "width_correlation",
    "useless found": "useless_recall",
    "logloss": "test_logloss",
    "logloss − uniform": "logloss_difference",
    "expected AUC": "expected_auc",
    "embedding": "embedding_bytes",
    "ratio": "embedding_ratio",
    "router": "router_bytes",
    "total": "total_bytes",
    "search": "search_seconds",
    "retrain": "retrain_seconds",
}
"""What each printed column is sorted by; one that is not here is sorted as text."""
HIGHER = (
    "seeds",
    "test AUC",
    "AUC − uniform",
    "AUC − random",
    "width corr.",
    "useless found",
    "expected AUC",
)
"""Columns of which the first click shows the highest first."""
DIFFERENCES = ("auc_difference", "random_difference")
"""What is coloured where its interval excludes zero."""
LEGEND = (
    "best: the highest mean test AUC of its data set and backbone, only where the paired interval against the second "
    f"excludes zero. {TONES}"
)
LABEL, PLACE = 80, 60
NO_BUDGET = "none"
"""The plan budget of a method that lands where it lands."""


def board(
    rows: Sequence[LeaderboardRow], name: str, caption: str, root: str = "", places: bool = True
) -> SiteTable:
    """Return these rows as a table; `root` leads from its page to the site's, `places`: with data set, backbone."""
    columns = shown(rows)[1:]
    heads = [Head("method", COLUMNS[0].explanation, numeric=False)]
    heads += [Head(text, numeric=False, wide=True) for text in ("data set", "backbone") if places]
    heads += [Head("budget", "the plan budget asked for, as a share of the uniform model's embedding bytes")]
    heads += [Head(c.head, c.explanation, c.numeric, c.head in HIGHER) for c in columns]
    lines = [_line(row, columns, root, places) for row in rows]
    return SiteTable(name, caption, heads, lines)


def _line(row: LeaderboardRow, columns: Sequence[Column], root: str, places: bool) -> Line:
    records = root + records_page(row.dataset, row.backbone, row.label)
    place = f"{one_line(row.dataset, PLACE)}, {one_line(row.backbone, PLACE)}" if places else ""
    first = [Cell(one_line(row.label, LABEL), place, row.label, root + method_page(row.method))]
    first += _places(row, root) if places else []
    first += [Cell(budget_text(row), value=number(row.ratio))]
    cells = [_cell(row, column, records) for column in columns]
    heads = [column.head for column in columns]
    return Line(
        [*first, *cells],
        look="reference" if row.uniform else "" if row.n else "lost",
        badges=badges(row),
        facets=[clean(t) for t in (row.dataset, row.backbone, budget_text(row), f"{row.label} {row.method}")],
        tab=len(first) + heads.index("test AUC"),
    )


def badges(row: LeaderboardRow) -> list[tuple[str, str]]:
    """Return the marks of a row: the uniform model, and a lead that is more than seed noise."""
    return [
        (look, text) for look, text, on in (("", "uniform", row.uniform), ("best", "best", row.best)) if on
    ]


def budget_text(row: LeaderboardRow) -> str:
    """Return the plan budget as labels write it: `1/10`, or the share itself."""
    if row.ratio != row.ratio:
        return NO_BUDGET
    inverse = round(1 / row.ratio) if row.ratio else 0
    exact = inverse > 1 and abs(1 / inverse - row.ratio) < 1e-9
    return f"1/{inverse}" if exact else f"{row.ratio:g}"


def _places(row: LeaderboardRow, root: str) -> list[Cell]:
    return [
        Cell(one_line(row.dataset, PLACE), value=row.dataset, href=root + dataset_page(row.dataset)),
        Cell(one_line(row.backbone, PLACE), value=row.backbone),
    ]


def _cell(row: LeaderboardRow, column: Column, records: str) -> Cell:
    text, detail = minus(column.value(row)), minus(column.detail(row))
    if column.head == "test AUC" and not row.n:
        return Cell("failed", one_line(row.reason, PLACE), None, records, "bad why")
    name = VALUES.get(column.head, "")
    look = "bad" if name == "n" and row.failed else tone(row, name) if name in DIFFERENCES else ""
    return Cell(text, detail, _sorted_by(row, column, text), records if text or detail else "", look)


def _sorted_by(row: LeaderboardRow, column: Column, text: str) -> float | str | None:
    if column.head not in VALUES:
        return text or None
    return number(getattr(row, VALUES[column.head]))
