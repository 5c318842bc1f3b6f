"""Finding an owner's files in the user's data folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasbench_rec.datasets._files import SourceFile, members

from nasbench_rec.data import DatasetInfo
from nasbench_rec.errors import DataError


def find_source(
    info: DatasetInfo,
    source: Path | None,
    names: Sequence[str],
    folders: Sequence[str],
    archives: Sequence[str] = (),
) -> SourceFile:
    """Return the one file of a data set, below `source` or in one of its `folders`; or `source` itself.

    `names` are the names that the file may have, `archives` those of archives that hold one of the names. DataError
    where there is none, saying what was looked for and where to get it, or where there are two.
    """
    if source is None:
        raise DataError(f"data set {info.name!r} needs a data folder: {info.source}")
    source = Path(source)
    if source.is_file():
        return _named(info, source, names)
    places = [source / folder for folder in folders]
    found = [path for place in places for name in (*names, *archives) if (path := place / name).is_file()]
    if not found:
        looked = ", ".join(str(place) for place in places)
        raise DataError(f"none of {', '.join((*names, *archives))} in {looked}: {info.source}")
    if len(found) > 1:
        raise DataError(
            f"{info.name} lies in {found[0]} and in {found[1]}: give the one you mean as --source or --data-dir"
        )
    return _named(info, found[0], names)


def _named(info: DatasetInfo, path: Path, names: Sequence[str]) -> SourceFile:
    """Return the file, or the member of an archive that has one of the names (a tarball's: the plain one)."""
    if path.suffix == ".zip":
        inside = [name for name in members(path) if name in names]
        if not inside:
            raise DataError(f"{path} has none of {', '.join(names)}: {info.source}")
        return SourceFile(path, inside[0])
    if path.name.endswith((".tar", ".tar.gz", ".tgz")):
        return SourceFile(path, names[0])
    return SourceFile(path)
