"""The units that a claim set needs: a cell for each place where a claim is tested, with its arms' units by seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nasbench_rec.studies._claims_form import Arm, Choice, Claim, ClaimSet, named
from nasbench_rec.studies.leaderboard import task_of

from nasbench_rec.config import canonical
from nasbench_rec.errors import DataError
from nasbench_rec.registry import Method
from nasbench_rec.seeds import Seeds
from nasbench_rec.unit import DataRef, Task, Unit

Pair = tuple[int, int]
"""What arms are paired by: split seed, seed."""


@dataclass(frozen=True)
class Cell:
    """A claim at one place: data set, backbone and plan budget."""

    claim: Claim
    dataset: str
    backbone: str
    ratio: float | None
    arms: Mapping[str, Mapping[Pair, Sequence[Unit]]] = field(default_factory=dict)
    """By the arm's name: the units of its configurations (one, unless it is tuned) for each pair of seeds."""
    missing: str = ""
    """Why it cannot be tested here; empty: it can."""
    left_out: bool = False
    """Whether this check runs none of its units; the claim needs it all the same."""

    @property
    def scope(self) -> str:
        """Whose data it is."""
        return "the paper's data" if self.dataset in self.claim.paper_datasets else "other data"

    @property
    def units(self) -> list[Unit]:
        """All its units."""
        return [unit for pairs in self.arms.values() for units in pairs.values() for unit in units]


def cells_of(claims: ClaimSet, data_dir: Path | None) -> list[Cell]:
    """Return the cells of all claims in their order; those whose source files are missing say so.

    Source files are looked at, nothing is run.
    """
    tasks = _Tasks(data_dir)
    found: list[Cell] = []
    for claim in claims.claims:
        with named(f"claim {claim.id!r}"):
            found += _cells(claims, claim, tasks)
    return found


def _cells(claims: ClaimSet, claim: Claim, tasks: _Tasks) -> list[Cell]:
    if claim.kind == "untestable":
        return []
    return [
        _cell(claims, Cell(claim, dataset, backbone, ratio), tasks)
        for dataset in claim.datasets
        for backbone in claim.backbones
        for ratio in claim.ratios or (None,)
    ]


def _cell(claims: ClaimSet, cell: Cell, tasks: _Tasks) -> Cell:
    names = dict.fromkeys((cell.claim.method, *cell.claim.comparators, *cell.claim.controls))
    pairs = [(split, seed) for split in cell.claim.split_seeds for seed in cell.claim.seeds]
    try:
        arms = {
            name: {pair: _units(claims, cell, claims.arm(name), pair, tasks) for pair in pairs}
            for name in names
        }
    except DataError as error:
        return replace(cell, missing=str(error))
    return replace(cell, arms=arms)


def _units(claims: ClaimSet, cell: Cell, arm: Arm, pair: Pair, tasks: _Tasks) -> list[Unit]:
    split, seed = pair
    found = []
    for option in arm.options():
        method = claims.method(cell.claim, arm, option)
        data, protocol = claims.task_settings(cell.claim, arm, option, cell.dataset, seed)
        task = tasks.of(cell.dataset, cell.backbone, data, protocol)
        found.append(Unit(task, method, Seeds.of(seed, split), _ratio(option, cell.ratio, method)))
    return found


def _ratio(option: Choice, usual: float | None, method: Method) -> float | None:
    ratio = usual if option.ratio is None else option.ratio
    return None if ratio == 1 or method.info.budget == "none" else ratio


class _Tasks:
    """Makes each task once, and asks once for source files: they are hashed for it."""

    def __init__(self, data_dir: Path | None) -> None:
        self._data_dir = data_dir
        self._made: dict[str, Task] = {}
        self._lacking: dict[str, str] = {}

    def of(
        self, dataset: str, backbone: str, data: Mapping[str, object], protocol: Mapping[str, object]
    ) -> Task:
        """Return a task; `DataError` where the data set's files are missing."""
        if dataset in self._lacking:
            raise DataError(self._lacking[dataset])
        key = canonical([dataset, backbone, data, protocol])
        if key not in self._made:
            try:
                self._made[key] = task_of(dataset, backbone, self._data_dir, data, protocol)
            except DataError as error:
                self._lacking[dataset] = str(error)
                raise
        return self._made[key]


def too_small(cells: Iterable[Cell], least: Mapping[str, int], stages: Path) -> list[Cell]:
    """Return the cells, those on data with fewer rows than the claims need as missing.

    Data that are not prepared yet count as large enough: nothing was run on them.
    """
    rows: dict[str, int | None] = {}
    found = []
    for cell in cells:
        ref = cell.units[0].task.data if cell.units else None
        if ref is not None and cell.dataset in least:
            known = rows.setdefault(ref.key, prepared_rows(ref, stages))
            if known is not None and known < least[cell.dataset]:
                wanted = least[cell.dataset]
                text = f"{cell.dataset} has {known:,} rows here, the claim needs {wanted:,}"
                cell = replace(cell, missing=text)
        found.append(cell)
    return found


def prepared_rows(ref: DataRef, stages: Path) -> int | None:
    """Return the rows of a data set, all splits together; None where it is not prepared in a store."""
    from nasbench_rec.data import Dataset

    folder = stages / "prepare" / ref.key
    if not (folder / "meta.json").is_file():
        return None
    data = Dataset.load(folder)
    return sum(len(data.split(name)) for name in ("train", "valid", "test"))


def units_of(cells: Iterable[Cell]) -> list[Unit]:
    """Return each unit of the cells that are to be tested once, in the order of the claims."""
    wanted = [cell for cell in cells if not (cell.missing or cell.left_out)]
    return list({unit.key: unit for cell in wanted for unit in cell.units}.values())


def with_seeds(claims: ClaimSet, count: int | None) -> ClaimSet:
    """Return the claims with the first `count` seeds each, extended upward where they have fewer; None: as written."""
    if count is None:
        return claims
    return replace(claims, claims=tuple(replace(c, seeds=_first(c.seeds, count)) for c in claims.claims))


def _first(seeds: Sequence[int], count: int) -> tuple[int, ...]:
    more = range(max(seeds) + 1, max(seeds) + 1 + count)
    return tuple([*dict.fromkeys(seeds), *more][:count])


def describe(claim: Claim) -> str:
    """Return a line that says what is compared with what."""
    if claim.kind == "untestable":
        return f"needs {claim.needs}"
    metric = claim.metric + (" (relative)" if claim.relative else "")
    if claim.kind == "value":
        word = "at least" if claim.direction == "higher" else "at most"
        return f"{metric} of {claim.method}: {word} {json.dumps(claim.bound)}"
    against = " and ".join(claim.comparators)
    if claim.kind == "difference":
        return (
            f"{metric} of {claim.method}: {claim.direction} than of {against}, by {claim.interest:g} or more"
        )
    word = {"": "within", "higher": "at most lower by", "lower": "at most higher by"}[claim.direction]
    return f"{metric} of {claim.method} against {against}: {word} {claim.interest:g}"
