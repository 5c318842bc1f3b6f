"""The page, the table and the figure of a data set."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from nasbench_rec.reports.dataset import (
    draw_long_tail,
    fields_frame,
    long_tail_frame,
    print_dataset,
    splits_frame,
    write_dataset,
)
from rich.console import Console

from nasbench_rec.data import SPLITS, Dataset, Field, Split
from nasbench_rec.errors import SealedError

HOSTILE = "<script>|_$x^{2}\n" + "long" * 30


def toy() -> Dataset:
    """Two fields: `user` with known counts, `tags` with padding."""
    users = np.repeat(np.arange(5), [0, 50, 25, 20, 5])
    tags = np.column_stack([np.ones(100), np.r_[np.full(40, 2), np.zeros(60)]])
    ids = np.column_stack([users, tags]).astype(np.int32)
    labels = (np.arange(100) % 4 == 0).astype(np.float32)
    splits = {"train": Split(ids, labels), **{name: Split(ids[:20], labels[:20]) for name in SPLITS[1:]}}
    about = {"kind": "categorical", "values": 4, "rare_values": 3, "missing": 0.25, "unseen": {"test": 0.05}}
    origin = {
        "encoding": {"min_count": 5, "counted": "two"},
        "fields": {"user": about},
        "source": {"clicks.csv": "ab" * 32},
        "notes": [f"column {HOSTILE!r} tells nothing"],
    }
    return Dataset("toy", [Field("user", 5), Field("tags", 3, columns=2, padding=0)], splits, origin=origin)


def test_fields_say_how_long_their_tails_are() -> None:
    user, tags = fields_frame(toy()).to_dict("records")
    assert user["ids"] == 5 and user["counted"] == 6 and user["rare_values"] == 3
    assert user["top"] == 0.5, "50 of 100"
    assert user["half"] == 1, "one id makes up half of all"
    assert user["seldom"] == 2 / 5, "ids 0 and 4 occur in fewer than ten rows"
    assert user["missing"] == 0.25 and user["unseen_test"] == 0.05
    assert np.isnan(tags["values"]) and np.isnan(tags["counted"]), "nothing is made up"
    assert tags["top"] == 100 / 140 and tags["columns"] == 2


@pytest.mark.parametrize(("how", "size"), [("one", 5), ("two", 6), ("if-rare", 5)])
def test_sizes_are_counted_as_the_recipe_counts(how: str, size: int) -> None:
    data = toy()
    data.origin["encoding"]["counted"] = how
    assert fields_frame(data)["counted"][0] == size


def test_splits_have_rows_rates_and_fingerprints_of_their_own() -> None:
    frame = splits_frame(toy()).set_index("split")
    assert frame["rows"].tolist() == [100, 20, 20]
    assert frame["positive"].tolist() == [0.25, 0.25, 0.25]
    assert frame["fingerprint"]["valid"] != frame["fingerprint"]["train"]
    with pytest.raises(SealedError):
        splits_frame(toy().without_test())


def test_the_tail_is_counts_over_ranks() -> None:
    frame = long_tail_frame(toy())
    user = frame[frame["field"] == "user"]
    assert user[["rank", "count"]].to_numpy().tolist() == [[1, 50], [2, 25], [3, 20], [4, 5]]
    assert frame[frame["field"] == "tags"]["count"].tolist() == [100, 40], "padding does not count"


def test_a_page_of_hostile_names_is_safe_and_repeats(tmp_path: Path) -> None:
    data = toy()
    data.fields = (Field(HOSTILE, 5), data.fields[1])
    first = {path.name: path.read_bytes() for path in write_dataset(data, tmp_path / "a")}
    again = {path.name: path.read_bytes() for path in write_dataset(data, tmp_path / "b")}
    assert first == again
    assert set(first) == {
        "fields.csv",
        "splits.csv",
        "long-tail.csv",
        "long-tail.svg",
        "long-tail.pdf",
        "dataset.md",
    }
    ElementTree.fromstring(first["long-tail.svg"])
    assert b"<script>" not in first["dataset.md"]
    assert pd.read_csv(tmp_path / "a" / "fields.csv")["field"][0] == HOSTILE


@pytest.mark.parametrize("fields", [1, 4, 5, 6, 39])
def test_the_figure_has_a_panel_per_field(fields: int) -> None:
    frame = pd.DataFrame({"field": [f"f{i}" for i in range(fields)], "rank": 1, "count": 3})
    figure = draw_long_tail(frame)
    assert [a.get_title(loc="left") for a in figure.axes if a.get_visible()] == [
        f"f{i}" for i in range(fields)
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_table_fits_any_width(width: int) -> None:
    stream = io.StringIO()
    print_dataset(toy(), Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("user" in line for line in lines)
    assert ("Not shown at this width" in stream.getvalue()) == (width < 100)
