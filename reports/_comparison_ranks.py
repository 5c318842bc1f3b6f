"""Ranks of methods over data sets and backbones: critical-difference diagrams, and ranks over plan budgets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import Margins, colour, grid, inches, panel_title, room_for
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._comparison_marks import (
    LETTER,
    TITLE_LETTER,
    beside,
    inside,
    note,
    on_page,
    plans_of,
    spread_down,
)
from nasbench_rec.reports._comparison_units import at_budget, budgets, named, shared_scores
from nasbench_rec.reports._drawing import INK, LINE, MARKERS, MUTED, style
from nasbench_rec.reports._records import GROUP, PAIR
from nasbench_rec.reports._text import fitted, letters

from nasbench_rec.errors import DataError
from nasbench_rec.statistics import friedman, post_hoc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_PLACES, LEAST_DATASETS = 6, 3
"""A signed-rank test over five places cannot go below p = .0625; backbones of one data set are no new data sets."""
Test = Literal["wilcoxon-holm", "nemenyi"]
COLOURED = 7
NAME = 30
BARS = 14
"""Cliques that are drawn."""
WIDE, ROW, AXIS = 3.2, 0.15, 0.36
"""Inches of a diagram's axis, of a name in it, and from its top to its axis."""
HEAD, NOTE, RANK = 0.46, 0.3, 0.36
"""Inches of its title, of the note below, and of a rank beside a name."""
NAME_SIZE = 7.5


@dataclass(frozen=True)
class RankRow:
    """The mean rank of one method at one plan budget over data sets and backbones, rank 1 the highest test AUC."""

    ratio: float
    budget: str
    name: str
    rank: float
    """NaN for a method that was not run somewhere, or that has a failed unit: it is not ranked."""
    cliques: str
    """Numbers of the groups that it belongs to, in which no two methods are told apart; empty for none."""
    places: int
    datasets: int
    blocks: int
    """Pairs of seeds over all places; every mean is over the same ones."""
    methods: int
    friedman_p: float
    """By permutation: the chance of ranks so far apart if all methods ranked alike."""
    test: str
    """What tells two methods apart; "none" where Friedman's test does not reject."""
    alpha: float
    critical_difference: float
    """Nemenyi's; NaN for Wilcoxon's tests."""


def critical_difference_frame(
    records: pd.DataFrame, test: Test | None = None, alpha: float = 0.05
) -> pd.DataFrame:
    """Return a `RankRow` per method and plan budget, for a critical-difference diagram (Demsar 2006).

    A score is the mean test AUC on one data set and backbone (a place), over the pairs of seeds that all ranked methods
    have there. `test`: None takes the exact signed-rank tests
    with Holm's correction over all pairs where so many places can reach `alpha` at all, else Nemenyi's; this looks at
    their numbers only. Budgets at which there are too few places are left out; `DataError` if that leaves none: six
    places on three data sets are needed.
    """
    frame = named(records)
    rows: list[RankRow] = []
    seen: list[str] = []
    for ratio, text in budgets(frame):
        scores, without = shared_scores(at_budget(frame, ratio))
        places = scores.groupby(level=GROUP).ngroups
        datasets = scores.index.get_level_values("dataset").nunique()
        if places < LEAST_PLACES or datasets < LEAST_DATASETS or scores.shape[1] < 3:
            seen.append(f"{text}: {scores.shape[1]} methods on {places} places of {datasets} data sets")
            continue
        rows += _ranked(scores, without, (ratio, text), test, alpha)
    if not rows:
        raise DataError(
            "a critical-difference diagram needs at least three methods, each run without a failed unit, on "
            f"{LEAST_PLACES} places (data set and backbone) of {LEAST_DATASETS} data sets, as no test over fewer can "
            f"tell methods apart; there are, by plan budget, {'; '.join(seen) or 'none'}."
        )
    return frame_of(rows, RankRow)


