"""AdaFS: weights of each sample, what moves the controller, and that the best model is served as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from nasbench_rec.methods.adafs import AdaFSEmbedding, field_weights

from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.instance import FieldGate
from nasbench_rec.metrics import auc
from nasbench_rec.pipeline import build_planned
from nasbench_rec.plans import InstanceWise
from nasbench_rec.registry import resolve_method
from nasbench_rec.training import Bilevel, predict

TINY = {"epochs": 4, "batch_size": 1024}
LAYOUT = Layout(tuple(Field(f"f{i}", 9) for i in range(5)), 3, std=1.0)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(1)


def gate(seed: int = 0, **options) -> FieldGate:
    torch.manual_seed(seed)
    return FieldGate(LAYOUT, **options).eval()


def test_weights_depend_on_the_sample_and_sum_to_one_over_the_fields():
    e = torch.randn(50, 5, 3)
    soft = gate()
    w = soft.weights(e)
    torch.testing.assert_close(w.sum(1), torch.ones(50))
    assert (w > 0).all() and (w.std(0) > 0.01).all()
    torch.testing.assert_close(soft.serve(e), e * w[:, :, None])


@pytest.mark.parametrize(("keep", "kept"), [(0.5, 2), (0.6, 3), (0.1, 1), (1.0, 5)])
def test_hard_keeps_the_top_share_and_divides_by_its_sum(keep, kept):
    e = torch.randn(50, 5, 3)
    soft, w = gate().weights(e), gate(hard=True, keep=keep).weights(e)
    assert ((w > 0).sum(1) == kept).all()
    for own, whole in zip(w, soft, strict=True):
        top = whole.argsort(descending=True)[:kept]
        assert set(own.nonzero().flatten().tolist()) == set(top.tolist())
        torch.testing.assert_close(own[top], whole[top] / whole[top].sum())


def test_hard_selection_still_teaches_the_controller():
    hard = gate(hard=True).train()
    hard.serve(torch.randn(20, 5, 3)).square().sum().backward()
    assert float(hard.controller[0].weight.grad.abs().sum()) > 0


def test_a_relu_before_the_softmax_makes_all_closed_units_equal():
    """Why it is off by default: fields below zero cannot be told apart."""
    e = torch.randn(200, 5, 3)
    lowest_two = gate(relu=True, dropout=0.2).weights(e).sort(1).values[:, :2]
    assert (lowest_two[:, 0] == lowest_two[:, 1]).float().mean() > 0.5
    lowest_two = gate().weights(e).sort(1).values[:, :2]
    assert not (lowest_two[:, 0] == lowest_two[:, 1]).any()


def test_normalised_embeddings_have_columns_of_unit_variance():
    normed = gate(norm=True).train().normed(5 + 3 * torch.randn(2000, 5, 3))
    torch.testing.assert_close(normed.mean((0, 1)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normed.var((0, 1)), torch.ones(3), atol=1e-2, rtol=0)


def test_open_embeddings_are_not_weighted():
    torch.manual_seed(0)
    embedding = AdaFSEmbedding(LAYOUT, "field", {}).eval()
    ids = torch.randint(0, 9, (10, 5))
    weighted = embedding(ids)
    embedding.open = True
    assert torch.equal(embedding(ids), embedding.lookup(ids)) and not torch.equal(embedding(ids), weighted)


def controller(state) -> torch.Tensor:
    return state.tensors["model.embedding.gate.controller.0.weight"]


def test_the_controller_is_moved_by_the_search_split_alone(bench):
    """By nothing in the pretraining, by no training row; the weights are moved by training rows."""
    still = bench("adafs", protocol=TINY, settings={"structure_lr": 1e-12}).search()
    model = bench("adafs", protocol=TINY).task
    torch.testing.assert_close(
        controller(still),
        model.build(lambda: AdaFSEmbedding(model.layout, "field", {"norm": False}))
        .embedding.gate.controller[0]
        .weight,
    )
    plain, other = (bench("adafs", protocol=TINY) for _ in range(2))
    other.task._search = replace(other.task._search, labels=1 - other.task._search.labels)
    assert not torch.allclose(controller(plain.search()), controller(other.search()), atol=1e-4)


@pytest.mark.parametrize("every", [1, 10])
def test_the_controller_steps_once_in_every_so_many_steps(bench, every, monkeypatch):
    calls, real = [], Bilevel.before_step

    def counted(self, step):
        before = self.rows_seen
        real(self, step)
        calls.append(self.rows_seen > before)

    monkeypatch.setattr(Bilevel, "before_step", counted)
    bench(
        "adafs", protocol={"epochs": 2, "batch_size": 1024}, settings={"every": every, "pretrain_epochs": 1}
    ).search()
    assert len(calls) == 18 and sum(calls) == -(-18 // every)


@pytest.mark.parametrize("preset", ["soft", "hard", "paper"])
def test_the_best_model_is_served_as_it_is(bench, preset):
    own = bench(f"adafs/{preset}", protocol=TINY)
    plan = own.derive()
    assert isinstance(plan, InstanceWise) and plan.recipe == "none"
    valid = own.data.split("valid")
    served = predict(build_planned(plan, own.unit, own.data.without_test(), 123), valid)
    gated = own.task.anytime[2:]  # two epochs of pretraining are not served
    assert auc(valid.labels, served) == pytest.approx(max(s["auc"] for s in gated), abs=1e-6)


@pytest.mark.parametrize("preset", ["soft", "hard"])
def test_rates_are_the_use_over_the_training_rows(bench, preset):
    own = bench(f"adafs/{preset}", protocol={**TINY, "epochs": 3})
    plan = own.derive()
    model = own.task.build(lambda: AdaFSEmbedding(own.task.layout, "field", plan.options))
    model.load_state_dict(dict(plan.weights))
    weights = field_weights(model, own.task.train, "cpu")
    use = (weights > 0).float().mean(0) if preset == "hard" else weights.mean(0) / weights.mean(0).max()
    np.testing.assert_allclose(plan.rates, use[:, None].repeat(1, 8), rtol=1e-5)
    if preset == "hard":
        assert plan.widths(own.task.layout).sum() == pytest.approx(7 * 8)  # half of 14 fields, 8 columns each
    else:
        assert plan.rates.max() == 1 and plan.rates.min() > 0


def test_nonsense_settings_are_refused():
    for settings in (
        {"keep": 0.0},
        {"keep": 1.5},
        {"every": 0},
        {"pretrain_epochs": -1},
        {"structure_lr": 0.0},
    ):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            resolve_method("adafs", settings)
