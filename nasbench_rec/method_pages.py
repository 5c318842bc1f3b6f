"""One Markdown page for each method, written from what the method says of itself, and an index of all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasbench_rec import describe
from nasbench_rec.errors import ConfigError
from nasbench_rec.registry import method_names

INDEX = "README.md"
GENERATED = (
    "<!-- written by `nasbench-rec methods --docs`; change the method's docstring and settings instead -->"
)

LEVELS = {
    "none": "the whole model",
    "table": "the whole table",
    "field": "a width for each field",
    "column": "columns of each field",
    "row": "a width for each feature value",
    "entry": "single entries of the table",
    "instance": "what each sample uses",
}
"""What a method decides, by its level."""
DATA = {
    "none": "nothing",
    "counts": "how often values occur in the training split",
    "train": "the training split",
    "train+search": "the training split, part of which is held out as search rows",
}
BUDGETS = {
    "none": "no control: it lands where it lands",
    "granular": "as near as its units allow, never above",
    "exact": "within 1 %",
}
FAITHFULNESS = {
    "faithful": "as published",
    "repaired": "as published, with defects of the published code mended",
    "inferred": "the paper leaves points open that are decided here",
    "reference": "a reference, not a published search method",
}


def pages(names: Sequence[str]) -> dict[str, str]:
    """Return the text of the page of each method and of the index, by file name."""
    found = [describe.method(name) for name in names]
    return {INDEX: index(found), **{f"{entry['name']}.md": page(entry) for entry in found}}


def write_pages(folder: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Write all pages into `folder` and return them; ConfigError where a file that is no such page is in the way.

    Pages of methods that are gone are removed.
    """
    wanted = pages(method_names() if names is None else names)
    for path in (folder / name for name in wanted):
        if path.exists() and not _is_page(path):
            raise ConfigError(
                f"{path} was not written by `methods --docs`; give another folder or move it away."
            )
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in wanted and _is_page(path):
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in wanted]


def _is_page(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith(GENERATED)


def index(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the index: a table of all methods, by level."""
    lines = [GENERATED, "", "# Methods", ""]
    lines += [
        "What each decides, learns from and promises. Plan budget: whether it can be told how many bytes its plan may "
        "have. Every page lists where the method here differs from its paper or its code.",
        "",
    ]
    rows = []
    for level in LEVELS:
        rows += [
            (
                f"[`{e['name']}`]({e['name']}.md)",
                e["title"],
                e["year"] or "",
                LEVELS[level],
                e["data"],
                e["budget"],
                e["faithfulness"],
            )
            for e in entries
            if e["level"] == level
        ]
    lines += _table(
        ("method", "title", "year", "decides", "learns from", "plan budget", "faithfulness"), rows
    )
    return "\n".join(lines) + "\n"


def facts(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return in words what a method decides, needs and promises."""
    return [
        ("decides", LEVELS[entry["level"]]),
        ("learns from", DATA[entry["data"]]),
        ("plan budget", f"{entry['budget']}: {BUDGETS[entry['budget']]}"),
        ("plans", ", ".join(f"`{kind}`" for kind in entry["plans"])),
        ("faithfulness", f"{entry['faithfulness']}: {FAITHFULNESS[entry['faithfulness']]}"),
        ("drawn at random", "yes" if entry["stochastic"] else "no: the same plan for every seed"),
    ]


def page(entry: Mapping[str, Any]) -> str:
    """Return the page of one method, from `describe.method`."""
    name = entry["name"]
    lines = [GENERATED, "", f"# {entry['title']} (`{name}`)", ""]
    lines += [f"{entry['paper']}.", ""] if entry["paper"] else []
    lines += [*_table(("", ""), facts(entry)), "", "## What it does", "", entry["about"] or "", ""]
    if entry["deviations"]:
        lines += ["## Where it differs from paper or code", ""]
        lines += [*(f"- {text}" for text in entry["deviations"]), ""]
    lines += _settings(entry)
    ratios = "" if entry["budget"] == "none" else " --ratios 0.5 0.1"
    lines += [
        "## Run it",
        "",
        "```bash",
        f"nasbench-rec leaderboard --methods fixed random {name}{ratios}",
        "```",
    ]
    return "\n".join(lines) + "\n"


def _settings(entry: Mapping[str, Any]) -> list[str]:
    if not entry["settings"]:
        return ["## Settings", "", "None.", ""]
    rows = [
        (
            f"`{s['name']}`",
            f"`{json.dumps(s['default'])}`",
            s.get("help", ""),
            s.get("source", ""),
            _space(s),
            _when(s),
        )
        for s in entry["settings"]
    ]
    head = ("setting", "default", "what it is", "source of the default", "searched in studies", "acts on")
    lines = ["## Settings", "", f"`--set {entry['name']}.SETTING=VALUE`", "", *_table(head, rows), ""]
    if entry["presets"]:
        lines += [f"Presets (`{entry['name']}/PRESET`):", ""]
        lines += [f"- `{preset}`: {_values(values)}" for preset, values in entry["presets"].items()]
        lines += [""]
    return lines


def _values(values: Mapping[str, Any]) -> str:
    if not values:
        return "the defaults"
    return ", ".join(f"`{name} = {json.dumps(value)}`" for name, value in values.items())


def _space(described: Mapping[str, Any]) -> str:
    space = described.get("space")
    return describe.space_text(space) if space else ""


def _when(described: Mapping[str, Any]) -> str:
    return "the plan only" if described.get("stage") == "derive" else "search"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
