"""What is to be encoded, and how: columns, encodings and their published recipes, labels, splits.

Sources of the recipes, read in the named repositories:
`autodim`: rixwew/pytorch-fm, torchfm/dataset/criteo.py and avazu.py (AdaFS and AutoField use copies). `bars-x4`:
reczoo/FuxiCTR, fuxictr/datasets/criteo.py and preprocess/, with reczoo/BARS' dataset_config.yaml. `optfs`:
fuyuanlyu/OptEmbed, datatransform/ (OptFS and MPE use the same files). `pep`: ssui-liu/
learnable-embed-sizes-for-RecSys, data_loader/.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nasbench_rec.data import SPLITS
from nasbench_rec.errors import ConfigError, unknown

KINDS = ("categorical", "numeric", "multi")
NUMERIC = ("log-squared", "log-squared-int", "quantile", "as-is")
SPLIT_RULES = ("random", "group", "pair", "time", "order", "published")


@dataclass(frozen=True)
class Column:
    """A column that becomes a field."""

    name: str
    kind: str = "categorical"
    separator: str = "|"
    """Between the values of a multi-valued cell of text."""


def setting(default: Any, help: str, source: str = "ours") -> Any:
    """Return a documented field of a configuration."""
    return field(default=default, metadata={"help": help, "source": source})


@dataclass(frozen=True)
class Encoding:
    """How raw cells become ids.

    Each field has an id 0 for values that are rare or unseen. The others follow by falling count, equal counts
    in the order of the text; a missing cell is a value like any other unless `missing` says otherwise. A
    multi-valued field has id 0 for padding and id 1 for rare values.
    """

    min_count: int = setting(1, "values seen in fewer rows share the id of rare and unseen ones")
    numeric_min_count: int | None = setting(None, "the same for numeric fields; by default min_count")
    numeric: str = setting(
        "log-squared",
        "buckets of numbers: log-squared (v > 2: floor(ln(v)^2), else v - 2), log-squared-int (v > 2 the same, "
        "else int(v), so that 1 and 3, 2 and 5 share a bucket), quantile, as-is (each number is a value)",
    )
    quantiles: int = setting(20, "how many buckets of equal counts `numeric = quantile` makes")
    zero: str = setting("value", "what the bucket of 0 is: a value, or missing")
    missing: str = setting("value", "what a missing cell is: a value of its own, or rare")
    learn: str = setting("train", "the rows that vocabularies are learnt from: train, or all")
    counted: str = setting(
        "one", "how the recipe counts a field's ids: its values and one more, two more, or one if-rare"
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(unknown(f"value of {name}", str(getattr(self, name)), allowed))
        for name in ("min_count", "numeric_min_count"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be 1 (each value of train has an id) or more")
        if not 2 <= self.quantiles <= 10_000:
            raise ConfigError(f"quantiles is {self.quantiles}; it must be 2 to 10000")

    def threshold(self, kind: str) -> int:
        """Return the least count that gives a value of a column of this kind an id."""
        own = self.numeric_min_count if kind == "numeric" else None
        return self.min_count if own is None else own


_ALLOWED = {
    "numeric": NUMERIC,
    "zero": ("value", "missing"),
    "missing": ("value", "rare"),
    "learn": ("train", "all"),
    "counted": ("one", "two", "if-rare"),
}

RECIPES: dict[str, dict[str, Any]] = {
    "ours": {},
    "autodim": {"learn": "all"},
    "bars-x4": {"numeric": "log-squared-int", "zero": "missing", "missing": "rare"},
    "optfs": {
        "numeric": "log-squared-int",
        "numeric_min_count": 1,
        "learn": "all",
        "counted": "if-rare",
    },
    "pep": {"learn": "all", "counted": "if-rare"},
}
"""What a recipe sets; the least count depends on the data set, too."""


def recipe(name: str, counts: Mapping[str, int], changes: Mapping[str, Any]) -> Encoding:
    """Return the encoding of a named recipe with its least count for this data set, and `changes` (None: none)."""
    if name not in counts:
        raise ConfigError(unknown("recipe", name, counts))
    own = {key: value for key, value in changes.items() if value is not None}
    return dataclasses.replace(Encoding(**{**RECIPES[name], "min_count": counts[name]}), **own)


@dataclass(frozen=True)
class Label:
    """The column of labels: 0 or 1, or a number that counts as 1 from `positive` on."""

    column: str = "label"
    positive: float | None = None


@dataclass(frozen=True)
class SplitRule:
    """Which rows are train, valid and test.

    `random`: by a seeded hash of the row's number, so that a row keeps its place whatever is appended. `group`: by a
    seeded hash of the cells in `columns`: rows that agree there stay together. `pair`: the same for two columns of
    whole numbers, by their values. `time`: by the column's value, train first; equal times stay together. `order`: by
    the row's number, train first. `published`: as the files say.
    """

    rule: str = "random"
    shares: tuple[float, float, float] = (8, 1, 1)
    seed: int = 0
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rules that make no sense."""
        if self.rule not in SPLIT_RULES:
            raise ConfigError(unknown("split rule", self.rule, SPLIT_RULES))
        if not all(0 < share < math.inf for share in self.shares):
            raise ConfigError(f"split shares {self.shares} ({', '.join(SPLITS)}): each must be above 0")
        least, most = {"group": (1, None), "pair": (2, 2), "time": (1, 1)}.get(self.rule, (0, None))
        if len(self.columns) < least or (most and len(self.columns) > most):
            some = {"pair": "two columns", "time": "one column"}.get(self.rule, "at least one column")
            raise ConfigError(
                f"split rule {self.rule!r} needs {some}; got {', '.join(self.columns) or 'none'}"
            )
