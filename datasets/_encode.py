"""The encoder: batches of raw rows in, a data set's folder out, in memory that depends on distinct values only.

Three passes: the rows are read once and become provisional codes on disk; each column learns its vocabulary from the
rows of train; then ids are written block by block. Text is parsed once, by one thread, while another encodes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nasbench_rec.datasets._batches import Batch, ahead, refuse
from nasbench_rec.datasets._columns import Coder, coder
from nasbench_rec.datasets._files import AGAIN
from nasbench_rec.datasets._spec import Column, Encoding, Label, SplitRule
from nasbench_rec.datasets._splits import assign, keys_of

from nasbench_rec._datafolder import VOCABULARIES, VocabularyFile, disk
from nasbench_rec.config import content_key, plain
from nasbench_rec.data import SPLITS, DatasetWriter, OnProgress, silent
from nasbench_rec.errors import DataError

logger = logging.getLogger(__name__)

WRITE_ROWS = 1 << 13
"""Rows of ids written at a time: they stay in the processor's cache while column after column is filled."""
_SCRATCH = ".scratch"


@dataclass(frozen=True)
class Recipe:
    """What an encoding of a source consists of."""

    name: str
    columns: tuple[Column, ...]
    label: Label = Label()
    encoding: Encoding = Encoding()
    split: SplitRule = SplitRule()
    source: str = ""
    """How errors name the source as a whole."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The source's files and their SHA-256, for the manifest."""


@dataclass
class _Read:
    """What is known when all rows have been read once."""

    labels: np.ndarray
    keys: np.ndarray | None


def encode(recipe: Recipe, batches: Iterator[Batch], folder: Path, progress: OnProgress = silent) -> None:
    """Encode the batches into `folder`, which exists and is empty.

    DataError names file, line, column and value of what is wrong; then, or where anything else fails, the scratch
    files are removed and what else was written is of no use.
    """
    _check_names(recipe)
    scratch = folder / _SCRATCH
    with disk(scratch):
        scratch.mkdir()
    coders: list[Coder] = []
    try:
        coders += (coder(c, recipe.encoding, scratch, n) for n, c in enumerate(recipe.columns))
        read = _read(recipe, coders, batches)
        which = assign(recipe.split, len(read.labels), read.keys, recipe.source)
        _check_labels(recipe, read.labels, which)
        _learn(recipe, coders, which, folder, progress)
        _write(recipe, coders, read.labels, which, folder, progress)
    finally:
        for one in coders:
            one.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _check_names(recipe: Recipe) -> None:
    """Refuse names that Polars takes for patterns, even those of a single series."""
    for name in (recipe.label.column, *(c.name for c in recipe.columns), *recipe.split.columns):
        if name.startswith("^") and name.endswith("$"):
            raise DataError(
                f"{recipe.source}, column {name!r}: a name between ^ and $ is a pattern here; rename it"
            )


def _read(recipe: Recipe, coders: Sequence[Coder], batches: Iterator[Batch]) -> _Read:
    """Take all rows: labels, split keys and provisional codes."""
    labels, keys = [], []
    with closing(ahead(batches)) as coming:
        for batch in coming:
            with _convertible(batch):
                labels.append(read_labels(batch, recipe.label))
                if (key := keys_of(recipe.split, batch)) is not None:
                    keys.append(key)
                _add(coders, batch)
    if not labels:
        raise DataError(f"{recipe.source} has no rows; {AGAIN}")
    for one in coders:
        one.finish_reading()
    return _Read(np.concatenate(labels), np.concatenate(keys) if keys else None)


@contextmanager
def _convertible(batch: Batch) -> Iterator[None]:
    """Turn what Polars cannot convert at all into a DataError."""
    import polars as pl

    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{batch.where(0)} and below: {reason}; leave the column out, or write it as text"
        ) from error


def _add(coders: Sequence[Coder], batch: Batch) -> None:
    """Hand the cells of a batch to the columns; the expressions of all run at once."""
    for one in coders:
        kind = batch.frame.schema[one.name]
        if kind.is_nested() and one.column.kind != "multi":
            raise DataError(
                f"{batch.source}, column {one.name!r}: its cells hold several values ({kind}); call it multi-valued, "
                "or leave it out"
            )
    expressions = [e for one in coders if (e := one.expression()) is not None]
    found = batch.frame.select(expressions)
    for one in coders:
        one.add((found if one.name in found.columns else batch.frame)[one.name], batch)


def read_labels(batch: Batch, label: Label) -> np.ndarray:
    """Return the labels of a batch, uint8 [n]; DataError where one is not 0 or 1, or not a number."""
    import polars as pl

    # As text, too, a label may be 1.0: so writes who had numbers.
    values = batch.frame[label.column].cast(pl.Float64, strict=False)
    if label.positive is not None:
        refuse(batch, ~values.is_finite().fill_null(False), label.column, "a number")
        return (values >= label.positive).to_numpy().astype(np.uint8)
    refuse(batch, ~values.is_in([0.0, 1.0]).fill_null(False), label.column, "0 or 1")
    return values.to_numpy().astype(np.uint8)


def _check_labels(recipe: Recipe, labels: np.ndarray, which: np.ndarray) -> None:
    for number, name in enumerate(SPLITS):
        some = labels[which == number]
        if some.min() == some.max():
            raise DataError(
                f"{recipe.source}, column {recipe.label.column!r}: all {len(some):,} labels of {name} are "
                f"{some[0]}; a click model needs both: check the column, or choose another split"
            )


