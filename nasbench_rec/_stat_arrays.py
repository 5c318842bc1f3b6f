"""What every statistic asks of its arrays: vectors of one length, all finite, shares in [0, 1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nasbench_rec.errors import DataError, unknown


def pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return two float64 vectors of one length; `DataError` otherwise."""
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise DataError(
            f"paired values must be two vectors of one length, not {left.shape} and {right.shape}; "
            "pair them by their seeds first."
        )
    return left, right


def finite_differences(a: ArrayLike, b: ArrayLike, least: int = 1) -> np.ndarray:
    """Return `a - b` [n]; `DataError` where a value is not finite or there are fewer than `least` pairs."""
    left, right = pair(a, b)
    for values in (left, right):
        refuse_missing(values)
    if len(left) < least:
        raise DataError(f"{len(left)} pairs are too few: this needs at least {least}; run more seeds.")
    return left - right


def refuse_missing(values: np.ndarray, what: str = "pair") -> None:
    """Refuse values that are not finite: to leave them out is a decision, and it is the caller's."""
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"{what} {bad} has the value {values.flat[bad]}: statistics need finite values; leave such a {what} "
            "out and say so."
        )


def share(name: str, value: float) -> float:
    """Return a probability strictly between 0 and 1; `DataError` otherwise."""
    if not 0 < value < 1:
        raise DataError(f"{name} is {value}: it must lie between 0 and 1, such as 0.05 or 0.95.")
    return value


def choice(kind: str, value: str, *allowed: str) -> str:
    """Return one of the `allowed` words; `DataError` for another."""
    if value not in allowed:
        raise DataError(unknown(kind, value, allowed))
    return value


def constant(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether the differences of two finite vectors are equal but for the rounding of a subtraction."""
    return len(left) == 0 or bool(np.ptp(left - right) <= rounding(left, right))


def rounding(left: np.ndarray, right: np.ndarray) -> float:
    """Return how far rounding alone can move a difference."""
    return float(4 * np.finfo(np.float64).eps * max(np.abs(left).max(), np.abs(right).max()))
