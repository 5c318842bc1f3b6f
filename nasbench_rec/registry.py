"""Methods and data sets by name: in-tree and third-party ones register alike, by entry points.

A method is named `name` or `name/preset`; one that is not installed is named `file.py:Class` or `module:Class`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nasbench_rec.config import build, plain
from nasbench_rec.data import DatasetSource
from nasbench_rec.errors import ConfigError, RegistryError, unknown

if TYPE_CHECKING:  # searchers bring torch; data sets do without
    from nasbench_rec.searcher import MethodInfo, Searcher

METHODS, DATASETS = "nasbench_rec.methods", "nasbench_rec.datasets"
TABLE = "table"
"""The data set that is described by a user's TOML file."""
_NAME = re.compile(r"[a-z][a-z0-9-]*")


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; two different ones of one name are refused."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise RegistryError(
                f"{point.name!r} is registered twice in {group}: {other.value} and {point.value}; uninstall one."
            )
        if not _NAME.fullmatch(point.name):
            raise RegistryError(
                f"{point.name!r} ({point.value}) is no valid name in {group}: lower-case letters, digits and "
                "hyphens, starting with a letter."
            )
    return found


def method_names() -> list[str]:
    """Return the names of the registered methods."""
    return sorted(_points(METHODS))


def dataset_names() -> list[str]:
    """Return the names of the registered data sets; a table is named by its file."""
    return sorted(set(_points(DATASETS)) - {TABLE})


def _load(group: str, kind: str, name: str) -> Any:
    points = _points(group)
    if name not in points:
        hint = " Or the path of a table's TOML file." if group == DATASETS else ""
        raise ConfigError(unknown(kind, name, set(points) - {TABLE}) + hint)
    try:
        return points[name].load()
    except Exception as error:  # noqa: BLE001 - whatever third-party code raises while it is imported
        raise RegistryError(
            f"{kind} {name!r} ({points[name].value}) cannot be loaded: {type(error).__name__}: {error}. "
            "Mend or uninstall the package that registers it."
        ) from None


def method_class(spec: str) -> type[Searcher]:
    """Return the class of a method by name, or of `file.py:Class` / `module:Class`, checked."""
    cls = _from_source(spec) if ":" in spec else _load(METHODS, "method", spec)
    return _checked_method(cls, spec)


def _checked_method(cls: Any, spec: str) -> type[Searcher]:
    from nasbench_rec.searcher import MethodInfo, Searcher

    where = f"method {spec!r}"
    if not (inspect.isclass(cls) and issubclass(cls, Searcher)):
        raise RegistryError(f"{where}: is not a subclass of nasbench_rec.searcher.Searcher.")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))
        raise RegistryError(f"{where}: does not define {missing}.")
    if not isinstance(getattr(cls, "info", None), MethodInfo):
        raise RegistryError(f"{where}: has no `info: MethodInfo`.")
    if not is_dataclass(getattr(cls, "Config", None)):
        raise RegistryError(f"{where}: has no `Config` dataclass.")
    if ":" not in spec and cls.info.name != spec:
        raise RegistryError(f"{where}: calls itself {cls.info.name!r} in its info; both names must agree.")
    if ":" in spec and cls.info.name in _points(METHODS):
        raise RegistryError(
            f"{where}: calls itself {cls.info.name!r}, the name of a registered method; rename it."
        )
    if not _NAME.fullmatch(cls.info.name):
        raise RegistryError(
            f"{where}: {cls.info.name!r} is no valid name (lower-case letters, digits, hyphens)."
        )
    return cls


def _from_source(spec: str) -> Any:
    source, _, name = spec.rpartition(":")
    try:
        module = _module_of_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except Exception as error:  # noqa: BLE001 - whatever the user's file raises while it is imported
        raise RegistryError(f"method {spec!r} cannot be loaded: {type(error).__name__}: {error}") from None
    if not hasattr(module, name):
        raise RegistryError(f"method {spec!r}: {source} has no class {name!r}.")
    return getattr(module, name)


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    content = str(path.resolve()).encode() + path.read_bytes()
    name = f"nasbench_rec_user_{hashlib.sha256(content).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look their module up while the class is made
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@dataclass(frozen=True)
class Method:
    """A method with its configuration: what a unit runs. `name` is what tables print."""

    spec: str
    preset: str
    config: Any
    info: MethodInfo
    code: str = ""
    """Content hash of the file of a `file.py:Class` method: editing it makes new units."""

    @property
    def name(self) -> str:
        """The method's name, with its preset if it has one."""
        return f"{self.info.name}/{self.preset}" if self.preset else self.info.name

    def searcher(self) -> Searcher:
        """Return a fresh searcher."""
        return method_class(self.spec)(self.config)


def resolve_method(text: str, overrides: Mapping[str, Any] | None = None) -> Method:
    """Return the method written `name`, `name/preset` or `file.py:Class`, with `overrides` on its configuration."""
    spec, preset = text, ""
    if ":" not in text:
        spec, _, preset = text.partition("/")
    cls = method_class(spec)
    if preset and preset not in cls.presets:
        raise ConfigError(unknown(f"preset of {spec!r}", preset, cls.presets))
    values = {**(cls.presets[preset] if preset else {}), **(overrides or {})}
    config: Any = build(cls.Config, values, f"method {text!r}")
    return Method(spec, preset, config, cls.info, code_of(spec))


def code_of(spec: str) -> str:
    """Return the content hash of the file of a `file.py:Class` method, else an empty text."""
    path = Path(spec.rpartition(":")[0])
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20] if path.suffix == ".py" else ""


def is_table(name: str) -> bool:
    """Return whether a data set's name means a user's own table: the path of its TOML file."""
    return name.endswith(".toml")


def dataset_class(name: str) -> type[DatasetSource]:
    """Return the class of a data set by name; `NAME.toml` and `table:NAME` are tables."""
    cls = _load(DATASETS, "data set", TABLE if is_table(name) else name.partition(":")[0])
    if not (inspect.isclass(cls) and issubclass(cls, DatasetSource)):
        raise RegistryError(f"data set {name!r}: is not a subclass of nasbench_rec.data.DatasetSource.")
    return cls


def resolve_dataset(name: str, overrides: Mapping[str, Any] | None = None) -> DatasetSource:
    """Return the source of data set `name`, or of a table's TOML file, with `overrides` on its configuration."""
    cls: Any = dataset_class(name)
    if is_table(name):
        return cls.read(Path(name), plain(overrides or {}))
    return cls(build(cls.Config, plain(overrides or {}), f"data set {name!r}"))
