"""Embedding tables that know which rows a batch touched, so that a step costs the batch and not the table.

Letters in shapes: B samples, C id columns, F fields, V rows of a table, U distinct rows of a batch, w width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nasbench_rec.data import Field

__all__ = ["Distinct", "Table", "distinct", "pool", "stacked_offsets"]


@dataclass(frozen=True)
class Distinct:
    """The distinct values of an index [N], and where each of them stands; all int64."""

    rows: Tensor
    """The distinct values, ascending, [U]."""
    inverse: Tensor
    """`rows[inverse]` is the index, [N]."""
    order: Tensor
    """Positions 0..N-1 grouped by value, [N]."""
    starts: Tensor
    """Where the group of each distinct value starts in `order`, [U]."""

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` [N, w] over the positions of each distinct value, in a fixed order: [U, w]."""
        return functional.embedding_bag(self.order, values.contiguous(), self.starts, mode="sum")


class Table(nn.Module):
    """A stacked embedding table `weight` [V, w], float32, drawn from N(0, std) by the global generator.

    Dense mode (`rowwise` False, the start) is an ordinary embedding: gradients are `weight.grad` [V, w].
    `RowAdam` sets `rowwise`; then each lookup under grad gathers the batch's distinct rows as an autograd
    leaf of their own, noted in `pending` as (rows [U] int64, leaf [U, w]), and `weight.grad` stays None.
    `pending` grows with every lookup until the optimiser's `zero_grad`.
    """

    def __init__(self, rows: int, width: int, std: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width).normal_(0.0, std))
        self.rowwise = False
        self.pending: list[tuple[Tensor, Tensor]] = []

    def forward(self, index: Tensor) -> Tensor:
        """Embed `index` (any shape, int32 or int64, values in [0, V)) to [*index.shape, w]."""
        if not (self.rowwise and torch.is_grad_enabled() and self.weight.requires_grad):
            return functional.embedding(index, self.weight)
        groups = _distinct_of_step(index.reshape(-1))
        leaf = self.weight.detach().index_select(0, groups.rows).requires_grad_()
        self.pending.append((groups.rows, leaf))
        return _Expand.apply(leaf, groups).view(*index.shape, leaf.shape[1])

    def extra_repr(self) -> str:
        """Rows, width and mode."""
        rows, width = self.weight.shape
        return f"{rows}, {width}, rowwise={self.rowwise}"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes along: everything but the lookups of the step in progress."""
        return self.__dict__ | {"pending": []}


def distinct(index: Tensor) -> Distinct:
    """Group `index` [N], int32 or int64 with values below 2**31.

    One stable sort pays for itself: with the groups in hand, the backward pass of a lookup is a sum over
    runs, about ten times as fast as `index_add_` and the same bits in every run, on a GPU too.
    """
    ordered, order = torch.sort(index.int(), stable=True)
    rows, run, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    inverse = torch.empty_like(order).index_copy_(0, order, run)
    return Distinct(rows.long(), inverse, order, counts.cumsum(0) - counts)


_last: Distinct | None = None


def _distinct_of_step(index: Tensor) -> Distinct:
    """`distinct` of `index` [N], kept for a table looked up next with equal rows (first-order weights)."""
    global _last
    kept, index = _last, index.long()
    if kept is None or kept.order.shape != index.shape or kept.order.device != index.device:
        kept = _last = distinct(index)
    elif not torch.equal(kept.rows.index_select(0, kept.inverse), index):
        kept = _last = distinct(index)
    return kept


class _Expand(torch.autograd.Function):
    """`leaf[inverse]` [N, w] of `leaf` [U, w], with the backward pass of `Distinct.sum`."""

    @staticmethod
    def forward(ctx: Any, leaf: Tensor, groups: Distinct) -> Tensor:
        ctx.groups = groups
        if leaf.shape[1] == 1:  # twice as fast over a vector
            return leaf.squeeze(1).index_select(0, groups.inverse).unsqueeze(1)
        return leaf.index_select(0, groups.inverse)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.groups.sum(gradient), None


def stacked_offsets(fields: Sequence[Field]) -> Tensor:
    """What to add to ids within fields [B, C] to get rows of one table stacked in field order: [C] int64."""
    offsets: list[int] = []
    start = 0
    for field in fields:
        offsets += [start] * field.columns
        start += field.cardinality
    return torch.tensor(offsets, dtype=torch.int64)


def pool(e: Tensor, ids: Tensor, fields: Sequence[Field]) -> Tensor:
    """Mean over the non-padding columns of each field, [B, F, w], of `e` [B, C, w] and `ids` [B, C].

    `ids` count within fields. The identity where every field has one column; nothing but padding gives zeros.
    """
    if all(field.columns == 1 for field in fields):
        return e
    widths = [field.columns for field in fields]
    parts = zip(e.split(widths, 1), ids.split(widths, 1), fields, strict=True)
    return torch.cat([_mean(part, column, field.padding) for part, column, field in parts], 1)


def _mean(e: Tensor, ids: Tensor, padding: int | None) -> Tensor:
    """Mean of `e` [B, c, w] over columns whose id is not `padding`: [B, 1, w]."""
    if padding is None:
        return e.mean(1, keepdim=True)
    kept = (ids != padding).to(e.dtype).unsqueeze(2)
    return (e * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1.0)
