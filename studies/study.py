"""A hyper-parameter study: a method, what may vary, what is wanted of it on validation data, and how it is searched.

The test split has no part in a study: a trial runs its units up to their validation scores. What a study finds is
tested afterwards, by a leaderboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nasbench_rec.studies.leaderboard import check_settings, overrides, protocol_of, toml_names
from nasbench_rec.studies.sharing import queue_followers
from nasbench_rec.studies.space import PROTOCOL, Space, decode, encode, space_of, split, suggest

from nasbench_rec.config import build, plain, read_toml
from nasbench_rec.errors import ConfigError, unknown
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import Method, dataset_class, resolve_dataset, resolve_method
from nasbench_rec.searcher import derive_settings
from nasbench_rec.seeds import Seeds
from nasbench_rec.unit import DataRef, Task, Unit, data_ref

if TYPE_CHECKING:
    from nasbench_rec.studies.sandbox import Job

Values = Mapping[str, Any]
MAXIMIZED = ("valid_auc",)
PRUNABLE = ("valid_auc", "valid_logloss")
"""Objectives of which a trial reports values before its end."""


@dataclass(frozen=True)
class Objective:
    """A number of a unit's outcome (`nasbench_rec.validation.NUMBERS`) and which way is better."""

    name: str
    direction: Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Sampler:
    """Who chooses the next configuration. `startup_trials`: random ones first (of nsga2: its population)."""

    name: Literal["tpe", "gp", "cmaes", "nsga2", "qmc", "random", "grid"] = "tpe"
    seed: int = 0
    startup_trials: int = 10


@dataclass(frozen=True)
class Pruner:
    """Who stops a trial early, by its validation scores so far, epoch by epoch; `wilcoxon`: by pairs of units.

    `startup_trials` and `warmup` epochs are left alone; `reduction_factor` of asha and hyperband.
    """

    name: Literal["none", "median", "asha", "hyperband", "wilcoxon"] = "none"
    startup_trials: int = 5
    warmup: int = 2
    reduction_factor: int = 3
    p_threshold: float = 0.1
    reports: Literal["all", "search", "retrain"] = "all"
    """Whose scores count: those of the search model, of the retrained one, or both, one after the other."""


