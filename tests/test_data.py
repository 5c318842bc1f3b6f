from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasbench_rec.data import SPLITS, Dataset, DatasetInfo, DatasetSource, Field, Split, search_cut
from nasbench_rec.errors import DataError, SealedError

FIELDS = (Field("user", 7), Field("tags", 5, columns=3, padding=0), Field("city", 4))


def make_split(rows: int, seed: int, planted: bool = False) -> Split:
    rng = np.random.default_rng(seed)
    ids = np.concatenate([rng.integers(0, n, (rows, c)) for n, c in ((7, 1), (5, 3), (4, 1))], axis=1)
    labels = rng.integers(0, 2, rows).astype(np.float32)
    if not planted:
        return Split(ids.astype(np.int32), labels)
    return Split(
        ids.astype(np.int32), labels, rng.random(rows, np.float32), rng.integers(0, 2, rows).astype(np.int32)
    )


def make_data(planted: bool = False, **changes: Any) -> Dataset:
    splits = {
        name: make_split(rows, i, planted)
        for i, (name, rows) in enumerate(zip(SPLITS, (50, 20, 10), strict=True))
    }
    given: dict[str, Any] = {
        "name": "toy",
        "fields": FIELDS,
        "splits": splits,
        "truth": {"best": 0.5},
        "vocabularies": {"city": ["", "Köln", "a,b", "\n"]},
    }
    return Dataset(**{**given, **changes})


def saved(tmp_path: Path, planted: bool = False) -> tuple[Dataset, Path]:
    folder = tmp_path / "data"
    folder.mkdir()
    data = make_data(planted)
    data.save(folder)
    return data, folder


@pytest.mark.parametrize("planted", [False, True])
def test_save_and_load_give_the_same_bits(tmp_path: Path, planted: bool) -> None:
    data, folder = saved(tmp_path, planted)
    loaded = Dataset.load(folder)
    loaded.verify()
    assert (loaded.name, loaded.fields, loaded.truth) == (data.name, data.fields, data.truth)
    assert loaded.vocabularies == data.vocabularies
    assert loaded.fingerprint == data.fingerprint
    for name in SPLITS:
        ours, theirs = data.split(name).arrays(), loaded.split(name).arrays()
        assert ours.keys() == theirs.keys()
        for part, array in ours.items():
            assert isinstance(theirs[part], np.memmap)
            assert theirs[part].dtype == array.dtype
            np.testing.assert_array_equal(theirs[part], array)


