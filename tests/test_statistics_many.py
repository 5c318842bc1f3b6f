"""Corrections, Friedman and post-hoc tests against published tables, scipy, scikit-posthocs and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import (
    benjamini_hochberg,
    cliques,
    critical_difference,
    friedman,
    holm,
    paired_test,
    post_hoc,
)

# Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006), table 6: AUC of C4.5 without
# and with tuned minimal leaf size (m) and confidence level (cf). The ranks of "voting" are those of the paper, whose
# printed values are rounded.
DEMSAR = pd.DataFrame(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.97501, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ],
    columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
)


def test_friedman_as_demsar():
    found = friedman(DEMSAR, correct_ties=False)
    assert found.mean_ranks == pytest.approx(
        {"C4.5+m+cf": 1.964, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5": 3.143}, abs=5e-4
    )
    assert list(found.mean_ranks) == ["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]
    assert found.chi2 == pytest.approx(9.28, abs=5e-3)
    assert found.f == pytest.approx(3.69, abs=5e-3)
    assert found.f_p == pytest.approx(stats.f.sf(found.f, 3, 39)) and found.f_p < 0.05  # critical value 2.85


def test_nemenyi_as_demsar():
    """At .05 not even the extremes differ (1.25); at .10 C4.5 is worse than two, and C4.5+cf is in either group."""
    five, ten = (post_hoc(DEMSAR, "nemenyi", alpha) for alpha in (0.05, 0.10))
    assert five.critical_difference == pytest.approx(1.25, abs=5e-3)
    assert ten.critical_difference == pytest.approx(1.12, abs=5e-3)
    assert five.cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)
    assert ten.cliques == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))
    for pair in ten.pairs:
        assert pair.different == (pair.difference > ten.critical_difference)
        statistic = pair.difference / math.sqrt(4 * 5 / (6 * 14)) * math.sqrt(2)
        assert pair.p == pair.adjusted == pytest.approx(stats.studentized_range.sf(statistic, 4, np.inf))


# Table 5(a) of the same paper; its three decimals are cut off here and rounded there.
NEMENYI = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


@pytest.mark.parametrize("k", NEMENYI)
def test_critical_differences_are_those_of_the_table(k):
    assert critical_difference(k, 20) == pytest.approx(NEMENYI[k] * math.sqrt(k * (k + 1) / 120), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_friedman_corrects_for_ties_as_scipy(seed):
    frame = pd.DataFrame(np.random.default_rng(seed).integers(0, 4, (7, 5)), columns=list("abcde"))
    expected = stats.friedmanchisquare(*frame.to_numpy().T)
    for higher in (True, False):
        found = friedman(frame, higher_is_better=higher)
        assert (found.chi2, found.chi2_p) == pytest.approx((expected.statistic, expected.pvalue))
    assert friedman(frame).mean_ranks["a"] + friedman(frame, higher_is_better=False).mean_ranks[
        "a"
    ] == pytest.approx(6)


def test_the_permuted_p_is_that_of_all_permutations():
    frame = pd.DataFrame([[1, 2, 3.0], [1, 3, 2], [1, 2, 3], [2, 1, 3]], columns=list("abc"))
    orders = list(itertools.permutations((1, 2, 3)))
    spreads = [np.var(np.mean(rows, 0)) for rows in itertools.product(orders, repeat=4)]
    found = friedman(frame)
    expected = np.mean(np.array(spreads) >= np.var(frame.to_numpy().mean(0)) - 1e-9)
    assert found.permuted_p == pytest.approx(expected, abs=0.015)
    assert found == friedman(frame)


def test_data_sets_that_all_agree_have_infinite_f():
    frame = pd.DataFrame([[1, 2, 3.0]] * 4, columns=list("abc"))
    found = friedman(frame)
    assert (found.chi2, found.f, found.f_p) == (8, math.inf, 0)
    assert found.permuted_p == pytest.approx(6 / 6**4, abs=0.003)


def test_methods_that_always_tie_do_not_differ():
    frame = pd.DataFrame(np.ones((5, 3)), columns=list("abc"))
    found = friedman(frame)
    assert (found.chi2, found.chi2_p, found.f_p, found.permuted_p) == (0, 1, 1, 1)
    after = post_hoc(frame)
    assert after.cliques == (("a", "b", "c"),)
    assert all(pair.p == 1 for pair in after.pairs)


def test_wilcoxon_holm_is_that_of_scikit_posthocs():
    from scikit_posthocs import posthoc_wilcoxon

    values = np.random.default_rng(0).normal(0, 1, (9, 4)) + np.array([0, 0.5, 2.5, 1])
    frame = pd.DataFrame(values, columns=list("abcd"))
    expected = posthoc_wilcoxon(values.T, method="exact", p_adjust="holm").to_numpy()
    found = post_hoc(frame)
    assert len(found.pairs) == 6 and math.isnan(found.critical_difference)
    for pair in found.pairs:
        assert pair.adjusted == pytest.approx(expected["abcd".index(pair.a), "abcd".index(pair.b)])
        assert pair.p == paired_test(frame[pair.a], frame[pair.b], "wilcoxon").p
        assert pair.difference == found.mean_ranks[pair.b] - found.mean_ranks[pair.a] >= 0
    assert list(found.mean_ranks)[0] == "c"


def test_five_data_sets_decide_nothing_by_wilcoxon():
    frame = pd.DataFrame(np.arange(15.0).reshape(5, 3), columns=list("abc"))
    assert all(pair.p == 0.0625 and not pair.different for pair in post_hoc(frame).pairs)


def test_unknown_tests_are_refused():
    with pytest.raises(DataError, match="did you mean 'nemenyi'"):
        post_hoc(DEMSAR, "nemeny")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": [1, 2], "b": [1, np.nan], "c": [1, 2]}, index=["x", "frappe"]), "'b'.*'frappe'"),
        (pd.DataFrame({"a": [1, 2], "b": [1, 2]}), "at least 3 methods"),
        (pd.DataFrame({"a": [1], "b": [1], "c": [2]}), "on 1 data sets"),
        (pd.DataFrame([[1, 2, 3], [1, 2, 3]], columns=["a", "a", "b"]), "2 names"),
    ],
)
def test_tables_without_all_scores_are_refused(frame, message):
    with pytest.raises(DataError, match=message):
        friedman(frame)


# Benjamini and Hochberg, JRSS B 57 (1995), section 3.2: fifteen p-values of Neuhaus et al. (1992). Bonferroni rejects
# the first three, their procedure the first four.
NEUHAUS = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
NEUHAUS += [0.4262, 0.5719, 0.6528, 0.7590, 1.0000]


def test_the_example_of_benjamini_and_hochberg():
    p = {f"H{i}": value for i, value in enumerate(NEUHAUS, 1)}
    assert [name for name, found in benjamini_hochberg(p).items() if found.rejected] == [
        "H1",
        "H2",
        "H3",
        "H4",
    ]
    assert [name for name, found in holm(p).items() if found.rejected] == ["H1", "H2", "H3"]
    assert benjamini_hochberg(p)["H4"].adjusted == pytest.approx(0.0095 * 15 / 4)
    assert holm(p)["H2"].adjusted == pytest.approx(0.0004 * 14)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_corrections_by_their_definitions(values):
    p = {str(i): value for i, value in enumerate(values)}
    order, m = np.argsort(values, kind="stable"), len(values)
    down = np.minimum(1, np.maximum.accumulate([(m - i) * values[j] for i, j in enumerate(order)]))
    up = np.minimum.accumulate([m / (m - i) * values[j] for i, j in enumerate(order[::-1])])[::-1]
    for found, expected in ((holm(p), down), (benjamini_hochberg(p), np.minimum(1, up))):
        assert list(found) == list(p)
        assert [found[str(j)].adjusted for j in order] == pytest.approx(expected.tolist(), abs=1e-12)
        assert all(f.rejected == (f.adjusted <= 0.05) and f.p == p[f.name] for f in found.values())


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = {str(i): value for i, value in enumerate(np.random.default_rng(1).random(12) ** 4)}
    rejected, adjusted = multipletests(list(p.values()), 0.05, "holm")[:2]
    assert [found.adjusted for found in holm(p).values()] == pytest.approx(adjusted.tolist())
    assert [found.rejected for found in holm(p).values()] == rejected.tolist()


def test_holm_keeps_the_family_wise_level():
    """Ten true hypotheses, 1,000 families: a false rejection in at most 5 %."""
    rng = np.random.default_rng(0)
    families = [holm({str(i): p for i, p in enumerate(rng.random(10))}) for _ in range(1000)]
    false = np.mean([any(f.rejected for f in family.values()) for family in families])
    assert false == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 1000))


def test_corrections_refuse_what_is_no_p_value_and_take_none():
    assert holm({}) == {}
    for wrong in (math.nan, 1.2, -0.1):
        with pytest.raises(DataError, match="'claim'"):
            benjamini_hochberg({"other": 0.1, "claim": wrong})


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.data())
def test_cliques_are_all_largest_groups_without_a_difference(k, data):
    names = [f"m{i}" for i in range(k)]
    different = [pair for pair in itertools.combinations(names, 2) if data.draw(st.booleans())]
    apart = {frozenset(pair) for pair in different}
    groups = [
        set(group)
        for size in range(1, k + 1)
        for group in itertools.combinations(names, size)
        if not any(frozenset(pair) in apart for pair in itertools.combinations(group, 2))
    ]
    largest = [g for g in groups if len(g) > 1 and not any(g < other for other in groups)]
    found = cliques(names, different)
    assert sorted(map(sorted, found)) == sorted(map(sorted, largest))
    assert all(list(group) == sorted(group) for group in found)