@dataclass(frozen=True)
class Study:
    """What is searched. A trial is one configuration on every data set, backbone and seed; its value is the mean.

    `space`: dimensions by name, each with changes of the range that the setting declares; empty: all that the
    method declares. `settings` are overrides as in a leaderboard. `seconds`: no new trial after so much wall-clock
    time, over all calls. The first trial is the method as it is, where `include_default`.
    """

    title: str = ""
    question: str = ""
    method: str = ""
    datasets: tuple[str, ...] = ("planted",)
    backbones: tuple[str, ...] = ("deepfm",)
    seeds: tuple[int, ...] = (0,)
    split_seed: int = 0
    ratio: float | None = None
    trainings: float | None = None
    trials: int = 30
    seconds: float | None = None
    objectives: tuple[str, ...] = ("valid_auc",)
    sampler: Sampler = field(default_factory=Sampler)
    pruner: Pruner = field(default_factory=Pruner)
    include_default: bool = True
    per_search: int = 1
    """Trials for each search: its settings stay, and those of the derive stage vary, where a search is done."""
    settings: Mapping[str, Values] = field(default_factory=dict)
    space: Mapping[str, Values] = field(default_factory=dict)
    contour: tuple[tuple[str, str], ...] = ()
    """Pairs of dimensions to draw; empty: the two that matter most."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, and what does not go together."""
        for name in ("method", "datasets", "backbones", "seeds", "objectives"):
            if not getattr(self, name):
                raise ConfigError(f"study: {name} is empty; a study needs it.")
        if self.trials < 1 or (self.seconds is not None and self.seconds <= 0):
            raise ConfigError(f"study: trials = {self.trials}, seconds = {self.seconds}; above 0.")
        if len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(f"study: objectives = {list(self.objectives)}; name each once.")
        if self.per_search < 1 or (self.per_search > 1 and self.sampler.name == "grid"):
            raise ConfigError(f"study: per_search = {self.per_search}; at least 1, and with a grid just 1.")
        self._check_pruner()
        if self.sampler.name == "cmaes" and len(self.objectives) > 1:
            raise ConfigError("study: the sampler cmaes has one objective; take tpe, nsga2, gp or random.")

    def _check_pruner(self) -> None:
        name = self.pruner.name
        if name == "none":
            return
        if len(self.objectives) > 1 or self.objectives[0] not in PRUNABLE:
            raise ConfigError(
                f"study: the pruner {name} needs one objective, {' or '.join(PRUNABLE)}; "
                f"got {list(self.objectives)}. Set pruner.name = 'none'."
            )
        units = len(self.seeds) * len(self.datasets) * len(self.backbones)
        if name == "wilcoxon" and units < 3:
            raise ConfigError(
                f"study: the pruner wilcoxon compares trials in pairs of units and has {units}; give more seeds."
            )

    def goals(self) -> tuple[Objective, ...]:
        """Return the objectives with their directions."""
        from nasbench_rec.validation import NUMBERS

        for name in self.objectives:
            if name not in NUMBERS:
                raise ConfigError(f"study: {unknown('objective', name, NUMBERS)}")
        return tuple(Objective(n, "maximize" if n in MAXIMIZED else "minimize") for n in self.objectives)

    def base(self) -> Method:
        """Return the method as it is: preset and settings, nothing varied."""
        return resolve_method(self.method, overrides(self.settings, self.method))

    def dimensions(self) -> Space:
        """Return the space."""
        return space_of(self.base(), self.space)

    def bind(self, data_dir: Path | None) -> BoundStudy:
        """Return the study with its source files looked up; names, settings and ranges are checked here."""
        from nasbench_rec.pipeline import check_backbone

        for dataset in self.datasets:
            dataset_class(dataset)
        check_settings(self.settings, [self.base()], [self.method], self.datasets)
        for backbone in self.backbones:
            check_backbone(backbone)
        self.goals()
        refs = [data_ref(name, data_dir, self.settings.get(name)) for name in dict.fromkeys(self.datasets)]
        bound = BoundStudy(self, tuple(refs), str(data_dir.resolve()) if data_dir else None)
        bound.units({})
        bound.check()
        return bound


