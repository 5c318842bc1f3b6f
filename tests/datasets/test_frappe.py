from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from nasbench_rec.datasets import frappe
from nasbench_rec.datasets.frappe import COLUMNS, FIELDS, Frappe, FrappeConfig

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import ConfigError, DataError

HEADER = ",".join(COLUMNS)
ROWS = {"train": 40, "valid": 12, "test": 9}


def lines(split: str) -> list[str]:
    rng = np.random.default_rng(SPLITS.index(split))
    rows = rng.integers(0, 4, (ROWS[split], len(FIELDS))) + 10 * np.arange(len(FIELDS))
    return [HEADER, *(f"{i % 3 == 0:d}," + ",".join(map(str, row)) for i, row in enumerate(rows))]


def write(folder: Path, packed: bool = False, end: str = "\n") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        content = (end.join(lines(split)) + end).encode()
        if packed:
            (folder / f"{split}.csv.gz").write_bytes(gzip.compress(content))
        else:
            (folder / f"{split}.csv").write_bytes(content)
    return folder


def prepare(source: Path | None, min_count: int = 1) -> Dataset:
    return Frappe(FrappeConfig(min_count)).prepare(source)


def test_every_raw_value_can_be_read_back(tmp_path: Path) -> None:
    data = prepare(write(tmp_path))
    assert [f.name for f in data.fields] == list(FIELDS)
    unseen = 0
    for split in SPLITS:
        ids, labels = data.split(split).ids, data.split(split).labels
        assert len(ids) == ROWS[split]
        for row, label, line in zip(ids, labels, lines(split)[1:], strict=True):
            raw = line.split(",")
            assert label == float(raw[0])
            for f, i, value in zip(data.fields, row, raw[1:], strict=True):
                unseen += i == 0
                assert i == 0 or data.vocabularies[f.name][i] == value
    assert unseen == 0


def test_ids_go_by_descending_count_in_train_then_by_value(tmp_path: Path) -> None:
    data = prepare(write(tmp_path))
    for f, counts in zip(data.fields, data.counts, strict=True):
        values = data.vocabularies[f.name]
        assert len(values) == f.cardinality == len(counts)
        assert counts[0] == 0
        order = [(-count, value) for count, value in zip(counts[1:].tolist(), values[1:], strict=True)]
        assert order == sorted(order)


def rewrite(path: Path, line: int, text: str) -> None:
    content = path.read_text(encoding="utf-8").split("\n")
    content[line - 1] = text
    path.write_text("\n".join(content), encoding="utf-8")


def test_a_value_unseen_in_train_gets_id_0(tmp_path: Path) -> None:
    write(tmp_path)
    rewrite(tmp_path / "test.csv", 3, "1,99999,11,21,31,41,51,61,71,81,91")
    data = prepare(tmp_path)
    assert data.split("test").ids[1].tolist()[0] == 0
    assert (data.split("test").ids[1, 1:] > 0).all()
    assert "99999" not in data.vocabularies["user"]
    assert data.vocabularies["user"][0] == "<rare or unseen>"


def test_values_that_are_rare_in_train_share_id_0(tmp_path: Path) -> None:
    plain, strict = prepare(write(tmp_path)), prepare(tmp_path, min_count=10)
    for before, after in zip(plain.counts, strict.counts, strict=True):
        assert after[1:].tolist() == [count for count in before if count >= 10]
        assert after[0] == before[before < 10].sum()
        assert after.sum() == ROWS["train"]
    with pytest.raises(ConfigError, match="min_count is 0"):
        prepare(tmp_path, min_count=0)


@pytest.mark.parametrize("place", [".", "frappe", "Frappe_x1"])
def test_the_folder_and_its_parent_both_do(tmp_path: Path, place: str) -> None:
    write(tmp_path / "data" / place)
    assert prepare(tmp_path / "data").fingerprint == prepare(write(tmp_path / "other")).fingerprint