def _learn(
    recipe: Recipe, coders: Sequence[Coder], which: np.ndarray, folder: Path, progress: OnProgress
) -> None:
    """Give ids and write the vocabularies column by column, so that one at a time is in memory."""
    train = which == 0 if recipe.encoding.learn == "train" else None
    file = VocabularyFile(folder / VOCABULARIES)
    try:
        for done, one in enumerate(coders):
            words = one.learn(train)
            if one.missing == len(which):
                raise DataError(
                    f"{recipe.source}, column {one.name!r}: every cell is missing; leave the column out, or get "
                    "a file that has it"
                )
            file.append(one.name, words["value"], words["kind"], words["count"].to_numpy())
            progress("learning vocabularies", done + 1, len(coders))
        file.close()
    except BaseException:
        file.abandon()
        raise


def _write(
    recipe: Recipe,
    coders: Sequence[Coder],
    labels: np.ndarray,
    which: np.ndarray,
    folder: Path,
    progress: OnProgress,
) -> None:
    """Write rows and manifest."""
    rows = {name: int((which == number).sum()) for number, name in enumerate(SPLITS)}
    writer = DatasetWriter(folder, recipe.name, [one.field() for one in coders], rows)
    try:
        unseen = np.zeros((len(SPLITS), len(coders)), np.int64)
        with closing(ahead(_blocks(coders, len(labels)))) as blocks:
            for part, ids in blocks:
                _append(writer, part, ids, labels, which, unseen, coders)
                progress("writing", part.stop, len(labels))
        for one in coders:
            one.close()
        (folder / _SCRATCH).rmdir()
        writer.finish(origin=_origin(recipe, coders, labels, which, unseen))
    except BaseException:
        writer.abandon()
        raise


def _blocks(coders: Sequence[Coder], rows: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield blocks of rows with their ids, int32 [n, C]."""
    ends = np.cumsum([one.columns for one in coders])
    for start in range(0, rows, WRITE_ROWS):
        part = slice(start, min(start + WRITE_ROWS, rows))
        ids = np.empty((part.stop - part.start, int(ends[-1])), np.int32)
        for one, end in zip(coders, ends.tolist(), strict=True):
            ids[:, end - one.columns : end] = one.ids(part)
        yield part, ids


def _append(
    writer: DatasetWriter,
    part: slice,
    ids: np.ndarray,
    labels: np.ndarray,
    which: np.ndarray,
    unseen: np.ndarray,
    coders: Sequence[Coder],
) -> None:
    """Write a block's rows to their splits, and count the values that were rare or unseen."""
    lasts = np.cumsum([one.columns for one in coders])
    for number, name in enumerate(SPLITS):
        rows = np.flatnonzero(which[part] == number)
        own = ids[rows]
        writer.append(name, "ids", own)
        writer.append(name, "labels", labels[part][rows].astype(np.float32))
        rare = len(own) - np.count_nonzero(own, axis=0)[lasts - 1]  # id 0
        for place in (p for p, one in enumerate(coders) if one.columns > 1):  # there it is id 1
            rare[place] = (own[:, lasts[place] - coders[place].columns : lasts[place]] == 1).any(1).sum()
        unseen[number] += rare


def _origin(
    recipe: Recipe,
    coders: Sequence[Coder],
    labels: np.ndarray,
    which: np.ndarray,
    unseen: np.ndarray,
) -> dict[str, Any]:
    """Return what the manifest tells of source, encoding, splits and fields."""
    rows = np.bincount(which, minlength=len(SPLITS))
    fields = {
        one.name: {
            "kind": one.column.kind,
            "values": one.values,
            "rare_values": one.rare,
            "missing": one.missing / len(which),
            "unseen": {name: float(unseen[n, place] / rows[n]) for n, name in enumerate(SPLITS)},
        }
        for place, one in enumerate(coders)
    }
    notes = [note for name, about in fields.items() for note in _notes(recipe, name, about)]
    for note in notes:
        logger.warning("%s", note)
    return {
        "source": dict(recipe.files),
        "encoding": plain(recipe.encoding),
        "encoding_sha256": content_key([recipe.columns, recipe.encoding, recipe.label, recipe.split], 64),
        "label": plain(recipe.label),
        "split": plain(recipe.split),
        "rows": {name: int(rows[n]) for n, name in enumerate(SPLITS)},
        "positive": {name: float(labels[which == n].mean()) for n, name in enumerate(SPLITS)},
        "fields": fields,
        "notes": notes,
    }


def _notes(recipe: Recipe, name: str, about: Mapping[str, Any]) -> Iterable[str]:
    """Yield what the user should know of a field: that it tells nothing, or nothing known in test."""
    where = f"{recipe.source}, column {name!r}"
    unseen = about["unseen"]["test"]
    if recipe.encoding.missing == "rare" and about["kind"] != "multi":
        unseen -= about["missing"]  # they share an id
    if about["values"] < 2 and about["rare_values"] == 0 and about["missing"] == 0:
        yield f"{where}: a single value in train; the field tells nothing: leave it out"
    elif about["values"] == 0:
        yield f"{where}: every value is rarer than min_count; the field tells nothing: lower min_count"
    elif unseen > 0.5:
        yield (
            f"{where}: {unseen:.0%} of the test rows have a value that is rare or unseen in "
            "train; a split by group or time may explain it, otherwise leave the field out"
        )
