"""Columns: each kind of cell, each way of numbering, and the memory that Polars and numpy play tricks with."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from nasbench_rec.datasets import _columns
from nasbench_rec.datasets._batches import Batch
from nasbench_rec.datasets._columns import Coder, Dictionary, Spool, coder, number
from nasbench_rec.datasets._spec import Column, Encoding

from nasbench_rec.errors import DataError

Words = list[tuple[str, str, int]]


def encoded(
    folder: Path,
    parts: Sequence[Any],
    kind: str = "categorical",
    train: Sequence[bool] | None = None,
    **settings: Any,
) -> tuple[Words, list[list[int]], Coder]:
    """Return vocabulary and ids of the cells in `parts`, a batch each."""
    one = coder(Column("c", kind), Encoding(**settings), folder, 0)
    first = 1
    for cells in parts:
        frame = pl.DataFrame(
            {"c": cells if isinstance(cells, pl.Series) else pl.Series(cells, dtype=pl.String)}
        )
        batch = Batch(frame, "s", first)
        expression = one.expression()
        one.add(frame["c"] if expression is None else frame.select(expression)["c"], batch)
        first += len(frame)
        gc.collect()
    one.finish_reading()
    frame = one.learn(None if train is None else np.array(train))
    rows = first - 1
    ids = np.concatenate([one.ids(slice(n, min(n + 2, rows))) for n in range(0, rows, 2)])
    assert ids.dtype == np.int32
    assert one.field().cardinality == len(frame)
    one.close()
    assert list(folder.iterdir()) == []
    return list(frame.iter_rows()), ids.tolist(), one


RARE = "<rare or unseen>"


def test_texts_are_numbered_by_count_then_by_their_bytes(tmp_path: Path) -> None:
    cells = ["b", "a", "é", "z", "Z", "a", "\U0001f600", "z"]
    words, ids, _ = encoded(tmp_path, [cells[:3], cells[3:]])
    assert words == [
        (RARE, "rare", 0),
        ("a", "value", 2),
        ("z", "value", 2),
        ("Z", "value", 1),
        ("b", "value", 1),
        ("é", "value", 1),
        ("\U0001f600", "value", 1),
    ]
    assert ids == [[4], [1], [5], [2], [3], [1], [6], [2]]


def test_a_dictionary_outlives_the_series_that_filled_it() -> None:
    """Polars forgets a mapping that no series uses."""
    dictionary = Dictionary()
    for part in (["a", "b"], ["c", "a", None]):
        codes = pl.DataFrame({"c": part}).select(dictionary.codes(pl.col("c")))
        last = codes["c"].to_list()
        del codes
        gc.collect()
    assert last == [2, 0, 2**32 - 1]
    assert pl.select(dictionary.texts(np.arange(3))).to_series().to_list() == ["a", "b", "c"]


def test_dictionaries_are_independent() -> None:
    first, second = Dictionary(), Dictionary()
    assert pl.select(first.codes(pl.lit(pl.Series(["x", "y"])))).to_series().to_list() == [0, 1]
    assert pl.select(second.codes(pl.lit(pl.Series(["y", "x"])))).to_series().to_list() == [0, 1]
    assert pl.select(first.texts(np.array([1]))).to_series().to_list() == ["y"]


def test_values_that_train_has_not_are_unseen(tmp_path: Path) -> None:
    train = [True, True, False, False, False]
    words, ids, one = encoded(tmp_path, [["a", None, "b", "b", "a"]], train=train)
    assert words == [(RARE, "rare", 0), ("<missing>", "missing", 1), ("a", "value", 1)]
    assert ids == [[2], [1], [0], [0], [2]]
    assert (one.missing, one.values, one.rare) == (1, 2, 0)


def test_rare_values_and_missing_cells(tmp_path: Path) -> None:
    cells = ["a", "a", None, "b", None, "c"]
    words, ids, one = encoded(tmp_path, [cells], min_count=2)
    assert words == [(RARE, "rare", 2), ("<missing>", "missing", 2), ("a", "value", 2)]
    assert (one.missing, one.values, one.rare) == (2, 2, 2)
    words, ids, one = encoded(tmp_path, [cells], min_count=2, missing="rare")
    assert words == [(RARE, "rare", 4), ("a", "value", 2)]
    assert ids == [[1], [1], [0], [0], [0], [0]]
    assert (one.missing, one.values, one.rare) == (2, 1, 2)


def test_a_column_of_missing_cells_only(tmp_path: Path) -> None:
    words, ids, one = encoded(tmp_path, [[None, None], [None]])
    assert words == [(RARE, "rare", 0), ("<missing>", "missing", 3)]
    assert (ids, one.missing) == ([[1]] * 3, 3)


def test_a_text_like_that_of_a_missing_cell(tmp_path: Path) -> None:
    for cells in (["<missing>", None, "<rare or unseen>"], [None, "<missing>", "<rare or unseen>"]):
        words, _, _ = encoded(tmp_path, [cells])
        assert words == [
            (RARE, "rare", 0),
            ("<missing>", "value", 1),
            ("<missing>", "missing", 1),
            ("<rare or unseen>", "value", 1),
        ]


@pytest.mark.parametrize(
    "kind", [pl.Int64, pl.UInt8, pl.Float64, pl.Boolean, pl.Date, pl.Categorical, pl.Null]
)
def test_cells_of_other_types_become_text(kind: pl.DataType, tmp_path: Path) -> None:
    cells = pl.Series("c", [None] if kind == pl.Null else ["1"] if kind == pl.Categorical else [1]).cast(kind)
    words, ids, _ = encoded(tmp_path, [cells])
    assert ids == [[1]]
    assert len(words) == 2


# Numbers.


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (
            "log-squared",
            {"3": "1", "2": "0", "1": "-1", "0": "-2", "-1": "-3", "1.5": "-1", "-0.5": "-3", "100": "21"},
        ),
        (
            "log-squared-int",
            {"3": "1", "2": "2", "1": "1", "0": "0", "-1": "-1", "1.5": "1", "-0.5": "0", "5": "2"},
        ),
        (
            "as-is",
            {"3": "3", "1.50": "1.5", "-0.0": "0", "1e3": "1000", "+7": "7", ".5": "0.5", "1e300": "1e+300"},
        ),
    ],
)
def test_published_buckets(rule: str, expected: dict[str, str], tmp_path: Path) -> None:
    words, ids, _ = encoded(tmp_path, [list(expected)], "numeric", numeric=rule)
    assert {cell: words[i][0] for cell, (i,) in zip(expected, ids, strict=True)} == expected


@pytest.mark.parametrize("rule", ["log-squared", "log-squared-int"])
def test_huge_numbers(rule: str, tmp_path: Path) -> None:
    words, ids, _ = encoded(tmp_path, [["-1e300", "-5e18", "1e308", "-7"]], "numeric", numeric=rule)
    assert ids[0] == ids[1]
    assert {kind for _, kind, _ in words[1:]} == {"value"}
    assert words[ids[2][0]][0] == str(int(np.floor(np.log(1e308) ** 2)))


@pytest.mark.parametrize("rule", ["log-squared", "log-squared-int", "quantile", "as-is"])
@pytest.mark.parametrize("kind", [pl.Int32, pl.UInt64, pl.Float32, pl.Float64, pl.String, pl.Decimal(9, 2)])
def test_numbers_of_any_type_have_the_same_buckets(rule: str, kind: pl.DataType, tmp_path: Path) -> None:
    cells = pl.Series("c", [7, 0, None, 3, 2, 9, 0, 1, 12])
    expected = encoded(tmp_path, [cells], "numeric", numeric=rule, quantiles=3)[:2]
    assert encoded(tmp_path, [cells.cast(kind)], "numeric", numeric=rule, quantiles=3)[:2] == expected


@pytest.mark.parametrize("rule", ["log-squared", "quantile", "as-is"])
def test_zero_and_nan_may_be_missing(rule: str, tmp_path: Path) -> None:
    cells = ["0", "nan", None, "-0.0", "5"]
    words, ids, one = encoded(tmp_path, [cells], "numeric", numeric=rule, zero="missing")
    assert [kind for _, kind, _ in words] == ["rare", "missing", "value"]
    assert (ids, one.missing) == ([[1], [1], [1], [1], [2]], 4)
    _, ids, one = encoded(tmp_path, [cells], "numeric", numeric=rule)
    assert ids[0] == ids[3]
    assert one.missing == 2


@pytest.mark.parametrize("rule", ["log-squared", "quantile", "as-is"])
@pytest.mark.parametrize("cell", ["x", "", " 1", "inf", "-inf", "1e999", "1,5", "0x1", True])
def test_what_is_no_number(rule: str, cell: Any, tmp_path: Path) -> None:
    cells = [pl.Series([True])] if cell is True else [["1", None], ["2", cell, "inf"]]
    with pytest.raises(
        DataError, match=r"s, line [14], column 'c': found .*, expected a finite number; "
    ) as caught:
        encoded(tmp_path, cells, "numeric", numeric=rule)
    assert f"found {cell!r}" in str(caught.value)


@pytest.mark.parametrize("kind", [pl.Float32, pl.Float64])
@pytest.mark.parametrize("rule", ["log-squared", "quantile", "as-is"])
def test_infinity_in_a_column_of_numbers(rule: str, kind: pl.DataType, tmp_path: Path) -> None:
    cells = pl.Series([1.0, float("nan"), float("inf")], dtype=kind)
    with pytest.raises(DataError, match=r"s, line 3, column 'c': found inf, expected a finite number"):
        encoded(tmp_path, [cells], "numeric", numeric=rule)


def quantiles(
    folder: Path, values: Sequence[float | None], parts: int = 4, **settings: Any
) -> tuple[Words, list[int]]:
    cells = pl.Series("c", values, dtype=pl.Float64)
    words, ids, _ = encoded(folder, [cells], "numeric", numeric="quantile", quantiles=parts, **settings)
    return words, [i for (i,) in ids]


def test_quantiles_have_equal_counts(tmp_path: Path) -> None:
    values = np.random.default_rng(0).permutation(100).astype(float)
    words, ids = quantiles(tmp_path, values.tolist())
    assert [count for _, _, count in words] == [0, 25, 25, 25, 25]
    for value, i in zip(values, ids, strict=True):
        low, high = words[i][0].strip("[)").split(", ")
        assert float(low) <= value < float(high)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0] * 9, {"[-inf, inf)": 9}),
        ([5.0], {"[-inf, inf)": 1}),
        ([1.0, 2.0] * 8, {"[-inf, 2)": 8, "[2, inf)": 8}),
        ([0.0] * 90 + [1.0, 2.5], {"[-inf, inf)": 92}),
        ([0.0] * 2 + [1.0] * 8 + [2.0], {"[1, inf)": 9, "[-inf, 1)": 2}),
        ([0.1, 0.2, 0.3, 1e300], {"[-inf, 0.2)": 1, "[0.2, 0.3)": 1, "[0.3, 1e+300)": 1, "[1e+300, inf)": 1}),
        ([-0.0, 0.0, 1.0], {"[-inf, 1)": 2, "[1, inf)": 1}),
    ],
)
def test_quantiles_of_few_values(values: list[float], expected: dict[str, int], tmp_path: Path) -> None:
    words, _ = quantiles(tmp_path, values)
    assert {value: count for value, kind, count in words if kind == "value"} == expected


def test_quantiles_are_those_of_train(tmp_path: Path) -> None:
    values = [1.0, 2.0, 3.0, 4.0, -100.0, 100.0, None]
    words, ids = quantiles(tmp_path, values, 2, train=[True] * 4 + [False] * 3)
    assert words == [(RARE, "rare", 0), ("[-inf, 3)", "value", 2), ("[3, inf)", "value", 2)]
    assert ids == [1, 1, 2, 2, 1, 2, 0]


def test_quantiles_where_train_has_no_number(tmp_path: Path) -> None:
    words, ids = quantiles(tmp_path, [None, None, 7.0], train=[True, True, False])
    assert words == [(RARE, "rare", 0), ("<missing>", "missing", 2)]
    assert ids == [1, 1, 0]


# Several values.


@pytest.mark.parametrize("rows", [1, 2, 5, 8192])
def test_lists_keep_their_order_wherever_blocks_are_cut(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_columns, "_MULTI_ROWS", rows)
    monkeypatch.setattr(_columns, "_ROWS", 3)
    cells = ["a|b", None, "", "c|a|a", "b", None, "|a||", "a|b|c", None]
    words, ids, one = encoded(tmp_path, [cells[:4], cells[4:]], "multi")
    assert words == [
        ("<no more>", "padding", 0),
        (RARE, "rare", 0),
        ("a", "value", 5),
        ("b", "value", 3),
        ("c", "value", 2),
    ]
    lists = [[words[i][0] for i in row if i] for row in ids]
    assert lists == [[v for v in (cell or "").split("|") if v] for cell in cells]
    assert (one.columns, one.missing, one.values, one.rare) == (3, 4, 3, 0)
    assert one.field().padding == 0


def test_rare_and_unseen_values_of_lists(tmp_path: Path) -> None:
    train = [True, True, False, True]
    words, ids, one = encoded(tmp_path, [["a|b", "a", "c|a|b", None]], "multi", train=train, min_count=2)
    assert words == [("<no more>", "padding", 0), (RARE, "rare", 1), ("a", "value", 2)]
    assert ids == [[2, 1, 0], [2, 0, 0], [1, 2, 1], [0, 0, 0]]
    assert (one.values, one.rare) == (1, 1)


def test_at_most_one_value_each_is_a_field_of_several_still(tmp_path: Path) -> None:
    _, ids, one = encoded(tmp_path, [["a", None, "b"]], "multi")
    assert (one.columns, ids) == (2, [[2, 0], [0, 0], [3, 0]])


def test_no_values_at_all(tmp_path: Path) -> None:
    words, ids, one = encoded(tmp_path, [[None, ""], ["|"]], "multi")
    assert words == [("<no more>", "padding", 0), (RARE, "rare", 0)]
    assert (ids, one.missing) == ([[0, 0]] * 3, 3)


@pytest.mark.parametrize(
    "kind",
    [
        pl.List(pl.String),
        pl.List(pl.Int64),
        pl.List(pl.Float32),
        pl.Array(pl.Int8, 2),
        pl.List(pl.Categorical),
    ],
)
def test_lists_of_any_type(kind: pl.DataType, tmp_path: Path) -> None:
    lists = [[1, 2], None, [2, 1]] if kind == pl.Array(pl.Int8, 2) else [[1, 2], None, [2], [], [None, 1]]
    cells = pl.Series("c", lists).cast(pl.List(pl.String)).cast(kind)
    words, ids, _ = encoded(tmp_path, [cells], "multi")
    texts = [[words[i][0].removesuffix(".0") for i in row if i] for row in ids]
    assert texts == [[str(v) for v in row or [] if v is not None] for row in lists]


def test_lists_are_separated_as_the_column_says(tmp_path: Path) -> None:
    one = coder(Column("c", "multi", separator=" ,"), Encoding(), tmp_path, 0)
    frame = pl.DataFrame({"c": ["a ,b|c", "b|c"]})
    one.add(frame["c"], Batch(frame, "s"))
    one.finish_reading()
    assert [value for value, _, _ in one.learn(None).iter_rows()][2:] == ["b|c", "a"]
    one.close()


# Files of numbers.


@pytest.mark.parametrize("dtype", [np.uint32, np.float64])
def test_spool_gives_back_what_was_appended(
    dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "s", dtype)
    monkeypatch.setattr(_columns, "_ROWS", 7)
    whole = np.arange(50, dtype=dtype)
    for part in (slice(0, 20), slice(20, 20), slice(20, 50)):
        spool.append(whole[part])
    spool.append(whole[::2])
    spool.rewind()
    assert np.concatenate([spool[part] for part in spool.blocks()]).tolist() == [*whole, *whole[::2]]
    assert spool[slice(3, 9)].tolist() == whole[3:9].tolist()
    spool.close()
    spool.close()
    assert not (tmp_path / "s").exists()


def test_numbering_of_many_values() -> None:
    """The order does not depend on the order of coming, nor on how Polars sorts in parallel."""
    rng = np.random.default_rng(0)
    texts, counts = np.array([f"v{n}" for n in range(50_000)]), rng.integers(1, 5, 50_000)
    found = []
    for order in (np.arange(50_000), rng.permutation(50_000)):
        dictionary = Dictionary()
        pl.select(dictionary.codes(pl.lit(pl.Series(texts[order]))))
        words, lookup = number(np.append(counts[order], 3), dictionary, 2, Encoding())
        found.append(words)
        values = words["value"].to_numpy()
        assert (values[lookup[1:][counts[order] >= 2]] == texts[order][counts[order] >= 2]).all()
        assert (lookup[1:][counts[order] < 2] == 0).all()
    assert found[0].equals(found[1])
    kept = found[0][1:]
    assert kept.equals(kept.sort(["count", "value"], descending=[True, False]))


@pytest.mark.parametrize("kind", ["categorical", "numeric", "multi"])
@pytest.mark.parametrize("name", ["*", "", "a\nb", "label "])
def test_a_name_is_no_pattern(name: str, kind: str, tmp_path: Path) -> None:
    one = coder(Column(name, kind), Encoding(numeric="quantile"), tmp_path, 0)
    frame = pl.DataFrame({"ab": ["1", "2", "3"], name: ["1", "1", "2"], "a": ["4", "5", "6"]})
    expression = one.expression()
    one.add((frame if expression is None else frame.select(expression))[name], Batch(frame, "s"))
    one.finish_reading()
    assert one.learn(None)["count"].to_list()[-2:] == [2, 1]
    one.close()
