"""Comparisons: frames by hand, what is drawn, that equal records give equal bytes, and that names do no harm."""

from __future__ import annotations

import itertools
import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from nasbench_rec.reports import _drawing, comparison
from nasbench_rec.reports._comparison_marks import spread_down
from nasbench_rec.reports._comparison_points import ALL, REFERENCE, area
from nasbench_rec.reports._comparison_units import budget, newest, pooled, stem
from nasbench_rec.reports.comparison import (
    FIGURES,
    PAPER,
    Evidence,
    Reference,
    anytime_frame,
    comparison_frames,
    critical_difference_frame,
    describe_figures,
    hypervolume_frame,
    paired_frame,
    pareto_frame,
    planted_widths,
    rank_over_budgets_frame,
    search_cost_frame,
    widths_frame,
    write_comparison,
)
from nasbench_rec.reports.figures import pdf, svg
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy import stats
from statsmodels.stats.multitest import multipletests

from nasbench_rec.errors import ConfigError, DataError, StoreError

HOSTILE = r"<script>$\frac{x}{y}$ & % _ ~ ^ \end{table}"
LONG = "名前" * 40
TEXT = {0.5: "1/2", 0.25: "1/4", 0.1: "1/10"}
SVG = "{http://www.w3.org/2000/svg}"


def texts(image: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(image).iter(f"{SVG}text")]


@pytest.fixture
def board(record):
    """Return records of methods with test AUCs by ratio and seed, on some data sets."""

    def build(aucs: dict[tuple[str, float], list[float]], datasets: tuple[str, ...] = ("a",)) -> pd.DataFrame:
        rows = []
        for dataset, ((name, ratio), values) in itertools.product(datasets, aucs.items()):
            label = name if ratio != ratio else f"{name} @ {TEXT[ratio]}"
            share = 1.0 if ratio != ratio else ratio
            for seed, auc in enumerate(values):
                row = record(label, name, seed, ratio=ratio, test_auc=auc, embedding_ratio=share)
                row |= {
                    "dataset": dataset,
                    "key": f"{dataset}/{label}/{seed}",
                    "embedding_bytes": 1000 * share,
                }
                row |= {"search_trainings": 2.0 if name == "m" else 0.0, "search_seconds": 3.0}
                if math.isnan(auc):
                    row |= {"status": "failed", "error": "OSError: disk full"}
                rows.append(row)
        return pd.DataFrame(rows)

    return build


def full(frame: pd.DataFrame, **changes: Any) -> list[dict[str, Any]]:
    """Return whole records for a frame: two epochs of retraining, two reports of a search, widths of three fields."""
    found = []
    for row in frame.to_dict("records"):
        auc = 0.7 + 0.01 * row["seed"]
        entry = {
            "key": row["key"],
            "status": row["status"],
            "fingerprint": "f1",
            "unit": {"protocol": {"epochs": 4, "dim": 16}},
            "scores": {"valid_auc": auc + 0.05},
            "search_trainings": row.get("search_trainings", 0.0),
            "search_seconds": row.get("search_seconds", 0.0),
            "retrain_seconds": 8.0,
            "history": {
                "search": [{"step": 1, "auc": auc}, {"step": 2, "auc": auc - 0.1}],
                "retrain": [
                    [
                        {"epoch": 0, "auc": auc + 0.02, "seconds": 1.0},
                        {"epoch": 1, "auc": auc + 0.01, "seconds": 2.5},
                    ]
                ],
            },
            "plan": {"widths": {"user": 16.0, HOSTILE: 8.0 + row["seed"], "useless": 0.0}},
        }
        found.append({**entry, **changes})
    return found


NAN = math.nan
TWO = {
    ("fixed", NAN): [0.80, 0.82, 0.81],
    ("m", 0.5): [0.801, 0.8209, 0.8111],
    ("m", 0.1): [0.79, 0.81, 0.80],
}


@pytest.mark.parametrize(
    ("label", "ratio", "name", "text"),
    [
        ("mde @ 1/2", 0.5, "mde", "1/2"),
        ("mde @ 0.15, search <= 3 trainings", 0.15, "mde, search <= 3 trainings", "0.15"),
        ("mde (a=1) @ 1/2 (b=2)", 0.5, "mde (a=1) (b=2)", "1/2"),
        ("fixed", NAN, "fixed", "own size"),
        ("x @ home", 0.5, "x @ home", "0.5"),
        ("m @ 1/2 @ 1/10", 0.1, "m @ 1/2", "1/10"),
    ],
)
def test_labels_lose_their_budget(label, ratio, name, text):
    assert stem(label, ratio) == name
    assert budget(label, ratio) == text


