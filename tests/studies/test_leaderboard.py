"""Leaderboards: which units, strict reading, resuming after a kill, and what a second one repeats."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from nasbench_rec.studies.execute import Workers, execute
from nasbench_rec.studies.leaderboard import (
    Leaderboard,
    read_leaderboard,
    shipped,
    shipped_names,
)

from nasbench_rec.config import parse_settings
from nasbench_rec.errors import ConfigError, DataError
from nasbench_rec.store import Store

TINY = {
    "planted": {"train": 1500, "valid": 300, "test": 400},
    "protocol": {"epochs": 1, "batch_size": 256, "hidden": [8]},
}
SETS = ["--set", *(f"{n}.{k}={v}".replace(" ", "") for n, part in TINY.items() for k, v in part.items())]
NUMBERS = ["test_auc", "test_logloss", "valid_auc", "embedding_bytes", "total_bytes", "expected_auc"]


class Silent:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.records: list[dict] = []

    def started(self, total: int, done: int) -> None:
        self.total, self.done = total, done

    def finished(self, record: dict) -> None:
        self.records.append(record)


def board(**changes) -> Leaderboard:
    return Leaderboard(**{"methods": ("random", "magnitude"), "seeds": 2, "settings": TINY, **changes})


def run(store: Path, leaderboard: Leaderboard) -> Silent:
    observer = Silent()
    assert execute(leaderboard.units(None), Store(store), Workers(), None, observer) == 0
    return observer


def command(store: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "nasbench_rec.cli", "leaderboard", "--store", str(store)]
    return [*start, "--methods", "random", "magnitude", "ihas", "--seeds", "2", *SETS, *more]


def test_units_hold_the_reference_and_each_budget_once():
    units = board(methods=("random", "ihas"), ratios=(0.5, 0.25, 0.5)).units(None)
    labels = {u.label for u in units}
    assert labels == {"fixed", "fixed @ 1/2", "fixed @ 1/4", "random @ 1/2", "random @ 1/4", "ihas"}
    assert len(units) == 12 and len({u.key for u in units}) == 12
    assert units[0].method.name == "fixed"


def test_settings_reach_every_preset_and_are_named_in_the_label():
    units = board(methods=("ihas/robust", "ihas"), settings={**TINY, "ihas": {"k": 3}}).units(None)
    labels = {u.label for u in units if u.method.info.name == "ihas"}
    assert labels == {"ihas/robust (k=3)", "ihas (k=3)"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": ("autodmi",)}, "did you mean 'autodim'"),
        ({"methods": ("ihas/robst",)}, "did you mean 'robust'"),
        ({"datasets": ("plantd",)}, "did you mean 'planted'"),
        ({"backbones": ("deepfn",)}, "did you mean 'deepfm'"),
        ({"ratios": (1.5,)}, r"1\.5"),
        ({"seeds": 0}, "seeds = 0"),
        ({"settings": {"ihsa": {"k": 2}}}, "ihsa"),
        ({"settings": {"random": {"ration": 0.5}}}, "did you mean 'ratio'"),
        ({"settings": {"planted": {"train": "many"}}}, "train"),
    ],
)
def test_bad_leaderboards_are_refused_before_anything_runs(change, message):
    with pytest.raises(ConfigError, match=message):
        board(**change).units(None)


def test_missing_data_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(DataError, match="frappe|Frappe"):
        board(datasets=("frappe",), settings={}).units(tmp_path)


def test_toml_is_read_strictly(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('metods = ["fixed"]\n')
    with pytest.raises(ConfigError, match=r"mine\.toml.*did you mean 'methods'"):
        read_leaderboard(path)
    path.write_text('seeds = "three"\n')
    with pytest.raises(ConfigError, match=r"mine\.toml.*seeds"):
        read_leaderboard(path)
    path.write_text("seeds = \n")
    with pytest.raises(ConfigError, match=r"mine\.toml.*line 1"):
        read_leaderboard(path)


def test_shipped_leaderboards_are_valid():
    assert "leaderboard" in shipped_names()
    for name in shipped_names():
        assert shipped(name).methods
    assert shipped().units(None)


def test_parse_settings():
    assert parse_settings(("ihas/robust.k=4", "protocol.hidden=[8,4]", "planted.tier=T3")) == {
        "ihas/robust": {"k": 4},
        "protocol": {"hidden": [8, 4]},
        "planted": {"tier": "T3"},
    }
    with pytest.raises(ConfigError, match="name.field=value"):
        parse_settings(("k=4",))


def test_other_sizes_and_other_k_repeat_no_search(tmp_path):
    methods = ("magnitude", "ihas")
    run(tmp_path, board(methods=methods, seeds=1))
    again = run(tmp_path, board(methods=methods, seeds=1))
    assert not again.records and again.done == again.total, "a second call trains nothing"
    later = run(
        tmp_path, board(methods=methods, seeds=1, ratios=(0.25,), settings={**TINY, "ihas": {"k": 3}})
    )
    searches = [use for r in later.records for use in r["stages"] if use["kind"] == "search"]
    assert len(later.records) == 3 and all(use["reused"] for use in searches)


def test_a_failing_method_fails_its_own_unit_only(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from nasbench_rec.methods.fixed import Fixed\n"
        "from dataclasses import replace\n"
        "class Broken(Fixed):\n"
        "    info = replace(Fixed.info, name='broken', budget='none')\n"
        "    def search(self, task):\n"
        "        raise ValueError('no luck')\n"
    )
    leaderboard = board(methods=(f"{broken}:Broken", "random"), seeds=1)
    observer, store = Silent(), Store(tmp_path / "store")
    assert execute(leaderboard.units(None), store, Workers(), None, observer) == 1
    frame = store.frame().set_index("label")
    assert frame.loc["broken", "status"] == "failed" and "no luck" in frame.loc["broken", "error"]
    assert frame.loc["random @ 1/2", "status"] == "ok" and pd.isna(frame.loc["broken", "test_auc"])
    again = Silent()
    execute(leaderboard.units(None), Store(tmp_path / "store"), Workers(), None, again)
    assert [r["label"] for r in again.records] == ["broken"], "only the failed unit is tried again"


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(whole), check=True, capture_output=True, timeout=300)
    for enough in (1, 4):
        process = subprocess.Popen(command(broken), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while len(list((broken / "records").glob("*.json"))) < enough and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = {p.name: p.stat().st_mtime_ns for p in (broken / "records").glob("*.json")}
    stages = {p: p.stat().st_mtime_ns for p in (broken / "stages").glob("*/*/meta.json")}
    subprocess.run(command(broken), check=True, capture_output=True, timeout=300)
    assert all((broken / "records" / n).stat().st_mtime_ns == t for n, t in kept.items()), (
        "finished units stay"
    )
    assert all(p.stat().st_mtime_ns == t for p, t in stages.items()), "finished stages stay"
    a, b = Store(whole).frame().set_index("key"), Store(broken).frame().set_index("key")
    assert len(a) == len(b) and (a.index.sort_values() == b.index.sort_values()).all()
    pd.testing.assert_frame_equal(a[NUMBERS].sort_index(), b[NUMBERS].sort_index(), check_exact=True)


@pytest.mark.slow
def test_ray_workers_give_the_same_records(tmp_path):
    alone, workers = tmp_path / "alone", tmp_path / "workers"
    subprocess.run(command(alone), check=True, capture_output=True, timeout=300)
    subprocess.run(command(workers, "--workers", "2"), check=True, capture_output=True, timeout=300)
    a, b = Store(alone).frame().set_index("key"), Store(workers).frame().set_index("key")
    pd.testing.assert_frame_equal(a[NUMBERS].sort_index(), b[NUMBERS].sort_index(), check_exact=True)
