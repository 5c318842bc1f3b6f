"""`dimgrow`: fields start with one column each and grow or shrink by what their columns are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from nasbench_rec.methods._ranking import columns_that_fit, dims_plan
from nasbench_rec.methods._shuffle import ShuffleGatedEmbedding
from torch import Tensor

from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Bilevel, Hook, Step

PENALTY = 0.1
"""What the code multiplies fs_weight by."""


@dataclass(frozen=True)
class DimGrowConfig:
    """Settings of `dimgrow`; the preset `paper` has the code's learning rate."""

    fs_weight: float = setting(
        0.02,
        "weight of the gates in their loss, times 0.1",
        source="code: 0.02 on Criteo, 0.1 on MovieLens-1M, 0.005 on Avazu",
        space={"type": "float", "low": 1e-3, "high": 10.0, "log": True},
    )
    structure_lr: float = setting(
        1e-2,
        "Adam's learning rate of theta: a field grows after .08 of it, so one column takes about .08 / rate steps",
        source="code: 1e-3; 1e-2: inferred, for short searches",
        space={"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    )
    grow: float = setting(0.6, "a field whose gates are all above gets another column", source="code")
    shrink: float = setting(0.01, "a field whose least gate is below loses that column", source="code")
    most: int | None = setting(
        None, "columns of all fields together, at most, while searching; none: no limit", source="code: 1000"
    )
    epochs: int | None = setting(None, "epochs of the search; none: the protocol's", source="inferred")

    def __post_init__(self) -> None:
        """Refuse thresholds that make no sense."""
        if not 0 <= self.shrink < 0.5 < self.grow < 1:
            raise ConfigError(
                f"dimgrow: 0 <= shrink = {self.shrink} < 0.5 < grow = {self.grow} < 1 must hold."
            )


class Growth(Hook):
    """Adds and removes columns after each step: in the mask alone, so that no optimiser is built anew."""

    def __init__(
        self, embedding: ShuffleGatedEmbedding, config: DimGrowConfig, forget: Callable[[int, int], None]
    ) -> None:
        self.embedding, self.config, self.forget = embedding, config, forget
        self.widths: list[list[int]] = []

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Let each field grow by one column, or lose one."""
        c, active = self.config, self.embedding.active.bool().cpu()
        gates, limit = self.embedding.gates().cpu(), c.most or active.numel()
        for field, (on, g) in enumerate(zip(active, gates, strict=True)):
            if on.any() and float(g[on].min()) < c.shrink:
                self._set(field, int(torch.where(on, g, 2.0).argmin()), 0.0)
            elif not on.all() and bool((g[on] > c.grow).all()) and on.any() and int(active.sum()) < limit:
                self._set(field, int((~on).int().argmax()), 1.0)
                active[field, int((~on).int().argmax())] = True

    def _set(self, field: int, column: int, value: float) -> None:
        """Switch a column; one that comes starts at theta = 0, a gate of 1/2, with no memory of gradients."""
        self.embedding.active[field, column] = value
        if value:
            self.embedding.theta[field, column] = 0.0
            self.forget(field, column)

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Note the widths."""
        self.widths.append([int(w) for w in self.embedding.active.sum(1)])


class DimGrow(Searcher):
    """Each field has a few active columns, at first one; each active column has a gate between its value and that of a
    random other row of the batch:

        x_fj = g_fj e_fj + (1 - g_fj) sg(shuffle_fj(e_fj)),    g = sigmoid(5 theta),    theta = 0 at first,
        theta by BCE + 0.1 fs_weight mean(g_fj / i_fj) over active columns on search rows, all else by BCE on training
        rows, in turns; i_fj = 1, 2, ... counts the active columns of the field.

    After every step a field whose active gates are all above 0.6 gets another column, and one whose least gate is
    below 0.01 loses it. The width of a field is the number of its active columns with theta > 0; 0 drops the field.
    The model is trained from scratch.

    Under a plan budget active columns are taken in falling order of their gates, then inactive ones in the order in
    which they would come, those of fields that would not grow last: a benchmark variant.
    """

    info = MethodInfo(
        name="dimgrow",
        title="DimGrow",
        level="field",
        data="train+search",
        budget="granular",
        plans=("field_dims",),
        faithfulness="repaired",
        paper="Huang and Chu, DimGrow: Memory-Efficient Field-level Embedding Dimension Search, arXiv:2505.12683",
        year=2025,
        deviations=(
            "the table has all d columns from the start and a mask says which are active, so memory is that of the "
            "uniform model; what is learned is the same",
            "the optimisers are never built anew: gates never move on training rows and moments are kept, which the "
            "code loses at the first growth",
            "theta has a learning rate ten times the code's, so that fields can grow in few epochs; the preset paper "
            "has the code's",
            "narrow fields are padded with zeros in the search; the code maps all columns by one linear layer",
            "columns are shuffled by cyclic shifts of a batch in random order, a random one for each column",
            "the retraining uses the protocol's alignment and backbone",
            "a search that closes every gate keeps the column of largest gate",
            "plan budgets are ours",
        ),
    )
    Config = DimGrowConfig
    presets = {"paper": {"structure_lr": 1e-3}}

    def search(self, task: SearchTask) -> SearchState:
        """Train weights and gates in turns, and let the fields grow."""
        c = self.config
        model = task.build(lambda: ShuffleGatedEmbedding(task.layout, 0.0))
        embedding = model.embedding
        assert isinstance(embedding, ShuffleGatedEmbedding)
        embedding.active[:, 1:] = 0.0
        gate_steps = Bilevel(
            [embedding.theta],
            task.search,
            task.protocol,
            task.seed,
            lr=c.structure_lr,
            loss=lambda step: PENALTY * c.fs_weight * penalty(embedding.gates(), embedding.active),
        )

        def forget(field: int, column: int) -> None:
            for moment in gate_steps.optimizer.state[embedding.theta].values():
                if moment.dim():
                    moment[field, column] = 0.0

        growth = Growth(embedding, c, forget)
        task.fit(model, [gate_steps, growth], epochs=c.epochs, early_stopping=False)
        task.diagnose("widths", growth.widths)
        task.diagnose("gates", embedding.gates().detach().cpu().numpy())
        return SearchState({"theta": embedding.theta.detach(), "active": embedding.active})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the number of active columns with theta > 0 of each field, or what of them fits the budget."""
        theta, active = (state.tensors[k].cpu().numpy() for k in ("theta", "active"))
        limit = size.bytes(task.layout)
        if limit is None:
            mask = (theta > 0) & (active > 0)
            if not mask.any():
                mask.flat[np.where(active > 0, theta, -np.inf).argmax()] = True
            return dims_plan(mask)
        return dims_plan(columns_that_fit(task, order(theta, active > 0), limit, dims_plan))


def penalty(gates: Tensor, active: Tensor) -> Tensor:
    """Return the mean over active columns of g / i, i the place among the field's active ones; all [F, d]."""
    return (gates * active / active.cumsum(1).clamp_min(1)).sum() / active.sum().clamp_min(1)


def order(theta: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return scores [F, d]: theta of active columns, and below all of them the others, in the order of growth.

    Of the inactive columns the first of each field comes first; fields whose mean theta is not above 0 come last, as
    they would not grow.
    """
    counts = active.sum(1)
    mean = np.where(active, theta, 0).sum(1) / np.maximum(counts, 1)
    place = (~active).cumsum(1) + np.where(mean > 0, 0, theta.size)[:, None]
    # A whole range of theta between places, so that fields are in the order of their means within each.
    spread, top = np.ptp(theta) + np.ptp(mean) + 1.0, theta.max() + 1.0
    return np.where(active, theta, theta.min() - place * spread + (mean - top)[:, None])
