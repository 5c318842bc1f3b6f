"""Verdicts as rows: one per claim, one per comparison, one per pair of seeds. Their source is `verdicts.json`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pandas as pd

Found = Mapping[str, Any]
"""The content of `verdicts.json`."""
NUMBERS = (
    *("ratio", "mean", "low", "high", "p", "p_corrected", "p_smallest", "p_smallest_corrected"),
    *("minimum_detectable", "seeds_needed"),
)
"""What of a comparison may be null."""
ROW_NOISE = ("row_se", "seed_se", "total_se", "row_low", "row_high", "row_p")
"""What a comparison says of test rows, where it does."""


@dataclass(frozen=True)
class ClaimRow:
    """The verdict on a claim."""

    claim: str
    part: str
    kind: str
    sentence: str
    outcome: str
    said: str
    """The outcome with what belongs to it: the control that explains it, the seeds that would decide."""
    scope: str
    reason: str
    comparisons: int
    seeds: int
    """Pairs of the comparison with the fewest."""


@dataclass(frozen=True)
class ComparisonRow:
    """One comparison of a claim."""

    claim: str
    dataset: str
    backbone: str
    ratio: float
    against: str
    scope: str
    outcome: str
    reason: str
    method_mean: float
    other_mean: float
    mean: float
    low: float
    high: float
    interval: str
    p: float
    p_corrected: float
    p_smallest: float
    p_smallest_corrected: float
    n: int
    planned: int
    failed: int
    absent: int
    silent: int
    minimum_detectable: float
    claimed: float
    claimed_within: str
    seeds_needed: float
    controls: str
    row_se: float
    """Of the mean difference in test AUC, from other test rows (DeLong); NaN where seeds do not share them."""
    seed_se: float
    total_se: float
    row_low: float
    row_high: float
    row_p: float


@dataclass(frozen=True)
class SeedRow:
    """One pair of units of a comparison."""

    claim: str
    dataset: str
    backbone: str
    ratio: float
    against: str
    split_seed: int
    seed: int
    method: float
    other: float
    difference: float
    keys: str


def claim_rows(found: Found) -> list[ClaimRow]:
    """Return a row per claim, in the order of the set."""
    return [_claim(verdict) for verdict in found["verdicts"]]


def _claim(verdict: Found) -> ClaimRow:
    claim = verdict["claim"]
    done = [c for c in verdict["comparisons"] if c["outcome"] != "not testable here"]
    return ClaimRow(
        claim=claim["id"],
        part=claim["part"],
        kind=claim["kind"],
        sentence=claim["sentence"],
        outcome=verdict["outcome"],
        said=said(verdict),
        scope=verdict["scope"],
        reason=verdict["reason"],
        comparisons=len(done),
        seeds=min((c["n"] for c in done), default=0),
    )


def said(verdict: Found) -> str:
    """Return the verdict in words, with what is part of it."""
    outcome = str(verdict["outcome"])
    if verdict["explained_by"]:
        outcome += f", but explained by a control: {', '.join(verdict['explained_by'])}"
    if verdict["unchecked"]:
        outcome += f"; controls not run: {', '.join(verdict['unchecked'])}"
    if outcome == "inconclusive":
        return f"{outcome} ({_seeds(verdict)})"
    return outcome


def _seeds(verdict: Found) -> str:
    if (needed := verdict["seeds_needed"]) is not None:
        return f"{needed} seeds would decide, if the effect is what it seems"
    if not any(c["n"] for c in verdict["comparisons"]):
        return "no record has the number" if any(c["silent"] for c in verdict["comparisons"]) else "not run"
    return "the seeds that would decide are not known, or too many to run"


def comparison_rows(found: Found) -> list[ComparisonRow]:
    """Return a row per comparison of each claim."""
    return [_comparison(c, v["claim"]) for v in found["verdicts"] for c in v["comparisons"]]


def _comparison(c: Found, claim: Found) -> ComparisonRow:
    names = {field.name for field in fields(ComparisonRow)}
    known: dict[str, Any] = {name: c[name] for name in names if name in c}
    known |= {name: number(c[name]) for name in NUMBERS}
    within = {None: "", True: "yes", False: "no"}[c["claimed_within"]]
    known |= {"method_mean": _mean(c["points"], "method"), "other_mean": _mean(c["points"], "other")}
    known |= {"claimed": number(claim["claimed"]), "claimed_within": within}
    known |= {name: number((c.get("rows") or {}).get(name)) for name in ROW_NOISE}
    known["controls"] = "; ".join(f"{control['name']}: {control['state']}" for control in c["controls"])
    return ComparisonRow(**known)


def seed_rows(found: Found) -> list[SeedRow]:
    """Return a row per pair of seeds of each comparison, with the keys of its records."""
    return list(_seed_rows(found))


def _seed_rows(found: Found) -> Iterator[SeedRow]:
    for verdict in found["verdicts"]:
        for c in verdict["comparisons"]:
            for point in c["points"]:
                known: dict[str, Any] = {n: c[n] for n in ("claim", "dataset", "backbone", "against")}
                known |= {n: v for n, v in point.items() if n != "keys"}
                yield SeedRow(**known, ratio=number(c["ratio"]), keys=" ".join(point["keys"]))


def where(dataset: str, backbone: str, ratio: float | None) -> str:
    """Return data set, backbone and plan budget in words; `ratio` None or NaN: none."""
    return f"{dataset}, {backbone}" + ("" if ratio is None or math.isnan(ratio) else f" @ {ratio:g}")


def number(value: Any) -> float:
    """Return a number of the JSON; NaN for null."""
    return math.nan if value is None else float(value)


def _mean(points: Sequence[Found], name: str) -> float:
    return sum(p[name] for p in points) / len(points) if points else math.nan


def frame_of(rows: Sequence[Any], kind: type) -> pd.DataFrame:
    """Return rows as a frame with the columns of their kind."""
    return pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(kind)])
