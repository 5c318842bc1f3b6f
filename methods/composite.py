"""`hash`, `qr`, `ttrec`: tables composed of smaller factors. No search: references at the same cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from nasbench_rec.methods._ranking import limit_of

from nasbench_rec.composites import COMPOSITES, composite_params, fit_composite
from nasbench_rec.cost import VALUE_BYTES
from nasbench_rec.data import Field
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import Composite, EmbeddingPlan, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask, uniform_bytes

Choice = tuple[str, Mapping[str, Any]]
"""Kind and options of one field's table."""
STEPS = 40
"""Halvings of the share; a table has fewer than 2^40 sizes."""


@dataclass(frozen=True)
class CompositeConfig:
    """Settings of `hash` and `ttrec`; none needs a search."""

    full_below: int = setting(
        200,
        "fields of at most this many values keep a table of their own, if the plan budget allows that for all of them",
        source="code (dlrm): 200",
        space={"type": "int", "low": 1, "high": 10_000, "log": True},
        stage="derive",
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours",
        stage="derive",
    )


@dataclass(frozen=True)
class QRConfig(CompositeConfig):
    """Settings of `qr`."""

    combine: Literal["mult", "add", "concat"] = setting(
        "mult",
        "how the rows of quotient and remainder become one",
        source="code (dlrm): mult",
        space={"type": "categorical", "choices": ["mult", "add", "concat"]},
        stage="derive",
    )


class _Composed(Searcher):
    """One kind of composite for every large field, all at the same share of their table's size."""

    kind: ClassVar[str]

    def search(self, task: SearchTask) -> SearchState:
        """Nothing to search."""
        return SearchState()

    def fixed(self) -> dict[str, Any]:
        """Return the options of the composite that do not set its size."""
        return {}

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return composites at the largest common share that fits the budget; the uniform plan where all of it does."""
        limit = limit_of(task, size, self.config.ratio)
        if limit >= uniform_bytes(task.layout):
            return uniform(task.layout)
        for full_below in (self.config.full_below, 0):
            chosen = self._fitting(task, limit // VALUE_BYTES, full_below)
            if chosen:
                kinds, options = zip(*chosen, strict=True)
                return Composite(kinds=kinds, options=options)
        raise PlanError(f"no {self.kind!r} tables fit into {limit} bytes; give a larger plan budget.")

    def _fitting(self, task: SearchTask, params: int, full_below: int) -> list[Choice]:
        """Return the tables at the largest share of which no more than `params` are needed; [] where none fits."""
        width, low, high = task.layout.dim, 0.0, 1.0
        found: list[Choice] = []
        for share in (low, *(0.0,) * STEPS):
            share = (low + high) / 2 if found else share
            tables = [self._table(f, width, share, full_below) for f in task.fields]
            if size_of(task.fields, tables, width) <= params:
                found, low = tables, share
            elif not found:
                return []
            else:
                high = share
        return found

    def _table(self, f: Field, width: int, share: float, full_below: int) -> Choice:
        """Return the composite of a share of the field's table, or its smallest; the table where that is no larger."""
        whole, fixed = f.cardinality * width, self.fixed()
        if f.cardinality <= full_below:
            return "full", {}
        found = COMPOSITES[self.kind]
        least = {**fixed, found.size: found.sizes(f.cardinality, width)[0]}
        allowed = max(int(share * whole), composite_params(self.kind, f.cardinality, width, least))
        options = fit_composite(self.kind, f.cardinality, width, allowed, **fixed)
        smaller = composite_params(self.kind, f.cardinality, width, options) < whole
        return (self.kind, options) if smaller else ("full", {})


def size_of(fields: tuple[Field, ...], chosen: list[Choice], width: int) -> int:
    """Return the parameters of the chosen tables."""
    return sum(
        f.cardinality * width if kind == "full" else composite_params(kind, f.cardinality, width, options)
        for f, (kind, options) in zip(fields, chosen, strict=True)
    )


class Hash(_Composed):
    """Fewer rows than values: id i of field f takes row

        h(i) = i mod m_f,    m_f about r n_f,

    so values that share a row are not told apart. r is one share for all fields but small ones, which keep their table.
    """

    kind = "hash"
    info = MethodInfo(
        name="hash",
        title="Hashing (i mod m)",
        level="table",
        data="none",
        budget="granular",
        plans=("composite", "field_dims"),
        faithfulness="reference",
        paper="Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009, arXiv:0902.2206",
        year=2009,
        deviations=(
            "ids are in falling order of training counts, so frequent values collide with rare ones alone; a hash "
            "of raw values would not know",
        ),
        stochastic=False,
    )
    Config = CompositeConfig


class QuotientRemainder(_Composed):
    """Two small tables for each field; the row of id i is made of its remainder's and its quotient's,

        x_i = R[i mod m] * Q[i div m]    (mult; or R + Q, or both side by side),

    and no two ids share both. m is the largest such that both tables take the share r of the field's table.
    """

    kind = "qr"
    info = MethodInfo(
        name="qr",
        title="Quotient-remainder trick",
        level="table",
        data="none",
        budget="granular",
        plans=("composite", "field_dims"),
        faithfulness="repaired",
        paper="Shi et al., Compositional Embeddings Using Complementary Partitions for Memory-Efficient Recommendation "
        "Systems, KDD 2020, arXiv:1909.02107",
        year=2020,
        deviations=(
            "both tables start with mean 0; the code draws positive factors only, whose products nearly agree",
            "quotients are divisions of whole numbers; the code's division of floats is wrong from 2^24 ids on",
            "plan budgets are ours: one share for all fields but small ones",
        ),
        stochastic=False,
    )
    Config = QRConfig
    presets = {"add": {"combine": "add"}, "concat": {"combine": "concat"}}

    def fixed(self) -> dict[str, Any]:
        """Return how rows are combined."""
        return {"combine": self.config.combine}


class TTRec(_Composed):
    """Each large table as a tensor train of three cores with rank r between them: with i = (i1, i2, i3),

        x_i = G_1[i1] G_2[i2] G_3[i3],    n <= p1 p2 p3,    d = q1 q2 q3,    G_k[i] of size r_(k-1) x q_k x r_k.

    The rank of each field is the largest whose cores take no more than the share r of the field's table.
    """

    kind = "tt"
    info = MethodInfo(
        name="ttrec",
        title="TT-Rec (tensor train)",
        level="table",
        data="none",
        budget="granular",
        plans=("composite", "field_dims"),
        faithfulness="faithful",
        paper="Yin et al., TT-Rec: Tensor Train Compression for Deep Learning Recommendation Models, MLSys 2021, "
        "arXiv:2101.11714",
        year=2021,
        deviations=(
            "plain PyTorch; the code is a kernel for GPUs with the optimiser inside",
            "core entries are normal with the deviation that gives entries of the product the protocol's; the paper "
            "draws them without their middle",
            "plan budgets are ours: one share for all fields but small ones",
        ),
        stochastic=False,
    )
    Config = CompositeConfig
