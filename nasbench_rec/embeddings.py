"""The embedding modules that plans build, for training and for serving.

Letters in shapes: B samples, C id columns, F fields, F' kept fields, V rows of all fields, d base width,
w a field's width, N candidates, G groups of a mixture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.composites import build_composite
from nasbench_rec.data import Field
from nasbench_rec.model import Embedding
from nasbench_rec.protocol import Alignment
from nasbench_rec.tables import Table, pool, stacked_offsets


@dataclass(frozen=True)
class Layout:
    """What plans are laid out over: the fields, the base width d, and how unequal widths meet."""

    fields: tuple[Field, ...]
    dim: int
    alignment: Alignment = "linear"
    std: float = 0.01

    @property
    def rows(self) -> int:
        """V, the rows of all fields."""
        return sum(f.cardinality for f in self.fields)

    @cached_property
    def cardinalities(self) -> np.ndarray:
        """n_f, int64 [F]."""
        return np.array([f.cardinality for f in self.fields], dtype=np.int64)

    @cached_property
    def field_of_row(self) -> np.ndarray:
        """The field of each stacked row, int64 [V]."""
        return np.repeat(np.arange(len(self.fields)), self.cardinalities)


def columns_of(fields: Sequence[Field], chosen: Sequence[int]) -> list[int]:
    """Return the id columns of the chosen fields, in their order."""
    starts = np.concatenate([[0], np.cumsum([f.columns for f in fields])])
    return [c for f in chosen for c in range(starts[f], starts[f + 1])]


class StackedLookup(nn.Module):
    """One table for some of the fields, stacked: ids [B, C] -> [B, len(chosen), w], pooled over columns."""

    columns: Tensor
    offsets: Tensor

    def __init__(self, layout: Layout, width: int, chosen: Sequence[int] | None = None) -> None:
        super().__init__()
        chosen = range(len(layout.fields)) if chosen is None else chosen
        self.fields = [layout.fields[f] for f in chosen]
        self.whole = len(self.fields) == len(layout.fields)
        self.table = Table(sum(f.cardinality for f in self.fields), width, layout.std)
        self.register_buffer("columns", torch.tensor(columns_of(layout.fields, chosen)), persistent=False)
        self.register_buffer("offsets", stacked_offsets(self.fields), persistent=False)

    def rows(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chosen fields' ids [B, c] and their rows in the stacked table [B, c]."""
        local = ids if self.whole else ids.index_select(1, self.columns)
        return local, local + self.offsets

    def forward(self, ids: Tensor) -> Tensor:
        """Return pooled embeddings [B, len(chosen), w]."""
        local, rows = self.rows(ids)
        return pool(self.table(rows), local, self.fields)


class FieldEmbedding(Embedding):
    """One width per field; width 0 drops the field. One stacked table per distinct width.

    Aligned to the largest width m: `linear` multiplies each narrower field by a matrix of its own [w, m]
    (no bias: MDE; with: AutoDim); `zero_pad` appends zeros; `concat` leaves widths as they are, [B, sum w].
    """

    order: Tensor

    def __init__(self, layout: Layout, dims: Sequence[int], bias: bool = False) -> None:
        super().__init__()
        widths = sorted({w for w in dims if w > 0}, reverse=True)
        self.widest, self.alignment = widths[0], layout.alignment if len(widths) > 1 else "zero_pad"
        groups = [[f for f, w in enumerate(dims) if w == width] for width in widths]
        self.lookups = nn.ModuleList(StackedLookup(layout, w, g) for w, g in zip(widths, groups, strict=True))
        linear = self.alignment == "linear"
        self.projections = nn.ModuleList(
            FieldProjection(len(g), w, self.widest, bias) if linear else nn.Identity()
            for w, g in zip(widths[1:], groups[1:], strict=True)
        )
        position = np.argsort(np.concatenate(groups))
        self.register_buffer("order", torch.from_numpy(position), persistent=False)
        kept = len(position)
        self.shape = EmbeddingShape(kept, self.widest)
        if self.alignment == "concat":
            self.shape = EmbeddingShape(kept, 0, flat=sum(dims))
            self._flat_order([w for w, g in zip(widths, groups, strict=True) for _ in g], position)

    def _flat_order(self, group_widths: list[int], position: np.ndarray) -> None:
        """Columns of the group-ordered concatenation, put into field order."""
        starts = np.cumsum([0, *group_widths[:-1]])
        columns = [np.arange(starts[p], starts[p] + group_widths[p]) for p in position]
        self.order = torch.from_numpy(np.concatenate(columns))

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F', m], or [B, sum w] when concatenated."""
        parts = [lookup(ids) for lookup in self.lookups]
        if len(parts) == 1:
            return parts[0]
        if self.alignment == "concat":
            return torch.cat([p.flatten(1) for p in parts], 1).index_select(1, self.order)
        return torch.cat([parts[0], *map(self._align, self.projections, parts[1:])], 1).index_select(
            1, self.order
        )

    def _align(self, projection: nn.Module, e: Tensor) -> Tensor:
        """[B, g, w] -> [B, g, m]."""
        if self.alignment == "linear":
            return projection(e)
        return nn.functional.pad(e, (0, self.widest - e.shape[2]))


