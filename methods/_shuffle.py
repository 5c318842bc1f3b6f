"""Gates between an embedding and the same column of another row: what `shufflegate` and `dimgrow` share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.model import Embedding

SHARPNESS = 5.0
"""s in g = sigmoid(s theta)."""


class ShuffleGatedEmbedding(Embedding):
    """x = g e + (1 - g) sg(e_shuffled) for the active columns, 0 for the others, [B, F, d].

    `theta` and the buffer `active` are [F, d]. In evaluation the batch's mean stands for the shuffled column.
    """

    active: Tensor

    def __init__(self, layout: Layout, theta: float) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)
        self.theta = nn.Parameter(torch.full((len(layout.fields), layout.dim), theta))
        self.register_buffer("active", torch.ones(len(layout.fields), layout.dim))

    def gates(self) -> Tensor:
        """Return g = sigmoid(5 theta), [F, d]."""
        return (SHARPNESS * self.theta).sigmoid()

    def forward(self, ids: Tensor) -> Tensor:
        """Return the gated embeddings."""
        e, g = self.lookup(ids), self.gates()
        other = e.detach()
        other = shuffled(other) if self.training else other.mean(0)
        return (g * e + (1 - g) * other) * self.active


def shuffled(e: Tensor) -> Tensor:
    """Return e [B, F, d] with every column of every field taken from other rows, each column by itself.

    Column (f, j) of row b comes from row b + o_fj (modulo B), o_fj drawn for each column: as the rows of a batch are
    in random order, this is a random other row for each column, without a sort for each of them.
    """
    rows, fields, width = e.shape
    offsets = torch.randint(1, max(rows, 2), (1, fields, width), device=e.device)
    source = (torch.arange(rows, device=e.device).view(-1, 1, 1) + offsets) % rows
    return e.gather(0, source)
