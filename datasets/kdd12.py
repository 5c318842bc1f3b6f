"""KDD Cup 2012, track 2: is an advertisement clicked beside search results, in the owner's own layout.

`training.txt`: 12 cells separated by tabs, no header, a line for each user, advertisement, query, depth and position,
with the number of clicks among the impressions. As in every embedding paper whose code was read, a line is a row and
positive where it has a click. Then `Impression` tells of the label by construction (more chances to click): it is a
field only where a recipe has it. `userid_profile.txt` (user, gender, age) can be joined.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from nasbench_rec.datasets._batches import Batch, refuse
from nasbench_rec.datasets._clicks import ClickConfig, ClickLog
from nasbench_rec.datasets._files import SourceFile, source_hash
from nasbench_rec.datasets._places import find_source
from nasbench_rec.datasets._spec import Column, Label, setting
from nasbench_rec.datasets._text import TextLayout, read_text

from nasbench_rec.data import DatasetInfo, OnProgress, silent

FIELDS = (
    *("DisplayURL", "AdID", "AdvertiserID", "Depth", "Position", "QueryID", "KeywordID", "TitleID"),
    *("DescriptionID", "UserID"),
)
COLUMNS = ("Click", "Impression", *FIELDS)
PROFILE = ("UserID", "Gender", "Age")
UNKNOWN = 255
_MOST = 1 << 28


@dataclass(frozen=True)
class KDD12Config(ClickConfig):
    """How KDD12 is encoded and split."""

    impression: bool | None = setting(
        None, "make a field of Impression; by default as the recipe", "optfs: yes; ours: no"
    )
    profile: bool = setting(
        False, "join gender and age from userid_profile.txt", "AutoInt's preprocessing joins them"
    )


class KDD12(ClickLog):
    """KDD Cup 2012, track 2, a row per line of training.txt."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="kdd12",
        title="KDD Cup 2012, track 2",
        rows="149,639,105 in all",
        licence="the competition's rules",
        source=(
            "accept the rules of the competition kddcup2012-track2 on Kaggle, get track2.zip there, unpack it, and "
            "give the folder of training.txt (or of track2.zip) as --source or --data-dir"
        ),
        protocol={"dim": 16, "hidden": (64, 32), "batch_size": 4096, "epochs": 1, "patience": 1},
    )
    Config: ClassVar[type] = KDD12Config
    config: KDD12Config

    names = ("training.txt", "training.txt.gz")
    archives = ("track2.zip",)
    folders = (".", "kdd12", "KDD12", "track2")
    layout = TextLayout(COLUMNS, separator="\t", header=False, label="Click")
    label = Label("Click", positive=1)
    # Least counts: OptEmbed's older default 10, MPE 2; what OptFS' tables use is not in its code.
    counts: ClassVar[dict[str, int]] = {"ours": 10, "optfs": 2}

    def __init__(self, config: KDD12Config) -> None:
        super().__init__(config)
        wanted = config.recipe != "ours" if config.impression is None else config.impression
        names = (*(("Impression",) if wanted else ()), *FIELDS, *(PROFILE[1:] if config.profile else ()))
        self.columns = tuple(Column(name) for name in names)
        self._profile: tuple[np.ndarray, np.ndarray] | None = None

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the SHA-256 of the file of rows, and of the profiles where they are joined."""
        return source_hash([file.path for file in self._files(source)])

    def write(self, source: Path | None, folder: Path, progress: OnProgress = silent) -> None:
        """Read the profiles where they are wanted, then read and encode the rows."""
        if self.config.profile:
            self._profile = read_profiles(self._files(source)[1], progress)
        super().write(source, folder, progress)

    def _files(self, source: Path | None) -> list[SourceFile]:
        rows = self.file(source)
        if not self.config.profile:
            return [rows]
        names = ("userid_profile.txt", "userid_profile.txt.gz")
        return [rows, find_source(self.info, rows.path.parent, names, (".",), self.archives)]

    def rows(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Join gender and age where they are wanted; a user without a profile has neither."""
        return batches if self._profile is None else map(self._joined, batches)

    def _joined(self, batch: Batch) -> Batch:
        import polars as pl

        assert self._profile is not None
        users = _user_numbers(batch)
        made = []
        for name, values in zip(PROFILE[1:], self._profile, strict=True):
            found = values[np.minimum(users, len(values) - 1)]
            cells = pl.Series(name, found).cast(pl.String)
            made.append(cells.set(pl.Series(found == UNKNOWN), None))
        return dataclasses.replace(batch, frame=batch.frame.with_columns(made))


def _user_numbers(batch: Batch) -> np.ndarray:
    import polars as pl

    users = batch.frame["UserID"].cast(pl.Int64, strict=False)
    refuse(
        batch, (users.is_null() | (users < 0) | (users >= _MOST)), "UserID", f"a whole number below {_MOST}"
    )
    return users.to_numpy()


def read_profiles(file: SourceFile, progress: OnProgress = silent) -> tuple[np.ndarray, np.ndarray]:
    """Return gender and age by user number, uint8 [users + 1]; the last, and unknown users, are `UNKNOWN`."""
    gender, age = np.full(1, UNKNOWN, np.uint8), np.full(1, UNKNOWN, np.uint8)
    layout = TextLayout(PROFILE, separator="\t", header=False, label="UserID")
    for batch in read_text(file, layout, progress):
        users = _user_numbers(batch)
        gender, age = (_longer(values, int(users.max()) + 2) for values in (gender, age))
        gender[users], age[users] = _small(batch, "Gender"), _small(batch, "Age")
    return gender, age


def _longer(values: np.ndarray, size: int) -> np.ndarray:
    """Return the values, at least `size` of them, in steps that double."""
    if size <= len(values):
        return values
    return np.concatenate([values, np.full(max(size, 2 * len(values)) - len(values), UNKNOWN, np.uint8)])


def _small(batch: Batch, column: str) -> np.ndarray:
    import polars as pl

    cells = batch.frame[column].cast(pl.Int64, strict=False)
    refuse(batch, (cells.is_null() | (cells < 0) | (cells >= UNKNOWN)), column, "a small whole number")
    return cells.to_numpy().astype(np.uint8)