def test_a_loaded_data_set_can_be_saved_again(tmp_path: Path) -> None:
    data, folder = saved(tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    Dataset.load(folder).save(again)
    assert {path.name for path in again.iterdir()} == {path.name for path in folder.iterdir()}
    assert all((again / path.name).read_bytes() == path.read_bytes() for path in folder.iterdir())


def test_nothing_is_pickled_and_arrays_are_read_only(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json", ".parquet"}
    with pytest.raises(ValueError, match="read-only"):
        Dataset.load(folder).split("train").ids[0, 0] = 1


def test_the_fingerprint_is_stable_and_follows_the_content_only() -> None:
    data = make_data()
    assert data.fingerprint == make_data(name="other", truth={}, vocabularies={}).fingerprint
    assert data.fingerprint == make_data().fingerprint
    splits = {name: data.split(name) for name in SPLITS}
    labels = splits["test"].labels.copy()
    labels[0] = 1 - labels[0]
    changed = [
        make_data(splits={**splits, "test": Split(splits["test"].ids, labels)}),
        make_data(splits={**splits, "train": splits["valid"], "valid": splits["train"]}),
        make_data(fields=(Field("user", 8), *FIELDS[1:])),
        make_data(planted=True),
    ]
    assert len({data.fingerprint, *(d.fingerprint for d in changed)}) == 5


def test_the_fingerprint_does_not_change_between_versions() -> None:
    # A change here means that no stored result is found again.
    split = Split(np.arange(4, dtype=np.int32)[:, None], np.array([0, 1, 1, 0], np.float32))
    data = Dataset("toy", [Field("user", 4)], dict.fromkeys(SPLITS, split))
    assert data.fingerprint == "70189b5f35683e3232c5085041fb9f750690051894ebeff37e8f352825bd2616"


def test_counts_are_those_of_train_without_padding() -> None:
    data = make_data()
    ids = data.split("train").ids
    users, tags, cities = data.counts
    assert [c.dtype for c in data.counts] == [np.int64] * 3
    assert [len(c) for c in data.counts] == [7, 5, 4]
    assert users.tolist() == [(ids[:, 0] == i).sum() for i in range(7)]
    assert tags.tolist() == [0] + [(ids[:, 1:4] == i).sum() for i in range(1, 5)]
    assert cities.tolist() == [(ids[:, 4] == i).sum() for i in range(4)]


def test_a_sealed_test_split_cannot_be_had(tmp_path: Path) -> None:
    data = make_data()
    sealed = data.without_test()
    assert sealed.split("train") is data.split("train")
    assert sealed.fingerprint == data.fingerprint
    assert len(data.split("test")) == 10
    for blind in (sealed, sealed.without_test()):
        with pytest.raises(SealedError, match="use 'valid'"):
            blind.split("test")
    with pytest.raises(SealedError):
        sealed.save(tmp_path)
    assert not list(tmp_path.iterdir())
    _, folder = saved(tmp_path)
    with pytest.raises(SealedError):
        Dataset.load(folder).without_test().split("test")


def test_an_unknown_split_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"unknown split 'tests'; did you mean 'test'\?"):
        make_data().split("tests")


def truncate(folder: Path) -> None:
    path = folder / "train.ids.npy"
    path.write_bytes(path.read_bytes()[:-4])


def drop(folder: Path) -> None:
    (folder / "valid.labels.npy").unlink()


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def half_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:100])


def old_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 0}))


def poor_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"version": 1}')


def bad_header(folder: Path) -> None:
    path = folder / "test.ids.npy"
    path.write_bytes(b"x" * path.stat().st_size)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncate, r"train\.ids\.npy has \d+ bytes, not \d+"),
        (drop, r"valid\.labels\.npy is missing"),
        (no_manifest, r"manifest\.json is missing"),
        (half_manifest, r"manifest\.json is broken"),
        (old_manifest, r"manifest\.json has version 0"),
        (poor_manifest, r"manifest\.json is broken .*'name'"),
        (bad_header, r"test\.ids\.npy cannot be read"),
    ],
)
def test_a_broken_folder_is_refused_naming_the_file(
    tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    _, folder = saved(tmp_path)
    damage(folder)
    with pytest.raises(DataError, match=says):
        Dataset.load(folder)


def test_broken_vocabularies_are_found_when_they_are_read(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    path = folder / "vocabularies.parquet"
    path.write_bytes(b"x" * path.stat().st_size)
    data = Dataset.load(folder)
    with pytest.raises(DataError, match=r"vocabularies\.parquet cannot be read"):
        _ = data.vocabularies


@pytest.mark.parametrize("name", ["train.ids", "test.labels", "valid.probabilities"])
def test_verify_finds_the_array_that_was_changed(tmp_path: Path, name: str) -> None:
    _, folder = saved(tmp_path, planted=True)
    path = folder / f"{name}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    data = Dataset.load(folder)
    with pytest.raises(DataError, match=rf"{name}\.npy was changed"):
        data.verify()


def test_verify_finds_a_changed_manifest(tmp_path: Path) -> None:
    _, folder = saved(tmp_path)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"cardinality": 7', '"cardinality": 9'))
    with pytest.raises(DataError, match=r"manifest\.json was changed"):
        Dataset.load(folder).verify()


def with_train(**arrays: np.ndarray) -> dict[str, Any]:
    splits = {name: make_split(10, 0) for name in SPLITS}
    return {"splits": {**splits, "train": Split(**{**splits["train"].arrays(), **arrays})}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"splits": {"train": make_split(5, 0)}}, "splits are train, valid, test; got train"),
        ({"fields": ()}, "fields need names"),
        ({"fields": (FIELDS[0], FIELDS[0])}, "fields need names, each its own"),
        ({"fields": (Field("user", 0), *FIELDS[1:])}, "'user': cardinality 0"),
        ({"fields": (Field("user", 7, padding=0), *FIELDS[1:])}, "'user': padding 0"),
        ({"fields": FIELDS[:2]}, r"'train': ids of shape \(50, 5\); the fields have 4 columns"),
        (with_train(ids=np.full((10, 5), 4, np.int32)), r"'train', field 'city': ids 4\.\.4"),
        (with_train(ids=np.full((10, 5), -1, np.int32)), r"'train', field 'user': ids -1\.\.-1"),
        (with_train(ids=np.zeros((10, 5))), "ids has 10 rows of float64; expected 10 of int32"),
        (with_train(labels=np.full(10, 2, np.float32)), "labels must be 0 or 1"),
        (with_train(groups=np.zeros(9, np.int32)), "groups has 9 rows"),
        (with_train(ids=np.zeros((0, 5), np.int32), labels=np.zeros(0, np.float32)), "'train' is empty"),
        ({"vocabularies": {"city": ["a"]}}, "vocabulary 'city' has 1 values, its field 4 ids"),
        ({"vocabularies": {"town": ["a"]}}, "vocabulary 'town'"),
    ],
)
def test_inconsistent_content_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        make_data(**changes)


