from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nasbench_rec.datasets import movielens
from nasbench_rec.datasets.movielens import ARCHIVE, MovieLens1M, MovieLensConfig, split_of

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import ConfigError, DataError

GENRES = ("Comedy", "Drama", "Action", "Film-Noir")
USERS, MOVIES = 30, 20


def files() -> dict[str, list[str]]:
    rng = np.random.default_rng(0)
    pairs = [(u, m) for u in range(1, USERS + 1) for m in range(1, MOVIES + 1)]
    movies = []
    for m in range(1, MOVIES + 1):
        own = rng.permutation(GENRES)[: 1 + m % 3]
        movies.append(f"{m * 7}::L'\xc9t\xe9 {m}: a film (1999)::{'|'.join(own)}")
    return {
        "ratings.dat": [f"{u}::{m * 7}::{1 + int(rng.integers(5))}::0" for u, m in pairs],
        "users.dat": [
            f"{u}::{'FM'[u % 2]}::{25 + 10 * (u % 3)}::{u % 4}::{10000 + u}" for u in range(1, USERS + 1)
        ],
        "movies.dat": movies,
    }


def write(folder: Path, packed: bool = False, end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    contents = {name: (end.join(lines) + end).encode("latin-1") for name, lines in files().items()}
    if packed:
        with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
            for name, content in contents.items():
                archive.writestr(f"ml-1m/{name}", content)
    else:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    return folder


def prepare(source: Path | None, **settings: Any) -> Dataset:
    return MovieLens1M(MovieLensConfig(**settings)).prepare(source)


def raw_rows(data: Dataset, split: str) -> set[tuple[object, ...]]:
    """What the encoded rows say in the words of the files."""
    single, words = data.fields[:6], data.vocabularies
    found = set()
    part = data.split(split)
    for row, label in zip(part.ids, part.labels, strict=True):
        cells = [words[f.name][i] for f, i in zip(single, row[:6], strict=True)]
        genres = [words["genres"][i] for i in row[6:] if i != 0]
        found.add((*cells, "|".join(genres), label))
    return found


def test_every_rating_can_be_read_back_with_its_user_and_movie(tmp_path: Path) -> None:
    data, lines = prepare(write(tmp_path)), files()
    users = {cells[0]: cells[1:] for cells in (line.split("::") for line in lines["users.dat"])}
    genres = {line.split("::")[0]: line.split("::")[2] for line in lines["movies.dat"]}
    expected = set()
    for line in lines["ratings.dat"]:
        user, movie, rating, _ = line.split("::")
        expected.add((user, movie, *users[user], genres[movie], float(int(rating) >= 4)))
    found = [raw_rows(data, split) for split in SPLITS]
    assert set.union(*found) == expected
    assert sum(map(len, found)) == sum(len(data.split(s)) for s in SPLITS) == USERS * MOVIES
    assert [f.name for f in data.fields] == [*movielens.FIELDS, "genres"]
    assert (data.fields[6].columns, data.fields[6].padding) == (3, 0)
    assert data.counts[6][:2].tolist() == [0, 0]


def test_the_split_depends_on_the_pair_and_the_seed_alone() -> None:
    rng = np.random.default_rng(0)
    users, movies = rng.integers(1, 6000, 50_000), rng.integers(1, 4000, 50_000)
    part = split_of(users, movies, 0)
    assert np.bincount(part) / len(part) == pytest.approx([0.8, 0.1, 0.1], abs=0.006)
    order = rng.permutation(len(users))
    assert (split_of(users[order], movies[order], 0) == part[order]).all()
    assert (split_of(users.astype(str), movies.astype(str), 0) == part).all()
    other = split_of(users, movies, 1)
    assert np.mean(other == part) == pytest.approx(0.8**2 + 2 * 0.1**2, abs=0.02)
    # One user's rows, and one movie's, are in all splits in the same shares.
    for ids in (
        split_of(np.full(9000, 7), np.arange(9000), 0),
        split_of(np.arange(9000), np.full(9000, 7), 0),
    ):
        assert np.bincount(ids) / 9000 == pytest.approx([0.8, 0.1, 0.1], abs=0.015)


def test_settings_change_labels_splits_and_vocabularies(tmp_path: Path) -> None:
    plain = prepare(write(tmp_path))
    assert prepare(tmp_path).fingerprint == plain.fingerprint != prepare(tmp_path, split_seed=1).fingerprint
    strict = prepare(tmp_path, positive=5)
    assert strict.split("train").labels.mean() < plain.split("train").labels.mean()
    rare = prepare(tmp_path, min_count=25)
    assert rare.fields[1].cardinality < plain.fields[1].cardinality
    assert (rare.split("train").ids[:, 1] == 0).any()
    with pytest.raises(ConfigError, match="positive = 6"):
        MovieLensConfig(positive=6)
    with pytest.raises(ConfigError, match="min_count is 0"):
        prepare(tmp_path, min_count=0)


def test_a_genre_that_train_does_not_know_is_unseen(tmp_path: Path) -> None:
    write(tmp_path)
    lines = files()
    test = prepare(tmp_path)
    movie = 7
    only = split_of(np.arange(1, USERS + 1), np.full(USERS, movie), 0)
    kept = [
        line
        for u, line in enumerate(lines["ratings.dat"])
        if line.split("::")[1] != "7" or only[u // MOVIES] == 2
    ]
    (tmp_path / "ratings.dat").write_text("\n".join(kept), encoding="latin-1")
    first = lines["movies.dat"][0].rsplit("::", 1)[0] + "::Anime|Comedy"
    (tmp_path / "movies.dat").write_text("\n".join([first, *lines["movies.dat"][1:]]), encoding="latin-1")
    data = prepare(tmp_path)
    assert "Anime" not in data.vocabularies["genres"] and "Anime" not in test.vocabularies["genres"]
    rows = data.split("test").ids[data.split("test").ids[:, 1] == 0]
    assert len(rows) == (only == 2).sum() > 0
    assert (rows[:, 6] == 1).all() and (rows[:, 7] > 1).all() and (rows[:, 8] == 0).all()


@pytest.mark.parametrize("place", [".", "movielens-1m", "ml-1m"])
@pytest.mark.parametrize("packed", [False, True])
def test_archive_and_folder_give_the_same_data(tmp_path: Path, place: str, packed: bool) -> None:
    plain = prepare(write(tmp_path / "other"))
    source = tmp_path / "data"
    write(source / place, packed, end="\r\n")
    assert prepare(source).fingerprint == plain.fingerprint
    reader = MovieLens1M(MovieLensConfig())
    assert reader.source_fingerprint(source) != reader.source_fingerprint(tmp_path / "other")


def line_3(name: str, text: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        lines = files()[name]
        lines[2] = text
        (folder / name).write_bytes(("\n".join(lines) + "\n").encode("latin-1"))

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (
            line_3("ratings.dat", "1::7::5"),
            r"ratings\.dat, line 3: 3 cells instead of 4 \(user::movie::rating",
        ),
        (
            line_3("ratings.dat", "1::7::6::0"),
            r"ratings\.dat, line 3, column 'rating': found '6', expected 1\.\.5",
        ),
        (line_3("ratings.dat", "1::::4::0"), r"line 3, column 'movie': found '', expected a value"),
        (line_3("ratings.dat", "x::7::4::0"), r"line 3, column 'user': found 'x', expected a whole number"),
        (
            line_3("ratings.dat", "99::7::4::0"),
            r"column 'user': found '99', expected one that is in users\.dat",
        ),
        (
            line_3("ratings.dat", "1::5::4::0"),
            r"column 'movie': found '5', expected one that is in movies\.dat",
        ),
        (
            line_3("users.dat", "1::F::25::0::1"),
            r"users\.dat, line 3, column 'user': found '1', expected each one once",
        ),
        (line_3("movies.dat", "21::Alone"), r"movies\.dat, line 3: 2 cells instead of 3"),
        (lambda folder: (folder / "users.dat").unlink(), r"users\.dat is missing"),
        (lambda folder: (folder / "movies.dat").write_text("\n"), r"movies\.dat is empty"),
        (lambda folder: (folder / ARCHIVE).write_text("<html>"), r"ml-1m\.zip cannot be read"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    damage(write(tmp_path))
    with pytest.raises(DataError, match=says) as caught:
        prepare(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_archive_without_a_file_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / ARCHIVE, "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::7::5::0\n")
    with pytest.raises(DataError, match=r"ml-1m\.zip has no users\.dat"):
        prepare(tmp_path)


def test_no_data_says_where_to_get_it(tmp_path: Path) -> None:
    for ask in (prepare, MovieLens1M(MovieLensConfig()).source_fingerprint):
        with pytest.raises(DataError, match="needs a data folder.*grouplens.*--data-dir"):
            ask(None)
        with pytest.raises(DataError, match=r"neither ml-1m\.zip nor ratings\.dat in .*grouplens"):
            ask(tmp_path)
    write(tmp_path / "ml-1m", packed=True)
    write(tmp_path / "movielens-1m", packed=True)
    with pytest.raises(DataError, match="lies in .* and in "):
        prepare(tmp_path)


def test_a_download_that_fails_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(movielens, "URL", f"http://127.0.0.1:9/{ARCHIVE}")
    with pytest.raises(DataError, match="cannot download http.*by hand: download https.*--data-dir"):
        MovieLens1M.download(tmp_path)
    assert not list(tmp_path.rglob("*.zip"))


AUTODIM = ("movie", "genres", "year", "user", "occupation", "age", "gender", "zip")


def test_the_autodim_recipe_has_its_own_fields(tmp_path: Path) -> None:
    data, lines = prepare(write(tmp_path), recipe="autodim"), files()
    assert [f.name for f in data.fields] == list(AUTODIM)
    assert all(f.columns == 1 for f in data.fields)
    users = {cells[0]: cells[1:] for cells in (line.split("::") for line in lines["users.dat"])}
    genres = {line.split("::")[0]: line.split("::")[2] for line in lines["movies.dat"]}
    expected = set()
    for line in lines["ratings.dat"]:
        user, movie, rating, _ = line.split("::")
        gender, age, job, code = users[user]
        expected.add(
            (movie, genres[movie], "1999", user, job, age, gender, code[:5], float(int(rating) >= 4))
        )
    words = data.vocabularies
    found = {
        (*(words[f.name][i] for f, i in zip(data.fields, row, strict=True)), float(label))
        for split in SPLITS
        for row, label in zip(data.split(split).ids.tolist(), data.split(split).labels, strict=True)
    }
    assert found == expected
    assert data.origin["encoding"]["learn"] == "all"


def test_a_year_is_the_titles_end_and_a_zip_its_first_letters(tmp_path: Path) -> None:
    write(tmp_path)
    lines = files()
    titles = ["1968 (1969) (2001)", "2010", "(1984) again", "Old (1932) "]
    for place, title in enumerate(titles):
        movie, _, genres = lines["movies.dat"][place].split("::")
        lines["movies.dat"][place] = f"{movie}::{title}::{genres}"
    (tmp_path / "movies.dat").write_text("\n".join(lines["movies.dat"]), encoding="latin-1")
    lines["users.dat"][0] = lines["users.dat"][0].rsplit("::", 1)[0] + "::98107-2117"
    (tmp_path / "users.dat").write_text("\n".join(lines["users.dat"]), encoding="latin-1")
    data = prepare(tmp_path, recipe="autodim")
    assert sorted(data.vocabularies["year"][1:]) == ["1932", "1999", "2001", "<missing>"]
    assert "98107" in data.vocabularies["zip"]


def test_recipes_and_splits_are_checked() -> None:
    with pytest.raises(ConfigError, match="unknown recipe 'autodom'; did you mean 'autodim'"):
        MovieLens1M(MovieLensConfig(recipe="autodom"))
    with pytest.raises(ConfigError, match="unknown split 'random'"):
        MovieLensConfig(split="random")


def test_a_split_by_time_needs_times(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ratings\.dat, column 'time': '0' in 100% of the rows"):
        prepare(write(tmp_path), split="time")


@pytest.fixture(scope="module")
def real() -> Path:
    folder = os.environ.get("NASBENCH_REC_DATA")
    if folder is None:
        pytest.skip("set NASBENCH_REC_DATA to a folder with movielens-1m/ to test on the real files")
    return Path(folder)


def test_the_real_files_give_the_published_autodim_sizes(real: Path) -> None:
    data = prepare(real, recipe="autodim")
    sizes = [f.cardinality - 1 for f in data.fields]
    assert sizes == [3706, 301, 81, 6040, 21, 7, 2, 3402] and sum(sizes) == 13_560
    assert all((data.split(name).ids > 0).all() for name in SPLITS)


def test_the_real_times_are_refused(real: Path) -> None:
    """Half of them are 0 in the copy that the tests have."""
    try:
        data = prepare(real, split="time")
    except DataError as error:
        assert "ratings.dat, column 'time': '0' in 51% of the rows" in str(error)
    else:
        assert len(data.split("test")) == pytest.approx(100_021, abs=100)


def test_the_real_files_encode_as_they_always_did(real: Path) -> None:
    expected = "354792b010b222f845b129666827faaf2081914cf368e72eb7b88b48c985dd4a"
    assert prepare(real).fingerprint == expected


def test_a_real_split_by_user_has_no_user_twice(real: Path) -> None:
    data = prepare(real, split="user")
    assert sum(len(data.split(name)) for name in SPLITS) == 1_000_209
    assert (data.split("valid").ids[:, 0] == 0).all() and (data.split("test").ids[:, 0] == 0).all()


def test_the_real_files_are_what_their_owners_say(real: Path) -> None:
    data = prepare(real)
    sizes = [len(data.split(name)) for name in SPLITS]
    assert sum(sizes) == 1_000_209 and np.array(sizes) / sum(sizes) == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.002
    )
    labels = np.concatenate([data.split(name).labels for name in SPLITS])
    assert float(labels.mean()) == pytest.approx(0.5752, abs=0.0001)
    assert [f.cardinality - 1 for f in data.fields[:6]][:1] == [6040]
    assert [f.cardinality - 1 for f in data.fields[2:5]] == [2, 7, 21] and data.fields[
        6
    ].cardinality == 18 + 2
