from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from nasbench_rec.errors import DataError
from nasbench_rec.metrics import auc, expected_auc, expected_logloss, logloss


def slow_expected_auc(p: np.ndarray, scores: np.ndarray) -> float:
    wins = (scores[:, None] > scores[None]) + 0.5 * (scores[:, None] == scores[None])
    return float((p[:, None] * (1 - p[None]) * wins).sum() / (p.sum() * (1 - p).sum()))


@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=60).filter(
        lambda rows: len({label for label, _ in rows}) == 2
    )
)
@settings(max_examples=60, deadline=None)
def test_auc_equals_scikit_learn_with_many_ties(rows: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in rows], dtype=np.float32)
    scores = np.array([score for _, score in rows], dtype=np.float32) / 3
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_auc_equals_scikit_learn_on_many_rows() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(20_000) < 0.3).astype(np.float32)
    scores = (rng.normal(size=20_000) + labels).astype(np.float32)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("levels", [3, 20, 10_000])
def test_expected_auc_equals_the_double_sum(levels: int) -> None:
    rng = np.random.default_rng(levels)
    p = rng.random(300)
    scores = rng.integers(0, levels, 300) / levels
    assert expected_auc(p, scores) == pytest.approx(slow_expected_auc(p, scores), abs=1e-12)
    assert expected_auc(p, p) == pytest.approx(slow_expected_auc(p, p), abs=1e-12)


def test_expected_auc_is_the_mean_over_labels_and_at_most_that_of_p() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(2_000)
    scores = p + rng.normal(size=2_000)
    drawn = [auc((rng.random(2_000) < p).astype(float), scores) for _ in range(60)]
    assert expected_auc(p, scores) == pytest.approx(
        np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(60) + 1e-3
    )
    assert expected_auc(p, scores) < expected_auc(p, p)


def test_auc_does_not_depend_on_the_scale_of_the_scores_and_flips_with_their_sign() -> None:
    labels, scores = np.array([0, 1, 0, 1, 1.0]), np.array([-1, 0.5, 0.5, 3, 2])
    assert auc(labels, scores) == auc(labels, 7 * scores - 3) == 1 - auc(labels, -scores)
    assert auc(labels, np.zeros(5)) == 0.5


def test_logloss_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    labels, logits = (rng.random(1_000) < 0.4).astype(np.float32), rng.normal(size=1_000)
    assert logloss(labels, logits) == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))), rel=1e-10)


def test_logloss_is_stable_for_extreme_logits() -> None:
    assert logloss(np.array([1.0, 0.0]), np.array([800.0, -800.0])) == 0
    assert logloss(np.array([0.0, 1.0]), np.array([800.0, -800.0])) == 800


def test_expected_logloss_weighs_both_labels_and_is_least_at_the_truth() -> None:
    rng = np.random.default_rng(3)
    p, logits = rng.random(100), rng.normal(size=100)
    both = [
        logloss(np.full(1, y), logits[i : i + 1]) * w
        for i, q in enumerate(p)
        for y, w in ((1, q), (0, 1 - q))
    ]
    assert expected_logloss(p, logits) == pytest.approx(sum(both) / 100)
    assert expected_logloss(p, np.log(p / (1 - p))) < expected_logloss(p, logits)


@pytest.mark.parametrize(
    ("labels", "scores", "says"),
    [
        ([1.0, 1.0], [0.0, 1.0], "both classes"),
        ([0.0, 0.0], [0.0, 1.0], "both classes"),
        ([0.0, 1.0], [0.0, np.nan], "row 1 has the score nan"),
        ([0.0, 1.0], [np.inf, 0.0], "row 0 has the score inf"),
        ([0.0, 2.0], [0.0, 1.0], r"\[0, 1\]"),
        ([0.0, 1.0], [0.0], "two arrays"),
        ([], [], "two arrays"),
    ],
)
def test_unusable_input_is_one_clear_error(labels: list[float], scores: list[float], says: str) -> None:
    with pytest.raises(DataError, match=says):
        auc(np.array(labels), np.array(scores))
