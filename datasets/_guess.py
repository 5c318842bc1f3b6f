"""Guessing what a column is from the first rows of a table, with a note that says what was seen.

Guesses err on the side of a field that can be read: what they cannot know, the notes say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from nasbench_rec.datasets._toml import shown

if TYPE_CHECKING:
    import polars as pl

LABELS = (
    "label",
    "click",
    "clicked",
    "is_click",
    "is_clicked",
    "isclick",
    "clk",
    "target",
    "y",
    "conversion",
    "converted",
    "is_conversion",
    "response",
)
"""Names of columns of labels, the surest first."""
SEPARATORS = ("|", ";", ", ", ",", " ")
"""What may stand between the values of a cell, the surest first."""
FEW = 50
"""Whole numbers with at most so many values are taken for codes."""
MANY_ROWS = 100
"""From so many rows on, a different value in each row is no accident."""
_MISSING = ("NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "\\N")
_MISSING_NUMBER = ("-", "--", "?", ".", "none", "na", "n/a")
_IDS = frozenset(
    "id ids uid uuid guid user item movie product ad ads campaign query device site app page zip zipcode postcode "
    "code category cat advertiser publisher creative brand shop seller store session ip hash key type class sku url "
    "host domain channel model slot country city region state county language gender os browser weather occupation "
    "genre tag tags author artist".split()
)
_AMOUNTS = frozenset(
    "age price prices count counts cnt num amount qty quantity total sum avg mean days hours minutes seconds duration "
    "length size width height score rating rate ratio rank bid cost income salary views visits distance weight ctr "
    "balance revenue budget".split()
)
_TIMES = frozenset("time timestamp ts date datetime day hour created at when dt unix epoch".split())
_LONGEST_LIST = 50
_SMOOTH = 0.75
"""Least correlation between the counts of neighbouring numbers of amounts: Criteo's thirteen have 0.8 to 0.99, ids of
Avazu, Frappe and MovieLens-1M 0 to 0.71."""
_EPOCH = (946_684_800, 2_147_483_648)
"""Seconds since 1970 of the years 2000 to 2038."""
_HOUR, _DECADES = 3600, 20 * 365 * 86_400


@dataclass(frozen=True)
class Guess:
    """What a column is taken for: the key of the TOML that lists it, and a note for the comment beside it."""

    name: str
    key: str
    note: str
    separator: str = ""
    """Between the values of a cell, where it has several."""
    time: bool = False
    """A split could go by it."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What was seen of a column."""

    name: str
    kind: str
    """whole numbers, numbers, text, times, truth values, lists, or nothing."""
    cells: pl.Series
    """The cells that are not missing; numbers as numbers."""
    rows: int

    @cached_property
    def distinct(self) -> int:
        """How many different values there are."""
        return int(self.cells.n_unique())

    @cached_property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest number."""
        return float(self.cells.cast(float).min()), float(self.cells.cast(float).max())  # type: ignore[arg-type]

    @property
    def words(self) -> list[str]:
        """The words in the name, in small letters."""
        return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", self.name)]

    @property
    def binary(self) -> bool:
        """Whether the values are 0 and 1, or false and true."""
        if self.kind == "truth values":
            return True
        return self.kind in ("whole numbers", "numbers") and set(self.cells.unique().to_list()) <= {0, 1}

    def __str__(self) -> str:
        """Return what a comment says: kind, values seen, missing share, an example."""
        if not len(self.cells):
            return "every cell is missing"
        missing = 1 - len(self.cells) / max(self.rows, 1)
        lost = f"{missing:.1%} missing" if missing else "none missing"
        plural = "value" if self.distinct == 1 else "values"
        return f"{self.kind}, {self.distinct:,} {plural}, {lost}, such as {shown(self.cells[0])}"


def missing_texts(frame: pl.DataFrame) -> dict[str, list[str]]:
    """Return texts that seem to mean a missing value, each with the columns that have it."""
    import polars as pl

    found: dict[str, list[str]] = {}
    for column in frame.select(pl.col(pl.String)):
        values = set(column.unique().drop_nulls().to_list())
        others = values - {*_MISSING, *_MISSING_NUMBER, ""}
        numbers = bool(others) and pl.Series(list(others)).cast(pl.Float64, strict=False).is_not_null().all()
        for token in (*_MISSING, *_MISSING_NUMBER) if numbers else _MISSING:
            if token in values:
                found.setdefault(token, []).append(column.name)
    return found


def facts_of(column: pl.Series, missing: Sequence[str] = ()) -> Facts:
    """Return what is seen of a column; `missing` are texts that mean a missing value."""
    import polars as pl

    cells = column.drop_nulls()
    if cells.dtype == pl.String:
        cells = cells.filter(~cells.is_in(["", *missing]))
    elif cells.dtype.is_float():
        cells = cells.drop_nans()
    kind, cells = _typed(cells)
    return Facts(column.name, kind, cells, len(column))


def _typed(cells: pl.Series) -> tuple[str, pl.Series]:
    """Return what kind of values cells hold, and the values."""
    import polars as pl

    of = cells.dtype
    if not len(cells) or of == pl.Null:
        return "nothing", cells.head(0)
    if of == pl.Boolean:
        return "truth values", cells
    if of == pl.List:
        return "lists", cells.filter(cells.list.len() > 0)
    if of.is_temporal():
        return "times", cells
    if of.is_numeric():
        return _numbers(cells)
    return _text(cells.cast(pl.String))


def _numbers(cells: pl.Series) -> tuple[str, pl.Series]:
    import polars as pl

    if cells.dtype.is_integer():
        return "whole numbers", cells
    values = cells.cast(pl.Float64)
    whole = bool((values == values.round()).all()) and bool(values.is_finite().all())
    return ("whole numbers" if whole else "numbers"), values


def _text(cells: pl.Series) -> tuple[str, pl.Series]:
    """Return what kind of values texts hold; 007 is a text, as 7 would be another, and so is a very long number."""
    import polars as pl

    padded = cells.str.contains(r"^[+-]?0\d").any()
    long = cells.str.contains(r"^[+-]?\d{19,}$").any()
    for of in () if padded or long else (pl.Int64, pl.Float64):
        numbers = cells.cast(of, strict=False)
        if numbers.is_not_null().all():
            return _numbers(numbers)
    values = cells.unique()
    if values.str.to_lowercase().is_in(["true", "false"]).all():
        return "truth values", cells
    if cells.str.contains(r"^\d{4}[-/]\d\d?[-/]\d\d?([ T]|$)").all():
        return "times", cells
    return "text", cells


def guess(facts: Facts) -> Guess:
    """Return what a column is taken for, apart from labels."""
    for rule in (_nothing, _time, _several, _single):
        if (found := rule(facts)) is not None:
            return replace(found, note=f"{facts}{': ' if found.note else ''}{found.note}")
    key = "numeric" if _is_amount(facts) else "categorical"
    return Guess(facts.name, key, str(facts))


def guess_code(facts: Facts) -> Guess:
    """Return what a column of ids is taken for, whatever they look like."""
    found = _nothing(facts) or Guess(facts.name, "multi" if facts.kind == "lists" else "categorical", "")
    return replace(found, note=f"{facts}{': ' if found.note else ''}{found.note}")


def _nothing(facts: Facts) -> Guess | None:
    """Return the guess for a column that tells nothing."""
    if not len(facts.cells):
        return Guess(facts.name, "ignore", "")
    if facts.distinct == 1 and len(facts.cells) == facts.rows:
        return Guess(facts.name, "ignore", "the same in every row")
    return None


def _time(facts: Facts) -> Guess | None:
    """Return the guess for a time: of that type, or whole numbers that look or are named like one."""
    if facts.kind == "times" or (facts.kind == "whole numbers" and not _is_id(facts) and _late(facts)):
        return Guess(facts.name, "ignore", "a time: a split can go by it", time=True)
    return None


def _late(facts: Facts) -> bool:
    """Return whether numbers are seconds or milliseconds of a few years, or long under the name of a time."""
    low, high = facts.range
    for unit in (1, 1000):
        first, last = low / unit, high / unit
        if _EPOCH[0] <= first and last < _EPOCH[1] and _HOUR <= last - first <= _DECADES:
            return True
    return low >= 100_000 and bool(_TIMES & set(facts.words))


def _several(facts: Facts) -> Guess | None:
    """Return the guess for a column with several values a cell."""
    if facts.kind == "lists":
        return Guess(facts.name, "multi", "")
    separator = _separator(facts.cells) if facts.kind == "text" else ""
    if separator:
        return Guess(facts.name, "multi", f"several values, with {shown(separator)} between", separator)
    return None


def _separator(cells: pl.Series) -> str:
    """Return what separates the values of the cells; "" where each cell seems to be one value."""
    if cells.str.contains(r"^[+-]?\d+,\d+$").all():  # numbers with a decimal comma
        return ""
    whole = cells.unique()
    for separator in SEPARATORS:
        if cells.str.contains(separator, literal=True).mean() < 0.1:  # type: ignore[operator]
            continue
        lists = whole.str.split(separator)
        parts = lists.explode()
        parts = parts.filter(parts != "")
        # Values of a list come again in other cells; words of a name or a title seldom do.
        most = len(whole) * (1 if separator in "|;" else 0.5)
        if parts.n_unique() <= most and lists.list.len().max() <= _LONGEST_LIST:  # type: ignore[operator]
            return separator
    return ""


def _single(facts: Facts) -> Guess | None:
    """Return the guess for a column with another value in each row."""
    if facts.distinct < len(facts.cells) or len(facts.cells) < MANY_ROWS:
        return None
    if facts.kind == "numbers" or (facts.kind == "whole numbers" and _AMOUNTS & set(facts.words)):
        return None
    return Guess(facts.name, "ignore", "another value in every row")


def _is_amount(facts: Facts) -> bool:
    """Return whether numbers are amounts, and not codes.

    A category that is taken for an amount is lost, an amount that is taken for a category is not: in doubt it is none.
    """
    if facts.kind == "numbers":
        return facts.distinct > FEW
    if facts.kind != "whole numbers" or facts.distinct <= FEW or _is_id(facts):
        return False
    low, high = facts.range
    # Codes may begin anywhere; amounts begin near 0.
    return bool(_AMOUNTS & set(facts.words)) or (low <= high - low and _smoothness(facts) >= _SMOOTH)


def _smoothness(facts: Facts) -> float:
    """Return how alike the counts of neighbouring numbers are: of amounts very, of codes hardly."""
    counts = np.log(facts.cells.value_counts().sort(facts.cells.name)["count"].to_numpy())
    return (
        float(np.corrcoef(counts[:-1], counts[1:])[0, 1])
        if counts[:-1].std() > 0 and counts[1:].std() > 0
        else 0.0
    )


def _is_id(facts: Facts) -> bool:
    words = facts.words or [""]
    if _AMOUNTS & set(words) and words[-1] not in _IDS:
        return False
    return bool(_IDS & set(words)) or words[-1].endswith("id")


def label_of(columns: Sequence[Facts]) -> tuple[str, str]:
    """Return the column of labels and a note; "" and what to do where it cannot be told."""
    binary = [facts for facts in columns if facts.binary and facts.distinct == 2]
    named = sorted((f for f in columns if _label_rank(f) < len(LABELS)), key=_label_rank)
    sure = [facts for facts in named if facts in binary] or (binary if len(binary) == 1 else [])
    if sure:
        return sure[0].name, _label_note(sure[0])
    if named and named[0].kind in ("whole numbers", "numbers"):
        least, most = map(str, (named[0].cells.min(), named[0].cells.max()))
        return "", (
            f"{shown(named[0].name)} holds {least} to {most}, not 0 and 1: name it here, say with `positive` from "
            "which number on it counts as 1, and take it out of the lists below"
        )
    some = ", ".join(shown(facts.name) for facts in binary[:8])
    found = f"these hold 0 and 1: {some}" if binary else "no column holds 0 and 1 only"
    return "", f"the label is not known ({found}): name it here, and take it out of the lists below"


def _label_rank(facts: Facts) -> int:
    name = "_".join(facts.words)
    return LABELS.index(name) if name in LABELS else len(LABELS)


def _label_note(facts: Facts) -> str:
    ones = facts.cells.cast(str).str.to_lowercase().is_in(["1", "1.0", "true"]).sum()
    lost = "" if len(facts.cells) == facts.rows else "; rows without a label have to go"
    return f"{ones / len(facts.cells):.1%} are 1{lost}"


def guesses(frame: pl.DataFrame, label: str, missing: Sequence[str] = (), separator: str = "") -> list[Guess]:
    """Return a guess for each column but the label; other labels are no fields, as they would tell the answer.

    `separator` is what stands between several values, where that is known.
    """
    found = []
    for column in frame:
        if column.name == label:
            continue
        facts = facts_of(column, missing)
        if label and facts.binary and _label_rank(facts) < len(LABELS):
            found.append(Guess(facts.name, "ignore", f"{facts}: a second label? It would tell the answer"))
        else:
            found.append(guess(facts))
    return _one_separator(found, separator)


def _one_separator(found: Sequence[Guess], known: str) -> list[Guess]:
    """Return guesses whose multi-valued cells have one separator, as a table has one only."""
    times = Counter(one.separator for one in found if one.separator)
    most = known or (times.most_common(1)[0][0] if times else "")
    note = "; but only one separator can be given, so a cell is one value"
    return [
        replace(one, key="categorical", note=one.note + note, separator="")
        if one.separator not in ("", most)
        else one
        for one in found
    ]


def by_key(found: Sequence[Guess]) -> Mapping[str, dict[str, str]]:
    """Return the notes of the columns of each key."""
    keys: dict[str, dict[str, str]] = {"categorical": {}, "numeric": {}, "multi": {}, "ignore": {}}
    for one in found:
        keys[one.key][one.name] = one.note
    return keys
