"""What a printed leaderboard shows: its columns, its notes on failures, and the words that explain both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nasbench_rec.reports._rows import LeaderboardRow
from nasbench_rec.reports._text import byte_size, decimals, one_line, score, seconds, three_digits

NOTE = 400
"""Characters of an explanation that are shown."""
BELOW_RANDOM = "Not above random widths of the same plan budget"


@dataclass(frozen=True)
class Column:
    """A printed column: its text is `value`, followed by `detail` (a second line where there is room)."""

    head: str
    explanation: str
    importance: int
    """Narrow terminals and pages take the columns of lowest number; 0 is always shown."""
    value: Callable[[LeaderboardRow], str]
    detail: Callable[[LeaderboardRow], str] = lambda _: ""
    numeric: bool = True

    def text(self, row: LeaderboardRow) -> str:
        """Return value and detail on one line."""
        return f"{self.value(row)} {self.detail(row)}".strip()


def label(row: LeaderboardRow) -> str:
    """Return the label as printed, with the marks that plain text can carry."""
    return f"{one_line(row.label, 60)}{' (uniform)' if row.uniform else ''}{' *' if row.best else ''}"


def failure(row: LeaderboardRow) -> str:
    """Say that and why units of this row failed: `failed (3/3): reason`; empty where none did."""
    return f"failed ({row.failed}/{row.n + row.failed}): {one_line(row.reason)}" if row.failed else ""


def failures(rows: Sequence[LeaderboardRow], only_partial: bool = False) -> list[tuple[str, str]]:
    """Return label and failure of every row with one; `only_partial`: where at least one unit succeeded."""
    return [
        (one_line(row.label, 60), failure(row)) for row in rows if row.failed and (row.n or not only_partial)
    ]


def _seeds(row: LeaderboardRow) -> str:
    return str(row.n) if row.n else ""


def _failed(row: LeaderboardRow) -> str:
    if not row.failed:
        return ""
    return f"({row.failed} failed)" if row.n else f"failed ({row.failed}/{row.failed})"


def _spread(value: float, sd: float) -> str:
    return f"±{score(sd, decimals(sd))}" if value == value and sd == sd else ""


def _difference(mean: float, sd: float, row: LeaderboardRow) -> str:
    return "—" if row.uniform else score(mean, decimals(sd), signed=True)


def _interval(low: float, high: float, kind: str, pairs: int, sd: float) -> str:
    if kind == "constant":
        return f"equal, {pairs}"
    if kind == "none":
        return "1 pair" if pairs else ""
    return (
        f"[{score(low, decimals(sd), signed=True)}, {score(high, decimals(sd), signed=True)}] {kind}, {pairs}"
    )


def _found(recall: float, precision: float) -> str:
    if recall != recall:
        return ""
    return f"{recall:.2f} / {precision:.2f}" if precision == precision else f"{recall:.2f} / —"


def not_above_random(rows: Sequence[LeaderboardRow], notes: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return label, difference and explanation of every row whose mean AUC is not above that of random widths.

    `notes` are explanations by label, by method with preset, or by the method's name.
    """
    found = []
    for row in rows:
        if row.random_difference <= 0:
            names = (row.label, row.method, row.method.partition("/")[0])
            note = next((notes[name] for name in names if name in notes), "")
            lost = score(row.random_difference, decimals(row.test_auc_sd), signed=True)
            found.append((one_line(row.label, 60), f"{lost}{'; ' if note else ''}{one_line(note, NOTE)}"))
    return found


