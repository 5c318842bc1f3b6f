"""iHAS' measurements: exact formulas against brute force, and each number on inputs whose answer is known."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ihas_diagnostics import (
    bimodality,
    field_information,
    hamming,
    keep_rates,
    probability_histogram,
    sample_keep_rate,
    sarle,
    separation,
    silhouette,
    stability,
    valley,
)
from nasbench_rec.methods._ihas_trend import GateWatch
from torch.nn.functional import binary_cross_entropy_with_logits

from nasbench_rec.data import Field

RNG = np.random.default_rng
TWO = np.concatenate([RNG(0).beta(1, 20, 7000), RNG(1).beta(20, 1, 3000)])[:, None].astype(np.float32)
ONE = RNG(0).beta(5, 5, (5000, 2)).astype(np.float32)


def test_histogram_holds_everything_and_its_last_bin_holds_one():
    found = probability_histogram(np.array([[0.0, 0.04, 0.5], [1.0, 0.99, 0.5]]), 20)
    assert len(found) == 20 and sum(found) == pytest.approx(1, abs=1e-5)
    assert (found[0], found[10], found[19]) == (0.333333, 0.333333, 0.333333)


def test_two_groups_and_one_are_told_apart():
    two, one = bimodality(TWO), bimodality(ONE)
    assert two["near_0"] == pytest.approx((TWO < 0.1).mean(), abs=1e-6)
    assert two["near_1"] == pytest.approx((TWO > 0.9).mean(), abs=1e-6)
    assert sum(two[n] for n in ("near_0", "near_1", "middle")) == pytest.approx(1, abs=1e-5)
    assert two["dip_p"] < 0.01 < 0.2 < one["dip_p"] and two["dip"] > 5 * one["dip"]
    assert two["coefficient"] > 5 / 9 > one["coefficient"]
    assert 0.3 < two["valley"] < 0.8 and one["valley"] is None


def test_bimodality_is_the_same_each_time_and_json_even_where_nothing_varies():
    many = RNG(0).random((700, 64))
    assert bimodality(many) == bimodality(many.copy())
    flat = json.loads(json.dumps(bimodality(np.full((5, 3), 0.3)), allow_nan=False))
    assert flat["coefficient"] is None and flat["valley"] is None and flat["middle"] == 1


def test_the_coefficient_has_its_known_values():
    assert sarle(RNG(0).random(200_000)) == pytest.approx(5 / 9, abs=0.01)
    assert sarle(RNG(0).normal(size=200_000)) == pytest.approx(1 / 3, abs=0.01)
    assert sarle(np.repeat([0.0, 1.0], 1000)) == pytest.approx(1, abs=0.01)
    # By hand: the skewness of 0, 0, 0, 0, 1 is 5**.5 and its excess kurtosis 5, both corrected for n = 5.
    assert sarle(np.array([0.0, 0, 0, 0, 1])) == pytest.approx(6 / (5 + 3 * 16 / 6))


@pytest.mark.parametrize("gap", [0.2, 0.4, 0.7])
def test_the_valley_lies_in_the_gap_wherever_that_is(gap):
    low, high = RNG(0).uniform(0, gap - 0.08, 4000), RNG(1).uniform(gap + 0.08, 1, 500)
    assert abs(valley(np.concatenate([low, high])) - gap) < 0.08


def test_a_handful_of_values_is_no_second_peak():
    values = np.concatenate([RNG(0).uniform(0.9, 1, 5000), np.full(20, 0.02)])
    assert valley(values) is None


@pytest.mark.parametrize("k", [1, 2, 3])
def test_hamming_distances_are_those_of_all_pairs(k):
    rng = RNG(k)
    labels = np.arange(23) % k
    masks = rng.random((23, 12)) < rng.random((k, 12))[labels]
    columns = rng.random((k, 4, 3)) < 0.5
    found = hamming(masks, labels, columns)
    pairs = {(i, j): (masks[i] != masks[j]).mean() for i, j in combinations(range(len(masks)), 2)}
    same = [v for (i, j), v in pairs.items() if labels[i] == labels[j]]
    other = [v for (i, j), v in pairs.items() if labels[i] != labels[j]]
    final = [(a != b).mean() for a, b in combinations(columns, 2)]
    assert found["between_samples"] == pytest.approx(np.mean(list(pairs.values())), abs=1e-6)
    assert found["within_clusters"] == pytest.approx(np.mean(same), abs=1e-6)
    if k == 1:
        assert found["between_clusters"] is None and found["cluster_masks"] is None
    else:
        assert found["between_clusters"] == pytest.approx(np.mean(other), abs=1e-6)
        assert found["cluster_masks"] == pytest.approx(np.mean(final), abs=1e-6)


def test_a_cluster_without_rows_adds_no_pairs():
    masks = np.array([[True, False], [False, False], [True, True]])
    with_empty = hamming(masks, np.array([0, 0, 2]), np.ones((3, 1, 2), bool))
    without = hamming(masks, np.array([0, 0, 1]), np.ones((2, 1, 2), bool))
    assert with_empty == without


def test_keep_rates_tell_gating_by_instance_from_static_gating():
    fields = (Field("static", 4), Field("own", 4, columns=3, padding=0), Field("off", 4))
    masks = np.zeros((100, 6), bool)
    masks[:, 0] = True
    masks[:25, 2:4] = True
    mean, spread = keep_rates(masks, fields, 2)
    assert mean == {"static": 0.5, "own": 0.25, "off": 0.0}
    assert spread == {"static": 0.0, "own": pytest.approx(0.433013), "off": 0.0}
    assert sample_keep_rate(masks) == {"mean": 0.25, "sd": pytest.approx(0.433013 / 3, abs=1e-5)}


def blobs(distance: float, rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = np.arange(rows) % 3
    centroids = distance * np.eye(3, 5, dtype=np.float32)
    noise = RNG(0).normal(size=(rows, 5)).astype(np.float32)
    return centroids[labels] + noise, labels, centroids


def test_separation_and_silhouette_grow_with_the_distance():
    near, far = blobs(0.5), blobs(20.0)
    assert silhouette(near[0], near[1], RNG(0)) < 0.1 < 0.8 < silhouette(far[0], far[1], RNG(0))
    spread = np.linalg.norm(far[0] - far[2][far[1]], axis=1).mean()
    assert separation(*far) == pytest.approx(20 * 2**0.5 / spread, rel=1e-5)
    assert separation(*near) < 1


def test_silhouette_of_a_sample_is_near_that_of_all_rows():
    features, labels, _ = blobs(4.0, 3000)
    few, whole = silhouette(features, labels, RNG(0), rows=500), silhouette(features, labels, RNG(0), 3000)
    assert few == pytest.approx(whole, abs=0.03) and few != whole
    assert few == silhouette(features, labels, RNG(0), rows=500)


def test_what_one_cluster_does_not_define_is_none():
    features, one = RNG(0).normal(size=(50, 3)), np.zeros(50, np.int64)
    assert silhouette(features, one, RNG(0)) is None
    assert separation(features, one, features[:1]) is None
    assert stability(one, lambda seed: one) is None
    exact = np.repeat(np.eye(2), 5, axis=0)
    assert separation(exact, np.repeat([0, 1], 5), np.eye(2)) is None


def test_stability_is_the_agreement_with_other_seeds():
    labels, seen = RNG(0).integers(0, 2, 2000), []
    assert stability(labels, lambda seed: seen.append(seed) or 1 - labels) == 1.0, "names do not matter"
    assert len(set(seen)) == 4
    assert abs(stability(labels, lambda seed: RNG(seed).integers(0, 2, 2000))) < 0.01
    half = stability(labels, lambda seed: labels if seed % 2 else RNG(seed).integers(0, 2, 2000))
    assert half == pytest.approx(0.5, abs=0.01)


FIELDS = (Field("decides", 10), Field("list", 9, columns=2, padding=0), Field("vote", 2), Field("ids", 10**6))


def test_field_information_finds_what_decides_and_nothing_by_chance():
    rng = RNG(0)
    ids = np.stack([rng.integers(0, f.cardinality, 30_000) for f in FIELDS for _ in range(f.columns)], axis=1)
    ids[:, 3] %= 2
    labels = (ids[:, 0] >= 5).astype(np.int64)
    found = field_information(labels, ids, FIELDS, RNG(1))
    assert found["decides"] > 0.99
    # Nearly every row has an id of its own: those explain all by chance, hence nothing.
    assert max(found["list"], found["vote"], found["ids"]) < 0.01
    assert found == field_information(labels, ids, FIELDS, RNG(1))


def test_field_information_is_the_mutual_information_over_the_entropy():
    # P(label = vote) = .75, both even: 1 - H(.25) / H(.5) of the entropy.
    rng = RNG(0)
    ids = rng.integers(0, 2, (20_000, 5))
    labels = np.where(rng.random(20_000) < 0.75, ids[:, 3], 1 - ids[:, 3])
    expected = 1 + (0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert field_information(labels, ids, FIELDS, rng)["vote"] == pytest.approx(expected, abs=0.01)
    ids[:, 1], ids[:, 2] = labels, 0
    assert field_information(labels, ids, FIELDS, rng)["list"] > 0.99, "the first column of a list"


def test_one_cluster_is_explained_by_no_field():
    ids = RNG(0).integers(0, 2, (50, 5))
    assert set(field_information(np.zeros(50, np.int64), ids, FIELDS, RNG(0)).values()) == {0.0}


def gated_step(
    watch: GateWatch, hard: bool = True, tau: float = 0.5, shift: float = 0.0, penalty: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One step of a small gated model with a penalty on pi: logits, soft masks, d(loss)/dlogit, all [16, 6]."""
    generator = torch.Generator().manual_seed(3)
    logits = (2 * torch.randn(16, 6, generator=generator) + shift).requires_grad_()
    e, labels = torch.randn(16, 6, generator=generator), torch.rand(16, generator=generator).round()
    u = torch.rand(16, 6, generator=generator).clamp(1e-6, 1 - 1e-6)
    soft = ((logits + u.log() - (1 - u).log()) / tau).sigmoid()
    mask = (soft > 0.5).float() + soft - soft.detach() if hard else soft
    watch.arm()
    watch.watch(logits, soft, mask, tau)
    loss = binary_cross_entropy_with_logits((e * mask).sum(1), labels)
    (loss + penalty * logits.sigmoid().mean()).backward()
    return logits.detach(), soft.detach(), logits.grad


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("tau", [0.1, 0.5, 4.0])
def test_gate_gradient_is_autograds_without_the_regularizer(hard, tau):
    watch = GateWatch(every=1)
    _, soft, with_penalty = gated_step(watch, hard, tau, penalty=100.0)
    found = watch.close(0, tau, gated=True)
    _, _, alone = gated_step(GateWatch(), hard, tau)
    assert found["gate_gradient"] == pytest.approx(float((16 * alone).square().mean().sqrt()), rel=1e-4)
    assert float((16 * with_penalty).square().mean().sqrt()) > 2 * found["gate_gradient"]
    slope = soft * (1 - soft) / tau
    assert found["active"] == pytest.approx(float((slope > 0.05).float().mean()))


