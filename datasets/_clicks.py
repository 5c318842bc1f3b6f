"""What Criteo, Avazu and KDD12 share: one large file of rows, a recipe of encoding, a rule of splitting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from nasbench_rec.datasets._batches import Batch
from nasbench_rec.datasets._encode import Recipe, encode
from nasbench_rec.datasets._files import SourceFile, source_hash
from nasbench_rec.datasets._places import find_source
from nasbench_rec.datasets._spec import Column, Encoding, Label, SplitRule, recipe, setting
from nasbench_rec.datasets._text import TextLayout, read_text

from nasbench_rec.data import OnProgress, StreamedSource, silent
from nasbench_rec.errors import ConfigError, unknown


@dataclass(frozen=True)
class ClickConfig:
    """How a log of clicks is encoded and split; what is None is as the recipe says."""

    recipe: str = setting(
        "ours",
        "published preprocessing: ours (vocabularies of train alone), autodim, bars-x4, optfs, pep",
        "the papers' repositories; see the documentation of data sets",
    )
    min_count: int | None = setting(None, "values seen in fewer rows share the id of rare and unseen ones")
    numeric: str | None = setting(None, "buckets of numbers: log-squared, log-squared-int, quantile, as-is")
    quantiles: int | None = setting(None, "how many buckets numeric = quantile makes")
    learn: str | None = setting(None, "the rows that vocabularies are learnt from: train, or all")
    split: str = setting(
        "random", "random (by a seeded hash of the row's number) or time (in the file's order)"
    )
    split_shares: tuple[float, float, float] = setting(
        (8, 1, 1), "shares of train, valid and test", "all recipes"
    )
    split_seed: int = setting(0, "seed of the random split")


class ClickLog(StreamedSource):
    """One large file; subclasses say where it is, how its lines are built, and which columns become fields."""

    names: ClassVar[tuple[str, ...]]
    archives: ClassVar[tuple[str, ...]] = ()
    folders: ClassVar[tuple[str, ...]] = (".",)
    layout: ClassVar[TextLayout]
    columns: tuple[Column, ...]
    counts: ClassVar[dict[str, int]]
    label: ClassVar[Label] = Label()
    config: ClickConfig

    def __init__(self, config: ClickConfig) -> None:
        super().__init__(config)
        self._encoding, self._split = self.encoding(), self.split()

    def encoding(self) -> Encoding:
        """Return the recipe's encoding with what the configuration changes."""
        c = self.config
        changes = {"min_count": c.min_count, "numeric": c.numeric, "quantiles": c.quantiles, "learn": c.learn}
        return recipe(c.recipe, self.counts, changes)

    def split(self) -> SplitRule:
        """Return the rule of the split; these files are in the order of time."""
        rules = {"random": "random", "time": "order"}
        if self.config.split not in rules:
            raise ConfigError(unknown("split", self.config.split, rules))
        return SplitRule(rules[self.config.split], self.config.split_shares, self.config.split_seed)

    def file(self, source: Path | None) -> SourceFile:
        """Return the file of the rows; DataError where it is missing."""
        return find_source(self.info, source, self.names, self.folders, self.archives)

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the SHA-256 of the file as it lies on disk."""
        return source_hash([self.file(source).path])

    def rows(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Make the columns that are fields from those of the file."""
        return batches

    def write(self, source: Path | None, folder: Path, progress: OnProgress = silent) -> None:
        """Read and encode the file, block by block."""
        file = self.file(source)
        batches = self.rows(read_text(file, self.layout, progress))
        made = Recipe(
            self.info.name,
            self.columns,
            self.label,
            self._encoding,
            self._split,
            source=str(file),
            files={str(file).removeprefix(f"{file.path.parent}/"): source_hash([file.path])},
        )
        encode(made, batches, folder, progress)
