"""Parquet, row group by row group: only the columns that are wanted, in memory bounded by a batch.

Values keep their types where the encoder can turn them into text (numbers, dates, truth values), the others become
text here. A folder `key=value` on the way to a file, as Spark and Hive write them, is a column of the rows below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from nasbench_rec.datasets._batches import Batch
from nasbench_rec.datasets._files import AGAIN, unchanged
from nasbench_rec.datasets._table_files import TableFile, across

from nasbench_rec.data import OnProgress, silent
from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

BATCH_ROWS = 1 << 16
_BUFFER = 1 << 20
"""Bytes read ahead of a column: without a buffer all of its row group is read at once."""
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_LIST = "list of "


class ParquetTable:
    """Parquet files of one schema."""

    def __init__(self, files: Sequence[TableFile]) -> None:
        self.files = files

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each column; DataError where the files do not agree."""
        found = kinds_of(self.files[0])
        for file in self.files[1:]:
            found = merged(found, kinds_of(file), str(self.files[0].source), str(file.source))
        return found

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the files and of the folders on the way to them."""
        return tuple(self.kinds)

    def batches(self, wanted: Sequence[str], progress: OnProgress = silent) -> Iterator[Batch]:
        """Yield the rows of all files in order."""
        assert set(wanted) <= set(self.kinds)
        rows = [_rows_of(file) for file in self.files]
        if not any(rows):
            raise DataError(f"{self.files[0].source} has no rows; {AGAIN}")
        for file, heard in zip(self.files, across(progress, rows), strict=True):
            yield from _read(file, wanted, heard)


@dataclass(frozen=True)
class Group:
    """Where rows stand: a row group of a file, both counted from 1."""

    file: TableFile
    number: int

    def __str__(self) -> str:
        """Return how errors name it."""
        return f"{self.file.source}, row group {self.number}"


class NoTextError(DataError):
    """A column with a value that has no text; `why` says it."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}; put the column into `ignore`, or write it as text or number")
        self.why = why


def _opened(file: TableFile) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.source.member or file.source.name != file.source.path.name:
        raise DataError(f"{file.source}: a packed Parquet file cannot be read; unpack it")
    try:
        return pq.ParquetFile(file.source.path, buffer_size=_BUFFER)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{file.source} is not a Parquet file, or not all of it ({_first(error)}); {AGAIN}"
        ) from None


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _rows_of(file: TableFile) -> int:
    with _opened(file) as parquet:
        return int(parquet.metadata.num_rows)


def partitions(file: TableFile) -> dict[str, str | None]:
    """Return the columns that the folders on the way to a file tell."""
    folders = [part.partition("=") for part in Path(file.name).parts[:-1] if "=" in part]
    return {unquote(key): None if text == _NO_VALUE else unquote(text) for key, _, text in folders}


def kinds_of(file: TableFile) -> dict[str, str]:
    """Return the kind of each column of a file; DataError where a name stands twice."""
    with _opened(file) as parquet:
        schema = parquet.schema_arrow
    names = list(schema.names)
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise DataError(f"{file.source}: column {double[0]!r} stands twice; rename one of them")
    return dict.fromkeys(partitions(file), "text") | {name: kind(schema.field(name).type) for name in names}


def kind(of: pa.DataType) -> str:
    """Return what the values of a type are; types of one kind give the same text for the same value."""
    import pyarrow.types as t

    if t.is_dictionary(of):
        return kind(of.value_type)
    if t.is_list(of) or t.is_large_list(of) or t.is_fixed_size_list(of):
        return _LIST + kind(of.value_type)
    tests = {
        "integers": (t.is_integer,),
        "numbers": (t.is_floating,),
        "decimals": (t.is_decimal,),
        "truth values": (t.is_boolean,),
        "dates": (t.is_date,),
        "times": (t.is_timestamp, t.is_time),
        "durations": (t.is_duration,),
        "text": (t.is_string, t.is_large_string, t.is_string_view),
        "bytes": (t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary),
        "nothing": (t.is_null,),
    }
    return next((name for name, some in tests.items() if any(test(of) for test in some)), str(of))


