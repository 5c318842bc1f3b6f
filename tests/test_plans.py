"""Every kind of plan: what it refuses, builds, costs and saves; alignments against slow formulations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasbench_rec.cost import Ledger
from nasbench_rec.data import Dataset
from nasbench_rec.embeddings import FieldEmbedding, Layout, MixtureEmbedding, RowWidthEmbedding
from nasbench_rec.errors import PlanError
from nasbench_rec.pipeline import ClusteredModel, EnsembleModel, build_planned, retrain, values_per_lookup
from nasbench_rec.plans import (
    PLANS,
    Clustered,
    ColumnMask,
    Composite,
    Constant,
    EmbeddingPlan,
    Ensemble,
    EntryMask,
    FieldDims,
    InstanceWise,
    RowDims,
    Soft,
    load_plan,
    uniform,
)
from nasbench_rec.routers import GateNetwork, GateRouter
from nasbench_rec.seeds import Seeds, seeded
from nasbench_rec.serving import parts_of
from nasbench_rec.testing import stored_bytes, tiny_dataset, tiny_protocol
from nasbench_rec.training import ids_of, predict
from nasbench_rec.unit import DataRef, Task

Make = Callable[[Layout, np.random.Generator], EmbeddingPlan]


def column_mask(layout: Layout, rng: np.random.Generator) -> ColumnMask:
    mask = rng.random((len(layout.fields), layout.dim)) < 0.5
    mask[:, 0] = True
    return ColumnMask(mask=mask)


def entry_mask(layout: Layout, rng: np.random.Generator) -> EntryMask:
    return EntryMask(mask=rng.random((layout.rows, layout.dim)) < 0.3)


def field_dims(layout: Layout, rng: np.random.Generator) -> FieldDims:
    return FieldDims(dims=(4, 2, 0, 1, 3, 2)[: len(layout.fields)])


def row_dims(layout: Layout, rng: np.random.Generator) -> RowDims:
    return RowDims(row_widths=rng.integers(0, layout.dim + 1, layout.rows))


def soft(layout: Layout, rng: np.random.Generator) -> Soft:
    shares = rng.dirichlet(np.ones(2), len(layout.fields))
    return Soft(
        candidates=(2, 4), probabilities=shares, group_of_row=layout.field_of_row, norm=True, tanh=True
    )


def composite(layout: Layout, rng: np.random.Generator) -> Composite:
    kinds = ("full", "full", "hash", "qr", "tt", "hash")[: len(layout.fields)]
    buckets = int(rng.integers(5, 30))
    options = ({}, {}, {"buckets": buckets}, {"buckets": 20}, {"rank": 2}, {"buckets": 9})[
        : len(layout.fields)
    ]
    return Composite(kinds=kinds, options=options)


def clustered(layout: Layout, rng: np.random.Generator) -> Clustered:
    with seeded(int(rng.integers(99))):
        router = GateRouter(replace(layout, dim=3, std=1.0), 2, hidden=(5,), which="embedding")
        router.directions.normal_()
    return Clustered(router=router, plans=(column_mask(layout, rng), field_dims(layout, rng)))


def instance_wise(layout: Layout, rng: np.random.Generator) -> InstanceWise:
    rates = rng.random((len(layout.fields), layout.dim), dtype=np.float32)
    return InstanceWise(gate="column", rates=rates, options={"hidden": [5], "cut": 0.45})


def ensemble(layout: Layout, rng: np.random.Generator) -> Ensemble:
    return Ensemble(plans=(column_mask(layout, rng), field_dims(layout, rng)))


def constant(layout: Layout, rng: np.random.Generator) -> Constant:
    return Constant(recipe="none", weights={"embedding.logit": torch.tensor([float(rng.normal())])})


MAKERS: dict[str, Make] = {
    "field_dims": field_dims,
    "column_mask": column_mask,
    "row_dims": row_dims,
    "entry_mask": entry_mask,
    "soft": soft,
    "composite": composite,
    "instance_wise": instance_wise,
    "clustered": clustered,
    "ensemble": ensemble,
    "constant": constant,
}


def plan_of(kind: str, layout: Layout, seed: int = 0) -> EmbeddingPlan:
    return MAKERS[kind](layout, np.random.default_rng(seed))


def task_of(**protocol: Any) -> Task:
    return Task(DataRef("tiny", "generated"), "dnn", tiny_protocol(**protocol))


def logits(plan: EmbeddingPlan, data: Dataset, seed: int = 0, **protocol: Any) -> np.ndarray:
    return predict(build_planned(plan, task_of(**protocol), data, seed), data.split("valid"))


@pytest.fixture(params=["tiny", "multivalued"])
def data(request: pytest.FixtureRequest) -> Dataset:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("kind", MAKERS)
class TestEveryKind:
    def test_saving_keeps_digest_and_model(self, kind: str, data: Dataset, tmp_path: Path) -> None:
        plan = plan_of(kind, Layout(data.fields, 4))
        plan.save(tmp_path)
        loaded = load_plan(tmp_path, Layout(data.fields, 4))
        assert type(loaded) is type(plan) and loaded.digest() == plan.digest()
        assert np.array_equal(logits(loaded, data), logits(plan, data))
        assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.json", "plan.safetensors"]

    def test_digest_is_of_the_content(self, kind: str, layout: Layout) -> None:
        one, same, other = (plan_of(kind, layout, seed) for seed in (0, 0, 1))
        weights = {"x": torch.zeros(2)}
        assert one.digest() == same.digest()
        assert kind == "field_dims" or other.digest() != one.digest()
        assert (
            len(
                {
                    one.digest(),
                    replace(one, recipe="inherit").digest(),
                    replace(one, weights=weights).digest(),
                }
            )
            == 3
        )

    def test_weights_and_recipe_are_saved(
        self, kind: str, tiny: Dataset, layout: Layout, tmp_path: Path
    ) -> None:
        plan = plan_of(kind, layout)
        weights = {
            "whole": torch.randn(3, 2),
            "counter": torch.tensor(7),
            "half": torch.ones(2, dtype=torch.float16),
        }
        replace(plan, recipe="rewind", weights=weights).save(tmp_path)
        loaded = load_plan(tmp_path, layout)
        assert loaded.recipe == "rewind" and set(loaded.weights) == set(weights)
        for name, value in weights.items():
            assert loaded.weights[name].dtype == value.dtype and torch.equal(loaded.weights[name], value)

    def test_embedding_is_deterministic_in_the_seed(self, kind: str, tiny: Dataset, layout: Layout) -> None:
        plan = plan_of(kind, layout)
        assert np.array_equal(logits(plan, tiny, 5), logits(plan, tiny, 5))
        # A constant draws nothing: its number comes with the plan.
        assert np.array_equal(logits(plan, tiny, 5), logits(plan, tiny, 6)) == (kind == "constant")

    def test_widths_are_at_most_the_base_width(self, kind: str, layout: Layout) -> None:
        widths = plan_of(kind, layout).widths(layout)
        assert widths.shape == (len(layout.fields),) and widths.dtype == float
        assert widths.min() >= 0 and (kind == "constant" or 0 < widths.max()) and widths.max() <= layout.dim

    def test_cost_counts_no_negative_part(self, kind: str, layout: Layout) -> None:
        items = plan_of(kind, layout).cost(layout)
        assert all(i.params >= 0 and i.bytes >= 0 for i in items)
        assert Ledger(tuple(items)).params(["values"]) > 0

    @pytest.mark.parametrize("alignment", ["linear", "zero_pad", "concat"])
    def test_ledger_and_export_under_each_alignment(self, kind: str, data: Dataset, alignment: str) -> None:
        layout = Layout(data.fields, 4, alignment)
        plan = plan_of(kind, layout)
        plan.check(layout)
        model = build_planned(plan, task_of(alignment=alignment), data, 3).eval()
        ids = ids_of(data.split("valid"))
        stored = stored_bytes(model.router) if isinstance(model, ClusteredModel) else 0
        for own, part in parts_of(plan, model):
            exported = own.export(part.embedding, layout)
            assert torch.equal(exported(ids), part.embedding(ids))
            stored += stored_bytes(exported)
        assert stored == Ledger(tuple(plan.cost(layout))).bytes()


def test_every_kind_is_tested() -> None:
    assert set(PLANS) == set(MAKERS)


def bad_plans(layout: Layout) -> dict[str, tuple[EmbeddingPlan, str]]:
    fields, rows, dim = len(layout.fields), layout.rows, layout.dim
    ones, groups = np.ones((rows, dim), dtype=bool), layout.field_of_row
    good = uniform(layout)
    router = GateRouter(layout, 2)
    share = np.full((fields, 2), 0.5)
    pair = (2, 4)
    nested = Clustered(router=router, plans=(good, good))
    rates = np.full((fields, dim), 0.5)
    return {
        "too few widths": (FieldDims(dims=(1,)), "1 widths for 5 fields"),
        "negative width": (FieldDims(dims=(-1, 1, 1, 1, 1)), "none may be negative"),
        "all dropped": (FieldDims(dims=(0,) * fields), "one must be above 0"),
        "column mask shape": (ColumnMask(mask=ones), "expected bool"),
        "column mask type": (ColumnMask(mask=np.ones((fields, dim))), "float64"),
        "empty column mask": (ColumnMask(mask=np.zeros((fields, dim), dtype=bool)), "keeps nothing"),
        "entry mask shape": (EntryMask(mask=ones[1:]), "expected bool"),
        "empty entry mask": (EntryMask(mask=~ones), "keeps nothing"),
        "row widths shape": (RowDims(row_widths=np.ones(3, int)), r"\(3,\) widths for"),
        "row too wide": (RowDims(row_widths=np.full(rows, dim + 1)), "0..4"),
        "row negative": (RowDims(row_widths=np.r_[-1, np.ones(rows - 1, int)]), "0..4"),
        "row all zero": (RowDims(row_widths=np.zeros(rows, int)), "not all be 0"),
        "row fractional": (RowDims(row_widths=np.full(rows, 1.5)), "whole numbers"),
        "soft groups": (Soft(candidates=pair, probabilities=share, group_of_row=groups[1:]), "groups for"),
        "soft shape": (Soft(candidates=pair, probabilities=share[1:], group_of_row=groups), "do not fit"),
        "soft shares": (Soft(candidates=pair, probabilities=share * 2, group_of_row=groups), "sum to 1"),
        "soft negative": (
            Soft(candidates=pair, probabilities=share * np.array([3, -1]), group_of_row=groups),
            "sum to 1",
        ),
        "composites": (Composite(kinds=("full",), options=({},)), "1 composites for 5 fields"),
        "composite kind": (Composite(kinds=("hsh",) * 5, options=({},) * 5), "did you mean 'hash'"),
        "clusters": (Clustered(router=router, plans=(good,)), "1 plans for 2 clusters"),
        "nested": (Clustered(router=router, plans=(nested, good)), "cannot be clustered"),
        "ensemble inside": (
            Clustered(router=router, plans=(Ensemble(plans=(good,)), good)),
            "cannot be ensemble",
        ),
        "nobody": (Ensemble(plans=()), "at least one member"),
        "clusters inside": (Ensemble(plans=(good, nested)), "plan of a member cannot be clustered"),
        "member": (Ensemble(plans=(good, FieldDims(dims=(1,)))), "1 widths"),
        "gate": (InstanceWise(gate="colum", rates=rates), "did you mean 'column'"),
        "gate's options": (
            InstanceWise(gate="field", rates=rates, options={"cut": 0.5}),
            "unexpected keyword argument 'cut'",
        ),
        "rates' shape": (InstanceWise(gate="field", rates=rates[1:]), r"rates of shape \(4, 4\)"),
        "rates": (InstanceWise(gate="field", rates=rates * 3), r"0\.\.1"),
        "part": (Clustered(router=router, plans=(good, FieldDims(dims=(1,)))), "1 widths"),
        "served untrained": (Clustered(router=router, plans=(good, good), recipe="none"), "recipe"),
    }


@pytest.mark.parametrize("case", bad_plans(Layout(tiny_dataset(40).fields, 4)))
def test_check_refuses(case: str, layout: Layout) -> None:
    plan, says = bad_plans(layout)[case]
    with pytest.raises(PlanError, match=says):
        plan.check(layout)


def test_width_zero_is_no_default(layout: Layout) -> None:
    assert uniform(layout).dims == (4,) * 5 and uniform(layout, 2).dims == (2,) * 5
    with pytest.raises(PlanError, match="one must be above 0"):
        uniform(layout, 0).check(layout)


def test_unreadable_plans_name_the_folder(tmp_path: Path, layout: Layout) -> None:
    with pytest.raises(PlanError, match=str(tmp_path)):
        load_plan(tmp_path)
    uniform(layout).save(tmp_path)
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace("field_dims", "field_dim"))
    with pytest.raises(PlanError, match="did you mean 'field_dims'"):
        load_plan(tmp_path)
    (tmp_path / "plan.json").write_text(text)
    (tmp_path / "plan.safetensors").write_bytes(b"nonsense")
    with pytest.raises(PlanError, match="no readable plan"):
        load_plan(tmp_path)


def test_a_clustered_plan_is_read_with_a_layout(tmp_path: Path, layout: Layout) -> None:
    plan_of("clustered", layout).save(tmp_path)
    with pytest.raises(PlanError, match="layout"):
        load_plan(tmp_path)
    for kind in ("clustered", "ensemble"):
        with pytest.raises(PlanError, match="part by part"):
            plan_of(kind, layout).build(layout)


def test_widths_by_hand(layout: Layout) -> None:
    rows = np.zeros(layout.rows, int)
    rows[:3] = (1, 2, 3)  # the first field has three rows
    assert RowDims(row_widths=rows).widths(layout).tolist() == [2, 0, 0, 0, 0]
    entries = np.zeros((layout.rows, 4), dtype=bool)
    entries[0] = True
    assert EntryMask(mask=entries).widths(layout)[0] == pytest.approx(4 / 3)
    shares = np.array([[0.25, 0.75]])
    mixed = Soft(candidates=(2, 4), probabilities=shares, group_of_row=np.zeros(layout.rows, int))
    assert mixed.widths(layout).tolist() == [3.5] * 5


# What the builders compute, against loops over samples and fields.


def lookups_by_field(
    embedding: FieldEmbedding, dims: tuple[int, ...], fields: tuple
) -> list[tuple[Tensor, int]]:
    """For each field its table's weight and its first row there."""
    found: list[Any] = [None] * len(dims)
    for lookup, width in zip(embedding.lookups, sorted({d for d in dims if d}, reverse=True), strict=True):
        start = 0
        for f in (f for f, d in enumerate(dims) if d == width):
            found[f] = (lookup.table.weight.detach(), start)
            start += fields[f].cardinality
    return found


