"""Reports need records only: neither torch, ray nor scikit-learn; what draws is loaded late."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {"torch", "ray", "sklearn", "optuna", "polars"}


def modules_after(code: str) -> set[str]:
    script = f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_is_light():
    found = modules_after("import nasbench_rec.reports")
    assert not found & (HEAVY | {"matplotlib", "seaborn", "scipy", "jinja2", "rich"})


def test_writing_loads_nothing_of_the_training_side(records, tmp_path):
    records.to_json(tmp_path / "records.json", orient="table", index=False)
    code = f"""
import io
from pathlib import Path
import pandas as pd
from rich.console import Console
from nasbench_rec.reports import leaderboard_frame, print_leaderboard, write_leaderboard
records = pd.read_json({str(tmp_path / "records.json")!r}, orient="table")
write_leaderboard(records, Path({str(tmp_path / "out")!r}), "Look")
print_leaderboard(leaderboard_frame(records), Console(file=io.StringIO()))
"""
    assert not modules_after(code) & HEAVY
