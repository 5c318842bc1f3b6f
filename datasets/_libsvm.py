"""libsvm, libfm and libffm text: `label index:1 index:1 ...` and `label field:index:1 ...`, one row a line.

How the field's files of this kind are built: every line has one entry per categorical field, in the same order, with
the value 1, and the index is the field's value. In libffm the field's number says which field an entry belongs to. A
line of any number of entries can be read as one multi-valued field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from nasbench_rec.datasets._batches import Batch
from nasbench_rec.datasets._files import AGAIN, SourceFile, TextBlock, text_blocks
from nasbench_rec.datasets._table_files import TableFile, across

from nasbench_rec.data import OnProgress, silent
from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    import polars as pl

LABEL = "label"
"""What the first cell of a line is called."""
BAG = "features"
"""What the one multi-valued field is called where nothing else is said."""
_SIGNED = {"-1": "0", "-1.0": "0", "+1": "1"}


@dataclass(frozen=True)
class SparseLayout:
    """How the entries of a line become columns."""

    fields: bool = False
    """libffm: an entry says its field, `f` and its number; a field may be missing from a line."""
    names: tuple[str, ...] = ()
    """The names of label and entries in their order (without: label, f1, f2, ...); libffm: further fields."""
    multi: tuple[str, ...] = ()
    """libffm: the fields that may have several entries in a line. Otherwise the one field of all entries."""
    signed: bool = True
    """Labels may be -1 and 1 instead of 0 and 1."""


@dataclass(frozen=True)
class Lines:
    """The lines of a block that are rows: labels, all entries one after the other, how many each line has."""

    source: SourceFile
    labels: pl.Series
    entries: pl.Series
    counts: np.ndarray
    numbers: np.ndarray
    """The number of each line in the file."""

    def number(self, row: int) -> int:
        """Return the number of a row's line in the file."""
        return int(self.numbers[row])

    def where(self, row: int) -> str:
        """Return how errors name a row."""
        return f"{self.source}, line {self.number(row)}"

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of each entry."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


class SparseTable:
    """Files of sparse text, all of one layout."""

    def __init__(self, files: Sequence[TableFile], layout: SparseLayout) -> None:
        self.files, self.layout = files, layout

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        """The columns, of which the first lines tell how many or which there are."""
        source, layout = self.files[0].source, self.layout
        label = layout.names[0] if layout.names and not layout.fields else LABEL
        if layout.multi and not layout.fields:
            return (label, layout.multi[0])
        lines = next(_lines_of(source))
        if layout.fields:
            numbers = _fields(_indices(lines, True))[0].unique().cast(int).sort()
            found = [f"f{n}" for n in numbers]
            return (label, *found, *(name for name in layout.names if name not in found))
        width = int(lines.counts[0])
        if layout.names and len(layout.names) != width + 1:
            raise DataError(
                f"{lines.where(0)}: a label and {width} entries, and `columns` names {len(layout.names)}; name the "
                "label and then every entry"
            )
        return layout.names or (label, *(f"f{n}" for n in range(1, width + 1)))

    def columns(self) -> tuple[str, ...]:
        """Return the label's name and those of the fields."""
        return self._columns

    def batches(self, wanted: Sequence[str], progress: OnProgress = silent) -> Iterator[Batch]:
        """Yield the rows of all files in order, indices as text."""
        signs: set[str] = set()
        tell = across(progress, [file.size for file in self.files])
        for file, heard in zip(self.files, tell, strict=True):
            for lines in _lines_of(file.source, heard):
                frame = self._frame(lines, signs)[list(wanted)]
                yield Batch(frame, str(file.source), split=file.split, line_of=lines.number)

    def _frame(self, lines: Lines, signs: set[str]) -> pl.DataFrame:
        """Return the columns of some lines."""
        import polars as pl

        label, *names = self.columns()
        indices = _indices(lines, self.layout.fields)
        if self.layout.fields:
            fields = _by_field(lines, indices, names, self.layout.multi)
        elif self.layout.multi:
            fields = [_lists(indices, lines.rows, len(lines.counts))]
        else:
            _check_width(lines, len(names))
            fields = [indices.gather_every(len(names), place) for place in range(len(names))]
        labels = _zero_one(lines, signs) if self.layout.signed else lines.labels
        return pl.DataFrame([labels.alias(label), *(f.alias(n) for f, n in zip(fields, names, strict=True))])


def _lines_of(source: SourceFile, progress: OnProgress = silent) -> Iterator[Lines]:
    """Yield the lines of a file; DataError where there is none."""
    some = False
    for block in text_blocks(source, progress):
        if (lines := _parsed(source, block)) is not None:
            some = True
            yield lines
    if not some:
        raise DataError(f"{source} has no rows, only comments; {AGAIN}")


