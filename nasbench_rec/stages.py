"""The stage cache: a stage's result is a folder, written beside its final name and renamed when complete.

A stage is computed once: a second process that wants it waits for the first. Killed at any moment, a stage is
either complete or absent.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from nasbench_rec.errors import StoreError, disk_full

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageUse:
    """One use of a stage: which, and whether it was computed now or found."""

    kind: str
    key: str
    reused: bool
    seconds: float
    """What computing it took, whenever that was."""


@dataclass
class Stages:
    """The stages below a folder, and a note of those used through this object."""

    root: Path
    used: list[StageUse] = field(default_factory=list)

    def folder(self, kind: str, key: str) -> Path:
        """Return where a stage stands when complete."""
        return self.root / kind / key

    def get(self, kind: str, key: str, compute: Callable[[Path], dict[str, Any]]) -> Path:
        """Return the folder of a stage; `compute` fills a new one unless it is there already.

        What `compute` returns is kept as `meta.json`, with the seconds it took and the peak memory.
        """
        final = self.folder(kind, key)
        reused = (final / "meta.json").is_file()
        if not reused:
            reused = self._compute(kind, final, compute)
        if (kind, key) not in {(use.kind, use.key) for use in self.used}:
            self.used.append(StageUse(kind, key, reused, float(read_meta(final)["seconds"])))
        return final

    def _compute(self, kind: str, final: Path, compute: Callable[[Path], dict[str, Any]]) -> bool:
        """Compute a stage under its lock; return whether another process did it meanwhile."""
        with self._locked(kind, final):
            if (final / "meta.json").is_file():
                return True
            part = final.with_name(f".{final.name}.part")
            for left in (part, final):  # of a killed process, or of a folder deleted by halves
                shutil.rmtree(left, ignore_errors=True)
            try:
                with _room(self.root):
                    part.mkdir()
                    _fill(part, compute)
                    os.replace(part, final)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
        return False

    def _locked(self, kind: str, final: Path) -> AbstractContextManager[Any]:
        """Wait for the stage's lock and take it; a folder that cannot be written is a StoreError."""
        locks = self.root / ".locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            final.parent.mkdir(parents=True, exist_ok=True)
            return FileLock(locks / f"{kind}-{final.name}.lock").acquire()
        except OSError as error:
            raise StoreError(
                f"{self.root}: cannot be written ({error.strerror}); choose a folder you may write to."
            ) from None


@contextmanager
def _room(root: Path) -> Iterator[None]:
    """Turn a full disk into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if (why := disk_full(error, root)) is None:
            raise
        raise StoreError(why) from error


def _fill(part: Path, compute: Callable[[Path], dict[str, Any]]) -> None:
    start = time.perf_counter()
    reset_peak_memory()
    meta = compute(part)
    meta = {"seconds": time.perf_counter() - start, "peak_rss_bytes": peak_memory(), **meta}
    (part / "meta.json").write_text(json.dumps(meta))


def read_meta(folder: Path) -> dict[str, Any]:
    """Return what a complete stage says of itself."""
    try:
        return json.loads((folder / "meta.json").read_text())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{folder}: is no complete stage ({error}); delete the folder and run again."
        ) from None


def reset_peak_memory() -> None:
    """Start the peak of resident memory anew, where the system allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        log.debug("the peak of resident memory cannot be reset here; it counts from the process's start")


def peak_memory() -> int:
    """Return the peak resident memory in bytes since the last reset (or the process's start)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        log.debug("no /proc here")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
