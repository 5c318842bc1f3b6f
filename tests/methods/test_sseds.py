"""SSEDS: the saliency is the slope of the loss, in evaluation mode, and columns are taken by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods.sseds import saliency
from torch.nn.functional import binary_cross_entropy_with_logits

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.data import Dataset
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import CTRModel
from nasbench_rec.plans import FieldDims, uniform
from nasbench_rec.registry import resolve_method
from nasbench_rec.searcher import SearchState, uniform_bytes
from nasbench_rec.testing import SearcherContract, tiny_dataset
from nasbench_rec.training import ids_of, labels_of

FEW = {"epochs": 2}


@pytest.fixture(scope="module")
def own(bench):
    return bench("sseds", protocol={**FEW, "dropout": 0.5})


@pytest.fixture(scope="module")
def weights(own):
    return own.task.trained_uniform()


def trained(own, weights) -> CTRModel:
    model = own.task.build_plan(uniform(own.task.layout))
    model.load_state_dict(weights)
    return model


def batches(own, rows: int, size: int) -> Any:
    some = own.task.train.take(slice(rows))
    return zip(ids_of(some).split(size), labels_of(some).split(size), strict=True)


@pytest.mark.parametrize("field, column", [(0, 0), (5, 3), (13, 7)])
def test_saliency_is_the_slope_of_the_loss_when_a_column_is_scaled(own, weights, field, column):
    found = saliency(trained(own, weights).double(), batches(own, 500, 500), per_batch=False)
    model = trained(own, weights).double().eval()
    ((ids, labels),) = batches(own, 500, 500)
    table, rows = model.embedding.lookups[0].table.weight, own.task.layout.field_of_row == field

    @torch.no_grad()
    def loss(factor: float) -> float:
        table[rows, column] *= factor
        value = binary_cross_entropy_with_logits(model(ids), labels.double(), reduction="sum")
        table[rows, column] /= factor
        return float(value)

    slope = abs(loss(1 + 1e-5) - loss(1 - 1e-5)) / 2e-5
    ((ids, labels),) = batches(own, 500, 500)
    table = table.detach().clone().requires_grad_()
    values = torch.func.functional_call(model, {"embedding.lookups.0.table.weight": table}, (ids,))
    binary_cross_entropy_with_logits(values, labels.double(), reduction="sum").backward()
    product = (table.grad * table).detach()  # sum_b (dL/de_b) e_b, row by row
    total = sum(float(product[own.task.layout.field_of_row == f].sum(0).abs().sum()) for f in range(14))
    assert float(found[field, column]) * total == pytest.approx(slope, rel=1e-4)


def test_saliency_is_a_share(own, weights):
    found = saliency(trained(own, weights), batches(own, 300, 100), per_batch=True)
    assert found.shape == (14, 8) and float(found.sum()) == pytest.approx(1) and bool((found >= 0).all())


def test_the_gradient_is_summed_before_the_absolute_value(own, weights):
    """How the rows are cut into batches does not matter to one sum; it does to sums of absolute values."""
    one, cut = (saliency(trained(own, weights), batches(own, 600, size), False) for size in (600, 100))
    torch.testing.assert_close(one, cut, rtol=1e-3, atol=1e-6)
    whole, parts = (saliency(trained(own, weights), batches(own, 600, size), True) for size in (600, 100))
    torch.testing.assert_close(whole, one)
    assert float((parts - whole).abs().sum()) > 0.1


def test_dropout_and_batch_statistics_are_off(own, weights):
    model = trained(own, weights).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    one, other = (saliency(model, batches(own, 400, 200), True) for _ in range(2))
    assert torch.equal(one, other)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_columns_are_taken_in_falling_order_by_parameters_not_by_columns(own):
    scores = torch.linspace(2, 1, 14 * 8).view(14, 8) / 100
    plan = own.derive(SearchState({"saliency": scores}), 0.5)
    layout = own.task.layout
    assert isinstance(plan, FieldDims)
    assert plan.dims[0] == 8 and plan.dims[-1] < 8  # the first fields are the most salient ones
    used = own.task.cost(plan).bytes(EMBEDDING_PARTS)
    limit = 0.5 * uniform_bytes(layout)
    assert 0.99 * limit < used <= limit
    assert sum(plan.dims) != 14 * 8 // 2


def test_a_field_may_lose_all_columns(own):
    scores = torch.rand(14, 8, generator=torch.Generator().manual_seed(0))
    scores[3] = 1e-9
    assert own.derive(SearchState({"saliency": scores}), 0.3).dims[3] == 0


def test_cost_aware_divides_by_rows(bench, own):
    aware = bench("sseds", settings={"cost_aware": True})
    state = SearchState({"saliency": torch.ones(14, 8)})
    large = int(own.task.layout.cardinalities.argmax())
    plain, cheap = (b.derive(state, 0.5).dims for b in (own, aware))
    assert cheap[large] == 0 or cheap[large] < min(w for f, w in enumerate(cheap) if f != large)
    assert sum(cheap) > sum(plain)


def test_the_saliency_is_charged_and_its_rows_can_be_limited(bench):
    spent = {}
    for rows in (None, 1000):
        b = bench("sseds", settings={"rows": rows}, protocol={"epochs": 1})
        b.task._trained = lambda plan, b=b: b.task.build_plan(plan).state_dict()
        b.search()
        spent[rows] = b.task.budget.rows_spent
    assert spent == {None: len(b.task.train), 1000: 1000}
    with pytest.raises(ConfigError, match="rows"):
        resolve_method("sseds", {"rows": 0})


def test_without_a_budget_the_ratio_decides(own):
    state = SearchState({"saliency": torch.rand(14, 8, generator=torch.Generator().manual_seed(1))})
    assert own.derive(state).digest() == own.derive(state, 0.5).digest()


def test_a_useless_field_is_less_salient_than_useful_ones_of_its_size(bench):
    """useless_0 has as many values as the common fields."""
    found = bench("sseds", small=False, protocol={"epochs": 6}).search().tensors["saliency"].sum(1)
    names = [f.name for f in bench("sseds", small=False).data.fields]
    score = dict(zip(names, found.tolist(), strict=True))
    common = [score[n] for n in names if n.startswith("common")]
    assert score["useless_0"] < min(common)


class TestMultivalued(SearcherContract):
    """The contract with a field of three padded columns."""

    spec = "sseds"

    @classmethod
    def data(cls) -> Dataset:
        return tiny_dataset(multivalued=True)


@pytest.mark.slow
def test_beats_random_widths_and_one_large_sum_on_planted_data(bench):
    auc: dict[str, list[float]] = {"random": [], "sseds": [], "sseds/paper": []}
    ranks: dict[str, list[float]] = {name: [] for name in auc}
    for seed in (0, 1):
        for name in auc:
            b = bench(name, seed, small=False)
            plan = b.derive(ratio=0.5)
            auc[name].append(b.auc(plan))
            ranks[name].append(b.correlation(plan))
    assert np.mean(auc["sseds"]) > np.mean(auc["random"]) + 0.01
    assert np.mean(auc["sseds"]) > np.mean(auc["sseds/paper"]) + 0.01
    assert min(ranks["sseds"]) > 0.5
