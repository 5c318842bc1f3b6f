from __future__ import annotations

import csv
import datetime
import gzip
import io
import re
import runpy
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nasbench_rec.datasets._guess import facts_of, guess
from nasbench_rec.datasets._toml import comment, listing, pair, shown, value
from nasbench_rec.datasets.describe import describe, describe_frame, write_description
from nasbench_rec.datasets.table import Table, TableConfig

from nasbench_rec.errors import ConfigError, DataError, StoreError

ROWS = 400
NINE = tuple(f"field{n}" for n in range(9))


def clicks(rng: np.random.Generator, share: float = 0.4) -> list[str]:
    return [str(int(y)) for y in rng.random(ROWS) < share]


def nine() -> dict[str, list[str]]:
    rng = np.random.default_rng(0)
    return {"click": clicks(rng)} | {name: [f"v{v}" for v in rng.integers(0, 9, ROWS)] for name in NINE}


def mixed() -> dict[str, list[str]]:
    rng = np.random.default_rng(1)
    genres = ["Action", "Drama", "War", "Comedy", "Horror"]
    start = datetime.datetime(2024, 5, 1)
    return {
        "row": [str(n) for n in range(ROWS)],
        "is_click": clicks(rng),
        "user_id": [str(v) for v in rng.integers(10**9, 10**9 + 90, ROWS)],
        "age": [str(v) if v % 9 else "NA" for v in rng.integers(10, 80, ROWS)],
        "price": [f"{v:.2f}" for v in rng.exponential(9, ROWS)],
        "weekday": [str(v) for v in rng.integers(0, 7, ROWS)],
        "zip": [f"{v:05d}" for v in rng.integers(0, 200, ROWS)],
        "city": [("New York", "Paris", "", "São Paulo")[v] for v in rng.integers(0, 4, ROWS)],
        "genres": ["|".join(rng.choice(genres, rng.integers(1, 4), replace=False)) for _ in range(ROWS)],
        "time": [str(start + datetime.timedelta(minutes=int(v))) for v in rng.integers(0, 10**4, ROWS)],
        "stamp_ts": [str(v) for v in rng.integers(1_700_000_000, 1_700_900_000, ROWS)],
        "converted": clicks(rng, 0.1),
        "same": ["x"] * ROWS,
        "none": [""] * ROWS,
    }


KINDS = {
    "label": "is_click",
    "categorical": ["user_id", "weekday", "zip", "city"],
    "numeric": ["age", "price"],
    "multi": ["genres"],
    "ignore": ["row", "time", "stamp_ts", "converted", "same", "none"],
}


def delimited(columns: Mapping[str, list[str]], separator: str = ",", header: bool = True) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    writer.writerows([[*columns]] if header else [])
    writer.writerows(zip(*columns.values(), strict=True))
    return file.getvalue()


