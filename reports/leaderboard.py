"""The leaderboard: records of units to one comparison per data set and backbone, and to files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from nasbench_rec.reports import _page, _writers
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports._records import (
    PAIR,
    groups,
    prepared,
    random_label,
    succeeded,
    uniform_label,
)
from nasbench_rec.reports._rows import LeaderboardRow, flat

from nasbench_rec.statistics import PairedDifference, paired_difference

SCORES = ("test_auc", "test_logloss", "expected_auc", "width_correlation")
MEANS = (
    "useless_recall",
    "useless_precision",
    "embedding_bytes",
    "embedding_ratio",
    "router_bytes",
    "total_bytes",
    "search_seconds",
    "retrain_seconds",
)


def leaderboard_frame(records: pd.DataFrame) -> pd.DataFrame:
    """Return the leaderboard of `records` (the frame of `Store.frame()`), one `LeaderboardRow` per row.

    Groups (data set, backbone) are ordered by name; in each the uniform model stands first, then the mean
    test AUC decides, and labels without any success come last. `DataError` if the records are not fit for it.
    """
    columns = [field.name for field in dataclasses.fields(LeaderboardRow)]
    rows = [row for _, _, group in groups(prepared(records)) for row in _group_rows(group)]
    return pd.DataFrame([dataclasses.asdict(row) for row in rows], columns=columns)


def write_leaderboard(
    records: pd.DataFrame,
    out: Path,
    title: str,
    explanations: Mapping[str, str] | None = None,
    levels: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write the leaderboard of `records` into folder `out`; return the paths written.

    `leaderboard.csv` (raw numbers), `.md`, `.tex` and `.html` (one self-contained page), and the figure
    `auc_over_bytes` as SVG and PDF. `explanations`, by label or method, say why something is not above random plans of
    its size; `levels`, by the method's name, part a figure of many methods by what they decide. Equal records give
    equal bytes. Files appear whole or not at all; `StoreError` where `out` cannot be written, `DataError` if the
    records are not fit for it.
    """
    from nasbench_rec.reports import figures

    frame, points = leaderboard_frame(records), figures.auc_over_bytes_frame(records, levels)
    figure = figures.draw_auc_over_bytes(points)
    inline = {
        (str(dataset), str(backbone)): figures.inline_svg(part, f"figure{i}")
        for i, ((dataset, backbone), part) in enumerate(points.groupby(["dataset", "backbone"]))
    }
    return write_files(
        out,
        {
            "leaderboard.csv": _writers.csv(frame),
            "leaderboard.md": _writers.markdown(frame, title, explanations),
            "leaderboard.tex": _writers.latex(frame, title),
            "leaderboard.html": _page.html(frame, prepared(records), inline, title, explanations),
            "auc_over_bytes.svg": figures.svg(figure),
            "auc_over_bytes.pdf": figures.pdf(figure),
        },
    )


def _group_rows(group: pd.DataFrame) -> list[LeaderboardRow]:
    units = {str(label): unit for label, unit in group.groupby("label", sort=True)}
    scores = {name: _scores(group, name) for name in ("test_auc", "test_logloss")}
    uniform = uniform_label(group)
    rows = [_row(unit, scores, uniform, random_label(group, unit)) for unit in units.values()]
    ranked = sorted(rows, key=lambda row: (not row.uniform, row.n == 0, _descending(row.test_auc), row.label))
    best = _best(ranked, scores["test_auc"])
    at_budget = {_best(rows, scores["test_auc"]) for rows in _by_budget(ranked)}
    return [
        dataclasses.replace(row, best=row.label == best, best_at_budget=row.label in at_budget)
        for row in ranked
    ]


def _scores(group: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the scores of all labels [split seed and seed; label], NaN where a unit failed or was not run."""
    table = succeeded(group).set_index([*PAIR, "label"])[metric].unstack("label")
    return table.reindex(columns=group["label"].unique())


def _by_budget(rows: list[LeaderboardRow]) -> list[list[LeaderboardRow]]:
    """Return the rows of each plan budget, those without one together."""
    found: dict[float | None, list[LeaderboardRow]] = {}
    for row in rows:
        found.setdefault(row.ratio if row.ratio == row.ratio else None, []).append(row)
    return list(found.values())


def _descending(value: float) -> float:
    return -value if value == value else float("inf")


def _row(
    unit: pd.DataFrame, scores: Mapping[str, pd.DataFrame], uniform: str | None, random: str | None
) -> LeaderboardRow:
    """Return the row of a label's units; `uniform` and `random`: the labels that it is compared with."""
    good, bad = succeeded(unit), unit[unit["status"] != "ok"]
    first = unit.iloc[0]
    label = str(first["label"])
    numbers: dict[str, Any] = {name: float(good[name].mean()) for name in (*SCORES, *MEANS)}
    numbers |= {f"{name}_sd": float(good[name].std()) for name in SCORES}
    for name in ("auc", "logloss"):
        numbers |= flat(f"{name}_difference", _difference(scores[f"test_{name}"], label, uniform))
    numbers |= flat(
        "random_difference", _difference(scores["test_auc"], label, None if label == uniform else random)
    )
    return LeaderboardRow(
        **{name: first[name] for name in ("dataset", "backbone", "label", "method")},
        ratio=float(first["ratio"]),
        uniform=label == uniform,
        best=False,
        best_at_budget=False,
        n=len(good),
        failed=len(bad),
        reason="" if bad.empty else str(bad.iloc[0]["error"]) or "no reason was recorded",
        **numbers,
    )


def _difference(scores: pd.DataFrame, label: str, other: str | None) -> PairedDifference:
    """Return the paired difference of two labels; missing without the other one, and of one with itself."""
    if other is None or other == label:
        return PairedDifference.missing()
    return paired_difference(scores[label], scores[other])


def _best(rows: list[LeaderboardRow], scores: pd.DataFrame) -> str | None:
    """Return the label whose lead over the second is more than seed noise, None where no lead is.

    The second is the row that is nearest on the seeds that both have: a mean over other seeds may be another's.
    """
    scored = sorted((row for row in rows if row.test_auc == row.test_auc), key=lambda row: -row.test_auc)
    if len(scored) < 2 or scored[0].failed:
        return None
    first, *others = (row.label for row in scored)
    leads = scores[others].rsub(scores[first], axis=0).mean()
    if leads.isna().all():
        return None
    lead = _difference(scores, first, str(leads.idxmin()))
    return first if lead.excludes_zero and lead.low > 0 else None
