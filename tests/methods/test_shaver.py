"""Shaver: Shapley credits of entries, their sums, their averages, and one ranking for all budgets."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE
from nasbench_rec.methods.shaver import PlayedEmbedding, ShaverConfig, _batches, _Credit, removals
from torch import Tensor, nn

from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import CTRModel
from nasbench_rec.training import ids_of, labels_of


class Additive(nn.Module):
    """Logit = the sum of all embedding values."""

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        return e.flatten(1).sum(1)


def additive(layout: Layout) -> CTRModel:
    torch.manual_seed(0)
    model = CTRModel(PlayedEmbedding(layout), Additive())
    with torch.no_grad():
        model.embedding.lookup.table.weight.normal_(0, 1.5)
    return model


def loss(logit: float, label: float) -> float:
    return float(np.log1p(np.exp(-logit)) if label else np.log1p(np.exp(logit)))


def test_mean_credits_are_shapley_values() -> None:
    layout = Layout((Field("a", 2), Field("b", 3)), 2)
    model = additive(layout)
    values = model.embedding.lookup.table.weight.detach().flatten().tolist()
    ids, label = torch.tensor([[1, 2]], dtype=torch.int32), 1.0
    entries = [2, 3, 8, 9]  # row 1 of a, row 2 of b, which is row 4 of the stack
    exact = dict.fromkeys(entries, 0.0)
    for order in permutations(entries):
        left = sum(values[e] for e in entries)
        for e in order:
            exact[e] += (loss(left - values[e], label) - loss(left, label)) / 24
            left -= values[e]
    many = ids.repeat(20_000, 1)
    found, gains = removals(model, many, torch.ones(20_000), torch.Generator().manual_seed(0))
    assert set(found[0].tolist()) == set(entries)
    for e in entries:
        assert float(gains[found == e].mean()) == pytest.approx(exact[e], abs=0.02)


def test_credits_of_a_sample_sum_to_what_its_embeddings_are_worth(bench: Callable[..., Any]) -> None:
    b = bench("shaver", protocol={"epochs": 1})
    model = b.task.build(lambda: PlayedEmbedding(b.task.layout))
    b.task.fit(model)
    part = b.task.search.take(slice(0, 300))
    ids, labels = ids_of(part), labels_of(part)
    entries, gains = removals(model, ids, labels, torch.Generator().manual_seed(1))
    with torch.no_grad():
        bce = nn.functional.binary_cross_entropy_with_logits
        whole = bce(model(ids), labels, reduction="none")
        model.embedding.present = torch.zeros(len(ids), len(b.task.fields), b.task.layout.dim)
        none = bce(model(ids), labels, reduction="none")
    assert torch.allclose(gains.sum(1), none - whole, atol=1e-4)
    _, rows = model.embedding.lookup.rows(ids)
    expected = (rows[:, :, None] * b.task.layout.dim + torch.arange(b.task.layout.dim)).flatten(1)
    assert torch.equal(entries.sort(1).values, expected.sort(1).values)


def test_orders_differ_between_samples() -> None:
    layout = Layout((Field("a", 2), Field("b", 2)), 4)
    ids = torch.zeros(50, 2, dtype=torch.int32)
    entries, _ = removals(additive(layout), ids, torch.zeros(50), torch.Generator().manual_seed(0))
    assert len({tuple(row) for row in entries.tolist()}) > 40


def test_a_credit_is_a_mean_over_all_rows_and_absent_ones_count_zero() -> None:
    credit = _Credit(3, 2)
    credit.add(torch.zeros(2, 1), torch.tensor([[0, 1], [4, 5]]), torch.tensor([[1.0, 2.0], [3.0, -1.0]]))
    credit.add(torch.zeros(2, 1), torch.tensor([[0, 1], [0, 1]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    assert credit.mean().tolist() == [[1.0, 0.5], [0.0, 0.0], [0.75, -0.25]]
    worst = np.std([1, 0, 1, 2]), np.std([2, 0, 0, 0]), np.std([0, 3, 0, 0])
    assert credit.error() == pytest.approx(max(worst) / 2 / 1.25)


def test_search_rows_come_first_and_the_cap_holds(bench: Callable[..., Any]) -> None:
    b = bench("shaver")
    search = {tuple(row) for row in b.task.search.ids.tolist()}
    ids = torch.cat([ids for ids, _ in _batches(b.task, len(b.task.search) + 100)])
    assert len(ids) == len(b.task.search) + 100
    assert all(tuple(row) in search for row in ids[: len(b.task.search)].tolist())
    assert sum(len(ids) for ids, _ in _batches(b.task, 77)) == 77


def test_one_ranking_serves_all_budgets_and_beats_its_reverse(bench: Callable[..., Any]) -> None:
    b = bench("shaver", settings={"rows": 12_000})
    state = b.search()
    half, fifth = b.derive(state, 0.5), b.derive(state, 0.2)
    assert not (fifth.mask & ~half.mask).any() and fifth.recipe == "none"
    trained = state.tensors["model." + MASKED_TABLE]
    assert torch.equal(half.weights[MASKED_TABLE], trained * torch.from_numpy(half.mask))
    state.tensors["credit"].neg_()
    assert b.auc(fifth) > b.auc(b.derive(state, 0.2)) + 0.05
    assert b.task.diagnostics["rows"] == 12_000


@pytest.mark.parametrize("settings", [{"rows": 0}, {"tolerance": -1.0}])
def test_a_measurement_of_nothing(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="shaver: rows"):
        ShaverConfig(**settings)
