"""MovieLens-1M: does a user give a movie four stars or more, in GroupLens' own layout.

The source folder holds ml-1m.zip, or ratings.dat, users.dat and movies.dat as they lie in it: `::` between cells, no
header, Latin-1. Fields: user, movie, gender, age, occupation, zip, and the movie's genres as one multi-valued field.

Rows go to train, valid and test (8 : 1 : 1) by a hash of user and movie, not by time: which split a rating is in
depends on nothing but the seed. Times are not read.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from nasbench_rec.datasets._encode import RARE, Encoded, encode, file_hash

from nasbench_rec.data import SPLITS, Dataset, DatasetInfo, DatasetSource, Field, Split
from nasbench_rec.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
MD5 = "c4d9eecfca2ab87c1945afe126590906"
ARCHIVE = "ml-1m.zip"
COLUMNS = {
    "ratings.dat": ("user", "movie", "rating", "time"),
    "users.dat": ("user", "gender", "age", "occupation", "zip"),
    "movies.dat": ("movie", "title", "genres"),
}
FIELDS = ("user", "movie", "gender", "age", "occupation", "zip")
SHARES = (8, 1, 1)
"""Train, valid, test."""
NONE = "<no more>"
"""What a multi-valued vocabulary shows for id 0, which pads; id 1 is for unseen values."""
_FOLDERS = (".", "movielens-1m", "ml-1m")
_AGAIN = "get the file again from its owner"


@dataclass(frozen=True)
class MovieLensConfig:
    """How MovieLens-1M becomes a task."""

    positive: int = field(
        default=4,
        metadata={
            "help": "least rating that counts as a click, 2..5",
            "source": "the field's convention for CTR on MovieLens-1M: 4 and 5 positive",
        },
    )
    split_seed: int = field(
        default=0,
        metadata={"help": "seed of the hash that splits rows 8 : 1 : 1", "source": "ours"},
    )
    min_count: int = field(
        default=1,
        metadata={"help": "values seen less often in train share the id of unseen values", "source": "ours"},
    )

    def __post_init__(self) -> None:
        """Refuse a threshold that leaves one class only."""
        if not 2 <= self.positive <= 5:
            raise ConfigError(f"positive = {self.positive}: ratings are 1..5, so it must be 2, 3, 4 or 5.")


class MovieLens1M(DatasetSource):
    """MovieLens-1M as a click task, split by a hash of user and movie."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="movielens-1m",
        title="MovieLens-1M, rating >= 4",
        rows="about 800,000 / 100,000 / 100,000",
        licence="research use, no redistribution",
        source=f"download {URL} and give the folder with {ARCHIVE}, or with its three .dat files, as --data-dir",
        protocol={"dim": 16, "hidden": (64, 32), "batch_size": 4096, "lr": 3e-3, "epochs": 10, "patience": 2},
    )
    Config: ClassVar[type] = MovieLensConfig
    config: MovieLensConfig

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the SHA-256 of the archive, or of the three files; DataError names one that is missing."""
        place = _place(source)
        return file_hash([place] if place.is_file() else [place / name for name in COLUMNS])

    def prepare(self, source: Path | None) -> Dataset:
        """Read, join, split and encode; DataError names file, line, value and what is expected."""
        place, config = _place(source), self.config
        tables = {name: _table(place, name) for name in COLUMNS}
        _check_ratings(place, tables)
        rows = _joined(tables)
        which = split_of(rows["user"].to_numpy(), rows["movie"].to_numpy(), config.split_seed)
        frames = {name: rows.filter(which == number) for number, name in enumerate(SPLITS)}
        if any(frame.is_empty() for frame in frames.values()):
            raise DataError(f"{place}: {len(rows)} ratings are too few to split 8 : 1 : 1; {_AGAIN}")
        encoded = encode(frames, FIELDS, config.min_count)
        genres = encode_many(
            {name: frame["genres"] for name, frame in frames.items()}, "genres", config.min_count
        )
        splits = {
            name: Split(
                np.concatenate([encoded.ids[name], genres.ids[name]], 1),
                (frame["rating"].cast(int).to_numpy() >= config.positive).astype(np.float32),
            )
            for name, frame in frames.items()
        }
        vocabularies = encoded.vocabularies | genres.vocabularies
        return Dataset(self.info.name, encoded.fields + genres.fields, splits, vocabularies=vocabularies)

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the archive into `folder`/movielens-1m, checked against its published MD5.

        DataError: no network, or another checksum; no file is written then.
        """
        import pooch

        target = Path(folder) / "movielens-1m"
        try:
            pooch.retrieve(URL, known_hash=f"md5:{MD5}", fname=ARCHIVE, path=target)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot download {URL} ({error}); by hand: {cls.info.source}") from error


def split_of(users: np.ndarray, movies: np.ndarray, seed: int) -> np.ndarray:
    """Return 0 (train), 1 (valid) or 2 (test) for each pair of ids (whole numbers as text or int), int [N].

    The pair and the seed are mixed by SplitMix64's finaliser (Steele et al., OOPSLA 2014): the same on every
    machine, whatever the order of the rows.
    """
    with np.errstate(over="ignore"):
        z = (users.astype(np.uint64) << np.uint64(32)) + movies.astype(np.uint64)
        z += np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed % 2**64 * 2 % 2**64 + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    part = (z % np.uint64(sum(SHARES))).astype(np.int64)
    return np.searchsorted(np.cumsum(SHARES), part, side="right")


