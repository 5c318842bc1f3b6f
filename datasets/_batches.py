"""Rows on their way from a file to the encoder: frames of cells that know where each row stands."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nasbench_rec.datasets._files import AGAIN

from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Some rows of a source: cells as text (or of the type that the source has), null where missing."""

    frame: pl.DataFrame
    source: str
    """How errors name the file."""
    first: int = 1
    """The number of the first row, in the source's own counting."""
    unit: str = "line"
    """What is counted: "line", "row", "row group 3, row"."""
    split: str | None = None
    """The published split that all rows belong to."""
    line_of: Callable[[int], int] | None = None
    """The number of a row (from 0) where it is not `first + row`: rows that span lines."""

    def where(self, row: int) -> str:
        """Return how errors name a row of this batch, counted from 0."""
        number = self.first + row if self.line_of is None else self.line_of(row)
        return f"{self.source}, {self.unit} {number}"

    def with_frame(self, frame: pl.DataFrame) -> Batch:
        """Return the same rows with other columns."""
        return Batch(frame, self.source, self.first, self.unit, self.split, self.line_of)


def refuse(batch: Batch, wrong: pl.Series, column: str, expected: str, remedy: str = "") -> None:
    """Raise a DataError for the first row where `wrong` is true: file, line, column, value, remedy."""
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        cell = batch.frame[column][row]
        shown = repr("" if cell is None else cell)
        raise DataError(
            f"{batch.where(row)}, column {column!r}: found {shown if len(shown) < 100 else shown[:96] + '...'}, "
            f"expected {expected}; {remedy or f'mend it or {AGAIN}'}"
        )


def complete(batches: Iterator[Batch], columns: Sequence[str]) -> Iterator[Batch]:
    """Yield the batches, refusing a missing cell in one of `columns`."""
    for batch in batches:
        for name in columns:
            refuse(batch, batch.frame[name].is_null(), name, "a value")
        yield batch


def ahead(items: Iterator[T]) -> Generator[T]:
    """Yield the items, the next one being made by another thread meanwhile: parsing and encoding overlap.

    Close it where it may not come to its end; then what makes the items is closed, too.
    """
    end: Any = object()
    try:
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(next, items, end)
            while (item := pending.result()) is not end:
                pending = pool.submit(next, items, end)
                yield item
    finally:
        if isinstance(items, Generator):
            items.close()
