"""The columns of a data set while it is encoded: each keeps provisional codes on disk and learns their meaning.

A column goes through three phases. `add` takes the cells of a batch and appends provisional codes to a file of its
own. `learn` counts the codes in the rows that vocabularies are learnt from and gives each an id. `ids` returns the
final ids of a block of rows. Only distinct values are held in memory, and given up column by column as ids are given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from nasbench_rec.datasets._batches import Batch, refuse
from nasbench_rec.datasets._spec import Column, Encoding

from nasbench_rec._datafolder import disk
from nasbench_rec.data import Field

if TYPE_CHECKING:
    import polars as pl

RARE = "<rare or unseen>"
"""What a vocabulary shows for the id of rare and unseen values."""
MISSING = "<missing>"
NONE = "<no more>"
"""What a multi-valued vocabulary shows for id 0, which pads."""
_NULL = 2**32 - 1
_ROWS = 1 << 18
_MULTI_ROWS = 1 << 13
_HUGE = 2.0**62
"""Numbers beyond it, either way, share a bucket: it is a 64-bit number."""


class Dictionary:
    """Distinct texts numbered in the order of their coming, kept by Polars.

    Polars drops a mapping as soon as no series uses it: `_anchor` keeps it.
    """

    def __init__(self) -> None:
        import polars as pl

        self._type = pl.Categorical(pl.Categories.random())
        self._anchor = pl.Series([], dtype=self._type)

    def codes(self, cells: pl.Expr) -> pl.Expr:
        """Return the number of each text as uint32; a null is `_NULL`."""
        return cells.cast(self._type).to_physical().fill_null(_NULL)

    def texts(self, codes: np.ndarray) -> pl.Expr:
        """Return the texts of codes."""
        return _texts(codes, self._type)


def _texts(codes: np.ndarray, of: pl.DataType) -> pl.Expr:
    import polars as pl

    return pl.lit(pl.Series(codes.astype(np.uint32))).cat.to(of).cast(pl.String)


def named(column: str) -> pl.Expr:
    """Return the column of this very name: `pl.col` takes "*" for all columns."""
    import polars.selectors as cs

    return cs.by_name(column)


class Spool:
    """A file of numbers that grows by blocks and is then read by slices, by counted memory and not by pages."""

    def __init__(self, path: Path, dtype: type) -> None:
        self.path, self.dtype, self.size = path, np.dtype(dtype), 0
        with disk(path):
            self._file: IO[bytes] = path.open("xb+")

    def append(self, block: np.ndarray) -> None:
        """Write the next numbers."""
        with disk(self.path):
            self._file.write(np.ascontiguousarray(block, dtype=self.dtype).data)
        self.size += len(block)

    def rewind(self) -> None:
        """Complete what is being written, before anything is read."""
        with disk(self.path):
            self._file.flush()

    def __getitem__(self, part: slice) -> np.ndarray:
        """Return some of the numbers."""
        self._file.seek(part.start * self.dtype.itemsize)
        return np.fromfile(self._file, self.dtype, part.stop - part.start)

    def blocks(self, rows: int | None = None) -> Iterator[slice]:
        """Yield slices that cover all."""
        step = rows or _ROWS
        for start in range(0, self.size, step):
            yield slice(start, min(start + step, self.size))

    def close(self) -> None:
        """Close and remove the file, whatever is in it."""
        with suppress(OSError):  # what was not written yet may have no room
            self._file.close()
        self.path.unlink(missing_ok=True)


class Coder(ABC):
    """A column while it is encoded."""

    columns = 1
    """Id columns; more than one: a multi-valued field."""
    missing: int
    """Rows without a value."""
    values: int
    """Values that have an id, a missing cell among them."""
    rare: int
    """Values that were seen too seldom to have one."""

    def __init__(self, column: Column, encoding: Encoding, scratch: Path, number: int) -> None:
        self.column, self.encoding, self.name = column, encoding, column.name
        self.spool = Spool(scratch / f"{number}.codes", self._dtype)
        self.lookup = np.zeros(1, np.int32)
        self.missing = self.values = self.rare = 0

    _dtype: type = np.uint32

    def expression(self) -> pl.Expr | None:
        """Return what makes provisional codes of the cells, where one expression can: many run at once."""
        return None

    @abstractmethod
    def add(self, codes: pl.Series, batch: Batch) -> None:
        """Take what `expression` gave for a batch, or the cells; DataError where one is not of this kind."""

    @abstractmethod
    def learn(self, train: np.ndarray | None) -> pl.DataFrame:
        """Give ids; `train` is a mask of the rows to learn from, bool [N], None: all.

        Return the vocabulary: value, kind and count of each id.
        """

    @abstractmethod
    def ids(self, part: slice) -> np.ndarray:
        """Return the final ids of a block of rows, int32 [n, columns]."""

    def field(self) -> Field:
        """Return the field, once its ids are given."""
        padding = 0 if self.columns > 1 else None
        return Field(self.name, int(self.lookup.max()) + 1, self.columns, padding)

    def finish_reading(self) -> None:
        """Complete what is being written."""
        self.spool.rewind()

    def close(self) -> None:
        """Remove the scratch files."""
        self.spool.close()


class TextCoder(Coder):
    """A categorical column, or a numeric one whose buckets have names: one code per distinct text."""

    def __init__(self, column: Column, encoding: Encoding, scratch: Path, number: int) -> None:
        super().__init__(column, encoding, scratch, number)
        self._dictionary: Dictionary | None = Dictionary()

    def expression(self) -> pl.Expr:
        """Return the codes of the cells' texts."""
        assert self._dictionary is not None
        return self._dictionary.codes(self._text(named(self.name))).alias(self.name)

    def _text(self, cell: pl.Expr) -> pl.Expr:
        import polars as pl

        return cell.cast(pl.String)

    def add(self, codes: pl.Series, batch: Batch) -> None:
        """Append the codes."""
        self.spool.append(codes.to_numpy())

    def learn(self, train: np.ndarray | None) -> pl.DataFrame:
        """Count the codes and number the frequent ones."""
        assert self._dictionary is not None
        words = self._numbered(self._counts(train), self._dictionary)
        self._dictionary = None
        return words

    def _numbered(self, counts: np.ndarray, dictionary: Dictionary) -> pl.DataFrame:
        words, self.lookup = number(
            counts, dictionary, self.encoding.threshold(self.column.kind), self.encoding
        )
        self.values = len(words) - 1
        self.rare = int(np.count_nonzero(counts[:-1])) - int((words["kind"] == "value").sum())
        return words

    def _counts(self, train: np.ndarray | None) -> np.ndarray:
        """Return how often each code occurs in the rows to learn from, int64; the last number is for missing."""
        counts = np.zeros(1, np.int64)
        for part in self.spool.blocks():
            places = self.spool[part] + np.uint32(1)  # a missing cell wraps around to 0
            self.missing += len(places) - int(np.count_nonzero(places))
            # Codes that train does not have count, too: ids are looked up for all rows.
            size = int(places.max(initial=0)) + 1
            counts = _tallied(counts, places, size, None if train is None else train[part])
        return np.concatenate([counts[1:], counts[:1]])

    def ids(self, part: slice) -> np.ndarray:
        """Look the ids up."""
        return self.lookup[self.spool[part] + np.uint32(1)][:, None]


