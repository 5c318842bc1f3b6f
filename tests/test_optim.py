"""Row-wise Adam against torch's Adam, and what it must leave alone."""

from __future__ import annotations

import copy
from typing import Literal

import pytest
import torch
from torch import Tensor

from nasbench_rec.optim import AdamTables, RowAdam, make_table_optimizer
from nasbench_rec.tables import Table

Kind = Literal["row_adam", "dense_adam"]
ROWS, STEPS = 12, 60


def table_of(width: int, rows: int = ROWS, seed: int = 0) -> Table:
    torch.manual_seed(seed)
    return Table(rows, width, std=0.5)


def batch_of_all_rows(step: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    index = torch.cat([torch.arange(ROWS), torch.randint(0, ROWS, (20,), generator=generator)])
    return index[torch.randperm(32, generator=generator)], torch.randn(32, width, generator=generator)


def loss_of(e: Tensor, target: Tensor) -> Tensor:
    return ((e - target) ** 2).sum(1).sigmoid().sum()


def advance(optimizer: RowAdam | AdamTables, loss: Tensor) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("l2", [0.0, 0.03])
@pytest.mark.parametrize("width", [1, 5, 16])
@pytest.mark.parametrize("kind", ["row_adam", "dense_adam"])
def test_rows_that_are_always_present_move_as_under_torch_adam(kind: Kind, width: int, l2: float) -> None:
    table = table_of(width)
    weight = table.weight.detach().clone().requires_grad_()
    reference = torch.optim.Adam([weight], lr=0.01, weight_decay=l2)
    ours = make_table_optimizer(kind, [table], lr=0.01, l2=l2)
    for step in range(STEPS):
        index, target = batch_of_all_rows(step, width)
        advance(ours, loss_of(table(index), target))
        reference.zero_grad()
        loss_of(weight[index], target).backward()
        reference.step()
    torch.testing.assert_close(table.weight, weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("l2", [0.0, 0.03])
def test_absent_rows_keep_weights_and_moments_bit_for_bit(l2: float) -> None:
    table = table_of(4)
    optimizer = RowAdam([table], lr=0.01, l2=l2)
    index, target = batch_of_all_rows(0, 4)
    advance(optimizer, loss_of(table(index), target))
    before = [t.detach().clone() for t in (table.weight, optimizer.exp_avg[0], optimizer.exp_avg_sq[0])]
    present = index < 5
    for _ in range(3):
        advance(optimizer, loss_of(table(index[present]), target[present]))
    for old, new in zip(before, (table.weight, optimizer.exp_avg[0], optimizer.exp_avg_sq[0]), strict=True):
        assert torch.equal(old[5:], new[5:])
        assert bool((old[:5] != new[:5]).any(1).all())


def test_bias_correction_counts_the_steps_of_the_optimiser() -> None:
    """A first gradient in step t moves by lr * (1-b1)/(1-b1^t) / sqrt((1-b2)/(1-b2^t)), as SparseAdam."""
    table = table_of(3)
    start = table.weight.detach().clone()
    optimizer = RowAdam([table], lr=0.01)
    for row in (0, 1, 2):
        advance(optimizer, table(torch.tensor([row])).sum())
    for row, count in ((0, 1), (1, 2), (2, 3)):
        move = 0.01 * (0.1 / (1 - 0.9**count)) / ((0.001 / (1 - 0.999**count)) ** 0.5)
        torch.testing.assert_close(start[row] - table.weight[row], torch.full((3,), move), rtol=1e-4, atol=0)


@pytest.mark.parametrize("width", [1, 4])
def test_two_lookups_accumulate(width: int) -> None:
    one, two = table_of(width), table_of(width)
    first, second = RowAdam([one], lr=0.01, l2=0.1), RowAdam([two], lr=0.01, l2=0.1)
    for step in range(20):
        index, target = batch_of_all_rows(step, width)
        index = index % 7
        advance(first, loss_of(one(index), target))
        parts = [loss_of(two(index[part]), target[part]) for part in (slice(10), slice(10, None))]
        advance(second, parts[0] + parts[1])
    torch.testing.assert_close(one.weight, two.weight, rtol=1e-5, atol=1e-6)


def test_lookups_without_gradient_are_skipped() -> None:
    table = table_of(4)
    start = table.weight.detach().clone()
    optimizer = RowAdam([table], lr=0.01)
    table(torch.tensor([1, 2]))
    optimizer.step()
    assert torch.equal(table.weight, start)
    table(torch.tensor([3])).sum().backward()
    optimizer.step()
    moved = (table.weight != start).any(1).nonzero().squeeze(1)
    assert moved.tolist() == [3]


def test_zero_grad_forgets_lookups() -> None:
    table = table_of(4)
    start = table.weight.detach().clone()
    optimizer = RowAdam([table], lr=0.01)
    table(torch.tensor([1, 2])).sum().backward()
    optimizer.zero_grad()
    optimizer.step()
    assert table.pending == [] and torch.equal(table.weight, start)


def test_learning_rate_is_read_at_every_step() -> None:
    for kind in (RowAdam, AdamTables):
        table = table_of(4)
        optimizer = kind([table], lr=0.01)
        optimizer.lr *= 0.0
        start = table.weight.detach().clone()
        advance(optimizer, table(torch.arange(ROWS)).sum())
        assert optimizer.lr == 0.0 and torch.equal(table.weight, start)


@pytest.mark.parametrize("kind", ["row_adam", "dense_adam"])
def test_a_saved_state_continues_exactly(kind: Kind) -> None:
    def run(table: Table, optimizer: RowAdam | AdamTables, steps: range) -> None:
        for step in steps:
            index, target = batch_of_all_rows(step, 4)
            advance(optimizer, loss_of(table(index[:9]), target[:9]))

    table = table_of(4)
    optimizer = make_table_optimizer(kind, [table], lr=0.01)
    run(table, optimizer, range(5))
    weights, state = copy.deepcopy(table.state_dict()), copy.deepcopy(optimizer.state_dict())
    run(table, optimizer, range(5, 9))
    other = table_of(4, seed=1)
    resumed = make_table_optimizer(kind, [other], lr=0.5)
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    run(other, resumed, range(5, 9))
    assert resumed.lr == 0.01 and torch.equal(other.weight, table.weight)


def test_the_last_optimiser_made_decides_the_mode() -> None:
    table = table_of(4)
    RowAdam([table], lr=0.01)
    table(torch.arange(3)).sum().backward()
    AdamTables([table], lr=0.01)
    assert not table.rowwise and table.pending == []
    table(torch.arange(3)).sum().backward()
    assert table.weight.grad is not None
    RowAdam([table], lr=0.01)
    assert table.rowwise and table.weight.grad is None


@pytest.mark.parametrize("kind", ["row_adam", "dense_adam"])
def test_no_tables_is_no_error(kind: Kind) -> None:
    optimizer = make_table_optimizer(kind, [], lr=0.01)
    optimizer.zero_grad()
    optimizer.step()


@pytest.mark.parametrize("width", [1, 16])
def test_same_seed_gives_the_same_bits(width: int) -> None:
    def run() -> Tensor:
        table = table_of(width, rows=20_000)
        optimizer = RowAdam([table], lr=0.01)
        for step in range(5):
            generator = torch.Generator().manual_seed(step)
            index = (torch.rand(4000, 10, generator=generator) ** 4 * 20_000).long()
            advance(optimizer, (table(index) ** 2 + table(index)).sin().sum())
        return table.weight.detach()

    assert torch.equal(run(), run())
