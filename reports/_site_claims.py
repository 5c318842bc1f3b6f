"""Claim sets of a store as the site shows them, read from whatever JSON of verdicts stands in their folders."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOOKS = {"supported": "good", "refuted": "bad", "inconclusive": "unsure"}
"""The look of each verdict; others are plain."""
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim."""

    id: str
    sentence: str
    verdict: str
    reason: str
    scope: str
    facts: Sequence[tuple[str, str]]
    comparisons: Sequence[Object]
    """Each comparison that it rests on."""
    evidence: Any
    """What else is given as evidence; None where nothing is."""

    @property
    def look(self) -> str:
        """How its badge looks."""
        return LOOKS.get(self.verdict, "")


@dataclass(frozen=True)
class ClaimSet:
    """The verdicts on the claims of one source."""

    name: str
    title: str
    facts: Sequence[tuple[str, str]]
    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()
    """What could not be read."""
    raw: Any = field(default=None, compare=False)

    @property
    def words(self) -> str:
        """How many claims got which verdict."""
        counts = Counter(v.verdict for v in self.verdicts)
        order = sorted(counts, key=lambda name: (*_place(name), name))
        if not order:
            return "no verdict can be read"
        total = f"{len(self.verdicts)} claim{'' if len(self.verdicts) == 1 else 's'}"
        return f"{total}: " + ", ".join(f"{counts[name]} {name}" for name in order)


def claim_sets(folder: Path) -> list[ClaimSet]:
    """Return the claim sets below `folder` that have any verdict, or a file that cannot be read; by name."""
    roots = sorted(path for path in folder.glob("*") if path.is_dir())
    found = [_claim_set(root) for root in roots]
    return [one for one in found if one.verdicts or one.notes]


def _claim_set(root: Path) -> ClaimSet:
    notes, entries = [], []
    words: dict[str, Any] = {}
    for path in sorted(root.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            notes.append(f"{path.name} cannot be read ({error})")
            continue
        judged = [entry for entry in _entries(content) if _outcome(entry)]
        if judged and isinstance(content, Mapping):
            words |= {k: v for k, v in content.items() if isinstance(v, str | int | float) and str(v)}
        entries += judged
    title = str(words.get("title") or root.name)
    about = ("paper", "source", "frozen", "sha256", "alpha", "units", "recorded", "failed", "before_freezing")
    facts = [(_name(k), str(words[k])) for k in about if k in words]
    return ClaimSet(root.name, title, facts, [_verdict(entry) for entry in entries], notes, entries)


def _entries(content: Any) -> Iterator[Object]:
    """Iterate over the objects of a list, or of the first list that an object holds under a usual name."""
    if isinstance(content, Mapping):
        content = next((content[k] for k in ("verdicts", "claims", "results") if k in content), [content])
    if isinstance(content, Mapping):
        content = [{"id": k, **v} for k, v in content.items() if isinstance(v, Mapping)]
    yield from (entry for entry in content if isinstance(entry, Mapping)) if isinstance(content, list) else ()


def _outcome(entry: Object) -> str:
    found = entry.get("verdict", entry.get("outcome"))
    if isinstance(found, Mapping):
        found = found.get("outcome", found.get("verdict"))
    return found if isinstance(found, str) else ""


def _verdict(entry: Object) -> Verdict:
    claim = entry.get("claim")
    known = {**claim, **entry} if isinstance(claim, Mapping) else dict(entry)
    text = {k: str(known.get(k) or "") for k in ("id", "sentence", "reason", "scope")}
    if isinstance(claim, str) and not text["sentence"]:
        text["sentence"] = claim
    rest = known.get("comparisons")
    comparisons = [c for c in rest if isinstance(c, Mapping)] if isinstance(rest, list) else []
    return Verdict(
        **text,
        verdict=_outcome(entry).replace("_", " "),
        facts=_facts(known),
        comparisons=comparisons,
        evidence=known.get("evidence"),
    )


def _facts(known: Object) -> list[tuple[str, str]]:
    names = ("scope", "reason", "measured", "source", "part", "reading", "needs", "explained_by", "unchecked")
    numbers = ("claimed", "interest", "bound", "seeds_asked", "seeds_needed")
    found = [(_name(k), _text(known.get(k))) for k in (*names, *numbers)]
    return [(name, text) for name, text in found if text]


def _text(value: Any) -> str:
    if value is None or value == [] or isinstance(value, float) and not math.isfinite(value):
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _name(key: str) -> str:
    return key.replace("_", " ")


def _place(verdict: str) -> tuple[int]:
    return (list(LOOKS).index(verdict) if verdict in LOOKS else len(LOOKS),)
