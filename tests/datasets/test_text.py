"""Delimited text: cells as they were written, and the right line in every error."""

from __future__ import annotations

from pathlib import Path

import pytest
from nasbench_rec.datasets import _files
from nasbench_rec.datasets._batches import Batch, refuse
from nasbench_rec.datasets._files import SourceFile
from nasbench_rec.datasets._text import TextLayout, header_of, read_text

from nasbench_rec.errors import DataError

LAYOUT = TextLayout(("y", "a", "b"), quotes=True)
PLAIN = TextLayout(("y", "a", "b"))


def batches(tmp_path: Path, text: str, layout: TextLayout = LAYOUT) -> list[Batch]:
    (tmp_path / "t.csv").write_bytes(text.encode(layout.encoding))
    return list(read_text(SourceFile(tmp_path / "t.csv"), layout))


def rows(tmp_path: Path, text: str, layout: TextLayout = LAYOUT) -> list[tuple[str | None, ...]]:
    return [row for batch in batches(tmp_path, text, layout) for row in batch.frame.iter_rows()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('1,"x,y",z', ("1", "x,y", "z")),
        ('1,"x\ny","z\n"', ("1", "x\ny", "z\n")),
        ('1,"x\r\ny",z', ("1", "x\ny", "z")),
        ('1,"say ""hi""",""""', ("1", 'say "hi"', '"')),
        ('1,"",', ("1", None, None)),
        ("1,,x", ("1", None, "x")),
        ('"1"," x ", y ', ("1", " x ", " y ")),
        ('1,"NA",NA', ("1", "NA", "NA")),
        ("1,#x,//y", ("1", "#x", "//y")),
        ("1,\x00,\u2028\u0085", ("1", "\x00", "\u2028\u0085")),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_cells_with_quotes(line: str, expected: tuple[str | None, ...], end: str, tmp_path: Path) -> None:
    first, last = ("0", "p", "q"), ("1", "r", "s")
    text = end.join(["y,a,b", "0,p,q", line, "1,r,s", ""])
    assert rows(tmp_path, text) == [first, expected, last]


def test_without_quoting_a_quote_is_a_letter(tmp_path: Path) -> None:
    assert rows(tmp_path, 'y,a,b\n1,"x",5" disk\n', PLAIN) == [("1", '"x"', '5" disk')]


def test_missing_marks_are_whole_cells(tmp_path: Path) -> None:
    layout = TextLayout(("y", "a", "b"), quotes=True, missing=("NA", r"\N"))
    assert rows(tmp_path, 'y,a,b\n1,NA,"NA"\n0,\\N,xNA\n1,,""\n', layout) == [
        ("1", None, None),
        ("0", None, "xNA"),
        ("1", None, None),
    ]


def test_cells_do_not_depend_on_a_quote_elsewhere_in_the_block(tmp_path: Path) -> None:
    text = "y,a,b\n1,,x\n0,NA, \n"
    layout = TextLayout(("y", "a", "b"), quotes=True, missing=("NA",))
    assert rows(tmp_path, text + '1,"q",r\n', layout)[:2] == rows(tmp_path, text, layout)


@pytest.mark.parametrize("separator", ["\t", ";", "::", "¦", "\x01", " ", "|+|"])
def test_separators(separator: str, tmp_path: Path) -> None:
    layout = TextLayout(("y", "a", "b"), separator=separator)
    lines = [("y", "a", "b"), ("1", "é,x", ""), ("0", "\x1f", "z:")]
    text = "".join(separator.join(line) + "\n" for line in lines)
    assert rows(tmp_path, text, layout) == [("1", "é,x", None), ("0", "\x1f", "z:")]
    with pytest.raises(DataError, match=r"line 4: 2 cells instead of 3: ") as caught:
        rows(tmp_path, text + separator.join(("1", "x")) + "\n", layout)
    assert repr(separator.join(("1", "x"))) in str(caught.value)


@pytest.mark.parametrize("lines", [(0, 1), (1, 0), (1, 1, 1)])
def test_cells_that_are_missing_here_and_too_many_there(lines: tuple[int, ...], tmp_path: Path) -> None:
    """Polars fills short lines, and the number of separators in all is right."""
    text = "y,a,b\n0,p,q\n" + "".join("1,x,y,z\n" if more else "1,x\n" for more in lines)
    with pytest.raises(DataError, match=rf"line 3: {4 if lines[0] else 2} cells instead of 3"):
        rows(tmp_path, text, PLAIN)


def test_columns_come_in_the_order_of_the_layout(tmp_path: Path) -> None:
    assert rows(tmp_path, 'b,"y",a\nq,1,p\n') == [("1", "p", "q")]


def test_names_may_need_quotes(tmp_path: Path) -> None:
    layout = TextLayout(("y", "a,\nb"), quotes=True)
    found = batches(tmp_path, 'y,"a,\nb"\n1,x\n0,z\n', layout)
    assert [batch.frame.rows() for batch in found] == [[("1", "x"), ("0", "z")]]
    assert found[0].where(0).endswith("t.csv, line 3")


@pytest.mark.parametrize("text", ["a\rb,c\nd", '"' + "x" * 200_000 + '"\n'])
def test_first_line_that_is_no_csv(text: str) -> None:
    assert header_of(text, ",", quotes=True) == (text.split("\n")[0].split(","), 1)


def test_header_of_one_column(tmp_path: Path) -> None:
    layout = TextLayout(("y",), quotes=True)
    assert rows(tmp_path, "y\n1\n\n0\n\n\n", layout) == [("1",), (None,), ("0",)]
    assert rows(tmp_path, 'y\n1\n""\n0\n', layout) == [("1",), (None,), ("0",)]


@pytest.mark.parametrize("block", [16, 40, 8 << 20])
def test_every_row_knows_its_line(block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "BLOCK", block)
    text, lines = "y,a,b\n", []
    for n in range(40):
        lines.append(text.count("\n") + 1)
        inner = "\n" * (n % 3)
        text += f'{n % 2},"{inner}x{n}",\n' if n % 5 == 0 else f"{n % 2},x{n},\n"
    found = batches(tmp_path, text)
    assert (len(found) > 5) == (block < 100)
    places = [batch.where(row) for batch in found for row in range(len(batch.frame))]
    assert places == [f"{tmp_path / 't.csv'}, line {line}" for line in lines]


def test_refusal_names_the_first_wrong_row(tmp_path: Path) -> None:
    batch = batches(tmp_path, 'y,a,b\n0,"x\ny",\n1,p,\n0,q,\n')[0]
    with pytest.raises(DataError, match=r"line 4, column 'a': found 'p', expected r; mend it"):
        refuse(batch, batch.frame["a"].is_in(["p", "q"]), "a", "r")


def test_published_files_tell_the_split(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("y,a,b\n1,p,q\n")
    assert [b.split for b in read_text(SourceFile(tmp_path / "t.csv"), PLAIN, split="valid")] == ["valid"]
