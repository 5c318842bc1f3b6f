"""An ablation: its plan and records to a table of variants, bars that are met or not, and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from nasbench_rec.reports import _ablation_writers, _writers
from nasbench_rec.reports._ablation_figures import FIGURES, figure_of
from nasbench_rec.reports._ablation_health import findings
from nasbench_rec.reports._ablation_plan import AblationPlan, plan_file, planned_bars, planned_units
from nasbench_rec.reports._ablation_rows import AblationRow, Bar, BarRow, ablation_rows, bar_rows, frame_of
from nasbench_rec.reports._ablation_units import Records
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports._text import encoded

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "FIGURES",
    "AblationRow",
    "Bar",
    "BarRow",
    "ablation_frame",
    "bars_frame",
    "print_ablation",
    "write_ablation",
]


def ablation_frame(plan: pd.DataFrame, records: Records, reference: str) -> pd.DataFrame:
    """Return an `AblationRow` per data set, backbone and variant, in the order of the plan.

    `plan` is the frame of `studies.ablation.plan_frame`, `records` maps keys to records; units without one count
    as not run. A `best_of` group has a further row, after its last member. Differences are paired by split
    seed and seed. `DataError` if the plan is not fit for it.
    """
    return frame_of(ablation_rows(plan, records, reference), AblationRow)


def bars_frame(plan: pd.DataFrame, records: Records, bars: Sequence[Bar]) -> pd.DataFrame:
    """Return a `BarRow` per bar for each data set and backbone of the plan.

    A value that is missing counts as not met. `DataError` if a bar has no bound or the plan is not fit for it.
    """
    return frame_of(bar_rows(plan, records, bars), BarRow)


def write_ablation(  # noqa: PLR0913 (all of what an ablation says of itself, by name)
    plan: pd.DataFrame,
    records: Records,
    *,
    name: str,
    title: str,
    question: str,
    reference: str,
    figures: Sequence[str],
    bars: Sequence[Bar],
    out: Path,
) -> list[Path]:
    """Write an ablation into folder `out`; return the paths written.

    `NAME.csv` (raw numbers), `NAME.md` (tables, bars, health, figures), `NAME.json` (the plan, from which the site
    makes its page again) and each figure of `FIGURES` asked for as `FIGURE.svg` and `.pdf`; one that no record has
    content for is named in the page. Equal records give equal bytes; files appear whole or not at all.
    `ConfigError` for an unknown figure, `DataError` if the plan is not fit for it, `StoreError` where `out` cannot
    be written.
    """
    drawn = _drawn(plan, records, figures)
    rows, judged = ablation_rows(plan, records, reference), bar_rows(plan, records, bars)
    page = _ablation_writers.markdown(
        rows,
        judged,
        findings(plan, records),
        {figure: f"{figure}.svg" in drawn for figure in figures},
        (title, question, reference),
    )
    kept = AblationPlan(title, question, reference, tuple(figures), planned_bars(bars), planned_units(plan))
    table = _writers.csv(frame_of(rows, AblationRow))
    texts = {f"{name}.csv": table, f"{name}.md": encoded(page), f"{name}.json": plan_file(kept)}
    return write_files(out, texts | drawn)


def _drawn(plan: pd.DataFrame, records: Records, names: Sequence[str]) -> dict[str, bytes]:
    from nasbench_rec.reports.figures import pdf, svg

    files: dict[str, bytes] = {}
    for name in names:
        figure = figure_of(name)(plan, records)
        if figure is not None:
            files |= {f"{name}.svg": svg(figure), f"{name}.pdf": pdf(figure)}
    return files


def print_ablation(
    plan: pd.DataFrame,
    records: Records,
    *,
    title: str,
    question: str,
    reference: str,
    bars: Sequence[Bar],
    console: Console,
) -> None:
    """Print the tables of an ablation at the width of `console`."""
    from rich.console import Group

    rows, judged = ablation_rows(plan, records, reference), bar_rows(plan, records, bars)
    words = (title, question, reference)
    console.print(Group(*_ablation_writers.tables(rows, judged, words, console.width)))
