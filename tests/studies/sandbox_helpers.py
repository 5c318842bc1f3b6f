"""What the sandbox's child calls in tests, by the first unit's `do`. No torch, but for `sealed`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nasbench_rec.studies.sandbox import Job, Message, Tell, evaluate

SCORES = {"auc": 0.5, "logloss": 0.7}
LONG = 120.0
_loaders: dict[str, Any] = {}


def stub(job: Job, tell: Tell) -> Message:
    """`evaluate`, with other units."""
    return evaluate(job, tell, _validate)


def sealed(job: Job, tell: Tell) -> Message:
    """`evaluate`, with data sets that raise where anything asks for test rows, whoever asks."""
    from nasbench_rec.data import Dataset

    if "load" not in _loaders:
        _loaders["load"] = Dataset.load
    Dataset.load = lambda folder: _loaders["load"](folder).without_test()  # type: ignore[method-assign]
    return evaluate(job, tell)


def _validate(unit: Mapping[str, Any], job: Job, on_report: Any) -> dict[str, Any]:
    return globals()[f"_{unit['do']}"](unit, on_report)


def _reports(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    for phase in ("search", "retrain"):
        for epoch in range(unit.get("epochs", 2)):
            on_report(phase, epoch, SCORES)
    return {"pid": os.getpid(), "dataset": unit.get("name", "")}


def _nan(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    on_report("search", 0, {"auc": float("nan"), "logloss": 0.7})
    on_report("search", 1, {"auc": 0.5, "logloss": float("inf")})
    raise FloatingPointError("validation scores\nare not finite")


def _exits(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    sys.exit("a method gave up")


def _unjsonable(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    return {"value": object()}


def _stubborn(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    try:
        on_report("search", 0, SCORES)
    finally:
        time.sleep(LONG)
    return {}


def _swallows(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    for _ in range(3):
        with suppress(BaseException):
            on_report("search", 0, SCORES)
    raise ValueError("after the stop")


def _sleeps(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    on_report("search", 0, SCORES)
    time.sleep(LONG)
    return {}


def _computes(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    Path(unit["pids"]).write_text(str(os.getpid()))
    while True:
        sum(range(100_000))


def _eats(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    held = b"x" * unit["bytes"]
    time.sleep(LONG)
    return {"bytes": len(held)}


def _feeds(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    """A child of the child takes the memory, and outlives nothing."""
    code = f"import time; held = b'x' * {unit['bytes']}; time.sleep({LONG})"
    eater = subprocess.Popen([sys.executable, "-c", code])
    Path(unit["pids"]).write_text(str(eater.pid))
    eater.wait()
    return {}


def _dies(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    sys.stderr.write("std::bad_alloc\n")
    on_report("search", 0, SCORES)
    if unit["by"] == "exit":
        os._exit(3)
    os.kill(os.getpid(), getattr(signal, unit["by"]))
    time.sleep(LONG)
    return {}


def _noise(unit: Mapping[str, Any], on_report: Any) -> dict[str, Any]:
    for _ in range(2000):
        sys.stdout.write('{"kind": "done"}\n' * 20)
        sys.stderr.write('{"kind": "lost"}\n' * 20)
    subprocess.run(["sh", "-c", "echo noise; echo noise >&2; cat"], check=True)
    return _reports(unit, on_report)
