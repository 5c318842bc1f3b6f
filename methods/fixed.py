"""`fixed`: the uniform model, one width for every field. Every comparison is paired with it."""

from __future__ import annotations

from dataclasses import dataclass

from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import EmbeddingPlan, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class FixedConfig:
    """Settings of `fixed`."""

    width: int | None = setting(
        None,
        "width of every field; none: `factor` times the base width, or the widest that the plan budget allows",
        source="ours",
        stage="derive",
    )
    factor: float = setting(
        1.0,
        "width as a multiple of the base width d, whatever d is (rounded down)",
        source="ours: the base width",
        space={"type": "categorical", "choices": [0.25, 0.5, 1.0, 2.0]},
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse widths that make no sense, and two at once."""
        if self.factor <= 0 or (self.width is not None and self.width < 1):
            raise ConfigError(f"fixed: width = {self.width} and factor = {self.factor}: must be above 0.")
        if self.width is not None and self.factor != 1:
            raise ConfigError("fixed: give `width` or `factor`, not both.")


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
        width = self.config.width or int(self.config.factor * task.layout.dim + 1e-9)
        if size.ratio:
            width = min(width, int(size.ratio * task.layout.dim + 1e-9))
        if width < 1:
            budget = f"a plan budget of {size.ratio:g}" if size.ratio else f"factor = {self.config.factor:g}"
            raise PlanError(f"{budget} is below a uniform width of 1 (d = {task.layout.dim}).")
        return uniform(task.layout, width)
