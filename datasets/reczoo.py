"""RecZoo's "x1" data sets: three published files of comma-separated cells with a header, all columns categorical.

The source folder holds train, valid and test as .csv or .csv.gz, or the archive as downloaded. The published files
number values themselves; here every field gets ids of its own, learnt from train, with id 0 for values that are not in
train. Sources: github.com/reczoo/Datasets and reczoo/BARS, whose README files give rows, MD5 and settings.
"""

from __future__ import annotations

import logging
import tempfile
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from nasbench_rec.datasets._batches import Batch, complete, refuse
from nasbench_rec.datasets._download import fetch
from nasbench_rec.datasets._encode import Recipe, encode
from nasbench_rec.datasets._files import AGAIN, SourceFile, file_hash, members, source_hash
from nasbench_rec.datasets._spec import Column, Encoding, SplitRule, setting
from nasbench_rec.datasets._text import TextLayout, read_text

from nasbench_rec.data import SPLITS, DatasetInfo, OnProgress, StreamedSource, silent
from nasbench_rec.errors import DataError

logger = logging.getLogger(__name__)

URL = "https://huggingface.co/datasets/reczoo/MovielensLatest_x1/resolve/main/MovielensLatest_x1.zip"
MD5 = {
    "train.csv": "efc8bceeaa0e895d566470fc99f3f271",
    "valid.csv": "e1930223a5026e910ed5a48687de8af1",
    "test.csv": "54e8c6baff2e059fe067fb9b69e692d0",
}


@dataclass(frozen=True)
class RecZooConfig:
    """How an x1 data set is encoded."""

    min_count: int = setting(
        1,
        "values seen less often in train share the id of unseen values",
        "BARS benchmark, the x1 data sets: min_categr_count=1",
    )


