"""MDE: the closed form, its order, its budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasbench_rec.methods.mde import MDE, MDEConfig

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import FieldDims
from nasbench_rec.protocol import Protocol
from nasbench_rec.searcher import Budget, PlanBudget, SearchState, SearchTask

CARDINALITIES = [10, 40, 90, 1000, 20_000]
relaxed = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def task(data, dim: int = 16) -> SearchTask:
    def refuse(plan):
        raise AssertionError("MDE trains nothing")

    return SearchTask(data, "dnn", Protocol(dim=dim), MDE.info, (0, 0), Budget(1), refuse)


def widths(task: SearchTask, ratio: float | None = None, **config) -> list[int]:
    plan = MDE(MDEConfig(**config)).derive(task, SearchState(), PlanBudget(ratio))
    assert isinstance(plan, FieldDims)
    plan.check(task.layout)
    assert not plan.bias
    return list(plan.dims)


def size(task: SearchTask, dims: list[int]) -> int:
    return task.cost(FieldDims(dims=tuple(dims))).bytes(EMBEDDING_PARTS)


def test_widths_are_the_power_law(made_of):
    # d_f = 16 (10 / n_f)^alpha; at alpha = 1/2: 16, 8, 5.33, 1.6, .36 -> at least 1.
    assert widths(task(made_of(CARDINALITIES)), alpha=0.5) == [16, 8, 5, 2, 1]
    expected = [max(1, round(16 * (10 / n) ** 0.3)) for n in CARDINALITIES]
    assert widths(task(made_of(CARDINALITIES))) == expected


def test_reversed_sign_gives_large_fields_the_widest(made_of):
    expected = [max(1, round(16 * (n / 20_000) ** 0.3)) for n in CARDINALITIES]
    assert widths(task(made_of(CARDINALITIES)), sign="reversed") == expected


def test_widths_may_be_powers_of_two(made_of):
    # 16, 8, 5.33 -> 5 -> 4, 1.6 -> 2, 1.
    assert widths(task(made_of(CARDINALITIES)), alpha=0.5, pow2=True) == [16, 8, 4, 2, 1]


def test_small_fields_may_keep_the_base_width(made_of):
    assert widths(task(made_of(CARDINALITIES)), alpha=0.5, keep_small=90) == [16, 16, 16, 2, 1]


def test_alpha_zero_and_a_whole_budget_are_the_uniform_model(made_of):
    assert widths(task(made_of(CARDINALITIES)), alpha=0.0) == [16] * 5
    for sign in ("paper", "reversed"):
        assert widths(task(made_of(CARDINALITIES)), ratio=1.0, sign=sign) == [16] * 5


@relaxed
@given(
    st.lists(st.integers(1, 5000), min_size=2, max_size=8),
    st.floats(0, 1),
    st.sampled_from(["paper", "reversed"]),
    st.sampled_from([None, 0.2, 0.5, 0.9]),
)
def test_widths_are_monotone_in_the_cardinality(made_of, cardinalities, alpha, sign, ratio):
    t = task(made_of(cardinalities))
    try:
        found = widths(t, ratio, alpha=alpha, sign=sign)
    except PlanError:
        assert size(t, [1] * len(cardinalities)) > PlanBudget(ratio).bytes(t.layout)
        return
    ordered = [w for _, w in sorted(zip(cardinalities, found, strict=True))]
    assert ordered == sorted(ordered, reverse=sign == "paper")
    assert len(set(zip(cardinalities, found, strict=True))) == len(set(cardinalities))


@relaxed
@given(
    st.lists(st.integers(5, 5000), min_size=2, max_size=6), st.floats(0, 1), st.floats(0.1, 1), st.booleans()
)
def test_no_plan_of_the_power_law_is_nearer_below_the_budget(made_of, cardinalities, alpha, ratio, pow2):
    t = task(made_of(cardinalities), dim=8)
    limit = PlanBudget(ratio).bytes(t.layout)
    assert limit is not None
    best, method = 0, MDE(MDEConfig(alpha=alpha, pow2=pow2))
    shares = method._shares(t.layout.cardinalities)
    for scale in np.geomspace(0.4, 9 / shares.min(), 400):
        used = size(t, list(method._plan(t, shares, scale).dims))
        best = max(best, used if used <= limit else 0)
    if best == 0:
        return
    used = size(t, widths(t, ratio, alpha=alpha, pow2=pow2))
    assert best <= used <= limit


def test_a_budget_below_the_narrowest_plan_is_refused(made_of):
    with pytest.raises(PlanError, match="narrowest plan takes"):
        widths(task(made_of(CARDINALITIES)), ratio=0.01)


@pytest.mark.slow
def test_beats_random_widths_at_equal_cost_on_planted_data(bench):
    gains = []
    for seed in range(3):
        mde, random = bench("mde", seed, small=False), bench("random", seed, small=False)
        gains.append(mde.auc(mde.derive(ratio=0.5)) - random.auc(random.derive(ratio=0.5)))
    assert np.mean(gains) > 0.01
