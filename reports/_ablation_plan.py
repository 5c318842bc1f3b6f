"""What an ablation planned, as a file beside its tables: with it and the records alone its page can be made again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
from nasbench_rec.reports._ablation_rows import Bar
from nasbench_rec.reports._ablation_units import setting_text
from nasbench_rec.reports._text import encoded

from nasbench_rec.config import build
from nasbench_rec.errors import ConfigError, StoreError

OLD = (
    "was reported by a version that did not keep its plan; the same `nasbench-rec ablate` writes it, and runs only "
    "what has no record"
)


@dataclass(frozen=True)
class PlanUnit:
    """A planned unit: the variant for which it runs, its place and its seeds, and the key of its record."""

    variant: str
    factor: str
    value: str
    best_of: str
    dataset: str
    backbone: str
    seed: int
    split_seed: int
    key: str


@dataclass(frozen=True)
class PlanBar:
    """A bar as the ablation's file gives it; see `Bar`."""

    name: str
    variant: str
    value: str
    versus: str = ""
    at_least: float | None = None
    at_most: float | None = None
    hold_in: int = 0


@dataclass(frozen=True)
class AblationPlan:
    """All that an ablation's page is made from, but the records."""

    title: str
    question: str
    reference: str
    figures: tuple[str, ...]
    bars: tuple[PlanBar, ...]
    units: tuple[PlanUnit, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """A row per unit: the frame of `studies.ablation.plan_frame`."""
        return pd.DataFrame([asdict(unit) for unit in self.units], columns=[f.name for f in fields(PlanUnit)])


@dataclass(frozen=True)
class StoredPlan:
    """An ablation that a store has below its folder `ablations`."""

    name: str
    plan: AblationPlan | None
    """None where it cannot be read."""
    trouble: str = ""
    """Why it cannot be read."""


def planned_units(plan: pd.DataFrame) -> tuple[PlanUnit, ...]:
    """Return the units of a plan's frame."""
    return tuple(
        PlanUnit(
            **{name: setting_text(row[name]) for name in ("variant", "factor", "value", "best_of")},
            **{name: str(row[name]) for name in ("dataset", "backbone", "key")},
            seed=int(row["seed"]),
            split_seed=int(row["split_seed"]),
        )
        for row in plan.to_dict("records")
    )


def planned_bars(bars: Sequence[Bar]) -> tuple[PlanBar, ...]:
    """Return bars as they are written."""
    names = [field.name for field in fields(PlanBar)]
    return tuple(PlanBar(**{name: getattr(bar, name) for name in names}) for bar in bars)


def plan_file(plan: AblationPlan) -> bytes:
    """Return the file of a plan, which `read_plan` reads."""
    return encoded(json.dumps(asdict(plan), indent=1) + "\n")


def read_plan(path: Path) -> AblationPlan:
    """Read the file of a plan strictly; `StoreError` says what is wrong with it, without the machine's paths."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it is no object")
        return build(AblationPlan, found, "its plan")
    except OSError as error:
        raise StoreError(f"{path.name}: cannot be read ({error.strerror}).") from None
    except (ValueError, ConfigError) as error:
        raise StoreError(f"{path.name}: cannot be read ({error}); report the ablation again.") from None


def stored_plans(folder: Path) -> list[StoredPlan]:
    """Return the ablations below a store's folder `ablations`, by name; one that cannot be read says why."""
    return [_stored(path) for path in sorted(folder.glob("*")) if any(f.is_file() for f in _files(path))]


def _files(folder: Path) -> tuple[Path, Path]:
    """Return where the plan of an ablation stands, and its table."""
    return folder / f"{folder.name}.json", folder / f"{folder.name}.csv"


def _stored(folder: Path) -> StoredPlan:
    path, _ = _files(folder)
    if not path.exists():
        return StoredPlan(folder.name, None, OLD)
    try:
        return StoredPlan(folder.name, read_plan(path))
    except StoreError as error:
        return StoredPlan(folder.name, None, str(error))
