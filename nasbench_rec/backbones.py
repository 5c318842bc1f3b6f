"""The CTR models above the embeddings: FM, DNN, Wide&Deep, DeepFM, IPNN, DCN and DCN-v2.

Letters in shapes: B samples, C id columns, F' embedded fields, d width, D width of all embeddings side by
side, P = F'(F'-1)/2 pairs of fields, L cross layers.

Weights start from the global torch generator: the caller seeds it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasbench_rec.data import Field
from nasbench_rec.errors import ConfigError, PlanError, unknown
from nasbench_rec.tables import Table, pool, stacked_offsets

__all__ = [
    "BACKBONES",
    "DCN",
    "DCNV2",
    "DNN",
    "FM",
    "IPNN",
    "Backbone",
    "BackboneInfo",
    "BackboneOptions",
    "DeepFM",
    "EmbeddingShape",
    "FirstOrder",
    "WideDeep",
    "build_backbone",
]


@dataclass(frozen=True)
class EmbeddingShape:
    """What a plan hands to the backbone: `fields` x `width`, or vectors of unequal widths side by side.

    PlanError where nothing is left to embed, or where both or neither of `width` and `flat` are given.
    """

    fields: int
    """F', the fields that kept an embedding."""
    width: int
    """d, the width that all of them have; 0 when flat."""
    flat: int | None = None
    """D, the sum of unequal widths; None when aligned."""

    def __post_init__(self) -> None:
        """Refuse shapes that no backbone can take."""
        if self.fields < 1 or self.features < 1:
            raise PlanError(f"{self} has nothing to embed: keep at least one field with a width above 0.")
        if self.flat is not None and self.width != 0:
            raise PlanError(f"{self} is both aligned and flat: set width to 0, or flat to None.")

    @property
    def features(self) -> int:
        """D, the inputs of a layer on all embeddings side by side."""
        return self.fields * self.width if self.flat is None else self.flat


@dataclass(frozen=True)
class BackboneOptions:
    """Hyper-parameters of the backbones; each takes those that it has."""

    hidden: tuple[int, ...] = (16, 8)
    """Widths of the MLP's hidden layers."""
    dropout: float = 0.2
    """After each hidden layer of the MLP."""
    batch_norm: bool = True
    """Before each ReLU of the MLP."""
    cross_layers: int = 3
    """L, of DCN and DCN-v2."""


@dataclass(frozen=True)
class BackboneInfo:
    """What users see of a backbone."""

    name: str
    title: str
    paper: str
    needs_equal_widths: bool
    """It multiplies fields with each other, so it cannot take unequal widths side by side."""
    first_order: bool
    """It owns a table with one weight per id."""


