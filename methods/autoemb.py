"""`autoemb`: widths by popularity: a controller mixes candidate widths for each value from its count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from nasbench_rec.methods._candidates import candidate_widths
from torch import Tensor, nn

from nasbench_rec.embeddings import Layout, MixtureEmbedding
from nasbench_rec.model import CTRModel
from nasbench_rec.plans import EmbeddingPlan, RowDims, Soft
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Bilevel

MODEL = "model."
CONTROLLER = "embedding.controller."


@dataclass(frozen=True)
class AutoEmbConfig:
    """Settings of `autoemb`; all are inferred, as the paper is about streams of users and items."""

    mode: Literal["hard", "soft"] = setting(
        "hard",
        "hard: each bucket's candidate of largest weight, trained from scratch; soft: serve the mixture, no saving",
        source="paper: soft; hard: inferred, AutoDim's table 1 lists it with two fifths of the parameters",
        space={"type": "categorical", "choices": ["hard", "soft"]},
        stage="derive",
    )
    candidates: tuple[int, ...] | None = setting(
        None, "candidate widths, ascending; none: 2, d/2 and d", source="paper: 2, 16, 128"
    )
    controller: Literal["per_field", "shared"] = setting(
        "per_field",
        "one controller for each field, or one for all (then a count means the same width in every field)",
        source="inferred: the paper has one for users and one for items",
        space={"type": "categorical", "choices": ["per_field", "shared"]},
    )
    bucket_base: float = setting(
        2.0, "values share a bucket by the whole part of log(1 + count) to this base", source="inferred"
    )
    hidden: int = setting(
        16,
        "width of the popularity embedding and of the controller's hidden layer",
        source="inferred",
        space={"type": "int", "low": 4, "high": 64, "log": True},
    )
    batch_norm: bool = setting(
        False,
        "normalise each candidate's transformed embedding; makes the pair terms of FM-type backbones explode",
        source="paper: true; false: measured on planted data",
        space={"type": "categorical", "choices": [True, False]},
    )
    tanh: bool = setting(True, "tanh on each candidate's transformed embedding", source="paper")
    every: int = setting(
        1, "training steps per controller step", source="paper", space={"type": "int", "low": 1, "high": 20}
    )
    structure_lr: float = setting(
        1e-2,
        "Adam's learning rate of the controller",
        source="paper: 1e-3 or 1e-4; 1e-2: measured on planted data",
        space={"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    )


def popularity(counts: Sequence[np.ndarray], base: float) -> np.ndarray:
    """Return the popularity bucket of each stacked row, int64 [V]: floor(log(1 + count) / log(base))."""
    return np.floor(np.log1p(np.concatenate(counts)) / np.log(base) + 1e-9).astype(np.int64)


class Controller(nn.Module):
    """Popularity bucket -> learned embedding -> hidden layer -> softmax over candidates; starts even.

    `copies` controllers of their own weights; the output is stacked, [copies * buckets, N].
    """

    def __init__(self, copies: int, buckets: int, hidden: int, candidates: int) -> None:
        super().__init__()
        self.popularity = nn.Parameter(torch.randn(copies, buckets, hidden))
        self.inner = nn.Parameter(torch.randn(copies, hidden, hidden) / hidden**0.5)
        self.inner_bias = nn.Parameter(torch.zeros(copies, 1, hidden))
        self.outer = nn.Parameter(torch.zeros(copies, hidden, candidates))
        self.outer_bias = nn.Parameter(torch.zeros(copies, 1, candidates))

    def forward(self) -> Tensor:
        """Return the mixture of every bucket."""
        hidden = torch.baddbmm(self.inner_bias, self.popularity, self.inner).relu()
        return torch.baddbmm(self.outer_bias, hidden, self.outer).softmax(2).flatten(0, 1)


class AutoEmbEmbedding(MixtureEmbedding):
    """The supernet's embedding: the mixture of a row comes from the controller."""

    controller: Controller

    def mixture(self) -> Tensor:
        """Return p [G, N]."""
        return self.controller()