def merged(known: Mapping[str, str], other: Mapping[str, str], first: str, where: str) -> dict[str, str]:
    """Return the kinds that two files agree on; DataError names the first column on which they do not."""
    for more, less, has, lacks in ((known, other, first, where), (other, known, where, first)):
        missing = [name for name in more if name not in less]
        if missing:
            raise DataError(
                f"{lacks} has no column {missing[0]!r}, which {has} has; write the same columns to all"
            )
    for name, mine in known.items():
        if mine != other[name] and "nothing" not in (mine, other[name]):
            raise DataError(
                f"{where}, column {name!r}: holds {other[name]}, but {mine} in {first}; write the same type to all"
            )
    return {name: other[name] if mine == "nothing" else mine for name, mine in known.items()}


def _read(file: TableFile, wanted: Sequence[str], progress: OnProgress) -> Iterator[Batch]:
    """Yield the rows of one file."""
    import polars as pl

    with unchanged(file.source.path), _opened(file) as parquet:
        total, done = parquet.metadata.num_rows, 0
        names = parquet.schema_arrow.names
        own = [name for name in wanted if name in names] or names[:1]
        told = {name: text for name, text in partitions(file).items() if name not in own}
        constants = [pl.lit(text, pl.String).alias(name) for name, text in told.items()]
        for number in range(parquet.num_row_groups):
            first, group = 1, Group(file, number + 1)
            for batch in _batches(parquet, group, own):
                frame = _frame(batch, group, first).with_columns(constants)[list(wanted)]
                yield Batch(frame, str(file.source), first, f"row group {group.number}, row", file.split)
                first, done = first + len(frame), done + len(frame)
                progress("reading", done, total)


def _batches(parquet: Any, group: Group, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the batches of one row group."""
    import pyarrow as pa

    try:
        # Of `a` pyarrow reads `a.b`, too.
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group.number - 1], columns=list(columns)):
            yield batch.select(list(columns))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{group}: cannot be read ({_first(error)}); {AGAIN}") from None


def _frame(batch: pa.RecordBatch, group: Group, first: int) -> pl.DataFrame:
    """Return a batch as polars, each column of a type that has a text."""
    import polars as pl
    import pyarrow as pa

    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        try:
            arrays.append(simple(array))
        except pa.ArrowException as error:
            where = f"{group}, row {first + _bad_row(array)}, column {name!r}"
            raise NoTextError(where, f"{array.type}: {_first(error)}") from None
    return pl.DataFrame(pl.from_arrow(pa.table(arrays, names=batch.schema.names)))


def _bad_row(array: pa.Array) -> int:
    """Return the first row that `simple` refuses."""
    import pyarrow as pa

    low, high = 0, len(array) - 1
    while low < high:
        middle = (low + high) // 2
        try:
            simple(array[low : middle + 1])
            low = middle + 1
        except pa.ArrowException:
            high = middle
    return low


def simple(array: pa.Array) -> pa.Array:
    """Return an array of a type that polars can turn into text; ArrowException where a value has none."""
    simple = _converted(array)
    # Polars trusts what comes from Arrow, and would crash on bytes that are no UTF-8.
    simple.validate(full=True)
    return simple


def _converted(array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.types as t

    of, what = array.type, kind(array.type)
    if t.is_dictionary(of):
        return _converted(array.dictionary_decode())
    if what == str(of) or what.startswith(_LIST * 2):
        raise pa.ArrowInvalid("nested, or of a kind that is not known here")
    if what.startswith(_LIST):
        return array.cast(pa.large_list(_converted(array.values[:0]).type))
    targets = {
        "bytes": pa.large_string(),
        "decimals": pa.large_string(),
        "durations": pa.int64(),
        "nothing": pa.large_string(),
    }
    return array.cast(targets[what]) if what in targets else array
