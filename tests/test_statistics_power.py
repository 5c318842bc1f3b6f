"""Power, seeds needed and equivalence, against tables, statsmodels, scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import (
    MARGIN,
    equivalence,
    equivalence_shares,
    minimum_detectable,
    noninferiority,
    seeds_needed,
    seeds_to_decide,
    verdict_shares,
)

pytestmark = pytest.mark.filterwarnings("error")
ONE_SAMPLE = TTestPower()


@pytest.mark.parametrize(("dz", "n"), [(0.2, 199), (0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)])
def test_seeds_needed_as_g_power_gives_them(dz, n):
    """Two-sided, alpha .05, power .8, "difference between two dependent means" of G*Power 3."""
    found = seeds_needed(-dz * 0.002, 0.002)
    assert (found.n, found.effect) == (n, pytest.approx(dz * 0.002))
    assert found.power >= 0.8 > ONE_SAMPLE.power(dz, n - 1, 0.05)
    assert found.power == pytest.approx(ONE_SAMPLE.power(dz, n, 0.05))


@pytest.mark.parametrize("n", [2, 3, 6, 10, 50])
@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.9, 0.01)])
def test_minimum_detectable_has_the_power_it_promises(n, power, alpha):
    found = minimum_detectable(0.003, n, power, alpha)
    # By the noncentral F of the squared statistic; statsmodels gives NaN for two pairs.
    shift, critical = n * (found.effect / 0.003) ** 2, stats.f.ppf(1 - alpha, 1, n - 1)
    assert stats.ncf.sf(critical, 1, n - 1, shift) == pytest.approx(power, abs=1e-6)
    assert seeds_needed(found.effect * 1.0001, 0.003, power, alpha).n == n


def test_power_is_what_simulated_tests_find():
    design = minimum_detectable(1.0, 8)
    x = np.random.default_rng(0).normal(design.effect, 1, (4000, 8))
    assert np.mean(stats.ttest_1samp(x, 0, axis=1).pvalue <= 0.05) == pytest.approx(0.8, abs=0.02)


def test_without_spread_any_difference_is_seen_and_none_is_never():
    assert minimum_detectable(0.0, 3).effect == 0
    assert seeds_needed(1e-9, 0.0).n == 2
    assert seeds_needed(0.0, 0.0) is None and seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1e-6, 1.0) is None
    assert seeds_needed(1e6, 1.0).n == 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: seeds_needed(0.1, math.nan),
        lambda: seeds_needed(math.nan, 0.1),
        lambda: seeds_needed(0.1, -1.0),
        lambda: seeds_needed(0.1, 1.0, power=80),
        lambda: minimum_detectable(0.1, 1),
        lambda: minimum_detectable(0.1, 9, power=0.05),
        lambda: verdict_shares(0.1, 0.1, 1, 0.1),
        lambda: equivalence_shares(0.0, 0.1, 1, -0.1, 0.1),
    ],
)
def test_designs_that_make_no_sense_are_refused(call):
    with pytest.raises(DataError):
        call()


@pytest.mark.parametrize("n", [3, 6, 10, 40])
@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.5])
def test_shares_are_the_tails_of_the_t_distribution(n, ratio):
    """Without a smallest effect, supported and refuted are the two tails of the noncentral t."""
    found = verdict_shares(ratio * 0.01, 0.01, n, 0.0)
    critical, shift = stats.t.ppf(0.975, n - 1), ratio * math.sqrt(n)
    assert found.supported == pytest.approx(stats.nct.sf(critical, n - 1, shift), abs=2e-4)
    # scipy gives NaN for tails below 1e-15
    assert found.refuted == pytest.approx(np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift)), abs=2e-4)
    assert found.supported + found.refuted + found.inconclusive == pytest.approx(1)


def test_shares_are_tails_for_a_smallest_effect_too():
    """Refuted: the t statistic of "mean - smallest" is below -t(.975)."""
    found = verdict_shares(0.0, 1.0, 9, 1.2)
    assert found.refuted == pytest.approx(stats.nct.cdf(-stats.t.ppf(0.975, 8), 8, -3 * 1.2), abs=2e-4)


def test_an_effect_of_exactly_the_smallest_size_is_never_decided():
    assert verdict_shares(0.5, 1.0, 10_000, 0.5).supported == pytest.approx(0.5, abs=0.01)
    assert seeds_to_decide(lambda n: verdict_shares(0.5, 1.0, n, 0.5)) is None
    assert seeds_to_decide(lambda n: verdict_shares(0.0, 0.0, n, 0.0)) is None


@pytest.mark.parametrize(("effect", "smallest"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)])
def test_seeds_to_decide_are_those_of_the_t_test_where_that_decides(effect, smallest):
    n = seeds_to_decide(lambda n: verdict_shares(effect, 1.0, n, smallest))
    assert n == seeds_needed(1.0, 1.0).n == 10


def test_seeds_to_decide_wait_until_the_mean_is_far_enough_above_the_smallest():
    n = seeds_to_decide(lambda n: verdict_shares(1.0, 1.0, n, 0.9))
    assert n == pytest.approx((stats.norm.ppf(0.8) / 0.1) ** 2, rel=0.02)


DIFFERENCE = np.array([0.2, -0.1, 0.3, 0.05, -0.2, 0.1, 0.15, -0.05])


def test_equivalence_is_two_one_sided_tests():
    found = equivalence(DIFFERENCE + 5, np.full(8, 5.0), 0.3)
    lower = stats.ttest_1samp(DIFFERENCE, -0.3, alternative="greater").pvalue
    upper = stats.ttest_1samp(DIFFERENCE, 0.3, alternative="less").pvalue
    assert found.p == pytest.approx(max(lower, upper))
    interval = stats.ttest_1samp(DIFFERENCE, 0).confidence_interval(0.9)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high])
    assert found.within and not found.beyond
    assert found.sd == pytest.approx(DIFFERENCE.std(ddof=1))


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_lies_within_the_margins_exactly_where_both_tests_reject(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.uniform(-1, 1), 1, 9)
    for found in (
        equivalence(x, np.zeros(9), 0.8),
        noninferiority(x, np.zeros(9), 0.8),
        noninferiority(x, np.zeros(9), 0.8, better="less"),
    ):
        assert found.within == (found.p < 0.05)


def test_noninferiority_is_one_test_on_the_worse_side():
    zeros = np.zeros(8)
    auc, loss = noninferiority(DIFFERENCE, zeros, 0.1), noninferiority(-DIFFERENCE, zeros, 0.1, better="less")
    expected = stats.ttest_1samp(DIFFERENCE, -0.1, alternative="greater").pvalue
    assert auc.p == pytest.approx(expected) == pytest.approx(loss.p)
    assert (auc.lower, auc.upper, loss.lower, loss.upper) == (-0.1, math.inf, -math.inf, 0.1)


def test_much_better_is_no_worse_but_not_equivalent():
    better = DIFFERENCE + 3
    assert noninferiority(better, np.zeros(8), 0.1).within
    assert equivalence(better, np.zeros(8), 0.1).beyond


@pytest.mark.parametrize(("shift", "p", "within"), [(0.0, 0, True), (0.0004, 0, True), (0.001, 1, False)])
def test_equal_differences_are_compared_as_they_are(shift, p, within):
    a = np.linspace(0.7, 0.8, 10)
    found = equivalence(a + shift, a, MARGIN)
    assert (found.p, found.within, found.beyond, found.sd) == (p, within, not within, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equivalence([1.0, np.nan], [1, 1]), "pair 1"),
        (lambda: equivalence([1.0], [1]), "too few"),
        (lambda: equivalence([1.0, 2], [1, 1], margin=0), "margin"),
        (lambda: equivalence([1.0, 2], [1, 1], margin=math.inf), "margin"),
        (lambda: equivalence([1.0, 2], [1, 1], alpha=0.5), "below 0.5"),
        (lambda: noninferiority([1.0, 2], [1], margin=1), "one length"),
        (lambda: noninferiority([1.0, 2], [1, 1], better="higher"), "better side"),
    ],
)
def test_equivalence_refuses_what_it_cannot_test(call, message):
    with pytest.raises(DataError, match=message):
        call()


@pytest.mark.parametrize("effect", [0.0, 0.6, 1.0, 2.0])
def test_equivalence_shares_are_those_of_simulated_tests(effect):
    x = np.random.default_rng(1).normal(effect, 1, (4000, 12))
    half = stats.t.ppf(0.95, 11) * x.std(1, ddof=1) / math.sqrt(12)
    low, high = x.mean(1) - half, x.mean(1) + half
    found = equivalence_shares(effect, 1.0, 12, -1.0, 1.0)
    assert found.supported == pytest.approx(np.mean((low > -1) & (high < 1)), abs=0.025)
    assert found.refuted == pytest.approx(np.mean((low >= 1) | (high <= -1)), abs=0.025)
    if effect == 1.0:
        assert found.supported == pytest.approx(0.05, abs=2e-3)


def test_noninferiority_has_the_power_of_a_one_sided_test():
    found = equivalence_shares(0.0, 1.0, 10, -0.9, math.inf)
    assert found.supported == pytest.approx(ONE_SAMPLE.power(0.9, 10, 0.05, alternative="larger"), abs=2e-4)
