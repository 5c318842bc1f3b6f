"""Magnitude pruning: what is kept, what it costs, and that the mask holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, UNIFORM_TABLE, largest
from nasbench_rec.methods.magnitude import leading

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import EntryMask, uniform
from nasbench_rec.searcher import search_settings, uniform_bytes
from nasbench_rec.training import predict

RECIPES = {"none": "none", "finetune": "inherit", "rewind": "same_init"}


@pytest.fixture(scope="module")
def trained(bench):
    """The task and the state that all presets share."""
    found = bench("magnitude", protocol={"epochs": 3})
    return found, found.search()


def derive(bench, trained, preset: str, ratio: float | None) -> EntryMask:
    own = bench(f"magnitude/{preset}", protocol={"epochs": 3})
    plan = own.derive(trained[1], ratio)
    assert isinstance(plan, EntryMask)
    return plan


def test_largest_keeps_just_so_many_and_of_equals_the_first():
    values = np.array([[3.0, 1.0], [2.0, 2.0], [0.0, 2.0]])
    assert largest(values, 3).tolist() == [[True, False], [True, True], [False, False]]
    assert largest(values, 6).all()
    assert not largest(values, 0).any()


@pytest.mark.parametrize("ratio", [0.25, 0.37, 0.5, 0.9, 1.0])
def test_budget_is_hit_and_the_largest_entries_of_the_whole_table_are_kept(bench, trained, ratio):
    plan = derive(bench, trained, "none", ratio)
    layout, weight = trained[0].task.layout, trained[1].tensors[UNIFORM_TABLE].abs().numpy()
    used = trained[0].task.cost(plan).bytes(EMBEDDING_PARTS)
    assert used == pytest.approx(ratio * uniform_bytes(layout), rel=0.01)
    assert used <= ratio * uniform_bytes(layout)
    if ratio < 1:
        assert weight[plan.mask].min() >= weight[~plan.mask].max()
        per_field = [plan.mask[layout.field_of_row == f].mean() for f in range(len(layout.fields))]
        assert np.ptp(per_field) > 0.1  # one threshold for all fields, not one each


def test_no_budget_means_the_default_ratio(bench, trained):
    assert derive(bench, trained, "none", None).digest() == derive(bench, trained, "none", 0.5).digest()


@pytest.mark.parametrize("preset", RECIPES)
def test_presets_share_the_search_and_differ_in_the_recipe(bench, trained, preset):
    own = bench(f"magnitude/{preset}")
    assert search_settings(own.searcher.config) == {}
    plan = derive(bench, trained, preset, 0.5)
    assert plan.recipe == RECIPES[preset]
    assert np.array_equal(plan.mask, derive(bench, trained, "none", 0.5).mask)
    assert not plan.weights[MASKED_TABLE][torch.from_numpy(~plan.mask)].any()


@pytest.mark.parametrize("preset", RECIPES)
def test_the_mask_stays_in_force(bench, trained, preset):
    plan = derive(bench, trained, preset, 0.3)
    model = trained[0].trained(plan)
    table = model.state_dict()[MASKED_TABLE]
    assert not table[torch.from_numpy(~plan.mask)].any()
    moved = not torch.equal(table, plan.weights[MASKED_TABLE])
    assert moved == (preset != "none")


def test_the_whole_budget_is_the_uniform_model(bench, trained):
    own, valid = trained[0], trained[0].data.split("valid")
    model = own.trained(uniform(own.task.layout))
    expected = predict(model, valid)
    # Served as it is, and trained again from the initial weights: both are the uniform model, bit for bit.
    for preset in ("none", "rewind"):
        plan = derive(bench, trained, preset, 1.0)
        assert plan.mask.all()
        assert np.array_equal(predict(own.trained(plan), valid), expected)


def test_rewinding_brings_the_initial_weights_of_the_search_seed(bench, trained):
    plan = derive(bench, trained, "rewind", 0.5)
    task = trained[0].task
    initial = task.build_plan(uniform(task.layout)).state_dict()
    mask = torch.from_numpy(plan.mask)
    assert torch.equal(plan.weights[MASKED_TABLE], initial[UNIFORM_TABLE] * mask)
    for name, value in initial.items():
        assert name == UNIFORM_TABLE or torch.equal(plan.weights[name], value)


def test_a_budget_without_room_for_one_entry_is_refused(bench, trained):
    with pytest.raises(PlanError, match="holds no entry"):
        derive(bench, trained, "none", 1e-6)


def test_useful_fields_keep_more_than_useless_ones_of_their_size(bench):
    own = bench("magnitude", small=False, protocol={"epochs": 4})
    plan = own.derive(ratio=0.5)
    names = [f.name for f in own.data.fields]
    kept = dict(zip(names, plan.widths(own.task.layout), strict=True))
    assert kept["useless_0"] < 0.9 * kept["common_0"]  # 50 values each
    assert kept["distractor"] < 0.9 * min(kept[f"context_{i}"] for i in range(3))
    assert own.correlation(plan) > 0.5


@pytest.mark.slow
def test_beats_random_widths_at_equal_cost_on_planted_data(bench):
    gains, ranks = [], []
    for seed in range(3):
        own, random = bench("magnitude", seed, small=False), bench("random", seed, small=False)
        plan, other = own.derive(ratio=0.5), random.derive(ratio=0.5)
        gains.append(own.auc(plan) - random.auc(other))
        ranks.append(own.correlation(plan) - random.correlation(other))
    assert np.mean(gains) > 0.01
    assert np.min(ranks) > 0.2


def test_protected_rows_keep_their_largest_entries(bench) -> None:
    rng = np.random.default_rng(0)
    magnitude = rng.random((40, 8)) * np.linspace(0.01, 1, 40)[:, None]
    first = leading(magnitude, 2)
    assert (first.sum(1) == 2).all()
    for row, mask in zip(magnitude, first, strict=True):
        assert row[mask].min() > row[~mask].max()
    plain, one = bench("magnitude"), bench("magnitude", settings={"protect": 1})
    state = plain.search()
    free, kept = plain.derive(state, 0.5), one.derive(state, 0.5)
    assert kept.mask.sum() == free.mask.sum()
    assert (free.mask.sum(1) == 0).any() and kept.mask.sum(1).min() == 1
    table = state.tensors[UNIFORM_TABLE].abs().numpy()
    rest = ~leading(table, 1)
    assert table[kept.mask & rest].min() >= table[~kept.mask & rest].max()


def test_no_more_entries_are_protected_than_the_budget_has(bench) -> None:
    b = bench("magnitude", settings={"protect": 4})
    state = b.search()
    plan = b.derive(state, 0.3)
    per_row = int(plan.mask.sum()) // len(plan.mask)
    assert 0 < per_row < 4 and plan.mask.sum(1).min() == per_row
    assert (b.derive(state, 0.02).mask == bench("magnitude").derive(state, 0.02).mask).all()
