"""The searcher contract: what a method is, what it may use, and what it gives back."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from nasbench_rec.cost import VALUE_BYTES, Ledger
from nasbench_rec.data import Dataset, Field, Split, search_cut
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import NasbenchError
from nasbench_rec.model import CTRModel, Embedding, build_model
from nasbench_rec.plans import EmbeddingPlan, uniform
from nasbench_rec.protocol import Protocol
from nasbench_rec.seeds import stream
from nasbench_rec.training import FitResult, Hook, Step, evaluate, fit

Level = Literal["table", "field", "column", "row", "entry", "instance", "none"]
DataUse = Literal["none", "counts", "train", "train+search"]
BudgetControl = Literal["exact", "granular", "none"]
Faithfulness = Literal["faithful", "repaired", "inferred", "reference"]


@dataclass(frozen=True)
class MethodInfo:
    """What a method is.

    `budget`: `exact` hits a plan budget within 1 %, `granular` comes as near as whole columns allow and never
    above, `none` lands where it lands. `data`: what the structure is learned from. `deviations` lists where the
    implementation differs from the paper or its code.
    """

    name: str
    title: str
    level: Level
    data: DataUse
    budget: BudgetControl
    plans: tuple[str, ...]
    faithfulness: Faithfulness
    paper: str = ""
    year: int | None = None
    deviations: tuple[str, ...] = ()
    stochastic: bool = True
    version: int = 1
    """Raise it when the method's results change: cached stages of the old version are then not used."""


@dataclass(frozen=True)
class PlanBudget:
    """What the plan may cost: a ratio of the uniform model's embedding bytes, or None for no limit."""

    ratio: float | None = None

    def bytes(self, layout: Layout) -> int | None:
        """Return the limit in bytes."""
        return None if self.ratio is None else round(self.ratio * uniform_bytes(layout))


def uniform_bytes(layout: Layout) -> int:
    """Return the embedding bytes of the uniform model of base width d."""
    return layout.rows * layout.dim * VALUE_BYTES


