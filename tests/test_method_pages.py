"""The pages of the methods: complete, safe to write, and the ones in docs/ are those of the code."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from nasbench_rec import describe
from nasbench_rec.errors import ConfigError
from nasbench_rec.method_pages import INDEX, pages, write_pages

DOCS = Path(__file__).resolve().parent.parent / "docs" / "methods"


def own_methods() -> list[str]:
    found = entry_points(group="nasbench_rec.methods")
    return sorted(e.name for e in found if e.value.startswith("nasbench_rec."))


def test_the_pages_in_docs_are_those_of_the_code() -> None:
    wanted = pages(own_methods())
    found = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
    stale = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
    assert not stale, f"docs/methods: {stale} out of date; run: nasbench-rec methods --docs docs/methods"


@pytest.mark.parametrize("name", own_methods())
def test_a_page_says_all_that_the_method_says_of_itself(name: str) -> None:
    entry, text = describe.method(name), pages([name])[f"{name}.md"]
    assert entry["title"] in text and entry["about"].splitlines()[0] in text
    assert entry["paper"] in text and all(d in text for d in entry["deviations"])
    for setting in entry["settings"]:
        row = next(line for line in text.splitlines() if line.startswith(f"| `{setting['name']}` |"))
        assert setting["help"].replace("|", "\\|") in row and setting["source"].replace("|", "\\|") in row
        # A cell more or less would shift the row.
        assert row.replace("\\|", "").count("|") == 7
    assert all(f"- `{preset}`: " in text for preset in entry["presets"])


def test_the_index_links_every_page() -> None:
    wanted = pages(own_methods())
    assert all(f"]({name})" in wanted[INDEX] for name in wanted if name != INDEX)


def test_pages_of_methods_that_are_gone_are_removed_and_other_files_kept(tmp_path: Path) -> None:
    write_pages(tmp_path, ["fixed", "random"])
    (tmp_path / "mine.md").write_text("mine")
    write_pages(tmp_path, ["fixed"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [INDEX, "fixed.md", "mine.md"]


def test_a_file_that_is_no_page_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("mine")
    with pytest.raises(ConfigError, match=r"README\.md was not written by"):
        write_pages(tmp_path, ["fixed"])
    assert [p.name for p in tmp_path.iterdir()] == [INDEX] and (tmp_path / INDEX).read_text() == "mine"
