"""hash, qr and ttrec: budgets, small fields, and what shares a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from nasbench_rec.composites import build_composite
from nasbench_rec.data import Dataset
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import Composite, FieldDims
from nasbench_rec.registry import resolve_method
from nasbench_rec.searcher import Budget, PlanBudget, SearchState, SearchTask
from nasbench_rec.testing import tiny_protocol

METHODS = ("hash", "qr", "qr/add", "qr/concat", "ttrec")
CARDS = [5, 150, 3000, 40_000]


def derive(data: Dataset, method: str, ratio: float | None, **settings: Any) -> tuple[Any, SearchTask]:
    searcher = resolve_method(method, settings).searcher()
    protocol = tiny_protocol(dim=16)
    task = SearchTask(data, "dnn", protocol, searcher.info, (0, 0), Budget(2), lambda plan: {})
    return searcher.derive(task, SearchState(), PlanBudget(ratio)), task


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ratio", [0.5, 0.2, 0.1, 0.05])
def test_budgets_are_used(made_of: Callable[..., Dataset], method: str, ratio: float) -> None:
    plan, task = derive(made_of(CARDS), method, ratio)
    used = task.cost(plan).bytes() / (sum(CARDS) * 16 * 4)
    # Ranks of a tensor train are few; buckets are many.
    assert ratio * (0.9 if method == "ttrec" else 0.995) < used <= ratio
    assert plan.kinds[:2] == ("full", "full") and "full" not in plan.kinds[2:]


@pytest.mark.parametrize("method", ["hash", "qr"])
def test_large_fields_have_the_same_share(made_of: Callable[..., Dataset], method: str) -> None:
    plan, task = derive(made_of(CARDS), method, 0.25)
    shares = plan.widths(task.layout)[2:] / 16
    assert shares[0] == pytest.approx(shares[1], rel=0.01)


def test_small_fields_share_too_where_their_tables_do_not_fit(made_of: Callable[..., Dataset]) -> None:
    plan, _ = derive(made_of([150, 150, 180]), "hash", 0.5)
    assert plan.kinds == ("hash",) * 3
    whole, _ = derive(made_of([150, 150, 180, 10_000]), "hash", 0.5)
    assert whole.kinds == ("full", "full", "full", "hash")
    none, _ = derive(made_of([150, 150, 180, 10_000]), "hash", 0.5, full_below=1)
    assert none.kinds == ("hash",) * 4


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_the_uniform_plan_and_nothing_is_an_error(
    made_of: Callable[..., Dataset], method: str
) -> None:
    plan, _ = derive(made_of(CARDS), method, 1.0)
    assert isinstance(plan, FieldDims) and plan.dims == (16,) * 4
    with pytest.raises(PlanError, match="larger plan budget"):
        derive(made_of(CARDS), method, 1e-6)
    half, _ = derive(made_of(CARDS), method, None)
    assert isinstance(half, Composite)


@pytest.mark.parametrize(("method", "distinct"), [("hash", False), ("qr", True), ("ttrec", True)])
def test_which_values_share_their_embedding(
    made_of: Callable[..., Dataset], method: str, distinct: bool
) -> None:
    plan, task = derive(made_of([2000]), method, 0.5, full_below=1)
    torch.manual_seed(0)
    embedding = plan.build(task.layout)
    ids = torch.arange(2000, dtype=torch.int32)[:, None]
    rows = np.unique(embedding(ids).detach().numpy()[:, 0], axis=0)
    assert (len(rows) == 2000) is distinct
    if not distinct:
        buckets = plan.options[0]["buckets"]
        assert len(rows) == buckets == 1000
        assert torch.equal(embedding(ids[:1000]), embedding(ids[1000:]))


@pytest.mark.parametrize("kind", ["qr", "tt", "hash"])
def test_embeddings_start_around_zero(kind: str) -> None:
    torch.manual_seed(0)
    size = {"rank": 4} if kind == "tt" else {"buckets": 100}
    table = build_composite(kind, 5000, 16, 0.01, **size)
    found = table(torch.arange(5000)).detach()
    assert abs(float(found.mean())) < 0.1 * float(found.std())
    assert 0.3 < float((found > 0).float().mean()) < 0.7


def test_quotients_are_exact_beyond_floats() -> None:
    """In float32, 2^24 + 1 is 2^24: a division of floats gives the wrong quotient."""
    buckets = 2**13
    table = build_composite("qr", 2**25, 1, 0.01, buckets=buckets)
    index = torch.tensor([2**24 + 1, 2**25 - 1], dtype=torch.int32)
    expected = table.remainder(index % buckets) * table.quotient(torch.tensor([2**11, 2**12 - 1]))
    assert torch.equal(table(index), expected)


def test_concat_needs_an_even_width(made_of: Callable[..., Dataset]) -> None:
    searcher = resolve_method("qr/concat").searcher()
    protocol = tiny_protocol(dim=5)
    task = SearchTask(made_of(CARDS), "dnn", protocol, searcher.info, (0, 0), Budget(2), lambda plan: {})
    with pytest.raises(PlanError, match="must be even"):
        searcher.derive(task, SearchState(), PlanBudget(0.5))
