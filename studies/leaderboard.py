"""A leaderboard: data sets x backbones x methods x plan budgets x seeds, as units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from nasbench_rec.config import build, plain, read_toml
from nasbench_rec.data import DatasetSource
from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.pipeline import check_backbone
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import Method, resolve_dataset, resolve_method
from nasbench_rec.seeds import Seeds
from nasbench_rec.unit import Task, Unit, data_ref

REFERENCE = "fixed"


@dataclass(frozen=True)
class Leaderboard:
    """What is compared. The reference `fixed` at full width always takes part: differences are paired with it.

    Methods with a plan budget appear once for each of `ratios`, the others once, where they land.
    `settings` are overrides: `[settings.ihas] k = 4`, `[settings.planted] tier = "T3"`, `[settings.protocol] ...`.
    """

    datasets: tuple[str, ...] = ("planted",)
    backbones: tuple[str, ...] = ("deepfm",)
    methods: tuple[str, ...] = (REFERENCE,)
    seeds: int = 3
    ratios: tuple[float, ...] = (0.5,)
    trainings: float | None = None
    split_seed: int = 0
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """Explanations, by method, that the report puts beside a row that is not above random plans of its size."""

    def __post_init__(self) -> None:
        """Refuse empty lists and values that make no sense."""
        for name in ("datasets", "backbones", "methods"):
            if not getattr(self, name):
                raise ConfigError(f"leaderboard: {name} is empty; name at least one.")
        if self.seeds < 1:
            raise ConfigError(f"leaderboard: seeds = {self.seeds}; at least 1.")
        for ratio in self.ratios:
            if not 0 < ratio <= 1:
                raise ConfigError(
                    f"leaderboard: ratio {ratio} is not in (0, 1]: a share of the uniform model's bytes."
                )
        if self.trainings is not None and self.trainings <= 0:
            raise ConfigError(
                f"leaderboard: trainings = {self.trainings}; above 0, or left out for no limit."
            )

    def units(self, data_dir: Path | None) -> list[Unit]:
        """Return all units, the reference's first: others share its stages.

        Names, settings and source files are checked here, before anything runs.
        """
        methods = self._methods()
        tasks = [
            task_of(
                name,
                check_backbone(backbone),
                data_dir,
                self.settings.get(name),
                self.settings.get("protocol"),
            )
            for name in dict.fromkeys(self.datasets)
            for backbone in dict.fromkeys(self.backbones)
        ]
        check_settings(self.settings, methods, self.methods, self.datasets)
        known = {*self.methods, *(m.info.name for m in methods)}
        for name in self.notes:
            if name not in known:
                raise ConfigError("notes: " + unknown("method that takes part", name, known))
        found = [
            Unit(task, method, Seeds.of(seed, self.split_seed), ratio, self.trainings)
            for method in methods
            for task in tasks
            for seed in range(self.seeds)
            for ratio in self._ratios(method)
        ]
        return list({unit.key: unit for unit in found}.values())

    def _methods(self) -> list[Method]:
        named = list(dict.fromkeys([REFERENCE, *self.methods]))
        return [resolve_method(name, overrides(self.settings, name)) for name in named]

    def _ratios(self, method: Method) -> list[float | None]:
        if method.info.budget == "none":
            return [None]
        ratios: list[float | None] = [
            r for r in dict.fromkeys(self.ratios) if r < 1 or method.spec != REFERENCE
        ]
        return [None, *ratios] if method.spec == REFERENCE else ratios


def overrides(settings: Mapping[str, Mapping[str, Any]], method: str) -> dict[str, Any]:
    """Return a method's settings: those of its name hold for all its presets, those of `name/preset` come on top."""
    base = resolve_method(method).info.name
    return {**settings.get(base, {}), **(settings.get(method, {}) if method != base else {})}


def check_settings(
    settings: Iterable[str], methods: Iterable[Method], texts: Iterable[str], datasets: Iterable[str]
) -> None:
    """Refuse settings for what does not take part; `texts` are the methods as they were written."""
    named = {*(m.info.name for m in methods), *texts, *datasets, "protocol"}
    for name in settings:
        if name not in named:
            raise ConfigError("settings: " + unknown("method or data set that takes part", name, named))


def task_of(
    dataset: str,
    backbone: str,
    data_dir: Path | None,
    data_settings: Mapping[str, Any] | None = None,
    protocol_settings: Mapping[str, Any] | None = None,
) -> Task:
    """Return the task of a data set, with its recommended protocol and overrides; checks its source files."""
    ref = data_ref(dataset, data_dir, data_settings)
    return Task(ref, backbone, protocol_of(resolve_dataset(ref.name, ref.config), protocol_settings))


def protocol_of(source: DatasetSource, settings: Mapping[str, Any] | None = None) -> Protocol:
    """Return the data set's recommended protocol with overrides."""
    return build(Protocol, plain({**source.info.protocol, **(settings or {})}), "protocol")


def toml_names(folder: Traversable) -> list[str]:
    """Return the names of the TOML files in a folder of the package."""
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def shipped_names() -> list[str]:
    """Return the names of the leaderboards that come with the package."""
    return toml_names(files("nasbench_rec.studies"))


def shipped(name: str = "leaderboard") -> Leaderboard:
    """Return a leaderboard that comes with the package."""
    return read_leaderboard(Path(str(files("nasbench_rec.studies") / f"{name}.toml")))


def read_leaderboard(path: Path) -> Leaderboard:
    """Read a leaderboard's TOML file, strictly."""
    return build(Leaderboard, read_toml(path), str(path))
