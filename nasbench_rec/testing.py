"""The contract of search methods as checks that run on any method, yours included.

With pytest, in a test file of your own:

    from nasbench_rec.testing import SearcherContract

    class TestMine(SearcherContract):
        spec = "mymethod"  # or "mymethod/preset", or "path/to/file.py:MyMethod"

Without pytest: `check_method("mymethod")`. A broken promise is an `AssertionError` that says which. Nothing
here needs pytest; the data are generated and small, so that a method takes seconds.
"""

from __future__ import annotations

import copy
import random
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NoReturn, get_args

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec.backbones import IPNN, FirstOrder
from nasbench_rec.config import build, canonical
from nasbench_rec.cost import EMBEDDING_PARTS, Ledger
from nasbench_rec.data import Dataset, Field, Split
from nasbench_rec.embeddings import FieldEmbedding, FieldProjection, Layout, StackedLookup
from nasbench_rec.errors import PlanError
from nasbench_rec.model import CTRModel, tables_of
from nasbench_rec.pipeline import ClusteredModel, Pipeline, build_planned, ledger_of, retrain
from nasbench_rec.plans import (
    PLANS,
    RECIPES,
    ColumnMask,
    EmbeddingPlan,
    EntryMask,
    RowDims,
    load_plan,
    uniform,
)
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import Method, resolve_method
from nasbench_rec.searcher import (
    Budget,
    BudgetControl,
    DataUse,
    Faithfulness,
    Level,
    PlanBudget,
    Searcher,
    SearchState,
    SearchTask,
    uniform_bytes,
)
from nasbench_rec.seeds import Seeds, stream
from nasbench_rec.serving import export_model, parts_of
from nasbench_rec.stages import Stages
from nasbench_rec.training import predict
from nasbench_rec.unit import DataRef, Task, Unit

__all__ = [
    "BOOKKEEPING",
    "SearcherContract",
    "check_method",
    "contract",
    "kept_entries",
    "stored_bytes",
    "tiny_dataset",
    "tiny_protocol",
]

BOOKKEEPING: dict[type[nn.Module], tuple[str, ...]] = {
    StackedLookup: ("columns", "offsets"),
    FieldEmbedding: ("order",),
    FieldProjection: ("column_field",),
    FirstOrder: ("offsets",),
    IPNN: ("pairs",),
}
"""Index buffers that follow from the fields alone, by the module that has them: no ledger charges them."""

PROMISES: dict[str, Any] = {
    "level": Level,
    "data": DataUse,
    "budget": BudgetControl,
    "faithfulness": Faithfulness,
}


