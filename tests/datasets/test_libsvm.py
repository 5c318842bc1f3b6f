from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from nasbench_rec.datasets.table import Table

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import ConfigError, DataError

ROWS = 200
ORDER = 'split = "order"\nlearn = "all"\n'


def lines(fields: bool = False, signed: bool = False) -> list[str]:
    """Rows of three fields in one id space, as libfm files of the field have them."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(ROWS):
        ids = rng.integers(0, 6, 3) + [0, 10, 20]
        label = "1" if rng.random() < 0.5 else ("-1" if signed else "0")
        made.append(" ".join([label, *(f"{f}:{i}:1" if fields else f"{i}:1" for f, i in enumerate(ids))]))
    return made


def prepare(folder: Path, rows: list[str], keys: str = "", name: str = "t.libsvm") -> Dataset:
    text = ("\n".join(rows) + "\n").encode()
    (folder / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (folder / "t.toml").write_text(f'files = "{name}"\n{ORDER}{keys}', encoding="utf-8")
    return Table.read(folder / "t.toml").prepare(folder)


def raw(data: Dataset) -> list[list[list[str]]]:
    """Return for each row of all splits its label and the values of each field."""
    found = []
    for name in SPLITS:
        split = data.split(name)
        for label, ids in zip(split.labels, split.ids, strict=True):
            row, start = [[str(int(label))]], 0
            for f in data.fields:
                own = ids[start : start + f.columns]
                row.append([data.vocabularies[f.name][i] for i in own if i != f.padding])
                start += f.columns
            found.append(row)
    return found


def expected(rows: list[str]) -> list[list[list[str]]]:
    parts = [row.split() for row in rows]
    return [[["1" if p[0] == "1" else "0"], *([entry.split(":")[-2]] for entry in p[1:])] for p in parts]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", ["t.libsvm", "t.svm", "t.libfm", "t.libsvm.gz"])
def test_entries_are_fields_by_their_place(tmp_path: Path, name: str, signed: bool) -> None:
    rows = lines(signed=signed)
    data = prepare(tmp_path, rows, name=name)
    assert [f.name for f in data.fields] == ["f1", "f2", "f3"]
    assert raw(data) == expected(rows)


def test_keys_choose_and_name_the_fields(tmp_path: Path) -> None:
    rows = lines()
    data = prepare(tmp_path, rows, 'categorical = ["f1", "f3"]\nignore = ["f2"]')
    assert raw(data) == [[row[0], row[1], row[3]] for row in expected(rows)]
    names = 'columns = ["y", "user", "item", "app"]\nlabel = "y"\ncategorical = ["user", "item", "app"]'
    assert raw(prepare(tmp_path, rows, names)) == expected(rows)


def test_a_name_that_tells_no_format(tmp_path: Path) -> None:
    rows = lines()
    for format in ("libsvm", "libfm"):
        assert raw(prepare(tmp_path, rows, f'format = "{format}"', "train.txt")) == expected(rows)


def test_comments_empty_lines_and_spaces_do_not_count(tmp_path: Path) -> None:
    rows = lines()
    odd = [
        "# a comment",
        "",
        *(f"  {row.replace(' ', chr(9), 1)}  # {n}:2" for n, row in enumerate(rows)),
        "  ",
    ]
    assert prepare(tmp_path, odd).fingerprint == prepare(tmp_path, rows).fingerprint
    odd[150] = "2 1:1 11:1 21:1"
    with pytest.raises(DataError, match=r"t\.libsvm, line 151, column 'label': found '2', expected 0 or 1"):
        prepare(tmp_path, odd)


def test_values_that_are_one(tmp_path: Path) -> None:
    rows = lines()
    odd = [row.replace(":1 ", ":1.0 ") + "e0" for row in rows]
    assert prepare(tmp_path, odd).fingerprint == prepare(tmp_path, rows).fingerprint


def test_libffm_names_a_field_by_its_number(tmp_path: Path) -> None:
    rows = lines(fields=True)
    data = prepare(tmp_path, rows, name="t.libffm")
    assert [f.name for f in data.fields] == ["f0", "f1", "f2"]
    assert raw(data) == expected(rows)


def test_libffm_entries_in_another_order_or_missing(tmp_path: Path) -> None:
    rows = lines(fields=True)
    want = expected(rows)
    for n in range(0, ROWS, 3):
        label, a, b, c = rows[n].split()
        rows[n] = f"{label} {c} {a}"
        want[n][2] = ["<missing>"]
    assert raw(prepare(tmp_path, rows, name="t.ffm")) == want


def test_libffm_fields_of_several_values(tmp_path: Path) -> None:
    rows = [f"{row} 1:99:1" if n % 2 else row for n, row in enumerate(lines(fields=True))]
    with pytest.raises(DataError, match=r"t\.ffm, line 2: field 1 stands twice; name 'f1' in `multi`"):
        prepare(tmp_path, rows, name="t.ffm")
    found = raw(prepare(tmp_path, rows, 'multi = ["f1"]\ncategorical = ["f0", "f2"]', "t.ffm"))
    assert found[1][3] == [rows[1].split()[2].split(":")[1], "99"]


def test_all_entries_as_one_multi_valued_field(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 5, ROWS)
    rows = [
        " ".join([str(n % 2), *(f"{i}:1" for i in rng.integers(0, 9, size))]) for n, size in enumerate(sizes)
    ]
    data = prepare(tmp_path, rows, 'multi = ["features"]')
    assert [(f.name, f.columns) for f in data.fields] == [("features", 4)]
    want = [[[row.split()[0]], [entry[:-2] for entry in row.split()[1:]]] for row in rows]
    assert raw(data) == want


def changed(line: int, text: str, fields: bool = False, signed: bool = False) -> list[str]:
    rows = lines(fields, signed)
    rows[line - 1] = text
    return rows


WRONG = {
    "more entries": (
        changed(7, "1 1:1 2:1 3:1 4:1"),
        "",
        r"line 7: 4 entries instead of 3.*`multi = \[\"features\"\]`",
    ),
    "fewer entries": (changed(7, "1 1:1"), "", r"line 7: 1 entries instead of 3"),
    "a number": (
        changed(7, "1 1:1 2:0.5 3:1"),
        "",
        r"line 7: '2:0\.5' has the value 0\.5.*as CSV or Parquet",
    ),
    "zero": (
        changed(7, "1 1:1 2:0 3:1"),
        "",
        r"line 7: '2:0' has the value 0, and only 1 stands for a category",
    ),
    "no value": (changed(7, "1 1:1 2 3:1"), "", r"line 7: '2' is not index:1; mend it"),
    "no number": (changed(7, "1 1:1 qid:1 3:1"), "", r"line 7: 'qid:1' is not index:1"),
    "libffm": (lines(fields=True), "", r"line 1: '0:\d+:1' is not index:1; .*format libffm"),
    "label": (
        changed(7, "3 1:1 2:1 3:1"),
        "",
        r"line 7, column 'label': found '3', expected 0 or 1; .*`positive`",
    ),
    "labels": (
        changed(7, "-1 1:1 2:1 3:1"),
        "",
        r"line 7: label -1, and the table has labels -1 and 0.*`positive`|line",
    ),
    "names": (
        lines(),
        'columns = ["y", "a"]\nlabel = "y"',
        r"line 1: a label and 3 entries, and `columns` names 2",
    ),
    "not mentioned": (lines(), 'categorical = ["f1", "f2"]', r"a column that no key mentions: 'f3'"),
    "unknown": (
        lines(),
        'categorical = ["f1", "f2", "f3", "f4"]',
        r"`categorical`, in .*unknown column 'f4'",
    ),
    "comments": (["# only", "# comments"], "", r"t\.libsvm has no rows, only comments"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, case: str) -> None:
    rows, keys, message = WRONG[case]
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, rows, keys)


def test_positive_decides_where_labels_are_minus_one_and_zero(tmp_path: Path) -> None:
    rows = changed(7, "-1 1:1 11:1 21:1")
    assert raw(prepare(tmp_path, rows, "positive = 1"))[6][0] == ["0"]


@pytest.mark.parametrize(
    ("keys", "name", "message"),
    [
        ('numeric = ["f1"]', "t.libsvm", "`numeric`: libsvm holds ids"),
        (
            'multi = ["f1"]\ncategorical = ["f2", "f3"]',
            "t.libsvm",
            "`multi`: all entries .* or each is a field",
        ),
        ('columns = ["y", "a"]\nlabel = "y"', "t.libffm", "`columns`: in libffm a field's number names it"),
    ],
)
def test_keys_that_do_not_fit(tmp_path: Path, keys: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(tmp_path, lines(fields=name.endswith("ffm")), keys, name)


def test_a_field_that_comes_late_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nasbench_rec.datasets import _files

    monkeypatch.setattr(_files, "BLOCK", 1000)
    rows = changed(150, "1 0:1:1 1:11:1 7:5:1", fields=True)
    with pytest.raises(
        DataError, match=r"line 150: field 7 is not among the fields of the first lines; name 'f7'"
    ):
        prepare(tmp_path, rows, name="t.ffm")
    keys = 'categorical = ["f0", "f1", "f2", "f7"]'
    assert raw(prepare(tmp_path, rows, keys, "t.ffm"))[149][3:] == [["<missing>"], ["5"]]
