"""DimReg: the penalty, what its gates close, and how they become columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from nasbench_rec.methods.dimreg import DimRegConfig, DimRegEmbedding, open_columns, penalty

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.data import Dataset, Field, Split
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import ColumnMask
from nasbench_rec.registry import resolve_method
from nasbench_rec.searcher import Budget, PlanBudget, SearchState, SearchTask, uniform_bytes
from nasbench_rec.testing import tiny_protocol
from nasbench_rec.training import Frozen

TINY = {"epochs": 2, "batch_size": 1024}


@pytest.mark.parametrize("t", [1.0, 1.7])
def test_the_penalty_is_the_formula_over_all_gates(t):
    gates = torch.rand(5, 4, dtype=torch.float64)
    mean = float(gates.mean())
    expected = 0.1 * np.mean([t * float(g) - abs(float(g) - mean) for g in gates.flatten()])
    assert float(penalty(gates, DimRegConfig(t=t))) == pytest.approx(expected)


def test_gates_scale_columns_and_start_at_one_half():
    layout = Layout((Field("a", 5), Field("b", 7)), 3, std=1.0)
    embedding = DimRegEmbedding(layout)
    ids = torch.tensor([[0, 1], [4, 6]])
    assert torch.equal(embedding(ids), embedding.lookup(ids) * 0.5)
    with torch.no_grad():
        embedding.theta[1, 2] = 0.3
    scale = torch.full((2, 3), 0.5)
    scale[1, 2] = torch.tensor(1.5).sigmoid()
    torch.testing.assert_close(embedding(ids), embedding.lookup(ids) * scale)


def signal_and_noise() -> Dataset:
    """Field `strong` decides the label, field `useless` does not."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, (6000, 2)).astype(np.int32)
    chance = np.where(ids[:, 0] % 2 == 0, 0.9, 0.1)
    labels = (rng.random(6000) < chance).astype(np.float32)
    whole = Split(ids, labels)
    cuts = {"train": slice(0, 4000), "valid": slice(4000, 5000), "test": slice(5000, 6000)}
    fields = [Field("strong", 30), Field("useless", 30)]
    return Dataset("two fields", fields, {name: whole.take(cut) for name, cut in cuts.items()})


@pytest.mark.parametrize("learn_on", ["search", "train"])
def test_a_useless_field_is_closed_and_a_strong_one_kept(learn_on):
    method = resolve_method("dimreg", {"learn_on": learn_on, "structure_lr": 0.01})
    protocol = tiny_protocol(epochs=12, batch_size=128, search_fraction=0.3)
    task = SearchTask(signal_and_noise(), "dnn", protocol, method.info, (0, 0), Budget(10**6), lambda _: {})
    plan = method.searcher().derive(task, method.searcher().search(task), PlanBudget())
    assert isinstance(plan, ColumnMask)
    strong, useless = plan.mask.sum(1)
    assert strong >= 1 and useless == 0


def test_the_mask_is_theta_above_0_and_never_empty(bench):
    own = bench("dimreg")
    theta = torch.linspace(-1, 1, 14 * 8).view(14, 8)
    plan = own.derive(SearchState({"theta": theta}))
    assert isinstance(plan, ColumnMask) and np.array_equal(plan.mask, theta.numpy() > 0)
    assert plan.recipe == "scratch" and not plan.weights
    assert open_columns(np.array([[-2.0, -1.0], [-3.0, -1.5]])).tolist() == [[False, True], [False, False]]
    assert not open_columns(np.array([[0.0, 1.0]]))[0, 0]


@pytest.mark.parametrize("ratio", [0.5, 0.1])
def test_a_budget_keeps_the_largest_gates_that_fit(bench, ratio):
    own = bench("dimreg")
    theta = np.random.default_rng(0).normal(-1, 0.1, (14, 8)).astype(np.float32)
    state = SearchState({"theta": torch.from_numpy(theta)})
    mask = own.derive(state, ratio).mask
    used = own.task.cost(ColumnMask(mask=mask)).bytes(EMBEDDING_PARTS)
    limit = ratio * uniform_bytes(own.task.layout)
    smallest = 4 * own.task.layout.cardinalities.min()
    assert limit - smallest < used <= limit
    for field in range(14):  # within a field all columns cost the same, so the largest gates come first
        kept, left = theta[field][mask[field]], theta[field][~mask[field]]
        assert not len(kept) or not len(left) or kept.min() > left.max()
    with pytest.raises(PlanError, match="no column fits"):
        own.derive(state, 1e-4)


def theta_of(own) -> torch.Tensor:
    return own.search().tensors["theta"]


@pytest.mark.parametrize("learn_on", ["search", "train"])
def test_gates_learn_on_the_rows_that_they_are_said_to(bench, learn_on):
    plain, other = (bench("dimreg", protocol=TINY, settings={"learn_on": learn_on}) for _ in range(2))
    other.task._search = replace(other.task._search, labels=1 - other.task._search.labels)
    assert torch.equal(theta_of(plain), theta_of(other)) == (learn_on == "train")


def test_gates_stand_still_in_the_warm_up(bench):
    """Only the last epoch takes search rows, a batch for each of the weights' own."""
    own = bench("dimreg", protocol={**TINY, "epochs": 3}, settings={"structure_lr": 1.0})
    thetas = []
    real = own.task.on_report
    own.task.on_report = lambda step, scores: thetas.append(own.task.budget.rows_spent) or real(step, scores)
    assert theta_of(own).abs().min() > 0
    assert thetas == [0, 0, 2 * len(own.task.train)]
    assert own.task.budget.rows_spent == 4 * len(own.task.train)


def test_the_warm_up_trains_the_weights_alone(bench):
    own = bench("dimreg", protocol=TINY)
    model = own.task.build(lambda: DimRegEmbedding(own.task.layout))
    before = model.embedding.lookup.table.weight.detach().clone()
    own.task.fit(model, [Frozen([model.embedding.theta])], epochs=1, early_stopping=False)
    assert not model.embedding.theta.any() and not torch.equal(model.embedding.lookup.table.weight, before)


def test_nonsense_settings_are_refused():
    for settings in ({"lam": -1.0}, {"structure_lr": 0.0}, {"warmup_epochs": -1}, {"epochs": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            resolve_method("dimreg", settings)
