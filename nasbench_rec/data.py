"""Encoded data: fields, splits and data sets, and the contract of a source of data sets.

A data set is three splits (train, valid, test) of integer ids, one id space per field, with 0/1 labels. On
disk it is a folder of numpy arrays, a manifest (JSON) and the vocabularies (Parquet); nothing is pickled.
"""

from __future__ import annotations

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nasbench_rec.errors import DataError, SealedError, unknown

SPLITS = ("train", "valid", "test")
MANIFEST_VERSION = 1
_MANIFEST = "manifest.json"
_VOCABULARIES = "vocabularies.parquet"
_KEYS = ("version", "name", "fingerprint", "fields", "truth", "digests", "files")
_AGAIN = "delete the folder and prepare the data again"
_DTYPES = {"ids": np.int32, "labels": np.float32, "probabilities": np.float32, "groups": np.int32}


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
        """Return the rows that `index` selects (positions, a mask or a slice) as a split of their own."""
        return Split(**{name: array[index] for name, array in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that are known, by name, in a fixed order."""
        named = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: array for name, array in named.items() if array is not None}


class Dataset:
    """An encoded data set; its identity is the `fingerprint` of its content, not its name.

    `truth` is the known answer (JSON-able, {} where unknown). Arrays are checked here: DataError names split
    and field where ids are out of range, labels not 0/1, shapes disagree, or a split is missing or empty.
    """

    def __init__(
        self,
        name: str,
        fields: Sequence[Field],
        splits: Mapping[str, Split],
        *,
        truth: Mapping[str, Any] | None = None,
        vocabularies: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.name = name
        self.fields = tuple(fields)
        self.truth: dict[str, Any] = dict(truth or {})
        self._splits = _checked(self.fields, splits)
        self._vocabularies = _checked_vocabularies(self.fields, vocabularies or {})
        self._digests = _digests(self._splits)
        self.fingerprint = _fingerprint(self.fields, self._digests)
        self._folder: Path | None = None
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
        return tuple(
            _count(f, self._splits["train"].ids[:, columns])
            for f, columns in zip(self.fields, _columns(self.fields), strict=True)
        )

    @property
    def vocabularies(self) -> dict[str, list[str]]:
        """The raw value of each id, per field name ({} where unknown); read when first asked for."""
        if self._vocabularies is None:
            assert self._folder is not None
            self._vocabularies = _read_vocabularies(self._folder / _VOCABULARIES, self.fields)
        return self._vocabularies

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
        for split, name, array in _arrays(self._splits):
            np.save(folder / f"{split}.{name}.npy", np.asarray(array), allow_pickle=False)
        _write_vocabularies(folder / _VOCABULARIES, self.vocabularies)
        manifest: dict[str, Any] = {
            "version": MANIFEST_VERSION,
            "name": self.name,
            "fingerprint": self.fingerprint,
            "fields": [asdict(f) for f in self.fields],
            "truth": self.truth,
            "digests": self._digests,
            "files": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
        }
        text = json.dumps(manifest, indent=1, allow_nan=False)
        (folder / _MANIFEST).write_text(text + "\n", encoding="utf-8")

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
        data.fingerprint = manifest["fingerprint"]
        data._digests = manifest["digests"]
        data._splits = _map_splits(Path(folder), data._digests)
        data._vocabularies = None
        data._folder = Path(folder)
        data._sealed = False
        return data

    def verify(self) -> None:
        """Read every array and compare with the fingerprint; DataError names the first that differs."""
        folder = self._folder or Path()
        for name, digest in _digests(self._splits).items():
            if digest != self._digests[name]:
                raise DataError(f"{folder / name}.npy was changed after it was written; {_AGAIN}")
        if _fingerprint(self.fields, self._digests) != self.fingerprint:
            raise DataError(f"{folder / _MANIFEST} was changed after it was written; {_AGAIN}")


def search_cut(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Cut rows for structure search out of train: (train without them, search rows), both in their old order.

    Disjoint, seeded, the same for the same seed. DataError where `fraction` leaves either part empty.
    """
    size = round(len(train) * fraction) if 0 < fraction < 1 else 0
    if not 0 < size < len(train):
        raise DataError(
            f"a search cut of {fraction} of {len(train)} rows leaves a part empty: "
            "the fraction must lie between 0 and 1 and give at least one row to each part"
        )
    chosen = np.zeros(len(train), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(train))[:size]] = True
    return train.take(np.flatnonzero(~chosen)), train.take(np.flatnonzero(chosen))


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
    key of the prepared data, then `prepare` unless that key is already stored. `source` is the user's data
    folder, None for data that is generated.
    """

    info: ClassVar[DatasetInfo]
    Config: ClassVar[type]
    """A frozen dataclass; the metadata of its fields has "help" and "source"."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def source_fingerprint(self, source: Path | None) -> str:
        """Return a hash of the source files (generated data: of the generator's version), cheaply.

        DataError names a file that is missing.
        """

    @abstractmethod
    def prepare(self, source: Path | None) -> Dataset:
        """Read, encode and split; the data set is in memory, the caller saves it."""

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the source files into `folder`; by default a DataError that says where to get them."""
        raise DataError(f"data set {cls.info.name!r} cannot be downloaded from here: {cls.info.source}")


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


def _fingerprint(fields: Sequence[Field], digests: Mapping[str, str]) -> str:
    content = json.dumps({"fields": [asdict(f) for f in fields], "arrays": dict(digests)}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _count(f: Field, ids: np.ndarray) -> np.ndarray:
    counts = np.bincount(ids.ravel(), minlength=f.cardinality).astype(np.int64)
    if f.padding is not None:
        counts[f.padding] = 0
    return counts


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


def _write_vocabularies(path: Path, vocabularies: Mapping[str, list[str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "field": pa.array([name for name, values in vocabularies.items() for _ in values], pa.string()),
            "value": pa.array([value for values in vocabularies.values() for value in values], pa.string()),
        }
    )
    pq.write_table(table, path)


def _read_vocabularies(path: Path, fields: Sequence[Field]) -> dict[str, list[str]]:
    import pyarrow.parquet as pq

    try:
        columns = pq.read_table(path).to_pydict()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    values: dict[str, list[str]] = {}
    for name, value in zip(columns["field"], columns["value"], strict=True):
        values.setdefault(name, []).append(value)
    return {f.name: values[f.name] for f in fields if f.name in values}


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
