"""The ensemble of uniform models: its first member is the uniform model, and k models cost k times as much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nasbench_rec.config import plain
from nasbench_rec.data import Dataset
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.pipeline import EnsembleModel, Pipeline, ledger_of, retrain, run_unit
from nasbench_rec.plans import Ensemble, uniform
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.searcher import PlanBudget, Searcher, SearchState
from nasbench_rec.seeds import Seeds
from nasbench_rec.serving import export_model
from nasbench_rec.stages import Stages
from nasbench_rec.testing import tiny_protocol
from nasbench_rec.training import ids_of, predict
from nasbench_rec.unit import DataRef, Task, Unit

SEEDS = Seeds(init=3, order=4)
TASK = Task(DataRef("tiny", "generated"), "deepfm", tiny_protocol())


@pytest.fixture
def trained(tiny: Dataset, layout: Layout) -> tuple[Ensemble, EnsembleModel]:
    plan = Ensemble(plans=(uniform(layout),) * 3)
    model, results = retrain(plan, TASK, tiny, SEEDS)
    assert isinstance(model, EnsembleModel) and len(results) == 3
    return plan, model.eval()


def test_member_0_is_the_uniform_model_and_no_other_member_is(tiny, layout, trained):
    alone, _ = retrain(uniform(layout), TASK, tiny, SEEDS)
    first, *others = trained[1].parts()
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in alone.state_dict().items())
    expected = predict(alone, tiny.split("valid"))
    members = [predict(other, tiny.split("valid")) for other in others]
    assert not np.allclose(members[0], expected) and not np.allclose(members[0], members[1])


def test_logits_are_the_mean_of_the_members(tiny, trained):
    ids = ids_of(tiny.split("valid"))
    with torch.no_grad():
        expected = sum(part(ids) for part in trained[1].parts()) / 3
    torch.testing.assert_close(torch.from_numpy(predict(trained[1], tiny.split("valid"))), expected)


def test_k_models_cost_k_times_as_much_and_are_exported(tiny, layout, trained):
    plan, model = trained
    one = uniform(layout)
    alone, _ = retrain(one, TASK, tiny, SEEDS)
    assert ledger_of(plan, model, layout).bytes() == 3 * ledger_of(one, alone, layout).bytes()
    exported = export_model(plan, model, layout)
    assert np.array_equal(predict(exported, tiny.split("valid")), predict(model, tiny.split("valid")))


def test_the_method_gives_as_many_models_of_a_width_as_asked_for(bench):
    own = bench("ensemble", settings={"members": 3, "width": 2})
    plan = own.derive()
    assert isinstance(plan, Ensemble) and [p.dims for p in plan.plans] == [(2,) * 14] * 3
    searcher: Searcher = resolve_method("ensemble").searcher()
    default = searcher.derive(own.task, SearchState(), PlanBudget(None))
    assert [p.dims for p in default.plans] == [(8,) * 14] * 2
    for settings in ({"members": 0}, {"width": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            resolve_method("ensemble", settings)


def test_a_unit_runs_from_end_to_end_and_its_stage_is_found_again(tmp_path: Path):
    """Two trainings, one record."""
    source = resolve_dataset("planted", {"train": 1500, "valid": 400, "test": 400})
    ref = DataRef("planted", source.source_fingerprint(None), plain(source.config))
    unit = Unit(Task(ref, "deepfm", tiny_protocol()), resolve_method("ensemble"), Seeds.of(0))
    record = run_unit(unit, tmp_path)
    assert record["status"] == "ok", record.get("traceback")
    assert len(record["history"]["retrain"]) == 2 and record["ledger"]["embedding_ratio"] == pytest.approx(2)
    assert record["ledger"]["values_per_lookup"] == 2 * 14 * 4
    pipeline = Pipeline(Stages(tmp_path / "stages"))
    data = pipeline.prepare(ref)
    plan, _, _ = pipeline.derive(unit, data)
    model = pipeline.load_model(plan, unit.task, data, unit.seeds)
    assert isinstance(model, EnsembleModel) and all(use.reused for use in pipeline.stages.used)
