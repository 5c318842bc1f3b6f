from __future__ import annotations

import bz2
import csv
import dataclasses
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasbench_rec.datasets.table import Table, TableConfig

from nasbench_rec.config import plain
from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import ConfigError, DataError, NasbenchError

COLUMNS = ("click", "user", "item", "age", "genres", "when", "note")
BASE = """
files = "clicks.csv"
label = "click"
categorical = ["user", "item"]
numeric = ["age"]
multi = ["genres"]
ignore = ["when", "note"]
"""
Rows = list[dict[str, str]]


def rows_of(count: int = 300, seed: int = 0) -> Rows:
    """Rows of all kinds of columns; each value of a field occurs often enough to be in train."""
    rng = np.random.default_rng(seed)
    return [
        {
            "click": str(int(rng.random() < 0.4)),
            "user": f"u{rng.integers(8)}",
            "item": ("", "Käse", "x y", "i3")[rng.integers(4)],
            "age": str(rng.integers(10, 70)),
            "genres": "|".join(
                sorted(rng.choice(["Action", "Drama", "War"], rng.integers(0, 4), replace=False))
            ),
            "when": f"2024-05-{rng.integers(1, 29):02d}",
            "note": f"n{n}",
        }
        for n in range(count)
    ]


def text_of(rows: Rows, separator: str = ",", header: bool = True) -> str:
    lines = [separator.join(rows[0])] if header else []
    return "\n".join([*lines, *(separator.join(row.values()) for row in rows)]) + "\n"


def table(
    folder: Path, toml: str = BASE, content: str | bytes | None = None, name: str = "clicks.csv"
) -> Table:
    """Write a TOML and its file."""
    content = text_of(rows_of()) if content is None else content
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "t.toml").write_text(toml, encoding="utf-8")
    return Table.read(folder / "t.toml")


def prepare(
    folder: Path, toml: str = BASE, content: str | bytes | None = None, name: str = "clicks.csv"
) -> Dataset:
    made = table(folder, toml, content, name)
    return made.prepare(made.place)


def raw(data: Dataset) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each split as raw values, read from ids and vocabularies."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in SPLITS:
        split, start = data.split(name), 0
        rows: list[dict[str, Any]] = [{"label": int(y)} for y in split.labels]
        for f in data.fields:
            words = data.vocabularies[f.name]
            for row, ids in zip(rows, split.ids[:, start : start + f.columns], strict=True):
                values = [words[i] for i in ids if f.padding is None or i != f.padding]
                row[f.name] = values if f.columns > 1 else values[0]
            start += f.columns
        found[name] = rows
    return found


def in_bucket(label: str, number: float) -> bool:
    low, high = (float(part) for part in label.strip("[)").split(","))
    return low <= number < high


def test_every_field_can_be_read_back(tmp_path: Path) -> None:
    rows, data = rows_of(), prepare(tmp_path)
    assert [(f.name, f.columns) for f in data.fields] == [("user", 1), ("item", 1), ("age", 1), ("genres", 3)]
    assert data.name == "t"
    which = [np.flatnonzero(order_of(len(rows)) == n) for n in range(3)]
    for number, name in enumerate(SPLITS):
        for row, found in zip(which[number], raw(data)[name], strict=True):
            want = rows[row]
            assert found["label"] == int(want["click"])
            assert found["user"] == want["user"]
            assert found["item"] == (want["item"] or "<missing>")
            assert found["genres"] == [genre for genre in want["genres"].split("|") if genre]
            assert in_bucket(found["age"], float(want["age"]))


def order_of(rows: int) -> np.ndarray:
    from nasbench_rec.datasets._spec import SplitRule
    from nasbench_rec.datasets._splits import assign

    return assign(SplitRule(), rows, None, "")


