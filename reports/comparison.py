"""Comparisons of methods as figures and compact tables: pure functions from records to frames, and drawers.

`FIGURES` names all of them. Each takes `Evidence` (what a store holds) to a frame, which is empty where there is
nothing to show, and a frame to a figure. The functions behind them take records alone and are public here, too.
`nasbench-rec figures` writes them (docs/figures.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from nasbench_rec.reports import _writers
from nasbench_rec.reports._comparison_curves import CurvePoint, anytime_frame, draw_anytime
from nasbench_rec.reports._comparison_evidence import Evidence
from nasbench_rec.reports._comparison_figures import FIGURES, REASON, ComparisonFigure
from nasbench_rec.reports._comparison_pairs import PairRow, draw_hypervolume, draw_paired, paired_frame
from nasbench_rec.reports._comparison_paper import (
    PaperCell,
    paper_csv,
    paper_frame,
    paper_latex,
    paper_markdown,
)
from nasbench_rec.reports._comparison_points import (
    CostPoint,
    HypervolumeRow,
    Reference,
    hypervolume_frame,
    pareto_frame,
    search_cost_frame,
)
from nasbench_rec.reports._comparison_ranks import (
    BudgetRank,
    RankRow,
    critical_difference_frame,
    draw_critical_difference,
    draw_rank_over_budgets,
    rank_over_budgets_frame,
)
from nasbench_rec.reports._comparison_scatter import draw_pareto, draw_search_cost, draw_search_seconds
from nasbench_rec.reports._comparison_widths import WidthRow, draw_widths, planted_widths, widths_frame
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports.figures import pdf, svg

from nasbench_rec.errors import ConfigError, unknown

__all__ = [
    "FIGURES",
    "PAPER",
    "BudgetRank",
    "ComparisonFigure",
    "CostPoint",
    "CurvePoint",
    "Evidence",
    "HypervolumeRow",
    "PairRow",
    "PaperCell",
    "RankRow",
    "Reference",
    "WidthRow",
    "Written",
    "anytime_frame",
    "comparison_frames",
    "critical_difference_frame",
    "describe_figures",
    "draw_anytime",
    "draw_critical_difference",
    "draw_hypervolume",
    "draw_paired",
    "draw_pareto",
    "draw_rank_over_budgets",
    "draw_search_cost",
    "draw_search_seconds",
    "draw_widths",
    "hypervolume_frame",
    "paired_frame",
    "paper_csv",
    "paper_frame",
    "paper_latex",
    "paper_markdown",
    "pareto_frame",
    "planted_widths",
    "rank_over_budgets_frame",
    "search_cost_frame",
    "widths_frame",
    "write_comparison",
]

PAPER = "paper"
"""The name of the compact table, which is written beside the figures."""
Watch = Callable[[str, int, int], None]
"""Hears what is done: a step's name, how much of it, of how much."""


def comparison_frames(
    evidence: Evidence, names: Iterable[str] = ()
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return the frames of figures (all, or those named) that have anything to show, and why the others have not.

    `ConfigError` for an unknown name.
    """
    found: dict[str, pd.DataFrame] = {}
    reasons: dict[str, str] = {}
    for name in _known(names, FIGURES):
        frame = FIGURES[name].frame(evidence)
        if frame.empty:
            reasons[name] = str(frame.attrs[REASON])
        else:
            found[name] = frame
    return found, reasons


def _known(names: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """Return the names, each once; all that are allowed for none. `ConfigError` for an unknown one."""
    given, known = tuple(dict.fromkeys(names)), tuple(allowed)
    for name in given:
        if name not in known:
            raise ConfigError(unknown("figure", name, known))
    return given or known


def describe_figures(names: Iterable[str] = ()) -> list[dict[str, str]]:
    """Return name, title, what it shows and how it is read of figures and the table (all, or those named).

    `ConfigError` for an unknown name.
    """
    table = (
        "Compact table",
        "Methods by plan budgets: mean test AUC, bold and daggers where the statistics allow them.",
        "How it is read stands below the table.",
    )
    entries = {name: (figure.title, figure.shows, figure.reading) for name, figure in FIGURES.items()}
    entries[PAPER] = table
    keys = ("name", "title", "shows", "reading")
    return [dict(zip(keys, (name, *entries[name]), strict=True)) for name in _known(names, entries)]


@dataclass(frozen=True)
class Written:
    """What `write_comparison` did."""

    files: Mapping[str, Sequence[Path]]
    """The files of each figure, and of the table, by name."""
    reasons: Mapping[str, str]
    """Why the others have nothing to show."""

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [path for paths in self.files.values() for path in paths]


def write_comparison(
    evidence: Evidence, out: Path, names: Iterable[str] = (), watch: Watch | None = None
) -> Written:
    """Write figures and the compact table into folder `out`; return what was written, and why the rest was not.

    `NAME.csv`, `.svg` and `.pdf` of each figure (all, or those named) that has anything to show, of one with many
    panels `NAME-PLACE.svg` and `.pdf` for each place; and `paper.csv`, `.md` and `.tex` (the name `PAPER`). Equal
    records give equal bytes; files appear whole or not at all, and none before all are drawn. `ConfigError` for an
    unknown name, `DataError` if there are no records, `StoreError` where `out` cannot be written. `watch` hears how far
    it is.
    """
    wanted = _known(names, (*FIGURES, PAPER))
    contents: dict[str, dict[str, bytes]] = {}
    reasons: dict[str, str] = {}
    for i, name in enumerate(wanted):
        if watch is not None:
            watch("figures", i, len(wanted))
        if name == PAPER:
            contents[name] = _paper_files(evidence)
            continue
        frames, lacking = comparison_frames(evidence, [name])
        reasons |= lacking
        contents |= {name: _figure_files(name, frame) for name, frame in frames.items()}
    return Written({name: write_files(out, files) for name, files in contents.items()}, reasons)


def _paper_files(evidence: Evidence) -> dict[str, bytes]:
    table = paper_frame(evidence.frame)
    writers = {"csv": paper_csv, "md": paper_markdown, "tex": paper_latex}
    return {f"{PAPER}.{end}": write(table) for end, write in writers.items()}


def _figure_files(name: str, frame: pd.DataFrame) -> dict[str, bytes]:
    files = {f"{name}.csv": _writers.csv(frame)}
    for place, part in FIGURES[name].parts(frame).items():
        figure, stem = FIGURES[name].figure(part), f"{name}-{place}" if place else name
        files |= {f"{stem}.svg": svg(figure), f"{stem}.pdf": pdf(figure)}
    return files
