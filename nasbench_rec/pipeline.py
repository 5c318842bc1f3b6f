"""The pipeline of a unit: prepare -> search -> derive -> retrain -> test.

Each stage has a key made from just what it depends on, so a stage is computed once and used by all who need
it. The test split is behind a seal that the test stage alone opens, once, after the last training.
"""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasbench_rec import metrics
from nasbench_rec.config import content_key, plain
from nasbench_rec.cost import EMBEDDING_PARTS, ROUTER_PARTS, CostItem, Ledger, dense_item, flops_per_row
from nasbench_rec.data import Dataset, Split
from nasbench_rec.embeddings import ConstantHead, Layout
from nasbench_rec.environment import environment
from nasbench_rec.errors import PlanError, SealedError, StoreError, unknown
from nasbench_rec.model import CTRModel, build_model, tables_of
from nasbench_rec.plans import Clustered, Constant, EmbeddingPlan, Ensemble, load_plan
from nasbench_rec.predictions import digest as predictions_digest
from nasbench_rec.preparation import prepare
from nasbench_rec.recovery import group_recovery, role_recovery, width_recovery
from nasbench_rec.routers import Router
from nasbench_rec.routing import routing_report
from nasbench_rec.searcher import (
    Budget,
    PlanBudget,
    SearchState,
    SearchTask,
    derive_settings,
    search_settings,
    uniform_bytes,
)
from nasbench_rec.seeds import Seeds, stream
from nasbench_rec.stages import Stages, read_meta
from nasbench_rec.training import FitResult, Hook, Step, fit, ids_of, predict
from nasbench_rec.unit import ENGINE, DataRef, Task, Unit

TEST_CONTENT = 2
"""Part of the test stage's key; raise it when the stage keeps other things: trained models are then tested anew."""
VALID_CONTENT = 1
"""The same of the valid stage."""
OnReport = Callable[[str, int, Mapping[str, float]], None]
"""Hears the n-th validation scores of a phase, `search` or `retrain`; what it raises ends the stage without a trace."""
LATENCY_BATCHES = (1, 256, 4096)


class Seal:
    """The test split, which opens once."""

    def __init__(self, data: Dataset) -> None:
        self._data, self.opened = data, False

    def open(self) -> Split:
        """Return the test split; a second call is a `SealedError`."""
        if self.opened:
            raise SealedError("the test split was opened before; it opens once, after the last training.")
        self.opened = True
        return self._data.split("test")


