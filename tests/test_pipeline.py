"""Units end to end: what is computed once, what a record holds, and what fails alone."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from nasbench_rec import pipeline as module
from nasbench_rec.config import plain
from nasbench_rec.data import Dataset, Split
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, NasbenchError, PlanError, SealedError
from nasbench_rec.pipeline import (
    Pipeline,
    Seal,
    build_planned,
    check_backbone,
    latencies,
    retrain,
    run_unit,
    score,
    values_per_lookup,
)
from nasbench_rec.plans import Clustered, ColumnMask, EmbeddingPlan, FieldDims, Soft, uniform
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.routers import GateRouter
from nasbench_rec.searcher import SearchTask
from nasbench_rec.seeds import Seeds, seeded
from nasbench_rec.stages import Stages
from nasbench_rec.store import Store
from nasbench_rec.testing import tiny_protocol
from nasbench_rec.training import predict
from nasbench_rec.unit import DataRef, Task, Unit, label, read_unit

METHOD = '''
from dataclasses import dataclass
import numpy as np, torch
from nasbench_rec.plans import uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, Searcher, SearchState

@dataclass(frozen=True)
class Config:
    learned: float = setting(1.0, "a search setting")
    width: int = setting(2, "a derive setting", stage="derive")
    fail: str = setting("", "where to fail")
    epochs: int = setting(0, "epochs of a training while deriving", stage="derive")

class Mine(Searcher):
    """Mine."""
    info = MethodInfo("mine", "Mine", "field", "train", "none", ("field_dims",), "reference")
    Config = Config
    def search(self, task):
        if self.config.fail == "search":
            raise ValueError("boom in search")
        task.diagnose("scalar", np.float32(0.5))
        task.diagnose("count", np.int64(3))
        task.diagnose("tensor", torch.ones(2, 3))
        task.diagnose("array", np.arange(4.0))
        task.diagnose("nan", float("nan"))
        task.diagnose("list", [np.float32(1.5), torch.tensor(2.5)])
        task.report(1, {"auc": float("nan")})
        return SearchState()
    def derive(self, task, state, size):
        if self.config.fail == "derive":
            raise ValueError("boom in derive")
        if self.config.epochs:
            task.fit(task.build_plan(uniform(task.layout)), epochs=self.config.epochs)
        task.diagnose("width", self.config.width)
        return uniform(task.layout, self.config.width)
'''

Make = Callable[..., Unit]


@pytest.fixture(scope="session")
def reference() -> DataRef:
    """A small planted data set, by its registered name."""
    source = resolve_dataset("planted", {"train": 1500, "valid": 400, "test": 400})
    return DataRef("planted", source.source_fingerprint(None), plain(source.config))


@pytest.fixture(scope="session")
def planted(reference: DataRef) -> Dataset:
    return resolve_dataset("planted", reference.config).prepare(None)


@pytest.fixture(scope="session")
def make(reference: DataRef) -> Make:
    def unit(
        method: str,
        ratio: float | None = None,
        seeds: Seeds | int = 0,
        overrides: dict[str, Any] | None = None,
        **protocol: Any,
    ) -> Unit:
        task = Task(reference, "deepfm", tiny_protocol(batch_norm=False, **protocol))
        own = seeds if isinstance(seeds, Seeds) else Seeds.of(seeds)
        return Unit(task, resolve_method(method, overrides), own, ratio)

    return unit


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, make: Make) -> tuple[Path, dict[str, Any]]:
    """A store's folder in which `fixed` ran, and its record."""
    root = tmp_path_factory.mktemp("store")
    return root, ok(run_unit(make("fixed"), root))


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    return f"{path}:Mine"


def ok(record: dict[str, Any]) -> dict[str, Any]:
    assert record["status"] == "ok", record.get("traceback")
    return record


def computed(record: dict[str, Any]) -> list[str]:
    return [use["kind"] for use in record["stages"] if not use["reused"]]


def key_of(record: dict[str, Any], kind: str) -> list[str]:
    return [use["key"] for use in record["stages"] if use["kind"] == kind]


# Stages are shared.


def test_everything_is_found_the_second_time(shared: tuple[Path, dict[str, Any]], make: Make) -> None:
    root, first = shared
    assert computed(first) == ["prepare", "search", "derive", "train", "test"]
    again = ok(run_unit(make("fixed"), root))
    assert computed(again) == [] and len(again["stages"]) == 5
    times = ("started", "stages")
    assert {k: v for k, v in again.items() if k not in times} == {
        k: v for k, v in first.items() if k not in times
    }


