"""AutoEmb: popularity decides, the controller learns on the search rows, and both ways of serving it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from nasbench_rec.methods.autoemb import AutoEmb, AutoEmbConfig, Controller, popularity

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.metrics import auc
from nasbench_rec.pipeline import build_planned
from nasbench_rec.plans import RowDims, Soft
from nasbench_rec.searcher import SearchState, uniform_bytes
from nasbench_rec.training import predict

TINY = {"epochs": 2, "batch_size": 1024}


def test_popularity_is_the_logarithm_of_the_count():
    counts = [np.array([0, 1, 2, 3]), np.array([6, 7, 8, 1022, 1023])]
    assert popularity(counts, 2.0).tolist() == [0, 1, 1, 2, 2, 3, 3, 9, 10]
    assert popularity(counts, 10.0).tolist() == [0, 0, 0, 0, 0, 0, 0, 3, 3]


def test_controller_starts_even_and_keeps_fields_apart():
    torch.manual_seed(0)
    found = Controller(copies=3, buckets=4, hidden=5, candidates=2)
    assert torch.allclose(found(), torch.full((12, 2), 0.5))
    found.outer.data[1].normal_()
    changed = (found()[:, 0] - 0.5).abs() > 1e-4
    assert not changed[:4].any() and changed[4:8].any() and not changed[8:].any()


def probabilities(own) -> torch.Tensor:
    return own.search().tensors["probabilities"].detach()


def flipped(split):
    return replace(split, labels=1 - split.labels)


def test_controller_learns_from_the_search_rows_and_from_nothing_else(bench):
    plain, other, frozen = (bench("autoemb", protocol=TINY) for _ in range(3))
    other.task._search = flipped(other.task._search)
    assert not torch.allclose(probabilities(plain), probabilities(other), atol=1e-3)
    frozen.searcher = AutoEmb(AutoEmbConfig(structure_lr=1e-12))
    assert torch.allclose(probabilities(frozen), torch.tensor(1 / 3), atol=1e-6)


@pytest.mark.parametrize("controller", ["per_field", "shared"])
def test_the_mixture_depends_on_popularity_and_field_alone(bench, controller):
    own = bench("autoemb", protocol=TINY, settings={"controller": controller})
    state = own.search()
    bucket = popularity(own.task.counts, 2.0)
    key = bucket if controller == "shared" else own.task.layout.field_of_row * 100 + bucket
    groups = state.tensors["groups"].numpy()
    assert len(np.unique(groups)) == len(np.unique(key)) == len(set(zip(groups, key, strict=True)))
    assert len(state.tensors["probabilities"]) == groups.max() + 1


def test_other_counts_give_other_groups(bench):
    own = bench("autoemb", protocol={"epochs": 1, "batch_size": 4096})
    before = own.search().tensors["groups"]
    own.task.counts = tuple(np.zeros_like(c) for c in own.task.counts)
    assert not torch.equal(own.search().tensors["groups"], before)


def test_hard_gives_a_bucket_the_width_of_its_largest_weight(bench):
    own = bench("autoemb/hard")
    layout = own.task.layout
    groups = torch.arange(layout.rows) % 3
    found = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]])
    state = SearchState({"probabilities": found, "groups": groups}, {"candidates": [2, 4, 8]})
    plan = own.derive(state)
    assert isinstance(plan, RowDims)
    assert plan.recipe == "scratch"
    assert plan.row_widths.tolist() == [(2, 8, 4)[g] for g in groups.tolist()]


@pytest.mark.parametrize("options", [{}, {"batch_norm": True}, {"tanh": False, "controller": "shared"}])
def test_soft_serves_the_supernet_as_it_was_trained(bench, options):
    own = bench("autoemb/soft", protocol=TINY, settings=options)
    plan = own.derive()
    assert isinstance(plan, Soft)
    assert plan.recipe == "none"
    assert not any("controller" in name for name in plan.weights)
    valid = own.data.split("valid")
    served = predict(build_planned(plan, own.unit, own.data.without_test(), 123), valid)
    assert auc(valid.labels, served) == pytest.approx(max(s["auc"] for s in own.task.anytime), abs=1e-6)


def test_soft_saves_nothing_and_hard_does(bench):
    own = bench("autoemb", protocol=TINY)
    state, whole = own.search(), uniform_bytes(own.task.layout)
    soft, hard = bench("autoemb/soft").derive(state), own.derive(state)
    assert own.task.cost(soft).bytes(EMBEDDING_PARTS) > whole
    assert own.task.cost(hard).bytes(EMBEDDING_PARTS) < whole


@pytest.mark.parametrize(("dim", "expected"), [(8, [2, 4, 8]), (16, [2, 8, 16]), (4, [2, 4]), (1, [1])])
def test_candidates_scale_with_the_base_width(bench, dim, expected):
    own = bench("autoemb", protocol={"dim": dim, "epochs": 1, "batch_size": 4096})
    assert own.search().values["candidates"] == expected


def width_by_popularity(own, plan: RowDims) -> tuple[float, float]:
    """Mean widths of the rarest and of the most frequent third of the useful fields' values."""
    counts, layout = np.concatenate(own.task.counts), own.task.layout
    useful = (own.useful > 0)[layout.field_of_row]
    low, high = np.quantile(counts[useful], [1 / 3, 2 / 3])
    widths = plan.row_widths
    return float(widths[useful & (counts <= low)].mean()), float(widths[useful & (counts > high)].mean())


def test_frequent_values_of_useful_fields_get_more_width(bench):
    own = bench("autoemb/hard", small=False, protocol={"epochs": 4})
    rare, frequent = width_by_popularity(own, own.derive())
    assert frequent > rare + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["deepfm", "dnn"])
def test_beats_random_widths_on_planted_data(bench, backbone):
    growth, gains = [], []
    for seed in range(3):
        own = bench("autoemb/hard", seed, small=False, backbone=backbone)
        random = bench("random", seed, small=False, backbone=backbone)
        plan = own.derive()
        rare, frequent = width_by_popularity(own, plan)
        growth.append(frequent - rare)
        gains.append(own.auc(plan) - random.auc(random.derive(ratio=0.5)))
    assert np.mean(growth) > 0.5
    assert np.mean(gains) > 0
