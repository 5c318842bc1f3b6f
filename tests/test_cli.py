"""The command line as a user meets it: help, lists, one clear message for each bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from nasbench_rec.cli import _split_sets
from nasbench_rec.store import Store

TINY = [
    *("--set", "planted.train=1000", "planted.valid=200", "planted.test=300"),
    *("protocol.epochs=1", "protocol.hidden=[8]", "protocol.batch_size=256"),
]


def cli(*args: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "nasbench_rec.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, **options)


def refused(*args: object) -> str:
    """Run a bad command; return its one message."""
    found = cli(*args)
    assert found.returncode != 0
    assert "Traceback" not in found.stderr + found.stdout
    return " ".join((found.stderr + found.stdout).split())


def test_help_names_every_verb():
    text = cli("--help").stdout
    for verb in (
        "methods",
        "datasets",
        "backbones",
        "data",
        "run",
        "leaderboard",
        "ablate",
        "report",
        "figures",
        "verify",
    ):
        assert verb in text


@pytest.mark.parametrize(
    ("verb", "one"), [("methods", "ihas"), ("datasets", "planted"), ("backbones", "ipnn")]
)
def test_lists_and_one_entry_as_json(verb, one):
    names = [entry["name"] for entry in json.loads(cli(verb, "--json").stdout)]
    assert one in names
    entry = json.loads(cli(verb, one, "--json").stdout)
    assert entry["name"] == one
    assert one in cli(verb).stdout and cli(verb, one).returncode == 0
    assert "did you mean" in refused(verb, one[:-1] + "x")


def test_set_takes_several():
    assert _split_sets(["run", "--set", "a.b=1", "c.d=2", "--seed", "3"]) == [
        *("run", "--set", "a.b=1", "--set", "c.d=2", "--seed", "3")
    ]
    assert _split_sets(["--set", "a.b=1", "--set", "c.d=2"]) == ["--set", "a.b=1", "--set", "c.d=2"]


def test_run_verify_report(tmp_path):
    store = tmp_path / "store"
    found = cli("run", "random", "--store", store, *TINY)
    assert found.returncode == 0 and "test AUC" in found.stdout
    (record,) = Store(store)
    assert (
        cli("verify", record["key"][:8], "--store", store).stdout.strip().endswith("reproduced bit for bit")
    )
    path = store / "records" / f"{record['key']}-0.json"
    changed = json.loads(path.read_text())
    changed["scores"]["test_auc"] += 0.01
    path.write_text(json.dumps(changed))
    found = cli("verify", record["key"], "--store", store)
    assert found.returncode == 1 and "test_auc" in found.stdout and "NOT reproduced" in found.stdout
    assert cli("report", "--store", store, "--out", tmp_path / "site").returncode == 0
    assert {p.suffix for p in (tmp_path / "site").rglob("*.*")} >= {".csv", ".md", ".tex", ".html", ".svg"}


ABLATION = """
title = "Random widths"
question = "Does the share matter?"
base = "random"
seeds = [4, 2]
reference = "uniform"
figures = ["factor"]
[settings.planted]
tier = "T1"
[factors]
ratio = [0.25]
[[variants]]
name = "uniform"
method = "fixed"
[[bars]]
name = "above chance"
variant = "default"
value = "scores.test_auc"
at_least = 0.0
"""


def test_ablate_runs_reports_and_goes_on(tmp_path):
    store, path = tmp_path / "store", tmp_path / "widths.toml"
    path.write_text(ABLATION)
    found = cli("ablate", path, "--seeds", 1, "--store", store, *TINY)
    assert found.returncode == 0, found.stderr
    assert "Does the share matter?" in found.stdout and "above chance" in found.stdout
    assert "search 2 computed, 1 reused" in found.stdout, "the factor's search is the base's"
    records = list(Store(store))
    assert {r["unit"]["seeds"]["init"] for r in records} == {4} and len(records) == 3
    assert {r["unit"]["data"]["config"]["tier"] for r in records} == {"T1"}
    out = store / "ablations" / "widths"
    assert {"widths.csv", "widths.md", "factor.svg"} <= {p.name for p in out.iterdir()}
    again = cli("ablate", path, "--seeds", 1, "--store", store, "--out", tmp_path / "site", *TINY)
    assert "3 units, 3 done before, 0 to run" in again.stderr
    assert (tmp_path / "site" / "widths.csv").read_bytes() == (out / "widths.csv").read_bytes()
    assert cli("report", "--store", store, "--out", tmp_path / "pages").returncode == 0
    (page,) = (tmp_path / "pages" / "ablations").glob("*.html")
    assert "Does the share matter?" in page.read_text(encoding="utf-8")


def test_ablate_says_that_a_unit_failed(tmp_path):
    path = tmp_path / "widths.toml"
    path.write_text(
        ABLATION + '[[variants]]\nname = "too narrow"\nmethod = "fixed"\nsettings = { factor = 0.01 }\n'
    )
    found = cli("ablate", path, "--seeds", 1, "--store", tmp_path / "store", *TINY)
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "too narrow" in found.stdout and "factor = 0.01" in found.stdout


def test_ablate_lists_and_refuses(tmp_path):
    listed = " ".join(cli("ablate").stdout.split())
    for name in ("ihas-ablation", "ihas-controls", "ihas-first-experiments", "ihas-next-checks"):
        assert name in listed
    store, path = ("--store", tmp_path / "s"), tmp_path / "widths.toml"
    assert "did you mean 'ihas-controls'" in refused("ablate", "ihas-contrls", *store)
    path.write_text(ABLATION)
    assert "seeds = 0" in refused("ablate", path, "--seeds", 0, *store)
    assert "did you mean 'random'" in refused("ablate", path, "--set", "randm.ratio=1", *store)
    path.write_text(ABLATION.replace('["factor"]', '["factr"]'))
    assert "did you mean 'factor'" in refused("ablate", path, *store)
    path.write_text(ABLATION + '[[variants]]\nname = "parity"\ndata = { tier = "T4" }\n')
    message = refused("ablate", path, "--datasets", "frappe", "--data-dir", tmp_path, *store)
    assert "'parity'" in message and "'frappe'" in message and "'tier'" in message
    assert not (tmp_path / "s").exists(), "nothing half-written"


def test_data_prepare_and_show(tmp_path):
    found = cli("data", "prepare", "planted", "--store", tmp_path, *TINY[:4])
    assert found.returncode == 0 and "1,000 / 200 / 300 rows" in found.stdout
    assert "positive" in cli("data", "show", "planted", "--store", tmp_path, *TINY[:4]).stdout


def test_bad_names_and_values(tmp_path):
    store = ("--store", tmp_path / "s")
    assert "did you mean 'autodim'" in refused("leaderboard", "--methods", "autodmi", *store)
    assert "did you mean 'k'" in refused("run", "ihas", "--set", "ihas.kk=3", *store)
    assert "ihas.k" in refused("run", "ihas", "--set", "ihas=3", *store)
    assert "protocol" in refused("run", "fixed", "--set", "protocol.dim=0", *store)
    assert "ratio" in refused("run", "random", "--ratio", "7", *store)
    assert "no_such.toml" in refused("leaderboard", "no_such.toml", *store)
    assert "no record" in refused("verify", "abc", *store)
    assert not (tmp_path / "s").exists(), "nothing half-written"


def test_bad_data(tmp_path):
    store = ("--store", tmp_path / "s")
    assert "train.csv" in refused(
        "leaderboard", "--datasets", "frappe", "--data-dir", tmp_path / "none", *store
    )
    header = "label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city\n"
    row = "1,0,10,20,30,40,50,60,70,80,90\n"
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text(header + row * 3)
    run = ("run", "fixed", "--dataset", "frappe", "--data-dir", tmp_path, *store)
    (tmp_path / "train.csv").write_text(header.replace("item", "thing") + row * 3)
    assert "thing" in refused(*run) or "item" in refused(*run)
    (tmp_path / "train.csv").write_text(header + row + "yes" + row[1:])
    message = refused(*run)
    assert "train.csv" in message and "yes" in message
    (tmp_path / "train.csv").write_text(header)
    assert "train.csv" in refused(*run)


def test_a_combination_that_makes_no_sense_says_which_do(tmp_path):
    message = refused("run", "random", "--store", tmp_path, *TINY, "protocol.alignment=concat")
    assert "concat" in message and "linear" in message


def test_broken_method_file(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import no_such_package\n")
    assert "no_such_package" in refused("run", f"{path}:Mine", "--store", tmp_path / "s")
    path.write_text("class Mine: pass\n")
    assert "Searcher" in refused("run", f"{path}:Mine", "--store", tmp_path / "s")
    assert "no class 'Other'" in refused("run", f"{path}:Other", "--store", tmp_path / "s")


def test_unwritable_store(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    assert "is a file" in refused("run", "fixed", "--store", path, *TINY)
    assert "cannot be written" in refused("run", "fixed", "--store", "/proc/nowhere", *TINY)
    if os.geteuid():
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o500)
        assert "cannot be written" in refused("run", "fixed", "--store", locked, *TINY)
