"""AutoDim: the relaxation, the schedule, who trains what, and what is found on planted data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from nasbench_rec.methods.autodim import AutoDim, AutoDimConfig, AutoDimEmbedding, Temperature

from nasbench_rec.embeddings import FieldProjection
from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import FieldDims
from nasbench_rec.registry import resolve_method
from nasbench_rec.searcher import PlanBudget, SearchState
from nasbench_rec.training import Step

TINY = {"epochs": 2, "batch_size": 1024}


def embedding(layout, norm: bool = False) -> AutoDimEmbedding:
    torch.manual_seed(0)
    return AutoDimEmbedding(layout, (2, 4), norm)


def test_sampled_choices_follow_alpha(layout):
    # Gumbel-max: at a low temperature candidate n is the sample with probability alpha_n.
    found = embedding(layout)
    found.logits.data[:] = torch.tensor([1.2, 0.0])
    found.tau = 0.01
    torch.manual_seed(1)
    samples = torch.stack([found.mixture() for _ in range(3000)]).detach()
    assert torch.allclose(samples.sum(2), torch.ones(3000, len(layout.fields)))
    expected = torch.tensor([1.2, 0.0]).softmax(0)
    assert torch.allclose((samples > 0.5).float().mean((0, 1)), expected, atol=0.02)


def test_samples_are_soft_at_a_high_temperature_and_nearly_one_hot_at_the_floor(layout):
    found = embedding(layout)
    peaks = {}
    for found.tau in (0.01, 1.0, 100.0):
        peaks[found.tau] = torch.stack([found.mixture().max(1).values for _ in range(200)]).mean().item()
    assert peaks[0.01] > 0.98
    assert 0.6 < peaks[1.0] < 0.9
    assert peaks[100.0] < 0.51


def test_gradients_stay_finite_for_extreme_logits_at_the_floor(layout):
    found = embedding(layout)
    found.logits.data[:] = torch.tensor([300.0, -300.0])
    found.tau = 0.01
    found.mixture()[:, 0].sum().backward()
    assert torch.isfinite(found.logits.grad).all()


def test_evaluation_is_noise_free(layout):
    found = embedding(layout).eval()
    found.logits.data[:] = torch.tensor([0.7, -0.1])
    found.tau = 0.01
    ids = torch.zeros(3, len(layout.fields), dtype=torch.int32)
    assert torch.allclose(found.mixture(), found.logits.softmax(1))
    assert torch.equal(found(ids), found(ids))
    found.train()
    assert not torch.equal(found(ids), found(ids))


def test_forward_is_the_mixture_of_every_fields_own_maps(layout):
    found = embedding(layout).eval()
    found.logits.data.normal_()
    ids = torch.stack([torch.arange(3)] * len(layout.fields), 1)
    out, p, start = found(ids), found.logits.softmax(1), 0
    for f, field in enumerate(layout.fields):
        for b in range(3):
            parts = [
                lookup.table.weight[start + b] @ linear.weight[f] + linear.bias[f]
                for lookup, linear in zip(found.lookups, found.maps, strict=True)
            ]
            assert torch.allclose(out[b, f], p[f, 0] * parts[0] + p[f, 1] * parts[1], atol=1e-6)
        start += field.cardinality


def test_batch_normalisation_makes_every_candidate_of_every_field_unit_variance(layout):
    found = embedding(layout, norm=True)
    for lookup in found.lookups:
        lookup.table.weight.data.normal_()
    ids = torch.stack([torch.randint(f.cardinality, (4000,)) for f in layout.fields], 1)
    for part in found.aligned(ids):
        assert torch.allclose(part.var(0, unbiased=False), torch.ones(part.shape[1:]), atol=0.01)
    assert not any(True for norm in found.norms for _ in norm.parameters())


@pytest.mark.parametrize(
    ("steps", "index", "tau"),
    [
        (19_800, 0, 1.0),
        (19_800, 1, 0.99995),
        (19_800, 10_000, 0.5),
        (19_800, 40_000, 0.01),
        (None, 500, 0.505),
    ],
)
def test_temperature_is_the_papers_schedule(layout, steps, index, tau):
    found = embedding(layout)
    Temperature(found, steps).before_step(Step(found, total=1000, index=index))
    assert found.tau == pytest.approx(tau)


def test_temperature_counts_training_steps_only(bench):
    seen = []

    class Recorded(AutoDimEmbedding):
        def mixture(self):
            seen.append((self.training, self.tau))
            return super().mixture()

    own = bench("autodim", protocol=TINY)
    model = own.task.build(lambda: Recorded(own.task.layout, (2, 8), False))
    own.task.fit(model, [Temperature(model.embedding, 100)], early_stopping=False)
    trained = [tau for training, tau in seen if training]
    assert trained == pytest.approx([1 - 0.0099 * t for t in range(len(trained))])
    assert len(trained) < len(seen)  # evaluations looked up, too


def logits(own) -> torch.Tensor:
    return own.search().tensors["logits"].detach()


def flipped(split):
    return replace(split, labels=1 - split.labels)


def test_structure_learns_from_the_search_rows_and_from_nothing_else(bench):
    plain, other, frozen = (bench("autodim", protocol=TINY) for _ in range(3))
    other.task._search = flipped(other.task._search)
    assert not torch.allclose(logits(plain), logits(other), atol=1e-3)
    frozen.searcher = AutoDim(AutoDimConfig(structure_lr=1e-12))
    assert logits(frozen).abs().max() < 1e-6  # the training loss does not move alpha


def test_weights_do_not_learn_from_the_search_rows(bench):
    # alpha at rest: whatever the search rows say, the same training scores come out.
    scores = []
    for change in (lambda split: split, flipped):
        own = bench("autodim", protocol=TINY, settings={"structure_lr": 1e-12})
        own.task._search = change(own.task._search)
        own.search()
        scores.append([(s["train_loss"], s["auc"]) for s in own.task.anytime])
    assert np.allclose(scores[0], scores[1], atol=1e-6)


def test_every_counts_structure_steps(bench):
    for every, share in ((1, 1.0), (10, 0.1)):
        own = bench("autodim", protocol=TINY, settings={"every": every})
        own.search()
        steps = own.task.anytime[-1]["step"]
        extra = own.task.budget.rows_spent - len(own.task.train) * 2
        assert extra == pytest.approx(1024 * steps * share, rel=0.15)


def test_width_is_the_candidate_of_largest_alpha_whatever_the_budget(bench):
    own = bench("autodim")
    fields = len(own.data.fields)
    scores = torch.full((fields, 3), 0.1)
    best = [n % 3 for n in range(fields)]
    scores[range(fields), best] = 0.11
    state = SearchState({"logits": scores}, {"candidates": [2, 4, 8]})
    for ratio in (None, 0.1):
        for _ in range(3):
            plan = own.searcher.derive(own.task, state, PlanBudget(ratio))
            assert isinstance(plan, FieldDims)
            assert list(plan.dims) == [(2, 4, 8)[n] for n in best]
            assert plan.bias
            assert plan.recipe == "scratch"


@pytest.mark.parametrize(
    ("dim", "expected"), [(8, [2, 4, 8]), (16, [2, 4, 8, 16]), (10, [2, 4, 8, 10]), (1, [1])]
)
def test_candidates_are_powers_of_two_up_to_the_base_width(bench, dim, expected):
    own = bench("autodim", protocol={"dim": dim, "epochs": 1, "batch_size": 4096})
    assert own.search().values["candidates"] == expected


@pytest.mark.parametrize("candidates", [(), (0, 2), (4, 2), (2, 2), (2, 16)])
def test_candidates_that_make_no_sense_are_refused(bench, candidates):
    own = bench("autodim", settings={"candidates": candidates})
    with pytest.raises(ConfigError, match="candidates"):
        own.search()


def test_alpha_over_time_is_in_the_diagnostics(bench):
    own = bench("autodim", protocol=TINY)
    state = own.search()
    alpha = own.task.diagnostics["alpha"]
    assert alpha.shape == (2, len(own.data.fields), 3)
    assert np.allclose(alpha[-1], state.tensors["logits"].softmax(1).detach().numpy(), atol=1e-6)


def test_planted_widths_are_recovered(bench):
    own = bench("autodim", small=False, protocol={"epochs": 3})
    assert own.correlation(own.derive()) > 0.4


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["deepfm", "dnn"])
def test_beats_random_widths_on_planted_data(bench, backbone):
    ranks, gains = [], []
    for seed in range(3):
        own = bench("autodim", seed, small=False, backbone=backbone)
        random = bench("random", seed, small=False, backbone=backbone)
        plan, other = own.derive(), random.derive(ratio=0.5)
        ranks.append(own.correlation(plan) - random.correlation(other))
        gains.append(own.auc(plan) - random.auc(other))
    assert np.mean(ranks) > 0.3
    assert np.mean(gains) > 0.005


def test_normalisation_of_the_search_is_gone_from_the_plan_and_linear_maps_stay(layout):
    state = SearchState({"logits": torch.eye(len(layout.fields), 2)}, {"candidates": [2, 4]})
    searcher = resolve_method("autodim/paper").searcher()
    assert searcher.config.batch_norm
    embedding = searcher.derive(None, state, PlanBudget()).build(layout)
    kinds = {type(module).__name__ for module in embedding.modules()}
    assert not any("Norm" in kind for kind in kinds)
    assert all(m.bias is not None for m in embedding.modules() if isinstance(m, FieldProjection))
    assert "FieldProjection" in kinds
