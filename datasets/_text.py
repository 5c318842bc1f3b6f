"""Delimited text, strictly: each line has as many cells as there are columns, or the error says which has not."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from nasbench_rec.datasets._batches import Batch
from nasbench_rec.datasets._files import AGAIN, SourceFile, counted, text_blocks

from nasbench_rec.data import OnProgress, silent
from nasbench_rec.errors import DataError, unknown

logger = logging.getLogger(__name__)

_UNITS = "\x1f\x1e\x1d\x1c\x02\x01"
"""One that is not in the text stands for a separator of several bytes: control characters made for this."""
_NAMED = 8
"""Errors name the columns of a file without header where they are not more than these."""


@dataclass(frozen=True)
class TextLayout:
    """How the lines of a file are built.

    With `header` the first line names the columns, in any order, otherwise they are `columns` in their order.
    """

    columns: tuple[str, ...]
    separator: str = ","
    header: bool = True
    quotes: bool = False
    """Cells may stand in double quotes (RFC 4180), with separators and line ends inside."""
    encoding: str = "utf-8"
    missing: tuple[str, ...] = ()
    """Cells that mean a missing value, beside empty ones."""
    label: str = ""
    """The column of labels: it tells a header where none belongs."""


def read_text(
    source: SourceFile, layout: TextLayout, progress: OnProgress = silent, split: str | None = None
) -> Iterator[Batch]:
    """Yield the rows of a file as text, with the layout's columns in the layout's order.

    DataError names the file, and where it can the line: unreadable, empty, no rows, a missing, unknown or doubled
    column, a header where none is expected, a line with too few or too many cells.
    """
    names, rows = layout.columns, 0
    for block in text_blocks(source, progress, encoding=layout.encoding, quotes=layout.quotes):
        data, line = block.data, block.line
        if line == 1 and layout.header:
            names, skip, lines = _header(source, data, layout)
            data, line = data[skip:], 1 + lines
        elif line == 1:
            _check_no_header(source, data, layout)
        if data:
            batch = _parsed(source, data, line, names, layout)
            rows += len(batch.frame)
            yield Batch(batch.frame, batch.source, line, split=split, line_of=batch.line_of)
    if not rows:
        raise DataError(f"{source} has a header but no rows: the split is empty; {AGAIN}")


def header_of(text: str, separator: str, quotes: bool) -> tuple[list[str], int]:
    """Return the names in the first line of a text, and the number of lines that they take."""
    if quotes:
        if len(separator) > 1:
            text, separator = text.replace(separator, _UNITS[0]), _UNITS[0]
        reader = csv.reader(io.StringIO(text), delimiter=separator)
        try:
            return next(reader), reader.line_num
        except csv.Error:
            logger.debug("the first line is not quoted as CSV is; it is taken as it stands")
    return text.partition("\n")[0].split(separator), 1


def _header(source: SourceFile, data: bytes, layout: TextLayout) -> tuple[tuple[str, ...], int, int]:
    """Return the names in the file's order, the bytes and the lines of the header."""
    found, lines = header_of(data[: 1 << 20].decode(errors="ignore"), layout.separator, layout.quotes)
    columns = layout.columns
    where, remedy = f"{source}, line 1", f"the header must be {layout.separator.join(columns)}"
    missing = [name for name in columns if name not in found]
    extra = [name for name in found if name not in columns]
    double = [name for name in found if found.count(name) > 1]
    if extra:
        raise DataError(f"{where}: {unknown('column', extra[0], columns)} Mend it: {remedy}")
    if missing:
        raise DataError(f"{where}: missing column {missing[0]!r}; {remedy}")
    if double:
        raise DataError(f"{where}: column {double[0]!r} stands twice; {remedy}")
    skip = 0
    for _ in range(lines):
        skip = data.index(b"\n", skip) + 1
    return tuple(found), skip, lines


def _check_no_header(source: SourceFile, data: bytes, layout: TextLayout) -> None:
    if layout.label not in layout.columns:
        return
    first, _ = header_of(data[: 1 << 20].decode(errors="ignore"), layout.separator, layout.quotes)
    cell = dict(zip(layout.columns, first, strict=False)).get(layout.label, "")
    if re.fullmatch(r"[A-Za-z_][\w .-]*", cell):
        raise DataError(
            f"{source}, line 1, column {layout.label!r}: found {cell!r}: this is a header, and a file of this "
            "layout has none; remove the line"
        )


