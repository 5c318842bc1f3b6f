"""Merging stores, so that several people or machines fill one: records are checked, conflicts reported.

A record is taken if its key is the hash of the unit that it describes and its predictions, where the store has them,
have the hash that it names. Two stores disagree where both finished a unit with other scores, plan or predictions.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nasbench_rec.config import content_key
from nasbench_rec.errors import StoreError
from nasbench_rec.predictions import read as read_predictions
from nasbench_rec.store import Record, Store
from nasbench_rec.unit import ENGINE

Keep = Literal["first", "second"]
OUTCOME = ("fingerprint", "scores", "predictions_sha256", "recovery")
"""What two runs of one unit must agree in; times and places may differ."""


@dataclass(frozen=True)
class Conflict:
    """A unit that was finished with different results, and what differs."""

    key: str
    label: str
    places: tuple[Path, ...]
    """The record in each store that has one."""
    differences: tuple[str, ...]
    kept: str
    """The store whose record counts; empty: undecided, and nothing was written."""


@dataclass
class Merged:
    """What a merge did."""

    target: Path
    written: int = 0
    """Records."""
    known: int = 0
    """Records that the target had already, or an equal result of theirs."""
    stages: int = 0
    """Stages copied."""
    conflicts: list[Conflict] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Records that were not taken, and why."""

    @property
    def clean(self) -> bool:
        """Whether nothing is left to decide or to mend."""
        return not self.broken and all(c.kept for c in self.conflicts)


@dataclass(frozen=True)
class _Attempt:
    """A record, the store that it is from and its file."""

    store: Store
    path: Path
    record: Record

    @property
    def ok(self) -> bool:
        """Whether it is no failure."""
        return self.record["status"] == "ok"

    @property
    def content(self) -> dict[str, Any]:
        """The record without its number among the attempts, which is the store's."""
        return {k: v for k, v in self.record.items() if k != "attempt"}

    @property
    def outcome(self) -> dict[str, Any]:
        """What another run of the unit must agree in."""
        plan = self.record.get("plan") or {}
        return {**{name: self.record.get(name) for name in OUTCOME}, "plan": plan.get("digest")}


def merge(first: Store, second: Store, into: Store | None = None, keep: Keep | None = None) -> Merged:
    """Put the records of both stores into `into`, or those of `second` into `first`; return what was done.

    Conflicts are reported and left as they are, unless `keep` says whose record counts. Stages that records name
    (plans, test predictions) are copied where they are there. Killed at any moment, the same call goes on; called
    twice, it changes nothing.
    """
    _distinct(first, second, into)
    target = (into or first).create()
    done = Merged(target.path)
    for key in sorted({*first.keys(), *second.keys()}):
        sources = [_attempts(store, key, done) for store in (first, second)]
        _merge_key(key, sources, target, keep, done)
    return done


def _distinct(first: Store, second: Store, into: Store | None) -> None:
    for store in (first, second):
        if not (store.path / "records").is_dir():
            raise StoreError(f"{store.path}: is no store with records; give the folders of two stores.")
    paths = [s.path.resolve() for s in (first, second)]
    if paths[0] == paths[1] or (into is not None and into.path.resolve() in paths):
        raise StoreError("the stores to merge are the same folder; give two, and with --into a third one.")


def _attempts(store: Store, key: str, done: Merged) -> list[_Attempt]:
    """Return the sound records of a key, in the order of the attempts."""
    found = []
    for path in store.attempts(key):
        try:
            found.append(_Attempt(store, path, checked(store, path)))
        except StoreError as error:
            done.broken.append(str(error))
    return found


