"""What the trials of a study tell together: which were lost, which count, how long they took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def lost_trials(trials: Sequence[FrozenTrial]) -> dict[int, str]:
    """Return the trials that were asked again, and why."""
    retries = [t.user_attrs for t in trials if "retry_of" in t.user_attrs]
    return {attrs["retry_of"]: attrs["retry_reason"] for attrs in retries}


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials that count as asked for: all but those that were lost and asked again."""
    lost = lost_trials(trials)
    return [t for t in trials if t.state.is_finished() and t.number not in lost]


def spans(trials: Sequence[FrozenTrial]) -> list[tuple[float, float]]:
    """Return when each finished trial began and ended, in seconds."""
    return [
        (t.datetime_start.timestamp(), t.datetime_complete.timestamp())
        for t in trials
        if t.datetime_start and t.datetime_complete
    ]


def busy_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """Return the wall-clock seconds that spans of time (begin, end) cover together."""
    total, end = 0.0, 0.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total
