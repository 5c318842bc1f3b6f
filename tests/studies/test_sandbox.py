"""The sandbox: messages in order, and an answer whatever happens to the child. Only the last part trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from nasbench_rec.studies import sandbox as module
from nasbench_rec.studies.leaderboard import Leaderboard
from nasbench_rec.studies.sandbox import Job, Limits, Message, Sandbox, _size, evaluate

from nasbench_rec.errors import ConfigError

HERE = Path(__file__).parent
MIB = 1024**2
SIZES: dict[str, Any] = {
    "planted": {"train": 1500, "valid": 300, "test": 400},
    "protocol": {"epochs": 3, "batch_size": 256, "hidden": [8]},
}
OUTCOME = {
    *("key", "dataset", "backbone", "seed", "split_seed", "valid_auc", "valid_logloss", "embedding_bytes"),
    *("embedding_params", "embedding_ratio", "router_bytes", "total_bytes", "values_per_lookup"),
    *("flops_per_row", "search_seconds", "retrain_seconds", "search_trainings", "peak_rss_bytes"),
    *("stages", "health"),
}
TIMES = ("search_seconds", "retrain_seconds", "peak_rss_bytes", "stages")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes sandboxes whose child calls a helper."""
    monkeypatch.syspath_prepend(HERE)
    made: list[Sandbox] = []

    def new(limits: Limits | None = None, helper: str = "stub") -> Sandbox:
        made.append(Sandbox(limits, f"sandbox_helpers:{helper}"))
        return made[-1]

    yield new
    for one in made:
        one.close()


def job(do: str, /, units: int = 1, reports: Any = "all", **more: Any) -> Job:
    return Job(tuple({"do": do, **more} for _ in range(units)), "/nowhere", None, 1, reports, 2)


def listen(sandbox: Sandbox, what: Job, stop_at: int | None = None) -> tuple[list[Message], Message]:
    """Return all messages but the last, and the last; the message number `stop_at` is answered with stop."""
    heard: list[Message] = []

    def on_message(message: Message) -> bool:
        heard.append(message)
        return len(heard) - 1 != stop_at

    return heard, sandbox.run(what, on_message)


def works(sandbox: Sandbox) -> int:
    """Hold that the sandbox does a job as if nothing had been; return the child's process id."""
    heard, last = listen(sandbox, job("reports"))
    assert last == {"kind": "done"} and [m["kind"] for m in heard] == ["report"] * 4 + ["unit"]
    return int(heard[-1]["outcome"]["pid"])


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_jobs_are_text() -> None:
    one = job("reports", units=2, reports="search", name="é\n")
    assert Job.from_json(one.to_json()) == one and "\n" not in one.to_json()


@pytest.mark.parametrize("values", [{"seconds": 0}, {"seconds": float("nan")}, {"bytes": -1}])
def test_limits_that_nothing_can_keep_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="limit of a trial: .* must be a number above 0"):
        Limits(**values)


def test_sizes_are_written_with_a_binary_unit() -> None:
    assert [_size(n) for n in (10, 1536, 4 * 1024**3, 4.2 * 1024**3)] == [
        "10 B",
        "1.5 KiB",
        "4 GiB",
        "4.2 GiB",
    ]


def test_messages_come_in_order_and_the_child_stays(make: Any) -> None:
    sandbox = make()
    heard, last = listen(sandbox, job("reports", units=2, name="é\n"))
    assert last == {"kind": "done"}
    assert [m.get("step", m.get("index")) for m in heard] == [0, 1, 2, 3, 0, 4, 5, 6, 7, 1]
    assert heard[0] == {"kind": "report", "step": 0, "valid_auc": 0.5, "valid_logloss": 0.7}
    assert heard[4]["outcome"]["dataset"] == "é\n"
    assert heard[4]["outcome"]["pid"] == works(sandbox) != os.getpid()


