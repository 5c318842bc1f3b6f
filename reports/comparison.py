"""Comparisons of methods as figures and compact tables: pure functions from records to frames, and drawers.

`FIGURES` names all of them. Each takes `Evidence` (what a store holds) to a frame, which is empty where there is
nothing to show, and a frame to a figure. The functions behind them take records alone and are public here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from nasbench_rec.reports import _ablation_figures, _tuning_columns, _writers
from nasbench_rec.reports._columns import FIGURE_READING
from nasbench_rec.reports._comparison_curves import CurvePoint, anytime_frame, draw_anytime
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
from nasbench_rec.reports._drawing import style
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports.figures import auc_over_bytes_frame, draw_auc_over_bytes, pdf, svg
from nasbench_rec.reports.tuning import draw_gains, tuning_frame

from nasbench_rec.errors import ConfigError, DataError, unknown
from nasbench_rec.store import COLUMNS, Record, Store, row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FIGURES",
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
    "anytime_frame",
    "comparison_frames",
    "critical_difference_frame",
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

REASON = "reason"
"""Under this name the attributes of an empty frame say why it is empty."""


@dataclass(frozen=True)
class Evidence:
    """What figures are made from; what is not given, they cannot show."""

    frame: pd.DataFrame
    """The frame of `Store.frame()`."""
    records: Sequence[Record] = ()
    """The same records in full: curves, widths and gates need them."""
    truth: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Useful widths by field, by a planted data set's fingerprint (`planted_widths`)."""
    tuning: pd.DataFrame | None = None
    """The plan of an equal tuning (`studies.tuning.plan_frame`)."""
    levels: Mapping[str, str] = field(default_factory=dict)
    """What a method decides, by its name: parts figures of many methods."""

    @classmethod
    def of(cls, store: Store | Path | str, **more: Any) -> Evidence:
        """Return what a store holds, read once; `more` are the fields that a store does not have."""
        store = store if isinstance(store, Store) else Store(store)
        records = list(store)
        frame = pd.DataFrame([row(record) for record in records], columns=COLUMNS)
        return cls(frame, records, planted_widths(store.path), **more)

    def where(self, **values: str) -> Evidence:
        """Return the evidence of some records only: `where(dataset="frappe", backbone="dnn")`."""
        keep = pd.Series(True, index=self.frame.index)
        for name, value in values.items():
            keep &= self.frame[name] == value
        keys = set(self.frame.loc[keep, "key"])
        tuning = self.tuning
        for name in ("dataset", "backbone") if tuning is not None else ():
            tuning = tuning[tuning[name] == values[name]] if tuning is not None and name in values else tuning
        return replace(
            self,
            frame=self.frame[keep],
            records=[record for record in self.records if record["key"] in keys],
            tuning=tuning,
        )

    def plan(self) -> pd.DataFrame:
        """Return the records as a plan of variants, a variant per label: the form that gate figures take."""
        good = self.frame[self.frame["status"] == "ok"]
        same = ["dataset", "backbone", "label", "seed", "split_seed"]
        unlike = good.drop_duplicates(same, keep="last")[[*same, "key"]].rename(columns={"label": "variant"})
        return unlike.assign(factor="", value="", best_of="").reset_index(drop=True)


