"""Shuffled gates: what a shuffle keeps and destroys, who moves theta, and what closes."""

import numpy as np
import pytest
import torch
from nasbench_rec.methods._shuffle import ShuffleGatedEmbedding, shuffled
from nasbench_rec.methods.shufflegate import ShuffleGateConfig, open_columns

from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import ColumnMask
from nasbench_rec.training import Bilevel

LAYOUT = Layout((Field("a", 5), Field("b", 4)), 3)


def test_each_column_is_shuffled_by_itself_and_keeps_its_values() -> None:
    torch.manual_seed(0)
    rows, fields, width = 64, 3, 4
    e = torch.arange(rows, dtype=torch.float32).view(-1, 1, 1).expand(rows, fields, width).contiguous()
    found = shuffled(e)
    assert (found.sort(0).values == e).all()  # the same values, each once
    assert (found != e).all()  # and all from another row
    source = found.view(rows, -1)
    # Columns of one field come from different rows: no two of them are moved alike.
    assert len({tuple(column.tolist()) for column in source.T}) > 0.8 * fields * width


def test_a_gate_mixes_the_value_and_another_rows_without_a_gradient_to_the_other() -> None:
    embedding = ShuffleGatedEmbedding(LAYOUT, 0.0).train()
    ids = torch.tensor([[0, 0], [1, 1]], dtype=torch.int32)  # two rows: the other one is known
    e = embedding.lookup(ids).detach()
    with torch.no_grad():
        embedding.theta[0] = 1.0
    g = torch.sigmoid(torch.tensor([5.0, 0.0])).view(1, 2, 1)
    out = embedding(ids)
    assert torch.allclose(out, g * e + (1 - g) * e.flip(0))
    assert torch.equal(embedding.eval()(ids), g * e + (1 - g) * e.mean(0))
    embedding.train()
    x = e.clone().requires_grad_()
    embedding.lookup.forward = lambda ids: x  # type: ignore[method-assign]
    embedding(ids)[0].sum().backward()
    assert x.grad is not None and torch.allclose(x.grad[0], g[0].expand(2, 3)) and (x.grad[1] == 0).all()


def test_theta_moves_on_search_rows_alone(bench, monkeypatch) -> None:
    b = bench("shufflegate", settings={"epochs": 1, "lam": 0.0})
    assert b.search().tensors["gates"].std() > 0
    monkeypatch.setattr(
        Bilevel, "move", lambda self: None
    )  # no steps on search rows: what else would move it?
    gates = b.search().tensors["gates"]
    assert (gates == torch.tensor(5.0).sigmoid()).all()


def test_useless_fields_close_and_useful_ones_do_not(bench) -> None:
    b = bench("shufflegate", small=False, protocol={"epochs": 6})
    state = b.search()
    gates = state.tensors["gates"].numpy().max(1)
    assert gates[b.useful == 0].max() < 0.5 < np.median(gates[b.useful > 0])
    assert b.correlation(b.derive(state)) > 0.5
    half = b.derive(state, 0.5)
    assert isinstance(half, ColumnMask) and b.correlation(half) > 0.5


def test_where_every_gate_closes_the_largest_stays() -> None:
    gates = np.array([[0.1, 0.3], [0.2, 0.05]])
    assert open_columns(gates, 0.5).tolist() == [[False, True], [False, False]]
    assert open_columns(gates, 0.15).tolist() == [[False, True], [True, False]]


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match=r"cut = 1\.0"):
        ShuffleGateConfig(cut=1.0)