@dataclass
class Budget:
    """What the search may spend, in training-equivalents: full trainings (all epochs) of the uniform model."""

    rows_per_training: int
    trainings: float | None = None
    rows_spent: int = 0
    seconds_spent: float = 0.0

    @property
    def spent(self) -> float:
        """Training-equivalents spent so far."""
        return self.rows_spent / self.rows_per_training

    def epochs_left(self, rows: int) -> int | None:
        """Return the whole epochs over `rows` rows that are left, or None for no limit."""
        if self.trainings is None:
            return None
        return max(0, int((self.trainings * self.rows_per_training - self.rows_spent) // rows))

    def charge(self, rows: int, seconds: float) -> None:
        """Note what was spent."""
        self.rows_spent += rows
        self.seconds_spent += seconds


@dataclass(frozen=True)
class SearchState:
    """What `search` leaves for `derive`: tensors, and JSON-able values."""

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `state.safetensors` and `state.json`."""
        from safetensors.torch import save_file

        save_file(
            {k: v.detach().cpu().contiguous().clone() for k, v in self.tensors.items()},
            folder / "state.safetensors",
        )
        (folder / "state.json").write_text(json.dumps(dict(self.values)))

    @classmethod
    def load(cls, folder: Path) -> SearchState:
        """Read a saved state."""
        from safetensors.torch import load_file

        return cls(load_file(folder / "state.safetensors"), json.loads((folder / "state.json").read_text()))


@dataclass(frozen=True)
class Finding:
    """A failure that a run shows by its own numbers: a code, the measurement in words, what to try."""

    signature: str
    evidence: str
    advice: str


class SearchTask:
    """What a method may use, and nothing else. The test split cannot be reached from here.

    `train` are the training rows: all of them for methods that learn structure from `train`, all but the
    search rows for those that declare `train+search`. `search` are the rows cut off for structure learning.
    Validation rows serve early stopping inside `fit` only.
    """

    def __init__(
        self,
        data: Dataset,
        backbone: str,
        protocol: Protocol,
        info: MethodInfo,
        seeds: tuple[int, int],
        budget: Budget,
        trained: Callable[[EmbeddingPlan], dict[str, Tensor]],
    ) -> None:
        data = data.without_test()
        self.fields: tuple[Field, ...] = data.fields
        self.counts = data.counts
        self.backbone, self.protocol, self.budget, self.info = backbone, protocol, budget, info
        self.layout = Layout(data.fields, protocol.dim, protocol.alignment, protocol.embedding_std)
        self.seed = seeds[1]
        self.diagnostics: dict[str, Any] = {}
        self.anytime: list[dict[str, float]] = []
        self.on_report: Callable[[int, Mapping[str, float]], None] = lambda step, scores: None
        self._trained = trained
        # The planted answer of each row is no business of a method.
        self._valid, self._rows = (
            replace(data.split(name), probabilities=None, groups=None) for name in ("valid", "train")
        )
        self._split_seed = seeds[0]

    @cached_property
    def _cut(self) -> tuple[Split, Split]:
        """(train, search), cut when first asked for: of a large data set that copies gigabytes on disk."""
        seed = stream("search cut", self._split_seed)
        return search_cut(self._rows, self.protocol.search_fraction, seed)

    @cached_property
    def train(self) -> Split:
        """The training rows that a method may learn from."""
        return self._cut[0] if self.info.data == "train+search" else self._rows

    @cached_property
    def _search(self) -> Split | None:
        return self._cut[1] if self.info.data == "train+search" else None

    @property
    def search(self) -> Split:
        """The search split; only for methods that declare `data="train+search"`."""
        if self._search is None:
            raise NasbenchError(
                f"method {self.info.name!r} declares data={self.info.data!r}: it has no search split."
            )
        return self._search

    def rng(self, name: str) -> np.random.Generator:
        """Return a numpy generator of the search stream, one for each `name`."""
        return np.random.default_rng(stream(f"search/{name}", self.seed))

    def build(self, make_embedding: Callable[[], Embedding]) -> CTRModel:
        """Build the backbone on the given embedding; weights come from the search seed."""
        return build_model(make_embedding, self.fields, self.backbone, self.protocol, self.seed)

    def build_plan(self, plan: EmbeddingPlan) -> CTRModel:
        """Build the model of a (non-clustered) plan; weights come from the search seed."""
        return self.build(lambda: plan.build(self.layout))

    def fit(
        self,
        model: CTRModel,
        hooks: Sequence[Hook] = (),
        *,
        epochs: int | None = None,
        early_stopping: bool = True,
        rows: Split | None = None,
    ) -> FitResult:
        """Train `model` on `train` (or `rows`) by the shared loop, within the search budget, and charge it.

        Every epoch's validation scores are reported at once. Without `early_stopping` all epochs run, at a
        constant learning rate, and the last weights stay. At least one epoch runs.
        """
        rows = self.train if rows is None else rows
        wanted = self.protocol.epochs if epochs is None else epochs
        steps = -(-len(rows) // self.protocol.batch_size)
        left = self.budget.epochs_left(len(rows) + sum(hook.extra_rows(steps) for hook in hooks))
        wanted = wanted if left is None else max(1, min(wanted, left))
        protocol = self.protocol if early_stopping else replace(self.protocol, patience=0, lr_factor=1.0)
        seen = _rows_seen(hooks)
        result = fit(
            model,
            rows,
            self._valid,
            protocol,
            self.seed,
            hooks=[*hooks, _Reports(self)],
            epochs=wanted,
            restore_best=early_stopping,
        )
        self.budget.charge(result.rows_seen + _rows_seen(hooks) - seen, result.seconds)
        return result

    def trained_uniform(self) -> dict[str, Tensor]:
        """Return the weights of the uniform model trained with the search seed (charged as one training).

        The stage cache shares it with every unit that trains the same model.
        """
        return self._trained(uniform(self.layout))

    def evaluate(self, model: CTRModel) -> dict[str, float]:
        """Return `auc` and `logloss` on the search split."""
        return evaluate(model, self.search, self.protocol.device)

    def cost(self, plan: EmbeddingPlan) -> Ledger:
        """Return the ledger of what the plan adds below the backbone."""
        return Ledger(tuple(plan.cost(self.layout)))

    def report(self, step: int, scores: Mapping[str, float]) -> None:
        """Report scores of this moment (anytime curves; studies may stop the search here)."""
        self.anytime.append({"step": step, **scores})
        self.on_report(step, scores)

    def diagnose(self, name: str, value: Any) -> None:
        """Keep a scalar, list or array that shows what the method did; it goes into the record."""
        self.diagnostics[name] = value


def _rows_seen(hooks: Sequence[Hook]) -> int:
    """Return the rows that hooks looked at by themselves so far (structure steps)."""
    return sum(getattr(hook, "rows_seen", 0) for hook in hooks)


class _Reports(Hook):
    """Passes each evaluation on to the task, so that a study can stop a search in the middle."""

    def __init__(self, task: SearchTask) -> None:
        self.task = task

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Report."""
        self.task.report(step.index, scores)


class Searcher(ABC):
    """A search method. Constructors store the configuration; `search` and `derive` do the work.

    Order of calls: `search(task)` once (the expensive part: scores, gates, a trained supernet), then
    `derive(task, state, size)` as often as plans are wanted (cheap: one state serves many sizes). Fields of
    `Config` whose metadata has `stage="derive"` do not enter the key of the search stage. Both must give the
    same result for the same task and seed, and must not keep state on the object.
    """

    info: ClassVar[MethodInfo]
    Config: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Named variants: overrides of the configuration, written `name/preset`."""

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    @abstractmethod
    def search(self, task: SearchTask) -> SearchState:
        """Do the expensive part."""

    @abstractmethod
    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Turn the state into a plan of the wanted size."""

    def health(
        self, diagnostics: Mapping[str, Mapping[str, Any]], routing: Mapping[str, Any] | None
    ) -> tuple[Finding, ...]:
        """Return what went wrong by the unit's own numbers; nothing here.

        `diagnostics`: what `search` and `derive` kept by `task.diagnose`, under these names, as the record has it.
        `routing`: the record's shares and scores per cluster, None for a plan without clusters. A finding states
        what was measured; no cause that was not.
        """
        return ()


def search_settings(config: Any) -> dict[str, Any]:
    """Return the settings of a configuration that the search stage depends on."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata.get("stage") != "derive"}


def derive_settings(config: Any) -> dict[str, Any]:
    """Return the settings that only `derive` depends on."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata.get("stage") == "derive"}
