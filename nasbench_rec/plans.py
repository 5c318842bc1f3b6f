"""Embedding plans: the architecture that a search found. What parameters exist and how a lookup is built.

Every plan can be checked, built, priced, saved (JSON + safetensors), loaded and exported. A plan may carry
weights, and names the retraining recipe that goes with them.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec import export
from nasbench_rec.composites import composite_params
from nasbench_rec.config import canonical
from nasbench_rec.cost import CostItem, cheapest, dense_item, prefix_formats, sparse_formats
from nasbench_rec.embeddings import (
    ColumnMaskedEmbedding,
    CompositeEmbedding,
    ConstantEmbedding,
    FieldEmbedding,
    Layout,
    MaskedEmbedding,
    MixtureEmbedding,
    RowWidthEmbedding,
)
from nasbench_rec.errors import PlanError, unknown
from nasbench_rec.instance import GATES, GatedLookup, gate_cost
from nasbench_rec.model import Embedding
from nasbench_rec.routers import ROUTERS, Router

Recipe = Literal["scratch", "same_init", "rewind", "inherit", "warm_rows", "none"]
RECIPES: tuple[Recipe, ...] = ("scratch", "same_init", "rewind", "inherit", "warm_rows", "none")


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddingPlan(ABC):
    """The architecture found. `recipe` says how its model is trained from `weights`:

    `scratch`: new random weights; `same_init`: the initial weights of the search; `rewind`: those of an early
    step; `inherit`: the last ones, trained on; `warm_rows`: the search's embedding rows, the rest new; `none`:
    served as they are. `weights` maps names of the model's state to tensors; names that are absent start new.
    """

    kind: ClassVar[str]
    recipe: Recipe = "scratch"
    weights: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @abstractmethod
    def check(self, layout: Layout) -> None:
        """Raise `PlanError` where the plan does not fit the layout."""

    @abstractmethod
    def build(self, layout: Layout) -> Embedding:
        """Return a new embedding module; random numbers come from torch's global generator."""

    @abstractmethod
    def cost(self, layout: Layout) -> list[CostItem]:
        """Return the ledger items of everything that the plan adds below the backbone."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that define the plan."""

    def meta(self) -> dict[str, Any]:
        """Return the scalars that define the plan (JSON-able)."""
        return {}

    @classmethod
    @abstractmethod
    def restore(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None
    ) -> EmbeddingPlan:
        """Return the plan of `arrays` and `meta`, without recipe and weights."""

    def export(self, embedding: nn.Module, layout: Layout) -> nn.Module:
        """Return the trained embedding as a plain PyTorch module that stores just what the ledger charges."""
        return export.plain(embedding)

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the mean number of values kept per row of each field, float [F] (recovery scores use it)."""
        raise PlanError(f"a plan of kind {self.kind!r} has no widths per field.")

    def values_read(self, layout: Layout) -> np.ndarray:
        """Return the values that looking up one id of each field reads, mean over its rows, float [F]."""
        return self.widths(layout)

    def digest(self) -> str:
        """Return the content hash: equal plans with equal recipes and weights have equal digests."""
        found = hashlib.sha256(canonical([self.kind, self.recipe, self.meta()]).encode())
        for name, array in sorted(self._tensors().items()):
            array = np.ascontiguousarray(array)
            found.update(f"{name}{array.dtype}{array.shape}".encode())
            found.update(array.tobytes())
        return found.hexdigest()[:20]

    def _tensors(self) -> dict[str, np.ndarray]:
        weights = {f"weights.{k}": v.detach().cpu().numpy() for k, v in self.weights.items()}
        return {**{f"plan.{k}": v for k, v in self.arrays().items()}, **weights}

    def save(self, folder: Path) -> None:
        """Write `plan.json` and `plan.safetensors` into `folder`."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        document = {"format": 1, "kind": self.kind, "recipe": self.recipe, "meta": self.meta()}
        (folder / "plan.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        tensors = {k: np.array(v, order="C") for k, v in self._tensors().items()}
        save_file(tensors, folder / "plan.safetensors")


def load_plan(folder: Path, layout: Layout | None = None) -> EmbeddingPlan:
    """Read a saved plan. A clustered plan needs the `layout` that its router looks up in."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        document = json.loads((folder / "plan.json").read_text())
        tensors = load_file(folder / "plan.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise PlanError(f"{folder}: holds no readable plan ({error}).") from None
    if document.get("kind") not in PLANS:
        raise PlanError(f"{folder / 'plan.json'}: {unknown('plan kind', str(document.get('kind')), PLANS)}")
    arrays = {k.removeprefix("plan."): v for k, v in tensors.items() if k.startswith("plan.")}
    weights = {
        k.removeprefix("weights."): torch.from_numpy(v)
        for k, v in tensors.items()
        if k.startswith("weights.")
    }
    plan = PLANS[document["kind"]].restore(arrays, document["meta"], layout)
    return replace(plan, recipe=document["recipe"], weights=weights)


@dataclass(frozen=True, eq=False, kw_only=True)
class FieldDims(EmbeddingPlan):
    """One width per field, 0 drops the field. `bias`: the linear alignment has one (AutoDim), or not (MDE)."""

    kind = "field_dims"
    dims: tuple[int, ...]
    bias: bool = False

    def check(self, layout: Layout) -> None:
        """One width per field, none negative, not all zero."""
        if len(self.dims) != len(layout.fields):
            raise PlanError(f"the plan has {len(self.dims)} widths for {len(layout.fields)} fields.")
        if min(self.dims) < 0 or max(self.dims) < 1:
            raise PlanError(f"widths {self.dims}: none may be negative and one must be above 0.")

    def build(self, layout: Layout) -> Embedding:
        """Return a `FieldEmbedding`."""
        return FieldEmbedding(layout, self.dims, self.bias)

    def cost(self, layout: Layout) -> list[CostItem]:
        """Values, and the alignment matrices where widths are unequal and aligned linearly."""
        widest = max(self.dims)
        values = dense_item("values", int(np.dot(layout.cardinalities, self.dims)), "mixed widths, dense")
        narrow = [w for w in self.dims if 0 < w < widest] if layout.alignment == "linear" else []
        return [values, dense_item("alignment", sum((w + self.bias) * widest for w in narrow))]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the widths."""
        return {"dims": np.array(self.dims, dtype=np.int32)}

    def meta(self) -> dict[str, Any]:
        """Return whether the alignment has a bias."""
        return {"bias": self.bias}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> FieldDims:
        """Return the plan."""
        return cls(dims=tuple(int(d) for d in arrays["dims"]), bias=meta["bias"])

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the widths."""
        return np.array(self.dims, dtype=float)


@dataclass(frozen=True, eq=False, kw_only=True)
class ColumnMask(EmbeddingPlan):
    """Any subset of columns per field: bool [F, d]."""

    kind = "column_mask"
    mask: np.ndarray

    def check(self, layout: Layout) -> None:
        """The mask has the layout's shape and keeps something."""
        _check_mask(self.mask, (len(layout.fields), layout.dim))

    def build(self, layout: Layout) -> Embedding:
        """Return a `ColumnMaskedEmbedding`."""
        return ColumnMaskedEmbedding(layout, self.mask)

    def cost(self, layout: Layout) -> list[CostItem]:
        """Kept columns, and the packed mask unless it keeps all."""
        values = dense_item(
            "values", int(np.dot(layout.cardinalities, self.mask.sum(1))), "kept columns, dense"
        )
        fields, dim = self.mask.shape
        bits = 0 if self.mask.all() else fields * -(-dim // 8)
        return [values, CostItem("index", 0, bits, "column bits")]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the mask as uint8."""
        return {"mask": self.mask.astype(np.uint8)}

    @classmethod
    def restore(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None
    ) -> ColumnMask:
        """Return the plan."""
        return cls(mask=arrays["mask"].astype(bool))

    def export(self, embedding: nn.Module, layout: Layout) -> nn.Module:
        """Return tables of the kept columns and the packed mask; the whole table where all are kept."""
        assert isinstance(embedding, ColumnMaskedEmbedding)
        return export.plain(embedding) if self.mask.all() else export.PackedColumns(embedding, self.mask)

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the kept columns of each field."""
        return self.mask.sum(1).astype(float)


@dataclass(frozen=True, eq=False, kw_only=True)
class RowDims(EmbeddingPlan):
    """A prefix width per row (feature value), int [V] over the stacked rows; 0 drops the row."""

    kind = "row_dims"
    row_widths: np.ndarray

    def check(self, layout: Layout) -> None:
        """One width in 0..d per row, not all 0."""
        if self.row_widths.shape != (layout.rows,):
            raise PlanError(f"the plan has {self.row_widths.shape} widths for {layout.rows} rows.")
        if not np.issubdtype(self.row_widths.dtype, np.integer):
            raise PlanError(f"row widths must be whole numbers, not {self.row_widths.dtype}.")
        if self.row_widths.min() < 0 or not 0 < self.row_widths.max() <= layout.dim:
            raise PlanError(f"row widths must lie in 0..{layout.dim} and not all be 0.")

    def build(self, layout: Layout) -> Embedding:
        """Return a `RowWidthEmbedding`."""
        return RowWidthEmbedding(layout, self.row_widths)

    def _format(self, layout: Layout) -> tuple[str, int]:
        one_width = len(np.unique(self.row_widths[self.row_widths > 0])) == 1
        return cheapest(prefix_formats(layout.rows, layout.dim, int(self.row_widths.sum()), one_width))

    def cost(self, layout: Layout) -> list[CostItem]:
        """Kept values, where rows start, and one shared matrix per narrower width when aligned linearly."""
        name, index = self._format(layout)
        narrow = [int(w) for w in np.unique(self.row_widths) if 0 < w < self.row_widths.max()]
        maps = sum((w + 1) * layout.dim for w in narrow) if layout.alignment == "linear" else 0
        values = dense_item("values", int(self.row_widths.sum()), "row prefixes")
        return [values, CostItem("index", 0, index, name), dense_item("alignment", maps)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the widths."""
        return {"row_widths": self.row_widths.astype(np.int32)}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> RowDims:
        """Return the plan."""
        return cls(row_widths=arrays["row_widths"])

    def export(self, embedding: nn.Module, layout: Layout) -> nn.Module:
        """Return the module with its table stored as prefixes."""
        assert isinstance(embedding, RowWidthEmbedding)
        return export.sparse(embedding, self._format(layout)[0])

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the mean width of each field's rows."""
        return np.bincount(layout.field_of_row, self.row_widths) / layout.cardinalities


@dataclass(frozen=True, eq=False, kw_only=True)
class EntryMask(EmbeddingPlan):
    """Any subset of the table's entries: bool [V, d]."""

    kind = "entry_mask"
    mask: np.ndarray

    def check(self, layout: Layout) -> None:
        """The mask has the table's shape and keeps something."""
        _check_mask(self.mask, (layout.rows, layout.dim))

    def build(self, layout: Layout) -> Embedding:
        """Return a `MaskedEmbedding`."""
        return MaskedEmbedding(layout, self.mask)

    def _format(self) -> tuple[str, int]:
        rows, dim = self.mask.shape
        return cheapest(sparse_formats(rows, dim, int(self.mask.sum())))

    def cost(self, layout: Layout) -> list[CostItem]:
        """Non-zeros, and the cheapest legal index."""
        name, index = self._format()
        return [dense_item("values", int(self.mask.sum()), "entries kept"), CostItem("index", 0, index, name)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the mask, packed to bits along the columns."""
        return {"bits": np.packbits(self.mask, axis=1), "dim": np.array([self.mask.shape[1]])}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> EntryMask:
        """Return the plan."""
        return cls(mask=np.unpackbits(arrays["bits"], axis=1, count=int(arrays["dim"][0])).astype(bool))

    def export(self, embedding: nn.Module, layout: Layout) -> nn.Module:
        """Return the module with its table stored sparsely."""
        assert isinstance(embedding, MaskedEmbedding)
        return export.sparse(embedding, self._format()[0])

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the mean entries kept per row of each field."""
        return np.bincount(layout.field_of_row, self.mask.sum(1)) / layout.cardinalities


@dataclass(frozen=True, eq=False, kw_only=True)
class Soft(EmbeddingPlan):
    """A mixture of the candidates' tables that is served as it is: no saving.

    `probabilities` [G, N] per group, `group_of_row` [V]; the options are those of `MixtureEmbedding`.
    """

    kind = "soft"
    candidates: tuple[int, ...]
    probabilities: np.ndarray
    group_of_row: np.ndarray
    per_field: bool = False
    norm: bool = False
    tanh: bool = False

    def check(self, layout: Layout) -> None:
        """One distribution per group and one group per row."""
        if self.group_of_row.shape != (layout.rows,):
            raise PlanError(
                f"the plan has groups for {self.group_of_row.shape} rows, the data {layout.rows}."
            )
        if self.probabilities.shape != (int(self.group_of_row.max()) + 1, len(self.candidates)):
            raise PlanError(
                f"mixture weights of shape {self.probabilities.shape} do not fit groups and candidates."
            )
        if self.probabilities.min() < 0 or not np.allclose(self.probabilities.sum(1), 1, atol=1e-3):
            raise PlanError("mixture weights must be at least 0 and sum to 1 in each group.")

    def build(self, layout: Layout) -> Embedding:
        """Return a `MixtureEmbedding` with fixed weights."""
        return MixtureEmbedding(
            layout,
            self.candidates,
            self.group_of_row,
            self.probabilities,
            per_field=self.per_field,
            norm=self.norm,
            tanh=self.tanh,
        )

    def cost(self, layout: Layout) -> list[CostItem]:
        """All candidates' tables, their maps, the normalisations' statistics, and the mixture weights."""
        widest, columns = max(self.candidates), sum(f.columns for f in layout.fields)
        copies = len(layout.fields) if self.per_field else 1
        maps = copies * sum((w + 1) * widest for w in self.candidates)
        # Two float statistics per unit, and one int64 counter per normalisation.
        norm = len(self.candidates) * (2 * columns * widest * 4 + 8) if self.norm else 0
        return [
            dense_item("values", layout.rows * sum(self.candidates), "all candidates, dense"),
            dense_item("alignment", maps),
            CostItem("alignment", 0, norm, "normalisation statistics"),
            dense_item("mixture", self.probabilities.size, "mixture weights"),
            CostItem("index", 0, 4 * layout.rows, "group of each row, int32"),
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return candidates, mixture weights and groups."""
        return {
            "candidates": np.array(self.candidates, dtype=np.int32),
            "probabilities": self.probabilities.astype(np.float32),
            "group_of_row": self.group_of_row.astype(np.int32),
        }

    def meta(self) -> dict[str, Any]:
        """Return the options."""
        return {"per_field": self.per_field, "norm": self.norm, "tanh": self.tanh}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> Soft:
        """Return the plan."""
        candidates = tuple(int(c) for c in arrays["candidates"])
        return cls(
            candidates=candidates,
            probabilities=arrays["probabilities"],
            group_of_row=arrays["group_of_row"],
            **meta,
        )

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the expected width of each field's rows under the mixture."""
        expected = (self.probabilities * np.array(self.candidates)).sum(1)[self.group_of_row]
        return np.bincount(layout.field_of_row, expected) / layout.cardinalities

    def values_read(self, layout: Layout) -> np.ndarray:
        """Return the sum of the candidates' widths: all of them are read."""
        return np.full(len(layout.fields), float(sum(self.candidates)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Composite(EmbeddingPlan):
    """Tables composed of factors (not searched, for reference): per field `hash`, `qr`, `tt` or `full`.

    `options` per field are those of `nasbench_rec.composites.build_composite`.
    """

    kind = "composite"
    kinds: tuple[str, ...]
    options: tuple[Mapping[str, Any], ...]

    def check(self, layout: Layout) -> None:
        """One known kind, with options that fit, for each field."""
        if not len(self.kinds) == len(self.options) == len(layout.fields):
            raise PlanError(f"the plan has {len(self.kinds)} composites for {len(layout.fields)} fields.")
        self._params(layout)

    def _params(self, layout: Layout) -> list[int]:
        return [
            f.cardinality * layout.dim
            if kind == "full"
            else composite_params(kind, f.cardinality, layout.dim, option)
            for f, kind, option in zip(layout.fields, self.kinds, self.options, strict=True)
        ]

    def build(self, layout: Layout) -> Embedding:
        """Return a `CompositeEmbedding`."""
        return CompositeEmbedding(layout, self.kinds, self.options)

    def cost(self, layout: Layout) -> list[CostItem]:
        """All factors."""
        return [dense_item("values", sum(self._params(layout)), "factors, dense")]

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing: the scalars say all."""
        return {}

    def meta(self) -> dict[str, Any]:
        """Return kinds and options."""
        return {"kinds": list(self.kinds), "options": [dict(o) for o in self.options]}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> Composite:
        """Return the plan."""
        return cls(kinds=tuple(meta["kinds"]), options=tuple(meta["options"]))

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the parameters per row of each field."""
        return np.array(self._params(layout)) / layout.cardinalities


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant(EmbeddingPlan):
    """No embedding and no backbone: every sample gets the logit that the plan's weights hold (recipe `none`)."""

    kind = "constant"

    def check(self, layout: Layout) -> None:
        """It is served as it is."""
        if self.recipe != "none":
            raise PlanError(f"a constant is served as it is: recipe 'none', not {self.recipe!r}.")

    def build(self, layout: Layout) -> Embedding:
        """Return a `ConstantEmbedding`."""
        return ConstantEmbedding()

    def cost(self, layout: Layout) -> list[CostItem]:
        """One number."""
        return [dense_item("values", 1, "one logit")]

    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing: the weights say all."""
        return {}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> Constant:
        """Return the plan."""
        return cls()

    def widths(self, layout: Layout) -> np.ndarray:
        """Return zeros: no field is used."""
        return np.zeros(len(layout.fields))


@dataclass(frozen=True, eq=False, kw_only=True)
class InstanceWise(EmbeddingPlan):
    """The whole table and a gate that decides for each sample what of it is used; served as searched: no saving.

    `gate` and `options` name one of `GATES`. `rates` [F, d] in 0..1 say how much of each column is used, averaged
    over training rows: they describe the search and take no part in serving. The recipe is `none` with the whole
    state of the model; gates of 0 and 1 get no gradient, so training such a plan further would not move them.
    """

    kind = "instance_wise"
    gate: str
    rates: np.ndarray
    options: Mapping[str, Any] = field(default_factory=dict)

    def check(self, layout: Layout) -> None:
        """A known gate with options that fit, and a rate in 0..1 for each field and column."""
        if self.gate not in GATES:
            raise PlanError(unknown("gate", self.gate, GATES))
        if self.rates.shape != (len(layout.fields), layout.dim):
            raise PlanError(
                f"rates of shape {self.rates.shape} for {len(layout.fields)} fields of width {layout.dim}."
            )
        if not (self.rates.min() >= 0 and self.rates.max() <= 1):
            raise PlanError("rates must lie in 0..1.")
        self._gate_cost(layout)

    def _gate_cost(self, layout: Layout) -> tuple[int, int]:
        try:
            return gate_cost(layout, self.gate, self.options)
        except TypeError as error:
            raise PlanError(f"the gate {self.gate!r} cannot be built: {error}.") from None

    def build(self, layout: Layout) -> Embedding:
        """Return a `GatedLookup`."""
        return GatedLookup(layout, self.gate, self.options)

    def cost(self, layout: Layout) -> list[CostItem]:
        """The whole table, the gate, and its normalisations' statistics."""
        params, state = self._gate_cost(layout)
        return [
            dense_item("values", layout.rows * layout.dim, "whole table, dense"),
            dense_item("instance_gate", params, "gate of each sample"),
            CostItem("instance_gate", 0, state, "normalisation statistics"),
        ]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the rates."""
        return {"rates": self.rates.astype(np.float32)}

    def meta(self) -> dict[str, Any]:
        """Return the gate and its options."""
        return {"gate": self.gate, "options": dict(self.options)}

    @classmethod
    def restore(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None
    ) -> InstanceWise:
        """Return the plan."""
        return cls(rates=arrays["rates"], **meta)

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the mean use of each field, in columns."""
        return self.rates.sum(1).astype(float)

    def values_read(self, layout: Layout) -> np.ndarray:
        """Return d for every field: the gate looks at all of it."""
        return np.full(len(layout.fields), float(layout.dim))


@dataclass(frozen=True, eq=False, kw_only=True)
class Joint(EmbeddingPlan):
    """Several plans, each with tables and a backbone of its own. The weights are those of the `plans`."""

    part: ClassVar[str]
    """What one of the plans is called."""
    plans: tuple[EmbeddingPlan, ...]

    def check(self, layout: Layout) -> None:
        """None of the plans joins several itself; all fit, and all or none are served as they are."""
        for plan in self.plans:
            if isinstance(plan, Joint):
                raise PlanError(f"the plan of a {self.part} cannot be {plan.kind} itself.")
            if (plan.recipe == "none") != (self.recipe == "none"):
                raise PlanError(f"a plan of recipe {self.recipe!r} has a part of recipe {plan.recipe!r}.")
            plan.check(layout)

    def build(self, layout: Layout) -> Embedding:
        """There is no single embedding: the parts are built one by one."""
        raise PlanError(f"a plan of kind {self.kind!r} is built part by part: use its `plans`.")

    def cost(self, layout: Layout) -> list[CostItem]:
        """The sum over the plans."""
        return [item for plan in self.plans for item in plan.cost(layout)]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the plans' arrays and weights, prefixed."""
        return {f"{self.part}{c}.{k}": v for c, p in enumerate(self.plans) for k, v in p._tensors().items()}

    def meta(self) -> dict[str, Any]:
        """Return the plans' scalars."""
        heads = [{"kind": p.kind, "recipe": p.recipe, "meta": p.meta()} for p in self.plans]
        return {f"{self.part}s": heads}

    @classmethod
    def _parts(
        cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None
    ) -> tuple[EmbeddingPlan, ...]:
        plans = []
        for c, head in enumerate(meta[f"{cls.part}s"]):
            prefix = f"{cls.part}{c}."
            own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
            named = {k.removeprefix("plan."): v for k, v in own.items() if k.startswith("plan.")}
            plan = PLANS[head["kind"]].restore(named, head["meta"], layout)
            plans.append(replace(plan, recipe=head["recipe"], weights=_tensors_below(own, "weights.")))
        return tuple(plans)

    def widths(self, layout: Layout) -> np.ndarray:
        """Return the mean over the plans."""
        return np.mean([plan.widths(layout) for plan in self.plans], axis=0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Clustered(Joint):
    """A router and one plan per cluster; each cluster has its own tables and its own backbone (iHAS).

    A cluster's model starts from the weights of its own plan; the recipe is one for all.
    """

    kind = "clustered"
    part = "cluster"
    router: Router

    def check(self, layout: Layout) -> None:
        """As many plans as the router has clusters."""
        if len(self.plans) != self.router.clusters:
            raise PlanError(f"{len(self.plans)} plans for {self.router.clusters} clusters.")
        super().check(layout)

    def cost(self, layout: Layout) -> list[CostItem]:
        """The sum over clusters, and the router."""
        return super().cost(layout) + self.router.cost()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the router's tensors and the clusters' arrays and weights, prefixed."""
        router = {f"router.{k}": v.detach().cpu().numpy() for k, v in self.router.state_dict().items()}
        return router | super().arrays()

    def meta(self) -> dict[str, Any]:
        """Return the router's and the clusters' scalars."""
        return {"router": {"kind": self.router.kind, **self.router.meta()}, **super().meta()}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> Clustered:
        """Return the plan; the router looks up in `layout`."""
        if layout is None:
            raise PlanError("a clustered plan is read with the layout that its router looks up in.")
        options = dict(meta["router"])
        router = ROUTERS[options.pop("kind")](layout, **options)
        router.load_state_dict(_tensors_below(arrays, "router."))
        return cls(router=router, plans=cls._parts(arrays, meta, layout))

    def values_read(self, layout: Layout) -> np.ndarray:
        """Return the mean over clusters: a sample is served by one of them."""
        return np.mean([plan.values_read(layout) for plan in self.plans], axis=0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Ensemble(Joint):
    """Every plan serves every sample, and the logits are averaged.

    Member 0 is initialised and trained with the unit's seeds as they are, member m > 0 with seeds made from them:
    members of equal plans differ.
    """

    kind = "ensemble"
    part = "member"

    def check(self, layout: Layout) -> None:
        """At least one member."""
        if not self.plans:
            raise PlanError("an ensemble needs at least one member.")
        super().check(layout)

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any], layout: Layout | None) -> Ensemble:
        """Return the plan."""
        return cls(plans=cls._parts(arrays, meta, layout))

    def values_read(self, layout: Layout) -> np.ndarray:
        """Return the sum over members."""
        return np.sum([plan.values_read(layout) for plan in self.plans], axis=0)


PLANS: dict[str, type[EmbeddingPlan]] = {
    cls.kind: cls
    for cls in (
        FieldDims,
        ColumnMask,
        RowDims,
        EntryMask,
        Soft,
        Composite,
        Constant,
        InstanceWise,
        Clustered,
        Ensemble,
    )
}


def uniform(layout: Layout, width: int | None = None) -> FieldDims:
    """Return the uniform plan: `width` (the base width by default) for every field."""
    return FieldDims(dims=(layout.dim if width is None else width,) * len(layout.fields))


def _check_mask(mask: np.ndarray, shape: tuple[int, int]) -> None:
    if mask.shape != shape or mask.dtype != bool:
        raise PlanError(f"the mask is {mask.dtype} {mask.shape}, expected bool {shape}.")
    if not mask.any():
        raise PlanError("the mask keeps nothing; a plan keeps at least one entry.")


def _tensors_below(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, Tensor]:
    return {
        k.removeprefix(prefix): torch.from_numpy(np.array(v))
        for k, v in arrays.items()
        if k.startswith(prefix)
    }
