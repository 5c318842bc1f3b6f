"""The prefix supernet, and width distributions over frequency ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._prefix import PrefixEmbedding, score_widths, some_rows
from nasbench_rec.methods.popularity import FAMILIES, PopularityConfig, apportion, draw_weights

from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import RowDims
from nasbench_rec.testing import tiny_dataset
from nasbench_rec.training import evaluate, ids_of

DATA = tiny_dataset(multivalued=True)
LAYOUT = Layout(DATA.fields, 4, "zero_pad")
IDS = ids_of(DATA.split("valid"))[:200]


def test_a_width_keeps_exactly_so_many_first_columns() -> None:
    embedding = PrefixEmbedding(LAYOUT).eval()
    whole = embedding(IDS)
    assert torch.equal(whole, embedding.lookup(IDS))
    for width in range(5):
        embedding.row_widths = torch.full((LAYOUT.rows,), width)
        assert torch.equal(embedding(IDS), whole * (torch.arange(4) < width))


def test_the_plan_of_row_widths_is_what_the_supernet_scores() -> None:
    embedding = PrefixEmbedding(LAYOUT).eval()
    widths = np.random.default_rng(0).integers(0, 5, LAYOUT.rows).astype(np.int32)
    embedding.row_widths = torch.from_numpy(widths.astype(np.int64))
    served = RowDims(row_widths=widths).build(LAYOUT)
    with torch.no_grad():
        served.lookup.table.weight.copy_(embedding.lookup.table.weight)
        served.drop_masked()
    assert torch.allclose(served(IDS), embedding(IDS), atol=1e-7)


def test_training_draws_every_width_anew_for_each_instance_and_field() -> None:
    embedding = PrefixEmbedding(LAYOUT).train()
    with torch.no_grad():
        embedding.lookup.table.weight.fill_(1.0)
    torch.manual_seed(0)
    ids = IDS.clone()
    ids[:, 5:] = 1  # a multi-valued field: its columns share the width of their instance
    kept = embedding(ids).sum(2)
    shares = torch.stack([(kept == w).float().mean(0) for w in (1, 2, 3, 4)])
    assert torch.allclose(shares, torch.full((4, 6), 0.25), atol=0.1) and torch.allclose(
        shares.sum(0), torch.ones(6)
    )
    assert (kept.std(1) > 0).float().mean() > 0.9


@pytest.mark.parametrize("family", list(FAMILIES))
def test_frequent_values_are_never_narrower(family: str) -> None:
    rng = np.random.default_rng(3)
    found = set()
    for _ in range(40):
        name, weights = draw_weights(DATA.counts, rng)
        found.add(name)
        assert weights.sum() == pytest.approx(1) and (weights > 0).all()
        widths = apportion(weights, 700, 4)
        starts = np.cumsum([0, *(len(c) for c in DATA.counts)])
        for f, counts in enumerate(DATA.counts):
            own = widths[starts[f] : starts[f + 1]][np.argsort(-counts, kind="stable")]
            assert (np.diff(own) <= 0).all()
    assert family in found


@pytest.mark.parametrize("entries", [1, 100, 1999, 3999, 4000, 9999])
def test_apportioned_widths_sum_to_what_was_asked(entries: int) -> None:
    weights = np.random.default_rng(0).dirichlet(np.full(1000, 0.3)) + 1e-12
    widths = apportion(weights, entries, 4)
    assert widths.sum() == min(entries, 4000) and 0 <= widths.min() and widths.max() <= 4
    order = np.argsort(weights)
    assert (np.diff(widths[order]) >= -1).all()


def test_the_best_action_is_kept_and_the_budget_holds(bench: Callable[..., Any]) -> None:
    b = bench("popularity", settings={"actions": 6}, protocol={"epochs": 2})
    state = b.search()
    model = b.task.build(lambda: PrefixEmbedding(b.task.layout))
    model.load_state_dict(dict(state.tensors))
    for ratio in (0.5, 0.1):
        plan = b.derive(state, ratio)
        used = b.task.cost(plan).bytes() / (b.task.layout.rows * b.task.layout.dim * 4)
        assert 0.97 * ratio < used <= ratio
        scores = b.task.diagnostics["scores"]
        assert len(scores) == 6 and np.ptp(scores) > 0
        rows = some_rows(b.task.search, 20_000, b.task.rng("rows"))
        assert score_widths(b.task, model, plan.row_widths, rows) == max(scores)
    with pytest.raises(PlanError, match="holds no row"):
        b.derive(state, 1e-5)


def test_scoring_leaves_the_supernet_whole(bench: Callable[..., Any]) -> None:
    b = bench("popularity", protocol={"epochs": 1})
    model = b.task.build(lambda: PrefixEmbedding(b.task.layout))
    b.task.fit(model)
    whole = evaluate(model, b.task.search)["auc"]
    full = np.full(b.task.layout.rows, b.task.layout.dim)
    assert score_widths(b.task, model, full, b.task.search) == whole
    score_widths(b.task, model, full // 8, b.task.search)
    assert evaluate(model, b.task.search)["auc"] == whole
    assert len(some_rows(b.task.search, 100, b.task.rng("x"))) == 100


@pytest.mark.parametrize("settings", [{"actions": 0}, {"score_rows": 1}])
def test_a_search_of_nothing(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="popularity: actions"):
        PopularityConfig(**settings)
