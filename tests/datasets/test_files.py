"""Source files: plain, packed, in archives; cut into blocks of whole lines wherever the bytes were cut."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasbench_rec.datasets import _files
from nasbench_rec.datasets._files import (
    SourceFile,
    TextBlock,
    members,
    opened,
    source_hash,
    text_blocks,
)

from nasbench_rec.errors import DataError

TEXT = "a,b\n1,é\n\n2,x\n".encode()


def read_all(source: SourceFile, encoding: str = "utf-8") -> bytes:
    return b"".join(block.data for block in text_blocks(source, encoding=encoding))


def tarball(path: Path, mode: str, content: bytes = TEXT) -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in (("readme.txt", b"no"), ("dac/train.txt", content)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def zipped(path: Path, name: str = "dac/train.txt", content: bytes = TEXT) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "no")
        archive.writestr(name, content)


def made(folder: Path, kind: str) -> SourceFile:
    path = folder / f"train.txt{kind}"
    packers = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    if kind in packers:
        path.write_bytes(packers[kind](TEXT))
        return SourceFile(path)
    if kind == ".zip":
        zipped(path)
    elif kind == ".gz in .zip":
        zipped(path := folder / "all.zip", "train.txt.gz", gzip.compress(TEXT))
        return SourceFile(path, "train.txt.gz")
    else:
        tarball(path, {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz"}[kind])
    return SourceFile(path, "train.txt")


KINDS = ["", ".gz", ".bz2", ".xz", ".zip", ".gz in .zip", ".tar", ".tar.gz", ".tgz"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_packing_gives_the_same_text(kind: str, tmp_path: Path) -> None:
    source = made(tmp_path, kind)
    assert read_all(source) == TEXT
    assert source.name == "train.txt" + kind * (kind in (".tar", ".tar.gz") and not source.member)


@pytest.mark.parametrize("kind", KINDS)
def test_progress_is_in_packed_bytes_and_ends_at_the_size(kind: str, tmp_path: Path) -> None:
    source, told = made(tmp_path, kind), []
    list(text_blocks(source, lambda step, done, total: told.append((step, done, total))))
    size = source.path.stat().st_size
    assert {(step, total) for step, _, total in told} == {("reading", size)}
    places = [done for _, done, _ in told]
    assert places == sorted(places)
    assert places[-1] == size


def test_members_are_named_without_folders(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip")
    assert members(tmp_path / "a.zip") == ["readme.txt", "train.txt"]
    (tmp_path / "b.zip").write_bytes(b"no archive")
    assert members(tmp_path / "b.zip") == members(tmp_path / "c.zip") == []


def protect(path: Path) -> None:
    """Set the mark of a password in both heads of the last member."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x03\x04") + 6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def broken(folder: Path, what: str) -> SourceFile:
    if what == "password":
        zipped(folder / "a.zip")
        protect(folder / "a.zip")
    elif what == "no member":
        zipped(folder / "a.zip", "other.txt")
    elif what == "no zip":
        (folder / "a.zip").write_bytes(b"no archive")
    elif what == "half a zip":
        zipped(folder / "a.zip")
        (folder / "a.zip").write_bytes((folder / "a.zip").read_bytes()[:-30])
    elif what == "other sum":
        zipped(folder / "a.zip", content=os.urandom(999))
        content = bytearray((folder / "a.zip").read_bytes())
        content[400] ^= 255
        (folder / "a.zip").write_bytes(content)
    elif what == "no member of tar":
        tarball(folder / "a.tgz", "w:gz")
        return SourceFile(folder / "a.tgz", "test.txt")
    else:
        tarball(folder / "a.tgz", "w:gz", os.urandom(50_000))
        (folder / "a.tgz").write_bytes((folder / "a.tgz").read_bytes()[:30_000])
        return SourceFile(folder / "a.tgz", "train.txt")
    return SourceFile(folder / "a.zip", "train.txt")


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("password", r"train\.txt cannot be unpacked \(.*password.*\); unpack it by hand"),
        ("no member", r"a\.zip has no train\.txt; "),
        ("no zip", r"a\.zip cannot be read \(.*not a zip file\); "),
        ("half a zip", r"a\.zip cannot be read \(.*\); "),
        ("other sum", r"a\.zip.* cannot be read \(.*\); "),
        ("no member of tar", r"a\.tgz has no test\.txt; "),
        ("half a tar", r"a\.tgz.* (cannot be read \(.*\)|is a truncated .* file.*); "),
    ],
)
def test_broken_archive(what: str, expected: str, tmp_path: Path) -> None:
    source = broken(tmp_path, what)
    with pytest.raises(DataError, match=expected) as caught, opened(source) as stream:
        stream.file.read()
    assert "\n" not in str(caught.value)


