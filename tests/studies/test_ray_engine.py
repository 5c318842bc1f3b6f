"""The engine of Ray Tune: what its results and its folder say, and that it agrees with the other engine."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nasbench_rec.studies import optuna_engine, ray_engine
from nasbench_rec.studies.ray_engine import _Talk
from nasbench_rec.studies.reading import read
from nasbench_rec.studies.running import Options
from nasbench_rec.studies.sandbox import Limits
from nasbench_rec.studies.storage import load
from nasbench_rec.studies.study import Pruner, Sampler, Study
from nasbench_rec.studies.trials import busy_seconds, counted
from nasbench_rec.studies.tune_trials import Ended, end_of, ended_trials, mirror, spans

from nasbench_rec.errors import ConfigError
from nasbench_rec.store import Store

TINY = {
    "planted": {"train": 1500, "valid": 300, "test": 400},
    "protocol": {"epochs": 2, "batch_size": 256, "hidden": [8]},
}
FAILING = f"{Path(__file__).parent / 'failing_method.py'}:Failing"
SCORES = {"valid_auc": 0.7, "valid_logloss": 0.5, "embedding_bytes": 10, "stages": [], "health": []}


class Heard:
    """Keeps what it hears, and may act on it."""

    def __init__(self, act: Any = None) -> None:
        self.lines: list[dict[str, Any]] = []
        self.act = act

    def started(self, total: int, done: int) -> None:
        self.begun = (total, done)

    def finished(self, line: Any) -> None:
        self.lines.append(dict(line))
        if self.act:
            self.act(len(self.lines))


def study(**changes: Any) -> Study:
    base = {"method": "ihas", "space": {"lam": {}, "k": {}}, "settings": TINY, "trials": 3}
    return Study(**{**base, "sampler": Sampler("random"), **changes})


class Script:
    """A sandbox that plays messages."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages, self.answers = list(messages), []

    def begin(self, job: Any) -> None: ...

    def next(self, answer: bool | None) -> dict[str, Any]:
        self.answers.append(answer)
        return self.messages.pop(0)

    def close(self) -> None: ...


def talk(*messages: dict[str, Any], **changes: Any) -> _Talk:
    found = _Talk(study(**changes).bind(None), Script(*messages))  # type: ignore[arg-type]
    found.begin(None)
    return found


def test_reports_become_results_and_the_last_holds_everything():
    report = {"kind": "report", "step": 4, "valid_auc": 0.6, "valid_logloss": 0.5}
    found = talk(report, {"kind": "unit", "index": 0, "outcome": SCORES}, {"kind": "done"})
    first, last = found.result(), found.result()
    assert (first["valid_auc"], first["step"]) == (0.6, 5) and "done" not in first
    assert last["valid_auc"] == 0.7 and last["done"] and last["final"]
    assert json.loads(last["curve"]) == [[4, 0.6]] and json.loads(last["outcomes"]) == [SCORES]
    assert found.sandbox.answers == [None, True, True]  # type: ignore[attr-defined]


def test_a_failure_is_a_result_without_a_score():
    failed = talk({"kind": "failed", "reason": "ValueError: no", "traceback": ""}).result()
    assert failed["reason"] == "ValueError: no" and failed["done"] and "valid_auc" not in failed


def test_a_dead_sandbox_is_tried_again_and_given_up_in_the_end():
    report = {"kind": "report", "step": 0, "valid_auc": 0.6, "valid_logloss": 0.5}
    lost = {"kind": "lost", "reason": "the worker died (signal 9)"}
    unit = {"kind": "unit", "index": 0, "outcome": SCORES}
    found = talk(report, lost, report, unit, {"kind": "done"})
    assert found.result()["step"] == 1 and found.result()["valid_auc"] == 0.7, "each step once"
    assert talk(lost, lost, lost).result()["reason"] == "the worker died (signal 9)"


def test_a_trial_that_tune_stops_leaves_the_process_for_the_next_one():
    report = {"kind": "report", "step": 0, "valid_auc": 0.6, "valid_logloss": 0.5}
    found = talk(report, {"kind": "stopped"})
    found.result()
    found.end()
    assert found.sandbox.answers == [None, False] and not found.busy  # type: ignore[attr-defined]
    found.end()


def test_several_objectives_have_no_results_before_the_last():
    report = {"kind": "report", "step": 4, "valid_auc": 0.6, "valid_logloss": 0.5}
    unit = {"kind": "unit", "index": 0, "outcome": SCORES}
    found = talk(report, unit, {"kind": "done"}, objectives=("valid_auc", "embedding_bytes"))
    assert found.result()["embedding_bytes"] == 10


