"""MovieLens: does a user give a movie four stars or more, in GroupLens' own layouts.

Three editions: ml-1m and ml-100k with the users' gender, age, occupation and zip, and ml-latest (complete or small)
with ratings alone. A source is the archive as downloaded, or the folder of its files. Fields: user, movie, what is
known of the user, and the movie's genres as one multi-valued field. The layouts are those of each archive's README;
what differs between the editions is said by an `Edition`.

Rows go to train, valid and test (8 : 1 : 1) by a hash of user and movie: which split a rating is in depends on nothing
but the seed. Splits by time and by user can be chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from nasbench_rec.datasets._batches import Batch, complete, refuse
from nasbench_rec.datasets._download import fetch
from nasbench_rec.datasets._encode import Recipe, encode
from nasbench_rec.datasets._files import AGAIN, SourceFile, source_hash
from nasbench_rec.datasets._spec import Column, Encoding, Label, SplitRule, recipe, setting
from nasbench_rec.datasets._splits import by_hash, pair_keys
from nasbench_rec.datasets._text import TextLayout, read_text

from nasbench_rec.data import DatasetInfo, OnProgress, StreamedSource, silent
from nasbench_rec.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    import polars as pl

URL = "https://files.grouplens.org/datasets/movielens"
ARCHIVE = "ml-1m.zip"
DEMOGRAPHICS = ("gender", "age", "occupation", "zip")
FIELDS = ("user", "movie", *DEMOGRAPHICS)
"""The fields with one value; `genres` follows."""
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
)
"""The flags of u.item, in their order."""
NO_GENRES = "(no genres listed)"
SPLITS_BY = ("hash", "time", "user")
SAME_TIME = 0.2
"""A source in which a larger share of the rows has one time is not split by time."""
_KEPT = 1000


@dataclass(frozen=True)
class Table:
    """A file of an edition; without a header its columns are named by us."""

    file: str
    layout: TextLayout


@dataclass(frozen=True)
class Edition:
    """Where an edition lies, and how its files are built."""

    archives: tuple[str, ...]
    """Names that the archive may have; the first is downloaded."""
    checksum: str | None
    folders: tuple[str, ...]
    """Where archives and unpacked files are looked for, below the user's data folder."""
    ratings: Table
    """Columns: user, movie, rating, time."""
    movies: Table
    """First column: movie; `genres`, or a column of 0/1 for each genre in `flags`."""
    users: Table | None = None
    """First column: user, as in `ratings`."""
    flags: tuple[str, ...] = ()

    @property
    def tables(self) -> tuple[Table, ...]:
        """All files."""
        return (self.ratings, *((self.users,) if self.users else ()), self.movies)


def _bare(separator: str, *columns: str) -> TextLayout:
    """Return the layout of GroupLens' older files."""
    return TextLayout(columns, separator, header=False, encoding="latin-1")


_STARS = (1.0, 2.0, 3.0, 4.0, 5.0)
_HALF_STARS = tuple(half / 2 for half in range(1, 11))
ML_1M = Edition(
    archives=(ARCHIVE,),
    checksum="md5:c4d9eecfca2ab87c1945afe126590906",
    folders=(".", "movielens-1m", "ml-1m"),
    ratings=Table("ratings.dat", _bare("::", "user", "movie", "rating", "time")),
    movies=Table("movies.dat", _bare("::", "movie", "title", "genres")),
    users=Table("users.dat", _bare("::", "user", "gender", "age", "occupation", "zip")),
)
ML_100K = Edition(
    archives=("ml-100k.zip",),
    checksum="sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    folders=(".", "movielens-100k", "ml-100k"),
    ratings=Table("u.data", _bare("\t", "user", "movie", "rating", "time")),
    movies=Table("u.item", _bare("|", "movie", "title", "release", "video", "url", *GENRES_100K)),
    users=Table("u.user", _bare("|", "user", "age", "gender", "occupation", "zip")),
    flags=GENRES_100K,
)
_LATEST_RATINGS = Table("ratings.csv", TextLayout(("userId", "movieId", "rating", "timestamp")))
_LATEST_MOVIES = Table("movies.csv", TextLayout(("movieId", "title", "genres"), quotes=True))
# Its content changes with time, so it has no checksum of ours.
ML_LATEST = Edition(
    archives=("ml-latest.zip", "ml-latest-small.zip"),
    checksum=None,
    folders=(".", "movielens-latest", "ml-latest", "ml-latest-small"),
    ratings=_LATEST_RATINGS,
    movies=_LATEST_MOVIES,
)
ML_LATEST_SMALL = Edition(
    archives=("ml-latest-small.zip",),
    checksum="sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
    folders=(".", "movielens-latest-small", "ml-latest-small"),
    ratings=_LATEST_RATINGS,
    movies=_LATEST_MOVIES,
)


