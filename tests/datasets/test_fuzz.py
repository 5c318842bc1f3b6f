"""Any table: what was written as text comes back from the encoded ids, by rules written down a second time here."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasbench_rec.datasets import _columns, _encode, _files, _splits
from nasbench_rec.datasets._encode import Recipe, encode
from nasbench_rec.datasets._files import SourceFile
from nasbench_rec.datasets._spec import Column, Encoding, SplitRule
from nasbench_rec.datasets._text import TextLayout, read_text

from nasbench_rec import _datafolder
from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import DataError

Cells = dict[str, list[str]]
MASK = 2**64 - 1
STEP = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Table:
    """Cells as they are written, and how they are to be encoded."""

    cells: Cells = field(repr=False)
    columns: tuple[Column, ...]
    layout: TextLayout
    encoding: Encoding
    rule: SplitRule
    """With `published`, the rows are cut into three files by the column "which"."""

    @property
    def rows(self) -> int:
        return len(self.cells["label"])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Keep hypothesis from printing hundreds of rows."""
        pools = {name: sorted(set(cells)) for name, cells in self.cells.items()}
        printer.text(f"{self.rows} rows of {pools}, {self!r}")


# What is generated.

odd = st.sampled_from("ab01*^$\",;\t|\n\r '`\\<é\u2028\U0001f600")
letters = st.one_of(odd, st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"))
texts = st.one_of(
    st.text(letters, max_size=6), st.sampled_from(["", "NA", "<missing>", "a\r\nb", "\x1f", '"', '""', " a "])
)
names = st.one_of(
    st.text(letters.filter(lambda c: c != "\r"), min_size=1, max_size=5),
    st.just("*"),
).filter(lambda name: name not in ("label", "time", "which") and not (name[0] == "^" and name[-1] == "$"))


def plain_number(text: str) -> bool:
    """Whether the logarithm decides the bucket without doubt."""
    value = float(text)
    return value <= 2 or abs(math.log(value) ** 2 - round(math.log(value) ** 2)) > 1e-9


numbers = st.one_of(
    st.integers(-9, 30).map(str),
    st.integers(-(10**12), 10**12).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["0", "-0.0", "2", "2.5", "3", "1e3", "-0.5", "1e300", "-1e300"]),
).filter(plain_number)
cells_of = {
    "categorical": texts,
    "numeric": st.one_of(numbers, numbers, st.sampled_from(["", "nan"])),
    "multi": st.lists(texts, max_size=4).map("|".join),
}


@st.composite
def pools(draw: st.DrawFn, kind: str, layout: TextLayout) -> list[str]:
    """The cells that a column has; one without any value is refused, and is seldom made."""
    few = draw(st.lists(cells_of[kind], min_size=1, max_size=12))
    return few + draw(st.sampled_from([["7"], ["7", *layout.missing], ["7", ""], []]))


@st.composite
def rules(draw: st.DrawFn, fields: Sequence[Column]) -> SplitRule:
    rule = draw(st.sampled_from(["random", "group", "time", "order", "published"]))
    shares = draw(st.sampled_from([(8, 1, 1), (3, 1, 2), (0.5, 0.25, 0.25), (1.5, 1, 0.7)]))
    group = draw(st.lists(st.sampled_from([f.name for f in fields]), min_size=1, max_size=2, unique=True))
    columns = {"group": tuple(group), "time": ("time",)}.get(rule, ())
    return SplitRule(rule, shares, draw(st.integers(0, 2**63)), columns)


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    return Encoding(
        min_count=draw(st.integers(1, 4)),
        numeric_min_count=draw(st.sampled_from([None, 1, 3])),
        numeric=draw(st.sampled_from(["log-squared", "log-squared-int", "quantile", "as-is"])),
        quantiles=draw(st.integers(2, 7)),
        zero=draw(st.sampled_from(["value", "missing"])),
        missing=draw(st.sampled_from(["value", "rare"])),
        learn=draw(st.sampled_from(["train", "all"])),
    )


@st.composite
def layouts(draw: st.DrawFn, fields: Sequence[str]) -> TextLayout:
    separator = draw(st.sampled_from([",", "\t", ";", "|", "::", "¦"]))
    return TextLayout(
        tuple(draw(st.permutations(["label", "time", "which", *fields]))),
        separator=separator,
        header=draw(st.booleans()),
        quotes=separator not in ("::", "¦") and draw(st.booleans()),  # what Python's writer can
        missing=draw(st.sampled_from([(), ("NA",)])),
    )