def encode_many(lists: dict[str, pl.Series], name: str, min_count: int = 1) -> Encoded:
    """Encode one multi-valued column of `|`-separated text, learnt from lists["train"] alone.

    Id 0 pads, id 1 is for values seen in fewer than `min_count` rows of train or never, the others follow by
    descending count. There are as many id columns as the longest list of any split has values.
    """
    import polars as pl

    parts = {split: column.str.split("|") for split, column in lists.items()}
    counts = parts["train"].explode().rename("value").value_counts(name="rows")
    known = counts.filter(pl.col("rows") >= min_count).sort(["rows", "value"], descending=[True, False])
    values = known["value"].to_list()
    numbers = pl.int_range(2, len(values) + 2, dtype=pl.Int32, eager=True)
    # A field of several columns, though no list may have more than one value.
    width = max(2, *(int(part.list.len().max()) for part in parts.values()))  # type: ignore[arg-type]
    ids = {}
    for split, part in parts.items():
        flat = part.explode().replace_strict(known["value"], numbers, default=1, return_dtype=pl.Int32)
        lengths = part.list.len().to_numpy()
        ids[split] = np.zeros((len(part), width), dtype=np.int32)
        ids[split][np.arange(width) < lengths[:, None]] = flat.to_numpy()
    found = Field(name, len(values) + 2, columns=width, padding=0)
    return Encoded((found,), ids, {name: [NONE, RARE, *values]})


def _place(source: Path | None) -> Path:
    """Return the archive, or the folder of the three files."""
    if source is None:
        raise DataError(f"data set 'movielens-1m' needs a data folder: {MovieLens1M.info.source}")
    folders = [Path(source) / name for name in _FOLDERS]
    archives = [folder / ARCHIVE for folder in folders if (folder / ARCHIVE).is_file()]
    unpacked = [folder for folder in folders if (folder / "ratings.dat").is_file()]
    found = archives or unpacked
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise DataError(f"neither {ARCHIVE} nor ratings.dat in {looked}: {MovieLens1M.info.source}")
    if len(found) > 1:
        raise DataError(
            f"MovieLens-1M lies in {found[0]} and in {found[1]}: give the one you mean as --data-dir"
        )
    return found[0]


def _content(place: Path, name: str) -> bytes:
    try:
        if not place.is_file():
            return (place / name).read_bytes()
        with zipfile.ZipFile(place) as archive:
            members = {Path(member).name: member for member in archive.namelist()}
            return archive.read(members[name])
    except KeyError:
        raise DataError(f"{place} has no {name}; {_AGAIN}") from None
    except FileNotFoundError:
        raise DataError(f"{place / name} is missing; {_AGAIN}") from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{place} cannot be read ({error}); {_AGAIN}") from error


def _table(place: Path, name: str) -> pl.DataFrame:
    """Return the cells of a file as text; every line must have as many as there are columns, none empty."""
    import polars as pl

    columns = COLUMNS[name]
    # A tab cannot stand in a cell of its own: it would look like the end of one.
    text = _content(place, name).decode("latin-1").replace("\r\n", "\n").rstrip("\n").replace("\t", " ")
    if not text:
        raise DataError(f"{place / name} is empty; {_AGAIN}")
    for number, line in enumerate(text.split("\n"), 1):
        if line.count("::") != len(columns) - 1:
            found = line.count("::") + 1
            raise DataError(
                f"{place / name}, line {number}: {found} cells instead of {len(columns)} ({'::'.join(columns)}): "
                f"{line[:80]!r}; {_AGAIN}"
            )
    plain = io.BytesIO(text.replace("::", "\t").encode())
    frame = pl.read_csv(
        plain,
        separator="\t",
        has_header=False,
        new_columns=list(columns),
        infer_schema=False,
        quote_char=None,
    )
    for column in columns:
        _check(place / name, frame, column, frame[column].is_null(), "a value")
    return frame


def _check_ratings(place: Path, tables: dict[str, pl.DataFrame]) -> None:
    """Every rating is 1..5, ids are whole numbers, and each user and movie is known once."""
    ratings = tables["ratings.dat"]
    _check(place / "ratings.dat", ratings, "rating", ~ratings["rating"].is_in(list("12345")), "1..5")
    for name, column in (("users.dat", "user"), ("movies.dat", "movie")):
        known = tables[name]
        for file, frame in ((name, known), ("ratings.dat", ratings)):
            whole = frame[column].str.contains(r"^\d{1,9}$")
            _check(place / file, frame, column, ~whole, "a whole number")
        _check(place / name, known, column, ~known[column].is_first_distinct(), "each one once")
        unknown = ~ratings[column].is_in(known[column].to_list())
        _check(place / "ratings.dat", ratings, column, unknown, f"one that is in {name}")


def _check(path: Path, frame: pl.DataFrame, column: str, wrong: pl.Series, expected: str) -> None:
    """Raise a DataError for the first row where `wrong` is true; there is no header."""
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        value = frame[column][row] or ""
        raise DataError(
            f"{path}, line {row + 1}, column {column!r}: found {value!r}, expected {expected}; {_AGAIN}"
        )


def _joined(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    ratings = tables["ratings.dat"].drop("time")
    found = ratings.join(tables["users.dat"], on="user", how="left", maintain_order="left")
    return found.join(tables["movies.dat"].drop("title"), on="movie", how="left", maintain_order="left")
