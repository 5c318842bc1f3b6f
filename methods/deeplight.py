"""`deeplight`: gradual magnitude pruning of the table while the model trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._ranking import (
    PRUNED,
    UNIFORM_TABLE,
    entries_that_fit,
    largest,
    limit_of,
    masked_state,
)
from torch import nn

from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import EmbeddingPlan, EntryMask, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Hook, Step

PAPER_ITERATIONS = 46_000
"""After so many iterations the code's schedule has reached 99 % of its target: 1 - 0.99^460 = 0.990."""


@dataclass(frozen=True)
class DeepLightConfig:
    """Settings of `deeplight`."""

    warm_epochs: int = setting(
        2,
        "epochs before pruning starts",
        source="code: 2 of 10",
        space={"type": "int", "low": 0, "high": 5},
    )
    every: int = setting(
        10,
        "training steps from cut to cut",
        source="code",
        space={"type": "int", "low": 1, "high": 50},
        stage="derive",
    )
    schedule: Literal["share", "iterations"] = setting(
        "share",
        "share: the code's curve, stretched so that the training's end is at 99 % of the target; iterations: as it is",
        source="code: iterations, 99 % after 46,000; share: ours, as short trainings never get there",
        stage="derive",
    )
    epochs: int | None = setting(
        None, "epochs with pruning; none: the rest of the protocol's", source="code: 8 of 10", stage="derive"
    )
    recipe: Literal["none", "finetune"] = setting(
        "none",
        "none: serve the pruned weights; finetune: train on from them under the mask",
        source="code: none",
        space={"type": "categorical", "choices": ["none", "finetune"]},
        stage="derive",
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours; code: a tenth of the entries and less",
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse schedules that make no sense."""
        if self.warm_epochs < 0 or self.every < 1:
            raise ConfigError(
                f"deeplight: warm_epochs = {self.warm_epochs} must be at least 0 and every = {self.every} at least 1."
            )


class Cuts(Hook):
    """Sets the smallest entries of a table to zero, more and more of them; they may grow again until the next cut."""

    def __init__(self, table: nn.Parameter, sparsity: float, every: int, schedule: str) -> None:
        self.table, self.sparsity, self.every, self.schedule = table, sparsity, every, schedule
        self.rates: list[float] = []

    def rate(self, step: Step) -> float:
        """Return the share of entries that are zero after this step's cut, r_n = target (1 - 0.99^(n / 100))."""
        n = step.index + 1
        n_code = n if self.schedule == "iterations" else PAPER_ITERATIONS * n / step.total
        return self.sparsity * (1 - 0.99 ** (n_code / 100))

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Cut where it is time."""
        if (step.index + 1) % self.every:
            return
        cut = round(self.rate(step) * self.table.numel())
        if cut:
            flat = self.table.view(-1)
            flat[flat.abs().topk(cut, largest=False).indices] = 0.0

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Note the share of zeros."""
        self.rates.append(float((self.table == 0).float().mean()))


class DeepLight(Searcher):
    """After a warm-up, every few iterations the entries of least |w| of the whole table are set to zero, up to a rate

        r_n = (1 - k / (V d)) (1 - 0.99^(n / 100)),    n iterations since the warm-up, k entries that the budget allows.

    There is no mask between cuts: an entry that training moves back may stay. A last cut at the end of the training
    leaves exactly k entries, which are served as they are. As the curve depends on k, the warm-up is the search, and
    the training with cuts is done for each plan budget, and charged to the search.
    """

    info = MethodInfo(
        name="deeplight",
        title="DeepLight (gradual magnitude pruning)",
        level="entry",
        data="train",
        budget="exact",
        plans=("entry_mask",),
        faithfulness="repaired",
        paper="Deng et al., DeepLight: Deep Lightweight Feature Interactions for Accelerating CTR Predictions in Ad "
        "Serving, WSDM 2021, arXiv:2002.06987",
        year=2021,
        deviations=(
            "only the embedding table is pruned; the paper also prunes the layers of the network and the field matrix",
            "a last cut makes the rate exact; in the code it holds right after a cut alone",
            "the curve is stretched to the length of the training; the code's is an option",
            "the optimiser starts anew after the warm-up",
            "the backbone is the task's; the paper's is FwFM with a deep part",
        ),
    )
    Config = DeepLightConfig
    presets = {"finetune": {"recipe": "finetune"}}

    def search(self, task: SearchTask) -> SearchState:
        """Warm up."""
        model = task.build_plan(uniform(task.layout))
        if self.config.warm_epochs:
            task.fit(model, epochs=self.config.warm_epochs, early_stopping=False)
        return SearchState(model.state_dict())

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Train with cuts down to the entries that the budget allows; return their mask and all weights."""
        c = self.config
        model = task.build_plan(uniform(task.layout))
        model.load_state_dict(dict(state.tensors))
        table = model.get_parameter(UNIFORM_TABLE)
        shape = tuple(table.shape)
        kept = int(entries_that_fit(np.zeros(shape), limit_of(task, size, c.ratio)).sum())
        cuts = Cuts(table, 1 - kept / table.numel(), c.every, c.schedule)
        epochs = c.epochs or max(1, task.protocol.epochs - c.warm_epochs)
        task.fit(model, [cuts], epochs=epochs, early_stopping=False)
        task.diagnose("zeros", cuts.rates)
        weights = {k: v.cpu() for k, v in model.state_dict().items()}
        mask = largest(weights[UNIFORM_TABLE].abs().numpy(), kept)
        return EntryMask(mask=mask, recipe=PRUNED[c.recipe], weights=masked_state(weights, mask))