def _ranked(
    scores: pd.DataFrame, without: Sequence[str], size: tuple[float, str], test: Test | None, alpha: float
) -> list[RankRow]:
    table = scores.groupby(level=GROUP).mean()
    places, methods = table.shape
    pairs = methods * (methods - 1) / 2
    chosen: Test = test or ("wilcoxon-holm" if 2.0 ** (1 - places) * pairs <= alpha else "nemenyi")
    overall = friedman(table)
    apart = overall.permuted_p <= alpha
    found = post_hoc(table, chosen, alpha)
    cliques: Sequence[Sequence[str]] = found.cliques if apart else [list(found.mean_ranks)]
    ranks = {**found.mean_ranks, **dict.fromkeys(without, math.nan)}
    return [
        RankRow(
            *size,
            name=name,
            rank=rank,
            cliques=" ".join(str(i) for i, clique in enumerate(cliques, 1) if name in clique),
            places=places,
            datasets=table.index.get_level_values("dataset").nunique(),
            blocks=len(scores),
            methods=methods,
            friedman_p=overall.permuted_p,
            test=chosen if apart else "none",
            alpha=alpha,
            critical_difference=found.critical_difference,
        )
        for name, rank in ranks.items()
    ]


def draw_critical_difference(frame: pd.DataFrame) -> Figure:
    """Draw `critical_difference_frame`: a diagram per plan budget, names hanging from an axis of mean ranks."""
    from matplotlib.figure import Figure

    parts = [part for _, part in frame.groupby("budget", sort=False)]
    ranked = [part.dropna(subset=["rank"]).sort_values(["rank", "name"]) for part in parts]
    lost = [", ".join(part.loc[part["rank"].isna(), "name"]) for part in parts]
    tall = [_height(part) for part in ranked]
    side = _side(fitted(name, NAME) for part in ranked for name in part["name"])
    wide = WIDE + 2 * side
    with style():
        figure = Figure(figsize=(wide + 0.2, sum(tall) + HEAD * len(parts)))
        top = float(figure.get_figheight())
        for part, names, height in zip(ranked, lost, tall, strict=True):
            axes = figure.add_axes(inches(figure, (0.1, top - HEAD - height, wide, height)))
            panel_title(axes, _diagram_title(part), int(wide / TITLE_LETTER))
            _diagram(axes, part, height, side)
            note(axes, f"not ranked, as a unit failed or was not run: {names}" if names else "", down=-22)
            top -= HEAD + height
    return figure


def _side(names: Iterable[str]) -> float:
    """Return the inches of names and their ranks at one side of a diagram."""
    return 0.15 + RANK + LETTER * NAME_SIZE / 72 * max(map(letters, names))


def _groups(part: pd.DataFrame) -> list[tuple[float, float, list[float]]]:
    """Return first and last rank of each clique, and those of all members."""
    members: dict[int, list[float]] = {}
    for rank, cliques in zip(part["rank"], part["cliques"], strict=True):
        for i in map(int, str(cliques).split()):
            members.setdefault(i, []).append(float(rank))
    return [(min(found), max(found), found) for _, found in sorted(members.items())]


def _height(part: pd.DataFrame) -> float:
    """Return the inches of a diagram: the axis, its bars, half of the names on each side, and a note."""
    return AXIS + 0.12 + 0.07 * min(len(_groups(part)), BARS) + ROW * (math.ceil(len(part) / 2) + 0.5) + NOTE


