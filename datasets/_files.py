"""Source files as their owners publish them: plain or compressed, alone or inside an archive.

`opened` gives the unpacked bytes and the position in the packed file, so that progress is in bytes of what lies on
disk. `text_blocks` cuts them into blocks of whole lines. Whatever goes wrong is a DataError that names the file.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import json
import logging
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from nasbench_rec.data import OnProgress, silent
from nasbench_rec.errors import DataError

logger = logging.getLogger(__name__)

AGAIN = "get the file again from its owner"
BLOCK = 16 << 20
"""Bytes of text parsed at a time: smaller blocks take up to a sixth longer to encode, larger ones more memory."""
LONGEST = 64 << 20
"""A line longer than this is taken for a file of another kind."""
_KINDS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zip": "zip"}
_BROKEN = (OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)
_REMEMBERED = 64 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file, or a member of an archive (.zip, .tar, .tar.gz, .tgz)."""

    path: Path
    member: str = ""

    def __str__(self) -> str:
        """Return how errors name it."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """The name without compression: what the content is."""
        name = Path(self.member or self.path.name).name
        return name.removesuffix(".gz").removesuffix(".bz2").removesuffix(".xz")


@dataclass(frozen=True)
class Stream:
    """Unpacked bytes, with the position in the packed file and its size."""

    file: IO[bytes]
    position: Callable[[], int]
    total: int


@dataclass(frozen=True)
class TextBlock:
    """Whole lines, each ended by one line feed; `line` is the number of the first, from 1."""

    data: bytes
    line: int


@contextmanager
def opened(source: SourceFile) -> Iterator[Stream]:
    """Open a source for reading from its beginning; DataError where it is missing, broken or truncated."""
    try:
        with ExitStack() as stack:
            total = stack.enter_context(unchanged(source.path))
            raw = stack.enter_context(source.path.open("rb"))
            file: IO[bytes] = raw
            if source.member:
                file = _member(source, raw, stack)
            yield Stream(_unpacked(source.member or source.path.name, file, stack), raw.tell, total)
    except FileNotFoundError:
        raise DataError(f"{source} is missing; {AGAIN}") from None
    except EOFError:
        kind = _KINDS.get(Path(source.member or source.path.name).suffix, "packed")
        raise DataError(f"{source} is a truncated {kind} file: its end is missing; {AGAIN}") from None
    except _BROKEN as error:
        broken = source.path if isinstance(error, zipfile.BadZipFile) else source
        raise DataError(f"{broken} cannot be read ({error}); {AGAIN}") from error


@contextmanager
def unchanged(path: Path) -> Iterator[int]:
    """Give the size of a file that is read; DataError where it is written to or replaced meanwhile.

    What was read would be a mixture of two states, and the hash in the manifest that of neither.
    """
    before = _state(path)
    try:
        yield before[0]
    except Exception:
        _refuse_changed(path, before)
        raise
    _refuse_changed(path, before)


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _refuse_changed(path: Path, before: tuple[int, int, int]) -> None:
    if _state(path) != before:
        raise DataError(f"{path} was changed while it was read; run again when nothing writes to it")


def _member(source: SourceFile, raw: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """Return the member of an archive; a tarball is read forwards only, up to the member."""
    if source.path.suffix == ".zip":
        archive = stack.enter_context(zipfile.ZipFile(raw))
        try:
            return stack.enter_context(archive.open(_found(source, archive.namelist())))
        except RuntimeError as error:  # a password, or a packing that Python does not know
            raise DataError(f"{source} cannot be unpacked ({error}); unpack it by hand") from None
    tar = stack.enter_context(tarfile.open(fileobj=raw, mode="r|*"))
    for item in tar:
        if item.isfile() and Path(item.name).name == source.member:
            found = tar.extractfile(item)
            assert found is not None
            return found
    raise DataError(f"{source.path} has no {source.member}; {AGAIN}")


def _found(source: SourceFile, names: Sequence[str]) -> str:
    """Return the full name of the archive's only member that is called `source.member`."""
    found = [name for name in names if Path(name).name == source.member]
    if not found:
        raise DataError(f"{source.path} has no {source.member}; {AGAIN}")
    return found[0]


def _unpacked(name: str, file: IO[bytes], stack: ExitStack) -> IO[bytes]:
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opener = openers.get(Path(name).suffix)
    return stack.enter_context(opener(file)) if opener else file


