"""The engine by ask and tell, with workers that only pretend: who is asked again, what counts, what is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import optuna
import pytest
from nasbench_rec.studies import optuna_engine
from nasbench_rec.studies.reading import read
from nasbench_rec.studies.running import Options, studies_of
from nasbench_rec.studies.storage import load, mend_journal
from nasbench_rec.studies.study import Pruner, Sampler, Study
from nasbench_rec.studies.trials import busy_seconds, counted, lost_trials, spans

from nasbench_rec.errors import ConfigError, StoreError
from nasbench_rec.store import Store

Message = dict[str, Any]
Talk = Callable[[dict[str, Any], int], Iterator[Message]]
PLAIN = {"planted": {"train": 1500, "valid": 300, "test": 400}, "protocol": {"epochs": 2}}


def outcome(seed: int, auc: float) -> dict[str, Any]:
    stages = [
        {"kind": "prepare", "key": "p", "reused": True, "seconds": 5.0},
        {"kind": "search", "key": "s", "reused": False, "seconds": 1.0},
    ]
    head = {"key": "k", "dataset": "planted", "backbone": "deepfm", "seed": seed, "split_seed": 0}
    numbers = {"valid_auc": auc, "valid_logloss": 1 - auc, "embedding_bytes": 100, "total_bytes": 200}
    return {**head, **numbers, "search_seconds": 1.0, "retrain_seconds": 1.0, "stages": stages, "health": []}


def good(values: dict[str, Any], begun: int) -> Iterator[Message]:
    """Two epochs, then the unit; the lower lambda, the better."""
    for epoch in range(2):
        auc = 0.7 - values["lam"] / 10 + epoch / 100
        yield {"kind": "report", "step": epoch, "valid_auc": auc, "valid_logloss": 0.5}
    yield {"kind": "unit", "index": 0, "outcome": outcome(0, 0.8 - values["lam"] / 10)}
    yield {"kind": "done"}


class Pretender:
    """A worker that plays a script instead of training."""

    begun = 0

    def __init__(self, talk: Talk) -> None:
        self.talk = talk

    def begin(self, job: Any) -> Future[Message]:
        Pretender.begun += 1
        settings = job.units[0]["method"]["config"]
        self.script = self.talk(settings, Pretender.begun)
        return self._said(next(self.script))

    def next(self, answer: bool) -> Future[Message]:
        return self._said(next(self.script) if answer else {"kind": "stopped"})

    def _said(self, message: Message) -> Future[Message]:
        said: Future[Message] = Future()
        said.set_result(message)
        return said

    def rest(self) -> None:
        pass

    def close(self) -> None:
        pass


class Heard:
    """Keeps what it hears; may interrupt after so many trials, as Ctrl-C would."""

    def __init__(self, until: int | None = None) -> None:
        self.until, self.lines, self.started_with = until, [], None

    def started(self, total: int, done: int) -> None:
        self.started_with = (total, done)

    def finished(self, line: Message) -> None:
        self.lines.append(line)
        if self.until == len(self.lines):
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _fresh() -> None:
    Pretender.begun = 0


def study(**changes: Any) -> Study:
    space = {"lam": {}, "k": {}}
    base = {"method": "ihas", "space": space, "settings": PLAIN, "trials": 6, "sampler": Sampler("random")}
    return Study(**{**base, **changes})


def run(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    talk: Talk = good,
    wanted: Study | None = None,
    workers: int = 1,
    name: str = "s",
    until: int | None = None,
) -> tuple[optuna.Study, Heard]:
    observer = Heard(until)
    monkeypatch.setattr(optuna_engine, "make_workers", lambda o: [Pretender(talk) for _ in range(workers)])
    optuna_engine.run((wanted or study()).bind(None), name, store, Options(workers), observer)
    return load(name, store), observer


def states(found: optuna.Study) -> list[str]:
    return [t.state.name for t in found.trials]


def test_it_runs_what_was_asked_for_and_a_second_call_runs_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path / "s")
    found, observer = run(store, monkeypatch)
    assert states(found) == ["COMPLETE"] * 6 and observer.started_with == (6, 0)
    assert found.best_trial.user_attrs["units"][0]["valid_auc"] == found.best_value
    assert found.trials[0].params == {"lam": 0.05, "k": 2} and found.trials[0].user_attrs["default"]
    assert found.trials[1].intermediate_values.keys() == {0, 1}
    again, observer = run(store, monkeypatch)
    assert len(again.trials) == 6 and observer.started_with == (6, 6) and Pretender.begun == 6


def test_more_trials_are_added_to_those_that_are_there(tmp_path, monkeypatch):
    store = Store(tmp_path / "s")
    run(store, monkeypatch)
    found, _ = run(store, monkeypatch, wanted=study(trials=9))
    assert states(found) == ["COMPLETE"] * 9


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_study_goes_on_and_loses_nothing(tmp_path, monkeypatch, workers):
    store = Store(tmp_path / "s")
    for until in (1, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            run(store, monkeypatch, until=until, workers=workers)
    running = [t for t in load("s", store).trials if t.state.name == "RUNNING"]
    found, _ = run(store, monkeypatch, workers=workers)
    assert states(found).count("COMPLETE") == 6 and "RUNNING" not in states(found)
    lost = lost_trials(found.trials)
    assert set(lost) >= {t.number for t in running} and set(lost.values()) <= {"the driver died"}
    for number in lost:
        retry = next(t for t in found.trials if t.user_attrs.get("retry_of") == number)
        assert retry.params == found.trials[number].params


def test_an_interrupted_study_finds_what_an_undisturbed_one_finds(tmp_path, monkeypatch):
    whole, _ = run(Store(tmp_path / "a"), monkeypatch)
    store = Store(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        run(store, monkeypatch, until=3)
    parts, _ = run(store, monkeypatch)
    assert [t.params for t in parts.trials] == [t.params for t in whole.trials]


def test_failures_are_recorded_with_their_reasons_and_count(tmp_path, monkeypatch):
    def talk(values: dict[str, Any], begun: int) -> Iterator[Message]:
        if begun == 2:
            yield {"kind": "failed", "reason": "ValueError: no", "traceback": ""}
        if begun == 3:
            yield {"kind": "failed", "reason": "took more than 5 s (limit of a trial)"}
        yield from good(values, begun)

    found, observer = run(Store(tmp_path / "s"), monkeypatch, talk)
    assert states(found) == ["COMPLETE", "FAIL", "FAIL", *["COMPLETE"] * 3]
    assert found.trials[1].user_attrs["reason"] == "ValueError: no"
    assert [line["reason"] for line in observer.lines[1:3]][1].startswith("took more than 5 s")


def test_settings_that_a_method_refuses_are_a_failed_trial(tmp_path, monkeypatch):
    def talk(values: dict[str, Any], begun: int) -> Iterator[Message]:
        yield {"kind": "unit", "index": 0, "outcome": outcome(0, 0.7)}
        yield {"kind": "done"}

    wanted = study(method="ensemble", space={"members": {"choices": [2, 0, 3]}}, sampler=Sampler("grid"))
    found, _ = run(Store(tmp_path / "s"), monkeypatch, talk, wanted)
    assert sorted(states(found)) == ["COMPLETE", "COMPLETE", "FAIL"]
    failed = next(t for t in found.trials if t.state.name == "FAIL")
    assert "members = 0" in failed.user_attrs["reason"] and Pretender.begun == 2


def test_a_lost_trial_is_asked_again_and_does_not_count(tmp_path, monkeypatch):
    def talk(values: dict[str, Any], begun: int) -> Iterator[Message]:
        if begun == 2:
            yield {"kind": "lost", "reason": "the worker died (signal 9)"}
        yield from good(values, begun)

    found, _ = run(Store(tmp_path / "s"), monkeypatch, talk)
    assert states(found).count("COMPLETE") == 6 and states(found).count("FAIL") == 1
    assert lost_trials(found.trials) == {1: "the worker died (signal 9)"}
    assert len(counted(found.trials)) == 6


def test_a_trial_that_always_kills_its_worker_is_given_up(tmp_path, monkeypatch):
    def talk(values: dict[str, Any], begun: int) -> Iterator[Message]:
        if values["lam"] == 0.05:
            yield {"kind": "lost", "reason": "the worker died (signal 11)"}
        yield from good(values, begun)

    found, _ = run(Store(tmp_path / "s"), monkeypatch, talk)
    assert states(found).count("FAIL") == 3 and states(found).count("COMPLETE") == 5
    assert set(lost_trials(found.trials)) and len(counted(found.trials)) == 6


def test_the_median_pruner_stops_bad_trials_by_their_reports(tmp_path, monkeypatch):
    wanted = study(trials=12, pruner=Pruner("median", startup_trials=3, warmup=0))
    found, observer = run(Store(tmp_path / "s"), monkeypatch, wanted=wanted)
    pruned = [t for t in found.trials if t.state.name == "PRUNED"]
    assert pruned and states(found).count("COMPLETE") + len(pruned) == 12
    best = found.best_trial.params["lam"]
    assert all(t.params["lam"] > best for t in pruned)
    assert all(t.user_attrs["reason"] == "pruned by median" for t in pruned)


def test_the_wilcoxon_pruner_stops_by_pairs_of_units(tmp_path, monkeypatch):
    def talk(values: dict[str, Any], begun: int) -> Iterator[Message]:
        for seed in range(6):
            yield {"kind": "report", "step": 0, "valid_auc": 0.1, "valid_logloss": 0.5}
            auc = 0.8 - values["lam"] / 10 + seed / 100
            yield {"kind": "unit", "index": seed, "outcome": outcome(seed, auc)}
        yield {"kind": "done"}

    wanted = study(seeds=(0, 1, 2, 3, 4, 5), trials=8, pruner=Pruner("wilcoxon"))
    found, _ = run(Store(tmp_path / "s"), monkeypatch, talk, wanted)
    pruned = [t for t in found.trials if t.state.name == "PRUNED"]
    assert pruned and all(len(t.user_attrs["units"]) < 6 for t in pruned)
    complete = [t for t in found.trials if t.state.name == "COMPLETE"]
    assert all(len(t.user_attrs["units"]) == 6 for t in complete)
    assert min(t.params["lam"] for t in found.trials) == found.best_trial.params["lam"]


def test_several_objectives_give_a_front(tmp_path, monkeypatch):
    def talk(values: dict[str, Any], begun: int) -> Iterator[Message]:
        found = outcome(0, 0.6 + values["k"] / 100) | {"embedding_bytes": 100 * values["k"]}
        yield {"kind": "unit", "index": 0, "outcome": found}
        yield {"kind": "done"}

    wanted = study(objectives=("valid_auc", "embedding_bytes"), trials=8)
    store = Store(tmp_path / "s")
    found, _ = run(store, monkeypatch, talk, wanted)
    assert [d.name for d in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    frames = read("s", store)
    assert frames["trials"]["best"].all(), "every k is a trade-off of its own"
    assert [o["name"] for o in frames["objectives"]] == ["valid_auc", "embedding_bytes"]


def test_a_grid_ends_when_it_is_done(tmp_path, monkeypatch):
    wanted = study(space={"k": {}}, sampler=Sampler("grid"), trials=100)
    found, observer = run(Store(tmp_path / "s"), monkeypatch, wanted=wanted)
    assert sorted(t.params["k"] for t in found.trials) == list(range(2, 9))
    assert observer.started_with == (7, 0)


def test_no_trial_begins_after_the_time_is_over(tmp_path, monkeypatch):
    def talk(values: dict[str, Any], begun: int) -> Iterator[Message]:
        time.sleep(0.2)
        yield from good(values, begun)

    store, wanted = Store(tmp_path / "s"), study(trials=50, seconds=1.0)
    found, _ = run(store, monkeypatch, talk, wanted)
    first = len(found.trials)
    assert 1 <= first <= 6 and set(states(found)) == {"COMPLETE"}
    found, _ = run(store, monkeypatch, talk, wanted)
    assert len(found.trials) <= first + 1, "the time is that of all calls"
    assert busy_seconds(spans(found.trials)) >= 0.2 * len(found.trials)


def test_two_studies_live_in_one_store_and_another_definition_is_refused(tmp_path, monkeypatch):
    store = Store(tmp_path / "s")
    run(store, monkeypatch, name="one")
    run(store, monkeypatch, name="group/two", wanted=study(trials=3))
    assert studies_of(store) == ["group/two", "one"]
    assert len(load("one", store).trials) == 6 and len(load("group/two", store).trials) == 3
    with pytest.raises(StoreError, match="another definition .study.seeds: .0. there, .1. here"):
        run(store, monkeypatch, name="one", wanted=study(seeds=(1,)))
    with pytest.raises(StoreError, match="did you mean 'one'"):
        load("onee", store)


@pytest.mark.parametrize("name", ["../x", "a//b", "/a", "a b", "", ".hidden"])
def test_a_name_that_is_no_folder_of_the_store_is_refused(tmp_path, monkeypatch, name):
    with pytest.raises(ConfigError, match="study name"):
        run(Store(tmp_path / "s"), monkeypatch, name=name)


def test_a_study_has_one_driver_at_a_time(tmp_path, monkeypatch):
    from nasbench_rec.studies import running

    store = Store(tmp_path / "s")
    bound = study().bind(None)
    monkeypatch.setattr(running, "LOCK_SECONDS", 0.1)
    with (
        running.opened(bound, "s", "optuna", store, None),
        pytest.raises(StoreError, match="another process runs this study"),
        running.opened(bound, "s", "optuna", store, None),
    ):
        pass


def test_a_journal_torn_by_a_kill_is_mended(tmp_path, monkeypatch):
    store = Store(tmp_path / "s")
    run(store, monkeypatch)
    path = tmp_path / "s" / "studies" / "s" / "optuna.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 5, "wor')
    mend_journal(path)
    assert path.read_bytes() == whole
    path.write_bytes(whole + b'{"op_code": 5, "wor')
    found, _ = run(store, monkeypatch, wanted=study(trials=7))
    assert states(found) == ["COMPLETE"] * 7


def test_frames_tell_what_the_trials_hold(tmp_path, monkeypatch):
    store = Store(tmp_path / "s")
    run(store, monkeypatch, wanted=study(trials=8, space={"lam": {}, "gate_hidden": {}}))
    frames = read("s", store)
    trials, units = frames["trials"], frames["units"]
    assert list(trials["number"]) == list(range(8)) and trials["default"].sum() == 1
    assert trials.loc[trials["best"], "valid_auc"].iloc[0] == trials["valid_auc"].max()
    assert set(trials["param.gate_hidden"]) <= {"[]", "[64]"}
    assert len(units) == 8 and list(units["valid_auc"]) == list(trials["valid_auc"])
    assert frames["importances"]["importance"].sum() == pytest.approx(1)
    assert frames["importances"].iloc[0]["param"] == "lam"
    assert frames["savings"]["search"] == [8, 0] and frames["savings"]["computed_seconds"] == 8.0
    assert frames["savings"]["reused_seconds"] == 0.0, "encoded data are no saving of a study"
    assert len(frames["curves"]) == 16


def test_from_python_a_study_is_one_call(tmp_path, monkeypatch):
    from nasbench_rec.studies.run import run as run_study

    monkeypatch.setattr(optuna_engine, "make_workers", lambda o: [Pretender(good)])
    run_study(study(trials=3), "mine", tmp_path / "s")
    assert len(load("mine", tmp_path / "s").trials) == 3
    with pytest.raises(ConfigError, match="did you mean 'optuna'"):
        run_study(study(), "mine", tmp_path / "s", engine="optun")  # type: ignore[arg-type]


def test_a_database_holds_a_study_too(tmp_path, monkeypatch):
    store, url = Store(tmp_path / "s"), f"sqlite:///{tmp_path / 'db.sqlite'}"
    monkeypatch.setattr(optuna_engine, "make_workers", lambda o: [Pretender(good)])
    options = Options(storage=url)
    optuna_engine.run(study(trials=3).bind(None), "s", store, options, Heard())
    assert len(optuna.load_study(study_name="s", storage=url).trials) == 3
    assert len(load("s", store).trials) == 3
    with pytest.raises(StoreError, match="cannot be opened"):
        optuna_engine.run(study().bind(None), "x", store, Options(storage="nosuch://db"), Heard())