class AutoEmb(Searcher):
    """The embedding of a value is a mixture of N candidate widths, by its popularity and not by its identity:

        e(v) = sum_n p_n(v) tanh(BN(W_n e_n(v) + b_n)),    p(v) = softmax(MLP_f(u[bucket(v)])),

    W_n and b_n shared by all fields, bucket(v) = floor(log2(1 + count(v))). The controller (u and MLP_f) is
    trained on the search rows, all else on the training rows, in turns.

    `hard` gives a value the width of its bucket's largest weight and trains from scratch; `soft` serves the
    mixture with its weights, as published, and is dearer than the uniform model.
    """

    info = MethodInfo(
        name="autoemb",
        title="AutoEmb (CTR form)",
        level="row",
        data="train+search",
        budget="none",
        plans=("row_dims", "soft"),
        faithfulness="inferred",
        paper="Zhao et al., AutoEmb: Automated Embedding Dimensionality Search in Streaming Recommendations, "
        "ICDM 2021, arXiv:2002.11252",
        year=2021,
        deviations=(
            "popularity is the training count in log buckets; the paper's grows along a stream",
            "the controller sees popularity only, not its previous weights or losses, and starts even instead "
            "of at the smallest width",
            "the controller learns on the search split instead of the previous batch of the stream",
            "no batch normalisation by default: with it the pair terms of FM-type backbones explode",
            "hard widths and their retraining, the default, are not in the paper",
        ),
    )
    Config = AutoEmbConfig
    presets = {"hard": {"mode": "hard"}, "soft": {"mode": "soft"}}

    def search(self, task: SearchTask) -> SearchState:
        """Train the supernet and its controller; early stopping as in any training, as it may be served."""
        layout, config = task.layout, self.config
        candidates = candidate_widths(config.candidates, (2, layout.dim // 2, layout.dim), layout.dim)
        groups, sizes = self._groups(task)
        model = task.build(lambda: self._embedding(layout, candidates, groups, sizes))
        embedding = model.embedding
        assert isinstance(embedding, AutoEmbEmbedding)
        task.fit(model, [self._controller_steps(task, embedding)])
        with torch.no_grad():
            found = embedding.mixture()[: groups.max() + 1]
        task.diagnose("probabilities", found.cpu().numpy())
        tensors = {"probabilities": found, "groups": torch.from_numpy(groups), **_served(model)}
        return SearchState(tensors, {"candidates": list(candidates)})

    def _groups(self, task: SearchTask) -> tuple[np.ndarray, tuple[int, int]]:
        """Return the mixture that each stacked row uses, int64 [V], and how many controllers and buckets."""
        bucket = popularity(task.counts, self.config.bucket_base)
        buckets = int(bucket.max()) + 1
        if self.config.controller == "shared":
            return bucket, (1, buckets)
        return task.layout.field_of_row * buckets + bucket, (len(task.fields), buckets)

    def _embedding(
        self, layout: Layout, candidates: tuple[int, ...], groups: np.ndarray, sizes: tuple[int, int]
    ) -> AutoEmbEmbedding:
        even = np.full((1, len(candidates)), 1 / len(candidates))
        found = AutoEmbEmbedding(layout, candidates, groups, even, **self._transform())
        found.controller = Controller(*sizes, self.config.hidden, len(candidates))
        return found

    def _transform(self) -> dict[str, Any]:
        return {"per_field": False, "norm": self.config.batch_norm, "tanh": self.config.tanh}

    def _controller_steps(self, task: SearchTask, embedding: AutoEmbEmbedding) -> Bilevel:
        lr, every = self.config.structure_lr, self.config.every
        parameters = list(embedding.controller.parameters())
        return Bilevel(parameters, task.search, task.protocol, task.seed, lr=lr, every=every)

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the hardened widths or the mixture itself; the plan budget has no say."""
        candidates = state.values["candidates"]
        probabilities, groups = (state.tensors[name].cpu().numpy() for name in ("probabilities", "groups"))
        if self.config.mode == "hard":
            return RowDims(row_widths=np.array(candidates)[probabilities.argmax(1)][groups])
        weights = {k.removeprefix(MODEL): v for k, v in state.tensors.items() if k.startswith(MODEL)}
        return Soft(
            candidates=tuple(candidates),
            probabilities=probabilities,
            group_of_row=groups,
            recipe="none",
            weights=weights,
            **self._transform(),
        )


def _served(model: CTRModel) -> dict[str, Tensor]:
    """The model's weights without the controller, prefixed."""
    return {MODEL + k: v for k, v in model.state_dict().items() if not k.startswith(CONTROLLER)}