def test_the_front_by_hand(board):
    aucs = {
        **TWO,
        ("close", 0.5): [0.8009, 0.8210, 0.8109],
        ("worse", 0.5): [0.795, 0.8149, 0.8052],
        ("part", 0.1): [0.9, 0.9, NAN],
        ("lost", 0.1): [NAN, NAN, NAN],
    }
    points = pareto_frame(board(aucs)).set_index("label")
    assert points["standing"].to_dict() == {
        "m @ 1/10": "front",
        "m @ 1/2": "front",
        "close @ 1/2": "close",
        "worse @ 1/2": "dominated",
        "fixed": "dominated",
        "part @ 1/10": "partial",
        "lost @ 1/10": "failed",
    }
    assert points.loc["worse @ 1/2", "rival"] == "m @ 1/2"
    assert points.loc["m @ 1/2", "value"] == pytest.approx(0.001)
    assert points.loc["fixed", "value"] == 0
    assert points["relative"].all()
    assert points.loc["part @ 1/10", ["n", "failed", "pairs"]].tolist() == [2, 1, 2]


def test_equal_points_share_the_front(board):
    points = pareto_frame(board({("a", 0.5): [0.8, 0.81], ("b", 0.5): [0.8, 0.81]}))
    assert points["standing"].tolist() == ["front", "front"]
    assert not points["relative"].any()
    assert points["value"].tolist() == pytest.approx([0.805, 0.805]), "without the uniform model: the mean"


def test_search_costs_are_compared_within_a_budget(board):
    points = search_cost_frame(board({**TWO, ("random", 0.5): [0.8, 0.819, 0.8101]}))
    half = points[points["budget"] == "1/2"].set_index("label")
    assert set(half.index) == {"fixed", "m @ 1/2", "random @ 1/2"}
    assert half["cost"].to_dict() == {"fixed": 0, "m @ 1/2": 2, "random @ 1/2": 0}
    assert half["standing"].to_dict() == {"fixed": "reference", "m @ 1/2": "front", "random @ 1/2": "front"}
    assert set(points["budget"]) == {"1/2", "1/10"}, "of its own size there is the uniform model alone"
    assert set(search_cost_frame(board(TWO), "seconds")["cost"]) == {3.0}


def test_the_uniform_model_is_on_the_front_of_its_own_size_only(board):
    own = {("auto", NAN): [0.79, 0.81, 0.80], ("m", 0.5): [0.75, 0.77, 0.761]}
    points = search_cost_frame(board({("fixed", NAN): TWO["fixed", NAN], **own})).set_index(
        ["budget", "label"]
    )
    assert points["standing"].to_dict() == {
        ("own size", "auto"): "dominated",
        ("own size", "fixed"): "front",
        ("1/2", "fixed"): "reference",
        ("1/2", "m @ 1/2"): "front",
    }
    assert points.loc[("1/2", "m @ 1/2"), "value"] < 0, "larger plans are no alternative to those of a half"


def test_what_shares_no_seed_with_the_uniform_model_is_named(board):
    frame = board({**TWO, ("late", 0.5): [0.9, 0.9]})
    frame.loc[frame["method"] == "late", "seed"] += 10
    points = pareto_frame(frame).set_index("label")
    assert points.loc["late @ 1/2", ["standing", "n", "pairs"]].tolist() == ["unplaced", 2, 0]
    said = " ".join(texts(svg(FIGURES["pareto"].figure(pareto_frame(frame)))))
    assert "no seed of the uniform model, or cost not known: late @ 1/2" in said


def test_search_cost_needs_its_column(board):
    with pytest.raises(DataError, match="search_trainings"):
        search_cost_frame(board(TWO).drop(columns="search_trainings"))


def test_hypervolume_by_hand(board):
    # Best AUC from 1/100 to 1/10: none; from 1/10 to 1/2: .7; from 1/2 to 1: .8.
    decades = [math.log(5) * 0.2, math.log(2) * 0.3]
    assert area(np.array([0.5, 0.1]), np.array([0.8, 0.7])) == pytest.approx(sum(decades) / math.log(100))
    assert area(np.array([0.001]), np.array([0.7])) == pytest.approx(0.2), (
        "smaller than the floor counts as the floor"
    )
    assert area(np.array([0.5, 0.1]), np.array([0.7, 0.8])) == pytest.approx(
        0.3 * math.log(10) / math.log(100)
    )
    assert area(np.array([2.0, 0.5]), np.array([0.9, 0.4])) == 0, "dearer than the reference, or below it"
    assert area(np.array([]), np.array([])) == 0
    rows = hypervolume_frame(board(TWO)).set_index("name")
    assert list(rows.index) == [ALL, "m"], "the uniform model alone is one size"
    first = area(np.array([0.5, 0.1]), np.array([0.801, 0.79]))
    assert rows.loc["m", "n"] == 3
    assert first < rows.loc["m", "hypervolume"] <= rows.loc[ALL, "hypervolume"]
    assert rows.loc["m", ["reference_auc", "reference_ratio", "floor"]].tolist() == [0.5, 1.0, 0.01]
    other = hypervolume_frame(board(TWO), Reference(auc=0.7)).set_index("name")
    assert other.loc["m", "hypervolume"] < rows.loc["m", "hypervolume"]
    assert REFERENCE == Reference()