def test_packing_and_line_ends_change_the_source_but_not_the_data(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a"), write(tmp_path / "b", packed=True)
    dos, marked = write(tmp_path / "c", end="\r\n"), write(tmp_path / "d")
    train = marked / "train.csv"
    train.write_bytes(b"\xef\xbb\xbf" + train.read_bytes().rstrip())
    folders = [plain, packed, dos, marked]
    assert len({prepare(folder).fingerprint for folder in folders}) == 1
    sources = [Frappe(FrappeConfig()).source_fingerprint(folder) for folder in folders]
    assert len(set(sources)) == 4
    assert sources[0] == Frappe(FrappeConfig()).source_fingerprint(plain)


def test_other_rows_are_another_data_set(tmp_path: Path) -> None:
    before = prepare(write(tmp_path))
    rewrite(tmp_path / "train.csv", 2, "0,0,10,20,30,40,50,60,70,80,90")
    assert prepare(tmp_path).fingerprint != before.fingerprint


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    before = prepare(write(tmp_path / "a"))
    write(tmp_path / "b")
    path = tmp_path / "b" / "valid.csv"
    path.write_text("\n".join(",".join(reversed(line.split(","))) for line in lines("valid")))
    assert prepare(tmp_path / "b").fingerprint == before.fingerprint


def line_3(text: str) -> Callable[[Path], None]:
    return lambda path: rewrite(path, 3, text)


def header(text: str) -> Callable[[Path], None]:
    return lambda path: rewrite(path, 1, text)


def content(raw: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(raw)


def latin(path: Path) -> None:
    raw = path.read_bytes().split(b"\n")
    raw[4] = b"0,M\xfcnchen,11,21,31,41,51,61,71,81,91"
    path.write_bytes(b"\n".join(raw))


GOOD = "1,1,11,21,31,41,51,61,71,81,91"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, r"valid\.csv \(or \.csv\.gz\) is missing: download"),
        (
            header(HEADER.replace("weather", "wether")),
            r"line 1: unknown column 'wether'; did you mean 'weather'\?",
        ),
        (header(HEADER + ",town"), "line 1: unknown column 'town'"),
        (header(HEADER.removesuffix(",city")), "line 1: missing column 'city'"),
        (header(HEADER + ",city"), "line 1: column 'city' stands twice"),
        (header(GOOD), "line 1: unknown column '1'"),
        (line_3(GOOD + ",5"), r"line 3: 12 cells instead of 11: '1,1,11"),
        (line_3(GOOD.removesuffix(",91")), "line 3: 10 cells instead of 11"),
        (line_3(""), "line 3: 1 cells instead of 11: ''"),
        (line_3("2" + GOOD[1:]), "line 3, column 'label': found '2', expected 0 or 1"),
        (line_3("yes" + GOOD[1:]), "line 3, column 'label': found 'yes', expected 0 or 1"),
        (line_3("1.0" + GOOD[1:]), "line 3, column 'label': found '1.0'"),
        (line_3("1,1,,21,31,41,51,61,71,81,91"), "line 3, column 'item': found '', expected a value"),
        (content(b""), "is empty"),
        (content(b"\n\r\n\n"), "is empty"),
        (content(HEADER.encode() + b"\n"), "has a header but no rows: the split is empty"),
        (latin, r"line 5: b'\\xfc' is not UTF-8"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    path = write(tmp_path) / "valid.csv"
    damage(path)
    with pytest.raises(DataError, match=says) as caught:
        prepare(tmp_path)
    assert str(tmp_path / "valid.csv") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda raw: raw[:-20], "is a truncated gzip file"),
        (lambda raw: b"plain text", "cannot be read .*[Nn]ot a gzipped file"),
        (lambda raw: raw[:40] + bytes(20) + raw[60:], "cannot be read|truncated|UTF-8"),
    ],
)
def test_a_broken_gzip_file_is_one_clear_error(
    tmp_path: Path, damage: Callable[[bytes], bytes], says: str
) -> None:
    path = write(tmp_path, packed=True) / "train.csv.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"train\.csv\.gz.*({says})"):
        prepare(tmp_path)


