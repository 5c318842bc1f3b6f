"""Equal tuning: the same budget for all, the choice by validation data, and units that differ in it alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
from nasbench_rec.studies import optuna_engine
from nasbench_rec.studies.running import Options
from nasbench_rec.studies.study import Sampler
from nasbench_rec.studies.tuning import (
    Tuning,
    collect,
    pairs,
    plan_frame,
    read_tuned,
    read_tuning,
)

from nasbench_rec.errors import ConfigError, StoreError
from nasbench_rec.store import Store

PLAIN = {"planted": {"train": 1500, "valid": 300, "test": 400}, "protocol": {"epochs": 2}}


class Quiet:
    def started(self, total: int, done: int) -> None: ...

    def finished(self, line: Any) -> None: ...


class Worker:
    """Scores a configuration by a rule: the learning rate nearest .005 is best; iHAS fails always but once."""

    def begin(self, job: Any) -> Any:
        from concurrent.futures import Future

        unit = job.units[0]
        auc = 0.8 - abs(math.log10(unit["protocol"]["lr"]) - math.log10(0.005)) / 10
        stages: list[Any] = []
        head = {"key": "k", "dataset": "planted", "backbone": "deepfm", "seed": 100, "split_seed": 0}
        numbers = {"valid_auc": auc, "valid_logloss": 0.5, "embedding_bytes": 1, "total_bytes": 1}
        times = {"search_seconds": 0.0, "retrain_seconds": 0.0, "stages": stages, "health": []}
        self.messages = [{"kind": "unit", "index": 0, "outcome": head | numbers | times}, {"kind": "done"}]
        if unit["method"]["spec"] == "mde":
            self.messages = [{"kind": "failed", "reason": "ValueError: no", "traceback": ""}]
        said: Any = Future()
        said.set_result(self.messages.pop(0))
        return said

    def next(self, answer: bool) -> Any:
        from concurrent.futures import Future

        said: Any = Future()
        said.set_result(self.messages.pop(0))
        return said

    def rest(self) -> None: ...

    def close(self) -> None: ...


def tuning(**changes: Any) -> Tuning:
    base = {
        "title": "t",
        "methods": ("fixed", "random", "magnitude", "ihas"),
        "settings": PLAIN,
        "trials": 5,
        "sampler": Sampler("random"),
        "shared": {"protocol.lr": {}},
        "space": {"ihas": {"k": {}}, "magnitude": {"recipe": {}}},
    }
    return Tuning(**{**base, **changes})


def run(found: Tuning, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_engine, "make_workers", lambda o: [Worker()])
    for name, study in found.studies("t").items():
        optuna_engine.run(study.bind(None), name, store, Options(), Quiet())


def test_every_method_has_a_study_of_the_same_length_and_the_uniform_model_too():
    studies = tuning(methods=("random", "ihas"), backbones=("deepfm", "dnn"), space={}).studies("t")
    assert list(studies)[0] == "t/fixed-planted-deepfm" and len(studies) == 6
    assert {(s.trials, s.seeds, s.sampler) for s in studies.values()} == {(5, (100,), Sampler("random"))}
    assert all("protocol.lr" in s.space for s in studies.values())
    ratios = {s.method: s.ratio for s in studies.values()}
    assert ratios == {"fixed": None, "random": 0.5, "ihas": None}
    assert set(studies["t/fixed-planted-dnn"].space) == {"protocol.lr", "factor"}, (
        "its own, as it declares them"
    )


def test_the_best_by_validation_is_kept_and_tested_beside_the_default(tmp_path, monkeypatch):
    store, found = Store(tmp_path / "s"), tuning()
    run(found, store, monkeypatch)
    kept = collect(found, "t", store)
    assert read_tuned(store, "t") == kept
    assert [e.method for e in kept.entries] == ["fixed", "random", "magnitude", "ihas"]
    assert all(e.tuned_valid >= e.default_valid and e.trials == 5 for e in kept.entries)
    planned = pairs(kept, {}, 2, None)
    assert len(planned) == 8
    for pair in planned:
        default, tuned = pair.default.task.protocol, pair.tuned.task.protocol
        assert (default.epochs, tuned.epochs) == (2, 2), "the tuning's settings hold for both"
        if pair.entry.protocol:
            assert abs(math.log10(tuned.lr / 0.005)) < abs(math.log10(default.lr / 0.005))
        assert pair.default.seeds == pair.tuned.seeds and pair.seed in (0, 1)
        assert pair.default.ratio == pair.tuned.ratio == pair.entry.ratio
    frame = plan_frame(planned)
    assert set(frame["label"]) == {"fixed", "random @ 1/2", "magnitude @ 1/2", "ihas"}
    assert (
        frame.loc[frame["label"] == "ihas", "changes"].str.contains("protocol.lr|k ").all()
        or (frame.loc[frame["label"] == "ihas", "changes"] == "").all()
    )


def test_kept_defaults_are_one_unit(tmp_path, monkeypatch):
    store, found = Store(tmp_path / "s"), tuning(methods=("fixed",), trials=1, space={})
    run(found, store, monkeypatch)
    (pair,) = pairs(collect(found, "t", store), {}, 1, None)
    assert pair.default.key == pair.tuned.key and pair.entry.changes == ""


def test_a_method_that_always_fails_keeps_its_defaults_and_stops_nobody(tmp_path, monkeypatch):
    store, found = Store(tmp_path / "s"), tuning(methods=("fixed", "mde", "random"), space={})
    run(found, store, monkeypatch)
    entries = collect(found, "t", store).entries
    assert [(e.method, e.number is None) for e in entries] == [
        ("fixed", False),
        ("mde", True),
        ("random", False),
    ]
    assert "none of 5 trials succeeded" in entries[1].line and not entries[1].changes
    assert read_tuned(store, "t").entries[1].tuned_valid is None


def test_a_part_can_be_tested_and_unknown_names_are_refused(tmp_path, monkeypatch):
    store, found = Store(tmp_path / "s"), tuning()
    run(found, store, monkeypatch)
    kept = collect(found, "t", store)
    planned = pairs(kept, {"methods": ("ihas",)}, 1, None)
    assert [p.entry.method for p in planned] == ["fixed", "ihas"], "with the uniform model, for comparison"
    with pytest.raises(ConfigError, match="did you mean 'ihas'"):
        pairs(kept, {"methods": ("ihass",)}, 1, None)
    with pytest.raises(StoreError, match="unknown tuning 'tt'; did you mean 't'"):
        read_tuned(store, "tt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods = []", "methods is empty"),
        ('methods = ["ihas"]\n[space.autodim.every]', "no method of this tuning"),
        ('methods = ["ihas"]\n[space.ihas.lamb]', "did you mean 'lam'"),
        ('methods = ["ihas"]\ntrails = 3', "did you mean 'trials'"),
    ],
)
def test_a_file_is_read_strictly(tmp_path, text, message):
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_tuning(path)
