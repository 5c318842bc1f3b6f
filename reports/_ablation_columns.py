"""What a printed ablation shows: the columns of its two tables, and what they mean."""

from __future__ import annotations

import math

from nasbench_rec.reports._ablation_rows import AblationRow, BarRow
from nasbench_rec.reports._ablation_units import BASE
from nasbench_rec.reports._printed import Column, difference_text, mean_text
from nasbench_rec.reports._text import byte_size, one_line, score, three_digits


def name_of(row: AblationRow) -> str:
    """Return the name of a row."""
    return variant_name(row.variant, row.chosen)


def variant_name(name: str, chosen: bool) -> str:
    """Return a variant's name, with a mark where it was chosen among others."""
    return f"{one_line(name, 60)}{' (best by validation)' if chosen else ''}"


def trouble(row: AblationRow) -> str:
    """Say what failed, was not run or could not be chosen among; empty where nothing did."""
    planned, parts = row.n + row.failed + row.missing, []
    if row.failed:
        parts.append(f"failed ({row.failed}/{planned}): {one_line(row.reason)}")
    if row.missing:
        parts.append(f"not run ({row.missing}/{planned})")
    return "; ".join(parts) or one_line(row.reason)


def _seeds(row: AblationRow) -> str:
    lost = [f"{row.failed} failed"] if row.failed else []
    lost += [f"{row.missing} not run"] if row.missing else []
    return f"{row.n} ({', '.join(lost)})" if lost else str(row.n)


def _rand(row: AblationRow) -> str:
    if math.isnan(row.adjusted_rand):
        return ""
    mean, least = (round(value, 2) + 0.0 for value in (row.adjusted_rand, row.adjusted_rand_min))
    return f"{score(mean, 2)} (least {score(least, 2)})"


def _milliseconds(value: float) -> str:
    return f"{three_digits(1000 * value)} ms" if not math.isnan(value) else ""


def _share(value: float) -> str:
    return score(value, 3)


def columns(reference: str) -> list[Column[AblationRow]]:
    """Return the columns of the table of variants; with `reference` empty or the base, one difference only."""
    other: Column[AblationRow] = Column(
        f"AUC − {one_line(reference, 30)}",
        f"the same difference to {one_line(reference, 60)}",
        2,
        lambda row: difference_text(row, "vs_reference"),
    )
    return [*_quality(), *([other] if reference not in ("", BASE) else []), *_structure(), *_costs()]


def _quality() -> list[Column[AblationRow]]:
    return [
        Column(
            "variant", "what is changed against default, or a setting of its own", 0, name_of, numeric=False
        ),
        Column(
            "seeds",
            "the units that succeeded, over which all means (± sample standard deviation) are taken, and in "
            "brackets those that failed or were not run",
            0,
            _seeds,
        ),
        Column(
            "expected AUC",
            "test AUC with the label noise averaged out; known only where the true click probabilities are "
            "(planted data)",
            1,
            lambda row: mean_text(row.expected_auc, row.expected_auc_sd),
        ),
        Column(
            "test AUC",
            "area under the ROC curve on the test split",
            4,
            lambda r: mean_text(r.test_auc, r.test_auc_sd),
        ),
        Column(
            "logloss",
            "cross-entropy per test row in nats",
            10,
            lambda row: mean_text(row.logloss, row.logloss_sd),
        ),
        Column(
            "AUC − default",
            "difference in expected AUC (in test AUC where that is unknown) to default, paired by split seed and "
            "seed: mean, [95 % interval], how it was made (t: Student's t, under 6 pairs; BCa: bootstrap, from "
            "6) and number of pairs; no correction for the number of variants is made",
            2,
            lambda row: difference_text(row, "vs_default"),
        ),
    ]


def _structure() -> list[Column[AblationRow]]:
    return [
        Column(
            "adjusted Rand",
            "agreement of clusters and planted groups on test rows (0: chance, 1: equal), mean and least over seeds",
            3,
            _rand,
        ),
        Column(
            "Hamming",
            "mean share of gates in which the masks of two samples differ; near 0: nothing instance-wise is left",
            5,
            lambda row: _share(row.hamming),
        ),
        Column(
            "near 0/1",
            "share of gate probabilities below .1 or above .9 on training rows",
            6,
            lambda r: _share(r.near),
        ),
        Column(
            "health",
            "signs of a search that failed in the ways known, with the number of units that have them",
            9,
            lambda row: row.health,
            numeric=False,
        ),
    ]


def _costs() -> list[Column[AblationRow]]:
    return [
        Column(
            "embedding",
            "bytes of the embedding part, router included",
            7,
            lambda row: byte_size(row.embedding_bytes),
        ),
        Column(
            "without router",
            "the same without what chooses between clusters (search embedding, gates, centroids)",
            8,
            lambda row: byte_size(row.bytes_without_router) if row.router_bytes > 0 else "",
        ),
        Column(
            "latency",
            "time of one inference call, routing included, at the largest batch that all variants were timed at; "
            "holds only within one machine and one run",
            11,
            lambda row: _milliseconds(row.latency_seconds),
        ),
        Column(
            "without routing",
            "the same less the time of routing",
            12,
            lambda row: (
                _milliseconds(row.latency_without_router_seconds)
                if row.latency_without_router_seconds != row.latency_seconds
                else ""
            ),
        ),
    ]


def _number(value: float) -> str:
    return "missing" if math.isnan(value) else f"{value:.3g}" if abs(value) >= 1 else score(value, 4)


def _judged(row: BarRow) -> str:
    value = f"{row.value} of {row.variant}"
    return one_line(f"{value} − that of {row.versus}" if row.versus else value, 120)


BAR_COLUMNS: tuple[Column[BarRow], ...] = (
    Column("bar", "", 0, lambda row: one_line(row.name, 80), numeric=False),
    Column("met", "", 0, lambda row: "yes" if row.met else "NO", numeric=False),
    Column("wanted", "", 0, lambda row: row.wanted, numeric=False),
    Column("holds in", "", 1, lambda row: f"{row.hold} of {len(row.values)}"),
    Column("mean", "", 1, lambda row: _number(row.mean)),
    Column(
        "per seed",
        "",
        3,
        lambda row: ", ".join(f"{s}: {_number(v)}" for s, v in zip(row.seeds, row.values, strict=True)),
        numeric=False,
    ),
    Column("value", "", 4, _judged, numeric=False),
    Column("note", "", 2, lambda row: row.note, numeric=False),
)
