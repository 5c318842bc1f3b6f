"""A unit on validation data: what it refuses, and that the test split stays sealed."""

from __future__ import annotations

import numpy as np
import pytest
from nasbench_rec.studies.leaderboard import Leaderboard

from nasbench_rec import pipeline
from nasbench_rec.errors import DataError
from nasbench_rec.unit import Unit
from nasbench_rec.validation import NUMBERS, validate_unit

TINY = {
    "planted": {"train": 1500, "valid": 300, "test": 400},
    "protocol": {"epochs": 2, "batch_size": 256, "hidden": [8]},
}


def unit() -> Unit:
    return Leaderboard(seeds=1, settings=TINY).units(None)[0]


def test_an_outcome_holds_every_number_that_a_study_can_ask_for(tmp_path):
    found = validate_unit(unit(), tmp_path)
    assert all(isinstance(found[name], (int, float)) for name in NUMBERS)
    assert not [name for name in found if "test" in name]
    assert not (tmp_path / "stages" / "test").exists()


def test_predictions_that_are_no_numbers_are_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "predict", lambda model, split, device: np.full(len(split), np.nan))
    with pytest.raises(DataError, match="score nan: the model diverged"):
        validate_unit(unit(), tmp_path)
    assert not list((tmp_path / "stages" / "valid").glob("[!.]*")), "no stage is kept of it"
