"""What the figures of an ablation show, as tidy frames: one function per figure, without ink."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_rows import (
    HAMMING,
    LATENCY,
    NEAR,
    TRAIN,
    difference,
    mean,
    metric_of,
    routing_seconds,
)
from nasbench_rec.reports._ablation_units import (
    BASE,
    Cell,
    Records,
    Variant,
    every,
    look,
    outstanding,
)
from nasbench_rec.reports.figures import POINT_COLUMNS

from nasbench_rec.statistics import paired_difference

SEARCH, DERIVE = "diagnostics.search", "diagnostics.derive"
TREND = ("mean", "near_0", "near_1", "hamming")
Row = dict[str, Any]


def trend_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per unit and epoch: whether gates were used, and the `TREND` values (NaN in the warm-up)."""
    rows = [
        _head(variant, unit)
        | {"epoch": int(at["epoch"]), "gated": bool(at["gated"])}
        | {name: _float(at.get(name)) for name in TREND}
        for variant, unit, trend in _found(plan, records, f"{SEARCH}.trend")
        for at in trend
    ]
    return pd.DataFrame(rows)


def histogram_over_time_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per variant, epoch and bin of probability: its share of the gates, mean over seeds."""
    rows = [
        _head(variant, unit)
        | {"epoch": int(at["epoch"]), "bin": i, "low": i / len(shares), "share": _float(v)}
        for variant, unit, trend in _found(plan, records, f"{SEARCH}.trend")
        for at in trend
        for shares in [at.get("histogram") or [math.nan] * _bins(trend)]
        for i, v in enumerate(shares)
    ]
    keys = ["dataset", "backbone", "variant", "epoch", "bin", "low"]
    return _mean_share(rows, keys)


def _bins(trend: Sequence[Mapping[str, Any]]) -> int:
    return max((len(at.get("histogram") or []) for at in trend), default=0)


def histogram_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per unit, rows ("train", "search") and bin: the bin's share of the gates, and the cut."""
    return pd.DataFrame(
        [
            _head(variant, unit)
            | {"rows": rows, "low": i / len(shares), "width": 1 / len(shares), "share": _float(share)}
            | {"cut": unit.value(f"{DERIVE}.cut")}
            for variant, unit, histogram in _found(plan, records, f"{DERIVE}.probability_histogram")
            for rows, shares in histogram.items()
            for i, share in enumerate(shares or [])
        ]
    )


def centroids_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per variant, cluster and field, from the first unit of each variant that has clusters.

    `share`: mean kept share of the field's columns in the cluster's mean mask; `columns`: columns of its final
    mask. `rows` (share of the clustered rows), `separation` and `silhouette` are repeated in each.
    """
    rows: list[Row] = []
    for variant in every(plan, records):
        for unit, masks in variant.found(f"{DERIVE}.cluster_masks_mean")[:1]:
            rows += _centroids(variant, unit, masks)
    return pd.DataFrame(rows)


def _centroids(variant: Variant, unit: Cell, masks: Sequence[Any]) -> Iterator[Row]:
    derive = look(unit.record, DERIVE)
    sizes, final = derive.get("cluster_sizes") or [math.nan] * len(masks), derive.get("cluster_columns")
    names = derive.get("fields") or [f"field {i}" for i in range(len(masks[0]))]
    common = {name: unit.value(f"{DERIVE}.{name}") for name in ("separation", "silhouette", "k_wanted")}
    for c, f in itertools.product(range(len(masks)), range(len(names))):
        kept = math.nan if final is None else float(np.sum(final[c][f]))
        yield (
            _head(variant, unit)
            | common
            | {
                **{"cluster": c, "field": names[f], "share": float(np.mean(masks[c][f])), "columns": kept},
                "rows": sizes[c] / sum(sizes),
            }
        )


def bimodality_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per unit: share of probabilities near 0 or 1, dip statistic, Hamming distance of masks."""
    rows = [
        _head(variant, unit)
        | {"near": sum(_float(found.get(name)) for name in NEAR), "dip": _float(found.get("dip"))}
        | {"hamming": unit.value(HAMMING)}
        for variant, unit, found in _found(plan, records, TRAIN)
    ]
    return pd.DataFrame(rows).dropna(subset=["near", "hamming"]) if rows else pd.DataFrame()


