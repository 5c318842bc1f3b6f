"""A first version of the TOML that describes a user's table, from what its first rows look like.

What is guessed stands beside a comment that says what was seen; what cannot be known is left to the user in words.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.datasets._guess import (
    Guess,
    by_key,
    facts_of,
    guess_code,
    guesses,
    label_of,
    missing_texts,
)
from nasbench_rec.datasets._libsvm import BAG, LABEL, SparseLayout, SparseTable
from nasbench_rec.datasets._parquet import NoTextError, ParquetTable
from nasbench_rec.datasets._sniff import Sniffed, sniff
from nasbench_rec.datasets._table_config import slug
from nasbench_rec.datasets._table_files import (
    TableFile,
    TableReader,
    TextTable,
    find_files,
    format_of,
    some,
)
from nasbench_rec.datasets._text import TextLayout
from nasbench_rec.datasets._toml import comment, listing, pair, shown

from nasbench_rec.config import write_text
from nasbench_rec.errors import StoreError

if TYPE_CHECKING:
    import polars as pl

ROWS = 200_000
"""How many rows are looked at, unless said otherwise."""
_ADVICE = (
    "Read and mend it: each column stands in exactly one list, and what it is there for is a guess.",
    "categorical: a value is a category; numeric: numbers become buckets; multi: several values a cell.",
)
_MORE = (
    "Other settings, each with an example:",
    "min_count = 2         # values in fewer rows of train share one id",
    'buckets = "quantile"  # how numbers become buckets; or log-squared, as-is',
    "split_shares = [8, 1, 1]",
    "protocol = { epochs = 10, batch_size = 4096 }",
)
_BY_CHANCE = 'split = "random"      # or group, time, order, published'


@dataclass(frozen=True)
class Draft:
    """What was found out about a table."""

    rows: int
    whole: bool
    """Whether these are all rows."""
    label: tuple[str, str]
    """The column of labels, and a note."""
    found: Sequence[Guess]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The keys of the TOML that say how the files are built."""
    notes: tuple[str, ...] = ()

    def text(self, name: str, files: str, seen: str) -> str:
        """Return the TOML for a table of this name; `seen` is how the comment calls the files."""
        extent = "all" if self.whole else "the first"
        head = [
            f"What `nasbench-rec data describe` guessed from {extent} {self.rows:,} rows of {seen}.",
            *_ADVICE,
            *self.notes,
        ]
        times = [one.name for one in self.found if one.time]
        rule = ['split = "time"', pair("split_columns", times[:1])] if times else [_BY_CHANCE]
        settings = {"name": name, "files": files, **self.settings}
        more = [comment(line) for line in (_MORE[0], *rule, *_MORE[1:])]
        return toml_text(head, settings, self.label, self.found, more)


def describe(file: Path, rows: int = ROWS, folder: Path | None = None) -> str:
    """Return a TOML text for a file, a folder of files, or a member of an archive, from its first rows.

    `folder` is where the TOML will be: by default beside the file. DataError where the file cannot be read.
    """
    base, name = _base(Path(file))
    files = find_files(base, [name], "data describe", any_name=True)
    draft = _draft(files, rows)
    place = Path(os.path.relpath(base / name, folder or base)).as_posix()
    return draft.text(slug(_stem(files[0].source.name if (base / name).is_file() else name)), place, name)


def write_description(file: Path, out: Path | None = None, rows: int = ROWS, overwrite: bool = False) -> Path:
    """Write what `describe` returns to `out`, by default beside the file under its name, and return the path.

    StoreError where another content is there already and is not to be overwritten.
    """
    base, name = _base(Path(file))
    path = out or base / f"{_stem(name)}.toml"
    write_new(path, describe(file, rows, path.parent), overwrite)
    return path


def describe_frame(frame: pl.DataFrame, name: str, files: str, rows: int = ROWS) -> str:
    """Return a TOML text for a table whose rows are in a polars frame and, as Parquet, in `files`."""
    return _of_frame(frame.head(rows), len(frame) <= rows).text(slug(name), files, files)


def write_new(path: Path, text: str, overwrite: bool) -> None:
    """Write a text; StoreError where another one is there already and is not to be overwritten."""
    if not overwrite and path.exists() and path.read_bytes() != text.encode():
        raise StoreError(
            f"{path} is there already, with other content; give another name, or overwrite it (--force)"
        )
    write_text(path, text)


def toml_text(
    head: Sequence[str],
    settings: Mapping[str, Any],
    label: tuple[str, str],
    found: Sequence[Guess],
    tail: Iterable[str] = (),
) -> str:
    """Return the TOML of a table: comments, how the files are built, the label with a note, the columns."""
    lines = [*map(comment, head), "", *(pair(key, item) for key, item in settings.items()), ""]
    name, note = label
    lines += (
        [pair("label", name) + (f"  {comment(note)}" if note else "")]
        if name
        else [comment(note), pair("label", "")]
    )
    for key, columns in by_key(found).items():
        lines += listing(key, columns) if columns else []
    lines += sorted({pair("values_separator", one.separator) for one in found if one.separator})
    return "\n".join([*lines, "", *tail]).rstrip() + "\n"


