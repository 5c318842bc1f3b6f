"""The figures that compare methods, by name: how each is made and drawn, and the words beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
from nasbench_rec.reports import _ablation_figures, _tuning_columns
from nasbench_rec.reports._columns import FIGURE_READING
from nasbench_rec.reports._comparison_curves import anytime_frame, draw_anytime
from nasbench_rec.reports._comparison_evidence import Evidence
from nasbench_rec.reports._comparison_pairs import RANDOM, draw_hypervolume, draw_paired, paired_frame
from nasbench_rec.reports._comparison_points import hypervolume_frame, pareto_frame, search_cost_frame
from nasbench_rec.reports._comparison_ranks import (
    critical_difference_frame,
    draw_critical_difference,
    draw_rank_over_budgets,
    rank_over_budgets_frame,
)
from nasbench_rec.reports._comparison_scatter import draw_pareto, draw_search_cost, draw_search_seconds
from nasbench_rec.reports._comparison_widths import draw_widths, widths_frame
from nasbench_rec.reports._drawing import style
from nasbench_rec.reports._records import GROUP
from nasbench_rec.reports._site_names import slug
from nasbench_rec.reports.figures import auc_over_bytes_frame, draw_auc_over_bytes
from nasbench_rec.reports.tuning import draw_gains

from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REASON = "reason"
"""Under this name the attributes of an empty frame say why it is empty."""
MOST_PANELS, MOST_MAPPED, MOST_LINES = 12, 60, 240
"""Panels, rows of maps and lines of forests in one figure; of more a file is written for each data set and backbone."""


@dataclass(frozen=True)
class ComparisonFigure:
    """A figure by name: its frame, its drawer, and the words beside it."""

    title: str
    shows: str
    """What it answers, in a sentence."""
    make: Callable[[Evidence], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
    reading: str
    """How it is read: what points, bars and lines are."""
    parted: tuple[str, ...] = ()
    """Columns that part its panels or lines, data set and backbone first; () where it is one panel."""
    most: int = MOST_PANELS
    """How many of these it holds."""
    needs: str = "records that succeeded"
    """What the records lack where there is nothing to show."""

    def frame(self, evidence: Evidence) -> pd.DataFrame:
        """Return what it shows; a frame without rows (its attribute `reason` says why) where there is nothing."""
        try:
            found = self.make(evidence)
        except DataError as error:
            found = pd.DataFrame()
            found.attrs[REASON] = str(error)
        if found.empty and REASON not in found.attrs:
            found.attrs[REASON] = f"it needs {self.needs}."
        return found

    def parts(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return a frame as it fits on pages: whole (""), or where it is too large, a part per place, by its name."""
        if not self.parted or frame.groupby(list(self.parted), dropna=False).ngroups <= self.most:
            return {"": frame}
        places = frame.groupby(["dataset", "backbone"], sort=False)
        return {slug(str(dataset), str(backbone)): part for (dataset, backbone), part in places}

    def figure(self, frame: pd.DataFrame) -> Figure:
        """Draw a frame that has rows."""
        with style():
            return self.draw(frame)


def _tuned(evidence: Evidence) -> pd.DataFrame:
    if evidence.tuning is None:
        raise DataError(
            "an equal tuning that was tested is needed; name it (on the command line: --tuned NAME)."
        )
    return evidence.tuning


def _gates(name: str, title: str, shows: str) -> ComparisonFigure:
    """Return a figure of an ablation for the records of a store, a panel per label that has gates or clusters."""
    figure = _ablation_figures.FIGURES[name]

    def make(evidence: Evidence) -> pd.DataFrame:
        known = {str(record["key"]): record for record in evidence.records}
        plan = evidence.plan()
        plan = plan[plan["key"].isin(list(known))]
        return figure.frame(plan, known) if len(plan) else plan

    needs = "records in full of a method with gates or clusters of this kind, such as ihas"
    return ComparisonFigure(title, shows, make, figure.draw, figure.caption, (*GROUP, "variant"), needs=needs)


