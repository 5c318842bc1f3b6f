"""Equal tuning: one study for every method of a leaderboard, all with the same number of trials.

What is found is kept as the tuned configurations, with their validation scores; a leaderboard then trains and tests
them with seeds of its own. The uniform model is tuned like every other method.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies.leaderboard import REFERENCE, overrides, task_of
from nasbench_rec.studies.reading import read, values_of
from nasbench_rec.studies.running import folder_of
from nasbench_rec.studies.space import own_names, split
from nasbench_rec.studies.study import Pruner, Sampler, Study, Values, with_named_parts

from nasbench_rec.config import build, plain, read_toml, write_text
from nasbench_rec.errors import ConfigError, StoreError, unknown
from nasbench_rec.registry import resolve_method
from nasbench_rec.seeds import Seeds
from nasbench_rec.store import Store
from nasbench_rec.unit import Unit, label

if TYPE_CHECKING:
    import pandas as pd

FILE = "tuned.json"
OBJECTIVE = "valid_auc"


@dataclass(frozen=True)
class Tuning:
    """The same search for every method: one study per method, data set and backbone.

    `shared`: dimensions that all methods have, of the protocol for one. `space`: dimensions of a method's own, by
    method; without an entry all that the method declares. `ratio`: the plan budget of methods that have one.
    """

    title: str = ""
    question: str = ""
    methods: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ("planted",)
    backbones: tuple[str, ...] = ("deepfm",)
    seeds: tuple[int, ...] = (100,)
    """Seeds of each trial; others than those of the leaderboard that tests what was found."""
    split_seed: int = 0
    ratio: float | None = 0.5
    trials: int = 12
    seconds: float | None = None
    sampler: Sampler = field(default_factory=Sampler)
    pruner: Pruner = field(default_factory=Pruner)
    settings: Mapping[str, Values] = field(default_factory=dict)
    shared: Mapping[str, Values] = field(default_factory=dict)
    space: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an empty list of methods, and spaces of methods that do not take part."""
        if not self.methods:
            raise ConfigError("tuning: methods is empty; name at least one.")
        for name in self.space:
            if name not in self.methods:
                raise ConfigError(f"tuning: space.{name}: no method of this tuning; they are {self.methods}.")

    def only(self, methods: Sequence[str]) -> Tuning:
        """Return the tuning of these methods."""
        space = {name: own for name, own in self.space.items() if name in methods}
        return replace(self, methods=tuple(methods), space=space)

    def studies(self, name: str) -> dict[str, Study]:
        """Return the studies by name, `NAME/METHOD-DATASET-BACKBONE`, the reference's first."""
        methods = dict.fromkeys([REFERENCE, *self.methods])
        return {
            f"{name}/{method.replace('/', '.')}-{dataset}-{backbone}": self._study(method, dataset, backbone)
            for dataset in dict.fromkeys(self.datasets)
            for backbone in dict.fromkeys(self.backbones)
            for method in methods
        }

    def _study(self, method: str, dataset: str, backbone: str) -> Study:
        named = resolve_method(method)
        own: Mapping[str, Values] = self.space.get(method, {name: {} for name in own_names(named)})
        settings = {
            k: v for k, v in self.settings.items() if k in (method, named.info.name, dataset, "protocol")
        }
        return Study(
            title=f"{self.title}: {method}, {dataset}, {backbone}",
            question=self.question,
            method=method,
            datasets=(dataset,),
            backbones=(backbone,),
            seeds=self.seeds,
            split_seed=self.split_seed,
            ratio=budget_of(method, self.ratio),
            trials=self.trials,
            seconds=self.seconds,
            sampler=self.sampler,
            pruner=self.pruner,
            settings=settings,
            space={**own, **self.shared},
        )


def budget_of(method: str, ratio: float | None) -> float | None:
    """Return the plan budget at which a method is tuned: none for the uniform model and those without one."""
    info = resolve_method(method).info
    return None if info.budget == "none" or method == REFERENCE else ratio


@dataclass(frozen=True)
class Tuned:
    """What the study of one method found. `settings` and `protocol` are the dimensions' values; empty: the defaults."""

    study: str
    method: str
    dataset: str
    backbone: str
    ratio: float | None
    trials: int
    failed: int
    number: int | None
    """The trial that was chosen; None: no trial succeeded."""
    seconds: float
    default_valid: float | None
    tuned_valid: float | None
    settings: Values
    protocol: Values

    @property
    def changes(self) -> str:
        """What was chosen, in words."""
        return ", ".join(f"{k} {_short(v)}" for k, v in {**self.protocol, **self.settings}.items())

    @property
    def line(self) -> str:
        """The entry in one line."""
        where = f"{self.dataset} {self.backbone} {self.method}"
        if self.tuned_valid is None:
            return f"{where}: none of {self.trials} trials succeeded; it keeps its defaults"
        before = "failed" if self.default_valid is None else f"{self.default_valid:.4f}"
        scores = f"validation AUC {before} -> {self.tuned_valid:.4f}"
        chosen = self.changes or "the defaults were best"
        return f"{where}: {scores} in {self.trials} trials ({self.failed} failed); {chosen}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class TunedSet:
    """The tuned configurations of all methods, with the settings that all of them share."""

    name: str
    title: str
    split_seed: int
    seeds: tuple[int, ...]
    settings: Mapping[str, Values]
    entries: tuple[Tuned, ...]


def collect(tuning: Tuning, name: str, store: Store) -> TunedSet:
    """Read what the studies found and keep it in the store; a method without a complete trial keeps its defaults."""
    entries = tuple(_tuned(title, study, store) for title, study in tuning.studies(name).items())
    found = TunedSet(name, tuning.title, tuning.split_seed, tuning.seeds, tuning.settings, entries)
    write_text(folder_of(store, name) / FILE, json.dumps(plain(found), indent=1) + "\n")
    return found