@st.composite
def tables(draw: st.DrawFn) -> Table:
    taken = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    layout = draw(layouts(taken))
    if not layout.quotes:
        fields = {name: f"{n}{unquoted(name, layout)}" for n, name in enumerate(taken)}
        taken = list(fields.values())
        layout = replace(layout, columns=tuple(fields.get(name, name) for name in layout.columns))
    columns = tuple(
        Column(name, draw(st.sampled_from(["categorical", "numeric", "multi"]))) for name in taken
    )
    rows, chance = draw(st.integers(30, 300)), random.Random(draw(st.integers(0, 2**32)))
    cells = {c.name: some(draw(pools(c.kind, layout)), rows, chance) for c in columns}
    cells["label"] = some(["0", "1"], rows, chance)
    cells["time"] = some(draw(st.lists(st.integers(0, 9).map(str), min_size=1, max_size=6)), rows, chance)
    cells["which"] = some(["0", "0", "1", "2"], rows, chance)
    if not layout.quotes:
        cells = {name: [unquoted(cell, layout) for cell in of] for name, of in cells.items()}
    return Table(cells, columns, layout, draw(encodings()), draw(rules(columns)))


def some(pool: Sequence[str], rows: int, chance: random.Random) -> list[str]:
    return chance.choices(pool, weights=[1 / (1 + n) for n in range(len(pool))], k=rows)


def unquoted(cell: str, layout: TextLayout) -> str:
    """What can be written without quotes."""
    return re.sub("[\r\n]", "", cell).replace(layout.separator[0], "")


# How it is written and read.


@dataclass(frozen=True)
class Style:
    """A way to write the same table."""

    quoting: int = csv.QUOTE_MINIMAL
    end: str = "\r\n"
    packing: str = ""
    block: int = 8 << 20


STYLES = [
    (Style(), Style(csv.QUOTE_ALL, "\n", ".gz", 61)),
    (Style(csv.QUOTE_ALL, "\n"), Style(csv.QUOTE_NONNUMERIC, "\r\n", ".bz2", 300)),
]


def written(path: Path, table: Table, rows: Sequence[int], style: Style) -> Path:
    out, layout = io.StringIO(newline=""), table.layout
    lines = [[table.cells[name][row] for name in layout.columns] for row in rows]
    if layout.header:
        lines.insert(0, list(layout.columns))
    if layout.quotes:
        csv.writer(
            out, delimiter=layout.separator, quoting=style.quoting, lineterminator=style.end
        ).writerows(lines)
    else:
        out.writelines(layout.separator.join(line) + style.end for line in lines)
    path = path.with_name(path.name + style.packing)
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}[style.packing]
    path.write_bytes(pack(out.getvalue().encode()))
    return path


def prepared(folder: Path, table: Table, style: Style) -> Dataset:
    """Write, read, encode and open, with blocks that cut everywhere."""
    target = folder / "out"
    target.mkdir(parents=True)
    if table.rule.rule == "published":
        parts = {
            name: [r for r in range(table.rows) if table.cells["which"][r] == str(n)]
            for n, name in enumerate(SPLITS)
        }
    else:
        parts = {"all": list(range(table.rows))}
    files = {name: written(folder / f"{name}.txt", table, rows, style) for name, rows in parts.items()}
    small = style.block < 1000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "BLOCK", style.block)
        if small:
            patch.setattr(_encode, "WRITE_ROWS", 7)
            patch.setattr(_columns, "_ROWS", 11)
            patch.setattr(_columns, "_MULTI_ROWS", 5)
            patch.setattr(_splits, "_BLOCK", 13)
            patch.setattr(_datafolder, "_WORDS", 3)
        batches = chain.from_iterable(
            read_text(SourceFile(path), table.layout, split=None if name == "all" else name)
            for name, path in files.items()
        )
        recipe = Recipe("made", table.columns, encoding=table.encoding, split=table.rule, source="made")
        encode(recipe, batches, target)
    data = Dataset.load(target)
    data.verify()
    return data


# The rules once more, in plain Python.


def mixed(z: int, seed: int) -> int:
    z = (z + STEP * (2 * seed + 1)) & MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def hashed(text: str) -> int:
    place, base = 0, 0x100000001B3
    for at, byte in enumerate(text.encode()):
        place += (byte + 1) * pow(base, at + 1, 2**64)
    return mixed(place & MASK, 0)


