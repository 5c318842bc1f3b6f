"""What Ray Tune's folder tells of trials that have ended, and the Optuna study made of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies.storage import JOURNAL, create, journal_storage
from nasbench_rec.studies.study import BoundStudy

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

OUTCOMES, CURVE, REASON, FINAL = "outcomes", "curve", "reason", "final"
"""What a result holds beside scores: the units' outcomes and the scores so far as JSON text, why the trial failed,
and that it is the last."""
NODE_DIED = "the worker or its node died, again and again"


@dataclass(frozen=True)
class Ended:
    """A trial of Tune that has ended. `state`: COMPLETE, PRUNED or FAIL; `curve`: step to score."""

    params: dict[str, Any]
    state: str
    reason: str
    began: float
    seconds: float
    outcomes: list[dict[str, Any]] = field(default_factory=list)
    curve: dict[int, float] = field(default_factory=dict)


def experiments(root: Path) -> list[Path]:
    """Return Tune's experiments of a study, N-TRIALS each, in the order in which they were begun."""
    found = [p for p in root.glob("*-*") if p.name.replace("-", "").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.partition("-")[0]))


def ended_trials(root: Path) -> list[Ended]:
    """Return the trials of a study that have ended, in the order in which they were asked for."""
    return [ended for folder in experiments(root) for ended in ended_in(folder)]


def ended_in(folder: Path) -> list[Ended]:
    """Return the trials of one experiment that have ended."""
    if not any(folder.glob("experiment_state-*.json")):
        return []
    from ray.tune import ExperimentAnalysis

    # Tune's tag begins with the trial's number; the snapshot lists trials in another order.
    trials = sorted(
        ExperimentAnalysis(str(folder)).trials or [], key=lambda t: int(t.experiment_tag.partition("_")[0])
    )
    return [end_of(t) for t in trials if t.status in ("TERMINATED", "ERROR")]


def end_of(trial: Any) -> Ended:
    """Return what a trial of Tune that has ended says of itself."""
    last: Mapping[str, Any] = trial.last_result or {}
    if trial.status == "ERROR":
        state, reason = "FAIL", _error(trial)
    elif REASON in last:
        state, reason = "FAIL", str(last[REASON])
    else:
        state, reason = ("COMPLETE", "") if last.get(FINAL) else ("PRUNED", "stopped by Tune's scheduler")
    seconds = float(last.get("time_total_s", 0.0))
    return Ended(
        params=dict(trial.config),
        state=state,
        reason=reason,
        began=float(last.get("timestamp", 0.0)) - seconds,
        seconds=seconds,
        outcomes=json.loads(last.get(OUTCOMES, "[]")),
        curve={int(step): value for step, value in json.loads(last.get(CURVE, "[]"))},
    )


def _error(trial: Any) -> str:
    """Return why Tune gave a trial up: the last line of what its worker raised, if it raised anything."""
    storage = getattr(trial, "storage", None)
    path = Path(storage.trial_fs_path if storage else "none") / "error.txt"
    lines = path.read_text(errors="replace").split("\n") if path.is_file() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{NODE_DIED}: {last[:300]}" if last else NODE_DIED


def spans(trials: Sequence[Ended]) -> list[tuple[float, float]]:
    """Return when each trial began and ended, in seconds."""
    return [(trial.began, trial.began + trial.seconds) for trial in trials]


def frozen(bound: BoundStudy, trial: Ended, attrs: Mapping[str, Any]) -> FrozenTrial:
    """Return a trial of Tune as Optuna holds one."""
    import optuna
    from optuna.trial import TrialState, create_trial

    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler()).ask()
    for dimension in bound.space:
        if dimension.name in trial.params:
            dimension.ask(asked)
    single = len(bound.study.objectives) == 1
    return create_trial(
        state=TrialState[trial.state],
        values=bound.value(trial.outcomes) if trial.state == "COMPLETE" else None,
        params=trial.params,
        distributions=asked.distributions,
        user_attrs=dict(attrs),
        intermediate_values=trial.curve if single else {},
    )


def mirror(bound: BoundStudy, name: str, folder: Path, trials: Sequence[Ended]) -> None:
    """Write the trials as an Optuna study into `folder`, whole or not at all."""
    part = folder / f".{JOURNAL}.part"
    part.unlink(missing_ok=True)
    study = create(bound, name, "ray", journal_storage(part))
    default = next((t for t in trials if t.params == bound.default_params), None)
    for trial in trials:
        attrs: dict[str, Any] = {"units": trial.outcomes, "reason": trial.reason, "seconds": trial.seconds}
        if trial is default and bound.study.include_default:
            attrs["default"] = True
        study.add_trial(frozen(bound, trial, attrs))
    os.replace(part, folder / JOURNAL)
