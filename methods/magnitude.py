"""`magnitude`: keep the entries of the trained uniform table that are largest in magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from nasbench_rec.methods._ranking import PRUNED, UNIFORM_TABLE, entries_that_fit, limit_of, pruned

from nasbench_rec.plans import EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class MagnitudeConfig:
    """Settings of `magnitude`; the search, one training of the uniform model, depends on none of them."""

    recipe: Literal["none", "finetune", "rewind"] = setting(
        "finetune",
        "none: serve the pruned weights; finetune: train on from them; rewind: train from the initial weights",
        source="inferred: a benchmark that prunes CTR tables uses none, the lottery ticket rewinds",
        space={"type": "categorical", "choices": ["none", "finetune", "rewind"]},
        stage="derive",
    )
    protect: int = setting(
        0,
        "m: the m largest entries of every row are kept before all others, as far as the budget allows so many per row",
        source="Han et al.: 0; LEBench: chosen on validation data, here by a study",
        space={"type": "int", "low": 0, "high": 4},
        stage="derive",
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours",
        space={"type": "float", "low": 0.01, "high": 1.0, "log": True},
        stage="derive",
    )


class Magnitude(Searcher):
    """Keep the k entries of largest |w| in the whole table of the trained uniform model, M = 1[|E| >= theta].

    k is the most that fits the budget with its index in the cheapest format. The mask stays in force in whatever
    training follows. Frequent values have larger weights, so this is also a frequency rule: with row protection
    (`protect` = m) the m largest entries of each row come first, and a rare value keeps something, too.
    """

    info = MethodInfo(
        name="magnitude",
        title="Magnitude pruning",
        level="entry",
        data="train",
        budget="exact",
        plans=("entry_mask",),
        faithfulness="reference",
        paper="Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015, "
        "arXiv:1506.02626; rewind: Frankle and Carbin, The Lottery Ticket Hypothesis, ICLR 2019, arXiv:1803.03635",
        year=2015,
        deviations=(
            "one shot with one threshold over the whole table; LEBench, which protects rows, has one for each of its "
            "tables, and searches m on validation data",
            "rewind goes to the initial weights of the whole model, backbone included (step 0)",
            "only the embedding table is pruned; first-order weights and the backbone stay dense",
        ),
    )
    Config = MagnitudeConfig
    presets = {**{name: {"recipe": name} for name in PRUNED}, "protected": {"protect": 1}}

    def search(self, task: SearchTask) -> SearchState:
        """Train the uniform model, or take it from the cache."""
        return SearchState(task.trained_uniform())

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the mask of the largest entries, with the weights of the recipe under that mask."""
        magnitude = state.tensors[UNIFORM_TABLE].abs().cpu().numpy()
        limit = limit_of(task, size, self.config.ratio)
        mask = entries_that_fit(magnitude, limit)
        if self.config.protect:
            protected = min(self.config.protect, int(mask.sum()) // len(mask))
            mask = entries_that_fit(magnitude + magnitude.max() * leading(magnitude, protected), limit)
        return pruned(task, state.tensors, mask, self.config.recipe)


def leading(magnitude: np.ndarray, count: int) -> np.ndarray:
    """Return the mask of the `count` largest entries of each row, bool [V, d]; of equal ones the first."""
    return (-magnitude).argsort(1, kind="stable").argsort(1, kind="stable") < count
