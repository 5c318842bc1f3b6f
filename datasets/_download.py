"""Downloads that can be continued: over HTTP, checked, and under their final name only when they are whole.

What has come lies in a file `.part` beside the target and is continued by a range request (RFC 9110, section 14) where
the server knows these. Pooch checks the hash and gives the file its name; alone, it starts from zero each time.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasbench_rec.datasets._files import file_hash

from nasbench_rec.data import OnProgress
from nasbench_rec.errors import DataError

if TYPE_CHECKING:
    from requests import RequestException, Response

logger = logging.getLogger(__name__)

SECONDS = 30.0
"""How long a server may be silent."""
_BLOCK = 1 << 16
_PARTIAL, _NO_SUCH_RANGE = 206, 416


class LostError(Exception):
    """A connection that ended before the file did."""


def fetch(
    url: str, target: Path, checksum: str | None, by_hand: str, progress: OnProgress | None = None
) -> Path:
    """Fetch `url` as the file `target` unless that is there already; return its path.

    `checksum` is "md5:..." or "sha256:..."; None: the file is a zip archive, of which each member is checked.
    `progress` hears of the bytes; by default it is shown on standard error. DataError: no network, no room, a lost
    connection (what has come is kept, the same call continues), another checksum, another file in the way. `by_hand`
    says in words how to get the file without us.
    """
    from nasbench_rec.progress import steps

    if target.exists():
        _check_present(target, checksum)
        logger.info("%s is there already, and whole", target)
        return target
    if progress is not None:
        _retrieve(url, target, checksum, by_hand, progress)
    else:
        with steps() as shown:
            _retrieve(url, target, checksum, by_hand, shown)
    return target


def zip_fault(path: Path) -> str:
    """Return what is wrong with a zip archive, "" where every member can be read and has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        return str(error)
    return f"{broken} is broken" if broken else ""


def _check_present(target: Path, checksum: str | None) -> None:
    """Refuse a file that is there and is not the published one: it is not ours to overwrite."""
    if checksum is None:
        fault = zip_fault(target)
    else:
        algorithm, _, expected = checksum.partition(":")
        found = file_hash([target], algorithm)
        fault = "" if found == expected else f"its {algorithm} is {found}, the published one {expected}"
    if fault:
        raise DataError(f"{target} is not the published file ({fault}); move it away before downloading")


def _retrieve(url: str, target: Path, checksum: str | None, by_hand: str, progress: OnProgress) -> None:
    """Let pooch fetch, check and rename; every failure is one DataError."""
    import pooch
    import requests

    part = target.with_name(f"{target.name}.part")

    def download(url: str, whole: str, _: Any) -> None:
        """Stand in for pooch's downloader."""
        _receive(url, part, progress)
        if checksum is None and (fault := zip_fault(part)):
            part.unlink()
            raise DataError(f"{url} is not the expected archive ({fault}); by hand: {by_hand}")
        os.replace(part, whole)

    try:
        with _quiet(pooch.get_logger()):
            pooch.retrieve(url, checksum, target.name, target.parent, downloader=download)
    except (requests.RequestException, LostError) as error:
        raise DataError(
            f"cannot download {url} ({_reason(error)}{_kept(part)}); by hand: {by_hand}"
        ) from error
    except ValueError as error:  # pooch's, and it has deleted what came
        raise DataError(
            f"{url} has not the published checksum {checksum}: the file was changed there, or broken on its way; try "
            f"again; by hand: {by_hand}"
        ) from error
    except OSError as error:
        raise DataError(
            f"{target} cannot be written ({error.strerror or error}{_kept(part)}); make room there, or choose another "
            "folder"
        ) from error


@contextmanager
def _quiet(log: logging.Logger) -> Iterator[None]:
    """Keep pooch from printing what concerns programmers."""
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(level)


def _receive(url: str, part: Path, progress: OnProgress) -> None:
    """Append to `part` what it lacks of `url`; from the beginning where the server sends another piece."""
    import requests

    have = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as answer:
        first, last, total = _range(answer)
        if have and answer.status_code == _NO_SUCH_RANGE and total == have:
            return
        if not have or answer.status_code not in (_PARTIAL, _NO_SUCH_RANGE) or first == have:
            answer.raise_for_status()
            _append(answer, part, first, last, progress)
            return
    logger.info("%s is not of this file and starts anew", part)
    part.unlink()
    _receive(url, part, progress)


def _range(answer: Response) -> tuple[int, int, int]:
    """Return which bytes come, [first, last), and how many the file has; 0 where the server does not say."""
    if answer.status_code in (_PARTIAL, _NO_SUCH_RANGE):
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        first, last, total = found.groups() if found else (None, None, None)
        size = int(total) if total and total != "*" else 0
        return int(first or 0), int(last) + 1 if last else size, size
    packed = answer.headers.get("Content-Encoding", "identity") != "identity"
    size = 0 if packed else int(answer.headers.get("Content-Length", 0))
    return 0, size, size


def _append(answer: Response, part: Path, first: int, last: int, progress: OnProgress) -> None:
    """Write the body of an answer, bytes [first, last) of the file (last = 0: unknown), to the end of `part`."""
    import requests

    done, step = first, f"downloading {part.name.removesuffix('.part')}"
    _check_room(part, last - first)
    with part.open("ab" if first else "wb") as file:
        progress(step, done, max(last, done))
        try:
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                done += len(block)
                progress(step, done, max(last, done))
        except (requests.exceptions.ChunkedEncodingError, requests.ConnectionError) as error:
            raise LostError from error
    if last and done != last:
        raise LostError


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise DataError(
            f"{part.parent}: the download needs {_size(needed)}, and {_size(free)} are free; make room there, or "
            "choose another folder"
        )


def _reason(error: RequestException | LostError) -> str:
    """Return in a few words why nothing came."""
    if isinstance(error, LostError):
        return "the connection was lost"
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    # The innermost of requests' nested causes.
    return "no connection: " + re.sub("[\"']\\)+$", "", str(error).rsplit(": ", 1)[-1])


def _kept(part: Path) -> str:
    """Say what is kept of the file."""
    have = part.stat().st_size if part.is_file() else 0
    return f"; {_size(have)} are kept in {part}, the same command continues there" if have else ""


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
