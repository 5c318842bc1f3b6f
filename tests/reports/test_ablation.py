"""The ablation's table against numbers by hand, its bars, its figures' frames, and what the files say."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports import _ablation_frames as frames
from nasbench_rec.reports.ablation import (
    FIGURES,
    ablation_frame,
    bars_frame,
    print_ablation,
    write_ablation,
)
from rich.console import Console

from nasbench_rec.errors import ConfigError, DataError, StoreError

FIELDS = ["ctx0", "ctx1", "ctx2", "distractor", "common0", "common1", "own0", "own1", "other0", "useless"]
D = 4
HOSTILE = "<script>alert(1)</script>|`[a](b)*$x$\n\x1b[31m"


@dataclass(frozen=True)
class Bar:
    name: str
    variant: str
    value: str
    versus: str = ""
    at_least: float | None = None
    at_most: float | None = None
    hold_in: int = 0


def clustering(rng: np.random.Generator, k: int, found: bool) -> dict[str, Any]:
    """Return the diagnostics of a derivation with k clusters, recovered (`found`) or all alike."""
    masks = np.clip(rng.normal(0.3, 0.15, (k, len(FIELDS), D)), 0, 1)
    if found:
        for c in range(k):
            masks[c, 6 + c % 3] = np.clip(rng.normal(0.85, 0.05, D), 0, 1)
    sizes = rng.multinomial(20_000, [1 / k] * k)
    middle = rng.dirichlet(np.full(48, 2.0)) * 0.12
    histogram = np.concatenate([[0.55], middle, [0.33]])
    theta = np.round(np.linspace(0.1, 0.9, 9), 2)
    best = rng.choice(theta[1:5], k)
    near = {"near_0": 0.57, "near_1": float(0.33 + 0.03 * rng.normal()), "middle": 0.1, "mean": 0.36}
    near |= {"dip": float(0.08 + 0.01 * rng.normal()), "dip_p": 0.0, "coefficient": 0.8, "valley": 0.45}
    return {
        "cut": 0.5,
        "k_wanted": k,
        "clusters": k,
        "cluster_sizes": sizes.tolist(),
        "theta": best.tolist(),
        "columns_kept": (masks > 0.4).mean((1, 2)).tolist(),
        "probability_histogram": {"train": histogram.tolist(), "search": np.roll(histogram, 0).tolist()},
        "bimodality": {"train": near, "search": near},
        "hamming": {"between_samples": float(0.22 if found else 0.011), "cluster_masks": 0.3},
        "silhouette": 0.41 if found else None,
        "separation": 1.83 if found else 0.2,
        "stability": 0.97,
        "cluster_field_information": {
            f: float(v)
            for f, v in zip(FIELDS, rng.uniform(0, 0.3 if found else 0.97, len(FIELDS)), strict=True)
        },
        "threshold_curve": {
            "theta": theta.tolist(),
            "logloss": [(0.5 + 0.01 * (theta - b) ** 2).tolist() for b in best],
            "rows": sizes.tolist(),
        },
        "cluster_masks_mean": masks.tolist(),
        "cluster_columns": (masks > 0.4).astype(int).tolist(),
        "fields": FIELDS,
    }


def trend(rng: np.random.Generator, warm_up: int, found: bool, epochs: int = 12) -> list[dict[str, Any]]:
    """Return the search's trend: probabilities that part over the epochs, after a warm-up without gates."""
    points: list[dict[str, Any]] = []
    names = ("mean", "near_0", "near_1", "histogram", "gate_gradient", "active", "hamming")
    for epoch in range(epochs):
        if epoch < warm_up:
            points.append({"epoch": epoch, "gated": False, "tau": None} | dict.fromkeys(names))
            continue
        t = (epoch - warm_up) / (epochs - 1 - warm_up)
        near_0, near_1 = 0.55 * t**2, 0.35 * t**2
        shares = rng.dirichlet(np.full(16, 3.0)) * (1 - near_0 - near_1)
        histogram = [near_0 / 2] * 2 + shares.tolist() + [near_1 / 2] * 2
        hamming = (0.2 if found else 0.1 * (1 - t)) * (1 + 0.05 * rng.normal())
        values = (0.7 - 0.3 * t, near_0, near_1, histogram, 0.005, 0.4, abs(float(hamming)))
        points.append({"epoch": epoch, "gated": True, "tau": 0.5} | dict(zip(names, values, strict=True)))
    return points


