"""What both engines of a study share: where trials run, who watches, and the study's folder in the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from nasbench_rec.studies.sandbox import Limits
from nasbench_rec.studies.study import BoundStudy

from nasbench_rec.config import canonical, write_text
from nasbench_rec.errors import ConfigError, StoreError, unknown
from nasbench_rec.store import Store

Engine = Literal["optuna", "ray"]
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)*", re.ASCII)
LOCK_SECONDS = 5.0
"""How long a driver waits for another one of the same study to end (a killed one is gone at once)."""
RETRIES = 2
"""How often a trial is asked again whose worker, node or driver died."""


@dataclass(frozen=True)
class Options:
    """How a study runs; none of this changes what a configuration scores (but `threads`, in the last bits).

    `storage`: the URL of an Optuna storage (a database, for many machines); None: a journal file in the store.
    """

    workers: int = 1
    threads: int = 1
    address: str | None = None
    data_dir: Path | None = None
    limits: Limits = field(default_factory=Limits)
    storage: str | None = None


class TrialObserver(Protocol):
    """What watches a study."""

    def started(self, total: int, done: int) -> None:
        """Hear how many trials are wanted and how many of them were finished before."""

    def finished(self, line: dict[str, Any], /) -> None:
        """Hear of a finished trial: number, state, reason, values, params, seconds, reused (stages found)."""


def ended_line(
    bound: BoundStudy,
    number: int,
    state: str,
    reason: str,
    params: Mapping[str, Any],
    seconds: float,
    outcomes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what an observer hears of a trial that has ended; a trial that is not complete has no values."""
    values = bound.value(outcomes) if state == "complete" else []
    uses = [use for outcome in outcomes for use in outcome["stages"]]
    return {
        "number": number,
        "state": state,
        "reason": reason,
        "values": dict(zip(bound.study.objectives, values, strict=False)),
        "params": bound.values(params),
        "seconds": seconds,
        "reused": sum(use["reused"] for use in uses if use["kind"] == "search"),
    }


def folder_of(store: Store, name: str) -> Path:
    """Return the folder of a study."""
    return store.path / "studies" / name


def studies_of(store: Store) -> list[str]:
    """Return the names of the studies in a store."""
    root = store.path / "studies"
    return sorted(str(path.parent.relative_to(root)) for path in root.rglob("study.json"))


def read_head(store: Store, name: str) -> dict[str, Any]:
    """Return what a study's folder says of it; a StoreError names those that are there."""
    path = folder_of(store, name) / "study.json"
    if not path.is_file():
        raise StoreError(f"{store.path}: {unknown('study', name, studies_of(store))}")
    try:
        found = json.loads(path.read_text())
        return {key: found[key] for key in ("name", "engine", "definition", "storage", "words")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); this is no study, or a broken one.") from None


@contextmanager
def opened(bound: BoundStudy, name: str, engine: Engine, store: Store, storage: str | None) -> Iterator[Path]:
    """Hold a study's folder for one driver; make it, or refuse another definition under the same name."""
    from filelock import FileLock, Timeout

    if not _NAME.fullmatch(name):
        raise ConfigError(f"study name {name!r}: letters, digits, '.', '-' and '_', in parts divided by '/'.")
    store.create()
    folder = folder_of(store, name)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=LOCK_SECONDS):
            _check_head(bound, name, engine, store, storage)
            yield folder
    except Timeout:
        raise StoreError(
            f"{folder}: another process runs this study; wait for it, or give the study another --name."
        ) from None


def _check_head(bound: BoundStudy, name: str, engine: Engine, store: Store, storage: str | None) -> None:
    study = bound.study
    words = {"title": study.title, "question": study.question, "contour": [list(c) for c in study.contour]}
    head = {
        "name": name,
        "engine": engine,
        "definition": bound.describe(),
        "storage": storage,
        "words": words,
    }
    path = folder_of(store, name) / "study.json"
    if path.is_file():
        old = read_head(store, name)
        changed = _difference(old["definition"], head["definition"]) or _difference(
            {k: old[k] for k in ("engine", "storage")}, {"engine": engine, "storage": storage}
        )
        if changed:
            raise StoreError(
                f"{path.parent}: holds a study of this name with another definition ({changed}); "
                "give this one another --name, or another --store."
            )
    write_text(path, json.dumps(head, indent=1) + "\n")


def _difference(old: Any, new: Any, where: str = "") -> str:
    """Return the first place in which two definitions differ, empty if there is none."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            found = _difference(old.get(key), new.get(key), f"{where}.{key}" if where else key)
            if found:
                return found
        return ""
    return (
        "" if canonical(old) == canonical(new) else f"{where}: {canonical(old)} there, {canonical(new)} here"
    )
