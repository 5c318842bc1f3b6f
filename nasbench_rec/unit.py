"""Units: one task, one method configuration, one set of seeds, one budget. A unit's content hash is its key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from nasbench_rec.config import build, content_key, plain
from nasbench_rec.data import MANIFEST_VERSION
from nasbench_rec.errors import ConfigError
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import (
    Method,
    code_of,
    dataset_names,
    is_table,
    method_class,
    resolve_dataset,
    resolve_method,
)
from nasbench_rec.seeds import Seeds

ENGINE = 1
"""Part of every key; raise it when the engine's results change."""


@dataclass(frozen=True)
class DataRef:
    """Which data: the registered name, its configuration, and the fingerprint of its source files.

    The name of a user's own table is `table:NAME`. `place` is where its files lie: it is not part of what it is.
    """

    name: str
    source: str
    config: Mapping[str, Any] = field(default_factory=dict)
    place: str | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """The key of the prepare stage."""
        return content_key([ENGINE, MANIFEST_VERSION, self.name, self.source, self.encoding])

    @property
    def encoding(self) -> dict[str, Any]:
        """The configuration without what is said of training: that makes no other data."""
        return {k: v for k, v in self.config.items() if k != "protocol"}

    @property
    def label(self) -> str:
        """What tables print: the name, and the settings that differ from the defaults; of a table its own name."""
        base, _, own = self.name.partition(":")
        return own or _changed(base, self.config, plain(resolve_dataset(base).config))

    def describe(self) -> dict[str, Any]:
        """Return what identifies the data, JSON-able."""
        return {"name": self.name, "source": self.source, "config": plain(self.config)}


@dataclass(frozen=True)
class Task:
    """Data set x backbone x training protocol."""

    data: DataRef
    backbone: str
    protocol: Protocol

    @property
    def label(self) -> str:
        """What tables print: the backbone, and what differs from the data set's recommended protocol."""
        usual = resolve_dataset(self.data.name, self.data.config).info.protocol
        recommended = build(Protocol, plain(usual), self.data.name)
        return _changed(self.backbone, plain(self.protocol), plain(recommended))


@dataclass(frozen=True)
class Unit:
    """What is run and recorded once. `ratio`: plan budget; `trainings`: search budget; None: no limit."""

    task: Task
    method: Method
    seeds: Seeds
    ratio: float | None = None
    trainings: float | None = None

    def __post_init__(self) -> None:
        """Refuse budgets that make no sense."""
        for name, value in (("plan budget", self.ratio), ("search budget", self.trainings)):
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} {value!r}: must be a number above 0, or none for no limit.")

    @cached_property
    def key(self) -> str:
        """The content hash of everything that the result depends on."""
        return content_key([ENGINE, self.describe()])

    @property
    def label(self) -> str:
        """What tables print: the method, settings that differ from its preset's, plan and search budget."""
        usual = resolve_method(self.method.spec + (f"/{self.method.preset}" if self.method.preset else ""))
        named = _changed(self.method.name, plain(self.method.config), plain(usual.config))
        budget = "" if self.trainings is None else f", search <= {self.trainings:g} trainings"
        return label(named, self.ratio) + budget

    def describe(self) -> dict[str, Any]:
        """Return the unit as JSON-able data, from which `read_unit` makes it again."""
        method = self.method
        return {
            "data": self.task.data.describe(),
            "backbone": self.task.backbone,
            "protocol": plain(self.task.protocol),
            "method": {
                "spec": method.spec,
                "preset": method.preset,
                "config": plain(method.config),
                "version": method.info.version,
                "code": method.code,
            },
            "seeds": plain(self.seeds),
            "ratio": None if self.ratio is None else float(self.ratio),
            "trainings": None if self.trainings is None else float(self.trainings),
        }


def read_unit(description: Mapping[str, Any]) -> Unit:
    """Return the unit that `Unit.describe` wrote; its key is another where the method's code has changed."""
    part, where = description["method"], "recorded unit"
    cls = method_class(part["spec"])
    config: Any = build(cls.Config, part["config"], where)
    method = Method(part["spec"], part["preset"], config, cls.info, code_of(part["spec"]))
    task = Task(
        DataRef(**description["data"]),
        description["backbone"],
        build(Protocol, description["protocol"], where),
    )
    seeds = build(Seeds, description["seeds"], where)
    return Unit(task, method, seeds, description["ratio"], description["trainings"])


def data_ref(name: str, data_dir: Path | None, settings: Mapping[str, Any] | None = None) -> DataRef:
    """Return which data a name, or a table's TOML file, with overrides of its settings means.

    DataError where source files are missing in `data_dir`, or beside the TOML file.
    """
    source = resolve_dataset(name, settings)
    place = source.place or data_dir
    own = f"table:{source.info.name}" if is_table(name) else name
    if is_table(name) and source.info.name in dataset_names():
        raise ConfigError(
            f"{name}: name = {source.info.name!r} is that of a registered data set; take another."
        )
    found = str(source.place.resolve()) if source.place else None
    return DataRef(own, source.source_fingerprint(place), plain(source.config), found)


def _changed(name: str, values: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """Return `name`, with the settings that are not as usual in brackets."""
    changed = [f"{k}={v}" for k, v in values.items() if v != usual.get(k)]
    return f"{name} ({', '.join(changed)})" if changed else name


def label(method: str, ratio: float | None) -> str:
    """Return `method`, or `method @ 1/2` with a plan budget."""
    if ratio is None:
        return method
    simple = Fraction(ratio).limit_denominator(1000)
    exact = simple.numerator == 1 and abs(float(simple) - ratio) < 1e-9
    return f"{method} @ {simple if exact else f'{ratio:g}'}"