def make(method: str, seed: int, **options: Any) -> dict[str, Any]:
    """Return a record; options: auc, valid, rand, k (0: not clustered), found, warm_up, size, router, health."""
    known = {"auc": 0.75, "valid": None, "rand": None, "k": 0, "found": True, "warm_up": 0, "size": 40_000}
    o = known | {"router": 9_000, "health": [], "real": False} | options
    rng = np.random.default_rng([seed, len(method), o["k"], int(o["found"])])
    latency = {"1": 2e-4, "256": 6e-4, "4096": 5e-3}
    record: dict[str, Any] = {
        "status": "ok",
        "error": None,
        "method": method,
        "fingerprint": "abc",
        "scores": {
            "test_auc": o["auc"] - 0.01,
            "test_logloss": 0.5 - 0.2 * (o["auc"] - 0.7),
            "valid_auc": o["auc"] if o["valid"] is None else o["valid"],
            "expected_auc": None if o["real"] else o["auc"],
        },
        "recovery": {} if o["rand"] is None else {"adjusted_rand": o["rand"]},
        "ledger": {"embedding_bytes": o["size"], "router_bytes": 0, "latency_seconds": latency},
        "routing": None,
        "health": o["health"],
        "diagnostics": {},
    }
    if o["k"]:
        record["ledger"] |= {
            "embedding_bytes": o["size"] + o["router"],
            "router_bytes": o["router"],
            "latency_seconds": {size: 1.7 * seconds for size, seconds in latency.items()},
            "router_latency_seconds": {size: 0.6 * seconds for size, seconds in latency.items()},
        }
        rates = rng.uniform(0.25, 0.45, o["k"])
        noise = rng.uniform(size=300) < (0.03 if o["found"] else 1.0)
        labels = np.where(noise, rng.integers(0, o["k"], 300), np.arange(300) % o["k"])
        record["routing"] = {
            "sample": labels.tolist(),
            "clusters": [
                {"rows": 9_000, "positive_rate": float(r), "mean_prediction": float(r + 0.006 * rng.normal())}
                for r in rates
            ],
        }
    if method.startswith("ihas"):
        derive = clustering(rng, o["k"] or 2, o["found"])
        record["diagnostics"] = {"search": {"trend": trend(rng, o["warm_up"], o["found"])}, "derive": derive}
    return record


def plan_of(entries: list[dict[str, Any]]) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Return plan and records of entries: variant, seed, record (None: not run), and what differs else."""
    rows, records = [], {}
    for i, entry in enumerate(entries):
        row = {"factor": "", "value": None, "best_of": "", "dataset": "planted", "backbone": "deepfm"}
        row |= {"split_seed": 0, "key": f"key{i}"} | entry
        record = row.pop("record")
        if record is not None:
            records[row["key"]] = {**record, "key": row["key"]}
        rows.append(row)
    return pd.DataFrame(rows), records


STATIC = {"signature": "static-masks", "evidence": "Hamming distance .011", "advice": "lower the penalty"}


def study(seeds: int = 3, **common: Any) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Return a whole ablation: base, two factors, controls, a tuned uniform model, a failure, one not run."""
    rng, entries = np.random.default_rng(3), []

    def add(
        variant: str, method: str, gain: float, place: dict[str, Any] | None = None, **options: Any
    ) -> None:
        for seed in range(seeds):
            auc = 0.78 + gain + 0.004 * seed + 0.0015 * rng.normal()
            record = make(method, seed, auc=auc, **options, **common)
            entries.append({"variant": variant, "seed": seed, "record": record} | (place or {}))

    ihas = {"k": 2, "rand": 0.98}
    add("default", "ihas/robust", 0.021, **ihas)
    for tau, gain in ((0.05, -0.004), (0.2, 0.02), (1.0, 0.018)):
        place = {"factor": "tau", "value": tau}
        add(f"tau = {tau}", "ihas/robust", gain, place, **ihas, found=tau > 0.1)
    for warm_up in (2,):
        place = {"factor": "warm_up", "value": warm_up}
        add(
            "warm_up = 2", "ihas/robust", -0.01, place, k=2, rand=0.3, warm_up=2, found=False, health=[STATIC]
        )
    add("k = 4", "ihas/robust", 0.012, {"factor": "k", "value": 4}, k=4, rand=0.5, size=70_000)
    add("random clusters, full width, of the same sizes", "ihas/robust", -0.02, k=2, rand=0.0, found=False)
    add("no clusters", "ihas/robust", 0.017, router=0)
    for width in (2, 4, 8):
        place = {"best_of": "uniform, tuned"}
        add(f"uniform width {width}", "fixed", 0.004 * (4 - width), place, size=10_000 * width)
    add("uniform", "fixed", 0.0)
    for entry in entries:
        if entry["variant"] == "tau = 1.0" and entry["seed"] == 1:
            entry["record"] = {"status": "failed", "error": "ValueError: loss is nan\n more"}
        if entry["variant"] == "k = 4" and entry["seed"] == 2:
            entry["record"] = None
    return plan_of(entries)


