"""`dimreg`: a static gate per field and column, polarized: iHAS' regularizer without instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._polarization import regularizer
from nasbench_rec.methods._ranking import columns_that_fit
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import Embedding
from nasbench_rec.plans import ColumnMask, EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Bilevel, Frozen, Hook, ParamGroup, Step

SHARPNESS = 5.0
"""s in g = sigmoid(s theta)."""


@dataclass(frozen=True)
class DimRegConfig:
    """Settings of `dimreg`."""

    lam: float = setting(
        0.1,
        "lambda: weight of the regularizer (a mean over gates)",
        source="re-implementation",
        space={"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    )
    t: float = setting(
        1.0,
        "weight of the L1 part: asks for the keep-rate 1/2 - t/4 where the regularizer dominates",
        source="re-implementation: 1 in effect (its 1.7, 'best in their paper', is not used)",
        space={"type": "float", "low": -1.0, "high": 2.0},
    )
    learn_on: Literal["search", "train"] = setting(
        "search",
        "rows on which the gates learn: the search split, in turns with the weights, or the weights' own batches",
        source="re-implementation: held-out rows",
        space={"type": "categorical", "choices": ["search", "train"]},
    )
    structure_lr: float = setting(
        1e-3,
        "Adam's learning rate of theta",
        source="inferred",
        space={"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    )
    warmup_epochs: int = setting(
        2,
        "epochs with all gates at 1/2 before they learn",
        source="re-implementation: 0; 2: measured on planted data",
        space={"type": "int", "low": 0, "high": 4},
    )
    epochs: int | None = setting(
        None, "epochs in which gates learn; none: the protocol's less the warm-up", source="inferred"
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if self.lam < 0 or self.structure_lr <= 0 or self.warmup_epochs < 0:
            raise ConfigError("dimreg: lam and warmup_epochs must be at least 0, structure_lr above 0.")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"dimreg.epochs = {self.epochs}: must be at least 1.")


class DimRegEmbedding(Embedding):
    """The whole table times g = sigmoid(s theta), [B, F, d]; `theta` [F, d] starts at 0, g at 1/2."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.theta = nn.Parameter(torch.zeros(len(layout.fields), layout.dim))
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def gates(self) -> Tensor:
        """Return g, [F, d]."""
        return (SHARPNESS * self.theta).sigmoid()

    def forward(self, ids: Tensor) -> Tensor:
        """Return the gated embeddings."""
        return self.lookup(ids) * self.gates()


class _Penalty(Hook):
    """Adds lambda R to the training loss and steps theta beside the weights (`learn_on` = train)."""

    def __init__(self, embedding: DimRegEmbedding, config: DimRegConfig) -> None:
        self.embedding, self.config = embedding, config

    def groups(self) -> Sequence[ParamGroup]:
        """Return theta with its own learning rate and no decay."""
        return (ParamGroup((self.embedding.theta,), self.config.structure_lr),)

    def extra_loss(self, step: Step) -> Tensor:
        """Return lambda R."""
        return penalty(self.embedding.gates(), self.config)


class DimReg(Searcher):
    """One gate for each field and column, the same for all samples:

        x_fj = g_fj e_fj,    g = sigmoid(5 theta),    loss = BCE + lambda mean(t g - |g - mean(g)|).

    The gates learn on the search rows, all else on the training rows, in turns. Columns with theta > 0 (g > 1/2) are
    kept and the model is trained from scratch. Under a plan budget the columns of largest g that fit are kept
    instead, whatever the sign of theta: a benchmark variant.

    Without a warm-up the regularizer closes gates before their embeddings have learned anything: on planted data (tier
    T2, DeepFM, one search each) the rank correlation of the kept columns with the planted widths is -.11, with two
    epochs of warm-up .43.
    """

    info = MethodInfo(
        name="dimreg",
        title="DimReg",
        level="column",
        data="train+search",
        budget="granular",
        plans=("column_mask",),
        faithfulness="inferred",
        paper="known to us by its re-implementation in the code of DimGrow, arXiv:2505.12683; regularizer: "
        "Zhuang et al., Neuron-level Structured Pruning using Polarization Regularizer, NeurIPS 2020",
        year=2020,
        deviations=(
            "the paper of the method was not at hand; the year is the regularizer's",
            "the gated embeddings go into the backbone; the re-implementation maps them by one linear layer first",
            "two epochs with all gates at 1/2 come first; the preset paper has none",
            "gates are stepped at the current weights, without look-ahead",
            "the search runs for the protocol's epochs and takes the last gates",
            "a search that closes every gate keeps the column of largest gate",
            "plan budgets, met by the columns of largest gate, are ours",
        ),
    )
    Config = DimRegConfig
    presets = {"paper": {"warmup_epochs": 0}}

    def search(self, task: SearchTask) -> SearchState:
        """Train weights and gates."""
        model = task.build(lambda: DimRegEmbedding(task.layout))
        embedding = model.embedding
        assert isinstance(embedding, DimRegEmbedding)
        warmup = self.config.warmup_epochs
        if warmup:
            task.fit(model, [Frozen([embedding.theta])], epochs=warmup, early_stopping=False)
        epochs = self.config.epochs or max(1, task.protocol.epochs - warmup)
        task.fit(model, [self._gate_steps(task, embedding)], epochs=epochs, early_stopping=False)
        gates = embedding.gates().detach().cpu()
        task.diagnose("gates", gates.numpy())
        task.diagnose("near_0", float((gates < 0.1).float().mean()))
        task.diagnose("near_1", float((gates > 0.9).float().mean()))
        return SearchState({"theta": embedding.theta.detach()})

    def _gate_steps(self, task: SearchTask, embedding: DimRegEmbedding) -> Hook:
        config = self.config
        if config.learn_on == "train":
            return _Penalty(embedding, config)
        return Bilevel(
            [embedding.theta],
            task.search,
            task.protocol,
            task.seed,
            lr=config.structure_lr,
            loss=lambda step: penalty(embedding.gates(), config),
        )

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the columns with theta > 0, or under a plan budget those of largest theta that fit."""
        theta = state.tensors["theta"].cpu().numpy()
        limit = size.bytes(task.layout)
        return ColumnMask(mask=open_columns(theta) if limit is None else columns_that_fit(task, theta, limit))


def penalty(gates: Tensor, config: DimRegConfig) -> Tensor:
    """Return lambda R over all gates [F, d]: the inner mean is over all of them."""
    return config.lam * regularizer(gates.view(1, -1), config.t, 1.0, "sample")


def open_columns(theta: np.ndarray) -> np.ndarray:
    """Return theta > 0, bool [F, d]; where none is, the largest."""
    mask = theta > 0
    if not mask.any():
        mask.flat[theta.argmax()] = True
    return mask
