"""Trained embeddings in the form in which they are stored: plain PyTorch modules of just the kept numbers.

Their parameters and buffers are, byte for byte, what the ledger charges; `torch.export` accepts them.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec.cost import BLOCK
from nasbench_rec.embeddings import ColumnMaskedEmbedding, MaskedEmbedding, RowWidthEmbedding
from nasbench_rec.tables import Table, pool


def plain(module: nn.Module) -> nn.Module:
    """Return a copy of `module` in evaluation mode with every `Table` turned into an `nn.Embedding`."""
    found = copy.deepcopy(module).eval()
    for name, child in list(found.named_modules()):
        if isinstance(child, Table):
            found.set_submodule(name, nn.Embedding.from_pretrained(child.weight.detach().clone()))
    return found


class SparseTable(nn.Module):
    """A [V, d] table of which only `mask`ed entries are stored, in one of the ledger's formats."""

    values: Tensor
    pointers: Tensor
    rows: Tensor
    columns: Tensor
    bits: Tensor
    lengths: Tensor
    blocks: Tensor

    def __init__(self, weight: Tensor, mask: Tensor, layout: str) -> None:
        super().__init__()
        self.format, self.width = layout, weight.shape[1]
        mask = mask.bool()
        lengths = mask.sum(1)
        self.register_buffer("values", weight.detach() * mask if layout == "dense" else weight.detach()[mask])
        pointers = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).int()
        rows, columns = mask.nonzero(as_tuple=True)
        if layout.startswith(("csr", "bitmap")) or layout == "prefix-int32":
            self.register_buffer("pointers", pointers)
        if layout.startswith("coo"):
            self.register_buffer("rows", rows.int())
        if layout.startswith(("csr", "coo")):
            self.register_buffer(
                "columns", columns.to(torch.uint8 if layout.endswith("uint8") else torch.int32)
            )
        if layout == "bitmap":
            self.register_buffer(
                "bits", torch.from_numpy(np.packbits(mask.numpy(), axis=1, bitorder="little"))
            )
        if layout == "prefix-uint8":
            self.register_buffer("lengths", lengths.to(torch.uint8))
            self.register_buffer("blocks", pointers[:-1][::BLOCK].clone())
        if layout == "row-bitmap":
            self.kept_width = int(lengths.max())
            bits = np.packbits((lengths > 0).numpy(), bitorder="little")
            self.register_buffer("bits", torch.from_numpy(bits))
            self.register_buffer("blocks", pointers[:-1][::BLOCK] // self.kept_width)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the rows [..., d] with zeros where nothing is stored."""
        if self.format == "dense":
            return self.values[rows.long()]
        flat = rows.flatten().long()
        if self.format == "bitmap":
            return self._from_bits(flat).view(*rows.shape, self.width)
        start, length = self._span(flat)
        slot = torch.arange(self.width)
        used = slot < length[:, None]
        place = (start[:, None] + slot).clamp(max=max(len(self.values) - 1, 0))
        found = self._take(place) * used
        if self.format in ("prefix-int32", "prefix-uint8", "row-bitmap"):
            return found.view(*rows.shape, self.width)
        column = self.columns[place].long() if len(self.values) else torch.zeros_like(place)
        out = torch.zeros(flat.shape[0], self.width).scatter_add(1, column, found)
        return out.view(*rows.shape, self.width)

    def lengths_of(self, rows: Tensor) -> Tensor:
        """Return how many entries of each row are stored, same shape as `rows`."""
        return self._span(rows.flatten().long())[1].view(rows.shape)

    def _take(self, place: Tensor) -> Tensor:
        return self.values[place] if len(self.values) else torch.zeros(place.shape)

    def _span(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """First stored position and number of stored entries of each row."""
        if self.format.startswith("coo"):
            start = torch.searchsorted(self.rows, rows.int())
            return start, torch.searchsorted(self.rows, rows.int(), right=True) - start
        if self.format in ("prefix-uint8", "row-bitmap"):
            before = (rows // BLOCK * BLOCK)[:, None] + torch.arange(BLOCK)
            # What lies in the row's block but not before the row is looked up as the row itself, and not counted.
            counted = self._in_block(torch.minimum(before, rows[:, None])) * (before < rows[:, None])
            place, unit = self.blocks[rows // BLOCK] + counted.sum(1), getattr(self, "kept_width", 1)
            return place * unit, self._in_block(rows) * unit
        start = self.pointers[rows].long()
        return start, self.pointers[rows + 1].long() - start

    def _in_block(self, rows: Tensor) -> Tensor:
        """Stored entries of each row; with `row-bitmap` 1 for a row that is stored."""
        if self.format == "prefix-uint8":
            return self.lengths[rows].long()
        return ((self.bits[rows // 8] >> (rows % 8).to(torch.uint8)) & 1).long()

    def _from_bits(self, rows: Tensor) -> Tensor:
        column = torch.arange(self.width)
        mask = (self.bits[rows][:, column // 8] >> (column % 8).to(torch.uint8)) & 1
        place = (self.pointers[rows].long()[:, None] + mask.long().cumsum(1) - 1).clamp(min=0)
        return self._take(place.clamp(max=max(len(self.values) - 1, 0))) * mask


class PackedColumns(nn.Module):
    """Kept columns of each field, [n_f, k_f] tables and a packed mask; ids [B, C] -> [B, F', d]."""

    bits: Tensor

    def __init__(self, embedding: ColumnMaskedEmbedding, mask: np.ndarray) -> None:
        super().__init__()
        self.width, self.kept = mask.shape[1], [int(f) for f in np.flatnonzero(mask.any(1))]
        self.register_buffer("bits", torch.from_numpy(np.packbits(mask, axis=1, bitorder="little")))
        fields = embedding.lookup.fields
        self.fields, self.columns = fields, [f.columns for f in fields]
        weights = embedding.lookup.table.weight.detach().split([f.cardinality for f in fields])
        self.tables = nn.ModuleList(
            nn.Embedding.from_pretrained(weights[f][:, np.flatnonzero(mask[f])].clone()) for f in self.kept
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F', d] with zeros in the dropped columns."""
        column = torch.arange(self.width)
        own, out = ids.split(self.columns, 1), []
        for f, table in zip(self.kept, self.tables, strict=True):
            mask = (self.bits[f][column // 8] >> (column % 8).to(torch.uint8)) & 1
            place = (mask.long().cumsum(0) - 1).clamp(min=0)
            out.append(pool(table(own[f])[..., place] * mask, own[f], [self.fields[f]]))
        return torch.cat(out, 1)


def sparse(embedding: MaskedEmbedding | RowWidthEmbedding, layout: str) -> nn.Module:
    """Return a copy of `embedding` whose table stores only kept entries, in the named format."""
    found: Any = plain(embedding)
    weight = embedding.lookup.table.weight.detach()
    assert embedding.mask is not None
    found.lookup.table = SparseTable(weight, embedding.mask, layout)
    found.mask = found.width_of_row = None
    return found
