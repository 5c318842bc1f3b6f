"""LPFS: the gates and their slopes, the schedule of eps, exact zeros, and the ranking."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods.lpfs import LPFSConfig, LPFSEmbedding, _Proximal
from torch import Tensor

from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.searcher import SearchState
from nasbench_rec.testing import tiny_dataset
from nasbench_rec.training import Step, ids_of

LAYOUT = Layout(tiny_dataset().fields, 4)


def gates(kind: str, x: list[float], eps: float = 0.1) -> tuple[Tensor, Tensor]:
    """Gates at x, and their slopes there."""
    embedding = LPFSEmbedding(LAYOUT, kind, eps)
    with torch.no_grad():
        embedding.x.copy_(torch.tensor(x))
    found = embedding.gates()
    found.sum().backward()
    assert embedding.x.grad is not None
    return found.detach(), embedding.x.grad


def test_gates_by_hand() -> None:
    plain, _ = gates("lpfs", [1.0, -1.0, 0.0, 0.5, 3.0])
    assert plain.tolist() == pytest.approx([1 / 1.1, 1 / 1.1, 0, 0.25 / 0.35, 9 / 9.1])
    odd, _ = gates("lpfs++", [1.0, -1.0, 0.0, 0.5, 3.0])
    lift = 10 * math.sqrt(0.1)
    assert odd.tolist() == pytest.approx(
        [1 / 1.1 + lift * math.pi / 4, -1 / 1.1 - lift * math.pi / 4, 0, 0.25 / 0.35 + lift * math.atan(0.5)]
        + [9 / 9.1 + lift * math.atan(3)]
    )


def test_only_lpfs_plus_plus_may_open_again() -> None:
    assert gates("lpfs", [0.0] * 5)[1].tolist() == [0.0] * 5
    assert gates("lpfs++", [0.0] * 5)[1].tolist() == pytest.approx([10 * math.sqrt(0.1)] * 5)


def test_small_eps_makes_a_step() -> None:
    assert gates("lpfs", [0.01, 0.1, 1.0, -0.1, 0.0], 1e-8)[0].tolist() == pytest.approx(
        [1, 1, 1, 1, 0], abs=1e-3
    )


def test_eps_follows_training_steps_and_not_evaluation(bench: Callable[..., Any]) -> None:
    b = bench("lpfs", protocol={"epochs": 2})
    model = b.task.build(lambda: LPFSEmbedding(b.task.layout, "lpfs++", 0.1))
    hook = _Proximal(model.embedding, LPFSConfig(), 1e-3)
    b.task.fit(model, [hook], early_stopping=False)
    assert model.embedding.eps == pytest.approx(1e-3)
    for _ in range(3):
        model.eval()(ids_of(b.task.train)[:10])
    assert model.embedding.eps == pytest.approx(1e-3)


@pytest.mark.parametrize(("index", "eps"), [(0, 0.1), (99, 0.1), (100, 0.1 * 0.9978), (950, 0.1 * 0.9978**9)])
def test_the_schedule_of_the_code(index: int, eps: float) -> None:
    embedding = LPFSEmbedding(LAYOUT, "lpfs", 0.1)
    step = Step(torch.nn.Identity(), total=2000)
    step.index = index
    _Proximal(embedding, LPFSConfig(final_eps=None), 1e-3).before_step(step)
    assert embedding.eps == pytest.approx(eps)


def test_the_proximal_step_by_hand() -> None:
    embedding = LPFSEmbedding(LAYOUT, "lpfs", 0.1)
    hook = _Proximal(embedding, LPFSConfig(gate_lr=0.1, lam=0.5), 1e-3)
    with torch.no_grad():
        embedding.x.copy_(torch.tensor([1.0, -1.0, 0.04, -0.04, 0.0]))
        hook.slope.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, -2.0]))
    step = Step(torch.nn.Identity(), total=10)
    step.index = 4
    hook.after_step(step)
    assert embedding.x.tolist() == pytest.approx([0.85, -0.95, 0.0, 0.0, 0.15])
    assert hook.scores().tolist() == pytest.approx([0.85, 0.95, -1.0, -1.0, 0.15])
    assert hook.last_open.tolist() == [0.5, 0.5, 0, 0, 0.5]


def test_useless_fields_close_for_good(bench: Callable[..., Any]) -> None:
    b = bench("lpfs", small=False, protocol={"epochs": 8})
    state = b.search()
    scores = dict(zip([f.name for f in b.task.fields], state.tensors["scores"].tolist(), strict=True))
    closed = {name for name, score in scores.items() if score <= 0}
    assert closed and closed <= set(b.data.truth["useless_fields"])
    plan = b.derive(state)
    assert {f.name for f, w in zip(b.task.fields, plan.dims, strict=True) if w == 0} == closed


def test_fields_rank_by_size_not_sign_and_the_last_to_close_stays(bench: Callable[..., Any]) -> None:
    b = bench("lpfs")
    fields, dim = len(b.task.fields), b.task.layout.dim
    scores = torch.linspace(-1, -0.5, fields)
    plan = b.derive(SearchState({"scores": scores}))
    assert plan.dims == (0,) * (fields - 1) + (dim,)
    embedding = LPFSEmbedding(b.task.layout, "lpfs++", 0.1)
    hook = _Proximal(embedding, LPFSConfig(), 1e-3)
    with torch.no_grad():
        embedding.x[0] = -9.0
    assert int(hook.scores().argmax()) == 0


def test_a_budget_takes_whole_fields(bench: Callable[..., Any]) -> None:
    b = bench("lpfs")
    order = np.random.default_rng(0).permutation(len(b.task.fields))
    state = SearchState({"scores": torch.tensor(order / 10.0)})
    plan = b.derive(state, 0.5)
    assert set(plan.dims) <= {0, b.task.layout.dim}
    with pytest.raises(PlanError, match="no whole field"):
        b.derive(state, 1e-4)


@pytest.mark.parametrize("settings", [{"eps": 0.0}, {"final_eps": -1.0}])
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="lpfs: eps"):
        LPFSConfig(**settings)
