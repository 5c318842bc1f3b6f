"""The leaderboard at a glance: mean test AUC of every method with control of its size, by plan budget."""

from __future__ import annotations

from collections.abc import Sequence

from nasbench_rec.reports._rows import LeaderboardRow
from nasbench_rec.reports._text import one_line, score

MARK = "°"
"""Stands after an AUC that is not above that of random widths at the same budget."""
EXPLANATION = (
    "Mean test AUC by plan budget (share of the uniform model's embedding bytes), best mean rank first; bold: the "
    "highest of a budget, only where none of its units failed and its paired 95 % interval against the second excludes "
    f"zero, {MARK}: not above random widths of that budget, —: no unit succeeded."
)


def glance(rows: Sequence[LeaderboardRow]) -> list[list[str]]:
    """Return head and lines of the table, [] where fewer than two budgets were asked for.

    Methods come by their mean rank over the budgets; a budget at which they failed counts as the last rank.
    """
    budgets = sorted({row.ratio for row in rows if row.ratio == row.ratio and not row.uniform}, reverse=True)
    if len(budgets) < 2:
        return []
    found: dict[str, dict[float, LeaderboardRow]] = {}
    names: dict[float, str] = {}
    for row in rows:
        name, _, budget = row.label.rpartition(" @ ")
        if name and row.ratio in budgets:
            found.setdefault(name, {})[row.ratio] = row
            names[row.ratio] = budget
    ranks = {b: _ranks({name: own[b] for name, own in found.items() if b in own}) for b in budgets}
    order = sorted(found, key=lambda name: (sum(ranks[b].get(name, len(found)) for b in budgets), name))
    lines = [[one_line(name, 60), *(_cell(found[name].get(b)) for b in budgets)] for name in order]
    return [["method", *(names[b] for b in budgets)], *lines]


def _ranks(rows: dict[str, LeaderboardRow]) -> dict[str, int]:
    """Return the place of each method that has an AUC, from 0."""
    known = {name: row.test_auc for name, row in rows.items() if row.n}
    return {name: sum(other > auc for other in known.values()) for name, auc in known.items()}


def _cell(row: LeaderboardRow | None) -> str:
    if row is None or not row.n:
        return "—"
    text = score(row.test_auc, 4) + (MARK if row.random_difference <= 0 else "")
    return f"**{text}**" if row.best_at_budget else text
