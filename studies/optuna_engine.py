"""The engine `optuna`: ask and tell. The Optuna storage is the only truth; workers only evaluate.

A driver that dies leaves trials running. The next one asks for their parameters again and marks them failed, in this
order and each in one write, so that at any moment every configuration is either finished, running or waiting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nasbench_rec.studies.running import RETRIES, Options, TrialObserver, ended_line, opened
from nasbench_rec.studies.samplers import first_points, make_pruner, make_sampler, wanted_trials
from nasbench_rec.studies.storage import JOURNAL, create, mend_journal, open_storage, quiet
from nasbench_rec.studies.study import PRUNABLE, BoundStudy
from nasbench_rec.studies.trials import busy_seconds, counted, spans
from nasbench_rec.studies.workers import Worker, make_workers

from nasbench_rec.errors import NasbenchError
from nasbench_rec.store import Store

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

DRIVER_DIED = "the driver died"
Message = dict[str, Any]


def run(bound: BoundStudy, name: str, store: Store, options: Options, observer: TrialObserver) -> None:
    """Run what is missing of a study. Killed at any moment, the same call continues."""
    with quiet(), opened(bound, name, "optuna", store, options.storage) as folder:
        if options.storage is None:
            mend_journal(folder / JOURNAL)
        study = create(bound, name, "optuna", open_storage(folder, options.storage))
        recover(study)
        _plan(study, bound)
        with _cluster(options):
            workers = make_workers(options)
            try:
                _Driver(bound, study, store, options, observer).run(workers)
            finally:
                for worker in workers:
                    worker.close()


@contextmanager
def _cluster(options: Options) -> Iterator[None]:
    if options.address is None:
        yield
        return
    from nasbench_rec.studies._ray import started

    with started(options.workers * options.threads, options.address):
        yield


def recover(study: optuna.Study) -> None:
    """Ask again for what a dead driver left running, and mark it failed."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    asked = {t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs}
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            if trial.number not in asked:
                ask_again(study, trial, DRIVER_DIED)
            study.tell(trial.number, state=TrialState.FAIL)