def test_an_entry_of_the_trend_describes_the_batch():
    watch = GateWatch(every=1)
    logits = gated_step(watch)[0]
    pi, entry = logits.sigmoid(), watch.close(4, 0.3, gated=True)
    assert (entry["epoch"], entry["tau"], entry["gated"]) == (4, 0.3, True)
    assert entry["mean"] == pytest.approx(float(pi.mean()))
    assert entry["near_0"] == pytest.approx(float((pi < 0.1).float().mean()))
    assert entry["near_1"] == pytest.approx(float((pi > 0.9).float().mean()))
    assert entry["histogram"] == pytest.approx(probability_histogram(pi.numpy(), 20), abs=1e-5)
    masks = (pi > 0.5).numpy()
    pairs = [(a != b).mean() for a, b in combinations(masks, 2)]
    assert entry["hamming"] == pytest.approx(np.mean(pairs), abs=1e-6)
    json.dumps(entry, allow_nan=False)


def test_epochs_are_apart_and_average_their_watched_steps():
    watch = GateWatch(every=2)
    means = [float(gated_step(watch, shift=shift)[0].sigmoid().mean()) for shift in (-3, 0, 3)]
    assert watch.close(0, 0.5, gated=True)["mean"] == pytest.approx((means[0] + means[2]) / 2)
    gated_step(watch)
    assert watch.close(1, 0.5, gated=True)["mean"] == pytest.approx(means[1]), (
        "each epoch's first step is watched"
    )
    warm = watch.close(2, 0.5, gated=False)
    assert warm == {"epoch": 2, "tau": 0.5, "gated": False} | dict.fromkeys(
        set(warm) - {"epoch", "tau", "gated"}
    )


def test_a_pass_without_gradient_is_not_watched():
    watch = GateWatch(every=1)
    watch.arm()
    with torch.no_grad():
        watch.watch(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3), 0.5)
    assert watch.close(0, 0.5, gated=True)["mean"] is None
