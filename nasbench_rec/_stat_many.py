"""Many comparisons: Holm and Benjamini-Hochberg, Friedman's test, post-hoc tests, cliques of a rank diagram."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from nasbench_rec._stat_arrays import choice, share
from nasbench_rec._stat_paired import paired_test
from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

BATCHES, BATCH = 9, 1_111
"""Random shufflings of Friedman's ranks: 9,999, a batch in memory at a time."""


@dataclass(frozen=True)
class AdjustedP:
    """A p-value, the one adjusted for its family, and whether that is at most alpha."""

    name: str
    p: float
    adjusted: float
    rejected: bool


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of "all methods rank alike", over data sets (Demsar 2006, 3.2.2).

    `chi2` with p from k - 1 degrees of freedom is rough for few data sets; `f` is Iman and Davenport's (1980) with
    k - 1 and (k - 1)(N - 1), infinite where all data sets agree; `permuted_p` shuffles each data set's ranks, and is
    the one to trust for fewer than ten data sets.
    """

    mean_ranks: dict[str, float]
    """By method, best first; rank 1 is the best."""
    datasets: int
    chi2: float
    chi2_p: float
    f: float
    f_p: float
    permuted_p: float


@dataclass(frozen=True)
class RankComparison:
    """Two methods over data sets: the mean rank of `a` (the better one) is `difference` below that of `b`."""

    a: str
    b: str
    difference: float
    p: float
    """Of this comparison alone; Nemenyi's is of the whole family."""
    adjusted: float
    different: bool


@dataclass(frozen=True)
class PostHoc:
    """All pairs of methods over data sets, to be read after Friedman's test rejects; for a rank diagram."""

    test: Literal["nemenyi", "wilcoxon-holm"]
    alpha: float
    mean_ranks: dict[str, float]
    """By method, best first."""
    datasets: int
    pairs: tuple[RankComparison, ...]
    cliques: tuple[tuple[str, ...], ...]
    """The bars of the diagram: groups in which no two methods differ."""
    critical_difference: float
    """Nemenyi's least difference of mean ranks; NaN for other tests."""


def holm(p_values: Mapping[str, float], alpha: float = 0.05) -> dict[str, AdjustedP]:
    """Adjust named p-values so that any false rejection has probability at most `alpha` (Holm 1979).

    For the comparisons that a claim needs; valid however they depend on each other.
    """
    return _adjusted(p_values, alpha, _holm)


def benjamini_hochberg(p_values: Mapping[str, float], alpha: float = 0.05) -> dict[str, AdjustedP]:
    """Adjust named p-values so that the expected share of false rejections is at most `alpha` (1995).

    For exploring; valid for independent and for positively dependent p-values.
    """
    return _adjusted(p_values, alpha, _benjamini_hochberg)