def _diagram_title(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    tests = {
        "wilcoxon-holm": "Signed-rank tests, Holm",
        "nemenyi": f"Nemenyi, CD {first['critical_difference']:.2f}",
        "none": "Friedman's test does not reject: one group",
    }
    count = f"{first['methods']} methods over {first['places']} places"
    of = f"{first['datasets']} data sets, {first['blocks']} pairs of seeds"
    tested = f"{tests[str(first['test'])]}; Friedman p = {first['friedman_p']:.2g}"
    return f"{plans_of(first['budget'])}: mean ranks of {count} ({of}). {tested}"


def _diagram(axes: Axes, part: pd.DataFrame, tall: float, side: float) -> None:
    """Draw in inches down from the top: the axis, then bars, then names at both sides, `side` inches wide."""
    low, high = 1.0, float(max(part["methods"].iloc[0], 2))
    inch = (high - low) / WIDE
    axes.set(xlim=(low - side * inch, high + side * inch), ylim=(tall, 0))
    axes.axis("off")
    axes.hlines(AXIS, low, high, color=INK, linewidth=1)
    for tick in np.arange(low, high + 1e-9, max(1, math.ceil((high - low) / 10))):
        axes.vlines(tick, AXIS - 0.06, AXIS, color=INK, linewidth=1)
        axes.text(tick, AXIS - 0.08, f"{tick:g}", ha="center", va="bottom", fontsize=7)
    bars = _groups(part)
    for i, (first, last, members) in enumerate(bars[:BARS]):
        y = AXIS + 0.09 + 0.07 * i
        axes.hlines(y, first - 0.03 * inch, last + 0.03 * inch, color=colour(0), linewidth=2.4)
        dots = {"color": "white", "markeredgecolor": colour(0), "markersize": 3.6, "markeredgewidth": 1.0}
        axes.plot(members, [y] * len(members), linestyle="", marker="o", **dots)
    if critical := part["critical_difference"].iloc[0]:
        _ruler(axes, low, critical, part["test"].iloc[0])
    top = AXIS + 0.09 + 0.07 * min(len(bars), BARS) + ROW
    left = math.ceil(len(part) / 2)
    for i, (name, rank) in enumerate(zip(part["name"], part["rank"], strict=True)):
        y = top + ROW * (i if i < left else len(part) - 1 - i)
        _hang(axes, fitted(name, NAME), float(rank), y, *((low, -inch) if i < left else (high, inch)))


def _hang(axes: Axes, name: str, rank: float, y: float, end: float, inch: float) -> None:
    """Hang a name from its rank, beyond the axis' `end`; `inch`: an inch outwards, in ranks."""
    edge, align = end + 0.05 * inch, "right" if inch < 0 else "left"
    axes.plot([rank, rank, edge], [AXIS, y, y], color=MUTED, linewidth=0.7, zorder=0)
    look: dict[str, Any] = {"ha": align, "va": "center", "fontsize": NAME_SIZE, "parse_math": False}
    axes.text(
        edge + 0.04 * inch, y, f"{rank:.2f}", **look
    )  # apart from names, which may run from right to left
    axes.text(edge + (0.04 + RANK) * inch, y, name, **look)


def _ruler(axes: Axes, low: float, critical: float, test: str) -> None:
    if test != "nemenyi" or not math.isfinite(critical):
        return
    axes.plot(
        [low, low + critical], [0.06, 0.06], color=INK, linewidth=1.2, marker="|", markersize=5, clip_on=False
    )
    axes.annotate(
        "CD", xy=(low + critical, 0.06), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7
    )


@dataclass(frozen=True)
class BudgetRank:
    """The mean rank of one method at one plan budget, over data sets, backbones and pairs of seeds."""

    ratio: float
    budget: str
    name: str
    method: str
    rank: float
    rank_low: float
    """Smallest and largest mean over seeds of a data set and backbone."""
    rank_high: float
    methods: int
    """Methods that were run at this budget on every data set and backbone."""
    places: int
    blocks: int
    """Pairs of seeds over all data sets and backbones in which methods were ranked."""
    failed: int
    """Units that failed; each has the last rank."""


def rank_over_budgets_frame(records: pd.DataFrame) -> pd.DataFrame:
    """Return a `BudgetRank` per method and plan budget, the largest budget and the best rank first.

    At each budget those methods are ranked, by test AUC in each pair of seeds, that were run on every data set and
    backbone that has this budget; a failed unit has the last rank. Methods without control of their size have none.
    """
    frame = named(records)
    rows: list[BudgetRank] = []
    for ratio, text in budgets(frame):
        part = at_budget(frame, ratio)
        if ratio == ratio:
            rows += _budget_ranks(part, ratio, text)
    return frame_of(rows, BudgetRank)


def _budget_ranks(part: pd.DataFrame, ratio: float, text: str) -> list[BudgetRank]:
    part = part.assign(score=part["test_auc"].where(part["status"] == "ok", -math.inf))
    table = part.pivot_table(index=[*GROUP, *PAIR], columns="name", values="score", aggfunc="first")
    table = table.loc[:, table.notna().groupby(level=[0, 1]).any().all()].dropna()
    if table.shape[1] < 2 or table.empty:
        return []
    ranks = table.rank(axis=1, ascending=False)
    places = ranks.groupby(level=[0, 1]).mean()
    methods = part.groupby("name")["method"].first()
    found = [
        BudgetRank(
            *(ratio, text, str(name), str(methods[name])),
            rank=float(places[name].mean()),
            rank_low=float(places[name].min()),
            rank_high=float(places[name].max()),
            methods=table.shape[1],
            places=len(places),
            blocks=len(table),
            failed=int(np.isinf(table[name]).sum()),
        )
        for name in table.columns
    ]
    return sorted(found, key=lambda row: (row.rank, row.name))


def draw_rank_over_budgets(frame: pd.DataFrame) -> Figure:
    """Draw `rank_over_budgets_frame`: a line per method over plan budgets, rank 1 on top."""
    shown = frame[["ratio", "budget"]].drop_duplicates()
    spots = {budget: i for i, budget in enumerate(shown["budget"])}
    overall = frame.groupby("name")["rank"].mean().sort_values()
    most = int(frame["methods"].max())
    with style():
        page = grid(
            [_rank_title(frame)],
            size=(max(2.9, 0.95 * (len(spots) - 1) + 0.6), max(1.6, 0.17 * most)),
            margins=Margins(
                left=0.42, bottom=0.3, right=0.3 + room_for(map(str, overall.index), NAME), top=0.36
            ),
            head=0.02,
        )
        axes = page.panels[0]
        for i, name in enumerate(overall.index):
            _rank_line(axes, frame[frame["name"] == name], spots, _rank_look(i, str(name)))
        _lay_ranks(axes, list(spots), most)
        _rank_names(axes, frame, spots, list(overall.index))
        page.label("plan budget (share of the bytes)", "mean rank (1: best)")
    return page.figure


def _rank_title(frame: pd.DataFrame) -> str:
    first = frame.iloc[0]
    places = f"{first['places']} place{'s' if first['places'] > 1 else ''} (data set, backbone)"
    return f"{most_and_least(frame['methods'])} methods, {places}, {most_and_least(frame['blocks'])} pairs of seeds"


def most_and_least(counts: pd.Series) -> str:
    """Return a count, or the smallest and largest of several."""
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _rank_look(i: int, name: str) -> dict[str, Any]:
    if name == "fixed":
        return {"color": INK, "marker": "D"}
    if name == "random":
        return {"color": INK, "marker": "x"}
    return {"color": colour(i) if i < COLOURED else MUTED, "marker": MARKERS[i % len(MARKERS)]}


def _rank_line(axes: Axes, part: pd.DataFrame, spots: dict[str, int], look: dict[str, Any]) -> None:
    x = [spots[budget] for budget in part["budget"]]
    grey = look["color"] == MUTED
    control = look["color"] == INK
    axes.plot(
        x,
        part["rank"],
        markersize=4.5,
        linewidth=0.8 if grey else 1.4,
        linestyle=(0, (4, 2)) if control else "-",
        zorder=2 if grey else 3,
        **look,
    )


def _lay_ranks(axes: Axes, names: Sequence[str], most: int) -> None:
    import seaborn

    seaborn.despine(ax=axes)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.15, max(len(names) - 1, 0.5) + 0.05)
    axes.set_ylim(most + 0.5, 0.5)
    step = max(1, math.ceil(most / 12))
    axes.set_yticks(range(1, most + 1, step))
    axes.grid(axis="y", color=LINE)
    axes.set_axisbelow(True)


def _rank_names(axes: Axes, frame: pd.DataFrame, spots: dict[str, int], names: Sequence[str]) -> None:
    """Write names at the right, each beside the height at which its line ends."""
    last = frame.assign(x=frame["budget"].map(spots)).sort_values("x").groupby("name")[["x", "rank"]].last()
    pages = [on_page(axes, *last.loc[name]) for name in names]
    placed = spread_down([y for _, y in pages], 8.6)
    box = inside(axes)
    shift = min(max(0.0, box.bottom - min(placed)), max(0.0, box.top - max(placed)) + 2)
    for i, (name, spot, y) in enumerate(zip(names, pages, placed, strict=True)):
        beside(axes, fitted(name, NAME), (box.right + 16, y + shift), _rank_look(i, str(name)), spot)
