"""`autoemb`: widths by popularity: a controller mixes candidate widths for each value from its count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec.embeddings import Layout, MixtureEmbedding
from nasbench_rec.plans import EmbeddingPlan, RowDims, Soft
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Bilevel


@dataclass(frozen=True)
class AutoEmbConfig:
    candidates: tuple[int, ...] | None = setting(None, "c")
    mode: Literal["hard", "soft"] = setting("hard", "m", stage="derive")
    controller: Literal["per_field", "shared"] = setting("per_field", "c")
    hidden: int = setting(16, "h")
    every: int = setting(1, "e")
    structure_lr: float = setting(1e-3, "l")
    batch_norm: bool = setting(True, "bn")
    tanh: bool = setting(True, "bn")
    early_stopping: bool = setting(True, "bn")


def popularity(counts) -> np.ndarray:
    return np.floor(np.log2(1 + np.concatenate(counts))).astype(np.int64)


class Controller(nn.Module):
    def __init__(self, copies: int, buckets: int, hidden: int, candidates: int) -> None:
        super().__init__()
        self.popularity = nn.Parameter(torch.randn(copies, buckets, hidden))
        self.inner = nn.Parameter(torch.randn(copies, hidden, hidden) / hidden**0.5)
        self.inner_bias = nn.Parameter(torch.zeros(copies, 1, hidden))
        self.outer = nn.Parameter(torch.zeros(copies, hidden, candidates))
        self.outer_bias = nn.Parameter(torch.zeros(copies, 1, candidates))

    def forward(self) -> Tensor:
        hidden = torch.relu(torch.baddbmm(self.inner_bias, self.popularity, self.inner))
        return torch.baddbmm(self.outer_bias, hidden, self.outer).softmax(2).flatten(0, 1)


class AutoEmbEmbedding(MixtureEmbedding):
    def __init__(
        self, layout: Layout, candidates, groups: np.ndarray, controller: Controller, norm, tanh
    ) -> None:
        n = len(candidates)
        super().__init__(
            layout, candidates, groups, np.full((1, n), 1 / n), per_field=False, norm=norm, tanh=tanh
        )
        self.controller = controller

    def mixture(self) -> Tensor:
        return self.controller()


class AutoEmb(Searcher):
    info = MethodInfo(
        name="autoemb",
        title="AutoEmb",
        level="row",
        data="train+search",
        budget="none",
        plans=("row_dims", "soft"),
        faithfulness="inferred",
    )
    Config = AutoEmbConfig
    presets = {"soft": {"mode": "soft"}, "hard": {"mode": "hard"}}

    def search(self, task: SearchTask) -> SearchState:
        c = self.config
        d = task.layout.dim
        candidates = c.candidates or tuple(sorted({2, d // 2, d}))
        bucket = popularity(task.counts)
        nb = int(bucket.max()) + 1
        copies = len(task.fields) if c.controller == "per_field" else 1
        groups = bucket + (task.layout.field_of_row * nb if copies > 1 else 0)
        model = task.build(
            lambda: AutoEmbEmbedding(
                task.layout,
                candidates,
                groups,
                Controller(copies, nb, c.hidden, len(candidates)),
                c.batch_norm,
                c.tanh,
            )
        )
        e = model.embedding
        bilevel = Bilevel(
            list(e.controller.parameters()),
            task.search,
            task.protocol,
            task.seed,
            lr=c.structure_lr,
            every=c.every,
        )
        r = task.fit(model, [bilevel], early_stopping=c.early_stopping)
        p = e.mixture().detach()[: int(groups.max()) + 1]
        weights = {f"model.{k}": v for k, v in model.state_dict().items() if "controller" not in k}
        return SearchState(
            {"p": p, "groups": torch.from_numpy(groups), **weights}, {"candidates": list(candidates)}
        )

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        p, groups = state.tensors["p"].numpy(), state.tensors["groups"].numpy()
        cand = np.array(state.values["candidates"])
        if self.config.mode == "hard":
            return RowDims(row_widths=cand[p.argmax(1)][groups])
        w = {k.removeprefix("model."): v for k, v in state.tensors.items() if k.startswith("model.")}
        return Soft(
            candidates=tuple(cand.tolist()),
            probabilities=p,
            group_of_row=groups,
            norm=self.config.batch_norm,
            tanh=self.config.tanh,
            recipe="none",
            weights=w,
        )
