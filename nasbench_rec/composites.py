"""Embedding tables composed of smaller factors: hashing, quotient-remainder and tensor-train.

References for the searched plans, not a search. A composite embeds one field: n ids, width d, initial values
of mean 0 and standard deviation `std` from the global torch generator. Its factors are `Table`s, so that the
lazy optimiser moves only the factor rows of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from math import ceil, isqrt, sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nasbench_rec.errors import PlanError, unknown
from nasbench_rec.tables import Table

__all__ = [
    "COMPOSITES",
    "CompositeTable",
    "HashTable",
    "QuotientRemainderTable",
    "TensorTrainTable",
    "build_composite",
    "composite_params",
    "fit_composite",
]


class CompositeTable(nn.Module, ABC):
    """The embeddings of one field, built from factors; ids that share all factor rows share their embedding.

    Use the functions `build_composite`, `composite_params` and `fit_composite`, which check the options.
    """

    kind: ClassVar[str]
    size: ClassVar[str]
    """The option that sets the number of parameters."""
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The other options and what each allows, the default first."""

    @abstractmethod
    def forward(self, index: Tensor) -> Tensor:
        """Embed ids within the field (any shape, int32 or int64) to [*index.shape, d]."""

    @classmethod
    @abstractmethod
    def params(cls, cardinality: int, width: int, **options: Any) -> int:
        """Return the number of parameters of a composite with these options."""

    @classmethod
    @abstractmethod
    def sizes(cls, cardinality: int, width: int) -> range:
        """Return values of the size option, up to the largest allowed, over which `params` never falls."""