def _tuned(name: str, study: Study, store: Store) -> Tuned:
    trials = read(name, store)["trials"]
    complete = trials[trials["state"] == "complete"]
    default = complete.loc[complete["default"], OBJECTIVE]
    number = None if complete.empty else int(complete.loc[complete[OBJECTIVE].idxmax(), "number"])
    kept = number is None or bool(complete["default"][complete["number"] == number].any())
    own, shared = ({}, {}) if kept or number is None else split(values_of(name, store, number))
    ended = trials[trials["state"].isin(["complete", "pruned", "failed"]) & ~trials["lost"]]
    return Tuned(
        study=name,
        method=study.method,
        dataset=study.datasets[0],
        backbone=study.backbones[0],
        ratio=study.ratio,
        trials=len(ended),
        failed=int((ended["state"] == "failed").sum()),
        number=number,
        seconds=float(trials["seconds"].sum()),
        default_valid=float(default.iloc[0]) if len(default) else None,
        tuned_valid=None if complete.empty else float(complete[OBJECTIVE].max()),
        settings=own,
        protocol=shared,
    )


def tunings_of(store: Store) -> list[str]:
    """Return the names of the equal tunings in a store."""
    return sorted(path.parent.name for path in (store.path / "studies").glob(f"*/{FILE}"))


def read_tuned(store: Store, name: str) -> TunedSet:
    """Return the tuned configurations that `study NAME` left in the store."""
    path = folder_of(store, name) / FILE
    try:
        values = json.loads(path.read_text())
        values["entries"] = [build(Tuned, entry, f"{path}: entries") for entry in values["entries"]]
        return build(TunedSet, values, str(path))
    except OSError:
        known = tunings_of(store)
        remedy = f"run `nasbench-rec study {name} --store {store.path}` first"
        raise StoreError(
            f"{store.path}: {unknown('tuning', name, known)} If it is not there, {remedy}."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); run the tuning again.") from None


@dataclass(frozen=True)
class Pair:
    """A method as it is and as it was tuned, with one seed."""

    entry: Tuned
    seed: int
    default: Unit
    tuned: Unit


def pairs(
    found: TunedSet, chosen: Mapping[str, Sequence[str]], seeds: int, data_dir: Path | None
) -> list[Pair]:
    """Return default and tuned unit of each method and seed, the reference's first.

    `chosen` names methods, datasets and backbones to keep to; none of a kind: all that were tuned. One that was not
    tuned is a ConfigError.
    """
    if seeds < 1:
        raise ConfigError(f"seeds = {seeds}; at least 1.")
    return [
        Pair(
            entry,
            seed,
            _unit(found, entry, seed, data_dir, {}, {}),
            _unit(found, entry, seed, data_dir, entry.settings, entry.protocol),
        )
        for entry in _chosen(found, chosen)
        for seed in range(seeds)
    ]


def _chosen(found: TunedSet, chosen: Mapping[str, Sequence[str]]) -> list[Tuned]:
    entries = list(found.entries)
    for kind, part in (("methods", "method"), ("datasets", "dataset"), ("backbones", "backbone")):
        wanted, known = chosen.get(kind, ()), {getattr(entry, part) for entry in found.entries}
        for name in wanted:
            if name not in known:
                raise ConfigError(f"{found.name}: {unknown(f'tuned {part}', name, known)}")
        kept = {*wanted, *([REFERENCE] if part == "method" else [])} if wanted else known
        entries = [entry for entry in entries if getattr(entry, part) in kept]
    return entries


def _unit(
    found: TunedSet, entry: Tuned, seed: int, data_dir: Path | None, own: Values, shared: Values
) -> Unit:
    settings = found.settings
    protocol = {**settings.get("protocol", {}), **shared}
    task = task_of(entry.dataset, entry.backbone, data_dir, settings.get(entry.dataset), protocol)
    method = resolve_method(entry.method, {**overrides(settings, entry.method), **own})
    return Unit(task, method, Seeds.of(seed, found.split_seed), entry.ratio)


def plan_frame(planned: Sequence[Pair]) -> pd.DataFrame:
    """Return a row per pair: what `reports.tuning` needs to know of it, and both keys."""
    import pandas as pd

    return pd.DataFrame([_row(pair) for pair in planned])


def _row(pair: Pair) -> dict[str, Any]:
    entry = pair.entry
    return {
        "label": label(entry.method, entry.ratio),
        **{name: getattr(entry, name) for name in ("method", "dataset", "backbone")},
        "ratio": math.nan if entry.ratio is None else entry.ratio,
        "seed": pair.seed,
        "split_seed": pair.tuned.seeds.split,
        "default_key": pair.default.key,
        "tuned_key": pair.tuned.key,
        "trials": entry.trials,
        "tuning_seconds": entry.seconds,
        "default_valid": math.nan if entry.default_valid is None else entry.default_valid,
        "tuned_valid": math.nan if entry.tuned_valid is None else entry.tuned_valid,
        "changes": entry.changes,
    }


def read_tuning(path: Path) -> Tuning:
    """Read a tuning's TOML file, strictly."""
    found = build(Tuning, with_named_parts(read_toml(path), str(path)), str(path))
    for study in found.studies("x").values():
        study.dimensions()
    return found


def is_tuning(path: Path) -> bool:
    """Return whether a TOML file describes a tuning: it names methods, where a study names one."""
    return "methods" in read_toml(path)
