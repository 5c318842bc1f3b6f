"""The base rate: its logloss is the entropy of the labels, its AUC a half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from nasbench_rec import metrics
from nasbench_rec.errors import PlanError
from nasbench_rec.training import predict


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