class FieldProjection(nn.Module):
    """A linear map per field, [B, g, w] -> [B, g, m]; Xavier-uniform weights, zero bias.

    With `columns`, the id columns of each field, it maps them before they are pooled: [B, C, w] -> [B, C, m].
    """

    column_field: Tensor | None

    def __init__(
        self, fields: int, width: int, out: int, bias: bool, columns: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        many = columns is not None and any(c > 1 for c in columns)
        owner = torch.repeat_interleave(torch.arange(fields), torch.tensor(columns)) if many else None
        self.register_buffer("column_field", owner, persistent=False)
        self.weight = nn.Parameter(torch.empty(fields, width, out))
        bound = (6 / (width + out)) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.bias = nn.Parameter(torch.zeros(fields, out)) if bias else None

    def forward(self, e: Tensor) -> Tensor:
        """Return x_f W_f (+ b_f) for each field f."""
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if self.column_field is not None:
            weight = weight.index_select(0, self.column_field)
            bias = None if bias is None else bias.index_select(0, self.column_field)
        out = torch.bmm(e.transpose(0, 1), weight).transpose(0, 1)
        return out if bias is None else out + bias


def shared_projection(width: int, out: int) -> nn.Linear:
    """Return a linear map [..., w] -> [..., m] for all fields; Xavier-uniform weights, zero bias.

    torch's default bias would be one large vector in every narrow embedding: inner products between fields
    then start far from 0, by the number of pairs.
    """
    found = nn.Linear(width, out)
    nn.init.xavier_uniform_(found.weight)
    nn.init.zeros_(found.bias)
    return found


class ColumnMaskedEmbedding(Embedding):
    """A full table with a fixed 0/1 mask [F, d] on the columns of each field; all-zero fields are dropped."""

    mask: Tensor | None
    kept: Tensor | None

    def __init__(self, layout: Layout, mask: np.ndarray) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        kept = np.flatnonzero(mask.any(1))
        all_kept = mask.all()
        values = None if all_kept else torch.from_numpy(mask[kept].astype(np.float32))
        self.register_buffer("mask", values, persistent=False)
        self.register_buffer("kept", None if all_kept else torch.from_numpy(kept), persistent=False)
        self.shape = EmbeddingShape(len(kept), layout.dim)
        self.drop_masked()

    @torch.no_grad()
    def drop_masked(self) -> None:
        """Set the masked columns of the table to zero."""
        if self.mask is None or self.kept is None:
            return
        weight, fields = self.lookup.table.weight, self.lookup.fields
        mask = weight.new_zeros(len(fields), weight.shape[1]).index_copy_(0, self.kept, self.mask)
        for part, row in zip(weight.split([f.cardinality for f in fields]), mask, strict=True):
            part *= row

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F', d]; masked columns are zero and receive no gradient."""
        e = self.lookup(ids)
        if self.mask is None or self.kept is None:
            return e
        return (e if len(self.kept) == e.shape[1] else e.index_select(1, self.kept)) * self.mask


class MaskedEmbedding(Embedding):
    """A full table with a fixed 0/1 mask on its entries [V, d]; masked entries get neither value nor gradient."""

    mask: Tensor | None

    def __init__(self, layout: Layout, mask: np.ndarray) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.register_buffer("mask", torch.from_numpy(mask.astype(np.uint8)), persistent=False)
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)
        self.drop_masked()

    @torch.no_grad()
    def drop_masked(self) -> None:
        """Set the masked entries of the table to zero."""
        if self.mask is not None:
            self.lookup.table.weight.mul_(self.mask)

    def masked(self, rows: Tensor) -> Tensor:
        """Return the masked rows [B, c, d]; a stored table (exported, `mask` None) is masked already."""
        e = self.lookup.table(rows)
        return e if self.mask is None else e * self.mask.index_select(0, rows.flatten()).view(e.shape)

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F, d]."""
        local, rows = self.lookup.rows(ids)
        return pool(self.masked(rows), local, self.lookup.fields)


class RowWidthEmbedding(MaskedEmbedding):
    """Every row keeps a prefix of its own width; `linear` maps each width w < m to d by one shared matrix."""

    width_of_row: Tensor | None

    def __init__(self, layout: Layout, widths: np.ndarray) -> None:
        super().__init__(layout, np.arange(layout.dim)[None, :] < widths[:, None])
        narrow = [int(w) for w in np.unique(widths) if 0 < w < widths.max()]
        self.narrow = narrow if layout.alignment == "linear" else []
        self.projections = nn.ModuleList(shared_projection(w, layout.dim) for w in self.narrow)
        self.register_buffer("width_of_row", torch.from_numpy(widths.astype(np.int16)), persistent=False)

    def widths_of(self, rows: Tensor) -> Tensor:
        """Return the widths of rows [B, c]; a stored table (exported) knows them itself."""
        if self.width_of_row is None:
            stored: Any = self.lookup.table
            return stored.lengths_of(rows)
        return self.width_of_row.index_select(0, rows.flatten()).view(rows.shape)

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F, d]."""
        local, rows = self.lookup.rows(ids)
        e = self.masked(rows)
        width = self.widths_of(rows).unsqueeze(2) if self.narrow else rows
        for w, projection in zip(self.narrow, self.projections, strict=True):
            e = torch.where(width == w, projection(e[..., :w]), e)
        return pool(e, local, self.lookup.fields)


