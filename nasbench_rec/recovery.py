"""What planted data can tell and no real data can: did a plan find the planted widths, fields and groups?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasbench_rec.embeddings import Layout
from nasbench_rec.plans import EmbeddingPlan

KEPT = 0.5
"""A field counts as kept where its rows keep at least this share of one column on average."""


def width_recovery(plan: EmbeddingPlan, layout: Layout, truth: Mapping[str, Any]) -> dict[str, float | None]:
    """Compare the widths of a plan with the planted ones; {} where nothing is known.

    `width_correlation`: Spearman's rank correlation with the useful widths (None for constant widths);
    `useless_recall`: share of useless fields dropped; `useless_precision`: share of useless among the dropped
    (None where none is dropped).
    """
    if "useful_width" not in truth:
        return {}
    names = [f.name for f in layout.fields]
    useful = np.array([truth["useful_width"][n] for n in names], dtype=float)
    found = plan.widths(layout)
    dropped, useless = found < KEPT, np.isin(names, truth["useless_fields"])
    return {
        "width_correlation": spearman(found, useful),
        "useless_recall": float((dropped & useless).sum() / max(useless.sum(), 1)),
        "useless_precision": float((dropped & useless).sum() / dropped.sum()) if dropped.any() else None,
    }


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return Spearman's rank correlation, ties averaged; None where one side is constant."""
    from scipy.stats import spearmanr

    if np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return None
    return float(spearmanr(a, b).statistic)


def group_recovery(clusters: np.ndarray, groups: np.ndarray | None) -> dict[str, float]:
    """Return the adjusted Rand index of clusters [N] and planted groups [N]; {} where those are unknown."""
    if groups is None:
        return {}
    from sklearn.metrics import adjusted_rand_score

    return {"adjusted_rand": float(adjusted_rand_score(groups, clusters))}


def role_recovery(
    kept: np.ndarray, fields: Sequence[str], groups: np.ndarray, truth: Mapping[str, Any]
) -> dict[str, float]:
    """Return how often instance-wise gates keep fields of the row's own block, of other groups', and useless ones.

    `kept`: share of each field's columns that are kept, per row, [N, F]; `groups` [N]; {} where nothing is known.
    """
    if "blocks" not in truth or len(truth["blocks"]) < 2:
        return {}
    names = list(fields)
    columns = {g: [names.index(f) for f in block] for g, block in truth["blocks"].items()}
    own, other = np.zeros(len(kept)), np.zeros(len(kept))
    for g, mine in columns.items():
        rows = groups == int(g)
        rest = [f for h, block in columns.items() if h != g for f in block]
        own[rows], other[rows] = kept[rows][:, mine].mean(1), kept[rows][:, rest].mean(1)
    useless = np.isin(names, truth["useless_fields"])
    return {
        "own_keep": float(own.mean()),
        "other_keep": float(other.mean()),
        "own_minus_other": float((own - other).mean()),
        "useless_keep": float(kept[:, useless].mean()),
    }
