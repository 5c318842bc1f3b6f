"""Encoded data: fields, splits and data sets, and the contract of a source of data sets.

A data set is three splits (train, valid, test) of integer ids, one id space per field, with 0/1 labels. On
disk it is a folder of numpy arrays, a manifest (JSON) and the vocabularies (Parquet); nothing is pickled. The
folder is written by one writer, `DatasetWriter`, row block by row block, and read as memory maps: neither side
needs the rows in memory.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np

from nasbench_rec._datafolder import (
    VOCABULARIES,
    ArrayFile,
    VocabularyFile,
    disk,
    read_vocabularies,
    read_vocabulary,
)
from nasbench_rec.errors import DataError, SealedError, unknown

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

SPLITS = ("train", "valid", "test")
MANIFEST_VERSION = 2
_MANIFEST = "manifest.json"
_KEYS = (
    *("version", "name", "fingerprint", "fields", "truth", "origin", "digests", "splits", "vocabularies"),
    "files",
)
_AGAIN = "delete the folder and prepare the data again"
_SAVE_ROWS = 1 << 16
SPILL_BYTES = 256 * 2**20
"""A larger selection of memory-mapped rows is kept on disk (see `Split.take`)."""
BLOCK_BYTES = 64 * 2**20
"""Rows are copied and counted in blocks of this size."""
_DTYPES = {"ids": np.int32, "labels": np.float32, "probabilities": np.float32, "groups": np.int32}

OnProgress = Callable[[str, int, int], None]
"""Hears how far a step of preparing data is: what it does, how much is done, of how much (bytes or rows)."""


def silent(step: str, done: int, total: int) -> None:
    """Hear of progress and say nothing."""


@dataclass(frozen=True)
class Field:
    """One categorical field; its embedding table has `cardinality` rows."""

    name: str
    cardinality: int
    columns: int = 1
    """Number of id columns; more than one: multi-valued, padded."""
    padding: int | None = None
    """The id that pads a multi-valued field (only there)."""


@dataclass(frozen=True, eq=False)
class Split:
    """The rows of one split: N rows, C id columns in the order of the fields."""

    ids: np.ndarray
    """int32 [N, C], ids within each field."""
    labels: np.ndarray
    """float32 [N], 0 or 1."""
    probabilities: np.ndarray | None = None
    """float32 [N], the true P(y = 1) where it is known (planted data)."""
    groups: np.ndarray | None = None
    """int32 [N], the true instance group where it is known (planted data)."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray | slice) -> Split:
        """Return the rows that `index` selects (positions [n], a mask [N] or a slice) as a split of their own.

        Slices are views. What is selected from a memory-mapped array and is larger than `SPILL_BYTES` goes block by
        block into a file without a name beside the mapped one, and is mapped read-only in its turn: it takes no
        memory, and its disk space is free again when the split is gone. Give rising positions or a mask, then the
        mapped file is read from front to back. DataError where the disk has no room.
        """
        return Split(**{name: _taken(array, index) for name, array in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that are known, by name, in a fixed order."""
        named = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: array for name, array in named.items() if array is not None}


class Dataset:
    """An encoded data set; its identity is the `fingerprint` of its content, not its name.

    `truth` is the known answer (JSON-able, {} where unknown), `origin` what is known of how the data were made:
    hashes of the source files, the encoding, the split rule, missing and unseen values. Arrays are checked here:
    DataError names split and field where ids are out of range, labels not 0/1, shapes disagree, or a split is
    missing or empty.
    """

    def __init__(
        self,
        name: str,
        fields: Sequence[Field],
        splits: Mapping[str, Split],
        *,
        truth: Mapping[str, Any] | None = None,
        vocabularies: Mapping[str, Sequence[str]] | None = None,
        origin: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.fields = tuple(fields)
        self.truth: dict[str, Any] = dict(truth or {})
        self.origin: dict[str, Any] = dict(origin or {})
        self._splits = _checked(self.fields, splits)
        self._vocabularies = _checked_vocabularies(self.fields, vocabularies or {})
        self._digests = _digests(self._splits)
        self.fingerprint = _fingerprint(self.fields, self._digests)
        self._folder: Path | None = None
        self._words_digest = ""
        self._sealed = False

    def split(self, name: str) -> Split:
        """Return "train", "valid" or "test"; another name is a DataError, a sealed test a SealedError."""
        if name not in SPLITS:
            raise DataError(unknown("split", name, SPLITS))
        if name == "test" and self._sealed:
            raise SealedError(
                f"the test split of {self.name!r} is sealed while searching, tuning or training: "
                "use 'valid' here; the test split is opened once, after the last training"
            )
        return self._splits[name]

    @cached_property
    def counts(self) -> tuple[np.ndarray, ...]:
        """How often each id occurs in train: int64 [n_f] per field; the padding id counts 0."""
        return tuple(_counts(self.fields, self._splits["train"].ids))

    @property
    def vocabularies(self) -> dict[str, list[str]]:
        """The raw value of each id, per field name ({} where unknown); read when first asked for."""
        if self._vocabularies is None:
            assert self._folder is not None
            self._vocabularies = read_vocabularies(self._folder / VOCABULARIES, [f.name for f in self.fields])
        return self._vocabularies

    def vocabulary(self, name: str) -> pd.DataFrame:
        """Return what is known of the ids of one field, a row per id (no row where nothing is known).

        Columns: `id`; `value`, the raw value, or a note in angle brackets where `kind` is not "value" but
        "rare" (seldom or never seen in train), "missing" or "padding"; `count`, the rows of train that have it
        (of the rows that the vocabulary was learnt from), <NA> where that is unknown.
        """
        import pandas as pd

        if name not in {f.name for f in self.fields}:
            raise DataError(unknown("field", name, [f.name for f in self.fields]))
        if self._folder is not None:
            return read_vocabulary(self._folder / VOCABULARIES, name)
        values = self.vocabularies.get(name, [])
        count = pd.array([None] * len(values), dtype="Int64")
        return pd.DataFrame({"id": range(len(values)), "value": values, "kind": "value", "count": count})

    def split_fingerprint(self, name: str) -> str:
        """Return the hash of the content of one split; the content of a sealed one stays sealed."""
        if name not in SPLITS:
            raise DataError(unknown("split", name, SPLITS))
        return _split_fingerprint(name, self._digests)

    def without_test(self) -> Dataset:
        """Return the same data set with a sealed test split: `split("test")` raises SealedError."""
        other = copy.copy(self)
        other._sealed = True
        return other

    def save(self, folder: Path) -> None:
        """Write manifest, arrays and vocabularies into `folder`, which exists and is empty.

        The caller makes it atomic: it writes into a temporary folder and renames that. A sealed data set
        cannot be saved (SealedError).
        """
        self.split("test")
        rows = {name: len(split) for name, split in self._splits.items()}
        parts = list(self._splits["train"].arrays())
        writer = DatasetWriter(folder, self.name, self.fields, rows, parts)
        for split, part, array in _arrays(self._splits):
            for start in range(0, len(array), _SAVE_ROWS):
                writer.append(split, part, array[start : start + _SAVE_ROWS])
        if self._folder is not None:
            writer.copy_vocabularies(self._folder)
        else:
            for name, values in self.vocabularies.items():
                writer.vocabulary(name, values)
        writer.finish(truth=self.truth, origin=self.origin)

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        """Open a saved data set with memory-mapped arrays.

        The manifest is trusted but for the sizes of its files (DataError names the one that is missing or
        broken); `verify` reads everything.
        """
        manifest = _read_manifest(Path(folder) / _MANIFEST)
        _check_sizes(Path(folder), manifest["files"])
        data = cls.__new__(cls)
        data.name = manifest["name"]
        data.fields = tuple(Field(**f) for f in manifest["fields"])
        data.truth = manifest["truth"]
        data.origin = manifest["origin"]
        data.fingerprint = manifest["fingerprint"]
        data._digests = manifest["digests"]
        data._words_digest = manifest["vocabularies"]
        data._splits = _map_splits(Path(folder), data._digests)
        data._vocabularies = None
        data._folder = Path(folder)
        data._sealed = False
        return data

    def verify(self) -> None:
        """Read every file and compare with the manifest; DataError names the first that differs."""
        folder = self._folder or Path()
        if self._folder is not None:
            words = folder / VOCABULARIES
            with words.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == self._words_digest
            if not same:
                raise DataError(f"{words} was changed after it was written; {_AGAIN}")
        for name, digest in _digests(self._splits).items():
            if digest != self._digests[name]:
                raise DataError(f"{folder / name}.npy was changed after it was written; {_AGAIN}")
        if _fingerprint(self.fields, self._digests) != self.fingerprint:
            raise DataError(f"{folder / _MANIFEST} was changed after it was written; {_AGAIN}")


class DatasetWriter:
    """Writes a data set into an empty folder, row block by row block; memory is what one call holds.

    `rows` says how many rows each split will have. Blocks of each split and part (`ids`, `labels`, ...) come in
    the order of the rows. Nothing checks the values: the encoder that writes vouches for them. The folder is
    complete when `finish` has returned; a full disk is a DataError.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        fields: Sequence[Field],
        rows: Mapping[str, int],
        parts: Sequence[str] = ("ids", "labels"),
    ) -> None:
        _check_fields(fields)
        self.folder, self.name, self.fields = Path(folder), name, tuple(fields)
        columns = sum(f.columns for f in fields)
        self._files = {
            (split, part): ArrayFile(
                self.folder / f"{split}.{part}.npy",
                np.dtype(_DTYPES[part]),
                (rows[split], columns) if part == "ids" else (rows[split],),
            )
            for split in SPLITS
            for part in parts
        }
        self._words = VocabularyFile(self.folder / VOCABULARIES)

    def append(self, split: str, part: str, array: np.ndarray) -> None:
        """Write the next rows of `part` of a split."""
        self._files[split, part].append(array)

    def vocabulary(
        self,
        field: str,
        values: Sequence[str] | pl.Series,
        kinds: Sequence[str] | pl.Series | None = None,
        counts: np.ndarray | None = None,
    ) -> None:
        """Write the raw value of each id of a field; see `Dataset.vocabulary` for `kinds` and `counts`."""
        self._words.append(field, values, kinds, counts)

    def copy_vocabularies(self, folder: Path) -> None:
        """Take the vocabularies of another folder as they are."""
        self._words.copy(folder / VOCABULARIES)

    def finish(self, truth: Mapping[str, Any] | None = None, origin: Mapping[str, Any] | None = None) -> str:
        """Write the manifest and return the fingerprint."""
        words = self._words.close()
        digests = {f"{split}.{part}": file.close() for (split, part), file in self._files.items()}
        fingerprint = _fingerprint(self.fields, digests)
        manifest: dict[str, Any] = {
            "version": MANIFEST_VERSION,
            "name": self.name,
            "fingerprint": fingerprint,
            "fields": [asdict(f) for f in self.fields],
            "truth": dict(truth or {}),
            "origin": dict(origin or {}),
            "digests": digests,
            "splits": {name: _split_fingerprint(name, digests) for name in SPLITS},
            "vocabularies": words,
            "files": {path.name: path.stat().st_size for path in sorted(self.folder.iterdir())},
        }
        text = json.dumps(manifest, indent=1, allow_nan=False)
        with disk(self.folder / _MANIFEST):
            (self.folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")
        return fingerprint

    def abandon(self) -> None:
        """Close what is open; what was written stays and is of no use."""
        self._words.abandon()
        for file in self._files.values():
            file.abandon()


def search_cut(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Cut rows for structure search out of train: (train without them, search rows), both in their old order.

    Disjoint, seeded, the same for the same seed. DataError where `fraction` leaves either part empty. Takes 9 bytes
    of memory a row at its peak (a shuffled position and a mark), and those of the parts: see `Split.take`.
    """
    size = round(len(train) * fraction) if 0 < fraction < 1 else 0
    if not 0 < size < len(train):
        raise DataError(
            f"a search cut of {fraction} of {len(train)} rows leaves a part empty: "
            "the fraction must lie between 0 and 1 and give at least one row to each part"
        )
    chosen = np.zeros(len(train), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(train))[:size]] = True
    return train.take(~chosen), train.take(chosen)


def _taken(array: np.ndarray, index: np.ndarray | slice) -> np.ndarray:
    if isinstance(index, slice) or not isinstance(array, np.memmap):
        return array[index]
    index = np.asarray(index)
    rows = int(np.count_nonzero(index)) if index.dtype == bool else len(index)
    return _spilled(array, index, rows) if rows * _row_bytes(array) > SPILL_BYTES else array[index]


def _row_bytes(array: np.ndarray) -> int:
    return array.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))


def _blocks(rows: np.ndarray, like: np.ndarray) -> Iterator[np.ndarray]:
    """Cut `rows` into views of as many rows as there are in `BLOCK_BYTES` of `like`."""
    size = max(1, BLOCK_BYTES // max(1, _row_bytes(like)))
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _selected(array: np.ndarray, index: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the selected rows block by block; a mask is cut with the rows, so nobody holds their positions."""
    if index.dtype == bool:
        pairs = zip(_blocks(array, array), _blocks(index, array), strict=True)
        return (rows[mask] for rows, mask in pairs)
    return (array[positions] for positions in _blocks(index, array))


def _spilled(array: np.memmap, index: np.ndarray, rows: int) -> np.memmap:
    """Return the selected rows as a map of a file that has no name, so that nothing is left of it."""
    needed = rows * _row_bytes(array)
    folder, file = _unnamed_file(array)
    try:
        with file:
            if shutil.disk_usage(folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            # Written, not mapped for writing: a full disk is then an error and not a signal that kills.
            for part in _selected(array, index):
                file.write(np.ascontiguousarray(part).data)
            file.flush()
            found = np.memmap(file, array.dtype, "r", shape=(rows, *array.shape[1:]))
    except OSError as error:
        raise DataError(
            f"{folder}: {needed / 1e9:.1f} GB of selected rows cannot be written ({error.strerror}); "
            "make room there, they are needed while a model is trained on them"
        ) from error
    found.filename = array.filename  # where a further selection goes
    return found


def _unnamed_file(array: np.memmap) -> tuple[Path, IO[bytes]]:
    """Open a temporary file beside the mapped one, or in the system's folder where that cannot be written."""
    folder = Path(array.filename).parent if array.filename else Path(tempfile.gettempdir())
    try:
        return folder, tempfile.TemporaryFile(dir=folder)
    except OSError:
        return Path(tempfile.gettempdir()), tempfile.TemporaryFile()


@dataclass(frozen=True)
class DatasetInfo:
    """What users see of a data set before they have it."""

    name: str
    title: str
    rows: str
    licence: str
    source: str
    """Where to get it, in words."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """Recommended training protocol: overrides of the protocol's defaults."""


class DatasetSource(ABC):
    """A source of one data set, registered by an entry point in the group `nasbench_rec.datasets`.

    The order of calls: `download` (only when the user asks for it), `source_fingerprint`, which goes into the
    key of the prepared data, then `write` unless that key is already stored; `write` saves what `prepare`
    returns. A data set that may not fit into memory derives from `StreamedSource`. `source` is the user's data
    folder, None for data that is generated.
    """

    info: ClassVar[DatasetInfo]
    generated: ClassVar[bool] = False
    """Whether the data are made by a program, and not read from files."""
    Config: ClassVar[type]
    """A frozen dataclass; the metadata of its fields has "help" and "source"."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def place(self) -> Path | None:
        """Where the source files are, for a data set that knows it by itself; None: in the user's data folder."""
        return None

    @abstractmethod
    def source_fingerprint(self, source: Path | None) -> str:
        """Return a hash of the source files (generated data: of the generator's version), cheaply.

        DataError names a file that is missing.
        """

    @abstractmethod
    def prepare(self, source: Path | None) -> Dataset:
        """Read, encode and split; return the data set.

        DataError names file, line or row, column, value and remedy of what is wrong in the source.
        """

    def write(self, source: Path | None, folder: Path, progress: OnProgress = silent) -> None:
        """Write the data set into `folder`, which exists and is empty; the caller makes it atomic."""
        self.prepare(source).save(folder)

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the source files into `folder`; by default a DataError that says where to get them."""
        raise DataError(f"data set {cls.info.name!r} cannot be downloaded from here: {cls.info.source}")


class StreamedSource(DatasetSource):
    """A source that is read and encoded block by block, by `write`, so that its size does not matter."""

    @abstractmethod
    def write(self, source: Path | None, folder: Path, progress: OnProgress = silent) -> None:
        """Read, encode and split into `folder`, which exists and is empty, by a `DatasetWriter`.

        The caller makes it atomic. DataError names file, line or row, column, value and remedy of what is wrong.
        """

    def prepare(self, source: Path | None) -> Dataset:
        """Return the data set, written into a temporary folder that goes when the data set does."""
        folder = tempfile.TemporaryDirectory(prefix="nasbench-rec-data-")
        self.write(source, Path(folder.name))
        data = Dataset.load(Path(folder.name))
        weakref.finalize(data, folder.cleanup)
        return data


def _columns(fields: Sequence[Field]) -> list[slice]:
    ends = np.cumsum([f.columns for f in fields]).tolist()
    return [slice(end - f.columns, end) for f, end in zip(fields, ends, strict=True)]


def _arrays(splits: Mapping[str, Split]) -> list[tuple[str, str, np.ndarray]]:
    return [(split, name, array) for split in SPLITS for name, array in splits[split].arrays().items()]


def _digests(splits: Mapping[str, Split]) -> dict[str, str]:
    return {f"{split}.{name}": _digest(array) for split, name, array in _arrays(splits)}


def _digest(array: np.ndarray) -> str:
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    state = hashlib.sha256(f"{little.dtype.str} {little.shape}\n".encode())
    state.update(little.data)
    return state.hexdigest()


def _split_fingerprint(name: str, digests: Mapping[str, str]) -> str:
    parts = {part: digest for part, digest in digests.items() if part.startswith(f"{name}.")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _fingerprint(fields: Sequence[Field], digests: Mapping[str, str]) -> str:
    content = json.dumps({"fields": [asdict(f) for f in fields], "arrays": dict(digests)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _counts(fields: Sequence[Field], ids: np.ndarray) -> list[np.ndarray]:
    """Count each field's ids, int64 [n_f], in one pass over the rows: counting casts to 8 bytes an id."""
    found = [np.zeros(f.cardinality, dtype=np.int64) for f in fields]
    for block in _blocks(ids, ids):
        for f, columns, counts in zip(fields, _columns(fields), found, strict=True):
            counts += np.bincount(block[:, columns].ravel(), minlength=f.cardinality)
    for f, counts in zip(fields, found, strict=True):
        if f.padding is not None:
            counts[f.padding] = 0
    return found


def _checked(fields: Sequence[Field], splits: Mapping[str, Split]) -> dict[str, Split]:
    if set(splits) != set(SPLITS):
        raise DataError(f"splits are {', '.join(SPLITS)}; got {', '.join(sorted(splits)) or 'none'}")
    _check_fields(fields)
    return {name: _checked_split(name, fields, splits[name]) for name in SPLITS}


def _check_fields(fields: Sequence[Field]) -> None:
    if not fields or len({f.name for f in fields}) != len(fields):
        raise DataError(f"fields need names, each its own; got {', '.join(f.name for f in fields) or 'none'}")
    for f in fields:
        if f.cardinality < 1 or f.columns < 1:
            raise DataError(
                f"field {f.name!r}: cardinality {f.cardinality} and columns {f.columns}, both >= 1"
            )
        if f.padding is not None and not (f.columns > 1 and 0 <= f.padding < f.cardinality):
            raise DataError(f"field {f.name!r}: padding {f.padding} only with columns > 1, as one of its ids")


def _checked_split(name: str, fields: Sequence[Field], split: Split) -> Split:
    columns = sum(f.columns for f in fields)
    if len(split) == 0:
        raise DataError(f"split {name!r} is empty; it needs at least one row")
    if split.ids.ndim != 2 or split.ids.shape[1] != columns:
        raise DataError(f"split {name!r}: ids of shape {split.ids.shape}; the fields have {columns} columns")
    for part, array in split.arrays().items():
        if len(array) != len(split) or array.dtype != _DTYPES[part]:
            raise DataError(
                f"split {name!r}: {part} has {len(array)} rows of {array.dtype}; "
                f"expected {len(split)} of {np.dtype(_DTYPES[part])}"
            )
    if not np.isin(split.labels, (0, 1)).all():
        raise DataError(f"split {name!r}: labels must be 0 or 1")
    for f, where in zip(fields, _columns(fields), strict=True):
        _check_range(name, f, split.ids[:, where])
    return split


def _check_range(split: str, f: Field, ids: np.ndarray) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= f.cardinality:
        raise DataError(
            f"split {split!r}, field {f.name!r}: ids {low}..{high}, not in 0..{f.cardinality - 1}"
        )


def _checked_vocabularies(
    fields: Sequence[Field], vocabularies: Mapping[str, Sequence[str]]
) -> dict[str, list[str]] | None:
    cardinalities = {f.name: f.cardinality for f in fields}
    for name, values in vocabularies.items():
        expected = cardinalities.get(name)
        if len(values) != expected:
            raise DataError(f"vocabulary {name!r} has {len(values)} values, its field {expected} ids")
    return {name: list(values) for name, values in vocabularies.items()}


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = {key: manifest[key] for key in _KEYS}["version"]
    except FileNotFoundError:
        raise DataError(f"{path} is missing: not a prepared data set, or not completely written") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is broken ({error!r}); {_AGAIN}") from error
    if version != MANIFEST_VERSION:
        raise DataError(f"{path} has version {version}, this program reads {MANIFEST_VERSION}; {_AGAIN}")
    return manifest


def _check_sizes(folder: Path, files: Mapping[str, int]) -> None:
    for name, size in files.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} bytes, not {size}"
            raise DataError(f"{path} {state}; {_AGAIN}")


def _map_splits(folder: Path, names: Mapping[str, str]) -> dict[str, Split]:
    parts: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    for name in names:
        split, part = name.split(".")
        try:
            parts[split][part] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{folder / name}.npy cannot be read ({error}); {_AGAIN}") from error
    return {split: Split(**arrays) for split, arrays in parts.items()}
