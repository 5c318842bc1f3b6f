"""Differences to random plans, recovery on planted data, and explanations of what is not above random."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from nasbench_rec.reports import leaderboard_frame, write_leaderboard
from nasbench_rec.reports.terminal import print_leaderboard
from rich.console import Console


@pytest.fixture
def board(record):
    """Three seeds: uniform, random plans at two budgets, methods at one or none."""

    def build(**extra):
        sizes = {"fixed": (math.nan, 1000), "random @ 1/2": (0.5, 490), "random @ 1/5": (0.2, 195)}
        sizes |= {
            "m @ 1/2": (0.5, 500),
            "m @ 1/5": (0.2, 200),
            "free": (math.nan, 300),
            "big": (math.nan, 800),
        }
        sizes |= {"m @ 1/10": (0.1, 100)}
        gain = {
            "fixed": 0.1,
            "random @ 1/2": 0.05,
            "m @ 1/2": 0.04,
            "m @ 1/5": 0.03,
            "free": 0.07,
            "big": 0.09,
        }
        rows = []
        for label, (ratio, size) in sizes.items():
            for seed in range(3):
                auc = 0.7 + gain.get(label, 0.0) + 0.001 * seed
                if label == "m @ 1/2":
                    auc += 0.001 * (seed == 2)
                values = {"ratio": ratio, "test_auc": auc, "embedding_bytes": size, **extra}
                rows.append(record(label, label.partition(" @")[0], seed, **values))
        return pd.DataFrame(rows)

    return build


def by_label(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("label")


def test_the_difference_to_random_is_paired_at_the_same_budget(board):
    found = by_label(leaderboard_frame(board()))
    # -.01, -.01, -.009: mean -.029 / 3.
    assert found.loc["m @ 1/2", "random_difference"] == pytest.approx(-0.029 / 3)
    assert found.loc["m @ 1/2", "random_difference_pairs"] == 3
    assert found.loc["m @ 1/5", "random_difference"] == pytest.approx(0.03)


def test_without_a_budget_the_next_larger_random_plans_count(board):
    found = by_label(leaderboard_frame(board()))
    # 300 bytes: random plans of 195 are too small, those of 490 are not.
    assert found.loc["free", "random_difference"] == pytest.approx(0.02)
    for label in ("big", "m @ 1/10", "fixed", "random @ 1/2"):
        assert math.isnan(found.loc[label, "random_difference"]), label
        assert found.loc[label, "random_difference_pairs"] == 0


def test_recovery_is_averaged_over_the_seeds_that_know_it(board):
    records = board()
    m = records["label"] == "m @ 1/2"
    records.loc[m, "width_correlation"] = [0.5, 0.7, math.nan]
    records.loc[m, "useless_recall"] = [1.0, 0.5, 0.0]
    records.loc[m, "useless_precision"] = [0.5, 1.0, math.nan]
    row = by_label(leaderboard_frame(records)).loc["m @ 1/2"]
    assert row["width_correlation"] == pytest.approx(0.6)
    assert row["width_correlation_sd"] == pytest.approx(0.2 / math.sqrt(2))
    assert (row["useless_recall"], row["useless_precision"]) == (pytest.approx(0.5), pytest.approx(0.75))


def test_what_is_not_above_random_is_named_and_explained(board, tmp_path):
    records = board()
    records["width_correlation"] = 0.25
    notes = {"m": "it looks at the <wrong> side", "free": "not shown: it is above"}
    write_leaderboard(records, tmp_path, "Board", notes)
    text = (tmp_path / "leaderboard.md").read_text()
    below = text[text.index("Not above random widths") :].split("\n\n")[1]
    assert below.startswith("- m @ 1/2: -.0097; it looks at the") and "\n" not in below
    page = (tmp_path / "leaderboard.html").read_text()
    assert "it looks at the &lt;wrong&gt; side" in page and "not shown" not in page + text
    assert "AUC − random" in text and "| width corr. |" in text
    console = Console(width=200, record=True, file=io.StringIO())
    print_leaderboard(leaderboard_frame(records), console)
    assert "Not above random widths of the same plan budget: m @ 1/2" in console.export_text()


def test_without_random_plans_nothing_is_said_of_them(board, tmp_path):
    records = board()
    write_leaderboard(records[records["method"] != "random"], tmp_path, "Board")
    text = (tmp_path / "leaderboard.md").read_text()
    table = text[: text.index("## How to read this")]
    assert "AUC − random" not in table and "Not above random" not in table


def test_the_table_at_a_glance_ranks_methods_by_budget(record, tmp_path):
    aucs = {"a": (0.8, 0.6), "b": (0.79, 0.75), "random": (0.7, 0.61), "lost": (0.9, None)}
    rows = [record("fixed", "fixed", 0, test_auc=0.81, embedding_bytes=1000.0)]
    for name, values in aucs.items():
        for ratio, text, auc in zip((0.5, 0.1), ("1/2", "1/10"), values, strict=True):
            known = {"ratio": ratio, "embedding_bytes": 1000.0 * ratio, "test_auc": auc or math.nan}
            rows.append(record(f"{name} @ {text}", name, 0, **known))
            if auc is None:
                rows[-1] |= {"status": "failed", "error": "ValueError: no"}
    write_leaderboard(pd.DataFrame(rows), tmp_path, "Board")
    text = (tmp_path / "leaderboard.md").read_text()
    start = text.index("| method | 1/2 | 1/10 |")
    assert text[start:].split("\n\n")[0].splitlines()[2:] == [
        "| b | .7900 | .7500 |",  # one seed: no lead is sure
        "| a | .8000 | .6000° |",
        "| lost | .9000 | — |",
        "| random | .7000 | .6100 |",
    ]
    assert "Mean test AUC by plan budget" in text
