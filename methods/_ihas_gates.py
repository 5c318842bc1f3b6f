"""Stage 1 of iHAS: a gate per sample, field and column, its relaxation, and what the gates say of given rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from nasbench_rec.methods._ihas_trend import GateWatch
from torch import Tensor

from nasbench_rec.data import Split
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.model import CTRModel, Embedding, EmbeddingShape
from nasbench_rec.routers import GateNetwork
from nasbench_rec.training import PREDICT_ROWS, ids_of


class GatedEmbedding(Embedding):
    """e(x) * m(x), [B, F, d]. Without gates while `open`; deterministic masks 1[pi > cut] in evaluation.

    `std`: deviation of the table's initial values (None: the layout's). `sampled` makes evaluation sample its masks
    as training does, so that the gap between the two can be measured.
    """

    def __init__(
        self,
        layout: Layout,
        make_gate: Callable[[], GateNetwork],
        std: float | None = None,
        tau: float = 0.5,
        hard: bool = True,
    ) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout if std is None else replace(layout, std=std), layout.dim)
        self.gate = make_gate()
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)
        self.tau, self.hard, self.cut, self.open, self.sampled = tau, hard, 0.5, False, False
        self.watch: GateWatch | None = None
        self.probabilities: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        """Return the masked embedding; keeps pi [B, D] of a gated training pass for the regularizer."""
        e = self.lookup(ids)
        self.probabilities = None
        if self.open:
            return e
        logits = self.gate(e.flatten(1))
        if not (self.training or self.sampled):
            return e * (logits.sigmoid() > self.cut).view_as(e)
        self.probabilities = logits.sigmoid()
        soft = binary_concrete(logits, self.tau)
        mask = straight_through(soft) if self.hard else soft
        if self.watch is not None:
            self.watch.watch(logits, soft, mask, self.tau)
        return e * mask.view_as(e)


def binary_concrete(logits: Tensor, tau: float) -> Tensor:
    """Sample relaxed Bernoulli masks, sigmoid((logit + log u - log(1 - u)) / tau) with u ~ U(0, 1), as `logits`."""
    u = torch.rand_like(logits).clamp_(1e-7, 1 - 1e-7)
    return ((logits + u.log() - (-u).log1p()) / tau).sigmoid()


def straight_through(soft: Tensor) -> Tensor:
    """Return 0/1 masks 1[soft > .5] that have the gradient of `soft`."""
    return (soft > 0.5).to(soft.dtype) + soft - soft.detach()


@torch.no_grad()
def gate_outputs(model: CTRModel, split: Split, device: str) -> tuple[Tensor, Tensor]:
    """Return e(x) and the gate logits of every row, both [N, D] on the CPU."""
    embedding = model.eval().embedding
    assert isinstance(embedding, GatedEmbedding)
    found = []
    for ids in ids_of(split).split(PREDICT_ROWS):
        e = embedding.lookup(ids.to(device)).flatten(1)
        found.append((e.cpu(), embedding.gate(e).cpu()))
    return torch.cat([e for e, _ in found]), torch.cat([g for _, g in found])


def selection_cut(pi: Tensor, selection: str, keep: float) -> float:
    """Return c of m = 1[pi > c]: 0.5, the histogram's valley, or the quantile that keeps a share `keep`."""
    if selection == "half":
        return 0.5
    if selection == "topk":
        return float(np.quantile(pi.flatten().numpy(), 1 - keep))
    counts, edges = np.histogram(pi.numpy(), bins=50, range=(0.0, 1.0))
    # The valley between the peaks next to 0 and to 1; the middle of a flat one.
    low, high = int(counts[:25].argmax()), 25 + int(counts[25:].argmax())
    valley = np.flatnonzero(counts[low : high + 1] == counts[low : high + 1].min()) + low
    middle = int(valley[len(valley) // 2])
    return float((edges[middle] + edges[middle + 1]) / 2)