@dataclass(frozen=True)
class ComparisonFigure:
    """A figure by name: its frame, its drawer, and the words beside it."""

    title: str
    make: Callable[[Evidence], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
    reading: str
    """How it is read: what points, bars and lines are."""

    def frame(self, evidence: Evidence) -> pd.DataFrame:
        """Return what it shows; a frame without rows (its attribute `reason` says why) where there is nothing."""
        try:
            found = self.make(evidence)
        except DataError as error:
            found = pd.DataFrame()
            found.attrs[REASON] = str(error)
        if found.empty and REASON not in found.attrs:
            found.attrs[REASON] = "no record has what it needs."
        return found

    def figure(self, frame: pd.DataFrame) -> Figure:
        """Draw a frame that has rows."""
        with style():
            return self.draw(frame)


def comparison_frames(
    evidence: Evidence, names: Iterable[str] = ()
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Return the frames of figures (all, or those named) that have anything to show, and why the others have not.

    `ConfigError` for an unknown name.
    """
    found: dict[str, pd.DataFrame] = {}
    reasons: dict[str, str] = {}
    for name in names or FIGURES:
        if name not in FIGURES:
            raise ConfigError(unknown("figure", name, FIGURES))
        frame = FIGURES[name].frame(evidence)
        if frame.empty:
            reasons[name] = str(frame.attrs[REASON])
        else:
            found[name] = frame
    return found, reasons


def write_comparison(evidence: Evidence, out: Path, names: Iterable[str] = ()) -> list[Path]:
    """Write figures and the compact table into folder `out`; return the paths written.

    `NAME.csv`, `.svg` and `.pdf` of each figure (all, or those named) that has anything to show, and `paper.csv`, `.md`
    and `.tex`. Equal records give equal bytes; files appear whole or not at all. `ConfigError` for an unknown name,
    `DataError` if the records are not fit for it, `StoreError` where `out` cannot be written.
    """
    table = paper_frame(evidence.frame)
    files = {
        "paper.csv": paper_csv(table),
        "paper.md": paper_markdown(table),
        "paper.tex": paper_latex(table),
    }
    for name, frame in comparison_frames(evidence, names)[0].items():
        figure = FIGURES[name].figure(frame)
        files |= {f"{name}.csv": _writers.csv(frame), f"{name}.svg": svg(figure), f"{name}.pdf": pdf(figure)}
    return write_files(out, files)


def _tuned(evidence: Evidence) -> pd.DataFrame:
    if evidence.tuning is None:
        raise DataError("tuning gains need the plan of an equal tuning.")
    return tuning_frame(evidence.tuning, evidence.frame)


def _gates(name: str) -> ComparisonFigure:
    """Return a figure of an ablation for the records of a store, a panel per label that has gates or clusters."""
    figure = _ablation_figures.FIGURES[name]

    def make(evidence: Evidence) -> pd.DataFrame:
        known = {str(record["key"]): record for record in evidence.records}
        plan = evidence.plan()
        return figure.frame(plan[plan["key"].isin(list(known))], known)

    return ComparisonFigure(
        f"Gates and clusters: {name.replace('-', ' ')}", make, figure.draw, figure.caption
    )


_PAIRED = (
    "A line is one method at one plan budget: test AUC less that of {}, paired by seed and split seed. Square: the "
    "mean difference, filled where its 95 % interval (Student's t under 6 pairs, BCa bootstrap from 6) excludes zero; "
    "faint points: single pairs of seeds; at the right their number. The band holds differences too small to matter. "
    "No correction for the number of lines is made."
)
_FRONT = (
    "A point is one method at one plan budget: mean test AUC less that of the uniform model, paired by seed, with its "
    "95 % interval (where the uniform model was not run: the mean test AUC), over {}. The stair is the front: nothing "
    "that costs no more has a higher mean; what lies in the shade below it is dominated. Hollow points are not told "
    "apart from the best that costs no more: their paired interval holds zero. A method with a failed unit is never on "
    "the front. Points of about one cost stand side by side; bars may leave the axes, and points that would squash all "
    "others are named below."
)

FIGURES: Mapping[str, ComparisonFigure] = {
    "auc-over-bytes": ComparisonFigure(
        "AUC over bytes",
        lambda e: auc_over_bytes_frame(e.frame, e.levels),
        draw_auc_over_bytes,
        FIGURE_READING,
    ),
    "pareto": ComparisonFigure(
        "Front of AUC over bytes",
        lambda e: pareto_frame(e.frame),
        draw_pareto,
        _FRONT.format("the mean embedding bytes on a logarithmic axis"),
    ),
    "hypervolume": ComparisonFigure(
        "Hypervolume over plan budgets",
        lambda e: hypervolume_frame(e.frame),
        draw_hypervolume,
        "Of each size between 1/100 of the uniform model's embedding bytes and all of them, on a logarithmic axis, the "
        "best test AUC that a method reaches with no more bytes, as far as it is above .5 (the reference point: all "
        "bytes, AUC .5), averaged over the axis; mean over seeds with its 95 % interval. Filled: the difference to "
        "uniform narrow widths, paired by seed, excludes zero. Methods run at other sizes have other hypervolumes: "
        "compare those with the same budgets.",
    ),
    "search-cost": ComparisonFigure(
        "AUC over search cost",
        lambda e: search_cost_frame(e.frame),
        draw_search_cost,
        _FRONT.format("what the search took in full trainings of the uniform model, an even axis up to 1")
        + " Retraining is not counted: all methods pay it. A panel holds plans of one budget.",
    ),
    "search-seconds": ComparisonFigure(
        "AUC over search time",
        lambda e: search_cost_frame(e.frame, "seconds"),
        draw_search_seconds,
        _FRONT.format("the seconds that the search took")
        + " Times hold only within one machine and one run.",
    ),
    "anytime": ComparisonFigure(
        "Anytime curves",
        lambda e: anytime_frame(e.records, e.frame),
        draw_anytime,
        "Best validation AUC so far over what search and retraining had spent, in full trainings of the uniform model; "
        "mean over seeds from the moment that all seeds have reached, bands are the range over seeds. Dotted: the "
        "search's own model, which nobody serves; its reports are spread evenly over what the search spent. Solid: the "
        "model of the plan found, ending in a mark; of plans that are several models only the end is known. Validation "
        "AUC serves early stopping: it is not the test AUC.",
    ),
    "anytime-seconds": ComparisonFigure(
        "Anytime curves in time",
        lambda e: anytime_frame(e.records, e.frame, "seconds"),
        draw_anytime,
        "As the anytime curves, over seconds, which hold only within one machine and one run.",
    ),
    "paired": ComparisonFigure(
        "Differences to the uniform model",
        lambda e: paired_frame(e.frame),
        draw_paired,
        _PAIRED.format("the uniform model"),
    ),
    "paired-random": ComparisonFigure(
        "Differences to random widths of the same size",
        lambda e: paired_frame(e.frame, "random"),
        draw_paired,
        _PAIRED.format("random widths of the same plan budget (of the smallest that are no smaller)"),
    ),
    "rank-over-budgets": ComparisonFigure(
        "Rank over plan budgets",
        lambda e: rank_over_budgets_frame(e.frame),
        draw_rank_over_budgets,
        "Mean rank by test AUC (1: best) at each plan budget: ranked in each pair of seeds, averaged over seeds, then "
        "over data sets and backbones. Methods that were not run on all of them are left out; a failed unit has the "
        "last rank. Dashed: controls without a search. Ranks say nothing of how far methods are apart.",
    ),
    "critical-difference": ComparisonFigure(
        "Critical-difference diagram",
        lambda e: critical_difference_frame(e.frame),
        draw_critical_difference,
        "Mean ranks by mean test AUC (1: best) over places, that is data set and backbone. A bar joins methods, its "
        "dots, that are not told apart: by exact signed-rank tests with Holm's correction over all pairs, or, where so "
        "few places could never reach the level, by Nemenyi's test. Where Friedman's test (by permutation) does not "
        "reject at .05, one bar joins all. Backbones on the same data set are not independent: the tests take them as "
        "if they were.",
    ),
    "widths": ComparisonFigure(
        "Found widths per field",
        lambda e: widths_frame(e.records, e.frame, e.truth),
        draw_widths,
        "Values that a plan keeps per row of each field's table, mean over seeds; the shade is their share of the base "
        "width d. On planted data the first row is the width that is useful, and at the right stands the rank "
        "correlation with it, mean over seeds (—: all widths are equal). What is found may be wider than what is "
        "useful where the budget leaves room.",
    ),
    "tuning-gains": ComparisonFigure("Gains of equal tuning", _tuned, draw_gains, _tuning_columns.FIGURE),
    **{
        f"gates-{name}": _gates(name)
        for name in (
            "polarization-trend",
            "histogram-over-time",
            "histogram",
            "centroids",
            "bimodality",
            "agreement",
            "threshold-curve",
            "field-information",
            "calibration",
        )
    },
}
"""The figures by name, in the order in which a reader wants them."""
