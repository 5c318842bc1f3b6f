"""An ablation: variants around a base method, one factor at a time or named one by one, as units.

A variant changes settings of its method, of the protocol or of the data. Later ones win:

    [settings.METHOD] < the variant's settings      [settings.protocol] < the variant's protocol
    [settings.DATASET] < the variant's data < data_seed
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies.leaderboard import check_settings, overrides, protocol_of, task_of, toml_names

from nasbench_rec.config import build, canonical, content_key, plain, read_toml
from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.pipeline import check_backbone
from nasbench_rec.registry import Method, dataset_class, resolve_dataset, resolve_method
from nasbench_rec.searcher import search_settings
from nasbench_rec.seeds import Seeds
from nasbench_rec.unit import Task, Unit

if TYPE_CHECKING:
    import pandas as pd

BASE = "default"
"""The name of the variant that changes nothing."""
COLUMNS = ["variant", "factor", "value", "best_of", "dataset", "backbone", "seed", "split_seed", "key"]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Variant:
    """One thing to measure. `factor` and `value` say which setting it varies, where it varies just one.

    Variants that share `best_of` also count as one row of that name: the one with the best validation AUC.
    """

    name: str
    method: str = ""
    """name or name/preset; empty: the ablation's base."""
    settings: Values = field(default_factory=dict)
    protocol: Values = field(default_factory=dict)
    data: Values = field(default_factory=dict)
    best_of: str = ""
    factor: str = ""
    value: str = ""
    """As text, in the way TOML and JSON write it."""


@dataclass(frozen=True)
class Bar:
    """What must hold: a value of the variant's record, or its paired difference with `versus`."""

    name: str
    variant: str
    value: str
    """Dotted path into the record: `recovery.adjusted_rand`."""
    versus: str = ""
    at_least: float | None = None
    at_most: float | None = None
    hold_in: int = 0
    """Number of seeds in which it must hold; 0: the mean over seeds must."""

    def __post_init__(self) -> None:
        """Refuse a bar that cannot be judged."""
        if (self.at_least is None) == (self.at_most is None):
            raise ConfigError(f"bar {self.name!r}: give one of at_least and at_most.")
        if self.hold_in < 0 or not self.value:
            raise ConfigError(f"bar {self.name!r}: `value` names a part of the record, hold_in is 0 or more.")


@dataclass(frozen=True)
class PlannedUnit:
    """A unit, and the variant for which it runs."""

    variant: Variant
    unit: Unit