@dataclass(frozen=True)
class EditionConfig:
    """How an edition of MovieLens with whole stars becomes a task."""

    stars: ClassVar[tuple[float, ...]] = _STARS
    positive: float = setting(
        4.0,
        "least rating that counts as a click, above the lowest",
        "the field's convention for CTR on MovieLens-1M: 4 and 5 positive",
    )
    split_seed: int = setting(0, "seed of the hash that splits rows, or users, 8 : 1 : 1")
    min_count: int = setting(1, "values seen less often in train share the id of unseen values")
    split: str = setting(
        "hash",
        "hash (of user and movie), time (train before valid before test), or user (no user in two splits)",
    )

    def __post_init__(self) -> None:
        """Refuse a threshold that leaves one class only, and a split that does not exist."""
        if self.positive not in self.stars[1:]:
            raise ConfigError(
                f"positive = {self.positive:g}: ratings are {_scale(self.stars)}, so it must be one of "
                f"{', '.join(f'{star:g}' for star in self.stars[1:])}"
            )
        if self.split not in SPLITS_BY:
            raise ConfigError(unknown("split", self.split, SPLITS_BY))


@dataclass(frozen=True)
class LatestConfig(EditionConfig):
    """How the latest MovieLens becomes a task."""

    stars: ClassVar[tuple[float, ...]] = _HALF_STARS


@dataclass(frozen=True)
class MovieLensConfig(EditionConfig):
    """How MovieLens-1M becomes a task."""

    recipe: str = setting(
        "ours",
        "ours, or autodim: movie, genres as one value, year, user, occupation, age, gender, the zip's first five "
        "characters; vocabularies of all rows",
        "AutoDim and AdaFS: sizes as in AdaFS' main.py; their threshold and script are not published",
    )


