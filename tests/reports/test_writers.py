"""What the written files say, that they are inert, equal for equal records, and whole or absent."""

from __future__ import annotations

import csv
import io
import os
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from nasbench_rec.reports import leaderboard_frame, print_leaderboard, write_leaderboard
from rich.console import Console

from nasbench_rec.errors import DataError, StoreError

FILES = {f"leaderboard.{form}" for form in ("csv", "md", "tex", "html")} | {
    f"auc_over_bytes.{form}" for form in ("svg", "pdf")
}
HOSTILE = "<script>alert(1)</script>&_%#${x}\\end{table}|`[a](b)*\"'"
BROKEN = "\nValueError: </pre><img src=x onerror=alert(1)> & 100%_\\input{x}\n\x1b[31m  second line"


@pytest.fixture(scope="module")
def plain(tmp_path_factory, many_records):
    """Return records and the folder of their leaderboard."""
    records, out = many_records(3), tmp_path_factory.mktemp("plain") / "new" / "folder"
    assert {path.name for path in write_leaderboard(records, out, "Look")} == FILES
    return records, out


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, many_records, failing):
    """Return records with names and errors that try to break out, and the folder of their leaderboard."""
    records, out = many_records(3), tmp_path_factory.mktemp("hostile")
    records = records.replace({"label": {"autodim": HOSTILE}, "method": {"autodim": HOSTILE}})
    records["dataset"] = HOSTILE
    failing(records, records["label"] == "random @ 1/2", BROKEN)
    failing(records, (records["label"] == "mde @ 1/2") & (records["seed"] == 0), BROKEN)
    write_leaderboard(records, out, HOSTILE)
    return records, out