@dataclass(frozen=True)
class Ablation:
    """What is varied, over which data sets, backbones and seeds, and what the answer is compared with.

    A factor's key is a setting of the base method, or `protocol.NAME` or `DATASET.NAME`.
    `data_seed`: the setting `seed` of each data set that has one equals the unit's seed.
    """

    title: str = ""
    question: str = ""
    base: str = ""
    datasets: tuple[str, ...] = ("planted",)
    backbones: tuple[str, ...] = ("deepfm",)
    seeds: tuple[int, ...] = (0, 1, 2)
    split_seeds: tuple[int, ...] = (0,)
    data_seed: bool = False
    reference: str = ""
    """A variant's name (or a `best_of`) with which differences are paired; empty: with the base variant."""
    include_base: bool = True
    figures: tuple[str, ...] = ()
    settings: Mapping[str, Values] = field(default_factory=dict)
    factors: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    bars: tuple[Bar, ...] = ()

    def __post_init__(self) -> None:
        """Refuse empty lists, and names that nothing has."""
        for name in ("title", "question", "base", "datasets", "backbones", "seeds", "split_seeds"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; an ablation needs it.")
        for key, values in self.factors.items():
            if not values:
                raise ConfigError(f"factor {key!r} has no values.")
        self._check_names()

    def _check_names(self) -> None:
        variants = self.expand()
        names = [v.name for v in variants]
        if not names:
            raise ConfigError("no variants: name [[variants]] or [factors], or set include_base = true.")
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ConfigError(f"variant {twice[0]!r} is there twice; every variant has a name of its own.")
        rows = {*names, *(v.best_of for v in variants if v.best_of)}
        wanted = {"reference": self.reference}
        for bar in self.bars:
            wanted |= {f"bar {bar.name!r}: variant": bar.variant, f"bar {bar.name!r}: versus": bar.versus}
        for where, name in wanted.items():
            if name not in rows and (name or where.endswith(": variant")):
                raise ConfigError(f"{where}: {unknown('variant', name, rows)}")

    def expand(self) -> list[Variant]:
        """Return all variants, each with its method: the base, one for each value of each factor, the named."""
        base = [Variant(BASE)] if self.include_base else []
        one_by_one = [self._of_factor(key, v) for key, values in self.factors.items() for v in values]
        found = [*base, *one_by_one, *self.variants]
        return [replace(v, method=v.method or self.base) for v in found]

    def _of_factor(self, key: str, value: Any) -> Variant:
        text = value if isinstance(value, str) else json.dumps(plain(value))
        named = Variant(f"{key} = {text}", factor=key, value=text)
        target, dot, name = key.partition(".")
        if not dot:
            return replace(named, settings={key: value})
        if target not in ("protocol", *self.datasets):
            known = ["protocol", *self.datasets]
            raise ConfigError(f"factor {key!r}: {unknown('data set of this ablation', target, known)}")
        if target == "protocol":
            return replace(named, protocol={name: value})
        return replace(named, data={name: value})

    def units(self, data_dir: Path | None) -> list[PlannedUnit]:
        """Return all units, variant by variant, the base first.

        Names, settings, then source files are checked here, before anything runs; a ConfigError names the variant.
        """
        self.check()
        variants, tasks = self.expand(), _Tasks(self, data_dir)
        methods = {v.name: self._method(v) for v in variants}
        check_settings(self.settings, methods.values(), (v.method for v in variants), self.datasets)
        return [
            PlannedUnit(v, Unit(tasks.of(v, dataset, backbone, seed), methods[v.name], Seeds.of(seed, split)))
            for v in variants
            for dataset in dict.fromkeys(self.datasets)
            for backbone in dict.fromkeys(self.backbones)
            for split in dict.fromkeys(self.split_seeds)
            for seed in dict.fromkeys(self.seeds)
        ]

    def _method(self, variant: Variant) -> Method:
        with _named(f"variant {variant.name!r}"):
            values = {**overrides(self.settings, variant.method), **variant.settings}
            return resolve_method(variant.method, values)

    def check(self) -> None:
        """Resolve the method, data settings and protocol of every variant; no source file is looked at."""
        for variant in self.expand():
            self._method(variant)
            with _named(f"variant {variant.name!r}"):
                for dataset in self.datasets:
                    data, protocol = self.task_settings(variant, dataset, self.seeds[0])
                    protocol_of(resolve_dataset(dataset, data), protocol)

    def task_settings(
        self, variant: Variant, dataset: str, seed: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the settings of the data and of the protocol, of a unit with this seed."""
        data = {**self.settings.get(dataset, {}), **variant.data}
        if self.data_seed and "seed" in _settings_of(dataset):
            if "seed" in variant.data:
                raise ConfigError("data_seed = true sets the seed of the data; leave one of them out.")
            data["seed"] = seed
        return data, {**self.settings.get("protocol", {}), **variant.protocol}

    def with_seeds(self, count: int) -> Ablation:
        """Return the ablation with the first `count` seeds, extended upward where it has fewer."""
        if count < 1:
            raise ConfigError(f"seeds = {count}; at least 1.")
        seeds = list(dict.fromkeys(self.seeds))
        more = range(max(seeds) + 1, max(seeds) + 1 + count)
        return replace(self, seeds=tuple([*seeds, *more][:count]))


class _Tasks:
    """Makes each task once: a data set's source files are hashed for it."""

    def __init__(self, ablation: Ablation, data_dir: Path | None) -> None:
        self._ablation, self._data_dir = ablation, data_dir
        self._made: dict[str, Task] = {}

    def of(self, variant: Variant, dataset: str, backbone: str, seed: int) -> Task:
        """Return the task of a variant's unit."""
        with _named(f"variant {variant.name!r}"):
            data, protocol = self._ablation.task_settings(variant, dataset, seed)
            key = canonical([dataset, backbone, data, protocol])
            if key not in self._made:
                self._made[key] = task_of(dataset, check_backbone(backbone), self._data_dir, data, protocol)
        return self._made[key]


def _settings_of(dataset: str) -> set[str]:
    return {f.name for f in fields(dataset_class(dataset).Config)}


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Put `where` before the message of a ConfigError that does not begin with it."""
    try:
        yield
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if text.startswith(f"{where}:") else f"{where}: {text}") from None


def queue(planned: Sequence[PlannedUnit]) -> list[Unit]:
    """Return each unit once, in an order in which no worker waits for a search that another one runs:

    the first unit of every search, then those that find their search done.
    """
    first: dict[str, Unit] = {}
    later: list[Unit] = []
    for unit in {p.unit.key: p.unit for p in planned}.values():
        if first.setdefault(_search_key(unit), unit) is not unit:
            later.append(unit)
    return [*first.values(), *later]


def _search_key(unit: Unit) -> str:
    seeds = (unit.seeds.split, unit.seeds.search)
    return content_key([unit.task, unit.method.spec, search_settings(unit.method.config), seeds])


def plan_frame(planned: Sequence[PlannedUnit]) -> pd.DataFrame:
    """Return a row per planned unit; variants that differ in name only share a key."""
    import pandas as pd

    rows = [
        {
            **{c: getattr(p.variant, c) for c in ("factor", "value", "best_of")},
            "variant": p.variant.name,
            "dataset": p.unit.task.data.name,
            "backbone": p.unit.task.backbone,
            "seed": p.unit.seeds.init,
            "split_seed": p.unit.seeds.split,
            "key": p.unit.key,
        }
        for p in planned
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _folder() -> Any:
    return files("nasbench_rec.studies") / "ablations"


def shipped_ablations() -> list[str]:
    """Return the names of the ablations that come with the package."""
    return toml_names(_folder())


def shipped_path(name: str) -> Path:
    """Return the file of an ablation that comes with the package."""
    return Path(str(_folder() / f"{name}.toml"))


def describe_ablations() -> list[dict[str, str]]:
    """Return name, title and question of the ablations that come with the package."""
    found = {name: read_toml(shipped_path(name)) for name in shipped_ablations()}
    return [{"name": n, "title": v["title"], "question": v["question"]} for n, v in found.items()]


def read_ablation(path: Path) -> Ablation:
    """Read an ablation's TOML file, strictly: a ConfigError names the file, the setting and the nearest name."""
    values = read_toml(path)
    with _named(str(path)):
        for name, cls in (("variants", Variant), ("bars", Bar)):
            values[name] = [build(cls, e, f"{name}: {e.get('name', e)}") for e in _tables(values, name)]
        found = build(Ablation, values, str(path))
        found.check()
    return found


def _tables(values: Values, name: str) -> list[dict[str, Any]]:
    found = values.get(name, [])
    if not (isinstance(found, list) and all(isinstance(entry, dict) for entry in found)):
        raise ConfigError(f"{name} = {found!r}: write each entry as a table, [[{name}]].")
    return found