class JointModel(nn.Module):
    """Several models that are one: ids [B, C] -> logits [B]."""

    def __init__(self, models: Sequence[CTRModel]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def parts(self) -> list[CTRModel]:
        """Return the models."""
        return [m for m in self.models if isinstance(m, CTRModel)]


class EnsembleModel(JointModel):
    """All models serve each sample."""

    def forward(self, ids: Tensor) -> Tensor:
        """Return the mean of the models' logits."""
        return torch.stack([model(ids) for model in self.parts()]).mean(0)


class ClusteredModel(JointModel):
    """A router and one model per cluster."""

    def __init__(self, router: Router, models: Sequence[CTRModel]) -> None:
        super().__init__(models)
        self.router = router

    def forward(self, ids: Tensor) -> Tensor:
        """Send each sample to its cluster's model."""
        cluster = self.router(ids)
        logits = torch.zeros(len(ids), device=ids.device)
        for c, model in enumerate(self.parts()):
            rows = (cluster == c).nonzero().squeeze(1)
            if len(rows):
                logits = logits.index_copy(0, rows, model(ids.index_select(0, rows)))
        return logits


def layout_of(data: Dataset, protocol: Any) -> Layout:
    """Return the layout of a task's plans."""
    return Layout(data.fields, protocol.dim, protocol.alignment, protocol.embedding_std)


def build_planned(plan: EmbeddingPlan, task: Task, data: Dataset, seed: int) -> nn.Module:
    """Return the untrained model of a plan, with the weights that the plan carries put in."""
    layout = layout_of(data, task.protocol)
    plan.check(layout)
    if isinstance(plan, Clustered):
        parts = [_build_one(p, task, data, seed) for p in plan.plans]
        return ClusteredModel(plan.router, parts).to(task.protocol.device)
    if isinstance(plan, Ensemble):
        return EnsembleModel(
            [_build_one(p, task, data, member_seed(m, seed)) for m, p in enumerate(plan.plans)]
        )
    return _build_one(plan, task, data, seed)


def member_seed(member: int, seed: int) -> int:
    """Return the init or order seed of an ensemble's member: the first has the unit's own."""
    return seed if member == 0 else stream(f"member {member}", seed)


def _build_one(plan: EmbeddingPlan, task: Task, data: Dataset, seed: int) -> CTRModel:
    layout = layout_of(data, task.protocol)
    if isinstance(plan, Constant):
        model = CTRModel(plan.build(layout), ConstantHead()).to(task.protocol.device)
    else:
        model = build_model(lambda: plan.build(layout), data.fields, task.backbone, task.protocol, seed)
    _put(model, plan)
    return model


def _put(model: CTRModel, plan: EmbeddingPlan) -> None:
    """Load the plan's weights; recipes that reuse a whole model must bring all of it."""
    if plan.recipe != "scratch" and not plan.weights:
        raise PlanError(f"recipe {plan.recipe!r} needs weights, but the plan carries none.")
    state = model.state_dict()
    for name, value in plan.weights.items():
        if name not in state or state[name].shape != value.shape:
            raise PlanError(f"the plan's weight {name!r} {tuple(value.shape)} does not fit the model.")
    missing = set(state) - set(plan.weights)
    if plan.recipe in ("same_init", "rewind", "inherit", "none") and missing:
        raise PlanError(f"recipe {plan.recipe!r} brings no {sorted(missing)[0]!r}.")
    with torch.no_grad():
        for name, value in plan.weights.items():
            state[name].copy_(value)
    model.embedding.drop_masked()


class Reports(Hook):
    """Passes a phase's validation scores on as they come, and those of a stage that was found once it is there."""

    def __init__(self, phase: str, on_report: OnReport) -> None:
        self.phase, self.on_report, self.count = phase, on_report, 0

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Report."""
        self.report(scores)

    def report(self, scores: Mapping[str, float]) -> None:
        """Report the next scores."""
        self.count += 1
        self.on_report(self.phase, self.count - 1, scores)

    def replay(self, curve: Sequence[Mapping[str, float]]) -> None:
        """Report what a stage kept and nobody heard: whoever listens cannot tell a found stage from a new one."""
        for scores in curve[self.count :]:
            self.report(scores)


def retrain(
    plan: EmbeddingPlan, task: Task, data: Dataset, seeds: Seeds, hooks: Sequence[Hook] = ()
) -> tuple[nn.Module, list[FitResult]]:
    """Train the model of `plan` on all training rows, early stopping on valid; return it with its curves.

    A clustered plan trains each cluster's model on the rows that the router sends there, an ensemble each member
    on all rows. `hooks` watch the training of a model that is one.
    """
    model = build_planned(plan, task, data, seeds.init)
    if plan.recipe == "none":
        return model.eval(), []
    train, valid = data.split("train"), data.split("valid")
    if isinstance(model, EnsembleModel):
        orders = [member_seed(m, seeds.order) for m in range(len(model.models))]
        parts = zip(model.parts(), orders, strict=True)
        return model, [fit(part, train, valid, task.protocol, order) for part, order in parts]
    if not isinstance(model, ClusteredModel):
        return model, [fit(model, train, valid, task.protocol, seeds.order, hooks=hooks)]
    clusters = assign(model.router, train), assign(model.router, valid)
    results = []
    for c, part in enumerate(model.models):
        # One cluster's rows at a time: they may be a copy on disk.
        rows, held = (split.take(of == c) for split, of in zip((train, valid), clusters, strict=True))
        if len(rows) < 2:
            raise PlanError(f"cluster {c} has {len(rows)} training rows; use fewer clusters.")
        both = 0 < float(held.labels.sum()) < len(held)
        results.append(fit(part, rows, held if both else valid, task.protocol, seeds.order))
        del rows, held
    return model, results


@torch.no_grad()
def assign(router: nn.Module, split: Split, rows: int = 8192) -> np.ndarray:
    """Return the cluster of each row, int64 [N]."""
    router.eval()
    device = next(t.device for t in [*router.parameters(), *router.buffers()])
    found = torch.empty(len(split), dtype=torch.int64)
    for part, clusters in zip(ids_of(split).split(rows), found.split(rows), strict=True):
        clusters.copy_(router(part.to(device)))
    return found.numpy()


@torch.no_grad()
def kept_fields(model: nn.Module, split: Split, rows: int = 8192) -> np.ndarray | None:
    """Return the share of each field's columns that instance-wise gates keep, [N, F]; None without such gates."""
    gates: Any = model.router if isinstance(model, ClusteredModel) else getattr(model, "embedding", None)
    masks: Callable[[Tensor], Tensor] | None = getattr(gates, "masks", None)
    if masks is None:
        return None
    fields = len(gates.lookup.fields)
    device = next(t.device for t in model.parameters())
    parts = [masks(ids.to(device)).float().cpu() for ids in ids_of(split).split(rows)]
    return torch.cat([part.view(len(part), fields, -1).mean(2) for part in parts]).numpy()


def ledger_of(plan: EmbeddingPlan, model: nn.Module, layout: Layout) -> Ledger:
    """Return the whole ledger: the plan's items, first-order tables and backbones."""
    items = list(plan.cost(layout))
    parts = model.parts() if isinstance(model, JointModel) else [model]
    for backbone in (part.backbone for part in parts if isinstance(part, CTRModel)):
        wide = sum(t.weight.numel() for t in tables_of(backbone))
        total = sum(p.numel() for p in backbone.parameters())
        norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm1d)]
        state = sum(b.nbytes for m in norms for b in m.buffers())
        items += [dense_item("first_order", wide), dense_item("backbone", total - wide)]
        items.append(CostItem("backbone", 0, state, "normalisation statistics"))
    return Ledger(tuple(i for i in items if i.bytes)).merged()


