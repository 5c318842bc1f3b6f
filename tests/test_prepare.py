"""Preparing data in a store: once, whole, with progress, from source files that stay the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nasbench_rec.config import plain
from nasbench_rec.errors import DataError
from nasbench_rec.preparation import prepare, prepare_all
from nasbench_rec.registry import resolve_dataset
from nasbench_rec.stages import Stages
from nasbench_rec.unit import DataRef, data_ref


def write(folder: Path, rows: int = 300, seed: int = 0) -> Path:
    """A file in Criteo's layout."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    cells = rng.integers(0, 5, (rows, 40)).astype(str)
    cells[:, 0] = rng.integers(0, 2, rows).astype(str)
    (folder / "train.txt").write_text("\n".join("\t".join(row) for row in cells) + "\n")
    return folder


def ref(folder: Path, **settings: object) -> DataRef:
    return data_ref("criteo", folder, {"min_count": 1, **settings})


def test_it_is_prepared_once_and_found_without_its_files(tmp_path: Path) -> None:
    source = write(tmp_path / "raw")
    wanted = ref(source)
    first = prepare(wanted, Stages(tmp_path / "stages"), source)
    (source / "train.txt").unlink()
    stages = Stages(tmp_path / "stages")
    again = prepare(wanted, stages, None)
    assert again.fingerprint == first.fingerprint
    assert [use.reused for use in stages.used] == [True]


def test_the_manifest_tells_where_data_come_from_and_how_they_were_made(tmp_path: Path) -> None:
    source = write(tmp_path / "raw")
    data = prepare(ref(source), Stages(tmp_path / "stages"), source)
    manifest = json.loads(next((tmp_path / "stages" / "prepare").glob("*/manifest.json")).read_text())
    assert manifest["fingerprint"] == data.fingerprint
    assert list(manifest["origin"]["source"]) == ["train.txt"]
    assert len(manifest["origin"]["source"]["train.txt"]) == 64
    assert manifest["origin"]["encoding"]["min_count"] == 1
    assert manifest["origin"]["split"]["rule"] == "random"
    assert set(manifest["digests"]) == {
        f"{s}.{p}" for s in ("train", "valid", "test") for p in ("ids", "labels")
    }
    data.verify()


def test_changed_source_files_are_refused_until_they_are_accepted(tmp_path: Path) -> None:
    source, stages = write(tmp_path / "raw"), tmp_path / "stages"
    first = prepare(ref(source), Stages(stages), source)
    write(source, seed=1)
    changed = ref(source)
    with pytest.raises(
        DataError, match=r"'criteo.*' in .*raw have changed.*prepared.*another --store.*--replace"
    ):
        prepare(changed, Stages(stages), source)
    assert len(list((stages / "prepare").iterdir())) == 1, "nothing half-written"
    accepted = prepare(changed, Stages(stages), source, replace=True)
    assert accepted.fingerprint != first.fingerprint
    assert prepare(changed, Stages(stages), source).fingerprint == accepted.fingerprint
    write(source)
    with pytest.raises(DataError, match="have changed"):
        prepare(ref(source), Stages(stages), source)


def test_another_encoding_of_the_same_files_stands_beside(tmp_path: Path) -> None:
    source = write(tmp_path / "raw")
    stages = Stages(tmp_path / "stages")
    made = (ref(source, **settings) for settings in ({}, {"min_count": 80}))
    assert len({prepare(one, stages, source).fingerprint for one in made}) == 2


def test_files_that_are_refused_leave_no_trace(tmp_path: Path) -> None:
    source, stages = write(tmp_path / "raw"), tmp_path / "stages"
    lines = (source / "train.txt").read_text().splitlines()
    (source / "train.txt").write_text("\n".join([*lines, "2" + lines[0][1:]]) + "\n")
    with pytest.raises(DataError, match=r"train\.txt, line 301, column 'label': found '2'"):
        prepare(ref(source), Stages(stages), source)
    assert not list((stages / "prepare").iterdir())
    write(source)
    prepare(ref(source), Stages(stages), source)


def test_progress_is_told_step_by_step_up_to_the_end(tmp_path: Path) -> None:
    source, heard = write(tmp_path / "raw"), []
    refs = [ref(source), ref(source), ref(source, min_count=2)]
    prepare_all(refs, tmp_path, source, lambda *step: heard.append(step))
    assert list(dict.fromkeys(step for step, _, _ in heard)) == [
        "reading",
        "learning vocabularies",
        "writing",
    ]
    size = (source / "train.txt").stat().st_size
    assert [h for h in heard if h[0] == "reading"][-1] == ("reading", size, size)
    assert [h for h in heard if h[0] == "writing"] == [("writing", 300, 300)] * 2, "equal data once"


def test_where_files_lie_is_no_part_of_what_they_are(tmp_path: Path) -> None:
    here, there = ref(write(tmp_path / "a")), ref(write(tmp_path / "b"))
    assert here == there and here.key == there.key
    moved = DataRef(here.name, here.source, here.config, place="/somewhere/else")
    assert moved == here and moved.key == here.key and moved.describe() == here.describe()
    assert plain(resolve_dataset("criteo").config)["recipe"] == "ours"
