"""Stored formats: each gives the masked table back, and weighs what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasbench_rec import export
from nasbench_rec.cost import VALUE_BYTES, prefix_formats, sparse_formats
from nasbench_rec.data import Dataset
from nasbench_rec.embeddings import Layout, MaskedEmbedding, RowWidthEmbedding
from nasbench_rec.export import SparseTable
from nasbench_rec.pipeline import build_planned
from nasbench_rec.plans import (
    ColumnMask,
    EmbeddingPlan,
    Ensemble,
    EntryMask,
    FieldDims,
    InstanceWise,
    RowDims,
    uniform,
)
from nasbench_rec.serving import export_model
from nasbench_rec.tables import Table
from nasbench_rec.testing import stored_bytes, tiny_dataset, tiny_protocol
from nasbench_rec.training import ids_of
from nasbench_rec.unit import DataRef, Task

SPARSE = ("dense", "csr-int32", "csr-uint8", "coo-int32", "coo-uint8", "bitmap")
PREFIX = ("prefix-int32", "prefix-uint8")
ROWS = (1, 63, 64, 65, 130)


def numbers(rows: int, width: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(rows * width))


def masks(rows: int, width: int) -> dict[str, Tensor]:
    some = torch.rand(rows, width, generator=torch.Generator().manual_seed(1)) < 0.3
    holes = some.clone()
    holes[: rows // 2] = False
    last = torch.zeros(rows, width, dtype=torch.bool)
    last[-1, -1] = True
    whole = torch.ones(rows, width, dtype=torch.bool)
    return {"some": some, "empty rows": holes, "last only": last, "all": whole, "none": ~whole}


def prefixes(rows: int, width: int) -> dict[str, Tensor]:
    column, generator = torch.arange(width), torch.Generator().manual_seed(1)
    some = column < torch.randint(0, width + 1, (rows, 1), generator=generator)
    first = column < torch.tensor([1] + [0] * (rows - 1))[:, None]
    return {"some": some, "first only": first, "all": some | True, "none": some & False}


def check(weight: Tensor, mask: Tensor, layout: str, index_bytes: int) -> None:
    table, dense = SparseTable(weight, mask, layout), weight * mask
    rows = torch.arange(len(weight))
    assert torch.equal(table(rows), dense), layout
    assert torch.equal(table(rows.int().flip(0)), dense.flip(0))
    kept = int(mask.sum())
    assert stored_bytes(table) == kept * VALUE_BYTES + index_bytes, layout


@pytest.mark.parametrize("width", [1, 16, 300])
@pytest.mark.parametrize("rows", ROWS)
def test_sparse_formats_store_the_masked_table_to_the_byte(rows: int, width: int) -> None:
    for mask in masks(rows, width).values():
        formats = sparse_formats(rows, width, int(mask.sum()))
        assert set(formats) == {name for name in SPARSE if width <= 256 or "uint8" not in name}
        for layout, index_bytes in formats.items():
            check(numbers(rows, width), mask, layout, index_bytes)


@pytest.mark.parametrize("width", [1, 16, 300])
@pytest.mark.parametrize("rows", ROWS)
def test_prefix_formats_store_the_masked_table_to_the_byte(rows: int, width: int) -> None:
    for mask in prefixes(rows, width).values():
        formats = prefix_formats(rows, width, int(mask.sum()))
        whole = {"dense"} if bool(mask.all()) else set()
        assert set(formats) == {name for name in PREFIX if width <= 255 or "uint8" not in name} | whole
        for layout, index_bytes in formats.items():
            check(numbers(rows, width), mask, layout, index_bytes)


@pytest.mark.parametrize("width", [1, 16, 300])
@pytest.mark.parametrize("rows", ROWS)
def test_whole_rows_are_stored_by_a_bit_each(rows: int, width: int) -> None:
    kept = torch.rand(rows, generator=torch.Generator().manual_seed(rows)) < 0.4
    kept[-1] = True
    for prefix in {1, width}:
        mask = kept[:, None] & (torch.arange(width) < prefix)
        index_bytes = prefix_formats(rows, width, int(mask.sum()), one_width=True)["row-bitmap"]
        check(numbers(rows, width), mask, "row-bitmap", index_bytes)


@pytest.mark.parametrize("width", [255, 256])
def test_widths_at_the_edge_of_uint8(width: int) -> None:
    mask = torch.ones(3, width, dtype=torch.bool)
    mask[1] = False
    for layout, index_bytes in sparse_formats(3, width, 2 * width).items():
        check(numbers(3, width), mask, layout, index_bytes)
    assert ("prefix-uint8" in prefix_formats(3, width, 2 * width)) == (width == 255)
    for layout, index_bytes in prefix_formats(3, width, 2 * width).items():
        check(numbers(3, width), mask, layout, index_bytes)


@given(st.integers(1, 200), st.integers(1, 20), st.floats(0, 1), st.sampled_from(SPARSE), st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_any_mask_in_any_format(rows: int, width: int, share: float, layout: str, seed: int) -> None:
    mask = torch.rand(rows, width, generator=torch.Generator().manual_seed(seed)) < share
    check(numbers(rows, width), mask, layout, sparse_formats(rows, width, int(mask.sum()))[layout])


@pytest.mark.parametrize("layout", [*SPARSE, *PREFIX])
def test_lookups_of_any_shape(layout: str) -> None:
    mask = prefixes(70, 5)["some"]
    table, dense = SparseTable(numbers(70, 5), mask, layout), numbers(70, 5) * mask
    for shape in [(7,), (7, 3), (2, 3, 4), (0,), (0, 3)]:
        index = torch.randint(0, 70, shape, dtype=torch.int32)
        assert torch.equal(table(index), dense[index.long()])
    if layout.startswith("prefix"):
        index = torch.randint(0, 70, (4, 6))
        assert torch.equal(table.lengths_of(index), mask.sum(1)[index])


@pytest.mark.parametrize("layout", [*SPARSE, *PREFIX])
def test_masked_numbers_are_not_stored(layout: str) -> None:
    """Whatever stands in the trained table where the mask is 0 stays out of what is given away."""
    mask = prefixes(20, 4)["some"]
    table = SparseTable(torch.where(mask, 1.0, 77.0), mask, layout)
    assert not (table.values == 77).any()


def test_plain_copies_and_leaves_the_original_alone() -> None:
    module = nn.Sequential(nn.Sequential(Table(5, 2)), nn.Dropout()).train()
    found = export.plain(module)
    assert isinstance(module[0][0], Table) and module.training
    assert type(found[0][0]) is nn.Embedding and not found.training
    found[0][0].weight.data.zero_()
    assert module[0][0].weight.abs().sum() > 0


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 1.0])
def test_the_cheapest_format_is_exported(tiny: Dataset, layout: Layout, share: float) -> None:
    mask = np.random.default_rng(0).random((layout.rows, layout.dim)) < share
    plan = EntryMask(mask=mask)
    embedding = MaskedEmbedding(layout, mask)
    (item,) = [i for i in plan.cost(layout) if i.part == "index"]
    sizes = sparse_formats(layout.rows, layout.dim, int(mask.sum()))
    assert item.bytes == min(sizes.values()) == sizes[item.note]
    assert plan.export(embedding, layout).lookup.table.format == item.note
    assert embedding.mask is not None


def test_row_prefixes_keep_their_projections(multivalued: Dataset) -> None:
    layout = Layout(multivalued.fields, 4, std=1.0)
    widths = np.random.default_rng(0).integers(0, 5, layout.rows)
    embedding = RowWidthEmbedding(layout, widths).eval()
    found = RowDims(row_widths=widths).export(embedding, layout)
    ids = ids_of(multivalued.split("valid"))
    assert torch.equal(found(ids), embedding(ids))
    assert found.lookup.table.format == "prefix-uint8"


def test_equal_row_widths_need_no_index(layout: Layout) -> None:
    plan = RowDims(row_widths=np.full(layout.rows, layout.dim))
    (item,) = [i for i in plan.cost(layout) if i.part == "index"]
    assert (item.note, item.bytes) == ("dense", 0)


@pytest.mark.parametrize("layout", [*SPARSE, *PREFIX])
def test_torch_export_accepts_every_format(layout: str) -> None:
    table = SparseTable(numbers(70, 5), prefixes(70, 5)["some"], layout)
    dynamic = {"rows": {0: torch.export.Dim("batch", min=2, max=4096)}}
    program = torch.export.export(table, (torch.arange(7)[:, None],), dynamic_shapes=dynamic)
    rows = torch.arange(70)[:, None]
    assert torch.equal(program.module()(rows), table(rows))


def graph_plans(layout: Layout) -> dict[str, EmbeddingPlan]:
    rng = np.random.default_rng(0)
    entries, columns = rng.random((layout.rows, layout.dim)), rng.random((len(layout.fields), layout.dim))
    return {
        "field dims": FieldDims(dims=(4, 2, 0, 1, 3)),
        "columns": ColumnMask(mask=columns < 0.6),
        "rows": RowDims(row_widths=rng.integers(0, 5, layout.rows)),
        "bitmap": EntryMask(mask=entries < 0.4),
        "sparse": EntryMask(mask=entries < 0.01),
        "column gate": InstanceWise(gate="column", rates=columns),
        "field gate": InstanceWise(gate="field", rates=columns, options={"hard": True, "norm": True}),
        "ensemble": Ensemble(plans=(uniform(layout), ColumnMask(mask=columns < 0.6))),
    }


@pytest.mark.parametrize("name", graph_plans(Layout(tiny_dataset(40).fields, 4)))
def test_torch_export_accepts_the_exported_model(tiny: Dataset, layout: Layout, name: str) -> None:
    plan = graph_plans(layout)[name]
    task = Task(DataRef("tiny", "generated"), "deepfm", tiny_protocol())
    model = build_planned(plan, task, tiny, 0).eval()
    whole = export_model(plan, model, layout)
    ids = ids_of(tiny.split("valid"))
    dynamic = {"ids": {0: torch.export.Dim("batch", min=2, max=4096)}}
    program = torch.export.export(whole, (ids[:7],), dynamic_shapes=dynamic)
    with torch.no_grad():
        assert torch.equal(program.module()(ids), model(ids))