@pytest.mark.parametrize(
    ("reports", "steps"), [("all", [0, 1, 2, 3]), ("search", [0, 1]), ("retrain", [2, 3])]
)
def test_only_the_wanted_reports_are_made(make: Any, reports: str, steps: list[int]) -> None:
    heard, _ = listen(make(), job("reports", reports=reports, epochs=5))
    assert [m["step"] for m in heard[:-1]] == steps, "epochs beyond the stride are left out"


@pytest.mark.parametrize("at", [0, 3, 4])
def test_a_job_stops_at_any_message(make: Any, at: int) -> None:
    sandbox = make()
    pid = works(sandbox)
    heard, last = listen(sandbox, job("reports", units=2), stop_at=at)
    assert last == {"kind": "stopped"} and len(heard) == at + 1
    assert works(sandbox) == pid, "a stop needs no new child"


def test_a_method_that_swallows_the_stop_is_stopped_all_the_same(make: Any) -> None:
    heard, last = listen(make(), job("swallows"), stop_at=0)
    assert last == {"kind": "stopped"} and len(heard) == 1


def test_a_stop_that_is_not_honoured_kills(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.5)
    sandbox = make()
    pid = works(sandbox)
    _, last = listen(sandbox, job("stubborn"), stop_at=0)
    assert last == {"kind": "stopped"} and gone(pid) and works(sandbox) != pid


def test_a_failure_has_its_reason_and_scores_that_are_no_numbers_are_no_report(make: Any) -> None:
    sandbox = make()
    heard, last = listen(sandbox, job("nan"))
    assert heard == [] and last["kind"] == "failed"
    assert last["reason"] == "FloatingPointError: validation scores are not finite"
    assert "in _nan" in last["traceback"]
    assert listen(sandbox, job("exits"))[1]["reason"] == "SystemExit: a method gave up"
    assert "not JSON serializable" in listen(sandbox, job("unjsonable"))[1]["reason"]
    works(sandbox)


def test_a_job_that_takes_too_long_fails(make: Any) -> None:
    sandbox = make()
    pid = works(sandbox)
    sandbox.limits = Limits(seconds=0.5)
    _, last = listen(sandbox, job("sleeps"))
    assert last == {"kind": "failed", "reason": "took more than 0.5 s (limit of a trial)", "traceback": ""}
    sandbox.limits = Limits()
    assert gone(pid) and works(sandbox) != pid


def test_a_job_that_never_waits_is_timed_too(make: Any) -> None:
    _, last = listen(make(Limits(seconds=1)), job("reports", units=10_000, epochs=2))
    assert last["reason"] == "took more than 1 s (limit of a trial)"


@pytest.mark.parametrize("do", ["eats", "feeds"])
def test_a_job_that_takes_too_much_memory_fails(make: Any, do: str, tmp_path: Path) -> None:
    sandbox, pids = make(Limits(bytes=150 * MIB)), tmp_path / "pids"
    pid = works(sandbox)
    _, last = listen(sandbox, job(do, bytes=300 * MIB, pids=str(pids)))
    assert last["kind"] == "failed" and gone(pid) and works(sandbox) != pid
    assert last["reason"].startswith("used ") and last["reason"].endswith(
        " MiB of memory, more than the limit of 150 MiB"
    )
    assert do == "eats" or gone(int(pids.read_text())), "its own children end with it"


@pytest.mark.parametrize(
    ("by", "how"),
    [
        ("SIGKILL", "signal 9, Killed"),
        ("SIGSEGV", "signal 11, Segmentation fault"),
        ("exit", "exit status 3"),
    ],
)
def test_a_death_is_a_loss_with_a_reason(make: Any, by: str, how: str) -> None:
    sandbox = make()
    heard, last = listen(sandbox, job("dies", by=by))
    assert [m["kind"] for m in heard] == ["report"]
    assert last == {"kind": "lost", "reason": f"the worker died ({how}); its last line: std::bad_alloc"}
    works(sandbox)


