"""The base rate: its logloss is the entropy of the labels, its AUC a half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nasbench_rec import metrics
from nasbench_rec.config import plain
from nasbench_rec.errors import PlanError
from nasbench_rec.pipeline import run_unit
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.seeds import Seeds
from nasbench_rec.testing import tiny_protocol
from nasbench_rec.training import predict
from nasbench_rec.unit import DataRef, Task, Unit


def test_it_predicts_the_base_rate_of_the_training_rows(bench: Callable[..., object]) -> None:
    b = bench("constant")
    plan, train = b.derive(), b.data.split("train")
    logits = predict(b.trained(plan), train)
    rate = train.labels.mean(dtype=np.float64)
    assert np.ptp(logits) == 0 and 1 / (1 + np.exp(-logits[0])) == pytest.approx(rate, rel=1e-5)
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert metrics.logloss(train.labels, logits) == pytest.approx(entropy, rel=1e-5)
    assert metrics.auc(train.labels, logits) == 0.5
    assert b.task.cost(plan).bytes() == 4 and b.task.budget.spent == 0


def test_one_label_has_no_finite_logit(bench: Callable[..., object]) -> None:
    b = bench("constant")
    b.task.train = replace(b.task.train, labels=np.ones_like(b.task.train.labels))
    with pytest.raises(PlanError, match="all training rows"):
        b.search()


def test_a_unit_of_it_runs_to_its_end(tmp_path: Path) -> None:
    source = resolve_dataset("planted", {"train": 1500, "valid": 400, "test": 400})
    ref = DataRef("planted", source.source_fingerprint(None), plain(source.config))
    record = run_unit(
        Unit(Task(ref, "dnn", tiny_protocol()), resolve_method("constant"), Seeds.of(0)), tmp_path
    )
    assert record["status"] == "ok", record["error"]
    assert record["scores"]["test_auc"] == 0.5 and record["ledger"]["total_bytes"] == 4
    assert record["ledger"]["flops_per_row"] == 0
