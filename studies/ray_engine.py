"""The engine `ray`: Ray Tune. Its folder STORE/studies/NAME/tune is the truth; the Optuna study is a mirror of it.

Optuna's samplers live in the driver's memory and are saved with Tune's snapshots: a durable Optuna storage would be
ahead of a snapshot after a kill, and the two would contradict each other. A study that has ended and is asked for
more trials gets a further experiment of Tune, N-TRIALS, whose sampler is told of the earlier trials.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies._ray import started
from nasbench_rec.studies.running import RETRIES, Options, TrialObserver, ended_line, opened
from nasbench_rec.studies.samplers import first_points, make_sampler, wanted_trials
from nasbench_rec.studies.sandbox import Job, Sandbox
from nasbench_rec.studies.storage import quiet
from nasbench_rec.studies.study import PRUNABLE, BoundStudy
from nasbench_rec.studies.trials import busy_seconds
from nasbench_rec.studies.tune_trials import (
    CURVE,
    FINAL,
    OUTCOMES,
    REASON,
    Ended,
    end_of,
    ended_in,
    ended_trials,
    experiments,
    frozen,
    mirror,
    spans,
)
from nasbench_rec.studies.workers import CLUSTER_STORE

from nasbench_rec.errors import ConfigError
from nasbench_rec.store import Store

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

ENVIRONMENT = {
    # What ended after the last snapshot is evaluated again after a kill, mostly from the stage cache.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial has no score
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune would only end the experiment, and the next one would begin
    "RAY_AIR_NEW_OUTPUT": "0",
}
STEP = "step"
BRACKETS = {"asha": 1, "hyperband": 3}
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def run(bound: BoundStudy, name: str, store: Store, options: Options, observer: TrialObserver) -> None:
    """Run what is missing of a study. Killed at any moment, the same call continues."""
    _check(bound, options)
    with opened(bound, name, "ray", store, None) as folder, _settings():
        root = folder.resolve() / "tune"  # Tune takes a relative path for an address
        _mend(root)
        total = wanted_trials(bound)
        trials = ended_trials(root)
        observer.started(total, len(trials))
        if _wanted(bound, trials, total):
            cpus = options.workers * options.threads
            with started(cpus, options.address):
                _run_missing(_Run(bound, store, options, observer, root), total)
        mirror(bound, name, folder, ended_trials(root))


def _check(bound: BoundStudy, options: Options) -> None:
    if options.storage is not None:
        raise ConfigError(
            "--storage is for the engine optuna: with ray Tune's folder in the store is the truth."
        )
    if bound.study.pruner.name == "wilcoxon":
        raise ConfigError("study: Ray Tune has no pruner wilcoxon; take --engine optuna, or the pruner asha.")


@contextmanager
def _settings() -> Iterator[None]:
    """Set what Tune reads from the environment, keep its lines and Optuna's back; undo it in the end."""
    old = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if old[name] is None})
    loggers = [logging.getLogger(name) for name in ("ray.tune", "ray.train")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with quiet():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)


def _wanted(bound: BoundStudy, trials: list[Ended], total: int) -> int:
    """Return how many trials are missing; none where the time is over."""
    limit = bound.study.seconds
    return 0 if limit is not None and busy_seconds(spans(trials)) >= limit else max(0, total - len(trials))


@dataclass(frozen=True)
class _Run:
    """A study that runs: on what, how, who watches, and where Tune's folders are."""

    bound: BoundStudy
    store: Store
    options: Options
    observer: TrialObserver
    root: Path

    def trainable(self) -> Any:
        """Return what evaluates a trial of Tune."""
        return _trainable(self.bound, self.store, self.options)

    def fit(self, tuner: Any, earlier: int) -> None:
        """Run an experiment of Tune that comes after `earlier` trials."""
        with _hearing(self.bound, earlier, self.observer):
            tuner.fit()


def _mend(root: Path) -> None:
    """Remove states that a killed driver wrote by halves (Tune does not rename them), and folders that have none."""
    for folder in experiments(root):
        for path in folder.glob("experiment_state-*.json"):
            try:
                json.loads(path.read_text())
            except ValueError:
                path.unlink()
        if not any(folder.glob("experiment_state-*.json")):
            shutil.rmtree(folder)


def _run_missing(run: _Run, total: int) -> None:
    """Continue the last experiment, then begin further ones until nothing is missing."""
    _continue(run, total)
    while missing := _wanted(run.bound, ended_trials(run.root), total):
        known = experiments(run.root)
        at = int(known[-1].name.partition("-")[0]) + 1 if known else 0
        before = len(ended_trials(run.root))
        _begin(run, run.root / f"{at}-{missing}", missing)
        if len(ended_trials(run.root)) == before:
            return  # the time was over


def _continue(run: _Run, total: int) -> None:
    """Continue the experiment of a killed driver, if it can be and asks for no trial too many."""
    known = experiments(run.root)
    if not known:
        return
    last, ended = known[-1], ended_trials(run.root)
    left = int(last.name.partition("-")[2]) - len(ended_in(last))
    if 0 < left <= total - len(ended) and (tuner := _restored(run, last)) is not None:
        run.fit(tuner, len(ended) - len(ended_in(last)))


