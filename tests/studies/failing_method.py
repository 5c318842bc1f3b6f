"""A method that fails in the way that its setting names."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import torch

from nasbench_rec.plans import EmbeddingPlan, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask

WAYS = ("none", "raise", "nan", "exit", "sleep", "memory")


@dataclass(frozen=True)
class FailingConfig:
    """Settings of `failing`."""

    how: str = setting("none", "how it fails", space={"type": "categorical", "choices": list(WAYS)})
    n: int = setting(0, "changes nothing", space={"type": "int", "low": 0, "high": 50})
    seconds: float = setting(0.0, "how long the search sleeps")


class Failing(Searcher):
    """Fails in the way that its setting names."""

    info = MethodInfo(
        name="failing",
        title="Fails",
        level="none",
        data="none",
        budget="none",
        plans=("field_dims",),
        faithfulness="reference",
    )
    Config = FailingConfig

    def search(self, task: SearchTask) -> SearchState:
        how = self.config.how
        time.sleep(self.config.seconds)
        if how == "raise":
            raise ValueError("it raises")
        if how == "exit":
            os._exit(3)
        if how == "sleep":
            time.sleep(1000)
        if how == "memory":
            held = [bytearray(64 * 2**20) for _ in range(64)]
            time.sleep(1000)
            del held
        if how == "nan":
            raise FloatingPointError(f"score {torch.tensor(0.0) / 0}")
        return SearchState()

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return uniform(task.layout)