def tune_trial(status: str, last: dict[str, Any]) -> Any:
    return SimpleNamespace(status=status, last_result=last, config={"k": 2})


def test_how_a_trial_of_tune_ended():
    times = {"timestamp": 100.0, "time_total_s": 10.0}
    assert end_of(tune_trial("TERMINATED", {**times, "final": True})).state == "COMPLETE"
    assert end_of(tune_trial("TERMINATED", times)).state == "PRUNED"
    failed = end_of(tune_trial("TERMINATED", {**times, "reason": "ValueError: no"}))
    assert (failed.state, failed.reason, failed.began) == ("FAIL", "ValueError: no", 90.0)
    assert "node died" in end_of(tune_trial("ERROR", {})).reason


def test_what_a_killed_driver_wrote_by_halves_is_removed(tmp_path):
    for name, states in {"0-4": ['{"trial_data": []}', '{"trial_da'], "1-2": ["{"], "2-2": []}.items():
        (tmp_path / name).mkdir()
        for at, text in enumerate(states):
            (tmp_path / name / f"experiment_state-2026-01-0{at + 1}.json").write_text(text)
    ray_engine._mend(tmp_path)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["0-4", "0-4/experiment_state-2026-01-01.json"]


def test_the_median_of_tune_bears_failed_trials_and_pauses_none():
    rule = ray_engine._scheduler(study(pruner=Pruner("median", startup_trials=1, warmup=1)).bind(None))
    rule.on_trial_complete(None, "failed", {"reason": "ValueError: no", "done": True})
    rule.on_trial_complete(None, "good", {"valid_auc": 0.7, "step": 4})
    assert rule.on_trial_result(None, "bad", {"valid_auc": 0.6, "step": 4}) == rule.STOP
    busy = SimpleNamespace(get_live_trials=lambda: [SimpleNamespace(status="PENDING")])
    assert rule._on_insufficient_samples(busy, "other", 1) == rule.CONTINUE


def test_busy_seconds_count_overlaps_once():
    trials = [Ended({}, "COMPLETE", "", began, seconds) for began, seconds in ((0, 10), (5, 10), (20, 5))]
    assert busy_seconds(spans(trials)) == 20


def test_the_mirror_holds_what_tune_holds(tmp_path):
    bound = study(space={"lam": {}, "gate_hidden": {}}).bind(None)
    params = {"lam": 0.05, "gate_hidden": "[]"}
    outcome = {**SCORES, "dataset": "planted", "backbone": "deepfm", "seed": 0, "split_seed": 0}
    outcome |= {"total_bytes": 1, "search_seconds": 1.0, "retrain_seconds": 1.0}
    trials = [
        Ended(params, "COMPLETE", "", 0.0, 2.0, [outcome], {0: 0.5, 1: 0.6}),
        Ended({"lam": 0.5, "gate_hidden": "[64]"}, "PRUNED", "stopped", 0.0, 1.0, [], {0: 0.4}),
        Ended({"lam": 0.1, "gate_hidden": "[64]"}, "FAIL", "ValueError: no", 0.0, 1.0),
    ]
    store = Store(tmp_path / "s").create()
    with ray_engine.opened(bound, "m", "ray", store, None) as folder:
        mirror(bound, "m", folder, trials)
        mirror(bound, "m", folder, trials)
    found = load("m", store)
    assert [t.state.name for t in found.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert found.best_value == 0.7 and found.best_trial.user_attrs["default"]
    frames = read("m", store)
    assert list(frames["trials"]["param.gate_hidden"]) == ["[]", "[64]", "[64]"]
    assert frames["trials"]["reason"].iloc[2] == "ValueError: no" and len(frames["curves"]) == 3


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"pruner": Pruner("wilcoxon"), "seeds": (0, 1, 2)}, Options(), "no pruner wilcoxon"),
        ({}, Options(storage="sqlite:///x"), "--storage is for the engine optuna"),
    ],
)
def test_what_tune_cannot_do_is_refused(tmp_path, change, options, message):
    with pytest.raises(ConfigError, match=message):
        ray_engine.run(study(**change).bind(None), "s", Store(tmp_path), options, Heard())