def by_share(key: int, rule: SplitRule) -> int:
    found, total = mixed(key, rule.seed), sum(rule.shares)
    if all(float(share).is_integer() for share in rule.shares):
        part = float(found % int(total))
    else:
        part = (found >> 11) / 2.0**53 * total
    return sum(part >= bound for bound in np.cumsum(rule.shares)[:2])


def by_place(rule: SplitRule, rows: int) -> list[int]:
    ends = np.cumsum(rule.shares)[:2] / sum(rule.shares)
    return [round(float(end * rows)) for end in ends]


def by_time(times: Sequence[float], rule: SplitRule) -> list[int]:
    """Of all pairs of times, the first that is nearest to the wanted cuts, the first cut coming first."""
    ordered = sorted(times)
    starts = [n for n in range(1, len(ordered)) if ordered[n] != ordered[n - 1]]
    first, second = by_place(rule, len(times))
    valid = min(starts[:-1], key=lambda n: abs(n - first), default=None)
    test = min(
        (n for n in starts if valid is not None and n > valid), key=lambda n: abs(n - second), default=None
    )
    if valid is None or test is None:
        return [0] * len(times)
    return [(t >= ordered[valid]) + (t >= ordered[test]) for t in times]


def splits_of(table: Table) -> list[int]:
    rule, rows = table.rule, range(table.rows)
    if rule.rule == "published":
        return [int(cell) for cell in table.cells["which"]]
    if rule.rule == "time":
        return by_time([float(cell) for cell in table.cells["time"]], rule)
    if rule.rule == "order":
        return [sum(row >= bound for bound in by_place(rule, table.rows)) for row in rows]
    if rule.rule == "random":
        return [by_share(row, rule) for row in rows]
    keys = [0] * table.rows
    for place, name in enumerate(rule.columns):
        cells = [seen(cell, table) or "" for cell in table.cells[name]]
        keys = [mixed(key ^ hashed(cell), place) for key, cell in zip(keys, cells, strict=True)]
    return [by_share(key, rule) for key in keys]


def seen(cell: str, table: Table) -> str | None:
    """What a cell is after reading."""
    return None if cell == "" or cell in table.layout.missing else re.sub("\r+\n", "\n", cell)


def number_of(cell: str | None, encoding: Encoding) -> float | None:
    if cell is None or math.isnan(float(cell)) or (encoding.zero == "missing" and float(cell) == 0):
        return None
    return float(cell) + 0.0


def bucket(value: float | None, encoding: Encoding) -> str | None:
    if value is None:
        return None
    if value > 2:
        return str(math.floor(math.log(value) ** 2))
    low = math.floor(value - 2) if encoding.numeric == "log-squared" else math.trunc(value)
    return str(max(low, -(2**62)))


def cuts_of(known: Sequence[float], parts: int) -> list[float]:
    ordered = sorted(known)
    found = (
        {ordered[math.ceil((len(ordered) - 1) * (n / parts))] for n in range(1, parts)} if ordered else set()
    )
    return sorted(cut for cut in found if cut > ordered[0])


def interval(value: float | None, cuts: Sequence[float]) -> str | None:
    if value is None:
        return None
    ends = ["-inf", *(repr(cut).removesuffix(".0") for cut in cuts), "inf"]
    below = sum(cut <= value for cut in cuts)
    return f"[{ends[below]}, {ends[below + 1]})"


def words_of(column: Column, table: Table, learnt: Sequence[bool], data: Dataset) -> list[list[str | None]]:
    """The values of each row, a missing cell being None (a list of several has no such)."""
    cells, encoding = [seen(cell, table) for cell in table.cells[column.name]], table.encoding
    if column.kind == "multi":
        return [[v for v in (cell or "").split(column.separator) if v] for cell in cells]
    if column.kind == "categorical":
        return [[cell] for cell in cells]
    values = [number_of(cell, encoding) for cell in cells]
    if encoding.numeric == "quantile":
        known = [v for v, one in zip(values, learnt, strict=True) if one and v is not None]
        cuts = cuts_of(known, encoding.quantiles)
        for low, high in pairwise([-math.inf, *cuts, math.inf]):
            assert low < high
        return [[interval(value, cuts)] for value in values]
    if encoding.numeric == "as-is":
        texts = {float(t): t for t, kind in vocabulary(data, column.name) if kind == "value"}
        return [[None if value is None else texts.get(value, repr(value))] for value in values]
    return [[bucket(value, encoding)] for value in values]


def vocabulary(data: Dataset, name: str) -> list[tuple[str, str]]:
    frame = data.vocabulary(name)
    assert frame["id"].tolist() == list(range(len(frame)))
    return list(zip(frame["value"], frame["kind"], strict=True))


