"""The encoder: what it makes of batches, wherever they come from and however they are cut."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from nasbench_rec.datasets import _encode
from nasbench_rec.datasets._batches import Batch, ahead, complete
from nasbench_rec.datasets._encode import Recipe, encode, read_labels
from nasbench_rec.datasets._spec import Column, Encoding, Label, SplitRule

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import DataError

COLUMNS = (Column("user"), Column("age", "numeric"), Column("tags", "multi"))
RECIPE = Recipe("made", COLUMNS, source="s", files={"a.csv": "00"})


def frame(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "label": rng.integers(0, 2, rows),
            "user": [None if u == 0 else f"u{u}" for u in rng.integers(0, 30, rows)],
            "age": rng.integers(-3, 90, rows),
            "tags": [[f"t{t}" for t in rng.integers(0, 9, n)] for n in rng.integers(0, 4, rows)],
        }
    )


def cut(whole: pl.DataFrame, size: int) -> Iterator[Batch]:
    for start in range(0, len(whole), size):
        yield Batch(whole[start : start + size], "s", start + 1, "row")


def made(folder: Path, batches: Iterator[Batch], recipe: Recipe = RECIPE) -> Dataset:
    folder.mkdir(parents=True)
    encode(recipe, batches, folder)
    data = Dataset.load(folder)
    data.verify()
    return data


@pytest.mark.parametrize("numeric", ["log-squared", "quantile"])
@pytest.mark.parametrize("learn", ["train", "all"])
def test_content_does_not_depend_on_the_batches(numeric: str, learn: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, encoding=Encoding(numeric=numeric, learn=learn, min_count=2))
    found = [made(tmp_path / str(n), cut(frame(), n), recipe) for n in (300, 7, 64)]
    assert len({data.fingerprint for data in found}) == 1
    assert len({str(data.origin) for data in found}) == 1


def test_content_does_not_depend_on_the_number_of_threads_nor_on_the_run(tmp_path: Path) -> None:
    whole = frame(20_000)
    assert len({made(tmp_path / str(n), cut(whole, 4000)).fingerprint for n in range(3)}) == 1


def test_manifest_tells_what_was_done(tmp_path: Path) -> None:
    whole = frame()
    data = made(tmp_path / "d", cut(whole, 50), replace(RECIPE, split=SplitRule("order")))
    origin = data.origin
    assert origin["source"] == {"a.csv": "00"}
    assert origin["rows"] == {"train": 240, "valid": 30, "test": 30}
    labels = whole["label"].to_numpy()
    assert origin["positive"]["train"] == pytest.approx(labels[:240].mean())
    about = origin["fields"]
    assert list(about) == ["user", "age", "tags"]
    assert about["user"]["missing"] == pytest.approx(whole["user"].null_count() / 300)
    assert about["tags"]["missing"] == pytest.approx((whole["tags"].list.len() == 0).mean())
    assert about["user"]["values"] == len(data.vocabulary("user")) - 1
    assert about["tags"]["values"] == len(data.vocabulary("tags")) - 2
    unseen = data.split("test").ids[:, 0] == 0
    assert about["user"]["unseen"]["test"] == pytest.approx(unseen.mean())
    assert about["user"]["unseen"]["train"] == 0
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == sorted(
        [f"{s}.{part}.npy" for s in SPLITS for part in ("ids", "labels")]
        + ["manifest.json", "vocabularies.parquet"]
    )


def test_progress_comes_to_its_end(tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    (tmp_path / "d").mkdir()
    encode(
        RECIPE,
        cut(frame(), 50),
        tmp_path / "d",
        lambda step, done, total: told.setdefault(step, []).append((done, total)),
    )
    assert list(told) == ["learning vocabularies", "writing"]
    for steps in told.values():
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1]


def test_blocks_of_ids_may_be_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(tmp_path / "a", cut(frame(), 50))
    monkeypatch.setattr(_encode, "WRITE_ROWS", 11)
    assert made(tmp_path / "b", cut(frame(), 50)).fingerprint == whole.fingerprint


def test_only_fields_of_several_values(tmp_path: Path) -> None:
    data = made(tmp_path / "d", cut(frame(), 50), replace(RECIPE, columns=(Column("tags", "multi"),)))
    assert [f.name for f in data.fields] == ["tags"]


def test_no_batches(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="s has no rows; "):
        made(tmp_path / "d", iter([]))
    assert list((tmp_path / "d").iterdir()) == []


def test_batches_without_rows_do_no_harm(tmp_path: Path) -> None:
    whole = frame()
    with_empty = (batch for part in cut(whole, 50) for batch in (part.with_frame(part.frame[:0]), part))
    assert made(tmp_path / "a", with_empty).fingerprint == made(tmp_path / "b", cut(whole, 50)).fingerprint


def test_a_name_that_is_a_pattern(tmp_path: Path) -> None:
    whole = frame().rename({"user": "^u.*$"})
    with pytest.raises(
        DataError, match=r"s, column '\^u\.\*\$': a name between \^ and \$ is a pattern here; rename it"
    ):
        made(tmp_path / "d", cut(whole, 50), replace(RECIPE, columns=(Column("^u.*$"),)))
    assert list((tmp_path / "d").iterdir()) == []
    made(tmp_path / "e", cut(whole, 50), replace(RECIPE, columns=COLUMNS[1:]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"user": [["a"], ["b"]] * 150},
            r"s, column 'user': its cells hold several values \(List\(String\)\); call it multi",
        ),
        ({"age": [{"a": 1}] * 300}, r"s, column 'age': its cells hold several values \(Struct.*; "),
        ({"label": [[1]] * 300}, r"s, row 1 and below: .*; leave the column out, or write it as text"),
        ({"user": [None] * 300}, r"s, column 'user': every cell is missing; "),
        ({"tags": [[]] * 300}, r"s, column 'tags': every cell is missing; "),
        ({"label": [0, 1, 2] * 100}, r"s, row 3, column 'label': found 2, expected 0 or 1; "),
    ],
)
def test_cells_that_cannot_be_encoded(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    whole = frame().with_columns(**{name: pl.Series(cells) for name, cells in change.items()})
    with pytest.raises(DataError, match=expected) as caught:
        made(tmp_path / "d", cut(whole, 50))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "d" / ".scratch").exists()


def test_long_cells_are_shown_in_part(tmp_path: Path) -> None:
    whole = frame().with_columns(label=pl.Series(["x" * 10_000] * 300))
    with pytest.raises(DataError, match=r"row 1, column 'label': found 'x+\.\.\., expected 0 or 1") as caught:
        made(tmp_path / "d", cut(whole, 50))
    assert len(str(caught.value)) < 300


# Labels.


@pytest.mark.parametrize(
    "cells",
    [
        ["0", "1"],
        ["0.0", "1.0"],
        [0, 1],
        [0.0, 1.0],
        [False, True],
        pl.Series([0, 1], dtype=pl.UInt8),
        ["00", "1e0"],
    ],
)
def test_labels_of_any_type(cells: Any) -> None:
    assert read_labels(Batch(pl.DataFrame({"label": cells}), "s"), Label()).tolist() == [0, 1]


@pytest.mark.parametrize("cell", ["2", "", "yes", " 1", "nan", "0.5", "-1", None, "inf", "true"])
def test_what_is_no_label(cell: str | None) -> None:
    batch = Batch(pl.DataFrame({"label": ["1", cell]}), "s")
    with pytest.raises(DataError, match=r"s, line 2, column 'label': found '.*', expected 0 or 1; "):
        read_labels(batch, Label())


def test_labels_above_a_bound() -> None:
    batch = Batch(pl.DataFrame({"stars": ["1", "3.5", "4", "-2"]}), "s")
    assert read_labels(batch, Label("stars", 3.5)).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("cell", ["", "nan", "inf", "many", None])
def test_what_is_no_number_has_no_place_above_or_below(cell: str | None) -> None:
    batch = Batch(pl.DataFrame({"label": ["1", cell]}), "s")
    with pytest.raises(DataError, match=r"s, line 2, column 'label': found '.*', expected a number; "):
        read_labels(batch, Label(positive=1))


# Batches.


def test_the_next_item_is_made_meanwhile() -> None:
    asked = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for n, event in enumerate(asked):
            event.set()
            yield n

    coming = ahead(items())
    assert next(coming) == 0
    assert asked[1].wait(5)
    assert list(coming) == [1, 2]


def test_what_is_wrong_with_an_item_comes_after_those_before() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise DataError("broken")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(DataError, match="broken"):
        next(coming)


def test_no_thread_stays_where_the_items_are_not_wanted_any_more() -> None:
    before = threading.active_count()
    coming = ahead(iter(range(9)))
    next(coming)
    coming.close()
    assert threading.active_count() == before


def test_missing_cells_are_refused_where_none_may_be() -> None:
    batches = [Batch(pl.DataFrame({"a": ["x", "y"], "b": ["x", None]}), "s", 7)]
    assert list(complete(iter(batches), ["a"])) == batches
    with pytest.raises(DataError, match=r"s, line 8, column 'b': found '', expected a value; "):
        list(complete(iter(batches), ["a", "b"]))