@dataclass
class Pipeline:
    """Runs the stages of a unit below a store's `stages` folder; `on_report` hears its validation scores."""

    stages: Stages
    data_dir: Path | None = None
    on_report: OnReport = lambda phase, count, scores: None

    def prepare(self, ref: DataRef) -> Dataset:
        """Return the encoded data set, encoding it first where it is not there."""
        return prepare(ref, self.stages, self.data_dir)

    def train_key(self, plan: EmbeddingPlan, task: Task, data: Dataset, seeds: Seeds) -> str:
        """Return the key of a retraining: the plan's content, not the way it was found."""
        content = [
            ENGINE,
            data.fingerprint,
            task.backbone,
            task.protocol,
            plan.digest(),
            seeds.init,
            seeds.order,
        ]
        return content_key(content)

    def train(
        self, plan: EmbeddingPlan, task: Task, data: Dataset, seeds: Seeds, reports: Reports | None = None
    ) -> Path:
        """Return the stage of the trained model of `plan`; `reports` hears of it, if the model is one."""

        def compute(folder: Path) -> dict[str, Any]:
            from safetensors.torch import save_file

            start = time.perf_counter()
            hooks = [reports] if reports else []
            model, results = retrain(plan, task, data.without_test(), seeds, hooks)
            seconds = time.perf_counter() - start
            state = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
            save_file(state, folder / "model.safetensors")
            return {
                "seconds": seconds if results else 0.0,
                "history": [list(r.history) for r in results],
                "best_epoch": [r.best_epoch for r in results],
                "rows_seen": sum(r.rows_seen for r in results),
            }

        folder = self.stages.get("train", self.train_key(plan, task, data, seeds), compute)
        curves = read_meta(folder)["history"] if reports else []
        if reports and len(curves) == 1:
            reports.replay(curves[0])
        return folder

    def load_model(self, plan: EmbeddingPlan, task: Task, data: Dataset, seeds: Seeds) -> nn.Module:
        """Return the trained model of `plan`, training it where no stage has it."""
        from safetensors.torch import load_file

        folder = self.train(plan, task, data, seeds)
        model = build_planned(plan, task, data, seeds.init)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model.eval()

    def search(self, unit: Unit, data: Dataset) -> tuple[SearchTask, str, Path]:
        """Return the search task, the key and the folder of the search stage."""
        method, seeds = unit.method, unit.seeds
        train_rows = len(data.split("train"))
        budget = Budget(train_rows * unit.task.protocol.epochs, unit.trainings)
        task = self._search_task(unit, data, budget)
        reports = Reports("search", self.on_report)
        task.on_report = lambda step, scores: reports.report(scores)
        content = [
            ENGINE,
            data.fingerprint,
            unit.task.backbone,
            unit.task.protocol,
            method.spec,
            method.info.version,
        ]
        content += [method.code, search_settings(method.config), unit.trainings, seeds.split, seeds.search]
        key = content_key(content)

        def compute(folder: Path) -> dict[str, Any]:
            start = time.perf_counter()
            shared = [0.0]
            task._trained = self._trained_uniform(unit, data, budget, shared)
            state = method.searcher().search(task)
            own = time.perf_counter() - start
            state.save(folder)
            _save_diagnostics(folder, task.diagnostics)
            return {"seconds": own + shared[0], "trainings": budget.spent, "anytime": task.anytime}

        folder = self.stages.get("search", key, compute)
        meta = read_meta(folder)
        reports.replay(meta["anytime"])
        task.on_report = lambda step, scores: None
        budget.rows_spent = round(
            meta["trainings"] * budget.rows_per_training
        )  # of a stage that was found, too
        return task, key, folder

    def _search_task(self, unit: Unit, data: Dataset, budget: Budget) -> SearchTask:
        seeds = (unit.seeds.split, unit.seeds.search)
        trained = self._trained_uniform(unit, data, budget, [0.0])
        return SearchTask(
            data, unit.task.backbone, unit.task.protocol, unit.method.info, seeds, budget, trained
        )

    def _trained_uniform(
        self, unit: Unit, data: Dataset, budget: Budget, shared: list[float]
    ) -> Callable[[EmbeddingPlan], dict[str, Tensor]]:
        """Return what trains a plan with the search seed; its true cost is charged even when it is cached."""
        seed = unit.seeds.search
        seeds = replace(unit.seeds, init=seed, order=seed)

        def trained(plan: EmbeddingPlan) -> dict[str, Tensor]:
            start = time.perf_counter()
            model = self.load_model(plan, unit.task, data, seeds)
            meta = read_meta(self.stages.folder("train", self.train_key(plan, unit.task, data, seeds)))
            budget.charge(meta["rows_seen"], meta["seconds"])
            shared[0] += meta["seconds"] - (time.perf_counter() - start)
            return {k: v.clone() for k, v in model.state_dict().items()}

        return trained

    def derive(self, unit: Unit, data: Dataset) -> tuple[EmbeddingPlan, Path, Path]:
        """Return the plan, with the folders of the search and derive stages.

        What a method trains while it derives a plan of one size is charged to its search budget, too.
        """
        task, search_key, found = self.search(unit, data)
        content = [search_key, derive_settings(unit.method.config), unit.ratio]

        def compute(folder: Path) -> dict[str, Any]:
            task.diagnostics.clear()
            before = task.budget.spent
            plan = unit.method.searcher().derive(task, SearchState.load(found), PlanBudget(unit.ratio))
            plan.check(task.layout)
            plan.save(folder)
            _save_diagnostics(folder, task.diagnostics)
            return {"digest": plan.digest(), "kind": plan.kind, "trainings": task.budget.spent - before}

        folder = self.stages.get("derive", content_key(content), compute)
        return load_plan(folder, task.layout), found, folder

    def validate(self, plan: EmbeddingPlan, unit: Unit, data: Dataset) -> Path:
        """Return the stage of validation scores and sizes: all that a tuning may see of a trained model."""
        data = data.without_test()

        def compute(folder: Path) -> dict[str, Any]:
            model = self.load_model(plan, unit.task, data, unit.seeds)
            logits = predict(model, data.split("valid"), unit.task.protocol.device)
            return {"scores": split_scores("valid", data, logits), "sizes": _sizes(plan, model, unit, data)}

        self.train(plan, unit.task, data, unit.seeds, Reports("retrain", self.on_report))
        key = content_key([self.train_key(plan, unit.task, data, unit.seeds), "valid", VALID_CONTENT])
        return self.stages.get("valid", key, compute)

    def test(self, plan: EmbeddingPlan, unit: Unit, data: Dataset) -> Path:
        """Return the stage of predictions, ledger and latencies; this alone opens the test split."""
        seeds = unit.seeds

        def compute(folder: Path) -> dict[str, Any]:
            from safetensors.numpy import save_file

            seal = Seal(data)
            model = self.load_model(plan, unit.task, data, seeds)
            device = unit.task.protocol.device
            predictions = {"valid": predict(model, data.split("valid"), device)}
            test = seal.open()
            predictions["test"] = predict(model, test, device)
            save_file(predictions, folder / "predictions.safetensors")
            ledger = _sizes(plan, model, unit, data) | _latencies(model, data.split("valid"), device)
            found: dict[str, Any] = {"ledger": ledger, "routing": None}
            found["recovery"] = width_recovery(plan, layout_of(data, unit.task.protocol), data.truth)
            found["predictions_sha256"] = predictions_digest(predictions)
            if isinstance(model, ClusteredModel):
                splits = {"train": data.split("train"), "valid": data.split("valid"), "test": test}
                clusters = {name: assign(model.router, split) for name, split in splits.items()}
                logits, k = predictions["test"], model.router.clusters
                found["routing"] = routing_report(clusters, k, test.labels, logits)
                found["recovery"] |= group_recovery(clusters["test"], test.groups)
            if test.groups is not None and (kept := kept_fields(model, test)) is not None:
                names = [f.name for f in data.fields]
                found["recovery"] |= role_recovery(kept, names, test.groups, data.truth)
            return found

        self.train(plan, unit.task, data, seeds)
        key = content_key([self.train_key(plan, unit.task, data, seeds), TEST_CONTENT])
        return self.stages.get("test", key, compute)


