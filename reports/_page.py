"""The leaderboard as one self-contained HTML page. The template escapes all text but our own SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pandas as pd
from nasbench_rec.reports._columns import (
    BELOW_RANDOM,
    COLUMNS,
    FIGURE_CAPTION,
    FIGURE_READING,
    READING,
    Column,
    failure,
    not_above_random,
    shown,
)
from nasbench_rec.reports._records import groups
from nasbench_rec.reports._rows import LeaderboardRow, grouped_rows
from nasbench_rec.reports._text import HEADING, byte_size, clean, encoded, minus, one_line, score, seconds

ERROR_LIMIT = 4_000
"""Characters of an error that the page shows."""


def html(
    frame: pd.DataFrame,
    records: pd.DataFrame,
    figures: Mapping[tuple[str, str], str],
    title: str,
    explanations: Mapping[str, str] | None = None,
) -> bytes:
    """Return one self-contained page; `explanations` by label or method stand beside what is not above random.

    `figures` holds trusted SVG by (data set, backbone), `records` (prepared) the units behind each row.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    source = resources.files("nasbench_rec.reports").joinpath("leaderboard.html.jinja").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    units = {(dataset, backbone): group for dataset, backbone, group in groups(records)}
    sections = [
        _section(
            (dataset, backbone),
            rows,
            units[dataset, backbone],
            Markup(figures[dataset, backbone]),
            not_above_random(rows, explanations or {}),
        )
        for dataset, backbone, rows in grouped_rows(frame)
    ]
    page = environment.from_string(source).render(
        title=clean(title),
        sections=sections,
        columns=COLUMNS,
        reading=(*READING, FIGURE_READING),
        figure_caption=FIGURE_CAPTION,
        below_random=BELOW_RANDOM,
    )
    return encoded(page + "\n")


@dataclass(frozen=True)
class _PageRow:
    """A row as the page shows it: texts (value, detail) per column, and the units behind it."""

    label: str
    uniform: bool
    best: bool
    cells: list[tuple[str, str]]
    failure: str
    lost: bool
    units: list[dict[str, str]]


@dataclass(frozen=True)
class _Section:
    """One data set and backbone of the page."""

    dataset: str
    backbone: str
    columns: list[Column]
    rows: list[_PageRow]
    figure: str
    below: Sequence[tuple[str, str]]
    """What is not above random widths, and why."""


def _section(
    name: tuple[str, str],
    rows: Sequence[LeaderboardRow],
    units: pd.DataFrame,
    figure: str,
    below: Sequence[tuple[str, str]],
) -> _Section:
    columns = shown(rows)[1:]
    page_rows = [
        _PageRow(
            label=one_line(row.label, 60),
            uniform=row.uniform,
            best=row.best,
            cells=[(minus(c.value(row)), minus(c.detail(row))) for c in columns],
            failure=failure(row),
            lost=not row.n,
            units=_units(units[units["label"] == row.label]),
        )
        for row in rows
    ]
    dataset, backbone = (one_line(text, HEADING) for text in name)
    return _Section(dataset, backbone, columns, page_rows, figure, [(n, minus(what)) for n, what in below])


def _units(records: pd.DataFrame) -> list[dict[str, str]]:
    """Return the texts of each unit of one row, without what no unit of it knows."""
    units = [_unit({str(k): v for k, v in record.items()}) for record in records.to_dict("records")]
    known = [name for name in units[0] if name == "error" or any(unit[name] for unit in units)]
    return [{name: unit[name] for name in known} for unit in units]


def _unit(record: dict[str, Any]) -> dict[str, str]:
    good = record["status"] == "ok"
    texts = {
        "seed": f"{record['seed']:.0f}",
        "split seed": f"{record['split_seed']:.0f}",
        "test AUC": score(record["test_auc"], 6),
        "logloss": score(record["test_logloss"], 6),
        "valid AUC": score(record["valid_auc"], 6),
        "expected AUC": score(record["expected_auc"], 6),
        "embedding": byte_size(record["embedding_bytes"]),
        "search": seconds(record["search_seconds"]),
        "retrain": seconds(record["retrain_seconds"]),
    }
    return texts | {
        "error": "" if good else clean(record["error"], keep="\n\t")[:ERROR_LIMIT] or "no reason was recorded"
    }
