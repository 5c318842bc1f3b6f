"""`magnitude`: keep the entries of the trained uniform table that are largest in magnitude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="inferred",
        space={"type": "float", "low": 0.01, "high": 1.0, "log": True},
        stage="derive",
    )


class Magnitude(Searcher):
    """Keep the k entries of largest |w| in the whole table of the trained uniform model, M = 1[|E| >= theta].

    k is the most that fits the budget with its index in the cheapest format. The mask stays in force in
    whatever training follows. Frequent values have larger weights, so this is also a frequency rule.
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
            "one shot with one threshold over the whole table; no entries of a row are protected",
            "rewind goes to the initial weights of the whole model, backbone included (step 0)",
            "only the embedding table is pruned; first-order weights and the backbone stay dense",
        ),
    )
    Config = MagnitudeConfig
    presets = {name: {"recipe": name} for name in PRUNED}

    def search(self, task: SearchTask) -> SearchState:
        """Train the uniform model, or take it from the cache."""
        return SearchState(task.trained_uniform())

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the mask of the largest entries, with the weights of the recipe under that mask."""
        magnitude = state.tensors[UNIFORM_TABLE].abs().cpu().numpy()
        mask = entries_that_fit(magnitude, limit_of(task, size, self.config.ratio))
        return pruned(task, state.tensors, mask, self.config.recipe)