class MovieLens(StreamedSource):
    """An edition of MovieLens as a click task."""

    edition: ClassVar[Edition]
    config: EditionConfig

    def source_fingerprint(self, source: Path | None) -> str:
        """Return the SHA-256 of the archive, or of the files; DataError names one that is missing."""
        return source_hash(self._paths(self._place(source)))

    def write(self, source: Path | None, folder: Path, progress: OnProgress = silent) -> None:
        """Read, join, split and encode; DataError names file, line, value and what is expected."""
        place = self._place(source)
        made = Recipe(
            self.info.name,
            self.columns(),
            Label(self.edition.ratings.layout.columns[2], self.config.positive),
            self.encoding(),
            self.split(),
            source=str(place),
            files={path.name: source_hash([path]) for path in self._paths(place)},
        )
        encode(made, self._rows(place, progress), folder, progress)

    @classmethod
    def download(cls, folder: Path) -> None:
        """Fetch the archive into a folder below `folder`; it is checked, and continued where it was broken off.

        DataError: no network, another checksum, or another file in the way.
        """
        archive = cls.edition.archives[0]
        fetch(
            f"{URL}/{archive}", Path(folder) / cls.info.name / archive, cls.edition.checksum, cls.info.source
        )

    def columns(self) -> tuple[Column, ...]:
        """Return the columns that become fields."""
        single = FIELDS if self.edition.users else FIELDS[:2]
        return (*(Column(name) for name in single), Column("genres", "multi"))

    def encoding(self) -> Encoding:
        """Return how values become ids."""
        return Encoding(min_count=self.config.min_count)

    def split(self) -> SplitRule:
        """Return which rows are train, valid and test."""
        if self.config.split == "time":
            return SplitRule("time", columns=self.edition.ratings.layout.columns[3:])
        rule, columns = {"hash": ("pair", FIELDS[:2]), "user": ("group", FIELDS[:1])}[self.config.split]
        return SplitRule(rule, seed=self.config.split_seed, columns=columns)

    def about_movies(self, movies: pl.DataFrame) -> pl.DataFrame:
        """Return what a row gets of its movie: the id and `genres`, never null."""
        return movies.select(self.edition.movies.layout.columns[0], _genres(self.edition.flags))

    def about_users(self, users: pl.DataFrame) -> pl.DataFrame:
        """Return what a row gets of its user."""
        return users

    def _place(self, source: Path | None) -> Path:
        """Return the archive, or the folder of the files."""
        info, edition = self.info, self.edition
        if source is None:
            raise DataError(f"data set {info.name!r} needs a data folder: {info.source}")
        source = Path(source)
        if source.is_file():
            return source.parent if source.name == edition.ratings.file else source
        folders = [source / name for name in edition.folders]
        archives = [path for f in folders for name in edition.archives if (path := f / name).is_file()]
        unpacked = [f for f in folders if (f / edition.ratings.file).is_file()]
        # Files beside their archive, or in a folder of its name, came out of it.
        packed_too = {path for a in archives for path in (a.parent, a.with_suffix(""))}
        found = archives + [f for f in unpacked if f not in packed_too]
        if not found:
            looked = ", ".join(str(f) for f in folders)
            names = ", ".join(edition.archives)
            raise DataError(f"neither {names} nor {edition.ratings.file} in {looked}: {info.source}")
        if len(found) > 1:
            raise DataError(
                f"{info.name} lies in {found[0]} and in {found[1]}: give the one you mean as --source or --data-dir"
            )
        return found[0]

    def _paths(self, place: Path) -> list[Path]:
        """Return the files on disk."""
        if place.is_file():
            return [place]
        paths = [place / table.file for table in self.edition.tables]
        for path in paths:
            if not path.is_file():
                raise DataError(f"{path} is missing; {AGAIN}")
        return paths

    def _rows(self, place: Path, progress: OnProgress) -> Iterator[Batch]:
        """Yield the ratings with what is known of user and movie; `user` and `movie` have these names."""
        edition = self.edition
        user, movie, _, time = edition.ratings.layout.columns
        sides = []
        if edition.users:
            sides.append((edition.users, user, self.about_users(_side(place, edition.users))))
        sides.append((edition.movies, movie, self.about_movies(_side(place, edition.movies, edition.flags))))
        times = Commonest()
        for batch in _read(place, edition.ratings, progress=progress):
            _check_rating(batch, self.config.stars)
            if self.config.split == "time":
                times.add(batch.frame[time])
            frame = _joined(batch, sides)
            yield batch.with_frame(frame.rename({user: FIELDS[0], movie: FIELDS[1]}))
        if times.share > SAME_TIME:
            raise DataError(
                f"{_inside(place, edition.ratings)}, column {time!r}: {times.value!r} in {times.share:.0%} of the "
                f"rows: these are not the times of the ratings; {AGAIN}, or split by hash or by user"
            )


