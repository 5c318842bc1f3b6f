"""A study whose driver is killed: the same command ends it, with exactly the trials that were asked for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from nasbench_rec.studies.storage import load
from nasbench_rec.studies.trials import lost_trials

SETS = ["planted.train=3000", "planted.valid=300", "planted.test=400"]
SETS += ["protocol.epochs=4", "protocol.batch_size=64", "protocol.hidden=[8]"]
TRIALS = 10


def command(store: Path) -> list[str]:
    base = [sys.executable, "-m", "nasbench_rec.cli", "study", "ihas-lambda-tau-k", "--store", str(store)]
    return [*base, "--workers", "2", "--trials", str(TRIALS), *(p for s in SETS for p in ("--set", s))]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_it_ends_exact(tmp_path: Path, seed: int) -> None:
    moments, killed = random.Random(seed), 0
    for _ in range(3):
        driver = subprocess.Popen(
            command(tmp_path / "s"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            driver.wait(moments.uniform(3, 8))
        except subprocess.TimeoutExpired:
            workers = psutil.Process(driver.pid).children(recursive=True)
            os.kill(driver.pid, signal.SIGKILL)
            driver.wait()
            killed += 1
            _, alive = psutil.wait_procs(workers, timeout=10)
            assert not alive, "workers end with their driver"
    last = subprocess.run(command(tmp_path / "s"), capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert killed > 0
    trials = load("ihas-lambda-tau-k", tmp_path / "s").trials
    complete = [t for t in trials if t.state.name == "COMPLETE"]
    assert len(complete) == TRIALS and not [t for t in trials if t.state.name == "RUNNING"]
    lost = lost_trials(trials)
    assert {t.number for t in trials if t.state.name == "FAIL"} == set(lost)
    assert not {t.number for t in complete} & set(lost), "none counted twice"
    points = [t.user_attrs["point"] for t in complete if "point" in t.user_attrs]
    assert points == [0], "the defaults were evaluated once"


@pytest.mark.slow
def test_two_studies_in_two_processes_share_a_store(tmp_path: Path) -> None:
    """They share stages, and neither sees the other's trials."""
    first = command(tmp_path / "s")
    second = [*first, "--name", "other", "--seeds", "2"]
    running = [
        subprocess.Popen(c, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for c in (first, second)
    ]
    for driver in running:
        _, errors = driver.communicate(timeout=300)
        assert driver.returncode == 0, errors.decode()
    one, two = load("ihas-lambda-tau-k", tmp_path / "s"), load("other", tmp_path / "s")
    assert {t.state.name for t in counted(one)} == {t.state.name for t in counted(two)} == {"COMPLETE"}
    assert len(counted(one)) == len(counted(two)) == TRIALS
    scores = {t.params["lam"]: t.value for t in counted(one) if t.user_attrs.get("default")}
    again = {
        t.params["lam"]: t.user_attrs["units"][0]["valid_auc"]
        for t in counted(two)
        if t.user_attrs.get("default")
    }
    assert scores == again, "the same configuration and seed, the same number"


def counted(study: object) -> list:
    return [t for t in study.trials if t.state.is_finished()]  # type: ignore[attr-defined]
