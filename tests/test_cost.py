"""The ledger: sums, formats, and the most that fits a budget."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nasbench_rec.cost import (
    CostItem,
    Ledger,
    cheapest,
    dense_item,
    flops_per_row,
    most_nonzeros,
    prefix_formats,
    sparse_formats,
)
from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.plans import ColumnMask, FieldDims

ITEMS = Ledger(
    (
        dense_item("values", 10, "a"),
        CostItem("index", 0, 7, "csr"),
        dense_item("values", 5, "b"),
        dense_item("values", 1, "a"),
        dense_item("alignment", 3),
    )
)


def test_sums_are_by_part() -> None:
    assert ITEMS.params() == 19 and ITEMS.bytes() == 4 * 19 + 7
    assert ITEMS.params(["values"]) == 16 and ITEMS.bytes(["index"]) == 7
    assert ITEMS.bytes([]) == 0
    assert ITEMS.conventions() == {"nonzeros": 16, "with_alignment": 19}


def test_merging_keeps_parts_and_notes() -> None:
    merged = ITEMS.merged()
    assert CostItem("values", 11, 44, "a") in merged.items and len(merged.items) == 4
    assert (merged.params(), merged.bytes()) == (ITEMS.params(), ITEMS.bytes())


def test_formats_by_hand() -> None:
    """100 rows of width 16 with 40 non-zeros."""
    assert sparse_formats(100, 16, 40) == {
        "dense": 1560 * 4,
        "csr-int32": 404 + 160,
        "coo-int32": 320,
        "bitmap": 404 + 200,
        "csr-uint8": 404 + 40,
        "coo-uint8": 200,
    }
    assert prefix_formats(100, 16, 40) == {"prefix-int32": 404, "prefix-uint8": 100 + 2 * 4}
    assert prefix_formats(100, 16, 48, one_width=True)["row-bitmap"] == 13 + 2 * 4
    assert prefix_formats(64, 2, 128) == {"prefix-int32": 260, "prefix-uint8": 64 + 4, "dense": 0}


def test_the_cheapest_is_the_first_by_name_where_equal() -> None:
    assert cheapest({"b": 3, "a": 3, "c": 5}) == ("a", 3)


def total(rows: int, width: int, kept: int) -> int:
    return 4 * kept + cheapest(sparse_formats(rows, width, kept))[1]


@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 500))
@settings(deadline=None, max_examples=200)
def test_most_nonzeros_is_what_trying_all_gives(rows: int, width: int, budget: int) -> None:
    fitting = [n for n in range(rows * width + 1) if total(rows, width, n) <= budget]
    assert most_nonzeros(rows, width, budget) == max(fitting, default=0)


def test_most_nonzeros_of_a_large_table_uses_the_budget() -> None:
    budget = 4 * 10**6 * 16 // 10
    kept = most_nonzeros(10**6, 16, budget)
    assert total(10**6, 16, kept) <= budget < total(10**6, 16, kept + 1)


def test_alignment_matrices_are_charged_only_where_there_are_some() -> None:
    fields = (Field("a", 10), Field("b", 20), Field("c", 5))
    plan, biased = FieldDims(dims=(4, 2, 0)), FieldDims(dims=(4, 2, 0), bias=True)
    for alignment, maps, biased_maps in (("linear", 8, 12), ("zero_pad", 0, 0), ("concat", 0, 0)):
        layout = Layout(fields, 4, alignment)
        for own, expected in ((plan, maps), (biased, biased_maps)):
            ledger = Ledger(tuple(own.cost(layout)))
            assert ledger.params(["values"]) == 10 * 4 + 20 * 2
            assert ledger.params(["alignment"]) == expected
            assert ledger.bytes() == 4 * ledger.params()


def test_column_bits_are_charged_by_the_byte() -> None:
    import numpy as np

    mask = np.zeros((3, 9), dtype=bool)
    mask[0, :2] = mask[1, 8] = True
    ledger = Ledger(
        tuple(ColumnMask(mask=mask).cost(Layout((Field("a", 10), Field("b", 7), Field("c", 5)), 9)))
    )
    assert ledger.params(["values"]) == 27 and ledger.bytes(["index"]) == 3 * 2


@pytest.mark.parametrize("batch", [1, 7])
def test_flops_count_multiply_and_add_per_row(batch: int) -> None:
    assert flops_per_row(nn.Linear(10, 3), torch.zeros(batch, 10)) == 2 * 10 * 3