def expected_words(
    column: Column, words: Sequence[Sequence[str | None]], learnt: Sequence[bool], encoding: Encoding
) -> tuple[list[tuple[str, str, int]], int]:
    """The vocabulary (value, kind, count), and how many values are too rare for it."""
    counts = Counter(word for row, one in zip(words, learnt, strict=True) if one for word in row)
    least = encoding.threshold(column.kind)
    kept = [
        ("<missing>", "missing", count) if word is None else (word, "value", count)
        for word, count in counts.items()
        if count >= least and (word is not None or encoding.missing == "value")
    ]
    kept.sort(key=lambda w: (-w[2], w[0].encode(), w[1] == "missing"))
    rare = ("<rare or unseen>", "rare", counts.total() - sum(count for _, _, count in kept))
    padding = [("<no more>", "padding", 0)] if column.kind == "multi" else []
    return [*padding, rare, *kept], sum(word is not None and count < least for word, count in counts.items())


def expected_ids(
    column: Column, words: Sequence[Sequence[str | None]], vocabulary: Sequence[tuple[str, str, int]]
) -> np.ndarray:
    known = {
        None if kind == "missing" else value: n
        for n, (value, kind, _) in enumerate(vocabulary)
        if kind in ("value", "missing")
    }
    multi = column.kind == "multi"
    width = max(2, *map(len, words)) if multi else 1
    ids = [[known.get(word, int(multi)) for word in row] for row in words]
    return np.array([row + [0] * (width - len(row)) for row in ids], dtype=np.int32)


def missing(cell: str, column: Column, table: Table) -> bool:
    """Whether a cell holds no value."""
    found = seen(cell, table)
    if column.kind == "numeric":
        return number_of(found, table.encoding) is None
    return found is None or (column.kind == "multi" and not found.strip(column.separator))


def wrong(table: Table, which: Sequence[int]) -> bool:
    """Whether the table cannot be a data set: a split without both labels, or a column without a value."""
    labels = {(split, label) for split, label in zip(which, table.cells["label"], strict=True)}
    return len(labels) < 6 or any(
        all(missing(cell, c, table) for cell in table.cells[c.name]) for c in table.columns
    )


def compare(data: Dataset, table: Table, which: Sequence[int]) -> None:
    learnt = [split == 0 or table.encoding.learn == "all" for split in which]
    order = [row for split in range(3) for row in range(table.rows) if which[row] == split]
    found = np.concatenate([data.split(name).ids for name in SPLITS])
    labels = np.concatenate([data.split(name).labels for name in SPLITS])
    assert [len(data.split(name)) for name in SPLITS] == [list(which).count(n) for n in range(3)]
    assert labels.tolist() == [float(table.cells["label"][row]) for row in order]
    start = 0
    for made, column in zip(data.fields, table.columns, strict=True):
        words = words_of(column, table, learnt, data)
        vocabulary, rare = expected_words(column, words, learnt, table.encoding)
        frame = data.vocabulary(column.name)
        assert list(frame[["value", "kind", "count"]].itertuples(index=False, name=None)) == vocabulary
        ids = expected_ids(column, words, vocabulary)
        assert (made.columns, made.cardinality) == (ids.shape[1], len(vocabulary))
        np.testing.assert_array_equal(found[:, start : start + made.columns], ids[order])
        start += made.columns
        about = data.origin["fields"][column.name]
        unseen = int(column.kind == "multi")
        assert about["rare_values"] == rare
        assert about["missing"] == sum(not row or row == [None] for row in words) / table.rows
        for n, name in enumerate(SPLITS):
            own = ids[[row for row in range(table.rows) if which[row] == n]]
            assert about["unseen"][name] == pytest.approx((own == unseen).any(1).mean())
    assert start == found.shape[1]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("fuzz")
    return (root / str(n) for n in range(10**9))  # type: ignore[return-value]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), styles=st.sampled_from(STYLES))
def test_encoded_rows_can_be_read_back(
    places: Iterator[Path], table: Table, styles: tuple[Style, Style]
) -> None:
    which = splits_of(table)
    if wrong(table, which):
        with pytest.raises(DataError) as caught:
            prepared(next(places), table, styles[0])
        assert "\n" not in str(caught.value)
        return
    first, second = (prepared(next(places), table, style) for style in styles)
    compare(first, table, which)
    assert first.fingerprint == second.fingerprint
    for column in table.columns:
        assert first.vocabulary(column.name).equals(second.vocabulary(column.name))