def test_hypervolume_is_paired_with_uniform_narrow_widths_of_the_same_sizes(board):
    narrow = {("fixed", 0.5): [0.795, 0.815, 0.806], ("fixed", 0.1): [0.78, 0.80, 0.79]}
    more = {("fixed", 0.25): [0.79, 0.81, 0.80]}
    rows = hypervolume_frame(board({**TWO, **narrow, **more})).set_index("name")
    sizes, seeds = np.array([0.5, 0.1]), range(3)
    by_hand = [
        area(sizes, np.array([TWO["m", r][i] for r in sizes]))
        - area(sizes, np.array([narrow["fixed", r][i] for r in sizes]))
        for i in seeds
    ]
    assert rows.loc["m", "pairs"] == 3
    assert rows.loc["m", "difference"] == pytest.approx(np.mean(by_hand)), "fixed @ 1/4 is left out"
    assert rows.loc["m", "difference_interval"] == "t" and rows.loc["fixed", "pairs"] == 0
    lacking = hypervolume_frame(board({**TWO, ("fixed", 0.1): [0.78, 0.80, 0.79]})).set_index("name")
    assert lacking.loc["m", "pairs"] == 0, "uniform narrow widths of 1/2 were not run"


def test_all_methods_together_are_of_the_seeds_that_all_have(board):
    frame = board({**TWO, ("good", 0.5): [0.9, 0.9], ("lost", 0.5): [0.8, NAN, 0.8]})
    frame = frame[~((frame["method"] == "good") & (frame["seed"] == 0))]
    rows = hypervolume_frame(frame).set_index("name")
    best = area(np.array([0.5, 0.1]), np.array([0.9, 0.81]))
    assert rows.loc[ALL, "n"] == 1, "seed 1: a failed unit was run, too"
    assert rows.loc[ALL, "hypervolume"] == pytest.approx(best)


def test_pairs_by_hand(board):
    frame = paired_frame(board({**TWO, ("part", 0.5): [0.8, NAN, 0.82]}))
    assert set(frame["label"]) == {"m @ 1/2", "m @ 1/10", "part @ 1/2"}
    one = frame[frame["label"] == "part @ 1/2"]
    assert one["difference"].tolist() == pytest.approx([0.0, 0.01])
    assert one[["mean", "pairs", "interval", "reference"]].iloc[0].tolist() == [
        pytest.approx(0.005),
        2,
        "t",
        "fixed",
    ]


