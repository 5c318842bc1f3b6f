"""AutoSrh: groups by frequency, normalised steps of alpha on search rows, the cut, and what is inherited."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE
from nasbench_rec.methods.autosrh import (
    AutoSrhConfig,
    AutoSrhEmbedding,
    _AlphaSteps,
    dense_weights,
    frequency_groups,
)

from nasbench_rec.errors import ConfigError
from nasbench_rec.model import tables_of
from nasbench_rec.pipeline import build_planned
from nasbench_rec.training import Frozen, ids_of, predict


@pytest.fixture(scope="module")
def found(bench: Callable[..., Any]) -> tuple[Any, Any]:
    b = bench("autosrh", protocol={"epochs": 4})
    return b, b.search()


def test_groups_hold_equally_many_rows_the_most_frequent_first() -> None:
    counts = np.array([5, 100, 1, 50, 7, 2])
    assert frequency_groups(counts, [1 / 3] * 3).tolist() == [1, 0, 2, 0, 1, 2]
    assert frequency_groups(counts, [1 / 6, 5 / 6]).tolist() == [1, 0, 1, 1, 1, 1]
    assert frequency_groups(counts, [0.01, 0.99]).tolist() == [0] * 6


def embedding_of(b: Any, groups: int = 4) -> Any:
    counts = np.concatenate(b.task.counts)
    return b.task.build(
        lambda: AutoSrhEmbedding(b.task.layout, frequency_groups(counts, [1 / groups] * groups))
    )


def test_a_step_of_alpha_by_hand(bench: Callable[..., Any]) -> None:
    b = bench("autosrh")
    alpha = embedding_of(b).embedding.alpha
    steps = _AlphaSteps(SimpleNamespace(alpha=alpha), b.task, AutoSrhConfig(structure_lr=0.1))
    with torch.no_grad():
        alpha.fill_(0.5)
    alpha.grad = torch.zeros_like(alpha)
    alpha.grad[0] = torch.arange(8.0)  # mean 3.5
    alpha.grad[1] = 1e-6 * torch.arange(8.0)  # a rare group moves as far
    alpha.grad[2] = -100.0
    steps.move()
    moved = 0.5 - 0.1 * torch.arange(8.0) / 3.5
    assert torch.allclose(alpha[0], moved.clamp(0, 1), atol=1e-6)
    assert torch.allclose(alpha[1], moved.clamp(0, 1), atol=3e-3)
    assert torch.allclose(alpha[2], torch.tensor(0.6)) and (alpha[3] == 0.5).all()
    for _ in range(20):
        steps.move()
    assert float(alpha.detach().min()) == 0 and float(alpha.detach().max()) == 1


def test_alpha_moves_by_search_rows_alone(bench: Callable[..., Any]) -> None:
    b = bench("autosrh", protocol={"epochs": 1})
    model = embedding_of(b)
    alpha = model.embedding.alpha
    still = _AlphaSteps(model.embedding, b.task, AutoSrhConfig(structure_lr=0.0, l1=0.0))
    b.task.fit(model, [still], early_stopping=False)
    assert (alpha == 1).all() and still.rows_seen > 0
    b.task.fit(model, [_AlphaSteps(model.embedding, b.task, AutoSrhConfig())], early_stopping=False)
    assert float(alpha.detach().min()) < 1


def test_dense_weights_stay_after_the_warm_up_and_tables_do_not(bench: Callable[..., Any]) -> None:
    b = bench("autosrh", protocol={"epochs": 1})
    model = embedding_of(b)
    dense = [p.detach().clone() for p in dense_weights(model)]
    tables = [t.weight.detach().clone() for t in tables_of(model)]
    steps = _AlphaSteps(model.embedding, b.task, AutoSrhConfig())
    b.task.fit(model, [steps, Frozen(dense_weights(model))], early_stopping=False)
    assert len(dense) > 2 and all(map(torch.equal, dense, dense_weights(model)))
    assert len(tables) == 2 and not any(
        torch.equal(a, t.weight) for a, t in zip(tables, tables_of(model), strict=True)
    )


def test_with_everything_kept_the_search_model_is_inherited_unchanged(found: tuple[Any, Any]) -> None:
    b, state = found
    plan = b.derive(state, 1.0)
    assert plan.recipe == "inherit" and plan.mask.all()
    planned = build_planned(plan, b.unit, b.data, 0)
    model = embedding_of(b, 10)
    own = {k.removeprefix("model."): v for k, v in state.tensors.items() if k.startswith("model.")}
    alpha = torch.from_numpy(b.task.diagnostics["alpha"])
    model.load_state_dict({**own, "embedding.alpha": alpha})
    valid = b.data.split("valid")
    assert np.allclose(predict(planned, valid), predict(model, valid), atol=1e-5)
    assert float(alpha.min()) < 0.9


def test_the_smallest_products_are_cut_and_the_mask_holds(found: tuple[Any, Any]) -> None:
    b, state = found
    plan = b.derive(state, 0.2)
    product = state.tensors["product"].abs().numpy()
    assert product[plan.mask].min() >= product[~plan.mask].max()
    table = b.trained(plan).state_dict()[MASKED_TABLE].numpy()
    assert not table[~plan.mask].any() and table[plan.mask].any()


def test_the_notebooks_cut_looks_at_the_weights(found: tuple[Any, Any], bench: Callable[..., Any]) -> None:
    b, state = found
    weight = state.tensors["model." + MASKED_TABLE].abs().numpy()
    mask = bench("autosrh", settings={"cut": "weight"}).derive(state, 0.2).mask
    assert weight[mask].min() >= weight[~mask].max()
    assert (mask != b.derive(state, 0.2).mask).any()


def test_rare_groups_keep_less(found: tuple[Any, Any]) -> None:
    b, state = found
    counts = np.concatenate(b.task.counts)
    kept = b.derive(state, 0.2).mask.mean(1)
    frequent = counts > np.median(counts)
    assert kept[frequent].mean() > 1.5 * kept[~frequent].mean()


def test_a_model_with_every_backbone_builds(bench: Callable[..., Any]) -> None:
    b = bench("autosrh", backbone="dcn")
    assert torch.isfinite(embedding_of(b).eval()(ids_of(b.task.train)[:8])).all()


@pytest.mark.parametrize("settings", [{"groups": 0}, {"shares": (0.5, 0.6)}, {"shares": (0.0, 1.0)}])
def test_groups_that_are_none(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="autosrh: groups"):
        AutoSrhConfig(**settings)
