"""The page of an ablation: what a store keeps of it, what its numbers lead to, and what cannot be read."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nasbench_rec.reports._ablation_columns import BAR_COLUMNS, columns
from nasbench_rec.reports._ablation_plan import PlanBar, plan_file, read_plan, stored_plans
from nasbench_rec.reports._ablation_rows import AblationRow, BarRow
from nasbench_rec.reports._site_ablations import BAR_VALUES, VALUES, ablation_path
from nasbench_rec.reports._site_names import records_page, slug
from nasbench_rec.reports.ablation import ablation_frame, write_ablation
from nasbench_rec.reports.site import SiteContent, site_files

from nasbench_rec.errors import StoreError

BINS = [0.5, 0.1, 0.1, 0.3]
VARIANTS = {"default": 0.80, "wide": 0.83, "narrow": 0.79, "lost": None}
FACTORS = {"wide": "2", "narrow": "0.5"}
PATH = ablation_path("widths")


@dataclass(frozen=True)
class Bar:
    name: str
    variant: str
    value: str
    versus: str = ""
    at_least: float | None = None
    at_most: float | None = None
    hold_in: int = 0


BARS = [
    Bar("wide is better", "wide", "scores.test_auc", "default", at_least=0.01, hold_in=3),
    Bar("wide or narrow is best", "best", "scores.test_auc", at_least=0.9),
]


def record(variant: str, seed: int, auc: float | None, **changes: Any) -> dict[str, Any]:
    """Return a record as a store has it, with diagnostics that a figure needs."""
    unit = {
        "data": {"name": "planted", "source": "", "config": {}},
        "method": {"spec": "fixed", "preset": "", "config": {"factor": variant}},
        "protocol": {"dim": 16, "epochs": 2},
        "seeds": {"init": seed, "split": 0, "search": seed, "order": seed},
        "ratio": None,
    }
    found = {
        **{"key": f"{variant}{seed}", "status": "failed" if auc is None else "ok", "error": None},
        **{"started": f"2026-01-01T00:00:{seed:02d}Z", "unit": unit, "method": "fixed", "dataset": "planted"},
        **{"backbone": "deepfm", "label": f"fixed ({variant})", "fingerprint": "abc"},
    }
    if auc is None:
        return {**found, "error": "ValueError: too narrow", **changes}
    found["scores"] = {"test_auc": auc, "test_logloss": 0.5, "valid_auc": auc, "valid_logloss": 0.5}
    found["ledger"] = {
        "embedding_bytes": 1000.0,
        "embedding_ratio": 1.0,
        "total_bytes": 2000.0,
        "router_bytes": 0,
    }
    found["diagnostics"] = {"derive": {"probability_histogram": {"train": BINS, "search": BINS}, "cut": 0.5}}
    health = [{"signature": "static-masks", "evidence": "Hamming .01", "advice": "lower the penalty"}]
    return {**found, "search_seconds": 1.0, "health": health if variant == "narrow" else [], **changes}


def records() -> list[dict[str, Any]]:
    """Four variants, three seeds; of `narrow` the last unit was not run, and all of `lost` failed."""
    found = [
        record(variant, seed, None if auc is None else auc + 0.001 * seed)
        for variant, auc in VARIANTS.items()
        for seed in range(3)
    ]
    return [r for r in found if r["key"] != "narrow2"]


def plan() -> pd.DataFrame:
    rows = [
        {
            **{"variant": v, "factor": "factor" if v in FACTORS else "", "value": FACTORS.get(v, "")},
            **{"best_of": "best" if v in FACTORS else "", "dataset": "planted", "backbone": "deepfm"},
            **{"seed": seed, "split_seed": 0, "key": f"{v}{seed}"},
        }
        for v in VARIANTS
        for seed in range(3)
    ]
    return pd.DataFrame(rows)


def report(folder: Path, **changes: Any) -> Path:
    """Write the ablation `widths` as the command does, below `folder`."""
    known = {r["key"]: r for r in records()}
    words = {"title": "Widths", "question": "Which width?", "reference": "wide", "bars": BARS}
    words |= {"figures": ["factor", "histogram", "centroids"]}
    write_ablation(plan(), known, name="widths", out=folder / "widths", **(words | changes))
    return folder / "widths" / "widths.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("ablations")
    report(folder)
    return site_files(SiteContent(records(), ablations=folder))


def table(page: bytes, name: str) -> pd.DataFrame:
    """Return a table of a page, a cell being its text and where it leads."""
    text = page.decode().split(f'<div class="board" id="{name}">')[1].split("</table>")[0]
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", text)
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in text.split("<tbody>")[1].split("</tr>")[:-1]
    ]
    return pd.DataFrame([dict(zip(heads, map(cell, row), strict=True)) for row in rows])


def cell(html: str) -> tuple[str, str]:
    leads = re.search(r'href="([^"]*)"', html)
    return " ".join(unescape(re.sub("<[^>]*>", " ", html)).split()), leads[1] if leads else ""


def data(page: bytes, name: str) -> dict[str, Any]:
    """Return the values that a table is sorted by."""
    text = page.decode().split(f'<div class="board" id="{name}">')[1]
    found = re.search(r'<script type="application/json">(.*?)</script>', text)
    assert found is not None
    return json.loads(found[1])


def test_a_plan_comes_back_as_it_was_written(tmp_path: Path) -> None:
    found = read_plan(report(tmp_path))
    assert (found.title, found.reference, found.figures) == (
        "Widths",
        "wide",
        ("factor", "histogram", "centroids"),
    )
    assert [b.name for b in found.bars] == [b.name for b in BARS] and found.bars[0].hold_in == 3
    known = {r["key"]: r for r in records()}
    pd.testing.assert_frame_equal(
        ablation_frame(found.frame, known, "wide"), ablation_frame(plan(), known, "wide")
    )
    assert plan_file(found) == (tmp_path / "widths" / "widths.json").read_bytes()


def test_the_first_page_and_the_head_of_each_lead_to_it(files: dict[str, bytes]) -> None:
    first = files["index.html"].decode()
    assert f'<a href="{PATH}">Widths</a>' in first and '<a href="index.html#ablations"' in first
    assert "4 variants, 12 units: 8 succeeded, 3 failed, 1 not run. 1 of 2 bars met." in first
    assert '<a href="../index.html#ablations" aria-current="true">Ablations</a>' in files[PATH].decode()


def test_variants_are_those_of_the_printed_table(files: dict[str, bytes]) -> None:
    found, known = table(files[PATH], "variants-1"), {r["key"]: r for r in records()}
    frame = ablation_frame(plan(), known, "wide")
    assert [text for text, _ in found["variant"]] == [
        "default",
        "wide",
        "narrow",
        "best (best by validation)",
        "lost",
    ]
    assert [text for text, _ in found["test AUC"]][:2] == [".8010 ±.0010", ".8310 ±.0010"]
    assert (
        found["AUC − default"][1][0] == "+.0300 equal, 3" and found["AUC − wide"][0][0] == "−.0300 equal, 3"
    )
    assert found["seeds"][2][0] == "2 (1 not run)"
    values, heads = data(files[PATH], "variants-1"), list(found.columns)
    column = heads.index("test AUC")
    assert [row[column] for row in values["rows"]] == [None if v != v else v for v in frame["test_auc"]]
    assert (
        values["columns"][column]["descending"]
        and not values["columns"][heads.index("embedding")]["descending"]
    )


def test_a_number_leads_to_the_units_it_is_made_from_and_these_to_their_records(
    files: dict[str, bytes],
) -> None:
    page = files[PATH]
    variants, units = table(page, "variants-1"), table(page, "units")
    rows = re.findall(r'<tr id="(unit-\d+)"', page.decode())
    assert len(rows) == len(units) == 15, "twelve planned, and the three that were chosen"
    for (name, _), (_, href) in zip(variants["variant"], variants["test AUC"], strict=True):
        lead = href or variants["seeds"][[n for n, _ in variants["variant"]].index(name)][1]
        assert units["variant"][rows.index(lead.removeprefix("#"))][0] == name
    assert units["test AUC"][3] == (
        ".830000",
        f"../{records_page('planted', 'deepfm', 'fixed (wide)')}#r-wide0",
    )
    chosen = units[[name == "best (best by validation)" for name, _ in units["variant"]]]
    assert [href.rpartition("#")[2] for _, href in chosen["seed"]] == ["r-wide0", "r-wide1", "r-wide2"]
    assert [text for text, _ in units["trouble"]].count("not run") == 1
    assert units["trouble"][12] == (
        "ValueError: too narrow",
        f"../{records_page('planted', 'deepfm', 'fixed (lost)')}#r-lost0",
    )


def test_a_record_that_another_took_the_place_of_is_shown_without_a_link(tmp_path: Path) -> None:
    report(tmp_path)
    newer = [
        record("wide", seed, 0.9, key=f"newer{seed}", started="2026-02-01T00:00:00Z") for seed in range(3)
    ]
    page = site_files(SiteContent([*records(), *newer], ablations=tmp_path))[PATH]
    assert table(page, "units")["test AUC"][3] == (".830000", "")


def test_bars_say_whether_they_are_met(files: dict[str, bytes]) -> None:
    found = table(files[PATH], "bars-1")
    assert [text for text, _ in found["met"]] == ["yes", "NO"]
    assert found["mean"][0][0] == ".0300" and found["mean"][0][1] == "#unit-4"
    each = pd.read_csv(io.BytesIO(files[f"ablations/{slug('widths')}-bars.csv"]))
    assert len(each) == 6 and each["values"][:3].tolist() == pytest.approx([0.03] * 3)


def test_what_went_wrong_is_told(files: dict[str, bytes]) -> None:
    text = unescape(re.sub("<[^>]*>", "", files[PATH].decode()))
    assert "What is missing" in text and "lost failed (3/3): ValueError: too narrow" in text
    assert "static-masks (2 of 2 seeds: 0, 1): Hamming .01 (seed 0). To try: lower the penalty." in text


def test_figures_are_drawn_from_diagnostics_with_their_numbers(files: dict[str, bytes]) -> None:
    stem = f"ablations/{slug('widths')}"
    for name in ("factor", "histogram"):
        assert files[f"{stem}-{name}.svg"].startswith(b"<?xml") and files[f"{stem}-{name}.csv"]
    assert "share" in files[f"{stem}-histogram.csv"].decode().splitlines()[0]
    assert b"Not drawn, as no record has what it needs: centroids." in files[PATH]
    assert f"{stem}-centroids.svg" not in files


def test_every_printed_column_has_a_value_to_sort_by() -> None:
    other = [column.head for column in columns("reference") if column.head not in VALUES]
    assert other == ["AUC − reference"]
    assert set(VALUES.values()) <= set(AblationRow.__dataclass_fields__)
    assert set(BAR_VALUES) <= {column.head for column in BAR_COLUMNS}
    assert set(BAR_VALUES.values()) <= set(BarRow.__dataclass_fields__)


def test_only_what_ablations_need_is_kept_in_memory_in_full() -> None:
    from nasbench_rec.reports._site_records import site_records

    found = site_records(records(), "x", {"wide0"})
    assert list(found.whole) == ["wide0"] and "diagnostics" in found.whole["wide0"]
    assert not any("diagnostics" in r for r in found.full)


def test_a_plan_that_cannot_be_read_is_told_and_the_rest_is_written(tmp_path: Path) -> None:
    good = report(tmp_path)
    known = json.loads(good.read_text())
    broken = {
        "half": good.read_text()[:40],
        "list": "[]",
        "lacks": json.dumps({k: v for k, v in known.items() if k != "units"}),
        "figure": json.dumps(known | {"figures": ["factr"]}),
        "empty": json.dumps(known | {"units": []}),
        "surrogate": json.dumps(known | {"title": "\ud800"}),
        "seed": json.dumps(known | {"units": [{**known["units"][0], "seed": "first"}]}),
    }
    for name, text in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(text)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "old.csv").write_text("variant\n")
    (tmp_path / "[x]").mkdir()
    (tmp_path / "file.json").write_text("{}")
    files = site_files(SiteContent(records(), ablations=tmp_path))
    cards = files["index.html"].decode().split('<section id="ablations"')[1].split("</section>")[0]
    assert cards.count('class="bad"') == len(broken) + 1 and cards.count("<a href") == 1
    assert "did you mean" in cards and str(tmp_path) not in cards
    assert "a version that did not keep its plan" in unescape(cards)
    assert [path for path in files if path.startswith("ablations/") and path.endswith(".html")] == [PATH]


def test_an_unreadable_plan_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"^widths.json: cannot be read \(No such file or directory\)\.$"):
        read_plan(tmp_path / "widths.json")
    assert stored_plans(tmp_path / "nowhere") == []


def test_an_ablation_without_bars_or_figures_has_no_such_parts(tmp_path: Path) -> None:
    report(tmp_path, bars=[], figures=[], reference="")
    files = site_files(SiteContent(records(), ablations=tmp_path))
    page = files[PATH]
    assert b"<h2>Bars</h2>" not in page and b"<h2>Figures</h2>" not in page and b"Not drawn" not in page
    assert "AUC − wide" not in table(page, "variants-1").columns
    assert not [path for path in files if path.endswith("bars.csv")]


def test_a_bar_of_a_variant_that_the_plan_lacks_leads_nowhere(tmp_path: Path) -> None:
    path = report(tmp_path)
    found = read_plan(path)
    path.write_bytes(
        plan_file(replace(found, bars=(PlanBar("odd", "gone", "scores.test_auc", at_least=0.0),)))
    )
    page = site_files(SiteContent(records(), ablations=tmp_path))[PATH]
    assert table(page, "bars-1")["holds in"][0] == ("0 of 0", "")