def test_no_data_says_where_to_get_it_and_where_to_put_it(tmp_path: Path) -> None:
    for ask in (prepare, Frappe(FrappeConfig()).source_fingerprint):
        with pytest.raises(DataError, match="needs a data folder.*huggingface.*--data-dir"):
            ask(None)
        with pytest.raises(DataError, match="no train.csv.*huggingface.*--data-dir"):
            ask(tmp_path)
        with pytest.raises(DataError, match="no train.csv"):
            ask(tmp_path / "nowhere")


def test_two_copies_are_not_guessed_between(tmp_path: Path) -> None:
    write(tmp_path / "frappe")
    write(tmp_path / "Frappe_x1")
    with pytest.raises(DataError, match="lies in .*frappe and in .*Frappe_x1"):
        prepare(tmp_path)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server on this machine with an archive whose checksums the reader knows; yields its folder."""
    folder = write(tmp_path / "site", end="\r\n")
    with zipfile.ZipFile(folder / "Frappe_x1.zip", "w") as archive:
        for split in SPLITS:
            archive.write(folder / f"{split}.csv", f"Frappe_x1/{split}.csv")
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(frappe, "URL", f"http://127.0.0.1:{server.server_port}/Frappe_x1.zip")
    for split in SPLITS:
        monkeypatch.setitem(
            frappe.MD5, f"{split}.csv", hashlib.md5((folder / f"{split}.csv").read_bytes()).hexdigest()
        )
    yield folder
    server.shutdown()
    server.server_close()


def test_a_download_is_checked_and_can_be_read(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "data"
    Frappe.download(target)
    assert sorted(path.name for path in (target / "Frappe_x1").iterdir()) == [
        "test.csv",
        "train.csv",
        "valid.csv",
    ]
    assert prepare(target).fingerprint == prepare(published).fingerprint


def test_a_download_that_is_there_is_not_fetched_again(published: Path, tmp_path: Path) -> None:
    Frappe.download(tmp_path / "data")
    (published / "Frappe_x1.zip").unlink()
    Frappe.download(tmp_path / "data")


def test_a_download_with_another_checksum_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(frappe.MD5, "test.csv", "0" * 32)
    with pytest.raises(DataError, match=r"not the published test\.csv: MD5 \w{32}, expected 0{32}"):
        Frappe.download(tmp_path / "data")
    assert not list((tmp_path / "data" / "Frappe_x1").iterdir())


def test_a_download_does_not_overwrite_other_files(published: Path, tmp_path: Path) -> None:
    mine = tmp_path / "data" / "Frappe_x1" / "train.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(DataError, match="move it away before downloading"):
        Frappe.download(tmp_path / "data")
    assert mine.read_text() == "mine"


def test_an_archive_that_is_none_is_refused(published: Path, tmp_path: Path) -> None:
    (published / "Frappe_x1.zip").write_text("<html>")
    with pytest.raises(DataError, match="is not the expected archive.*by hand: download"):
        Frappe.download(tmp_path)


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(frappe, "URL", "http://127.0.0.1:9/Frappe_x1.zip")
    with pytest.raises(
        DataError, match="cannot download http.*by hand: download https.*Hugging Face.*--data-dir"
    ):
        Frappe.download(tmp_path / "data")


@pytest.fixture(scope="module")
def real() -> Dataset:
    folder = os.environ.get("NASBENCH_REC_DATA")
    if folder is None:
        pytest.skip("set NASBENCH_REC_DATA to a folder with frappe/ to test on the real files")
    return prepare(Path(folder) / "frappe")


def test_the_real_files_are_what_their_owners_say(real: Dataset) -> None:
    assert [len(real.split(name)) for name in SPLITS] == [202_027, 57_722, 28_860]
    assert [round(float(real.split(name).labels.mean()), 3) for name in SPLITS] == [0.335, 0.33, 0.33]
    assert sum(f.cardinality - 1 for f in real.fields) <= 5_382
    unseen = [(real.split(name).ids == 0).sum() for name in SPLITS]
    assert unseen[0] == 0 and unseen[1] < 100 and unseen[2] < 100