class RecZoo(StreamedSource):
    """An x1 data set in its published split; files are read as they are, only downloads are held to checksums."""

    columns: ClassVar[tuple[str, ...]]
    """Those of the header; `label` and the fields."""
    folders: ClassVar[tuple[str, ...]]
    """Where the files are looked for, below the user's data folder; the last is the published name."""
    labels: ClassVar[tuple[str, ...]] = ("0", "1")
    """How the files write labels."""
    Config: ClassVar[type] = RecZooConfig
    config: RecZooConfig

    @classmethod
    @abstractmethod
    def published(cls) -> tuple[str, Mapping[str, str]]:
        """Return the address of the archive, and the published MD5 of the files in it."""

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the SHA-256 of the files as they lie on disk; DataError names one that is missing."""
        return source_hash(_paths(self._files(source)))

    def write(self, source: Path | None, folder: Path, progress: OnProgress = silent) -> None:
        """Read and encode the three files; DataError names file, line and column of what is wrong."""
        files = self._files(source)
        layout = TextLayout(self.columns, label="label")
        batches = chain.from_iterable(
            read_text(file, layout, progress, split) for split, file in files.items()
        )
        recipe = Recipe(
            self.info.name,
            tuple(Column(name) for name in self.columns if name != "label"),
            encoding=Encoding(min_count=self.config.min_count),
            split=SplitRule("published"),
            source=str(files[SPLITS[0]].path.parent),
            files={path.name: source_hash([path]) for path in _paths(files)},
        )
        encode(recipe, self._checked(batches), folder, progress)

    def _checked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Refuse missing cells, and labels that these files do not have."""
        for batch in complete(batches, self.columns):
            refuse(batch, ~batch.frame["label"].is_in(self.labels), "label", "0 or 1")
            yield batch

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the published archive and unpack its files into a folder below `folder`, each checked against its MD5.

        Nothing is fetched where the files are there already; a download that broke off is continued. DataError: no
        network, a checksum that differs, or other files in the way; none of the files is written then.
        """
        (url, md5), target = cls.published(), Path(folder) / cls.folders[-1]
        present = [name for name in md5 if (target / name).exists()]
        for name in present:
            _check_md5(target / name, md5[name], "move it away before downloading")
        if len(present) == len(md5):
            logger.info("%s is there already, checksums agree", target)
            return
        # The archive has no published checksum; its files have, and are checked when they are unpacked.
        mine = (target / cls._archive()).exists()  # the user's own, which stays
        archive = fetch(url, target / cls._archive(), None, cls.info.source)
        try:
            cls._unpack(archive, target)
        except OSError as error:
            raise DataError(
                f"{target} cannot be written ({error.strerror or error}); make room there"
            ) from error
        finally:
            if not mine:
                archive.unlink()

    @classmethod
    def _unpack(cls, archive: Path, target: Path) -> None:
        """Unpack the files, wherever in the archive they lie; none is there before all are known to be right."""
        url, md5 = cls.published()
        with tempfile.TemporaryDirectory(dir=target) as scratch:
            for name, path in _members(archive, list(md5), Path(scratch), url, cls.info.source).items():
                remedy = f"it has changed there, or {archive.name} was broken on its way: try again"
                _check_md5(path, md5[name], remedy, str(SourceFile(archive, name)))
            for name in md5:
                (Path(scratch) / name).replace(target / name)

    @classmethod
    def _archive(cls) -> str:
        return f"{cls.folders[-1]}.zip"

    def _files(self, source: Path | None) -> dict[str, SourceFile]:
        info = self.info
        if source is None:
            raise DataError(f"data set {info.name!r} needs a data folder: {info.source}")
        source = Path(source)
        places = [source] if source.is_file() else [source / name for name in self.folders]
        found = [files for place in places if (files := self._inside(place))]
        if not found:
            looked, title = ", ".join(str(place) for place in places), self.folders[-1]
            raise DataError(
                f"no train.csv or train.csv.gz of {title}, and no {self._archive()}, in {looked}: {info.source}"
            )
        if len(found) > 1:
            first, second = (next(iter(files.values())).path.parent for files in found[:2])
            raise DataError(
                f"{info.name} lies in {first} and in {second}: give the one you mean as --source or --data-dir"
            )
        for split in SPLITS:
            if split not in found[0]:
                where = next(iter(found[0].values())).path
                missing = where if where.suffix == ".zip" else where.parent
                raise DataError(f"{missing / split}.csv (or .csv.gz) is missing: {info.source}")
        return {split: found[0][split] for split in SPLITS}

    def _inside(self, place: Path) -> dict[str, SourceFile]:
        """Return the file of each split that is in a folder, plain before packed before archived, or in an archive."""
        if place.is_dir():
            paths = {
                split: path
                for split in SPLITS
                for end in (".csv.gz", ".csv")
                if (path := place / f"{split}{end}").is_file()
            }
            if paths:
                return {split: SourceFile(path) for split, path in paths.items()}
            place = place / self._archive()
        names = members(place)
        if place.is_file() and not names:
            raise DataError(f"{place} is no zip archive, or a broken one; {AGAIN}")
        return {split: SourceFile(place, f"{split}.csv") for split in SPLITS if f"{split}.csv" in names}


class MovieLensLatestX1(RecZoo):
    """MovieLens tagging in RecZoo's split: does a user give a movie a tag; two drawn negatives for each positive."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="movielens-latest-x1",
        title="MovieLens tags (MovielensLatest_x1)",
        rows="1,404,801 / 401,372 / 200,686",
        licence="GroupLens' licence, research use",
        source=(
            f"download {URL} (data set reczoo/MovielensLatest_x1 on Hugging Face) and give the folder with the "
            "archive, or with its train.csv, valid.csv and test.csv, as --source or --data-dir"
        ),
    )
    # As in BARS' convert_movielenslatest_x1.py; whether its labels came as whole numbers is not known.
    columns = ("label", "user_id", "item_id", "tag_id")
    labels = ("0", "1", "0.0", "1.0")
    folders = (".", "movielens-latest-x1", "MovielensLatest_x1")

    @classmethod
    def published(cls) -> tuple[str, Mapping[str, str]]:
        """Return the address of the archive, and the published MD5 of the files in it."""
        return URL, MD5


def _paths(files: Mapping[str, SourceFile]) -> list[Path]:
    """Return the files on disk, each once."""
    return list(dict.fromkeys(file.path for file in files.values()))


def _members(archive: Path, names: list[str], folder: Path, url: str, by_hand: str) -> dict[str, Path]:
    """Unpack the named members into `folder`."""
    try:
        with zipfile.ZipFile(archive) as packed:
            full = {Path(name).name: name for name in packed.namelist()}
            for name in names:
                with packed.open(full[name]) as source, (folder / name).open("wb") as target:
                    while block := source.read(1 << 20):
                        target.write(block)
    except (zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DataError(f"{url} is not the expected archive ({error}); by hand: {by_hand}") from error
    return {name: folder / name for name in names}


def _check_md5(path: Path, expected: str, remedy: str, shown: str = "") -> None:
    found = file_hash([path], "md5")
    if found != expected:
        raise DataError(
            f"{shown or path} is not the published {path.name}: MD5 {found}, expected {expected}; {remedy}"
        )
