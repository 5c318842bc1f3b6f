"""Composite tables against slow formulations: loops over ids, columns and ranks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from nasbench_rec.composites import (
    COMPOSITES,
    CompositeTable,
    HashTable,
    QuotientRemainderTable,
    TensorTrainTable,
    build_composite,
    composite_params,
    fit_composite,
)
from nasbench_rec.errors import PlanError
from nasbench_rec.optim import RowAdam, make_table_optimizer
from nasbench_rec.tables import Table

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("hash", {"buckets": 7}),
    ("qr", {"buckets": 7}),
    ("qr", {"buckets": 7, "combine": "mult"}),
    ("qr", {"buckets": 7, "combine": "add"}),
    ("qr", {"buckets": 7, "combine": "concat"}),
    ("tt", {"rank": 1}),
    ("tt", {"rank": 3}),
]
IDS = 53
WIDTH = 12


def make(kind: str, options: dict[str, Any]) -> CompositeTable:
    """Build it in double precision, away from its initial values."""
    torch.manual_seed(5)
    table = build_composite(kind, IDS, WIDTH, **options).double()
    for parameter in table.parameters():
        parameter.data.normal_()
    return table


def slow_row(table: CompositeTable, i: int) -> list[float]:
    if isinstance(table, HashTable):
        return table.table.weight[i % table.buckets].tolist()
    if isinstance(table, QuotientRemainderTable):
        quotient, remainder = divmod(i, table.buckets)
        r, q = table.remainder.weight[remainder].tolist(), table.quotient.weight[quotient].tolist()
        if table.combine == "concat":
            return r + q
        return [a * b if table.combine == "mult" else a + b for a, b in zip(r, q, strict=True)]
    assert isinstance(table, TensorTrainTable)
    return slow_train(table, i)


def slow_train(table: TensorTrainTable, i: int) -> list[float]:
    (p1, _, p3), (q1, q2, q3), (r1, r2) = table.rows, table.widths, table.ranks
    digits = (i // p3 % p1, i // p3 // p1, i % p3)
    g1, g2, g3 = (core.weight[n].tolist() for core, n in zip(table.cores, digits, strict=True))
    row = []
    for a, b, c in itertools.product(range(q1), range(q2), range(q3)):
        terms = (
            g1[a * r1 + s] * g2[(s * q2 + b) * r2 + t] * g3[t * q3 + c] for s in range(r1) for t in range(r2)
        )
        row.append(sum(terms))
    return row


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_forward_equals_slow(kind: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    table = make(kind, options)
    index = torch.cat([torch.arange(IDS), torch.randint(IDS, (7,))]).to(dtype).view(3, 4, 5)
    wanted = torch.tensor([slow_row(table, i) for i in index.flatten().tolist()]).double()
    torch.testing.assert_close(table(index).detach().view(-1, WIDTH), wanted, rtol=1e-6, atol=1e-6)
    assert table(index).shape == (3, 4, 5, WIDTH)
    assert table(index[0, 0, 0]).shape == (WIDTH,)


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_gradients(kind: str, options: dict[str, Any]) -> None:
    table = make(kind, options)
    index = torch.tensor([[0, 52, 7], [14, 7, 7]])
    weights = {name: parameter.detach().requires_grad_() for name, parameter in table.named_parameters()}

    def embed(*values: Tensor) -> Tensor:
        return functional_call(table, dict(zip(weights, values, strict=True)), (index,))

    assert torch.autograd.gradcheck(embed, tuple(weights.values()))


@pytest.mark.parametrize(("kind", "options"), OPTIONS)
def test_the_lazy_optimiser_moves_the_factors_as_the_dense_one(kind: str, options: dict[str, Any]) -> None:
    moved = []
    for optimizer_kind in ("row_adam", "dense_adam"):
        table = make(kind, options)
        tables = [m for m in table.modules() if isinstance(m, Table)]
        optimizer = make_table_optimizer(optimizer_kind, tables, lr=0.1)
        table(torch.tensor([3, 50, 3, 11])).square().sum().backward()
        optimizer.step()
        moved.append(table.state_dict())
    torch.testing.assert_close(moved[0], moved[1])


def test_the_lazy_optimiser_leaves_other_factor_rows_alone() -> None:
    table = make("qr", {"buckets": 7})
    assert isinstance(table, QuotientRemainderTable)
    before = {name: tensor.clone() for name, tensor in table.state_dict().items()}
    optimizer = RowAdam([table.remainder, table.quotient], lr=0.1)
    table(torch.tensor([9])).sum().backward()
    optimizer.step()
    for name, row in [("remainder.weight", 2), ("quotient.weight", 1)]:
        changed = (table.state_dict()[name] != before[name]).any(1)
        assert changed.nonzero().flatten().tolist() == [row]


@pytest.mark.parametrize("combine", ["mult", "add", "concat"])
@pytest.mark.parametrize("buckets", [1, 30, 37, 1000])
def test_qr_tells_all_ids_apart(combine: str, buckets: int) -> None:
    torch.manual_seed(0)
    table = build_composite("qr", 1000, 8, buckets=buckets, combine=combine)
    rows = table(torch.arange(1000)).detach()
    assert len(torch.unique(rows, dim=0)) == 1000


def test_qr_tells_ids_apart_where_float32_cannot() -> None:
    cardinality, buckets = 2**25 + 2**13, 2**13
    table = build_composite("qr", cardinality, 2, buckets=buckets)
    assert isinstance(table, QuotientRemainderTable)
    last = table(torch.tensor([2**25 - 1], dtype=torch.int32))
    wanted = table.remainder.weight[buckets - 1] * table.quotient.weight[2**12 - 1]
    torch.testing.assert_close(last[0], wanted, rtol=0, atol=0)


@pytest.mark.parametrize("std", [0.01, 0.3])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("hash", {"buckets": 1000}),
        ("qr", {"buckets": 200, "combine": "mult"}),
        ("qr", {"buckets": 200, "combine": "add"}),
        ("qr", {"buckets": 200, "combine": "concat"}),
        ("tt", {"rank": 8}),
        ("tt", {"rank": 60}),
    ],
)
def test_initial_values_have_the_standard_deviation(kind: str, options: dict[str, Any], std: float) -> None:
    torch.manual_seed(1)
    rows = build_composite(kind, 20_000, 16, std, **options)(torch.arange(20_000)).detach()
    assert abs(rows.std().item() / std - 1) < 0.1
    assert abs(rows.mean().item()) < 0.1 * std


def test_products_start_uncorrelated_within_a_bucket() -> None:
    torch.manual_seed(2)
    rows = build_composite("qr", 20_000, 16, buckets=200)(torch.arange(20_000)).detach()
    same_remainder = torch.corrcoef(
        rows.view(100, -1)
    )  # row q: all ids with the quotient q, in remainder order
    assert (same_remainder - torch.eye(100)).abs().mean() < 0.3


@pytest.mark.parametrize(
    ("cardinality", "width"), [(1, 1), (2, 6), (50, 7), (53, 12), (1000, 16), (4097, 64)]
)
@pytest.mark.parametrize("kind", COMPOSITES)
def test_params_equal_the_tensors(kind: str, cardinality: int, width: int) -> None:
    for size in (1, 2, 3, 9, 31, 50):
        for options in grid(kind, cardinality, width, size):
            table = build_composite(kind, cardinality, width, **options)
            assert composite_params(kind, cardinality, width, options) == sum(
                p.numel() for p in table.parameters()
            )


def grid(kind: str, cardinality: int, width: int, size: int) -> list[dict[str, Any]]:
    if kind == "tt":
        return [{"rank": size}] if size <= TensorTrainTable.sizes(cardinality, width)[-1] else []
    if size > cardinality:
        return []
    combines = ("mult", "add", "concat") if kind == "qr" else (None,)
    fixed = [{"combine": c} if c else {} for c in combines if c != "concat" or width % 2 == 0]
    return [{"buckets": size, **options} for options in fixed]


def test_closed_forms_by_hand() -> None:
    assert composite_params("hash", 1000, 16, {"buckets": 10}) == 160
    assert composite_params("qr", 1000, 16, {"buckets": 30}) == (30 + 34) * 16
    assert composite_params("qr", 1000, 16, {"buckets": 30, "combine": "concat"}) == (30 + 34) * 8
    assert composite_params("tt", 1000, 8, {"rank": 4}) == 10 * 2 * 4 + 4 * 10 * 2 * 4 + 4 * 10 * 2


@pytest.mark.parametrize("cardinality", [1, 2, 3, 5, 10, 53, 100, 120])
@pytest.mark.parametrize(
    ("kind", "fixed"), [("hash", {}), ("qr", {}), ("qr", {"combine": "concat"}), ("tt", {})]
)
def test_fit_is_the_largest_that_fits(kind: str, fixed: dict[str, str], cardinality: int) -> None:
    width, name = 6, COMPOSITES[kind].size
    largest = COMPOSITES[kind].sizes(cardinality, width)[-1]
    costs = [
        composite_params(kind, cardinality, width, {**fixed, name: size}) for size in range(1, largest + 1)
    ]
    for params in range(0, max(costs) + 20, 3):
        fitting = [cost for cost in costs if cost <= params]
        if not fitting:
            with pytest.raises(PlanError, match=f"at least {min(costs)} parameters, {params} are allowed"):
                fit_composite(kind, cardinality, width, params, **fixed)
            continue
        found = fit_composite(kind, cardinality, width, params, **fixed)
        assert composite_params(kind, cardinality, width, found) == max(fitting)
        assert set(found) == {name, *fixed}


@pytest.mark.parametrize("kind", COMPOSITES)
def test_fit_of_a_large_field(kind: str) -> None:
    params = 16 * 10**6 // 20
    options = fit_composite(kind, 10**6, 16, params)
    assert 0.9 * params < composite_params(kind, 10**6, 16, options) <= params


def test_qr_fit_prefers_many_remainders() -> None:
    assert fit_composite("qr", 1000, 1, 100) == {"buckets": 88}


@pytest.mark.parametrize(
    ("cardinality", "width"), [(1, 1), (7, 5), (27, 8), (28, 16), (10**6, 48), (999_983, 30)]
)
def test_train_covers_all_ids_with_little_waste(cardinality: int, width: int) -> None:
    table = build_composite("tt", cardinality, width, rank=1)
    assert isinstance(table, TensorTrainTable)
    p1, p2, p3 = table.rows
    q1, q2, q3 = table.widths
    assert q1 * q2 * q3 == width
    assert q2 <= q3 <= q1
    assert p1 >= p2 >= p3
    assert cardinality <= p1 * p2 * p3 <= max(1.1 * cardinality, cardinality + 8)
    assert table(torch.tensor([0, cardinality - 1])).shape == (2, width)


def test_full_rank_train_can_write_any_table() -> None:
    torch.manual_seed(0)
    table = build_composite("tt", 8, 4, rank=TensorTrainTable.sizes(8, 4)[-1]).double()
    wanted = torch.randn(8, 4, dtype=torch.double)
    for parameter in table.parameters():
        parameter.data.normal_(0, 0.5)
    optimizer = torch.optim.LBFGS(table.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = (table(torch.arange(8)) - wanted).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert loss().item() < 1e-4


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("hsh", {"buckets": 3}, "unknown composite 'hsh'; did you mean 'hash'"),
        ("hash", {}, "buckets = None: it must be an integer from 1 to 53"),
        ("hash", {"buckets": 0}, "buckets = 0: it must be"),
        ("hash", {"buckets": 54}, "buckets = 54: it must be an integer from 1 to 53"),
        ("hash", {"buckets": 2.5}, "buckets = 2.5: it must be"),
        ("qr", {"bucket": 3}, "'bucket'; did you mean 'buckets'"),
        ("qr", {"buckets": 3, "combine": "mul"}, "'mul'; did you mean 'mult'"),
        ("tt", {"rank": 0}, "rank = 0: it must be"),
    ],
)
def test_wrong_options_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        build_composite(kind, IDS, WIDTH, **options)
    with pytest.raises(PlanError, match=message):
        composite_params(kind, IDS, WIDTH, options)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(PlanError, match="7 must be even"):
        build_composite("qr", IDS, 7, buckets=3, combine="concat")
    with pytest.raises(PlanError, match="0 ids of width 4: both must be at least 1"):
        build_composite("hash", 0, 4, buckets=1)