def _restored(run: _Run, folder: Path) -> Any:
    """Return Tune's experiment as its snapshot says, None if the snapshot is not whole.

    Its files are written one after the other. Killed in between, the searcher may wait for trials that Tune does not
    know: for ten minutes, and then Tune begins again and forgets what had ended.
    """
    from ray.tune import ExperimentAnalysis, Tuner
    from ray.tune.search.search_generator import SearchGenerator

    search = _searcher(run.bound, [])
    generator = SearchGenerator(search)
    try:
        generator.restore_from_dir(str(folder))
        tuner = Tuner.restore(str(folder), run.trainable(), resume_unfinished=True)
    except Exception:  # noqa: BLE001 - whatever a file raises that was cut short
        return None
    trials = {trial.trial_id for trial in ExperimentAnalysis(str(folder)).trials or []}
    whole = search.asked() == trials and generator.get_state()["counter"] == len(trials)
    return tuner if whole else None


def _begin(run: _Run, folder: Path, count: int) -> None:
    from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner

    earlier = ended_trials(run.root)
    tuner = Tuner(
        run.trainable(),
        tune_config=TuneConfig(
            search_alg=_searcher(run.bound, earlier),
            scheduler=_scheduler(run.bound),
            num_samples=count,
            max_concurrent_trials=run.options.workers,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name=folder.name,
            storage_path=str(run.root),
            failure_config=FailureConfig(max_failures=RETRIES),
            callbacks=[_progress()],
            verbose=0,
        ),
    )
    run.fit(tuner, len(earlier))


def _scheduler(bound: BoundStudy) -> Any:
    """Return Tune's scheduler: `hyperband` is the asynchronous one, ASHA with several brackets."""
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

    pruner, (goal, *_) = bound.study.pruner, bound.study.goals()
    if pruner.name == "none":
        return FIFOScheduler()
    common: dict[str, Any] = {"time_attr": STEP, "metric": goal.name, "mode": goal.direction[:3]}
    first = max(1, pruner.warmup)
    if pruner.name == "median":
        return _median(**common, grace_period=first, min_samples_required=pruner.startup_trials)
    return AsyncHyperBandScheduler(
        **common,
        max_t=bound.steps + 1,
        grace_period=first,
        reduction_factor=pruner.reduction_factor,
        brackets=BRACKETS[pruner.name],
    )


def _median(**settings: Any) -> Any:
    from ray.tune.schedulers import MedianStoppingRule

    class Median(MedianStoppingRule):
        """Tune's median rule, which a failed trial has no score for; paused trials would begin again."""

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
            if REASON not in result:
                super().on_trial_complete(tune_controller, trial, result)

    return Median(**{**settings, "min_time_slice": math.inf})  # Tune's first pause was infinitely long ago


@dataclass
class _Ask:
    """What Tune's searcher asks for a configuration, define by run; `earlier` trials are told to its study first."""

    bound: BoundStudy
    earlier: list[FrozenTrial] = field(default_factory=list)

    def __call__(self, trial: Any) -> dict[str, Any]:
        """Ask."""
        earlier, self.earlier = self.earlier, []
        trial.study.add_trials(earlier)
        return self.bound.ask(trial)


def _searcher(bound: BoundStudy, earlier: list[Ended]) -> Any:
    """Return Optuna's searcher of Tune, which knows failed and pruned trials and ends when the time is over."""
    from ray.tune.search import Searcher
    from ray.tune.search.optuna import OptunaSearch

    class Search(OptunaSearch):
        """OptunaSearch, with trials that fail by a result and a limit of time."""

        left: float | None = None
        clock: float | None = None

        def suggest(self, trial_id: str) -> Any:
            now = time.monotonic()
            if self.left is not None:
                self.left -= now - (now if self.clock is None else self.clock)
                if self.left <= 0:
                    return Searcher.FINISHED
            self.clock = now
            return super().suggest(trial_id)

        def restore(self, checkpoint_path: str) -> None:
            super().restore(checkpoint_path)
            self.clock = None  # of another process

        def asked(self) -> set[str]:
            """Return the trials that were asked for."""
            return set(self._ot_trials)

        def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
            if REASON not in result:
                super().on_trial_result(trial_id, result)

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            failed = error or REASON in (result or {})
            final = result if result and FINAL in result and not failed else None
            super().on_trial_complete(trial_id, final, failed)

    goals = bound.study.goals()
    modes = [goal.direction[:3] for goal in goals]
    # Trials of an earlier experiment lead no others: which shared whose search is not known any more.
    told = [frozen(bound, t, {"shares": -1, "follower": i}) for i, t in enumerate(earlier)]
    known = [t.params for t in earlier]
    begun = bound.default_params in known
    asked = replace(bound, study=replace(bound.study, include_default=False)) if begun else bound
    search = Search(
        space=_Ask(asked, told),
        metric=[g.name for g in goals] if len(goals) > 1 else goals[0].name,
        mode=modes if len(goals) > 1 else modes[0],
        points_to_evaluate=[p for p in first_points(bound) if p not in known],
        sampler=make_sampler(bound, len(earlier)),
    )
    limit = bound.study.seconds
    search.left = None if limit is None else limit - busy_seconds(spans(earlier))
    return search