def agreement_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per variant and pair of its units that clustered the same rows with different seeds.

    `rand` is the adjusted Rand index, `information` the adjusted mutual information; both are NaN where one
    side has a single cluster, as agreement between such clusterings says nothing. Rows are the same where
    split seed, data fingerprint and number of labels are.
    """
    rows: list[Row] = []
    for variant in every(plan, records):
        found = variant.found("routing.sample")
        for (a, left), (b, right) in itertools.combinations(found, 2):
            if _same_rows(a, b) and len(left) == len(right) > 0:
                rows.append(_head(variant, a) | {"other": b.seed} | _agreement(left, right))
    return pd.DataFrame(rows)


def _same_rows(a: Cell, b: Cell) -> bool:
    prints = [look(unit.record, "fingerprint") for unit in (a, b)]
    return a.split_seed == b.split_seed and prints[0] == prints[1]


def _agreement(left: Sequence[int], right: Sequence[int]) -> Row:
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

    if min(len(set(left)), len(set(right))) < 2:
        return {"rand": math.nan, "information": math.nan}
    return {
        "rand": float(adjusted_rand_score(left, right)),
        "information": float(adjusted_mutual_info_score(left, right)),
    }


def threshold_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per unit, cluster and threshold: `excess` is the logloss above the cluster's lowest, in nats.

    `chosen`: whether it is the threshold taken; `rows`: the rows of the cluster that it was measured on.
    """
    return pd.DataFrame(
        [
            _head(variant, unit) | row
            for variant, unit, curve in _found(plan, records, f"{DERIVE}.threshold_curve")
            for row in _thresholds(curve, look(unit.record, f"{DERIVE}.theta"))
        ]
    )


def _thresholds(curve: Mapping[str, Any], chosen: Sequence[float] | None) -> Iterator[Row]:
    grid = np.asarray(curve["theta"], dtype=float)
    for c, values in enumerate(curve["logloss"]):
        logloss = np.array([_float(v) for v in values])
        if np.isnan(logloss).all():
            continue
        nearest = int(np.abs(grid - chosen[c]).argmin()) if chosen and c < len(chosen) else -1
        for i, theta in enumerate(grid):
            excess = logloss[i] - np.nanmin(logloss)
            yield {
                **{"cluster": c, "theta": theta, "excess": excess, "chosen": i == nearest},
                "rows": curve["rows"][c],
            }


def factor_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per variant but the base and members of groups: its paired difference to the base.

    NaN where nothing can be paired; empty where the plan has no base.
    """
    rows: list[Row] = []
    for group in outstanding(plan, records):
        base, metric = next((v for v in group if v.name == BASE), None), metric_of(group)
        for variant in group:
            if base is None or variant is base:
                continue
            found = difference(variant, base, f"scores.{metric}")
            rows.append(
                _head(variant)
                | {"factor": variant.factor, "setting": variant.setting, "metric": metric}
                | {"mean": found.mean, "low": found.low, "high": found.high, "pairs": found.n}
                | {"lost": sum(not unit.ok for unit in variant.units), "units": len(variant.units)}
            )
    return pd.DataFrame(rows)


def bytes_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return points for `figures.draw_auc_over_bytes`: a variant each, members of groups left out.

    Sizes include the router, and `bytes_low` is the size without it. The AUC columns hold the expected AUC
    where it is known (`metric`).
    """
    rows = [
        _point(variant, metric)
        for group in outstanding(plan, records)
        for metric in [metric_of(group)]
        for variant in group
    ]
    points = pd.DataFrame(rows, columns=[*POINT_COLUMNS, "metric"])
    return points if points["test_auc"].notna().any() else points.iloc[:0]


