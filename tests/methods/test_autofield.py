"""AutoField: the relaxed choice, what its logits learn from, and the fields it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._gumbel import Temperature, gumbel_softmax
from nasbench_rec.methods.autofield import AutoFieldConfig, AutoFieldEmbedding

from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.searcher import SearchState
from nasbench_rec.testing import tiny_dataset
from nasbench_rec.training import Bilevel, Step, ids_of

LAYOUT = Layout(tiny_dataset().fields, 4)


def test_choices_start_even_and_evaluation_has_no_noise() -> None:
    embedding = AutoFieldEmbedding(LAYOUT)
    assert embedding.eval().keep().tolist() == pytest.approx([0.5] * 5)
    assert embedding.train().keep().tolist() != embedding.keep().tolist()
    ids = ids_of(tiny_dataset().split("valid"))[:9]
    assert torch.allclose(embedding.eval()(ids), embedding.lookup(ids) * 0.5)


def test_a_cold_sample_is_one_choice_by_its_probability() -> None:
    log_alpha = torch.log(torch.tensor([0.8, 0.2])).expand(20_000, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        cold = gumbel_softmax(log_alpha, 0.01)
    assert float(((cold > 0.01) & (cold < 0.99)).float().mean()) < 0.03
    assert float(cold[:, 0].mean()) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("steps", "index", "tau"), [(None, 0, 1.0), (None, 10, 0.505), (19_800, 9900, 0.505), (100, 500, 0.01)]
)
def test_the_temperature_counts_training_steps(steps: int | None, index: int, tau: float) -> None:
    embedding = AutoFieldEmbedding(LAYOUT)
    step = Step(torch.nn.Identity(), total=20)
    step.index = index
    Temperature(embedding, steps).before_step(step)
    assert embedding.tau == pytest.approx(tau)


def test_evaluation_does_not_cool(bench: Callable[..., Any]) -> None:
    b = bench("autofield", protocol={"epochs": 1})
    model = b.task.build(lambda: AutoFieldEmbedding(b.task.layout))
    b.task.fit(model, [Temperature(model.embedding, 1000)], early_stopping=False)
    before = model.embedding.tau
    b.task.evaluate(model)
    assert model.embedding.tau == before


def test_logits_learn_on_search_rows_alone(bench: Callable[..., Any]) -> None:
    b = bench("autofield", protocol={"epochs": 1})
    model = b.task.build(lambda: AutoFieldEmbedding(b.task.layout))
    logits = model.embedding.logits
    idle = Bilevel([logits], b.task.search, b.task.protocol, 0, lr=0.0)
    b.task.fit(model, [idle], early_stopping=False)
    assert (logits == 0.5).all() and idle.rows_seen > 0
    b.task.fit(model, [Bilevel([logits], b.task.search, b.task.protocol, 0, lr=0.01)], early_stopping=False)
    assert (logits != 0.5).all()


def test_it_drops_the_useless_fields(bench: Callable[..., Any]) -> None:
    b = bench("autofield", small=False, protocol={"epochs": 4})
    state = b.search()
    names = np.array([f.name for f in b.task.fields])
    dropped = names[np.array(b.derive(state).dims) == 0]
    assert set(dropped) <= set(b.data.truth["useless_fields"]) and len(dropped) > 1
    least = names[state.tensors["alpha_keep"].numpy().argsort()[:3]]
    assert set(least) == set(b.data.truth["useless_fields"])


def test_which_fields_are_kept(bench: Callable[..., Any]) -> None:
    b = bench("autofield")
    dim, n = b.task.layout.dim, len(b.task.fields)
    alpha = torch.full((n,), 0.2)
    alpha[3] = 0.4
    assert b.derive(SearchState({"alpha_keep": alpha})).dims == tuple(dim * (f == 3) for f in range(n))
    alpha[[1, 5]] = 0.9
    assert b.derive(SearchState({"alpha_keep": alpha})).dims == tuple(dim * (f in (1, 5)) for f in range(n))
    half = bench("autofield", settings={"keep": 3 / n})
    kept = half.derive(SearchState({"alpha_keep": alpha})).dims
    assert [f for f in range(n) if kept[f]] == [1, 3, 5]


def test_a_budget_takes_no_field_that_is_not_wanted(bench: Callable[..., Any]) -> None:
    b = bench("autofield")
    layout = b.task.layout
    alpha = torch.full((len(b.task.fields),), 0.1)
    small, large = int(layout.cardinalities.argmin()), int(layout.cardinalities.argmax())
    alpha[[small, large]] = torch.tensor([0.6, 0.9])
    share = float(layout.cardinalities[large] / layout.rows)
    state = SearchState({"alpha_keep": alpha})
    assert np.flatnonzero(b.derive(state, share * 0.99).dims).tolist() == [small]
    assert set(np.flatnonzero(b.derive(state, 0.9).dims)) == {small, large}
    least = float(layout.cardinalities[small] / layout.rows)
    with pytest.raises(PlanError, match="no whole field"):
        b.derive(state, least * 0.5)


@pytest.mark.parametrize("keep", [0.0, 1.5])
def test_a_share_that_is_none(keep: float) -> None:
    with pytest.raises(ConfigError, match="autofield: keep"):
        AutoFieldConfig(keep=keep)
