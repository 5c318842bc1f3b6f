"""A claim set's verdicts to a page, tables and CSV. The content of `verdicts.json` is all that is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pandas as pd
from nasbench_rec.reports import _claims_writers, _writers
from nasbench_rec.reports._claims_figure import EffectRow, draw_effects, effects_caption, effects_frame
from nasbench_rec.reports._claims_rows import (
    ClaimRow,
    ComparisonRow,
    Found,
    SeedRow,
    claim_rows,
    comparison_rows,
    frame_of,
    seed_rows,
)
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports._text import encoded, markdown_escape
from nasbench_rec.reports.figures import pdf, svg

from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "ClaimRow",
    "ComparisonRow",
    "EffectRow",
    "SeedRow",
    "claims_frame",
    "comparisons_frame",
    "draw_effects",
    "effects_caption",
    "effects_frame",
    "print_claims",
    "read_verdicts",
    "seeds_frame",
    "write_claims",
]


def read_verdicts(path: Path) -> Found:
    """Return the content of a `verdicts.json`; `DataError` where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not {"name", "title", "verdicts", "frozen", "sha256"} <= found.keys():
            raise ValueError("it has no name, title, verdicts, date or hash")
        return found
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: holds no verdicts ({error}); run `nasbench-rec claims check`.") from None


def claims_frame(found: Found) -> pd.DataFrame:
    """Return a `ClaimRow` per claim."""
    return frame_of(claim_rows(found), ClaimRow)


def comparisons_frame(found: Found) -> pd.DataFrame:
    """Return a `ComparisonRow` per comparison of each claim."""
    return frame_of(comparison_rows(found), ComparisonRow)


def seeds_frame(found: Found) -> pd.DataFrame:
    """Return a `SeedRow` per pair of units of each comparison."""
    return frame_of(seed_rows(found), SeedRow)


def write_claims(found: Found, out: Path) -> list[Path]:
    """Write `NAME.md`, `NAME.csv` (comparisons), `NAME-seeds.csv` (pairs with their records' keys) into `out`.

    Where there is a difference to show, also the forest plot `NAME.svg` and `.pdf` with `NAME-effects.csv`. `found` is
    the content of `verdicts.json`. Equal content gives equal bytes; files appear whole or not at all.
    """
    name = str(found["name"])
    effects = effects_frame(found)
    figure = None if effects.empty else draw_effects(effects)
    shown = f"![Effects]({quote(name)}.svg)\n\n{markdown_escape(effects_caption(effects))}" if figure else ""
    files = {
        f"{name}.md": encoded(_claims_writers.markdown(found, shown)),
        f"{name}.csv": _writers.csv(comparisons_frame(found)),
        f"{name}-seeds.csv": _writers.csv(seeds_frame(found)),
    }
    if figure:
        files |= {f"{name}.svg": svg(figure), f"{name}.pdf": pdf(figure)}
        files |= {f"{name}-effects.csv": _writers.csv(effects)}
    return write_files(out, files)


def print_claims(found: Found, console: Console) -> None:
    """Print the verdicts at the width of `console`."""
    from rich.console import Group

    console.print(Group(*_claims_writers.tables(found, console.width)))