def friedman(
    scores: pd.DataFrame, higher_is_better: bool = True, correct_ties: bool = True, seed: int = 0
) -> Friedman:
    """Test whether k methods (columns) rank alike over N data sets (rows of `scores`).

    chi2 = 12 N / (k (k + 1)) (sum R_j**2 - k (k + 1)**2 / 4), divided by 1 - sum(t**3 - t) / (N k (k**2 - 1)) for
    groups of t tied ranks unless `correct_ties` is off, as in Demsar (2006); F = (N - 1) chi2 / (N (k - 1) - chi2).
    `DataError` for missing scores and for fewer than two data sets or three methods.
    """
    from scipy import stats

    ranks, names = _ranks(scores, higher_is_better, least=3)
    n, k = ranks.shape
    spread = _tie_factor(ranks) if correct_ties else 1.0
    chi2 = _chi2(ranks.mean(0), n, spread)
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > 1e-9 else math.inf
    tails = float(stats.chi2.sf(chi2, k - 1)), float(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    p = _permuted_p(ranks, np.random.default_rng(seed))
    return Friedman(_best_first(names, ranks), n, chi2, tails[0], f, tails[1], p)


def post_hoc(
    scores: pd.DataFrame,
    test: Literal["nemenyi", "wilcoxon-holm"] = "wilcoxon-holm",
    alpha: float = 0.05,
    higher_is_better: bool = True,
) -> PostHoc:
    """Compare all pairs of methods (columns) over data sets (rows of `scores`).

    "wilcoxon-holm": exact signed-rank tests of the scores, Holm over all pairs; with N data sets no p is below
    2**(1 - N). "nemenyi": mean ranks against the studentized range; whether two methods differ then depends on which
    others are in the table (Benavoli et al. 2016). `DataError` as for `friedman`; two methods are enough.
    """
    choice("test", test, "nemenyi", "wilcoxon-holm")
    ranks, names = _ranks(scores, higher_is_better, least=2)
    share("alpha", alpha)
    mean = _best_first(names, ranks)
    found = {pair: _wilcoxon_p(scores, *pair) for pair in combinations(mean, 2)}
    if test == "nemenyi":
        found = adjusted = _nemenyi_p(ranks, names, list(found))
    else:
        by_index = holm({str(i): p for i, p in enumerate(found.values())}, alpha)
        adjusted = {pair: by_index[str(i)].adjusted for i, pair in enumerate(found)}
    pairs = tuple(
        RankComparison(a, b, mean[b] - mean[a], found[a, b], adjusted[a, b], adjusted[a, b] <= alpha)
        for a, b in found
    )
    groups = cliques(list(mean), [(pair.a, pair.b) for pair in pairs if pair.different])
    least = critical_difference(len(names), len(ranks), alpha) if test == "nemenyi" else math.nan
    return PostHoc(test, alpha, mean, len(ranks), pairs, groups, least)


def critical_difference(methods: int, datasets: int, alpha: float = 0.05) -> float:
    """Return Nemenyi's critical difference of mean ranks, q_alpha sqrt(k (k + 1) / (6 N)) (Demsar 2006, 3.2.2)."""
    from scipy import stats

    if methods < 2 or datasets < 2:
        raise DataError(f"{methods} methods on {datasets} data sets: two of each are the least to compare.")
    q = stats.studentized_range.ppf(1 - share("alpha", alpha), methods, np.inf) / math.sqrt(2)
    return float(q * math.sqrt(methods * (methods + 1) / (6 * datasets)))


def cliques(names: Sequence[str], different: Collection[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Return the largest groups, of two at least, in which no pair is in `different`; in the order of `names`.

    Not always neighbours in rank: a test of scores may tell the first method from the second but not from the third.
    """
    apart = {frozenset(pair) for pair in different}
    beside = {a: {b for b in names if b != a and frozenset((a, b)) not in apart} for a in names}
    found: list[set[str]] = []
    _extend(set(), set(names), set(), beside, found)
    groups = [tuple(name for name in names if name in clique) for clique in found if len(clique) > 1]
    return tuple(sorted(groups, key=lambda group: [names.index(name) for name in group]))


def _adjusted(
    p_values: Mapping[str, float], alpha: float, adjust: Callable[[np.ndarray], np.ndarray]
) -> dict[str, AdjustedP]:
    share("alpha", alpha)
    wrong = [name for name, p in p_values.items() if not 0 <= p <= 1]
    if wrong:
        raise DataError(
            f"{wrong[0]!r} has the p-value {p_values[wrong[0]]}: leave out comparisons that could not be tested."
        )
    adjusted = adjust(np.array(list(p_values.values()))) if p_values else np.empty(0)
    return {
        name: AdjustedP(name, p, float(q), bool(q <= alpha))
        for (name, p), q in zip(p_values.items(), adjusted, strict=True)
    }


def _holm(p: np.ndarray) -> np.ndarray:
    """Return max over j <= i of min(1, (m - j + 1) p_(j)).

    As statsmodels, which collects all garbage at each call: 50 ms and more.
    """
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def _benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    from statsmodels.stats.multitest import fdrcorrection

    return np.asarray(fdrcorrection(p)[1])


def _ranks(scores: pd.DataFrame, higher_is_better: bool, least: int) -> tuple[np.ndarray, list[str]]:
    """Return the ranks [N, k], 1 the best and ties averaged, and the methods' names."""
    from scipy import stats

    values, names = scores.to_numpy(dtype=np.float64), [str(name) for name in scores.columns]
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise DataError(
            f"{names[column]!r} has no score on {scores.index[row]!r}: ranks need every method on every data set; "
            "leave the method or the data set out."
        )
    if len(values) < 2 or len(names) < least or len(set(names)) < len(names):
        raise DataError(
            f"{len(names)} methods ({len(set(names))} names) on {len(values)} data sets: at least {least} methods "
            "with different names and 2 data sets are needed."
        )
    return stats.rankdata(-values if higher_is_better else values, axis=1), names


def _best_first(names: list[str], ranks: np.ndarray) -> dict[str, float]:
    mean = dict(zip(names, ranks.mean(0).tolist(), strict=True))
    return dict(sorted(mean.items(), key=lambda item: item[1]))


def _tie_factor(ranks: np.ndarray) -> float:
    n, k = ranks.shape
    ties = [count**3 - count for row in ranks for count in np.unique(row, return_counts=True)[1]]
    return 1 - float(sum(ties)) / (n * k * (k**2 - 1))


def _chi2(mean_ranks: np.ndarray, n: int, spread: float) -> float:
    k = len(mean_ranks)
    if spread < 1e-12:
        return 0.0
    return float(12 * n / (k * (k + 1)) * ((mean_ranks - (k + 1) / 2) ** 2).sum() / spread)


def _permuted_p(ranks: np.ndarray, rng: np.random.Generator) -> float:
    """Return the share of shufflings of each row whose mean ranks spread as far; the observed one counts."""

    def far(mean: np.ndarray) -> np.ndarray:
        return ((mean - mean.mean(-1, keepdims=True)) ** 2).sum(-1)

    block, observed = np.broadcast_to(ranks, (BATCH, *ranks.shape)), far(ranks.mean(0)) - 1e-9
    as_far = sum(int((far(rng.permuted(block, axis=2).mean(1)) >= observed).sum()) for _ in range(BATCHES))
    return (1 + as_far) / (1 + BATCHES * BATCH)


def _wilcoxon_p(scores: pd.DataFrame, a: str, b: str) -> float:
    columns = scores.set_axis([str(name) for name in scores.columns], axis=1)
    return paired_test(columns[a].to_numpy(), columns[b].to_numpy(), "wilcoxon").p


def _nemenyi_p(
    ranks: np.ndarray, names: list[str], pairs: list[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    from scikit_posthocs import posthoc_nemenyi_friedman

    found = posthoc_nemenyi_friedman(ranks).to_numpy()
    return {(a, b): float(found[names.index(a), names.index(b)]) for a, b in pairs}


def _extend(
    clique: set[str], candidates: set[str], done: set[str], beside: dict[str, set[str]], found: list[set[str]]
) -> None:
    """Collect the maximal cliques (Bron and Kerbosch 1973, with a pivot)."""
    if not candidates and not done:
        found.append(clique)
        return
    pivot = max(candidates | done, key=lambda name: len(candidates & beside[name]))
    for name in candidates - beside[pivot]:
        _extend(clique | {name}, candidates & beside[name], done & beside[name], beside, found)
        candidates = candidates - {name}
        done = done | {name}
