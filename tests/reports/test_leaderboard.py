"""The leaderboard frame, against numbers that can be worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports import LeaderboardRow, leaderboard_frame

from nasbench_rec.errors import DataError


@pytest.fixture
def small(record):
    """Three seeds of the uniform model and of `m`, whose second seed failed."""

    def build(**values):
        uniform = [
            record("fixed", "fixed", s, test_auc=a, test_logloss=0.5, embedding_bytes=1000, embedding_ratio=1)
            for s, a in enumerate((0.70, 0.72, 0.71))
        ]
        numbers = [(0.71, 0.48), (np.nan, np.nan), (0.74, 0.47)]
        m = [
            record("m @ 1/2", "m", s, test_auc=a, test_logloss=b, **values)
            for s, (a, b) in enumerate(numbers)
        ]
        m[1] |= {"status": "failed", "error": "ValueError: no\nmore"}
        return pd.DataFrame(uniform + m)

    return build


def row_of(frame: pd.DataFrame, label: str, backbone: str = "dnn") -> pd.Series:
    return frame[(frame["label"] == label) & (frame["backbone"] == backbone)].iloc[0]


def test_numbers_by_hand(small):
    frame = leaderboard_frame(
        small(embedding_bytes=500, embedding_ratio=0.5, router_bytes=40, search_seconds=3)
    )
    uniform, m = row_of(frame, "fixed"), row_of(frame, "m @ 1/2")
    assert (uniform["n"], uniform["failed"], uniform["uniform"], uniform["reason"]) == (3, 0, True, "")
    assert uniform["test_auc"] == pytest.approx(0.71)
    assert uniform["test_auc_sd"] == pytest.approx(0.01)
    assert math.isnan(uniform["auc_difference"])
    assert (m["n"], m["failed"], m["uniform"]) == (2, 1, False)
    assert m["reason"] == "ValueError: no\nmore"
    assert m["test_auc"] == pytest.approx(0.725)
    assert m["test_auc_sd"] == pytest.approx(0.03 / math.sqrt(2))
    assert m[["embedding_bytes", "embedding_ratio", "router_bytes", "search_seconds"]].tolist() == [
        500,
        0.5,
        40,
        3,
    ]
    # the differences .01 and .03: mean .02, standard error .01, t(.975, 1) = 12.706
    assert (m["auc_difference_pairs"], m["auc_difference_interval"]) == (2, "t")
    expected = [0.02, 0.02 - 0.12706, 0.02 + 0.12706]
    found = m[["auc_difference", "auc_difference_low", "auc_difference_high"]].tolist()
    assert found == pytest.approx(expected, abs=1e-5)
    assert m["logloss_difference"] == pytest.approx(-0.025)


def test_columns_are_the_documented_row(records):
    frame = leaderboard_frame(records)
    assert list(frame.columns) == [field.name for field in dataclasses.fields(LeaderboardRow)]
    assert len(frame) == 16


def test_uniform_first_then_by_test_auc_then_failed(records):
    frame = leaderboard_frame(records)
    assert frame["backbone"].tolist() == ["deepfm"] * 8 + ["dnn"] * 8
    for _, group in frame.groupby("backbone"):
        assert group.iloc[0]["uniform"]
        assert group["uniform"].sum() == 1
        assert group.iloc[1:]["test_auc"].dropna().is_monotonic_decreasing
    last = frame.iloc[-1]
    assert (last["label"], last["n"], last["failed"]) == ("autoemb @ 1/2", 0, 3)
    assert last["reason"] == "RuntimeError: out of memory"
    assert last[["test_auc", "auc_difference", "embedding_bytes"]].isna().all()


def test_the_order_of_records_does_not_matter(records):
    shuffled = records.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(leaderboard_frame(records), leaderboard_frame(shuffled))


def test_input_stays_as_it_was(records):
    before = records.copy(deep=True)
    leaderboard_frame(records)
    pd.testing.assert_frame_equal(records, before)


def test_pairs_need_equal_seed_and_equal_split(small):
    frame = small()
    frame.loc[(frame["label"] == "fixed") & (frame["seed"] == 2), "split_seed"] = 9
    assert row_of(leaderboard_frame(frame), "m @ 1/2")["auc_difference_pairs"] == 1


@pytest.mark.parametrize("seeds", [5, 6])
def test_the_interval_is_exact_from_six_pairs(many_records, seeds):
    frame = leaderboard_frame(many_records(seeds))
    m = row_of(frame, "magnitude @ 1/2")
    assert m["auc_difference_interval"] == ("t" if seeds == 5 else "sign-flip")
    assert m["auc_difference_low"] < m["auc_difference"] < m["auc_difference_high"]


def test_one_seed_has_means_but_neither_spread_nor_interval(many_records):
    m = row_of(leaderboard_frame(many_records(1)), "magnitude @ 1/2")
    assert m["auc_difference_interval"] == "none"
    assert not math.isnan(m["auc_difference"])
    assert m[["test_auc_sd", "auc_difference_low", "auc_difference_high"]].isna().all()


def test_best_is_marked_only_where_the_interval_to_the_second_excludes_zero(record):
    def frame(lead: list[float]) -> pd.DataFrame:
        noise = [0.0, 0.01, 0.02]
        rows = [record("fixed", "fixed", s, test_auc=0.7 + noise[s]) for s in range(3)]
        rows += [record("m", "m", s, test_auc=0.7 + noise[s] + lead[s]) for s in range(3)]
        return leaderboard_frame(pd.DataFrame(rows))

    assert frame([0.010, 0.011, 0.012])["best"].tolist() == [False, True]
    assert frame([-0.010, -0.011, -0.012])["best"].tolist() == [True, False]
    assert not frame([0.030, -0.010, 0.001])["best"].any()
    assert not frame([0.01, 0.01, 0.01])["best"].any(), "no spread is no evidence"


def test_the_second_is_the_row_that_is_nearest_on_the_same_seeds(record):
    """A row of few, easy seeds may have the highest mean, and be behind on these."""

    def rows(label, method, scores):
        return [record(label, method, seed, test_auc=auc) for seed, auc in scores.items()]

    easy = {0: 0.90, 1: 0.901, 2: 0.902}
    rival = {0: 0.905, 1: 0.907, 2: 0.906, **dict.fromkeys(range(3, 9), 0.7)}
    known = rows("fixed", "fixed", dict.fromkeys(range(9), 0.8)) + rows("a", "a", easy)
    alone = leaderboard_frame(pd.DataFrame(known))
    assert alone.loc[alone["best"], "label"].tolist() == ["a"]
    both = leaderboard_frame(pd.DataFrame(known + rows("b", "b", rival)))
    assert both["label"].tolist() == ["fixed", "a", "b"] and not both["best"].any()


def test_best_is_not_marked_on_a_row_with_failures(small, record):
    frame = small()
    extra = record("m @ 1/2", "m", 3, test_auc=0.9, test_logloss=0.4)
    frame = pd.concat([frame, pd.DataFrame([extra])])
    assert not leaderboard_frame(frame)["best"].any()


def test_without_a_uniform_model_there_are_no_differences(small):
    frame = small()
    board = leaderboard_frame(frame[frame["method"] != "fixed"])
    assert not board["uniform"].any()
    assert board["auc_difference"].isna().all()


def test_fixed_at_another_width_is_not_the_uniform_model(small, record):
    frame = small()
    narrow = [record("fixed (width=8)", "fixed", s, test_auc=0.6, embedding_ratio=0.5) for s in range(3)]
    both = leaderboard_frame(pd.concat([frame, pd.DataFrame(narrow)]))
    assert both[both["uniform"]]["label"].tolist() == ["fixed"]
    only = leaderboard_frame(pd.concat([frame[frame["method"] != "fixed"], pd.DataFrame(narrow)]))
    assert not only["uniform"].any()


def test_fixed_at_ratio_one_is_the_uniform_model_and_at_a_half_is_not(record):
    rows = [record("fixed @ 1", "fixed", 0, ratio=1.0, test_auc=0.7, embedding_ratio=1.0)]
    rows += [record("fixed @ 1/2", "fixed", 0, ratio=0.5, test_auc=0.8, embedding_ratio=0.5)]
    assert leaderboard_frame(pd.DataFrame(rows))[["label", "uniform"]].values.tolist() == [
        ["fixed @ 1", True],
        ["fixed @ 1/2", False],
    ]


def test_a_failed_uniform_model_stays_on_top(small, failing):
    frame = small()
    failing(frame, frame["method"] == "fixed", "OSError: disk full")
    board = leaderboard_frame(frame)
    assert board.iloc[0][["label", "n", "failed", "uniform"]].tolist() == ["fixed", 0, 3, True]
    assert board["auc_difference"].isna().all()


def test_a_failure_without_a_text_is_still_a_failure(small, failing):
    frame = small()
    failing(frame, frame["method"] == "m", None)
    assert row_of(leaderboard_frame(frame), "m @ 1/2")["reason"] == "no reason was recorded"


def test_a_key_counts_once_as_recorded_last(small):
    frame = small()
    again = frame[frame["status"] == "failed"].assign(
        status="ok", error=None, test_auc=0.73, test_logloss=0.47
    )
    m = row_of(leaderboard_frame(pd.concat([frame, again])), "m @ 1/2")
    assert (m["n"], m["failed"]) == (3, 0)


def test_a_label_with_two_configurations_is_two_rows(small, record):
    extra = [
        record("ihas", "ihas", s, test_auc=0.71, config=f'{{"k": {k}, "tau": 0.1}}', key=f"{s}/{k}")
        for s in range(2)
        for k in (2, 4)
    ]
    board = leaderboard_frame(pd.concat([small(), pd.DataFrame(extra)]))
    assert {"ihas (k=2)", "ihas (k=4)"} <= set(board["label"])


@pytest.mark.parametrize(
    ("configs", "said"),
    [
        (("not json", "{}"), ("configuration 1", "configuration 2")),
        (("[1]", "[2]"), ("configuration 1", "configuration 2")),
        (('{"a": 1}', "{}"), ("a=1", "configuration 2")),
    ],
)
def test_configurations_that_do_not_say_how_they_differ_are_numbered(record, configs, said):
    rows = [record("m", "m", 0, test_auc=0.7, config=c, key=c) for c in configs]
    assert set(leaderboard_frame(pd.DataFrame(rows))["label"]) == {f"m ({text})" for text in said}


def test_two_records_for_one_place_are_refused(small):
    frame = small()
    rival = frame.iloc[[0]].assign(key="other")
    with pytest.raises(
        DataError, match=r"'fixed' on planted, dnn has 2 records for seed 0 of split 0.*other"
    ):
        leaderboard_frame(pd.concat([frame, rival]))


def test_missing_columns_and_no_records_are_refused(records):
    with pytest.raises(DataError, match="lack the columns test_auc, router_bytes"):
        leaderboard_frame(records.drop(columns=["test_auc", "router_bytes"]))
    with pytest.raises(DataError, match="no records"):
        leaderboard_frame(records.iloc[:0])