def test_intervals_are_those_of_scipy_on_few_pairs_and_exact_on_more(board):
    frame = paired_frame(board(TWO)).drop_duplicates("label").set_index("label")
    gains = np.array([0.001, 0.0009, 0.0011])
    low, high = stats.t.interval(0.95, 2, gains.mean(), stats.sem(gains))
    assert frame.loc["m @ 1/2", ["low", "high"]].tolist() == pytest.approx([low, high])
    seven = [0.8 + 0.001 * i for i in range(7)]
    more = paired_frame(board({("fixed", NAN): seven, ("m", 0.5): [x + 0.002 + x * x / 99 for x in seven]}))
    assert set(more["interval"]) == {"sign-flip"} and (more["low"] > 0).all()
    exact = stats.permutation_test(
        (more["difference"].to_numpy(),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert exact.pvalue == pytest.approx(2**-6), "all differences have one sign"


def test_pairs_are_of_seeds_that_both_have(board):
    frame = board({("fixed", NAN): [0.8, 0.9, 0.8], ("m", 0.5): [0.81, 0.91, 0.81]})
    frame = frame[~((frame["label"] == "fixed") & (frame["seed"] == 1))]
    rows = paired_frame(frame)
    assert rows["seed"].tolist() == [0, 2] and rows["mean"].tolist() == pytest.approx([0.01, 0.01])


def test_what_failed_keeps_its_line(board):
    frame = paired_frame(board({**TWO, ("lost", 0.5): [NAN] * 3, ("part", 0.5): [0.8, NAN, 0.82]}))
    lost = frame[frame["label"] == "lost @ 1/2"]
    assert len(lost) == 1 and lost["pairs"].item() == 0 and math.isnan(lost["difference"].item())
    said = texts(svg(FIGURES["paired"].figure(frame)))
    assert {"lost @ 1/2", "0 ×3", "2 ×1", "3"} <= set(said)
    assert any("×: failed units" in text for text in said)


def test_the_band_of_small_differences_is_one_of_auc(board):
    frame = board(TWO).assign(test_logloss=lambda x: 1 - x["test_auc"])
    said = [" ".join(texts(svg(FIGURES["paired"].figure(paired_frame(frame, metric=m))))) for m in METRICS]
    assert ["too small to matter" in text for text in said] == [True, False]


METRICS = ("test_auc", "test_logloss")


def test_pairs_have_other_references(board):
    aucs = {**TWO, ("random", 0.5): [0.7, 0.7, 0.7], ("fixed", 0.1): [0.6, 0.6, 0.6]}
    frame = board(aucs)
    assert set(paired_frame(frame, "random")["reference"]) == {"random @ 1/2"}
    at_size = paired_frame(frame, "fixed @ 1/10")
    assert set(at_size["reference"]) == {"fixed @ 1/10"} and "m @ 1/2" in set(at_size["label"])
    narrow = paired_frame(frame, "fixed").set_index("label")["reference"].to_dict()
    assert narrow == {"m @ 1/10": "fixed @ 1/10"}, "at the same plan budget; of 1/2 there is none"
    same = paired_frame(frame.replace({"label": {"fixed": "fixed @ 1"}, "ratio": {NAN: 1.0}}), "m")
    assert not set(same["label"]) & {"m @ 1/2"}
    with pytest.raises(DataError, match="'nobody'.*m @ 1/2"):
        paired_frame(frame, "nobody")
    with pytest.raises(DataError, match="nothing"):
        paired_frame(frame, metric="nothing")


SIX = tuple("abcdef")


def test_a_diagram_refuses_too_few_data_sets(board):
    aucs = {(name, 0.5): [0.8, 0.81] for name in ("m", "n", "o")}
    with pytest.raises(DataError, match=r"6 places.*1/2: 3 methods on 5 places of 5 data sets"):
        critical_difference_frame(board(aucs, SIX[:5]))
    with pytest.raises(DataError, match="at least three methods"):
        critical_difference_frame(board({k: v for k, v in aucs.items() if k[0] != "o"}, SIX))


def test_a_diagram_by_hand(board):
    aucs = {
        ("m", 0.5): [0.8, 0.81],
        ("n", 0.5): [0.7, 0.7],
        ("o", 0.5): [0.69, 0.7],
        ("part", 0.5): [0.9, NAN],
    }
    frame = board(aucs, (*SIX, "g", "h"))
    rows = critical_difference_frame(frame).set_index("name")
    assert rows["rank"].to_dict() == {"m": 1, "n": 2, "o": 3, "part": pytest.approx(NAN, nan_ok=True)}
    assert rows.loc["m", ["places", "datasets", "methods", "test"]].tolist() == [8, 8, 3, "wilcoxon-holm"]
    assert set(rows["cliques"]) == {""}, "all are told apart"
    nemenyi = critical_difference_frame(frame, "nemenyi").set_index("name")
    assert nemenyi.loc["m", "critical_difference"] == pytest.approx(
        2.343 * math.sqrt(3 * 4 / (6 * 8)), rel=1e-3
    )
    assert nemenyi["cliques"].to_dict() == {"m": "1", "n": "1 2", "o": "2", "part": ""}


def test_a_diagram_is_that_of_scipy_and_scikit_posthocs(board):
    names, rng = "mnopq", np.random.default_rng(5)
    frame = board({(name, 0.5): [0.8] for name in names}, (*SIX, "g", "h", "i", "j"))
    frame["test_auc"] = 0.7 + 0.004 * frame["method"].map(names.index) + rng.normal(0, 0.004, len(frame))
    scores = frame.pivot(index="dataset", columns="method", values="test_auc")
    ranks = stats.rankdata(-scores.to_numpy(), axis=1).mean(axis=0)
    nemenyi = critical_difference_frame(frame, "nemenyi").set_index("name")
    assert nemenyi.loc[list(names), "rank"].tolist() == pytest.approx(ranks.tolist())
    p = posthoc_nemenyi_friedman(scores.to_numpy()).to_numpy()
    holm = critical_difference_frame(frame, "wilcoxon-holm").set_index("name")
    pairs = list(itertools.combinations(range(5), 2))
    raw = [stats.wilcoxon(*(scores[names[i]] for i in pair), method="exact").pvalue for pair in pairs]
    adjusted = multipletests(raw, method="holm")[1]
    for (i, j), q in zip(pairs, adjusted, strict=True):
        assert joined(nemenyi, names[i], names[j]) == (p[i, j] > 0.05)
        assert joined(holm, names[i], names[j]) == (q > 0.05)
    assert 0 < sum(q > 0.05 for q in adjusted) < len(pairs), "an example that shows both"
    assert stats.friedmanchisquare(*scores.to_numpy().T).pvalue < 0.01
    assert (nemenyi["friedman_p"] < 0.01).all()


def joined(rows: pd.DataFrame, a: str, b: str) -> bool:
    """Say whether one bar holds both."""
    return bool(set(str(rows.loc[a, "cliques"]).split()) & set(str(rows.loc[b, "cliques"]).split()))


def test_a_diagram_ranks_means_over_the_seeds_that_all_have(board):
    aucs = {("m", 0.5): [0.75, 0.5], ("n", 0.5): [0.625, 0.625], ("o", 0.5): [0.5625, 0.5625]}
    frame = board(aucs, (*SIX, "g", "h"))
    assert critical_difference_frame(frame).set_index("name")["rank"].to_dict() == {
        "m": 1.5,
        "n": 1.5,
        "o": 3,
    }
    short = frame[~((frame["method"] == "n") & (frame["seed"] == 1))]
    rows = critical_difference_frame(short).set_index("name")
    assert rows["rank"].to_dict() == {"m": 1, "n": 2, "o": 3}, "seed 1, at which m is low, is not n's"
    assert set(rows["blocks"]) == {8}


def test_a_diagram_joins_all_where_friedman_does_not_reject(board):
    aucs = {(name, 0.5): [0.8] for name in ("m", "n", "o")}
    frame = board(aucs, SIX)
    rng = np.random.default_rng(0)
    frame["test_auc"] = rng.permutation(np.linspace(0.7, 0.8, len(frame)))
    rows = critical_difference_frame(frame)
    assert rows["friedman_p"].iloc[0] > 0.05
    assert set(rows["cliques"]) == {"1"} and set(rows["test"]) == {"none"}


def test_ranks_by_hand(board):
    aucs = {("m", 0.5): [0.8, 0.6], ("n", 0.5): [0.7, 0.7], ("o", 0.5): [NAN, 0.1], ("m", 0.1): [0.5, 0.5]}
    rows = rank_over_budgets_frame(board(aucs))
    assert rows[["name", "rank", "failed"]].values.tolist() == [["m", 1.5, 0], ["n", 1.5, 0], ["o", 3.0, 1]]
    assert set(rows["budget"]) == {"1/2"}, "one method alone has no rank"
    assert rows["blocks"].tolist() == [2, 2, 2]


def test_ranks_leave_out_what_is_not_everywhere(board):
    frame = board({("m", 0.5): [0.8], ("n", 0.5): [0.7], ("o", 0.5): [0.6]}, ("a", "b"))
    frame = frame[(frame["label"] != "m @ 1/2") | (frame["dataset"] == "a")]
    assert rank_over_budgets_frame(frame)["name"].tolist() == ["n", "o"]


def test_anytime_curves_by_hand(board):
    frame = board({("m", 0.5): [0.8, 0.8]})
    rows = anytime_frame(full(frame), frame)
    search = rows[rows["phase"] == "search"]
    assert search["cost"].tolist() == [1.0, 2.0]
    assert search["auc"].tolist() == pytest.approx([0.705, 0.705]), "the best so far"
    retrain = rows[rows["phase"] == "retrain"]
    assert retrain["cost"].tolist() == [2.25, 2.5]
    assert retrain[["auc", "auc_low", "auc_high", "n"]].iloc[-1].tolist() == pytest.approx(
        [0.725, 0.72, 0.73, 2]
    )
    seconds = anytime_frame(full(frame), frame, "seconds")
    assert seconds[seconds["phase"] == "retrain"]["cost"].tolist() == [4.0, 5.5]


@pytest.mark.parametrize(("runs", "end"), [([], 2.0), ([[{"auc": 0.9}] * 2] * 3, 3.5)])
def test_of_what_is_no_single_training_the_end_is_known(board, runs, end):
    frame = board({("m", 0.5): [0.8]})
    rows = anytime_frame(full(frame, history={"search": [], "retrain": runs}), frame)
    assert rows[["cost", "auc", "phase"]].values.tolist() == [[end, 0.75, "retrain"]]


def test_a_moment_counts_once_all_seeds_are_there(board):
    frame = board({("m", 0.5): [0.8, 0.8]})
    records = full(frame)
    records[1]["search_trainings"] = 2.3
    rows = anytime_frame(records, frame)
    assert rows[rows["phase"] == "retrain"]["cost"].min() == pytest.approx(2.55)


def test_widths_by_hand(board):
    frame = board({("m", 0.5): [0.8, 0.8]}).assign(width_correlation=[0.2, 0.4])
    rows = widths_frame(full(frame), frame, {"f1": {"user": 4.0, "useless": 0.0}}).set_index("field")
    assert list(rows.index) == ["user", HOSTILE, "useless"]
    assert rows.loc[HOSTILE, ["width", "share", "n"]].tolist() == [8.5, 8.5 / 16, 2]
    assert rows["planted"].tolist() == pytest.approx([4.0, NAN, 0.0], nan_ok=True)
    assert rows["correlation"].iloc[0] == pytest.approx(0.3)
    assert widths_frame(full(frame), frame)["planted"].isna().all()


def test_useful_widths_that_differ_between_seeds_are_not_shown(board):
    frame = board({("m", 0.5): [0.8, 0.8]})
    records = full(frame)
    records[1]["fingerprint"] = "f2"
    truth = {"f1": {"user": 4.0, "useless": 0.0}, "f2": {"user": 2.0, "useless": 0.0}}
    rows = widths_frame(records, frame, truth).set_index("field")
    assert rows["planted"].to_dict() == pytest.approx(
        {"user": NAN, HOSTILE: NAN, "useless": 0.0}, nan_ok=True
    )


def test_curves_that_end_far_below_are_named(board):
    frame = board({(name, 0.5): [0.8] for name in ("m", "n", "o", "p", "constant")})
    records = full(frame)
    for i, record in enumerate(records):
        record["history"] = {"search": [], "retrain": [[{"auc": 0.5 if i == 4 else 0.8 + i / 1000}] * 2]}
    said = " ".join(texts(svg(FIGURES["anytime"].figure(anytime_frame(records, frame)))))
    assert "ends below the axis: constant (.5000)" in said


def test_planted_widths_come_from_the_store(tmp_path: Path):
    folder = tmp_path / "stages" / "prepare" / "key"
    folder.mkdir(parents=True)
    manifest = {"fingerprint": "f1", "truth": {"useful_width": {"user": 4}}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert planted_widths(tmp_path) == {"f1": {"user": 4.0}}
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="manifest.json"):
        planted_widths(tmp_path)
    assert planted_widths(tmp_path / "nothing") == {}


def evidence(board, names: tuple[str, ...] = ("m", "n"), seeds: int = 3, datasets=("a",)) -> Evidence:
    rng = np.random.default_rng(3)
    keys = [("fixed", NAN), *itertools.product(("fixed", "random", *names), (0.5, 0.1))]
    frame = board({key: [0.8] * seeds for key in keys}, datasets)
    frame["test_auc"] = frame["test_auc"] + rng.normal(0, 0.002, len(frame))
    return Evidence(frame, full(frame), {"f1": {"user": 4.0, "useless": 0.0, HOSTILE: 2.0}})


SHOWN = {
    "auc-over-bytes",
    "pareto",
    "hypervolume",
    "search-cost",
    "search-seconds",
    "anytime",
    "anytime-seconds",
    "paired",
    "paired-random",
    "rank-over-budgets",
    "critical-difference",
    "widths",
}


def test_what_has_nothing_to_show_is_left_out_with_a_reason(board):
    found, reasons = comparison_frames(evidence(board, datasets=SIX))
    assert set(found) == SHOWN
    assert set(found) | set(reasons) == set(FIGURES)
    assert "--tuned NAME" in reasons["tuning-gains"]
    assert "such as ihas" in reasons["gates-centroids"]
    assert not any(frame.empty for frame in found.values())
    one = evidence(board).where(dataset="a")
    assert set(one.frame["dataset"]) == {"a"} and len(one.records) == len(one.frame)
    assert "6 places" in comparison_frames(one)[1]["critical-difference"]
    with pytest.raises(ConfigError, match="did you mean 'pareto'"):
        comparison_frames(evidence(board), ["paretto"])


def test_an_empty_store_shows_nothing(tmp_path: Path):
    found, reasons = comparison_frames(Evidence.of(tmp_path / "nothing"))
    assert not found and set(reasons) == set(FIGURES)


def test_every_figure_has_words(board):
    for name, figure in FIGURES.items():
        assert figure.title and figure.shows.endswith("?") and len(figure.reading) > 40, name
    assert len({figure.title for figure in FIGURES.values()}) == len(FIGURES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", sorted(SHOWN))
def test_hostile_names_are_drawn_as_they_are_and_bytes_repeat(board, name):
    found = evidence(
        board, names=(HOSTILE, LONG), seeds=2, datasets=SIX if name == "critical-difference" else ("a",)
    )
    frame = FIGURES[name].frame(found)
    image = svg(FIGURES[name].figure(frame))
    assert image == svg(FIGURES[name].figure(FIGURES[name].frame(found)))
    assert b"<script" not in image
    assert any(text.startswith("<script>$") for text in texts(image)), "neither markup nor mathematics"
    assert pdf(FIGURES[name].figure(frame)).startswith(b"%PDF")


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", sorted(SHOWN))
def test_nothing_is_cut_at_the_edge_and_legends_cover_no_title(board, name):
    names = (HOSTILE, LONG, "a/rather (long=True, name=of_a_method, with=settings)", *"pqrstuvw")
    found = evidence(board, names, seeds=2, datasets=SIX if name == "critical-difference" else ("a", LONG))
    figure = FIGURES[name].figure(FIGURES[name].frame(found))
    FigureCanvasAgg(figure).draw()
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text() and not is_tick_outside(text, figure):
            box = text.get_window_extent().padded(-1)
            assert box.width <= 0 or figure.bbox.count_contains(box.corners()) == 4, text.get_text()
    for axes in figure.axes if figure.legends else ():
        title = next(text for text in axes.findobj(Text) if text.get_text() == axes.get_title(loc="left"))
        legend = figure.legends[0].get_window_extent()
        assert not title.get_text() or not title.get_window_extent().overlaps(legend)


def is_tick_outside(text: Text, figure: Any) -> bool:
    """Say whether a text is that of a tick which is not drawn: beyond the axis, or of an axis that is off."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if text in (tick.label1, tick.label2):
                    return not (axes.axison and low <= tick.get_loc() <= high)
    return False


def test_methods_look_the_same_in_all_panels(board):
    frame = board({**TWO, ("fixed", 0.5): [0.8] * 3, ("n", 0.5): [0.79] * 3, ("n", 0.1): [0.81] * 3})
    records = full(frame)
    for record, auc in zip(records, frame["test_auc"], strict=True):
        record["history"]["retrain"][0][-1]["auc"] = auc
    figure = FIGURES["anytime"].figure(anytime_frame(records, frame))
    said = {tuple(np.round(text.xy, 2)): text.get_text() for axes in figure.axes for text in axes.texts}
    looks: dict[str, set[Any]] = {}
    for mark in figure.artists:
        x, y = np.ravel(mark.get_transform().transform(mark.get_xydata())) * 72 / figure.dpi
        name = said[(round(x + 5, 2), round(y, 2))]
        looks.setdefault(name, set()).add((mark.get_color(), mark.get_marker()))
    assert set(looks) == {"fixed", "m", "n"} and all(len(look) == 1 for look in looks.values())


def test_long_labels_keep_their_plan_budget(board):
    long = "m (" + "setting=1, " * 9 + "x=2)"
    frame = paired_frame(board({**TWO, (long, 0.5): [0.8, 0.81, 0.83], (long, 0.1): [0.7, 0.81, 0.83]}))
    said = texts(svg(FIGURES["paired"].figure(frame)))
    assert {"1/2", "1/10"} <= {text.rpartition("… @ ")[2] for text in said if "… @ " in text}


def test_a_row_of_panels_has_the_lines_that_it_needs(board):
    few = board({("fixed", NAN): [0.8, 0.82], ("m", 0.5): [0.81, 0.8]}, ("a", "b", "c", "d"))
    more = board({("n", 0.5): [0.81, 0.8]}, ("a",)).assign(key=lambda x: x["key"] + "n")
    figure = FIGURES["paired"].figure(paired_frame(pd.concat([few, more])))
    names = [[text.get_text() for text in axes.get_yticklabels()] for axes in figure.axes]
    assert names == [["m @ 1/2", "n @ 1/2"], ["", ""], ["", ""], ["m @ 1/2"]]


def test_places_with_one_method_have_no_panel_and_axes_say_what_they_show(board):
    alone = board({("m", 0.5): [0.8, 0.81]}, ("alone",)).assign(key=lambda x: x["key"] + "x")
    absolute = board({("m", 0.5): [0.8, 0.81], ("n", 0.5): [0.79, 0.8]}, ("z",)).assign(
        key=lambda x: x["key"] + "z"
    )
    frame = pareto_frame(pd.concat([board(TWO), alone, absolute]))
    figure = FIGURES["pareto"].figure(frame)
    labels = {axes.get_title(loc="left").partition(",")[0]: axes.get_ylabel() for axes in figure.axes}
    assert labels == {"a": "test AUC − uniform model", "z": "test AUC, mean over seeds"}


@pytest.mark.parametrize("name", sorted(SHOWN - {"auc-over-bytes"}))
def test_global_settings_neither_change_nor_matter(board, name):
    places = SIX if name == "critical-difference" else ("a",)
    frame = FIGURES[name].frame(evidence(board, seeds=2, datasets=places))
    before = svg(FIGURES[name].figure(frame))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.usetex": True}):
        kept = dict(matplotlib.rcParams)
        assert svg(FIGURES[name].figure(frame)) == before
        assert dict(matplotlib.rcParams) == kept


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", [1, 6])
@pytest.mark.parametrize(
    "name", ["pareto", "search-cost", "paired", "hypervolume", "rank-over-budgets", "widths"]
)
def test_any_number_of_seeds_can_be_drawn(board, name, seeds):
    frame = FIGURES[name].frame(evidence(board, seeds=seeds, datasets=("a",)))
    assert pdf(FIGURES[name].figure(frame)).startswith(b"%PDF")


def test_a_panel_without_success_says_so(board):
    frame = pareto_frame(board({("m", 0.5): [NAN], ("n", 0.5): [NAN]}))
    found = texts(svg(FIGURES["pareto"].figure(frame)))
    assert "no unit succeeded" in found
    assert "all units failed: m @ 1/2, n @ 1/2" in found


def test_what_would_squash_all_others_is_named_below(board):
    frame = pareto_frame(board({**TWO, ("constant", NAN): [0.5]}))
    found = " ".join(texts(svg(FIGURES["pareto"].figure(frame))))
    assert "off the axes: constant (1000 B, -.3000)" in found


def test_axes_say_what_they_are(board):
    found = evidence(board)
    for name, words in {
        "pareto": ("embedding size (bytes, logarithmic)", "test AUC − uniform model", "a, dnn (3 seeds)"),
        "search-cost": (
            "search cost (full trainings of the uniform model)",
            "a, dnn, plans of 1/2 of the bytes",
        ),
        "paired": ("test AUC − fixed", "mean, 95 % interval; at the right: pairs of seeds"),
        "rank-over-budgets": ("mean rank (1: best)", "plan budget (share of the bytes)"),
        "widths": ("width / d", "planted: useful width", "rank corr."),
        "anytime": ("best validation AUC so far", "range over seeds"),
    }.items():
        said = " ".join(texts(svg(FIGURES[name].figure(FIGURES[name].frame(found)))))
        assert not [word for word in words if word not in said], name


def test_files_are_written_for_what_there_is(board, tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    found = evidence(board, seeds=2)
    names = ["pareto", "tuning-gains", "pareto"]
    done = write_comparison(found, tmp_path, names, lambda *step: seen.append(step))
    assert {p.name for p in done.paths} == {"pareto.csv", "pareto.svg", "pareto.pdf"}
    assert set(done.files) == {"pareto"} and set(done.reasons) == {"tuning-gains"}
    assert seen == [("figures", 0, 2), ("figures", 1, 2)]
    assert pd.read_csv(tmp_path / "pareto.csv")["standing"].notna().all()
    done = write_comparison(found, tmp_path, [PAPER])
    assert {p.name for p in done.paths} == {"paper.csv", "paper.md", "paper.tex"} and not done.reasons
    with pytest.raises(ConfigError, match="did you mean 'paper'"):
        write_comparison(found, tmp_path, ["papers"])


def test_too_many_panels_are_a_file_for_each_place(board, tmp_path: Path):
    found = evidence(board, ("m",), seeds=1, datasets=(*SIX, HOSTILE))
    done = write_comparison(found, tmp_path, ["search-cost"])
    ends = [path.suffix for path in done.paths]
    assert ends == [".csv", *[".svg", ".pdf"] * 7], "two plan budgets on seven places"
    assert all(path.parent == tmp_path and path.exists() for path in done.paths)
    assert set(pd.read_csv(tmp_path / "search-cost.csv")["dataset"]) == {*SIX, HOSTILE}
    for name in ("pareto", "rank-over-budgets"):
        assert list(FIGURES[name].parts(FIGURES[name].frame(found))) == [""]


def test_letters_that_our_font_lacks_are_left_to_an_installed_one(board, monkeypatch):
    monkeypatch.setattr(_drawing, "installed", lambda: ("DejaVu Serif", "DejaVu Sans Mono"))
    figure = FIGURES["paired"].figure(paired_frame(board({**TWO, (LONG, 0.5): [0.8, 0.81, 0.82]})))
    before = svg(figure)
    assert pdf(figure).startswith(b"%PDF")
    assert svg(figure) == before and b"DejaVu Serif" not in before
    with _drawing.fallen_back(figure):
        found = {bool("名" in x.get_text()): tuple(x.get_fontfamily()) for x in figure.findobj(Text)}
    assert found == {False: ("DejaVu Sans",), True: ("DejaVu Sans", "DejaVu Serif")}
    assert {tuple(x.get_fontfamily()) for x in figure.findobj(Text)} == {("DejaVu Sans",)}


def test_figures_and_the_table_are_described():
    entries = {entry["name"]: entry for entry in describe_figures()}
    assert list(entries) == [*FIGURES, PAPER]
    assert entries["pareto"]["reading"] == FIGURES["pareto"].reading
    assert [entry["name"] for entry in describe_figures(["widths"])] == ["widths"]
    with pytest.raises(ConfigError, match="did you mean 'widths'"):
        describe_figures(["width"])


def test_evidence_of_some_places(board):
    found = evidence(board, datasets=("a", "b", "c"))
    some = found.where(dataset=("a", "c"), backbone="dnn")
    assert set(some.frame["dataset"]) == {"a", "c"} and len(some.records) == len(some.frame)
    rows = pd.DataFrame({"dataset": ["a", "d"], "backbone": ["dnn", "dnn"]})
    tuned = replace(found, tuning=rows).where(dataset="a").tuning
    assert tuned is not None and tuned["dataset"].tolist() == ["a"]


def test_the_latest_record_of_a_place_counts(board):
    frame = board(TWO)
    again = frame[frame["label"] == "m @ 1/2"].assign(key=lambda x: x["key"] + "/new", test_auc=0.9)
    kept = newest(pd.concat([frame, again]))
    assert len(kept) == len(frame)
    assert set(kept.loc[kept["label"] == "m @ 1/2", "test_auc"]) == {0.9}
    assert paired_frame(kept).set_index("label").loc["m @ 1/2", "pairs"].iloc[0] == 3


def test_data_sets_that_differ_in_their_seed_alone_are_one(board):
    frame = board({**TWO})
    seeds = frame.assign(dataset=[f"planted (tier=T0, seed={s})" for s in frame["seed"]])
    usual = seeds.assign(dataset=seeds["dataset"].str.replace(", seed=0)", ")"))
    assert set(pooled(usual)["dataset"]) == {"planted (tier=T0, seed=*)"}, (
        "a name without a seed is of the usual one"
    )
    other = frame.assign(dataset="planted (tier=T0, seed=0; x)", key=frame["key"] + "x")
    found = pooled(pd.concat([seeds, other]))
    assert found["dataset"].tolist() == ["planted (tier=T0, seed=*)"] * 9 + other["dataset"].tolist()
    assert set(paired_frame(found[:9])["pairs"]) == {3}
    assert pooled(other)["dataset"].tolist() == other["dataset"].tolist(), "one alone keeps its name"
    splits = pd.concat([seeds, seeds.assign(split_seed=1, key=seeds["key"] + "z")])
    assert set(paired_frame(pooled(splits))["pairs"]) == {6}, "of each data set several splits"
    twice = pd.concat([seeds, seeds.assign(seed=seeds["seed"] + 1, key=seeds["key"] + "y")])
    assert not pooled(twice)["dataset"].str.contains("*", regex=False).any(), "several seeds on each"
    same = seeds.assign(seed=0)
    assert not pooled(same)["dataset"].str.contains("*", regex=False).any(), "one seed on several"


def test_names_beside_lines_keep_their_order_and_distance():
    placed = spread_down([5.0, 0.0, 0.5, 5.0, 20.0], 2.0)
    assert all(abs(a - b) >= 2 - 1e-9 for a, b in itertools.combinations(placed, 2))
    assert placed[4] == 20 and placed[2] > placed[1] and placed[0] > placed[3]
    assert spread_down([], 1.0) == []


def test_all_public_names_exist():
    assert all(hasattr(comparison, name) for name in comparison.__all__)
