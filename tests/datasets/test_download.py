from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from nasbench_rec.datasets import _download, movielens, reczoo
from nasbench_rec.datasets._download import fetch
from nasbench_rec.datasets.movielens import (
    ML_1M,
    MovieLens,
    MovieLens1M,
    MovieLens100K,
    MovieLensLatest,
    MovieLensLatestSmall,
)
from nasbench_rec.datasets.reczoo import MovieLensLatestX1

from nasbench_rec.data import silent
from nasbench_rec.errors import DataError

CONTENT = np.random.default_rng(0).bytes(400_000)
BY_HAND = "download it and give its folder as --source"


@dataclass
class Site:
    """What the server does; `ranges` hears what was asked for."""

    content: bytes = CONTENT
    drop: int | None = None
    """Close the connection after so many bytes of the body."""
    stall: float = 0.0
    """Wait so long in the middle of the body."""
    resumes: bool = True
    """Whether range requests are answered by the range."""
    shift: int = 0
    """Send a range that starts elsewhere."""
    length: int | None = None
    """A Content-Length that is not true; -1: none."""
    status: int = 200
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


def answer(site: Site, handler: http.server.BaseHTTPRequestHandler) -> None:
    asked = handler.headers["Range"]
    site.ranges.append(asked)
    size, first = len(site.content), 0
    if site.status != 200:
        handler.send_error(site.status)
        return
    if asked and site.resumes:
        first = int(asked.removeprefix("bytes=").removesuffix("-")) + site.shift
        if first >= size:
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{size}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
    else:
        handler.send_response(200)
    if site.length != -1:
        handler.send_header("Content-Length", str(size - first if site.length is None else site.length))
    handler.end_headers()
    body = site.content[first:]
    if site.stall:
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        time.sleep(site.stall)
        body = body[len(body) // 2 :]
    handler.wfile.write(body if site.drop is None else body[: site.drop])


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                answer(made, self)
            except OSError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    yield made
    server.shutdown()
    server.server_close()


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content).hexdigest()


class Heard:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, step: str, done: int, total: int) -> None:
        self.calls.append((step, done, total))


def get(site: Site, folder: Path, checksum: str | None = md5(CONTENT), heard: Heard | None = None) -> Path:
    return fetch(site.url, folder / "new" / "file.bin", checksum, BY_HAND, heard or silent)


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_file_comes_whole_with_progress(site: Site, tmp_path: Path) -> None:
    heard = Heard()
    path = get(site, tmp_path, heard=heard)
    assert path.read_bytes() == CONTENT and left(tmp_path) == ["new/file.bin"]
    done = [call[1] for call in heard.calls]
    assert (done[0], done[-1]) == (0, len(CONTENT)) and done == sorted(done) and len(done) > 3
    assert {call[::2] for call in heard.calls} == {("downloading file.bin", len(CONTENT))}


def test_a_lost_connection_is_continued_by_the_same_command(site: Site, tmp_path: Path) -> None:
    site.drop = 150_000
    with pytest.raises(DataError) as caught:
        get(site, tmp_path)
    message = str(caught.value)
    assert re.search(
        r"cannot download http\S+ \(the connection was lost; \d+\.\d kB are kept in \S+/file\.bin\.part, the same "
        r"command continues there\); by hand: download it",
        message,
    )
    assert "\n" not in message and left(tmp_path) == ["new/file.bin.part"]
    have = (tmp_path / "new" / "file.bin.part").stat().st_size
    assert 0 < have <= 150_000
    site.drop, heard = None, Heard()
    assert get(site, tmp_path, heard=heard).read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={have}-"]
    assert heard.calls[0][1:] == (have, len(CONTENT)) and heard.calls[-1][1:] == (len(CONTENT), len(CONTENT))
    assert left(tmp_path) == ["new/file.bin"]