def _sizes(plan: EmbeddingPlan, model: nn.Module, unit: Unit, data: Dataset) -> dict[str, Any]:
    layout = layout_of(data, unit.task.protocol)
    ledger = ledger_of(plan, model, layout)
    sample = ids_of(data.split("valid").take(slice(0, 256))).to(unit.task.protocol.device)
    return {
        "items": [asdict(i) for i in ledger.items],
        "embedding_params": ledger.params(EMBEDDING_PARTS),
        "embedding_bytes": ledger.bytes(EMBEDDING_PARTS),
        "embedding_ratio": ledger.bytes(EMBEDDING_PARTS) / uniform_bytes(layout),
        "router_bytes": ledger.bytes(ROUTER_PARTS),
        "total_bytes": ledger.bytes(),
        "conventions": ledger.conventions(),
        "optimizer_bytes": 2 * 4 * sum(p.numel() for p in model.parameters()),
        "values_per_lookup": values_per_lookup(plan, layout),
        "flops_per_row": flops_per_row(model, sample),
    }


def _latencies(model: nn.Module, split: Split, device: str) -> dict[str, Any]:
    """Return the latency of the whole model and, where there is one, of the router alone."""
    found = {"latency_seconds": latencies(model, split, device)}
    if isinstance(model, ClusteredModel):
        found["router_latency_seconds"] = latencies(model.router, split, device)
    return found


