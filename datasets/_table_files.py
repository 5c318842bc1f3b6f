"""The files of a user's table: finding them, telling their format, and the contract of what reads them."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from nasbench_rec.datasets._batches import Batch
from nasbench_rec.datasets._files import SourceFile, members, text_blocks
from nasbench_rec.datasets._text import TextLayout, header_of, read_text

from nasbench_rec.data import OnProgress, silent
from nasbench_rec.errors import DataError, unknown

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".libsvm": "libsvm",
    ".svm": "libsvm",
    ".libfm": "libsvm",
    ".libffm": "libffm",
    ".ffm": "libffm",
}
"""The format that a file's name tells."""
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_OTHERS = (".toml", ".md", ".crc", ".md5", ".sha256")
_FEW = 12


@dataclass(frozen=True)
class TableFile:
    """One file of a table."""

    source: SourceFile
    name: str
    """Its name below the data folder."""
    split: str | None = None
    """The published split that it holds."""

    @property
    def format(self) -> str:
        """The format that its name tells; "" where it tells none."""
        return SUFFIXES.get(Path(self.source.name.lower()).suffix, "")

    @property
    def size(self) -> int:
        """Its size on disk in bytes."""
        return self.source.path.stat().st_size


class TableReader(Protocol):
    """Reads the files of a table, all of one format."""

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the first file, or of all."""
        ...

    def batches(self, wanted: Sequence[str], progress: OnProgress = silent) -> Iterator[Batch]:
        """Yield the rows of all files in order, with the columns that are wanted."""
        ...


def some(names: Sequence[str]) -> str:
    """Return names for a message: all, or the first and how many more."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(repr(name) for name in names[:_FEW]) + more


def find_files(
    folder: Path, names: Sequence[str], where: str, split: str | None = None, any_name: bool = False
) -> list[TableFile]:
    """Return the files that `names` (files, globs, folders, members of archives) mean below `folder`, in order.

    With `any_name` a folder's files need not be named by their format. DataError, beginning with `where`: nothing
    of that name, or a file named twice.
    """
    found = [file for name in names for file in _named(folder, name, where, any_name)]
    twice = [name for name, times in Counter(file.name for file in found).items() if times > 1]
    if twice:
        raise DataError(f"{where}: {twice[0]!r} is named twice; its rows would count twice: name it once")
    return [replace(file, split=split) for file in found]


def _named(folder: Path, name: str, where: str, any_name: bool) -> list[TableFile]:
    path = folder / name
    if path.is_file():
        return [TableFile(_alone(path), name)]
    if path.is_dir():
        return _listed(folder, path, where, any_name)
    if (member := _member_of(folder, name)) is not None:
        return [TableFile(member, name)]
    matches = sorted(glob.glob(str(Path(glob.escape(str(folder))) / name), recursive=True))
    paths = [Path(match) for match in matches if not Path(match).name.startswith("_")]
    if files := [item for item in paths if item.is_file()]:
        return [TableFile(_alone(item), _below(folder, item)) for item in files]
    if paths:
        return [file for item in paths for file in _listed(folder, item, where, any_name)]
    there = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
    raise DataError(f"{where}: in {folder}: {unknown('file', name, there[:50])}")


def _below(folder: Path, path: Path) -> str:
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def _alone(path: Path) -> SourceFile:
    """Return a file; of a zip archive the only file in it."""
    if path.suffix.lower() != ".zip":
        return SourceFile(path)
    inside = members(path)
    if len(inside) != 1:
        raise DataError(
            f"{path} holds {len(inside)} files ({some(inside) or 'or is broken'}): name the one you mean, as "
            f"{path.name}/FILE"
        )
    return SourceFile(path, inside[0])


def _member_of(folder: Path, name: str) -> SourceFile | None:
    """Return the member of an archive that a name such as `a.zip/b.csv` means."""
    parts = Path(name).parts
    for end in range(1, len(parts)):
        path = folder.joinpath(*parts[:end])
        if path.name.lower().endswith(_ARCHIVES) and path.is_file():
            if members(path).count(parts[-1]) > 1:
                raise DataError(f"{path} holds several files named {parts[-1]}: unpack the archive")
            return SourceFile(path, parts[-1])
    return None


def _listed(folder: Path, path: Path, where: str, any_name: bool) -> list[TableFile]:
    """Return the files below a folder, by name; hidden ones and those that begin with _ are of programs."""
    inside = [item for item in sorted(path.rglob("*")) if item.is_file()]
    shown = [f for f in inside if not any(p.startswith((".", "_")) for p in f.relative_to(path).parts)]
    files = [TableFile(SourceFile(item), _below(folder, item)) for item in shown]
    known = [file for file in files if file.format]
    if not known and any_name:
        known = [file for file in files if file.source.path.suffix not in _OTHERS]
    if not known:
        raise DataError(
            f"{where}: no data file below {path}: files are known by their endings "
            f"({', '.join(sorted(SUFFIXES))}); for others set `format`"
        )
    return known


def format_of(files: Sequence[TableFile], where: str) -> str:
    """Return the format that the names of the files tell; DataError where they tell none, or several."""
    formats = {file.format: file.name for file in files}
    if len(formats) > 1:
        raise DataError(
            f"{where}: files of several formats ({some(list(formats.values()))}); give one format"
        )
    found = next(iter(formats))
    if not found:
        raise DataError(
            f"{where}: the name {files[0].name!r} tells no format; set `format` to one of "
            f"{', '.join(sorted({*SUFFIXES.values(), 'libfm'}))}"
        )
    return found


def across(progress: OnProgress, sizes: Sequence[int]) -> Iterator[OnProgress]:
    """Yield for each of several files what hears of its progress and tells that of all."""
    total, before = sum(sizes), 0
    for size in sizes:

        def tell(step: str, done: int, of: int, before: int = before, size: int = size) -> None:
            progress(step, before + (size * done // of if of else size), total)

        yield tell
        before += size


@dataclass(frozen=True)
class TextTable:
    """Delimited text; with a header the layout's columns are those of the first file."""

    files: Sequence[TableFile]
    layout: TextLayout

    def columns(self) -> tuple[str, ...]:
        """Return the names in the first file's header, or those given."""
        source, layout = self.files[0].source, self.layout
        first = next(text_blocks(source, encoding=layout.encoding, quotes=layout.quotes)).data
        cells, _ = header_of(first[: 1 << 20].decode(errors="ignore"), layout.separator, layout.quotes)
        if layout.header:
            return tuple(cells)
        if len(cells) != len(layout.columns):
            raise DataError(
                f"{source}, line 1: {len(cells)} cells (separated by {layout.separator!r}), and `columns` names "
                f"{len(layout.columns)}; give as many names as there are cells"
            )
        return layout.columns

    def batches(self, wanted: Sequence[str], progress: OnProgress = silent) -> Iterator[Batch]:
        """Yield the rows of all files, cells as text."""
        layout = replace(self.layout, columns=self.columns())
        tell = across(progress, [file.size for file in self.files])
        for file, heard in zip(self.files, tell, strict=True):
            for batch in read_text(file.source, layout, heard, file.split):
                yield batch.with_frame(batch.frame[list(wanted)])
