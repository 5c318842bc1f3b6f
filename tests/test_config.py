"""Configurations: strict reading, the canonical form, and files that are whole or not there."""

from __future__ import annotations

import datetime
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_rec.config import build, canonical, content_key, literal, plain, read_toml, write_text
from nasbench_rec.errors import ConfigError, StoreError
from nasbench_rec.protocol import Protocol


@dataclass(frozen=True)
class Settings:
    rate: float = 0.5
    steps: int = 3
    kind: Literal["one", "two"] = "one"
    widths: tuple[int, ...] = (1, 2)
    limit: int | None = None
    on: bool = False


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stepz": 3}, "here: unknown setting 'stepz'; did you mean 'steps'? Known: kind, limit"),
        ({"qqqqqq": 3}, "here: unknown setting 'qqqqqq'. Known:"),
        ({"steps": "3"}, "here: steps = '3': Input should be a valid integer"),
        ({"steps": 3.5}, "here: steps = 3.5:"),
        ({"steps": True}, "here: steps = True:"),
        ({"rate": "fast"}, "here: rate = 'fast':"),
        ({"on": 1}, "here: on = 1:"),
        ({"kind": "three"}, "here: kind = 'three': Input should be 'one' or 'two'"),
        ({"widths": [1, "x"]}, "here: widths.1 = 'x':"),
        ({"widths": 3}, "here: widths = 3:"),
        ({"limit": "none"}, "here: limit = 'none':"),
    ],
)
def test_what_is_wrong_is_named_with_its_value(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(Settings, values, "here")
    assert says in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, datetime.date(2026, 1, 1), object(), {1, 2}])
def test_values_that_no_file_can_hold_are_refused(value: Any) -> None:
    """TOML knows nan, inf and dates."""
    with pytest.raises(ConfigError, match="here: "):
        build(Settings, {"rate": value}, "here")


def test_whole_numbers_are_numbers() -> None:
    found = build(Settings, {"rate": 1, "widths": [4], "limit": None}, "here")
    assert found == Settings(rate=1.0, widths=(4,)) and isinstance(found.rate, float)
    assert canonical(found) == canonical(build(Settings, {"rate": 1.0, "widths": (4,)}, "here"))


def test_what_was_written_can_be_read_again() -> None:
    for found in (Settings(), Settings(0.25, 7, "two", (), 4, True)):
        assert build(Settings, plain(found), "record") == found


@pytest.mark.parametrize(
    ("setting", "value"),
    [("dim", 0), ("hidden", [0]), ("dropout", 1.0), ("lr", 0.0), ("search_fraction", 1.0), ("lr_factor", 0.0)]
    + [("patience", -1), ("epochs", 0), ("embedding_l2", -1e-9), ("batch_size", 0)],
)
def test_a_protocol_that_makes_no_sense_names_the_setting(setting: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{setting} = .*: must be"):
        build(Protocol, {setting: value}, "protocol")


def test_every_setting_of_the_protocol_is_documented() -> None:
    from dataclasses import fields

    assert all(f.metadata["help"] for f in fields(Protocol))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_order_does_not_matter_to_a_key(values: dict[str, Any]) -> None:
    turned = dict(reversed(values.items()))
    assert canonical(values) == canonical(turned) and content_key(values) == content_key(turned)


def test_keys_are_hashes_of_the_content() -> None:
    assert content_key(Settings()) == content_key(plain(Settings())) != content_key(Settings(steps=4))
    assert content_key({"a": (1, 2)}) == content_key({"a": [1, 2]}) != content_key({"a": [2, 1]})
    assert len(content_key(1)) == 20 and set(content_key(1)) <= set("0123456789abcdef")
    assert content_key(Path("a/b")) == content_key("a/b")
    with pytest.raises(ValueError):
        content_key(math.nan)


def test_toml_errors_name_the_file_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    with pytest.raises(ConfigError, match="board.toml: cannot be read .*give the path"):
        read_toml(path)
    path.write_text("a = 1\nb = = 2\n")
    with pytest.raises(ConfigError, match=r"board.toml: is not valid TOML: .*line 2"):
        read_toml(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="board.toml: is not valid TOML"):
        read_toml(path)
    path.write_text("a = 1\n[b]\nc = 'd'\n")
    assert read_toml(path) == {"a": 1, "b": {"c": "d"}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("[4, 2]", [4, 2]),
        ("masked", "masked"),
        ("", ""),
    ],
)
def test_values_on_the_command_line(text: str, value: Any) -> None:
    assert literal(text) == value


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "ä old")
    assert path.read_text(encoding="utf-8") == "ä old"

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(StoreError, match="file.txt: cannot be written .No space left"):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "ä old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_writing_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose a folder"):
        write_text(tmp_path / "file" / "below", "x")
