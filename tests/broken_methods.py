"""Methods that break the contract, one promise each, and one that keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from nasbench_rec.cost import CostItem
from nasbench_rec.data import Dataset
from nasbench_rec.embeddings import Layout, MaskedEmbedding
from nasbench_rec.model import Embedding
from nasbench_rec.plans import EmbeddingPlan, EntryMask, FieldDims, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask


@dataclass(frozen=True)
class Config:
    """Settings."""

    width: int = setting(4, "width without a budget", stage="derive")


def info(**changes: object) -> MethodInfo:
    known = dict(
        name="mine", title="Mine", level="field", data="none", budget="granular", plans=("field_dims",)
    )
    return MethodInfo(**{**known, "faithfulness": "reference", "stochastic": False, **changes})


class Good(Searcher):
    """A uniform width that fits the budget."""

    info = info()
    Config = Config
    presets = {"narrow": {"width": 2}}

    def search(self, task: SearchTask) -> SearchState:
        return SearchState()

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        ratio = 1.0 if size.ratio is None else size.ratio
        return uniform(task.layout, int(ratio * self.config.width))


class NoHelp(Good):
    """A setting without help."""

    @dataclass(frozen=True)
    class Config:
        width: int = field(default=4)


class TooDear(Good):
    """Ignores the budget."""

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return uniform(task.layout, 4)


class NotExact(Good):
    """Says exact, is granular."""

    info = info(budget="exact")

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return uniform(task.layout, 1)


class NotWhole(Good):
    """Leaves columns out even where everything may be kept."""

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return uniform(task.layout, 1)


class NotUniform(Good):
    """Costs what the uniform model costs, but starts from other weights."""

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        table = torch.full((task.layout.rows, task.layout.dim), 0.5)
        return replace(super().derive(task, state, size), weights={"embedding.lookups.0.table.weight": table})


class ReadsTest(Good):
    """Digs the data set out of the task and reads its test split."""

    info = info(data="train")

    def search(self, task: SearchTask) -> SearchState:
        cells = [c.cell_contents for c in task._trained.__closure__]
        data = next(c for c in cells if isinstance(c, Dataset))
        return SearchState(values={"leak": float(data.split("test").labels.mean())})


class ReadsSearch(Good):
    """Declares `train`, uses the search split."""

    info = info(data="train")

    def search(self, task: SearchTask) -> SearchState:
        return SearchState(values={"rows": len(task.search)})


class ReadsTrain(Good):
    """Declares `counts`, uses the training rows."""

    info = info(data="counts")

    def search(self, task: SearchTask) -> SearchState:
        return SearchState(values={"rows": len(task.train)})


class ReadsCounts(Good):
    """Declares `none`, uses the counts."""

    def search(self, task: SearchTask) -> SearchState:
        return SearchState(values={"rows": int(task.counts[0].sum())})


class GlobalRandomness(Good):
    """Draws from the global generator."""

    info = info(stochastic=True)

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return FieldDims(dims=(2, *torch.randint(0, 2, (len(task.fields) - 1,)).tolist()))


class SecretlyStochastic(Good):
    """Says it is not stochastic, depends on the search seed."""

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return FieldDims(dims=(1, *task.rng("x").integers(0, 3, len(task.fields) - 1).tolist()))


class KeepsState(Good):
    """Keeps the plan on the object instead of in the state."""

    def search(self, task: SearchTask) -> SearchState:
        self.found = uniform(task.layout, 2)
        return SearchState()

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return self.found


class SearchesInDerive(Good):
    """Searches anew for every size."""

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        self.search(task)
        return super().derive(task, state, size)


class _LeakyEmbedding(MaskedEmbedding):
    """Masks what a lookup reads only while training."""

    def masked(self, rows: torch.Tensor) -> torch.Tensor:
        return super().masked(rows) if self.training else self.lookup.table(rows)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Leaky(EntryMask):
    def build(self, layout: Layout) -> Embedding:
        return _LeakyEmbedding(layout, self.mask)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Cheap(FieldDims):
    def cost(self, layout: Layout) -> list[CostItem]:
        return [CostItem("values", 1, 4)]


class LeakyMask(Good):
    """Its masked entries reach the predictions."""

    info = info(level="entry", plans=("entry_mask",))

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        mask = np.zeros((task.layout.rows, task.layout.dim), dtype=bool)
        mask[::3, 0] = True
        return _Leaky(mask=mask)


class Understates(Good):
    """Its ledger is not true."""

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        return _Cheap(dims=(2,) * len(task.fields))


class Undeclared(Good):
    """Gives a kind of plan that its info does not name."""

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        mask = np.ones((task.layout.rows, task.layout.dim), dtype=bool)
        mask[:, 1:] = False
        return EntryMask(mask=mask)


class Unsourced(Good):
    """A published method that names no paper."""

    info = info(faithfulness="faithful")