class CompositeEmbedding(Embedding):
    """Tables composed of smaller factors, one per field: `kinds` and `options` as in `build_composite`.

    The kind `full` is an ordinary table.
    """

    def __init__(self, layout: Layout, kinds: Sequence[str], options: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.fields = layout.fields
        self.tables = nn.ModuleList(
            Table(f.cardinality, layout.dim, layout.std)
            if kind == "full"
            else build_composite(kind, f.cardinality, layout.dim, layout.std, **option)
            for f, kind, option in zip(layout.fields, kinds, options, strict=True)
        )
        self.columns = [f.columns for f in layout.fields]
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F, d]."""
        parts = zip(self.tables, ids.split(self.columns, 1), strict=True)
        return pool(torch.cat([table(part) for table, part in parts], 1), ids, self.fields)


class ConstantEmbedding(Embedding):
    """No lookup at all: one learned logit for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(1))
        self.shape = EmbeddingShape(1, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logit, [B, 1, 1]."""
        return self.logit * torch.ones(len(ids), 1, 1, device=self.logit.device)


class ConstantHead(nn.Module):
    """Stands in for the backbone above a `ConstantEmbedding`."""

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """[B, 1, 1] -> logits [B]."""
        return e.flatten()


class MixtureEmbedding(Embedding):
    """Soft selection: x = sum_n p_n(group of the row) t(W_n e_n + b_n), over N tables of the candidates' widths.

    `probabilities` [G, N] come from `mixture()`, which a search replaces by its relaxation; `group_of_row` [V]
    says which distribution a row uses (its field: AutoDim; its field's popularity bucket: AutoEmb). W_n and b_n
    are shared by all fields (AutoEmb) or one per field (AutoDim). With `norm`, batch normalisation without
    affine follows, per field and candidate; with `tanh`, a tanh.
    """

    group_of_row: Tensor
    weights: Tensor

    def __init__(
        self,
        layout: Layout,
        candidates: Sequence[int],
        group_of_row: np.ndarray,
        weights: np.ndarray,
        *,
        per_field: bool,
        norm: bool = False,
        tanh: bool = False,
    ) -> None:
        super().__init__()
        fields, widest = len(layout.fields), max(candidates)
        columns = [f.columns for f in layout.fields]
        self.per_field, self.tanh, self.fields = per_field, tanh, layout.fields
        self.lookups = nn.ModuleList(StackedLookup(layout, w) for w in candidates)
        self.maps = nn.ModuleList(
            FieldProjection(fields, w, widest, True, columns) if per_field else shared_projection(w, widest)
            for w in candidates
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(sum(columns) * widest, affine=False) for _ in candidates if norm
        )
        self.register_buffer(
            "group_of_row", torch.from_numpy(group_of_row.astype(np.int32)), persistent=False
        )
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)), persistent=False)
        self.shape = EmbeddingShape(fields, widest)

    def mixture(self) -> Tensor:
        """Return p, [G, N]: fixed here."""
        return self.weights

    def shares(self, ids: Tensor) -> Tensor:
        """Return the candidates' shares of every looked-up row, [B, C, N] (or broadcastable to it)."""
        first: Any = self.lookups[0]
        _, rows = first.rows(ids)
        group = self.group_of_row.index_select(0, rows.flatten())
        return self.mixture().index_select(0, group).view(*rows.shape, -1)

    def aligned(self, ids: Tensor) -> list[Tensor]:
        """Return each candidate's transformed embedding, N times [B, C, m]."""
        found, lookups = [], list[Any](self.lookups)
        for n, (lookup, linear) in enumerate(zip(lookups, self.maps, strict=True)):
            _, rows = lookup.rows(ids)
            x = linear(lookup.table(rows))
            x = self.norms[n](x.flatten(1)).view_as(x) if len(self.norms) else x
            found.append(torch.tanh(x) if self.tanh else x)
        return found

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F, m]."""
        share, parts = self.shares(ids), self.aligned(ids)
        e = torch.zeros_like(parts[0])
        for n, part in enumerate(parts):
            e = e + share[..., n : n + 1] * part
        return pool(e, ids, self.fields)
