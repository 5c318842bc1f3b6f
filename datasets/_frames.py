"""A pandas or polars frame as a data set: written as Parquet, with the TOML that describes it."""

from __future__ import annotations

import filecmp
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.datasets._guess import Guess, facts_of, guesses
from nasbench_rec.datasets._parquet import kind, merged, simple
from nasbench_rec.datasets._table_config import LISTS, TableConfig, files_key
from nasbench_rec.datasets.describe import ROWS, toml_text

from nasbench_rec.config import build, write_text
from nasbench_rec.data import SPLITS
from nasbench_rec.errors import ConfigError, DataError, StoreError, unknown

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_OURS = ("name", "files", "train_files", "valid_files", "test_files", "format", "header", "columns")
_COLUMNS = ("label", *LISTS, "values_separator")


def from_frame(
    frame: Any, name: str, folder: Path | str, *, label: str, overwrite: bool = False, **settings: Any
) -> Path:
    """Write a frame as a data set and return the path of its TOML, which works wherever a data set is named.

    `frame` is a pandas or polars frame, or a mapping of train, valid and test to one each. `settings` are keys of
    `TableConfig`, such as `categorical=["user"]`, `ignore=["note"]`, `min_count=2` or `protocol={"epochs": 5}`. What a
    column is that they do not mention is guessed, as `describe` guesses; the TOML says what was seen. NAME.toml and
    NAME.parquet, or NAME-train.parquet and so on, go into `folder`; what is there already with other content is
    replaced only with `overwrite`. ConfigError: a wrong setting. DataError: a frame that cannot be written.
    StoreError: something in the way.
    """
    tables = {split: _table(part, split) for split, part in _parts(frame).items()}
    _check_types(tables)
    folder = Path(folder)
    paths = {split: folder / f"{name}{f'-{split}' if split else ''}.parquet" for split in tables}
    files: dict[str, Any] = {files_key(split): path.name for split, path in paths.items()}
    if SPLITS[0] in tables:
        files["split"] = "published"
    text = _text(next(iter(tables.values())), {"name": name, **files, "label": label, **_given(settings)})
    _save({paths[split]: table for split, table in tables.items()}, folder / f"{name}.toml", text, overwrite)
    return folder / f"{name}.toml"


def _parts(frame: Any) -> dict[str | None, Any]:
    """Return the frames by split, or one for all."""
    if not isinstance(frame, Mapping):
        return {None: frame}
    if set(frame) != set(SPLITS):
        raise DataError(
            f"a frame each for {', '.join(SPLITS)} makes published splits; got {', '.join(frame)}"
        )
    return {split: frame[split] for split in SPLITS}


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user's settings, one name as a list; ConfigError for those that are set here."""
    for key in settings:
        if key in _OURS:
            raise ConfigError(f"from_frame: {key}: cannot be given, as the files are written here")
    lists = (*LISTS, "split_columns", "missing")
    known = {key: item for key, item in settings.items() if item is not None}
    return {key: [item] if key in lists and isinstance(item, str) else item for key, item in known.items()}


def _table(frame: Any, split: str | None) -> pa.Table:
    """Return a frame as an Arrow table; DataError names the column that cannot be one."""
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    where = f"the frame of {split}" if split else "the frame"
    if isinstance(frame, pl.DataFrame):
        table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    elif isinstance(frame, pd.DataFrame):
        table = _of_pandas(frame, where)
    elif isinstance(frame, pa.Table):
        table = frame
    else:
        raise DataError(f"{where} is a {type(frame).__name__}; give a pandas or polars DataFrame")
    double = [name for name in table.column_names if table.column_names.count(name) > 1]
    if double or not len(table):
        raise DataError(f"{where} has {f'two columns {double[0]!r}' if double else 'no rows'}")
    return table.replace_schema_metadata(None)


def _of_pandas(frame: pd.DataFrame, where: str) -> pa.Table:
    """Return a pandas frame as an Arrow table, an index with a name as columns."""
    import pyarrow as pa

    if any(level is not None for level in frame.index.names):
        frame = frame.reset_index()
    arrays, names = [], [str(name) for name in frame.columns]
    for place, name in enumerate(names):
        try:
            arrays.append(_array(frame.iloc[:, place]))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise DataError(
                f"{where}, column {name!r}: {str(error).splitlines()[0]}; make its values of one type, as by "
                f"frame[{name!r}].astype(str), or drop it"
            ) from None
    return pa.table(arrays, names=names)


