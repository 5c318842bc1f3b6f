"""Iterative magnitude pruning: rounds, rewinding, and one ranking for all budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, UNIFORM_TABLE, largest, masked_state
from nasbench_rec.methods.lottery import REWOUND

from nasbench_rec.cost import most_nonzeros
from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import EntryMask, uniform

FEW = {"rate": 0.5, "rounds": 3}


@pytest.fixture(scope="module")
def found(bench: Callable[..., Any]) -> tuple[Any, Any]:
    b = bench("lottery", settings=FEW, protocol={"epochs": 2})
    return b, b.search()


def by_hand(b: Any, cuts: list[int]) -> np.ndarray:
    """Train, keep the `cuts[0]` largest, rewind, train, keep the `cuts[1]` largest of those, ..."""
    start = b.task.build_plan(uniform(b.task.layout)).state_dict()
    model = b.task.build_plan(uniform(b.task.layout))
    b.task.fit(model)
    magnitude = model.state_dict()[UNIFORM_TABLE].abs().numpy()
    mask = largest(magnitude, cuts[0])
    for cut in cuts[1:]:
        model = b.task.build_plan(EntryMask(mask=mask))
        model.load_state_dict(masked_state(start, mask))
        b.task.fit(model)
        magnitude = np.where(mask, model.state_dict()[MASKED_TABLE].abs().numpy(), -1.0)
        mask = largest(magnitude, cut)
    return mask


@pytest.mark.parametrize("ratio", [0.7, 0.33, 0.05])
def test_the_mask_of_a_budget_is_that_of_iterating_to_it(found: tuple[Any, Any], ratio: float) -> None:
    b, state = found
    plan = b.derive(state, ratio)
    rows, width = plan.mask.shape
    kept = most_nonzeros(rows, width, round(ratio * rows * width * 4))
    assert int(plan.mask.sum()) == kept
    cuts, left = [], rows * width
    for _ in range(FEW["rounds"] - 1):
        left -= round(0.5 * left)
        if left <= kept:
            break
        cuts.append(left)
    assert (by_hand(b, [*cuts, kept]) == plan.mask).all()


def test_budgets_are_nested_and_go_back_to_the_initial_weights(found: tuple[Any, Any]) -> None:
    b, state = found
    large, small = b.derive(state, 0.5), b.derive(state, 0.1)
    assert not (small.mask & ~large.mask).any() and small.recipe == "same_init"
    initial = b.task.build_plan(uniform(b.task.layout)).state_dict()
    expected = initial[UNIFORM_TABLE] * torch.from_numpy(small.mask)
    assert torch.equal(small.weights[MASKED_TABLE], expected)
    rest = [k for k in initial if k != UNIFORM_TABLE]
    assert rest and all(torch.equal(initial[k], small.weights[k]) for k in rest)


def test_more_than_one_round_finds_another_mask_than_one_shot(
    found: tuple[Any, Any], bench: Callable[..., Any]
) -> None:
    b, state = found
    one_shot = bench("magnitude", protocol={"epochs": 2})
    shot = one_shot.derive(one_shot.search(), 0.1)
    mask = b.derive(state, 0.1).mask
    assert mask.sum() == shot.mask.sum() and (mask != shot.mask).mean() > 0.01


def test_rewinding_to_an_epoch_keeps_the_weights_of_its_end(bench: Callable[..., Any]) -> None:
    b = bench("lottery", settings={**FEW, "rounds": 1, "rewind_epoch": 1}, protocol={"epochs": 2})
    state = b.search()
    model = b.task.build_plan(uniform(b.task.layout))
    b.task.fit(model, epochs=1, early_stopping=False)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state.tensors[REWOUND + name]), name
    assert b.derive(state, 0.2).recipe == "rewind"


def test_every_round_is_charged(bench: Callable[..., Any]) -> None:
    b = bench("lottery", settings=FEW, protocol={"epochs": 2})
    b.search()
    # The first of three rounds is shared, and the pipeline charges it.
    assert b.task.budget.spent == 2
    assert b.task.diagnostics["kept"] == pytest.approx([1, 0.5, 0.25], abs=1e-4)


@pytest.mark.parametrize("settings", [{"rate": 0.0}, {"rate": 1.0}, {"rounds": 0}, {"rewind_epoch": -1}])
def test_settings_that_make_no_sense(bench: Callable[..., Any], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="lottery: rate"):
        bench("lottery", settings=settings)
