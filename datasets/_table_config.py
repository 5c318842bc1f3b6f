"""What the TOML file of a user's table says."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nasbench_rec.datasets._files import SourceFile
from nasbench_rec.datasets._spec import Column, Encoding, SplitRule
from nasbench_rec.datasets._table_files import SUFFIXES

from nasbench_rec.config import build
from nasbench_rec.data import SPLITS
from nasbench_rec.errors import ConfigError
from nasbench_rec.protocol import Protocol

Format = Literal["", "csv", "tsv", "parquet", "libsvm", "libfm", "libffm"]
Names = str | tuple[str, ...]
SPARSE = ("libsvm", "libfm", "libffm")
"""The formats whose columns have no names of their own."""
KINDS = ("categorical", "numeric", "multi")
LISTS = (*KINDS, "ignore")
"""The keys that list columns; the first three make fields."""
PROTOCOL: dict[str, Any] = {
    "dim": 16,
    "hidden": (64, 32),
    "batch_size": 2048,
    "lr": 3e-3,
    "epochs": 10,
    "patience": 2,
}
"""The training protocol recommended for a table of which nothing is known."""
_NAME = re.compile(r"[a-z][a-z0-9-]*")
# What the readers look for must be the same bytes as in ASCII.
_ASCII = bytes(range(0x20, 0x7F)) + b"\n\t"


def slug(text: str) -> str:
    """Return the name of a table for any text: lower-case letters, digits and hyphens, a letter first."""
    made = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return made if _NAME.fullmatch(made) else f"table-{made}".strip("-")


def _key(default: Any, help: str, source: str = "ours") -> Any:
    made = {"default_factory": dict} if isinstance(default, dict) else {"default": default}
    return field(**made, metadata={"help": help, "source": source})


@dataclass(frozen=True)
class TableConfig:
    """What the TOML says; every key has a default, but files, label and a field must be given."""

    name: str = _key("table", "what tables and figures call it: lower-case letters, digits, hyphens")
    files: Names = _key(
        (), "names, globs, folders, archive.zip/member, below the TOML's folder: a list or one"
    )
    train_files: Names = _key((), 'with split = "published": the files of train')
    valid_files: Names = _key((), "the same of valid")
    test_files: Names = _key((), "the same of test")
    format: Format = _key(
        "", "csv, tsv, parquet, libsvm, libfm, libffm; not said: what the files' names tell"
    )
    separator: str = _key("", "between cells; not said: comma for csv, tab for tsv")
    quotes: bool | None = _key(
        None, "whether cells may stand in double quotes; not said: yes for csv, no for tsv"
    )
    header: bool = _key(True, "whether the first line names the columns")
    columns: tuple[str, ...] = _key((), "the columns' names where there is no header; libsvm: label, entries")
    encoding: str = _key("utf-8", "how letters are stored, such as utf-8, cp1252, gb18030")
    missing: tuple[str, ...] = _key((), 'cells that mean a missing value, beside empty ones, such as "NA"')
    label: str = _key("", "the column that says whether there was a click: 0 or 1 (libsvm: also -1 or 1)")
    positive: float | None = _key(None, "labels are numbers, and those from this one on count as 1")
    categorical: tuple[str, ...] = _key((), "columns whose values are categories: one field each")
    numeric: tuple[str, ...] = _key((), "columns of numbers, which become buckets: one field each")
    multi: tuple[str, ...] = _key((), "columns with several values a cell, or lists: one field each")
    values_separator: str = _key("|", "between the values in a cell of a multi-valued column")
    ignore: tuple[str, ...] = _key((), "columns that become no field; a split may use them")
    min_count: int = _key(1, "values in fewer rows of train share the id of unseen ones")
    numeric_min_count: int | None = _key(None, "the same for the buckets of numbers; not said: min_count")
    buckets: Literal["quantile", "log-squared", "log-squared-int", "as-is"] = _key(
        "quantile",
        "how numbers become buckets: quantile (of equal counts), log-squared, log-squared-int, as-is",
        "ours; log-squared: the published preprocessings of Criteo",
    )
    quantiles: int = _key(20, 'how many buckets `buckets = "quantile"` makes')
    zero_is: Literal["value", "missing"] = _key("value", "what the number 0 is")
    missing_is: Literal["value", "rare"] = _key(
        "value", "what a missing cell is: a value of its own, or like a rare one"
    )
    learn: Literal["train", "all"] = _key("train", "the rows that vocabularies are learnt from")
    split: Literal["random", "group", "time", "order", "published"] = _key(
        "random",
        "what makes rows train, valid or test: chance, a group, a time, the order of the rows, the file they are in",
    )
    split_shares: tuple[float, float, float] = _key((8, 1, 1), "shares of train, valid and test")
    split_seed: int = _key(0, "seed of a split at random or by group")
    split_columns: tuple[str, ...] = _key((), "the columns that make a group, or the one with the time")
    protocol: Mapping[str, Any] = _key({}, "changes of the recommended training protocol, such as epochs")

    def __post_init__(self) -> None:
        """Refuse values that make no sense; whether enough is said, `incomplete` tells."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"name = {self.name!r}: only lower-case letters, digits and hyphens, a letter first"
            )
        self.encoding_rule()
        self.split_rule()
        build(Protocol, {**PROTOCOL, **self.protocol}, "protocol")
        _check_text(self)
        _check_once(self.mentions())

    def encoding_rule(self) -> Encoding:
        """Return how cells become ids."""
        return Encoding(
            min_count=self.min_count,
            numeric_min_count=self.numeric_min_count,
            numeric=self.buckets,
            quantiles=self.quantiles,
            zero=self.zero_is,
            missing=self.missing_is,
            learn=self.learn,
        )

    def split_rule(self) -> SplitRule:
        """Return what makes rows train, valid or test; ConfigError where the keys do not go together."""
        by_columns = self.split in ("group", "time")
        if bool(self.split_columns) != by_columns:
            needs = "needs split_columns: the columns it goes by" if by_columns else "has no split_columns"
            raise ConfigError(f'split = "{self.split}" {needs}')
        given = [f"{name}_files" for name in SPLITS if self.files_of(name)]
        if given and (self.split != "published" or self.files):
            other = "`files`" if self.files else f'split = "{self.split}"'
            raise ConfigError(
                f'`{given[0]}` goes with split = "published" and without `files`; found {other}'
            )
        return SplitRule(self.split, self.split_shares, self.split_seed, self.split_columns)

    @property
    def splits(self) -> tuple[str | None, ...]:
        """The splits that have files of their own, or None for all together."""
        return SPLITS if self.split == "published" else (None,)

    def files_of(self, split: str | None) -> tuple[str, ...]:
        """Return the names of the files of a published split, or of all."""
        names = getattr(self, files_key(split))
        return tuple(name for name in ((names,) if isinstance(names, str) else names) if name)

    def mentions(self) -> list[tuple[str, str]]:
        """Return the columns that are mentioned, each with the key that does."""
        label = [(self.label, "label")] if self.label else []
        return label + [(name, key) for key in LISTS for name in getattr(self, key)]

    def fields(self) -> tuple[Column, ...]:
        """Return the columns that become fields, in the order of the keys."""
        return tuple(Column(n, kind, self.values_separator) for kind in KINDS for n in getattr(self, kind))

    def incomplete(self) -> str:
        """Return what is not said and must be; "" where nothing is."""
        for split in self.splits:
            if not self.files_of(split):
                return f"`{files_key(split)}` names no file; give names, globs or folders"
        if self.format in SPARSE or any(_told(name) in SPARSE for name in self.files_of(self.splits[0])):
            return ""
        if not self.label:
            return "`label` is empty; give the name of the column that says whether there was a click"
        if not self.fields():
            return "no field is named; put at least one column into `categorical`, `numeric` or `multi`"
        return ""


