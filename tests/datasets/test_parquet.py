from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nasbench_rec.datasets.table import Table

from nasbench_rec.data import Dataset
from nasbench_rec.errors import DataError

ROWS = 240
TOML = """
files = "t.parquet"
label = "y"
categorical = ["a"]
"""


def values(*some: Any) -> list[Any]:
    """Return the values again and again, for all rows."""
    return [some[n % len(some)] for n in range(ROWS)]


def labels() -> list[int]:
    rng = np.random.default_rng(0)
    return (rng.random(ROWS) < 0.5).astype(int).tolist()


def write(path: Path, columns: Mapping[str, Any], group: int = 50) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"y": labels(), **columns}), path, row_group_size=group)


def prepare(folder: Path, toml: str = TOML) -> Dataset:
    (folder / "t.toml").write_text(toml, encoding="utf-8")
    return Table.read(folder / "t.toml").prepare(folder)


def words(data: Dataset, name: str = "a") -> set[str]:
    """Return the raw values of a field."""
    return set(data.vocabulary(name).query("kind in ('value', 'missing')")["value"])


TYPES: dict[str, tuple[Any, set[str]]] = {
    "integers": (pa.array(values(1, 2, None), pa.int32()), {"1", "2", "<missing>"}),
    "large integers": (pa.array(values(2**64 - 1, 0), pa.uint64()), {str(2**64 - 1), "0"}),
    "numbers": (pa.array(values(1.5, 2.0, float("nan"))), {"1.5", "2.0", "<missing>"}),
    "truth values": (pa.array(values(True, False, None)), {"true", "false", "<missing>"}),
    "text": (pa.array(values("x", "", "ü")), {"x", "<missing>", "ü"}),
    "categories": (pa.array(values("x", None, "z")).dictionary_encode(), {"x", "<missing>", "z"}),
    "categories of numbers": (pa.array(values(7, 8)).dictionary_encode(), {"7", "8"}),
    "dates": (pa.array(values(datetime.date(2024, 5, 1), None)), {"2024-05-01", "<missing>"}),
    "times": (pa.array(values(datetime.datetime(2024, 5, 1, 12))), {"2024-05-01 12:00:00.000000"}),
    "decimals": (pa.array(values(decimal.Decimal("1.50"), None)), {"1.50", "<missing>"}),
    "large decimals": (
        pa.array(values(decimal.Decimal("1.50"))).cast(pa.decimal256(50, 2)),
        {"1.50"},
    ),
    "bytes that are text": (pa.array(values(b"ab", "ü".encode())), {"ab", "ü"}),
    "durations": (pa.array(values(datetime.timedelta(seconds=2))), {"2000000"}),
}


@pytest.mark.parametrize("name", TYPES)
def test_values_of_every_type_become_text(tmp_path: Path, name: str) -> None:
    column, expected = TYPES[name]
    write(tmp_path / "t.parquet", {"a": column})
    assert words(prepare(tmp_path)) == expected


