"""A supernet whose rows serve at every prefix width, and scores of width assignments from it without training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.data import Split
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.model import CTRModel, Embedding
from nasbench_rec.searcher import SearchTask
from nasbench_rec.tables import pool
from nasbench_rec.training import evaluate


class PrefixEmbedding(Embedding):
    """The first k columns of each looked-up row, the rest zero, [B, F, d].

    In training k ~ U{1, ..., d}, drawn anew for each instance and field; in evaluation k is the row's entry of
    `row_widths` [V], or d where none are set.
    """

    row_widths: Tensor | None

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.columns = [f.columns for f in layout.fields]
        self.register_buffer("row_widths", None, persistent=False)
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def _widths(self, rows: Tensor, width: int) -> Tensor | None:
        """Return k of each looked-up row [B, C]; None where all are whole."""
        if self.training:
            drawn = torch.randint(1, width + 1, (len(rows), len(self.columns)), device=rows.device)
            return drawn.repeat_interleave(torch.tensor(self.columns, device=rows.device), 1)
        if self.row_widths is None:
            return None
        return self.row_widths.index_select(0, rows.flatten()).view(rows.shape)

    def looked_up(self, rows: Tensor) -> Tensor:
        """Return the whole embeddings of the rows [B, C]: [B, C, d]."""
        found: Tensor = self.lookup.table(rows)
        return found

    def forward(self, ids: Tensor) -> Tensor:
        """Return the cut embeddings."""
        local, rows = self.lookup.rows(ids)
        e = self.looked_up(rows)
        widths = self._widths(rows, e.shape[2])
        if widths is not None:
            # Column j (from 0) is kept where j < k: k columns, no more and no fewer.
            e = e * (torch.arange(e.shape[2], device=e.device) < widths.unsqueeze(2))
        return pool(e, local, self.lookup.fields)


def some_rows(split: Split, most: int, rng: np.random.Generator) -> Split:
    """Return at most `most` rows of a split, drawn without replacement."""
    if len(split) <= most:
        return split
    return split.take(np.sort(rng.permutation(len(split))[:most]))


def score_widths(task: SearchTask, model: CTRModel, row_widths: np.ndarray, rows: Split) -> float:
    """Return the AUC on `rows` of the supernet whose rows have these widths, int [V]."""
    embedding = model.embedding
    assert isinstance(embedding, PrefixEmbedding)
    device = embedding.lookup.table.weight.device
    embedding.row_widths = torch.from_numpy(row_widths.astype(np.int64)).to(device)
    try:
        return evaluate(model, rows, task.protocol.device)["auc"]
    finally:
        embedding.row_widths = None