def test_both_engines_see_one_space_and_give_a_configuration_one_score(tmp_path, monkeypatch):
    """The one fast test that starts Ray. The stores have relative paths, as the command line's default has."""
    monkeypatch.chdir(tmp_path)
    wanted = study(sampler=Sampler("grid"), space={"k": {"choices": [2, 3]}, "lam": {"choices": [0.05, 0.5]}})
    wanted = study(**{**vars(wanted), "trials": 4})
    found = {}
    for name, engine in (("optuna", optuna_engine), ("ray", ray_engine)):
        store = Store(Path(name))
        engine.run(wanted.bind(None), name, store, Options(workers=2), Heard())
        trials = load(name, store).trials
        assert [t.state.name for t in trials] == ["COMPLETE"] * 4
        assert trials[0].user_attrs["default"]
        found[name] = {tuple(sorted(t.params.items())): (t.value, t.intermediate_values) for t in trials}
        assert {t.distributions["lam"] for t in trials} == {trials[0].distributions["lam"]}
    assert found["optuna"] == found["ray"], "the same seed, the same number, bit for bit; and the same curves"


def engines() -> Any:
    return pytest.mark.parametrize("engine", [optuna_engine, ray_engine], ids=["optuna", "ray"])


@pytest.mark.slow
@engines()
def test_every_way_to_fail_is_recorded_and_the_study_goes_on(tmp_path, engine):
    wanted = study(method=FAILING, space={"how": {}}, sampler=Sampler("grid"), trials=6)
    options = Options(workers=2, limits=Limits(15.0, 1500 * 2**20))
    store = Store(tmp_path / "s")
    engine.run(wanted.bind(None), "f", store, options, Heard())
    trials = counted(load("f", store).trials)
    ends = {t.params["how"]: (t.state.name, t.user_attrs.get("reason", "")) for t in trials}
    assert len(trials) == 6 and ends["none"][0] == "COMPLETE"
    assert {state for how, (state, _) in ends.items() if how != "none"} == {"FAIL"}
    reasons = {
        "raise": "ValueError: it raises",
        "nan": "FloatingPointError",
        "sleep": "took more than 15 s",
        "memory": "more than the limit of 1.46 GiB",
        "exit": "the worker died (exit status 3)",
    }
    for how, reason in reasons.items():
        assert reason in ends[how][1], how


@pytest.mark.slow
def test_tunes_schedulers_stop_bad_trials(tmp_path):
    for name in ("asha", "hyperband", "median"):
        pruner = Pruner(name, startup_trials=2, warmup=1, reduction_factor=2)
        settings = {**TINY, "protocol": {**TINY["protocol"], "epochs": 6}}
        wanted = study(pruner=pruner, trials=8, method="fixed", space={"protocol.lr": {}}, settings=settings)
        store = Store(tmp_path / name)
        ray_engine.run(wanted.bind(None), "p", store, Options(workers=1), Heard())
        states = [t.state.name for t in load("p", store).trials]
        assert len(states) == 8 and set(states) <= {"COMPLETE", "PRUNED"} and "COMPLETE" in states
        if name == "asha":
            assert "PRUNED" in states


@pytest.mark.slow
def test_more_trials_and_several_objectives(tmp_path):
    store = Store(tmp_path / "s")
    for trials in (4, 6):
        wanted = study(objectives=("valid_auc", "embedding_bytes"), trials=trials, per_search=2)
        heard = Heard()
        ray_engine.run(wanted.bind(None), "s", store, Options(), heard)
        assert heard.begun == (trials, 0 if trials == 4 else 4)
        found = load("s", store)
        assert len(found.trials) == trials and len(found.directions) == 2
    assert [line["number"] for line in heard.lines] == [4, 5]
    assert read("s", store)["savings"]["search"][1] > 0, "trials shared searches"


@pytest.mark.slow
def test_no_trial_begins_after_the_time_is_over(tmp_path):
    store = Store(tmp_path / "s")
    wanted = study(method=FAILING, space={"n": {}}, trials=60, seconds=20.0)
    wanted = replace(wanted, settings={**TINY, "failing": {"seconds": 1.0}})
    counts = []
    for _ in range(2):
        ray_engine.run(wanted.bind(None), "t", store, Options(), Heard())
        counts.append(len(load("t", store).trials))
    assert 1 <= counts[0] <= 20 and counts[1] <= 20, "a trial takes a second; the time is that of all calls"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_it_ends_exact(tmp_path, seed):
    sets = ["planted.train=3000", "planted.valid=300", "planted.test=400"]
    sets += ["protocol.epochs=4", "protocol.batch_size=64", "protocol.hidden=[8]"]
    command = [sys.executable, "-m", "nasbench_rec.cli", "study", "ihas-lambda-tau-k", "--engine", "ray"]
    command += ["--store", str(tmp_path / "s"), "--workers", "2", "--trials", "8"]
    command += [part for s in sets for part in ("--set", s)]
    moments, killed = random.Random(seed), 0
    for _ in range(2):
        driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            driver.wait(moments.uniform(8, 25))
        except subprocess.TimeoutExpired:
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
            killed += 1
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert killed
    trials = load("ihas-lambda-tau-k-ray", tmp_path / "s").trials
    assert [t.state.name for t in trials] == ["COMPLETE"] * 8
    assert sum("default" in t.user_attrs for t in trials) == 1


