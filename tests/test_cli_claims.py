"""The verb `claims`: list, show, check; what is refused, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasbench_rec.cli import main

CLAIMS = """
title = "Tiny"
paper = "none"
source = "here"
seeds = [0, 1]
[settings.planted]
train = 600
valid = 200
test = 200
[settings.protocol]
epochs = 1
[[claims]]
id = "c"
sentence = "The base rate is better."
source = "nowhere"
method = "constant"
comparators = ["fixed"]
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]):
    """Run a command; return its exit code and what it printed."""

    def run(*arguments: object) -> tuple[object, str]:
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        return left.value.code, "".join(capsys.readouterr())

    return run


def test_list_and_show(cli) -> None:
    code, text = cli("claims", "list", "--json")
    assert code == 0 and {"ihas", "field"} <= {entry["name"] for entry in json.loads(text)}
    code, text = cli("claims", "show", "ihas")
    assert code == 0 and "avazu-auc" in text and "measured: " in text and "SHA-256" in text
    code, text = cli("claims", "show", "ihas", "--json")
    assert json.loads(text)["claims"]["avazu-auc"]["claimed"] == 0.0038
    code, text = cli("claims", "show", "ihaz")
    assert code == 2 and "did you mean 'ihas'" in text


def test_check_freezes_runs_and_reports_and_a_changed_claim_is_refused(cli, tmp_path: Path) -> None:
    path, store = tmp_path / "tiny.toml", tmp_path / "store"
    path.write_text(CLAIMS)
    code, text = cli("claims", "check", path, "--store", store)
    assert code == 0 and "not run" in text and not (store / "records").exists()
    code, text = cli("claims", "check", path, "--store", store, "--run")
    assert code == 0 and "4 of 4 units have records" in text and "inconclusive" in text
    names = {p.name for p in (store / "claims" / "tiny").iterdir()}
    assert names == {"claims.json", "checks.json", "verdicts.json", "tiny.md", "tiny.csv", "tiny-seeds.csv"}
    path.write_text(CLAIMS.replace("is better", "is much better"))
    code, text = cli("claims", "check", path, "--store", store)
    assert code == 2 and "claim 'c' changed in sentence" in text and "new name" in text
    path.write_text("# A comment changes nothing.\n" + CLAIMS)
    out = tmp_path / "elsewhere"
    assert cli("claims", "check", path, "--store", store, "--out", out)[0] == 0
    assert (out / "tiny.md").read_bytes() == (store / "claims" / "tiny" / "tiny.md").read_bytes()


def test_what_makes_no_sense_is_refused(cli, tmp_path: Path) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(CLAIMS)
    assert cli("claims", "check", path, "--store", tmp_path / "s", "--seeds", "0")[0] == 2
    code, text = cli("claims", "check", path, "--store", tmp_path / "s", "--datasets", "frappe")
    assert code == 2 and "planted" in text
