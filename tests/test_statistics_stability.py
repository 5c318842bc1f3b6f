"""Agreement of clusterings by counting pairs and permutations; bimodality as iHAS' own measurements give it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from nasbench_rec.methods._ihas_diagnostics import bimodality

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import Spread, cluster_agreement, gate_bimodality

pytestmark = pytest.mark.filterwarnings("error")
RNG = np.random.default_rng


def rand_by_pairs(a, b):
    """Hubert and Arabie (1985) from the pairs of rows that are together in both, in one, and in none."""
    pairs = list(itertools.combinations(range(len(a)), 2))
    together_a = np.array([a[i] == a[j] for i, j in pairs])
    together_b = np.array([b[i] == b[j] for i, j in pairs])
    both, expected = (together_a & together_b).sum(), together_a.sum() * together_b.sum() / len(pairs)
    return (both - expected) / ((together_a.sum() + together_b.sum()) / 2 - expected)


def entropy(labels):
    p = np.unique(labels, return_counts=True, axis=0)[1] / len(labels)
    return -(p * np.log(p)).sum()


def information(a, b):
    return entropy(a) + entropy(b) - entropy(np.column_stack([a, b]))


def mutual_by_permutations(a, b):
    """Chance by all orders of one side, exactly."""
    chance = np.mean([information(a, np.array(order)) for order in itertools.permutations(b)])
    return (information(a, b) - chance) / ((entropy(a) + entropy(b)) / 2 - chance)


def test_agreement_by_counting():
    labels = [np.array(x) for x in ([0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 2, 2], [1, 0, 1, 0, 1, 0, 1])]
    found = cluster_agreement(labels)
    for spread, measure in (
        (found.adjusted_rand, rand_by_pairs),
        (found.adjusted_mutual_information, mutual_by_permutations),
    ):
        expected = [measure(a, b) for a, b in itertools.combinations(labels, 2)]
        assert (spread.mean, spread.low, spread.high) == pytest.approx(
            (np.mean(expected), min(expected), max(expected))
        )
    assert (found.seeds, found.pairs, found.single) == (3, 3, 0)


def test_names_of_clusters_do_not_matter():
    labels = RNG(0).integers(0, 4, 500)
    found = cluster_agreement([labels, np.array([7, 3, 9, 1])[labels]])
    assert found.adjusted_rand.low == found.adjusted_mutual_information.low == pytest.approx(1)


def test_random_clusters_agree_by_chance():
    found = cluster_agreement([RNG(seed).integers(0, 3, 2000) for seed in range(4)])
    assert found.adjusted_rand.mean == pytest.approx(0, abs=0.01)
    assert found.adjusted_mutual_information.mean == pytest.approx(0, abs=0.01)
    assert found.pairs == 6


def test_single_clusters_agree_on_nothing():
    one, two = np.zeros(10, int), np.arange(10) % 2
    found = cluster_agreement([one, one, two])
    assert (found.single, found.pairs, found.adjusted_rand.high) == (2, 2, 0)
    none = cluster_agreement([one, one])
    assert none.pairs == 0 and math.isnan(none.adjusted_rand.mean)


@pytest.mark.parametrize(
    "labels",
    [
        [],
        [np.zeros(3, int)],
        [np.zeros(3, int), np.zeros(4, int)],
        [np.zeros(3), np.ones(3)],
        [np.array([], int)] * 2,
    ],
)
def test_labels_that_cannot_be_compared_are_refused(labels):
    with pytest.raises(DataError, match="labels"):
        cluster_agreement(labels)


def gates(seed, two=True):
    """Gate probabilities [N, D] of two groups, or of one around a half."""
    rng = RNG(seed)
    one = rng.beta(20, 20, (400, 10))
    return (
        np.where(rng.random((400, 10)) < 0.6, rng.beta(1, 40, one.shape), rng.beta(40, 1, one.shape))
        if two
        else one
    )


def test_two_groups_of_gates_are_found_in_every_seed():
    measured = [bimodality(gates(seed)) for seed in range(3)]
    found = gate_bimodality(measured)
    assert (found.seeds, found.one_peak_rejected, found.two_peaks, found.valley) == (3, 1, 1, 1)
    shares = [((gates(s) < 0.1) | (gates(s) > 0.9)).mean() for s in range(3)]
    assert (found.polarized.mean, found.polarized.low) == pytest.approx(
        (np.mean(shares), min(shares)), abs=1e-5
    )
    assert found.near_0.mean == pytest.approx(0.6, abs=0.03)
    assert found.dip.low > 0.05


def test_one_group_of_gates_is_not_taken_for_two():
    found = gate_bimodality([bimodality(gates(seed, two=False)) for seed in range(3)])
    assert (found.one_peak_rejected, found.two_peaks, found.valley) == (0, 0, 0)
    assert found.polarized.high == 0


def test_seeds_are_counted_one_by_one():
    found = gate_bimodality([bimodality(gates(0)), bimodality(gates(0, two=False))])
    assert found.one_peak_rejected == found.two_peaks == found.valley == 0.5


def test_gates_that_are_all_equal_are_no_evidence():
    found = gate_bimodality([bimodality(np.full((5, 3), 0.3))] * 2)
    assert (found.two_peaks, found.valley, math.isnan(found.coefficient.mean)) == (0, 0, True)


def test_what_was_not_measured_is_refused():
    with pytest.raises(DataError, match="0 seeds"):
        gate_bimodality([])
    entry = bimodality(gates(0))
    with pytest.raises(DataError, match="without dip_p"):
        gate_bimodality([entry, {k: v for k, v in entry.items() if k != "dip_p"}])


def test_a_spread_of_nothing_is_not_a_number():
    assert math.isnan(Spread.of([]).low) and Spread.of([2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
