"""The pages of records: one per row of the leaderboard, with every record behind it and how to run it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pandas as pd
from nasbench_rec.reports._columns import failure, shown
from nasbench_rec.reports._page import ERROR_LIMIT
from nasbench_rec.reports._rows import LeaderboardRow, rows_of
from nasbench_rec.reports._site_board import badges, budget_text
from nasbench_rec.reports._site_content import SiteContent
from nasbench_rec.reports._site_names import dataset_page, method_of, method_page, records_page, slug
from nasbench_rec.reports._site_records import SiteRecords
from nasbench_rec.reports._site_render import Pages
from nasbench_rec.reports._site_table import Cell, Head, Line, SiteTable, number
from nasbench_rec.reports._text import (
    HEADING,
    byte_size,
    clean,
    encoded,
    minus,
    one_line,
    score,
    seconds,
    three_digits,
)

Numbers = Mapping[str, tuple[str, Callable[[float], str]]]
NUMBERS: Numbers = {
    "test AUC": ("test_auc", lambda value: score(value, 6)),
    "logloss": ("test_logloss", lambda value: score(value, 6)),
    "valid AUC": ("valid_auc", lambda value: score(value, 6)),
    "expected AUC": ("expected_auc", lambda value: score(value, 6)),
    "embedding": ("embedding_bytes", byte_size),
    "ratio": ("embedding_ratio", three_digits),
    "total": ("total_bytes", byte_size),
    "search": ("search_seconds", seconds),
    "retrain": ("retrain_seconds", seconds),
    "peak memory": ("peak_rss_bytes", byte_size),
}
"""Head, field and text of each number of a record."""


def record_pages(
    pages: Pages, frame: pd.DataFrame, records: SiteRecords, content: SiteContent
) -> dict[str, bytes]:
    """Return a page per row of the leaderboard, and its records as JSON beside it."""
    units = {place: part for place, part in records.frame.groupby(["dataset", "backbone", "label"])}
    files: dict[str, bytes] = {}
    for row in rows_of(frame):
        part = units[row.dataset, row.backbone, row.label]
        path = records_page(row.dataset, row.backbone, row.label)
        excerpts = [records.excerpts[key] for key in part["key"]]
        texts = [json.dumps(excerpt, indent=1, ensure_ascii=False) for excerpt in excerpts]
        shown_units = [_unit(*both, content.store) for both in zip(excerpts, texts, strict=True)]
        files[path] = _page(pages, path, row, part, _facts(row, excerpts), shown_units)
        files[path.removesuffix("html") + "json"] = encoded("[\n{}\n]\n".format(",\n".join(texts)))
    return files


def _page(
    pages: Pages,
    path: str,
    row: LeaderboardRow,
    units: pd.DataFrame,
    facts: Sequence[tuple[str, str]],
    shown_units: Sequence[Mapping[str, str]],
) -> bytes:
    return pages.page(
        path,
        "records",
        "leaderboard",
        name=one_line(row.label, HEADING),
        backbone=one_line(row.backbone, HEADING),
        dataset=SimpleNamespace(text=one_line(row.dataset, HEADING), href=dataset_page(row.dataset)),
        method=SimpleNamespace(text=one_line(method_of(row.method), HEADING), href=method_page(row.method)),
        badges=badges(row),
        means=[(c.head, minus(c.value(row)), minus(c.detail(row))) for c in shown([row])[1:] if c.text(row)],
        lost=failure(row),
        facts=facts,
        table=_table(row, units),
        stem=path.rpartition("/")[2].removesuffix(".html"),
        units=shown_units,
    )


def _facts(row: LeaderboardRow, excerpts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return how the units of a row were run; where they differ, each way once."""
    every = [_run(excerpt) for excerpt in excerpts]
    facts = [("plan budget", budget_text(row))]
    for name in every[0]:
        texts = dict.fromkeys(one_line(facts_of[name], 1000) for facts_of in every if facts_of[name])
        facts.append((name, "; or ".join(texts)))
    return [(name, text) for name, text in facts if text]


def _run(excerpt: Mapping[str, Any]) -> dict[str, str]:
    """Return how one unit was run; empty texts where that is not known."""
    unit, environment = excerpt.get("unit") or {}, excerpt.get("environment") or {}
    return {
        "settings": _pairs((unit.get("method") or {}).get("config")),
        "protocol": _pairs(unit.get("protocol")),
        "data fingerprint": str(excerpt.get("fingerprint") or "")[:16],
        "software": _pairs(environment.get("packages")),
        "commit": str(environment.get("commit") or ""),
        "machine": _machine(environment),
    }


def _machine(environment: Mapping[str, Any]) -> str:
    cores = f"{environment['cores']} cores" if environment.get("cores") else ""
    return ", ".join(text for text in (str(environment.get("processor") or ""), cores) if text)


def _pairs(values: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (values or {}).items())


def _table(row: LeaderboardRow, units: pd.DataFrame) -> SiteTable:
    numbers = known_numbers(units)
    heads = [Head("seed"), Head("split"), *map(Head, numbers)]
    heads += [Head("error", numeric=False)] if row.failed else []
    lines = [_line(unit, numbers, bool(row.failed)) for unit in units.to_dict("records")]
    return SiteTable("units", f"Each seed of {one_line(row.label, 80)}", heads, lines)


def _line(unit: Mapping[Any, Any], numbers: Numbers, failed: bool) -> Line:
    href = f"#{anchor(unit['key'])}"
    cells = [Cell(f"{unit[name]:.0f}", value=number(unit[name])) for name in ("seed", "split_seed")]
    cells += number_cells(unit, numbers, href)
    if failed:
        error = "" if unit["status"] == "ok" else one_line(unit["error"]) or "no reason was recorded"
        cells.append(Cell(error, value=error or None, look="bad", href=href if error else ""))
    return Line(cells, look="" if unit["status"] == "ok" else "lost")


def known_numbers(units: pd.DataFrame) -> Numbers:
    """Return those of `NUMBERS` that any of these records has; they are rows as `Store.frame()` has them."""
    return {head: (name, text) for head, (name, text) in NUMBERS.items() if units[name].notna().any()}


def number_cells(unit: Mapping[Any, Any], numbers: Numbers, href: str) -> list[Cell]:
    """Return the cells of one record, which stands at `href`."""
    found = [(text(unit[name]), number(unit[name])) for name, text in numbers.values()]
    return [Cell(text, value=value, href=href if text else "") for text, value in found]


def anchor(key: str) -> str:
    """Return the id of a record inside its page: its key where that can be one."""
    return f"r-{key}" if key.isascii() and key.isalnum() else slug("r", key)


def _unit(excerpt: Mapping[str, Any], text: str, store: str) -> dict[str, str]:
    """Return what the page shows of one record; `text`: the record as JSON."""
    seeds = (excerpt.get("unit") or {}).get("seeds") or {}
    title = f"seed {seeds.get('init', '?')}, split {seeds.get('split', '?')}"
    lost = excerpt.get("status") != "ok"
    key = str(excerpt["key"])
    return {
        "title": f"{title}{': failed' if lost else ''}",
        "key": one_line(key, 80),
        "anchor": anchor(key),
        "command": f"nasbench-rec verify {shlex.quote(clean(key))} --store {shlex.quote(clean(store))}",
        "error": str(excerpt.get("error") or "")[:ERROR_LIMIT] if lost else "",
        "text": text,
    }
