"""The space of a study: what may vary, in which range. Both engines ask for it through `suggest`, define by run.

A dimension is named by a setting of the method (`lam`), or of the protocol (`protocol.lr`). Its range comes from
the setting's own metadata `space`, and what a study's TOML says goes before it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias

from nasbench_rec.config import build, plain
from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import Method

Kind = Literal["float", "int", "categorical"]
PROTOCOL = "protocol."


@dataclass(frozen=True)
class Dimension:
    """One thing that varies. `choices` make it categorical; `when`: asked only where other dimensions (or, if they
    do not vary, settings) have the value, or one of the values, named there.
    """

    name: str
    type: Kind = "float"
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    when: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing."""
        where = f"space.{self.name}"
        if self.type == "categorical":
            if not self.choices or len({_text(c) for c in self.choices}) < len(self.choices):
                raise ConfigError(f"{where}: choices = {list(self.choices)}; give different values.")
            return
        if self.low is None or self.high is None or not self.low < self.high:
            raise ConfigError(f"{where}: low = {self.low}, high = {self.high}; give two numbers, low < high.")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ConfigError(f"{where}: a logarithmic range begins above 0 and has no step.")
        if self.step is not None and self.step <= 0:
            raise ConfigError(f"{where}: step = {self.step}; above 0.")
        if self.type == "int" and any(
            v is not None and v != int(v) for v in (self.low, self.high, self.step)
        ):
            raise ConfigError(f"{where}: low, high and step of whole numbers are whole numbers.")

    def holds(self, value: Any) -> bool:
        """Return whether a value lies in the range."""
        if self.type == "categorical":
            return _text(value) in {_text(c) for c in self.choices}
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if self.type == "int" and value != int(value):
            return False
        assert self.low is not None and self.high is not None
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-9)

    def ask(self, trial: Any) -> Any:
        """Ask an Optuna trial (or what stands for one) for a value, encoded."""
        if self.type == "categorical":
            return trial.suggest_categorical(self.name, [_encoded(c) for c in self.choices])
        if self.type == "int":
            low, high, step = int(self.low or 0), int(self.high or 0), int(self.step or 1)
            return trial.suggest_int(self.name, low, high, step=step, log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def grid(self) -> list[Any]:
        """Return all values, encoded; a ConfigError where they cannot be counted."""
        if self.type == "categorical":
            return [_encoded(c) for c in self.choices]
        assert self.low is not None and self.high is not None
        if self.type == "float" and self.step is None:
            raise ConfigError(f"space.{self.name}: a grid needs `choices` or a `step` here.")
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        found = [self.low + i * step for i in range(count)]
        return [int(v) for v in found] if self.type == "int" else found


Space: TypeAlias = tuple[Dimension, ...]


def _text(value: Any) -> str:
    return json.dumps(plain(value), sort_keys=True)


def _encoded(value: Any) -> Any:
    """Return what Optuna can hold: lists and tables travel as JSON text."""
    return _text(value) if isinstance(value, (list, tuple, Mapping)) else value


def encode(values: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the values of the space's dimensions as an Optuna trial holds them; those outside are left out."""
    known = {d.name: d for d in space}
    return {n: _encoded(v) for n, v in values.items() if n in known and known[n].holds(v)}


def decode(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the real values of a trial's parameters."""
    lists = {d.name: {_encoded(c): plain(c) for c in d.choices if _encoded(c) is not c} for d in space}
    return {n: lists.get(n, {}).get(v, v) if isinstance(v, str) else v for n, v in params.items()}


def suggest(
    trial: Any, space: Space, defaults: Mapping[str, Any], only: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Ask a trial for every dimension whose condition holds; return the encoded values.

    `defaults` are the settings that hold where nothing is asked. `only`: ask for these dimensions alone (the
    trial of the defaults, whose other values lie outside their ranges).
    """
    found: dict[str, Any] = {}
    for dimension in space:
        known = {**defaults, **decode(found, space)}
        if only is not None and dimension.name not in only:
            continue
        if all(_meets(known.get(name), wanted) for name, wanted in dimension.when.items()):
            found[dimension.name] = dimension.ask(trial)
    return found


def _meets(value: Any, wanted: Any) -> bool:
    allowed = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    return _text(value) in {_text(w) for w in allowed}


def space_of(method: Method, wanted: Mapping[str, Mapping[str, Any]]) -> Space:
    """Return the space `wanted` (names to changes of their ranges), or all that the method declares if empty.

    A dimension whose condition names another stands behind it; conditions on settings that do not vary are decided
    here.
    """
    declared = _declared(method)
    names = list(wanted) or own_names(method)
    if not names:
        raise ConfigError(
            f"method {method.name!r} declares no search space; name dimensions in [space], protocol.lr for one."
        )
    known = _settings(method)
    for name in names:
        if name not in known:
            raise ConfigError(f"space: {unknown('setting', name, known)}")
    found = [_dimension(n, {**declared.get(n, {}), **wanted.get(n, {})}) for n in names]
    return _ordered([_decided(dimension, names, method.config) for dimension in found])


def _decided(dimension: Dimension, names: Sequence[str], config: Any) -> Dimension:
    """Return the dimension without the conditions that hold anyway; one that can never hold is a ConfigError."""
    for name, wanted in dimension.when.items():
        if name not in names and not _meets(plain(getattr(config, name, None)), wanted):
            raise ConfigError(
                f"space.{dimension.name}: asked only where {name} = {wanted}; here it is "
                f"{getattr(config, name, None)!r}. Set it so in [settings], or leave the dimension out."
            )
    return replace(dimension, when={k: v for k, v in dimension.when.items() if k in names})


def own_names(method: Method) -> list[str]:
    """Return the method's own settings that declare a range."""
    return [name for name in _declared(method) if not name.startswith(PROTOCOL)]


def _settings(method: Method) -> list[str]:
    return [f.name for f in fields(method.config)] + [PROTOCOL + f.name for f in fields(Protocol)]


def _declared(method: Method) -> dict[str, dict[str, Any]]:
    """Return the ranges that settings declare of themselves."""
    own = {f.name: f.metadata["space"] for f in fields(method.config) if "space" in f.metadata}
    shared = {PROTOCOL + f.name: f.metadata["space"] for f in fields(Protocol) if "space" in f.metadata}
    return {name: dict(space) for name, space in {**own, **shared}.items()}


def _dimension(name: str, values: dict[str, Any]) -> Dimension:
    if values.get("choices") and values.get("type") != "categorical":
        values = {"type": "categorical", "choices": values["choices"], "when": values.get("when", {})}
    if "type" not in values and "low" not in values:
        raise ConfigError(f"space.{name}: declares no range of its own; give type, low and high, or choices.")
    return build(Dimension, {**values, "name": name}, f"space.{name}")


def _ordered(space: Sequence[Dimension]) -> Space:
    found: list[Dimension] = []
    left = list(space)
    while left:
        names = {d.name for d in left}
        ready = [d for d in left if not names & set(d.when)]
        if not ready:
            raise ConfigError(f"space: the conditions of {', '.join(sorted(names))} wait for each other.")
        found += ready
        left = [d for d in left if d not in ready]
    return tuple(found)


def split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values that are settings of the method, and those of the protocol."""
    own = {n: v for n, v in values.items() if not n.startswith(PROTOCOL)}
    return own, {n.removeprefix(PROTOCOL): v for n, v in values.items() if n.startswith(PROTOCOL)}
