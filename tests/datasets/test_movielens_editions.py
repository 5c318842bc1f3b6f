"""MovieLens-100K and latest in GroupLens' layouts, from generated files; splits of all editions."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from nasbench_rec.datasets.movielens import (
    DEMOGRAPHICS,
    GENRES_100K,
    Commonest,
    EditionConfig,
    LatestConfig,
    MovieLens,
    MovieLens100K,
    MovieLensLatest,
    MovieLensLatestSmall,
    split_of,
)

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import ConfigError, DataError

USERS, MOVIES = 40, 30
Row = tuple[object, ...]
"""User, movie, demographics, genres, label."""


@dataclass(frozen=True)
class Made:
    """Generated files, and what a reader must find in them, row by row."""

    files: dict[str, bytes]
    rows: list[Row]
    times: list[int]


def pairs() -> list[tuple[int, int]]:
    every = [(u, 3 * m) for u in range(1, USERS + 1) for m in range(1, MOVIES + 1)]
    order = np.random.default_rng(0).permutation(len(every))
    return [every[i] for i in order]


def made_100k() -> Made:
    rng = np.random.default_rng(1)
    items, genres = [], {}
    for m in range(1, MOVIES + 1):
        flags = rng.random(19) < (0.1 if m > 1 else 0)
        genres[3 * m] = [name for name, flag in zip(GENRES_100K, flags, strict=True) if flag]
        date = "" if m == 5 else "01-Jan-1995"
        items.append(
            f"{3 * m}|L'\xc9t\xe9 {m} (1995)|{date}||http://x/{m}|" + "|".join(f"{f:d}" for f in flags)
        )
    users = {
        u: (f"{10 + u % 50}", "FM"[u % 2], f"job{u % 4}", f"V{u:04d}" if u % 9 == 0 else f"{10000 + u}")
        for u in range(1, USERS + 1)
    }
    data, rows, times = [], [], []
    for u, m in pairs():
        rating, time = int(rng.integers(1, 6)), int(rng.integers(880_000_000, 890_000_000))
        data.append(f"{u}\t{m}\t{rating}\t{time}")
        age, gender, job, code = users[u]
        rows.append((str(u), str(m), gender, age, job, code, tuple(genres[m]), float(rating >= 4)))
        times.append(time)
    text = {
        "u.data": data,
        "u.user": [f"{u}|{'|'.join(about)}" for u, about in users.items()],
        "u.item": items,
    }
    files = {name: ("\n".join(lines) + "\n").encode("latin-1") for name, lines in text.items()}
    return Made(files, rows, times)


def made_latest() -> Made:
    rng = np.random.default_rng(2)
    movies, genres = ["movieId,title,genres"], {}
    for m in range(1, MOVIES + 1):
        own = [] if m % 7 == 0 else [f"G{g}" for g in rng.permutation(6)[: 1 + m % 4]]
        genres[3 * m] = own
        title = f'"Am\xe9lie, ""the"" {m} (2001)"' if m % 2 else f"Plain {m}"
        movies.append(f"{3 * m},{title},{'|'.join(own) or '(no genres listed)'}")
    lines, rows, times = ["userId,movieId,rating,timestamp"], [], []
    for u, m in pairs():
        rating, time = int(rng.integers(1, 11)) / 2, int(rng.integers(1_000_000_000, 1_500_000_000))
        lines.append(f"{u},{m},{rating},{time}")
        rows.append((str(u), str(m), tuple(genres[m]), float(rating >= 4)))
        times.append(time)
    text = {"ratings.csv": lines, "movies.csv": movies}
    return Made({name: ("\n".join(part) + "\n").encode() for name, part in text.items()}, rows, times)


@dataclass(frozen=True)
class Case:
    """An edition and its generator."""

    kind: type[MovieLens]
    make: Callable[[], Made]

    def write(self, folder: Path, archive: str | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        files = self.make().files
        if archive is None:
            for name, content in files.items():
                (folder / name).write_bytes(content)
        else:
            with zipfile.ZipFile(folder / archive, "w", zipfile.ZIP_DEFLATED) as packed:
                packed.writestr(f"{archive.removesuffix('.zip')}/README", "read me")
                for name, content in files.items():
                    packed.writestr(f"{archive.removesuffix('.zip')}/{name}", content)
        return folder

    def source(self, **settings: object) -> MovieLens:
        return self.kind(self.kind.Config(**settings))

    def prepare(self, folder: Path | None, **settings: object) -> Dataset:
        return self.source(**settings).prepare(folder)


OLD, NEW = Case(MovieLens100K, made_100k), Case(MovieLensLatest, made_latest)
CASES = pytest.mark.parametrize("case", [OLD, NEW], ids=["100k", "latest"])


def decoded(data: Dataset, split: str) -> list[Row]:
    """The rows of a split in the words of the files."""
    words, single = data.vocabularies, len(data.fields) - 1
    part = data.split(split)
    return [
        (
            *(words[f.name][i] for f, i in zip(data.fields, ids[:single], strict=False)),
            tuple(words["genres"][i] for i in ids[single:] if i != 0),
            float(label),
        )
        for ids, label in zip(part.ids.tolist(), part.labels, strict=True)
    ]


@CASES
def test_every_row_can_be_read_back(case: Case, tmp_path: Path) -> None:
    made, data = case.make(), case.prepare(case.write(tmp_path))
    pair = np.array([[int(str(row[0])), int(str(row[1]))] for row in made.rows])
    which = split_of(pair[:, 0], pair[:, 1], 0)
    for number, name in enumerate(SPLITS):
        expected = [row for row, at in zip(made.rows, which, strict=True) if at == number]
        assert decoded(data, name) == expected
    names = ["user", "movie", *(DEMOGRAPHICS if case is OLD else ()), "genres"]
    assert [f.name for f in data.fields] == names
    assert data.fields[-1].padding == 0 and data.fields[-1].columns > 2
    if case is OLD:
        assert [f.cardinality - 1 for f in data.fields[:3]] == [USERS, MOVIES, 2]


@CASES
def test_a_movie_without_genres_has_an_empty_list(case: Case, tmp_path: Path) -> None:
    data = case.prepare(case.write(tmp_path))
    assert any(row[-2] == () for row in decoded(data, "train"))
    without = sum(row[-2] == () for row in case.make().rows)
    assert data.origin["fields"]["genres"]["missing"] == pytest.approx(without / (USERS * MOVIES))
    assert "(no genres listed)" not in data.vocabularies["genres"]


@CASES
def test_the_split_by_user_has_no_user_twice(case: Case, tmp_path: Path) -> None:
    data = case.prepare(case.write(tmp_path), split="user")
    known = {row[0] for row in decoded(data, "train")}
    rows = [len(data.split(name)) for name in SPLITS]
    assert all(count % MOVIES == 0 for count in rows) and sum(rows) == USERS * MOVIES
    assert (data.split("test").ids[:, 0] == 0).all() and len(known) == rows[0] / MOVIES
    other = case.prepare(tmp_path, split="user", split_seed=1)
    assert other.fingerprint != data.fingerprint
    assert case.prepare(tmp_path, split="user").fingerprint == data.fingerprint


@CASES
def test_the_split_by_time_puts_the_past_into_train(case: Case, tmp_path: Path) -> None:
    made, data = case.make(), case.prepare(case.write(tmp_path), split="time")
    assert [len(data.split(name)) for name in SPLITS] == [960, 120, 120]
    order = np.argsort(made.times, kind="stable")
    for name, part in zip(SPLITS, (order[:960], order[960:1080], order[1080:]), strict=True):
        assert decoded(data, name) == [made.rows[i] for i in sorted(part)]
    assert data.origin["split"]["rule"] == "time"


@CASES
def test_times_that_are_not_times_are_refused(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    path = tmp_path / case.kind.edition.ratings.file
    separator = case.kind.edition.ratings.layout.separator
    lines = path.read_text().splitlines()
    first = case.kind.edition.ratings.layout.header
    lines[first + 700 :] = [line.rsplit(separator, 1)[0] + f"{separator}0" for line in lines[first + 700 :]]
    path.write_text("\n".join(lines))
    column = case.kind.edition.ratings.layout.columns[3]
    with pytest.raises(
        DataError,
        match=rf"{path.name}, column '{column}': '0' in 42% of the rows: .*or split by hash or by user",
    ):
        case.prepare(tmp_path, split="time")
    case.prepare(tmp_path)


@CASES
def test_what_the_manifest_tells(case: Case, tmp_path: Path) -> None:
    origin = case.prepare(case.write(tmp_path), split_seed=3).origin
    assert origin["split"] == {"rule": "pair", "shares": [8, 1, 1], "seed": 3, "columns": ["user", "movie"]}
    assert origin["label"] == {"column": "rating", "positive": 4.0}
    assert list(origin["source"]) == [table.file for table in case.kind.edition.tables]


@pytest.mark.parametrize("archive", ["ml-latest.zip", "ml-latest-small.zip"])
@pytest.mark.parametrize("place", [".", "movielens-latest", "ml-latest"])
def test_archive_folder_and_file_give_the_same_data(tmp_path: Path, archive: str, place: str) -> None:
    plain = NEW.prepare(NEW.write(tmp_path / "plain")).fingerprint
    source = tmp_path / "data"
    NEW.write(source / place, archive)
    assert NEW.prepare(source).fingerprint == plain == NEW.prepare(source / place / archive).fingerprint
    assert NEW.prepare(tmp_path / "plain" / "ratings.csv").fingerprint == plain
    small = Case(MovieLensLatestSmall, made_latest)
    if archive == "ml-latest-small.zip" and place == ".":
        assert small.prepare(source).fingerprint == plain
    if archive == "ml-latest.zip":
        with pytest.raises(DataError, match=r"neither ml-latest-small\.zip nor ratings\.csv"):
            small.prepare(source)


def test_the_archive_and_the_folder_that_came_out_of_it_are_one(tmp_path: Path) -> None:
    OLD.write(tmp_path, "ml-100k.zip")
    OLD.write(tmp_path / "ml-100k")
    data = OLD.prepare(tmp_path)
    assert list(data.origin["source"]) == ["ml-100k.zip"]
    OLD.write(tmp_path / "movielens-100k")
    with pytest.raises(DataError, match=r"lies in .*ml-100k\.zip and in .*movielens-100k: give the one"):
        OLD.prepare(tmp_path)


def test_two_editions_are_not_guessed_between(tmp_path: Path) -> None:
    NEW.write(tmp_path, "ml-latest.zip")
    NEW.write(tmp_path / "ml-latest-small")
    with pytest.raises(DataError, match=r"lies in .*ml-latest\.zip and in .*ml-latest-small"):
        NEW.prepare(tmp_path)


def change(name: str, line: int, text: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        lines = (folder / name).read_bytes().split(b"\n")
        lines[line - 1] = text.encode("latin-1")
        (folder / name).write_bytes(b"\n".join(lines))

    return damage


def flags(first: str) -> str:
    return "|".join([first, *["0"] * 18])


BAD: Sequence[tuple[Case, Callable[[Path], object], str]] = [
    (
        OLD,
        change("u.data", 3, "1\t3\t5"),
        r"u\.data, line 3: 3 cells instead of 4 \(user, movie, rating, time\)",
    ),
    (
        OLD,
        change("u.data", 3, "1\t3\t0\t9"),
        r"u\.data, line 3, column 'rating': found '0', expected 1\.\.5; mend",
    ),
    (OLD, change("u.data", 3, "1\t3\t3.5\t9"), "column 'rating': found '3.5'"),
    (OLD, change("u.data", 3, "1\t3\tx\t9"), "column 'rating': found 'x'"),
    (OLD, change("u.data", 3, "1\t3\t4\t"), "line 3, column 'time': found '', expected a value"),
    (OLD, change("u.data", 3, "99\t3\t4\t9"), r"column 'user': found '99', expected one that is in u\.user"),
    (OLD, change("u.data", 3, "1\t4\t4\t9"), r"column 'movie': found '4', expected one that is in u\.item"),
    (OLD, change("u.data", 3, "-1\t4\t4\t9"), "column 'user': found '-1', expected a whole number"),
    (
        OLD,
        change("u.user", 2, "1|30|F|job|1"),
        r"u\.user, line 2, column 'user': found '1', expected each one once",
    ),
    (OLD, change("u.user", 2, "2|30|F|job"), r"u\.user, line 2: 4 cells instead of 5 \(user\|age"),
    (
        OLD,
        change("u.item", 2, f"6|A|d||u|{flags('2')}"),
        r"u\.item, line 2, column 'unknown': found '2', expected 0 or 1",
    ),
    (
        OLD,
        change("u.item", 2, f"6|A|d||u|{flags('')}"),
        r"u\.item, line 2, column 'unknown': found '', expected a value",
    ),
    (OLD, change("u.item", 2, "6|A|d||u"), r"u\.item, line 2: 5 cells instead of 24"),
    (OLD, lambda folder: (folder / "u.user").unlink(), r"u\.user is missing; get the file again"),
    (OLD, lambda folder: (folder / "u.data").write_text(""), r"u\.data is empty"),
    (OLD, lambda folder: (folder / "ml-100k.zip").write_text("<html>"), r"ml-100k\.zip cannot be read"),
    (NEW, change("ratings.csv", 3, "1,3,4.5"), r"ratings\.csv, line 3: 3 cells instead of 4"),
    (
        NEW,
        change("ratings.csv", 3, "1,3,5.5,9"),
        r"'rating': found '5\.5', expected 0\.5\.\.5 in steps of 0\.5",
    ),
    (NEW, change("ratings.csv", 3, "1,3,0,9"), "line 3, column 'rating': found '0'"),
    (
        NEW,
        change("ratings.csv", 3, "1,x,4,9"),
        "line 3, column 'movieId': found 'x', expected a whole number",
    ),
    (NEW, change("ratings.csv", 3, "1,4,4,9"), r"'movieId': found '4', expected one that is in movies\.csv"),
    (NEW, change("ratings.csv", 1, "userId,movieId,rating,time"), "line 1: unknown column 'time'"),
    (NEW, change("ratings.csv", 1, "1,3,4.5,99"), "line 1: unknown column '1'"),
    (NEW, change("movies.csv", 3, "6,A, B,G1"), r"movies\.csv, line 3: 4 cells instead of 3"),
    (NEW, change("movies.csv", 3, '6,"A,G1'), r"movies\.csv"),
    (
        NEW,
        change("movies.csv", 3, "6,A,"),
        r"movies\.csv, line 3, column 'genres': found '', expected a value",
    ),
    (
        NEW,
        change("movies.csv", 3, "3,A,G1"),
        r"movies\.csv, line 3, column 'movieId': found '3', expected each one",
    ),
    (NEW, change("movies.csv", 3, "6,Am\xe9lie,G1"), r"movies\.csv, line 3: b'\\xe9' is not UTF-8"),
    (NEW, lambda folder: (folder / "movies.csv").unlink(), r"movies\.csv is missing"),
]


@pytest.mark.parametrize(("case", "damage", "says"), BAD, ids=[says[:40] for *_, says in BAD])
def test_a_broken_file_is_one_clear_error(
    case: Case, damage: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    damage(case.write(tmp_path))
    with pytest.raises(DataError, match=says) as caught:
        case.prepare(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_time_that_is_none_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    change("ratings.csv", 3, "1,3,4.5,noon")(NEW.write(tmp_path))
    with pytest.raises(
        DataError, match=r"ratings\.csv, line 3, column 'timestamp': found 'noon', expected a number"
    ):
        NEW.prepare(tmp_path, split="time")


@pytest.mark.parametrize("cut", [200, 3000])
def test_a_truncated_archive_is_one_clear_error(cut: int, tmp_path: Path) -> None:
    path = NEW.write(tmp_path, "ml-latest.zip") / "ml-latest.zip"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"ml-latest\.zip cannot be read"):
        NEW.prepare(tmp_path)


def test_a_damaged_member_is_one_clear_error(tmp_path: Path) -> None:
    path = NEW.write(tmp_path, "ml-latest.zip") / "ml-latest.zip"
    raw = bytearray(path.read_bytes())
    raw[2000:2010] = bytes(10)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"ml-latest\.zip.* (cannot be read|cells instead|is not UTF-8)"):
        NEW.prepare(tmp_path)


def test_an_archive_without_a_file_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-latest.zip", "w") as archive:
        archive.writestr("ml-latest/ratings.csv", made_latest().files["ratings.csv"])
    with pytest.raises(DataError, match=r"ml-latest\.zip has no movies\.csv"):
        NEW.prepare(tmp_path)


def test_no_data_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"needs a data folder: download .*ml-100k\.zip and give .* as --source"
    ):
        OLD.prepare(None)
    with pytest.raises(
        DataError, match=r"neither ml-latest\.zip, ml-latest-small\.zip nor ratings\.csv in .*grouplens"
    ):
        NEW.prepare(tmp_path)


def test_settings_are_checked() -> None:
    assert LatestConfig(positive=3.5).positive == 3.5
    with pytest.raises(ConfigError, match=r"positive = 0\.5: ratings are 0\.5\.\.5 in steps of 0\.5"):
        LatestConfig(positive=0.5)
    with pytest.raises(
        ConfigError, match=r"positive = 3\.5: ratings are 1\.\.5, so it must be one of 2, 3, 4, 5"
    ):
        EditionConfig(positive=3.5)
    with pytest.raises(ConfigError, match="unknown split 'hesh'; did you mean 'hash'"):
        EditionConfig(split="hesh")


def test_blocks_of_a_large_file_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nasbench_rec.datasets import _files

    NEW.write(tmp_path)
    expected = {split: NEW.prepare(tmp_path, split=split).fingerprint for split in ("hash", "time", "user")}
    monkeypatch.setattr(_files, "BLOCK", 997)
    found = {split: NEW.prepare(tmp_path, split=split).fingerprint for split in ("hash", "time", "user")}
    assert found == expected
    change("movies.csv", 28, "3,A,G1")(tmp_path)
    with pytest.raises(
        DataError, match=r"movies\.csv, line 28, column 'movieId': found '3', expected each one once"
    ):
        NEW.prepare(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.19, 0.21, 0.6])
def test_the_commonest_value_is_found_in_bounded_memory(share: float) -> None:
    rng = np.random.default_rng(0)
    cells = np.where(rng.random(60_000) < share, 7, 1_000 + rng.permutation(60_000))
    found = Commonest()
    for part in np.array_split(cells, 23):
        found.add(pl.Series(part.astype(str)))
    truth = np.mean(cells == 7)
    assert truth - 1 / 1001 <= found.share <= max(truth, 1 / 60_000)
    assert share == 0 or found.value == "7"