def values_per_lookup(plan: EmbeddingPlan, layout: Layout) -> float:
    """Return the mean embedding values that one sample's lookup reads, rows weighted alike within a field."""
    columns = np.array([f.columns for f in layout.fields])
    router = plan.router.values_per_lookup if isinstance(plan, Clustered) else 0
    return float(np.dot(columns, plan.values_read(layout)) + router)


@torch.no_grad()
def latencies(model: nn.Module, split: Split, device: str) -> dict[str, float]:
    """Return the seconds of one inference call, best of five, at each batch size that the split can fill."""
    found = {}
    for size in (s for s in LATENCY_BATCHES if s <= len(split)):
        ids = ids_of(split.take(slice(0, size))).to(device)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            model(ids).cpu()
            times.append(time.perf_counter() - start)
        found[str(size)] = min(times[1:])
    return found


def score(predictions: Mapping[str, np.ndarray], data: Dataset) -> dict[str, float | None]:
    """Compute every score from saved predictions (logits [N] for `valid` and `test`): the one place that does.

    `expected_*` are against the true probabilities, without label noise; None where those are unknown.
    """
    test = data.split("test")
    found: dict[str, float | None] = {"expected_auc": None, "expected_logloss": None}
    for name in ("valid", "test"):
        found |= split_scores(name, data, predictions[name])
    if test.probabilities is not None:
        found["expected_auc"] = metrics.expected_auc(test.probabilities, predictions["test"])
        found["expected_logloss"] = metrics.expected_logloss(test.probabilities, predictions["test"])
    return found


def split_scores(name: str, data: Dataset, logits: np.ndarray) -> dict[str, float]:
    """Return `NAME_auc` and `NAME_logloss` of the predictions of split `name`, logits [N]."""
    labels = data.split(name).labels
    return {
        f"{name}_auc": metrics.auc(labels, logits),
        f"{name}_logloss": metrics.logloss(labels, logits),
    }


def _save_diagnostics(folder: Path, diagnostics: Mapping[str, Any]) -> None:
    """Write scalars and lists as JSON, arrays and tensors as safetensors."""
    from safetensors.numpy import save_file

    known = {k: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for k, v in diagnostics.items()}
    arrays = {k: np.array(v, order="C") for k, v in known.items() if isinstance(v, np.ndarray)}
    if arrays:
        save_file(arrays, folder / "diagnostics.safetensors")
    rest = {k: plain(v) for k, v in known.items() if k not in arrays}
    # Scalars of numpy and torch inside lists are the numbers that they hold.
    (folder / "diagnostics.json").write_text(json.dumps(rest, default=lambda value: value.tolist()))