def tiny_dataset(rows: int = 2000, seed: int = 0, *, multivalued: bool = False) -> Dataset:
    """Generate a learnable data set of five fields with 3 to 600 ids of power-law frequency.

    With `multivalued` a sixth field has three columns, padded by id 0.
    """
    cards = {"site": 3, "hour": 12, "device": 60, "user": 300, "item": 600}
    found = [Field(name, n) for name, n in cards.items()]
    rng = np.random.default_rng(stream("tiny data set", seed))
    ids = [_power_law(rng, n, rows) for n in cards.values()]
    if multivalued:
        found.append(Field("tags", 40, columns=3, padding=0))
        ids += [_power_law(rng, 40, rows) for _ in range(3)]
    score = sum((2 * rng.normal(size=int(c.max()) + 1))[c] for c in ids[:5]) + rng.normal(size=rows)
    labels = (score > np.median(score)).astype(np.float32)
    whole = Split(np.stack(ids, 1).astype(np.int32), labels)
    cuts = {"train": slice(0, rows * 7 // 10), "valid": slice(rows * 7 // 10, rows * 17 // 20)}
    cuts["test"] = slice(rows * 17 // 20, rows)
    return Dataset("tiny", found, {name: whole.take(cut) for name, cut in cuts.items()})


def _power_law(rng: np.random.Generator, values: int, rows: int) -> np.ndarray:
    """Return ids [rows], the most frequent first; every id has a chance."""
    share = 1 / np.arange(1, values + 1)
    return rng.choice(values, rows, p=share / share.sum())


def tiny_protocol(**overrides: Any) -> Protocol:
    """Return a protocol that trains on `tiny_dataset` in well under a second."""
    small = {"dim": 4, "hidden": (8,), "epochs": 2, "batch_size": 256, "lr": 0.01, "dropout": 0.1}
    return build(Protocol, {**small, **overrides}, "tiny protocol")


def kept_entries(plan: EmbeddingPlan, layout: Layout) -> np.ndarray | None:
    """Return which entries of its [V, d] table a masking plan keeps, bool [V, d]; None for other kinds."""
    if isinstance(plan, ColumnMask):
        return plan.mask[layout.field_of_row]
    if isinstance(plan, RowDims):
        return np.arange(layout.dim)[None, :] < plan.row_widths[:, None]
    return plan.mask if isinstance(plan, EntryMask) else None


def stored_bytes(module: nn.Module) -> int:
    """Return the bytes of all parameters and buffers of `module` but those named in `BOOKKEEPING`."""
    return sum(_own_bytes(m) for m in module.modules())


def _own_bytes(module: nn.Module) -> int:
    skip = {name for kind, names in BOOKKEEPING.items() if isinstance(module, kind) for name in names}
    own: dict[str, Tensor] = {**dict(module.named_parameters(recurse=False))}
    own |= dict(module.named_buffers(recurse=False))
    return sum(t.nbytes for name, t in own.items() if name not in skip)


class _Forbidden:
    """Stands in for data that must not be read: whatever is done with it is an AssertionError."""

    def __init__(self, what: str) -> None:
        self.__dict__["what"] = what

    def _refuse(self, *_: object) -> NoReturn:
        raise AssertionError(f"{self.__dict__['what']} was read.")

    __getattr__ = __setattr__ = __len__ = __iter__ = __getitem__ = _refuse


@contextmanager
def _other_global_randomness() -> Iterator[None]:
    """Set every global generator to something else inside the block: only the task's seeds may count."""
    numpy_state, state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987654321)
        np.random.seed(987654321)  # noqa: NPY002
        random.seed(987654321)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(state)


def _require(ok: object, promise: str) -> None:
    if not ok:
        raise AssertionError(promise)


@dataclass(frozen=True)
class _Found:
    """What one search gave."""

    task: SearchTask
    state: SearchState
    plan: EmbeddingPlan


@dataclass(frozen=True)
class _Counting(Method):
    """A method that counts its searches and derivations in `calls`."""

    calls: Any = None

    def searcher(self) -> Searcher:
        """Return a searcher whose two methods count before they work."""
        found = super().searcher()
        for name in ("search", "derive"):
            setattr(found, name, self._counted(name, getattr(found, name)))
        return found

    def _counted(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.calls.append(name)
            return work(*args)

        return counted


class SearcherContract:
    """The checks, as methods named `test_*`. Subclass it and set `spec`; the rest may be overridden.

    `size` is the plan budget of checks that need one plan: the largest of `ratios` for methods with budget
    control, none for others.
    """

    spec: ClassVar[str]
    """The method: `name`, `name/preset`, `file.py:Class` or `module:Class`."""
    overrides: ClassVar[Mapping[str, Any]] = {}
    """Settings of the method, say fewer steps."""
    backbone: ClassVar[str] = "deepfm"
    ratios: ClassVar[tuple[float, ...]] = (0.5, 0.25)
    """Plan budgets to ask for."""
    seeds: ClassVar[Seeds] = Seeds(split=0, init=1, search=2, order=3)

    @classmethod
    def method(cls) -> Method:
        """Return the method with its settings."""
        return resolve_method(cls.spec, cls.overrides)

    @classmethod
    def data(cls) -> Dataset:
        """Return the data set of the checks."""
        return tiny_dataset()

    @classmethod
    def protocol(cls, **overrides: Any) -> Protocol:
        """Return the training protocol of the checks."""
        return tiny_protocol(**overrides)

    @classmethod
    def checks(cls) -> list[str]:
        """Return the names of all checks."""
        return [name for name in dir(cls) if name.startswith("test_")]

    @classmethod
    def size(cls) -> float | None:
        """Return the plan budget of checks that need one plan."""
        return None if cls.method().info.budget == "none" else max(cls.ratios)

    @classmethod
    def _task(cls, **protocol: Any) -> Task:
        return Task(DataRef("tiny", "generated"), cls.backbone, cls.protocol(**protocol))

    @classmethod
    def _sealed_data(cls) -> Dataset:
        """Return the data with a test split that raises however it is reached."""
        data = copy.copy(cls.data())
        forbidden: Any = _Forbidden("the test split")
        data._splits = {**data._splits, "test": forbidden}
        return data

    @classmethod
    def _search_task(cls, seeds: Seeds) -> SearchTask:
        data, task = cls._sealed_data(), cls._task()
        budget = Budget(len(data.split("train")) * task.protocol.epochs)

        def trained(plan: EmbeddingPlan) -> dict[str, Tensor]:
            model, results = retrain(plan, task, data, replace(seeds, init=seeds.search, order=seeds.search))
            budget.charge(sum(r.rows_seen for r in results), 0.0)
            return {k: v.clone() for k, v in model.state_dict().items()}

        info, pair = cls.method().info, (seeds.split, seeds.search)
        found = SearchTask(data, cls.backbone, task.protocol, info, pair, budget, trained)
        return _restricted(found)

    @classmethod
    def _search(cls, seeds: Seeds) -> _Found:
        task, method = cls._search_task(seeds), cls.method()
        state = method.searcher().search(task)
        plan = method.searcher().derive(task, state, PlanBudget(cls.size()))
        return _Found(task, state, plan)

    @classmethod
    @cache
    def _first(cls) -> _Found:
        return cls._search(cls.seeds)

    @classmethod
    @cache
    def _trained(cls) -> nn.Module:
        return cls._retrain(cls._first().plan, cls.seeds)

    @classmethod
    def _retrain(cls, plan: EmbeddingPlan, seeds: Seeds, **protocol: Any) -> nn.Module:
        return retrain(plan, cls._task(**protocol), cls._sealed_data(), seeds)[0].eval()

    @classmethod
    def _predict(cls, model: nn.Module) -> np.ndarray:
        return predict(model, cls.data().split("valid"))

    def test_info_is_complete(self) -> None:
        """`info` names the method, its source, and only values that exist."""
        info, cls = self.method().info, type(self.method().searcher())
        _require(re.fullmatch(r"[a-z][a-z0-9-]*", info.name), f"info.name {info.name!r} is no valid name.")
        _require(info.title.strip() and cls.__doc__, "the title or the class's docstring is missing.")
        for name, allowed in PROMISES.items():
            value = getattr(info, name)
            _require(value in get_args(allowed), f"info.{name} = {value!r}; allowed: {get_args(allowed)}.")
        _require(info.plans, "info.plans names no kind of plan.")
        for kind in info.plans:
            _require(kind in PLANS, f"info.plans names {kind!r}; known: {', '.join(PLANS)}.")
        own = info.faithfulness == "reference"
        _require(own or (info.paper and info.year), "a published method names its paper and year.")
        plainly = info.faithfulness not in ("repaired", "inferred") or info.deviations
        _require(plainly, f"a method that is {info.faithfulness} lists its deviations.")

    def test_settings_are_documented(self) -> None:
        """`Config` is a frozen dataclass; each setting has a default and a help text, and a known stage."""
        config = type(self.method().searcher()).Config
        frozen = is_dataclass(config) and config.__dataclass_params__.frozen  # type: ignore[attr-defined]
        _require(frozen, f"{config.__name__} is no frozen dataclass.")
        _require(build(config, {}, "defaults") == config(), "the defaults do not survive being read again.")
        for f in fields(config):
            _require(f.metadata.get("help"), f'setting {f.name!r} has no metadata {{"help": ...}}.')
            stage = f.metadata.get("stage", "search")
            _require(stage in ("search", "derive"), f"setting {f.name!r} has the unknown stage {stage!r}.")

    def test_presets_can_be_built(self) -> None:
        """Every preset is valid and has a name that can be written `name/preset`."""
        cls = type(self.method().searcher())
        for name, values in cls.presets.items():
            _require(
                re.fullmatch(r"[a-z0-9][a-z0-9-]*", name), f"preset {name!r}: lower-case letters, digits, -."
            )
            build(cls.Config, values, f"preset {name!r}")

    def test_plan_is_valid(self) -> None:
        """With and without a plan budget the plan fits the layout, builds, and is of a declared kind."""
        found, info = self._first(), self.method().info
        for ratio in (None, self.size()):
            plan = self._derive(found, ratio)
            plan.check(found.task.layout)
            _require(plan.kind in info.plans, f"the plan is {plan.kind!r}, info.plans says {info.plans}.")
            _require(plan.recipe in RECIPES, f"recipe {plan.recipe!r}; known: {RECIPES}.")
            model = build_planned(plan, self._task(), self._sealed_data(), self.seeds.init)
            _require(np.isfinite(self._predict(model)).all(), "the new model's logits are not finite.")

    def _derive(self, found: _Found, ratio: float | None) -> EmbeddingPlan:
        plan = self.method().searcher().derive(found.task, found.state, PlanBudget(ratio))
        plan.check(found.task.layout)
        return plan

    def test_plan_survives_saving(self) -> None:
        """A saved and loaded plan has the same digest and builds the same model."""
        found = self._first()
        with tempfile.TemporaryDirectory() as folder:
            found.plan.save(Path(folder))
            loaded = load_plan(Path(folder), found.task.layout)
        _require(loaded.digest() == found.plan.digest(), "the loaded plan has another digest.")
        task, data = self._task(), self._sealed_data()
        one, other = (
            self._predict(build_planned(p, task, data, self.seeds.init)) for p in (found.plan, loaded)
        )
        _require(np.array_equal(one, other), "the loaded plan builds another model.")

    def test_state_survives_saving(self) -> None:
        """`derive` gives the same plan from the saved state, again and again, on a new object."""
        found = self._first()
        with tempfile.TemporaryDirectory() as folder:
            found.state.save(Path(folder))
            loaded = replace(found, state=SearchState.load(Path(folder)))
        for state in (found, loaded):
            digest = self._derive(state, self.size()).digest()
            _require(digest == found.plan.digest(), "derive gave another plan the second time.")

    def test_plan_budget_is_respected(self) -> None:
        """`exact` hits the budget within 1 %, `granular` stays below; what cannot be met is a PlanError."""
        found, control = self._first(), self.method().info.budget
        for ratio in () if control == "none" else self.ratios:
            limit = PlanBudget(ratio).bytes(found.task.layout)
            assert limit is not None
            try:
                used = Ledger(tuple(self._derive(found, ratio).cost(found.task.layout))).bytes(
                    EMBEDDING_PARTS
                )
            except PlanError:
                _require(ratio != max(self.ratios), f"no plan for ratio {ratio}.")
                continue
            inside = used <= limit if control == "granular" else abs(used - limit) <= 0.01 * limit
            _require(inside, f"ratio {ratio}: {used} bytes, the budget is {limit} ({control}).")

    def test_a_full_budget_is_the_uniform_model(self) -> None:
        """At a plan budget of 1 every field keeps all of its width, at the bytes of the uniform model.

        Trained from scratch, it then is the uniform model, bit for bit.
        """
        found = self._first()
        if self.method().info.budget == "none":
            return
        plan, layout = self._derive(found, 1.0), found.task.layout
        widths, used = plan.widths(layout), Ledger(tuple(plan.cost(layout))).bytes(EMBEDDING_PARTS)
        _require((widths == layout.dim).all(), f"at a plan budget of 1 the widths are {widths}.")
        _require(
            used == uniform_bytes(layout), f"{used} bytes, the uniform model has {uniform_bytes(layout)}."
        )
        if plan.recipe == "scratch":
            one, other = (self._predict(self._retrain(p, self.seeds)) for p in (plan, uniform(layout)))
            _require(np.array_equal(one, other), "at a plan budget of 1 it is not the uniform model.")

    def test_only_declared_data_are_read(self) -> None:
        """The test split is never read; search rows, training rows and counts only as `info.data` declares.

        Every search of this suite runs on data where the rest raises.
        """
        info, task = self.method().info, self._first().task
        spent = task.budget.rows_spent
        _require(
            info.data.startswith("train") or spent == 0, f"data={info.data!r}, but rows were trained on."
        )
        _require(info.data != "train+search" or spent > 0, "data='train+search', but nothing was charged.")

    def test_same_seed_gives_the_same_result(self) -> None:
        """Plan and predictions are the same bits for the same seeds, whatever global generators hold."""
        with _other_global_randomness():
            again = self._search(self.seeds).plan
            _require(again.digest() == self._first().plan.digest(), "the same seed gave another plan.")
            model = self._retrain(again, self.seeds)
        same = np.array_equal(self._predict(model), self._predict(self._trained()))
        _require(same, "the same seeds gave other predictions.")

    def test_seed_streams_are_separate(self) -> None:
        """Retraining seeds change the model; a method that is not stochastic ignores the search seed."""
        plan = self._first().plan
        if plan.recipe != "none":
            other = self._retrain(plan, replace(self.seeds, init=11, order=13))
            same = np.array_equal(self._predict(other), self._predict(self._trained()))
            _require(not same, "another init and order seed gave the same predictions.")
        if not self.method().info.stochastic:
            moved = self._search(replace(self.seeds, search=17)).plan
            _require(
                moved.digest() == plan.digest(), "stochastic=False, but the search seed changed the plan."
            )

    def test_masked_entries_stay_zero(self) -> None:
        """Retraining under heavy decay leaves masked entries at exactly 0; the forward pass ignores them."""
        found = self._first()
        for optimizer in get_args(Literal["row_adam", "dense_adam"]):
            strong = {"optimizer": optimizer, "embedding_l2": 0.1, "weight_decay": 0.1}
            model = self._retrain(found.plan, self.seeds, **strong)
            before = self._predict(model)
            for plan, part in parts_of(found.plan, model):
                _break_masked_entries(plan, part, found.task.layout, optimizer)
            ignored = np.array_equal(before, self._predict(model))
            _require(ignored, f"{optimizer}: masked entries reach the predictions.")

    def test_ledger_is_true_to_the_byte(self) -> None:
        """The plan's items and the whole ledger are the bytes of the exported tensors."""
        plan, layout, model = self._first().plan, self._first().task.layout, self._trained()
        whole = export_model(plan, model, layout)
        parts = [part.embedding for _, part in parts_of(plan, whole)]
        stored = sum(
            map(stored_bytes, [*parts, *([whole.router] if isinstance(whole, ClusteredModel) else [])])
        )
        charged = Ledger(tuple(plan.cost(layout))).bytes()
        _require(stored == charged, f"the plan charges {charged} bytes, {stored} are stored.")
        stored, charged = stored_bytes(whole), ledger_of(plan, model, layout).bytes()
        _require(stored == charged, f"the ledger says {charged} bytes, {stored} are stored.")

    def test_export_gives_the_same_output(self) -> None:
        """The exported model gives the trained model's logits, bit for bit."""
        plan, layout = self._first().plan, self._first().task.layout
        whole = export_model(plan, self._trained(), layout)
        _require(not list(tables_of(whole)), "the exported model is not plain PyTorch.")
        same = np.array_equal(self._predict(whole), self._predict(self._trained()))
        _require(same, "the exported model gives other logits.")

    def test_derive_is_apart_from_search(self) -> None:
        """Plans of two sizes, and a change of a `derive` setting's stage key, come from one search."""
        own = {f.name: getattr(self.method(), f.name) for f in fields(Method)}
        method = _Counting(**own, calls=[])
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline(Stages(Path(folder)))
            for ratio in (None, max(self.ratios), None):
                pipeline.derive(Unit(self._task(), method, self.seeds, ratio), self._sealed_data())
        _require(method.calls == ["search", "derive", "derive"], f"stages ran as {method.calls}.")


def _restricted(task: SearchTask) -> SearchTask:
    """Take away what the method does not declare to use."""
    refused: Any = _Forbidden
    if task.info.data in ("none", "counts"):
        task.train = refused(f"data={task.info.data!r}, but the training split")
        task._valid = refused(f"data={task.info.data!r}, but the validation split")
    if task.info.data == "none":
        task.counts = refused("data='none', but the counts")
    return task


@torch.no_grad()
def _break_masked_entries(plan: EmbeddingPlan, model: CTRModel, layout: Layout, optimizer: str) -> None:
    """Check that masked entries are 0, then set them to something else."""
    kept = kept_entries(plan, layout)
    if kept is None:
        return
    (table,) = tables_of(model.embedding)
    masked = torch.from_numpy(~kept)
    left = int(table.weight[masked].count_nonzero())
    _require(left == 0, f"{optimizer}: {left} masked entries are not 0 after retraining.")
    table.weight[masked] = 1000.0


@cache
def contract(spec: str, overrides: str = "{}") -> type[SearcherContract]:
    """Return the contract class of a method; `overrides` are JSON. One search serves all its checks."""
    import json

    body = {"spec": spec, "overrides": json.loads(overrides)}
    return type("Contract", (SearcherContract,), body)


def check_method(spec: str, overrides: Mapping[str, Any] | None = None) -> None:
    """Run every check on a method; raise one AssertionError that names all broken promises."""
    suite, broken = contract(spec, canonical(dict(overrides or {})))(), []
    for name in suite.checks():
        try:
            getattr(suite, name)()
        except Exception as error:  # noqa: BLE001 - whatever the method raises is a broken promise
            broken.append(f"{name}: {type(error).__name__}: {error}")
    _require(not broken, f"method {spec!r} breaks its contract:\n" + "\n".join(broken))
