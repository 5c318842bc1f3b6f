"""The verb `study` from the outside: it runs, shows, resumes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nasbench_rec.cli import main

SETS = [
    *("--set", "planted.train=1500", "planted.valid=300", "planted.test=400"),
    *("protocol.epochs=2", "protocol.batch_size=256", "protocol.hidden=[8]"),
]


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["study", *args])
    found = capsys.readouterr()
    return int(ended.value.code or 0), found.out, found.err


def test_without_a_name_the_shipped_studies_are_listed(capsys):
    code, out, _ = call(capsys)
    assert code == 0
    for name in ("ihas-lambda-tau-k", "ihas-t", "autodim-tau", "equal-tuning"):
        assert name in out


def test_a_study_runs_is_shown_and_resumes(capsys, tmp_path):
    store = str(tmp_path / "s")
    code, out, err = call(capsys, "ihas-lambda-tau-k", "--trials", "4", "--store", store, *SETS)
    assert code == 0, err
    assert "[4/4]" in err and "4 trials, 0 done before" in err
    folder = tmp_path / "s" / "studies" / "ihas-lambda-tau-k"
    assert {p.name for p in (folder / "report").iterdir()} >= {
        "ihas-lambda-tau-k.csv",
        "ihas-lambda-tau-k.md",
    }
    assert json.loads((folder / "study.json").read_text())["engine"] == "optuna"
    assert not (tmp_path / "s" / "records").exists() or not list((tmp_path / "s" / "records").glob("*.json"))
    assert not (tmp_path / "s" / "stages" / "test").exists(), "the test split stays sealed"
    code, shown, _ = call(capsys, "show", "ihas-lambda-tau-k", "--store", store)
    assert code == 0 and shown == out
    code, _, err = call(capsys, "ihas-lambda-tau-k", "--trials", "4", "--store", store, *SETS)
    assert code == 0 and "4 trials, 4 done before, 0 to run" in err
    code, listed, _ = call(capsys, "show", "--store", store)
    assert listed.split() == ["ihas-lambda-tau-k"]


def test_equal_tuning_is_tested_by_a_leaderboard(capsys, tmp_path):
    store = str(tmp_path / "s")
    more = ("--trials", "2", "--methods", "fixed", "random", "--store", store, *SETS)
    code, out, err = call(capsys, "equal-tuning", *more)
    assert code == 0, err
    assert "planted deepfm random: validation AUC" in out and "leaderboard --tuned equal-tuning" in out
    code, shown, _ = call(capsys, "show", "equal-tuning", "--store", store)
    assert code == 0 and shown.splitlines() == out.splitlines()[:2]
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "--tuned", "equal-tuning", "--seeds", "2", "--store", store])
    found = capsys.readouterr()
    assert ended.value.code == 0, found.err
    assert (tmp_path / "s" / "studies" / "equal-tuning" / "report" / "equal-tuning.md").is_file()
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "--tuned", "equal-tuning", "--ratios", "0.2", "--store", store])
    assert ended.value.code == 2 and "leave out ratios" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ihas-lambda"], "did you mean 'ihas-lambda-tau-k'"),
        (["show", "x"], "unknown study 'x'"),
        (["ihas-t", "ihas-lambda-tau-k"], "give one study"),
        (["ihas-t", "--pruner", "median"], "needs one objective"),
        (["ihas-t", "--methods", "ihas"], "is a study of one method"),
        (["ihas-t", "--trial-gib", "0"], "above 0|at least"),
        (["ihas-t", "--workers", "0"], "--workers and --threads must be at least 1"),
        (["ihas-t", "--datasets", "frappee"], "did you mean 'frappe'"),
        (["equal-tuning", "--methods", "ihsa"], "did you mean 'ihas'"),
    ],
)
def test_mistakes_get_one_clear_message(capsys, tmp_path, args, message):
    import re

    code, _, err = call(capsys, *args, "--store", str(tmp_path / "s"))
    assert code == 2 and re.search(message, err) and err.count("\n") == 1


def test_help_loads_nothing_heavy():
    code = (
        "import sys, contextlib\n"
        "from nasbench_rec.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['study', '--help'])\n"
        "sys.stderr.write(' '.join(m for m in ('torch','ray','optuna','pandas') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "" and "--engine" in done.stdout
    assert Path(sys.executable).exists()
