"""Criteo, Avazu and KDD12 in their owners' layouts, against independent readings of the published preprocessings."""

from __future__ import annotations

import gzip
import math
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from nasbench_rec.datasets.avazu import COLUMNS as AVAZU
from nasbench_rec.datasets.criteo import CATEGORIES, NUMBERS

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import ConfigError, DataError
from nasbench_rec.registry import resolve_dataset

ROWS = 900


def criteo_lines(rows: int = ROWS, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        numbers = [
            "" if rng.random() < 0.2 else str(int(rng.pareto(0.7) * 3) - (3 if i == 1 else 0))
            for i in range(13)
        ]
        words = ["" if rng.random() < 0.1 else f"{int(rng.pareto(1.0) * 4):08x}" for _ in range(26)]
        lines.append([str(int(rng.random() < 0.3)), *numbers, *words])
    return lines


def text(lines: Iterable[Iterable[str]], separator: str = "\t") -> bytes:
    return "".join(separator.join(line) + "\n" for line in lines).encode()


def criteo(folder: Path, **settings: object) -> Dataset:
    return resolve_dataset("criteo", settings).prepare(folder)


def write_criteo(folder: Path, rows: int = ROWS) -> list[list[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    lines = criteo_lines(rows)
    (folder / "train.txt").write_bytes(text(lines))
    return lines


def shifted(cell: str) -> str | None:
    """pytorch-fm, CriteoDataset: NULL, or int(log(v)^2) above 2, or v - 2."""
    if cell == "":
        return None
    v = int(cell)
    return str(int(math.log(v) ** 2)) if v > 2 else str(v - 2)


def floored(cell: str) -> str | None:
    """FuxiCTR and OptEmbed: floor(log(v)^2) above 2, or int(v)."""
    if cell == "":
        return None
    v = int(cell)
    return str(int(math.floor(math.log(v) ** 2))) if v > 2 else str(v)


def decoded(data: Dataset, name: str) -> dict[str, list[str | None]]:
    """The raw value of each row, per split: None where missing, "?" where the id is that of rare values."""
    words = data.vocabulary(name)
    place = [f.name for f in data.fields].index(name)
    known = {"rare": "?", "missing": None}
    values = [known.get(kind, value) for kind, value in zip(words["kind"], words["value"], strict=True)]
    return {split: [values[i] for i in data.split(split).ids[:, place]] for split in SPLITS}


@pytest.mark.parametrize(
    ("recipe", "bucket", "least", "numeric_least", "everywhere"),
    [("autodim", shifted, 10, 10, True), ("optfs", floored, 2, 1, True), ("ours", shifted, 10, 10, False)],
)
def test_criteo_by_recipe_is_what_the_paper_s_code_makes_of_it(
    tmp_path: Path,
    recipe: str,
    bucket: Callable[[str], str | None],
    least: int,
    numeric_least: int,
    everywhere: bool,
) -> None:
    lines = write_criteo(tmp_path)
    data = criteo(tmp_path, recipe=recipe, split="time")
    learnt = lines if everywhere else lines[: len(data.split("train"))]
    assert [f.name for f in data.fields] == [*NUMBERS, *CATEGORIES]
    for place, f in enumerate(data.fields, 1):
        numeric = f.name in NUMBERS
        cells = [bucket(line[place]) if numeric else line[place] or None for line in learnt]
        threshold = numeric_least if numeric else least
        kept = {value for value, count in Counter(cells).items() if count >= threshold}
        assert f.cardinality == len(kept) + 1
        raw = [bucket(line[place]) if numeric else line[place] or None for line in lines]
        expected = [value if value in kept else "?" for value in raw]
        assert sum(decoded(data, f.name).values(), []) == expected, f.name


def test_bars_takes_zero_and_missing_for_rare(tmp_path: Path) -> None:
    lines = write_criteo(tmp_path)
    data = criteo(tmp_path, recipe="bars-x4", split="time")
    train = lines[: len(data.split("train"))]
    for place, f in enumerate(data.fields, 1):
        numeric = f.name in NUMBERS
        cells = [floored(line[place]) if numeric else line[place] or None for line in train]
        counts = Counter(cell for cell in cells if cell is not None and not (numeric and cell == "0"))
        assert f.cardinality == 1 + sum(count >= 10 for count in counts.values()), f.name
        assert not set(data.vocabulary(f.name)["kind"]) & {"missing"}


def test_labels_stay_beside_their_rows_and_every_row_is_in_one_split(tmp_path: Path) -> None:
    lines = write_criteo(tmp_path)
    data = criteo(tmp_path, min_count=1, numeric="as-is")
    rows = Counter(
        (label, *cells)
        for split in SPLITS
        for label, *cells in zip(
            data.split(split).labels.tolist(),
            *(decoded(data, f.name)[split] for f in data.fields),
            strict=True,
        )
    )
    # Values that train does not have are gone; all others must be found.
    seen = {f.name: set(decoded(data, f.name)["train"]) for f in data.fields}
    expected: Counter[tuple[object, ...]] = Counter()
    for label, *cells in lines:
        raw = [c or None for c in cells]
        expected[(float(label), *(c if c in seen[n] else "?" for n, c in zip(seen, raw, strict=True)))] += 1
    assert rows == expected


def test_packed_files_and_archives_are_the_same_data(tmp_path: Path) -> None:
    lines = write_criteo(tmp_path / "plain")
    raw = text(lines)
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / "train.txt.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "tar" / "criteo").mkdir(parents=True)
    with tarfile.open(tmp_path / "tar" / "criteo" / "dac.tar.gz", "w:gz") as tar:
        for name in ("readme.txt", "train.txt"):
            (tmp_path / name).write_bytes(raw if name == "train.txt" else b"read me")
            tar.add(tmp_path / name, f"./dac/{name}")
    found = [criteo(tmp_path / name).fingerprint for name in ("plain", "gz", "tar")]
    assert len(set(found)) == 1
    assert criteo(tmp_path / "gz" / "train.txt.gz").fingerprint == found[0], "the file itself will do"


def test_random_splits_follow_the_seed_and_keep_rows_when_more_come(tmp_path: Path) -> None:
    write_criteo(tmp_path / "a")
    more = (tmp_path / "a" / "train.txt").read_bytes() + text(criteo_lines(300, seed=1))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "train.txt").write_bytes(more)
    short, long = (criteo(tmp_path / name, min_count=1, numeric="as-is") for name in "ab")
    size = len(short.split("test"))
    assert 60 < size < 120
    assert (long.split("test").labels[:size] == short.split("test").labels).all()
    other = criteo(tmp_path / "a", min_count=1, numeric="as-is", split_seed=1)
    assert other.fingerprint != short.fingerprint


def test_the_order_of_the_file_is_the_order_of_time(tmp_path: Path) -> None:
    lines = write_criteo(tmp_path)
    data = criteo(tmp_path, split="time", split_shares=[7, 2, 1])
    assert [len(data.split(name)) for name in SPLITS] == [630, 180, 90]
    labels = np.concatenate([data.split(name).labels for name in SPLITS])
    assert labels.tolist() == [float(line[0]) for line in lines]


def damaged(line: int, change: Callable[[list[str]], list[str]]) -> bytes:
    lines = criteo_lines()
    lines[line - 1] = change(lines[line - 1])
    return text(lines)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (
            damaged(1, lambda c: ["Label", *NUMBERS, *CATEGORIES]),
            "line 1, column 'label': found 'Label': this is a",
        ),
        (damaged(700, lambda c: ["2", *c[1:]]), "line 700, column 'label': found '2', expected 0 or 1"),
        (damaged(41, lambda c: c[:-1]), "line 41: 39 cells instead of 40"),
        (damaged(41, lambda c: [*c, "x"]), "line 41: 41 cells instead of 40"),
        (
            damaged(8, lambda c: [c[0], "many", *c[2:]]),
            "line 8, column 'I1': found 'many', expected a finite number",
        ),
        (b"", "is empty"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, raw: bytes, says: str) -> None:
    (tmp_path / "train.txt").write_bytes(raw)
    with pytest.raises(DataError, match=says) as caught:
        criteo(tmp_path)
    assert str(tmp_path / "train.txt") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "where"), [("criteo", "Criteo's terms"), ("avazu", "Kaggle"), ("kdd12", "Kaggle")]
)
def test_what_cannot_be_downloaded_says_where_it_is_and_where_to_put_it(
    tmp_path: Path, name: str, where: str
) -> None:
    source = resolve_dataset(name)
    for ask in (
        lambda: source.source_fingerprint(None),
        lambda: source.source_fingerprint(tmp_path),
        lambda: type(source).download(tmp_path),
    ):
        with pytest.raises(DataError, match=f"{where}.*--source or --data-dir"):
            ask()


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings, says in (
        ({"recipe": "autodin"}, "did you mean 'autodim'"),
        ({"split": "user"}, "unknown split 'user'"),
        ({"min_count": 0}, "min_count is 0"),
        ({"numeric": "log"}, "unknown value of numeric"),
        ({"split_shares": [1, 0, 1]}, "each must be above 0"),
    ):
        with pytest.raises(ConfigError, match=says):
            resolve_dataset("criteo", settings)
    with pytest.raises(ConfigError, match="unknown value of hour"):
        resolve_dataset("avazu", {"hour": "days"})
    with pytest.raises(ConfigError, match="unknown recipe 'bars-x4'"):
        resolve_dataset("kdd12", {"recipe": "bars-x4"})


