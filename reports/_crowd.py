"""One figure of many methods as several panels with equal axes, by what the methods decide."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

CROWDED = 16
"""More methods than this cannot be told apart in one panel."""
GROUPS = {
    "widths of fields": ("field",),
    "columns, or what each sample uses": ("column", "instance"),
    "widths of feature values": ("row",),
    "single entries": ("entry",),
    "the whole table or model": ("table", "none"),
}
"""Title and levels of each panel."""
OTHER = "other methods"


@dataclass(frozen=True)
class Panel:
    """What one panel shows; `whole` are all points of its data set and backbone where it shows only some."""

    title: str
    points: pd.DataFrame
    whole: pd.DataFrame | None = None


def panels_of(title: str, part: pd.DataFrame) -> list[Panel]:
    """Return one panel for the points of a data set and backbone, or where they are crowded one for each group
    of levels. The uniform model and random widths stand in every panel.
    """
    levels = set(part["level"].dropna())
    if part["method"].nunique() <= CROWDED or not levels:
        return [Panel(title, part)]
    titles = {level: name for name, known in GROUPS.items() for level in known}
    group = part["level"].map(titles).fillna(OTHER)
    always = part["uniform"] | (part["method"] == "random")
    found = [(name, part[(group == name) | always]) for name in (*GROUPS, OTHER) if (group == name).any()]
    return [Panel(f"{title}: {name}", points, part) for name, points in found]
