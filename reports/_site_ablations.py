"""The page of an ablation: its variants, its bars, its figures, and every unit that a number is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from nasbench_rec.reports import _writers
from nasbench_rec.reports._ablation_columns import BAR_COLUMNS, columns, name_of, trouble
from nasbench_rec.reports._ablation_figures import figure_of
from nasbench_rec.reports._ablation_health import Finding, findings
from nasbench_rec.reports._ablation_plan import AblationPlan, StoredPlan
from nasbench_rec.reports._ablation_rows import AblationRow, BarRow, ablation_rows, bar_rows, frame_of
from nasbench_rec.reports._ablation_units import BASE, NOT_RUN, Records
from nasbench_rec.reports._ablation_writers import sections
from nasbench_rec.reports._printed import Column
from nasbench_rec.reports._site_ablation_units import Place, first_units, units_frame, units_table
from nasbench_rec.reports._site_columns import TONES, SiteColumn, shown, tone
from nasbench_rec.reports._site_figures import Drawing, drawn
from nasbench_rec.reports._site_names import slug
from nasbench_rec.reports._site_pages import Card, lost_card, plural
from nasbench_rec.reports._site_render import Pages
from nasbench_rec.reports._site_table import Line, SiteTable, Value, line_to
from nasbench_rec.reports._text import HEADING, one_line

from nasbench_rec.errors import NasbenchError

VALUES = {
    "variant": "variant",
    "seeds": "n",
    "expected AUC": "expected_auc",
    "test AUC": "test_auc",
    "logloss": "logloss",
    "AUC − default": "vs_default",
    "adjusted Rand": "adjusted_rand",
    "Hamming": "hamming",
    "near 0/1": "near",
    "health": "health",
    "embedding": "embedding_bytes",
    "without router": "bytes_without_router",
    "latency": "latency_seconds",
    "without routing": "latency_without_router_seconds",
}
"""What each printed column of variants is sorted by; the one that is not here is the difference to the reference."""
REFERENCE = "vs_reference"
DIFFERENCES = ("vs_default", REFERENCE)
HIGHER = ("n", "expected_auc", "test_auc", "adjusted_rand", *DIFFERENCES)
"""Of which the first click shows the highest first."""
BAR_VALUES = {"holds in": "hold", "mean": "mean"}
"""What a printed column of bars is sorted by; one that is not here is sorted as text."""


def ablation_path(name: str) -> str:
    """Return the path of an ablation's page below the site."""
    return f"ablations/{slug(name)}.html"


def ablation_pages(
    pages: Pages, plans: Sequence[StoredPlan], records: Records, links: Mapping[str, str]
) -> tuple[list[Card], dict[str, bytes]]:
    """Return a card and a page per ablation; one that cannot be read has a card that says why.

    `records`: in full, by key; `links`: where each stands on the site, by its key.
    """
    cards: list[Card] = []
    files: dict[str, bytes] = {}
    for stored in plans:
        if stored.plan is None:
            cards.append(lost_card(stored.name, stored.trouble))
            continue
        try:
            found = _Found(stored.name, stored.plan, records)
            files |= _page(pages, found, links)
        except NasbenchError as error:
            cards.append(lost_card(stored.name, error))
            continue
        cards.append(found.card)
    return cards, files


@dataclass(frozen=True, eq=False)
class _Found:
    """An ablation with its records: the rows of its tables."""

    name: str
    plan: AblationPlan
    records: Records

    @cached_property
    def frame(self) -> pd.DataFrame:
        return self.plan.frame

    @cached_property
    def rows(self) -> list[AblationRow]:
        return ablation_rows(self.frame, self.records, self.plan.reference)

    @cached_property
    def bars(self) -> list[BarRow]:
        return bar_rows(self.frame, self.records, self.plan.bars)

    @cached_property
    def units(self) -> pd.DataFrame:
        return units_frame(self.frame, self.records)

    @cached_property
    def anchors(self) -> dict[Place, str]:
        return first_units(self.units)

    @property
    def title(self) -> str:
        return one_line(self.plan.title)

    @property
    def words(self) -> str:
        """How many units ran."""
        own = self.units[~self.units["chosen"]]
        counts = own["status"].value_counts()
        said = {"ok": "succeeded", "failed": "failed", NOT_RUN: "not run"}
        parts = [f"{counts[status]:,} {word}" for status, word in said.items() if status in counts]
        variants = plural(own["variant"].nunique(), "variant")
        return f"{variants}, {plural(len(own), 'unit')}: {', '.join(parts)}."

    @property
    def met(self) -> str:
        """How many bars are met; empty without bars."""
        met = sum(bar.met for bar in self.bars)
        return f"{met} of {plural(len(self.bars), 'bar')} met." if self.bars else ""

    @property
    def card(self) -> Card:
        texts = [(one_line(self.plan.question, 300), ""), (" ".join([self.words, self.met]).strip(), "muted")]
        return Card(ablation_path(self.name), self.title, texts)


