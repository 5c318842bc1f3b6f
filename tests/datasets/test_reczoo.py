"""RecZoo's x1 layouts by the example of MovieLens' tags; test_frappe.py has more of what they share."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nasbench_rec.datasets.frappe import Frappe
from nasbench_rec.datasets.reczoo import MovieLensLatestX1, RecZoo, RecZooConfig

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import DataError

ROWS = {"train": 90, "valid": 30, "test": 20}
HEADER = "label,user_id,item_id,tag_id"
ARCHIVE = "MovielensLatest_x1.zip"


def lines(split: str) -> list[str]:
    rng = np.random.default_rng(SPLITS.index(split))
    rows = rng.integers(0, [9, 7, 5], (ROWS[split], 3)) + [0, 1000, 2000]
    return [HEADER, *(f"{i % 3 == 0:d}," + ",".join(map(str, row)) for i, row in enumerate(rows))]


def content(split: str) -> bytes:
    return ("\r\n".join(lines(split)) + "\r\n").encode()


def write(folder: Path, kind: str = "plain", inner: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "zip":
        with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
            for split in SPLITS:
                archive.writestr(f"{inner}{split}.csv", content(split))
        return folder
    for split in SPLITS:
        if kind == "gz":
            (folder / f"{split}.csv.gz").write_bytes(gzip.compress(content(split)))
        else:
            (folder / f"{split}.csv").write_bytes(content(split))
    return folder


def prepare(source: Path | None, **settings: int) -> Dataset:
    return MovieLensLatestX1(RecZooConfig(**settings)).prepare(source)


def test_every_raw_value_can_be_read_back(tmp_path: Path) -> None:
    data = prepare(write(tmp_path))
    assert [f.name for f in data.fields] == ["user_id", "item_id", "tag_id"]
    for split in SPLITS:
        part = data.split(split)
        rows = [
            ",".join(
                [
                    f"{label:.0f}",
                    *(data.vocabularies[f.name][i] for f, i in zip(data.fields, ids, strict=True)),
                ]
            )
            for ids, label in zip(part.ids, part.labels, strict=True)
        ]
        assert rows == lines(split)[1:]
    assert data.origin["split"]["rule"] == "published"
    assert [f.cardinality - 1 for f in data.fields] == [9, 7, 5]


@pytest.mark.parametrize("place", [".", "movielens-latest-x1", "MovielensLatest_x1"])
@pytest.mark.parametrize(
    ("kind", "inner"), [("plain", ""), ("gz", ""), ("zip", ""), ("zip", "MovielensLatest_x1/")]
)
def test_files_and_archive_give_the_same_data(tmp_path: Path, place: str, kind: str, inner: str) -> None:
    expected = prepare(write(tmp_path / "plain")).fingerprint
    write(tmp_path / "data" / place, kind, inner)
    data = prepare(tmp_path / "data")
    assert data.fingerprint == expected
    if kind == "zip":
        assert list(data.origin["source"]) == [ARCHIVE]
        path = tmp_path / "data" / place / ARCHIVE
        assert prepare(path).fingerprint == expected


def test_files_go_before_the_archive_that_lies_beside_them(tmp_path: Path) -> None:
    write(write(tmp_path), "zip")
    assert len(prepare(tmp_path).origin["source"]) == 3


def change(split: str, line: int, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found = lines(split)
        found[line - 1] = text
        (folder / f"{split}.csv").write_text("\n".join(found))

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            change("test", 5, "2,1,1000,2000"),
            r"test\.csv, line 5, column 'label': found '2', expected 0 or 1",
        ),
        (change("test", 5, "1,1,1000"), r"test\.csv, line 5: 3 cells instead of 4"),
        (change("test", 5, "1,1,,2000"), r"test\.csv, line 5, column 'item_id': found '', expected a value"),
        (
            change("train", 1, "label,user,item,tag"),
            r"train\.csv, line 1: unknown column 'user'; did you mean 'user_id'",
        ),
        (lambda folder: (folder / "valid.csv").unlink(), r"valid\.csv \(or \.csv\.gz\) is missing: download"),
        (lambda folder: (folder / "valid.csv").write_text(HEADER), r"valid\.csv has a header but no rows"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    damage: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    damage(write(tmp_path))
    with pytest.raises(DataError, match=says):
        prepare(tmp_path)


def test_a_broken_archive_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_text("<html>")
    with pytest.raises(
        DataError, match=r"MovielensLatest_x1\.zip is no zip archive, or a broken one; get the file"
    ):
        prepare(tmp_path)
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as archive:
        archive.writestr("train.csv", content("train"))
    with pytest.raises(DataError, match=r"MovielensLatest_x1\.zip/valid\.csv .* is missing: download"):
        prepare(tmp_path)


def test_files_of_another_data_set_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=r"train\.csv, line 1: unknown column 'user_id'; did you mean 'user'"):
        Frappe(RecZooConfig()).prepare(tmp_path)


@pytest.mark.parametrize("kind", [Frappe, MovieLensLatestX1])
def test_no_data_says_where_to_get_it_and_where_to_put_it(kind: type[RecZoo], tmp_path: Path) -> None:
    source = kind(RecZooConfig())
    for place in (None, tmp_path):
        with pytest.raises(
            DataError, match=r"download https://huggingface\.co/datasets/reczoo/.*as --source or"
        ):
            source.prepare(place)
