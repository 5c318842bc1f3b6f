"""What is there, as JSON-able data: methods, data sets, backbones, with their settings."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from nasbench_rec.backbones import BACKBONES
from nasbench_rec.config import plain
from nasbench_rec.errors import ConfigError, RegistryError, unknown
from nasbench_rec.registry import dataset_class, dataset_names, method_class, method_names


def methods() -> list[dict[str, Any]]:
    """Return every registered method; one that cannot be loaded says so instead of hiding."""
    found = []
    for name in method_names():
        try:
            found.append({**plain(method_class(name).info), "presets": sorted(method_class(name).presets)})
        except RegistryError as error:
            found.append({"name": name, "title": f"BROKEN: {error}"})
    return found


def method(name: str) -> dict[str, Any]:
    """Return one method with its settings and presets."""
    cls = method_class(name.partition("/")[0] if ":" not in name else name)
    presets = {k: plain(v) for k, v in cls.presets.items()}
    return {
        **plain(cls.info),
        "about": inspect.getdoc(cls),
        "presets": presets,
        "settings": settings(cls.Config),
    }


def datasets() -> list[dict[str, Any]]:
    """Return every registered data set."""
    return [plain(dataset_class(name).info) for name in dataset_names()]


def dataset(name: str) -> dict[str, Any]:
    """Return one data set with its settings."""
    cls = dataset_class(name)
    return {**plain(cls.info), "about": inspect.getdoc(cls), "settings": settings(cls.Config)}


def backbones() -> list[dict[str, Any]]:
    """Return every backbone."""
    return [backbone(name) for name in BACKBONES]


def backbone(name: str) -> dict[str, Any]:
    """Return one backbone."""
    if name not in BACKBONES:
        raise ConfigError(unknown("backbone", name, BACKBONES))
    info = BACKBONES[name].info
    ways = ["linear", "zero_pad"] + ([] if info.needs_equal_widths else ["concat"])
    return {**plain(info), "alignments": ways}


def settings(cls: type) -> list[dict[str, Any]]:
    """Return the documented settings of a configuration dataclass."""
    return [
        {
            "name": f.name,
            "default": plain(f.default),
            "type": str(f.type),
            **{k: plain(f.metadata[k]) for k in ("help", "source", "space", "stage") if k in f.metadata},
        }
        for f in dataclasses.fields(cls)
    ]


def space_text(space: dict[str, Any]) -> str:
    """Return in words which values a study tries."""
    if space["type"] == "categorical":
        return ", ".join(map(str, space["choices"]))
    return f"{space['low']:g} to {space['high']:g}{', logarithmic' if space.get('log') else ''}"
