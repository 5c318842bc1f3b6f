"""The page of a claim set: every verdict with its evidence, and each comparison with the records that it rests on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from nasbench_rec.reports import _writers
from nasbench_rec.reports._site_claims import LOOKS, ClaimSet, Verdict
from nasbench_rec.reports._site_names import slug
from nasbench_rec.reports._site_pages import Card
from nasbench_rec.reports._site_render import Pages
from nasbench_rec.reports._site_table import Cell, Head, Line, SiteTable, number
from nasbench_rec.reports._text import HEADING, encoded, one_line, three_digits

SENTENCE = 400
"""Characters of a claim or a reason in a table."""
HEADS = (
    Head("data set", numeric=False),
    Head("backbone", numeric=False),
    Head("budget"),
    Head("against", numeric=False),
    Head("verdict", numeric=False),
    Head("difference", "method less comparator, in the metric's own sign, with its interval"),
    Head("corrected p", "p-value of the claim's test, corrected for its family"),
    Head("pairs", "pairs of seeds that were compared, of those planned"),
    Head("scope", numeric=False),
    Head("reason", numeric=False),
)
FIELDS = ("id", "verdict", "scope", "sentence", "reason")


def claims_path(name: str) -> str:
    """Return the path of a claim set's page below the site."""
    return f"claims/{slug(name)}.html"


def claim_pages(
    pages: Pages, sets: Sequence[ClaimSet], links: Mapping[str, str]
) -> tuple[list[Card], dict[str, bytes]]:
    """Return a card and a page per claim set; `links`: where each record stands, by its key."""
    cards = [Card(claims_path(s.name), one_line(s.title), [(s.words, "")]) for s in sets]
    files: dict[str, bytes] = {}
    for found in sets:
        path, stem = claims_path(found.name), slug(found.name)
        table = pd.DataFrame(
            [[getattr(v, name) for name in FIELDS] for v in found.verdicts], columns=list(FIELDS)
        )
        files[path] = _page(pages, path, stem, found, links)
        files[f"claims/{stem}.csv"] = _writers.csv(table)
        files[f"claims/{stem}.json"] = encoded(json.dumps(found.raw, indent=1, ensure_ascii=False) + "\n")
    return cards, files


def _page(pages: Pages, path: str, stem: str, found: ClaimSet, links: Mapping[str, str]) -> bytes:
    return pages.page(
        path,
        "claims",
        "claims",
        name=one_line(found.name),
        title=one_line(found.title),
        words=f"{found.words}.",
        facts=[(name, one_line(text, HEADING)) for name, text in found.facts],
        notes=[one_line(note, HEADING) for note in found.notes],
        table=_verdicts(found),
        stem=stem,
        verdicts=[_shown(i, verdict, links) for i, verdict in enumerate(found.verdicts, 1)],
    )


def _verdicts(found: ClaimSet) -> SiteTable:
    heads = [Head(name, numeric=False) for name in ("claim", "verdict", "sentence", "scope", "why")]
    lines = [_line(i, verdict) for i, verdict in enumerate(found.verdicts, 1)]
    return SiteTable("verdicts", f"Verdicts on {one_line(found.title, 80)}", heads, lines)


def _line(place: int, verdict: Verdict) -> Line:
    order = list(LOOKS).index(verdict.verdict) if verdict.verdict in LOOKS else len(LOOKS)
    cells = [
        Cell(one_line(verdict.id, 60) or str(place), value=verdict.id or place, href=f"#claim-{place}"),
        Cell(
            one_line(verdict.verdict, 60), value=f"{order} {verdict.verdict}", look=f"verdict {verdict.look}"
        ),
        Cell(one_line(verdict.sentence, SENTENCE), value=verdict.sentence or None),
        Cell(one_line(verdict.scope, 80), value=verdict.scope or None),
        Cell(one_line(verdict.reason, SENTENCE), value=verdict.reason or None),
    ]
    return Line(cells)


def _shown(place: int, verdict: Verdict, links: Mapping[str, str]) -> dict[str, Any]:
    texts = {f.name: getattr(verdict, f.name) for f in dataclasses.fields(verdict)}
    texts |= {"id": one_line(verdict.id) or f"claim {place}", "look": verdict.look}
    texts["table"] = _comparisons(place, verdict, links) if verdict.comparisons else None
    rest = verdict.evidence
    texts["evidence"] = rest if isinstance(rest, str) else "" if rest is None else json.dumps(rest, indent=1)
    texts["facts"] = [(name, one_line(text, 1000)) for name, text in verdict.facts]
    return texts


def _comparisons(place: int, verdict: Verdict, links: Mapping[str, str]) -> SiteTable:
    name = one_line(verdict.id, 60) or str(place)
    lines = [_comparison(entry, links) for entry in verdict.comparisons]
    return SiteTable(f"comparisons-{place}", f"Comparisons of claim {name}", HEADS, lines)


def _comparison(entry: Mapping[str, Any], links: Mapping[str, str]) -> Line:
    texts = {
        k: one_line(entry.get(k) or "", SENTENCE)
        for k in ("dataset", "backbone", "against", "scope", "reason")
    }
    outcome = str(entry.get("outcome") or entry.get("verdict") or "")
    mean, ratio, p = (_number(entry.get(k)) for k in ("mean", "ratio", "p_corrected"))
    pairs, planned = _number(entry.get("n")), _number(entry.get("planned"))
    cells = [
        _cell(texts["dataset"]),
        _cell(texts["backbone"]),
        Cell(three_digits(ratio), value=number(ratio)),
        _cell(texts["against"]),
        Cell(one_line(outcome), value=outcome or None, look=f"verdict {LOOKS.get(outcome, '')}"),
        Cell(_signed(mean), _interval(entry), number(mean), _link(entry, links)),
        Cell(three_digits(p), value=number(p)),
        Cell(_pairs(pairs, planned), value=number(pairs)),
        _cell(texts["scope"]),
        _cell(texts["reason"]),
    ]
    return Line(cells, tab=len(cells))


def _pairs(found: float, planned: float) -> str:
    if found != found:
        return ""
    return f"{found:g} of {planned:g}" if planned == planned else f"{found:g}"


def _cell(text: str) -> Cell:
    return Cell(text, value=text or None)


def _number(value: Any) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if good else math.nan


def _signed(value: float) -> str:
    if value != value:
        return ""
    text = f"{value:+.2e}" if 0 < abs(value) < 1e-4 or abs(value) >= 1e6 else f"{value:+.5g}"
    return text.replace("-", "−")


def _interval(entry: Mapping[str, Any]) -> str:
    low, high = (_signed(_number(entry.get(name))) for name in ("low", "high"))
    return f"[{low}, {high}]" if low and high else ""


def _link(entry: Mapping[str, Any], links: Mapping[str, str]) -> str:
    """Return where the first record stands that a comparison rests on; empty where the site does not have it."""
    points = entry.get("points")
    points = points if isinstance(points, list) else []
    keys = (key for point in points if isinstance(point, Mapping) for key in point.get("keys") or ())
    return next((f"../{links[key]}" for key in keys if key in links), "")
