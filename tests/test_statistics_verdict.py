"""Verdicts: the rule case by case, and over 1,000 claims whose truth is known the shares that theory gives."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import (
    Equivalence,
    PairedDifference,
    VerdictShares,
    equivalence,
    equivalence_shares,
    equivalence_verdict,
    noninferiority,
    paired_difference,
    paired_test,
    seeds_needed,
    verdict,
    verdict_shares,
)

pytestmark = pytest.mark.filterwarnings("error")
CLAIMS = 1000


def interval(low, high, n=10, mean=None):
    """The t interval with these bounds, and the standard deviation that goes with it."""
    sd = (high - low) / 2 / stats.t.ppf(0.975, n - 1) * math.sqrt(n)
    return PairedDifference((low + high) / 2 if mean is None else mean, low, high, n, "t", sd)


@pytest.mark.parametrize(
    ("low", "high", "smallest", "outcome"),
    [
        (0.001, 0.003, 0.001, "supported"),
        (0.001, 0.003, 0.002, "supported"),  # the mean is just the smallest of interest
        (0.001, 0.003, 0.0, "supported"),
        (0.001, 0.003, 0.0025, "inconclusive"),  # there is an effect, but is it large enough?
        (0.001, 0.003, 0.003, "inconclusive"),  # the bound itself is not excluded
        (0.001, 0.003, 0.0031, "refuted"),  # there is one, and it is too small
        (-0.001, 0.003, 0.001, "inconclusive"),
        (0.0, 0.004, 0.001, "inconclusive"),  # zero itself is not excluded
        (-0.001, 0.0005, 0.001, "refuted"),
        (-0.003, -0.001, 0.001, "refuted"),
        (-0.003, -0.001, 0.0, "refuted"),
        (-0.003, 0.0, 0.0, "inconclusive"),
    ],
)
def test_the_rule(low, high, smallest, outcome):
    found = verdict(interval(low, high), "greater", smallest)
    assert found.outcome == outcome, found.reason
    assert (found.low, found.high, found.effect) == (low, high, pytest.approx((low + high) / 2))
    assert (found.seeds is None) or outcome == "inconclusive"


@pytest.mark.parametrize("sd", [1e-311, 5e-324])
def test_a_spread_near_the_smallest_number_is_as_good_as_none(sd):
    assert verdict_shares(0.5, sd, 6, 0.1) == verdict_shares(0.5, 0.0, 6, 0.1) == VerdictShares(1.0, 0.0, 0.0)


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.integers(2, 30))
def test_sides_mirror_each_other(mean, half, smallest, n):
    found = interval(mean - half, mean + half, n)
    mirrored = replace(found, mean=-found.mean, low=-found.high, high=-found.low)
    assert verdict(found, "greater", smallest, 0.5) == verdict(mirrored, "less", smallest, 0.5)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_smallest_effect_never_makes_a_claim_truer(mean, half, one, two):
    order = ("refuted", "inconclusive", "supported")
    small, large = (
        order.index(verdict(interval(mean - half, mean + half), "greater", s).outcome)
        for s in sorted((one, two))
    )
    assert small >= large


def test_it_says_whether_the_claimed_size_lies_in_the_interval():
    found = interval(0.001, 0.003)
    assert verdict(found, "greater", 0.0005, claimed=0.0025).claimed_within is True
    assert verdict(found, "greater", 0.0005, claimed=0.01).claimed_within is False
    assert verdict(found, "greater", 0.0005).claimed_within is None
    less = replace(found, mean=-0.002, low=-0.003, high=-0.001)
    assert verdict(less, "less", 0.0005, claimed=0.0025).claimed_within is True


def test_fewer_than_six_pairs_decide_nothing():
    found = verdict(interval(0.001, 0.003, n=5), "greater", 0.001)
    assert (found.outcome, found.reason) == ("inconclusive", "5 pairs, fewer than 6")
    assert found.seeds == 6  # so clear a difference would need no more
    assert verdict(interval(0.001, 0.003, n=5), "greater", 0.001, least=2).outcome == "supported"


@pytest.mark.parametrize("n", [0, 1])
def test_without_an_interval_nothing_is_known(n):
    found = verdict(paired_difference([0.1] * n, [0.0] * n), "greater", 0.01, claimed=0.1)
    assert (found.outcome, found.seeds, found.seeds_if_claimed) == ("inconclusive", None, None)
    assert found.claimed_within is None


def test_a_level_that_so_few_pairs_cannot_have_decides_nothing():
    ten = paired_difference(np.arange(1.0, 8), np.zeros(7), level=0.99, interval="sign-flip")
    found = verdict(ten, "greater", 0.1)
    assert (found.outcome, found.reason) == ("inconclusive", "7 pairs have no interval of this level")
    assert found.seeds > 7


@pytest.mark.parametrize(
    ("shift", "smallest", "outcome"),
    [(0.01, 0.001, "supported"), (0.01, 0.02, "refuted"), (0.0, 0.001, "refuted"), (-0.01, 0.0, "refuted")],
)
def test_differences_that_are_all_equal_are_what_they_are(shift, smallest, outcome):
    a = np.linspace(0.7, 0.8, 10)
    assert verdict(paired_difference(a + shift, a), "greater", smallest).outcome == outcome


def test_no_difference_at_all_neither_supports_nor_refutes_any_effect():
    found = verdict(paired_difference(np.ones(10), np.ones(10)), "greater", 0.0)
    assert (found.outcome, found.seeds) == ("inconclusive", None)


def test_a_corrected_p_can_only_withhold_support():
    clear = interval(0.001, 0.003)
    assert verdict(clear, "greater", 0.001, p=0.05).outcome == "supported"
    held = verdict(clear, "greater", 0.001, p=0.2)
    assert held.outcome == "inconclusive" and "0.2" in held.reason
    assert verdict(interval(-0.003, -0.001), "greater", 0.001, p=0.9).outcome == "refuted"


def test_seeds_are_more_than_were_run():
    clear = interval(0.001, 0.003)
    held = verdict(clear, "greater", 0.001, claimed=0.002, p=0.2)
    assert (held.seeds, held.seeds_if_claimed) == (11, seeds_needed(0.002, clear.sd).n)
    crossing = equivalence_verdict(replace(EQUAL, low=-0.0006, sd=1e-5))
    assert (crossing.seeds, crossing.seeds_if_claimed) == (11, 6)


@pytest.mark.parametrize(
    "wrong", [{"smallest": -0.1}, {"smallest": math.nan}, {"claimed": -1}, {"p": 2}, {"side": "higher"}]
)
def test_sizes_are_distances(wrong):
    with pytest.raises(DataError):
        verdict(interval(0, 1), **{"side": "greater", "smallest": 0.1, **wrong})


def test_seeds_are_those_that_would_decide():
    """A mean of .5 sd, zero and the smallest effect in the interval."""
    found = PairedDifference(0.5, -0.2, 1.2, 10, "t", 1.0)
    said = verdict(found, "greater", 0.2, claimed=1.0)
    assert said.outcome == "inconclusive"
    assert verdict_shares(0.5, 1.0, said.seeds, 0.2).supported >= 0.8
    assert verdict_shares(0.5, 1.0, said.seeds - 1, 0.2).supported < 0.8
    assert said.seeds == seeds_needed(0.5, 1.0).n  # .2 is so far below .5 that zero is the harder bar
    assert said.seeds_if_claimed == seeds_needed(1.0, 1.0).n == 10
    below = verdict(replace(found, mean=0.1), "greater", 0.3)
    assert below.seeds == pytest.approx(seeds_needed(0.2, 1.0).n, abs=1)  # to refute .3 where .1 is true
    assert verdict(replace(found, mean=0.2), "greater", 0.2).seeds is None


def t_interval(x):
    return paired_difference(x, np.zeros(len(x)), interval="t")


SETTINGS = [
    # true effect and smallest of interest in units of sd, seeds
    (0.0, 0.5, 10),
    (0.5, 0.0, 10),
    (0.5, 0.5, 10),
    (1.0, 0.5, 10),
    (0.8, 0.3, 20),
    (-0.4, 0.3, 10),
    (0.2, 1.0, 6),
]


@pytest.mark.parametrize(("effect", "smallest", "n"), SETTINGS)
def test_verdicts_come_as_often_as_theory_says(effect, smallest, n):
    rng = np.random.default_rng(int(100 * (effect + 10)))
    samples = rng.normal(0.001 * effect, 0.001, (CLAIMS, n))
    counts = Counter(verdict(t_interval(x), "greater", 0.001 * smallest).outcome for x in samples)
    theory = verdict_shares(0.001 * effect, 0.001, n, 0.001 * smallest)
    for outcome in ("supported", "refuted", "inconclusive"):
        share = getattr(theory, outcome)
        assert counts[outcome] / CLAIMS == pytest.approx(
            share, abs=4 * math.sqrt(max(share * (1 - share), 1e-3) / CLAIMS)
        )


NULLS = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "one seed in five fails": lambda rng, n: rng.normal(0, 1, n) * np.where(rng.random(n) < 0.2, 10, 1),
}


@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("kind", NULLS)
def test_false_support_is_at_most_the_stated_level(kind, n):
    """No effect, and the least demanding claim (any effect counts): 2.5 % on the claimed side."""
    rng = np.random.default_rng(n)
    found = Counter()
    for _ in range(CLAIMS):
        x = NULLS[kind](rng, n)
        found[verdict(paired_difference(x, np.zeros(n), interval="sign-flip"), "greater", 0.0).outcome] += 1
    most = 0.025 + 3 * math.sqrt(0.025 * 0.975 / CLAIMS)
    assert found["supported"] / CLAIMS <= most and found["refuted"] / CLAIMS <= most


def test_the_p_of_the_exact_test_holds_a_short_interval_to_its_level():
    """BCa intervals of six differences support a false claim in about 7 % instead of 2.5 %."""
    rng, found = np.random.default_rng(3), Counter()
    for _ in range(400):
        x = rng.normal(0, 1, 6)
        p = paired_test(x, np.zeros(6)).p
        bca = paired_difference(x, np.zeros(6), interval="BCa")
        found["alone"] += verdict(bca, "greater", 0.0).outcome == "supported"
        found["with p"] += verdict(bca, "greater", 0.0, p=p).outcome == "supported"
    assert (
        found["with p"] / 400 <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 400)
        and found["with p"] < found["alone"]
    )


EQUAL = Equivalence(0.0001, -0.0002, 0.0004, 0.0005, 10, -0.0005, 0.0005, 0.01, 0.05)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-0.0002, 0.0004, "supported"),
        (-0.0005, 0.0004, "inconclusive"),
        (-0.0002, 0.0006, "inconclusive"),
        (0.0005, 0.0009, "refuted"),
        (-0.002, -0.0006, "refuted"),
        (-0.002, 0.002, "inconclusive"),
    ],
)
def test_the_rule_of_equivalence(low, high, outcome):
    found = equivalence_verdict(replace(EQUAL, low=low, high=high))
    assert found.outcome == outcome
    assert (found.seeds_if_claimed is not None) == (outcome == "inconclusive")


def test_equivalence_needs_six_pairs_too():
    found = equivalence_verdict(replace(EQUAL, n=5))
    assert found.outcome == "inconclusive" and found.seeds >= 6
    assert equivalence_verdict(replace(EQUAL, n=5), least=2).outcome == "supported"


def test_seeds_for_equivalence_have_the_power():
    wide = replace(EQUAL, low=-0.001, high=0.0012)
    said = equivalence_verdict(wide)
    shares = [
        equivalence_shares(0.0, 0.0005, n, -0.0005, 0.0005)
        for n in (said.seeds_if_claimed - 1, said.seeds_if_claimed)
    ]
    assert shares[0].supported < 0.8 <= shares[1].supported
    assert said.seeds > said.seeds_if_claimed  # the mean seen is nearer to a margin than zero


@pytest.mark.parametrize("effect", [0.0, 0.5, 1.0, 2.0])
def test_verdicts_of_equivalence_come_as_often_as_theory_says(effect):
    samples = np.random.default_rng(5).normal(effect, 1, (CLAIMS, 12))
    counts = Counter(
        equivalence_verdict(equivalence(x, np.zeros(12), 1.0), least=2).outcome for x in samples[:300]
    )
    theory = equivalence_shares(effect, 1.0, 12, -1.0, 1.0)
    for outcome in ("supported", "refuted"):
        share = getattr(theory, outcome)
        assert counts[outcome] / 300 == pytest.approx(
            share, abs=4 * math.sqrt(max(share * (1 - share), 1e-3) / 300)
        )


def test_no_worse_is_a_verdict_too():
    x = np.array([0.2, -0.1, 0.3, 0.05, -0.2, 0.1, 0.15, -0.05])
    assert equivalence_verdict(noninferiority(x + 5, np.zeros(8), 0.3)).outcome == "supported"
    assert equivalence_verdict(noninferiority(x - 5, np.zeros(8), 0.3)).outcome == "refuted"
    assert equivalence_verdict(noninferiority(x, np.zeros(8), 0.01)).outcome == "inconclusive"
    above = equivalence_verdict(noninferiority(x + 5, np.zeros(8), 0.3)).reason
    below = equivalence_verdict(noninferiority(x - 5, np.zeros(8), 0.3, better="less")).reason
    assert above == "the interval lies above -0.3" and below == "the interval lies below 0.3"


def test_statistics_are_imported_without_their_libraries():
    code = "import sys, nasbench_rec.statistics; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert (
        set(done.stdout.split()) & {"torch", "pandas", "scipy", "sklearn", "statsmodels", "matplotlib"}
        == set()
    )
