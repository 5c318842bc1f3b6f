"""Where a trial is evaluated: a child process that may run out of time or memory, or die, without harm to the study.

Parent and child talk in JSON lines over two pipes of their own. The child evaluates one job at a time and lives for
many, as importing torch takes seconds; it ends at once when its parent does. The parent imports no torch.
"""

from __future__ import annotations

import json
import math
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from nasbench_rec.errors import ConfigError

Message = dict[str, Any]
Tell = Callable[[Message], bool]
"""Sends a message and returns the answer to it: go on, or stop."""
OnReport = Callable[[str, int, Mapping[str, float]], None]
LAST = ("done", "stopped", "failed", "lost")
"""The kinds of a job's last message, which is not answered."""
ENTRY = "nasbench_rec.studies.sandbox:evaluate"
STOP_SECONDS = 30.0
"""How long a job may take to end after it was told to stop."""
WATCH_SECONDS = 0.2
WORDS = 4096
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from nasbench_rec.studies.sandbox import serve; serve(*sys.argv[2:])"
)


@dataclass(frozen=True)
class Limits:
    """What a trial may take: wall-clock seconds, and bytes of resident memory (0.4 GB for torch alone)."""

    seconds: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that nothing can keep."""
        for name in ("seconds", "bytes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(
                    f"limit of a trial: {name} = {value!r} must be a number above 0, or none for no limit."
                )


@dataclass(frozen=True)
class Job:
    """The units of a trial (`Unit.describe`), where their stages are, and which validation scores it reports."""

    units: tuple[Mapping[str, Any], ...]
    root: str
    data_dir: str | None = None
    threads: int = 1
    reports: Literal["all", "search", "retrain"] = "all"
    stride: int = 1

    def to_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that `to_json` wrote."""
        values = json.loads(text)
        return cls(**{**values, "units": tuple(values["units"])})

    def step(self, index: int, phase: str, epoch: int) -> int | None:
        """Return the step of a report of unit `index`; None for one that the job does not want."""
        if self.reports not in ("all", phase) or epoch >= self.stride:
            return None
        return index * 2 * self.stride + (self.stride if phase == "retrain" else 0) + epoch


class _Stop(BaseException):
    """Ends a training; no method takes it for a failure of its own."""


class _Talk:
    """Sends messages until one is answered with stop."""

    def __init__(self, tell: Tell) -> None:
        self.tell, self.stopped = tell, False

    def __call__(self, message: Message) -> None:
        self.stopped = self.stopped or not self.tell(message)
        if self.stopped:
            raise _Stop

    def reporter(self, job: Job, index: int) -> OnReport:
        """Return what makes messages of a unit's validation scores."""

        def on_report(phase: str, epoch: int, scores: Mapping[str, float]) -> None:
            step = job.step(index, phase, epoch)
            found = {f"valid_{name}": float(scores[name]) for name in ("auc", "logloss")}
            if step is not None and all(math.isfinite(value) for value in found.values()):
                self({"kind": "report", "step": step, **found})

        return on_report


Validate = Callable[[Mapping[str, Any], Job, OnReport], Mapping[str, Any]]


def _validate(description: Mapping[str, Any], job: Job, on_report: OnReport) -> Mapping[str, Any]:
    from nasbench_rec.unit import read_unit
    from nasbench_rec.validation import validate_unit

    data_dir = Path(job.data_dir) if job.data_dir else None
    return validate_unit(read_unit(description), Path(job.root), data_dir, job.threads, on_report)


def evaluate(job: Job, tell: Tell, validate: Validate = _validate) -> Message:
    """Validate a job's units one after the other and return the last message. Runs in the child.

    `tell` sends the messages before the last; a false answer stops what is being trained at once, by an exception.
    """
    talk = _Talk(tell)
    try:
        for index, unit in enumerate(job.units):
            outcome = validate(unit, job, talk.reporter(job, index))
            talk({"kind": "unit", "index": index, "outcome": outcome})
    except _Stop:
        return {"kind": "stopped"}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a failing trial is an answer too
        if talk.stopped:
            return {"kind": "stopped"}
        text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
        return {"kind": "failed", "reason": text, "traceback": traceback.format_exc()}
    return {"kind": "done"}


def serve(entry: str, requests: str, messages: str) -> None:
    """Evaluate jobs until the parent ends. The main function of the child; the pipes are file descriptors."""
    module, _, name = entry.partition(":")
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    for pipe in (requests, messages):
        os.set_inheritable(int(pipe), False)
    threading.Thread(target=_listen, args=(int(requests), lines), daemon=True).start()
    with open(int(messages), "w", encoding="utf-8") as out:

        def send(message: Message) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        def tell(message: Message) -> bool:
            send(message)
            return bool(json.loads(lines.get()))

        while True:
            job = Job.from_json(lines.get())
            send(getattr(import_module(module), name)(job, tell))


def _listen(requests: int, lines: queue.SimpleQueue[str]) -> None:
    """Pass the parent's lines on. Their end is the parent's, whatever it died of: end too, with all children."""
    with open(requests, encoding="utf-8") as source:
        for line in source:
            lines.put(line)
    os.kill(0, signal.SIGKILL)  # the process group is the child's own, see `_Child`