COLUMNS = (
    Column(
        "method",
        "the method and, after @, the plan budget asked for as a share of the uniform model's embedding "
        "bytes",
        0,
        label,
        numeric=False,
    ),
    Column(
        "seeds",
        "n: the units (one seed on one split) that succeeded, and in brackets those that failed; every mean, "
        "and every ± (the sample standard deviation over seeds), is over the n that succeeded",
        0,
        _seeds,
        _failed,
    ),
    Column(
        "test AUC",
        "area under the ROC curve on the test split, mean ± standard deviation over seeds",
        0,
        lambda row: score(row.test_auc, decimals(row.test_auc_sd)),
        lambda row: _spread(row.test_auc, row.test_auc_sd),
    ),
    Column(
        "AUC − uniform",
        "test AUC minus that of the uniform model, paired: each unit against the uniform model of the same "
        "seed and split seed; mean, [95 % interval], how the interval was made (t: Student's t of the "
        "paired differences, under 6 pairs; sign-flip: the values that the exact sign-flip test does not "
        "reject, from 6 pairs; equal: all differences are one value) and the number of pairs; above "
        "zero is better than uniform",
        1,
        lambda row: _difference(row.auc_difference, row.test_auc_sd, row),
        lambda row: _interval(
            row.auc_difference_low,
            row.auc_difference_high,
            row.auc_difference_interval,
            row.auc_difference_pairs,
            row.test_auc_sd,
        ),
    ),
    Column(
        "AUC − random",
        "test AUC minus that of random widths (the method `random`) of the same plan budget, paired in the same way; "
        "for a method that cannot be given a budget, minus that of the smallest random plans that are no smaller than "
        "its own; a search that is worth its name is above zero",
        4,
        lambda row: score(row.random_difference, decimals(row.test_auc_sd), signed=True),
        lambda row: _interval(
            row.random_difference_low,
            row.random_difference_high,
            row.random_difference_interval,
            row.random_difference_pairs,
            row.test_auc_sd,
        ),
    ),
    Column(
        "width corr.",
        "Spearman's rank correlation between the widths that the plan gives the fields and the widths that are useful, "
        "mean ± standard deviation over seeds; 0 by chance; known on planted data only, and empty where all widths are "
        "equal",
        5,
        lambda row: score(row.width_correlation, 2, signed=True),
        lambda row: f"±{score(row.width_correlation_sd, 2)}" if row.width_correlation_sd >= 0 else "",
    ),
    Column(
        "useless found",
        "share of the useless fields that the plan drops, and after the slash the share of useless fields among those "
        "that it drops (over the seeds that drop any), means over seeds; known on planted data only",
        6,
        lambda row: _found(row.useless_recall, row.useless_precision),
    ),
    Column(
        "logloss",
        "cross-entropy per test row in nats, mean ± standard deviation over seeds; lower is better",
        7,
        lambda row: score(row.test_logloss, decimals(row.test_logloss_sd)),
        lambda row: _spread(row.test_logloss, row.test_logloss_sd),
    ),
    Column(
        "logloss − uniform",
        "the same paired difference in logloss; below zero is better than uniform",
        9,
        lambda row: _difference(row.logloss_difference, row.test_logloss_sd, row),
        lambda row: _interval(
            row.logloss_difference_low,
            row.logloss_difference_high,
            row.logloss_difference_interval,
            row.logloss_difference_pairs,
            row.test_logloss_sd,
        ),
    ),
    Column(
        "expected AUC",
        "the AUC of the same predictions with the label noise averaged out, mean ± standard deviation over "
        "seeds; known only where the true click probabilities are (planted data)",
        8,
        lambda row: score(row.expected_auc, decimals(row.expected_auc_sd)),
        lambda row: _spread(row.expected_auc, row.expected_auc_sd),
    ),
    Column(
        "embedding",
        "bytes of the embedding part of the model, mean over seeds: the values kept, their index overhead, "
        "alignment matrices, mixture weights and routers",
        2,
        lambda row: byte_size(row.embedding_bytes),
    ),
    Column(
        "ratio",
        "embedding bytes over those of the uniform model",
        3,
        lambda row: three_digits(row.embedding_ratio),
    ),
    Column(
        "router",
        "the share of those bytes that chooses between embeddings (a router's or gates' parameters)",
        10,
        lambda row: byte_size(row.router_bytes),
    ),
    Column("total", "bytes of the whole model", 7, lambda row: byte_size(row.total_bytes)),
    Column("search", "time of the search, mean over seeds", 4, lambda row: seconds(row.search_seconds)),
    Column(
        "retrain",
        "time of the training after it (for the uniform model: its only training)",
        6,
        lambda row: seconds(row.retrain_seconds),
    ),
)

READING = (
    "One table per data set and backbone; a row is one method at one plan budget. The uniform model comes "
    "first, then the rows by mean test AUC (by test AUC on planted data too, not by expected AUC), then "
    "those without any success.",
    "A failed unit is never dropped: it is counted, and the first error by seed is given. The means of a row "
    "with failures are over fewer seeds than its neighbours'; the paired differences compare like with like.",
    "* marks the highest mean test AUC only where no unit of that row failed and the 95 % interval of its "
    "paired difference to the second excludes zero. No correction for the number of methods is made.",
    "Times hold only within one machine and one run: compare them between rows of this table, and with "
    "nothing else.",
)

CAPTION = (
    "Means ± standard deviation over the seeds that succeeded. Differences to the uniform model are paired "
    "by seed and split seed: mean, [95 % interval], how it was made (t under 6 pairs, exact sign-flip "
    "from 6), number of pairs. Embedding bytes contain values, index overhead, alignment matrices, mixture "
    "weights and routers. Times hold only within one machine and one run. Rows are ordered by mean test "
    "AUC; * marks the highest only where its paired interval against the second excludes zero."
)
"""The reading in short, for forms without room for more."""

FIGURE_CAPTION = (
    "Mean test AUC, with the 95 % interval of the mean over seeds, over embedding bytes (logarithmic)."
)
FIGURE_READING = (
    "In the figure a point is the mean test AUC over the mean embedding bytes of a row, on a logarithmic "
    "axis. Upright bars are 95 % intervals of the mean over seeds (Student's t under 6 seeds, exact sign-flip "
    "from 6), level bars reach from the smallest to the largest plan over seeds. A line joins one method at "
    "several plan budgets, the dashed line is the uniform model, and points of about one size stand side by "
    "side. Of many points bars may leave the axes, and so may points far below all others, which a note "
    "names; more methods than one panel can hold are drawn in several, by what they decide. "
    "Overlapping bars do not show that two methods are equal: seeds are shared, so the paired differences "
    "of the table can be far more certain than the two means."
)


def shown(rows: Sequence[LeaderboardRow]) -> list[Column]:
    """Return the columns in which these rows have anything to show."""
    return [column for column in COLUMNS if not column.importance or any(column.text(row) for row in rows)]
