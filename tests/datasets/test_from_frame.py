from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from nasbench_rec.datasets.table import Table, from_frame

from nasbench_rec.data import Dataset
from nasbench_rec.errors import ConfigError, DataError, NasbenchError, StoreError

ROWS = 300


def frame(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "click": (rng.random(rows) < 0.4).astype(int),
            "user": rng.choice(["a", "b", "c", None], rows),
            "item": rng.integers(0, 9, rows),
            "price": rng.exponential(3, rows),
            "genres": ["x|y" if v else "y" for v in rng.integers(0, 2, rows)],
            "note": [f"n{n}" for n in range(rows)],
        }
    )


def prepare(path: Path) -> Dataset:
    return Table.read(path).prepare(None)


def parsed(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_what_is_not_mentioned_is_guessed(tmp_path: Path) -> None:
    path = from_frame(frame(), "clicks", tmp_path / "new", label="click", categorical=["item"], min_count=2)
    assert path == tmp_path / "new" / "clicks.toml"
    assert sorted(item.name for item in path.parent.iterdir()) == ["clicks.parquet", "clicks.toml"]
    assert parsed(path) == {
        "name": "clicks",
        "files": "clicks.parquet",
        "min_count": 2,
        "label": "click",
        "categorical": ["user", "item"],
        "numeric": ["price"],
        "multi": ["genres"],
        "ignore": ["note"],
        "values_separator": "|",
    }
    assert [f.name for f in prepare(path).fields] == ["user", "item", "price", "genres"]
    assert 'whole numbers, 9 values, none missing, such as "' in path.read_text()


def test_pandas_and_polars_give_the_same_data(tmp_path: Path) -> None:
    one = from_frame(frame(), "one", tmp_path, label="click")
    other = from_frame(pl.from_pandas(frame()), "other", tmp_path, label="click")
    arrow = from_frame(pl.from_pandas(frame()).to_arrow(), "arrow", tmp_path, label="click")
    assert prepare(one).fingerprint == prepare(other).fingerprint == prepare(arrow).fingerprint


def repeat(*some: Any) -> list[Any]:
    return [some[n % len(some)] for n in range(ROWS)]


SERIES: dict[str, tuple[Callable[[], pd.Series], set[str]]] = {
    "Int64": (lambda: pd.Series(repeat(1, None), dtype="Int64"), {"1", "<missing>"}),
    "boolean": (lambda: pd.Series(repeat(True, None), dtype="boolean"), {"true", "<missing>"}),
    "string": (lambda: pd.Series(repeat("x", None), dtype="string"), {"x", "<missing>"}),
    "object": (lambda: pd.Series(repeat("x", None, float("nan")), dtype=object), {"x", "<missing>"}),
    "category": (lambda: pd.Series(repeat("x", None), dtype="category"), {"x", "<missing>"}),
    "category of numbers": (lambda: pd.Series(repeat(3, 4)).astype("category"), {"3", "4"}),
    "float": (lambda: pd.Series(repeat(1.5, None)), {"1.5", "<missing>"}),
    "datetime": (
        lambda: pd.Series(pd.to_datetime(repeat("2024-05-01", None))).astype("datetime64[us]"),
        {"2024-05-01 00:00:00.000000", "<missing>"},
    ),
    "zone": (
        lambda: (
            pd.Series(pd.to_datetime(repeat("2024-05-01"))).dt.tz_localize("UTC").astype("datetime64[s, UTC]")
        ),
        {"2024-05-01 00:00:00.000+00:00"},
    ),
    "period": (
        lambda: pd.Series(pd.PeriodIndex(repeat("2024-05", "2024-06"), freq="M")),
        {"2024-05", "2024-06"},
    ),
    "interval": (lambda: pd.cut(pd.Series(repeat(1, 9)), [0, 5, 10]), {"(0, 5]", "(5, 10]"}),
    "arrow": (lambda: pd.Series(repeat("x", None), dtype="string[pyarrow]"), {"x", "<missing>"}),
}


@pytest.mark.parametrize("name", SERIES)
def test_every_type_of_pandas(tmp_path: Path, name: str) -> None:
    make, expected = SERIES[name]
    path = from_frame(frame().assign(a=make()), "t", tmp_path, label="click", categorical=["a"])
    words = prepare(path).vocabulary("a").query("kind in ('value', 'missing')")["value"]
    assert set(words) == expected


def test_polars_categories_and_lists(tmp_path: Path) -> None:
    table = pl.from_pandas(frame()).with_columns(
        pl.col("user").cast(pl.Categorical),
        pl.col("genres").str.split("|"),
        e=pl.lit("q").cast(pl.Enum(["q", "r"])),
    )
    path = from_frame(table, "t", tmp_path, label="click", categorical="e", ignore=["note"])
    assert parsed(path)["multi"] == ["genres"] and "values_separator" not in parsed(path)
    assert set(prepare(path).vocabularies["genres"][2:]) == {"x", "y"}


def test_a_frame_for_each_split(tmp_path: Path) -> None:
    parts = {"test": frame(2, 50), "train": frame(0), "valid": frame(1, 60)}
    path = from_frame(parts, "t", tmp_path, label="click", multi=["genres"])
    assert parsed(path)["split"] == "published" and parsed(path)["test_files"] == "t-test.parquet"
    data = prepare(path)
    assert [len(data.split(name)) for name in ("train", "valid", "test")] == [ROWS, 60, 50]
    assert np.array_equal(data.split("test").labels, frame(2, 50)["click"])


def test_an_index_with_a_name_is_a_column(tmp_path: Path) -> None:
    path = from_frame(frame().set_index(["user", "item"]), "t", tmp_path, label="click")
    assert parsed(path)["categorical"] == ["user", "item"]
    assert "index" not in path.read_text()


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = from_frame(frame().rename(columns={"user": 7}), "t", tmp_path, label="click")
    assert "7" in parsed(path)["categorical"]


def test_all_settings_of_a_table(tmp_path: Path) -> None:
    path = from_frame(
        frame(),
        "t",
        tmp_path,
        label="price",
        positive=3.0,
        categorical=["user", "note"],
        multi=["genres"],
        ignore=["click", "item"],
        values_separator="|",
        split="group",
        split_columns="note",
        learn="all",
        protocol={"epochs": 3, "hidden": (8, 4)},
    )
    config = Table.read(path).config
    assert config.protocol == {"epochs": 3, "hidden": [8, 4]} and config.split_columns == ("note",)
    data = prepare(path)
    assert data.origin["split"]["columns"] == ["note"]


def test_another_separator_than_the_guessed_one(tmp_path: Path) -> None:
    table = frame().assign(tags=["p;q" if n % 2 else "q" for n in range(ROWS)])
    path = from_frame(table, "t", tmp_path, label="click", multi=["tags"], values_separator=";")
    assert parsed(path)["values_separator"] == ";"
    assert parsed(path)["multi"] == ["tags"] and "genres" in parsed(path)["categorical"]
    assert set(prepare(path).vocabularies["tags"][2:]) == {"p", "q"}


def test_what_is_there_already_is_kept(tmp_path: Path) -> None:
    path = from_frame(frame(), "t", tmp_path, label="click")
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    assert from_frame(frame(), "t", tmp_path, label="click") == path
    with pytest.raises(
        StoreError, match=r"t\.parquet is there already, with other content; .* overwrite=True"
    ):
        from_frame(frame(1), "t", tmp_path, label="click")
    with pytest.raises(StoreError, match=r"t\.toml is there already, with other content"):
        from_frame(frame(), "t", tmp_path, label="click", min_count=3)
    assert {item.name: item.read_bytes() for item in tmp_path.iterdir()} == before
    from_frame(frame(1), "t", tmp_path, label="click", overwrite=True)
    assert (tmp_path / "t.parquet").read_bytes() != before["t.parquet"]


WRONG: dict[str, tuple[Callable[[], Any], dict[str, Any], str]] = {
    "label": (frame, {"label": "clik"}, r"from_frame: label: unknown column 'clik'; did you mean 'click'"),
    "column": (
        frame,
        {"categorical": ["usr"]},
        r"from_frame: categorical: unknown column 'usr'; did you mean 'user'",
    ),
    "setting": (frame, {"min_cont": 2}, r"from_frame: unknown setting 'min_cont'; did you mean 'min_count'"),
    "value": (frame, {"min_count": 0}, r"min_count is 0"),
    "ours": (frame, {"files": "x"}, r"from_frame: files: cannot be given"),
    "twice": (
        frame,
        {"categorical": ["item"], "numeric": ["item"]},
        r"'item' stands in `categorical` and in `numeric`",
    ),
    "split": (
        lambda: {"train": frame()},
        {},
        r"a frame each for train, valid, test makes published splits; got train",
    ),
    "no frame": (lambda: [1, 2], {}, r"the frame is a list; give a pandas or polars DataFrame"),
    "no rows": (lambda: frame().head(0), {}, r"the frame has no rows"),
    "two columns": (lambda: pd.concat([frame(), frame()], axis=1), {}, r"the frame has two columns 'click'"),
    "mixed": (
        lambda: frame().assign(m=repeat(1, "x")),
        {},
        r"the frame, column 'm': .*; make its values of one type, as by frame\['m'\]\.astype\(str\)",
    ),
    "types": (
        lambda: {"train": frame(), "valid": frame(), "test": frame().assign(item=1.5)},
        {},
        r"the frame of test, column 'item': holds numbers, but integers in the frame of train",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_message_and_writes_nothing(tmp_path: Path, case: str) -> None:
    make, settings, message = WRONG[case]
    with pytest.raises(NasbenchError, match=message):
        from_frame(make(), "t", tmp_path, **{"label": "click", **settings})
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only lower-case letters"):
        from_frame(frame(), "../T", tmp_path, label="click")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be written"):
        from_frame(frame(), "t", tmp_path / "file", label="click")


def test_nested_values_are_ignored_with_a_reason(tmp_path: Path) -> None:
    path = from_frame(frame().assign(s=[{"k": 1}] * ROWS), "t", tmp_path, label="click")
    assert "s" in parsed(path)["ignore"] and "struct<" in path.read_text()
    with pytest.raises(DataError, match="column 's': struct"):
        prepare(
            from_frame(frame().assign(s=[{"k": 1}] * ROWS), "u", tmp_path, label="click", categorical=["s"])
        )
