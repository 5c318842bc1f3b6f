"""`fixed`: the uniform model, one width for every field. Every comparison is paired with it."""

from __future__ import annotations

from dataclasses import dataclass

from nasbench_rec.errors import PlanError
from nasbench_rec.plans import EmbeddingPlan, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class FixedConfig:
    """Settings of `fixed`."""

    width: int | None = setting(
        None,
        "width of every field; none: the base width, or the widest that the plan budget allows",
        stage="derive",
    )


class Fixed(Searcher):
    """The same width for every field, d_f = d; under a plan budget the widest that fits."""

    info = MethodInfo(
        name="fixed",
        title="Uniform width",
        level="table",
        data="none",
        budget="granular",
        plans=("field_dims",),
        faithfulness="reference",
        stochastic=False,
    )
    Config = FixedConfig

    def search(self, task: SearchTask) -> SearchState:
        """Nothing to search."""
        return SearchState()

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the uniform plan."""
        widest = int((size.ratio or 1.0) * task.layout.dim + 1e-9)
        width = min(self.config.width or widest, widest) if size.ratio else self.config.width or widest
        if width < 1:
            raise PlanError(
                f"a plan budget of {size.ratio:g} is below a uniform width of 1 (d = {task.layout.dim})."
            )
        return uniform(task.layout, width)