class Backbone(nn.Module, ABC):
    """A CTR model on given embeddings.

    `rows` are all fields of the data set, also those without an embedding: the first-order table has a row
    for each of their ids. Build by `build_backbone`, which checks that shape and backbone go together.
    """

    info: ClassVar[BackboneInfo]

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` ([B, F', d] aligned, [B, D] flat) and `ids` [B, C] within fields."""


class FirstOrder(nn.Module):
    """A weight per id and one bias: w0 + sum_i w_i x_i, the part of FM's eq. 1 that is linear.

    It covers all fields: a field whose embedding a plan drops keeps its first-order weights. A multi-valued
    field gives the mean weight of its columns without the padding.
    """

    offsets: Tensor

    def __init__(self, fields: Sequence[Field]) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.table = Table(sum(field.cardinality for field in fields), 1)
        self.bias = nn.Parameter(torch.zeros(()))
        self.register_buffer("offsets", stacked_offsets(fields), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B] for `ids` [B, C] within fields."""
        weights = pool(self.table(ids + self.offsets), ids, self.fields)
        return weights.squeeze(2).sum(1) + self.bias


class FM(Backbone):
    """Factorization machine: w0 + sum_i w_i x_i + sum_{i<j} <e_i, e_j>."""

    info = BackboneInfo(
        "fm", "FM", "Rendle: Factorization Machines. ICDM 2010", needs_equal_widths=True, first_order=True
    )

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__(shape, rows, options)
        self.first_order = FirstOrder(rows)

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` [B, F', d]."""
        return self.first_order(ids) + _PairSum.apply(e)  # eq. 1


class DNN(Backbone):
    """An MLP on the embeddings side by side: FNN, without its pre-training by FM."""

    info = BackboneInfo(
        "dnn",
        "DNN (FNN)",
        "Zhang, Du, Wang: Deep Learning over Multi-field Categorical Data. ECIR 2016, arXiv 1601.02376",
        needs_equal_widths=False,
        first_order=False,
    )

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__(shape, rows, options)
        self.mlp = _mlp(shape.features, options)

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` [B, F', d] or [B, D]."""
        return self.mlp(e.flatten(1)).squeeze(1)


class WideDeep(Backbone):
    """Wide&Deep: first order (wide) + MLP (deep). The wide part has no hand-made crossed features."""

    info = BackboneInfo(
        "widedeep",
        "Wide&Deep",
        "Cheng et al.: Wide & Deep Learning for Recommender Systems. DLRS 2016, arXiv 1606.07792",
        needs_equal_widths=False,
        first_order=True,
    )

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__(shape, rows, options)
        self.first_order = FirstOrder(rows)
        self.mlp = _mlp(shape.features, options)

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` [B, F', d] or [B, D]."""
        return self.first_order(ids) + self.mlp(e.flatten(1)).squeeze(1)  # eq. 3


class DeepFM(Backbone):
    """DeepFM: FM + MLP on the same embeddings."""

    info = BackboneInfo(
        "deepfm",
        "DeepFM",
        "Guo et al.: DeepFM, a Factorization-Machine based Neural Network. IJCAI 2017, arXiv 1703.04247",
        needs_equal_widths=True,
        first_order=True,
    )

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__(shape, rows, options)
        self.first_order = FirstOrder(rows)
        self.mlp = _mlp(shape.features, options)

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` [B, F', d]."""
        fm = self.first_order(ids) + _PairSum.apply(e)  # eq. 2
        return fm + self.mlp(e.flatten(1)).squeeze(1)  # eq. 1


class IPNN(Backbone):
    """Product-based network: an MLP on [e_1, ..., e_F', <e_i, e_j> for i < j].

    As in public implementations, the MLP's first layer reads the products themselves, without the paper's
    factorised weights.
    """

    info = BackboneInfo(
        "ipnn",
        "IPNN",
        "Qu et al.: Product-based Neural Networks for User Response Prediction. ICDM 2016, arXiv 1611.00144",
        needs_equal_widths=True,
        first_order=False,
    )
    pairs: Tensor

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__(shape, rows, options)
        i, j = torch.triu_indices(shape.fields, shape.fields, 1)
        self.register_buffer("pairs", i * shape.fields + j, persistent=False)
        self.mlp = _mlp(shape.features + len(self.pairs), options)

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` [B, F', d]."""
        gram: Tensor = _Gram.apply(e)
        products = gram.flatten(1).index_select(1, self.pairs)  # p_ij = <e_i, e_j>: [B, P]
        first, *rest = self.mlp
        assert isinstance(first, nn.Linear)
        hidden = _linear_of_parts(first, e.flatten(1), products)
        for layer in rest:
            hidden = layer(hidden)
        return hidden.squeeze(1)


class DCN(Backbone):
    """Deep & Cross: a vector cross network beside (parallel to) the MLP, then one linear layer.

    x_{l+1} = x_0 (x_l . w_l) + b_l + x_l (eq. 3); logit = w . [x_L, h] + w_0 (eq. 5), with h the MLP's last
    hidden layer.
    """

    info = BackboneInfo(
        "dcn",
        "DCN",
        "Wang et al.: Deep & Cross Network for Ad Click Predictions. ADKDD 2017, arXiv 1708.05123",
        needs_equal_widths=False,
        first_order=False,
    )

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__(shape, rows, options)
        size = (options.cross_layers, shape.features)
        bound = shape.features**-0.5
        self.cross_weight = nn.Parameter(torch.empty(size).uniform_(-bound, bound))
        self.cross_bias = nn.Parameter(torch.zeros(size))
        self.deep = nn.Sequential(*_hidden_layers(shape.features, options))
        self.head = nn.Linear(shape.features + _last_width(shape.features, options), 1)

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` [B, F', d] or [B, D]."""
        x0 = e.flatten(1)
        cross, deep = self.head.weight.split([x0.shape[1], self.head.in_features - x0.shape[1]], 1)
        return self._cross(x0, cross) + functional.linear(self.deep(x0), deep, self.head.bias).squeeze(1)

    def _cross(self, x0: Tensor, out: Tensor) -> Tensor:
        """Return x_L . out, [B], for `x0` [B, D] and `out` [1, D].

        By eq. 3, x_l = a_l x_0 + c_l with a number a_l per sample and a vector c_l that all samples share. So
        one matrix product gives all that is needed of x_0, and no x_l [B, D] is ever written.
        """
        dots = functional.linear(torch.cat([self.cross_weight, out]), x0)  # [L + 1, B]
        a, c = torch.ones_like(dots[0]), torch.zeros_like(x0[0])
        for dot, weight, bias in zip(dots, self.cross_weight, self.cross_bias, strict=False):
            a = a + a * dot + c.dot(weight)  # a_{l+1} = a_l + x_l . w_l
            c = c + bias
        return a * dots[-1] + c.dot(out[0])


class DCNV2(Backbone):
    """DCN-v2 in its parallel structure: a matrix cross network beside the MLP, then one linear layer.

    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (eq. 1); logit = w . [x_L, h] + w_0, with h the MLP's last hidden
    layer. The paper's stacked structure, which feeds x_L into the MLP, is not built; W_l has full rank.
    """

    info = BackboneInfo(
        "dcnv2",
        "DCN-v2 (parallel)",
        "Wang et al.: DCN V2, Improved Deep & Cross Network. WWW 2021, arXiv 2008.13535",
        needs_equal_widths=False,
        first_order=False,
    )

    def __init__(self, shape: EmbeddingShape, rows: Sequence[Field], options: BackboneOptions) -> None:
        super().__init__(shape, rows, options)
        features = shape.features
        self.cross = nn.ModuleList(nn.Linear(features, features) for _ in range(options.cross_layers))
        self.deep = nn.Sequential(*_hidden_layers(features, options))
        self.head = nn.Linear(features + _last_width(features, options), 1)

    def forward(self, e: Tensor, ids: Tensor) -> Tensor:
        """Return logits [B] for `e` [B, F', d] or [B, D]."""
        x = x0 = e.flatten(1)
        for layer in self.cross:
            x = torch.addcmul(x, x0, layer(x))  # eq. 1
        return _linear_of_parts(self.head, x, self.deep(x0)).squeeze(1)


BACKBONES: dict[str, type[Backbone]] = {
    backbone.info.name: backbone for backbone in (FM, DNN, WideDeep, DeepFM, IPNN, DCN, DCNV2)
}


def build_backbone(
    name: str, shape: EmbeddingShape, fields: Sequence[Field], options: BackboneOptions
) -> Backbone:
    """Build the backbone `name` for embeddings of `shape`; `fields` are all fields of the data set.

    ConfigError for an unknown name; PlanError where a flat shape meets a backbone that needs equal widths.
    """
    if name not in BACKBONES:
        raise ConfigError(unknown("backbone", name, BACKBONES))
    if shape.flat is not None and BACKBONES[name].info.needs_equal_widths:
        able = [other for other, kind in BACKBONES.items() if not kind.info.needs_equal_widths]
        raise PlanError(
            f"backbone {name!r} multiplies fields with each other and needs equal widths, but the plan puts "
            f"unequal widths side by side (alignment 'concat', {shape.flat} in all). Use the alignment "
            f"'linear' or 'zero_pad', or one of the backbones that take 'concat': {', '.join(sorted(able))}."
        )
    return BACKBONES[name](shape, fields, options)


def _hidden_layers(inputs: int, options: BackboneOptions) -> Iterator[nn.Module]:
    for width in options.hidden:
        yield nn.Linear(inputs, width)
        if options.batch_norm:
            yield nn.BatchNorm1d(width)
        yield nn.ReLU()
        if options.dropout > 0:
            yield nn.Dropout(options.dropout)
        inputs = width


def _last_width(inputs: int, options: BackboneOptions) -> int:
    return options.hidden[-1] if options.hidden else inputs


def _mlp(inputs: int, options: BackboneOptions) -> nn.Sequential:
    """[B, inputs] -> [B, 1]."""
    return nn.Sequential(*_hidden_layers(inputs, options), nn.Linear(_last_width(inputs, options), 1))


def _linear_of_parts(layer: nn.Linear, first: Tensor, second: Tensor) -> Tensor:
    """`layer` on [first, second]; not writing them side by side saves a fifth of IPNN's time."""
    left, right = layer.weight.split([first.shape[1], second.shape[1]], 1)
    return functional.linear(first, left, layer.bias) + functional.linear(second, right)


class _PairSum(torch.autograd.Function):
    """Sum of <e_i, e_j> over i < j, [B], for `e` [B, F', d]: Rendle 2010, lemma 3.1.

    The gradient sum_j e_j - e_i is one pass over `e`, a fifth of DeepFM's time less than by autograd.
    """

    @staticmethod
    def forward(e: Tensor) -> Tensor:
        return 0.5 * (e.sum(1).square().sum(1) - e.square().sum((1, 2)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (e,) = ctx.saved_tensors
        return (e.sum(1, keepdim=True) - e).mul_(grads[0][:, None, None])


class _Gram(torch.autograd.Function):
    """All inner products e e^T, [B, F', F'], for `e` [B, F', d].

    The gradient (G + G^T) e is one product; autograd takes two and adds a transposed one.
    """

    @staticmethod
    def forward(e: Tensor) -> Tensor:
        return torch.bmm(e, e.transpose(1, 2))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (e,) = ctx.saved_tensors
        return torch.bmm(grads[0] + grads[0].transpose(1, 2), e)
