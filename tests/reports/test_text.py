"""Numbers as people read them, and what escaping must stop."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasbench_rec.reports._text import (
    byte_size,
    clean,
    decimals,
    encoded,
    fitted,
    fitted_label,
    latex_escape,
    letters,
    markdown_escape,
    one_line,
    score,
    seconds,
    three_digits,
    wrapped,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (512.4, "512 B"),
        (1536, "1.50 KiB"),
        (83_000, "81.1 KiB"),
        (1024**2, "1.00 MiB"),
        (3e12, "2.73 TiB"),
    ],
)
def test_bytes(value, text):
    assert byte_size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (0.001, "<.01 s"), (0.456, "0.46 s"), (12.34, "12.3 s"), (599, "599 s"), (912, "15.2 min")]
    + [(7_800, "2.2 h")],
)
def test_seconds(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "places", "signed", "text"),
    [
        (0.81234, 4, False, ".8123"),
        (0.81234, 5, False, ".81234"),
        (0.0012, 4, True, "+.0012"),
        (-0.0012, 4, True, "-.0012"),
        (1.25, 4, False, "1.2500"),
        (10.5, 4, True, "+10.5000"),
    ],
)
def test_scores(value, places, signed, text):
    assert score(value, places, signed) == text


def test_five_decimals_where_the_seeds_hardly_differ():
    assert [decimals(sd) for sd in (0.0, 9e-5, 1e-4, math.nan)] == [5, 5, 4, 4]


@pytest.mark.parametrize("form", [byte_size, seconds, score, three_digits])
def test_unknown_is_empty(form):
    assert form(math.nan) == ""


@settings(deadline=None)
@given(st.floats(1e-6, 1e15))
def test_three_digits_never_uses_an_exponent(value):
    text = three_digits(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.006, abs=1e-6)


def test_one_line_is_the_first_with_content():
    assert one_line("\n  \n  first  line\nsecond") == "first line"
    assert one_line("") == ""
    assert one_line("x" * 99, 10) == "x" * 9 + "…"


def test_clean_takes_out_what_moves_the_cursor_or_the_direction():
    assert clean("a\x1b[31mb\u202ec\ud800d\ne") == "a [31mb c d e"
    assert clean("a\nb", keep="\n") == "a\nb"


def test_markdown_is_inert():
    escaped = markdown_escape("<b>|`x`*y*[z](u)_w_ $m$ a&b\nc")
    assert escaped == r"&lt;b&gt;\|\`x\`\*y\*\[z\](u)\_w\_ \$m\$ a&amp;b c"


def test_latex_is_inert():
    assert latex_escape("a&b_c%d#e$f{g}") == r"a\&b\_c\%d\#e\$f\{g\}"
    assert latex_escape(r"\input~^") == r"\textbackslash{}input\textasciitilde{}\textasciicircum{}"
    assert latex_escape("[x]* é 名") == "{[}x{]}{*} é U+540D"


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_written(text):
    for form in (markdown_escape, latex_escape, one_line, clean):
        assert "\n" not in form(text)
        encoded(form(text)).decode()


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("名前名前", 8, "名前名前"),
        ("名前名前", 7, "名前名…"),
        ("e\u0301" * 3, 3, "e\u0301" * 3),
        ("a b", 2, "a…"),
    ],
)
def test_texts_are_cut_to_their_width(text: str, width: int, shown: str) -> None:
    assert fitted(text, width) == shown
    assert letters(shown) <= width


@given(st.text(), st.integers(4, 40), st.integers(1, 3))
@settings(deadline=None)
def test_wrapped_lines_are_never_wider_nor_more(text: str, width: int, lines: int) -> None:
    found = wrapped(text, width, lines)
    assert 1 <= len(found) <= lines
    assert all(letters(line) <= width for line in found)


def test_lines_break_between_words_and_say_that_they_were_cut() -> None:
    assert wrapped("one two three", 8) == ["one two", "three"]
    assert wrapped("one two three four", 8) == ["one two", "three f…"]
    assert wrapped("名前" * 4, 8) == ["名前名前", "名前名前"]


@pytest.mark.parametrize(
    ("label", "width", "shown"),
    [
        ("mde @ 1/2", 20, "mde @ 1/2"),
        ("a_long_method @ 1/2", 12, "a_lon… @ 1/2"),
        ("a_long_method", 6, "a_lon…"),
        ("a @ a very long tail", 10, "a @ a ver…"),
    ],
)
def test_labels_keep_their_budget(label: str, width: int, shown: str) -> None:
    assert fitted_label(label, width) == shown and letters(shown) <= width