_PLACES, _LINES = (*GROUP,), (*GROUP, "label")
_SIZES = (*GROUP, "budget")
_PAIRED = (
    "A line is one method at one plan budget: test AUC less that of {}, paired by seed and split seed. Square: the "
    "mean difference, filled where its 95 % interval (Student's t under 6 pairs, exact sign-flip from 6) excludes "
    "zero; faint points: single pairs of seeds; at the right their number, and after × how many units failed. The band "
    "holds differences too small to matter. No correction for the number of lines is made."
)
_FRONT = (
    "A point is one method at one plan budget: mean test AUC less that of the uniform model, paired by seed, with its "
    "95 % interval (where the uniform model was not run: the mean test AUC), over {}. The stair is the front: nothing "
    "that costs no more has a higher mean; what lies in the shade below it is dominated. Hollow points are not told "
    "apart from the best that costs no more: their paired interval holds zero. A method with a failed unit is never on "
    "the front. Points of about one cost stand side by side; bars may leave the axes, and points that would squash all "
    "others are named below. A place with one method alone has no panel."
)
_SEARCH = (
    " Retraining is not counted: all methods pay it. A panel holds plans of one budget; the uniform model stands in "
    "each for comparison and is on the front of its own size only."
)

FIGURES: Mapping[str, ComparisonFigure] = {
    "auc-over-bytes": ComparisonFigure(
        "AUC over bytes",
        "What test AUC does each method reach at which size?",
        lambda e: auc_over_bytes_frame(e.frame, e.levels),
        draw_auc_over_bytes,
        FIGURE_READING,
        _PLACES,
    ),
    "pareto": ComparisonFigure(
        "Front of AUC over bytes",
        "Which methods are on the front of AUC over bytes, and which are surely below it?",
        lambda e: pareto_frame(e.frame),
        draw_pareto,
        _FRONT.format("the mean embedding bytes on a logarithmic axis"),
        _PLACES,
    ),
    "hypervolume": ComparisonFigure(
        "Hypervolume over plan budgets",
        "Which method is best over all sizes together?",
        lambda e: hypervolume_frame(e.frame),
        draw_hypervolume,
        "Of each size between 1/100 of the uniform model's embedding bytes and all of them, on a logarithmic axis, the "
        "best test AUC that a method reaches with no more bytes, as far as it is above .5 (the reference point: all "
        "bytes, AUC .5), averaged over the axis; mean over seeds with its 95 % interval. Filled: the difference to "
        "uniform narrow widths of the same plan budgets, paired by seed, excludes zero. Methods run at other sizes "
        "have other hypervolumes: compare those with the same budgets. All methods together are the best at each size "
        "and seed, chosen on test data: a bound, which no method reaches.",
        _PLACES,
        needs="a method at two plan budgets",
    ),
    "search-cost": ComparisonFigure(
        "AUC over search cost",
        "What does more search buy, in trainings of the uniform model?",
        lambda e: search_cost_frame(e.frame),
        draw_search_cost,
        _FRONT.format("what the search took in full trainings of the uniform model, an even axis up to 1")
        + _SEARCH,
        _SIZES,
    ),
    "search-seconds": ComparisonFigure(
        "AUC over search time",
        "What does more search buy, in seconds of this machine?",
        lambda e: search_cost_frame(e.frame, "seconds"),
        draw_search_seconds,
        _FRONT.format("the seconds that the search took")
        + _SEARCH
        + " Times hold only within one machine and one run.",
        _SIZES,
    ),
    "anytime": ComparisonFigure(
        "Anytime curves",
        "How good is the best model so far after how many trainings?",
        lambda e: anytime_frame(e.records, e.frame),
        draw_anytime,
        "Best validation AUC so far over what search and retraining had spent, in full trainings of the uniform model; "
        "mean over seeds from the moment that all seeds have reached, bands are the range over seeds. Dotted: the "
        "search's own model, which nobody serves; its reports are spread evenly over what the search spent. Solid: the "
        "model of the plan found, ending in a mark; of plans that are several models only the end is known. Beginnings "
        "may lie below the axis, and ends far below all others are named. Validation AUC serves early stopping: it is "
        "not the test AUC.",
        _SIZES,
        needs="records in full with their curves",
    ),
    "anytime-seconds": ComparisonFigure(
        "Anytime curves in time",
        "How good is the best model so far after how many seconds?",
        lambda e: anytime_frame(e.records, e.frame, "seconds"),
        draw_anytime,
        "As the anytime curves, over seconds, which hold only within one machine and one run.",
        _SIZES,
        needs="records in full with their curves",
    ),
    "paired": ComparisonFigure(
        "Paired differences",
        "Which methods are better than the uniform model (or another reference), and by how much?",
        lambda e: paired_frame(e.frame, e.reference),
        draw_paired,
        _PAIRED.format("the reference that the axis names (the uniform model is called fixed)"),
        _LINES,
        MOST_LINES,
    ),
    "paired-random": ComparisonFigure(
        "Differences to random widths of the same size",
        "Which methods are better than random widths of the same size?",
        lambda e: paired_frame(e.frame, RANDOM),
        draw_paired,
        _PAIRED.format("random widths of the same plan budget (of the smallest that are no smaller)"),
        _LINES,
        MOST_LINES,
    ),
    "rank-over-budgets": ComparisonFigure(
        "Rank over plan budgets",
        "Who is first at which size, over all data sets?",
        lambda e: rank_over_budgets_frame(e.frame),
        draw_rank_over_budgets,
        "Mean rank by test AUC (1: best) at each plan budget: ranked in each pair of seeds, averaged over seeds, then "
        "over data sets and backbones. Methods that were not run on all of them are left out; a failed unit has the "
        "last rank. Dashed: controls without a search. Ranks say nothing of how far methods are apart.",
        needs="a plan budget at which two methods were run on every data set and backbone that has it",
    ),
    "critical-difference": ComparisonFigure(
        "Critical-difference diagram",
        "Which methods can be told apart over data sets?",
        lambda e: critical_difference_frame(e.frame),
        draw_critical_difference,
        "Mean ranks by mean test AUC (1: best) over places, that is data set and backbone; means are over the pairs of "
        "seeds that all ranked methods have. A bar joins methods, its dots, that are not told apart: by exact "
        "signed-rank tests with Holm's correction over all pairs, or, where so few places could never reach the level, "
        "by Nemenyi's test. Where Friedman's test (by permutation) does not reject at .05, one bar joins all. "
        "Backbones on the same data set are not independent: the tests take them as if they were.",
    ),
    "widths": ComparisonFigure(
        "Found widths per field",
        "Which width does each method give to each field, and is it the planted one?",
        lambda e: widths_frame(e.records, e.frame, e.truth),
        draw_widths,
        "Values that a plan keeps per row of each field's table, mean over seeds; the shade is their share of the base "
        "width d. On planted data the first row is the width that is useful, and at the right stands the rank "
        "correlation with it, mean over seeds (—: all widths are equal). What is found may be wider than what is "
        "useful where the budget leaves room.",
        _LINES,
        MOST_MAPPED,
        needs="records in full with the widths of their plans",
    ),
    "tuning-gains": ComparisonFigure(
        "Gains of equal tuning",
        "How far did the same tuning move each method?",
        _tuned,
        draw_gains,
        _tuning_columns.FIGURE,
    ),
    **{
        f"gates-{name}": _gates(name, title, shows)
        for name, (title, shows) in {
            "polarization-trend": (
                "Gates over the search",
                "Did the gates of a search part into open and shut ones?",
            ),
            "histogram-over-time": ("Histograms of gates over the search", "When did the gates part?"),
            "histogram": ("Histograms of final gates", "How many gates were undecided at the end?"),
            "centroids": ("Centroids of clusters", "Which fields does each cluster of samples keep?"),
            "bimodality": ("Two peaks and differing masks", "Is the selection instance-wise, or static?"),
            "agreement": ("Agreement of clusters over seeds", "Do two seeds find the same clusters?"),
            "threshold-curve": ("Thresholds of masks", "What does each threshold on the masks cost?"),
            "field-information": (
                "What clusters follow",
                "Which field explains to which cluster a sample belongs?",
            ),
            "calibration": ("Calibration of clusters", "Is the model of each cluster calibrated?"),
        }.items()
    },
}
"""The figures by name, in the order in which a reader wants them."""