def test_a_child_that_dies_between_jobs_is_not_missed(make: Any) -> None:
    sandbox = make()
    pid = works(sandbox)
    os.kill(pid, signal.SIGKILL)
    assert sandbox._child is not None
    while sandbox._child.alive():  # the last of its threads may take a moment
        time.sleep(0.01)
    assert works(sandbox) != pid


def test_a_child_that_cannot_start_is_a_loss_with_a_reason(make: Any) -> None:
    last = listen(make(helper="nothing"), job("reports"))[1]
    assert last["kind"] == "lost" and "has no attribute 'nothing'" in last["reason"]


def test_an_error_of_the_listener_ends_the_job(make: Any) -> None:
    sandbox = make()

    def on_message(message: Message) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sandbox.run(job("reports"), on_message)
    sandbox.begin(job("sleeps"))
    assert sandbox.next()["kind"] == "report"
    works(sandbox)
    with pytest.raises(RuntimeError, match="begin"):
        sandbox.next()


def test_noise_is_no_message(make: Any) -> None:
    sandbox = make()
    heard, last = listen(sandbox, job("noise"))
    assert last == {"kind": "done"} and len(heard) == 5
    assert sandbox._child is not None and len(sandbox._child.words) <= module.WORDS


def test_sandboxes_in_threads_do_not_disturb_each_other(make: Any) -> None:
    """One of them dies in every job; the death is heard although its siblings were started around it."""
    ends: dict[int, list[str]] = {}

    def work(number: int) -> None:
        sandbox = make()
        dying = job("dies", by="SIGKILL")
        jobs = [dying if number == 0 else job("reports", units=5) for _ in range(4)]
        ends[number] = [listen(sandbox, one)[1]["kind"] for one in jobs]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ends == {0: ["lost"] * 4, **{n: ["done"] * 4 for n in (1, 2, 3)}}


def test_close_from_another_thread_ends_the_wait(make: Any) -> None:
    sandbox, heard = make(), []
    sandbox.begin(job("sleeps"))
    assert sandbox.next()["kind"] == "report"
    waiting = threading.Thread(target=lambda: heard.append(sandbox.next(True)))
    waiting.start()
    while not sandbox._lock.locked():
        time.sleep(0.01)
    sandbox.close()
    waiting.join(10)
    assert [m["kind"] for m in heard] == ["lost"]
    works(sandbox)


def test_nothing_is_left_open(make: Any) -> None:
    before = psutil.Process().num_fds()
    with make() as sandbox:
        pid = works(sandbox)
        listen(sandbox, job("dies", by="SIGKILL"))
    assert gone(pid) and psutil.Process().num_fds() == before


