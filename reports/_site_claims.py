"""The page of a claim set: every verdict with its evidence, down to the records of each pair of seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nasbench_rec.reports import _writers, claims
from nasbench_rec.reports._claims_columns import CLAIM_COLUMNS, COMPARISON_COLUMNS, READING, amount
from nasbench_rec.reports._claims_rows import (
    ClaimRow,
    ComparisonRow,
    Found,
    claim_rows,
    comparison_rows,
    number,
    said,
    seed_rows,
)
from nasbench_rec.reports._claims_writers import provenance, summary
from nasbench_rec.reports._printed import Column
from nasbench_rec.reports._site_columns import SiteColumn, shown
from nasbench_rec.reports._site_figures import Drawing, drawn
from nasbench_rec.reports._site_names import slug
from nasbench_rec.reports._site_pages import Card, lost_card
from nasbench_rec.reports._site_render import Pages
from nasbench_rec.reports._site_table import Cell, Head, Line, SiteTable, Value, line_to
from nasbench_rec.reports._site_table import number as known
from nasbench_rec.reports._text import HEADING, encoded, minus, one_line

from nasbench_rec.errors import DataError

LOOKS = {"supported": "good", "refuted": "bad", "inconclusive": "unsure"}
"""The look of each verdict; others are plain."""
VALUES = {
    "seeds": "seeds",
    "method": "method_mean",
    "other": "other_mean",
    "difference": "mean",
    "interval": "low",
    "p": "p",
    "p, Holm": "p_corrected",
    "p, smallest": "p_smallest_corrected",
    "pairs": "n",
    "detectable": "minimum_detectable",
    "claimed": "claimed",
    "seeds needed": "seeds_needed",
    "over rows": "row_low",
}
"""What a printed column is sorted by; one that is not here is sorted as text."""

WHERE = COMPARISON_COLUMNS[0].text
"""Data set, backbone and budget of a comparison, as printed."""


def _over_rows(row: ComparisonRow) -> str:
    low, high = amount(row.row_low, True), amount(row.row_high, True)
    return f"[{low}, {high}]" if low and high else ""


COMPARED: list[Column[ComparisonRow]] = [
    *COMPARISON_COLUMNS,
    Column(
        "over rows",
        "95 % interval of the difference in test AUC over other test rows alone (DeLong), where all seeds share them; "
        "one that holds zero says that other rows might not show the difference",
        1,
        _over_rows,
    ),
    Column("why", "what decided", 1, lambda row: one_line(row.reason, 200), numeric=False),
]
"""The columns of a comparison."""


@dataclass(frozen=True, eq=False)
class StoredClaims:
    """A claim set that was checked in a store."""

    name: str
    found: Found | None
    """The content of its `verdicts.json`; None where that cannot be read."""
    trouble: str = ""
    """Why it cannot be read."""


def stored_claims(folder: Path) -> list[StoredClaims]:
    """Return the claim sets below a store's folder `claims` that have verdicts, by name."""
    return [_stored(path) for path in sorted(folder.glob("*/verdicts.json"))]


def _stored(path: Path) -> StoredClaims:
    try:
        found = claims.read_verdicts(path)
        _check(found)
    except DataError as error:
        return StoredClaims(path.parent.name, None, str(error).replace(str(path), path.name))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{path.name}: is not as this version writes it ({error!r}); check the claims again."
        return StoredClaims(path.parent.name, None, why)
    return StoredClaims(path.parent.name, found)


def _check(found: Found) -> None:
    """Read all of what a page needs, so that what another version wrote is found before the page is begun."""
    for read in (summary, provenance, claim_rows, comparison_rows, seed_rows, claims.effects_frame):
        read(found)
    for verdict in found["verdicts"]:
        _claim(0, verdict, {})


def claims_path(name: str) -> str:
    """Return the path of a claim set's page below the site."""
    return f"claims/{slug(name)}.html"


