"""Axes of a study's figures: parameters (linear, logarithmic, categorical), objectives, shades of colour."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nasbench_rec.reports._ablation_grid import LETTER, locator
from nasbench_rec.reports._study_data import Goal, is_numeric, value_text
from nasbench_rec.reports._text import byte_size, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAR = 4.0
"""An axis ends this many quartile distances beyond the worse quartile."""
SHADES, TIME_SHADES = "Blues", "Greys"
"""Shades of a score (dark: better) and of a trial's number (dark: later)."""
FEW_NUMBERS = 8
"""Reach of whole numbers up to which each has its tick."""
NAME = 16
"""Letters of a choice's name at an axis."""


@dataclass(frozen=True)
class Scale:
    """How the values of one parameter lie along an axis."""

    name: str
    integer: bool
    log: bool
    low: float
    high: float
    choices: tuple[str, ...]
    """Empty where the values are numbers."""

    def at(self, values: Iterable[Any]) -> np.ndarray:
        """Return places in the axis' coordinates: the number, or which choice it is; NaN where not asked."""
        if not self.choices:
            return pd.to_numeric(pd.Series(list(values), dtype=object), errors="coerce").to_numpy(dtype=float)
        places = {choice: float(i) for i, choice in enumerate(self.choices)}
        return np.array([places.get(choice_text(value), math.nan) for value in values])

    def share(self, places: np.ndarray) -> np.ndarray:
        """Return where places lie between the ends of the axis, from 0 to 1."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        inside = np.log(places) if self.log else places
        return (inside - low) / (high - low) if high > low else np.where(np.isnan(inside), np.nan, 0.5)

    def ends(self, pad: float = 0.05) -> tuple[float, float]:
        """Return limits with some space around the values."""
        if self.choices:
            return -0.6, len(self.choices) - 0.4
        if self.log:
            factor = (self.high / self.low) ** pad if self.high > self.low else 1.5
            return self.low / factor, self.high * factor
        space = pad * (self.high - self.low) if self.high > self.low else max(abs(self.low) * 0.1, 0.5)
        return self.low - space, self.high + space

    def ticks(self) -> tuple[list[float], list[str]]:
        """Return a few ticks and what is written at them."""
        if self.choices:
            return [float(i) for i in range(len(self.choices))], [one_line(c, NAME) for c in self.choices]
        places = log_ticks(self.low, self.high) if self.log else self._even()
        return places, [value_text(float(place), 3) for place in places]

    def _even(self) -> list[float]:
        from matplotlib.ticker import MaxNLocator

        if self.integer and self.high - self.low <= FEW_NUMBERS:
            return [float(i) for i in range(math.ceil(self.low), math.floor(self.high) + 1)]
        wanted = MaxNLocator(4, integer=self.integer).tick_values(self.low, self.high)
        low, high = self.ends()
        return [float(tick) for tick in wanted if low <= tick <= high]


def scale_of(dimension: Mapping[str, Any], values: pd.Series) -> Scale:
    """Return the scale of a dimension, as wide as its range and the values seen (a default may lie outside)."""
    name = str(dimension["name"])
    if not is_numeric(dimension):
        known = [choice_text(choice) for choice in dimension.get("choices") or ()]
        seen = [choice_text(value) for value in values]
        choices = tuple(dict.fromkeys([*known, *sorted(set(seen) - set(known))]))
        return Scale(name, False, False, 0.0, max(float(len(choices) - 1), 0.0), choices)
    numbers = [float(v) for v in [dimension.get("low"), dimension.get("high"), *values] if v is not None]
    low, high = min(numbers), max(numbers)
    return Scale(
        name, dimension["type"] == "int", bool(dimension.get("log")) and low > 0, low, high, choices=()
    )


def choice_text(value: Any) -> str:
    """Return a choice as text, the same for 2 and 2.0, which frames do not tell apart."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_)):
        return f"{value:.6g}"
    return str(value)


