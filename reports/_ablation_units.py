"""A plan joined with its records: variants in the order of the plan, each with its units, run or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nasbench_rec.reports._text import storable

from nasbench_rec.errors import DataError

Record = Mapping[str, Any]
Records = Mapping[str, Record]

BASE = "default"
"""The name of the variant that changes nothing."""
COLUMNS = ("variant", "factor", "value", "best_of", "dataset", "backbone", "seed", "split_seed", "key")
PLACE = ["dataset", "backbone", "variant", "split_seed", "seed"]
NOT_RUN = "not run"


@dataclass(frozen=True)
class Cell:
    """One planned unit: its pair of seeds, and its record (None: not run)."""

    split_seed: int
    seed: int
    record: Record | None
    key: str = ""
    """That of its record, run or not."""

    @property
    def pair(self) -> tuple[int, int]:
        """What two variants are paired by: split seed, seed."""
        return self.split_seed, self.seed

    @property
    def ok(self) -> bool:
        """Whether it was run and did not fail."""
        return self.record is not None and self.record["status"] == "ok"

    @property
    def trouble(self) -> str:
        """Why it has no values; empty where it has."""
        if self.record is None:
            return NOT_RUN
        return "" if self.ok else storable(str(self.record.get("error") or "no reason was recorded"))

    def value(self, path: str) -> float:
        """Return the number at a dotted path of the record; NaN where it is not known."""
        found = look(self.record, path) if self.ok else None
        return float(found) if isinstance(found, (int, float)) else math.nan


@dataclass(frozen=True)
class Variant:
    """The units of one variant on one data set and backbone, in the order of the plan."""

    dataset: str
    backbone: str
    name: str
    factor: str
    setting: str
    """The factor's value, as text."""
    best_of: str
    """The group of variants it is a member of, if any."""
    chosen: bool
    """Whether it is such a group: in each pair of seeds the member with the best validation AUC."""
    units: Sequence[Cell]
    lost_members: int = 0
    """Units of a group's members that failed or were not run, so could not be chosen."""

    @property
    def good(self) -> list[Cell]:
        """Its units with values."""
        return [unit for unit in self.units if unit.ok]

    def values(self, path: str) -> list[float]:
        """Return the number at a dotted path in each unit's record; NaN where it is not known."""
        return [unit.value(path) for unit in self.units]

    def found(self, path: str) -> list[tuple[Cell, Any]]:
        """Return the units that have anything at a dotted path of their record, with what they have."""
        pairs = [(unit, look(unit.record, path)) for unit in self.good]
        return [(unit, value) for unit, value in pairs if value is not None]


def look(record: Record | None, path: str) -> Any:
    """Return what stands at a dotted path in a record; None where a step of it is missing."""
    found: Any = record
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def grouped(plan: pd.DataFrame, records: Records) -> Iterator[list[Variant]]:
    """Iterate over the variants of each data set and backbone, with each `best_of` group after its members.

    `DataError` for missing columns, an empty plan, and two units of one variant with the same seeds.
    """
    _check(plan)
    for (dataset, backbone), part in plan.groupby(["dataset", "backbone"], sort=False):
        variants = [
            _variant(str(dataset), str(backbone), rows, records)
            for _, rows in part.groupby("variant", sort=False)
        ]
        yield list(_with_groups(variants))


def every(plan: pd.DataFrame, records: Records) -> list[Variant]:
    """Return all variants of all data sets and backbones, without the `best_of` groups."""
    return [variant for group in grouped(plan, records) for variant in group if not variant.chosen]


def outstanding(plan: pd.DataFrame, records: Records) -> list[list[Variant]]:
    """Return, per data set and backbone, the variants with `best_of` groups in place of their members."""
    return [[variant for variant in group if not variant.best_of] for group in grouped(plan, records)]


def _check(plan: pd.DataFrame) -> None:
    missing = [name for name in COLUMNS if name not in plan]
    if missing:
        raise DataError(f"the plan lacks the columns {', '.join(missing)}; give the frame of `plan_frame()`.")
    if plan.empty:
        raise DataError("the plan holds no units; give the ablation a variant and a seed.")
    rivals = plan[plan.duplicated(PLACE)]
    if len(rivals):
        first = rivals.iloc[0]
        raise DataError(
            f"variant {first['variant']!r} on {first['dataset']}, {first['backbone']} is planned twice for seed "
            f"{first['seed']} of split {first['split_seed']}; give each variant a name of its own."
        )


def setting_text(value: Any) -> str:
    """Return a setting in words; whole numbers that a column of floats holds are whole again."""
    if value is None or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _variant(dataset: str, backbone: str, rows: pd.DataFrame, records: Records) -> Variant:
    first = rows.iloc[0]
    units = [
        Cell(int(row.split_seed), int(row.seed), records.get(str(row.key)), str(row.key))  # type: ignore[arg-type]
        for row in rows.itertuples()
    ]
    name, factor, setting, best_of = (
        setting_text(first[c]) for c in ("variant", "factor", "value", "best_of")
    )
    return Variant(dataset, backbone, name, factor, setting, best_of, chosen=False, units=units)


def _with_groups(variants: Sequence[Variant]) -> Iterator[Variant]:
    last = {variant.best_of: i for i, variant in enumerate(variants) if variant.best_of}
    for i, variant in enumerate(variants):
        yield variant
        if last.get(variant.best_of) == i:
            yield _best([member for member in variants if member.best_of == variant.best_of])


def _best(members: Sequence[Variant]) -> Variant:
    """Return the row of a group: per pair of seeds the unit with the best validation AUC."""
    places: dict[tuple[int, int], list[Cell]] = {}
    for member in members:
        for unit in member.units:
            places.setdefault(unit.pair, []).append(unit)
    first = members[0]
    return Variant(
        *(first.dataset, first.backbone, first.best_of, "", "", ""),
        chosen=True,
        units=[max(units, key=_rank) for units in places.values()],
        lost_members=sum(not unit.ok for member in members for unit in member.units),
    )


def _rank(unit: Cell) -> tuple[bool, bool, float]:
    """Order units by validation AUC, failures before units that were not run, both last."""
    auc = unit.value("scores.valid_auc")
    return unit.ok, unit.record is not None, auc if auc == auc else -math.inf
