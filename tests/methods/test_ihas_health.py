"""iHAS' failure signatures: each fires on the least record that shows it, and on the values that planted data gave."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from nasbench_rec.methods._ihas_health import ACTIVE_PER_UNDECIDED, CHECKS, findings
from nasbench_rec.methods.ihas import IHASConfig

from nasbench_rec.searcher import Finding


def epoch(near: float, active: float, tau: float = 0.5, hamming: float = 0.1) -> dict[str, Any]:
    values = {"mean": 0.3, "near_0": 0.7 * near, "near_1": 0.3 * near, "gate_gradient": 0.006}
    return {"epoch": 0, "gated": True, "tau": tau, "active": active, "hamming": hamming, **values}


WARM_UP = {**dict.fromkeys(epoch(0, 0)), "epoch": 0, "gated": False, "tau": 0.5}
# A search of T2, seed 0, with the preset `robust`: the groups were recovered (adjusted Rand index .99).
HEALTHY: dict[str, Any] = {
    "search": {
        "trend": [WARM_UP, epoch(0.36, 0.476), epoch(0.89, 0.107), epoch(0.90, 0.085)],
        "search_scores": {"auc": 0.7777, "logloss": 0.5285},
        "sampled_scores": {"auc": 0.7755, "logloss": 0.5308},
    },
    "derive": {
        "k_wanted": 2,
        "clusters": 2,
        "cluster_sizes": [45442, 44558],
        "theta": [0.25, 0.25],
        "bimodality": {"train": {"near_0": 0.658, "near_1": 0.249, "dip_p": 0.0, "valley": 0.53}},
        "hamming": {"between_samples": 0.129, "cluster_masks": 0.161},
        "sample_keep_rate": {"mean": 0.293, "sd": 0.041},
        "silhouette": 0.292,
        "separation": 1.417,
        "stability": 1.0,
        "cluster_field_information": {"context_0": 0.183, "context_1": 0.193, "common_0": 0.0},
    },
}
ROUTING = {"drift": 0.004, "shares": {"train": [0.5, 0.5], "test": [0.504, 0.496]}}


def changed(**values: Any) -> dict[str, Any]:
    """The healthy diagnostics with values at the given paths, `__` for a dot."""
    found = copy.deepcopy(HEALTHY)
    for path, value in values.items():
        *folders, last = path.split("__")
        part = found
        for name in folders:
            part = part[name]
        part[last] = value
    return found


def report(
    diagnostics: dict[str, Any], routing: dict[str, Any] | None = None, **config: Any
) -> dict[str, Finding]:
    return {f.signature: f for f in findings(IHASConfig(**config), diagnostics, routing)}


def test_a_healthy_run_has_no_findings():
    assert report(HEALTHY, ROUTING) == {}


def test_what_was_not_measured_is_no_finding():
    assert report({}) == {}
    assert report({"search": {}, "derive": {}}, {}) == {}
    empty = {name: None for name in HEALTHY["derive"]}
    assert report({"search": {"trend": [WARM_UP]}, "derive": empty}, {"drift": None}) == {}
    no_clusters = {name: HEALTHY["derive"][name] for name in ("bimodality", "sample_keep_rate")}
    assert report({"search": HEALTHY["search"], "derive": no_clusters}, clusters="none") == {}


TRAIN = "derive__bimodality__train"
PROVOKED = {
    "probabilities-not-bimodal": changed(**{f"{TRAIN}__near_0": 0.13, f"{TRAIN}__near_1": 0.49}),
    "static-masks": changed(derive__hamming__between_samples=0.004),
    "one-cluster": changed(derive__clusters=1, derive__cluster_sizes=[90000]),
    "equal-cluster-masks": changed(derive__hamming__cluster_masks=0.0),
    "tiny-cluster": changed(derive__cluster_sizes=[89000, 1000]),
    "poor-separation": changed(derive__silhouette=0.06),
    "unstable-clusters": changed(derive__stability=0.4),
    "gates-hardly-learn": changed(search__trend=[epoch(0.27, 0.093), epoch(0.9, 0.02)]),
    "all-on": changed(derive__sample_keep_rate__mean=0.99),
    "all-off": changed(derive__sample_keep_rate__mean=0.01),
    "train-serve-gap": changed(search__search_scores={"auc": 0.7306}),
    "one-field": changed(derive__cluster_field_information={"a": 0.02, "context_0": 0.95}),
}
NUMBERS = {
    "probabilities-not-bimodal": ("62 %", "75 %"),
    "static-masks": ("0.4 %", "29 %"),
    "one-cluster": ("one cluster is left of the 2",),
    "equal-cluster-masks": ("0.0 %", "2.0 %", "0.25"),
    "tiny-cluster": ("1000 of 90000", "2.2 %", "10 %"),
    "poor-separation": ("0.060", "0.12", "1.42"),
    "unstable-clusters": ("0.40", "0.8"),
    "gates-hardly-learn": ("0.14", "0.4", "6.0e-03"),
    "all-on": ("99 %", "95 %"),
    "all-off": ("1.0 %", "2.0 %"),
    "train-serve-gap": ("0.0449", "0.7306", "0.7755", "0.005"),
    "one-field": ("context_0", "95 %", "80 %"),
}


@pytest.mark.parametrize("signature", PROVOKED)
def test_each_signature_alone_is_found_with_its_numbers(signature):
    found = report(PROVOKED[signature], ROUTING)
    assert set(found) == {signature}
    assert [n for n in NUMBERS[signature] if n not in found[signature].evidence] == []
    assert found[signature].advice


def test_a_cluster_whose_predictions_are_far_off_is_found():
    """Frappe, DNN, seed 0: the training of cluster 0 stopped after its first epoch."""
    good = {"rows": 22684, "mean_prediction": 0.169, "positive_rate": 0.166, "auc": 0.96, "logloss": 0.2}
    bad = good | {"rows": 6176, "mean_prediction": 0.558, "positive_rate": 0.936}
    empty = {"rows": 0, "mean_prediction": None, "positive_rate": None, "auc": None, "logloss": None}
    assert report(HEALTHY, {**ROUTING, "clusters": [good, empty]}) == {}
    found = report(HEALTHY, {**ROUTING, "clusters": [bad, good]})
    assert set(found) == {"uncalibrated-cluster"} and "cluster 0" in found["uncalibrated-cluster"].evidence


def test_routing_drift_is_found():
    found = report(HEALTHY, {"drift": 0.15})
    assert set(found) == {"routing-drift"} and "15 %" in found["routing-drift"].evidence


def test_every_check_is_provoked():
    """Two of them by the routing alone: see above."""
    assert len(CHECKS) == len(PROVOKED) + 2


# What searches on T2 (seed 0; 12 epochs) gave: settings, share of pi within .1 of 0 or 1, valley, p of the dip test,
# Hamming distance of two samples, kept gates, and the findings that must and must not come of it.
BIMODAL, STATIC = "probabilities-not-bimodal", "static-masks"
MEASURED = [
    ("robust-l1", 0.886, 0.59, 0.0, 0.138, 0.097, set()),
    ("robust", 0.907, 0.53, 0.0, 0.129, 0.293, set()),
    ("robust, t 2 (recovered)", 0.962, 0.59, 0.0, 0.059, 0.054, set()),
    ("warm-up 2", 0.813, 0.51, 0.0, 0.148, 0.405, set()),
    ("robust, tau 3 (recovered)", 0.871, 0.57, 0.0, 0.197, 0.291, set()),
    ("robust, lambda 0", 0.624, 0.43, 0.0, 0.324, 0.711, {BIMODAL}),
    ("prototype, lambda 0", 0.71, None, 0.0, 0.3, 0.85, {BIMODAL}),
    ("prototype, warm-up 2, L1 only", 0.63, 0.5, 0.0, 0.3, 0.4, {BIMODAL}),
    ("robust, lambda .2", 1.0, 0.51, 0.0, 0.0, 0.205, {STATIC}),
    ("robust, tau .05", 0.978, 0.59, 0.0, 0.0136, 0.305, {STATIC}),
    ("robust, tau .1", 0.969, 0.53, 0.0, 0.0277, 0.309, {STATIC}),
    ("robust, t -2", 0.964, 0.31, 0.993, 0.0269, 0.982, {BIMODAL, "all-on"}),
]


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row[0])
def test_limits_part_the_measured_masks(row):
    _, near, valley, p, differ, kept, expected = row
    train = {"near_0": near * (1 - kept), "near_1": near * kept, "valley": valley, "dip_p": p}
    measured = changed(
        derive__bimodality={"train": train},
        derive__hamming__between_samples=differ,
        derive__sample_keep_rate={"mean": kept},
    )
    assert set(report(measured)) == expected


# tau, and per epoch (first, fourth, last): share of pi within .1 of 0 or 1, share of active gates.
TEMPERATURES = [
    (0.5, [(0.36, 0.476), (0.90, 0.103), (0.90, 0.085)], False),
    (0.5, [(0.27, 0.526), (0.81, 0.164), (0.88, 0.105)], False),  # L1 only
    (
        0.5,
        [(0.55, 0.319), (1.0, 0.002), (1.0, 0.0)],
        False,
    ),  # lambda .2: polarized at once, but the slope is there
    (0.5, [(0.06, 0.565), (0.41, 0.437), (0.62, 0.297)], False),  # lambda 0
    (3.0, [(0.41, 0.842), (0.89, 0.345), (0.87, 0.287)], False),
    (0.2, [(0.34, 0.259), (0.94, 0.034), (0.96, 0.021)], False),  # half recovered
    (0.1, [(0.33, 0.155), (0.95, 0.017), (0.97, 0.008)], True),
    (0.05, [(0.27, 0.093), (0.96, 0.009), (0.98, 0.004)], True),
    (0.05, [(0.16, 0.108), (0.80, 0.029), (0.88, 0.018)], True),  # L1 only
    (10.0, [(0.43, 0.0), (0.97, 0.0), (0.93, 0.0)], True),
]


@pytest.mark.parametrize(("tau", "epochs", "expected"), TEMPERATURES)
def test_limits_part_the_measured_temperatures(tau, epochs, expected):
    found = report(changed(search__trend=[epoch(near, active, tau) for near, active in epochs]), tau=tau)
    assert ("gates-hardly-learn" in found) == expected


def test_longer_epochs_do_not_change_what_is_said_of_the_gradient():
    """Most steps of a long first epoch see polarized gates; few of all gates are active then."""
    long = 0.05 * 0.476 + 0.95 * 0.085
    found = report(changed(search__trend=[epoch(0.05 * 0.36 + 0.95 * 0.90, long)]))
    assert long < ACTIVE_PER_UNDECIDED / 3 and found == {}


def test_advice_on_temperature_points_the_right_way():
    low = report(changed(search__trend=[epoch(0.3, 0.09, tau=0.05)]), tau=0.05)["gates-hardly-learn"]
    high = report(changed(search__trend=[epoch(0.3, 0.0, tau=10.0)]), tau=10.0)["gates-hardly-learn"]
    assert low.advice.startswith("raise tau (now 0.05)") and "no slope" not in low.evidence
    assert high.advice.startswith("lower tau (now 10)") and "no slope exceeds 0.025" in high.evidence


def test_advice_on_polarization_names_what_was_off():
    not_bimodal = PROVOKED["probabilities-not-bimodal"]
    advice = {
        name: report(not_bimodal, **settings)["probabilities-not-bimodal"].advice
        for name, settings in {
            "off": {"lam": 0.0},
            "l1": {"lam_polarization": 0.0},
            "on": {},
        }.items()
    }
    assert "set lam, e.g. to 0.05" in advice["off"]
    assert "set lam_polarization" in advice["l1"]
    assert "raise lam" in advice["on"]
    moving = copy.deepcopy(not_bimodal)
    for last in (epoch(0.55, 0.3), epoch(0.4, 0.4) | {"mean": 0.25}):
        moving["search"]["trend"] = [epoch(0.4, 0.4), last]
        assert "train more gated epochs" in report(moving)["probabilities-not-bimodal"].advice


def test_static_masks_that_had_differed_before_say_so():
    static = changed(
        derive__hamming__between_samples=0.0,
        search__trend=[epoch(0.55, 0.4, hamming=0.028), epoch(1.0, 0.0, hamming=0.0)],
    )
    assert "they had differed in 2.8 %" in report(static)["static-masks"].evidence
    assert (
        "had differed" not in report(PROVOKED["one-field"]).get("static-masks", Finding("", "", "")).evidence
    )
    never = changed(derive__hamming__between_samples=0.0, search__trend=[epoch(0.5, 0.4, hamming=0.0)])
    assert "had differed" not in report(never)["static-masks"].evidence
    assert "warmup_epochs = 0" in report(never)["static-masks"].advice
    assert "warmup_epochs" not in report(never, warmup_epochs=0)["static-masks"].advice


def test_masks_that_keep_all_or_nothing_are_not_called_static_too():
    """Their advice would contradict: more of the regularizer, and less."""
    for kept, signature in ((0.0, "all-off"), (1.0, "all-on")):
        equal = changed(derive__sample_keep_rate__mean=kept, derive__hamming__between_samples=0.0)
        assert set(report(equal)) == {signature}


def test_fewer_clusters_than_asked_for_is_said_as_it_is():
    found = report(changed(derive__k_wanted=8, derive__clusters=5), k=8)["one-cluster"]
    assert "5 clusters are left of the 8" in found.evidence


def test_soft_masks_get_the_advice_that_fits():
    gap = PROVOKED["train-serve-gap"]
    assert "hard = true" in report(gap, hard=False, tau=5.0)["train-serve-gap"].advice
    assert "hard = true" not in report(gap)["train-serve-gap"].advice


@pytest.mark.parametrize(
    ("settings", "sampled", "served", "expected"),
    [
        ({"tau": 0.5}, 0.7755, 0.7777, False),
        ({"hard": False, "tau": 0.5}, 0.7744, 0.7728, False),
        ({"hard": False, "tau": 2.0}, 0.7830, 0.7730, True),
        ({"hard": False, "tau": 5.0}, 0.7813, 0.7306, True),
        ({"hard": False, "tau": 5.0, "warmup_epochs": 2}, 0.7880, 0.7640, True),
    ],
)
def test_limits_part_the_measured_gaps(settings, sampled, served, expected):
    scores = changed(search__search_scores={"auc": served}, search__sampled_scores={"auc": sampled})
    assert ("train-serve-gap" in report(scores, **settings)) == expected


# Settings, adjusted Rand index with the groups, and of the clusters: silhouette, agreement of seeds, largest field's
# information; the findings.
CLUSTERINGS = [
    ("robust, on m", 0.99, 0.292, 1.0, 0.19, set()),
    ("robust-l1, on m, T2 seed 1", 0.98, 0.171, 0.996, 0.19, set()),
    ("robust-l1, on m, T3 seed 1", 0.93, 0.131, 0.476, 0.18, {"unstable-clusters"}),
    (
        "robust-l1, on m, T1: one field decides the group",
        0.97,
        0.153,
        0.515,
        0.95,
        {"unstable-clusters", "one-field"},
    ),
    ("robust, on e*m", 0.26, 0.059, 0.384, 0.61, {"poor-separation", "unstable-clusters"}),
    ("warm-up 2, on e*m", 0.26, 0.112, 0.514, 1.0, {"poor-separation", "unstable-clusters", "one-field"}),
    ("warm-up 2, on m", 0.33, 0.100, 0.432, 0.13, {"poor-separation", "unstable-clusters"}),
    ("robust-l1, on m, k = 8 (G = 2)", 0.28, 0.094, 0.502, 0.09, {"poor-separation", "unstable-clusters"}),
]


@pytest.mark.parametrize("row", CLUSTERINGS, ids=lambda row: row[0])
def test_limits_part_the_measured_clusterings(row):
    _, _, silhouette, agreement, information, expected = row
    measured = changed(
        derive__silhouette=silhouette,
        derive__stability=agreement,
        derive__cluster_field_information={"a": information, "b": 0.0},
    )
    assert set(report(measured)) == expected


def test_the_searcher_says_nothing_by_default():
    from nasbench_rec.methods.random import Random

    assert Random().health({"search": {}, "derive": {}}, None) == ()