class MovieLens1M(MovieLens):
    """MovieLens-1M: 1,000,209 ratings of 6,040 users."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="movielens-1m",
        title="MovieLens-1M, rating >= 4",
        rows="about 800,000 / 100,000 / 100,000",
        licence="research use, no redistribution",
        source=(
            f"download {URL}/{ARCHIVE} and give the folder with {ARCHIVE}, or with its three .dat files, "
            "as --source or --data-dir"
        ),
        protocol={"dim": 16, "hidden": (64, 32), "batch_size": 4096, "lr": 3e-3, "epochs": 10, "patience": 2},
    )
    edition = ML_1M
    Config: ClassVar[type] = MovieLensConfig
    config: MovieLensConfig

    def __init__(self, config: MovieLensConfig) -> None:
        super().__init__(config)
        self.encoding()

    @property
    def _autodim(self) -> bool:
        return self.config.recipe == "autodim"

    def columns(self) -> tuple[Column, ...]:
        """Return the fields of the recipe, in its order."""
        names = ("movie", "genres", "year", "user", "occupation", "age", "gender", "zip")
        return tuple(Column(name) for name in names) if self._autodim else super().columns()

    def encoding(self) -> Encoding:
        """Return the encoding of the recipe; autodim has no id for rare values here, as there are none."""
        changes = {"min_count": self.config.min_count, "counted": "if-rare" if self._autodim else None}
        return recipe(self.config.recipe, {"ours": 1, "autodim": 1}, changes)

    def about_movies(self, movies: pl.DataFrame) -> pl.DataFrame:
        """Return the genres; for autodim as one text, with the year in which the title ends."""
        import polars as pl

        if not self._autodim:
            return super().about_movies(movies)
        year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").alias("year")
        return movies.select("movie", "genres", year)

    def about_users(self, users: pl.DataFrame) -> pl.DataFrame:
        """Return the users; for autodim with the first five characters of the zip: 3,402 different ones."""
        import polars as pl

        return users.with_columns(pl.col("zip").str.slice(0, 5)) if self._autodim else users


class MovieLens100K(MovieLens):
    """MovieLens-100K: 100,000 ratings of 943 users."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="movielens-100k",
        title="MovieLens-100K, rating >= 4",
        rows="about 80,000 / 10,000 / 10,000",
        licence="research use, no redistribution",
        source=(
            f"download {URL}/ml-100k.zip and give the folder with ml-100k.zip, or with its files u.data, u.user and "
            "u.item, as --source or --data-dir"
        ),
    )
    edition = ML_100K
    Config: ClassVar[type] = EditionConfig


class MovieLensLatest(MovieLens):
    """The latest MovieLens, complete or small: ratings in half stars, no demographics."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="movielens-latest",
        title="MovieLens latest (complete or small), rating >= 4",
        rows="about 33,000,000 in all (small: 100,836)",
        licence="GroupLens' licence, in the archive's README",
        source=(
            f"download {URL}/ml-latest.zip or {URL}/ml-latest-small.zip and give the folder with the archive, or with "
            "its ratings.csv and movies.csv, as --source or --data-dir"
        ),
    )
    edition = ML_LATEST
    Config: ClassVar[type] = LatestConfig


class MovieLensLatestSmall(MovieLens):
    """The small edition of the latest MovieLens of 2018, whose archive has a published checksum."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="movielens-latest-small",
        title="MovieLens latest-small (2018), rating >= 4",
        rows="about 80,700 / 10,100 / 10,100",
        licence="GroupLens' licence, in the archive's README",
        source=(
            f"download {URL}/ml-latest-small.zip and give the folder with the archive, or with its ratings.csv and "
            "movies.csv, as --source or --data-dir"
        ),
    )
    edition = ML_LATEST_SMALL
    Config: ClassVar[type] = LatestConfig


def split_of(users: np.ndarray, movies: np.ndarray, seed: int) -> np.ndarray:
    """Return 0 (train), 1 (valid) or 2 (test) for each pair of ids (whole numbers as text or int), uint8 [N].

    The same on every machine, whatever the order of the rows: rule `pair` of `SplitRule`, 8 : 1 : 1.
    """
    return by_hash(pair_keys(users, movies), SplitRule("pair", seed=seed, columns=FIELDS[:2]))


