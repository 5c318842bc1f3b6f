"""Planted tasks for the tests of methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from nasbench_rec.config import build
from nasbench_rec.data import Dataset, Field, Split
from nasbench_rec.metrics import expected_auc
from nasbench_rec.pipeline import retrain
from nasbench_rec.plans import EmbeddingPlan
from nasbench_rec.protocol import Protocol
from nasbench_rec.recovery import spearman
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.searcher import Budget, PlanBudget, SearchState, SearchTask
from nasbench_rec.seeds import Seeds
from nasbench_rec.training import predict
from nasbench_rec.unit import DataRef, Task

SMALL = {"train": 20_000, "valid": 4000, "test": 4000}
SHORT = {"epochs": 6, "batch_size": 256}


@cache
def planted(seed: int, small: bool) -> Dataset:
    return resolve_dataset("planted", {"seed": seed, **(SMALL if small else {})}).prepare(None)


@dataclass
class Bench:
    """One method on one planted data set: the search task, and what to do with a plan."""

    method: str
    seed: int = 0
    small: bool = True
    settings: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    backbone: str = "deepfm"

    def __post_init__(self) -> None:
        torch.set_num_threads(1)
        self.data = planted(self.seed, self.small)
        self.searcher = resolve_method(self.method, self.settings).searcher()
        base = resolve_dataset("planted").info.protocol
        values = {**base, **(SHORT if self.small else {}), **self.protocol}
        whole = Task(DataRef("planted", ""), self.backbone, build(Protocol, values, "test"))
        self.unit = whole
        budget = Budget(len(self.data.split("train")) * whole.protocol.epochs)
        self.task = SearchTask(
            self.data,
            self.backbone,
            whole.protocol,
            self.searcher.info,
            (0, self.seed),
            budget,
            lambda plan: self.trained(plan).state_dict(),
        )

    def search(self) -> SearchState:
        return self.searcher.search(self.task)

    def derive(self, state: SearchState | None = None, ratio: float | None = None) -> EmbeddingPlan:
        state = self.search() if state is None else state
        plan = self.searcher.derive(self.task, state, PlanBudget(ratio))
        plan.check(self.task.layout)
        return plan

    def trained(self, plan: EmbeddingPlan) -> torch.nn.Module:
        return retrain(plan, self.unit, self.data.without_test(), Seeds.of(self.seed))[0]

    def auc(self, plan: EmbeddingPlan) -> float:
        """Test AUC under the true probabilities."""
        test = self.data.split("test")
        assert test.probabilities is not None
        return expected_auc(test.probabilities, predict(self.trained(plan), test))

    @property
    def useful(self) -> np.ndarray:
        return np.array([self.data.truth["useful_width"][f.name] for f in self.data.fields], dtype=float)

    def correlation(self, plan: EmbeddingPlan) -> float:
        """Spearman's correlation of the plan's widths with the useful ones; 0 for constant widths."""
        return spearman(plan.widths(self.task.layout), self.useful) or 0.0


@pytest.fixture(scope="session")
def bench() -> Callable[..., Bench]:
    return Bench


@pytest.fixture(scope="session")
def made_of() -> Callable[..., Dataset]:
    """A data set of fields with the given cardinalities, for methods that look at nothing else."""

    def make(cardinalities: list[int]) -> Dataset:
        fields = [Field(f"f{i}", n) for i, n in enumerate(cardinalities)]
        ids, labels = np.zeros((2, len(fields)), np.int32), np.array([0, 1], np.float32)
        return Dataset("made", fields, {name: Split(ids, labels) for name in ("train", "valid", "test")})

    return make
