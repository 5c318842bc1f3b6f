"""The stacked table: distinct rows, gradients, pooling, copies."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nasbench_rec.data import Field
from nasbench_rec.tables import Table, distinct, pool, stacked_offsets


def rowwise(rows: int, width: int, seed: int = 0) -> Table:
    torch.manual_seed(seed)
    table = Table(rows, width, std=1.0)
    table.rowwise = True
    return table


@given(st.lists(st.integers(0, 30), max_size=60), st.sampled_from([torch.int32, torch.int64]))
@settings(deadline=None)
def test_distinct_is_unique_and_sums_like_a_loop(values: list[int], dtype: torch.dtype) -> None:
    index = torch.tensor(values, dtype=dtype)
    groups = distinct(index)
    assert torch.equal(groups.rows, torch.unique(index).long())
    assert torch.equal(groups.rows[groups.inverse], index.long())
    numbers = torch.arange(2.0 * len(values)).view(-1, 2)
    slow = [
        sum((numbers[i] for i, v in enumerate(values) if v == row), torch.zeros(2))
        for row in sorted(set(values))
    ]
    assert torch.equal(groups.sum(numbers), torch.stack(slow) if slow else torch.empty(0, 2))


@pytest.mark.parametrize("width", [1, 3, 16])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_gradients_are_those_of_dense_autograd(width: int, dtype: torch.dtype) -> None:
    table = rowwise(50, width)
    index = torch.randint(0, 20, (32, 5)).to(dtype)
    scale = torch.randn(32, 5, width)
    reference = table.weight.detach().clone().requires_grad_()
    ((table(index) * scale) ** 2).sum().backward()
    ((reference[index.long()] * scale) ** 2).sum().backward()
    (rows, leaf), gradient = table.pending[0], reference.grad
    assert leaf.grad is not None and gradient is not None and table.weight.grad is None
    torch.testing.assert_close(leaf.grad, gradient[rows], rtol=1e-6, atol=1e-5)
    assert gradient.index_fill(0, rows, 0.0).abs().sum() == 0


def test_lookups_are_plain_embeddings_in_values_and_shape() -> None:
    table = rowwise(50, 4)
    for shape in [(7,), (7, 3), (2, 3, 4), (0, 3)]:
        index = torch.randint(0, 50, shape)
        assert torch.equal(table(index), table.weight[index])
        assert table(index).shape == (*shape, 4)


def test_nothing_is_pending_in_dense_mode_or_without_grad() -> None:
    table, index = rowwise(50, 4), torch.randint(0, 50, (9, 2))
    with torch.no_grad():
        table(index)
    table.eval()
    with torch.inference_mode():
        table(index)
    table.rowwise = False
    table(index).sum().backward()
    assert table.pending == [] and table.weight.grad is not None


def test_frozen_table_passes_no_gradient() -> None:
    table = rowwise(50, 4)
    table.weight.requires_grad_(False)
    assert not table(torch.randint(0, 50, (9, 2))).requires_grad and table.pending == []


def test_pending_stays_out_of_state_and_copies() -> None:
    table, index = rowwise(50, 4), torch.randint(0, 50, (9, 2))
    table(index).sum().backward()
    assert set(table.state_dict()) == {"weight"}
    twin = copy.deepcopy(table)
    assert twin.pending == [] and twin.rowwise and len(table.pending) == 1
    assert torch.equal(twin(index), table(index)) and len(twin.pending) == 1
    other = rowwise(50, 4, seed=1)
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.weight, table.weight)


def test_tables_of_one_step_do_not_mix_up_their_groups() -> None:
    """The grouping kept from the last lookup must not leak to other indices, of equal length or refilled."""
    one, two = rowwise(50, 4), rowwise(50, 1, seed=1)
    index = torch.randint(0, 50, (9, 2))
    for _ in range(3):
        for table in (one, two):
            assert torch.equal(table(index), table.weight[index])
            assert torch.equal(table(index.int()), table.weight[index])
        index.random_(50)


def test_rows_outside_the_table_are_an_error() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        rowwise(50, 4)(torch.tensor([3, 50]))


FIELDS = (
    Field("a", 10),
    Field("tags", 6, columns=3, padding=0),
    Field("b", 4),
    Field("both", 5, columns=2),
)


def test_stacked_offsets_repeat_for_the_columns_of_a_field() -> None:
    offsets = stacked_offsets(FIELDS)
    assert offsets.tolist() == [0, 10, 10, 10, 16, 20, 20] and offsets.dtype == torch.int64


def slow_pool(e: Tensor, ids: Tensor) -> Tensor:
    out = torch.zeros(len(e), len(FIELDS), e.shape[2])
    for b in range(len(e)):
        start = 0
        for f, field in enumerate(FIELDS):
            columns = range(start, start + field.columns)
            kept = [e[b, c] for c in columns if field.padding is None or ids[b, c] != field.padding]
            out[b, f] = torch.stack(kept).mean(0) if kept else 0.0
            start += field.columns
    return out


def test_pool_against_a_slow_loop() -> None:
    torch.manual_seed(0)
    ids = torch.stack([torch.randint(0, f.cardinality, (64,)) for f in FIELDS for _ in range(f.columns)], 1)
    ids[0, 1:4] = 0
    e = torch.randn(64, 7, 5)
    torch.testing.assert_close(pool(e, ids, FIELDS), slow_pool(e, ids))


def test_pool_of_single_columns_is_the_identity() -> None:
    e = torch.randn(3, 2, 5)
    fields = (Field("a", 10), Field("b", 4))
    assert pool(e, torch.zeros(3, 2, dtype=torch.int64), fields) is e
