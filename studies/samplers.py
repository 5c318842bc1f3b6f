"""Optuna's samplers and pruners by the names that a study gives them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies.study import BoundStudy

from nasbench_rec.config import canonical
from nasbench_rec.seeds import stream

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SEQUENCES = ("qmc",)
"""Samplers whose seed names a whole sequence: it is the same for every trial."""


def make_sampler(bound: BoundStudy, number: int) -> BaseSampler:
    """Return the sampler that chooses trial `number`.

    Its seed is the trial's own, so that what is asked depends on the trials before it and on nothing that a killed
    process forgot.
    """
    from optuna.exceptions import ExperimentalWarning

    sampler = bound.study.sampler
    seed = sampler.seed if sampler.name in SEQUENCES else stream(f"sampler/{number}", sampler.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _SAMPLERS[sampler.name](bound, seed % 2**32, sampler.startup_trials)


def _tpe(bound: BoundStudy, seed: int, startup: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    # Groups: trials that lack a dimension (conditions, the defaults) do not make it independent of the others.
    return TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, group=True, constant_liar=True)


def _gp(bound: BoundStudy, seed: int, startup: int) -> BaseSampler:
    import torch
    from optuna.samplers import GPSampler

    torch.set_num_threads(1)  # its kernels are small, and the cores are the trials'
    return GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)


def _cmaes(bound: BoundStudy, seed: int, startup: int) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    return CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)


def _nsga2(bound: BoundStudy, seed: int, startup: int) -> BaseSampler:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=max(2, startup))


def _qmc(bound: BoundStudy, seed: int, startup: int) -> BaseSampler:
    from optuna.samplers import QMCSampler

    return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)


def _random(bound: BoundStudy, seed: int, startup: int) -> BaseSampler:
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


_SAMPLERS: dict[str, Callable[[BoundStudy, int, int], Any]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "nsga2": _nsga2,
    "qmc": _qmc,
    "random": _random,
    "grid": _random,
}


def make_pruner(bound: BoundStudy) -> BasePruner:
    """Return the pruner of a study; steps are epochs (`BoundStudy.stride`), for `wilcoxon` units."""
    from optuna import pruners

    pruner = bound.study.pruner
    if pruner.name == "none":
        return pruners.NopPruner()
    if pruner.name == "median":
        return pruners.MedianPruner(pruner.startup_trials, n_warmup_steps=pruner.warmup)
    first, factor = max(1, pruner.warmup), pruner.reduction_factor
    if pruner.name == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor, bootstrap_count=0)
    if pruner.name == "hyperband":
        return pruners.HyperbandPruner(min_resource=first, max_resource=bound.steps, reduction_factor=factor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pruners.WilcoxonPruner(p_threshold=pruner.p_threshold, n_startup_steps=2)


def first_points(bound: BoundStudy) -> list[dict[str, Any]]:
    """Return the encoded parameters that a study begins with: the defaults; of a grid all of its points, shuffled.

    Optuna's GridSampler stops a study from inside, which ask and tell do not bear, and forgets queued points.
    """
    default = [bound.default_params] if bound.study.include_default else []
    if bound.study.sampler.name != "grid":
        return default
    names = [d.name for d in bound.space]
    every = (dict(zip(names, values, strict=True)) for values in product(*(d.grid() for d in bound.space)))
    points = {canonical(point): point for point in map(bound.asked, every)}  # conditions make some alike
    shuffled = list(points.values())
    Random(bound.study.sampler.seed).shuffle(shuffled)
    return [*default, *(point for point in shuffled if point not in default)]


def wanted_trials(bound: BoundStudy) -> int:
    """Return how many trials the study asks for: no more than a grid has points."""
    trials = bound.study.trials
    return min(trials, len(first_points(bound))) if bound.study.sampler.name == "grid" else trials
