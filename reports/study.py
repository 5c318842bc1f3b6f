"""A study: its frames to a page, tables and figures, whichever engine ran it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nasbench_rec.reports import _study_writers, _writers
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports._study_data import Pairs, StudyFrames
from nasbench_rec.reports._study_figures import FIGURES, StudyFigure, figures_with
from nasbench_rec.reports._text import encoded

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["FIGURES", "StudyFigure", "StudyFrames", "print_study", "write_study"]


def write_study(frames: StudyFrames, out: Path, contour: Pairs = ()) -> list[Path]:
    """Write a study into folder `out`; return the paths written.

    `NAME.csv` (trials) and `NAME-units.csv` in full, `NAME.md` (best configuration, top trials, counts, figures)
    and each figure of `FIGURES` that has anything to show as `FIGURE.svg` and `.pdf`; the page names the others.
    `contour`: pairs of parameters, the two most important of numbers where there are none. Equal frames give
    equal bytes; files appear whole or not at all. `ConfigError` for a pair that is not fit for it, `StoreError`
    where `out` cannot be written.
    """
    figures = figures_with(contour)
    drawn = _drawn(frames, contour)
    page = _study_writers.markdown(frames, {name: f"{name}.svg" in drawn for name in figures})
    tables = {
        f"{frames.name}.csv": _writers.csv(frames.trials),
        f"{frames.name}-units.csv": _writers.csv(frames.units),
    }
    return write_files(out, {**tables, f"{frames.name}.md": encoded(page), **drawn})


def _drawn(frames: StudyFrames, contour: Pairs) -> dict[str, bytes]:
    from nasbench_rec.reports.figures import pdf, svg

    files: dict[str, bytes] = {}
    for name, make in figures_with(contour).items():
        figure = make(frames)
        if figure is not None:
            files |= {f"{name}.svg": svg(figure), f"{name}.pdf": pdf(figure)}
    return files


def print_study(frames: StudyFrames, console: Console, top: int = 10) -> None:
    """Print best and default, the `top` best trials, counts with reasons and parameters at the console's width."""
    from rich.console import Group

    console.print(Group(*_study_writers.blocks(frames, console.width, top)))
