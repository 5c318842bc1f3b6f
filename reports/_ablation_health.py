"""Health findings of the units of an ablation, gathered per variant."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from nasbench_rec.reports._ablation_units import Records, Variant, every, look
from nasbench_rec.reports._text import one_line


@dataclass(frozen=True)
class Finding:
    """One signature in the units of one variant; the evidence is that of the first unit that has it."""

    dataset: str
    backbone: str
    variant: str
    signature: str
    where: str
    """The units that have it: `2 of 3 seeds: 0, 2`."""
    evidence: str
    advice: str
    source: str
    """Which unit the evidence is of."""

    def title(self, several: bool) -> str:
        """Return the variant's name, with data set and backbone where there are several."""
        return f"{self.dataset}, {self.backbone}: {self.variant}" if several else self.variant


def findings(plan: pd.DataFrame, records: Records) -> list[Finding]:
    """Return a finding per variant and signature, in the order of the plan and the records."""
    return [finding for variant in every(plan, records) for finding in _gathered(variant)]


def _gathered(variant: Variant) -> list[Finding]:
    several = len({unit.split_seed for unit in variant.units}) > 1
    having: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for unit in variant.good:
        name = f"{unit.split_seed}/{unit.seed}" if several else str(unit.seed)
        for found in {str(f["signature"]): f for f in look(unit.record, "health") or []}.values():
            having.setdefault(str(found["signature"]), []).append((name, found))
    total, kind = len(variant.good), "units (split/seed)" if several else "seeds"
    return [
        Finding(
            *(variant.dataset, variant.backbone, variant.name, signature),
            where=f"{len(units)} of {total} {kind}: {', '.join(name for name, _ in units)}",
            evidence=_sentence(units[0][1], "evidence"),
            advice=_sentence(units[0][1], "advice"),
            source=f"seed {units[0][0]}",
        )
        for signature, units in having.items()
    ]


def _sentence(found: dict[str, str], part: str) -> str:
    return one_line(found.get(part) or "", 600).rstrip(".")
