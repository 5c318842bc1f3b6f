"""The page, tables and CSV of a claim set, from nothing but the content of `verdicts.json`."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports.claims import (
    claims_frame,
    comparisons_frame,
    draw_effects,
    effects_caption,
    effects_frame,
    print_claims,
    read_verdicts,
    seeds_frame,
    write_claims,
)
from rich.console import Console

from nasbench_rec.errors import DataError

HOSTILE = "<script>alert('|`*_[x](http://e)')</script>\n| b | \u202e$x$"


def comparison(
    claim: str = "c", outcome: str = "supported", seeds: int = 6, **changes: Any
) -> dict[str, Any]:
    rng = np.random.default_rng(seeds)
    points = [
        {
            "split_seed": 0,
            "seed": s,
            "method": 0.8 + d,
            "other": 0.8,
            "difference": d,
            "keys": [f"m{s}", f"o{s}"],
        }
        for s, d in enumerate(rng.normal(0.01, 0.001, seeds).tolist())
    ]
    known: dict[str, Any] = {"claim": claim, "dataset": "planted", "backbone": "deepfm", "ratio": None}
    known |= {
        "against": "uniform",
        "scope": "other data",
        "outcome": outcome,
        "reason": "the interval says so",
    }
    known |= {"mean": 0.01, "low": 0.008, "high": 0.012, "interval": "sign-flip", "level": 0.95, "p": 0.03125}
    known |= {"p_corrected": 0.0625, "p_smallest": 0.04, "p_smallest_corrected": 0.08, "family": claim}
    known |= {"family_size": 2, "n": seeds, "planned": 8, "failed": 1, "absent": 1, "silent": 0}
    known |= {
        "minimum_detectable": 0.002,
        "claimed_within": True,
        "seeds_needed": None,
        "seeds_if_claimed": None,
    }
    known |= {"points": points, "controls": []}
    return {**known, **changes}


def verdict(outcome: str = "supported", *comparisons: dict[str, Any], **changes: Any) -> dict[str, Any]:
    claim = {
        "id": "c",
        "part": "claim",
        "kind": "difference",
        "sentence": "It is better.",
        "source": "table 1",
    }
    claim |= {"reading": "Read so.", "claimed": 0.0104}
    claim |= {"interest": 0.001, "direction": "higher", "metric": "auc"}
    known: dict[str, Any] = {"outcome": outcome, "reason": "as the interval says", "scope": "other data"}
    known |= {
        "explained_by": [],
        "unchecked": [],
        "seeds_needed": None,
        "measured": "auc of a: higher than of b",
    }
    known |= {"seeds_asked": 8, "seeds_written": 8, "claim": claim | changes.pop("claim", {})}
    return {**known, "comparisons": list(comparisons or [comparison(outcome=outcome)]), **changes}


def found(*verdicts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": "mine",
        "title": "Tested",
        "paper": "A paper",
        "source": "arXiv",
        "alpha": 0.05,
    }
    known |= {"sha256": "ab" * 32, "frozen": "2026-01-01T00:00:00Z", "units": 20, "recorded": 18, "failed": 1}
    known |= {"before_freezing": 0, "checks": [{"time": "t", "seeds": 8, "recorded": 18, "units": 20}]}
    return json.loads(json.dumps({**known, "verdicts": list(verdicts or [verdict()]), **changes}))


def page(content: dict[str, Any], folder: Path) -> str:
    return next(p for p in write_claims(content, folder) if p.suffix == ".md").read_text(encoding="utf-8")


def printed(content: dict[str, Any], width: int = 200) -> str:
    stream = io.StringIO()
    print_claims(content, Console(file=stream, width=width))
    return stream.getvalue()


def test_frames_have_a_row_per_claim_comparison_and_pair() -> None:
    content = found(verdict("supported", comparison(), comparison(seeds=4)), verdict("refuted"))
    claims, comparisons, seeds = claims_frame(content), comparisons_frame(content), seeds_frame(content)
    assert (len(claims), len(comparisons), len(seeds)) == (2, 3, 16)
    assert claims["seeds"].tolist() == [4, 6] and claims["outcome"].tolist() == ["supported", "refuted"]
    assert math.isnan(comparisons["ratio"][0]) and comparisons["claimed_within"][0] == "yes"
    assert comparisons["method_mean"][0] == pytest.approx(seeds["method"][:6].mean())
    assert seeds["keys"][0] == "m0 o0"


def test_equal_content_gives_equal_bytes_and_the_csv_has_all_numbers(tmp_path: Path) -> None:
    paths = write_claims(found(), tmp_path)
    before = [p.read_bytes() for p in paths]
    names = ["mine.md", "mine.csv", "mine-seeds.csv", "mine.svg", "mine.pdf", "mine-effects.csv"]
    assert [p.name for p in paths] == names
    assert [p.read_bytes() for p in write_claims(found(), tmp_path)] == before
    assert pd.read_csv(tmp_path / "mine.csv")["p_corrected"].tolist() == [0.0625]
    assert len(pd.read_csv(tmp_path / "mine-seeds.csv")) == 6


def test_the_page_says_what_a_verdict_rests_on(tmp_path: Path) -> None:
    text = page(found(), tmp_path)
    for part in (
        "> It is better.",
        "table 1",
        "Read so.",
        "**supported** (scope: other data)",
        ".0312",
        ".0625",
    ):
        assert part in text, part
    assert (
        "6 of 8 (1 units failed, 1 not run)" in text
        and "per seed, planted, deepfm, against uniform: 0: " in text
    )
    assert "SHA-256 abab" in text and "1 failed and count as missing" in text


def test_a_control_is_part_of_the_verdict(tmp_path: Path) -> None:
    control = {
        "name": "random",
        "state": "does as well",
        "mean": 0.0001,
        "low": -0.001,
        "high": 0.001,
        "n": 8,
    }
    explained = verdict("supported", comparison(controls=[control]), comparison(controls=[control]))
    explained |= {"explained_by": ["random"], "unchecked": ["ensemble"]}
    text = page(found(explained), tmp_path)
    assert "supported, but explained by a control: random; controls not run: ensemble" in text
    assert text.count("random **does as well**") == 1 and "1 of the supported explained by a control" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds_needed": 14}, "14 seeds would decide"),
        ({"comparisons": [comparison(seeds=0)]}, "(not run)"),
        ({"comparisons": [comparison(seeds=0, silent=3)]}, "no record has the number"),
        ({}, "not known, or too many"),
    ],
)
def test_what_is_inconclusive_says_what_would_decide(changes: dict[str, Any], said: str) -> None:
    assert said in claims_frame(found(verdict("inconclusive") | changes))["said"][0]


def test_what_a_reader_must_know_of_the_order_of_things(tmp_path: Path) -> None:
    checks = [{"time": t, "seeds": n, "recorded": n, "units": 20} for t, n in (("t1", 3), ("t2", 18))]
    text = page(found(verdict(seeds_asked=3), before_freezing=5, checks=checks), tmp_path)
    assert "5 of these records are older than the frozen claims" in text and "Checked 2 times (t1: 3" in text
    assert "With 3 seeds instead of the 8 that the claim asks for: a look." in text
    later = page(found(verdict(seeds_asked=12)), tmp_path)
    assert "extended after the claims were frozen" in later


def test_noise_of_test_rows_is_said_where_it_is_known(tmp_path: Path) -> None:
    names = (
        "difference",
        "row_se",
        "seed_se",
        "total_se",
        "row_low",
        "row_high",
        "row_p",
        "seeds",
        "rows",
        "level",
    )
    rows = dict(
        zip(names, (0.01, 0.0021, 0.0004, 0.0022, -0.0001, 0.0201, 0.06, 6, 28_860, 0.95), strict=True)
    )
    content = found(verdict("supported", comparison(rows=rows), comparison()))
    text = page(content, tmp_path)
    assert text.count("- test rows, ") == 1
    assert ".0021 from other rows (DeLong, 28,860 rows), .00040 from other seeds, .0022 from both" in text
    assert "interval over rows alone [-.00010, +.0201]" in text
    csv = pd.read_csv(tmp_path / "mine.csv")
    assert csv["row_se"].tolist()[0] == 0.0021 and math.isnan(csv["row_se"][1])


def test_what_cannot_be_tested_says_why(tmp_path: Path) -> None:
    lost = comparison(outcome="not testable here", reason="no files", seeds=0, low=None, high=None, mean=None)
    text = page(found(verdict("not testable here", lost, lost, scope="")), tmp_path)
    assert text.count("planted: not testable here: no files") == 1 and "0 of 8" not in text


def test_foreign_text_does_no_harm(tmp_path: Path) -> None:
    names = {"id": HOSTILE, "sentence": HOSTILE, "source": HOSTILE, "reading": HOSTILE}
    control = {"name": HOSTILE, "state": "does worse", "mean": None, "low": None, "high": None, "n": 0}
    hostile = comparison(against=HOSTILE, dataset=HOSTILE, reason=HOSTILE, controls=[control])
    content = found(verdict("supported", hostile, claim=names, reason=HOSTILE), title=HOSTILE, paper=HOSTILE)
    text = page(content, tmp_path)
    assert "<script" not in text and "\u202e" not in text and not re.search(r"(?<!\\)\]\(http", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    widths = [line.replace("\\|", "").count("|") for line in rows]
    assert widths == [widths[0]] * 3 + [widths[3]] * 3
    assert "supported" in printed(content)


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_terminal_has_every_verdict_at_any_width(width: int) -> None:
    content = found(verdict("supported"), verdict("refuted"), verdict("inconclusive"))
    text = printed(content, width)
    assert all(word in text for word in ("supported", "refuted", "inconclusive", "3 claims"))
    assert max(map(len, text.splitlines())) <= width


def test_effects_are_on_the_claimed_side_in_units_of_the_smallest_of_interest(tmp_path: Path) -> None:
    lower = {"direction": "lower", "interest": 0.05, "metric": "logloss", "claimed": None}
    content = found(
        verdict("supported", comparison(), explained_by=["random"]),
        verdict("refuted", comparison(outcome="refuted", mean=0.1, low=0.05, high=0.2), claim=lower),
        verdict("supported", claim={"kind": "value"}),
        verdict("inconclusive", comparison(outcome="inconclusive", seeds=2, low=None, high=None)),
    )
    frame = effects_frame(content)
    gain, loss = frame.to_dict("records")
    assert [gain[n] for n in ("effect", "low", "high", "claimed")] == pytest.approx([10, 8, 12, 10.4])
    assert gain["outcome"] == "supported, explained by a control"
    assert [loss[n] for n in ("effect", "low", "high")] == pytest.approx([-2, -4, -1])
    assert loss["outcome"] == "refuted" and math.isnan(loss["claimed"])
    assert "auc: .0010; logloss: .0500" in effects_caption(frame)
    shown = [text.get_text() for text in draw_effects(frame).axes[0].get_yticklabels()]
    assert shown == ["c", ""]  # both are named "c": one name for its lines
    without = found(verdict("supported", claim={"kind": "value"}), name="my set")
    assert [p.suffix for p in write_claims(without, tmp_path)] == [".md", ".csv", ".csv"]
    assert "![Effects](my%20set.svg)" in page({**content, "name": "my set"}, tmp_path)


def test_what_is_no_verdicts_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.json"
    for text in ("{", "[]", '{"name": "x"}'):
        path.write_text(text)
        with pytest.raises(DataError, match="claims check"):
            read_verdicts(path)
    path.write_text(json.dumps(found()))
    assert read_verdicts(path)["name"] == "mine"
