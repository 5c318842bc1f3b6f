"""Equal tuning: how far the same number of trials moved each method, and who then beats the tuned uniform model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from nasbench_rec.reports import _tuning_writers, _writers
from nasbench_rec.reports._ablation_rows import frame_of
from nasbench_rec.reports._files import write_files
from nasbench_rec.reports._text import encoded
from nasbench_rec.reports._tuning_figure import draw_gains
from nasbench_rec.reports._tuning_rows import TuningRow, tuning_rows

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["TuningRow", "draw_gains", "print_tuning", "tuning_frame", "write_tuning"]


def tuning_frame(plan: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Return a `TuningRow` per data set, backbone and method, the best tuned test AUC of each place first.

    `plan` is the frame of `studies.tuning.plan_frame`, `records` that of `Store.frame()`; units without a record
    count as not run. `DataError` if they are not fit for it: a column is missing, a pair is planned twice, a
    record is of other seeds than the plan says.
    """
    return frame_of(tuning_rows(plan, records), TuningRow)


def write_tuning(
    plan: pd.DataFrame, records: pd.DataFrame, *, name: str, title: str, out: Path
) -> list[Path]:
    """Write an equal tuning into folder `out`; return the paths written.

    `NAME.csv` (raw numbers), `NAME.md` (gains, comparison with the tuned uniform model, what was chosen) and the
    figure `gains` as SVG and PDF. Equal frames give equal bytes; files appear whole or not at all. `DataError` as
    of `tuning_frame`, `StoreError` where `out` cannot be written.
    """
    from nasbench_rec.reports.figures import pdf, svg

    rows = tuning_rows(plan, records)
    frame = frame_of(rows, TuningRow)
    figure = draw_gains(frame)
    return write_files(
        out,
        {
            f"{name}.csv": _writers.csv(frame),
            f"{name}.md": encoded(_tuning_writers.markdown(rows, name, title)),
            "gains.svg": svg(figure),
            "gains.pdf": pdf(figure),
        },
    )


def print_tuning(plan: pd.DataFrame, records: pd.DataFrame, *, title: str, console: Console) -> None:
    """Print the tables of an equal tuning at the width of `console`."""
    from rich.console import Group

    console.print(Group(*_tuning_writers.tables(tuning_rows(plan, records), title, console.width)))
