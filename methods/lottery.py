"""`lottery`: iterative magnitude pruning of the table with rewind; one run ranks all entries for every budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from nasbench_rec.methods._ranking import (
    MASKED_TABLE,
    UNIFORM_TABLE,
    entries_that_fit,
    limit_of,
    masked_state,
)
from torch import Tensor

from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import EmbeddingPlan, EntryMask, Recipe, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Hook, Step

REWOUND = "rewound."
"""Prefix of the weights to which each round goes back, by their names in the uniform model."""


@dataclass(frozen=True)
class LotteryConfig:
    """Settings of `lottery`."""

    rate: float = setting(
        0.2,
        "share of the remaining entries that each round prunes",
        source="paper: 0.2",
        space={"type": "float", "low": 0.1, "high": 0.7},
    )
    rounds: int = setting(
        14,
        "rounds, each a whole training; below (1 - rate)^rounds of the entries the last round's ranking decides",
        source="ours: 0.8^14 = 0.044 reaches a twentieth",
        space={"type": "int", "low": 1, "high": 20},
    )
    rewind_epoch: int = setting(
        0,
        "epochs of the first training after which the weights are kept that every round goes back to; 0: the initial",
        source="paper: 0; later papers rewind to an early epoch",
        space={"type": "int", "low": 0, "high": 3},
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours",
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse rounds that prune nothing or everything."""
        if not 0 < self.rate < 1 or self.rounds < 1 or self.rewind_epoch < 0:
            raise ConfigError(
                f"lottery: rate = {self.rate} must lie between 0 and 1, rounds = {self.rounds} be at least 1 and "
                f"rewind_epoch = {self.rewind_epoch} at least 0."
            )


class Lottery(Searcher):
    """Train, prune the smallest entries, go back to the weights of the start, and again:

        E_r = train(M_r * E_0),    M_(r+1) = M_r less the share `rate` of its entries of least |E_r|,

    backbone and first-order weights going back to their start in every round. An entry that falls in round r ranks
    below all that fall later, and inside a round by |E_r|: one ranking, and the mask of any budget is the one that
    iterating would give with its last round cut short. The plan trains from the same start under its mask.
    """

    info = MethodInfo(
        name="lottery",
        title="Lottery ticket (iterative magnitude pruning)",
        level="entry",
        data="train",
        budget="exact",
        plans=("entry_mask",),
        faithfulness="faithful",
        paper="Frankle and Carbin, The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks, "
        "ICLR 2019, arXiv:1803.03635",
        year=2019,
        deviations=(
            "only the embedding table is pruned, with one threshold over the whole of it; the paper prunes the layers "
            "of image classifiers",
            "each round is trained with early stopping on validation, as every model here",
            "one ranking serves all plan budgets",
        ),
    )
    Config = LotteryConfig

    def search(self, task: SearchTask) -> SearchState:
        """Run the rounds; return the ranking of all entries and the weights to go back to."""
        trained, start = self._first(task)
        alive, fallen, kept = np.arange(trained.size), [], []
        for r in range(self.config.rounds):
            if r:
                mask = np.zeros(trained.size, dtype=bool)
                mask[alive] = True
                trained = _train_masked(task, start, mask.reshape(trained.shape))
            kept.append(len(alive) / trained.size)
            alive = alive[np.argsort(np.abs(trained).ravel()[alive], kind="stable")]
            fallen.append(alive[: round(self.config.rate * len(alive))])
            alive = alive[len(fallen[-1]) :]
        ranking = np.empty(trained.size, dtype=np.int64)
        ranking[np.concatenate([*fallen, alive])] = np.arange(trained.size)
        task.diagnose("kept", kept)
        tensors = {REWOUND + name: value for name, value in start.items()}
        return SearchState({"ranking": torch.from_numpy(ranking.reshape(trained.shape)), **tensors})

    def _first(self, task: SearchTask) -> tuple[np.ndarray, dict[str, Tensor]]:
        """Return the trained table of the first round, [V, d], and the weights that every round starts from."""
        model = task.build_plan(uniform(task.layout))
        start = {name: value.cpu().clone() for name, value in model.state_dict().items()}
        if not self.config.rewind_epoch:
            return task.trained_uniform()[UNIFORM_TABLE].cpu().numpy(), start
        keeper = _Keep(self.config.rewind_epoch)
        task.fit(model, [keeper])
        return model.state_dict()[UNIFORM_TABLE].cpu().numpy(), keeper.weights or start

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the mask of the entries that fall last, with the weights to start from."""
        ranking = state.tensors["ranking"].numpy()
        mask = entries_that_fit(ranking, limit_of(task, size, self.config.ratio))
        start = {k.removeprefix(REWOUND): v for k, v in state.tensors.items() if k.startswith(REWOUND)}
        recipe: Recipe = "rewind" if self.config.rewind_epoch else "same_init"
        return EntryMask(mask=mask, recipe=recipe, weights=masked_state(start, mask))


class _Keep(Hook):
    """Keeps the weights after a number of epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.weights = epochs, dict[str, Tensor]()

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Copy the weights when it is time."""
        if step.epoch + 1 == self.epochs:
            self.weights = {k: v.detach().cpu().clone() for k, v in step.model.state_dict().items()}


def _train_masked(task: SearchTask, start: dict[str, Tensor], mask: np.ndarray) -> np.ndarray:
    """Return the table [V, d] of the model that was trained from `start` under `mask`."""
    model = task.build_plan(EntryMask(mask=mask))
    model.load_state_dict(masked_state(start, mask))
    task.fit(model)
    return model.state_dict()[MASKED_TABLE].cpu().numpy()
