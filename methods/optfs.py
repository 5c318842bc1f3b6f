"""`optfs`: feature values kept or dropped by a gate each, annealed to a step, learned beside the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, row_plan, rows_that_fit
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import Embedding
from nasbench_rec.plans import EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.tables import pool
from nasbench_rec.training import Hook, ParamGroup, Step

W0 = 0.5
"""Initial w of every row."""
TICKET = 1 / torch.tensor(W0).sigmoid()
"""What an open gate ends at, 1 / sigmoid(w0) = 1.607: it starts at 1."""
REWOUND = "rewound."
"""Prefix of the weights that the retraining goes back to."""


@dataclass(frozen=True)
class OptFSConfig:
    """Settings of `optfs`; the preset `paper` has the values of its code for DeepFM on Criteo."""

    lam: float = setting(
        5e-3,
        "lambda: weight of the gates' sum over all rows, or of their mean (`penalty`)",
        source="code: 5e-9 of a sum over 1.1 M rows, 5e-3 of their mean",
        space={"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    )
    penalty: Literal["mean", "sum"] = setting(
        "mean",
        "what lambda weighs; a mean holds for tables of any size",
        source="code: sum; mean: ours",
    )
    final_tau: float = setting(
        200.0,
        "temperature of the last epoch; it grows by the same factor from epoch to epoch, from 1",
        source="code: 200 on Criteo, 1000 and 5000 on other data",
        space={"type": "float", "low": 20.0, "high": 5000.0, "log": True},
    )
    gate_lr: float | None = setting(
        1e-2,
        "Adam's learning rate of the gates; none: that of the weights",
        source="code: that of the weights, over 15 epochs of 9,000 steps; 1e-2: ours, as short searches have few steps",
        space={"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    )
    rewind_epoch: int = setting(
        1,
        "epoch at whose start the weights are kept that the retraining goes back to; 0: the initial ones",
        source="code: 1 on Criteo, 3 on Avazu, 0 on KDD12",
        space={"type": "int", "low": 0, "high": 3},
    )
    epochs: int | None = setting(None, "epochs of the search; none: the protocol's", source="code: 5 to 15")

    def __post_init__(self) -> None:
        """Refuse a temperature that falls."""
        if self.final_tau < 1 or self.rewind_epoch < 0:
            raise ConfigError(
                f"optfs: final_tau = {self.final_tau} must be at least 1 and rewind_epoch = {self.rewind_epoch} "
                "at least 0."
            )


class OptFSEmbedding(Embedding):
    """e_i g_i, [B, F, d], with a gate for each row of the table; `tau` moves only when a hook sets it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.w = nn.Parameter(torch.full((layout.rows,), W0))
        self.tau = 1.0
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def gates(self, w: Tensor) -> Tensor:
        """Return g = sigmoid(tau w) / sigmoid(w0)."""
        return (self.tau * w).sigmoid() * TICKET.to(w.device)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the gated embeddings."""
        local, rows = self.lookup.rows(ids)
        gates = self.gates(self.w.index_select(0, rows.flatten())).view(*rows.shape, 1)
        return pool(self.lookup.table(rows) * gates, local, self.lookup.fields)


class _Continuation(Hook):
    """Anneals tau, adds the penalty, and keeps the weights of the rewinding epoch."""

    def __init__(self, embedding: OptFSEmbedding, config: OptFSConfig, lr: float, epochs: int) -> None:
        self.embedding, self.config, self.epochs = embedding, config, epochs
        self.lr = config.gate_lr or lr
        self.rewound: dict[str, Tensor] = {}
        self.kept: list[float] = []

    def groups(self) -> Sequence[ParamGroup]:
        """Return w with its own learning rate and no decay."""
        return (ParamGroup((self.embedding.w,), self.lr),)

    def before_step(self, step: Step) -> None:
        """Set tau_e = T^(e / (E - 1)); keep the weights where the retraining shall start."""
        self.embedding.tau = self.config.final_tau ** (step.epoch / max(self.epochs - 1, 1))
        if not self.rewound and step.epoch >= min(self.config.rewind_epoch, self.epochs - 1):
            self.rewound = {k: v.detach().cpu().clone() for k, v in step.model.state_dict().items()}

    def extra_loss(self, step: Step) -> Tensor:
        """Return lambda times the sum (or mean) of sigmoid(tau w) over all rows, looked up or not."""
        gates = (self.embedding.tau * self.embedding.w).sigmoid()
        return self.config.lam * (gates.mean() if self.config.penalty == "mean" else gates.sum())

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Note the share of rows whose gate would stay open."""
        self.kept.append(float((self.embedding.w > 0).float().mean()))


