"""The files of a data set's folder, written piece by piece: arrays with their digests, and vocabularies."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nasbench_rec.errors import DataError, disk_full

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

VOCABULARIES = "vocabularies.parquet"
"""The name of the file of vocabularies in a data set's folder."""
_AGAIN = "delete the folder and prepare the data again"
_WORDS = 1 << 18


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn a disk that is full, or cannot be written to, into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        if why := disk_full(error, path.parent, path.name):
            raise DataError(why) from None
        raise DataError(f"{path} cannot be written ({error.strerror or error})") from None


class ArrayFile:
    """A .npy file of a known shape whose rows come in blocks; `close` returns the digest of its content."""

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.path, self.shape, self.rows = path, shape, 0
        self.dtype = dtype.newbyteorder("<")
        self._state = hashlib.sha256(f"{self.dtype.str} {shape}\n".encode())
        head = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        with disk(path):
            self._file = path.open("xb")
            np.lib.format.write_array_header_1_0(self._file, head)

    def append(self, block: np.ndarray) -> None:
        """Write the next rows."""
        block = np.ascontiguousarray(block, dtype=self.dtype)
        assert block.shape[1:] == self.shape[1:], (block.shape, self.shape)
        self.rows += len(block)
        self._state.update(block.data)
        with disk(self.path):
            self._file.write(block.data)

    def close(self) -> str:
        """Return the SHA-256 of type, shape and content."""
        with disk(self.path):
            self._file.close()
        if self.rows != self.shape[0]:
            raise DataError(f"{self.path}: {self.rows} rows were written, {self.shape[0]} announced")
        return self._state.hexdigest()

    def abandon(self) -> None:
        """Close the file, whatever is in it."""
        with suppress(OSError):  # what was not written yet may have no room
            self._file.close()


class VocabularyFile:
    """A Parquet file with a row per id of every field: field, id, value, kind, count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None

    def append(
        self,
        field: str,
        values: Sequence[str] | pl.Series,
        kinds: Sequence[str] | pl.Series | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        """Write the values of a field's ids 0, 1, ...; in pieces, so that a large field needs no second copy."""
        import polars as pl

        for start in range(0, len(values), _WORDS):
            part = slice(start, start + _WORDS)
            size = len(values[part])
            columns = [
                pl.repeat(field, size, dtype=pl.String).alias("field"),
                pl.int_range(start, start + size, dtype=pl.Int32).alias("id"),
                pl.lit(pl.Series("value", values[part], dtype=pl.String)),
                (
                    pl.repeat("value", size, dtype=pl.String)
                    if kinds is None
                    else pl.lit(pl.Series(kinds[part]))
                ).alias("kind"),
                pl.lit(pl.Series("count", [None] * size if counts is None else counts[part], dtype=pl.Int64)),
            ]
            # By Polars, as pyarrow's own arrays import pandas, a quarter of a second.
            self._write(pl.select(columns).to_arrow().cast(_schema()))

    def _write(self, table: Any) -> None:
        import pyarrow.parquet as pq

        with disk(self.path):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.path, table.schema)
            self._writer.write_table(table)

    def copy(self, other: Path) -> None:
        """Take another file of vocabularies as it is."""
        with disk(self.path):
            shutil.copyfile(other, self.path)

    def close(self) -> str:
        """Complete the file, an empty table where there is no vocabulary; return its SHA-256."""
        import pyarrow.parquet as pq

        with disk(self.path):
            if self._writer is not None:
                self._writer.close()
            elif not self.path.exists():
                pq.write_table(_schema().empty_table(), self.path)
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

    def abandon(self) -> None:
        """Close the file, whatever is in it."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


def _schema() -> pa.Schema:
    import pyarrow as pa

    kinds = {"field": "string", "id": "int32", "value": "string", "kind": "string", "count": "int64"}
    return pa.schema([(name, getattr(pa, kind)()) for name, kind in kinds.items()])


def read_vocabularies(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the raw value of each id, per field that has a vocabulary, in the order of `names`."""
    columns = _read(path, ["field", "value"]).to_pydict()
    values: dict[str, list[str]] = {}
    for name, value in zip(columns["field"], columns["value"], strict=True):
        values.setdefault(name, []).append(value)
    return {name: values[name] for name in names if name in values}


def read_vocabulary(path: Path, name: str) -> pd.DataFrame:
    """Return id, value, kind and count of the ids of one field."""
    import pandas as pd

    table = _read(path, ["id", "value", "kind", "count"], [("field", "=", name)])
    return table.to_pandas(types_mapper={table.schema.field("count").type: pd.Int64Dtype()}.get)


def _read(path: Path, columns: list[str], filters: Sequence[tuple[str, str, str]] | None = None) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=columns, filters=filters)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error