def parsed(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def read(folder: Path, name: str, content: str | bytes) -> dict[str, Any]:
    """Describe a file, encode it as described, and return what the TOML says."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    path = write_description(folder / name)
    data = Table.read(path).prepare(folder)
    assert sum(len(data.split(split)) for split in ("train", "valid", "test")) == ROWS
    return parsed(path)


def test_nine_categorical_columns(tmp_path: Path) -> None:
    said = read(tmp_path, "clicks.csv", delimited(nine()))
    assert said == {"name": "clicks", "files": "clicks.csv", "label": "click", "categorical": list(NINE)}


@pytest.mark.parametrize(
    ("name", "separator", "keys"),
    [
        ("m.csv", ",", {}),
        ("m.tsv", "\t", {}),
        ("m.csv", ";", {"separator": ";"}),
        ("m.csv", "\t", {"separator": "\t"}),
        ("m.txt", ",", {"format": "csv"}),
        ("m.dat", "\t", {"format": "tsv"}),
        ("m.csv.gz", ",", {}),
    ],
)
def test_columns_of_all_kinds(tmp_path: Path, name: str, separator: str, keys: dict[str, str]) -> None:
    text = delimited(mixed(), separator)
    said = read(tmp_path, name, gzip.compress(text.encode()) if name.endswith("gz") else text)
    assert said == {"name": "m", "files": name, "missing": ["NA"], "values_separator": "|", **keys, **KINDS}


def test_what_was_seen_stands_beside_each_column(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(delimited(mixed()), encoding="utf-8")
    text = describe(tmp_path / "m.csv")
    assert "from all 400 rows of m.csv" in text
    lines = {line.split('"')[1]: line for line in text.splitlines() if line.startswith('  "')}
    assert 'whole numbers, 7 values, none missing, such as "' in lines["weekday"]
    assert "% missing" in lines["age"] and "% missing" in lines["city"]
    assert "another value in every row" in lines["row"]
    assert "a second label? It would tell the answer" in lines["converted"]
    assert "the same in every row" in lines["same"]
    assert "every cell is missing" in lines["none"]
    assert 'several values, with "|" between' in lines["genres"]
    assert "a time: a split can go by it" in lines["time"]
    assert '# split = "time"\n# split_columns = ["time"]' in text
    assert "% are 1" in text
    assert "# missing: \"NA\" in 'age'; take out what is a value like others." in text
    assert "from the first 50 rows of m.csv" in describe(tmp_path / "m.csv", rows=50)


def test_the_settings_that_it_proposes_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(delimited(mixed()), encoding="utf-8")
    text = write_description(tmp_path / "m.csv").read_text(encoding="utf-8")
    head, _, tail = text.partition("# Other settings, each with an example:\n")
    (tmp_path / "m.toml").write_text(head + re.sub("(?m)^# ", "", tail), encoding="utf-8")
    table = Table.read(tmp_path / "m.toml")
    assert table.config.split == "time"
    table.prepare(tmp_path)


def test_without_a_header(tmp_path: Path) -> None:
    said = read(tmp_path, "c.csv", delimited(nine(), header=False))
    assert said["header"] is False
    assert said["columns"] == [f"c{n}" for n in range(1, 11)]
    assert said["label"] == "c1" and len(said["categorical"]) == 9


def test_quoted_cells_with_line_ends(tmp_path: Path) -> None:
    columns = nine()
    columns["field3"] = [f'{v},"so"\nfar' for v in columns["field3"]]
    said = read(tmp_path, "c.csv", delimited(columns))
    assert said["categorical"] == list(NINE) and "quotes" not in said
    assert read(tmp_path, "d.tsv", delimited(columns, "\t"))["quotes"] is True


def test_quotes_that_are_letters(tmp_path: Path) -> None:
    columns = nine()
    columns["field3"] = ['5" screen' if n % 3 else '"' for n in range(ROWS)]
    text = "\n".join([",".join(columns), *(",".join(row) for row in zip(*columns.values(), strict=True))])
    assert read(tmp_path, "c.csv", text)["quotes"] is False


def test_letters_that_are_not_utf8(tmp_path: Path) -> None:
    said = read(
        tmp_path, "c.csv", delimited({**nine(), "city": ["Köln", "Århus"] * (ROWS // 2)}).encode("cp1252")
    )
    assert said["encoding"] == "cp1252"
    assert "not UTF-8: cp1252 is a guess; look whether" in (tmp_path / "c.toml").read_text(encoding="utf-8")


def test_parquet(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "Label": rng.random(ROWS) < 0.5,
            "item": rng.choice(["a", "b", "c"], ROWS),
            "genres": [["x", "y"][: n % 3] for n in range(ROWS)],
            "amount": rng.exponential(3, ROWS),
            "at": [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=n) for n in range(ROWS)],
            "nested": [{"k": 1}] * ROWS,
            "bytes": [b"\xff"] * ROWS,
        }
    )
    (tmp_path / "p").mkdir()
    frame.head(100).write_parquet(tmp_path / "p" / "1.parquet")
    frame.tail(-100).write_parquet(tmp_path / "p" / "2.parquet")
    path = write_description(tmp_path / "p")
    assert path == tmp_path / "p.toml"
    assert parsed(path) == {
        "name": "p",
        "files": "p",
        "label": "Label",
        "categorical": ["item"],
        "multi": ["genres"],
        "numeric": ["amount"],
        "ignore": ["at", "nested", "bytes"],
    }
    assert len(Table.read(path).prepare(None).fields) == 3


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"p\.parquet is not a Parquet file"):
        describe(tmp_path / "p.parquet")


def sparse(kind: str) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for n in range(ROWS):
        ids = rng.integers(0, 5, 3) + [0, 10, 20]
        entries = [f"{f}:{i}:1" if kind.startswith("libffm") else f"{i}:1" for f, i in enumerate(ids)]
        more = {"bag": ["77:1"] * (n % 2), "libffm several": ["1:99:1"] * (n % 2)}.get(kind, [])
        yield " ".join([str(n % 2 * 2 - 1), *entries, *more])


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("libsvm", {"categorical": ["f1", "f2", "f3"]}),
        ("bag", {"multi": ["features"]}),
        ("libffm", {"categorical": ["f0", "f1", "f2"]}),
        ("libffm several", {"categorical": ["f0", "f2"], "multi": ["f1"]}),
    ],
)
def test_libsvm(tmp_path: Path, kind: str, keys: dict[str, Any]) -> None:
    said = read(tmp_path, "train.txt", "\n".join(sparse(kind)))
    format = "libffm" if kind.startswith("libffm") else "libsvm"
    assert said == {"name": "train", "files": "train.txt", "format": format, "label": "label", **keys}


UNKNOWN: dict[str, tuple[Callable[[dict[str, list[str]]], None], str]] = {
    "ratings": (
        lambda columns: columns.update(click=[str(n % 5 + 1) for n in range(ROWS)]),
        '"click" holds 1 to 5, not 0 and 1: name it here, say with `positive`',
    ),
    "several": (
        lambda columns: columns.update(a=columns.pop("click"), b=["0", "1"] * (ROWS // 2)),
        'the label is not known (these hold 0 and 1: "a", "b")',
    ),
    "none": (
        lambda columns: columns.update(click=["yes", "no"] * (ROWS // 2)),
        "no column holds 0 and 1 only",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_label_that_is_not_known(tmp_path: Path, case: str) -> None:
    spoil, words = UNKNOWN[case]
    columns = nine()
    spoil(columns)
    (tmp_path / "c.csv").write_text(delimited(columns))
    path = write_description(tmp_path / "c.csv")
    assert words in path.read_text() and parsed(path)["label"] == ""
    with pytest.raises(ConfigError, match=r"c\.toml: `label` is empty"):
        Table.read(path)


def test_the_only_column_of_zeros_and_ones_is_the_label(tmp_path: Path) -> None:
    columns = nine()
    columns["bought"] = columns.pop("click")
    assert read(tmp_path, "c.csv", delimited(columns))["label"] == "bought"


def guessed(name: str, numbers: np.ndarray) -> str:
    return guess(facts_of(pl.Series(name, numbers))).key


def test_numbers_without_a_telling_name() -> None:
    rng = np.random.default_rng(0)
    popular = np.minimum(rng.zipf(1.3, 20_000) - 1, 2999)
    assert guessed("x", rng.geometric(0.01, 20_000)) == "numeric"
    assert guessed("x", rng.lognormal(5, 1.5, 20_000).astype(int)) == "numeric"
    assert guessed("x", rng.normal(0, 30, 20_000).astype(int)) == "numeric"
    assert guessed("x", rng.permutation(3000)[popular]) == "categorical"
    assert guessed("x", popular + 5000) == "categorical"
    assert guessed("x", rng.integers(0, 40, 20_000)) == "categorical"
    assert guessed("item_id", rng.geometric(0.01, 20_000)) == "categorical"
    assert guessed("itemCount", rng.permutation(3000)[popular]) == "numeric"


@pytest.mark.parametrize("unit", [1, 1000])
def test_seconds_and_milliseconds_are_times(unit: int) -> None:
    stamps = np.random.default_rng(0).integers(1_700_000_000, 1_701_000_000, 1000)
    assert guess(facts_of(pl.Series("x", stamps * unit))).time
    assert not guess(facts_of(pl.Series("user_id", stamps * unit))).time


def test_very_long_numbers_are_texts() -> None:
    cells = [f"{10**19 + n % 7}" for n in range(ROWS)]
    assert facts_of(pl.Series("x", cells)).distinct == 7


def test_where_the_toml_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "My Clicks.2024.csv").write_text(delimited(nine()))
    path = write_description(tmp_path / "My Clicks.2024.csv")
    assert path == tmp_path / "My Clicks.toml" and parsed(path)["name"] == "my-clicks"
    other = write_description(tmp_path / "My Clicks.2024.csv", tmp_path / "in" / "x.toml")
    assert parsed(other)["files"] == "../My Clicks.2024.csv"
    assert Table.read(other).prepare(None).fingerprint == Table.read(path).prepare(None).fingerprint
    assert write_description(tmp_path / "My Clicks.2024.csv") == path
    path.write_text("mine = 1")
    with pytest.raises(StoreError, match=r"My Clicks\.toml is there already, with other content"):
        write_description(tmp_path / "My Clicks.2024.csv")
    assert path.read_text() == "mine = 1"
    write_description(tmp_path / "My Clicks.2024.csv", overwrite=True)
    assert parsed(path)["label"] == "click"


def test_a_folder_of_several_formats(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for name in ("a.csv", "b.parquet"):
        (tmp_path / "p" / name).write_text("")
    with pytest.raises(
        DataError, match=r"data describe: files of several formats \('p/a\.csv', 'p/b\.parquet'\)"
    ):
        describe(tmp_path / "p")


NO_TABLES = {
    "empty": (b"", "is empty"),
    "binary": (b"\x00\x01\x02", "is not a text file, or UTF-16"),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), "is not a text file, or UTF-16"),
    "prose": (b"Once upon a time\nthere was\na file, and it was no table\n", "no separator cuts its lines"),
    "one column": (b"1\n2\n3\n", "no separator cuts its lines"),
}


@pytest.mark.parametrize("case", NO_TABLES)
def test_a_file_that_is_no_table(tmp_path: Path, case: str) -> None:
    content, message = NO_TABLES[case]
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        describe(tmp_path / "x.csv")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "clicks.csv").write_text("")
    with pytest.raises(DataError, match=r"data describe: in .* did you mean 'clicks\.csv'"):
        describe(tmp_path / "click.csv")


def test_a_frame(tmp_path: Path) -> None:
    frame = pl.DataFrame(mixed())
    frame.write_parquet(tmp_path / "m.parquet")
    (tmp_path / "m.toml").write_text(describe_frame(frame, "m", "m.parquet"), encoding="utf-8")
    said = parsed(tmp_path / "m.toml")
    assert {key: said[key] for key in KINDS} == KINDS
    Table.read(tmp_path / "m.toml").prepare(None)


any_text = st.text(st.characters(exclude_categories=["Cs"]))


@given(any_text, any_text)
def test_any_text_survives_as_name_value_and_comment(name: str, note: str) -> None:
    text = "\n".join(
        [pair(name or "k", note), *listing("names", {name: note, note: shown(note)}), comment(note)]
    )
    found = tomllib.loads(text)
    assert found[name or "k"] == note or name == "names"
    if name != "names":
        assert found["names"] == list({name: 0, note: 0})


plain = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_any_value_survives(item: Any) -> None:
    assert tomllib.loads(f"k = {value(item)}")["k"] == item


def test_half_a_letter_is_refused() -> None:
    with pytest.raises(ConfigError, match="half of a surrogate pair"):
        pair("k", "\ud800")


HOSTILE = ['q"uote', "new\nline", "ünï]#= \\", "", " ", "\x7f\x01", "'''", "[table]", "a.b"]


def test_hostile_column_names(tmp_path: Path) -> None:
    columns = dict(zip(["click", *HOSTILE], nine().values(), strict=True))
    said = read(tmp_path, "c.csv", delimited(columns))
    assert said["categorical"] == HOSTILE


def test_every_key_that_is_written_is_a_key_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(delimited(mixed(), ";", header=False), encoding="cp1252")
    assert set(parsed(write_description(tmp_path / "m.csv"))) <= set(TableConfig.__dataclass_fields__)


DOCS = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text(encoding="utf-8")


def block(language: str, start: str) -> str:
    """Return the code block of the documentation that starts so."""
    return next(b for b in re.findall(f"```{language}\n(.*?)```", DOCS, re.DOTALL) if b.startswith(start))


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "make_clicks.py").write_text(block("python", "# make_clicks.py"), encoding="utf-8")
    runpy.run_path("make_clicks.py")
    assert describe(Path("clicks.csv")) == block("toml", "# What `nasbench-rec data describe`")


def test_the_documentation_names_every_key() -> None:
    table = DOCS.partition("## The TOML, key by key")[2].partition("### Splits")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    named = {key for cell in cells for key in re.findall("`([a-z_]+)`", cell)}
    assert named == set(TableConfig.__dataclass_fields__)