class OptFS(Searcher):
    """A gate for each feature value i, annealed from 1 everywhere to a step at w = 0:

        g_i = sigmoid(tau w_i) / sigmoid(w_0),    w_0 = 1/2,    tau_e = T^(e / (E - 1)) in epoch e of E,
        x_i = g_i e_i,    loss = BCE + lambda sum_i sigmoid(tau w_i)    over all rows of the table.

    Gates and weights learn together on the training rows. Values with w_i > 0 are kept whole, the others dropped; the
    model goes back to its weights at the start of an early epoch, the table times 1 / sigmoid(w_0), the value at which
    open gates end, and trains on without gates. Under a plan budget the rows of largest w that fit are kept instead,
    whatever the sign of w: a benchmark variant.
    """

    info = MethodInfo(
        name="optfs",
        title="OptFS",
        level="row",
        data="train",
        budget="exact",
        plans=("row_dims",),
        faithfulness="repaired",
        paper="Lyu et al., Optimizing Feature Set for Click-Through Rate Prediction, WWW 2023, arXiv:2301.10909",
        year=2023,
        deviations=(
            "lambda weighs the mean over rows, so that it holds for tables of any size; the code's sum is an option",
            "gates have a learning rate of their own, ten times the weights'; the preset paper has the code's",
            "the whole model is rewound, batch normalisation and cross layers included; the code forgets the biases of "
            "the cross layers",
            "the temperature reaches every backbone; the code's IPNN never receives it",
            "the factor of open gates is folded into the rewound table once; the code multiplies in every pass",
            "first-order weights have no gates",
            "the retraining has the protocol's epochs and patience; the code stops at the first fall of validation AUC",
            "plan budgets, met by the rows of largest w, are ours",
        ),
    )
    Config = OptFSConfig
    presets = {"paper": {"lam": 5e-9, "penalty": "sum", "gate_lr": None}}

    def search(self, task: SearchTask) -> SearchState:
        """Train weights and gates together; return w and the weights to go back to."""
        model = task.build(lambda: OptFSEmbedding(task.layout))
        embedding = model.embedding
        assert isinstance(embedding, OptFSEmbedding)
        epochs = self.config.epochs or task.protocol.epochs
        left = task.budget.epochs_left(len(task.train))
        epochs = epochs if left is None else max(1, min(epochs, left))
        hook = _Continuation(embedding, self.config, task.protocol.lr, epochs)
        task.fit(model, [hook], epochs=epochs, early_stopping=False)
        task.diagnose("kept", hook.kept)
        del hook.rewound["embedding.w"]
        rewound = {REWOUND + name: value for name, value in hook.rewound.items()}
        return SearchState({"w": embedding.w.detach(), **rewound})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the rows with w > 0, or under a plan budget those of largest w, with the rewound weights."""
        w, limit = state.tensors["w"].cpu().numpy(), size.bytes(task.layout)
        mask = open_rows(w) if limit is None else rows_that_fit(task, w, limit)
        weights = {k.removeprefix(REWOUND): v for k, v in state.tensors.items() if k.startswith(REWOUND)}
        weights[MASKED_TABLE] = weights[MASKED_TABLE] * TICKET * torch.from_numpy(mask)[:, None]
        return replace(row_plan(mask, task.layout), recipe="rewind", weights=weights)


def open_rows(w: np.ndarray) -> np.ndarray:
    """Return w > 0, bool [V]; where none is, the largest."""
    mask = w > 0
    if not mask.any():
        mask[w.argmax()] = True
    return mask