def avazu_lines(rows: int = 600) -> list[list[str]]:
    rng = np.random.default_rng(3)
    hours = sorted(
        f"1410{day}{hour:02}" for day in rng.integers(21, 31, 40) for hour in rng.integers(0, 24, 2)
    )
    return [
        [
            str(10000169349117863715 + i),
            str(int(rng.random() < 0.2)),
            hours[int(i * len(hours) / rows)],
            *(f"{int(rng.pareto(1.0) * 3):x}" for _ in AVAZU[3:]),
        ]
        for i in range(rows)
    ]


@pytest.mark.parametrize("name", ["train", "train.csv", "train.gz", "avazu-ctr-prediction.zip"])
def test_avazu_is_read_as_kaggle_packs_it(tmp_path: Path, name: str) -> None:
    raw = text([AVAZU, *avazu_lines()], ",")
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("train.gz", gzip.compress(raw))
            archive.writestr("test.gz", b"")
    else:
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    data = resolve_dataset("avazu").prepare(tmp_path)
    assert data.fingerprint == _avazu_fingerprint(tmp_path)
    assert sum(len(data.split(split)) for split in SPLITS) == 600


def _avazu_fingerprint(folder: Path) -> str:
    plain = folder / "other"
    plain.mkdir()
    (plain / "train.csv").write_bytes(text([AVAZU, *avazu_lines()], ","))
    return resolve_dataset("avazu").prepare(plain).fingerprint