def mean_vector(weight: Tensor, start: int, ids: Tensor, padding: int | None) -> Tensor:
    kept = [int(i) for i in ids if padding is None or int(i) != padding]
    return sum((weight[start + i] for i in kept), torch.zeros(weight.shape[1])) / max(len(kept), 1)


@pytest.mark.parametrize("alignment", ["linear", "zero_pad", "concat"])
@pytest.mark.parametrize("bias", [False, True])
def test_field_widths_equal_a_slow_formulation(multivalued: Dataset, alignment: Any, bias: bool) -> None:
    fields, dims = multivalued.fields, (4, 2, 0, 1, 2, 3)
    layout = Layout(fields, 4, alignment, std=1.0)
    embedding = FieldEmbedding(layout, dims, bias)
    for projection in embedding.projections:
        if getattr(projection, "bias", None) is not None:
            torch.nn.init.normal_(projection.bias)
    ids = ids_of(multivalued.split("valid"))[:20]
    tables = lookups_by_field(embedding, dims, fields)
    widths = sorted({d for d in dims if d}, reverse=True)
    out = []
    for sample in ids:
        parts, column = [], 0
        for f, field in enumerate(fields):
            own = sample[column : column + field.columns]
            column += field.columns
            if dims[f] == 0:
                continue
            vector = mean_vector(*tables[f], own, field.padding)
            if alignment == "zero_pad":
                vector = torch.cat([vector, torch.zeros(4 - dims[f])])
            if alignment == "linear" and dims[f] < 4:
                group = widths.index(dims[f])
                member = [g for g, d in enumerate(dims) if d == dims[f]].index(f)
                projection = embedding.projections[group - 1]
                vector = vector @ projection.weight[member] + (projection.bias[member] if bias else 0)
            parts.append(vector)
        out.append(torch.cat(parts) if alignment == "concat" else torch.stack(parts))
    expected = torch.stack(out)
    torch.testing.assert_close(embedding(ids), expected, rtol=1e-5, atol=1e-6)
    features = embedding.shape.features
    assert features == expected.flatten(1).shape[1]


