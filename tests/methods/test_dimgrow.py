"""DimGrow: when fields grow and shrink, whose rows move theta, what optimisers remember, and the result."""

import numpy as np
import pytest
import torch
from nasbench_rec.methods._shuffle import ShuffleGatedEmbedding
from nasbench_rec.methods.dimgrow import DimGrowConfig, Growth, order, penalty

from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import FieldDims
from nasbench_rec.training import Bilevel, Step

LAYOUT = Layout((Field("a", 5), Field("b", 4), Field("c", 3)), 3)


def _growth(theta, active, **settings):
    embedding = ShuffleGatedEmbedding(LAYOUT, 0.0)
    with torch.no_grad():
        embedding.theta.copy_(torch.tensor(theta))
        embedding.active.copy_(torch.tensor(active))
    forgotten = []
    hook = Growth(embedding, DimGrowConfig(**settings), lambda f, j: forgotten.append((f, j)))
    hook.after_step(Step(embedding, total=1))
    return embedding, forgotten


OPEN, SHUT, HALF = 0.1, -1.0, 0.0  # gates of .62, .007 and .5


def test_a_field_grows_where_all_its_gates_are_open_and_shrinks_where_one_is_shut() -> None:
    embedding, forgotten = _growth(
        [[OPEN, SHUT, SHUT], [OPEN, HALF, OPEN], [OPEN, SHUT, OPEN]],
        [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]],
    )
    assert embedding.active.tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 1]]
    assert forgotten == [(0, 1)]
    # The new column starts in the middle, whatever it was before.
    assert embedding.theta[0].tolist() == pytest.approx([OPEN, 0.0, SHUT])


def test_growth_stops_at_the_width_at_the_limit_and_in_a_field_that_is_gone() -> None:
    everything = [[OPEN] * 3] * 3
    embedding, _ = _growth(everything, [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert embedding.active.tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 0]]
    embedding, _ = _growth(everything, [[1.0, 0.0, 0.0]] * 3, most=4)
    assert embedding.active.sum() == 4


def test_later_columns_are_cheaper_and_inactive_ones_free() -> None:
    gates = torch.tensor([[0.6, 0.4, 0.9], [0.5, 0.9, 0.3]])
    active = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    assert float(penalty(gates, active)) == pytest.approx((0.6 + 0.4 / 2 + 0.9 + 0.3 / 2) / 4)


def test_inactive_columns_are_not_seen() -> None:
    embedding = ShuffleGatedEmbedding(LAYOUT, 0.0)
    embedding.active[:, 1:] = 0.0
    out = embedding(torch.tensor([[0, 0, 0], [1, 1, 1]], dtype=torch.int32))
    assert (out[:, :, 1:] == 0).all() and (out[:, :, 0] != 0).all()


def test_theta_moves_on_search_rows_alone_after_growth_too(bench, monkeypatch) -> None:
    b = bench("dimgrow", settings={"epochs": 1})
    steps = []
    move = Bilevel.move

    def first_steps(self: Bilevel) -> None:
        steps.append(1)
        if len(steps) <= 30:
            move(self)

    grown = bench("dimgrow", settings={"epochs": 1, "grow": 0.51})
    monkeypatch.setattr(Bilevel, "move", first_steps)
    seen = []
    after = Growth.after_step

    def watch(self: Growth, step: Step) -> None:
        after(self, step)
        seen.append(self.embedding.theta.detach().clone())

    monkeypatch.setattr(Growth, "after_step", watch)
    grown.search()
    assert (seen[-1] != 0).any() and torch.equal(seen[-1][:, 0], seen[30][:, 0])
    monkeypatch.setattr(Bilevel, "move", lambda self: None)
    assert (b.search().tensors["theta"] == 0).all()


def test_growth_keeps_the_moments_of_all_other_gates(bench, monkeypatch) -> None:
    b = bench("dimgrow", settings={"epochs": 1, "grow": 0.51})
    grown = []
    original = Growth._set

    def watch(self: Growth, field: int, column: int, value: float) -> None:
        moments = self.forget.__closure__
        assert moments is not None
        optimizer = next(c.cell_contents for c in moments if isinstance(c.cell_contents, Bilevel)).optimizer
        state = optimizer.state[self.embedding.theta]
        before = state["exp_avg"].clone(), float(state["step"])
        original(self, field, column, value)
        others = torch.ones_like(before[0], dtype=torch.bool)
        others[field, column] = False
        assert torch.equal(state["exp_avg"][others], before[0][others]) and float(state["step"]) == before[1]
        assert not value or state["exp_avg"][field, column] == 0
        grown.append(value)

    monkeypatch.setattr(Growth, "_set", watch)
    b.search()
    assert 1.0 in grown


def test_columns_that_would_come_next_follow_the_active_ones() -> None:
    theta = np.array([[0.3, 0.1, 0.0], [0.5, 0.0, 0.0], [-0.2, 0.0, 0.0]])
    active = np.array([[True, True, False], [True, False, False], [True, False, False]])
    found = np.argsort(-order(theta, active), axis=None)
    # 2 active, 1 active, field b's next (mean .5) before a's (.2), b's third; the field that would not grow last.
    assert found.tolist() == [3, 0, 1, 6, 4, 2, 5, 7, 8]


def test_planted_widths_are_found_and_useless_fields_kept_small(bench) -> None:
    b = bench("dimgrow", small=False, protocol={"epochs": 8})
    plan = b.derive()
    assert isinstance(plan, FieldDims)
    assert b.correlation(plan) > 0.5
    dims = np.array(plan.dims)
    assert dims[b.useful == 0].max() < np.median(dims[b.useful > 0])
    widths = b.task.diagnostics["widths"]
    assert sum(widths[-1]) > sum(widths[0]) >= len(b.useful)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match=r"grow = 0\.4"):
        DimGrowConfig(grow=0.4)