class _Child:
    """The process of a sandbox and the pipes to it."""

    def __init__(self, entry: str, threads: int) -> None:
        requests, self._requests = os.pipe()
        self._messages, messages = os.pipe()
        environment = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        arguments = [json.dumps([str(p) for p in sys.path]), entry, str(requests), str(messages)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, *arguments],
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment,
                pass_fds=(requests, messages),
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        except BaseException:
            os.close(self._requests)
            os.close(self._messages)
            raise
        finally:
            os.close(requests)
            os.close(messages)
        assert self._process.stderr is not None
        self._stderr = self._process.stderr
        self._rest, self.words = b"", b""
        self._heard: deque[Message] = deque()
        self._pipes = selectors.DefaultSelector()
        self._pipes.register(self._messages, selectors.EVENT_READ, self._hear)
        self._pipes.register(self._stderr, selectors.EVENT_READ, self._note)

    def alive(self) -> bool:
        """Return whether the process runs."""
        return self._process.poll() is None

    def send(self, line: str) -> None:
        """Send a line; a dead child does not mind."""
        data = f"{line}\n".encode()
        with suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._requests, data) :]

    def receive(self, seconds: float) -> Message | None:
        """Return the next message, or None if none came within `seconds` (or sooner)."""
        if not self._heard:
            self._read(seconds)
        return self._heard.popleft() if self._heard else None

    def drain(self) -> None:
        """Read all that a dead child left in the pipes, as long as it holds them alone."""
        for _ in range(1000):
            if not self._read(0):
                return

    def _read(self, seconds: float) -> bool:
        ready = self._pipes.select(seconds)
        for key, _ in ready:
            data = os.read(key.fd, 65536)
            if not data:
                self._pipes.unregister(key.fileobj)
            key.data(data)
        return bool(ready)

    def _hear(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._heard.extend(json.loads(line) for line in lines)

    def _note(self, data: bytes) -> None:
        self.words = (self.words + data)[-WORDS:]

    def memory(self) -> int:
        """Return the resident memory of the process and its children, without pages of mapped files.

        The system takes those back when it needs them: a data set larger than the limit may be mapped.
        """
        import psutil

        total = 0
        with suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    found = one.memory_info()
                    total += found.rss - getattr(found, "shared", 0)
        return total

    def death(self) -> str:
        """Return what a dead child died of."""
        code = self._process.wait()
        how = f"exit status {code}" if code >= 0 else f"signal {-code}, {signal.strsignal(-code)}"
        lines = self.words.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"the worker died ({how})" + (f"; its last line: {last}" if last else "")

    def kill(self) -> None:
        """Kill the process and its children; from any thread."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the process and close the pipes."""
        self.kill()
        self._process.wait()
        self._pipes.close()
        self._stderr.close()
        os.close(self._requests)
        os.close(self._messages)


class Sandbox:
    """Evaluates jobs in a child process, one at a time, within limits. The child starts with the first job.

    Use it from one thread; `close` alone may come from another. `entry`: what the child calls, `module:function`.
    """

    def __init__(self, limits: Limits | None = None, entry: str = ENTRY) -> None:
        self.limits, self.entry = limits or Limits(), entry
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._busy = False
        self._began = self._looked = 0.0
        self._stop_by = math.inf

    def begin(self, job: Job) -> None:
        """Begin a job; one that has not ended is given up."""
        with self._lock:
            if self._child and (self._busy or not self._child.alive()):
                self._drop()
            if self._child is None:
                self._child = _Child(self.entry, job.threads)
            self._busy, self._stop_by = True, math.inf
            self._began = time.monotonic()
            self._child.words = b""
            self._child.send(job.to_json())

    def next(self, answer: bool | None = None) -> Message:
        """Answer the last message (None: there was none) and return the next one; wait for it, within the limits."""
        with self._lock:
            if self._child is None or not self._busy:
                raise RuntimeError("the sandbox has no job; call begin first.")
            if answer is not None:
                self._child.send(json.dumps(bool(answer)))
            if answer is False:
                self._stop_by = time.monotonic() + STOP_SECONDS
            while True:
                message = self._look(self._child)
                if message is not None:
                    self._busy = message["kind"] not in LAST
                    return message

    def _look(self, child: _Child) -> Message | None:
        """Wait a moment for the next message, or make the last one."""
        dead = not child.alive()
        if dead:
            child.drain()
        message = child.receive(0 if dead else WATCH_SECONDS)
        stopping = self._stop_by < math.inf
        if message is not None and message["kind"] in LAST:
            return {"kind": "stopped"} if stopping else message
        ending = self._ending(child, dead and message is None)
        if ending is None:
            return None if stopping else message
        self._drop()
        return {"kind": "stopped"} if stopping else ending

    def _ending(self, child: _Child, dead: bool) -> Message | None:
        """Return the last message of a job that will not send it."""
        if dead:
            return {"kind": "lost", "reason": child.death()}
        if time.monotonic() > self._stop_by:
            return {"kind": "stopped"}
        reason = self._excess(child)
        return {"kind": "failed", "reason": reason, "traceback": ""} if reason else None

    def _excess(self, child: _Child) -> str | None:
        """Return which limit the job exceeds."""
        now, seconds, most = time.monotonic(), self.limits.seconds, self.limits.bytes
        if seconds is not None and now - self._began > seconds:
            return f"took more than {seconds:g} s (limit of a trial)"
        if most is not None and now - self._looked >= WATCH_SECONDS:
            self._looked, used = now, child.memory()
            if used > most:
                return f"used {_size(used)} of memory, more than the limit of {_size(most)}"
        return None

    def run(self, job: Job, on_message: Callable[[Message], bool]) -> Message:
        """Evaluate a job; `on_message` answers each message but the last, which is returned."""
        try:
            self.begin(job)
            message = self.next()
            while message["kind"] not in LAST:
                message = self.next(on_message(message))
        except BaseException:
            self.close()
            raise
        return message

    def _drop(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child, self._busy = None, False

    def close(self) -> None:
        """Kill the child; a `next` that another thread waits in returns. A later `begin` starts a new one."""
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            self._drop()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _size(count: float) -> str:
    """Return bytes in the largest binary unit that they fill."""
    power = min((max(int(count), 1).bit_length() - 1) // 10, 3)
    return f"{round(count / 1024**power, 2):g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
