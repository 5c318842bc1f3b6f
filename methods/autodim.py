"""`autodim`: one of N candidate widths per field, chosen by a Gumbel-softmax relaxation on held-out rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec.embeddings import Layout, MixtureEmbedding
from nasbench_rec.plans import EmbeddingPlan, FieldDims
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Bilevel, Hook, Step

TAU_DECAY, TAU_FLOOR = 5e-5, 0.01


@dataclass(frozen=True)
class AutoDimConfig:
    candidates: tuple[int, ...] | None = setting(None, "c")
    every: int = setting(10, "e")
    structure_lr: float = setting(1e-3, "l")
    tau_steps: int | None = setting(None, "t")
    batch_norm: bool = setting(True, "bn")


class AutoDimEmbedding(MixtureEmbedding):
    """The supernet's embedding"""

    def __init__(self, layout: Layout, candidates: Sequence[int], norm=True, scale=1.0) -> None:
        fields, n = len(layout.fields), len(candidates)
        uniform = np.full((fields, n), 1 / n)
        super().__init__(layout, candidates, layout.field_of_row, uniform, per_field=True, norm=norm)
        self.logits = nn.Parameter(torch.zeros(fields, n))
        self.tau = 1.0
        self.scale = scale

    def mixture(self) -> Tensor:
        log_alpha = torch.log_softmax(self.logits, 1)
        if not self.training:
            return log_alpha.exp()
        gumbel = -torch.empty_like(log_alpha).exponential_().log()
        return torch.softmax((log_alpha + gumbel) / self.tau, 1)

    def aligned(self, ids):
        return [x * self.scale for x in super().aligned(ids)]

    def shares(self, ids: Tensor) -> Tensor:
        return self.mixture().unsqueeze(0)


class Temperature(Hook):
    def __init__(self, embedding: AutoDimEmbedding, steps: int | None) -> None:
        self.embedding = embedding
        self.decay = TAU_DECAY if steps is None else (1 - TAU_FLOOR) / steps

    def before_step(self, step: Step) -> None:
        self.embedding.tau = max(TAU_FLOOR, 1 - self.decay * step.index)


class AutoDim(Searcher):
    info = MethodInfo(
        name="autodim",
        title="AutoDim",
        level="field",
        data="train+search",
        budget="none",
        plans=("field_dims",),
        faithfulness="faithful",
    )
    Config = AutoDimConfig

    def search(self, task: SearchTask) -> SearchState:
        c = self.config
        candidates = c.candidates or tuple(2**k for k in range(1, 9) if 2**k <= task.layout.dim)
        model = task.build(lambda: AutoDimEmbedding(task.layout, candidates, c.batch_norm))
        e = model.embedding
        bilevel = Bilevel([e.logits], task.search, task.protocol, task.seed, lr=c.structure_lr, every=c.every)
        task.fit(model, [Temperature(e, c.tau_steps), bilevel], early_stopping=False)
        return SearchState({"logits": e.logits}, {"candidates": list(candidates)})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        best = state.tensors["logits"].argmax(1).tolist()
        return FieldDims(dims=tuple(state.values["candidates"][n] for n in best), bias=True)