def test_take_keeps_all_parts_together() -> None:
    split = make_split(20, 0, planted=True)
    part = split.take(np.array([3, 1]))
    for name, array in split.arrays().items():
        np.testing.assert_array_equal(part.arrays()[name], array[[3, 1]])
    assert len(split.take(slice(0, 5))) == 5
    assert make_split(20, 0).take(slice(0, 5)).groups is None


def numbered(rows: int) -> Split:
    return Split(np.arange(rows, dtype=np.int32)[:, None], np.zeros(rows, np.float32))


@pytest.mark.parametrize(("rows", "fraction", "size"), [(100, 0.1, 10), (2, 0.5, 1), (101, 0.99, 100)])
def test_search_cut_parts_are_disjoint_and_complete(rows: int, fraction: float, size: int) -> None:
    rest, search = search_cut(numbered(rows), fraction, seed=0)
    assert (len(rest), len(search)) == (rows - size, size)
    assert sorted([*rest.ids[:, 0], *search.ids[:, 0]]) == list(range(rows))
    assert (np.diff(rest.ids[:, 0]) > 0).all() and (np.diff(search.ids[:, 0]) > 0).all()


def test_search_cut_follows_the_seed() -> None:
    cuts = [search_cut(numbered(1000), 0.2, seed)[1].ids[:, 0].tolist() for seed in (0, 0, 1)]
    assert cuts[0] == cuts[1] != cuts[2]


@pytest.mark.parametrize(
    ("rows", "fraction"), [(100, 0.0), (100, 1.0), (100, -1), (100, np.nan), (3, 0.01), (1, 0.5)]
)
def test_search_cut_refuses_an_empty_part(rows: int, fraction: float) -> None:
    with pytest.raises(DataError, match="search cut of"):
        search_cut(numbered(rows), fraction, seed=0)


def test_a_source_without_download_says_where_to_get_the_data(tmp_path: Path) -> None:
    class Source(DatasetSource):
        info = DatasetInfo("toy", "Toy", "3", "none", "ask its owner")
        Config = dict

        def source_fingerprint(self, source: Path | None) -> str:
            return "0"

        def prepare(self, source: Path | None) -> Dataset:
            return make_data()

    with pytest.raises(DataError, match="'toy'.*ask its owner"):
        Source.download(tmp_path)
    assert Source({"a": 1}).config == {"a": 1}
    assert Source.info.protocol == {}


def test_importing_data_loads_neither_torch_nor_frames() -> None:
    code = (
        "import sys, nasbench_rec.metrics, nasbench_rec.datasets.planted, nasbench_rec.datasets.frappe;"
        "print([m for m in ('torch', 'polars', 'pandas', 'pyarrow', 'sklearn', 'pooch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
