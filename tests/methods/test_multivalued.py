"""Every method on a data set with a padded multi-valued field: what depends on how ids become rows."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from nasbench_rec.data import Dataset
from nasbench_rec.registry import method_names
from nasbench_rec.testing import SearcherContract, tiny_dataset

CHECKS = (
    "test_plan_is_valid",
    "test_plan_budget_is_respected",
    "test_masked_entries_stay_zero",
    "test_ledger_is_true_to_the_byte",
    "test_export_gives_the_same_output",
)
SHORTER: dict[str, dict[str, Any]] = {"optembed": {"generations": 2, "population": 5}}
"""Settings of methods that would take long."""


@cache
def _contract(method: str) -> SearcherContract:
    class Multivalued(SearcherContract):
        spec, overrides = method, SHORTER.get(method, {})

        @classmethod
        def data(cls) -> Dataset:
            return tiny_dataset(multivalued=True)

    return Multivalued()


@pytest.mark.parametrize("check", CHECKS, ids=lambda name: name.removeprefix("test_"))
@pytest.mark.parametrize("method", method_names())
def test_method_on_a_multi_valued_field(method: str, check: str) -> None:
    getattr(_contract(method), check)()
