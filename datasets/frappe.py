"""Frappe: which app is used in which context, in the published Frappe_x1 split (RecZoo).

The source folder holds train, valid and test as .csv or .csv.gz, with the header
label,user,item,daytime,weekday,isweekend,homework,cost,weather,country,city. The published files number all
values in one id space; here every field gets ids of its own, learnt from train, with id 0 for values that are
not in train.
"""

from __future__ import annotations

import logging
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from nasbench_rec.datasets._encode import encode, file_hash, read_csv, read_labels

from nasbench_rec.data import SPLITS, Dataset, DatasetInfo, DatasetSource, Split
from nasbench_rec.errors import DataError

logger = logging.getLogger(__name__)

FIELDS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
COLUMNS = ("label", *FIELDS)
URL = "https://huggingface.co/datasets/reczoo/Frappe_x1/resolve/main/Frappe_x1.zip"
# As published beside the data; of the files as they lie in the archive, with CRLF line ends.
MD5 = {
    "train.csv": "ba7306e6c4fc19dd2cd84f2f0596d158",
    "valid.csv": "88d51bf2173505436d3a8f78f2a59da8",
    "test.csv": "3470f6d32713dc5f7715f198ca7c612a",
}
_FOLDERS = (".", "frappe", "Frappe_x1")


@dataclass(frozen=True)
class FrappeConfig:
    """How Frappe is encoded."""

    min_count: int = field(
        default=1,
        metadata={
            "help": "values seen less often in train share the id of unseen values",
            "source": "BARS benchmark, Frappe_x1: min_categr_count=1",
        },
    )


class Frappe(DatasetSource):
    """Frappe_x1 in its published split; files are read as they are, only downloads are held to checksums."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="frappe",
        title="Frappe app usage (Frappe_x1)",
        rows="202,027 / 57,722 / 28,860",
        licence="research use, no redistribution",
        source=(
            f"download {URL} (data set reczoo/Frappe_x1 on Hugging Face), unpack it, "
            "and give the folder with train.csv, valid.csv and test.csv as --data-dir"
        ),
        protocol={"dim": 16, "hidden": (64, 32), "batch_size": 2048, "epochs": 20, "patience": 2},
    )
    Config: ClassVar[type] = FrappeConfig
    config: FrappeConfig

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the SHA-256 of the three files as they lie on disk; DataError names one that is missing."""
        return file_hash(list(_files(source).values()))

    def prepare(self, source: Path | None) -> Dataset:
        """Read and encode the three files; DataError names file, line and column of what is wrong."""
        files = _files(source)
        frames = {split: read_csv(path, COLUMNS) for split, path in files.items()}
        labels = {split: read_labels(files[split], frame["label"]) for split, frame in frames.items()}
        encoded = encode(frames, FIELDS, self.config.min_count)
        splits = {split: Split(encoded.ids[split], labels[split]) for split in SPLITS}
        return Dataset(self.info.name, encoded.fields, splits, vocabularies=encoded.vocabularies)

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the published archive into `folder`/Frappe_x1, each file checked against its published MD5.

        Nothing is fetched where the files are there already. DataError: no network, a checksum that differs,
        or other files in the way; no file is written then.
        """
        target = Path(folder) / "Frappe_x1"
        present = [name for name in MD5 if (target / name).exists()]
        for name in present:
            _check_md5(target / name, name, "move it away before downloading")
        if len(present) == len(MD5):
            logger.info("%s is there already, checksums agree", target)
            return
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as scratch:
            unpacked = _unpack(_fetch(Path(scratch)), Path(scratch))
            for name in MD5:
                _check_md5(unpacked[name], name, "the published file has changed or the transfer was broken")
            for name in MD5:
                unpacked[name].replace(target / name)


def _files(source: Path | None) -> dict[str, Path]:
    if source is None:
        raise DataError(f"data set 'frappe' needs a data folder: {Frappe.info.source}")
    folders = [Path(source) / name for name in _FOLDERS]
    found = [folder for folder in folders if any(_find(folder, split) for split in SPLITS)]
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise DataError(f"no train.csv or train.csv.gz of Frappe in {looked}: {Frappe.info.source}")
    if len(found) > 1:
        raise DataError(f"Frappe lies in {found[0]} and in {found[1]}: give the one you mean as --data-dir")
    files = {split: _find(found[0], split) for split in SPLITS}
    for split, path in files.items():
        if path is None:
            raise DataError(f"{found[0] / split}.csv (or .csv.gz) is missing: {Frappe.info.source}")
    return {split: path for split, path in files.items() if path is not None}


def _find(folder: Path, split: str) -> Path | None:
    """Return the file of a split, plain before packed."""
    paths = (folder / f"{split}.csv", folder / f"{split}.csv.gz")
    return next((path for path in paths if path.is_file()), None)


def _fetch(folder: Path) -> Path:
    """Fetch the archive, which has no published checksum; its files have, and are checked afterwards."""
    import pooch

    try:
        return Path(pooch.retrieve(URL, known_hash=None, fname="Frappe_x1.zip", path=folder))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot download {URL} ({error}); by hand: {Frappe.info.source}") from error


def _unpack(archive: Path, folder: Path) -> dict[str, Path]:
    """Unpack the three files, wherever in the archive they lie, into `folder`."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = {Path(name).name: name for name in packed.namelist()}
            for name in MD5:
                (folder / name).write_bytes(packed.read(members[name]))
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(
            f"{URL} is not the expected archive ({error}); by hand: {Frappe.info.source}"
        ) from error
    return {name: folder / name for name in MD5}


def _check_md5(path: Path, name: str, remedy: str) -> None:
    found = file_hash([path], "md5")
    if found != MD5[name]:
        raise DataError(f"{path} is not the published {name}: MD5 {found}, expected {MD5[name]}; {remedy}")