def files_key(split: str | None) -> str:
    """Return the key that names the files of a split."""
    return f"{split}_files" if split else "files"


def _told(name: str) -> str:
    """Return the format that a file's name tells."""
    return SUFFIXES.get(Path(SourceFile(Path(name)).name.lower()).suffix, "")


def _check_text(config: TableConfig) -> None:
    """Refuse an encoding or separators that the readers cannot look for."""
    try:
        same = _ASCII.decode(codecs.lookup(config.encoding).name) == _ASCII.decode("ascii")
    except (LookupError, UnicodeError):
        same = False
    if not same:
        raise ConfigError(
            f"encoding = {config.encoding!r}: not known, or not one that has ASCII in it; save the file as UTF-8, or "
            "give one such as utf-8, cp1252, gb18030"
        )
    for key in ("separator", "values_separator"):
        text = getattr(config, key)
        if any(letter in text for letter in '"\n\r') or not (text.isascii() and (text or key == "separator")):
            raise ConfigError(f"{key} = {text!r}: must be ASCII letters without double quote and line end")


def _check_once(mentions: Sequence[tuple[str, str]]) -> None:
    keys: dict[str, str] = {}
    for name, key in mentions:
        if name in keys:
            raise ConfigError(f"column {name!r} stands in `{keys[name]}` and in `{key}`; keep one of the two")
        keys[name] = key
