"""DeLong's variances against their definition, the textbook table of Hanley and McNeil, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from nasbench_rec.errors import DataError
from nasbench_rec.metrics import auc
from nasbench_rec.statistics import delong, delong_difference, noise_split

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng


def components(labels, scores):
    """V10 and V01 by all pairs: DeLong, DeLong and Clarke-Pearson (1988), equations 4 and 5."""
    x, y = scores[labels == 1], scores[labels == 0]
    psi = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
    return psi.mean(1), psi.mean(0)


def covariance(labels, a, b):
    """S10 / m + S01 / n, a 2 x 2 matrix: equation 6."""
    (a10, a01), (b10, b01) = components(labels, a), components(labels, b)
    return np.cov(a10, b10) / len(a10) + np.cov(a01, b01) / len(a01)


def rows(seed, n=300, digits=None):
    """Labels and two correlated scores; with `digits` they have ties."""
    rng = RNG(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    common = labels + rng.normal(0, 1, n)
    a, b = common + rng.normal(0, 0.5, n), 0.7 * common + rng.normal(0, 0.7, n)
    return (labels, a, b) if digits is None else (labels, a.round(digits), b.round(digits))


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_variances_are_those_of_all_pairs(seed, digits):
    labels, a, b = rows(seed, digits=digits)
    matrix = covariance(labels, a, b)
    one, both = delong(labels, a), delong_difference(labels, a, b)
    assert one.auc == pytest.approx(roc_auc_score(labels, a)) == pytest.approx(auc(labels, a))
    assert one.se**2 == pytest.approx(matrix[0, 0])
    assert both.se**2 == pytest.approx(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    assert both.difference == pytest.approx(roc_auc_score(labels, a) - roc_auc_score(labels, b))
    assert both.z == pytest.approx(both.difference / both.se)
    assert both.p == pytest.approx(2 * stats.norm.sf(abs(both.z)))
    assert both.high - both.low == pytest.approx(2 * 1.959964 * both.se)
    assert (one.positives, one.negatives, both.rows) == (labels.sum(), (1 - labels).sum(), 300)


def test_the_table_of_hanley_and_mcneil():
    """Radiology 143 (1982), table I: ratings of 109 CT images; area .893, standard error .032.

    Theirs takes a tie of two cases with one control as ordered at random; DeLong's counts it one half: .0307.
    """
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    scores = np.r_[np.repeat(np.arange(5), normal), np.repeat(np.arange(5), abnormal)]
    labels = np.r_[np.zeros(58, int), np.ones(51, int)]
    found = delong(labels, scores)
    assert found.auc == pytest.approx(0.893, abs=5e-4)
    assert found.se == pytest.approx(0.0307, abs=1e-4) == pytest.approx(0.032, abs=2e-3)


def test_a_constant_score_has_auc_one_half_without_error():
    labels, a, _ = rows(0)
    found = delong_difference(labels, np.zeros(300), a)
    assert found.auc_a == 0.5
    assert found.se == pytest.approx(delong(labels, a).se)
    assert delong(labels, np.zeros(300)).se == 0


def test_equal_orders_do_not_differ():
    labels, a, _ = rows(0)
    found = delong_difference(labels, a, np.exp(a))
    assert (found.difference, found.se, found.z, found.p) == (0, 0, 0, 1)


def test_a_difference_without_variance_has_no_p():
    labels = np.array([0, 0, 1, 1])
    found = delong_difference(labels, labels.astype(float), -labels.astype(float))
    assert (found.difference, found.se) == (1, 0)
    assert math.isnan(found.p) and math.isnan(found.z)


def test_intervals_stay_between_0_and_1():
    labels = np.array([0, 0, 0, 1, 1, 1])
    found = delong(labels, np.array([0, 1, 2, 1.5, 3, 4.0]))
    assert found.high == 1 and 0 <= found.low < found.auc


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0, 1, 1], [0, 1, np.nan, 2], "row 2 has the value nan"),
        ([0, 0, 1, 1], [0, 1, 2], "a score per row"),
        ([0, 0, 0, 1], [0, 1, 2, 3], "1 positive rows"),
        ([1, 1, 1, 0], [0, 1, 2, 3], "1 negative rows"),
        ([0, 0.5, 1, 1], [0, 1, 2, 3], "labels must be"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels, scores, message):
    for call in (delong, lambda y, s: delong_difference(y, s, s), lambda y, s: noise_split(y, [s], [s])):
        with pytest.raises(DataError, match=message):
            call(np.array(labels), np.array(scores, dtype=float))


def test_the_error_is_the_spread_over_samples_of_rows():
    rng = RNG(1)
    found = []
    for _ in range(500):
        labels = (rng.random(200) < 0.4).astype(int)
        common = labels + rng.normal(0, 1, 200)
        found.append(delong_difference(labels, common + rng.normal(0, 0.5, 200), common))
    spread = np.std([d.difference for d in found], ddof=1)
    assert np.sqrt(np.mean([d.se**2 for d in found])) == pytest.approx(spread, rel=0.12)
    truth = stats.norm.cdf(1 / math.sqrt(2.5)) - stats.norm.cdf(1 / math.sqrt(2))  # binormal AUCs
    covered = np.mean([d.low <= truth <= d.high for d in found])
    assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.05 * 0.95 / 500) + 0.01)


def test_one_seed_has_row_noise_only():
    labels, a, b = rows(2)
    found, single = noise_split(labels, [a], [b]), delong_difference(labels, a, b)
    assert found.difference == pytest.approx(single.difference)
    assert found.row_se == found.total_se == pytest.approx(single.se)
    assert found.row_p == pytest.approx(single.p)
    assert math.isnan(found.seed_se) and found.row_share == 1


def test_seeds_that_agree_add_nothing():
    labels, a, b = rows(3)
    found = noise_split(labels, [a] * 4, [b] * 4)
    assert found.seed_se == pytest.approx(0, abs=1e-12)
    assert found.total_se == pytest.approx(found.row_se) == pytest.approx(delong_difference(labels, a, b).se)
    same = noise_split(labels, [a] * 4, [a] * 4)
    assert (same.difference, same.total_se, same.row_p, math.isnan(same.row_share)) == (0, 0, 1, True)


def test_the_row_error_is_that_of_the_averaged_components():
    labels, scores = rows(4)[0], [rows(4)[1:], rows(4, digits=0)[1:], rows(4, digits=1)[1:]]
    parts = [
        np.subtract(components(labels, a)[i], components(labels, b)[i]) for a, b in scores for i in (0, 1)
    ]
    d10, d01 = np.mean(parts[::2], 0), np.mean(parts[1::2], 0)
    found = noise_split(labels, (a for a, _ in scores), (b for _, b in scores))
    assert found.row_se**2 == pytest.approx(d10.var(ddof=1) / len(d10) + d01.var(ddof=1) / len(d01))
    differences = [roc_auc_score(labels, a) - roc_auc_score(labels, b) for a, b in scores]
    assert found.seed_se == pytest.approx(np.std(differences, ddof=1) / math.sqrt(3))
    assert (found.seeds, found.rows) == (3, 300)


def test_seeds_must_come_in_pairs():
    labels, a, b = rows(5)
    with pytest.raises(ValueError):
        noise_split(labels, [a, a], [b])
    with pytest.raises(DataError, match="no seeds"):
        noise_split(labels, [], [])


WEIGHTS = {"rows rule": 0.1, "both": 1.0}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_total_error_is_the_spread_over_rows_and_seeds(kind):
    """Models are linear in two features; a seed moves the weights, so that its effect depends on the rows too."""
    rng, found = RNG(6), []
    for _ in range(300):
        labels = np.repeat([0, 1], 100)
        x = rng.normal(0, 1, (200, 2)) + labels[:, None] * np.array([1.0, 0.5])
        weights = np.array([1, 0.5]) + WEIGHTS[kind] * rng.normal(0, 1, (4, 2)) * [0, 1]
        found.append(noise_split(labels, [x @ w for w in weights], [x[:, 0]] * 4))
    spread = np.var([f.difference for f in found], ddof=1)
    total, row, seed = (
        np.mean([getattr(f, n) ** 2 for f in found]) for n in ("total_se", "row_se", "seed_se")
    )
    assert total == pytest.approx(spread, rel=0.25)
    assert row < total * 1.0001
    if kind == "both":
        assert row < 0.8 * spread and seed < spread
    else:
        assert seed < 0.1 * row
