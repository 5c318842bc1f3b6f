"""From a study's trials to frames: what reports draw, and what a user looks at in Python."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies.running import read_head
from nasbench_rec.studies.space import Dimension, Space, decode
from nasbench_rec.studies.storage import load
from nasbench_rec.studies.trials import lost_trials

from nasbench_rec.config import build
from nasbench_rec.store import Store

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from optuna.trial import FrozenTrial

UNIT_COLUMNS = (
    *("dataset", "backbone", "seed", "split_seed", "valid_auc", "valid_logloss"),
    *("embedding_bytes", "total_bytes", "search_seconds", "retrain_seconds"),
)
STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}
FEWEST = 4
"""Complete trials without which nothing is said of importance."""


def read(name: str, store: str | Path | Store = "results") -> dict[str, Any]:
    """Return a study of a store as frames: trials, units, curves, importances; space, objectives, savings; words.

    The columns are named in `docs/studies.md`. `StoreError` names the studies that are there.
    """
    store = store if isinstance(store, Store) else Store(store)
    head = read_head(store, name)
    study = load(name, store)
    space = tuple(build(Dimension, d, f"study {name}") for d in head["definition"]["space"])
    trials = study.get_trials(deepcopy=False)
    return {
        "name": name,
        "engine": head["engine"],
        "title": head["words"]["title"],
        "question": head["words"]["question"],
        "trials": trials_frame(study, space),
        "units": units_frame(trials, space),
        "curves": curves_frame(trials),
        "importances": importances_frame(study),
        "space": [_dimension(d) for d in space],
        "objectives": objectives_of(study),
        "savings": savings(trials),
    }


def values_of(name: str, store: Store, number: int) -> dict[str, Any]:
    """Return the real values of a trial's dimensions."""
    head = read_head(store, name)
    space = tuple(build(Dimension, d, f"study {name}") for d in head["definition"]["space"])
    return decode(load(name, store).get_trials(deepcopy=False)[number].params, space)


def objectives_of(study: optuna.Study) -> list[dict[str, str]]:
    """Return the name and the direction of each objective."""
    names = study.metric_names or []
    return [
        {"name": name, "direction": direction.name.lower()}
        for name, direction in zip(names, study.directions, strict=True)
    ]


def _dimension(dimension: Dimension) -> dict[str, Any]:
    found = {name: getattr(dimension, name) for name in ("name", "type", "log", "when")}
    number: Any = int if dimension.type == "int" else float
    for name in ("low", "high", "step"):
        value = getattr(dimension, name)
        found[name] = None if value is None else number(value)
    return found | {"choices": tuple(_plain(choice) for choice in dimension.choices)}


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else value


def _params(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    values = decode(trial.params, space)
    return {f"param.{d.name}": _plain(values.get(d.name)) for d in space}


def trials_frame(study: optuna.Study, space: Space) -> pd.DataFrame:
    """Return a row per trial, by number. `best`: the best complete one; of several objectives the Pareto front."""
    import pandas as pd

    trials, names = study.get_trials(deepcopy=False), [o["name"] for o in objectives_of(study)]
    lost, best = lost_trials(trials), _best(study)
    rows = [
        {
            "number": t.number,
            "state": STATES[t.state.name],
            "reason": lost.get(t.number, t.user_attrs.get("reason", "")),
            "seconds": t.user_attrs.get("seconds"),
            "default": bool(t.user_attrs.get("default", False)),
            "lost": t.number in lost,
            "best": t.number in best,
            "health": ", ".join(_signatures(t)),
            **dict(zip(names, _values(t, len(names)), strict=True)),
            **_params(t, space),
        }
        for t in trials
    ]
    first = ["number", "state", "reason", "seconds", "default", "lost", "best", "health"]
    frame = pd.DataFrame(rows, columns=[*first, *names, *(f"param.{d.name}" for d in space)])
    return frame.astype({name: float for name in ["seconds", *names]})


def _signatures(trial: FrozenTrial) -> list[str]:
    """Return the findings of the trial's units, each once."""
    units = trial.user_attrs.get("units", ())
    return sorted({finding["signature"] for outcome in units for finding in outcome["health"]})


def _values(trial: FrozenTrial, count: int) -> Sequence[float | None]:
    return trial.values if trial.state.name == "COMPLETE" and trial.values else [None] * count


def _best(study: optuna.Study) -> set[int]:
    if not any(t.state.name == "COMPLETE" for t in study.get_trials(deepcopy=False)):
        return set()
    several = len(study.directions) > 1
    return {t.number for t in study.best_trials} if several else {study.best_trial.number}


def units_frame(trials: Sequence[FrozenTrial], space: Space) -> pd.DataFrame:
    """Return a row per unit of every trial."""
    import pandas as pd

    rows = [
        {"number": t.number, "state": STATES[t.state.name]}
        | {c: outcome[c] for c in UNIT_COLUMNS}
        | _params(t, space)
        for t in trials
        for outcome in t.user_attrs.get("units", ())
    ]
    columns = ["number", "state", *UNIT_COLUMNS, *(f"param.{d.name}" for d in space)]
    return pd.DataFrame(rows, columns=columns)


def curves_frame(trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    """Return what trials reported before their end: number, state, step, value."""
    import pandas as pd

    rows = [
        {"number": t.number, "state": STATES[t.state.name], "step": step, "value": value}
        for t in trials
        for step, value in sorted(t.intermediate_values.items())
    ]
    return pd.DataFrame(rows, columns=["number", "state", "step", "value"])


def importances_frame(study: optuna.Study) -> pd.DataFrame:
    """Return how much each parameter says about each objective (PED-ANOVA): objective, param, importance.

    Empty with fewer than four complete trials, or where all have one value.
    """
    import pandas as pd

    rows = [
        {"objective": o["name"], "param": param, "importance": importance}
        for at, o in enumerate(objectives_of(study))
        for param, importance in _importances(study, at)
    ]
    return pd.DataFrame(rows, columns=["objective", "param", "importance"])


def _importances(study: optuna.Study, at: int) -> Iterator[tuple[str, float]]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len(complete) < FEWEST or len({t.values[at] for t in complete}) < 2:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator()
        found = get_param_importances(study, evaluator=evaluator, target=lambda t: t.values[at])
    yield from found.items()


def savings(trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return what the stage cache saved: seconds of stages computed and found, and how many of each kind."""
    kinds = ("search", "derive", "train")  # every study finds its encoded data: no saving of its own
    found = [u for t in trials for outcome in t.user_attrs.get("units", ()) for u in outcome["stages"]]
    uses = [use for use in found if use["kind"] in kinds]
    counts = Counter((use["kind"], bool(use["reused"])) for use in uses)
    return {
        "computed_seconds": _seconds(uses, reused=False),
        "reused_seconds": _seconds(uses, reused=True),
        **{kind: [counts[kind, False], counts[kind, True]] for kind in kinds},
    }


def _seconds(uses: Sequence[Mapping[str, Any]], *, reused: bool) -> float:
    return sum(float(use["seconds"]) for use in uses if bool(use["reused"]) == reused)