def texts(svg: bytes) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def pair(*aucs: list[float | None], **options: Any) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Return variants default, other, third ... with these AUCs per seed (None: failed)."""
    entries = []
    for name, values in zip(("default", "other", "third"), aucs, strict=False):
        for seed, auc in enumerate(values):
            failed = {"status": "failed", "error": "ValueError: no"}
            record = failed if auc is None else make("fixed", seed, auc=auc, **options)
            entries.append({"variant": name, "seed": seed, "record": record})
    return plan_of(entries)


def row_of(frame: pd.DataFrame, variant: str) -> pd.Series:
    return frame[frame["variant"] == variant].iloc[0]


def test_differences_are_paired_by_seed_and_taken_on_the_expected_auc():
    plan, records = pair([0.70, 0.80, 0.72], [0.71, 0.83, 0.74])
    other = row_of(ablation_frame(plan, records, "default"), "other")
    half = 4.302653 * 0.01 / math.sqrt(3)
    expected = [0.02, 0.02 - half, 0.02 + half]
    assert other[["vs_default", "vs_default_low", "vs_default_high"]].tolist() == pytest.approx(
        expected, abs=1e-6
    )
    assert other[["metric", "vs_default_pairs", "vs_default_interval"]].tolist() == ["expected_auc", 3, "t"]
    assert other["test_auc"] == pytest.approx(0.75)
    assert other["expected_auc_sd"] == pytest.approx(np.std([0.71, 0.83, 0.74], ddof=1))


def test_on_real_data_differences_are_of_the_test_auc():
    plan, records = pair([0.70, 0.80], [0.71, 0.83], real=True)
    other = row_of(ablation_frame(plan, records, "default"), "other")
    assert other["metric"] == "test_auc"
    assert other["vs_default"] == pytest.approx(0.02)
    assert math.isnan(other["expected_auc"])


def test_a_seed_of_another_split_is_no_pair():
    plan, records = pair([0.70, 0.80], [0.71, 0.83])
    plan.loc[3, "split_seed"] = 1
    assert row_of(ablation_frame(plan, records, ""), "other")["vs_default_pairs"] == 1


def test_failed_and_missing_units_stay_visible():
    plan, records = pair([0.70, 0.72, 0.74], [0.71, None, 0.75], [None, None, None])
    del records[plan.loc[2, "key"]]
    frame = ablation_frame(plan, records, "other")
    base, other, third = (row_of(frame, name) for name in ("default", "other", "third"))
    assert base[["n", "failed", "missing", "reason"]].tolist() == [2, 0, 1, "1 of 3 units not run"]
    assert other[["n", "failed", "missing", "reason"]].tolist() == [2, 1, 0, "ValueError: no"]
    assert other["vs_default_pairs"] == 1, "seed 1 failed here, seed 2 is missing there"
    assert third[["n", "failed"]].tolist() == [0, 3]
    assert math.isnan(third["test_auc"])
    assert third["vs_reference_pairs"] == 0


def test_rows_are_in_the_order_of_the_plan():
    plan, records = study()
    frame = ablation_frame(plan, records, "uniform")
    names = list(dict.fromkeys(plan["variant"]))
    names.insert(names.index("uniform width 8") + 1, "uniform, tuned")
    assert frame["variant"].tolist() == names
    assert frame.loc[frame["chosen"], "variant"].tolist() == ["uniform, tuned"]


def best_of(*members: dict[int, dict[str, Any] | None]) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    entries = [
        {"variant": f"m{i}", "best_of": "best", "seed": seed, "record": record}
        for i, member in enumerate(members)
        for seed, record in member.items()
    ]
    return plan_of(entries)


def test_the_best_is_chosen_per_seed_by_validation_and_never_by_test():
    first = {0: make("fixed", 0, auc=0.70, valid=0.9), 1: make("fixed", 1, auc=0.72, valid=0.6)}
    second = {0: make("fixed", 0, auc=0.95, valid=0.8), 1: make("fixed", 1, auc=0.74, valid=0.7)}
    best = row_of(ablation_frame(*best_of(first, second), "best"), "best")
    assert best["expected_auc"] == pytest.approx((0.70 + 0.74) / 2)
    assert best["n"] == 2


def test_the_best_of_a_group_says_which_members_are_lost():
    broken = {"status": "failed", "error": "ValueError: no"}
    plan, records = best_of({0: make("fixed", 0, auc=0.7), 1: broken}, {0: broken, 1: None})
    best = row_of(ablation_frame(plan, records, ""), "best")
    assert best[["n", "failed", "missing"]].tolist() == [1, 1, 0]
    assert best["expected_auc"] == pytest.approx(0.7)
    plan, records = best_of({0: make("fixed", 0, auc=0.7)}, {0: broken})
    assert "without 1 units" in row_of(ablation_frame(plan, records, ""), "best")["reason"]


def test_costs_with_and_without_the_router_at_the_largest_common_batch():
    plan, records = plan_of(
        [
            {"variant": "default", "seed": 0, "record": make("ihas", 0, k=2, size=1000, router=300)},
            {"variant": "uniform", "seed": 0, "record": make("fixed", 0, size=1000)},
        ]
    )
    del records["key1"]["ledger"]["latency_seconds"]["4096"]
    frame = ablation_frame(plan, records, "uniform")
    base, uniform = row_of(frame, "default"), row_of(frame, "uniform")
    sizes = ["embedding_bytes", "router_bytes", "bytes_without_router"]
    assert base[sizes].tolist() == [1300, 300, 1000]
    assert uniform[sizes].tolist() == [1000, 0, 1000]
    assert base["latency_batch"] == uniform["latency_batch"] == 256
    times = ["latency_seconds", "latency_without_router_seconds"]
    assert base[times].tolist() == pytest.approx([1.7 * 6e-4, 1.1 * 6e-4])
    assert uniform[times].tolist() == pytest.approx([6e-4, 6e-4])


def test_structure_and_health_are_counted_over_seeds():
    entries = [
        {"variant": "default", "seed": s, "record": make("ihas", s, k=2, rand=r, health=[STATIC] * (s > 0))}
        for s, r in enumerate((0.9, 1.0, 0.2))
    ]
    plan, records = plan_of(entries)
    base = row_of(ablation_frame(plan, records, ""), "default")
    assert base["adjusted_rand"] == pytest.approx(0.7)
    assert base["adjusted_rand_min"] == 0.2
    assert base["hamming"] == pytest.approx(0.22)
    near = [r["diagnostics"]["derive"]["bimodality"]["train"] for r in records.values()]
    assert base["near"] == pytest.approx(np.mean([n["near_0"] + n["near_1"] for n in near]))
    assert base["health"] == "static-masks 2/3"


def test_a_plan_that_is_no_plan_is_refused():
    plan, records = pair([0.7, 0.8])
    with pytest.raises(DataError, match="lacks the columns best_of, key"):
        ablation_frame(plan.drop(columns=["best_of", "key"]), records, "")
    with pytest.raises(DataError, match="no units"):
        ablation_frame(plan.iloc[:0], records, "")
    with pytest.raises(DataError, match="'default' on planted, deepfm is planned twice for seed 0"):
        ablation_frame(pd.concat([plan, plan.iloc[:1]]), records, "")


def bar_of(plan: pd.DataFrame, records: dict[str, dict[str, Any]], **options: Any) -> pd.Series:
    return bars_frame(
        plan, records, [Bar("bar", **{"variant": "default", "value": "scores.expected_auc"} | options)]
    ).iloc[0]


@pytest.mark.parametrize(("hold_in", "met"), [(2, True), (3, False), (0, True)])
def test_a_bar_holds_in_so_many_seeds_or_on_average(hold_in, met):
    plan, records = pair([0.70, 0.72, 0.80])
    bar = bar_of(plan, records, at_least=0.72, hold_in=hold_in)
    assert (bar["hold"], bar["met"], bar["note"]) == (2, met, "")
    assert bar["values"] == pytest.approx((0.70, 0.72, 0.80))


def test_a_bar_can_have_two_bounds_and_say_so():
    bar = bar_of(*pair([0.70, 0.72]), at_least=0.71, at_most=0.715, hold_in=1)
    assert bar["wanted"] == "at least 0.71 and at most 0.715 in 1 seed"
    assert not bar["met"]
    assert bar_of(*pair([0.70]), at_most=0.7)["wanted"] == "at most 0.7 on average over seeds"
    with pytest.raises(DataError, match="'bar' has no bound"):
        bar_of(*pair([0.70]))


def test_a_bar_on_a_difference_is_judged_pair_by_pair():
    plan, records = pair([0.70, 0.80, 0.75], [0.71, 0.79, 0.74])
    bar = bar_of(plan, records, versus="other", at_least=0.005, hold_in=2)
    assert bar["values"] == pytest.approx((-0.01, 0.01, 0.01))
    assert bar["met"]
    assert not bar_of(plan, records, versus="other", at_least=0.005)["met"]


@pytest.mark.parametrize("hold_in", [0, 3])
def test_a_missing_value_counts_as_not_met_and_says_so(hold_in):
    plan, records = pair([0.80, None, 0.80])
    bar = bar_of(plan, records, at_least=0.5, hold_in=hold_in)
    assert not bar["met"]
    assert bar["note"] == "no value in seed 1 (failed: ValueError: no), which counts as not met"
    assert bar_of(plan, records, at_least=0.5, hold_in=2)["met"], "two seeds are enough"


def test_a_bar_on_what_no_record_has_is_not_met():
    plan, records = pair([0.80], [0.80])
    bar = bar_of(plan, records, value="recovery.nothing", at_most=1.0)
    assert not bar["met"]
    assert "no such value" in bar["note"]
    for options in ({"variant": "gone"}, {"versus": "gone"}):
        bar = bar_of(plan, records, at_most=1.0, hold_in=0, **options)
        assert not bar["met"]
        assert bar["note"] == "not met, as the plan has no variant 'gone'"


def test_bars_can_judge_the_best_of_a_group():
    entries = [
        {"variant": f"u{i}", "best_of": "tuned", "seed": 0, "record": make("fixed", 0, auc=a)}
        for i, a in enumerate((0.7, 0.8))
    ]
    plan, records = plan_of(
        [{"variant": "default", "seed": 0, "record": make("fixed", 0, auc=0.81)}, *entries]
    )
    bar = bar_of(plan, records, versus="tuned", at_least=0.0)
    assert bar["values"] == pytest.approx((0.01,))


def test_the_trend_has_a_row_per_epoch_with_nothing_in_the_warm_up():
    plan, records = study(2)
    frame = frames.trend_frame(plan, records)
    warm = frame[(frame["variant"] == "warm_up = 2") & (frame["seed"] == 0)]
    assert warm["gated"].tolist() == [False, False] + [True] * 10
    assert warm.loc[~warm["gated"], list(frames.TREND)].isna().all(axis=None)
    assert "uniform" not in set(frame["variant"]), "it has no gates"
    over = frames.histogram_over_time_frame(plan, records)
    sums = over.groupby(["variant", "epoch"])["share"].sum(min_count=1)
    assert sums["warm_up = 2"].isna().tolist() == [True, True] + [False] * 10
    assert sums.dropna().tolist() == pytest.approx([1.0] * sums.notna().sum())


def test_centroids_are_means_over_a_fields_columns():
    plan, records = plan_of([{"variant": "default", "seed": 4, "record": make("ihas", 4, k=3)}])
    derive = records["key0"]["diagnostics"]["derive"]
    frame = frames.centroids_frame(plan, records)
    assert len(frame) == 3 * len(FIELDS)
    share = frame.pivot(index="cluster", columns="field", values="share")[FIELDS]
    np.testing.assert_allclose(share, np.mean(derive["cluster_masks_mean"], axis=2))
    columns = frame.pivot(index="cluster", columns="field", values="columns")[FIELDS]
    np.testing.assert_array_equal(columns, np.sum(derive["cluster_columns"], axis=2))
    assert frame.groupby("cluster")["rows"].first().sum() == pytest.approx(1)


def agreeing(labels: dict[int, list[int]], **changes: dict[int, Any]) -> pd.DataFrame:
    entries = []
    for seed, found in labels.items():
        record = make("ihas", seed, k=2)
        record["routing"]["sample"] = found
        record |= {name: values.get(seed, record.get(name)) for name, values in changes.items()}
        entries.append({"variant": "default", "seed": seed, "record": record})
    return frames.agreement_frame(*plan_of(entries))


def test_agreement_does_not_depend_on_the_clusters_names():
    frame = agreeing({0: [0, 0, 1, 1], 1: [1, 1, 0, 0], 2: [0, 1, 0, 1]})
    assert frame[["seed", "other"]].values.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert frame["rand"].tolist() == pytest.approx([1.0, -0.5, -0.5])
    assert frame["information"].iloc[0] == pytest.approx(1.0)


def test_agreement_of_a_single_cluster_is_not_perfect_but_unknown():
    frame = agreeing({0: [0, 0, 0, 0], 1: [0, 0, 0, 0]})
    assert frame[["rand", "information"]].isna().all(axis=None)


def test_clusterings_of_other_rows_are_not_compared():
    labels = {0: [0, 0, 1, 1], 1: [0, 0, 1, 1]}
    assert len(agreeing(labels)) == 1
    assert agreeing(labels, fingerprint={1: "other data"}).empty
    assert agreeing({0: [0, 1], 1: [0, 1, 1]}).empty


def test_thresholds_are_counted_from_each_clusters_best():
    record = make("ihas", 0, k=2)
    derive = record["diagnostics"]["derive"]
    derive["threshold_curve"] = {"theta": [0.1, 0.5], "logloss": [[0.4, 0.3], [0.6, None]], "rows": [10, 30]}
    derive["theta"] = [0.5, 0.1]
    frame = frames.threshold_frame(*plan_of([{"variant": "default", "seed": 0, "record": record}]))
    assert frame["excess"].tolist() == pytest.approx([0.1, 0, 0, math.nan], nan_ok=True)
    assert frame["chosen"].tolist() == [False, True, True, False]


def test_factors_are_compared_with_the_base_and_groups_stand_for_their_members():
    plan, records = study()
    frame = frames.factor_frame(plan, records)
    assert not {"default", "uniform width 2"} & set(frame["variant"])
    assert "uniform, tuned" in set(frame["variant"])
    table = ablation_frame(plan, records, "")
    low = row_of(frame, "tau = 0.05")
    assert low["mean"] == row_of(table, "tau = 0.05")["vs_default"]
    assert (low["factor"], low["setting"], low["lost"]) == ("tau", "0.05", 0)
    assert row_of(frame, "tau = 1.0")[["lost", "units"]].tolist() == [1, 3]
    assert frames.factor_frame(plan[plan["variant"] != "default"], records).empty


def test_points_reach_from_the_size_without_the_router():
    plan, records = study()
    point = frames.bytes_frame(plan, records).set_index("label").loc["default"]
    assert point[["bytes_low", "embedding_bytes", "bytes_high"]].tolist() == [40_000, 49_000, 49_000]


def test_latency_without_routing_and_the_uniform_model():
    plan, records = study()
    frame = frames.latency_frame(plan, records)
    base = frame[(frame["variant"] == "default") & (frame["batch"] == 256)].iloc[0]
    assert base[["seconds", "without"]].tolist() == pytest.approx([1.7 * 6e-4, 1.1 * 6e-4])
    assert set(frame.loc[frame["uniform"], "variant"]) == {"uniform", "uniform, tuned"}
    assert frame["batch"].drop_duplicates().tolist() == [1, 256, 4096]


def test_calibration_is_the_error_with_the_noise_of_the_rate():
    record = make("ihas", 0, k=1)
    record["routing"]["clusters"] = [
        {"rows": 100, "positive_rate": 0.2, "mean_prediction": 0.25},
        {"rows": 0, "positive_rate": None, "mean_prediction": None},
    ]
    frame = frames.calibration_frame(*plan_of([{"variant": "default", "seed": 0, "record": record}]))
    assert frame[["rate", "error", "noise"]].values.tolist() == [pytest.approx([0.2, 0.05, 1.96 * 0.04])]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_without_a_warning_and_labels_its_axes(name):
    from nasbench_rec.reports.figures import svg

    found = texts(svg(FIGURES[name](*study(2))))
    words = {
        "polarization-trend": ["epoch", "mean probability", "warm-up, no gates", "warm_up = 2"],
        "histogram-over-time": ["epoch", "gate probability", "share of gates"],
        "histogram": ["gate probability", "share of gates", "training rows", "search rows"],
        "centroids": [
            "own0",
            "cluster 3",
            "share of rows",
            "mean kept share",
            "k = 4, seed 0: separation 1.83, silhouette 0.41",
        ],
        "bimodality": [
            "instance-wise selection",
            "for all: static selection",
            "dip statistic of the probabilities (0: one peak)",
        ],
        "agreement": ["adjusted Rand index", "adjusted mutual information", "default"],
        "threshold-curve": ["threshold on the mean mask", "chosen"],
        "factor": ["tau", "0.05", "uniform, tuned", "expected AUC − that of default", "1 of 2 units missing"],
        "auc-over-bytes": [
            "embedding size with router (bytes, logarithmic)",
            "expected AUC, mean over seeds",
        ],
        "latency": ["ms per batch", "batches of 4,096", "uniform model", "with routing"],
        "field-information": ["clusters' entropy", "distractor"],
        "calibration": ["positive rate of the cluster", "mean prediction − positive rate"],
    }[name]
    assert not [word for word in words if word not in found]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FIGURES)
def test_figures_can_be_drawn_of_one_unit_and_of_several_data_sets(name):
    from nasbench_rec.reports.figures import pdf

    one = [{"variant": n, "seed": 0, "record": make("ihas", 0, k=2)} for n in ("default", "other")]
    plan, records = plan_of(one)
    second = plan.assign(dataset="frappe", key=plan["key"] + "b")
    both = pd.concat([plan, second]), records | {f"{k}b": v for k, v in records.items()}
    assert (FIGURES[name](plan, records) is None) == (name == "agreement"), "one seed agrees with nobody"
    if name != "agreement":
        assert pdf(FIGURES[name](plan, records)).startswith(b"%PDF")
        assert pdf(FIGURES[name](*both)).startswith(b"%PDF")


@pytest.mark.parametrize("name", [n for n in FIGURES if n not in ("factor", "auc-over-bytes", "latency")])
def test_a_figure_that_no_record_can_fill_is_none(name):
    assert FIGURES[name](*pair([0.7, 0.8])) is None


def test_nothing_is_drawn_where_every_unit_failed():
    plan, records = pair([None, None])
    assert all(figure(plan, records) is None for figure in FIGURES.values())


BARS = [
    Bar("groups are found", "default", "recovery.adjusted_rand", at_least=0.9, hold_in=3),
    Bar("beats the tuned uniform model", "default", "scores.expected_auc", "uniform, tuned", at_least=0.1),
]


def written(out, plan, records, **options):
    asked = {"figures": ["factor", "agreement"], "bars": BARS, "reference": "uniform, tuned"} | options
    return write_ablation(
        plan, records, name="gates", title="Gates", question="Do they matter?", out=out, **asked
    )


def test_files_hold_table_bars_health_and_figures(tmp_path):
    plan, records = study()
    paths = written(tmp_path / "new", plan, records)
    forms = {f"{n}.{form}" for n in ("factor", "agreement") for form in ("svg", "pdf")}
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "new").iterdir()}
    assert {path.name for path in paths} == forms | {"gates.csv", "gates.md", "gates.json"}
    table = pd.read_csv(tmp_path / "new/gates.csv", keep_default_na=True)
    frame = ablation_frame(plan, records, "uniform, tuned")
    assert table["vs_reference"].tolist() == pytest.approx(
        frame["vs_reference"].tolist(), nan_ok=True, rel=1e-12
    )
    text = (tmp_path / "new/gates.md").read_text("utf-8")
    assert "| AUC − default | AUC − uniform, tuned |" in text
    assert "- tau = 1.0: failed (1/3): ValueError: loss is nan\n- k = 4: not run (1/3)\n" in text
    assert "1 of 2 met." in text
    assert "| groups are found | yes | at least 0.9 in 3 seeds | 3 of 3 |" in text
    assert "| beats the tuned uniform model | NO |" in text
    assert (
        "**static-masks** (3 of 3 seeds: 0, 1, 2): Hamming distance .011 (seed 0). To try: lower the penalty."
        in text
    )
    assert "![agreement](agreement.svg)" in text


def test_equal_records_give_equal_bytes(tmp_path):
    plan, records = study(2)
    plan = plan[plan["variant"].isin(["default", "uniform"])]
    written(tmp_path / "a", plan, records, figures=list(FIGURES))
    written(tmp_path / "b", plan, dict(reversed(records.items())), figures=list(FIGURES))
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert len(names) == 3 + 2 * len(FIGURES)
    assert not [n for n in names if (tmp_path / "a" / n).read_bytes() != (tmp_path / "b" / n).read_bytes()]


def test_a_figure_without_content_is_named_and_an_unknown_one_refused(tmp_path):
    plan, records = pair([0.7, 0.8])
    paths = written(tmp_path, plan, records, figures=["centroids"], bars=[])
    assert {path.name for path in paths} == {"gates.csv", "gates.md", "gates.json"}
    text = (tmp_path / "gates.md").read_text("utf-8")
    assert "centroids: not drawn, as no record has what it needs." in text
    assert "## Bars" not in text
    with pytest.raises(ConfigError, match="unknown figure 'centroid'; did you mean 'centroids'"):
        written(tmp_path / "no", plan, records, figures=["centroid"])
    assert not (tmp_path / "no").exists()
    with pytest.raises(StoreError, match="cannot be written"):
        written(tmp_path / "gates.md", plan, records, figures=[], bars=[])


def test_foreign_text_is_inert(tmp_path):
    plan, records = study(2)
    plan = plan[plan["variant"].isin(["default", "tau = 0.05", "uniform"])]
    plan = plan.replace({"variant": {"tau = 0.05": HOSTILE}, "dataset": {"planted": HOSTILE}})
    finding = dict.fromkeys(("signature", "evidence", "advice"), HOSTILE)
    records = {
        k: {**v, "health": [finding]} if v["status"] == "ok" else {**v, "error": HOSTILE}
        for k, v in records.items()
    }
    written(tmp_path, plan, records, figures=list(FIGURES))
    text = (tmp_path / "gates.md").read_text("utf-8")
    assert "<script" not in text
    assert "\x1b" not in text
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    for path in tmp_path.glob("*.svg"):
        assert b"<script" not in path.read_bytes()


@pytest.mark.parametrize("width", [80, 120, 400])
def test_printed_tables_fit_and_say_what_is_left_out(width):
    plan, records = study()
    console = Console(width=width, record=True, file=io.StringIO())
    asked = {"title": "Gates", "question": "Do they matter?", "reference": "uniform", "bars": BARS}
    print_ablation(plan, records, **asked, console=console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "tau = 1.0: failed (1/3): ValueError: loss is nan" in text
    assert "Bars, planted, deepfm: 1 of 2 met." in text
    assert ("Not shown at this width" in text) == (width < 400)
    assert "static-masks 3/3" in text


def test_health_of_one_record_in_lines():
    from nasbench_rec.progress import health_lines

    lines = health_lines({"health": [STATIC]})
    assert lines == ["health: static-masks: Hamming distance .011. To try: lower the penalty"]
    assert health_lines({}) == health_lines({"health": None}) == []


def test_no_two_names_of_a_panel_overlap():
    """Tick labels of the forest plot keep a line each, whatever the number of variants."""
    from nasbench_rec.reports._drawing import style

    entries = [
        {
            "variant": f"v{i}",
            "factor": "f",
            "value": i,
            "seed": s,
            "record": make("fixed", s, auc=0.7 + i / 100),
        }
        for i, s in itertools.product(range(30), range(2))
    ]
    base = [{"variant": "default", "seed": s, "record": make("fixed", s)} for s in range(2)]
    plan, records = plan_of(base + [{**e, "key": f"v{i}"} for i, e in enumerate(entries)])
    figure = FIGURES["factor"](plan, records)
    with style():
        figure.canvas.draw()
        boxes = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 31
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_import_is_light():
    script = "import json, sys, nasbench_rec.reports.ablation; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "ray", "sklearn", "optuna", "matplotlib", "seaborn", "scipy", "rich"}
    assert not heavy & set(json.loads(done.stdout))