def _point(variant: Variant, metric: str) -> Row:
    auc = variant.values(f"scores.{metric}")
    found = paired_difference(auc, np.zeros(len(auc)))
    total, router = (np.array(variant.values(f"ledger.{n}")) for n in ("embedding_bytes", "router_bytes"))
    alone = total - np.nan_to_num(router)
    return {
        **{
            "dataset": variant.dataset,
            "backbone": variant.backbone,
            "label": variant.name,
            "method": variant.name,
        },
        **{"ratio": math.nan, "uniform": False, "n": len(variant.good)},
        "failed": len(variant.units) - len(variant.good),
        "embedding_bytes": mean(total.tolist()),
        "bytes_low": mean(alone.tolist()),
        "bytes_high": mean(total.tolist()),
        **{"test_auc": found.mean, "test_auc_low": found.low, "test_auc_high": found.high, "metric": metric},
    }


def latency_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per variant and batch size: mean seconds per batch with and without routing.

    `uniform`: whether the variant is the method `fixed`. Members of groups are left out.
    """
    rows: list[Row] = []
    for group in outstanding(plan, records):
        for variant in group:
            rows += _latencies(variant)
    return pd.DataFrame(rows)


def _latencies(variant: Variant) -> Iterator[Row]:
    timed = variant.found(LATENCY)
    sizes = sorted({size for _, times in timed for size in times}, key=int)
    for size in sizes:
        whole = [unit.value(f"{LATENCY}.{size}") for unit, _ in timed]
        routed = [routing_seconds(unit, size) for unit, _ in timed]
        yield _head(variant) | {
            **{"batch": int(size), "seconds": mean(whole)},
            "without": mean([a - b for a, b in zip(whole, routed, strict=True)]),
            "uniform": all(look(unit.record, "method") == "fixed" for unit, _ in timed),
        }


def information_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per variant and field: the share of the clusters' entropy it explains, mean over seeds."""
    rows = [
        _head(variant, unit) | {"field": str(name), "share": _float(share)}
        for variant, unit, found in _found(plan, records, f"{DERIVE}.cluster_field_information")
        for name, share in found.items()
    ]
    keys = ["dataset", "backbone", "variant", "field"]
    return _mean_share(rows, keys)


def calibration_frame(plan: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Return a row per unit and cluster: positive rate, mean prediction less it, and that rate's 95 % half-width.

    The half-width is that of a binomial share over the cluster's test rows.
    """
    rows: list[Row] = []
    for variant, unit, clusters in _found(plan, records, "routing.clusters"):
        for c, cluster in enumerate(clusters):
            rate, prediction = _float(cluster.get("positive_rate")), _float(cluster.get("mean_prediction"))
            if cluster["rows"] and math.isfinite(rate) and math.isfinite(prediction):
                noise = 1.96 * math.sqrt(rate * (1 - rate) / cluster["rows"])
                point = {"rate": rate, "error": prediction - rate, "noise": noise}
                rows.append(_head(variant, unit) | {"cluster": c, "rows": cluster["rows"]} | point)
    return pd.DataFrame(rows)


def _mean_share(rows: list[Row], keys: list[str]) -> pd.DataFrame:
    """Return the mean of `share` over rows with equal `keys`, in their order."""
    return (
        pd.DataFrame(rows).groupby(keys, sort=False)[["share"]].mean().reset_index()
        if rows
        else pd.DataFrame()
    )


def _found(plan: pd.DataFrame, records: Records, path: str) -> Iterator[tuple[Variant, Cell, Any]]:
    for variant in every(plan, records):
        for unit, value in variant.found(path):
            yield variant, unit, value


def _head(variant: Variant, unit: Cell | None = None) -> Row:
    head: Row = {"dataset": variant.dataset, "backbone": variant.backbone, "variant": variant.name}
    return head if unit is None else head | {"split_seed": unit.split_seed, "seed": unit.seed}


def _float(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