def test_each_attempt_brings_some(site: Site, tmp_path: Path) -> None:
    site.drop, failed = 150_000, 0
    for _ in range(4):
        try:
            get(site, tmp_path)
        except DataError:
            failed += 1
    assert failed == 2 and (tmp_path / "new" / "file.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path) -> None:
    site.drop, site.resumes = 150_000, False
    with pytest.raises(DataError):
        get(site, tmp_path)
    site.drop, heard = None, Heard()
    assert get(site, tmp_path, heard=heard).read_bytes() == CONTENT
    assert heard.calls[0][1] == 0 and left(tmp_path) == ["new/file.bin"]


def part(folder: Path, content: bytes) -> None:
    (folder / "new").mkdir(exist_ok=True)
    (folder / "new" / "file.bin.part").write_bytes(content)


def test_a_part_that_is_whole_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    part(tmp_path, CONTENT)
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert site.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_starts_anew(site: Site, tmp_path: Path) -> None:
    part(tmp_path, CONTENT + b"more")
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert site.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_range_that_was_not_asked_for_starts_anew(site: Site, tmp_path: Path) -> None:
    part(tmp_path, CONTENT[:1000])
    site.shift = 7
    assert get(site, tmp_path).read_bytes() == CONTENT
    assert site.ranges == ["bytes=1000-", None]


def test_a_part_of_another_file_is_found_out_and_given_up(site: Site, tmp_path: Path) -> None:
    part(tmp_path, bytes(1000))
    with pytest.raises(DataError, match="has not the published checksum md5:.*try again; by hand: download"):
        get(site, tmp_path)
    assert left(tmp_path) == []
    assert get(site, tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_there_is_checked_and_kept(site: Site, tmp_path: Path) -> None:
    path = get(site, tmp_path)
    assert get(site, tmp_path) == path and len(site.ranges) == 1
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match="is not the published file .*md5 is .*move it away"):
        get(site, tmp_path)
    assert path.read_bytes() == b"mine" and len(site.ranges) == 1


def zipped(name: str = "ratings.csv") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "userId,movieId\n" * 50)
        archive.writestr("README.txt", CONTENT)
    return file.getvalue()


def test_without_a_checksum_every_member_of_the_archive_is_checked(site: Site, tmp_path: Path) -> None:
    good = zipped()
    for content in (
        b"<html>log in</html>",
        good.replace(b"userId,movieId\nuserId", b"userId,movieId\nuserID"),
    ):
        assert content != good
        site.content = content
        with pytest.raises(DataError, match="is not the expected archive .*by hand: download it"):
            get(site, tmp_path, None)
        assert left(tmp_path) == []
    site.content = good
    assert get(site, tmp_path, None).read_bytes() == good
    assert get(site, tmp_path, None).read_bytes() == good and len(site.ranges) == 3
    (tmp_path / "new" / "file.bin").write_bytes(good[:-30])
    with pytest.raises(DataError, match="is not the published file .*move it away"):
        get(site, tmp_path, None)


def test_no_room_is_said_before_anything_is_written(site: Site, tmp_path: Path) -> None:
    site.length = 10**16
    with pytest.raises(
        DataError, match=r"new: the download needs 10000000\.0 GB, and .* are free; make room"
    ):
        get(site, tmp_path)
    assert left(tmp_path) == []


def test_a_length_that_is_not_known_is_no_obstacle(site: Site, tmp_path: Path) -> None:
    site.length, heard = -1, Heard()
    assert get(site, tmp_path, heard=heard).read_bytes() == CONTENT
    assert all(done == total for _, done, total in heard.calls)


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_server_that_refuses_is_quoted(site: Site, tmp_path: Path, status: int) -> None:
    site.status = status
    with pytest.raises(
        DataError, match=rf"\(the server answers {status} [A-Z][\w ]+\); by hand: download it"
    ):
        get(site, tmp_path)
    assert left(tmp_path) == []


def test_no_network_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    dead = Site(url="http://127.0.0.1:9/file.bin")
    with pytest.raises(
        DataError, match=r"\(no connection: .*Connection refused\); by hand: download it"
    ) as caught:
        get(dead, tmp_path)
    assert len(str(caught.value)) < 200
    part(tmp_path, CONTENT[:5000])
    with pytest.raises(DataError, match=r"Connection refused; 5\.0 kB are kept in .*; by hand"):
        get(dead, tmp_path)


def test_a_server_that_falls_silent_is_left(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "SECONDS", 0.2)
    site.stall = 1.0
    with pytest.raises(DataError, match="the connection was lost; .* kB are kept"):
        get(site, tmp_path)
    assert left(tmp_path) == ["new/file.bin.part"]


