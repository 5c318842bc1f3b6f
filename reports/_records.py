"""Checking and ordering of records, shared by tables and figures."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from nasbench_rec.errors import DataError

TEXTS = ("key", "status", "error", "dataset", "backbone", "method", "label", "config")
RECOVERY = ("width_correlation", "useless_recall", "useless_precision")
"""What is known on planted data alone: how a plan's widths compare with the useful ones."""
NUMBERS = (
    "ratio",
    "seed",
    "split_seed",
    "test_auc",
    "test_logloss",
    "valid_auc",
    "valid_logloss",
    "expected_auc",
    "expected_logloss",
    "embedding_params",
    "embedding_bytes",
    "embedding_ratio",
    "router_bytes",
    "total_bytes",
    *RECOVERY,
    "search_seconds",
    "retrain_seconds",
    "peak_rss_bytes",
)
UNIFORM_WITHIN = 0.01
"""How far the embedding bytes of the uniform model may be from its own, as a share."""
GROUP = ["dataset", "backbone"]
PAIR = ["split_seed", "seed"]


def prepared(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records checked, typed and in an order that does not depend on when each one finished.

    A key recorded twice counts once, as recorded last. Where one label stands for several configurations, the
    settings that differ are added to it. `DataError` for missing columns, for an empty frame, and for two
    records that claim the same place in the table.
    """
    missing = [name for name in (*TEXTS, *NUMBERS) if name not in records]
    if missing:
        raise DataError(
            f"the records lack the columns {', '.join(missing)}; give the frame of `Store.frame()`."
        )
    if records.empty:
        raise DataError("there are no records to report; run units into this store first.")
    frame = records.drop_duplicates("key", keep="last").reset_index(drop=True)
    for name in TEXTS:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), "").map(str)
    for name in NUMBERS:
        frame[name] = pd.to_numeric(frame[name]).astype("float64")
    frame["label"] = _labels(frame)
    frame = frame.sort_values([*GROUP, "label", *PAIR, "key"], kind="stable").reset_index(drop=True)
    _refuse_rivals(frame)
    return frame


def groups(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Iterate over data set, backbone and their prepared records."""
    for (dataset, backbone), group in frame.groupby(GROUP, sort=True):
        yield str(dataset), str(backbone), group


def succeeded(group: pd.DataFrame) -> pd.DataFrame:
    """Return the records that are no failures."""
    return group[group["status"] == "ok"]


def random_label(group: pd.DataFrame, unit: pd.DataFrame) -> str | None:
    """Return the label of the random plans that the rows of one label are compared with; None where there are none.

    Those of the same plan budget; for a method that lands where it lands, those of the smallest budget that are no
    smaller than it is (within 1 %).
    """
    plans = group[(group["method"] == "random") & group["ratio"].notna()]
    ratio = unit["ratio"].iloc[0]
    if ratio != ratio:
        sizes = succeeded(plans).groupby("ratio")["embedding_bytes"].mean()
        enough = sizes[sizes >= (1 - UNIFORM_WITHIN) * succeeded(unit)["embedding_bytes"].mean()]
        ratio = enough.index.min() if len(enough) else ratio
    same = plans.loc[plans["ratio"] == ratio, "label"]
    return None if same.empty else str(same.iloc[0])


def uniform_label(group: pd.DataFrame) -> str | None:
    """Return the label of the uniform model in one group, None where it is missing.

    That is method `fixed` without a ratio or at ratio 1, unless its embedding bytes, where known, are others
    (`fixed` can have any width); of several, the nearest.
    """
    candidates = group[(group["method"] == "fixed") & (group["ratio"].isna() | (group["ratio"] == 1))]
    if candidates.empty:
        return None
    distance = (candidates.groupby("label")["embedding_ratio"].mean() - 1).abs().fillna(UNIFORM_WITHIN)
    return str(distance.idxmin()) if distance.min() <= UNIFORM_WITHIN else None


def _labels(frame: pd.DataFrame) -> pd.Series:
    """Return the labels, with the settings that differ where one label stands for several configurations."""
    labels = frame["label"].copy()
    for (_, _, label), unit in frame.groupby([*GROUP, "label"]):
        configs = sorted(unit["config"].unique())
        if len(configs) > 1:
            named = {
                config: f"{label} ({what})" for config, what in zip(configs, _differing(configs), strict=True)
            }
            labels.loc[unit.index] = unit["config"].map(named)
    return labels


def _differing(configs: list[str]) -> list[str]:
    """Say in what each of several configurations (JSON texts) differs from the others."""
    parsed = [_settings(config) for config in configs]
    names = sorted({name for settings in parsed for name in settings})
    names = [name for name in names if len({settings.get(name) for settings in parsed}) > 1]
    said = [
        ", ".join(f"{name}={settings[name]}" for name in names if name in settings) for settings in parsed
    ]
    distinct = len(set(said)) == len(said)
    return [text if distinct and text else f"configuration {i}" for i, text in enumerate(said, 1)]


def _settings(config: str) -> dict[str, str]:
    try:
        content = json.loads(config)
    except json.JSONDecodeError:
        return {}
    return {str(k): json.dumps(v) for k, v in content.items()} if isinstance(content, dict) else {}


def _refuse_rivals(frame: pd.DataFrame) -> None:
    """Refuse two records of one row and one pair of seeds: pairing them would be a guess."""
    rivals = frame[frame.duplicated([*GROUP, "label", *PAIR], keep=False)]
    if rivals.empty:
        return
    first = rivals.iloc[0]
    same = rivals[(rivals[[*GROUP, "label", *PAIR]] == first[[*GROUP, "label", *PAIR]]).all(axis=1)]
    raise DataError(
        f"{first['label']!r} on {first['dataset']}, {first['backbone']} has {len(same)} records for seed "
        f"{first['seed']:.0f} of split {first['split_seed']:.0f} (keys {', '.join(same['key'])}): "
        "they differ in something that a leaderboard does not show, such as the training protocol or the "
        "method's code; report the units of one run only."
    )
