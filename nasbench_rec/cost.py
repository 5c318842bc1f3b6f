"""The cost ledger: what a plan and its model weigh, part by part, in parameters and in bytes.

"Parameters" alone compares nothing between dense narrow tables and sparse ones, so each part is listed:
values kept, index overhead (the cheapest legal format, named), alignment matrices, mixture weights, routers,
first-order table, backbone. Bytes are those of the exported tensors, to the byte (a test holds it).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

VALUE_BYTES = 4
BLOCK = 64
"""Rows per stored offset in the formats `prefix-uint8` and `row-bitmap`."""
EMBEDDING_PARTS = ("values", "index", "alignment", "mixture", "instance_gate", "router", "gate", "centroids")
ROUTER_PARTS = ("router", "gate", "centroids")


@dataclass(frozen=True)
class CostItem:
    """One part of the cost. `params` counts learned numbers, `bytes` what is stored."""

    part: str
    params: int
    bytes: int
    note: str = ""


@dataclass(frozen=True)
class Ledger:
    """All cost items of a plan or a model."""

    items: tuple[CostItem, ...]

    def params(self, parts: Iterable[str] | None = None) -> int:
        """Sum the parameters of the named parts (all by default)."""
        return sum(i.params for i in self._chosen(parts))

    def bytes(self, parts: Iterable[str] | None = None) -> int:
        """Sum the bytes of the named parts (all by default)."""
        return sum(i.bytes for i in self._chosen(parts))

    def _chosen(self, parts: Iterable[str] | None) -> list[CostItem]:
        wanted = None if parts is None else set(parts)
        return [i for i in self.items if wanted is None or i.part in wanted]

    def merged(self) -> Ledger:
        """Return the ledger with one item per part and note."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for i in self.items:
            params, size = sums.get((i.part, i.note), (0, 0))
            sums[i.part, i.note] = (params + i.params, size + i.bytes)
        return Ledger(tuple(CostItem(part, p, b, note) for (part, note), (p, b) in sums.items()))

    def conventions(self) -> dict[str, int]:
        """Return what papers call "parameters", by the convention's name.

        `nonzeros` (PEP, OptEmbed's rows x width, AutoDim's sum of chosen widths): stored embedding values only.
        """
        return {"nonzeros": self.params(["values"]), "with_alignment": self.params(["values", "alignment"])}


def dense_item(part: str, params: int, note: str = "") -> CostItem:
    """Return the item of `params` float32 numbers."""
    return CostItem(part, params, params * VALUE_BYTES, note)


def sparse_formats(rows: int, width: int, nonzeros: int) -> dict[str, int]:
    """Return the index bytes of each legal way to store `nonzeros` of a [rows, width] table.

    For `dense` the "index" is the zeros that are stored after all. uint8 column ids need width <= 256.
    """
    pointers = 4 * (rows + 1)
    formats = {
        "dense": (rows * width - nonzeros) * VALUE_BYTES,
        "csr-int32": pointers + 4 * nonzeros,
        "coo-int32": 8 * nonzeros,
        "bitmap": pointers + rows * -(-width // 8),
    }
    if width <= 256:
        formats |= {"csr-uint8": pointers + nonzeros, "coo-uint8": 5 * nonzeros}
    return formats


def prefix_formats(rows: int, width: int, nonzeros: int, one_width: bool = False) -> dict[str, int]:
    """Return the index bytes of each way to store rows that keep a prefix each (`dense`: all are whole).

    `one_width`: all rows that keep anything keep the same; then a bit for each row will do.
    """
    formats = {"prefix-int32": 4 * (rows + 1)}
    if one_width:
        formats["row-bitmap"] = -(-rows // 8) + 4 * -(-rows // BLOCK)
    if nonzeros == rows * width:
        formats["dense"] = 0
    if width <= 255:
        formats["prefix-uint8"] = rows + 4 * -(-rows // BLOCK)
    return formats


def cheapest(formats: dict[str, int]) -> tuple[str, int]:
    """Return the name and bytes of the cheapest format (first by name when equal)."""
    return min(formats.items(), key=lambda item: (item[1], item[0]))


def most_nonzeros(rows: int, width: int, budget_bytes: int) -> int:
    """Return the most entries of a [rows, width] table that fit in `budget_bytes`, index included."""
    low, high = 0, rows * width
    while low < high:
        middle = (low + high + 1) // 2
        if middle * VALUE_BYTES + cheapest(sparse_formats(rows, width, middle))[1] <= budget_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def flops_per_row(model: Any, ids: Any) -> float:
    """Return the floating-point operations of one row's forward pass (lookups count as zero: see `values`)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    return counter.get_total_flops() / len(ids)