def test_another_size_repeats_no_search(tmp_path: Path, make: Make) -> None:
    first = ok(run_unit(make("magnitude", 0.5), tmp_path))
    other = ok(run_unit(make("magnitude", 0.25), tmp_path))
    assert computed(other) == ["derive", "train", "test"]
    assert key_of(first, "search") == key_of(other, "search")
    assert other["search_trainings"] == first["search_trainings"] > 0
    assert other["ledger"]["embedding_bytes"] < first["ledger"]["embedding_bytes"]


def test_a_derive_setting_repeats_no_search(tmp_path: Path, make: Make, mine: str) -> None:
    ok(run_unit(make(mine), tmp_path))
    wider = ok(run_unit(make(mine, overrides={"width": 3}), tmp_path))
    assert computed(wider) == ["derive", "train", "test"]
    searched = ok(run_unit(make(mine, overrides={"learned": 2.0}), tmp_path))
    assert computed(searched) == ["search", "derive"]  # the same plan in the end: nothing to train


def test_what_derive_trains_is_charged_once(tmp_path: Path, make: Make, mine: str) -> None:
    plain_one = ok(run_unit(make(mine), tmp_path))
    one = ok(run_unit(make(mine, overrides={"epochs": 1}), tmp_path))
    two = ok(run_unit(make(mine, overrides={"epochs": 2}), tmp_path))
    assert plain_one["search_trainings"] == 0 < one["search_trainings"]
    assert two["search_trainings"] == pytest.approx(2 * one["search_trainings"])
    again = ok(run_unit(make(mine, overrides={"epochs": 2}), tmp_path))
    assert again["search_trainings"] == two["search_trainings"]


def test_the_uniform_model_is_trained_once(shared: tuple[Path, dict[str, Any]], make: Make) -> None:
    root, fixed = shared
    record = ok(run_unit(make("magnitude", 0.5), root))
    (uniform_key,) = key_of(fixed, "train")
    assert uniform_key in key_of(record, "train") and computed(record).count("train") == 1
    assert record["search_trainings"] > 0  # the search is charged all the same
    assert record["search_seconds"] > 0.5 * fixed["retrain_seconds"]
    other = ok(run_unit(make("magnitude", 0.5, seeds=1), root))
    assert uniform_key not in key_of(other, "train") and computed(other).count("train") == 2


def test_a_shared_stage_changes_no_result(
    tmp_path: Path, shared: tuple[Path, dict[str, Any]], make: Make
) -> None:
    one, other = (ok(run_unit(make("magnitude", 0.5), root)) for root in (shared[0], tmp_path))
    assert one["predictions_sha256"] == other["predictions_sha256"]
    assert one["plan"]["digest"] == other["plan"]["digest"] and one["scores"] == other["scores"]


def test_each_stage_depends_on_its_own_seed(tmp_path: Path, make: Make) -> None:
    base = Seeds(split=0, init=1, search=2, order=3)
    ok(run_unit(make("random", 0.5, base), tmp_path))
    for changed in ({"init": 9}, {"order": 9}):
        assert computed(ok(run_unit(make("random", 0.5, replace(base, **changed)), tmp_path))) == [
            "train",
            "test",
        ]
    searched = ok(run_unit(make("random", 0.5, replace(base, search=9)), tmp_path))
    assert computed(searched) == ["search", "derive", "train", "test"]


def test_a_protocol_of_its_own_trains_anew(shared: tuple[Path, dict[str, Any]], make: Make) -> None:
    record = ok(run_unit(make("fixed", lr=0.02), shared[0]))
    assert computed(record) == ["search", "derive", "train", "test"]


# Failure.


@pytest.mark.parametrize("where", ["search", "derive"])
def test_a_failing_unit_is_a_record_and_stops_nobody(
    tmp_path: Path, make: Make, mine: str, where: str
) -> None:
    failed = run_unit(make(mine, overrides={"fail": where}), tmp_path)
    assert failed["status"] == "failed" and failed["error"] == f"ValueError: boom in {where}"
    assert f'raise ValueError("boom in {where}")' in failed["traceback"] and "mine.py" in failed["traceback"]
    assert "scores" not in failed and where not in [use["kind"] for use in failed["stages"]]
    good = ok(run_unit(make(mine), tmp_path))
    store = Store(tmp_path).create()
    for record in (failed, good):
        store.add(record)
    assert not store.done(failed["key"]) and store.done(good["key"])
    assert store.frame()["status"].tolist().count("failed") == 1


