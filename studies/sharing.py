"""Trials that share a search: after a trial has ended, others with its search settings and other derive settings.

They are queued when the next trial is asked for, by Optuna's public calls alone, so both engines do it; and only for
trials that have ended, so that no worker waits for a search that another one runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

from nasbench_rec.errors import ConfigError
from nasbench_rec.seeds import stream

if TYPE_CHECKING:
    import optuna
    from nasbench_rec.studies.study import BoundStudy
    from optuna.trial import FrozenTrial


def queue_followers(bound: BoundStudy, study: optuna.Study) -> None:
    """Queue what is missing of the trials that share their search with one that is complete."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    known = {(t.user_attrs["shares"], t.user_attrs["follower"]) for t in trials if "shares" in t.user_attrs}
    for trial in trials:
        if trial.state != TrialState.COMPLETE or "shares" in trial.user_attrs:
            continue
        for at, params in enumerate(followers(bound, trial)):
            if (trial.number, at) not in known:
                study.enqueue_trial(params, user_attrs={"shares": trial.number, "follower": at})


def followers(bound: BoundStudy, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    """Yield `per_search` - 1 parameters with the search settings of a trial.

    Derive settings that can be counted are drawn without repeating one; others are left to the sampler.
    """
    count = bound.study.per_search - 1
    varied = [d for d in bound.space if d.name in bound.derive_names and d.name in trial.params]
    kept = {n: v for n, v in trial.params.items() if n not in {d.name for d in varied}}
    try:
        values = [d.grid() for d in varied]
    except ConfigError:
        yield from [kept] * count
        return
    names = [d.name for d in varied]
    points = [{**kept, **dict(zip(names, point, strict=True))} for point in product(*values)]
    points = [point for point in points if point != trial.params]
    Random(stream(f"followers/{trial.number}", bound.study.sampler.seed)).shuffle(points)
    yield from points[:count]