LISTS: dict[str, tuple[Any, set[str]]] = {
    "texts": (pa.array(values(["x", "y"], [], None, ["x", None])), {"x", "y"}),
    "integers": (pa.array(values([1, 2], [3]), pa.list_(pa.int16())), {"1", "2", "3"}),
    "of a fixed size": (pa.array(values([1, 2]), pa.list_(pa.int8(), 2)), {"1", "2"}),
    "categories": (
        pa.array(values(["x"], ["y"]), pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        {"x", "y"},
    ),
    "decimals": (pa.array(values([decimal.Decimal("1.5")], [])), {"1.5"}),
    "text with a separator": (pa.array(values("x|y", "", None, "z||")), {"x", "y", "z"}),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_multi_valued_fields(tmp_path: Path, name: str) -> None:
    column, expected = LISTS[name]
    write(tmp_path / "t.parquet", {"a": column})
    data = prepare(tmp_path, TOML.replace("categorical", "multi"))
    assert words(data) == expected
    assert data.fields[0].columns == 2


@pytest.mark.parametrize(
    "label",
    [
        pa.array(values(True, False)),
        pa.array(values(1.0, 0.0)),
        pa.array(values("1", "0")),
        pa.array(values(1, 0), pa.uint8()),
        pa.array(values("True", "False")).dictionary_encode(),
    ],
    ids=lambda label: str(label.type),
)
def test_labels_of_every_type(tmp_path: Path, label: pa.Array) -> None:
    write(tmp_path / "t.parquet", {"a": values(*"xyz"), "y": label})
    data = prepare(tmp_path, TOML + 'split = "order"')
    assert data.split("train").labels.tolist() == values(1, 0)[: len(data.split("train"))]


def test_csv_and_parquet_give_the_same_data(tmp_path: Path) -> None:
    columns: dict[str, Sequence[Any]] = {
        "a": values("x", "ü", None),
        "n": values(*range(40)),
        "m": values("p|q", "", "q"),
    }
    write(tmp_path / "t.parquet", columns)
    lines = zip(labels(), *columns.values(), strict=True)
    text = "\n".join(["y,a,n,m", *(",".join("" if v is None else str(v) for v in line) for line in lines)])
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    toml = TOML + 'numeric = ["n"]\nmulti = ["m"]\n'
    assert (
        prepare(tmp_path, toml).fingerprint == prepare(tmp_path, toml.replace("parquet", "csv")).fingerprint
    )


def test_row_groups_files_and_folders_give_the_same_data(tmp_path: Path) -> None:
    table = pa.table({"y": labels(), "a": values(*"vwxyz")})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    whole = prepare(tmp_path).fingerprint
    for n in range(3):
        path = tmp_path / "many" / f"{n}" / "part-0.snappy.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(table.slice(n * 80, 80), path)
    (tmp_path / "many" / "_SUCCESS").touch()
    (tmp_path / "many" / ".part-0.crc").touch()
    for files in (
        '"many"',
        '"many/*"',
        '"many/**/*.parquet"',
        '["many/0", "many/1/part-0.snappy.parquet", "many/2"]',
    ):
        assert prepare(tmp_path, TOML.replace('"t.parquet"', files)).fingerprint == whole


def test_empty_parts_are_nothing(tmp_path: Path) -> None:
    write(tmp_path / "p" / "1.parquet", {"a": values(*"xyz")})
    whole = prepare(tmp_path, TOML.replace("t.parquet", "p")).fingerprint
    empty = pa.table({"y": pa.array([], pa.int64()), "a": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "p" / "0.parquet")
    assert prepare(tmp_path, TOML.replace("t.parquet", "p")).fingerprint == whole
    (tmp_path / "p" / "1.parquet").unlink()
    with pytest.raises(DataError, match=r"0\.parquet has no rows"):
        prepare(tmp_path, TOML.replace("t.parquet", "p"))


def test_folders_that_say_a_value_are_a_column(tmp_path: Path) -> None:
    for day in ("2024-05-01", "2024-05-02", "2024-05-03", "__HIVE_DEFAULT_PARTITION__"):
        write(tmp_path / "p" / f"day={day}" / "part-0.parquet", {"a": values("x", "y")})
    toml = TOML.replace("t.parquet", "p").replace('["a"]', '["a", "day"]')
    assert words(prepare(tmp_path, toml), "day") == {"2024-05-01", "2024-05-02", "2024-05-03", "<missing>"}
    with pytest.raises(DataError, match="a column that no key mentions: 'day'"):
        prepare(tmp_path, TOML.replace("t.parquet", "p"))


@pytest.mark.parametrize(
    "times",
    [
        [
            datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=n)
            for n in range(ROWS)
        ],
        [datetime.date(2024, 5, 1) + datetime.timedelta(days=n) for n in range(ROWS)],
        list(range(ROWS)),
    ],
    ids=["times", "dates", "numbers"],
)
def test_a_split_by_time(tmp_path: Path, times: list[Any]) -> None:
    order = np.random.default_rng(0).permutation(ROWS)
    write(tmp_path / "t.parquet", {"a": [str(n) for n in order], "when": [times[n] for n in order]})
    toml = TOML + 'ignore = ["when"]\nsplit = "time"\nsplit_columns = ["when"]\nlearn = "all"'
    data = prepare(tmp_path, toml)
    names = data.vocabularies["a"]
    latest = max(int(names[i]) for i in data.split("train").ids[:, 0])
    assert latest < min(int(names[i]) for i in data.split("test").ids[:, 0])


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", {"a": values(*"xyz"), "s": values({"k": 1}), "b": values(b"\xff")})
    assert words(prepare(tmp_path, TOML + 'ignore = ["s", "b"]')) == set("xyz")


def put(place: int, wrong: Any, *some: Any) -> list[Any]:
    made = values(*some)
    made[place] = wrong
    return made


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "label": (
        {"y": put(120, 2, 0, 1)},
        "",
        r"t\.parquet, row group 3, row 21, column 'y': found 2, expected 0 or 1",
    ),
    "no label": (
        {"y": put(50, None, 0, 1)},
        "",
        r"row group 2, row 1, column 'y': found '', expected 0 or 1",
    ),
    "infinite": (
        {"a": put(60, float("inf"), 1.0, 2.0)},
        "numeric",
        r"row group 2, row 11, column 'a': found inf, expected a finite number",
    ),
    "no number": (
        {"a": put(60, "old", "1", "2")},
        "numeric",
        r"row group 2, row 11, column 'a': found 'old', expected a finite number",
    ),
    "bytes": (
        {"a": put(120, b"\xff", b"x")},
        "",
        r"t\.parquet, row group 3, row 21, column 'a': binary: .*UTF8.*; put the column into `ignore`",
    ),
    "nested": (
        {"a": values({"k": 1})},
        "",
        r"row group 1, row 1, column 'a': struct<.*not known here; put the column",
    ),
    "lists of lists": (
        {"a": values([[1]])},
        "multi",
        r"column 'a': list<.*nested.*; put the column into `ignore`",
    ),
    "list": (
        {"a": values(["x"])},
        "",
        r"row group 1, row 1, column 'a': a list of values; name it in `multi`",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_named_by_row_group_and_row(tmp_path: Path, case: str) -> None:
    columns, key, message = WRONG[case]
    write(tmp_path / "t.parquet", {"a": values(*"xyz"), **columns})
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, TOML.replace("categorical", key or "categorical"))


def test_text_that_is_none_is_refused_and_crashes_nothing(tmp_path: Path) -> None:
    data = pa.py_buffer(b"ab\xff" * ROWS)
    ends = pa.py_buffer((np.arange(ROWS + 1) * 3).astype(np.int32).tobytes())
    write(tmp_path / "t.parquet", {"a": pa.Array.from_buffers(pa.string(), ROWS, [None, ends, data])})
    with pytest.raises(DataError, match=r"t\.parquet, row group 1, row 1, column 'a': string: Invalid UTF8"):
        prepare(tmp_path)


SCHEMAS: dict[str, tuple[dict[str, Any], str]] = {
    "type": (
        {"a": values(1.5, None)},
        r"2\.parquet, column 'a': holds numbers, but integers in .*1\.parquet",
    ),
    "missing": ({"b": values(1)}, r"2\.parquet has no column 'a', which .*1\.parquet has"),
    "more": ({"a": values(1), "b": values(1)}, r"1\.parquet has no column 'b', which .*2\.parquet has"),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_files_of_a_table_have_one_schema(tmp_path: Path, case: str) -> None:
    columns, message = SCHEMAS[case]
    write(tmp_path / "p" / "1.parquet", {"a": values(1, 2)})
    write(tmp_path / "p" / "2.parquet", columns)
    with pytest.raises(DataError, match=message):
        prepare(tmp_path, TOML.replace("t.parquet", "p"))


def test_types_that_give_the_same_text_are_one_schema(tmp_path: Path) -> None:
    for n, of in enumerate((pa.int32(), pa.uint8(), pa.dictionary(pa.int8(), pa.int64()), pa.null())):
        some = values(None) if of == pa.null() else values(1, 2)
        write(tmp_path / "p" / f"{n}.parquet", {"a": pa.array(some, of)})
    assert words(prepare(tmp_path, TOML.replace("t.parquet", "p"))) == {"1", "2", "<missing>"}


def damaged(data: bytes, how: str) -> bytes:
    return {
        "truncated": data[:-9],
        "empty": b"",
        "text": b"y,a\n1,x\n",
        "scratched": data[:200] + b"x" * 60 + data[260:],
    }[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", r"t\.parquet is not a Parquet file, or not all of it \(.*\); get the file again"),
        ("empty", r"t\.parquet is not a Parquet file, or not all of it"),
        ("text", r"t\.parquet is not a Parquet file, or not all of it"),
        ("scratched", r"t\.parquet, row group 1: cannot be read \(.*\); get the file again"),
    ],
)
def test_a_damaged_file_is_one_message(tmp_path: Path, how: str, message: str) -> None:
    write(tmp_path / "t.parquet", {"a": [f"value {n}" for n in range(ROWS)]}, group=ROWS)
    path = tmp_path / "t.parquet"
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(DataError, match=message):
        prepare(tmp_path)


def test_a_column_twice(tmp_path: Path) -> None:
    table = pa.table([pa.array(labels()), pa.array(values(1)), pa.array(values(2))], names=["y", "a", "a"])
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: column 'a' stands twice"):
        prepare(tmp_path)


def test_packed_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"t\.parquet\.gz: a packed Parquet file cannot be read; unpack it"):
        prepare(tmp_path, TOML.replace("t.parquet", "t.parquet.gz"))


def test_names_with_points_are_names(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", {"a.b": values(*"xyz"), "a": values({"b": 1})})
    toml = TOML.replace('["a"]', '["a.b"]\nignore = ["a"]')
    assert words(prepare(tmp_path, toml), "a.b") == set("xyz")


def test_progress_is_in_rows(tmp_path: Path) -> None:
    for n in range(2):
        write(tmp_path / "p" / f"{n}.parquet", {"a": values(*"xyz")})
    (tmp_path / "t.toml").write_text(TOML.replace("t.parquet", "p"))
    heard: list[tuple[str, int, int]] = []
    (tmp_path / "out").mkdir()
    Table.read(tmp_path / "t.toml").write(None, tmp_path / "out", lambda *what: heard.append(what))
    reading = [(done, total) for step, done, total in heard if step == "reading"]
    assert reading == sorted(reading) and reading[-1] == (2 * ROWS, 2 * ROWS)
