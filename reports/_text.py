"""Numbers and foreign text as people read them; the escaping rules of each output format."""

from __future__ import annotations

import math
import re
import unicodedata

FINE_SD = 1e-4
"""A score whose spread over seeds is below this is printed with five decimals instead of four."""

HEADING = 400
"""Characters of a data set's or a backbone's name: both may list settings, which tell sections apart."""


def decimals(sd: float) -> int:
    """Return how many decimals a score with spread `sd` (NaN: unknown) deserves."""
    return 5 if sd < FINE_SD else 4


def score(value: float, places: int = 4, signed: bool = False) -> str:
    """Return a score as the field prints it: `.8123`, signed `+.0012`; empty for NaN."""
    if math.isnan(value):
        return ""
    text = f"{value:{'+' if signed else ''}.{places}f}"
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def byte_size(value: float) -> str:
    """Return bytes with a binary unit and three digits: `512 B`, `1.50 KiB`; empty for NaN."""
    if math.isnan(value):
        return ""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{round(value)} B" if unit == "B" else f"{three_digits(value)} {unit}"


def three_digits(value: float) -> str:
    """Return a number with three significant digits and no exponent; empty for NaN."""
    if math.isnan(value) or value == 0:
        return "" if math.isnan(value) else "0"
    if not math.isfinite(value):
        return str(value)
    exponent = math.floor(math.log10(abs(float(f"{value:.2e}"))))
    return f"{value:.{min(max(2 - exponent, 0), 6)}f}"


def seconds(value: float) -> str:
    """Return a time in seconds, from ten minutes on in minutes, from two hours on in hours."""
    if math.isnan(value) or value == 0:
        return "" if math.isnan(value) else "0 s"
    if value < 600:
        return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} s" if value >= 0.005 else "<.01 s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


_HYPHEN = re.compile(r"(?<!\w)-(?=[.\d])")
"""Before a number; not that of `sign-flip` or `1e-05`."""


def minus(text: str) -> str:
    """Return text with true minus signs before its numbers."""
    return _HYPHEN.sub("−", text)


def clean(text: object, keep: str = "") -> str:
    """Return `text` with control, direction and surrogate characters (but those in `keep`) as spaces."""
    return "".join(c if c in keep or not unicodedata.category(c).startswith("C") else " " for c in str(text))


def letters(text: str) -> int:
    """Return how many letters wide a text is: those of East Asian scripts count twice, accents of their own not."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def fitted(text: object, width: int) -> str:
    """Return the first line with content, cut to the width of so many letters: for where space is short."""
    line = one_line(text, 4 * width)
    if letters(line) <= width:
        return line
    while letters(line) >= width:
        line = line[:-1]
    return f"{line.rstrip()}…"


def fitted_label(label: str, width: int) -> str:
    """Return a label cut to the width of so many letters, its plan budget (after @) kept."""
    name, at, budget = label.rpartition(" @ ")
    tail = f" @ {budget}"
    if not at or letters(label) <= width or letters(tail) > width // 2:
        return fitted(label, width)
    return f"{fitted(name, width - letters(tail))} @ {one_line(budget)}"


def wrapped(text: object, width: int, lines: int = 2) -> list[str]:
    """Return a text as at most `lines` lines of the width of so many letters; what does not fit ends in …."""
    found, words = [""], _pieces(one_line(text, 4 * width * lines), width)
    for word in words:
        if found[-1] and letters(f"{found[-1]} {word}") > width:
            found.append("")
        found[-1] = f"{found[-1]} {word}".strip()
    if len(found) <= lines:
        return found
    return [*found[: lines - 1], fitted(" ".join(found[lines - 1 :]), width)]


def _pieces(text: str, width: int) -> list[str]:
    """Return the words of a text, those wider than a line in pieces."""
    pieces: list[str] = []
    for word in text.split():
        pieces.append("")
        for c in word:
            if letters(pieces[-1] + c) > width:
                pieces.append("")
            pieces[-1] += c
    return pieces


def one_line(text: object, limit: int = 120) -> str:
    """Return the first line with content, at most `limit` characters long."""
    lines = [line for line in clean(text, keep="\n").split("\n") if line.strip()]
    first = " ".join(lines[0].split()) if lines else ""
    return first if len(first) <= limit else f"{first[: limit - 1].rstrip()}…"


_MARKDOWN = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " "} | {c: f"\\{c}" for c in "\\`*_[]#|~$"}
)


def markdown_escape(text: object) -> str:
    """Return `text` for a cell of a GitHub table: no markup, HTML, mathematics or column break."""
    return clean(text).translate(_MARKDOWN)


_LATEX = (
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"[": "{[}", "]": "{]}", "±": r"$\pm$", "−": "$-$", "—": "---", "…": r"\ldots{}", "*": "{*}"}
)


def latex_escape(text: object) -> str:
    r"""Return `text` for LaTeX text mode; brackets and stars are safe after a line break (`\\`) too.

    Characters that pdfLaTeX may not know (all beyond accented Latin letters) are given by number: `U+540D`.
    """
    return "".join(_LATEX.get(c) or _latex_character(c) for c in clean(text))


def _latex_character(c: str) -> str:
    return c if ord(c) < 128 or ("À" <= c <= "ÿ" and c not in "ÐðÞþ") else f"U+{ord(c):04X}"


def encoded(text: str) -> bytes:
    """Return UTF-8; a lone surrogate, which no file may hold, is written as its escape."""
    return text.encode("utf-8", errors="backslashreplace")


def storable(text: str) -> str:
    """Return text that a file or a frame can hold: a lone surrogate, which JSON can name, is written as its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
