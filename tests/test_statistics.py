"""Paired differences and tests, against hand calculations, enumeration and scipy."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from scipy import stats

from nasbench_rec.statistics import paired_difference, paired_test

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
    found = paired_difference(difference, np.zeros(6), seed=3)
    rng = np.random.default_rng(3)
    expected = stats.bootstrap(
        (difference,), np.mean, method="BCa", n_resamples=9_999, rng=rng
    ).confidence_interval
    assert (found.method, found.low, found.high) == ("BCa", expected.low, expected.high)
    assert found.excludes_zero
    assert found == paired_difference(difference, np.zeros(6), seed=3)


def test_bca_gives_way_to_t_where_it_is_undefined(monkeypatch):
    monkeypatch.setattr("nasbench_rec.statistics._bca", lambda *_: (math.nan, math.nan))
    assert paired_difference(np.arange(6.0), np.zeros(6)).method == "t"


def test_one_odd_difference_among_six_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paired_difference([0, 0, 0, 0, 0, 1e-4], np.zeros(6))
    assert found.low <= found.mean <= found.high


def test_values_of_two_lengths_are_refused():
    for call in (paired_difference, paired_test):
        with pytest.raises(ValueError, match="one length"):
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


def test_many_pairs_are_sampled_by_seed():
    difference = np.random.default_rng(1).normal(0.2, 1, 20)
    first, second = (paired_test(difference, np.zeros(20), seed=5).p for _ in range(2))
    assert first == second
    assert first == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.03)
