"""`amtl`: a prefix width per feature value from its frequency, by two small networks and a straight-through argmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, plan_bytes, rows_that_fit
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.model import Embedding
from nasbench_rec.plans import EmbeddingPlan, RowDims
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask, uniform_bytes
from nasbench_rec.tables import pool
from nasbench_rec.training import Hook, ParamGroup

MODEL = "model."
"""Prefix of the search model's weights in the state."""


@dataclass(frozen=True)
class AMTLConfig:
    """Settings of `amtl`."""

    temperature: float = setting(
        1.0,
        "T of the softmax over widths",
        source="inferred: the paper has one, its value was not at hand",
        space={"type": "float", "low": 0.1, "high": 5.0, "log": True},
    )
    hidden: int = setting(
        16,
        "width of the hidden layer of both networks",
        source="inferred",
        space={"type": "int", "low": 4, "high": 64, "log": True},
    )
    structure_lr: float = setting(
        1e-2,
        "Adam's learning rate of the two networks",
        source="inferred; 1e-2: ours, as short searches have few steps",
        space={"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    )
    recipe: Literal["scratch", "finetune", "none"] = setting(
        "scratch",
        "scratch: train anew; finetune, none: go on from or serve the search's weights, for alignment zero_pad alone",
        source="paper: none; scratch: ours, as narrow rows meet the backbone by the protocol's alignment",
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse a temperature that divides by nothing."""
        if self.temperature <= 0 or self.hidden < 1:
            raise ConfigError(
                f"amtl: temperature = {self.temperature} must be above 0, hidden = {self.hidden} at least 1."
            )


class WidthNetworks(nn.Module):
    """Logits over the widths 1..d from frequency features [V, 2], by a network for the head and one for the tail."""

    share: Tensor
    features: Tensor

    def __init__(self, features: np.ndarray, width: int, hidden: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("features", torch.from_numpy(features).float(), persistent=False)
        # u, the weight of the head network: sigmoid of the normalised frequency.
        self.register_buffer("share", self.features[:, :1].sigmoid(), persistent=False)
        self.head, self.tail = (
            nn.Sequential(nn.Linear(features.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, width))
            for _ in range(2)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Return p [N, d] of the rows [N]."""
        features, u = self.features.index_select(0, rows), self.share.index_select(0, rows)
        logits = u * self.head(features) + (1 - u) * self.tail(features)
        return (logits / self.temperature).softmax(1)


class AMTLEmbedding(Embedding):
    """The first k_i columns of each row i, k_i the likeliest width, with the gradient of the whole distribution."""

    prefixes: Tensor

    def __init__(self, layout: Layout, features: np.ndarray, config: AMTLConfig) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.widths = WidthNetworks(features, layout.dim, config.hidden, config.temperature)
        # Row k-1 of M has k ones.
        self.register_buffer("prefixes", torch.ones(layout.dim, layout.dim).tril(), persistent=False)
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def masks(self, rows: Tensor) -> Tensor:
        """Return t M [N, d] with t = onehot(argmax p) + p - sg(p)."""
        p = self.widths(rows)
        hard = torch.zeros_like(p).scatter_(1, p.argmax(1, keepdim=True), 1.0)
        return (hard + p - p.detach()) @ self.prefixes

    def forward(self, ids: Tensor) -> Tensor:
        """Return the masked embeddings, [B, F, d]."""
        local, rows = self.lookup.rows(ids)
        mask = self.masks(rows.flatten()).view(*rows.shape, -1)
        return pool(self.lookup.table(rows) * mask, local, self.lookup.fields)


class _Rate(Hook):
    """Steps the two networks beside the weights, with their own rate and no decay."""

    def __init__(self, networks: nn.Module, lr: float) -> None:
        self.networks, self.lr = networks, lr

    def groups(self) -> Sequence[ParamGroup]:
        """Return the networks' weights."""
        return (ParamGroup(tuple(self.networks.parameters()), self.lr),)


class AMTL(Searcher):
    """Each row i keeps its first k_i columns; k_i follows from features s_i of its frequency:

        p_i = softmax((u_i h(s_i) + (1 - u_i) l(s_i)) / T),    s_i = (log count, rank within the field), normalised,
        t_i = onehot(argmax p_i) + p_i - sg(p_i),    x_i = (t_i M) * e_i,    row k of M = k ones, then zeros,

    h and l two small networks for frequent and rare values, u_i = sigmoid(normalised log count). All is trained end to
    end on the training rows by BCE alone: nothing asks for small widths but the fit, and nothing but the frequency of a
    value is seen, not its field. k_i = argmax p_i is stored per row.

    Under a plan budget, which the paper does not have, a price c per column is found by bisection such that
    k_i = argmax_k (log p_ik - c k) fits; where even one column for each row is too dear, rare rows are dropped.
    """

    info = MethodInfo(
        name="amtl",
        title="AMTL (adaptively-masked twins-based layer)",
        level="row",
        data="train",
        budget="granular",
        plans=("row_dims",),
        faithfulness="inferred",
        paper="Yan et al., Learning Effective and Efficient Embedding via an Adaptively-Masked Twins-based Layer, "
        "CIKM 2021, arXiv:2108.11513",
        year=2021,
        deviations=(
            "the paper's hyper-parameters were not at hand; networks, temperature and rates are inferred",
            "the model of the found widths is trained from scratch; the paper serves the search's weights, which is an "
            "option where widths are aligned by zeros",
            "the whole search has the protocol's early stopping",
            "plan budgets are ours: a price per column on the learned log-probabilities",
        ),
    )
    Config = AMTLConfig

    def search(self, task: SearchTask) -> SearchState:
        """Train weights and networks together; return log p of every row."""
        features = frequency_features(task.counts)
        model = task.build(lambda: AMTLEmbedding(task.layout, features, self.config))
        embedding = model.embedding
        assert isinstance(embedding, AMTLEmbedding)
        task.fit(model, [_Rate(embedding.widths, self.config.structure_lr)])
        with torch.no_grad():
            rows = torch.arange(task.layout.rows, device=embedding.prefixes.device)
            log_p = embedding.widths(rows).clamp_min(1e-30).log()
        kept = np.bincount(log_p.argmax(1).cpu().numpy() + 1, minlength=task.layout.dim + 1)
        task.diagnose("rows_of_width", kept)
        weights = {k: v for k, v in model.state_dict().items() if not k.startswith("embedding.widths.")}
        return SearchState({"log_p": log_p, **{MODEL + k: v for k, v in weights.items()}})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the likeliest widths, or under a plan budget those at the price at which they fit."""
        log_p, limit = state.tensors["log_p"].cpu().double().numpy(), size.bytes(task.layout)
        widths = priced(log_p, 0.0) if limit is None else self._fitting(task, log_p, limit)
        if self.config.recipe == "scratch":
            return RowDims(row_widths=widths)
        if task.layout.alignment != "zero_pad":
            raise PlanError(
                f"amtl.recipe = {self.config.recipe!r}: the search's weights fit rows that are padded with zeros; set "
                "protocol.alignment = 'zero_pad', or recipe = 'scratch'."
            )
        weights = {k.removeprefix(MODEL): v for k, v in state.tensors.items() if k.startswith(MODEL)}
        mask = np.arange(task.layout.dim)[None, :] < widths[:, None]
        weights[MASKED_TABLE] = weights[MASKED_TABLE] * torch.from_numpy(mask)
        recipe: Literal["inherit", "none"] = "inherit" if self.config.recipe == "finetune" else "none"
        return RowDims(row_widths=widths, recipe=recipe, weights=weights)

    def _fitting(self, task: SearchTask, log_p: np.ndarray, limit: int) -> np.ndarray:
        """Return the widths [V] at the least price that fits `limit` bytes."""
        if limit >= uniform_bytes(task.layout):
            return np.full(len(log_p), task.layout.dim, dtype=np.int32)
        low, high = 0.0, float(np.ptp(log_p)) + 1.0  # at the upper price every row has one column
        if plan_bytes(task, RowDims(row_widths=priced(log_p, low))) <= limit:
            return priced(log_p, low)
        if plan_bytes(task, RowDims(row_widths=priced(log_p, high))) > limit:
            return self._frequent(task, limit)
        for _ in range(50):
            middle = (low + high) / 2
            fits = plan_bytes(task, RowDims(row_widths=priced(log_p, middle))) <= limit
            low, high = (low, middle) if fits else (middle, high)
        task.diagnose("price", high)
        return priced(log_p, high)

    def _frequent(self, task: SearchTask, limit: int) -> np.ndarray:
        """Return one column for as many of the most frequent rows as fit."""
        # A plan of whole rows of a table of one column is the same thing.
        counts = np.concatenate(task.counts).astype(float)
        kept = rows_that_fit(task, counts, limit, width=1)
        return kept.astype(np.int32)


def priced(log_p: np.ndarray, price: float) -> np.ndarray:
    """Return k = argmax_k (log p_k - price k) of each row, int32 [V], for log p [V, d] of the widths 1..d."""
    widths = np.arange(1, log_p.shape[1] + 1)
    return (log_p - price * widths).argmax(1).astype(np.int32) + 1


def frequency_features(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Return log(1 + count) and the rank within the field (0 rarest, 1 most frequent), normalised: [V, 2]."""
    logs = np.log1p(np.concatenate(counts))
    ranks = np.concatenate([np.argsort(np.argsort(c, kind="stable")) / max(len(c) - 1, 1) for c in counts])
    found = np.stack([logs, ranks], 1)
    return (found - found.mean(0)) / (found.std(0) + 1e-8)
