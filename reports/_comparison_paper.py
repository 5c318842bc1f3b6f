"""The compact table of a paper: methods by plan budgets, bold and daggers where the statistics allow them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._comparison_marks import seeds_text
from nasbench_rec.reports._comparison_units import OWN_SIZE, Contender, Place, head, places
from nasbench_rec.reports._text import (
    HEADING,
    decimals,
    encoded,
    latex_escape,
    markdown_escape,
    one_line,
    score,
    three_digits,
)
from nasbench_rec.reports.leaderboard import leaderboard_frame

from nasbench_rec.statistics import MARGIN, equivalence

NAME, SMALL = 44, 0.001
DAGGER, FAILED, NOT_RUN = "†", "failed", "—"
LATEX_HEAD = """% In the preamble: \\usepackage{booktabs} and \\usepackage{graphicx}
% (tables too wide are scaled to the line).
"""


@dataclass(frozen=True)
class PaperCell(Contender):
    """One method at one plan budget on one data set and backbone."""

    test_auc: float
    test_auc_sd: float
    embedding_ratio: float
    best: bool
    """Highest mean of its budget, no unit failed, and the paired 95 % interval against the second excludes zero."""
    equivalent: bool
    """Two one-sided paired t tests of level `alpha` place it within `margin` of the uniform model."""
    equivalence_p: float
    equivalence_pairs: int
    margin: float
    alpha: float


def paper_frame(records: pd.DataFrame, margin: float = MARGIN, alpha: float = 0.05) -> pd.DataFrame:
    """Return a `PaperCell` per label: what the compact tables are made of; methods come by their mean rank.

    `margin` is the largest difference in AUC that does not matter.
    """
    board = leaderboard_frame(records)
    rows = {(row["dataset"], row["backbone"], row["label"]): row for row in board.to_dict("records")}
    cells = [
        _cell(place, label, rows[place.dataset, place.backbone, label], margin, alpha)
        for place in places(records)
        for label in place.units
    ]
    frame = frame_of(cells, PaperCell)
    return pd.concat(
        [_ordered(part) for _, part in frame.groupby(["dataset", "backbone"])], ignore_index=True
    )


def _cell(place: Place, label: str, row: Mapping[Hashable, Any], margin: float, alpha: float) -> PaperCell:
    p, pairs, within = math.nan, 0, False
    if place.uniform is not None and label != place.uniform:
        both = place.pairs(label, place.uniform)
        pairs = len(both)
        if pairs > 1:
            found = equivalence(both["a"], both["b"], margin, alpha)
            p, within = found.p, found.within
    return PaperCell(
        **head(place, label),
        test_auc=float(row["test_auc"]),
        test_auc_sd=float(row["test_auc_sd"]),
        embedding_ratio=float(row["embedding_ratio"]),
        best=bool(row["best_at_budget"]),
        equivalent=within,
        equivalence_p=p,
        equivalence_pairs=pairs,
        margin=margin,
        alpha=alpha,
    )


def _ordered(part: pd.DataFrame) -> pd.DataFrame:
    """Return cells by mean rank over budgets; the uniform model's method first, those of their own size last."""
    ranks = part.groupby("ratio")["test_auc"].rank(ascending=False, na_option="bottom")
    mean = ranks.groupby(part["name"]).mean()
    own = set(part.loc[part["uniform"], "name"])
    keys = part.assign(own=[name not in own for name in part["name"]], rank=part["name"].map(mean))
    keys["rank"] = keys["rank"].fillna(math.inf)
    keys["best_auc"] = -keys.groupby("name")["test_auc"].transform("max")
    order = ["own", "rank", "best_auc", "name"]
    ordered = keys.sort_values("ratio", ascending=False, na_position="first").sort_values(
        order, kind="stable"
    )
    return ordered.drop(columns=order[:3])


def paper_csv(frame: pd.DataFrame) -> bytes:
    """Return the cells, a line each, in full precision."""
    return encoded(frame.to_csv(index=False, lineterminator="\n"))


@dataclass(frozen=True)
class _Table:
    """One data set and backbone: budgets across, methods down."""

    dataset: str
    backbone: str
    budgets: list[str]
    rows: list[tuple[str, list[Mapping[str, Any] | None]]]


def _tables(frame: pd.DataFrame) -> list[_Table]:
    tables = []
    for (dataset, backbone), part in frame.groupby(["dataset", "backbone"]):
        order = part.drop_duplicates("ratio").sort_values("ratio", ascending=False, na_position="first")
        budgets = [str(text) for text in order["budget"]]
        rows = []
        for name, own in part.groupby("name", sort=False):
            cells = {str(cell["budget"]): cell for cell in own.to_dict("records")}
            rows.append((str(name), [cells.get(budget) for budget in budgets]))
        tables.append(_Table(str(dataset), str(backbone), budgets, rows))  # type: ignore[arg-type]
    return tables