def read_diagnostics(search_folder: Path, derive_folder: Path) -> dict[str, Any]:
    """Return what the search and derive stages kept by `task.diagnose` as JSON."""
    folders = {"search": search_folder, "derive": derive_folder}
    return {name: json.loads((folder / "diagnostics.json").read_text()) for name, folder in folders.items()}


def record_head(unit: Unit, data_dir: Path | None, threads: int) -> dict[str, Any]:
    """Return what a record says before anything ran."""
    return {
        "key": unit.key,
        "unit": unit.describe(),
        "dataset": unit.task.data.label,
        "backbone": unit.task.label,
        "method": unit.method.name,
        "label": unit.label,
        "data_dir": unit.task.data.place or (str(data_dir) if data_dir else None),
        "environment": environment(threads),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def run_unit(unit: Unit, root: Path, data_dir: Path | None = None, threads: int = 1) -> dict[str, Any]:
    """Run a unit below the store at `root` and return its record; a failure is a record too.

    The caller writes the record: workers never touch it. Stages are shared and stay.
    """
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    pipeline = Pipeline(Stages(root / "stages"), data_dir)
    record = record_head(unit, data_dir, threads)
    try:
        with threadpool_limits(threads):  # numpy's linear algebra too
            record |= _run(unit, pipeline) | {"status": "ok", "error": None}
    except Exception as error:  # noqa: BLE001 - a failing method fails its own unit and stops nobody else
        text = str(error) or type(error).__name__
        record |= {
            "status": "failed",
            "error": f"{type(error).__name__}: {text}",
            "traceback": traceback.format_exc(),
        }
    record["stages"] = [asdict(use) for use in pipeline.stages.used]
    return record


def _run(unit: Unit, pipeline: Pipeline) -> dict[str, Any]:
    from safetensors.numpy import load_file

    data = pipeline.prepare(unit.task.data)
    plan, search_folder, derive_folder = pipeline.derive(unit, data)
    train_folder = pipeline.train(plan, unit.task, data, unit.seeds)
    test_folder = pipeline.test(plan, unit, data)
    train, test = read_meta(train_folder), read_meta(test_folder)
    search, derive = read_meta(search_folder), read_meta(derive_folder)
    predictions = load_file(test_folder / "predictions.safetensors")
    diagnostics = read_diagnostics(search_folder, derive_folder)
    if predictions_digest(predictions) != test["predictions_sha256"]:
        raise StoreError(f"{test_folder}: predictions were changed after they were made; delete the folder.")
    scores = score(predictions, data)
    if not all(math.isfinite(v) for v in scores.values() if v is not None):
        raise FloatingPointError(f"scores are not finite: {scores}")
    return {
        "fingerprint": data.fingerprint,
        "scores": scores,
        "plan": {
            **_describe(plan, layout_of(data, unit.task.protocol)),
            "folder": f"stages/derive/{derive_folder.name}",
        },
        "ledger": test["ledger"],
        "recovery": test["recovery"],
        "predictions": f"stages/test/{test_folder.name}/predictions.safetensors",
        "predictions_sha256": test["predictions_sha256"],
        "search_seconds": search["seconds"] + derive["seconds"],
        "search_trainings": search["trainings"] + derive.get("trainings", 0.0),
        "retrain_seconds": train["seconds"],
        "peak_rss_bytes": max(m["peak_rss_bytes"] for m in (search, derive, train, test)),
        "history": {
            "search": search["anytime"],
            "retrain": train["history"],
            "best_epoch": train["best_epoch"],
        },
        "diagnostics": diagnostics,
        "routing": test["routing"],
        "health": [asdict(f) for f in unit.method.searcher().health(diagnostics, test["routing"])],
        "test_opened": {"after": train_folder.name, "times": 1},
    }


def _describe(plan: EmbeddingPlan, layout: Layout) -> dict[str, Any]:
    """Return what a record says of a plan."""
    found: dict[str, Any] = {"kind": plan.kind, "recipe": plan.recipe, "digest": plan.digest()}
    found["widths"] = dict(zip([f.name for f in layout.fields], plan.widths(layout).tolist(), strict=True))
    return found


def check_backbone(name: str) -> str:
    """Return the name of a backbone, refusing an unknown one."""
    from nasbench_rec.backbones import BACKBONES
    from nasbench_rec.errors import ConfigError

    if name not in BACKBONES:
        raise ConfigError(unknown("backbone", name, BACKBONES))
    return name