def ask_again(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """Queue the parameters of a lost trial: that it was asked again is what marks it as lost."""
    attrs = {"retry_of": trial.number, "retry_reason": reason}
    attrs |= {k: v for k, v in trial.user_attrs.items() if k in ("default", "point", "shares", "follower")}
    study.enqueue_trial({**trial.system_attrs.get("fixed_params", {}), **trial.params}, user_attrs=attrs)


def _plan(study: optuna.Study, bound: BoundStudy) -> None:
    """Queue the points that the study begins with: the defaults, or the grid."""
    known = {t.user_attrs.get("point") for t in study.get_trials(deepcopy=False)}
    for at, params in enumerate(first_points(bound)):
        if at not in known:
            default = at == 0 and bound.study.include_default
            study.enqueue_trial(params, user_attrs={"point": at} | ({"default": True} if default else {}))


@dataclass
class _Running:
    """A trial and the worker that evaluates it."""

    trial: Trial
    worker: Worker
    params: dict[str, Any]
    began: float
    outcomes: list[dict[str, Any]] = field(default_factory=list)


class _Driver:
    """Keeps the workers busy until the study has what it asked for."""

    def __init__(
        self,
        bound: BoundStudy,
        study: optuna.Study,
        store: Store,
        options: Options,
        observer: TrialObserver,
    ) -> None:
        self.bound, self.study, self.options, self.observer = bound, study, options, observer
        self.root = store.path
        study.pruner = make_pruner(bound)
        trials = study.get_trials(deepcopy=False)
        self.done = len(counted(trials))
        self.total = wanted_trials(bound)
        limit = bound.study.seconds
        self.deadline = None if limit is None else time.monotonic() + limit - busy_seconds(spans(trials))
        self.running: dict[Future[Message], _Running] = {}

    def run(self, workers: Sequence[Worker]) -> None:
        """Run all trials that are missing."""
        self.observer.started(self.total, self.done)
        idle = list(workers)
        while True:
            while idle and self._wants_more():
                if self._start(idle[-1]):
                    idle.pop()
            if not self.running:
                return
            for worker in idle:
                worker.rest()
            ready, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in ready:
                job = self.running.pop(future)
                if not self._heard(job, future.result()):
                    idle.append(job.worker)

    def _wants_more(self) -> bool:
        in_time = self.deadline is None or time.monotonic() < self.deadline
        return in_time and self.done + len(self.running) < self.total

    def _start(self, worker: Worker) -> bool:
        """Ask for a trial and give it to a worker; return whether there was anything to evaluate."""
        self.study.sampler = make_sampler(self.bound, len(self.study.get_trials(deepcopy=False)))
        trial = self.study.ask()
        running = _Running(trial, worker, self.bound.ask(trial), time.monotonic())
        try:
            job = self.bound.job(running.params, self.root, self.options.threads)
        except NasbenchError as error:  # settings that a method refuses together
            self._finish(running, {"kind": "failed", "reason": f"{type(error).__name__}: {error}"})
            return False
        self.running[worker.begin(job)] = running
        return True

    def _heard(self, job: _Running, message: Message) -> bool:
        """Act on a message; return whether the worker goes on with the trial."""
        kind = message["kind"]
        if kind in ("report", "unit"):
            self.running[job.worker.next(self._goes_on(job, message))] = job
            return True
        self._finish(job, message)
        return False

    def _goes_on(self, job: _Running, message: Message) -> bool:
        """Note scores; return whether the pruner lets the trial go on."""
        goal, pairs = self.bound.study.objectives[0], self.bound.study.pruner.name == "wilcoxon"
        if message["kind"] == "unit":
            job.outcomes.append(message["outcome"])
        if len(self.bound.study.objectives) > 1 or goal not in PRUNABLE:
            return True
        if pairs and message["kind"] == "unit":
            job.trial.report(message["outcome"][goal], message["index"])
        elif not pairs and message["kind"] == "report":
            job.trial.report(message[goal], message["step"])
        else:
            return True
        return self.bound.study.pruner.name == "none" or not job.trial.should_prune()

    def _finish(self, job: _Running, message: Message) -> None:
        """Tell the study how a trial ended; what it found goes first, as a finished trial cannot be changed."""
        from optuna.trial import TrialState

        kind, trial = message["kind"], job.trial
        if kind == "lost" and self._lives(trial.number) <= RETRIES:
            trial.set_user_attr("reason", message["reason"])
            ask_again(self.study, self._frozen(trial), message["reason"])
            self.study.tell(trial, state=TrialState.FAIL)
            self._say(job, "lost, asked again", message["reason"])
            return
        values = self.bound.value(job.outcomes) if kind == "done" else None
        state = {"done": TrialState.COMPLETE, "stopped": TrialState.PRUNED}.get(kind, TrialState.FAIL)
        reason = {"done": "", "stopped": f"pruned by {self.bound.study.pruner.name}"}.get(kind)
        reason = message["reason"] if reason is None else reason
        for name, value in {
            "units": job.outcomes,
            "reason": reason,
            "seconds": time.monotonic() - job.began,
        }.items():
            trial.set_user_attr(name, value)
        self.study.tell(trial, values, state=state)
        self.done += 1
        self._say(job, {"done": "complete", "stopped": "pruned"}.get(kind, "failed"), reason)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[trial.number]

    def _lives(self, number: int) -> int:
        """Return how often a configuration was lost, this time included."""
        trials = self.study.get_trials(deepcopy=False)
        lives, at = 1, trials[number].user_attrs
        while "retry_of" in at:
            lives += at["retry_reason"] != DRIVER_DIED
            at = trials[at["retry_of"]].user_attrs
        return lives

    def _say(self, job: _Running, state: str, reason: str) -> None:
        seconds = time.monotonic() - job.began
        self.observer.finished(
            ended_line(self.bound, job.trial.number, state, reason, job.params, seconds, job.outcomes)
        )
