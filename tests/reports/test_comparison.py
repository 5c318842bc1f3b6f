"""Comparisons: frames by hand, what is drawn, that equal records give equal bytes, and that names do no harm."""

from __future__ import annotations

import itertools
import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports import comparison
from nasbench_rec.reports._comparison_marks import spread_down
from nasbench_rec.reports._comparison_points import ALL, REFERENCE, area
from nasbench_rec.reports._comparison_units import budget, stem
from nasbench_rec.reports.comparison import (
    FIGURES,
    Evidence,
    Reference,
    anytime_frame,
    comparison_frames,
    critical_difference_frame,
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

from nasbench_rec.errors import ConfigError, DataError, StoreError

HOSTILE = r"<script>$\frac{x}{y}$ & % _ ~ ^ \end{table}"
LONG = "名前" * 40
TEXT = {0.5: "1/2", 0.1: "1/10"}
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
    assert half.loc["m @ 1/2", "standing"] == "front"
    assert set(points["budget"]) == {"1/2", "1/10"}, "of its own size there is the uniform model alone"
    assert set(search_cost_frame(board(TWO), "seconds")["cost"]) == {3.0}


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


def test_hypervolume_is_paired_with_uniform_narrow_widths(board):
    aucs = {**TWO, ("fixed", 0.1): [0.78, 0.80, 0.79]}
    rows = hypervolume_frame(board(aucs)).set_index("name")
    assert rows.loc["m", "pairs"] == 3
    assert rows.loc["m", "difference"] == pytest.approx(
        rows.loc["m", "hypervolume"] - rows.loc["fixed", "hypervolume"]
    )
    assert rows.loc["fixed", "pairs"] == 0


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


def test_pairs_have_other_references(board):
    aucs = {**TWO, ("random", 0.5): [0.7, 0.7, 0.7], ("fixed", 0.1): [0.6, 0.6, 0.6]}
    frame = board(aucs)
    assert set(paired_frame(frame, "random")["reference"]) == {"random @ 1/2"}
    at_size = paired_frame(frame, "fixed @ 1/10")
    assert set(at_size["reference"]) == {"fixed @ 1/10"} and "m @ 1/2" in set(at_size["label"])
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
    assert "plan of an equal tuning" in reasons["tuning-gains"]
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
        assert figure.title and len(figure.reading) > 40, name
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
    written = {
        p.name for p in write_comparison(evidence(board, seeds=2), tmp_path, ["pareto", "tuning-gains"])
    }
    assert written == {"pareto.csv", "pareto.svg", "pareto.pdf", "paper.csv", "paper.md", "paper.tex"}
    assert pd.read_csv(tmp_path / "pareto.csv")["standing"].notna().all()


def test_names_beside_lines_keep_their_order_and_distance():
    placed = spread_down([5.0, 0.0, 0.5, 5.0, 20.0], 2.0)
    assert all(abs(a - b) >= 2 - 1e-9 for a, b in itertools.combinations(placed, 2))
    assert placed[4] == 20 and placed[2] > placed[1] and placed[0] > placed[3]
    assert spread_down([], 1.0) == []


def test_all_public_names_exist():
    assert all(hasattr(comparison, name) for name in comparison.__all__)
