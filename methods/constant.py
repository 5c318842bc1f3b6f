"""`constant`: the base rate of the training rows for every sample. What any model must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nasbench_rec.errors import PlanError
from nasbench_rec.plans import Constant as ConstantPlan
from nasbench_rec.plans import EmbeddingPlan
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class ConstantConfig:
    """`constant` has no settings."""


class Constant(Searcher):
    """The same prediction for every sample, the share p of positive training rows:

        logit = log(p / (1 - p)).

    Of all constants it has the least logloss on the training rows; its AUC is 1/2. No embedding and no backbone take
    part; a plan budget has no say.
    """

    info = MethodInfo(
        name="constant",
        title="Base rate",
        level="none",
        data="train",
        budget="none",
        plans=("constant",),
        faithfulness="reference",
        stochastic=False,
    )
    Config = ConstantConfig

    def search(self, task: SearchTask) -> SearchState:
        """Return the logit of the base rate; PlanError where all rows have one label."""
        rate = float(task.train.labels.mean(dtype="float64"))
        if not 0 < rate < 1:
            raise PlanError(f"all training rows have the label {rate:g}: the base rate has no finite logit.")
        task.diagnose("rate", rate)
        return SearchState({"logit": torch.tensor([rate], dtype=torch.float64).logit().float()})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the constant."""
        return ConstantPlan(recipe="none", weights={"embedding.logit": state.tensors["logit"]})