def _base(file: Path) -> tuple[Path, str]:
    """Return the folder in which a file, or the archive that it is a member of, lies, and its name there."""
    base = file.parent
    while not base.is_dir() and base != base.parent:
        base = base.parent
    return base, file.relative_to(base).as_posix()


def _stem(name: str) -> str:
    return Path(name).name.partition(".")[0]


def _draft(files: Sequence[TableFile], rows: int) -> Draft:
    """Look at the first rows; DataError where they cannot be read."""
    if len({file.format for file in files}) > 1:
        format_of(files, "data describe")
    if files[0].format == "parquet":
        return _parquet(files, rows)
    found = sniff(files[0])
    return _sparse(files, found, rows) if found.format in ("libsvm", "libffm") else _text(files, found, rows)


def _first(reader: TableReader, wanted: Sequence[str], rows: int) -> tuple[pl.DataFrame, bool]:
    """Return the first rows, and whether these are all."""
    import polars as pl

    frames: list[pl.DataFrame] = []
    for batch in reader.batches(wanted):
        frames.append(batch.frame)
        if sum(map(len, frames)) > rows:
            break
    frame = pl.concat(frames, how="vertical_relaxed")
    return frame.head(rows), len(frame) <= rows


def _of_frame(
    frame: pl.DataFrame,
    whole: bool,
    settings: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
    unread: Sequence[Guess] = (),
) -> Draft:
    """Return what is guessed of a frame of the first rows."""
    missing = missing_texts(frame)
    seen = "; ".join(f"{shown(token)} in {some(names)}" for token, names in missing.items())
    notes += (f"missing: {seen}; take out what is a value like others.",) if missing else ()
    said = {**(settings or {}), **({"missing": list(missing)} if missing else {})}
    label = label_of([facts_of(column, list(missing)) for column in frame])
    return Draft(len(frame), whole, label, [*guesses(frame, label[0], list(missing)), *unread], said, notes)


def _text(files: Sequence[TableFile], found: Sniffed, rows: int) -> Draft:
    """Look at delimited text."""
    named = files[0].format
    kind = named if named in ("csv", "tsv") else found.format
    layout = TextLayout(
        () if found.header else tuple(f"c{n}" for n in range(1, found.width + 1)),
        found.separator,
        found.header,
        bool(found.quotes),
        found.encoding,
    )
    said = {
        "format": (kind, named),
        "separator": (found.separator, {"csv": ",", "tsv": "\t"}[kind]),
        "quotes": (kind == "csv" if found.quotes is None else found.quotes, kind == "csv"),
        "header": (found.header, True),
        "columns": (layout.columns, ()),
        "encoding": (found.encoding, "utf-8"),
    }
    settings = {key: value for key, (value, usual) in said.items() if value != usual}
    reader = TextTable(files, layout)
    frame, whole = _first(reader, reader.columns(), rows)
    return _of_frame(frame, whole, settings, found.notes)


def _parquet(files: Sequence[TableFile], rows: int) -> Draft:
    """Look at Parquet, column by column, as some may have no text."""
    import polars as pl

    reader, columns, unread, whole = ParquetTable(files), [], [], True
    for name in reader.columns():
        try:
            frame, whole = _first(reader, [name], rows)
            columns.append(frame)
        except NoTextError as error:
            unread.append(Guess(name, "ignore", error.why))
    return _of_frame(pl.concat(columns, how="horizontal"), whole, unread=unread)


def _sparse(files: Sequence[TableFile], found: Sniffed, rows: int) -> Draft:
    """Look at libsvm or libffm: how many entries a line has, or which field has several."""
    fields = found.format == "libffm"
    names = SparseTable(files, SparseLayout(True)).columns()[1:] if fields else (BAG,)
    reader = SparseTable(files, SparseLayout(fields, multi=tuple(names), signed=False))
    frame, whole = _first(reader, reader.columns(), rows)
    labels = set(frame[LABEL].unique())
    note = "" if labels <= {"0", "1", "-1", "+1"} else "not 0 or 1: say with `positive` what counts as 1"
    settings = {} if files[0].format == found.format else {"format": found.format}
    frame = _single(frame.drop(LABEL)) if fields else _by_place(frame.drop(LABEL))
    guessed = [guess_code(facts_of(column)) for column in frame]
    return Draft(len(frame), whole, (LABEL, note), guessed, settings, found.notes)


def _single(frame: pl.DataFrame) -> pl.DataFrame:
    """Return lists of at most one value as that value."""
    import polars as pl

    longest = frame.select(pl.all().list.len().max()).row(0)
    several = [name for name, most in zip(frame.columns, longest, strict=True) if most > 1]
    return frame.with_columns(pl.exclude(several).list.first())


def _by_place(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the one column of lists as a column per place, where all lists are of one length."""
    import polars as pl

    lengths = frame[BAG].list.len().unique()
    if len(lengths) != 1:
        return frame
    return frame.select(pl.col(BAG).list.get(n).alias(f"f{n + 1}") for n in range(lengths[0]))
