"""Random entries: how many, where, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE
from nasbench_rec.methods.random_mask import shuffled_in_rows

from nasbench_rec.plans import EntryMask


@pytest.fixture(scope="module")
def plans(bench: Callable[..., Any]) -> dict[str, EntryMask]:
    """Plans of random masks and of magnitude pruning at one budget, from one trained table."""
    state = bench("magnitude").search()
    names = (
        "magnitude",
        "random-mask",
        "random-mask/rows",
        "random-mask/scratch",
        "random-mask/rows-scratch",
    )
    return {name: bench(name).derive(state, 0.2) for name in names}


def test_all_keep_as_many_entries_as_magnitude_pruning(plans: dict[str, EntryMask]) -> None:
    assert len({int(plan.mask.sum()) for plan in plans.values()}) == 1


def test_rows_keep_what_magnitude_pruning_keeps_of_them_but_elsewhere(plans: dict[str, EntryMask]) -> None:
    pruned, rows, table = (plans[n].mask for n in ("magnitude", "random-mask/rows", "random-mask"))
    assert (rows.sum(1) == pruned.sum(1)).all()
    assert not (table.sum(1) == pruned.sum(1)).all()
    part = (pruned.sum(1) > 0) & (pruned.sum(1) < pruned.shape[1])
    assert (rows[part] != pruned[part]).any(1).mean() > 0.5


def test_positions_are_even_over_columns() -> None:
    mask = np.zeros((6000, 8), dtype=bool)
    mask[:, :2] = True
    found = shuffled_in_rows(mask, np.random.default_rng(0).random(mask.shape))
    assert (found.sum(1) == 2).all()
    assert found.mean(0) == pytest.approx(np.full(8, 0.25), abs=0.03)


def test_recipes_bring_the_weights_that_they_name(plans: dict[str, EntryMask]) -> None:
    fine, scratch = plans["random-mask"], plans["random-mask/scratch"]
    assert (fine.recipe, scratch.recipe) == ("inherit", "scratch") and not scratch.weights
    assert (fine.mask == scratch.mask).all()
    kept = torch.from_numpy(fine.mask)
    table, trained = (plans[n].weights[MASKED_TABLE] for n in ("random-mask", "magnitude"))
    both = kept & torch.from_numpy(plans["magnitude"].mask)
    assert torch.equal(table[both], trained[both]) and not table[~kept].any()


def test_another_search_seed_draws_another_mask(bench: Callable[..., Any]) -> None:
    state = bench("magnitude").search()
    one, other = (bench("random-mask", seed=seed) for seed in (0, 1))
    assert (one.derive(state, 0.2).mask != other.derive(state, 0.2).mask).any()
