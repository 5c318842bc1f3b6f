"""Finding out how a text file is built: letters, separator, quotes, header, or libsvm."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from nasbench_rec.datasets._files import AGAIN, opened
from nasbench_rec.datasets._table_files import TableFile

from nasbench_rec.errors import DataError

SEPARATORS = (",", "\t", ";", "|", "::", "\x01", " ")
"""What may stand between cells, the likeliest first."""
_SAMPLE = 8 << 20
_RECORDS = 200
_SPARSE = r"[+-]?\d+(\.\d+)?([ \t]+{0}\d+:[^\s:]+)+[ \t]*(#.*)?"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Sniffed:
    """How a text file is built."""

    format: str
    encoding: str
    separator: str = ""
    quotes: bool | None = None
    """Whether cells stand in double quotes; None where there is no double quote."""
    header: bool = True
    width: int = 0
    """The number of cells of a line."""
    notes: tuple[str, ...] = field(default=())
    """What is not sure."""


def sniff(file: TableFile) -> Sniffed:
    """Return how a text file seems to be built; DataError where it is no table of text."""
    with opened(file.source) as stream:
        data = stream.file.read(_SAMPLE)
        whole = len(data) < _SAMPLE
    if not data.strip():
        raise DataError(f"{file.source} is empty; {AGAIN}")
    if data.startswith(_UTF16) or b"\0" in data[:4096]:
        raise DataError(f"{file.source} is not a text file, or UTF-16; save it as CSV in UTF-8")
    encoding, notes = _encoding(data, whole)
    text = data[: 1 << 20].decode(encoding, errors="replace").removeprefix("\ufeff").replace("\r\n", "\n")
    lines = text.split("\n")
    # The last line of a part of a file is not whole.
    lines = lines[:-1] if len(lines) > 1 and not (whole and len(data) < 1 << 20) else lines
    some = [line for line in lines[:_RECORDS] if line.strip() and not line.startswith("#")]
    for name, form in (("libsvm", ""), ("libffm", r"\d+:")):
        if some and all(re.fullmatch(_SPARSE.format(form), line.rstrip()) for line in some):
            return Sniffed(name, encoding, notes=notes)
    return _delimited(file, "\n".join(lines), encoding, notes)


def _encoding(data: bytes, whole: bool) -> tuple[str, tuple[str, ...]]:
    """Return how letters are stored, with a note where that is a guess."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
        return "utf-8", ()
    except UnicodeDecodeError as error:
        start = max(0, error.start - 20)
        part = data[start : error.end + 20]
    found = "cp1252"
    try:
        data.decode(found)
    except UnicodeDecodeError:
        found = "latin-1"
    return found, (f"not UTF-8: {found} is a guess; look whether {part.decode(found)!r} reads well",)


def _delimited(file: TableFile, text: str, encoding: str, notes: tuple[str, ...]) -> Sniffed:
    """Return the separator that cuts all lines into the same number of cells, as many as possible."""
    found = []
    for quotes in (True, False) if '"' in text else (None,):
        for place, separator in enumerate(SEPARATORS):
            widths = Counter(len(cells) for cells in _records(text, separator, quotes))
            width, times = max(widths.items(), key=lambda item: item[1])
            share = times / sum(widths.values())
            if width > 1 and share > 0.9:
                found.append(((share == 1, width, bool(quotes), -place), separator, quotes, width))
    if not found:
        raise DataError(
            f"{file.source}: no separator cuts its lines into the same number of cells (tried "
            f"{', '.join(map(repr, SEPARATORS))}); is it a table? Otherwise write the TOML by hand"
        )
    _, separator, quotes, width = max(found)
    rows = [row for row in _records(text, separator, quotes) if len(row) == width]
    kind = "tsv" if separator == "\t" else "csv"
    return Sniffed(kind, encoding, separator, quotes, _has_header(rows), width, notes)


def _records(text: str, separator: str, quotes: bool | None) -> list[list[str]]:
    """Return the first rows as cells; one cell where a quote stands where quoting allows none."""
    if not quotes:
        return [line.split(separator) for line in text.split("\n")[:_RECORDS] if line]
    cell = re.compile(f'("(?:[^"]|"")*"|[^"\n]*?)({re.escape(separator)}|\n)')
    rows: list[list[str]] = [[]]
    place, text = 0, text + "\n"
    while place < len(text) and len(rows) <= _RECORDS:
        if (found := cell.match(text, place)) is None:
            # At the end of a part of a file a cell may be open.
            return rows[:-1] if len(rows) > 1 and re.match('"(?:[^"]|"")*$', text[place:]) else [[text]]
        rows[-1].append(found[1][1:-1].replace('""', '"') if found[1].startswith('"') else found[1])
        rows += [[]] if found[2] == "\n" else []
        place = found.end()
    return [row for row in rows[:-1] if row != [""]]


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row names the columns: no number, no name twice, and few that are values below."""
    first, rest = rows[0], rows[1:]
    if any(_number(cell) for cell in first) or len(set(first)) < len(first):
        return False
    again = sum(any(row[place] == cell for row in rest) for place, cell in enumerate(first))
    return again <= len(first) / 4


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