def _page(pages: Pages, found: _Found, links: Mapping[str, str]) -> dict[str, bytes]:
    path, stem, plan = ablation_path(found.name), slug(found.name), found.plan
    figures, empty = drawn(_drawings(found), stem, one_line(plan.title, HEADING))
    page = pages.page(
        path,
        "ablation",
        "ablations",
        name=one_line(found.name),
        stem=stem,
        title=found.title,
        question=one_line(plan.question, 1000),
        words=found.words,
        facts=_facts(plan),
        parts_of=list(_parts(found)),
        legend=TONES,
        met=found.met,
        bars=list(_bars(found)),
        health=list(_health(found)),
        figures=figures,
        not_drawn=empty,
        units=units_table(found.units, links),
        columns=[c.column for c in shown(_columns(plan.reference), found.rows)],
    )
    files = {
        path: page,
        f"ablations/{stem}-variants.csv": _writers.csv(frame_of(found.rows, AblationRow)),
        f"ablations/{stem}-units.csv": _writers.csv(found.units),
    }
    if found.bars:
        bars = frame_of(found.bars, BarRow).explode(["seeds", "values"], ignore_index=True)
        files[f"ablations/{stem}-bars.csv"] = _writers.csv(bars)
    return files | {f"ablations/{file}": data for figure in figures for file, data in figure.files.items()}


def _drawings(found: _Found) -> Iterator[Drawing]:
    for name in found.plan.figures:
        kind = figure_of(name)
        yield Drawing(name, kind.frame(found.frame, found.records), kind.draw, kind.caption)


def _facts(plan: AblationPlan) -> list[tuple[str, str]]:
    facts = []
    for name, field in (("data sets", "dataset"), ("backbones", "backbone"), ("seeds", "seed")):
        texts = dict.fromkeys(str(getattr(unit, field)) for unit in plan.units)
        facts.append((name, one_line(", ".join(texts), HEADING)))
    return [*facts, ("compared with", one_line(plan.reference or BASE))]


def _columns(reference: str) -> list[SiteColumn]:
    """Return the columns of variants, with what each is sorted by."""
    names = [(column, VALUES.get(column.head, REFERENCE)) for column in columns(reference)]
    return [SiteColumn(column, _value(name), name in HIGHER) for column, name in names]


def _value(name: str) -> Callable[[AblationRow], Value]:
    return lambda row: None if getattr(row, name) == "" else getattr(row, name)


def _parts(found: _Found) -> Iterator[dict[str, Any]]:
    """Iterate over data set and backbone: their table of variants, and what did not run."""
    for i, (where, rows) in enumerate(sections(found.rows), 1):
        kept = shown(_columns(found.plan.reference), rows)
        lines = [_line(row, kept, found.anchors) for row in rows]
        heads = [column.head for column in kept]
        yield {
            "where": where,
            "table": SiteTable(f"variants-{i}", f"Variants on {where}", heads, lines),
            "lost": [(name_of(row), trouble(row)) for row in rows if trouble(row)],
        }


def _line(row: AblationRow, kept: Sequence[SiteColumn], anchors: Mapping[Place, str]) -> Line:
    href = f"#{anchors[row.dataset, row.backbone, row.variant, row.chosen]}"
    leads = [href if column.column.numeric or i == 0 else "" for i, column in enumerate(kept)]
    cells = [column.cell(row, lead, _look(row, column)) for column, lead in zip(kept, leads, strict=True)]
    look = "reference" if row.variant == BASE and not row.chosen else "" if row.n else "lost"
    return line_to(cells, look)


def _look(row: AblationRow, column: SiteColumn) -> str:
    name = VALUES.get(column.column.head, REFERENCE)
    if name == "n" and row.failed:
        return "bad"
    return tone(row, name) if name in DIFFERENCES else ""


def _bars(found: _Found) -> Iterator[dict[str, Any]]:
    """Iterate over data set and backbone: the table of their bars."""
    for i, (where, bars) in enumerate(sections(found.bars), 1):
        kept = shown([SiteColumn(column, _bar_value(column)) for column in BAR_COLUMNS], bars)
        lines = [_bar_line(bar, kept, found.anchors) for bar in bars]
        heads = [column.head for column in kept]
        yield {"where": where, "table": SiteTable(f"bars-{i}", f"Bars on {where}", heads, lines)}


def _bar_value(column: Column[BarRow]) -> Callable[[BarRow], Value]:
    name = BAR_VALUES.get(column.head, "")
    return lambda bar: getattr(bar, name) if name else column.text(bar) or None


def _bar_line(bar: BarRow, kept: Sequence[SiteColumn], anchors: Mapping[Place, str]) -> Line:
    place = (bar.dataset, bar.backbone, bar.variant)
    unit = anchors.get((*place, True)) or anchors.get((*place, False))
    href = f"#{unit}" if unit else ""
    cells = [
        column.cell(bar, href if column.column.numeric else "", _bar_look(bar, column)) for column in kept
    ]
    return line_to(cells)


def _bar_look(bar: BarRow, column: SiteColumn) -> str:
    return ("good" if bar.met else "bad") if column.column.head == "met" else ""


def _health(found: _Found) -> Iterator[tuple[str, list[Finding]]]:
    """Iterate over variants with what their units show of a search that failed."""
    several = len(list(sections(found.rows))) > 1
    groups: dict[str, list[Finding]] = {}
    for finding in findings(found.frame, found.records):
        groups.setdefault(finding.title(several), []).append(finding)
    yield from groups.items()