def _trainable(bound: BoundStudy, store: Store, options: Options) -> Any:
    """Return what evaluates a trial of Tune: a result for each report of the sandbox, and one in the end."""
    from ray import tune

    class Trial(tune.Trainable):
        """A trial. The sandbox stays when Tune gives the actor another one."""

        def setup(  # type: ignore[override]  # the rest comes from tune.with_parameters
            self, config: dict[str, Any], bound: BoundStudy, root: str, options: Options
        ) -> None:
            self.bound, self.root, self.options = bound, Path(root), options
            self.sandbox = Sandbox(options.limits)
            self.talk = _Talk(bound, self.sandbox)
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.talk.end()
            self.reason = ""
            try:
                if (self.root / "store.json").is_file():
                    self.talk.begin(self.bound.job(new_config, self.root, self.options.threads))
                else:
                    self.reason = CLUSTER_STORE.format(root=self.root)
            except Exception as error:  # noqa: BLE001 - what a trial raises is its own failure: not tried again
                self.reason = f"{type(error).__name__}: {error}"
            return True

        def step(self) -> dict[str, Any]:
            return {REASON: self.reason, "done": True} if self.reason else self.talk.result()

        def cleanup(self) -> None:
            self.sandbox.close()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: a trial that is begun again finds its stages."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing."""

    # One thread count and one limit for all; what only the driver needs stays with it.
    given = Options(threads=options.threads, limits=options.limits)
    root = str(store.path.resolve())
    ready = tune.with_parameters(Trial, bound=bound, root=root, options=given)
    return tune.with_resources(ready, {"cpu": options.threads})


class _Talk:
    """Turns the messages of a sandbox into results of Tune."""

    def __init__(self, bound: BoundStudy, sandbox: Sandbox) -> None:
        self.bound, self.sandbox = bound, sandbox
        self.busy = False

    def begin(self, job: Job) -> None:
        """Begin a job."""
        self.job, self.lives = job, 0
        self.curve: list[tuple[int, float]] = []
        self._send()

    def _send(self) -> None:
        self.outcomes: list[dict[str, Any]] = []
        self.answer: bool | None = None
        self.busy = True
        self.sandbox.begin(self.job)

    def end(self) -> None:
        """Stop a job that has not ended. One that waits for an answer ends by itself, and its process stays."""
        if not self.busy:
            return
        self.busy = False
        if self.answer is None or self.sandbox.next(False)["kind"] != "stopped":
            self.sandbox.close()

    def result(self) -> dict[str, Any]:
        """Return the next result. A job whose sandbox died is begun again, a few times."""
        while True:
            message = self.sandbox.next(self.answer)
            self.answer = True
            if message["kind"] == "unit":
                self.outcomes.append(message["outcome"])
            elif message["kind"] == "lost" and self.lives < RETRIES:
                self.lives += 1
                self._send()
            elif message["kind"] == "report":
                if (result := self._report(message)) is not None:
                    return result
            else:
                self.busy = False
                return self._last(message)

    def _report(self, message: dict[str, Any]) -> dict[str, Any] | None:
        goal, *more = self.bound.study.objectives
        if more or goal not in PRUNABLE or (self.curve and message["step"] <= self.curve[-1][0]):
            return None
        self.curve.append((message["step"], message[goal]))
        return {goal: message[goal], STEP: message["step"] + 1, **self._known()}

    def _last(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["kind"] != "done":
            return {REASON: message.get("reason", message["kind"]), "done": True, **self._known()}
        values = dict(zip(self.bound.study.objectives, self.bound.value(self.outcomes), strict=True))
        return {**values, STEP: self.bound.steps, FINAL: True, "done": True, **self._known()}

    def _known(self) -> dict[str, Any]:
        return {OUTCOMES: json.dumps(self.outcomes), CURVE: json.dumps(self.curve)}


_HEARD: list[tuple[BoundStudy, int, TrialObserver]] = []
"""Who watches the study that runs in this process: Tune pickles its callbacks, and a console cannot be."""


@contextmanager
def _hearing(bound: BoundStudy, earlier: int, observer: TrialObserver) -> Iterator[None]:
    _HEARD.append((bound, earlier, observer))
    try:
        yield
    finally:
        _HEARD.pop()


def heard(trial: Any, trials: list[Any]) -> None:
    """Tell the observer of a trial of Tune that has ended. Tune's snapshots call it as it is: keep its signature."""
    if not _HEARD:
        return
    bound, earlier, observer = _HEARD[-1]
    ended = end_of(trial)
    number = earlier + int(trial.experiment_tag.partition("_")[0]) - 1
    observer.finished(
        ended_line(
            bound, number, STATES[ended.state], ended.reason, ended.params, ended.seconds, ended.outcomes
        )
    )


def _progress() -> Any:
    from ray.tune import Callback

    class Progress(Callback):
        """Passes trials that have ended on."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            heard(trial, trials)

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            heard(trial, trials)

    return Progress()