class Page(HTMLParser):
    """Collects tags, attributes and visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "link"):
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has a handler {name}"
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href"):
                self.links.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page(folder) -> Page:
    return Page((folder / "leaderboard.html").read_text("utf-8"))


def test_writes_all_forms_and_nothing_else(plain):
    assert {path.name for path in plain[1].iterdir()} == FILES


def test_equal_records_give_equal_bytes(plain, tmp_path):
    records, out = plain
    write_leaderboard(records.sample(frac=1, random_state=1), tmp_path, "Look")
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_csv_holds_the_frame(hostile):
    records, out = hostile
    frame = leaderboard_frame(records)
    found = pd.read_csv(out / "leaderboard.csv", keep_default_na=True)
    assert found["label"].tolist() == frame["label"].tolist()
    assert found["test_auc"].tolist() == pytest.approx(frame["test_auc"].tolist(), nan_ok=True, rel=1e-15)
    rows = list(csv.reader(io.StringIO((out / "leaderboard.csv").read_text("utf-8"))))
    assert {len(row) for row in rows} == {len(frame.columns)}


def test_markdown_shows_numbers_and_failures(plain):
    _, out = plain
    text = (out / "leaderboard.md").read_text("utf-8")
    assert "| autoemb @ 1/2 | failed (3/3) | RuntimeError: out of memory |" in text
    assert "- random @ 1/2: failed (1/3): FloatingPointError: loss is nan at step 40\n" in text
    assert "| fixed (uniform) | 3 |" in text
    assert re.search(
        r"\| mde @ 1/2 \| 3 \| \.\d{4} ±\.\d{4} \| -\.\d{4} \\\[-\.\d{4}, [+-]\.\d{4}\\\] t, 3 \|", text
    )
    assert text.count("| expected AUC |") == 1, "known on one backbone only"


def test_markdown_tables_keep_their_columns(hostile):
    records, out = hostile
    text = (out / "leaderboard.md").read_text("utf-8")
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert "<script" not in text
    assert "<img" not in text


def test_latex_keeps_its_columns_and_runs_nothing(hostile):
    records, out = hostile
    text = (out / "leaderboard.tex").read_text("utf-8")
    body = re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.DOTALL)
    assert len(body) == 2
    for line in "".join(body).splitlines():
        assert len(re.findall(r"(?<!\\)&", line)) == 7
    assert r"\input" not in text
    assert text.count(r"\end{table}") == text.count(r"\begin{table}") == 2
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.startswith("% In the preamble: ")
    assert r"\usepackage{booktabs}" in text


def test_page_is_whole_inert_and_asks_for_nothing(hostile):
    records, out = hostile
    found = page(out)
    assert found.open == []
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert len(found.ids) == len(set(found.ids))
    assert all(link.startswith(("#", "data:,")) for link in found.links)
    text = (out / "leaderboard.html").read_text("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_page_shows_failures_seeds_and_what_the_columns_mean(hostile):
    records, out = hostile
    found = page(out)
    text = "".join(found.text)
    assert HOSTILE in text
    assert text.count("failed (3/3): ValueError: </pre><img src=x onerror=alert(1)> & 100%_\\input{x}") == 2
    assert text.count("mde @ 1/2: failed (1/3): ValueError") == 2
    assert "second line" in text, "the whole error stands among the seeds"
    assert found.tags.count("details") == 16
    assert found.tags.count("svg") == 2
    one = records[(records["label"] == "magnitude @ 1/2") & (records["seed"] == 1)].iloc[0]
    assert f"{one['test_auc']:.6f}".lstrip("0") in text
    for word in (
        "paired",
        "index overhead",
        "alignment matrices",
        "routers",
        "one machine and one run",
        "n:",
    ):
        assert word in text


def test_figure_in_the_page_takes_the_colours_of_the_page(plain):
    _, out = plain
    svg = re.search(r"<svg.*?</svg>", (out / "leaderboard.html").read_text("utf-8"), re.DOTALL)
    assert svg
    assert "var(--ink)" in svg[0]
    assert "#1f2328" not in svg[0]
    assert "#ffffff" not in svg[0]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200])
def test_terminal_fits_and_keeps_the_essentials(hostile, width):
    file = io.StringIO()
    print_leaderboard(leaderboard_frame(hostile[0]), Console(file=file, width=width), "[red]Look[/nope]")
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "[red]Look[/nope]" in text
    if width >= 60:
        assert "<script>alert(1)</script>" in text
        assert ".8043 ±" in text
        assert "failed (3/3)" in text


@pytest.mark.parametrize(
    ("width", "present", "absent"),
    [
        (60, "test AUC", "AUC − uniform  "),
        (100, "AUC − uniform", "retrain \n"),
        (240, "logloss − uniform", "Not shown"),
    ],
)
def test_terminal_takes_the_columns_that_fit(records, width, present, absent):
    file = io.StringIO()
    print_leaderboard(leaderboard_frame(records), Console(file=file, width=width))
    assert present in file.getvalue()
    assert absent not in file.getvalue()


def test_a_folder_that_cannot_be_made_is_said(records, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*cannot be written .*choose a folder"):
        write_leaderboard(records, tmp_path / "file", "Look")


def test_a_failed_write_leaves_the_old_file_and_no_draft(records, tmp_path, monkeypatch):
    (tmp_path / "leaderboard.csv").write_text("old")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StoreError, match=r"leaderboard\.csv: cannot be written \(Permission denied\)"):
        write_leaderboard(records, tmp_path, "Look")
    assert [path.name for path in tmp_path.iterdir()] == ["leaderboard.csv"]
    assert (tmp_path / "leaderboard.csv").read_text() == "old"


def test_nothing_is_written_for_records_that_are_not_fit(records, tmp_path):
    with pytest.raises(DataError):
        write_leaderboard(records.iloc[:0], tmp_path / "out", "Look")
    assert not (tmp_path / "out").exists()


def test_a_board_on_which_all_failed_is_written(records, failing, tmp_path):
    failing(records, records["seed"] >= 0, "OSError: disk full")
    write_leaderboard(records, tmp_path, "Look")
    assert "".join(page(tmp_path).text).count("failed (3/3): OSError: disk full") == 16
    print_leaderboard(leaderboard_frame(records), Console(file=io.StringIO(), width=80))


def test_one_pair_has_a_difference_but_no_interval(many_records):
    file = io.StringIO()
    print_leaderboard(leaderboard_frame(many_records(1)), Console(file=file, width=120))
    assert re.search(r"magnitude @ 1/2 +1 +\.\d{4} +\+\.\d{4} 1 pair ", file.getvalue())


def test_settings_of_a_backbone_are_not_cut_off(records):
    records["backbone"] += " (" + ", ".join(f"setting{i}=1" for i in range(20)) + ")"
    file = io.StringIO()
    print_leaderboard(leaderboard_frame(records), Console(file=file, width=120))
    assert "setting19=1)" in file.getvalue()
