"""Routers of clustered plans: which cluster's model serves a sample. What routes belongs to the served model.

`GateRouter` is that of iHAS; `HashRouter` (random clusters) and `FieldRouter` (one field's value decides) are its
controls.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec.cost import CostItem, dense_item
from nasbench_rec.embeddings import Layout, StackedLookup

ClusterInput = Literal["masked", "mask", "probabilities", "embedding"]


PRODUCT_SCALE = 5.0
"""Embeddings start at deviations of about .1 and below; their products would be too small to learn from."""


class GateNetwork(nn.Module):
    """g: e(x) [B, D] -> gate logits [B, D]; linear, or an MLP with hidden layers (iHAS, stage 1).

    With `products` r > 0, M ((A e) * (B e)) is added, A and B [r, D], M [D, r]: what depends on two fields together
    (their parity) no linear gate can see.
    """

    def __init__(self, width: int, hidden: Sequence[int] = (), bias: float = 0.0, products: int = 0) -> None:
        super().__init__()
        sizes = [width, *hidden]
        layers: list[nn.Module] = []
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Linear(a, b), nn.ReLU()]
        last = nn.Linear(sizes[-1], width)
        nn.init.constant_(last.bias, bias)
        self.layers = nn.Sequential(*layers, last)
        self.factors: nn.Linear | None = None
        if products:
            self.factors = nn.Linear(width, 2 * products, bias=False)
            self.mix = nn.Linear(products, width, bias=False)
            nn.init.normal_(self.factors.weight, 0.0, width**-0.5)
            nn.init.normal_(self.mix.weight, 0.0, 0.05)

    def forward(self, e: Tensor) -> Tensor:
        """Return logits [B, D]."""
        logits = self.layers(e)
        if self.factors is None:
            return logits
        left, right = self.factors(PRODUCT_SCALE * e).chunk(2, 1)
        return logits + self.mix(left * right)


def cluster_features(e: Tensor, logits: Tensor, cut: float, which: ClusterInput) -> Tensor:
    """Return what K-Means sees, [B, D]: masked embeddings e*m, the mask m = 1[pi > c], pi, or e alone."""
    if which == "embedding":
        return e
    probability = logits.sigmoid()
    if which == "probabilities":
        return probability
    mask = (probability > cut).to(e.dtype)
    return mask if which == "mask" else e * mask


class Router(nn.Module):
    """Maps ids [B, C] to clusters, int64 [B] in 0..k-1. Built from a layout and what `meta` says."""

    kind: ClassVar[str]
    clusters: int
    values_per_lookup: int = 0
    """Embedding values that routing one sample reads."""

    @abstractmethod
    def meta(self) -> dict[str, Any]:
        """Return what rebuilds the router beside its tensors (JSON-able)."""

    @abstractmethod
    def cost(self) -> list[CostItem]:
        """Return the router's ledger items."""