def checked(store: Store, path: Path) -> Record:
    """Return a record whose hashes are right; `StoreError` says which one is not."""
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        key, made = record["key"], content_key([ENGINE, record["unit"]])
        known = {"status", "started"} <= record.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: is no readable record ({type(error).__name__}: {error}).") from None
    if key != made or not path.name.startswith(f"{key}-") or not known:
        raise StoreError(
            f"{path}: describes a unit with key {made}, not {key}: it was changed, or is of another version."
        )
    predictions = store.path / str(record.get("predictions"))
    if record.get("predictions") and predictions.is_file():
        _check_predictions(predictions, record, path)
    return record


def _check_predictions(predictions: Path, record: Record, path: Path) -> None:
    try:
        read_predictions(predictions, record["predictions_sha256"])
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None


def _merge_key(
    key: str, sources: Sequence[Sequence[_Attempt]], target: Store, keep: Keep | None, done: Merged
) -> None:
    have = _attempts(target, key, Merged(target.path))
    known = [a.content for a in have]
    finished = [next((a for a in reversed(own) if a.ok), None) for own in (*sources, have)]
    results = [a for a in finished if a is not None]
    differing = [a for a in results if a.outcome != results[0].outcome] if results else []
    winner = results[0] if results else None
    if differing:
        winner = _chosen(finished, keep)
        done.conflicts.append(_conflict(key, results, winner))
        if winner is None:
            return
    new = [a for a in _in_order(sources, winner) if a.content not in known]
    settled = have and have[-1].ok and winner is not None and have[-1].outcome == winner.outcome
    taken = [] if settled else new
    done.known += sum(map(len, sources)) - len(taken)
    for attempt in taken:
        done.stages += _copy_stages(attempt, target)
        target.add(attempt.record)
        done.written += 1


def _chosen(finished: Sequence[_Attempt | None], keep: Keep | None) -> _Attempt | None:
    """Return the record that `keep` names; where that store has none, the other's."""
    if keep is None:
        return None
    first, second = (0, 1) if keep == "first" else (1, 0)
    return finished[first] or finished[second]


def _in_order(sources: Sequence[Sequence[_Attempt]], winner: _Attempt | None) -> Iterator[_Attempt]:
    """Yield failures by their start, results of which one other counts, then the result that counts."""
    every = [a for own in sources for a in own]
    yield from sorted((a for a in every if not a.ok), key=lambda a: a.record["started"])
    if winner is None:
        return
    others = [a for a in every if a.ok and a.outcome != winner.outcome]
    yield from sorted(others, key=lambda a: a.record["started"])
    yield winner


def _conflict(key: str, results: Sequence[_Attempt], winner: _Attempt | None) -> Conflict:
    unique = list({a.path: a for a in results}.values())
    one, other = unique[0], next(a for a in unique if a.outcome != unique[0].outcome)
    names = [n for n in one.outcome if one.outcome[n] != other.outcome[n]]
    texts = tuple(f"{n}: {_short(one.outcome[n])} / {_short(other.outcome[n])}" for n in names)
    kept = str(winner.store.path) if winner else ""
    label = str(one.record.get("label", ""))
    return Conflict(key, label, tuple(a.path for a in unique), texts, kept)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 160 else text[:160] + "..."


def _copy_stages(attempt: _Attempt, target: Store) -> int:
    """Copy the plan and the test predictions of a record where the target lacks them; return how many folders."""
    plan = attempt.record.get("plan") or {}
    predictions = attempt.record.get("predictions")
    folders = [plan.get("folder"), str(Path(predictions).parent) if predictions else None]
    copied = 0
    for name in filter(None, folders):
        source, final = attempt.store.path / name, target.path / name
        inside = source.resolve().is_relative_to(attempt.store.stages.resolve())
        if inside and (source / "meta.json").is_file() and not final.exists():
            _copy(source, final, target)
            copied += 1
    return copied


def _copy(source: Path, final: Path, target: Store) -> None:
    """Copy a stage so that it is there whole or not at all."""
    part = final.with_name(f".{final.name}.{uuid.uuid4().hex[:12]}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, part)
        os.replace(part, final)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"{target.path}: {source} cannot be copied ({reason}); merge again, it goes on."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
