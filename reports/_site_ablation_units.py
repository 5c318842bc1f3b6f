"""The units of an ablation on its page: what every number there is made from, each leading to its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from nasbench_rec.reports._ablation_columns import variant_name
from nasbench_rec.reports._ablation_units import NOT_RUN, Cell, Records, Variant, grouped
from nasbench_rec.reports._site_table import Cell as TableCell
from nasbench_rec.reports._site_table import Head, Line, SiteTable
from nasbench_rec.reports._site_units import NUMBERS, Numbers, known_numbers, number_cells
from nasbench_rec.reports._text import one_line

from nasbench_rec.store import row as frame_row

FIELDS = [name for name, _ in NUMBERS.values()]
"""Numbers of a record."""
COLUMNS = [
    *("variant", "chosen", "factor", "value", "dataset", "backbone", "split_seed", "seed", "key", "status"),
    *FIELDS,
    "error",
]
PLACES = {"dataset": "data set", "backbone": "backbone", "split_seed": "split"}
"""What is shown of a unit's place where there are several."""
Place = tuple[str, str, str, bool]
"""Data set, backbone and name of a variant, and whether it is a group of which the best unit was chosen."""


def units_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per unit of each variant: its place, its key, and the numbers of its record, NaN where unknown.

    A group of which in each pair of seeds the best unit was `chosen` has a row for each of these.
    """
    variants = (variant for group in grouped(plan, records) for variant in group)
    rows = [_row(variant, unit) for variant in variants for unit in variant.units]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(FIELDS, "float64"))


def _row(variant: Variant, unit: Cell) -> dict[str, Any]:
    known = {} if unit.record is None else frame_row(dict(unit.record))
    return {
        "variant": variant.name,
        "chosen": variant.chosen,
        "factor": variant.factor,
        "value": variant.setting,
        "dataset": variant.dataset,
        "backbone": variant.backbone,
        "split_seed": unit.split_seed,
        "seed": unit.seed,
        "key": unit.key,
        "status": NOT_RUN if unit.record is None else "ok" if unit.ok else "failed",
        **{name: known.get(name) for name in FIELDS},
        "error": unit.trouble,
    }


def first_units(units: pd.DataFrame) -> dict[Place, str]:
    """Return the id of the first unit of each variant in the table of units."""
    found: dict[Place, str] = {}
    for i, unit in enumerate(units.to_dict("records"), 1):
        place = (unit["dataset"], unit["backbone"], unit["variant"], unit["chosen"])
        found.setdefault(place, f"unit-{i}")
    return found


def units_table(units: pd.DataFrame, links: Mapping[str, str]) -> SiteTable:
    """Return a table of `units_frame`; `links`: where each record stands on the site, by its key."""
    numbers, lost = known_numbers(units), bool((units["status"] != "ok").any())
    where = [name for name in PLACES if units[name].nunique() > 1]
    heads = [Head("variant", numeric=False), *(Head(PLACES[n], numeric=n == "split_seed") for n in where)]
    heads += [Head("seed"), *map(Head, numbers), *([Head("trouble", numeric=False)] if lost else [])]
    return SiteTable("units", "Each unit", heads, list(_lines(units, where, numbers, lost, links)))


def _lines(
    units: pd.DataFrame, where: Sequence[str], numbers: Numbers, lost: bool, links: Mapping[str, str]
) -> Iterator[Line]:
    for i, unit in enumerate(units.to_dict("records"), 1):
        link = links.get(unit["key"], "")
        href = f"../{link}" if link else ""
        name = variant_name(unit["variant"], unit["chosen"])
        cells = [
            TableCell(name, value=name),
            *(TableCell(one_line(unit[n], 60), value=unit[n]) for n in where),
        ]
        cells += [TableCell(str(unit["seed"]), value=unit["seed"], href=href)]
        cells += number_cells(unit, numbers, href)
        if lost:
            error = one_line(unit["error"])
            cells.append(TableCell(error, value=error or None, look="bad", href=href if error else ""))
        look = "" if unit["status"] == "ok" else "lost"
        yield Line(cells, look, tab=len(where) + 1, name=f"unit-{i}")
