"""The first stage, `prepare`: a data set read, encoded and split into a store, once. It needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nasbench_rec.config import content_key, write_text
from nasbench_rec.data import Dataset, OnProgress, silent
from nasbench_rec.errors import DataError
from nasbench_rec.registry import resolve_dataset
from nasbench_rec.stages import Stages
from nasbench_rec.unit import DataRef


def prepare(
    ref: DataRef,
    stages: Stages,
    data_dir: Path | None,
    progress: OnProgress = silent,
    replace: bool = False,
) -> Dataset:
    """Return the encoded data set, encoding it first where it is not there.

    A store holds one state of a data set's source files: another is a DataError unless `replace` accepts it.
    """
    source = resolve_dataset(ref.name, ref.config)
    place = Path(ref.place) if ref.place else data_dir
    noted = stages.root / ".sources" / f"{content_key([ref.name, ref.encoding])}.json"
    if not source.generated and not replace and noted.is_file():
        _check_source(ref, stages, place, json.loads(noted.read_text()))

    def compute(folder: Path) -> dict[str, Any]:
        source.write(place, folder, progress)
        data = Dataset.load(folder)
        return {"fingerprint": data.fingerprint, "name": data.name}

    folder = stages.get("prepare", ref.key, compute)
    if not source.generated and (replace or not noted.is_file()):
        write_text(noted, json.dumps({"source": ref.source, "prepared": ref.key}))
    return Dataset.load(folder)


def _check_source(ref: DataRef, stages: Stages, place: Path | None, known: dict[str, str]) -> None:
    """Refuse source files that are not those from which this data set was prepared before."""
    if known["source"] != ref.source:
        raise DataError(
            f"the source files of {ref.label!r} in {place} have changed since they were prepared (hash "
            f"{known['source'][:12]} then, {ref.source[:12]} now; prepared data: "
            f"{stages.folder('prepare', known['prepared'])}). Put the old files back, use another --store, or "
            "accept the new ones: nasbench-rec data prepare ... --replace"
        )


def prepare_all(
    refs: Iterable[DataRef], root: Path, data_dir: Path | None, progress: OnProgress = silent
) -> None:
    """Prepare each data set once below the store at `root`, before units run: workers need no source files then."""
    stages = Stages(root / "stages")
    for ref in {ref.key: ref for ref in refs}.values():
        prepare(ref, stages, data_dir, progress)
