"""`ensemble`: k uniform models, averaged. What capacity alone brings: methods with k models are compared with it."""

from __future__ import annotations

from dataclasses import dataclass

from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import EmbeddingPlan, Ensemble, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class EnsembleConfig:
    """Settings of `ensemble`."""

    members: int = setting(2, "k, the number of models", source="ours: the fewest", stage="derive")
    width: int | None = setting(
        None, "width of every field in every model; none: the base width", source="ours", stage="derive"
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if self.members < 1 or (self.width is not None and self.width < 1):
            raise ConfigError(
                f"ensemble: members = {self.members} and width = {self.width}: must be at least 1."
            )


class UniformEnsemble(Searcher):
    """k models of the same width for every field, alike but for their seeds; their logits are averaged.

    A clustered method has k tables and k backbones as well: what it gains over this one is not mere capacity.
    """

    info = MethodInfo(
        name="ensemble",
        title="Ensemble of uniform models",
        level="none",
        data="none",
        budget="none",
        plans=("ensemble",),
        faithfulness="reference",
        stochastic=False,
    )
    Config = EnsembleConfig

    def search(self, task: SearchTask) -> SearchState:
        """Nothing to search."""
        return SearchState()

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the members' uniform plans; the plan budget has no say."""
        return Ensemble(plans=(uniform(task.layout, self.config.width),) * self.config.members)
