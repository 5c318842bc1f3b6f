"""The user's own table as a data set: CSV, TSV, Parquet or libsvm files, described by a small TOML file.

The TOML's content is `TableConfig`. Every column of the files stands in it exactly once, as label, categorical,
numeric or multi-valued field, or ignored, so that a column that was renamed or added is an error and never a field
that was forgotten. `from_frame` makes both files from a pandas or polars frame.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nasbench_rec.datasets._batches import Batch, refuse
from nasbench_rec.datasets._encode import Recipe, encode
from nasbench_rec.datasets._files import source_hash
from nasbench_rec.datasets._frames import from_frame
from nasbench_rec.datasets._libsvm import SparseLayout, SparseTable
from nasbench_rec.datasets._parquet import ParquetTable
from nasbench_rec.datasets._spec import Label
from nasbench_rec.datasets._table_config import KINDS, LISTS, PROTOCOL, SPARSE, TableConfig, files_key, slug
from nasbench_rec.datasets._table_files import (
    TableFile,
    TableReader,
    TextTable,
    find_files,
    format_of,
    some,
)
from nasbench_rec.datasets._text import TextLayout

from nasbench_rec.config import build, read_toml
from nasbench_rec.data import DatasetInfo, OnProgress, StreamedSource, silent
from nasbench_rec.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Table", "TableConfig", "from_frame"]

_SEPARATORS = {"csv": ",", "tsv": "\t"}
_SAID = {"true": "1", "True": "1", "TRUE": "1", "false": "0", "False": "0", "FALSE": "0"}


class Table(StreamedSource):
    """A table of the user's, read and encoded as its configuration says.

    `place` is the folder of the TOML, below which the files lie unless another is given. `where` is how errors name
    the table.
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="table",
        title="a table of your own (CSV, TSV, Parquet, libsvm)",
        rows="any",
        licence="yours",
        source="describe it in a TOML file (`nasbench-rec data describe FILE` writes one) and give the TOML's path",
        protocol=PROTOCOL,
    )
    Config: ClassVar[type] = TableConfig
    config: TableConfig

    def __init__(self, config: TableConfig, place: Path | None = None, where: str = "") -> None:
        super().__init__(config)
        self._place, self._where = place, where or f"data set {config.name!r}"
        self.info = dataclasses.replace(  # type: ignore[misc]  # each table's is its own
            type(self).info, name=config.name, title=config.name, protocol={**PROTOCOL, **config.protocol}
        )

    @classmethod
    def read(cls, path: Path, overrides: Mapping[str, Any] | None = None) -> Table:
        """Return the table that a TOML file describes, with `overrides`; ConfigError names the file."""
        path = Path(path)
        values = {"name": slug(path.stem), **read_toml(path), **(overrides or {})}
        try:
            table = cls(build(TableConfig, values, str(path)), path.parent, str(path))
            table.check()
        except ConfigError as error:
            text = str(error)
            raise ConfigError(text if text.startswith(str(path)) else f"{path}: {text}") from None
        return table

    @property
    def place(self) -> Path | None:
        """The folder of the TOML."""
        return self._place

    def check(self) -> None:
        """Refuse a configuration that does not say enough; ConfigError names the key."""
        if missing := self.config.incomplete():
            raise ConfigError(f"{self._where}: {missing}")

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the SHA-256 of the files in their order; DataError where one is missing or has other columns."""
        files, _, _ = self._opened(source)
        return source_hash(list(dict.fromkeys(file.source.path for file in files)))

    def write(self, source: Path | None, folder: Path, progress: OnProgress = silent) -> None:
        """Read, encode and split the files block by block; DataError names file, line or row, and column."""
        files, reader, config = self._opened(source)
        wanted = [config.label, *(column.name for column in config.fields()), *config.split_columns]
        batches = (self._cells(config, b) for b in reader.batches(list(dict.fromkeys(wanted)), progress))
        recipe = Recipe(
            config.name,
            config.fields(),
            Label(config.label, config.positive),
            config.encoding_rule(),
            config.split_rule(),
            source=f"{files[0].source}{f' and {len(files) - 1} more' if len(files) > 1 else ''}",
            files={file.name: source_hash([file.source.path]) for file in files},
        )
        encode(recipe, batches, folder, progress)

    def _opened(self, source: Path | None) -> tuple[list[TableFile], TableReader, TableConfig]:
        """Return the files, what reads them, and the configuration, once it fits their columns."""
        files = self._files(source)
        kind = self.config.format or format_of(files, self._where)
        reader = self._reader(files, kind)
        return files, reader, self._complete(reader.columns(), kind, str(files[0].source))

    def _files(self, source: Path | None) -> list[TableFile]:
        """Return the files; DataError where one is missing, or named twice."""
        self.check()
        folder, config = source or self._place, self.config
        if folder is None:
            raise DataError(f"{self._where}: give the folder of its files as --data-dir")
        files: list[TableFile] = []
        for split in config.splits:
            where = f"{self._where}: {files_key(split)}"
            files += find_files(Path(folder), config.files_of(split), where, split, bool(config.format))
        times = Counter(file.source for file in files)
        if double := [file.name for file in files if times[file.source] > 1]:
            raise DataError(f"{self._where}: {double[0]!r} is a file of two splits; each row belongs to one")
        return files

    def _complete(self, names: Sequence[str], kind: str, file: str) -> TableConfig:
        """Return the configuration, once each column of the files is mentioned in it, and no other.

        Sparse text has no names of its own: what is not said is label first, and all others categorical.
        """
        config = self.config
        if kind in SPARSE:
            config = dataclasses.replace(config, label=config.label or names[0])
            if not any(getattr(config, key) for key in LISTS):
                config = dataclasses.replace(config, categorical=tuple(names[1:]))
        mentions = [*config.mentions(), *((name, "split_columns") for name in config.split_columns)]
        for name, key in mentions:
            if name not in names:
                lost = all(other not in names for other, _ in mentions)
                hint = " Has the file no header? Then say `header = false`." if lost and config.header else ""
                raise DataError(f"{self._where}: `{key}`, in {file}: {unknown('column', name, names)}{hint}")
        known = {name for name, _ in config.mentions()}
        if extra := [name for name in names if name not in known]:
            raise DataError(
                f"{self._where}: {file} has {'columns' if len(extra) > 1 else 'a column'} that no key mentions: "
                f"{some(extra)}; put each into `{'`, `'.join(KINDS)}` or `ignore`"
            )
        return config

    def _cells(self, config: TableConfig, batch: Batch) -> Batch:
        """Return a batch whose missing cells are null, multi-valued ones lists and labels numbers."""
        import polars as pl
        import polars.selectors as cs

        lists = [
            name for name, of in batch.frame.schema.items() if of == pl.List and name not in config.multi
        ]
        if lists:
            raise DataError(f"{batch.where(0)}, column {lists[0]!r}: a list of values; name it in `multi`")
        frame = batch.frame.with_columns(cs.float().fill_nan(None))
        absent = (cs.string() | cs.numeric()) if config.missing else cs.string()
        frame = frame.with_columns(
            pl.when(~absent.cast(pl.String).is_in(["", *config.missing])).then(absent).name.keep()
        )
        batch = batch.with_frame(frame)
        several = [_values(frame[name], config) for name in config.multi if frame.schema[name] == pl.String]
        return batch.with_frame(frame.with_columns(_labels(batch, config), *several))

    def _reader(self, files: Sequence[TableFile], kind: str) -> TableReader:
        """Return what reads files of this format; ConfigError where the keys do not fit."""
        if kind == "parquet":
            return ParquetTable(files)
        return self._sparse(files, kind) if kind in SPARSE else self._text(files, kind)

    def _sparse(self, files: Sequence[TableFile], kind: str) -> TableReader:
        config, fields = self.config, kind == "libffm"
        if config.numeric:
            raise ConfigError(f"{self._where}: `numeric`: {kind} holds ids; give numbers as CSV or Parquet")
        if fields and config.columns:
            raise ConfigError(f"{self._where}: `columns`: in libffm a field's number names it: f0, f1, ...")
        listed = [name for name, key in config.mentions() if key != "label"]
        if config.multi and not fields and len(listed) > 1:
            raise ConfigError(
                f"{self._where}: `multi`: all entries of a {kind} line are one multi-valued field, or each is a field "
                "of its own: name one column in `multi`, or none"
            )
        names = tuple(listed) if fields else config.columns
        return SparseTable(files, SparseLayout(fields, names, config.multi, config.positive is None))

    def _text(self, files: Sequence[TableFile], kind: str) -> TableReader:
        config = self.config
        if config.header and config.columns:
            raise ConfigError(f"{self._where}: `columns` is for files without a header: say `header = false`")
        if not config.header and not config.columns:
            raise ConfigError(f"{self._where}: `header = false` needs `columns`, the names of the columns")
        layout = TextLayout(
            config.columns,
            config.separator or _SEPARATORS[kind],
            config.header,
            kind == "csv" if config.quotes is None else config.quotes,
            config.encoding,
            config.missing,
            config.label,
        )
        return TextTable(files, layout)


def _values(cells: pl.Series, config: TableConfig) -> pl.Series:
    """Return the values of a multi-valued column's cells, without empty ones."""
    import polars as pl

    value = pl.element()
    return cells.str.split(config.values_separator).list.eval(value.filter(value != ""))


def _labels(batch: Batch, config: TableConfig) -> pl.Series:
    """Return the labels as numbers; DataError where one is not what the configuration says."""
    import polars as pl

    cells = batch.frame[config.label]
    if cells.dtype == pl.String and config.positive is None:
        cells = cells.replace(_SAID)
    numbers = cells.cast(pl.Float64, strict=False)
    if config.positive is None:
        wrong, expected = ~numbers.is_in([0.0, 1.0]).fill_null(False), "0 or 1"
        remedy = "for other numbers say with `positive` what counts as 1; rows without a label have to go"
    else:
        wrong, expected, remedy = numbers.is_null(), "a number", "rows without a label have to go"
    refuse(batch, wrong, config.label, expected, remedy)
    return numbers