class GateRouter(Router):
    """Search embedding -> gates -> deterministic mask -> nearest centroid (iHAS, stage 3).

    The nearest centroid c of x, in a metric A: argmin (x - c)' A (x - c) = argmax x' A c - c' A c / 2. `directions`
    [k, D] are A c and `offsets` [k] the other term; for K-Means' own Euclidean distance A is the identity.
    """

    kind = "gate"
    directions: Tensor
    offsets: Tensor

    def __init__(
        self,
        layout: Layout,
        clusters: int,
        hidden: Sequence[int] = (),
        cut: float = 0.5,
        which: ClusterInput = "mask",
        dim: int | None = None,
        products: int = 0,
    ) -> None:
        super().__init__()
        layout = layout if dim is None else replace(layout, dim=dim)
        width = len(layout.fields) * layout.dim
        self.cut, self.which, self.hidden, self.clusters = cut, which, tuple(hidden), clusters
        self.dim, self.products, self.values_per_lookup = layout.dim, products, width
        self.lookup = StackedLookup(layout, layout.dim)
        self.gate = GateNetwork(width, hidden, products=products)
        self.register_buffer("directions", torch.zeros(clusters, width))
        self.register_buffer("offsets", torch.zeros(clusters))

    def meta(self) -> dict[str, Any]:
        """Return the gate network's sizes, the cut, what K-Means saw, clusters and width."""
        found = {"hidden": list(self.hidden), "cut": self.cut, "which": self.which}
        return {**found, "clusters": self.clusters, "dim": self.dim, "products": self.products}

    def masks(self, ids: Tensor) -> Tensor:
        """Return the deterministic masks 1[pi > c], bool [B, D]."""
        return self.gate(self.lookup(ids).flatten(1)).sigmoid() > self.cut

    def features(self, ids: Tensor) -> Tensor:
        """Return what is compared with the centroids, [B, D]."""
        e = self.lookup(ids).flatten(1)
        return cluster_features(e, self.gate(e), self.cut, self.which)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the cluster of each sample, int64 [B]: the nearest centroid, the first of equals."""
        return torch.addmm(self.offsets, self.features(ids), self.directions.T).argmax(1)

    def cost(self) -> list[CostItem]:
        """Return the search embedding, the gate network and the centroids."""
        gate = sum(p.numel() for p in self.gate.parameters())
        return [
            dense_item("router", self.lookup.table.weight.numel(), "search embedding"),
            dense_item("gate", gate, "gate network"),
            dense_item("centroids", self.directions.numel() + self.offsets.numel()),
        ]


class HashRouter(Router):
    """Random clusters: a hash of all ids of the sample picks one, with given shares. Equal samples go together."""

    kind = "hash"
    factors: Tensor
    bounds: Tensor

    def __init__(self, layout: Layout, clusters: int) -> None:
        super().__init__()
        self.clusters = clusters
        columns = sum(f.columns for f in layout.fields)
        self.register_buffer("factors", torch.ones(columns, dtype=torch.int64))
        self.register_buffer("bounds", torch.zeros(clusters - 1))

    @classmethod
    def of(cls, layout: Layout, shares: Sequence[float], rng: np.random.Generator) -> HashRouter:
        """Return the router whose clusters get the given shares of the samples."""
        router = cls(layout, len(shares))
        router.factors.copy_(torch.from_numpy(rng.integers(1, 2**62, len(router.factors)) * 2 + 1))
        router.bounds.copy_(torch.from_numpy(np.cumsum(shares)[:-1]))
        return router

    def meta(self) -> dict[str, Any]:
        """Return the number of clusters."""
        return {"clusters": self.clusters}

    def forward(self, ids: Tensor) -> Tensor:
        """Return the cluster of each sample: a multiplicative hash (wraps at 64 bits), cut at the shares."""
        mixed = ((ids.long() + 1) * self.factors).sum(1)
        mixed = (mixed ^ (mixed >> 29)) * 0x4CF5AD432745937F
        uniform = ((mixed >> 39) & 0xFFFFFF).float() / 0x1000000
        return torch.bucketize(uniform, self.bounds, right=True)

    def cost(self) -> list[CostItem]:
        """Return the hash's factors and the shares."""
        return [CostItem("router", 0, self.factors.nbytes + self.bounds.nbytes, "hash")]


class FieldRouter(Router):
    """One field's value decides the cluster: a table of clusters, one per value."""

    kind = "field"
    cluster_of_value: Tensor

    def __init__(self, layout: Layout, clusters: int, field: int) -> None:
        super().__init__()
        self.clusters, self.field = clusters, field
        self.column = sum(f.columns for f in layout.fields[:field])
        values = layout.fields[field].cardinality
        self.register_buffer("cluster_of_value", torch.zeros(values, dtype=torch.uint8))

    def meta(self) -> dict[str, Any]:
        """Return the field's position and the number of clusters."""
        return {"clusters": self.clusters, "field": self.field}

    def forward(self, ids: Tensor) -> Tensor:
        """Return the cluster of each sample's value."""
        return self.cluster_of_value.index_select(0, ids[:, self.column].long()).long()

    def cost(self) -> list[CostItem]:
        """Return the table, one byte per value."""
        return [CostItem("router", 0, self.cluster_of_value.nbytes, "cluster of each value")]


ROUTERS: dict[str, type[Any]] = {cls.kind: cls for cls in (GateRouter, HashRouter, FieldRouter)}