# Blocks.

pieces = st.sampled_from(["a", "é", ",", "\n", "\n", "\r\n", '"', "\U0001f600", "\r"])


def read(path: Path, size: int, *, quotes: bool = False) -> list[TextBlock]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "BLOCK", size)
        return list(text_blocks(SourceFile(path), quotes=quotes))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(pieces, max_size=40).map("".join), size=st.integers(3, 30), mark=st.booleans())
def test_blocks_are_whole_lines_with_their_numbers(text: str, size: int, mark: bool, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text(("\ufeff" if mark else "") + text, encoding="utf-8", newline="")
    expected = re.sub("\r+\n", "\n", text.rstrip("\r\n"))
    if not expected:
        with pytest.raises(DataError, match="is empty"):
            read(path, size)
        return
    blocks = read(path, size)
    assert b"".join(block.data for block in blocks).decode() == expected + "\n"
    line = 1
    for block in blocks:
        assert block.line == line
        assert block.data.endswith(b"\n")
        line += block.data.count(b"\n")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(pieces, max_size=40).map("".join), size=st.integers(3, 30))
def test_blocks_are_not_cut_between_quotes(text: str, size: int, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text(text, encoding="utf-8", newline="")
    stripped = text.rstrip("\r\n")
    if not stripped:
        return
    if stripped.count('"') % 2:
        with pytest.raises(DataError, match="opens a cell and none closes it") as caught:
            read(path, size, quotes=True)
        # The row begins after the last line end outside of quotes.
        rows = [
            n for n, letter in enumerate(stripped) if letter == "\n" and stripped.count('"', 0, n) % 2 == 0
        ]
        line = 1 + stripped.count("\n", 0, rows[-1] + 1 if rows else 0)
        assert f", line {line}: " in str(caught.value)
        return
    blocks = read(path, size, quotes=True)
    assert b"".join(block.data for block in blocks).decode() == re.sub("\r+\n", "\n", stripped) + "\n"
    assert all(block.data.count(b'"') % 2 == 0 for block in blocks)


def test_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "BLOCK", 100)
    monkeypatch.setattr(_files, "LONGEST", 1 << 20)
    (tmp_path / "text").write_bytes(b"a\n" * 99 + b"x" * (2 << 20))
    with pytest.raises(DataError, match=r"text, line 100: no line end in 1 MiB; is it a text file"):
        list(text_blocks(SourceFile(tmp_path / "text")))


def test_other_encodings_become_utf8(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("Käse\nBrot\n".encode("latin-1"))
    assert read_all(SourceFile(tmp_path / "text"), "latin-1").decode() == "Käse\nBrot\n"
    (tmp_path / "text").write_bytes(b"a\nb\n\x81\n")
    with pytest.raises(DataError, match=r"line 3: b'\\x81' is not CP1252"):
        read_all(SourceFile(tmp_path / "text"), "cp1252")


def test_who_stops_early_may_change_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "BLOCK", 4)
    (tmp_path / "text").write_bytes(b"a\nb\nc\nd\n")
    blocks = text_blocks(SourceFile(tmp_path / "text"))
    assert next(blocks).line == 1
    (tmp_path / "text").write_bytes(b"z\n")
    blocks.close()


# Hashes.


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_files, "_REMEMBERED", 0)
    monkeypatch.setattr(_files, "_memory", lambda: tmp_path / "cache" / "hashes.json")
    return tmp_path / "cache" / "hashes.json"


def test_hash_of_an_unchanged_file_is_remembered(
    memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text"
    path.write_bytes(TEXT)
    first = source_hash([path])
    assert list(json.loads(memory.read_text()).values()) == [first]
    with monkeypatch.context() as patch:
        patch.setattr(_files, "file_hash", None)
        assert source_hash([path]) == first
    path.write_bytes(TEXT[::-1])
    assert source_hash([path]) != first


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "7"])
def test_broken_memory_of_hashes_does_not_matter(content: str, memory: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    memory.parent.mkdir()
    memory.write_text(content)
    assert source_hash([tmp_path / "text"]) == source_hash([tmp_path / "text"])


def test_memory_of_hashes_that_cannot_be_written_does_not_matter(memory: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    memory.parent.write_text("a file in the way")
    assert len(source_hash([tmp_path / "text"])) == 64
