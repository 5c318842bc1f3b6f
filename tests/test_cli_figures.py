"""The verb `figures`: what is listed, drawn, left out and refused, and with which exit code."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nasbench_rec.studies.running import folder_of
from nasbench_rec.studies.tuning import Tuned, TunedSet, pairs

from nasbench_rec.cli import main
from nasbench_rec.config import content_key, plain
from nasbench_rec.store import Store

SIZES = {None: 1.0, 0.5: 0.5, 0.1: 0.1}
LABELS = {None: "", 0.5: " @ 1/2", 0.1: " @ 1/10"}


def record(dataset: str, method: str, ratio: float | None, seed: int, auc: float) -> dict[str, Any]:
    """Return a record as far as comparisons read one."""
    unit = {
        "ratio": ratio,
        "method": {"config": {}},
        "protocol": {"epochs": 1, "dim": 8},
        "seeds": {"init": seed, "split": 0},
    }
    size = 1000 * SIZES[ratio]
    return {
        "key": content_key([dataset, method, ratio, seed, auc]),
        "status": "ok",
        "started": f"2026-01-01T00:00:{seed:02d}",
        "unit": unit,
        "dataset": dataset,
        "backbone": "dnn",
        "method": method,
        "label": f"{method}{LABELS[ratio]}",
        "scores": {"test_auc": auc, "test_logloss": 1 - auc, "valid_auc": auc},
        "ledger": {"embedding_bytes": size, "embedding_ratio": SIZES[ratio], "total_bytes": size},
        "search_trainings": 0.0,
        "search_seconds": 0.0,
        "retrain_seconds": 1.0,
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of two methods on two data sets, one of which is generated anew for each seed."""
    found = Store(tmp_path_factory.mktemp("figures") / "store").create()
    for seed, (method, gain) in itertools.product(range(3), (("fixed", 0.0), ("mde", 0.002))):
        for ratio in (None, 0.5, 0.1) if method == "fixed" else (0.5, 0.1):
            auc = 0.8 + gain * (1 + 0.1 * seed) - 0.01 * (1 - SIZES[ratio])
            found.add(record("frappe", method, ratio, seed, auc))
            found.add(record(f"planted (seed={seed})", method, ratio, seed, auc - 0.1))
    return found.path


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]):
    """Run a command; return its exit code and what it printed."""

    def run(*arguments: object) -> tuple[object, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        return left.value.code, "".join(capsys.readouterr())

    return run


def test_help_and_lists_teach(cli) -> None:
    code, text = cli("figures", "--help")
    assert code == 0 and "figures --list" in text and "--reference" in text
    code, text = cli("figures", "--list")
    assert code == 0 and all(name in text for name in ("pareto", "gates-centroids", "paper"))
    code, text = cli("figures", "--list", "widths")
    assert code == 0 and "planted data the first row" in text and "pareto" not in text
    code, text = cli("figures", "--list", "width")
    assert code == 2 and "did you mean 'widths'" in text


def test_all_that_have_anything_to_show_are_drawn_and_the_others_named(cli, store: Path) -> None:
    code, text = cli("figures", "--store", store)
    assert code == 0
    names = {path.name for path in (store / "figures").iterdir()}
    for name in ("pareto", "paired", "hypervolume", "rank-over-budgets"):
        assert {f"{name}.csv", f"{name}.svg", f"{name}.pdf"} <= names and f"{name}: " in text
    assert {"paper.csv", "paper.md", "paper.tex"} <= names
    lines = [line for line in text.splitlines() if line.startswith("nothing to show: ")]
    assert any(line.startswith("nothing to show: widths: ") for line in lines)
    assert "widths.svg" not in names and len(lines) == len({line.split(":")[1] for line in lines})
    assert "planted (seed=*)" in (store / "figures" / "paired.csv").read_text()


def test_names_places_and_the_reference_are_chosen(cli, store: Path, tmp_path: Path) -> None:
    options = ("--store", store, "--out", tmp_path, "--datasets", "frappe", "--reference", "fixed")
    code, text = cli("figures", "paired", *options)
    assert code == 0 and {p.name for p in tmp_path.iterdir()} == {"paired.csv", "paired.svg", "paired.pdf"}
    table = (tmp_path / "paired.csv").read_text()
    assert cli("figures", "pareto", "--store", store, "--out", tmp_path, "--datasets", "planted")[0] == 0
    assert set(pd.read_csv(tmp_path / "pareto.csv")["dataset"]) == {"planted (seed=*)"}, "settings left out"
    assert "planted" not in table and "mde @ 1/2" in table and "fixed @ 1/10" in table
    code, text = cli("figures", "widths", "--store", store, "--out", tmp_path / "none")
    assert code == 1 and "nothing to show: widths: " in text, "it was asked for by name"


def test_what_makes_no_sense_is_refused(cli, store: Path, tmp_path: Path) -> None:
    code, text = cli("figures", "paretto", "--store", store)
    assert code == 2 and "did you mean 'pareto'" in text
    code, text = cli("figures", "--store", store, "--datasets", "frape")
    assert code == 2 and "did you mean 'frappe'" in text
    code, text = cli("figures", "--store", store, "--backbones", "dn")
    assert code == 2 and "did you mean 'dnn'" in text
    code, text = cli("figures", "--store", store, "--tuned", "nothing")
    assert code == 2 and "nothing" in text
    code, text = cli("figures", "--store", tmp_path / "empty")
    assert code == 2 and "no records to draw" in text and not (tmp_path / "empty").exists()


def test_of_two_records_of_a_place_the_latest_counts(cli, store: Path, tmp_path: Path) -> None:
    copy = Store(tmp_path / "store").create()
    for old in Store(store):
        copy.add(old)
    copy.add({**record("frappe", "mde", 0.5, 0, 0.9), "started": "2026-02-01"})
    code, text = cli("figures", "paper", "--store", copy.path)
    assert code == 0 and "takes its place: 1 of the records" in text
    assert "0.9" in (copy.path / "figures" / "paper.csv").read_text()


def test_an_equal_tuning_is_shown_once_it_was_tested(cli, tmp_path: Path) -> None:
    store = Store(tmp_path / "store").create()
    entries = (tuned("fixed", None, {}), tuned("mde", 0.5, {"alpha": 0.4}))
    found = TunedSet("tiny", "Tiny", 0, (100,), {}, entries)
    folder = folder_of(store, "tiny")
    folder.mkdir(parents=True)
    (folder / "tuned.json").write_text(json.dumps(plain(found)))
    store.add(record("planted", "fixed", None, 0, 0.7))
    options = ("figures", "tuning-gains", "--store", store.path, "--tuned", "tiny")
    code, text = cli(*options)
    assert code == 2 and "leaderboard --tuned tiny" in text
    for pair in pairs(found, {}, 2, None):
        for unit, auc in ((pair.default, 0.7), (pair.tuned, 0.71 + pair.seed / 100)):
            method = pair.entry.method
            store.add({**record("planted", method, pair.entry.ratio, pair.seed, auc), "key": unit.key})
    code, text = cli(*options, "--datasets", "planted")
    assert code == 0 and "tuning-gains.svg" in text
    gains = pd.read_csv(store.path / "figures" / "tuning-gains.csv").set_index("label")
    assert gains.loc["mde @ 1/2", ["n", "planned"]].tolist() == [2, 2]
    assert gains.loc["mde @ 1/2", "auc_gain"] == pytest.approx(0.015)


def tuned(method: str, ratio: float | None, settings: dict[str, float]) -> Tuned:
    what = {
        "study": f"tiny-{method}",
        "method": method,
        "dataset": "planted",
        "backbone": "dnn",
        "ratio": ratio,
    }
    trials = {
        "trials": 3,
        "failed": 0,
        "number": 1,
        "seconds": 1.0,
        "default_valid": 0.7,
        "tuned_valid": 0.71,
    }
    return Tuned(**what, **trials, settings=settings, protocol={})