DRIVER = """
import sys, threading, time
sys.path.insert(0, {here!r})
from nasbench_rec.studies.sandbox import Job, Sandbox
def run(pids):
    unit = {{"do": "computes", "pids": pids}}
    Sandbox(entry="sandbox_helpers:stub").run(Job((unit,), "/nowhere"), lambda message: True)
for pids in sys.argv[1:]:
    threading.Thread(target=run, args=(pids,)).start()
assert not {{"torch", "ray", "optuna", "pandas"}} & set(sys.modules), "the parent is light"
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    """A plain script without a guard, with two children deep in computing."""
    script, files = tmp_path / "driver.py", [tmp_path / "a", tmp_path / "b"]
    script.write_text(DRIVER.format(here=str(HERE)))
    driver = subprocess.Popen([sys.executable, str(script), *map(str, files)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not all(f.is_file() and f.read_text() for f in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = [int(f.read_text()) for f in files]
    time.sleep(0.3)
    assert driver.poll() is None and not any(gone(pid, 0.1) for pid in pids)
    assert all(os.getsid(pid) == pid for pid in pids), "Ctrl-C in a terminal is the parent's alone to handle"
    os.kill(driver.pid, how)
    driver.wait(10)
    assert all(gone(pid) for pid in pids)
    assert driver.stderr is not None and driver.stderr.read() == b""


def test_the_parent_needs_no_torch() -> None:
    code = "import sys, nasbench_rec.studies.sandbox; print({'torch', 'ray', 'pandas', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def units(method: str = "ihas", seeds: int = 1) -> tuple[dict[str, Any], ...]:
    board = Leaderboard(methods=(method,), ratios=(), seeds=seeds, settings=SIZES)
    chosen = [unit for unit in board.units(None) if unit.method.info.name == method]
    return tuple(unit.describe() for unit in chosen)


@pytest.fixture(scope="module")
def real() -> Iterator[Sandbox]:
    """One child for all trainings, which fails when anything asks for test rows."""
    with pytest.MonkeyPatch.context() as patch, Sandbox(entry="sandbox_helpers:sealed") as sandbox:
        patch.syspath_prepend(HERE)
        yield sandbox


def without_times(message: Message) -> Message:
    if message["kind"] != "unit":
        return message
    return {**message, "outcome": {k: v for k, v in message["outcome"].items() if k not in TIMES}}


def test_real_units_score_the_same_anew_and_from_the_cache(real: Sandbox, tmp_path: Path) -> None:
    one = Job(units(seeds=2), str(tmp_path / "a"), None, 1, "all", 3)
    other = Job(units(), str(tmp_path / "b"), None, 1, "all", 3)
    first, last = listen(real, one)
    assert last == {"kind": "done"}, last
    steps = [m["step"] for m in first if m["kind"] == "report"]
    assert steps == sorted(set(steps)) and {0, 1, 2} <= set(steps) <= set(range(12))
    outcomes = [m["outcome"] for m in first if m["kind"] == "unit"]
    assert [set(o) for o in outcomes] == [OUTCOME] * 2 and [o["seed"] for o in outcomes] == [0, 1]
    assert outcomes[0]["valid_auc"] != outcomes[1]["valid_auc"]
    assert not any(use["reused"] for use in outcomes[0]["stages"])
    assert not (tmp_path / "a" / "stages" / "test").exists()
    found, _ = listen(real, one)
    anew, _ = listen(real, other)
    assert [without_times(m) for m in found] == [without_times(m) for m in first]
    assert [without_times(m) for m in anew] == [without_times(m) for m in first][: len(anew)]
    assert anew[-1]["kind"] == "unit"
    assert all(use["reused"] for m in found if m["kind"] == "unit" for use in m["outcome"]["stages"])


def test_a_stopped_training_leaves_no_half_stage(real: Sandbox, tmp_path: Path) -> None:
    job = Job(units(), str(tmp_path), None, 1, "all", 3)
    heard, last = listen(real, job, stop_at=1)
    assert last == {"kind": "stopped"} and heard[-1]["kind"] == "report"
    folders = [p for kind in (tmp_path / "stages").iterdir() for p in kind.iterdir() if kind.name != ".locks"]
    assert {p.parent.name for p in folders} == {"prepare"}
    assert all((p / "meta.json").is_file() for p in folders)
    again, last = listen(real, job)
    assert last == {"kind": "done"} and again[:2] == heard


def test_a_unit_that_cannot_be_read_fails(real: Sandbox, tmp_path: Path) -> None:
    (unit,) = units()
    wrong = {**unit, "backbone": "deepfn"}
    _, last = listen(real, Job((wrong,), str(tmp_path), None, 1, "all", 3))
    assert last["kind"] == "failed" and "did you mean 'deepfm'" in last["reason"]


def test_in_this_process_too(tmp_path: Path) -> None:
    """What the child calls is a function like any other."""
    heard: list[Message] = []
    job = Job(units("fixed"), str(tmp_path), None, 1, "retrain", 3)
    assert evaluate(job, lambda message: not heard.append(message)) == {"kind": "done"}
    assert [m["kind"] for m in heard] == ["report"] * (len(heard) - 1) + ["unit"] and len(heard) > 1