def _numbers(cell: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return a cell's mean, its spread over seeds, and what stands behind them."""
    sd = float(cell["test_auc_sd"])
    size = ""
    if cell["budget"] == OWN_SIZE and not cell["uniform"] and math.isfinite(cell["embedding_ratio"]):
        share = float(cell["embedding_ratio"])
        size = f" ({three_digits(share)})" if share >= SMALL else f" (<{SMALL:g})"
    lost = f" ({cell['failed']} {FAILED})" if cell["failed"] else ""
    return score(float(cell["test_auc"]), decimals(sd)), score(sd, decimals(sd)), f"{size}{lost}"


def _name(name: str, cells: Sequence[Mapping[str, Any] | None]) -> str:
    return f"{one_line(name, NAME)}{' (uniform)' if any(cell and cell['uniform'] for cell in cells) else ''}"


def paper_markdown(frame: pd.DataFrame) -> bytes:
    """Return a table for GitHub per data set and backbone."""
    blocks = []
    for table in _tables(frame):
        heading = f"{one_line(table.dataset, HEADING)}, {one_line(table.backbone, HEADING)}"
        lines = [["method", *map(markdown_escape, table.budgets)], ["---", *["---:"] * len(table.budgets)]]
        lines += [
            [markdown_escape(_name(name, cells)), *(_markdown(cell) for cell in cells)]
            for name, cells in table.rows
        ]
        blocks += [f"**{markdown_escape(heading)}**", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return encoded("\n\n".join([*blocks, markdown_escape(reading(frame))]) + "\n")


def _markdown(cell: Mapping[str, Any] | None) -> str:
    if cell is None or not cell["n"]:
        return NOT_RUN if cell is None else FAILED
    mean, sd, behind = _numbers(cell)
    spread = f" ±{sd}" if sd else ""
    bold = f"**{mean}**" if cell["best"] else mean
    return f"{bold}{spread}{DAGGER if cell['equivalent'] else ''}{behind}"


def paper_latex(frame: pd.DataFrame) -> bytes:
    """Return booktabs tables for an input file, one per data set and backbone."""
    caption = reading(frame)
    return encoded(LATEX_HEAD + "\n".join(_latex_table(table, caption) for table in _tables(frame)))


def _latex_table(table: _Table, caption: str) -> str:
    heading = f"{one_line(table.dataset, HEADING)}, {one_line(table.backbone, HEADING)}"
    head_line = " & ".join(["method", *map(latex_escape, table.budgets)])
    lines = [
        " & ".join([latex_escape(_name(name, cells)), *(_latex(cell) for cell in cells)]) + r" \\"
        for name, cells in table.rows
    ]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{latex_escape(f'{heading}. {caption}').replace(DAGGER_CODE, LATEX_DAGGER)}}}",
            r"\medskip",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * len(table.budgets)}}}",
            r"\toprule",
            rf"{head_line} \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


DAGGER_CODE, LATEX_DAGGER = f"U+{ord(DAGGER):04X}", r"$^{\dagger}$"


def _latex(cell: Mapping[str, Any] | None) -> str:
    if cell is None or not cell["n"]:
        return "---" if cell is None else FAILED
    mean, sd, behind = _numbers(cell)
    bold = rf"\textbf{{{mean}}}" if cell["best"] else mean
    spread = rf" {{\scriptsize $\pm$ {sd}}}" if sd else ""
    return f"{bold}{spread}{LATEX_DAGGER if cell['equivalent'] else ''}{latex_escape(behind)}"


def reading(frame: pd.DataFrame) -> str:
    """Say how the table is read."""
    margin, alpha = float(frame["margin"].iloc[0]), float(frame["alpha"].iloc[0])
    return (
        f"Mean test AUC ± standard deviation over {seeds_text(frame['n'])}, by plan budget as a share of the uniform "
        f"model's embedding bytes; {OWN_SIZE}: no budget was given, the share reached is in brackets. Bold: the "
        "highest mean of its budget, only where no unit of it failed and the paired 95 % interval against the second "
        f"excludes zero. {DAGGER}: equivalent to the uniform model within {score(margin, 4)} by two one-sided paired t "
        f"tests at level {score(alpha, 2)}. No correction for the number of methods is made."
    )
