"""What the report of an equal tuning shows: the columns of its three tables, and its sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nasbench_rec.reports._printed import Column, difference_text, mean_text
from nasbench_rec.reports._text import byte_size, one_line, score, seconds
from nasbench_rec.reports._tuning_rows import TuningRow

from nasbench_rec.statistics import INTERVALS

KEPT = "kept the defaults"
INTERVAL = (
    "mean, [95 % interval], how it was made (t: Student's t, under 6 pairs; sign-flip: exact, from 6; equal: "
    "all differences are one value) and number of pairs"
)
Columns = Sequence[Column[Any]]


def name_of(row: TuningRow) -> str:
    """Return the method's label, with a mark at the uniform model."""
    return f"{one_line(row.label, 60)}{' (uniform)' if row.uniform else ''}"


def trouble(row: TuningRow) -> str:
    """Say what failed or was not run on either side; empty where nothing did."""
    if row.kept:
        return "; ".join(_trouble(row, "default", "default and tuned (the same units)"))
    return "; ".join([*_trouble(row, "default", "default"), *_trouble(row, "tuned", "tuned")])


def _trouble(row: TuningRow, side: str, said: str) -> Iterator[str]:
    failed, missing = getattr(row, f"{side}_failed"), getattr(row, f"{side}_missing")
    if failed:
        yield f"{said} failed ({failed}/{row.planned}): {one_line(getattr(row, f'{side}_reason'))}"
    if missing:
        yield f"{said} not run ({missing}/{row.planned})"


def _seeds(row: TuningRow) -> str:
    return str(row.n) if row.n == row.planned else f"{row.n} of {row.planned}"


def _auc(row: TuningRow, side: str) -> str:
    """Return mean and spread of one side, or why there is none."""
    if getattr(row, f"{side}_failed") + getattr(row, f"{side}_missing") == row.planned:
        return "failed" if getattr(row, f"{side}_failed") else "not run"
    return mean_text(getattr(row, f"{side}_auc"), getattr(row, f"{side}_auc_sd"))


def _gain(row: Any, name: str) -> str:
    return KEPT if row.kept else difference_text(row, name)


def _versus(row: Any, name: str) -> str:
    return "—" if row.uniform else difference_text(row, name)


METHOD: Column[Any] = Column(
    "method",
    "the method and, after @, its plan budget as a share of the uniform model's embedding bytes",
    0,
    name_of,
    numeric=False,
)
GAINS: Columns = (
    METHOD,
    Column(
        "pairs",
        "pairs of seeds in which both the defaults and the tuned configuration succeeded, of those planned",
        0,
        _seeds,
    ),
    Column(
        "default AUC",
        "test AUC with the method's defaults, mean ± standard deviation over the seeds that succeeded",
        2,
        lambda row: _auc(row, "default"),
    ),
    Column(
        "tuned AUC",
        "test AUC of the tuned configuration, in the same form; the rows are ordered by it",
        1,
        lambda row: _auc(row, "tuned"),
    ),
    Column(
        "gain in AUC",
        f"test AUC tuned less default, paired by split seed and seed: {INTERVAL}; above zero, tuning helped; "
        f"“{KEPT}”: no trial was better on validation data, so both are the same units and the gain is 0",
        1,
        lambda row: _gain(row, "auc_gain"),
    ),
    Column(
        "on validation",
        "what the same choice gained in the tuning itself, on validation data with its own seeds; optimistic, as "
        "the choice was made by these numbers",
        3,
        lambda row: score(row.valid_gain, 4, signed=True),
    ),
    Column(
        "gain in logloss",
        "the same paired difference in logloss on the test split; below zero, tuning helped",
        4,
        lambda row: _gain(row, "logloss_gain"),
    ),
)
UNIFORM: Columns = (
    METHOD,
    Column(
        "default − default uniform",
        f"test AUC with defaults less that of the uniform model with its defaults, paired alike: {INTERVAL}",
        1,
        lambda row: _versus(row, "default_vs_uniform"),
    ),
    Column(
        "tuned − tuned uniform",
        "test AUC tuned less that of the tuned uniform model: the comparison after equal tuning",
        1,
        lambda row: _versus(row, "tuned_vs_uniform"),
    ),
    Column(
        "tuned − default uniform",
        "test AUC tuned less that of the uniform model with its defaults: what would be claimed if the method "
        "alone were tuned; not a fair comparison",
        3,
        lambda row: _versus(row, "unequal"),
    ),
    Column(
        "default size",
        "embedding bytes with the defaults, mean over seeds: values, index overhead, alignment matrices, routers",
        4,
        lambda row: byte_size(row.default_bytes),
    ),
    Column("tuned size", "the same of the tuned configuration", 2, lambda row: byte_size(row.tuned_bytes)),
)
CHOSEN: Columns = (
    METHOD,
    Column(
        "chosen",
        "the settings of the tuned configuration",
        0,
        lambda row: KEPT if row.kept else one_line(row.changes, 300),
        numeric=False,
    ),
    Column(
        "trials", "trials of the method's tuning, failed and pruned ones included", 1, lambda r: str(r.trials)
    ),
    Column(
        "tuning time",
        "what the trials took in all; holds only within one machine and one run",
        2,
        lambda row: seconds(row.tuning_seconds),
    ),
    Column(
        "default valid AUC",
        "validation AUC of the defaults in the tuning",
        3,
        lambda row: score(row.default_valid),
    ),
    Column("tuned valid AUC", "that of the best trial", 3, lambda row: score(row.tuned_valid)),
)
TABLES: dict[str, Columns] = {
    "How much tuning moved each method": GAINS,
    "Against the uniform model": UNIFORM,
    "What was chosen": CHOSEN,
}
READING = (
    "The choice was made on validation data alone, with seeds other than those of this page: in each method's "
    "tuning the trial of the highest validation AUC was taken. The test split was opened only after that, for the "
    "defaults and for what was chosen, with the same fresh seeds.",
    "Every method, the uniform model included, is asked for the same number of trials, its defaults among them. The "
    "spaces differ in size: a method with more settings is searched more thinly by as many trials, and a gain of "
    "zero says that these trials found nothing, not that there is nothing.",
    "Methods are to be compared by “tuned − tuned uniform”. The tuned uniform model may have another width than "
    "the default one, and a tuned method another size: read the sizes beside the differences.",
    "A failed unit is never dropped: it is counted, and the first error by seed is given. Means are over the seeds "
    "that succeeded on their side, differences over the pairs that did on both, so with failures a difference need "
    "not be that of the two means.",
    "No correction for the number of methods is made.",
)
FIGURE = (
    "Left: each method's mean test AUC with its defaults (ring) and tuned (disc; diamonds: the uniform model), the "
    "best tuned one on top; the dashed line is the tuned uniform model. Right: the gain, test AUC tuned less "
    "default paired by seed, with its 95 % interval. A triangle at the edge stands for a mean beyond it."
)


