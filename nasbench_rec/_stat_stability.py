"""Do clusters and gates hold over seeds? Agreement of clusterings, and what bimodality the records measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nasbench_rec._stat_arrays import share
from nasbench_rec.errors import DataError

TWO_PEAKS = 5 / 9
"""Sarle's bimodality coefficient of the uniform distribution; larger ones point to two peaks."""


@dataclass(frozen=True)
class Spread:
    """Mean, least and largest of values over seeds or pairs of seeds; NaN where there are none."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of `values`."""
        if not values:
            return cls(math.nan, math.nan, math.nan)
        return cls(float(np.mean(values)), float(min(values)), float(max(values)))


@dataclass(frozen=True)
class ClusterAgreement:
    """How alike the clusterings of the same rows by several seeds are, over all pairs of seeds.

    Both measures are 1 for equal partitions, whatever the clusters are called, and 0 on average for unrelated ones.
    """

    adjusted_rand: Spread
    """Hubert and Arabie (1985)."""
    adjusted_mutual_information: Spread
    """Vinh, Epps and Bailey (2010), mutual information over the mean of the entropies."""
    seeds: int
    pairs: int
    """Pairs compared; two seeds that both found one cluster agree on nothing, and are left out."""
    single: int
    """Seeds that found one cluster only."""


@dataclass(frozen=True)
class GateBimodality:
    """Over seeds: are the gate probabilities of two groups? Shares of gates, and shares of seeds."""

    seeds: int
    near_0: Spread
    """Share of gates below .1."""
    near_1: Spread
    """Share of gates above .9."""
    polarized: Spread
    """The two together."""
    dip: Spread
    """Hartigan's dip (1985): how far from any distribution of one peak; 0 to .25."""
    one_peak_rejected: float
    """Share of seeds whose dip has p <= alpha. Gates of one sample depend on each other, so p is too small, and with
    20,000 gates the least dent counts: read it beside `polarized`."""
    coefficient: Spread
    two_peaks: float
    """Share of seeds with a coefficient above 5/9."""
    valley: float
    """Share of seeds with a valley between two peaks."""


def cluster_agreement(labels: Sequence[np.ndarray]) -> ClusterAgreement:
    """Compare clusterings of the same N rows, one array of labels [N] per seed (or resample).

    `DataError` for fewer than two seeds and for labels of different lengths.
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    found = [_labels(values) for values in labels]
    if len(found) < 2 or len({len(values) for values in found}) > 1:
        sizes = ", ".join(str(len(values)) for values in found) or "none"
        raise DataError(f"labels of {sizes} rows: give those of the same rows from at least two seeds.")
    single = [int(values.max()) == 0 for values in found]
    pairs = [(a, b) for a, b in combinations(range(len(found)), 2) if not (single[a] and single[b])]
    rand = [float(adjusted_rand_score(found[a], found[b])) for a, b in pairs]
    mutual = [float(adjusted_mutual_info_score(found[a], found[b])) for a, b in pairs]
    return ClusterAgreement(Spread.of(rand), Spread.of(mutual), len(found), len(pairs), sum(single))


def gate_bimodality(measured: Sequence[Mapping[str, float | None]], alpha: float = 0.05) -> GateBimodality:
    """Summarise the bimodality that iHAS records hold, one entry per seed.

    An entry is `diagnostics.derive.bimodality.train` (or `.search`) of a record: near_0, near_1, dip, dip_p,
    coefficient, valley, computed when the gates were at hand. None (not defined, as for gates that are all equal)
    counts as no evidence of two groups. `DataError` for no seeds and for an entry without one of these.
    """
    share("alpha", alpha)
    needed = ("near_0", "near_1", "dip", "dip_p", "coefficient", "valley")
    missing = [name for name in needed if any(name not in entry for entry in measured)]
    if missing or not measured:
        raise DataError(
            f"{len(measured)} seeds, without {', '.join(missing) or 'any entry'}: give the bimodality of "
            "records of iHAS, at diagnostics.derive.bimodality.train."
        )
    near_0, near_1, dip, coefficient = (
        _known(measured, name) for name in ("near_0", "near_1", "dip", "coefficient")
    )
    p, valleys, n = _known(measured, "dip_p"), _known(measured, "valley"), len(measured)
    return GateBimodality(
        n,
        Spread.of(near_0),
        Spread.of(near_1),
        Spread.of([low + high for low, high in zip(near_0, near_1, strict=True)]),
        Spread.of(dip),
        sum(value <= alpha for value in p) / n,
        Spread.of(coefficient),
        sum(value > TWO_PEAKS for value in coefficient) / n,
        len(valleys) / n,
    )


def _labels(values: np.ndarray) -> np.ndarray:
    """Return the clusters as 0...k-1."""
    values = np.asarray(values)
    if (
        values.ndim != 1
        or not len(values)
        or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool)
    ):
        raise DataError(f"labels must be vectors of whole numbers, not {values.dtype} {values.shape}.")
    return np.unique(values, return_inverse=True)[1]


def _known(measured: Sequence[Mapping[str, float | None]], name: str) -> list[float]:
    return [float(value) for entry in measured if (value := entry[name]) is not None and math.isfinite(value)]