def test_a_plan_that_does_not_fit_fails_its_unit(tmp_path: Path, make: Make) -> None:
    failed = run_unit(make("random", 1e-6), tmp_path)
    assert failed["error"].startswith("PlanError: no field fits")


def test_scores_that_are_not_finite_fail_the_unit(tmp_path: Path, make: Make) -> None:
    failed = run_unit(make("fixed", lr=1e30), tmp_path)
    assert failed["status"] == "failed" and "lower the learning rate" in failed["error"]


# The record.


def test_a_record_holds_what_reports_need(shared: tuple[Path, dict[str, Any]], planted: Dataset) -> None:
    root, record = shared
    assert record["fingerprint"] == planted.fingerprint and record["method"] == "fixed"
    assert 0.5 < record["scores"]["test_auc"] < 1 and record["scores"]["expected_auc"] is not None
    ledger = record["ledger"]
    assert ledger["embedding_ratio"] == 1 and ledger["total_bytes"] > ledger["embedding_bytes"]
    assert sum(item["bytes"] for item in ledger["items"]) == ledger["total_bytes"]
    assert set(ledger["latency_seconds"]) == {"1", "256"} and ledger["flops_per_row"] > 0
    assert record["plan"]["widths"] == {f.name: 4.0 for f in planted.fields}
    assert (root / record["plan"]["folder"] / "plan.json").is_file()
    assert record["environment"]["threads"] == 1 and record["environment"]["packages"]["torch"]
    assert len(record["history"]["retrain"][0]) == 2 and record["test_opened"]["times"] == 1
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_scores_come_from_the_saved_predictions(
    shared: tuple[Path, dict[str, Any]], planted: Dataset
) -> None:
    root, record = shared
    predictions = load_file(root / record["predictions"])
    assert score(predictions, planted) == record["scores"]
    turned = {k: -v for k, v in predictions.items()}
    assert score(turned, planted)["test_auc"] == pytest.approx(1 - record["scores"]["test_auc"])


def test_scores_need_no_model(tmp_path: Path, make: Make) -> None:
    first = ok(run_unit(make("fixed"), tmp_path))
    for path in (tmp_path / "stages" / "train").rglob("model.safetensors"):
        path.unlink()
    assert ok(run_unit(make("fixed"), tmp_path))["scores"] == first["scores"]


def test_predictions_that_were_changed_are_found(tmp_path: Path, make: Make) -> None:
    first = ok(run_unit(make("fixed"), tmp_path))
    path = tmp_path / first["predictions"]
    predictions = load_file(path)
    save_file({**predictions, "test": predictions["test"] + 1}, path)
    again = run_unit(make("fixed"), tmp_path)
    assert again["status"] == "failed" and "were changed" in again["error"]


def test_expected_scores_are_none_where_the_truth_is_unknown(tiny: Dataset) -> None:
    found = score({n: tiny.split(n).labels - 0.5 for n in ("valid", "test")}, tiny)
    assert found["expected_auc"] is None is found["expected_logloss"] and found["test_auc"] == 1


@pytest.mark.parametrize(
    ("method", "ratio", "overrides"),
    [("fixed", None, None), ("random", 0.5, None), ("magnitude", 1, None), ("ihas/paper", None, None)]
    + [("fixed", None, {"width": 2}), ("mine", None, {"learned": 3})],
)
def test_a_unit_can_be_made_again_from_its_record(
    make: Make, mine: str, method: str, ratio: float | None, overrides: dict[str, Any] | None
) -> None:
    unit = make(mine if method == "mine" else method, ratio, Seeds(1, 2, 3, 4), overrides)
    written = json.loads(json.dumps(unit.describe(), allow_nan=False))
    again = read_unit(written)
    assert again.key == unit.key and again.label == unit.label
    assert again.method.config == unit.method.config and again.task == unit.task and again.seeds == unit.seeds


def test_a_record_names_its_unit(shared: tuple[Path, dict[str, Any]], make: Make) -> None:
    record = shared[1]
    assert read_unit(record["unit"]).key == record["key"] == make("fixed").key


def test_a_changed_method_is_another_unit(make: Make, mine: str) -> None:
    unit = make(mine)
    path = Path(mine.rpartition(":")[0])
    path.write_text(METHOD + "\n# changed\n")
    assert make(mine).key != unit.key
    assert read_unit(unit.describe()).key != unit.key


