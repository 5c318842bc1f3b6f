"""Running units: in this process, or as Ray tasks. Only the driver writes records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nasbench_rec.studies._ray import started

from nasbench_rec.pipeline import record_head, run_unit
from nasbench_rec.store import Record, Store
from nasbench_rec.unit import Unit


class Observer(Protocol):
    """What watches a run."""

    def started(self, total: int, done: int) -> None:
        """Hear how many units there are and how many of them were done before."""

    def finished(self, record: Record) -> None:
        """Hear of a finished unit."""


@dataclass(frozen=True)
class Workers:
    """Where units run: `count` at a time with `threads` each; `address` of a Ray cluster, or this machine."""

    count: int = 1
    threads: int = 1
    address: str | None = None


def execute(
    units: Sequence[Unit], store: Store, workers: Workers, data_dir: Path | None, observer: Observer
) -> int:
    """Run the units that have no successful record yet; return how many failed.

    Every finished unit is recorded at once: after a kill the same call goes on from there.
    """
    store.create()
    todo = [unit for unit in units if not store.done(unit.key)]
    observer.started(len(units), len(units) - len(todo))
    failed = 0
    run = _in_process if workers.count == 1 and workers.address is None else _on_ray
    for record in run(todo, store.path.resolve(), workers, data_dir) if todo else ():
        store.add(record)
        failed += record["status"] != "ok"
        observer.finished(record)
    return failed


def _in_process(
    units: Sequence[Unit], root: Path, workers: Workers, data_dir: Path | None
) -> Iterator[Record]:
    for unit in units:
        yield run_unit(unit, root, data_dir, workers.threads)


def _on_ray(units: Sequence[Unit], root: Path, workers: Workers, data_dir: Path | None) -> Iterator[Record]:
    with started(workers.count * workers.threads, workers.address):
        import ray

        task = ray.remote(num_cpus=workers.threads, max_retries=0)(run_unit)
        source = data_dir.resolve() if data_dir else None
        yield from _collect(task, units, root, source, workers)


def _collect(
    task: Any, units: Sequence[Unit], root: Path, data_dir: Path | None, workers: Workers
) -> Iterator[Record]:
    """Keep `workers.count` units running and yield records as they come."""
    import ray
    from ray.exceptions import RayError

    waiting = list(reversed(units))
    running: dict[Any, Unit] = {}
    while waiting or running:
        while waiting and len(running) < workers.count:
            unit = waiting.pop()
            running[task.remote(unit, root, data_dir, workers.threads)] = unit
        (done,), _ = ray.wait(list(running), num_returns=1)
        unit = running.pop(done)
        try:
            yield ray.get(done)
        except RayError as error:
            yield lost(
                unit, f"the worker died: {str(error).strip().splitlines()[0]}", data_dir, workers.threads
            )


def lost(unit: Unit, reason: str, data_dir: Path | None, threads: int) -> Record:
    """Return the record of a unit whose worker gave none."""
    return {
        **record_head(unit, data_dir, threads),
        "status": "failed",
        "error": reason,
        "traceback": "",
        "stages": [],
    }
