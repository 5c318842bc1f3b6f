"""Units: one task, one method configuration, one set of seeds, one budget. A unit's content hash is its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from nasbench_rec.config import build, content_key, plain
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import Method, method_class, resolve_dataset
from nasbench_rec.seeds import Seeds

ENGINE = 1
"""Part of every key; raise it when the engine's results change."""


@dataclass(frozen=True)
class DataRef:
    """Which data: the registered name, its configuration, and the fingerprint of its source files."""

    name: str
    source: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the prepare stage."""
        return content_key([ENGINE, self.name, self.source, self.config])

    @property
    def label(self) -> str:
        """What tables print: the name, and the settings that differ from the defaults."""
        default = plain(resolve_dataset(self.name).config)
        changed = [f"{k}={v}" for k, v in self.config.items() if v != default.get(k)]
        return f"{self.name}({', '.join(changed)})" if changed else self.name


@dataclass(frozen=True)
class Task:
    """Data set x backbone x training protocol."""

    data: DataRef
    backbone: str
    protocol: Protocol


@dataclass(frozen=True)
class Unit:
    """What is run and recorded once. `ratio`: plan budget; `trainings`: search budget; None: no limit."""

    task: Task
    method: Method
    seeds: Seeds
    ratio: float | None = None
    trainings: float | None = None

    @cached_property
    def key(self) -> str:
        """The content hash of everything that the result depends on."""
        return content_key([ENGINE, self.describe()])

    @property
    def label(self) -> str:
        """The method and its plan budget, as tables print them."""
        return label(self.method.name, self.ratio)

    def describe(self) -> dict[str, Any]:
        """Return the unit as JSON-able data, from which `read_unit` makes it again."""
        method = self.method
        return {
            "data": plain(self.task.data),
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
            "ratio": self.ratio,
            "trainings": self.trainings,
        }


def read_unit(description: Mapping[str, Any]) -> Unit:
    """Return the unit that `Unit.describe` wrote."""
    part, where = description["method"], "recorded unit"
    cls = method_class(part["spec"])
    config = build(cls.Config, part["config"], where)
    method = Method(part["spec"], part["preset"], config, cls.info, part["code"])
    task = Task(
        DataRef(**description["data"]),
        description["backbone"],
        build(Protocol, description["protocol"], where),
    )
    seeds = build(Seeds, description["seeds"], where)
    return Unit(task, method, seeds, description["ratio"], description["trainings"])


def label(method: str, ratio: float | None) -> str:
    """Return `method`, or `method @ 1/2` with a plan budget."""
    if ratio is None:
        return method
    simple = Fraction(ratio).limit_denominator(1000)
    exact = simple.numerator == 1 and abs(float(simple) - ratio) < 1e-9
    return f"{method} @ {simple if exact else f'{ratio:g}'}"