def test_keys_differ_where_units_do(make: Make) -> None:
    units = [make("fixed"), make("fixed", 0.5), make("fixed", seeds=1), make("fixed", overrides={"width": 2})]
    units += [make("random"), make("fixed", lr=0.5), replace(make("fixed"), trainings=1.0)]
    units += [make("fixed", seeds=Seeds(split=1)), make("fixed", seeds=Seeds(order=1))]
    assert len({unit.key for unit in units}) == len(units)


def test_a_whole_number_is_the_same_budget(make: Make) -> None:
    one, other = make("random", 1), make("random", 1.0)
    assert one.key == other.key
    assert replace(one, trainings=2).key == replace(one, trainings=2.0).key


@pytest.mark.parametrize("value", [0, -0.5, math.nan, math.inf])
def test_budgets_that_make_no_sense_are_refused(make: Make, value: float) -> None:
    with pytest.raises(ConfigError, match="plan budget .* must be"):
        make("random", value)
    with pytest.raises(ConfigError, match="search budget .* must be"):
        replace(make("random"), trainings=value)


def test_labels() -> None:
    assert [label("m", r) for r in (None, 1.0, 0.5, 0.2, 0.01, 1 / 3, 0.3)] == [
        "m", "m @ 1", "m @ 1/2", "m @ 1/5", "m @ 1/100", "m @ 1/3", "m @ 0.3",
    ]  # fmt: skip


def test_diagnostics_of_any_kind_are_kept(tmp_path: Path, make: Make, mine: str) -> None:
    record = ok(run_unit(make(mine), tmp_path))
    found = record["diagnostics"]["search"]
    assert (found["scalar"], found["count"], found["list"]) == (0.5, 3, [1.5, 2.5])
    assert record["diagnostics"]["derive"] == {"width": 2}
    (folder,) = (tmp_path / "stages" / "search").iterdir()
    arrays = load_file(folder / "diagnostics.safetensors")
    assert arrays["tensor"].shape == (2, 3) and arrays["array"].tolist() == [0, 1, 2, 3]
    store = Store(tmp_path).create()
    store.add(record)
    kept = store.get(record["key"])
    assert kept["diagnostics"]["search"]["nan"] is None and kept["history"]["search"][0]["auc"] is None


# The seal.


def test_the_seal_opens_once(tiny: Dataset) -> None:
    seal = Seal(tiny)
    assert len(seal.open()) == len(tiny.split("test"))
    with pytest.raises(SealedError, match="opened before"):
        seal.open()