def packed_zip(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("inner/clicks.csv", data)
    return file.getvalue()


def packed_tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("inner/clicks.csv")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


LAYOUTS: dict[str, tuple[str, str, Callable[[Rows], bytes]]] = {
    "tsv": ("clicks.tsv", "", lambda rows: text_of(rows, "\t").encode()),
    "semicolons": ("clicks.csv", 'separator = ";"', lambda rows: text_of(rows, ";").encode()),
    "two letters": (
        "clicks.dat",
        'format = "csv"\nseparator = "::"',
        lambda rows: text_of(rows, "::").encode(),
    ),
    "cp1252": ("clicks.csv", 'encoding = "cp1252"', lambda rows: text_of(rows).encode("cp1252")),
    "BOM and CRLF": (
        "clicks.csv",
        "",
        lambda rows: b"\xef\xbb\xbf" + text_of(rows).replace("\n", "\r\n").encode(),
    ),
    "no header": (
        "clicks.csv",
        f"header = false\ncolumns = {list(COLUMNS)}",
        lambda rows: text_of(rows, header=False).encode(),
    ),
    "gz": ("clicks.csv.gz", "", lambda rows: gzip.compress(text_of(rows).encode())),
    "bz2": ("clicks.csv.bz2", "", lambda rows: bz2.compress(text_of(rows).encode())),
    "xz": ("clicks.csv.xz", "", lambda rows: lzma.compress(text_of(rows).encode())),
    "zip": ("a.zip", "", lambda rows: packed_zip(text_of(rows).encode())),
    "no end": ("clicks.csv", "", lambda rows: text_of(rows).rstrip("\n").encode()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_data(tmp_path: Path, layout: str) -> None:
    name, keys, write = LAYOUTS[layout]
    toml = BASE.replace("clicks.csv", name) + keys
    (tmp_path / "a").mkdir()
    assert prepare(tmp_path, toml, write(rows_of()), name).fingerprint == prepare(tmp_path / "a").fingerprint


@pytest.mark.parametrize(("name", "pack"), [("a.zip", packed_zip), ("a.tar.gz", packed_tar)])
def test_a_member_of_an_archive(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    toml = BASE.replace("clicks.csv", f"{name}/inner/clicks.csv")
    data = prepare(tmp_path, toml, pack(text_of(rows_of()).encode()), name)
    assert data.fingerprint == prepare(tmp_path).fingerprint


@pytest.mark.parametrize(
    "files", ['["p/1.csv", "p/2.csv"]', '"p/*.csv"', '"p"', '["p/1.csv", "p/2*"]', '"p/*"']
)
def test_several_files_are_one_table(tmp_path: Path, files: str) -> None:
    rows, whole = rows_of(), prepare(tmp_path)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / ".hidden.csv").write_text("no")
    (tmp_path / "p" / "_SUCCESS").write_text("")
    (tmp_path / "p" / "1.csv").write_text(text_of(rows[:100]))
    data = prepare(tmp_path, BASE.replace('"clicks.csv"', files), text_of(rows[100:]), "p/2.csv")
    assert data.fingerprint == whole.fingerprint
    assert list(data.origin["source"]) == ["p/1.csv", "p/2.csv"]


def test_quoted_cells_with_separators_and_line_ends(tmp_path: Path) -> None:
    rows = rows_of()
    for row in rows:
        row["item"] = f'{row["item"]}, "so"\ncalled'
        row["note"] = ""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(row.values() for row in rows)])
    found = raw(prepare(tmp_path, content=file.getvalue()))
    items = {row["item"] for part in found.values() for row in part}
    assert items == {row["item"] for row in rows}


def test_a_wrong_cell_behind_line_ends_in_quotes_is_named_by_its_line(tmp_path: Path) -> None:
    text = text_of(rows_of()).split("\n")
    text[3] = '1,"u\n\n1",x,30,,,n'
    text[5] = "2,u1,x,30,,,n"
    with pytest.raises(DataError, match=r"clicks\.csv, line 8, column 'click': found '2', expected 0 or 1"):
        prepare(tmp_path, content="\n".join(text))


def test_missing_texts(tmp_path: Path) -> None:
    rows = rows_of()
    for n, row in enumerate(rows):
        row["item"] = ("NA", "\\N", "", "x")[n % 4]
        row["age"] = ("NA", "30", "40.5")[n % 3]
        row["genres"] = "NA"
    rows[0]["genres"] = "Action"
    toml = BASE + 'missing = ["NA", "\\\\N"]\n'
    data = prepare(tmp_path, toml, text_of(rows))
    assert set(data.vocabularies["item"]) == {"<rare or unseen>", "<missing>", "x"}
    assert "<missing>" in data.vocabularies["age"]
    assert set(data.vocabularies["genres"]) == {"<no more>", "<rare or unseen>", "Action"}
    rare = prepare(tmp_path, toml + 'missing_is = "rare"', text_of(rows))
    assert set(rare.vocabularies["item"]) == {"<rare or unseen>", "x"}


def test_encoding_settings(tmp_path: Path) -> None:
    whole = prepare(
        tmp_path, BASE + 'buckets = "as-is"\nmin_count = 30\nnumeric_min_count = 1\nlearn = "all"'
    )
    assert {"10", "69"} <= set(whole.vocabularies["age"])
    counts = whole.vocabulary("user").query("kind == 'value'")["count"]
    assert (counts >= 30).all()
    assert len(prepare(tmp_path, BASE + "quantiles = 4").vocabularies["age"]) == 5


def test_values_of_a_multi_valued_cell(tmp_path: Path) -> None:
    rows = [{**row, "genres": row["genres"].replace("|", " ") + " "} for row in rows_of()]
    data = prepare(tmp_path, BASE + 'values_separator = " "', text_of(rows))
    assert set(data.vocabularies["genres"][2:]) == {"Action", "Drama", "War"}


@pytest.mark.parametrize("words", [("True", "False"), ("true", "false"), ("1.0", "0.0"), ("1", "0")])
def test_labels_as_truth_values(tmp_path: Path, words: Sequence[str]) -> None:
    rows = [{**row, "click": words[row["click"] == "0"]} for row in rows_of()]
    assert prepare(tmp_path, content=text_of(rows)).fingerprint == prepare(tmp_path).fingerprint


def test_labels_from_a_number_on(tmp_path: Path) -> None:
    rows = [{**row, "click": "4.5" if row["click"] == "1" else "3"} for row in rows_of()]
    data = prepare(tmp_path, BASE + "positive = 4", text_of(rows))
    assert data.fingerprint == prepare(tmp_path).fingerprint
    rows[7]["click"] = "good"
    with pytest.raises(DataError, match=r"line 9, column 'click': found 'good', expected a number"):
        prepare(tmp_path, BASE + "positive = 4", text_of(rows))


WITH_DAY = BASE.replace('["user", "item"]', '["user", "item", "when"]').replace(
    '["when", "note"]', '["note"]'
)


@pytest.mark.parametrize("columns", [["when"], ["when", "user"]])
def test_a_split_by_group_keeps_the_rows_of_a_group_together(tmp_path: Path, columns: list[str]) -> None:
    rule = f'split = "group"\nsplit_columns = {columns}\nlearn = "all"'
    parts = raw(prepare(tmp_path, WITH_DAY + rule))
    groups = {name: {tuple(row[c] for c in columns) for row in part} for name, part in parts.items()}
    assert sum(map(len, parts.values())) == 300
    assert not (groups["train"] & groups["valid"] or groups["train"] & groups["test"])
    assert not groups["valid"] & groups["test"]


def test_a_split_by_time_trains_on_the_past(tmp_path: Path) -> None:
    parts = raw(prepare(tmp_path, WITH_DAY + 'split = "time"\nsplit_columns = ["when"]\nlearn = "all"'))
    days = {name: {row["when"] for row in part} for name, part in parts.items()}
    assert max(days["train"]) < min(days["valid"]) and max(days["valid"]) < min(days["test"])


def test_a_time_that_cannot_be_told_is_refused(tmp_path: Path) -> None:
    rows = [{**row, "when": f"{row['when'][-2:]}/05/2024"} for row in rows_of()]
    with pytest.raises(
        DataError, match=r"line 2, column 'when': found .*, expected a number, or a date such as 2024"
    ):
        prepare(tmp_path, BASE + 'split = "time"\nsplit_columns = ["when"]', text_of(rows))


def test_a_split_by_the_order_of_the_rows(tmp_path: Path) -> None:
    parts = raw(prepare(tmp_path, BASE + 'split = "order"\nsplit_shares = [2, 1, 1]'))
    assert [row["user"] for name in SPLITS for row in parts[name]] == [row["user"] for row in rows_of()]


PUBLISHED = BASE.replace(
    'files = "clicks.csv"', 'train_files = "a.csv"\nvalid_files = ["b.csv"]\ntest_files = "c?.csv"'
)


def test_published_splits(tmp_path: Path) -> None:
    rows = rows_of()
    for name, part in (("a", rows[:200]), ("b", rows[200:250]), ("c1", rows[250:270]), ("c2", rows[270:])):
        (tmp_path / f"{name}.csv").write_text(text_of(part))
    parts = raw(prepare(tmp_path, PUBLISHED + 'split = "published"'))
    assert [len(parts[name]) for name in SPLITS] == [200, 50, 50]
    assert [row["user"] for row in parts["test"]] == [row["user"] for row in rows[250:]]


def test_a_file_of_two_splits_is_refused(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text(text_of(rows_of(20)))
    with pytest.raises(DataError, match=r"'b\.csv' is a file of two splits"):
        prepare(tmp_path, PUBLISHED.replace("c?.csv", "b.csv") + 'split = "published"')


def change(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new)


WRONG = {
    "unknown key": (
        BASE + "min_cont = 2",
        r"t\.toml: unknown setting 'min_cont'; did you mean 'min_count'\?",
    ),
    "type": (BASE + 'min_count = "2"', r"t\.toml: min_count = '2'"),
    "value": (BASE + 'missing_is = "gone"', r"t\.toml: missing_is = 'gone'"),
    "min_count": (BASE + "min_count = 0", r"t\.toml: min_count is 0"),
    "quantiles": (BASE + "quantiles = 1", r"t\.toml: quantiles is 1"),
    "name": (BASE + 'name = "My Clicks"', r"t\.toml: name = 'My Clicks': only lower-case letters"),
    "protocol key": (
        BASE + "protocol = { epoch = 3 }",
        r"t\.toml: protocol: unknown setting 'epoch'; did you mean",
    ),
    "protocol value": (
        BASE + "protocol = { lr = 0.0 }",
        r"t\.toml: protocol setting lr = 0\.0: must be above 0",
    ),
    "encoding": (
        BASE + 'encoding = "utf-16"',
        r"t\.toml: encoding = 'utf-16': not known, or not one that has ASCII",
    ),
    "no encoding": (BASE + 'encoding = "klingon"', r"t\.toml: encoding = 'klingon': not known"),
    "separator": (BASE + 'separator = "\\""', r"t\.toml: separator = '\"': must be ASCII"),
    "no values separator": (BASE + 'values_separator = ""', r"t\.toml: values_separator = ''"),
    "split": (BASE + 'split = "date"', r"t\.toml: split = 'date'"),
    "shares": (BASE + "split_shares = [8, 1, 0]", r"t\.toml: split shares .*each must be above 0"),
    "no split columns": (BASE + 'split = "group"', r't\.toml: split = "group" needs split_columns'),
    "two times": (
        BASE + 'split = "time"\nsplit_columns = ["a", "b"]',
        r"t\.toml: .*needs one column; got a, b",
    ),
    "split columns": (BASE + 'split_columns = ["user"]', r't\.toml: split = "random" has no split_columns'),
    "train_files": (BASE + 'train_files = "a.csv"', r't\.toml: `train_files` goes with split = "published"'),
    "both": (
        BASE + 'train_files = "a.csv"\nsplit = "published"',
        r"`train_files` goes .*without `files`; found `files`",
    ),
    "no test": (
        PUBLISHED.replace('test_files = "c?.csv"', "") + 'split = "published"',
        r"t\.toml: `test_files` names no file",
    ),
    "empty name": (change('"clicks.csv"', '""'), r"t\.toml: `files` names no file"),
    "no files": (change('files = "clicks.csv"', ""), r"t\.toml: `files` names no file"),
    "no label": (change('label = "click"', ""), r"t\.toml: `label` is empty; give the name of the column"),
    "no field": ('files = "clicks.csv"\nlabel = "click"\nignore = ["user"]', r"t\.toml: no field is named"),
    "twice": (
        change('["age"]', '["age", "user"]'),
        r"t\.toml: column 'user' stands in `categorical` and in `numeric`",
    ),
    "label as field": (
        change('["age"]', '["click"]'),
        r"t\.toml: column 'click' stands in `label` and in `numeric`",
    ),
    "no TOML": ("files = [", r"t\.toml: is not valid TOML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_one_message(tmp_path: Path, case: str) -> None:
    toml, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        table(tmp_path, toml)


UNFIT = {
    "not in file": (
        change('"user"', '"usr"'),
        r"t\.toml: `categorical`, in .*clicks\.csv: unknown column 'usr'; did you mean 'user'\? Known: age, click",
    ),
    "not mentioned": (
        change('"when", "note"', '"when"'),
        r"t\.toml: .*clicks\.csv has a column that no key mentions: 'note'; put each into `categorical`.* or `ignore`",
    ),
    "two not mentioned": (
        change('ignore = ["when", "note"]', ""),
        r"has columns that no key mentions: 'when', 'note'",
    ),
    "label": (
        change('label = "click"', 'label = "clik"'),
        r"`label`, in .*unknown column 'clik'; did you mean 'click'",
    ),
    "split column": (
        BASE + 'split = "time"\nsplit_columns = ["wen"]',
        r"`split_columns`, in .*unknown column 'wen'; did you mean 'when'",
    ),
    "columns with header": (BASE + 'columns = ["a"]', r"t\.toml: `columns` is for files without a header"),
    "no columns": (BASE + "header = false", r"t\.toml: `header = false` needs `columns`"),
    "too few columns": (
        BASE + f"header = false\ncolumns = {list(COLUMNS[:-1])}".replace("'", '"') + "",
        r"clicks\.csv, line 1: 7 cells .*and `columns` names 6",
    ),
    "no file": (
        change("clicks.csv", "click.csv"),
        r"t\.toml: files: in .*: unknown file 'click\.csv'; did you mean 'clicks\.csv'",
    ),
    "file twice": (
        change('"clicks.csv"', '["clicks.csv", "c*.csv"]'),
        r"files: 'clicks\.csv' is named twice",
    ),
    "not a format": (
        change("clicks.csv", "t.toml"),
        r"the name 't\.toml' tells no format; set `format` to one of csv",
    ),
    "not in archive": (change("clicks.csv", "clicks.csv/x.csv"), r"files: in .*: unknown file"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_configuration_that_does_not_fit_the_file(tmp_path: Path, case: str) -> None:
    toml, message = UNFIT[case]
    with pytest.raises(NasbenchError, match=message):
        prepare(tmp_path, toml)


def test_a_header_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"unknown column 'click'.*Has the file no header\? Then say `header = false`"
    ):
        prepare(tmp_path, content=text_of(rows_of(), header=False))


def broken(line: int, text: str) -> str:
    lines = text_of(rows_of()).split("\n")
    lines[line - 1] = text
    return "\n".join(lines)


BROKEN = {
    "label": (
        broken(4, "2,u1,x,30,,,n"),
        r"clicks\.csv, line 4, column 'click': found '2', expected 0 or 1; .*`positive`",
    ),
    "no label": (
        broken(4, ",u1,x,30,,,n"),
        r"line 4, column 'click': found '', expected 0 or 1; .*rows without a label",
    ),
    "number": (broken(5, "1,u1,x,old,,,n"), r"line 5, column 'age': found 'old', expected a finite number"),
    "infinite": (broken(5, "1,u1,x,inf,,,n"), r"line 5, column 'age': found 'inf', expected a finite number"),
    "cells": (broken(6, "1,u1,x"), r"clicks\.csv, line 6: 3 cells instead of 7"),
    "double header": (
        broken(1, "click,user,item,age,genres,when,when"),
        r"unknown column 'note'|stands twice",
    ),
    "empty": ("", r"clicks\.csv is empty"),
    "only header": (",".join(COLUMNS) + "\n", r"clicks\.csv has a header but no rows"),
    "letters": (text_of(rows_of()).encode("cp1252"), r"clicks\.csv, line \d+: .*is not UTF-8"),
    "open quote": (text_of(rows_of()) + '1,"u1,x,30,,,n', r"clicks\.csv, line 302: a double quote"),
    "all missing": (
        text_of([{**row, "item": ""} for row in rows_of()]),
        r"column 'item': every cell is missing",
    ),
    "one label": (text_of([{**row, "click": "1"} for row in rows_of()]), r"column 'click': all .* are 1"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_one_message(tmp_path: Path, case: str) -> None:
    content, message = BROKEN[case]
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, content=content)


def test_a_truncated_file(tmp_path: Path) -> None:
    data = gzip.compress(text_of(rows_of()).encode())[:-30]
    with pytest.raises(DataError, match=r"clicks\.csv\.gz is .*truncated"):
        prepare(tmp_path, change("clicks.csv", "clicks.csv.gz"), data, "clicks.csv.gz")


def test_files_of_one_table_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text(text_of([{**row, "extra": "1"} for row in rows_of(5)]))
    with pytest.raises(DataError, match=r"other\.csv, line 1: unknown column 'extra'"):
        prepare(tmp_path, change('"clicks.csv"', '["clicks.csv", "other.csv"]'))


def test_formats_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "other.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"files of several formats \('clicks\.csv', 'other\.parquet'\)"):
        prepare(tmp_path, change('"clicks.csv"', '["clicks.csv", "other.parquet"]'))


def test_an_archive_of_several_files_needs_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.csv", "")
        archive.writestr("2.csv", "")
    with pytest.raises(
        DataError, match=r"a\.zip holds 2 files \('1\.csv', '2\.csv'\): name the one you mean"
    ):
        prepare(tmp_path, change("clicks.csv", "a.zip"))


def test_hostile_column_names(tmp_path: Path) -> None:
    names = ["click", "a,b", 'q"uote', "new\nline", "", "ünï]#=", " space "]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([names, *(list(row.values()) for row in rows_of())])
    from nasbench_rec.datasets._toml import pair

    toml = "\n".join(
        [
            pair("files", "clicks.csv"),
            pair("label", "click"),
            pair("categorical", names[1:3]),
            pair("ignore", names[3:]),
        ]
    )
    assert [f.name for f in prepare(tmp_path, toml, file.getvalue()).fields] == names[1:3]


def test_another_folder_of_files(tmp_path: Path) -> None:
    made = table(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "clicks.csv").write_text(text_of(rows_of(seed=1)))
    assert made.place == tmp_path
    assert made.prepare(other).fingerprint != made.prepare(made.place).fingerprint
    assert made.prepare(None).fingerprint == made.prepare(made.place).fingerprint


def test_without_a_folder_the_message_says_how_to_give_one() -> None:
    made = Table(TableConfig(files="x.csv", label="y", categorical=("a",)))
    with pytest.raises(DataError, match=r"data set 'table': give the folder of its files as --data-dir"):
        made.source_fingerprint(None)


def test_the_fingerprint_is_that_of_the_files_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(text_of(rows_of(seed=1)))
    one = table(tmp_path, change('"clicks.csv"', '["clicks.csv", "b.csv"]')).source_fingerprint(None)
    other = table(tmp_path, change('"clicks.csv"', '["b.csv", "clicks.csv"]')).source_fingerprint(None)
    assert one != other
    (tmp_path / "b.csv").write_text(text_of(rows_of(seed=2)))
    assert (
        table(tmp_path, change('"clicks.csv"', '["b.csv", "clicks.csv"]')).source_fingerprint(None) != other
    )


def test_progress_covers_all_files(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(text_of(rows_of(1000)))
    made = table(tmp_path, change('"clicks.csv"', '["clicks.csv", "b.csv"]'))
    heard: list[tuple[str, int, int]] = []
    (tmp_path / "out").mkdir()
    made.write(None, tmp_path / "out", lambda *what: heard.append(what))
    reading = [(done, total) for step, done, total in heard if step == "reading"]
    size = sum((tmp_path / name).stat().st_size for name in ("clicks.csv", "b.csv"))
    assert {total for _, total in reading} == {size}
    assert reading == sorted(reading) and reading[-1][0] == size


def test_info_is_that_of_the_table(tmp_path: Path) -> None:
    made = table(tmp_path, BASE + 'name = "my-clicks"\nprotocol = { epochs = 3, hidden = [8] }')
    assert made.info.name == "my-clicks"
    assert made.info.protocol["epochs"] == 3 and made.info.protocol["dim"] == 16
    assert Table.info.name == "table"
    assert Table.read(tmp_path / "t.toml", {"min_count": 4}).config.min_count == 4
    with pytest.raises(ConfigError, match=r"t\.toml: unknown setting 'x'"):
        Table.read(tmp_path / "t.toml", {"x": 4})


def test_the_configuration_survives_json(tmp_path: Path) -> None:
    from nasbench_rec.config import build

    config = table(tmp_path, BASE + "protocol = { hidden = [8] }\npositive = 3").config
    assert plain(build(TableConfig, plain(config), "again")) == plain(config)
    assert TableConfig() == build(TableConfig, {}, "nothing")


def test_every_key_says_what_it_is() -> None:
    assert all(f.metadata["help"] and f.metadata["source"] for f in dataclasses.fields(TableConfig))


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), cell, cell), min_size=30, max_size=60))
def test_any_text_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bool, str, str]]
) -> None:
    # Each split gets both labels, and every value comes often enough for train to know it.
    folder = tmp_path_factory.mktemp("any")
    many = [(int(label), a, b) for _ in range(4) for y, a, b in rows for label in (y, not y)]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("y", "a", "b"), *many, (1, "sure", "sure"), (0, "sure", "sure")])
    toml = 'files = "f.csv"\nlabel = "y"\ncategorical = ["a", "b"]\nlearn = "all"\nsplit = "order"'
    parts = raw(prepare(folder, toml, file.getvalue().encode(), "f.csv"))
    found = [(row["label"], row["a"], row["b"]) for name in SPLITS for row in parts[name]]
    # A carriage return before a line feed is a line end of another system, which is read as a line feed.
    want = [(y, *(text.replace("\r\n", "\n") or "<missing>" for text in (a, b))) for y, a, b in many]
    assert found[: len(want)] == want
