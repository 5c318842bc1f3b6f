"""Frames like that of `Store.frame()`: eight methods, three seeds, two backbones, failures, NaN."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

# label, method, ratio, gain in AUC, share of bytes, router bytes, search seconds
METHODS = [
    ("fixed", "fixed", np.nan, 0.0, 1.0, 0, 0.0),
    ("random @ 1/2", "random", 0.5, -0.0031, 0.5, 0, 0.004),
    ("mde @ 1/2", "mde", 0.5, -0.0012, 0.498, 0, 0.02),
    ("autodim", "autodim", np.nan, 0.0004, 0.643, 0, 41.3),
    ("autoemb @ 1/2", "autoemb", 0.5, 0.0, 0.5, 0, 55.0),
    ("magnitude @ 1/2", "magnitude", 0.5, 0.0011, 0.501, 0, 19.2),
    ("ihas/robust @ 1/2", "ihas/robust", 0.5, 0.0021, 0.53, 40_000, 912.0),
    ("ihas/robust @ 1/10", "ihas/robust", 0.1, -0.0006, 0.131, 40_000, 7_800.0),
]
UNIFORM_BYTES = 5_382 * 16 * 4
NUMBERS = [
    *("test_auc", "test_logloss", "valid_auc", "valid_logloss", "expected_auc", "expected_logloss"),
    *("embedding_params", "embedding_bytes", "embedding_ratio", "router_bytes", "total_bytes"),
    *("width_correlation", "useless_recall", "useless_precision"),
    *("search_seconds", "retrain_seconds", "peak_rss_bytes"),
]


def make_record(label: str, method: str, seed: int, backbone: str = "dnn", **values: Any) -> dict[str, Any]:
    """Return one record; numbers that are not given are unknown."""
    return {
        "key": f"{backbone}/{label}/{seed}",
        "status": "ok",
        "error": None,
        "dataset": "planted",
        "backbone": backbone,
        "method": method,
        "label": label,
        "ratio": np.nan,
        "config": "{}",
        "seed": seed,
        "split_seed": 0,
        **dict.fromkeys(NUMBERS, np.nan),
        **values,
    }


def make_records(seeds: int = 3) -> pd.DataFrame:
    """Return a leaderboard's worth of records."""
    rng, rows = np.random.default_rng(7), []
    for b, backbone in enumerate(("dnn", "deepfm")):
        shared = rng.normal(0, 0.0015, seeds)
        for label, method, ratio, gain, share, router, search in METHODS:
            for seed in range(seeds):
                auc = 0.8011 + 0.003 * b + gain + shared[seed] + rng.normal(0, 0.0003)
                size = UNIFORM_BYTES * share * (1 + (0.05 * rng.uniform() if label == "autodim" else 0))
                rows.append(
                    make_record(
                        *(label, method, seed, backbone),
                        ratio=ratio,
                        config=json.dumps({"method": method}),
                        test_auc=auc,
                        test_logloss=0.4312 - 0.8 * (auc - 0.8) + rng.normal(0, 0.0002),
                        valid_auc=auc + 0.001,
                        valid_logloss=0.43,
                        expected_auc=auc + 0.004 if b == 0 else np.nan,
                        expected_logloss=0.42 if b == 0 else np.nan,
                        embedding_params=size // 4,
                        embedding_bytes=size + router,
                        embedding_ratio=(size + router) / UNIFORM_BYTES,
                        router_bytes=router,
                        total_bytes=size + router + 30_000,
                        search_seconds=search * (1 + 0.01 * seed),
                        retrain_seconds=12.3 + seed,
                        peak_rss_bytes=4e8,
                    )
                )
    frame = pd.DataFrame(rows)
    lost = (frame["label"] == "autoemb @ 1/2") & (frame["backbone"] == "dnn")
    mark_failed(frame, lost, "RuntimeError: out of memory")
    broken = "FloatingPointError: loss is nan at step 40\n  in <module>\n  lower the learning rate"
    lost = (frame["label"] == "random @ 1/2") & (frame["backbone"] == "deepfm") & (frame["seed"] == 1)
    mark_failed(frame, lost, broken)
    return frame


def mark_failed(frame: pd.DataFrame, which: pd.Series, error: str) -> None:
    """Turn records into failures, in place."""
    frame.loc[which, ["status", "error"]] = ["failed", error]
    frame.loc[which, NUMBERS] = np.nan


@pytest.fixture
def records() -> pd.DataFrame:
    return make_records()


@pytest.fixture(scope="session")
def many_records() -> Callable[[int], pd.DataFrame]:
    return make_records


@pytest.fixture(scope="session")
def record() -> Callable[..., dict[str, Any]]:
    return make_record


@pytest.fixture(scope="session")
def failing() -> Callable[[pd.DataFrame, pd.Series, str], None]:
    return mark_failed
