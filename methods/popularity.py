"""`popularity`: random distributions of widths over frequency ranks, the best by a supernet on held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from nasbench_rec.methods._prefix import PrefixEmbedding, score_widths, some_rows
from nasbench_rec.methods._ranking import limit_of, plan_bytes

from nasbench_rec.cost import VALUE_BYTES
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import EmbeddingPlan, RowDims, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask, uniform_bytes

Draw = Callable[[np.random.Generator, float, int], np.ndarray]
"""Relative sizes [n] of one field, from a shape parameter beta."""
FAMILIES: dict[str, tuple[float, Draw]] = {
    "power law": (20.0, lambda rng, beta, n: rng.random(n) ** (1 / beta)),
    "exponential": (5.0, lambda rng, beta, n: -np.log1p(-rng.random(n) * -np.expm1(-beta)) / beta),
    "normal": (20.0, lambda rng, beta, n: _half_normal(rng, beta, n)),
    "log-normal": (0.5, lambda rng, beta, n: np.exp(beta * rng.standard_normal(n))),
}
"""Families with the largest beta: x^(beta - 1) and exp(-beta x) on [0, 1], |N(0, beta)| cut at 1, exp(N(0, beta))."""


@dataclass(frozen=True)
class PopularityConfig:
    """Settings of `popularity`."""

    actions: int = setting(
        64,
        "width assignments that are scored for each plan",
        source="paper: 50 rounds of 100, of which a predictor chooses one for evaluation",
        space={"type": "int", "low": 8, "high": 512, "log": True},
        stage="derive",
    )
    score_rows: int = setting(
        20_000, "most search rows that an assignment is scored on", source="ours", stage="derive"
    )
    epochs: int | None = setting(None, "most epochs of the supernet; none: the protocol's", source="ours")
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours",
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse a search of nothing."""
        if self.actions < 1 or self.score_rows < 2:
            raise ConfigError(
                f"popularity: actions = {self.actions} must be at least 1, score_rows = {self.score_rows} at least 2."
            )


class Popularity(Searcher):
    """A value's width follows from its frequency rank, by distributions that are searched as wholes:

        s_f ~ Dirichlet(1) shares of the budget,    z_fr ~ family(beta),  beta ~ U(0, beta_max),  sorted by rank r,
        k_fr = min(d, floor(B s_f z_fr / sum_r z_fr)),    the more frequent value never narrower,

    with one of four families for each action, and B the most entries whose plan fits the budget, index included; what
    rounding leaves over goes to the largest remainders. A supernet is trained once on the training rows with prefix
    widths drawn anew for each instance and field; each action is scored by its AUC on search rows, without training,
    and the best is trained from scratch.
    """

    info = MethodInfo(
        name="popularity",
        title="Widths by distributions over frequency ranks (BET)",
        level="row",
        data="train+search",
        budget="granular",
        plans=("row_dims", "field_dims"),
        faithfulness="inferred",
        paper="Qu et al., Budgeted Embedding Table For Recommender Systems, WSDM 2024, arXiv:2310.14884",
        year=2024,
        deviations=(
            "the paper's users and items are the fields here; shares of the budget are drawn for all fields",
            "actions are scored by one supernet; the paper trains the pretrained model on for each action that it "
            "evaluates, and chooses these by a learned predictor",
            "the shapes of the families are inferred from their names and the ranges of their parameter",
            "widths may be 0 and the budget holds; the code's least width of 1 may exceed it",
            "the best action is retrained; the paper retrains the best three or five",
        ),
    )
    Config = PopularityConfig

    def search(self, task: SearchTask) -> SearchState:
        """Train the supernet."""
        model = task.build(lambda: PrefixEmbedding(task.layout))
        task.fit(model, epochs=self.config.epochs)
        return SearchState(model.state_dict())

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the best of the drawn assignments that fit the budget."""
        limit = limit_of(task, size, self.config.ratio)
        if limit >= uniform_bytes(task.layout):
            return uniform(task.layout)
        model = task.build(lambda: PrefixEmbedding(task.layout))
        model.load_state_dict(dict(state.tensors))
        rng = task.rng("actions")
        rows = some_rows(task.search, self.config.score_rows, task.rng("rows"))
        best, scores, families = None, [], []
        for _ in range(self.config.actions):
            family, weights = draw_weights(task.counts, rng)
            widths = self._fitting(task, weights, limit)
            scores.append(score_widths(task, model, widths, rows))
            families.append(family)
            if scores[-1] == max(scores):
                best = widths
        assert best is not None
        task.diagnose("scores", scores)
        task.diagnose("families", families)
        return RowDims(row_widths=best)

    def _fitting(self, task: SearchTask, weights: np.ndarray, limit: int) -> np.ndarray:
        """Return the widths of the most entries that fit, int32 [V]."""
        low, high = 0, limit // VALUE_BYTES
        while low < high:
            middle = (low + high + 1) // 2
            widths = apportion(weights, middle, task.layout.dim)
            fits = plan_bytes(task, RowDims(row_widths=widths)) <= limit
            low, high = (middle, high) if fits else (low, middle - 1)
        if low == 0:
            raise PlanError(f"a plan budget of {limit} bytes holds no row and its index; give a larger one.")
        return apportion(weights, low, task.layout.dim)


def draw_weights(counts: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """Draw one action: the name of its family, and each row's share of the entries [V], sum 1.

    Within a field a value that is more frequent has no smaller share than one that is less.
    """
    family = str(rng.choice(list(FAMILIES)))
    most, draw = FAMILIES[family]
    shares = rng.dirichlet(np.ones(len(counts)))
    found = []
    for share, count in zip(shares, counts, strict=True):
        sizes = np.sort(draw(rng, max(rng.uniform(0, most), 1e-3), len(count)))[::-1] + 1e-12
        weights = np.empty(len(count))
        weights[np.argsort(-count, kind="stable")] = share * sizes / sizes.sum()
        found.append(weights)
    return family, np.concatenate(found)


def apportion(weights: np.ndarray, entries: int, dim: int) -> np.ndarray:
    """Return whole widths in 0..d that sum to `entries` (or to all there are), in proportion to `weights`: int32 [V].

    Whole parts first, then a column each for the largest remainders; what exceeds d goes to the other rows.
    """
    entries = min(entries, len(weights) * dim)
    low, high = 0.0, max(1.0, float(dim / weights.min()))
    for _ in range(60):  # the scale at which the whole parts sum to no more than `entries`
        middle = (low + high) / 2
        fits = np.minimum(np.floor(middle * weights), dim).sum() <= entries
        low, high = (middle, high) if fits else (low, middle)
    widths = np.minimum(np.floor(low * weights), dim)
    remainder = np.where(widths < dim, low * weights - widths, -1.0)
    widths[np.argsort(-remainder, kind="stable")[: entries - int(widths.sum())]] += 1
    return widths.astype(np.int32)


def _half_normal(rng: np.random.Generator, beta: float, n: int) -> np.ndarray:
    """Draw |N(0, beta)| cut at 1, by its inverse distribution function."""
    from scipy.special import erf, erfinv

    return beta * np.sqrt(2) * erfinv(rng.random(n) * erf(1 / (beta * np.sqrt(2))))
