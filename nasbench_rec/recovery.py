"""What planted data can tell and no real data can: did a plan find the planted widths, fields and groups?"""

from __future__ import annotations

from collections.abc import Mapping
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
