"""`mde`: mixed dimensions by a power law of the field's cardinality. A closed form: nothing is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import EmbeddingPlan, FieldDims
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class MDEConfig:
    """Settings of `mde`; none needs a search."""

    alpha: float = setting(
        0.3,
        "temperature: 0 gives every field the same width, 1 gives widths inverse to cardinalities",
        source="code: the value of its scripts",
        space={"type": "float", "low": 0.0, "high": 1.0},
        stage="derive",
    )
    sign: Literal["paper", "reversed"] = setting(
        "paper",
        "paper: small fields get the widest embeddings; reversed: large fields do",
        source="paper; reversed is a control of ours",
        space={"type": "categorical", "choices": ["paper", "reversed"]},
        stage="derive",
    )
    pow2: bool = setting(
        False, "round widths to the nearest power of two", source="code: optional, off", stage="derive"
    )
    keep_small: int = setting(
        0,
        "fields of at most this many values keep the base width; 0: the rule holds for all",
        source="paper: no such exception; the code has one at 200",
        stage="derive",
    )


class MDE(Searcher):
    """Widths by the power law d_f = lambda p_f^alpha of the mean query probability p_f = 1 / n_f of a row.

    Without a plan budget lambda gives the smallest field the base width d_0,

        d_f = d_0 (n_min / n_f)^alpha,

    rounded, at least 1. Under a plan budget lambda is the one whose plan, projections included, costs most
    without exceeding the budget. A narrower field is projected to the widest by a matrix without bias.
    """

    info = MethodInfo(
        name="mde",
        title="MDE (mixed dimensions by cardinality)",
        level="field",
        data="counts",
        budget="granular",
        plans=("field_dims",),
        faithfulness="faithful",
        paper="Ginart et al., Mixed Dimension Embeddings with Application to Memory-Efficient Recommendation "
        "Systems, ISIT 2021, arXiv:1909.11810",
        year=2021,
        deviations=(
            "one block per field; the popularity blocks of collaborative filtering are left out",
            "widths never exceed the base width d, so a plan budget of 1 is the uniform model",
            "a plan budget counts the projections; the paper's lambda = B / sum(n_f^(1 - alpha)) does not",
            "the code's exception for fields of at most 200 values is an option (keep_small), off here",
        ),
        stochastic=False,
    )
    Config = MDEConfig

    def search(self, task: SearchTask) -> SearchState:
        """Nothing to search."""
        return SearchState()

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the power law's widths; PlanError where not even its narrowest plan fits the budget."""
        shares = self._shares(task.layout.cardinalities)
        limit = size.bytes(task.layout)
        if limit is None:
            return self._plan(task, shares, task.layout.dim)
        costs = [
            (_bytes(task, self._plan(task, shares, scale)), scale)
            for scale in _scales(shares, task.layout.dim)
        ]
        fitting = [found for found in costs if found[0] <= limit]
        if not fitting:
            raise PlanError(
                f"the narrowest plan takes {min(costs)[0]} bytes, more than the {limit} of {size.ratio:g}."
            )
        return self._plan(task, shares, max(fitting)[1])

    def _shares(self, cardinalities: np.ndarray) -> np.ndarray:
        """Width of each field relative to the widest, (n_min / n_f)^alpha, float [F]."""
        power = -self.config.alpha if self.config.sign == "paper" else self.config.alpha
        raw = cardinalities.astype(float) ** power
        return raw / raw.max()

    def _plan(self, task: SearchTask, shares: np.ndarray, scale: float) -> FieldDims:
        """The plan in which the widest field of the rule has the width `scale` before rounding."""
        dim = task.layout.dim
        widths = np.clip(np.floor(scale * shares + 0.5), 1, dim)
        if self.config.pow2:
            widths = np.minimum(2 ** np.round(np.log2(widths)), dim)
        widths = np.where(task.layout.cardinalities <= self.config.keep_small, dim, widths)
        return FieldDims(dims=tuple(int(w) for w in widths), bias=False)


def _scales(shares: np.ndarray, dim: int) -> np.ndarray:
    """Every scale at which some field's rounded width grows, ascending: all plans of the power law."""
    halves = np.arange(dim) + 0.5
    return np.unique(np.outer(1 / shares, halves)) * (1 + 1e-9)


def _bytes(task: SearchTask, plan: FieldDims) -> int:
    return task.cost(plan).bytes(EMBEDDING_PARTS)
