"""`magnitude`: keep the entries of the trained uniform table that are largest in magnitude."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nasbench_rec.cost import most_nonzeros
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import EmbeddingPlan, EntryMask, Recipe, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask

UNIFORM_TABLE = "embedding.lookups.0.table.weight"
MASKED_TABLE = "embedding.lookup.table.weight"
_RECIPES: dict[str, Recipe] = {"none": "none", "finetune": "inherit", "rewind": "same_init"}


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
    presets = {name: {"recipe": name} for name in _RECIPES}

    def search(self, task: SearchTask) -> SearchState:
        """Train the uniform model, or take it from the cache."""
        return SearchState(task.trained_uniform())

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the mask of the largest entries, with the weights of the recipe under that mask."""
        limit = PlanBudget(size.ratio or self.config.ratio).bytes(task.layout)
        assert limit is not None
        magnitude = state.tensors[UNIFORM_TABLE].abs().cpu().numpy()
        rows, width = magnitude.shape
        kept = most_nonzeros(rows, width, limit)
        if kept == 0:
            raise PlanError(
                f"a plan budget of {limit} bytes holds no entry and its index; give a larger one."
            )
        mask = largest(magnitude, kept)
        weights = state.tensors
        if self.config.recipe == "rewind":
            weights = task.build_plan(uniform(task.layout)).cpu().state_dict()
        return EntryMask(mask=mask, recipe=_RECIPES[self.config.recipe], weights=_masked(weights, mask))


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the mask of the `count` largest of `values`, bool of the same shape; of equal ones the first."""
    mask = np.zeros(values.size, dtype=bool)
    mask[np.argsort(-values, axis=None, kind="stable")[:count]] = True
    return mask.reshape(values.shape)


def _masked(weights: Mapping[str, Tensor], mask: np.ndarray) -> dict[str, Tensor]:
    """The uniform model's weights under the names of the masked model, the table masked."""
    found = {name: value.detach().clone() for name, value in weights.items()}
    found[MASKED_TABLE] = found.pop(UNIFORM_TABLE) * torch.from_numpy(mask)
    return found