def claim_pages(
    pages: Pages, sets: Sequence[StoredClaims], links: Mapping[str, str]
) -> tuple[list[Card], dict[str, bytes]]:
    """Return a card and a page per claim set; `links`: where each record stands, by its key."""
    cards: list[Card] = []
    files: dict[str, bytes] = {}
    for stored in sets:
        if (found := stored.found) is None:
            cards.append(lost_card(stored.name, stored.trouble))
            continue
        files |= _files(pages, stored.name, found, links)
        cards.append(Card(claims_path(stored.name), one_line(found["title"]), [(summary(found), "")]))
    return cards, files


def _files(pages: Pages, name: str, found: Found, links: Mapping[str, str]) -> dict[str, bytes]:
    path, stem = claims_path(name), slug(name)
    texts = {key: one_line(found.get(key) or "", HEADING) for key in ("paper", "source")}
    rows, comparisons = claim_rows(found), comparison_rows(found)
    kept = [
        *shown(_columns(CLAIM_COLUMNS), rows),
        *shown(_columns(COMPARED), comparisons),
    ]
    effects = claims.effects_frame(found)
    caption = "" if effects.empty else claims.effects_caption(effects)
    figures, _ = drawn(
        [Drawing("effects", effects, claims.draw_effects, caption)], stem, one_line(found["title"])
    )
    page = pages.page(
        path,
        "claims",
        "claims",
        name=one_line(name),
        title=one_line(found["title"]),
        words=summary(found),
        facts=[(key, text) for key, text in texts.items() if text],
        provenance=[one_line(line, 1000) for line in provenance(found)],
        table=_verdicts(found),
        stem=stem,
        claims=[_claim(i, verdict, links) for i, verdict in enumerate(found["verdicts"], 1)],
        reading=[line.replace("**", "") for line in READING],
        columns=[column.column for column in kept],
        figures=figures,
    )
    files = {
        path: page,
        f"claims/{stem}.csv": _writers.csv(claims.claims_frame(found)),
        f"claims/{stem}-comparisons.csv": _writers.csv(claims.comparisons_frame(found)),
        f"claims/{stem}-seeds.csv": _writers.csv(claims.seeds_frame(found)),
        f"claims/{stem}.json": encoded(json.dumps(found, indent=1) + "\n"),
    }
    return files | {f"claims/{file}": data for figure in figures for file, data in figure.files.items()}


def _columns(columns: Sequence[Column[Any]]) -> list[SiteColumn]:
    return [SiteColumn(column, _value(column)) for column in columns]


def _value(column: Column[Any]) -> Callable[[Any], Value]:
    name = VALUES.get(column.head, "")
    return lambda row: getattr(row, name) if name else column.text(row) or None


def _verdicts(found: Found) -> SiteTable:
    rows = claim_rows(found)
    kept = shown(_columns(CLAIM_COLUMNS), rows)
    lines = [
        Line([column.cell(row, *_leads(column, row, place)) for column in kept])
        for place, row in enumerate(rows, 1)
    ]
    return SiteTable("verdicts", f"Verdicts: {one_line(found['title'], 80)}", [c.head for c in kept], lines)


def _leads(column: SiteColumn, row: ClaimRow, place: int) -> tuple[str, str]:
    """Return where a cell leads and its look."""
    head = column.column.head
    href = f"#claim-{place}" if head == "claim" else ""
    return href, look(row.outcome, row.said != row.outcome) if head == "verdict" else ""


def look(outcome: str, limited: bool = False) -> str:
    """Return the look of a verdict; one that is supported but `limited` by its controls is unsure."""
    return "unsure" if limited and outcome == "supported" else LOOKS.get(outcome, "")


