"""Splits: the same on every machine and in every version, near to the shares, and whole in what they keep together."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasbench_rec.datasets import _splits
from nasbench_rec.datasets._batches import Batch
from nasbench_rec.datasets._spec import SplitRule
from nasbench_rec.datasets._splits import assign, by_hash, hashed_text, keys_of, mixed, pair_keys

from nasbench_rec.errors import DataError

KNOWN = {
    "": 16294208416658607535,
    "a": 15154452856141135343,
    "ab": 15470777570142415188,
    "ba": 12332161999294682287,
    "é": 7046439531707493814,
    "\U0001f600": 1127758503164962791,
    "a longer text that is not kept inline": 12066374520482545823,
}


def reference(text: str) -> int:
    """A second implementation, in whole numbers of any size."""
    mask = 2**64 - 1
    total = sum((byte + 1) * pow(0x100000001B3, n + 1) for n, byte in enumerate(text.encode()))
    z = (total + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
    return z ^ z >> 31


def test_hashes_never_change() -> None:
    """Splits that were published hang on them."""
    assert dict(zip(KNOWN, hashed_text(pl.Series(list(KNOWN))).tolist(), strict=True)) == KNOWN


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=20)), max_size=30), st.integers(0, 30))
def test_hashes_are_those_of_the_cells_alone(cells: list[str | None], start: int) -> None:
    cells = [cell and cell.encode(errors="replace").decode() for cell in cells]
    whole = pl.Series(cells, dtype=pl.String)
    expected = [reference(cell or "") for cell in cells]
    assert hashed_text(whole).tolist() == expected
    assert hashed_text(whole[start:]).tolist() == expected[start:]
    in_pieces = pl.concat([whole[:start], whole[start:]], rechunk=False)
    assert hashed_text(in_pieces).tolist() == expected


def test_hash_of_nothing() -> None:
    assert hashed_text(pl.Series([], dtype=pl.String)).tolist() == []
    assert hashed_text(pl.Series(["", None])).tolist() == [KNOWN[""]] * 2


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (SplitRule(), "000011000100001002000000100000"),
        (SplitRule(seed=2023), "000001000100200000000000100000"),
        (SplitRule(shares=(0.5, 0.2, 0.3)), "211000201100120101020022112112"),
    ],
)
def test_random_split_never_changes(rule: SplitRule, expected: str) -> None:
    assert "".join(map(str, by_hash(np.arange(30, dtype=np.uint64), rule))) == expected


@pytest.mark.parametrize(
    "shares", [(8, 1, 1), (0.8, 0.1, 0.1), (1, 1, 1), (2.5, 1.25, 1.25), (90, 5, 5), (1e-1, 1, 1)]
)
@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_hashed_splits_have_their_shares(shares: tuple[float, float, float], seed: int) -> None:
    rows = 60_000
    which = assign(SplitRule("random", shares, seed), rows, None, "s")
    for split in range(3):
        share = shares[split] / sum(shares)
        assert np.mean(which == split) == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / rows))


def test_splits_of_other_seeds_are_independent() -> None:
    first, second = (assign(SplitRule(seed=seed), 50_000, None, "s") for seed in (0, 1))
    assert np.mean(first == second) == pytest.approx(0.66, abs=0.02)


def test_a_row_keeps_its_split_whatever_is_appended(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = assign(SplitRule(), 5000, None, "s")
    monkeypatch.setattr(_splits, "_BLOCK", 77)
    np.testing.assert_array_equal(assign(SplitRule(), 1000, None, "s"), whole[:1000])


def batch(**columns: pl.Series | list[object]) -> Batch:
    return Batch(pl.DataFrame(columns, strict=False), "s")


def test_groups_stay_together_whatever_their_type() -> None:
    rule = SplitRule("group", columns=("a", "b"))
    numbers = [1, 2, 3, 1, None, 12] * 50
    others = ["x", "", None, "x", "y", "3"] * 50
    found = keys_of(rule, batch(a=numbers, b=others))
    again = keys_of(rule, batch(a=pl.Series(numbers).cast(pl.String), b=others))
    assert found is not None and again is not None
    np.testing.assert_array_equal(found, again)
    assert all(len(set(found[n::6])) == 1 for n in range(6))
    assert (found[0::6] == found[3::6]).all()


def test_the_border_between_columns_matters() -> None:
    pairs = batch(a=[f"{n}" for n in range(99)] * 2, b=["1"] * 99 + ["11"] * 99)
    first, second = np.split(_splits._group_keys(pairs.frame, ("a", "b")), 2)
    joined = {int(n) for n in first} & {int(n) for n in second}
    assert not joined


def test_pairs_are_of_numbers_and_of_text() -> None:
    rule = SplitRule("pair", columns=("a", "b"))
    numbers = np.arange(500) * 7919
    by_number = keys_of(rule, batch(a=pl.Series(numbers), b=pl.Series(numbers[::-1].copy())))
    as_text = keys_of(rule, batch(a=[str(n) for n in numbers], b=[str(n) for n in numbers[::-1]]))
    np.testing.assert_array_equal(by_number, as_text)
    assert pair_keys(np.array([1]), np.array([2])).tolist() == [(1 << 32) + 2]


@pytest.mark.parametrize("cell", [None, "x", "-1", "1.5", str(2**32)])
def test_pair_of_what_is_no_whole_number(cell: str | None) -> None:
    with pytest.raises(DataError, match=r"s, line 2, column 'b': found .*, expected a whole number"):
        keys_of(SplitRule("pair", columns=("a", "b")), batch(a=["1", "2"], b=["1", cell]))


# Time.


def by_time(times: list[float], shares: tuple[float, float, float] = (8, 1, 1)) -> str:
    which = assign(SplitRule("time", shares, columns=("t",)), len(times), np.array(times, float), "s")
    return "".join(map(str, which))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "2100000000"),
        ([0] * 85 + list(range(1, 16)), "0" * 85 + "1" * 5 + "2" * 10),  # train is not cut at 80
        ([0] * 98 + [1, 2], "0" * 98 + "12"),
        ([0, 1] + [2] * 98, "01" + "2" * 98),
        ([0] * 70 + [1] * 15 + [2] * 15, "0" * 70 + "1" * 15 + "2" * 15),
        ([-np.inf] * 8 + [0, np.inf], "0000000012"),
        ([1e15, 1e15 + 1, 1e15 + 2], "012"),
    ],
)
def test_rows_of_one_time_are_in_one_split(times: list[float], expected: str) -> None:
    assert by_time(times) == expected


@pytest.mark.parametrize("times", [[1.0] * 9, [1.0, 2.0] * 9])
def test_too_few_times(times: list[float]) -> None:
    with pytest.raises(DataError, match=r"s, column 't': [12] distinct times in \d+ rows; .*choose"):
        by_time(times)


TEXTS = [
    ["2024-05-31 12:00:00", "2024-05-31 12:00:01"],
    ["2024-05-31T12:00:00", "2024-05-31T12:00:01"],
    ["2024-05-31", "2024-06-01"],
    ["2024-05-31T12:00:00Z", "2024-05-31T12:00:01Z"],
    ["2024-05-31T12:00:00+02:00", "2024-05-31T11:00:01+01:00"],
    ["1", "1.5"],
    ["14102100", "14102101"],
]


@pytest.mark.parametrize("cells", TEXTS)
def test_times_as_text(cells: list[str]) -> None:
    early, late = keys_of(SplitRule("time", columns=("t",)), batch(t=cells))  # type: ignore[misc]
    assert early < late


@pytest.mark.parametrize(
    "kind", [pl.Date, pl.Datetime("ms"), pl.Datetime("ns"), pl.Int64, pl.Float32, pl.UInt16, pl.Time]
)
def test_times_of_other_types(kind: pl.DataType) -> None:
    cells = pl.Series([3000, 1000, 2000]).cast(kind)
    found = keys_of(SplitRule("time", columns=("t",)), batch(t=cells))
    assert found is not None
    assert np.argsort(found).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (["1", "2", "x"], 3),
        (["1", None, "3"], 2),
        (["x", "y", "z"], 1),
        ([None, None, None], 1),
        (["2024-05-31", "soon", "2024-06-01"], 2),
        (["2024-05-31", "", "2024-06-01"], 2),
        (["1", "nan", "3"], 2),
    ],
)
def test_a_cell_that_is_no_time(cells: list[str | None], row: int) -> None:
    with pytest.raises(
        DataError, match=rf"s, line {row}, column 't': found .*, expected a number, or a date"
    ):
        keys_of(SplitRule("time", columns=("t",)), batch(t=pl.Series(cells, dtype=pl.String)))


@pytest.mark.parametrize("shares", [(8, 1, 1), (1, 2, 3.5)])
def test_split_in_order(shares: tuple[float, float, float]) -> None:
    which = assign(SplitRule("order", shares), 101, None, "s")
    assert which.dtype == np.uint8
    assert (np.diff(which.astype(int)) >= 0).all()
    sizes = np.bincount(which)
    np.testing.assert_allclose(sizes, np.array(shares) / sum(shares) * 101, atol=1)


def test_published_splits_are_taken_as_they_are() -> None:
    found = keys_of(SplitRule("published"), Batch(pl.DataFrame({"a": [1, 2]}), "s", split="test"))
    assert found is not None and found.tolist() == [2, 2]
    with pytest.raises(DataError, match="'published' leaves valid empty"):
        assign(SplitRule("published"), 3, np.array([0, 0, 2], np.uint8), "s")


def test_mixing_is_a_bijection_in_part() -> None:
    assert len(np.unique(mixed(np.arange(100_000, dtype=np.uint64), 3))) == 100_000