@pytest.mark.parametrize("alignment", ["linear", "zero_pad"])
def test_row_widths_equal_a_slow_formulation(multivalued: Dataset, alignment: Any) -> None:
    layout = Layout(multivalued.fields, 4, alignment, std=1.0)
    widths = np.random.default_rng(0).integers(0, 5, layout.rows)
    embedding = RowWidthEmbedding(layout, widths)
    ids, weight = ids_of(multivalued.split("valid"))[:20], embedding.lookup.table.weight
    starts = np.concatenate([[0], np.cumsum(layout.cardinalities)[:-1]])

    def row(r: int) -> Tensor:
        w = int(widths[r])
        vector = torch.cat([weight[r, :w], torch.zeros(4 - w)])
        if alignment == "zero_pad" or w in (0, 4):
            return vector
        return embedding.projections[embedding.narrow.index(w)](weight[r, :w])

    for b, sample in enumerate(ids):
        column = 0
        for f, field in enumerate(layout.fields):
            own = sample[column : column + field.columns].tolist()
            column += field.columns
            kept = [i for i in own if i != field.padding]
            vectors = [row(int(starts[f]) + i) for i in kept] or [torch.zeros(4)]
            torch.testing.assert_close(
                embedding(ids)[b, f], torch.stack(vectors).mean(0), rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("per_field", [False, True])
@pytest.mark.parametrize("tanh", [False, True])
def test_mixtures_equal_a_slow_formulation(tiny: Dataset, per_field: bool, tanh: bool) -> None:
    layout = Layout(tiny.fields, 4, std=1.0)
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 3, layout.rows)
    shares = rng.dirichlet(np.ones(2), 3).astype(np.float32)
    embedding = MixtureEmbedding(layout, (2, 4), groups, shares, per_field=per_field, tanh=tanh).eval()
    ids = ids_of(tiny.split("valid"))[:10]
    starts = np.concatenate([[0], np.cumsum(layout.cardinalities)[:-1]])
    for b, sample in enumerate(ids.tolist()):
        for f, i in enumerate(sample):
            r, total = int(starts[f]) + i, torch.zeros(4)
            for n, (lookup, linear) in enumerate(zip(embedding.lookups, embedding.maps, strict=True)):
                e = lookup.table.weight[r]
                x = e @ linear.weight[f] + linear.bias[f] if per_field else linear(e)
                total = total + float(shares[groups[r], n]) * (x.tanh() if tanh else x)
            torch.testing.assert_close(embedding(ids)[b, f], total, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("per_field", [False, True])
def test_mixtures_average_the_values_of_a_multi_valued_field(multivalued: Dataset, per_field: bool) -> None:
    layout = Layout(multivalued.fields, 4, std=1.0)
    rng = np.random.default_rng(0)
    groups, shares = rng.integers(0, 3, layout.rows), rng.dirichlet(np.ones(2), 3).astype(np.float32)
    embedding = MixtureEmbedding(layout, (2, 4), groups, shares, per_field=per_field).eval()
    ids = ids_of(multivalued.split("valid"))[:20]
    tags, field = ids[:, 5:], layout.fields[5]
    start = layout.rows - field.cardinality
    for sample, own in zip(embedding(ids)[:, 5], tags.tolist(), strict=True):
        vectors = []
        for i in (i for i in own if i != field.padding):
            mixed = torch.zeros(4)
            for n, (lookup, linear) in enumerate(zip(embedding.lookups, embedding.maps, strict=True)):
                e = lookup.table.weight[start + i]
                x = e @ linear.weight[5] + linear.bias[5] if per_field else linear(e)
                mixed = mixed + float(shares[groups[start + i], n]) * x
            vectors.append(mixed)
        expected = torch.stack(vectors).mean(0) if vectors else torch.zeros(4)
        torch.testing.assert_close(sample, expected, rtol=1e-4, atol=1e-6)


def test_a_column_mask_may_drop_a_multi_valued_field(multivalued: Dataset) -> None:
    layout = Layout(multivalued.fields, 4, std=1.0)
    mask = np.ones((6, 4), dtype=bool)
    mask[5] = mask[1] = False
    plan = ColumnMask(mask=mask)
    plan.check(layout)
    embedding, ids = plan.build(layout), ids_of(multivalued.split("valid"))[:20]
    whole = ColumnMask(mask=np.ones((6, 4), dtype=bool)).build(layout)
    weight = embedding.lookup.table.weight
    with torch.no_grad():
        whole.lookup.table.weight.copy_(weight)
    assert torch.equal(embedding(ids), whole(ids)[:, [0, 2, 3, 4]])
    assert plan.widths(layout).tolist() == [4, 0, 4, 4, 4, 0]


def test_a_clustered_model_sends_each_sample_to_its_cluster(tiny: Dataset, layout: Layout) -> None:
    model = build_planned(plan_of("clustered", layout), task_of(), tiny, 0).eval()
    assert isinstance(model, ClusteredModel)
    ids = ids_of(tiny.split("valid"))
    cluster = model.router(ids)
    assert 0 < int(cluster.sum()) < len(ids)
    whole = model(ids)
    for c, part in enumerate(model.models):
        torch.testing.assert_close(whole[cluster == c], part(ids)[cluster == c], rtol=1e-5, atol=1e-7)


# Weights that a plan carries.


def test_carried_weights_do_not_bring_masked_entries_back(tiny: Dataset, layout: Layout) -> None:
    """A search hands over its whole table (`warm_rows`, `same_init`): what the mask drops is dropped."""
    for kind in ("column_mask", "row_dims", "entry_mask"):
        plan = plan_of(kind, layout)
        full = {"embedding.lookup.table.weight": torch.ones(layout.rows, 4)}
        model = build_planned(replace(plan, recipe="warm_rows", weights=full), task_of(), tiny, 0)
        weight = model.embedding.lookup.table.weight
        kept = int(np.dot(layout.cardinalities, plan.widths(layout)).round())
        assert int(weight.count_nonzero()) == kept


def test_recipes_that_reuse_a_model_bring_all_of_it(tiny: Dataset, layout: Layout) -> None:
    plan = uniform(layout)
    state = build_planned(plan, task_of(), tiny, 4).state_dict()
    same = replace(plan, recipe="same_init", weights=state)
    assert np.array_equal(logits(same, tiny, 0), logits(plan, tiny, 4))
    with pytest.raises(PlanError, match="needs weights"):
        logits(replace(plan, recipe="inherit"), tiny)
    partly = {k: v for k, v in state.items() if not k.startswith("backbone")}
    with pytest.raises(PlanError, match="brings no 'backbone"):
        logits(replace(same, weights=partly), tiny)
    with pytest.raises(PlanError, match="does not fit"):
        logits(replace(same, weights={"embedding.nothing": torch.zeros(1)}), tiny)


def test_warm_rows_leave_the_rest_new(tiny: Dataset, layout: Layout) -> None:
    name = "embedding.lookups.0.table.weight"
    warm = {name: torch.ones(layout.rows, 4)}
    model = build_planned(replace(uniform(layout), recipe="warm_rows", weights=warm), task_of(), tiny, 0)
    fresh = build_planned(uniform(layout), task_of(), tiny, 0)
    for key, value in fresh.state_dict().items():
        assert torch.equal(model.state_dict()[key], warm.get(key, value))


# Gates of each sample.


FIELD_GATES = (
    {},
    {"hard": True, "keep": 0.4},
    {"norm": True, "relu": True, "dropout": 0.3},
    {"hard": True, "norm": True},
)


@pytest.mark.parametrize("options", FIELD_GATES)
def test_field_gates_are_priced_and_exported_to_the_byte(data: Dataset, options: dict) -> None:
    """The tables, the gate, and what its normalisations know: statistics and counters."""
    layout = Layout(data.fields, 4, std=1.0)
    plan = InstanceWise(gate="field", rates=np.ones((len(layout.fields), 4)), options=options)
    plan.check(layout)
    embedding = plan.build(layout)
    ids = ids_of(data.split("train"))
    embedding.train()(ids)  # statistics other than the initial ones
    embedding.eval()
    exported = plan.export(embedding, layout)
    assert torch.equal(exported(ids), embedding(ids)) and exported(ids).shape[1:] == (len(layout.fields), 4)
    assert stored_bytes(exported) == Ledger(tuple(plan.cost(layout))).bytes()
    fields = len(layout.fields)
    statistics = 2 * 4 * fields + 8 + (2 * 4 * 4 + 8 if options.get("norm") else 0)
    assert [i.bytes for i in plan.cost(layout) if i.note == "normalisation statistics"] == [statistics]


@pytest.mark.parametrize("hidden", [[], [6]])
def test_a_column_gate_serves_what_its_network_opens(multivalued: Dataset, hidden: list[int]) -> None:
    """Kept values unscaled, the rest 0, by the sample; the state has the names that a search's has."""
    layout = Layout(multivalued.fields, 4, std=1.0)
    options = {"hidden": hidden, "cut": 0.45}
    torch.manual_seed(0)
    embedding: Any = InstanceWise(gate="column", rates=np.ones((6, 4)), options=options).build(layout)
    network = GateNetwork(24, hidden)
    state = {"lookup.table.weight": torch.randn(layout.rows, 4)}
    state |= {f"gate.{name}": value for name, value in network.state_dict().items()}
    embedding.load_state_dict(state)
    ids = ids_of(multivalued.split("valid"))[:50]
    e = embedding.lookup(ids)
    keep = (network(e.flatten(1)).sigmoid() > 0.45).view_as(e)
    assert torch.equal(embedding(ids), torch.where(keep, e, torch.zeros_like(e)))
    assert torch.equal(embedding.masks(ids), keep.flatten(1))
    assert 0.1 < keep.float().mean() < 0.9 and not torch.equal(keep[0], keep[1])


def test_instance_wise_widths_are_the_use_and_lookups_read_all(layout: Layout) -> None:
    rates = np.zeros((5, 4))
    rates[1] = (1, 0.5, 0.25, 0)
    plan = InstanceWise(gate="column", rates=rates)
    assert plan.widths(layout).tolist() == [0, 1.75, 0, 0, 0]
    assert plan.values_read(layout).tolist() == [4] * 5
    assert values_per_lookup(plan, layout) == 20
    assert Ledger(tuple(plan.cost(layout))).params(["values"]) == layout.rows * 4


def test_a_search_state_is_served_bit_for_bit(tiny: Dataset, layout: Layout, tmp_path: Path) -> None:
    plan = InstanceWise(gate="field", rates=np.ones((5, 4)), options={"hard": True})
    state = build_planned(plan, task_of(), tiny, 4).state_dict()
    served = replace(plan, recipe="none", weights=state)
    served.save(tmp_path)
    model, results = retrain(load_plan(tmp_path, layout), task_of(), tiny, Seeds(init=9, order=9))
    assert not results and np.array_equal(predict(model, tiny.split("valid")), logits(plan, tiny, 4))


# Ensembles.


def test_every_member_reads_its_own_tables(layout: Layout) -> None:
    pair = Ensemble(plans=(uniform(layout), uniform(layout, 2)))
    assert values_per_lookup(pair, layout) == 5 * 4 + 5 * 2 and pair.widths(layout).tolist() == [3.0] * 5


def test_members_are_trained_and_carry_their_own_weights(tiny: Dataset, layout: Layout) -> None:
    plan = uniform(layout)
    state = build_planned(plan, task_of(), tiny, 7).state_dict()
    mixed = Ensemble(plans=(plan, replace(plan, recipe="same_init", weights=state)))
    model = build_planned(mixed, task_of(), tiny, 0)
    assert isinstance(model, EnsembleModel)
    for name, value in state.items():
        assert torch.equal(model.parts()[1].state_dict()[name], value)
    with pytest.raises(PlanError, match="recipe"):
        Ensemble(plans=(plan, replace(plan, recipe="none", weights=state))).check(layout)