def log_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round numbers between two, evenly spread on a logarithmic axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for leading in ((1, 2, 5), (1, 3), (1,)):
        every = [float(f"{digit}e{power}") for power in powers for digit in leading]
        found = [tick for tick in every if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(found) <= most:
            break
    if len(found) < 2:
        return sorted({low, high})
    return found[:: math.ceil(len(found) / most)]


def lay_x(axes: Axes, scale: Scale, turned: bool) -> None:
    """Make the level axis that of a parameter; `turned`: names of choices stand upright."""
    if scale.log:
        axes.set_xscale("log")
    places, names = scale.ticks()
    axes.set_xticks(places, names, rotation=90 if turned and scale.choices else 0, parse_math=False)
    axes.set_xticks([], minor=True)
    axes.set_xlim(*scale.ends())


def lay_y(axes: Axes, scale: Scale) -> None:
    """Make the upright axis that of a parameter of numbers."""
    if scale.log:
        axes.set_yscale("log")
    places, names = scale.ticks()
    axes.set_yticks(places, names, parse_math=False)
    axes.set_yticks([], minor=True)
    axes.set_ylim(*scale.ends())


def limits(values: pd.Series, goal: Goal) -> tuple[float, float]:
    """Return the range of values to show: all but those far worse than the rest, which stand at the edge."""
    known = values.dropna()
    low, high = float(known.min()), float(known.max())
    first, third = (float(known.quantile(q)) for q in (0.25, 0.75))
    reach = FAR * (third - first)
    if reach > 0 and goal.maximize:
        low = max(low, float(known[known >= first - reach].min()))
    elif reach > 0:
        high = min(high, float(known[known <= third + reach].max()))
    least = 1e-3 if goal.is_score else 0.02 * max(abs(low), abs(high), 1e-9)
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    return low, high


def beyond(values: pd.Series, shown: tuple[float, float]) -> pd.Series:
    """Say which values lie outside of the range shown."""
    return (values < shown[0]) | (values > shown[1])


def lay_goal(axes: Axes, goal: Goal, shown: tuple[float, float], upright: bool = True) -> None:
    """Make an axis that of an objective, with space around the range shown."""
    axis, space = (axes.yaxis if upright else axes.xaxis), 0.1 * (shown[1] - shown[0])
    set_limits = axes.set_ylim if upright else axes.set_xlim
    set_limits(shown[0] - space, shown[1] + space)
    if goal.is_bytes:
        axis.set_ticks(byte_ticks(*shown, most=5 if upright else 3))
    else:
        axis.set_major_locator(locator(4))
    axis.set_major_formatter(lambda value, _: tick_text(goal, value))


def tick_text(goal: Goal, value: float) -> str:
    """Return what stands at a tick of an objective."""
    if goal.is_bytes:
        number, unit = byte_size(value).split()
        return f"{float(number):g} {unit}"
    return goal.text(value).removesuffix("0") if goal.is_score else goal.text(value)


def byte_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return multiples of a power of two."""
    step = 2.0 ** math.ceil(math.log2(max(high - low, 1) / most))
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def shades(dark_is_low: bool = False, name: str = SHADES) -> Any:
    """Return a scale of colours that begins dark enough to show on white."""
    from matplotlib import colormaps
    from matplotlib.colors import LinearSegmentedColormap

    parts = np.linspace(0.18, 0.9, 128)
    return LinearSegmentedColormap.from_list(
        f"{name}-shown", colormaps[name](parts[::-1] if dark_is_low else parts)
    )


def plain(text: str) -> str:
    """Return text for a label of matplotlib, without mathematics."""
    return text.replace("$", r"\$")


def crowded(words: Sequence[str], width: float) -> bool:
    """Say whether words at even places have no room side by side on `width` inches."""
    needed = (LETTER * (len(a) + len(b)) / 2 + 0.06 for a, b in itertools.pairwise(words))
    return max(needed, default=0.0) > width / (len(words) + 0.2)
