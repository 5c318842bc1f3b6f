"""Workers of a study: processes of this machine, or Ray actors on a cluster. One job at a time each."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from nasbench_rec.studies.running import Options
from nasbench_rec.studies.sandbox import Job, Limits, Message, Sandbox

CLUSTER_STORE = "the store {root} is not there on this node; put it on storage that all nodes share"


class Worker(Protocol):
    """Evaluates jobs and talks about them: each call answers with the next message."""

    def begin(self, job: Job) -> Future[Message]:
        """Begin a job."""

    def next(self, answer: bool) -> Future[Message]:
        """Answer the last message: go on, or stop."""

    def rest(self) -> None:
        """Give back what others may need, as there is no job for now."""

    def close(self) -> None:
        """End."""


class LocalWorker:
    """A process of this machine."""

    def __init__(self, limits: Limits) -> None:
        self._sandbox = Sandbox(limits)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="trial")

    def begin(self, job: Job) -> Future[Message]:
        """Begin a job."""
        return self._thread.submit(_first, self._sandbox, job)

    def next(self, answer: bool) -> Future[Message]:
        """Answer the last message."""
        return self._thread.submit(self._sandbox.next, answer)

    def rest(self) -> None:
        """Nothing: the process waits for the next job."""

    def close(self) -> None:
        """Kill the process."""
        self._sandbox.close()
        self._thread.shutdown(wait=False, cancel_futures=True)


def _first(sandbox: Sandbox, job: Job) -> Message:
    sandbox.begin(job)
    return sandbox.next(None)


class RemoteWorker:
    """A process on some node of a Ray cluster; on another node after its own has died."""

    def __init__(self, limits: Limits, threads: int) -> None:
        self._limits, self._threads = limits, threads
        self._actor: Any = None

    def begin(self, job: Job) -> Future[Message]:
        """Begin a job."""
        import ray

        if self._actor is None:
            self._actor = ray.remote(num_cpus=self._threads, max_restarts=0)(_Actor).remote(self._limits)
        return self._heard(self._actor.begin.remote(job))

    def next(self, answer: bool) -> Future[Message]:
        """Answer the last message."""
        return self._heard(self._actor.next.remote(answer))

    def _heard(self, reference: Any) -> Future[Message]:
        """Return the message to come; the death of the actor or its node is one too."""
        heard: Future[Message] = Future()

        def pass_on(found: Future[Message]) -> None:
            error = found.exception()
            if error is None:
                heard.set_result(found.result())
                return
            self._actor = None
            text = str(error).strip().splitlines()
            heard.set_result({"kind": "lost", "reason": f"the worker or its node died: {_reason(text)}"})

        reference.future().add_done_callback(pass_on)
        return heard

    def rest(self) -> None:
        """Give the CPUs back: after the death of a node another worker may wait for them."""
        self.close()

    def close(self) -> None:
        """Kill the process."""
        import ray

        if self._actor is not None:
            ray.kill(self._actor)
            self._actor = None


def _reason(lines: list[str]) -> str:
    return lines[0] if lines else "no reason given"


class _Actor:
    """A sandbox on a node. The process of the actor itself imports no torch."""

    def __init__(self, limits: Limits) -> None:
        self._sandbox = Sandbox(limits)

    def begin(self, job: Job) -> Message:
        """Begin a job; the store must be seen from here."""
        from pathlib import Path

        if not (Path(job.root) / "store.json").is_file():
            return {"kind": "failed", "reason": CLUSTER_STORE.format(root=job.root), "traceback": ""}
        return _first(self._sandbox, job)

    def next(self, answer: bool) -> Message:
        """Answer the last message."""
        return self._sandbox.next(answer)


def make_workers(options: Options) -> list[Worker]:
    """Return the workers; those on a cluster need `ray.init` to have been called."""
    if options.address is None:
        return [LocalWorker(options.limits) for _ in range(options.workers)]
    return [RemoteWorker(options.limits, options.threads) for _ in range(options.workers)]