@pytest.mark.slow
@engines()
def test_a_node_dies_in_the_middle_and_nothing_is_missing(tmp_path, engine, monkeypatch):
    """Two nodes on loopback, one processor each; the second one is killed after two trials."""
    from nasbench_rec.studies._ray import LOCAL, SETTINGS

    for name, value in {**SETTINGS, **LOCAL}.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)

    def kill(heard: int) -> None:
        if heard == 2:
            cluster.remove_node(second, allow_graceful=False)

    wanted = study(method=FAILING, space={"n": {}}, trials=8, settings={**TINY, "failing": {"seconds": 1.5}})
    store, heard = Store(tmp_path / "s"), Heard(kill)
    try:
        engine.run(wanted.bind(None), "n", store, Options(workers=2, address=cluster.address), heard)
    finally:
        cluster.shutdown()
    trials = load("n", store).trials
    assert len(counted(trials)) == 8 and {t.state.name for t in counted(trials)} == {"COMPLETE"}
    assert not [t for t in trials if t.state.name == "RUNNING"]


DRIVER = """
import json, os, signal, sys
from pathlib import Path
from nasbench_rec.store import Store
from nasbench_rec.studies import ray_engine
from nasbench_rec.studies.running import Options
from nasbench_rec.studies.study import Sampler, Study

method, settings, store, ending = sys.argv[1:]
heard = []

class Observer:
    def started(self, total, done): ...

    def finished(self, line):
        heard.append(line)
        if len(heard) == 3:
            os.kill(os.getpid(), getattr(signal, ending))

wanted = Study(method=method, space={"n": {}}, trials=6, sampler=Sampler("random"), settings=json.loads(settings))
ray_engine.run(wanted.bind(None), "d", Store(Path(store)), Options(), Observer())
"""


def broken_off(store: Path, ending: str) -> Study:
    """Run a study of 6 trials whose driver gets a signal after the third; return it."""
    settings = {**TINY, "failing": {"seconds": 1.5}}
    code = [sys.executable, "-c", DRIVER, FAILING, json.dumps(settings), str(store), ending]
    assert subprocess.run(code, capture_output=True, check=False).returncode == -getattr(signal, ending)
    return study(method=FAILING, space={"n": {}}, trials=6, settings=settings)


@pytest.mark.slow
def test_ctrl_c_ends_a_study_and_the_same_call_continues(tmp_path):
    wanted = broken_off(tmp_path, "SIGINT")
    heard = Heard()
    ray_engine.run(wanted.bind(None), "d", Store(tmp_path), Options(), heard)
    assert heard.begun[1] <= 3, "the other trials were not run in spite of Ctrl-C"
    assert [t.state.name for t in load("d", Store(tmp_path)).trials] == ["COMPLETE"] * 6


@pytest.mark.slow
def test_a_snapshot_that_is_not_whole_costs_no_trial_and_no_time(tmp_path):
    """Tune would wait ten minutes for a searcher that knows other trials, and crash for a file cut short."""
    wanted = broken_off(tmp_path / "killed", "SIGKILL")
    for torn in (
        "",
        "experiment_state-*.json",
        "searcher-state-*.pkl",
        "search_gen_state-*.json",
        "tuner.pkl",
    ):
        store = Store(tmp_path / f"s{torn[:12]}")
        shutil.copytree(tmp_path / "killed", store.path)
        for path in (store.path / "studies" / "d" / "tune" / "0-6").glob(torn or "none"):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        heard = Heard()
        ray_engine.run(wanted.bind(None), "d", store, Options(), heard)
        assert heard.begun[1] >= 1 or torn.startswith("experiment"), torn
        assert [t.state.name for t in load("d", store).trials] == ["COMPLETE"] * 6, torn
        assert sorted(line["number"] for line in heard.lines) == list(range(heard.begun[1], 6)), torn


@pytest.mark.slow
def test_fewer_trials_than_a_killed_driver_wanted(tmp_path):
    wanted = replace(broken_off(tmp_path, "SIGKILL"), trials=4)
    ray_engine.run(wanted.bind(None), "d", Store(tmp_path), Options(), Heard())
    assert len(ended_trials(tmp_path / "studies" / "d" / "tune")) == 4
    assert len(load("d", Store(tmp_path)).trials) == 4
