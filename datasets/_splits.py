"""Which split a row belongs to, by published files, a seeded hash, groups or time: the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from nasbench_rec.datasets._batches import Batch, refuse
from nasbench_rec.datasets._spec import SplitRule

from nasbench_rec.data import SPLITS
from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_STEP = 0x9E3779B97F4A7C15
_BLOCK = 1 << 20
_BASE = np.uint64(0x100000001B3)


def mixed(z: np.ndarray, seed: int) -> np.ndarray:
    """Mix uint64 [N] with a seed by SplitMix64's finaliser (Steele et al., OOPSLA 2014): uint64 [N]."""
    with np.errstate(over="ignore"):
        z = z + np.uint64(_STEP) * np.uint64(seed % 2**64 * 2 % 2**64 + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hashed_text(cells: pl.Series) -> np.ndarray:
    """Return a hash of each cell's UTF-8 bytes, uint64 [N]: a polynomial modulo 2^64, mixed; missing is like ''."""
    import pyarrow as pa

    text = cells.fill_null("").to_arrow().cast(pa.large_string())
    if isinstance(text, pa.ChunkedArray):
        text = text.combine_chunks()
    _, starts, letters = text.buffers()
    ends = np.frombuffer(starts, dtype=np.int64)[text.offset : text.offset + len(text) + 1]
    first, last = int(ends[0]), int(ends[-1])
    values = np.frombuffer(letters, dtype=np.uint8)[first:last].astype(np.uint64) + np.uint64(1)
    lengths = np.diff(ends)
    place = np.arange(last - first) - np.repeat(ends[:-1] - first, lengths)
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(int(lengths.max(initial=0)) + 1, _BASE))
        sums = np.concatenate([[np.uint64(0)], np.cumsum(values * powers[place], dtype=np.uint64)])
        return mixed(sums[ends[1:] - first] - sums[ends[:-1] - first], 0)


def keys_of(rule: SplitRule, batch: Batch) -> np.ndarray | None:
    """Return what the rule needs of a batch's rows: split numbers uint8 [n], times float64 [n], or None."""
    if rule.rule == "group":
        return by_hash(_group_keys(batch.frame, rule.columns), rule)
    if rule.rule == "pair":
        first, second = (_whole(batch, name) for name in rule.columns)
        return by_hash(pair_keys(first, second), rule)
    if rule.rule == "time":
        return _times(batch, rule.columns[0])
    if rule.rule == "published":
        assert batch.split is not None
        return np.full(len(batch.frame), SPLITS.index(batch.split), dtype=np.uint8)
    return None


def _group_keys(frame: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    import polars as pl

    key = np.zeros(len(frame), dtype=np.uint64)
    for place, name in enumerate(columns):
        key = mixed(key ^ hashed_text(frame[name].cast(pl.String)), place)
    return key


def pair_keys(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return one number, uint64 [n], for each pair of whole numbers below 2^32 (as numbers or as text)."""
    return (first.astype(np.uint64) << np.uint64(32)) + second.astype(np.uint64)


def _whole(batch: Batch, column: str) -> np.ndarray:
    import polars as pl

    numbers = batch.frame[column].cast(pl.UInt32, strict=False)
    refuse(batch, numbers.is_null(), column, "a whole number")
    return numbers.to_numpy()


def _times(batch: Batch, column: str) -> np.ndarray:
    """Return the times as numbers: as they are, or of dates and times in ISO form."""
    import polars as pl

    cells = batch.frame[column]
    if cells.dtype == pl.String:
        numbers = cells.cast(pl.Float64, strict=False)
        if numbers.null_count() == len(numbers):
            numbers = _dates(cells)
    elif cells.dtype in (pl.Date, pl.Datetime):  # of several files, one may have other units
        numbers = cells.cast(pl.Datetime("us")).cast(pl.Float64)
    else:
        numbers = cells.to_physical().cast(pl.Float64, strict=False)
    refuse(
        batch, numbers.is_null() | numbers.is_nan(), column, "a number, or a date such as 2024-05-31 12:00:00"
    )
    return numbers.to_numpy()


def _dates(cells: pl.Series) -> pl.Series:
    """Return texts as dates in microseconds, null where they are none."""
    import polars as pl

    # Of 05/06/2024 polars would guess which is the day: the year has to come first.
    cells = pl.select(pl.when(cells.str.contains(r"^\d{4}\D")).then(cells)).to_series()
    try:
        return cells.str.to_datetime(strict=False, time_unit="us").cast(pl.Float64)
    except pl.exceptions.PolarsError:  # no text looks like a date
        return pl.repeat(None, len(cells), dtype=pl.Float64, eager=True)


def assign(rule: SplitRule, rows: int, keys: np.ndarray | None, source: str) -> np.ndarray:
    """Return 0 (train), 1 (valid) or 2 (test) for each row, uint8 [N]; DataError where a split stays empty."""
    if rule.rule in ("published", "group", "pair"):
        assert keys is not None
        which = keys
    elif rule.rule == "time":
        assert keys is not None
        which = _by_time(rule, keys, source)
    elif rule.rule == "order":
        first, second = _places(rule, rows).tolist()
        which = np.repeat(np.arange(3, dtype=np.uint8), [first, second - first, rows - second])
    else:
        which = np.empty(rows, dtype=np.uint8)
        for start in range(0, rows, _BLOCK):
            part = slice(start, min(start + _BLOCK, rows))
            which[part] = by_hash(np.arange(part.start, part.stop, dtype=np.uint64), rule)
    for number, name in enumerate(SPLITS):
        if not (which == number).any():
            raise DataError(
                f"{source}: split rule {rule.rule!r} leaves {name} empty ({rows:,} rows"
                + (f", by {', '.join(map(repr, rule.columns))}" if rule.columns else "")
                + "); give more rows, other shares or another rule"
            )
    return which


def by_hash(raw: np.ndarray, rule: SplitRule) -> np.ndarray:
    """Return the split of keys uint64 [n], uint8 [n]: by the hash's remainder by whole shares, else by its range."""
    hashes, total = mixed(raw, rule.seed), sum(rule.shares)
    bounds = np.cumsum(rule.shares)
    if all(float(share).is_integer() for share in rule.shares):
        parts = (hashes % np.uint64(total)).astype(np.float64)
    else:
        parts = (hashes >> np.uint64(11)).astype(np.float64) / 2.0**53 * total
    return np.searchsorted(bounds, parts, side="right").clip(max=2).astype(np.uint8)


def _places(rule: SplitRule, rows: int) -> np.ndarray:
    """Return the numbers of the first row of valid and of test, where rows are in order."""
    return np.round(np.cumsum(rule.shares)[:2] / sum(rule.shares) * rows).astype(np.int64)


def _by_time(rule: SplitRule, times: np.ndarray, source: str) -> np.ndarray:
    """Return the split by two times, between which rows are valid; rows of one time are in one split.

    Each cut is where another time begins, as near as can be to the place that the shares ask for.
    """
    ordered = np.sort(times)
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if len(starts) < len(SPLITS) - 1:
        raise DataError(
            f"{source}, column {rule.columns[0]!r}: {len(starts) + 1} distinct times in {len(times):,} rows; a split "
            "by time needs three at least: choose another column or another rule"
        )
    valid, test = _places(rule, len(times))
    first = int(np.abs(starts[:-1] - valid).argmin())
    second = first + 1 + int(np.abs(starts[first + 1 :] - test).argmin())
    which = (times >= ordered[starts[first]]).astype(np.uint8)
    which += times >= ordered[starts[second]]
    return which