def test_avazu_s_hour_as_it_is_or_in_parts(tmp_path: Path) -> None:
    lines = avazu_lines()
    (tmp_path / "train.csv").write_bytes(text([AVAZU, *lines], ","))
    raw = resolve_dataset("avazu", {"recipe": "autodim", "min_count": 1, "split": "time"}).prepare(tmp_path)
    assert [f.name for f in raw.fields] == list(AVAZU[2:]), "22 fields, without id"
    assert sum(decoded(raw, "hour").values(), []) == [line[2] for line in lines]
    parts = resolve_dataset("avazu", {"min_count": 1, "learn": "all", "split": "time"}).prepare(tmp_path)
    assert len(parts.fields) == 24
    days = [date(2014, 10, int(line[2][4:6])) for line in lines]
    assert sum(decoded(parts, "hour").values(), []) == [str(int(line[2][6:])) for line in lines]
    assert sum(decoded(parts, "weekday").values(), []) == [day.strftime("%w") for day in days]
    assert sum(decoded(parts, "weekend").values(), []) == [
        str(int(day.strftime("%w") in "06")) for day in days
    ]


@pytest.mark.parametrize("hour", ["141021", "14102124", "14132100", "yesterda"])
def test_an_hour_that_is_none_is_named(tmp_path: Path, hour: str) -> None:
    lines = avazu_lines()
    lines[8][2] = hour
    (tmp_path / "train.csv").write_bytes(text([AVAZU, *lines], ","))
    with pytest.raises(
        DataError, match=rf"train\.csv, line 10, column 'hour': found '{hour}', expected YYMMDDHH"
    ):
        resolve_dataset("avazu").prepare(tmp_path)


def kdd_lines(rows: int = 500) -> list[list[str]]:
    rng = np.random.default_rng(5)
    return [
        [
            str(int(rng.random() < 0.2) * int(rng.integers(1, 4))),
            str(int(rng.integers(3, 9))),
            f"1420563968464120{int(rng.integers(0, 9)):04}",
            *(str(int(rng.pareto(1.0) * 3)) for _ in range(8)),
            str(int(rng.integers(0, 60))),
        ]
        for _ in range(rows)
    ]