def _array(column: pd.Series[Any]) -> Any:
    """Return a column as Arrow has it; periods and intervals, which Parquet has not, as text."""
    import pyarrow as pa

    array = pa.array(column, from_pandas=True)
    foreign = isinstance(array.type, pa.BaseExtensionType) or isinstance(
        getattr(array.type, "value_type", None), pa.BaseExtensionType
    )
    if foreign or str(column.dtype).startswith("period"):
        return pa.array(column.astype("string"), from_pandas=True)
    return array


def _check_types(tables: Mapping[str | None, pa.Table]) -> None:
    """Refuse frames of splits that do not have the same columns of the same types."""
    known: dict[str, str] | None = None
    for split, table in tables.items():
        kinds = {field.name: kind(field.type) for field in table.schema}
        known = (
            kinds if known is None else merged(known, kinds, "the frame of train", f"the frame of {split}")
        )


def _text(table: pa.Table, settings: Mapping[str, Any]) -> str:
    """Return the TOML of a table; ConfigError where a setting is wrong."""
    build(TableConfig, settings, "from_frame")
    keys = {settings["label"]: "label"}
    for key in LISTS:
        keys |= dict.fromkeys(settings.get(key, ()), key)
    for name, key in keys.items():
        if name not in table.column_names:
            raise ConfigError(f"from_frame: {key}: {unknown('column', name, table.column_names)}")
    found = _guesses(table, keys, settings)
    listed = {key: [one.name for one in found if one.key == key] for key in LISTS}
    separator = settings.get("values_separator") or next((g.separator for g in found if g.separator), "|")
    build(TableConfig, {**settings, **listed, "values_separator": separator}, "from_frame")
    head = ["Written by `from_frame`. The columns, with what was seen of them in the first rows:"]
    own = {key: item for key, item in settings.items() if key not in _COLUMNS}
    if "values_separator" in settings and not any(one.separator for one in found):
        own["values_separator"] = separator
    return toml_text(head, own, (settings["label"], ""), found)


def _guesses(table: pa.Table, keys: Mapping[str, str], settings: Mapping[str, Any]) -> list[Guess]:
    """Return for each column but the label what it is said to be, or else what it is guessed to be."""
    frame, unread = _readable(table.slice(0, ROWS))
    missing = settings.get("missing", ())
    separator = settings.get("values_separator", "|" if settings.get("multi") else "")
    open_ones = [name for name in frame.columns if keys.get(name, "label") == "label"]
    guessed = guesses(frame.select(open_ones), settings["label"], missing, separator)
    said = [
        Guess(n, key, unread.get(n) or str(facts_of(frame[n], missing)))
        for n, key in keys.items()
        if key != "label"
    ]
    found = {n: Guess(n, "ignore", why) for n, why in unread.items()} | {g.name: g for g in [*guessed, *said]}
    return [found[name] for name in table.column_names if name in found]


def _readable(table: pa.Table) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the columns whose values have a text, and why the others have none."""
    import polars as pl
    import pyarrow as pa

    columns, unread = [], {}
    for name in table.column_names:
        try:
            columns.append(pl.Series(name, pl.from_arrow(simple(table[name].combine_chunks()))))
        except pa.ArrowException as error:
            unread[name] = f"{table[name].type}: {error}"
    return pl.DataFrame(columns), unread


def _save(tables: Mapping[Path, pa.Table], toml: Path, text: str, overwrite: bool) -> None:
    """Write all files or none; StoreError where something else is there already, or nothing can be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = {path: path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}") for path in tables}
    try:
        toml.parent.mkdir(parents=True, exist_ok=True)
        for path, part in parts.items():
            pq.write_table(tables[path], part)
        if not overwrite:
            _check_free(
                {path: filecmp.cmp(path, part, False) for path, part in parts.items() if path.exists()}
            )
            _check_free({toml: toml.read_bytes() == text.encode()} if toml.exists() else {})
        for path, part in parts.items():
            os.replace(part, path)
        write_text(toml, text)
    except OSError as error:
        raise StoreError(
            f"{toml.parent}: cannot be written ({error.strerror or error}); choose another folder"
        ) from None
    except pa.ArrowException as error:
        raise DataError(f"the frame cannot be written as Parquet ({error}); drop the column") from None
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()


def _check_free(same: Mapping[Path, bool]) -> None:
    for path, as_before in same.items():
        if not as_before:
            raise StoreError(
                f"{path} is there already, with other content; give another name, or overwrite=True"
            )
