"""One figure of many methods as several panels with equal axes, by what the methods decide."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nasbench_rec.errors import RegistryError
from nasbench_rec.registry import method_class, method_names

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
    """Return one panel for the points of a data set and backbone, or where they are crowded one for each group.

    The uniform model and random widths stand in every panel.
    """
    if part["method"].nunique() <= CROWDED:
        return [Panel(title, part)]
    group = part["method"].map({name: _group(str(name)) for name in part["method"].unique()})
    always = part["uniform"] | (part["method"] == "random")
    found = [(name, part[(group == name) | always]) for name in (*GROUPS, OTHER) if (group == name).any()]
    return [Panel(f"{title}: {name}", points, part) for name, points in found if not points.empty]


def _group(method: str) -> str:
    """Return the title of the panel that a method belongs to."""
    name = method.partition("/")[0]
    try:
        level = method_class(name).info.level if name in method_names() else ""
    except RegistryError:
        level = ""
    return next((title for title, levels in GROUPS.items() if level in levels), OTHER)
