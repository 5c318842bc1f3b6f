"""What the printed tables of a claim set show, and what their columns mean."""

from __future__ import annotations

import math

from nasbench_rec.reports._claims_rows import ClaimRow, ComparisonRow, where
from nasbench_rec.reports._printed import Column
from nasbench_rec.reports._text import one_line, score, three_digits

LONG = 140


def amount(value: float, signed: bool = False) -> str:
    """Return a number of any metric: scores as the field prints them, others with three digits."""
    if math.isnan(value):
        return ""
    if abs(value) < 10:
        return score(value, 5 if 0 < abs(value) < 1e-3 else 4, signed)
    return f"{'+' if signed and value > 0 else '-' if value < 0 else ''}{three_digits(abs(value))}"


def probability(p: float) -> str:
    """Return a p-value with two digits."""
    if math.isnan(p):
        return ""
    return score(p, 4) if p >= 1e-3 else "<.001"


def _interval(row: ComparisonRow) -> str:
    if math.isnan(row.low):
        return ""
    if row.interval == "constant":
        return "all seeds equal"
    return f"[{amount(row.low, True)}, {amount(row.high, True)}]"


def _pairs(row: ComparisonRow) -> str:
    if row.outcome == "not testable here":
        return ""
    lost = [f"{row.failed} units failed"] if row.failed else []
    lost += [f"{row.absent} not run"] if row.absent else []
    lost += [f"{row.silent} without the number"] if row.silent else []
    return f"{row.n} of {row.planned}" + (f" ({', '.join(lost)})" if lost else "")


def _where(row: ComparisonRow) -> str:
    return one_line(where(row.dataset, row.backbone, row.ratio), LONG)


CLAIM_COLUMNS: list[Column[ClaimRow]] = [
    Column("claim", "the claim's name in its file", 0, lambda row: one_line(row.claim, 60), numeric=False),
    Column(
        "part",
        "what it is in the paper: a claim, a mechanism, a first experiment, a check, a trade-off; or a control of ours",
        2,
        lambda row: row.part,
        numeric=False,
    ),
    Column(
        "verdict",
        "derived from the records by the rule below; a control that does as well is part of it",
        0,
        lambda row: one_line(row.said, 300),
        numeric=False,
    ),
    Column("scope", "whose data it was tested on", 1, lambda row: row.scope, numeric=False),
    Column(
        "seeds",
        "pairs of the comparison with the fewest",
        3,
        lambda row: str(row.seeds) if row.comparisons else "",
    ),
    Column("sentence", "what the paper says", 4, lambda row: one_line(row.sentence, LONG), numeric=False),
]

COMPARISON_COLUMNS: list[Column[ComparisonRow]] = [
    Column("where", "data set, backbone and plan budget", 0, _where, numeric=False),
    Column(
        "against",
        "the comparator, or the bound of a value",
        0,
        lambda row: one_line(row.against, 60),
        numeric=False,
    ),
    Column("verdict", "of this comparison", 0, lambda row: row.outcome, numeric=False),
    Column("method", "mean of the method over the pairs", 0, lambda row: amount(row.method_mean)),
    Column("other", "mean of the comparator over the pairs", 0, lambda row: amount(row.other_mean)),
    Column(
        "difference", "mean paired difference, method less comparator", 0, lambda row: amount(row.mean, True)
    ),
    Column(
        "interval",
        "of the mean difference: the values that the exact sign-flip test does not reject; of an equivalence, that of "
        "two one-sided t tests",
        0,
        _interval,
    ),
    Column(
        "p",
        "of the claim's test, two-sided (of an equivalence the larger of two)",
        1,
        lambda row: probability(row.p),
    ),
    Column(
        "p, Holm", "corrected over the comparisons of its family", 0, lambda row: probability(row.p_corrected)
    ),
    Column(
        "p, smallest",
        "of the test against the smallest effect of interest (of an equivalence: against its margin), corrected in the "
        "same way: what refutes",
        1,
        lambda row: probability(row.p_smallest_corrected),
    ),
    Column(
        "pairs", "pairs of units that have values, of those planned; failed units count as missing", 0, _pairs
    ),
    Column(
        "detectable",
        "the smallest true difference that so many pairs find with power .8, at the spread seen",
        1,
        lambda row: amount(row.minimum_detectable),
    ),
    Column("claimed", "the size in the paper", 1, lambda row: amount(row.claimed, True)),
    Column("within", "whether the claimed size lies in the interval", 1, lambda row: row.claimed_within),
    Column(
        "seeds needed",
        "pairs that would decide with power .8 if the true effect is the one seen",
        1,
        lambda row: "" if math.isnan(row.seeds_needed) else f"{row.seeds_needed:.0f}",
    ),
    Column("scope", "whose data", 1, lambda row: row.scope, numeric=False),
]

READING = (
    "**supported**: the interval excludes zero on the claimed side, the mean is at least the smallest effect of "
    "interest, and p after Holm's correction over the claim's family is at most alpha; "
    "in every comparison of the claim.",
    "**refuted**: in some comparison the interval excludes the smallest effect of interest on the claimed side, or "
    "zero on the other side, again after the correction.",
    "**inconclusive**: neither, or fewer than six pairs, with which no two-sided exact test reaches .05.",
    "**not testable here**: the data or the size is missing, and which.",
    "**explained by a control**: the claim is supported, but a control that lacks what the claim credits does as well, "
    "or is not shown to do worse: the effect is there, the explanation is not.",
    "A claim of kind value compares each seed's number with a bound that stands in the file; an equivalence asks that "
    "the whole interval lies within the margin.",
    "Verdicts are about other seeds on these test rows. Where all seeds share them, the error from other rows is given "
    "beside; an interval over rows that holds zero says that other rows might not show the difference.",
    "Verdicts hold for the settings, the data and the seeds that the frozen file names, and for no others.",
)
