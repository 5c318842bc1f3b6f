"""The contract suite over every registered method and preset, and over methods that break it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_rec.errors import NasbenchError
from nasbench_rec.registry import method_class, method_names
from nasbench_rec.testing import SearcherContract, check_method, contract, tiny_dataset

BROKEN = Path(__file__).parent / "broken_methods.py"
SPECIFIC = ("test_info_is_complete", "test_presets_can_be_built")
"""Checks that look at the class alone: presets need not repeat them."""
SHORTER = {"optembed": '{"generations": 2, "population": 5}'}
"""Settings of methods that would take long."""


def specs() -> list[str]:
    """Every registered method, and its presets; one that cannot be imported stays in and fails."""
    found = []
    for name in method_names():
        try:
            presets = method_class(name).presets
        except NasbenchError:
            presets = {}
        found += [name, *(f"{name}/{preset}" for preset in presets)]
    return found


def cases() -> list[tuple[str, str]]:
    return [(s, c) for s in specs() for c in SearcherContract.checks() if "/" not in s or c not in SPECIFIC]


@pytest.mark.parametrize(("spec", "check"), cases(), ids=lambda value: value.removeprefix("test_"))
def test_method_keeps_the_contract(spec: str, check: str) -> None:
    getattr(contract(spec, SHORTER.get(spec.split("/")[0], "{}"))(), check)()


def test_there_are_methods_and_checks() -> None:
    assert {"fixed", "random"} <= set(specs())
    assert len(SearcherContract.checks()) >= 14


class TestThirdParty(SearcherContract):
    """As a third party writes it."""

    spec = f"{BROKEN}:Good"


def test_a_good_method_passes_without_pytest() -> None:
    check_method(f"{BROKEN}:Good", {"width": 4})


@pytest.mark.parametrize(
    ("name", "check", "says"),
    [
        ("NoHelp", "settings_are_documented", "setting 'width' has no metadata"),
        ("TooDear", "plan_budget_is_respected", "the budget is"),
        ("NotExact", "plan_budget_is_respected", "the budget is"),
        ("NotWhole", "a_full_budget_is_the_uniform_model", "the widths are"),
        ("NotUniform", "a_full_budget_is_the_uniform_model", "not the uniform model"),
        ("ReadsTest", "only_declared_data_are_read", "the test split was read"),
        ("ReadsSearch", "only_declared_data_are_read", "it has no search split"),
        ("ReadsTrain", "only_declared_data_are_read", "the training split was read"),
        ("ReadsCounts", "only_declared_data_are_read", "the counts was read"),
        ("GlobalRandomness", "same_seed_gives_the_same_result", "another plan"),
        ("SecretlyStochastic", "seed_streams_are_separate", "stochastic=False"),
        ("KeepsState", "state_survives_saving", "found"),
        ("SearchesInDerive", "derive_is_apart_from_search", "stages ran as"),
        ("LeakyMask", "masked_entries_stay_zero", "masked entries reach the predictions"),
        ("Understates", "ledger_is_true_to_the_byte", "charges 4 bytes"),
        ("Undeclared", "plan_is_valid", "info.plans says"),
        ("Unsourced", "info_is_complete", "paper and year"),
    ],
)
def test_a_broken_promise_is_found(name: str, check: str, says: str) -> None:
    suite = contract(f"{BROKEN}:{name}")()
    with pytest.raises((AssertionError, AttributeError, NasbenchError), match=says):
        getattr(suite, f"test_{check}")()


def test_all_broken_promises_are_named_at_once() -> None:
    with pytest.raises(AssertionError, match="test_plan_budget_is_respected: AssertionError: ratio 0.5"):
        check_method(f"{BROKEN}:TooDear")


def test_tiny_data_can_be_learned_and_differ_by_seed() -> None:
    one, same, other = tiny_dataset(), tiny_dataset(), tiny_dataset(seed=1)
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert len({f.cardinality for f in one.fields}) == len(one.fields) >= 4
    assert all(0.4 < one.split(name).labels.mean() < 0.6 for name in ("train", "valid", "test"))