@dataclass(frozen=True)
class BoundStudy:
    """A study on its data. JSON-able parts only: it travels to workers."""

    study: Study
    data: tuple[DataRef, ...]
    data_dir: str | None

    @cached_property
    def space(self) -> Space:
        """What varies."""
        return self.study.dimensions()

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Every setting where nothing is varied; those of the protocol as `protocol.NAME`."""
        shared = plain(self._protocol(self.data[0], {}))
        return {**plain(self.study.base().config), **{PROTOCOL + k: v for k, v in shared.items()}}

    @cached_property
    def derive_names(self) -> set[str]:
        """The dimensions that no search depends on."""
        config = self.study.base().config
        return set(derive_settings(config)) & {d.name for d in self.space}

    @cached_property
    def default_params(self) -> dict[str, Any]:
        """The encoded parameters of the trial of the defaults: those that lie in their ranges and would be asked."""
        return self.asked(encode(self.defaults, self.space))

    def asked(self, values: Values) -> dict[str, Any]:
        """Return those of the encoded values that are asked for, as their conditions say."""
        return suggest(_Fixed(values), self.space, self.defaults, values)

    def ask(self, trial: Any) -> dict[str, Any]:
        """Ask a trial of Optuna (or what stands for one) for encoded parameters."""
        first = self.study.include_default and (trial.number == 0 or trial.user_attrs.get("default", False))
        params = suggest(trial, self.space, self.defaults, self.default_params if first else None)
        if self.study.per_search > 1:
            queue_followers(self, trial.study)
        return params

    def values(self, params: Values) -> dict[str, Any]:
        """Return the real values of encoded parameters."""
        return decode(params, self.space)

    def units(self, params: Values) -> list[Unit]:
        """Return the units of a configuration: every data set, backbone and seed, in pairs with any other's."""
        study, (own, shared) = self.study, split(self.values(params))
        method = resolve_method(study.method, {**overrides(study.settings, study.method), **own})
        return [
            Unit(
                Task(ref, backbone, self._protocol(ref, shared)),
                method,
                Seeds.of(seed, study.split_seed),
                study.ratio,
                study.trainings,
            )
            for ref in self.data
            for backbone in dict.fromkeys(study.backbones)
            for seed in dict.fromkeys(study.seeds)
        ]

    def _protocol(self, ref: DataRef, changes: Values) -> Protocol:
        source = resolve_dataset(ref.name, ref.config)
        return protocol_of(source, {**self.study.settings.get("protocol", {}), **changes})

    def job(self, params: Values, root: Path, threads: int) -> Job:
        """Return what a worker evaluates for a configuration."""
        from nasbench_rec.studies.sandbox import Job

        units = tuple(unit.describe() for unit in self.units(params))
        reports = self.study.pruner.reports
        return Job(units, str(root.resolve()), self.data_dir, threads, reports, self.stride)

    @property
    def stride(self) -> int:
        """E, the most epochs that a phase reports: the protocol's, whatever a trial varies."""
        return max(self._protocol(ref, {}).epochs for ref in self.data)

    @property
    def steps(self) -> int:
        """The steps of a whole trial: two phases of E epochs for each unit."""
        return 2 * self.stride * len(self.units({}))

    def value(self, outcomes: Sequence[Mapping[str, Any]]) -> list[float]:
        """Return a trial's value per objective: the mean over its units."""
        return [sum(float(o[g.name]) for o in outcomes) / len(outcomes) for g in self.study.goals()]

    def check(self) -> None:
        """Refuse a space that the sampler cannot search."""
        sampler = self.study.sampler.name
        if sampler == "grid":
            for dimension in self.space:
                dimension.grid()
        if sampler == "cmaes" and any(d.when for d in self.space):
            raise ConfigError("study: the sampler cmaes knows no conditional dimensions; take tpe or random.")

    def describe(self) -> dict[str, Any]:
        """Return what makes it this study and no other, as JSON-able data; lengths and words are not part of it."""
        apart = {"title": "", "question": "", "trials": 1, "seconds": None, "contour": ()}
        base = self.study.base()
        return {
            "study": plain(replace(self.study, **apart)),  # type: ignore[arg-type]
            "space": plain(list(self.space)),
            "data": plain(list(self.data)),
            "version": base.info.version,
            "code": base.code,
        }


class _Fixed:
    """Stands for a trial whose values are known."""

    def __init__(self, values: Values) -> None:
        self.values = values

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return the value."""
        return self.values[name]

    def suggest_int(self, name: str, low: int, high: int, **more: Any) -> int:
        """Return the value."""
        return int(self.values[name])

    def suggest_float(self, name: str, low: float, high: float, **more: Any) -> float:
        """Return the value."""
        return float(self.values[name])


def read_study(path: Path) -> Study:
    """Read a study's TOML file, strictly: a ConfigError names the file, the setting and the nearest name."""
    return study_from(read_toml(path), str(path))


def study_from(values: Values, where: str) -> Study:
    """Build a study from what its TOML file holds."""
    space = values.get("space", {})
    if not isinstance(space, dict) or not all(isinstance(v, dict) for v in space.values()):
        raise ConfigError(f"{where}: space: write each dimension as a table, [space.lam].")
    study = build(Study, with_named_parts(values, where), where)
    study.dimensions()
    return study


def with_named_parts(values: Values, where: str) -> dict[str, Any]:
    """Return a file's values with its sampler and pruner checked; a name alone will do for either."""
    found = dict(values)
    for name, cls in (("sampler", Sampler), ("pruner", Pruner)):
        part = found.get(name, {})
        found[name] = plain(build(cls, {"name": part} if isinstance(part, str) else part, f"{where}: {name}"))
    return found


def _folder() -> Any:
    return files("nasbench_rec.studies") / "hyper"


def shipped_studies() -> list[str]:
    """Return the names of the studies that come with the package."""
    return toml_names(_folder())


def shipped_study(name: str) -> Path:
    """Return the file of a study that comes with the package."""
    return Path(str(_folder() / f"{name}.toml"))


def describe_studies() -> list[dict[str, str]]:
    """Return name, title and question of the studies that come with the package."""
    found = {name: read_toml(shipped_study(name)) for name in shipped_studies()}
    return [{"name": n, "title": v["title"], "question": v["question"]} for n, v in found.items()]
