"""Embeddings whose use is decided per sample and that are served as they are: the whole table, and a gate.

Letters in shapes: B samples, C id columns, F fields, d base width, D = F d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.model import Embedding
from nasbench_rec.routers import GateNetwork


class ColumnGate(GateNetwork):
    """A 0/1 gate per field and column: e * 1[sigmoid(g(e)) > cut] (iHAS without clusters).

    The cut has no gradient: a search trains `layers` by a relaxation of its own.
    """

    kind = "column"

    def __init__(
        self, layout: Layout, hidden: Sequence[int] = (), cut: float = 0.5, products: int = 0
    ) -> None:
        super().__init__(len(layout.fields) * layout.dim, hidden, products=products)
        self.cut = cut

    def masks(self, e: Tensor) -> Tensor:
        """Return which columns of e [B, F, d] are used, bool [B, D]."""
        return self(e.flatten(1)).sigmoid() > self.cut

    def serve(self, e: Tensor) -> Tensor:
        """Return e [B, F, d] with zeros where its gates are closed; what is kept is not scaled."""
        return e * self.masks(e).view_as(e)


class FieldGate(nn.Module):
    """A weight per field from all embeddings side by side: w_f(e) e_f with w = softmax(controller(e)) (AdaFS).

    The controller is linear with batch normalisation, then with `relu` a ReLU and dropout. `hard` keeps the largest
    k = max(1, floor(`keep` F)) weights, divided by their sum, and gives the other fields 0. With `norm` the
    embeddings are batch-normalised first, each column over samples and fields, by a learned scale and shift.
    """

    kind = "field"

    def __init__(
        self,
        layout: Layout,
        hard: bool = False,
        keep: float = 0.5,
        norm: bool = False,
        relu: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        fields = len(layout.fields)
        self.kept = max(1, int(keep * fields + 1e-9)) if hard else fields
        self.norm = nn.BatchNorm1d(layout.dim) if norm else None
        rest = [nn.ReLU(), nn.Dropout(dropout)] if relu else []
        linear = nn.Linear(fields * layout.dim, fields)
        nn.init.xavier_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        self.controller = nn.Sequential(linear, nn.BatchNorm1d(fields), *rest)

    def normed(self, e: Tensor) -> Tensor:
        """Return the embeddings [B, F, d] that are weighted."""
        return e if self.norm is None else self.norm(e.transpose(1, 2)).transpose(1, 2)

    def weights(self, e: Tensor) -> Tensor:
        """Return w [B, F] for `normed` embeddings; each row sums to 1."""
        w = self.controller(e.flatten(1)).softmax(1)
        if self.kept == w.shape[1]:
            return w
        best, index = w.topk(self.kept, 1)
        return torch.zeros_like(w).scatter(1, index, best / best.sum(1, keepdim=True))

    def masks(self, e: Tensor) -> Tensor:
        """Return which fields of e [B, F, d] are used, bool [B, F]."""
        return self.weights(self.normed(e)) > 0

    def serve(self, e: Tensor) -> Tensor:
        """Return w_f e_f, [B, F, d]."""
        e = self.normed(e)
        return e * self.weights(e).unsqueeze(2)


GATES: dict[str, type[Any]] = {cls.kind: cls for cls in (ColumnGate, FieldGate)}


class GatedLookup(Embedding):
    """The whole table and one of `GATES`: ids [B, C] -> [B, F, d]."""

    def __init__(self, layout: Layout, gate: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.gate = GATES[gate](layout, **options)
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def masks(self, ids: Tensor) -> Tensor:
        """Return what each sample uses: bool [B, D], or [B, F] where the gate is one per field."""
        return self.gate.masks(self.lookup(ids))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the gated embeddings."""
        return self.gate.serve(self.lookup(ids))


def gate_cost(layout: Layout, gate: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """Return the gate's parameters and the bytes of its buffers; TypeError for options that it does not have."""
    with torch.device("meta"):  # sizes alone: no memory, and the global generator stays where it is
        module = GATES[gate](layout, **options)
    return sum(p.numel() for p in module.parameters()), sum(b.nbytes for b in module.buffers())