def words(rows: Sequence[TuningRow]) -> str:
    """Say in a few sentences what the rows of one data set and backbone show."""
    uniform = next((row for row in rows if row.uniform), None)
    others = [row for row in rows if not row.uniform]
    if uniform is None:
        return f"{_trials(rows)} The uniform model (method fixed) is not among them: nothing is compared with it."
    return " ".join([_trials(rows), _moved(uniform), *([_against(others)] if others else [])])


def _against(others: Sequence[TuningRow]) -> str:
    default, tuned = (_above(others, f"{side}_vs_uniform") for side in ("default", "tuned"))
    head = "Methods with a higher mean test AUC than the uniform model"
    return f"{head}: with the defaults of both {default}; with both tuned {tuned}."


def _trials(rows: Sequence[TuningRow]) -> str:
    asked = {row.trials for row in rows}
    if len(asked) == 1:
        number = asked.pop()
        return f"Every method was tuned with {number} trial{'s' if number != 1 else ''}."
    listed = ", ".join(f"{name_of(row)} {row.trials}" for row in sorted(rows, key=lambda row: row.trials))
    return f"The numbers of trials are NOT equal, so the tuning was not either: {listed}."


def _moved(uniform: Any) -> str:
    if uniform.kept:
        return "The uniform model kept its defaults."
    if not uniform.auc_gain_pairs:
        return "How much tuning moved the uniform model is not known: no pair of its units succeeded."
    return f"Tuning moved the test AUC of the uniform model by {difference_text(uniform, 'auc_gain')}."


def _above(rows: Sequence[TuningRow], name: str) -> str:
    """Say how many of the methods are above the uniform model, and of how many the whole interval is."""
    known = [row for row in rows if getattr(row, f"{name}_pairs")]
    if not known:
        return "not known"
    above = [row for row in known if getattr(row, name) > 0]
    sure = [row for row in above if _is_sure(row, name)]
    how_sure = f" ({len(sure) or 'none'} with the whole interval above zero)" if above else ""
    return f"{len(above)} of {len(known)}{how_sure}"


def _is_sure(row: TuningRow, name: str) -> bool:
    return getattr(row, f"{name}_interval") in INTERVALS and getattr(row, f"{name}_low") > 0
