"""`random`: random widths per field at a matched cost. The control of every search, and the model answer:

a search method is one class in one file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import EmbeddingPlan, FieldDims
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class RandomConfig:
    """Settings of `random`."""

    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours",
        stage="derive",
    )


class Random(Searcher):
    """Widths 0..d drawn at random, trimmed and filled column by column until nothing more fits the budget."""

    info = MethodInfo(
        name="random",
        title="Random field widths at equal cost",
        level="field",
        data="none",
        budget="granular",
        plans=("field_dims",),
        faithfulness="reference",
    )
    Config = RandomConfig

    def search(self, task: SearchTask) -> SearchState:
        """Nothing to search."""
        return SearchState()

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Draw widths uniformly, drop random columns while too dear, then add random ones that still fit."""
        limit = PlanBudget(size.ratio or self.config.ratio).bytes(task.layout)
        rng = task.rng("widths")
        fields, dim = len(task.fields), task.layout.dim
        dims = rng.integers(0, dim + 1, fields)
        while not _fits(task, dims, limit):
            dims[rng.choice(np.flatnonzero(dims))] -= 1
        for f in rng.permutation(np.repeat(np.arange(fields), dim)):
            wider = dims + (np.arange(fields) == f)
            if wider[f] <= dim and _fits(task, wider, limit):
                dims = wider
        if not dims.any():
            raise PlanError(f"no field fits into {limit} bytes; give a larger plan budget than {size.ratio}.")
        return FieldDims(dims=tuple(int(w) for w in dims))


def _fits(task: SearchTask, dims: np.ndarray, limit: int | None) -> bool:
    if limit is None or not dims.any():
        return True
    return task.cost(FieldDims(dims=tuple(int(w) for w in dims))).bytes(EMBEDDING_PARTS) <= limit
