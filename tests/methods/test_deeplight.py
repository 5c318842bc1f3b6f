"""DeepLight: the curve of its cuts, regrowth between them, and the exact end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, UNIFORM_TABLE
from nasbench_rec.methods.deeplight import Cuts, DeepLightConfig
from torch import nn

from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import uniform
from nasbench_rec.training import Step


def at(n: int, total: int = 1000) -> Step:
    """The state after the n-th step."""
    step = Step(nn.Identity(), total=total)
    step.index = n - 1
    return step


@pytest.mark.parametrize(("n", "rate"), [(100, 0.01), (200, 1 - 0.99**2), (46_000, 1 - 0.99**460)])
def test_the_curve_of_the_code(n: int, rate: float) -> None:
    cuts = Cuts(nn.Parameter(torch.ones(4, 4)), 0.8, 10, "iterations")
    assert cuts.rate(at(n)) == pytest.approx(0.8 * rate)


def test_the_stretched_curve_ends_at_99_percent_whatever_the_length() -> None:
    cuts = Cuts(nn.Parameter(torch.ones(4, 4)), 0.8, 10, "share")
    for total in (50, 5000):
        assert cuts.rate(at(total, total)) == pytest.approx(0.8 * 0.9902, abs=1e-4)
        assert cuts.rate(at(total // 10, total)) == pytest.approx(0.8 * (1 - 0.99**46), abs=1e-4)


def test_a_cut_takes_the_smallest_at_its_time_alone_and_entries_may_grow_again() -> None:
    table = nn.Parameter(torch.tensor([[0.1, -0.4], [0.3, -0.2]]))
    cuts = Cuts(table, 0.5, 10, "share")
    cuts.after_step(at(999))
    assert table.count_nonzero() == 4
    cuts.after_step(at(1000))
    assert table.tolist() == [[0.0, pytest.approx(-0.4)], [pytest.approx(0.3), 0.0]]
    with torch.no_grad():
        table[0, 0] = 5.0
    cuts.after_step(at(1000))
    assert table[0, 0] == 5.0 and table[1, 0] == 0.0


def test_the_plan_holds_exactly_and_zeros_grow(bench: Callable[..., Any]) -> None:
    b = bench("deeplight")
    state = b.search()
    plan = b.derive(state, 0.2)
    table = plan.weights[MASKED_TABLE].numpy()
    assert plan.recipe == "none" and not table[~plan.mask].any() and table[plan.mask].all()
    zeros = b.task.diagnostics["zeros"]
    assert zeros == sorted(zeros) and zeros[0] < zeros[-1]
    # Between cuts entries grow again.
    assert 0 < zeros[-1] < 1 - plan.mask.mean()


@pytest.mark.slow
def test_pruning_while_training_beats_pruning_afterwards(bench: Callable[..., Any]) -> None:
    b, afterwards = bench("deeplight", small=False), bench("magnitude/none", small=False)
    plan, one_shot = (m.derive(m.search(), 0.2) for m in (b, afterwards))
    assert plan.mask.sum() == one_shot.mask.sum()
    assert b.auc(plan) > afterwards.auc(one_shot) + 0.01


def test_the_search_is_the_warm_up_and_each_size_is_charged(bench: Callable[..., Any]) -> None:
    b = bench("deeplight", settings={"warm_epochs": 1}, protocol={"epochs": 3})
    state = b.search()
    assert b.task.budget.spent == pytest.approx(1 / 3)
    model = b.task.build_plan(uniform(b.task.layout))
    b.task.fit(model, epochs=1, early_stopping=False)
    assert torch.equal(model.state_dict()[UNIFORM_TABLE], state.tensors[UNIFORM_TABLE])
    before = b.task.budget.spent
    b.derive(state, 0.5)
    b.derive(state, 0.2)
    assert b.task.budget.spent - before == pytest.approx(4 / 3)


def test_everything_kept_is_plain_training(bench: Callable[..., Any]) -> None:
    b = bench("deeplight", settings={"warm_epochs": 0}, protocol={"epochs": 2})
    plan = b.derive(b.search(), 1.0)
    model = b.task.build_plan(uniform(b.task.layout))
    b.task.fit(model, epochs=2, early_stopping=False)
    assert np.array_equal(model.state_dict()[UNIFORM_TABLE].numpy(), plan.weights[MASKED_TABLE].numpy())


@pytest.mark.parametrize("settings", [{"warm_epochs": -1}, {"every": 0}])
def test_schedules_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="deeplight: warm_epochs"):
        DeepLightConfig(**settings)