class HashTable(CompositeTable):
    """`buckets` m rows, id i takes row i mod m: ids in one bucket are not told apart."""

    kind = "hash"
    size = "buckets"

    def __init__(self, cardinality: int, width: int, std: float, *, buckets: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.table = Table(buckets, width, std)

    def forward(self, index: Tensor) -> Tensor:
        """Embed ids to [*index.shape, d]."""
        return self.table(index % self.buckets)

    @classmethod
    def params(cls, cardinality: int, width: int, **options: Any) -> int:
        """Return m d."""
        return int(options["buckets"] * width)

    @classmethod
    def sizes(cls, cardinality: int, width: int) -> range:
        """1 to n; n is the full table."""
        return range(1, cardinality + 1)


class QuotientRemainderTable(CompositeTable):
    """Row i mod m of one table with row i div m of another, by `combine`: no two ids share both.

    Shi et al.: Compositional Embeddings Using Complementary Partitions. KDD 2020, arXiv 1909.02107. `concat`
    gives each table half of the width, which must be even. Entries of the result have standard deviation
    `std`: both tables of a product start with sqrt(std), of a sum with std / sqrt(2). Rows of a product are
    uncorrelated at the start; the authors' code draws positive factors, whose products nearly agree.
    """

    kind = "qr"
    size = "buckets"
    choices = {"combine": ("mult", "add", "concat")}

    def __init__(
        self, cardinality: int, width: int, std: float, *, buckets: int, combine: str = "mult"
    ) -> None:
        super().__init__()
        self.buckets, self.combine = buckets, combine
        width = _half(width) if combine == "concat" else width
        std = {"mult": sqrt(std), "add": std / sqrt(2), "concat": std}[combine]
        self.remainder = Table(buckets, width, std)
        self.quotient = Table(-(-cardinality // buckets), width, std)

    def forward(self, index: Tensor) -> Tensor:
        """Embed ids to [*index.shape, d]."""
        # Both are integer operations: a division of floats is wrong from 2^24 ids on.
        remainder, quotient = self.remainder(index % self.buckets), self.quotient(index // self.buckets)
        if self.combine == "mult":
            return remainder * quotient
        if self.combine == "add":
            return remainder + quotient
        return torch.cat([remainder, quotient], -1)

    @classmethod
    def params(cls, cardinality: int, width: int, **options: Any) -> int:
        """Return (m + ceil(n / m)) d, half of it for `concat`."""
        buckets = options["buckets"]
        width = _half(width) if options.get("combine") == "concat" else width
        return int((buckets + -(-cardinality // buckets)) * width)

    @classmethod
    def sizes(cls, cardinality: int, width: int) -> range:
        """From ceil(sqrt(n)), the smallest composite, to n; below, the tables only change places."""
        return range(isqrt(cardinality - 1) + 1, cardinality + 1)


class TensorTrainTable(CompositeTable):
    """The table as a tensor train of three cores with `rank` r between them.

    Yin et al.: TT-Rec, Tensor Train Compression for DLRM. MLSys 2021, arXiv 2101.11714. With n <= p1 p2 p3,
    d = q1 q2 q3 and i = (i2 p1 + i1) p3 + i3, row i is the product of the slices G1[i1] [q1, r1],
    G2[i2] [r1, q2 r2] and G3[i3] [r2, q3]. i2 leads, so that sorted ids lie in groups that share a slice of
    the largest core, and no such slice is copied. r1 and r2 are `rank`, but not above p1 q1 and p3 q3, where
    more adds nothing. Core entries start with standard deviation (std^2 / (r1 r2))^(1/6), so that the sums of
    r1 r2 products of three have `std`.
    """

    kind = "tt"
    size = "rank"

    def __init__(self, cardinality: int, width: int, std: float, *, rank: int) -> None:
        super().__init__()
        self.width, self.rows, self.widths = width, _row_factors(cardinality), _width_factors(width)
        self.ranks = _ranks(self.rows, self.widths, rank)
        core_std = (std**2 / (self.ranks[0] * self.ranks[1])) ** (1 / 6)
        slices = _slice_sizes(self.widths, self.ranks)
        self.cores = nn.ModuleList(
            Table(p, size, core_std) for p, size in zip(self.rows, slices, strict=True)
        )

    def forward(self, index: Tensor) -> Tensor:
        """Embed ids to [*index.shape, d]."""
        (p1, _, p3), (q1, q2, q3), (r1, r2) = self.rows, self.widths, self.ranks
        ids, inverse = torch.unique(index, return_inverse=True)
        middle, counts = torch.unique_consecutive(ids // (p1 * p3), return_counts=True)
        first = self.cores[0](ids // p3 % p1).view(-1, r1).split((counts * q1).tolist())
        second = self.cores[1](middle).view(-1, r1, q2 * r2)
        third = self.cores[2](ids % p3).view(-1, r2, q3)
        left = torch.cat([a @ b for a, b in zip(first, second, strict=True)]).view(-1, q1 * q2, r2)
        rows = torch.bmm(left, third).view(-1, self.width)
        return rows.index_select(0, inverse.flatten()).view(*index.shape, self.width)

    @classmethod
    def params(cls, cardinality: int, width: int, **options: Any) -> int:
        """Return p1 q1 r1 + r1 p2 q2 r2 + r2 p3 q3."""
        rows, widths = _row_factors(cardinality), _width_factors(width)
        slices = _slice_sizes(widths, _ranks(rows, widths, options["rank"]))
        return sum(p * size for p, size in zip(rows, slices, strict=True))

    @classmethod
    def sizes(cls, cardinality: int, width: int) -> range:
        """From 1 to the rank at which every table can be written."""
        rows, widths = _row_factors(cardinality), _width_factors(width)
        return range(1, max(rows[0] * widths[0], rows[2] * widths[2]) + 1)


COMPOSITES: dict[str, type[CompositeTable]] = {
    cls.kind: cls for cls in (HashTable, QuotientRemainderTable, TensorTrainTable)
}


def build_composite(
    kind: str, cardinality: int, width: int, std: float = 0.01, **options: Any
) -> CompositeTable:
    """Build the composite `kind` of `cardinality` ids; PlanError for a kind or options that do not fit."""
    constructor: Callable[..., CompositeTable] = _checked(kind, cardinality, width, options)
    return constructor(cardinality, width, std, **options)


def composite_params(kind: str, cardinality: int, width: int, options: Mapping[str, Any]) -> int:
    """Return how many parameters `build_composite` would make; PlanError for options that do not fit."""
    return _checked(kind, cardinality, width, options).params(cardinality, width, **options)


def fit_composite(kind: str, cardinality: int, width: int, params: int, **fixed: Any) -> dict[str, Any]:
    """Return `fixed` with the size option that gives the most parameters, but not more than `params`.

    Where even the largest composite is smaller than `params`, it is that one. PlanError where not even the
    smallest fits.
    """
    found = _kind(kind)

    def cost(size: int) -> int:
        return composite_params(kind, cardinality, width, {**fixed, found.size: size})

    sizes = found.sizes(cardinality, width)
    fitting = bisect_right(sizes, params, key=cost)
    if fitting == 0:
        raise PlanError(
            f"a {kind!r} composite of {cardinality} ids of width {width} needs at least {cost(sizes[0])} "
            f"parameters, {params} are allowed: allow more, or choose a smaller width or another composite."
        )
    return {**fixed, found.size: sizes[fitting - 1]}


def _kind(kind: str) -> type[CompositeTable]:
    if kind not in COMPOSITES:
        raise PlanError(unknown("composite", kind, COMPOSITES))
    return COMPOSITES[kind]


def _checked(kind: str, cardinality: int, width: int, options: Mapping[str, Any]) -> type[CompositeTable]:
    """Return the class of `kind`, or refuse its options."""
    found = _kind(kind)
    for name, value in options.items():
        if name != found.size and name not in found.choices:
            raise PlanError(unknown(f"option of the composite {kind!r}:", name, [found.size, *found.choices]))
        if name in found.choices and value not in found.choices[name]:
            raise PlanError(unknown(f"{name} of the composite {kind!r}:", str(value), found.choices[name]))
    if cardinality < 1 or width < 1:
        raise PlanError(f"a composite of {cardinality} ids of width {width}: both must be at least 1.")
    size, largest = options.get(found.size), found.sizes(cardinality, width)[-1]
    if not isinstance(size, int) or not 1 <= size <= largest:
        raise PlanError(
            f"a {kind!r} composite of {cardinality} ids of width {width} has {found.size} = {size!r}: "
            f"it must be an integer from 1 to {largest}."
        )
    return found


def _half(width: int) -> int:
    if width % 2:
        raise PlanError(
            f"combine = 'concat' halves the width, so {width} must be even: "
            "choose an even width, or combine = 'mult' or 'add'."
        )
    return width // 2


def _row_factors(cardinality: int) -> tuple[int, int, int]:
    """Return p1 >= p2 >= p3, nearly equal, with p1 p2 p3 >= n and little more."""
    first = round(cardinality ** (1 / 3))
    first += first**3 < cardinality
    second = ceil(sqrt(cardinality / first))
    return first, second, -(-cardinality // (first * second))


def _width_factors(width: int) -> tuple[int, int, int]:
    """Return q1, q2, q3 with product d, nearly equal, the least in the middle: that core has r^2 columns."""
    divisors = [q for q in range(1, width + 1) if width % q == 0]
    triples = [(a, b, width // (a * b)) for b in divisors for a in divisors if width % (a * b) == 0]
    return min((t for t in triples if t[1] <= t[2] <= t[0]), key=sum)


def _ranks(rows: tuple[int, int, int], widths: tuple[int, int, int], rank: int) -> tuple[int, int]:
    return min(rank, rows[0] * widths[0]), min(rank, rows[2] * widths[2])


def _slice_sizes(widths: tuple[int, int, int], ranks: tuple[int, int]) -> tuple[int, int, int]:
    """Entries of one slice of each core."""
    return widths[0] * ranks[0], ranks[0] * widths[1] * ranks[1], ranks[1] * widths[2]