def _claim(place: int, verdict: Found, links: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page shows of one claim."""
    claim, words = verdict["claim"], said(verdict)
    return {
        "id": one_line(claim["id"]) or f"claim {place}",
        "said": SimpleNamespace(text=words, look=look(verdict["outcome"], words != verdict["outcome"])),
        "sentence": one_line(claim["sentence"], 1000),
        "facts": _facts(verdict),
        "comparisons": _comparisons(place, verdict),
        "pairs": _pairs(place, verdict, links),
        "controls": _controls(place, verdict),
    }


def _facts(verdict: Found) -> list[tuple[str, str]]:
    claim, (asked, written) = verdict["claim"], (verdict["seeds_asked"], verdict["seeds_written"])
    looked = "a look" if asked < written else "extended after the claims were frozen"
    facts = {
        "why": verdict["reason"],
        "scope": verdict["scope"],
        "measured": verdict["measured"],
        "source": claim["source"],
        "reading": claim["reading"],
        "seeds": f"{asked} instead of the {written} that the claim asks for: {looked}"
        if asked != written
        else "",
    }
    return [(name, one_line(text, 1000)) for name, text in facts.items() if text]


def _comparisons(place: int, verdict: Found) -> SiteTable:
    rows = comparison_rows({"verdicts": [verdict]})
    kept = shown(_columns(COMPARED), rows)
    lines = [_compared(row, kept, place) for row in rows]
    return SiteTable(
        f"comparisons-{place}", f"Comparisons of {_name(verdict)}", [c.head for c in kept], lines
    )


def _compared(row: ComparisonRow, kept: Sequence[SiteColumn], place: int) -> Line:
    """Return the line of a comparison: its numbers lead to its pairs of seeds."""
    cells = [
        column.cell(
            row,
            href=f"#pairs-{place}" if column.column.numeric and row.n else "",
            look=LOOKS.get(row.outcome, "") if column.column.head == "verdict" else "",
        )
        for column in kept
    ]
    return line_to(cells)


def _pairs(place: int, verdict: Found, links: Mapping[str, str]) -> SiteTable:
    """Return a table of the pairs of seeds of all comparisons of a claim, each value leading to its record."""
    heads = [Head(text, numeric=False) for text in ("where", "against")]
    heads += [Head(text) for text in ("split", "seed", "method", "other", "difference")]
    rows = zip(comparison_rows({"verdicts": [verdict]}), verdict["comparisons"], strict=True)
    lines = [_pair(row, point, links) for row, c in rows for point in c["points"]]
    return SiteTable(f"pairs-{place}", f"Pairs of seeds of {_name(verdict)}", heads, lines)


def _pair(row: ComparisonRow, point: Found, links: Mapping[str, str]) -> Line:
    texts = [WHERE(row), one_line(row.against, 60)]
    leads = [f"../{links[key]}" if key in links else "" for key in point["keys"]]  # a bound has no record
    hrefs = dict(zip(("method", "other"), leads, strict=False))
    cells = [Cell(text, value=text) for text in texts]
    cells += [Cell(str(point[name]), value=point[name]) for name in ("split_seed", "seed")]
    for name in ("method", "other", "difference"):
        text = minus(amount(point[name], signed=name == "difference"))
        cells.append(Cell(text, value=known(point[name]), href=hrefs.get(name, "")))
    return Line(cells, tab=len(cells))


def _controls(place: int, verdict: Found) -> SiteTable:
    heads = [Head(text, numeric=False) for text in ("control", "where", "outcome")]
    heads += [Head("difference", "method less control, with its interval"), Head("pairs")]
    return SiteTable(
        f"controls-{place}", f"Controls of {_name(verdict)}", heads, list(_control_lines(verdict))
    )


def _control_lines(verdict: Found) -> Iterator[Line]:
    for row, c in zip(comparison_rows({"verdicts": [verdict]}), verdict["comparisons"], strict=True):
        for control in c["controls"]:
            mean, low, high = (minus(amount(number(control[name]), True)) for name in ("mean", "low", "high"))
            texts = [one_line(control["name"]), WHERE(row), control["state"]]
            yield Line(
                [
                    *(Cell(text, value=text) for text in texts),
                    Cell(mean, f"[{low}, {high}]" if low else "", known(number(control["mean"]))),
                    Cell(str(control["n"]), value=control["n"]),
                ]
            )


def _name(verdict: Found) -> str:
    return one_line(verdict["claim"]["id"], 80)
