"""What a method gets from its task: splits, budget, seeds, and what is charged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasbench_rec.data import Dataset
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import NasbenchError
from nasbench_rec.plans import EmbeddingPlan, uniform
from nasbench_rec.searcher import (
    Budget,
    DataUse,
    MethodInfo,
    PlanBudget,
    SearchState,
    SearchTask,
    derive_settings,
    search_settings,
    uniform_bytes,
)
from nasbench_rec.testing import tiny_protocol
from nasbench_rec.training import Bilevel, Hook

INFO = MethodInfo("mine", "Mine", "field", "train+search", "none", ("field_dims",), "reference")


def untrained(plan: EmbeddingPlan) -> dict[str, Tensor]:
    raise AssertionError("not here")


def task_of(
    data: Dataset,
    use: DataUse = "train+search",
    trainings: float | None = None,
    split_seed: int = 0,
    **protocol: Any,
) -> SearchTask:
    settings = tiny_protocol(**protocol)
    budget = Budget(len(data.split("train")) * settings.epochs, trainings)
    return SearchTask(data, "deepfm", settings, replace(INFO, data=use), (split_seed, 5), budget, untrained)


def test_search_rows_are_cut_from_train_for_those_who_declare_it(tiny: Dataset) -> None:
    task, train = task_of(tiny, search_fraction=0.25), tiny.split("train")
    assert len(task.search) == len(train) // 4 and len(task.train) + len(task.search) == len(train)
    both = np.concatenate([task.train.ids, task.search.ids])
    assert np.array_equal(
        np.sort(both.view("i4,i4,i4,i4,i4"), 0), np.sort(train.ids.copy().view("i4,i4,i4,i4,i4"), 0)
    )
    again, other = task_of(tiny, search_fraction=0.25), task_of(tiny, search_fraction=0.25, split_seed=1)
    assert np.array_equal(again.search.ids, task.search.ids) and not np.array_equal(
        other.search.ids, task.search.ids
    )


def test_others_have_all_of_train_and_no_search_split(tiny: Dataset) -> None:
    task = task_of(tiny, "train")
    assert len(task.train) == len(tiny.split("train"))
    with pytest.raises(NasbenchError, match="'mine' declares data='train': it has no search split"):
        _ = task.search


def test_a_search_is_charged_what_it_saw(tiny: Dataset) -> None:
    task = task_of(tiny)
    model = task.build_plan(uniform(task.layout))
    task.fit(model, epochs=1)
    assert task.budget.rows_spent == len(task.train)
    task.fit(model, epochs=2, rows=task.search, early_stopping=False)
    assert task.budget.rows_spent == len(task.train) + 2 * len(task.search)
    assert task.budget.spent == pytest.approx(task.budget.rows_spent / (2 * len(tiny.split("train"))))
    assert task.budget.seconds_spent > 0


def test_structure_rows_are_charged_once(tiny: Dataset) -> None:
    """A hook used in two trainings is not charged again for what it saw in the first."""
    task = task_of(tiny)
    model = task.build_plan(uniform(task.layout))
    gate = torch.nn.Parameter(torch.zeros(1))
    bilevel = Bilevel([gate], task.search, task.protocol, task.seed)
    task.fit(model, [bilevel], epochs=1)
    task.fit(model, [bilevel], epochs=1)
    assert task.budget.rows_spent == 2 * len(task.train) + bilevel.rows_seen


@pytest.mark.parametrize(("trainings", "epochs"), [(0.1, 1), (0.5, 1), (1.0, 2), (2.0, 4), (None, 8)])
def test_trainings_end_within_the_search_budget(tiny: Dataset, trainings: float | None, epochs: int) -> None:
    """The protocol has two epochs; at least one runs."""
    task = task_of(tiny, "train", trainings)
    result = task.fit(task.build_plan(uniform(task.layout)), epochs=8, early_stopping=False)
    assert len(result.history) == epochs
    assert task.budget.epochs_left(len(task.train)) == (None if trainings is None else 0)


def test_a_search_reports_its_curve(tiny: Dataset) -> None:
    task, heard = task_of(tiny), []

    def on_report(step: int, scores: Mapping[str, float]) -> None:
        heard.append(step)

    task.on_report = on_report
    task.fit(task.build_plan(uniform(task.layout)), epochs=2)
    assert [point["step"] for point in task.anytime] == heard and len(heard) == 2
    assert {"auc", "logloss", "train_loss"} <= set(task.anytime[0])


def test_generators_have_names(tiny: Dataset) -> None:
    task = task_of(tiny)
    one, same, other = (task.rng(name).random(4) for name in ("a", "a", "b"))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_the_answer_of_planted_data_is_out_of_reach(tiny: Dataset) -> None:
    train = tiny.split("train")
    known = Dataset(
        "known",
        tiny.fields,
        {n: replace(tiny.split(n), probabilities=tiny.split(n).labels) for n in ("train", "valid", "test")},
    )
    task = task_of(known)
    assert known.split("train").probabilities is not None
    assert task.train.probabilities is None is task.search.probabilities
    assert task._valid.probabilities is None and len(train) > len(task.train)


def test_plan_budgets_are_bytes_of_the_uniform_model(layout: Layout) -> None:
    assert uniform_bytes(layout) == layout.rows * 4 * 4
    assert PlanBudget().bytes(layout) is None
    assert PlanBudget(0.25).bytes(layout) == layout.rows * 4


def test_states_survive_saving(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    state = SearchState(
        {"a": shared.T, "b": shared, "n": torch.tensor(3)}, {"threshold": 0.5, "widths": [1, 2]}
    )
    state.save(tmp_path)
    loaded = SearchState.load(tmp_path)
    assert loaded.values == state.values
    assert all(torch.equal(loaded.tensors[k], v) for k, v in state.tensors.items())
    SearchState().save(tmp_path)
    assert SearchState.load(tmp_path) == SearchState()


def test_settings_belong_to_a_stage() -> None:
    from nasbench_rec.registry import resolve_method

    config = resolve_method("random").config
    assert derive_settings(config) == {"ratio": 0.5} and search_settings(config) == {}


def test_hooks_without_rows_cost_nothing(tiny: Dataset) -> None:
    task = task_of(tiny)
    task.fit(task.build_plan(uniform(task.layout)), [Hook()], epochs=1)
    assert task.budget.rows_spent == len(task.train)
