"""Paired differences and tests, against hand calculations, enumeration and scipy."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import paired_difference, paired_test, rank_biserial

pytestmark = pytest.mark.filterwarnings("error")


def test_three_pairs_give_the_t_interval():
    found = paired_difference([0.81, 0.83, 0.82], [0.80, 0.80, 0.80])
    half = 4.302652729911275 * 0.01 / math.sqrt(3)  # t(.975, 2) times the standard error of .01, .03, .02
    assert (found.method, found.n) == ("t", 3)
    assert [found.mean, found.low, found.high] == pytest.approx([0.02, 0.02 - half, 0.02 + half])
    assert not found.excludes_zero


def test_level_is_the_coverage():
    narrow, wide = (paired_difference([1, 2, 4], [0, 0, 0], level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([2.5], 2.5)])
def test_under_two_pairs_there_is_no_interval(values, mean):
    found = paired_difference(values, np.zeros(len(values)))
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert (found.method, found.n, math.isnan(found.low), math.isnan(found.high)) == (
        "none",
        len(values),
        True,
        True,
    )
    assert not found.excludes_zero


@pytest.mark.parametrize("n", [2, 5, 6, 20])
@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_equal_differences_have_an_interval_without_width(n, shift):
    a = np.linspace(0.7, 0.8, n)
    found = paired_difference(a + shift, a)
    assert (found.method, found.low, found.high) == ("constant", found.mean, found.mean)
    assert found.mean == pytest.approx(shift)
    assert not found.excludes_zero


def test_pairs_without_a_value_are_left_out():
    found = paired_difference([1, np.nan, 3, 4, np.inf], [0, 0, np.nan, 0, 0])
    assert (found.n, found.mean) == (2, 2.5)


def test_six_pairs_give_the_bca_interval_of_scipy():
    difference = np.array([0.1, 0.4, 0.2, 0.9, 0.3, 0.35])
    found = paired_difference(difference, np.zeros(6), seed=3, interval="BCa")
    rng = np.random.default_rng(3)
    expected = stats.bootstrap(
        (difference,), np.mean, method="BCa", n_resamples=9_999, rng=rng
    ).confidence_interval
    assert (found.method, found.low, found.high) == ("BCa", expected.low, expected.high)
    assert found.excludes_zero
    assert found == paired_difference(difference, np.zeros(6), seed=3, interval="BCa")


def test_bca_gives_way_to_t_where_it_is_undefined(monkeypatch):
    monkeypatch.setattr("nasbench_rec._stat_paired._bca", lambda *_: (math.nan, math.nan))
    assert paired_difference(np.arange(6.0), np.zeros(6), interval="BCa").method == "t"


def test_the_interval_by_default_is_the_exact_one_where_it_exists():
    difference = np.array([0.1, 0.4, 0.2, 0.9, 0.3, 0.35])
    found = paired_difference(difference, np.zeros(6))
    assert (found.method, found.low, found.high) == ("sign-flip", 0.1, 0.9) and found.excludes_zero
    assert found == paired_difference(difference, np.zeros(6), interval="sign-flip")
    assert paired_difference(difference[:5], np.zeros(5)).method == "t"
    assert paired_difference(difference, np.zeros(6), 0.99).method == "t"


def test_one_odd_difference_among_six_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_difference([0, 0, 0, 0, 0, 1e-4], np.zeros(6))
    assert found.low <= found.mean <= found.high


def test_values_of_two_lengths_are_refused():
    for call in (paired_difference, paired_test):
        with pytest.raises(DataError, match="one length"):
            call([1, 2], [1])


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon"])
def test_p_is_the_share_of_sign_flips_as_extreme(test):
    difference = np.array([0.3, -0.1, 0.5, 0.2, 0.25, -0.05, 0.6])
    values = difference if test == "sign-flip" else np.sign(difference) * stats.rankdata(np.abs(difference))
    sums = [np.dot(signs, np.abs(values)) for signs in itertools.product((-1, 1), repeat=7)]
    expected = np.mean(np.abs(sums) >= abs(values.sum()) - 1e-12)
    assert paired_test(difference, np.zeros(7), test).p == pytest.approx(expected)


def test_wilcoxon_agrees_with_scipy():
    difference = np.random.default_rng(0).normal(0.3, 1, 12)
    expected = stats.wilcoxon(difference, method="exact").pvalue
    assert paired_test(difference, np.zeros(12), "wilcoxon").p == pytest.approx(expected)


@pytest.mark.parametrize("test", ["sign-flip", "wilcoxon"])
def test_five_pairs_cannot_reach_the_five_percent_that_six_can(test):
    five, six = (paired_test(np.arange(1.0, n + 1), np.zeros(n), test) for n in (5, 6))
    assert five.p == five.smallest_p == 0.0625
    assert six.p == six.smallest_p == 0.03125


@pytest.mark.parametrize(
    ("values", "p"), [([], math.nan), ([1.0], 1.0), ([0.0, 0.0], 1.0), ([0.0, 3.0], 1.0)]
)
def test_too_little_to_test_gives_no_evidence(values, p):
    assert paired_test(values, np.zeros(len(values))).p == pytest.approx(p, nan_ok=True)


# Hollander and Wolfe, Nonparametric Statistical Methods, table 3.1: Hamilton depression scale before and after a
# tranquilizer, nine patients; V = 40, one-sided p = .01953.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])

# Fisher, The Design of Experiments (1935), sections 17 and 21: Darwin's fifteen pairs of maize plants, differences of
# heights in eighths of an inch; t = 2.148, and 1,726 of the 32,768 sign flips have a sum at least as far from 0 as 314.
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])


def test_wilcoxon_as_hollander_and_wolfe():
    assert paired_test(BEFORE, AFTER, "wilcoxon").p == pytest.approx(2 * 0.01953, abs=1e-5)
    found = rank_biserial(BEFORE, AFTER)
    assert (found.value, found.n, found.zeros) == (pytest.approx((40 - 5) / 45), 9, 0)


def test_sign_flips_as_fisher_counted_them():
    found = paired_test(DARWIN, np.zeros(15))
    assert found.p == pytest.approx(1726 / 32768)
    mean, error = DARWIN.mean(), DARWIN.std(ddof=1) / math.sqrt(15)
    assert mean / error == pytest.approx(2.148, abs=5e-4)
    student = paired_difference(DARWIN, np.zeros(15), interval="t")
    assert [student.low, student.high] == pytest.approx(
        [mean - 2.14479 * error, mean + 2.14479 * error], abs=1e-4
    )
    exact = paired_difference(DARWIN, np.zeros(15), interval="sign-flip")
    assert exact.low < 0 < exact.high  # p is .0527, while t excludes zero
    assert student.low > 0


def test_wilcoxon_with_ties_counts_their_midranks():
    difference = np.array([1.0, -1, 2, 2, 3, 4, -1, 5])
    ranks = np.sign(difference) * stats.rankdata(np.abs(difference))
    sums = [np.dot(signs, np.abs(ranks)) for signs in itertools.product((-1, 1), repeat=8)]
    expected = np.mean(np.abs(sums) >= abs(ranks.sum()) - 1e-12)
    assert paired_test(difference, np.zeros(8), "wilcoxon").p == pytest.approx(expected)


def test_wilcoxon_is_exact_for_many_pairs_too():
    difference = np.random.default_rng(2).normal(0.2, 1, 40)
    found = paired_test(difference, np.zeros(40), "wilcoxon")
    assert found.p == stats.wilcoxon(difference, method="exact").pvalue
    assert found.smallest_p == 2.0**-39
    large = paired_test(np.arange(1.0, 302), np.zeros(301), "wilcoxon")
    assert 0 < large.p < 1e-40


def test_sampled_flips_know_their_smallest_p():
    found = paired_test(np.arange(1.0, 21), np.zeros(20))
    assert found.p == pytest.approx(found.smallest_p) == pytest.approx(2 / 65537)


@pytest.mark.parametrize(("a", "value", "zeros"), [([1, 2, 3], 1, 0), ([-1, -2], -1, 0), ([0, 0], 0, 2)])
def test_rank_biserial_at_its_ends(a, value, zeros):
    found = rank_biserial(a, np.zeros(len(a)))
    assert (found.value, found.zeros) == (value, zeros)


def test_rank_biserial_is_the_share_of_favourable_less_unfavourable_ranks():
    difference = np.random.default_rng(3).normal(0.5, 1, 30).round(1)
    nonzero = difference[difference != 0]
    ranks = stats.rankdata(np.abs(nonzero))
    favourable = ranks[nonzero > 0].sum() / ranks.sum()
    assert rank_biserial(difference, np.zeros(30)).value == pytest.approx(favourable - (1 - favourable))


def test_rank_biserial_refuses_missing_values():
    with pytest.raises(DataError, match="pair 1 has the value nan"):
        rank_biserial([1, np.nan], [0, 0])


def bca_by_its_formula(x, level, resamples, rng):
    """Efron and Tibshirani (1993), equations 14.9 to 14.15."""
    n = len(x)
    means = x[rng.integers(0, n, (resamples, n))].mean(1)
    z0 = stats.norm.ppf((np.sum(means < x.mean()) + np.sum(means == x.mean()) / 2) / resamples)
    left_out = (x.sum() - x) / (n - 1)
    d = left_out.mean() - left_out
    acceleration = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    z = z0 + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    return np.quantile(means, stats.norm.cdf(z0 + z / (1 - acceleration * z)))


def test_the_bootstrap_is_bca_by_its_formula():
    x = np.random.default_rng(4).lognormal(0, 0.8, 12)
    found = paired_difference(x, np.zeros(12), level=0.9, interval="BCa")
    expected = bca_by_its_formula(x, 0.9, 200_000, np.random.default_rng(0))
    assert [found.low, found.high] == pytest.approx(expected, rel=0.02)
    assert found.high - found.mean > 1.2 * (found.mean - found.low)


@pytest.mark.parametrize("n", [6, 7, 10, 13])
def test_the_sign_flip_interval_inverts_the_exact_test(n):
    """Just inside either bound the exact test of "centre m" is not significant, just outside it is."""
    x = np.random.default_rng(n).normal(0.5, 1, n)
    found = paired_difference(x, np.zeros(n), interval="sign-flip")
    assert (found.method, found.sd, found.level) == ("sign-flip", pytest.approx(x.std(ddof=1)), 0.95)
    for bound, outward in ((found.low, -1e-9), (found.high, 1e-9)):
        assert paired_test(x, np.full(n, bound + outward)).p <= 0.05
        assert paired_test(x, np.full(n, bound - outward)).p > 0.05


def test_the_sign_flip_interval_of_six_is_their_range():
    x = np.array([0.3, -0.1, 0.5, 0.2, 0.25, 0.6])
    found = paired_difference(x, np.zeros(6), interval="sign-flip")
    assert (found.low, found.high) == (-0.1, 0.6)


def test_five_pairs_have_no_sign_flip_interval_of_95_percent():
    found = paired_difference(np.arange(5.0), np.zeros(5), interval="sign-flip")
    assert (found.method, math.isnan(found.low)) == ("none", True)
    assert paired_difference(np.arange(5.0), np.zeros(5), 0.9, interval="sign-flip").method == "sign-flip"


def test_the_sign_flip_interval_of_many_pairs_is_sampled_by_seed():
    x = np.random.default_rng(5).normal(0.3, 1, 40)
    found, again = (paired_difference(x, np.zeros(40), seed=1, interval="sign-flip") for _ in range(2))
    student = paired_difference(x, np.zeros(40), interval="t")
    assert found == again
    assert [found.low, found.high] == pytest.approx([student.low, student.high], abs=0.03)


def test_a_constant_difference_that_is_only_rounding_is_zero():
    a = np.array([0.1, 0.2, 0.3]) + 0.7
    assert paired_difference(a, np.array([0.8, 0.9, 1.0])).mean == 0.0


def test_unknown_intervals_and_tests_are_refused():
    with pytest.raises(DataError, match="unknown interval 'bca'. Known: BCa, auto"):
        paired_difference([1, 2], [0, 0], interval="bca")
    with pytest.raises(DataError, match="did you mean 'wilcoxon'"):
        paired_test([1, 2], [0, 0], "wilcox")


@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_levels_are_shares(level):
    with pytest.raises(DataError, match="level"):
        paired_difference([1, 2, 3], [0, 0, 0], level=level)


DRAWS = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "heavy tails": lambda rng, n: rng.standard_t(2, n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
}


@pytest.mark.parametrize("n", [6, 10])
@pytest.mark.parametrize("kind", DRAWS)
def test_the_sign_flip_interval_keeps_its_level_on_either_side(kind, n):
    rng = np.random.default_rng(6)
    found = [paired_difference(DRAWS[kind](rng, n), np.zeros(n), interval="sign-flip") for _ in range(1000)]
    for wrong in (sum(d.low > 0 for d in found), sum(d.high < 0 for d in found)):
        assert wrong / 1000 <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 1000)


def test_bca_is_too_short_for_six_normal_differences_and_t_is_not():
    """Why claims are not decided by it: each bound should fail in 2.5 % of samples."""
    rng = np.random.default_rng(7)
    samples = rng.normal(0, 1, (500, 6))
    share = {
        method: np.mean([not d.low <= 0 <= d.high for d in found])
        for method in ("t", "BCa")
        if (found := [paired_difference(x, np.zeros(6), interval=method) for x in samples])
    }
    assert share["t"] < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500) < share["BCa"]


def test_many_pairs_are_sampled_by_seed():
    difference = np.random.default_rng(1).normal(0.2, 1, 20)
    first, second = (paired_test(difference, np.zeros(20), seed=5).p for _ in range(2))
    assert first == second
    assert first == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.03)
