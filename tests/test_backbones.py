"""Backbones against slow formulations: loops over samples, fields and pairs, in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from nasbench_rec.backbones import (
    BACKBONES,
    Backbone,
    BackboneOptions,
    EmbeddingShape,
    FirstOrder,
    build_backbone,
)
from nasbench_rec.data import Field
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.optim import RowAdam

SINGLE = (Field("a", 5), Field("b", 7), Field("c", 3), Field("d", 4))
MIXED = (Field("a", 5), Field("tags", 6, columns=3, padding=0), Field("c", 3), Field("two", 4, columns=2))
ALIGNED = EmbeddingShape(4, 3)
ONE_FIELD = EmbeddingShape(1, 3)
FLAT = EmbeddingShape(3, 0, flat=7)
FLAT_NAMES = ("dcn", "dcnv2", "dnn", "widedeep")
PLAIN = BackboneOptions(hidden=(6, 5), dropout=0.0, batch_norm=False, cross_layers=2)
NORMED = BackboneOptions(hidden=(6, 5), dropout=0.0, batch_norm=True, cross_layers=3)
BATCH = 9

CASES = [(name, shape) for name in BACKBONES for shape in (ALIGNED, ONE_FIELD)]
CASES += [(name, FLAT) for name in FLAT_NAMES]


def make_ids(fields: Sequence[Field], batch: int = BATCH) -> Tensor:
    columns = [torch.randint(f.cardinality, (batch, f.columns)) for f in fields]
    return torch.cat(columns, 1).int()


def make(
    name: str, shape: EmbeddingShape, fields: Sequence[Field] = MIXED, options: BackboneOptions = PLAIN
) -> tuple[Backbone, Tensor, Tensor]:
    """A backbone in double precision, away from its initial values, with embeddings and ids."""
    torch.manual_seed(3)
    backbone = build_backbone(name, shape, fields, options).double()
    for tensor in [*backbone.parameters(), *(b for b in backbone.buffers() if b.is_floating_point())]:
        tensor.data.uniform_(0.2, 1.2).mul_(0.7 if tensor.ndim < 2 else 0.4)
        if tensor.ndim >= 2:
            tensor.data.sub_(0.25)
    size = (BATCH, shape.flat) if shape.flat else (BATCH, shape.fields, shape.width)
    return backbone, torch.randn(size, dtype=torch.double), make_ids(fields)


# ---- the slow formulations


def dot(x: Sequence[float], y: Sequence[float]) -> float:
    assert len(x) == len(y)
    return sum(a * b for a, b in zip(x, y, strict=True))


def slow_layer(layer: nn.Module, rows: list[list[float]]) -> list[list[float]]:
    if isinstance(layer, nn.Linear):
        weight, bias = layer.weight.tolist(), layer.bias.tolist()
        return [[dot(w, row) + b for w, b in zip(weight, bias, strict=True)] for row in rows]
    if isinstance(layer, nn.ReLU):
        return [[max(x, 0.0) for x in row] for row in rows]
    assert isinstance(layer, nn.BatchNorm1d)
    columns = [slow_normed(layer, i, [row[i] for row in rows]) for i in range(len(rows[0]))]
    return [list(row) for row in zip(*columns, strict=True)]


def slow_normed(layer: nn.BatchNorm1d, i: int, column: list[float]) -> list[float]:
    assert layer.running_mean is not None and layer.running_var is not None
    mean, var = float(layer.running_mean[i]), float(layer.running_var[i])
    if layer.training:
        mean = sum(column) / len(column)
        var = sum((x - mean) ** 2 for x in column) / len(column)
    gamma, beta = layer.weight[i].item(), layer.bias[i].item()
    return [gamma * (x - mean) / math.sqrt(var + layer.eps) + beta for x in column]


def slow_layers(layers: nn.Sequential, rows: list[list[float]]) -> list[list[float]]:
    for layer in layers:
        rows = slow_layer(layer, rows)
    return rows


def slow_mlp(backbone: Backbone, rows: list[list[float]]) -> list[float]:
    return [row[0] for row in slow_layers(backbone.mlp, rows)]


def slow_first_order(first: FirstOrder, fields: Sequence[Field], ids: Tensor) -> list[float]:
    weights, out = first.table.weight.flatten().tolist(), []
    for row in ids.tolist():
        total, column, start = first.bias.item(), 0, 0
        for field in fields:
            cells = row[column : column + field.columns]
            real = [i for i in cells if field.padding is None or i != field.padding]
            total += sum(weights[start + i] for i in real) / len(real) if real else 0.0
            column, start = column + field.columns, start + field.cardinality
        out.append(total)
    return out


def pairs(vectors: list[list[float]]) -> list[float]:
    return [dot(vectors[i], vectors[j]) for i in range(len(vectors)) for j in range(i + 1, len(vectors))]


def side_by_side(e: Tensor) -> list[list[float]]:
    return e.flatten(1).tolist()


def slow_fm(b: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> list[float]:
    first = slow_first_order(b.first_order, fields, ids)
    return [x + sum(pairs(vectors)) for x, vectors in zip(first, e.tolist(), strict=True)]


def slow_dnn(b: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> list[float]:
    return slow_mlp(b, side_by_side(e))


def slow_widedeep(b: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> list[float]:
    first = slow_first_order(b.first_order, fields, ids)
    return [x + y for x, y in zip(first, slow_dnn(b, fields, e, ids), strict=True)]


def slow_deepfm(b: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> list[float]:
    return [x + y for x, y in zip(slow_fm(b, fields, e, ids), slow_dnn(b, fields, e, ids), strict=True)]


def slow_ipnn(b: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> list[float]:
    rows = [flat + pairs(v) for flat, v in zip(side_by_side(e), e.tolist(), strict=True)]
    return slow_mlp(b, rows)


def slow_dcn(b: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> list[float]:
    crossed = []
    for x0 in side_by_side(e):
        x = x0
        for w, bias in zip(b.cross_weight.tolist(), b.cross_bias.tolist(), strict=True):
            s = dot(x, w)
            x = [x0[i] * s + bias[i] + x[i] for i in range(len(x0))]
        crossed.append(x)
    return slow_head(b, crossed, e)


def slow_dcnv2(b: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> list[float]:
    crossed = []
    for x0 in side_by_side(e):
        x = x0
        for layer in b.cross:
            inner = slow_layer(layer, [x])[0]
            x = [x0[i] * inner[i] + x[i] for i in range(len(x0))]
        crossed.append(x)
    return slow_head(b, crossed, e)


def slow_head(b: Backbone, crossed: list[list[float]], e: Tensor) -> list[float]:
    deep = slow_layers(b.deep, side_by_side(e))
    return [row[0] for row in slow_layer(b.head, [x + h for x, h in zip(crossed, deep, strict=True)])]


SLOW: dict[str, Callable[..., list[float]]] = {
    "fm": slow_fm,
    "dnn": slow_dnn,
    "widedeep": slow_widedeep,
    "deepfm": slow_deepfm,
    "ipnn": slow_ipnn,
    "dcn": slow_dcn,
    "dcnv2": slow_dcnv2,
}


def check_against_slow(backbone: Backbone, fields: Sequence[Field], e: Tensor, ids: Tensor) -> None:
    logits = backbone(e, ids)
    assert logits.shape == (BATCH,)
    wanted = torch.tensor(SLOW[backbone.info.name](backbone, fields, e, ids), dtype=torch.double)
    torch.testing.assert_close(logits.detach(), wanted, rtol=1e-10, atol=1e-10)


# ---- tests


@pytest.mark.parametrize("fields", [SINGLE, MIXED], ids=["single", "mixed"])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_forward_equals_slow(name: str, shape: EmbeddingShape, fields: Sequence[Field]) -> None:
    backbone, e, ids = make(name, shape, fields)
    check_against_slow(backbone, fields, e, ids)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", BACKBONES)
def test_forward_equals_slow_with_batch_norm(name: str, training: bool) -> None:
    backbone, e, ids = make(name, ALIGNED, options=NORMED)
    check_against_slow(backbone.train(training), MIXED, e, ids)


@pytest.mark.parametrize("name", BACKBONES)
def test_no_hidden_and_no_cross_layers(name: str) -> None:
    backbone, e, ids = make(name, ALIGNED, options=BackboneOptions(hidden=(), cross_layers=0))
    check_against_slow(backbone, MIXED, e, ids)


def test_fm_of_one_field_has_no_second_order() -> None:
    backbone, e, ids = make("fm", ONE_FIELD)
    torch.testing.assert_close(backbone(e, ids), backbone.first_order(ids))


def test_a_field_without_embedding_keeps_its_first_order_weights() -> None:
    backbone, e, ids = make("deepfm", ONE_FIELD, SINGLE)
    other = ids.clone()
    other[:, 3] = (ids[:, 3] + 1) % SINGLE[3].cardinality
    assert (backbone(e, ids) != backbone(e, other)).all()


def test_padding_only_gives_nothing() -> None:
    first = FirstOrder((Field("tags", 6, columns=3, padding=0),)).double()
    first.table.weight.data.normal_()
    first.bias.data.fill_(0.25)
    ids = torch.tensor([[0, 0, 0], [2, 0, 4]])
    weights = first.table.weight.detach().flatten()
    wanted = torch.stack([weights[0] * 0, (weights[2] + weights[4]) / 2]) + 0.25
    torch.testing.assert_close(first(ids).detach(), wanted)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_gradients_of_embeddings(name: str, shape: EmbeddingShape) -> None:
    backbone, e, ids = make(name, shape)
    assert torch.autograd.gradcheck(lambda x: backbone(x, ids), (e.requires_grad_(),))


@pytest.mark.parametrize("name", ["deepfm", "ipnn", "dcn"])
def test_second_gradients_of_embeddings(name: str) -> None:
    backbone, e, ids = make(name, ALIGNED)
    assert torch.autograd.gradgradcheck(lambda x: backbone(x, ids[:2]), (e[:2].requires_grad_(),), atol=1e-4)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_gradients_reach_all_parameters(name: str, shape: EmbeddingShape) -> None:
    backbone, e, ids = make(name, shape)
    backbone(e, ids).square().sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", [n for n, kind in BACKBONES.items() if kind.info.first_order])
def test_first_order_table_works_rowwise(name: str) -> None:
    backbone, e, ids = make(name, ALIGNED)
    backbone(e, ids).sum().backward()
    table = backbone.first_order.table
    dense = table.weight.grad.clone()
    RowAdam([table], lr=0.1)
    backbone(e, ids).sum().backward()
    [(rows, leaf)] = table.pending
    torch.testing.assert_close(torch.zeros_like(dense).index_copy_(0, rows, leaf.grad), dense)


@pytest.mark.parametrize("name", BACKBONES)
def test_float32_agrees_with_double(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, EmbeddingShape(39, 16), [Field(str(i), 3) for i in range(39)], PLAIN)
    e, ids = torch.randn(8, 39, 16), torch.randint(3, (8, 39))
    single = backbone(e, ids)
    torch.testing.assert_close(single.double(), backbone.double()(e.double(), ids), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", [n for n in BACKBONES if n not in FLAT_NAMES])
def test_flat_is_refused(name: str) -> None:
    with pytest.raises(PlanError) as caught:
        build_backbone(name, FLAT, SINGLE, PLAIN)
    for word in (name, "'concat'", "'linear'", "'zero_pad'", ", ".join(FLAT_NAMES)):
        assert word in str(caught.value)


def test_the_infos_agree_with_what_is_built() -> None:
    assert list(BACKBONES) == ["fm", "dnn", "widedeep", "deepfm", "ipnn", "dcn", "dcnv2"]
    for name, kind in BACKBONES.items():
        assert kind.info.name == name
        assert kind.info.needs_equal_widths is (name not in FLAT_NAMES)
        assert kind.info.first_order is hasattr(make(name, ALIGNED)[0], "first_order")


@pytest.mark.parametrize(("name", "near"), [("depfm", "deepfm"), ("dcn_v2", "dcnv2")])
def test_unknown_name_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown backbone '{name}'; did you mean '{near}'"):
        build_backbone(name, ALIGNED, SINGLE, PLAIN)


def test_impossible_shapes_are_refused() -> None:
    for shape in [(0, 4), (3, 0), (0, 0, 4), (3, 0, 0)]:
        with pytest.raises(PlanError, match="nothing to embed"):
            EmbeddingShape(*shape)
    with pytest.raises(PlanError, match="both aligned and flat"):
        EmbeddingShape(3, 4, 12)


def mlp_count(inputs: int, hidden: Sequence[int], batch_norm: bool) -> int:
    total = 0
    for width in hidden:
        total += inputs * width + width + 2 * width * batch_norm
        inputs = width
    return total


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize(("name", "shape"), CASES)
def test_parameter_counts(name: str, shape: EmbeddingShape, batch_norm: bool) -> None:
    options = BackboneOptions(hidden=(6, 5), batch_norm=batch_norm, cross_layers=2)
    fields, rows, layers, last = shape.fields, 5 + 6 + 3 + 4, options.cross_layers, 5
    inputs = shape.flat or fields * shape.width
    first = rows + 1
    deep = mlp_count(inputs, (6, 5), batch_norm)
    products = mlp_count(inputs + fields * (fields - 1) // 2, (6, 5), batch_norm)
    wanted = {
        "fm": first,
        "dnn": deep + last + 1,
        "widedeep": first + deep + last + 1,
        "deepfm": first + deep + last + 1,
        "ipnn": products + last + 1,
        "dcn": 2 * layers * inputs + deep + inputs + last + 1,
        "dcnv2": layers * inputs * (inputs + 1) + deep + inputs + last + 1,
    }[name]
    backbone = build_backbone(name, shape, MIXED, options)
    assert sum(p.numel() for p in backbone.parameters()) == wanted


@pytest.mark.parametrize("name", [n for n in BACKBONES if n != "fm"])
def test_dropout_is_there_only_when_asked_for(name: str) -> None:
    for dropout, wanted in [(0.0, 0), (0.5, 2)]:
        options = BackboneOptions(hidden=(6, 5), dropout=dropout)
        modules = build_backbone(name, ALIGNED, MIXED, options).modules()
        assert sum(isinstance(m, nn.Dropout) for m in modules) == wanted


@pytest.mark.parametrize("name", BACKBONES)
def test_the_global_seed_decides_the_weights(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(11)
        states.append(build_backbone(name, ALIGNED, MIXED, NORMED).state_dict())
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)