class Commonest:
    """Finds the commonest value of a stream in bounded memory; its share is at most 1/1001 of the rows too low.

    Misra and Gries, Finding repeated elements (1982); batches are merged as by Agarwal et al., Mergeable summaries
    (PODS 2012): the counts of the rarer values are given up, and all others lowered by as much.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._counts: pl.DataFrame | None = None

    def add(self, cells: pl.Series) -> None:
        """Count the cells of a batch."""
        import polars as pl

        found = cells.rename("value").value_counts(name="rows")
        if self._counts is not None:
            found = pl.concat([self._counts, found]).group_by("value").sum()
        found = found.top_k(_KEPT + 1, by="rows").sort("rows", descending=True)
        if len(found) > _KEPT:
            found = found.head(_KEPT).with_columns(pl.col("rows") - found["rows"][_KEPT])
        self._counts, self.rows = found.filter(pl.col("rows") > 0), self.rows + len(cells)

    @property
    def value(self) -> str | None:
        """The commonest value."""
        return None if self._counts is None or self._counts.is_empty() else str(self._counts["value"][0])

    @property
    def share(self) -> float:
        """The share of the rows that have it."""
        return 0.0 if self._counts is None or self.value is None else self._counts["rows"][0] / self.rows


def _scale(stars: tuple[float, ...]) -> str:
    step = stars[1] - stars[0]
    return f"{stars[0]:g}..{stars[-1]:g}" + ("" if step == 1 else f" in steps of {step:g}")


def _inside(place: Path, table: Table) -> SourceFile:
    return SourceFile(place, table.file) if place.is_file() else SourceFile(place / table.file)


def _read(
    place: Path, table: Table, needed: tuple[str, ...] = (), progress: OnProgress = silent
) -> Iterator[Batch]:
    """Yield the rows of a file, in which no cell of the `needed` columns (by default: of any) is missing."""
    batches = read_text(_inside(place, table), table.layout, progress)
    return complete(batches, needed or table.layout.columns)


def _side(place: Path, table: Table, flags: tuple[str, ...] = ()) -> pl.DataFrame:
    """Return users or movies: a small table, whose first column is a whole number and each one once."""
    import polars as pl

    key = table.layout.columns[0]
    frames: list[pl.DataFrame] = []
    for batch in _read(place, table, (key, *flags) if flags else ()):
        ids = batch.frame[key]
        _check_whole(batch, key)
        before = [frame[key] for frame in frames]
        known = (
            ids.is_in(pl.concat(before).implode())
            if before
            else pl.Series([False]).new_from_index(0, len(ids))
        )
        refuse(batch, ~ids.is_first_distinct() | known, key, "each one once")
        for flag in flags:
            refuse(batch, ~batch.frame[flag].is_in(["0", "1"]), flag, "0 or 1")
        frames.append(batch.frame)
    return pl.concat(frames)


def _genres(flags: tuple[str, ...]) -> pl.Expr:
    """Return the list of a movie's genres, from one text or from a column for each."""
    import polars as pl

    if flags:
        marked = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in flags]
        return pl.concat_list(marked).list.drop_nulls().alias("genres")
    text = pl.col("genres")
    return pl.when(text != NO_GENRES).then(text.str.split("|")).otherwise(pl.lit([], pl.List(pl.String)))


def _check_whole(batch: Batch, column: str) -> None:
    import polars as pl

    numbers = batch.frame[column].cast(pl.UInt32, strict=False)
    refuse(batch, numbers.is_null(), column, "a whole number")


def _check_rating(batch: Batch, allowed: tuple[float, ...]) -> None:
    import polars as pl

    user, movie, rating, _ = batch.frame.columns
    for name in (user, movie):
        _check_whole(batch, name)
    stars = batch.frame[rating].cast(pl.Float64, strict=False)
    refuse(batch, ~stars.is_in(allowed).fill_null(False), rating, _scale(allowed))


def _joined(batch: Batch, sides: list[tuple[Table, str, pl.DataFrame]]) -> pl.DataFrame:
    """Join users and movies to the ratings of a batch; each must be known."""
    frame = batch.frame
    for table, key, side in sides:
        frame = frame.join(side, on=key, how="left", maintain_order="left")
        refuse(batch, frame[side.columns[1]].is_null(), key, f"one that is in {table.file}")
    return frame