def _parsed(source: SourceFile, data: bytes, line: int, names: Sequence[str], layout: TextLayout) -> Batch:
    """Parse one block; polars fills short lines with nulls, so the cells are counted here."""
    import polars as pl

    separator = layout.separator
    if len(separator.encode()) > 1:
        unit = next((u for u in _UNITS if u.encode() not in data), _UNITS[0])
        data, separator = data.replace(separator.encode(), unit.encode()), unit
    quoted = layout.quotes and b'"' in data
    lines, cells = counted(data, b"\n"), counted(data, separator.encode())
    frame = None
    # The right number in all, and no line with too many (which polars refuses): none has too few.
    if quoted or cells == lines * (len(names) - 1):
        try:
            frame = pl.read_csv(
                data,
                separator=separator,
                has_header=False,
                schema=dict.fromkeys(names, pl.String),
                quote_char='"' if quoted else None,
                # An empty cell is missing, in quotes or not.
                null_values=[*layout.missing, ""] if quoted or layout.missing else None,
            )
        except pl.exceptions.PolarsError:
            frame = None
    ends = _record_ends(data, quoted) if quoted or frame is None else None
    rows = lines if ends is None else len(ends)
    if quoted and (frame is None or len(frame) != rows):
        _check_quotes(source, data, line, separator)
    if ends is not None:
        _check_cells(source, data, line, ends, separator, quoted, layout)
    if frame is None or len(frame) != rows:
        raise DataError(
            f"{source}, lines {line} to {line + lines - 1}: cannot be parsed as lines of {len(names)} cells "
            f"separated by {layout.separator!r}; {AGAIN}"
        )
    frame = frame[list(layout.columns)]  # `select` takes "*" for all columns
    if ends is None or rows == lines:
        return Batch(frame, str(source))
    return Batch(frame, str(source), line_of=lambda row: line + _line_ends_before(data, ends, row))


def _check_quotes(source: SourceFile, data: bytes, line: int, separator: str) -> None:
    """Raise a DataError for the first cell with a quote that neither opens nor closes it, nor is doubled."""
    mark = re.escape(separator.encode())
    cell = re.compile(rb'(?:"(?:[^"]|"")*"|[^"\n%b]*)[\n%b]' % (mark, mark))
    place = 0
    while place < len(data):
        found = cell.match(data, place)
        if found is None:
            start, at = data.rfind(b"\n", 0, place) + 1, line + data.count(b"\n", 0, place)
            text = data[start : data.find(b"\n", start)].decode(errors="replace")[:80]
            raise DataError(
                f"{source}, line {at}: a double quote within a cell: {text!r}; write "
                f"it twice and put the cell in quotes, read the file without quotes, or {AGAIN}"
            )
        place = found.end()


def _record_ends(data: bytes, quoted: bool) -> np.ndarray:
    """Return the positions of the line ends that end a row."""
    letters = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if quoted:
        inside = np.searchsorted(np.flatnonzero(letters == ord('"')), ends) % 2
        ends = ends[inside == 0]
    return ends


def _line_ends_before(data: bytes, ends: np.ndarray, row: int) -> int:
    """Return how many line ends stand before a row."""
    return data.count(b"\n", 0, int(ends[row - 1]) + 1) if row else 0


def _check_cells(
    source: SourceFile,
    data: bytes,
    line: int,
    ends: np.ndarray,
    separator: str,
    quoted: bool,
    layout: TextLayout,
) -> None:
    """Raise a DataError for the first row that has not a cell for each column; few columns without header are named."""
    width, named = len(layout.columns), ""
    if not layout.header and width <= _NAMED:
        named = f" ({(layout.separator if layout.separator.isprintable() else ', ').join(layout.columns)})"
    letters = np.frombuffer(data, dtype=np.uint8)
    marks = np.flatnonzero(letters == ord(separator))
    if quoted:
        marks = marks[np.searchsorted(np.flatnonzero(letters == ord('"')), marks) % 2 == 0]
    cells = np.diff(np.searchsorted(marks, ends), prepend=0) + 1
    wrong = np.flatnonzero(cells != width)
    if len(wrong):
        row = int(wrong[0])
        start = int(ends[row - 1]) + 1 if row else 0
        text = data[start : ends[row]].decode(errors="replace").replace(separator, layout.separator)[:80]
        where = f"{source}, line {line + _line_ends_before(data, ends, row)}"
        raise DataError(
            f"{where}: {cells[row]} cells instead of {width}{named}: {text!r}; mend it or {AGAIN}"
        )
