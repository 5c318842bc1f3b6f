"""`random-mask`: random entries at the cost of magnitude pruning, and with its number of entries in every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from nasbench_rec.methods._ranking import UNIFORM_TABLE, entries_that_fit, limit_of, pruned

from nasbench_rec.plans import EmbeddingPlan, EntryMask
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class RandomMaskConfig:
    """Settings of `random-mask`; the search, one training of the uniform model, depends on none of them."""

    counts: Literal["table", "rows"] = setting(
        "table",
        "table: as many entries as magnitude pruning keeps, anywhere; rows: as many in each row as it keeps there",
        source="ours: is it the positions, or only how many entries a row keeps?",
        stage="derive",
    )
    recipe: Literal["scratch", "none", "finetune", "rewind"] = setting(
        "finetune",
        "scratch: train anew under the mask; the others as in magnitude pruning, of which this is the control",
        source="ours: that of magnitude",
        stage="derive",
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours: that of magnitude",
        stage="derive",
    )


class RandomMask(Searcher):
    """The control of every method that keeps single entries: the same number k of them, drawn at random,

        M = 1[U >= theta],    U_ij ~ U(0, 1),    theta such that sum(M) = k,

    or, with `counts` = rows, in each row i as many as magnitude pruning keeps there at the same budget,

        M_ij = 1[rank of U_ij in row i <= k_i],    k_i = sum_j 1[|E_ij| is among the k largest].

    What magnitude pruning gains over the second is due to the positions inside rows; what the second gains over the
    first is due to how many entries a row keeps, and so to frequency alone.
    """

    info = MethodInfo(
        name="random-mask",
        title="Random entries at equal cost",
        level="entry",
        data="train",
        budget="exact",
        plans=("entry_mask",),
        faithfulness="reference",
    )
    Config = RandomMaskConfig
    presets = {
        "rows": {"counts": "rows"},
        "scratch": {"recipe": "scratch"},
        "rows-scratch": {"counts": "rows", "recipe": "scratch"},
    }

    def search(self, task: SearchTask) -> SearchState:
        """Train the uniform model, or take it from the cache: `counts` = rows and most recipes need it."""
        return SearchState(task.trained_uniform())

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Draw the mask; it goes on as `recipe` says."""
        magnitude = state.tensors[UNIFORM_TABLE].abs().cpu().numpy()
        limit = limit_of(task, size, self.config.ratio)
        drawn = task.rng("mask").random(magnitude.shape)
        if self.config.counts == "table":
            mask = entries_that_fit(drawn, limit)
        else:
            mask = shuffled_in_rows(entries_that_fit(magnitude, limit), drawn)
        if self.config.recipe == "scratch":
            return EntryMask(mask=mask)
        return pruned(task, state.tensors, mask, self.config.recipe)


def shuffled_in_rows(mask: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return a mask with as many entries in each row, where `drawn` is least: bool [V, d]."""
    rank = drawn.argsort(1).argsort(1)
    return rank < mask.sum(1, keepdims=True)