def _parsed(source: SourceFile, block: TextBlock) -> Lines | None:
    """Return the lines of a block without comments and empty ones; None where nothing is left."""
    import polars as pl

    lines = pl.Series(block.data.decode().split("\n")[:-1], dtype=pl.String)
    if b"#" in block.data:
        lines = lines.str.replace("#.*$", "")
    lines = lines.str.replace_all(r"\s+", " ").str.strip_chars()
    kept = (lines.str.len_bytes() > 0).to_numpy()
    if not kept.any():
        return None
    cells = lines.filter(pl.Series(kept)).str.split(" ")
    entries = cells.list.slice(1)
    counts = entries.list.len().to_numpy().astype(np.int64)
    return Lines(
        source,
        cells.list.first(),
        entries.filter(pl.Series(counts > 0)).explode(),
        counts,
        block.line + np.flatnonzero(kept),
    )


def _indices(lines: Lines, fields: bool) -> pl.Series:
    """Return entries without their value, which must be 1: the index, or field:index."""
    form = r"\d+:\d+" if fields else r"\d+"
    if lines.entries.str.contains(f"^{form}:1$").all():
        return lines.entries.str.strip_suffix(":1")
    parts = lines.entries.str.extract_groups(f"^({form}):([^:]+)$").struct
    values = parts["2"].cast(float, strict=False)
    wrong = ~(values == 1).fill_null(False)
    if wrong.any():
        place = int(wrong.arg_max() or 0)
        _refuse(lines, place, values[place], fields)
    return parts["1"]


def _refuse(lines: Lines, place: int, value: float | None, fields: bool) -> None:
    where, entry = lines.where(int(lines.rows[place])), lines.entries[place]
    if value is not None:
        raise DataError(
            f"{where}: {entry!r} has the value {value:g}, and only 1 stands for a category; give a table with numeric "
            "features as CSV or Parquet"
        )
    form, other = ("field:index:1", "libsvm") if fields else ("index:1", "libffm")
    raise DataError(f"{where}: {entry!r} is not {form}; mend it, or is the file of format {other}?")


def _check_width(lines: Lines, width: int) -> None:
    wrong = np.flatnonzero(lines.counts != width)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{lines.where(row)}: {lines.counts[row]} entries instead of {width}, so that none tells its field by "
            f'its place; read all as one multi-valued field: `multi = ["{BAG}"]`, without `categorical`'
        )


def _fields(indices: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return field and index of `field:index`."""
    parts = indices.str.split_exact(":", 1).struct
    return parts["field_0"], parts["field_1"]


def _by_field(
    lines: Lines, indices: pl.Series, names: Sequence[str], multi: Sequence[str]
) -> list[pl.Series]:
    """Return a column per field: null where a line has no entry of it."""
    fields, values = _fields(indices)
    unknown = ~fields.is_in([name[1:] for name in names])
    if unknown.any():
        place = int(unknown.arg_max() or 0)
        raise DataError(
            f"{lines.where(int(lines.rows[place]))}: field {fields[place]} is not among the fields of the first lines; "
            f"name 'f{fields[place]}' in `categorical`, `multi` or `ignore`"
        )
    columns = []
    for name in names:
        mine = (fields == name[1:]).to_numpy()
        own, rows = values.filter(mine), lines.rows[mine]
        if name in multi:
            columns.append(_lists(own, rows, len(lines.counts)))
        else:
            columns.append(_single(lines, name, own, rows))
    return columns


def _single(lines: Lines, name: str, values: pl.Series, rows: np.ndarray) -> pl.Series:
    """Return the one value of each row; DataError where a row has two."""
    import polars as pl

    twice = np.flatnonzero(np.diff(rows) == 0)
    if len(twice):
        raise DataError(
            f"{lines.where(int(rows[twice[0]]))}: field {name[1:]} stands twice; name {name!r} in `multi`"
        )
    places = np.full(len(lines.counts), len(values))
    places[rows] = np.arange(len(values))
    return pl.concat([values, pl.Series([None], dtype=pl.String)]).gather(places)


def _lists(values: pl.Series, rows: np.ndarray, size: int) -> pl.Series:
    """Return the values of each row as a list, empty where there is none; `rows` rises."""
    import polars as pl

    found = pl.DataFrame({"row": rows, "values": values}).group_by("row", maintain_order=True).agg("values")
    places = np.full(size, len(found))
    places[found["row"].to_numpy()] = np.arange(len(found))
    lists = pl.concat([found["values"], pl.Series([[]], dtype=pl.List(pl.String))])
    return lists.gather(places)


def _zero_one(lines: Lines, signs: set[str]) -> pl.Series:
    """Return labels with 0 for -1; `signs` remembers which of the two negative labels the table has."""
    for label in ("-1", "0"):
        found = lines.labels == label
        if label not in signs and found.any():
            signs.add(label)
            if len(signs) > 1:
                row = int(found.arg_max() or 0)
                raise DataError(
                    f"{lines.where(row)}: label {label}, and the table has labels {' and '.join(sorted(signs))}: "
                    "which one is negative? Say so with `positive`, the least number that counts as 1"
                )
    return lines.labels.replace(_SIGNED)