def members(path: Path) -> list[str]:
    """Return the file names in a zip archive, without their folders; [] where it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [Path(name).name for name in archive.namelist() if not name.endswith("/")]
    except _BROKEN:
        return []


def text_blocks(
    source: SourceFile, progress: OnProgress = silent, *, encoding: str = "utf-8", quotes: bool = False
) -> Iterator[TextBlock]:
    """Yield the file's text in blocks of whole lines, UTF-8 without byte-order mark, lines ended by line feeds alone.

    Empty lines at the end do not count. With `quotes`, a line end between double quotes ends no line. DataError:
    nothing in it, a byte that is not text of `encoding` (with its line), a line that does not end.
    """
    some = False
    for line, data in _whole_lines(source, progress, quotes):
        if text := _decoded(source, data, line, encoding):
            some = True
            yield TextBlock(text, line)
    if not some:
        raise DataError(f"{source} is empty; {AGAIN}")


def _whole_lines(source: SourceFile, progress: OnProgress, quotes: bool) -> Iterator[tuple[int, bytes]]:
    """Yield pieces that end with a line, with the number of their first; line ends at the file's end stay away."""
    line, rest = 1, b""
    with opened(source) as stream:
        while piece := stream.file.read(BLOCK):
            rest += piece if rest or line > 1 else piece.removeprefix(codecs.BOM_UTF8)
            progress("reading", stream.position(), stream.total)
            # Line ends that may be the file's last ones wait for what follows.
            kept = _stripped(rest, _cut(rest, quotes))
            if end := rest.find(b"\n", kept) + 1 if kept else 0:
                yield line, rest[:end]
                line += counted(rest, b"\n", end)
                rest = rest[end:]
            elif len(rest) > LONGEST:
                raise DataError(_endless(source, line, rest, quotes))
        progress("reading", stream.total, stream.total)
    if last := rest.rstrip(b"\r\n"):
        last += b"\n"
        if (cut := _cut(last, quotes)) != len(last):
            raise DataError(_endless(source, line + last.count(b"\n", 0, cut), last, quotes))
        yield line, last


def counted(data: bytes, letter: bytes, end: int | None = None) -> int:
    """Return how often a letter occurs up to `end`, where it is frequent: five times as fast as `bytes.count`."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8)[:end] == letter[0]))


def _stripped(data: bytes, size: int) -> int:
    """Return the length of the first `size` bytes without the line ends at their end; they are not copied."""
    tail = data[max(0, size - 256) : size]
    if kept := len(tail.rstrip(b"\r\n")):
        return size - len(tail) + kept
    return len(data[:size].rstrip(b"\r\n"))


def _endless(source: SourceFile, line: int, data: bytes, quotes: bool) -> str:
    if quotes and b'"' in data:
        return (
            f"{source}, line {line}: a double quote opens a cell and none closes it; mend the line (a quote within "
            f"a quoted cell is doubled), read the file without quotes, or {AGAIN}"
        )
    return f"{source}, line {line}: no line end in {LONGEST >> 20} MiB; is it a text file of the right kind?"


def _cut(data: bytes, quotes: bool) -> int:
    """Return the length of the whole lines in `data`: up to the last line end outside of quotes."""
    cut = data.rfind(b"\n") + 1
    if quotes:
        odd = data.count(b'"', 0, cut) % 2
        while cut and odd:
            before = data.rfind(b"\n", 0, cut - 1) + 1
            odd ^= data.count(b'"', before, cut) % 2
            cut = before
    return cut


def _decoded(source: SourceFile, data: bytes, line: int, encoding: str) -> bytes:
    # More than once where they were doubled by a transfer as text; a search for one letter is much faster than for two.
    while b"\r" in data and b"\r\n" in data:
        data = data.replace(b"\r\n", b"\n")
    if data.isascii():
        return data
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        at, value = line + data.count(b"\n", 0, error.start), data[error.start : error.end]
        raise DataError(
            f"{source}, line {at}: {value!r} is not {encoding.upper()}; save it as UTF-8 or {AGAIN}"
        ) from None
    return data if encoding == "utf-8" else text.encode()


def file_hash(paths: Sequence[Path], algorithm: str = "sha256") -> str:
    """Return the hash of the content of `paths`, one after the other; DataError where one cannot be read."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    for path in paths:
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    state.update(block)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error}); {AGAIN}") from error
    return state.hexdigest()


def source_hash(paths: Sequence[Path]) -> str:
    """Return `file_hash` of the paths; that of large files is remembered for as long as they do not change.

    A file counts as unchanged while its size, its time of change (nanoseconds) and its inode are the same. The
    memory is a JSON file in the user's cache folder; without one the files are read each time.
    """
    try:
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}); {AGAIN}") from None
    if sum(s.st_size for s in stats) < _REMEMBERED:
        return file_hash(paths)
    state = [
        [str(path.resolve()), s.st_size, s.st_mtime_ns, s.st_ino]
        for path, s in zip(paths, stats, strict=True)
    ]
    key, memory = json.dumps(state), _memory()
    known: dict[str, str] = {}
    try:
        known = dict(json.loads(memory.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        logger.debug("no remembered hashes in %s", memory)
    if key not in known:
        known[key] = file_hash(paths)
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps(known), encoding="utf-8")
        except OSError as error:
            logger.debug("hashes cannot be remembered in %s: %s", memory, error)
    return known[key]


def _memory() -> Path:
    import pooch

    return Path(pooch.os_cache("nasbench-rec")) / "source-hashes.json"