def test_kdd12_counts_a_line_with_any_click_as_positive(tmp_path: Path) -> None:
    lines = kdd_lines()
    (tmp_path / "training.txt").write_bytes(text(lines))
    data = resolve_dataset("kdd12", {"min_count": 1, "split": "time"}).prepare(tmp_path)
    labels = np.concatenate([data.split(name).labels for name in SPLITS])
    assert labels.tolist() == [float(line[0] != "0") for line in lines]
    assert len(data.fields) == 10 and "Impression" not in {f.name for f in data.fields}
    published = resolve_dataset("kdd12", {"recipe": "optfs"}).prepare(tmp_path)
    assert [f.name for f in published.fields][0] == "Impression" and len(published.fields) == 11


def test_kdd12_joins_profiles(tmp_path: Path) -> None:
    lines = kdd_lines()
    (tmp_path / "training.txt").write_bytes(text(lines))
    profile = {str(user): (str(user % 3), str(user % 6 + 1)) for user in range(50)}
    (tmp_path / "userid_profile.txt").write_bytes(text([u, *about] for u, about in profile.items()))
    settings = {"min_count": 1, "learn": "all", "split": "time", "profile": True}
    data = resolve_dataset("kdd12", settings).prepare(tmp_path)
    for place, name in enumerate(("Gender", "Age")):
        expected = [profile.get(line[-1], (None, None))[place] for line in lines]
        assert sum(decoded(data, name).values(), []) == expected
    (tmp_path / "userid_profile.txt").write_bytes(b"1\t1\t2\n2\tx\t3\n")
    with pytest.raises(DataError, match=r"userid_profile\.txt, line 2, column 'Gender': found 'x'"):
        resolve_dataset("kdd12", settings).prepare(tmp_path)


def real(name: str, **settings: object) -> Dataset:
    folder = os.environ.get("NASBENCH_REC_DATA")
    if folder is None:
        pytest.skip(f"set NASBENCH_REC_DATA to a folder with {name}/ to test on the real files")
    return resolve_dataset(name, settings).prepare(Path(folder))


def test_the_real_head_of_criteo_is_what_is_known_of_it() -> None:
    data = real("criteo", min_count=1, learn="all")
    assert sum(len(data.split(name)) for name in SPLITS) == 80_000
    positive = sum(float(data.split(name).labels.sum()) for name in SPLITS) / 80_000
    assert round(positive, 4) == 0.2245
    assert len(data.fields) == 39
    missing = {name: about["missing"] for name, about in data.origin["fields"].items()}
    assert missing["I2"] == 0 and 0.44 < missing["I1"] < 0.45 and missing["C3"] == missing["C12"]


def test_the_real_head_of_avazu_is_what_is_known_of_it() -> None:
    data = real("avazu", recipe="autodim")
    assert sum(len(data.split(name)) for name in SPLITS) == 8_999
    positive = sum(float(data.split(name).labels.sum()) for name in SPLITS) / 8_999
    assert round(positive, 4) == 0.1737
    assert len(data.fields) == 22
    assert any("'hour': a single value" in note for note in data.origin["notes"])


@pytest.mark.parametrize("name", ["criteo", "avazu"])
def test_every_cell_of_the_real_files_is_read_back(name: str) -> None:
    folder = os.environ.get("NASBENCH_REC_DATA")
    recipe = {"recipe": "autodim"} if name == "avazu" else {"numeric": "as-is"}
    data = real(name, min_count=1, learn="all", split="time", **recipe)
    separator, first = ("\t", 1) if name == "criteo" else (",", 2)
    path = Path(str(folder)) / name / ("train.txt.gz" if name == "criteo" else "train.gz")
    with gzip.open(path, "rt") as file:
        lines = [line.rstrip("\r\n").split(separator) for line in file][name == "avazu" :]
    for place, f in enumerate(data.fields, first):
        assert sum(decoded(data, f.name).values(), []) == [line[place] or None for line in lines], f.name


def test_the_real_head_of_criteo_has_the_vocabulary_of_the_published_code() -> None:
    folder = os.environ.get("NASBENCH_REC_DATA")
    data = real("criteo", recipe="autodim")
    with gzip.open(Path(str(folder)) / "criteo" / "train.txt.gz", "rt") as file:
        columns = list(zip(*(line.rstrip("\n").split("\t") for line in file), strict=True))
    for place, f in enumerate(data.fields, 1):
        cells = columns[place]
        counts = Counter(map(shifted, cells) if f.name in NUMBERS else cells)
        assert f.cardinality == 1 + sum(count >= 10 for count in counts.values()), f.name