def test_a_folder_that_cannot_be_is_one_clear_error(site: Site, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("a file")
    with pytest.raises(DataError, match=r"new/file\.bin cannot be written"):
        get(site, tmp_path)


def test_an_interrupted_download_continues(site: Site, tmp_path: Path) -> None:
    def interrupt(step: str, done: int, total: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(site.url, tmp_path / "file.bin", md5(CONTENT), BY_HAND, interrupt)
    assert left(tmp_path) == ["file.bin.part"]
    assert fetch(site.url, tmp_path / "file.bin", md5(CONTENT), BY_HAND, silent).read_bytes() == CONTENT
    assert site.ranges[1] is not None


def test_a_killed_download_continues(site: Site, tmp_path: Path) -> None:
    site.stall = 60.0
    program = (
        "import sys; from pathlib import Path; from nasbench_rec.datasets._download import fetch; "
        "fetch(sys.argv[1], Path(sys.argv[2]), sys.argv[3], '')"
    )
    target = tmp_path / "file.bin"
    child = subprocess.Popen([sys.executable, "-c", program, site.url, str(target), md5(CONTENT)])
    kept = tmp_path / "file.bin.part"
    for _ in range(600):
        if kept.exists() and kept.stat().st_size > 100_000:
            break
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert not target.exists() and 0 < kept.stat().st_size < len(CONTENT)
    site.stall = 0.0
    assert fetch(site.url, target, md5(CONTENT), BY_HAND, silent).read_bytes() == CONTENT
    assert site.ranges[1] is not None


def test_progress_is_shown_where_nobody_listens(site: Site, tmp_path: Path) -> None:
    assert fetch(site.url, tmp_path / "file.bin", md5(CONTENT), BY_HAND).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", [MovieLens1M, MovieLens100K, MovieLensLatest, MovieLensLatestSmall])
def test_movielens_is_downloaded_where_it_is_found(
    kind: type[MovieLens], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movielens, "URL", site.url)
    site.content = zipped(kind.edition.ratings.file)
    checksum = md5(site.content) if kind.edition.checksum else None
    monkeypatch.setattr(kind, "edition", dataclasses.replace(kind.edition, checksum=checksum))
    site.drop = 150_000
    with pytest.raises(DataError, match="cannot download"):
        kind.download(tmp_path)
    site.drop = None
    kind.download(tmp_path)
    archive = kind.edition.archives[0]
    assert left(tmp_path) == [f"{kind.info.name}/{archive}"] and site.ranges[1] is not None
    source = kind(kind.Config())
    assert source.source_fingerprint(tmp_path) == hashlib.sha256(site.content).hexdigest()


def test_another_archive_is_not_taken_for_the_published_one(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movielens, "URL", site.url)
    with pytest.raises(DataError, match="has not the published checksum md5:c4d9.*--source"):
        MovieLens1M.download(tmp_path)
    assert left(tmp_path) == [] and ML_1M.checksum is not None


def published(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An archive of RecZoo's whose checksums the reader knows."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in reczoo.MD5:
            text = f"label,user_id,item_id,tag_id\r\n1,{len(name)},2,3\r\n0,4,5,6\r\n".encode() * 20
            archive.writestr(f"MovielensLatest_x1/{name}", text)
            monkeypatch.setitem(reczoo.MD5, name, hashlib.md5(text).hexdigest())
        archive.writestr("README.md", CONTENT)
    return file.getvalue()


@pytest.mark.parametrize("drop", [None, 150_000])
def test_reczoo_is_unpacked_after_its_checks(
    drop: int | None, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reczoo, "URL", site.url)
    site.content, site.drop = published(monkeypatch), drop
    if drop is not None:
        with pytest.raises(DataError, match="MovielensLatest_x1.zip.part, the same command continues"):
            MovieLensLatestX1.download(tmp_path)
        site.drop = None
    MovieLensLatestX1.download(tmp_path)
    assert left(tmp_path) == [f"MovielensLatest_x1/{name}" for name in ("test.csv", "train.csv", "valid.csv")]


def test_an_archive_that_the_user_has_put_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reczoo, "URL", "http://127.0.0.1:9/file.zip")
    archive = tmp_path / "MovielensLatest_x1" / "MovielensLatest_x1.zip"
    archive.parent.mkdir()
    archive.write_bytes(published(monkeypatch))
    MovieLensLatestX1.download(tmp_path)
    assert archive.exists() and len(left(tmp_path)) == 4
