"""Reading comma-separated files strictly and encoding their columns to ids, for the readers beside it."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nasbench_rec.data import Field
from nasbench_rec.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    import polars as pl

RARE = "<rare or unseen>"
"""What a vocabulary shows for id 0."""
_AGAIN = "get the file again from its owner"


@dataclass(frozen=True)
class Encoded:
    """Ids per split (int32 [N, F]) and what they mean."""

    fields: tuple[Field, ...]
    ids: dict[str, np.ndarray]
    vocabularies: dict[str, list[str]]


def encode(frames: Mapping[str, pl.DataFrame], names: Sequence[str], min_count: int = 1) -> Encoded:
    """Encode the columns `names`, each in an id space of its own, learnt from frames["train"] alone.

    Id 0 is reserved in every field for values seen fewer than `min_count` times in train, or never. The
    others follow by descending count in train, equal counts in the order of the text. ConfigError where
    min_count < 1.
    """
    if min_count < 1:
        raise ConfigError(f"min_count is {min_count}; it must be 1 (each value of train has an id) or more")
    vocabularies = {name: [RARE, *_values(frames["train"], name, min_count)] for name in names}
    fields = tuple(Field(name, len(values)) for name, values in vocabularies.items())
    ids = {split: _ids(frame, vocabularies) for split, frame in frames.items()}
    return Encoded(fields, ids, vocabularies)


def _values(train: pl.DataFrame, name: str, min_count: int) -> list[str]:
    import polars as pl

    counts = train.select(pl.col(name).alias("value")).to_series().value_counts(name="rows")
    kept = counts.filter(pl.col("rows") >= min_count).sort(["rows", "value"], descending=[True, False])
    return kept["value"].to_list()


def _ids(frame: pl.DataFrame, vocabularies: Mapping[str, Sequence[str]]) -> np.ndarray:
    import polars as pl

    ids = np.empty((len(frame), len(vocabularies)), dtype=np.int32)
    for column, (name, values) in enumerate(vocabularies.items()):
        known = pl.Series(values[1:], dtype=pl.String)
        new = pl.int_range(1, len(values), dtype=pl.Int32, eager=True)
        ids[:, column] = frame[name].replace_strict(known, new, default=0, return_dtype=pl.Int32).to_numpy()
    return ids


def read_csv(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Read `path` (.csv or .csv.gz, header, no quoting) as text with exactly `columns`, in that order.

    The file may have them in any order. DataError names file, line and column of what is wrong: not readable,
    not UTF-8, empty, no rows, a missing, unknown or doubled column, a line with too few or too many cells, an
    empty cell.
    """
    import polars as pl

    content = read_text_bytes(path)
    _check_header(path, content.split(b"\n", 1)[0].decode().split(","), columns)
    _check_lines(path, content, len(columns))
    frame = pl.read_csv(io.BytesIO(content), infer_schema=False, quote_char=None).select(columns)
    for name in columns:
        check_cells(path, frame[name].is_null(), name, frame[name].fill_null(""), "a value")
    return frame


def read_labels(path: Path, labels: pl.Series) -> np.ndarray:
    """Return the column of labels as float32 [N]; DataError with the line where one is not 0 or 1."""
    check_cells(path, ~labels.is_in(["0", "1"]), labels.name, labels, "0 or 1")
    return labels.to_physical().eq("1").to_numpy().astype(np.float32)


def check_cells(path: Path, wrong: pl.Series, column: str, cells: pl.Series, allowed: str) -> None:
    """Raise a DataError for the first row where `wrong` is true: line (the header is 1), column and value."""
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        where = f"{path}, line {row + 2}, column {column!r}"
        raise DataError(f"{where}: found {cells[row]!r}, expected {allowed}; mend it or {_AGAIN}")


def read_text_bytes(path: Path) -> bytes:
    """Return the unpacked content without byte-order mark, with Unix line ends and exactly one at the end.

    DataError: missing, empty, broken gzip, or not UTF-8 (with the line).
    """
    raw = _unpacked(path)
    content = raw.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").rstrip(b"\n")
    if not content:
        raise DataError(f"{path} is empty; {_AGAIN}")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        value = content[error.start : error.end]
        raise DataError(
            f"{path}, line {line}: {value!r} is not UTF-8; save it as UTF-8 or {_AGAIN}"
        ) from None
    return content + b"\n"


def _unpacked(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is missing; {_AGAIN}") from None
    except EOFError:
        raise DataError(f"{path} is a truncated gzip file; {_AGAIN}") from None
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error


def _check_header(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in found]
    extra = [name for name in found if name not in columns]
    double = [name for name in found if list(found).count(name) > 1]
    where, remedy = f"{path}, line 1", f"the header must be {','.join(columns)}"
    if extra:
        raise DataError(f"{where}: {unknown('column', extra[0], columns)} Mend it: {remedy}")
    if missing:
        raise DataError(f"{where}: missing column {missing[0]!r}; {remedy}")
    if double:
        raise DataError(f"{where}: column {double[0]!r} stands twice; {remedy}")


def _check_lines(path: Path, content: bytes, width: int) -> None:
    letters = np.frombuffer(content, dtype=np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if len(ends) == 1:
        raise DataError(f"{path} has a header but no rows: the split is empty; {_AGAIN}")
    cells = np.diff(np.searchsorted(np.flatnonzero(letters == ord(",")), ends), prepend=0) + 1
    wrong = np.flatnonzero(cells != width)
    if len(wrong):
        line = int(wrong[0])
        text = content[ends[line - 1] + 1 : ends[line]].decode()[:80]
        where = f"{path}, line {line + 1}"
        raise DataError(f"{where}: {cells[line]} cells instead of {width}: {text!r}; mend it or {_AGAIN}")


def file_hash(paths: Sequence[Path], algorithm: str = "sha256") -> str:
    """Return the hash of the content of `paths`, one after the other; DataError where one cannot be read."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    for path in paths:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    state.update(block)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    return state.hexdigest()
