"""Routers of clustered plans: which cluster's model serves a sample. What routes belongs to the served model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nasbench_rec.cost import CostItem, dense_item
from nasbench_rec.embeddings import Layout, StackedLookup

ClusterInput = Literal["masked", "mask", "probabilities", "embedding"]


class GateNetwork(nn.Module):
    """g: e(x) [B, D] -> gate logits [B, D]; linear, or an MLP with hidden layers (iHAS, stage 1)."""

    def __init__(self, width: int, hidden: Sequence[int] = (), bias: float = 0.0) -> None:
        super().__init__()
        sizes = [width, *hidden]
        layers: list[nn.Module] = []
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(a, b), nn.ReLU()]
        last = nn.Linear(sizes[-1], width)
        nn.init.constant_(last.bias, bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, e: Tensor) -> Tensor:
        """Return logits [B, D]."""
        return self.layers(e)


def cluster_features(e: Tensor, logits: Tensor, cut: float, which: ClusterInput) -> Tensor:
    """Return what K-Means sees, [B, D]: masked embeddings e*m, the mask m = 1[pi > c], pi, or e alone."""
    if which == "embedding":
        return e
    probability = logits.sigmoid()
    if which == "probabilities":
        return probability
    mask = (probability > cut).to(e.dtype)
    return mask if which == "mask" else e * mask


class GateRouter(nn.Module):
    """Search embedding -> gates -> deterministic mask -> nearest centroid (iHAS, stage 3)."""

    kind = "gate"
    centroids: Tensor

    def __init__(
        self,
        layout: Layout,
        clusters: int,
        hidden: Sequence[int] = (),
        cut: float = 0.5,
        which: ClusterInput = "mask",
    ) -> None:
        super().__init__()
        width = len(layout.fields) * layout.dim
        self.cut, self.which, self.hidden, self.clusters = cut, which, tuple(hidden), clusters
        self.lookup = StackedLookup(layout, layout.dim)
        self.gate = GateNetwork(width, hidden)
        self.register_buffer("centroids", torch.zeros(clusters, width))

    def meta(self) -> dict[str, Any]:
        """Return what rebuilds the router beside its tensors (JSON-able)."""
        return {"hidden": list(self.hidden), "cut": self.cut, "which": self.which, "clusters": self.clusters}

    def features(self, ids: Tensor) -> Tensor:
        """Return what is compared with the centroids, [B, D]."""
        e = self.lookup(ids).flatten(1)
        return cluster_features(e, self.gate(e), self.cut, self.which)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the cluster of each sample, int64 [B]: the nearest centroid, the first of equals."""
        return torch.cdist(self.features(ids), self.centroids).argmin(1)

    def cost(self) -> list[CostItem]:
        """Return the router's ledger items."""
        gate = sum(p.numel() for p in self.gate.parameters())
        return [
            dense_item("router", self.lookup.table.weight.numel(), "search embedding"),
            dense_item("gate", gate, "gate network"),
            dense_item("centroids", self.centroids.numel()),
        ]


ROUTERS: dict[str, type[GateRouter]] = {"gate": GateRouter}