def test_the_test_split_is_read_after_the_last_training(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    split = Dataset.split

    def spy(self: Dataset, name: str) -> Split:
        read.append(name)
        return split(self, name)

    monkeypatch.setattr(Dataset, "split", spy)
    fitted = module.fit

    def fit(*args: Any, **options: Any) -> Any:
        assert "test" not in read
        read.append("training")
        return fitted(*args, **options)

    monkeypatch.setattr(module, "fit", fit)
    unit, pipeline = make("magnitude", 0.5), Pipeline(Stages(tmp_path))
    data = pipeline.prepare(unit.task.data)
    read.clear()
    plan, _, _ = pipeline.derive(unit, data)
    pipeline.train(plan, unit.task, data, unit.seeds)
    assert "test" not in read and read.count("training") == 2
    pipeline.test(plan, unit, data)
    assert read.count("test") == 1


def test_retraining_works_on_sealed_data(tiny: Dataset) -> None:
    layout = Layout(tiny.fields, 4)
    task = Task(DataRef("tiny", "generated"), "dnn", tiny_protocol())
    forbidden = copy.copy(tiny)
    forbidden._splits = {k: v for k, v in tiny._splits.items() if k != "test"}
    model, results = retrain(uniform(layout), task, forbidden, Seeds())
    assert len(results) == 1 and np.isfinite(predict(model, tiny.split("valid"))).all()


# Retraining recipes and clusters.


def clusters(layout: Layout, far: bool = False) -> Clustered:
    with seeded(0):
        router = GateRouter(replace(layout, std=1.0), 2, which="embedding")
        router.directions.normal_()
        if far:
            router.offsets[1] = -1e9
    return Clustered(router=router, plans=(uniform(layout), uniform(layout, 2)))


def test_each_cluster_trains_on_its_own_rows(tiny: Dataset) -> None:
    task, layout = (
        Task(DataRef("tiny", "generated"), "dnn", tiny_protocol(patience=0)),
        Layout(tiny.fields, 4),
    )
    plan = clusters(layout)
    model, results = retrain(plan, task, tiny, Seeds())
    sizes = np.bincount(module.assign(plan.router, tiny.split("train")))
    assert [r.rows_seen for r in results] == [2 * int(n) for n in sizes] and sizes.min() > 0
    fresh = build_planned(plan, task, tiny, 0)
    for name, value in model.router.state_dict().items():  # the router is no part of the retraining
        assert torch.equal(value, fresh.router.state_dict()[name])


def test_a_cluster_without_rows_is_an_error(tiny: Dataset) -> None:
    task, layout = Task(DataRef("tiny", "generated"), "dnn", tiny_protocol()), Layout(tiny.fields, 4)
    with pytest.raises(PlanError, match="cluster 1 has 0 training rows; use fewer clusters"):
        retrain(clusters(layout, far=True), task, tiny, Seeds())


def test_recipe_none_serves_the_weights_as_they_are(tiny: Dataset) -> None:
    task, plan = Task(DataRef("tiny", "generated"), "dnn", tiny_protocol()), uniform(Layout(tiny.fields, 4))
    trained, _ = retrain(plan, task, tiny, Seeds(init=5))
    served = replace(plan, recipe="none", weights=trained.state_dict())
    model, results = retrain(served, task, tiny, Seeds(init=6))
    assert results == [] and not model.training
    assert np.array_equal(predict(model, tiny.split("valid")), predict(trained, tiny.split("valid")))


def test_values_per_lookup_by_hand(multivalued: Dataset) -> None:
    layout = Layout(multivalued.fields, 4)  # five fields of one column, one of three
    soft = Soft(
        candidates=(2, 4), probabilities=np.array([[0.5, 0.5]]), group_of_row=np.zeros(layout.rows, int)
    )
    cases: list[tuple[EmbeddingPlan, float]] = [
        (uniform(layout), 8 * 4),
        (FieldDims(dims=(4, 0, 0, 0, 0, 1)), 4 + 3),
        (ColumnMask(mask=np.tile([True, False, False, True], (6, 1))), 8 * 2),
        (soft, 8 * 6),
    ]
    for plan, values in cases:
        assert values_per_lookup(plan, layout) == values


def test_values_per_lookup_of_clusters_include_the_router(layout: Layout) -> None:
    assert values_per_lookup(clusters(layout), layout) == 5 * 3 + 5 * 4


def test_latencies_are_of_batches_that_the_split_can_fill(tiny: Dataset) -> None:
    task = Task(DataRef("tiny", "generated"), "dnn", tiny_protocol())
    model = build_planned(uniform(Layout(tiny.fields, 4)), task, tiny, 0).eval()
    found = latencies(model, tiny.split("valid"), "cpu")
    assert list(found) == ["1"] and 0 < found["1"] < 1


def test_unknown_backbones_name_the_nearest() -> None:
    assert check_backbone("dnn") == "dnn"
    with pytest.raises(ConfigError, match="unknown backbone 'deepfn'; did you mean 'deepfm'"):
        check_backbone("deepfn")


def test_labels_of_data_sets_name_what_was_changed(reference: DataRef) -> None:
    assert reference.label.startswith("planted (train=1500, valid=400")
    default = resolve_dataset("planted")
    assert DataRef("planted", "x", plain(default.config)).label == "planted"


def test_prepared_data_are_keyed_by_source_and_settings(reference: DataRef) -> None:
    other = replace(reference, source="elsewhere"), replace(reference, config={**reference.config, "seed": 1})
    assert len({reference.key, *(r.key for r in other)}) == 3


def test_methods_see_no_planted_answer(planted: Dataset, make: Make, tmp_path: Path) -> None:
    assert planted.split("train").probabilities is not None
    task, _, _ = Pipeline(Stages(tmp_path)).search(make("random"), planted)
    assert isinstance(task, SearchTask) and not hasattr(task, "truth")
    assert task.train.probabilities is None is task.train.groups


def test_stage_uses_are_json_able(tmp_path: Path, make: Make) -> None:
    pipeline = Pipeline(Stages(tmp_path))
    pipeline.prepare(make("fixed").task.data)
    json.dumps([asdict(use) for use in pipeline.stages.used])
    assert issubclass(PlanError, NasbenchError)