def _tallied(counts: np.ndarray, codes: np.ndarray, size: int, train: np.ndarray | None) -> np.ndarray:
    """Return the counts with those of more codes in the rows of train; memory is that of the distinct values."""
    if size > len(counts):
        counts = np.concatenate([counts, np.zeros(size - len(counts), np.int64)])
    np.add.at(counts, codes, 1 if train is None else train.astype(np.int64))
    return counts


def number(
    counts: np.ndarray, dictionary: Dictionary, least: int, encoding: Encoding
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the vocabulary of codes with `counts` (the last: of missing cells), and ids by code + 1, missing first.

    Id 0 is for rare and unseen values, the others follow by falling count, equal counts in the order of the text.
    """
    import polars as pl

    missing = len(counts) - 1
    kept = np.flatnonzero(counts[:-1] >= least).astype(np.uint32)
    frame = pl.select(pl.Series("code", kept), value=dictionary.texts(kept), count=pl.Series(counts[kept]))
    if encoding.missing == "value" and counts[-1] >= least:
        frame = frame.vstack(_row(frame, missing, MISSING, int(counts[-1])))
    # Stable, as a text may be that of a missing cell; twice, which takes half the time of two keys at once.
    frame = frame.sort("value", maintain_order=True).sort("count", descending=True, maintain_order=True)
    lookup = np.zeros(len(counts), np.int32)
    lookup[frame["code"].to_numpy()] = np.arange(1, len(frame) + 1, dtype=np.int32)
    frame = _row(frame, _NULL, RARE, int(counts.sum() - frame["count"].sum())).vstack(frame)
    kinds = pl.col("code").replace_strict({missing: "missing", _NULL: "rare"}, default="value")
    return frame.select("value", kinds.alias("kind"), "count"), np.roll(lookup, 1)


def _row(like: pl.DataFrame, code: int, value: str, count: int) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame({"code": [code], "value": [value], "count": [count]}, schema=like.schema)


class NumberCoder(TextCoder):
    """A numeric column in buckets by a formula: the bucket's number is the text."""

    def expression(self) -> pl.Expr:
        """Return the cells' texts, numbered for one batch alone: each text is converted once only."""
        import polars as pl

        return named(self.name).cast(pl.String).cast(pl.Categorical(pl.Categories.random()))

    def add(self, codes: pl.Series, batch: Batch) -> None:
        """Append the codes of the buckets; DataError where a cell is no finite number."""
        import polars as pl

        assert self._dictionary is not None
        places = codes.to_physical().fill_null(_NULL).to_numpy() + np.uint32(
            1
        )  # a missing cell wraps around to 0
        texts = _texts(np.arange(int(places.max(initial=0))), codes.dtype)
        found = pl.select(code=self._dictionary.codes(self._bucket(texts)), wrong=not_numbers(texts))
        if found["wrong"].any():
            check_numbers(batch, self.name)
        self.spool.append(np.append(np.uint32(_NULL), found["code"].to_numpy())[places])

    def _bucket(self, cell: pl.Expr) -> pl.Expr:
        """Return the bucket: above 2 floor(ln(v)^2), as in all published variants; they differ below."""
        import polars as pl

        number = numbers(cell)
        if self.encoding.zero == "missing":
            number = pl.when(number != 0).then(number)
        if self.encoding.numeric == "as-is":
            return number.cast(pl.String).str.strip_suffix(".0").replace("-0", "0")
        low = (number - 2).floor() if self.encoding.numeric == "log-squared" else number
        whole = pl.when(number > 2).then((number.log() ** 2).floor()).otherwise(low)
        return whole.clip(-_HUGE, _HUGE).cast(pl.Int64).cast(pl.String)


class QuantileCoder(TextCoder):
    """A numeric column in buckets of equal counts: the numbers are kept until the cuts are known."""

    _dtype = np.float64

    def expression(self) -> pl.Expr:
        """Return the numbers; NaN where missing."""
        import polars as pl

        number = numbers(named(self.name))
        if self.encoding.zero == "missing":
            number = pl.when(number != 0).then(number)
        return number.fill_null(float("nan")).alias(self.name)

    def add(self, codes: pl.Series, batch: Batch) -> None:
        """Append the numbers."""
        check_numbers(batch, self.name)
        super().add(codes, batch)

    def learn(self, train: np.ndarray | None) -> pl.DataFrame:
        """Cut at the quantiles of the rows to learn from; a bucket is [low, high)."""
        known = self._known(train)
        shares = np.arange(1, self.encoding.quantiles) / self.encoding.quantiles
        # "higher" cuts at values that occur, so that the label of a bucket says exactly what is in it.
        cuts = np.quantile(known, shares, method="higher", overwrite_input=True) if len(known) else known
        self._cuts = np.unique(cuts[cuts > known.min(initial=np.inf)])
        del known
        counts = np.zeros(len(self._cuts) + 2, np.int64)
        for part in self.spool.blocks():
            codes = self._codes(part)
            counts = _tallied(counts, codes, len(counts), None if train is None else train[part])
        return self._numbered(np.roll(counts, -1), self._labels())

    def _known(self, train: np.ndarray | None) -> np.ndarray:
        """Return the numbers of the rows to learn from; one copy of them is held."""
        known, size = np.empty(self.spool.size if train is None else np.count_nonzero(train)), 0
        for part in self.spool.blocks():
            values = self.spool[part]
            missing = np.isnan(values)
            self.missing += int(np.count_nonzero(missing))
            values = values[~missing if train is None else ~missing & train[part]]
            known[size : size + len(values)] = values
            size += len(values)
        return known[:size]

    def _labels(self) -> Dictionary:
        """Return the buckets' names, in the order of the buckets."""
        import polars as pl

        ends = ["-inf", *(repr(cut + 0.0).removesuffix(".0") for cut in self._cuts.tolist()), "inf"]
        names = [f"[{low}, {high})" for low, high in zip(ends, ends[1:], strict=False)]
        dictionary = Dictionary()
        pl.select(dictionary.codes(pl.lit(pl.Series(names))))
        return dictionary

    def _codes(self, part: slice) -> np.ndarray:
        """Return 1 + the bucket of each number, 0 where it is missing."""
        values = self.spool[part]
        return np.where(np.isnan(values), 0, np.searchsorted(self._cuts, values, side="right") + 1)

    def ids(self, part: slice) -> np.ndarray:
        """Look the ids up."""
        return self.lookup[self._codes(part)][:, None]


class MultiCoder(TextCoder):
    """A multi-valued column: all values one after the other, and how many each row has."""

    def __init__(self, column: Column, encoding: Encoding, scratch: Path, number: int) -> None:
        super().__init__(column, encoding, scratch, number)
        self._lengths = Spool(scratch / f"{number}.lengths", np.int32)
        self._starts = np.zeros(1, np.int64)

    def expression(self) -> None:  # type: ignore[override]
        """The values are more than the rows: `add` takes the cells."""

    def add(self, codes: pl.Series, batch: Batch) -> None:
        """Append the codes of all values and the length of each row; an empty value is none."""
        import polars as pl

        assert self._dictionary is not None
        lists = codes if codes.dtype.is_nested() else codes.cast(pl.String).str.split(self.column.separator)
        lists = lists.cast(pl.List(pl.String))
        rows = pl.DataFrame({"row": np.arange(len(lists)), "value": lists})
        flat = rows.explode("value").filter(pl.col("value") != "")
        self.spool.append(flat.select(self._dictionary.codes(pl.col("value"))).to_series().to_numpy())
        self._lengths.append(np.bincount(flat["row"].to_numpy(), minlength=len(lists)))

    def finish_reading(self) -> None:
        """Note where the values of each block of rows start."""
        super().finish_reading()
        self._lengths.rewind()
        sums = [int(self._lengths[part].sum()) for part in self._lengths.blocks(_MULTI_ROWS)]
        self._starts = np.concatenate([[0], np.cumsum(sums)]).astype(np.int64)
        longest = max((int(self._lengths[part].max()) for part in self._lengths.blocks()), default=0)
        # A field of several columns, though no row may have more than one value.
        self.columns = max(2, longest)

    def learn(self, train: np.ndarray | None) -> pl.DataFrame:
        """Count values; the ids of values start at 2."""
        import polars as pl

        words = super().learn(None if train is None else self._spread(train))
        self.lookup = self.lookup + 1
        self.missing = sum(int((self._lengths[part] == 0).sum()) for part in self._lengths.blocks())
        return pl.DataFrame({"value": [NONE], "kind": ["padding"], "count": [0]}, schema=words.schema).vstack(
            words
        )

    def _spread(self, rows: np.ndarray) -> np.ndarray:
        """Return a mask of values from a mask of rows."""
        parts = [np.repeat(rows[part], self._lengths[part]) for part in self._lengths.blocks()]
        return np.concatenate(parts)

    def ids(self, part: slice) -> np.ndarray:
        """Lay the ids out, padded by 0."""
        block = part.start // _MULTI_ROWS
        before = self._lengths[slice(block * _MULTI_ROWS, part.start)]
        lengths = self._lengths[part]
        start = int(self._starts[block]) + int(before.sum())
        flat = self.spool[slice(start, start + int(lengths.sum()))] + np.uint32(1)
        found = np.zeros((len(lengths), self.columns), np.int32)
        found[np.arange(self.columns) < lengths[:, None]] = self.lookup[flat]
        return found

    def close(self) -> None:
        """Remove the scratch files."""
        super().close()
        self._lengths.close()


def numbers(cell: pl.Expr) -> pl.Expr:
    """Return cells as floats, null where they are missing, NaN or not numbers."""
    import polars as pl

    return cell.cast(pl.Float64, strict=False).fill_nan(None)


def not_numbers(cell: pl.Expr) -> pl.Expr:
    """Return whether a cell is neither missing nor a finite number."""
    import polars as pl

    found = cell.cast(pl.String).cast(pl.Float64, strict=False)  # truth values and dates are no numbers
    return (found.is_null() & cell.is_not_null()) | found.is_infinite().fill_null(False)


def check_numbers(batch: Batch, name: str) -> None:
    """Refuse cells that are neither missing nor finite numbers."""
    wrong = batch.frame.select(not_numbers(named(name))).to_series()
    refuse(batch, wrong, name, "a finite number", "mend it, or call the column categorical")


def coder(column: Column, encoding: Encoding, scratch: Path, number: int) -> Coder:
    """Return the coder of a column."""
    kinds: dict[str, Any] = {"categorical": TextCoder, "multi": MultiCoder}
    numeric = QuantileCoder if encoding.numeric == "quantile" else NumberCoder
    return kinds.get(column.kind, numeric)(column, encoding, scratch, number)
