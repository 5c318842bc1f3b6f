"""Rows that are larger than memory: what is read from a mapped file, what goes to disk, what a limit allows.

Run as a script, `python tests/test_memory.py FOLDER`, this file trains on the mapped rows in FOLDER under a limit
of its own memory and prints what came of it.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods.sseds import SSEDS

from nasbench_rec import data as data_module
from nasbench_rec import searcher as searcher_module
from nasbench_rec import training
from nasbench_rec.data import Dataset, Field, Split, search_cut
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import DataError, NasbenchError
from nasbench_rec.model import CTRModel, build_model
from nasbench_rec.pipeline import retrain
from nasbench_rec.plans import Clustered, FieldDims, uniform
from nasbench_rec.routers import HashRouter
from nasbench_rec.searcher import Budget, DataUse, MethodInfo, SearchTask
from nasbench_rec.seeds import Seeds
from nasbench_rec.testing import tiny_protocol
from nasbench_rec.training import Bilevel, fit, predict
from nasbench_rec.unit import DataRef, Task

STATUS = Path("/proc/self/status")
MIB = 2**20
PROTOCOL = tiny_protocol(batch_size=1024, epochs=1)

# Selections that go to disk.


def some_split(rows: int = 500, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 9, (rows, 3)).astype(np.int32)
    labels = rng.integers(0, 2, rows).astype(np.float32)
    return Split(ids, labels, rng.random(rows, np.float32), rng.integers(0, 3, rows).astype(np.int32))


def mapped(split: Split, folder: Path) -> Split:
    """The same split, its arrays mapped from files in `folder`."""
    for name, array in split.arrays().items():
        np.save(folder / f"{name}.npy", array)
    return Split(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in split.arrays()})


def same(one: Split, other: Split) -> bool:
    ours, theirs = one.arrays(), other.arrays()
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def on_disk(split: Split) -> set[str]:
    return {name for name, array in split.arrays().items() if isinstance(array, np.memmap)}


def unnamed(folder: Path) -> list[str]:
    """Files in `folder` that this process holds open and that no longer have a name there."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(link))
        except FileNotFoundError:  # the descriptor that lists the folder
            continue
    return [path for path in found if path.startswith(str(folder)) and path.endswith("(deleted)")]


@pytest.fixture
def spilling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is selected goes to disk, in blocks of a few rows."""
    monkeypatch.setattr(data_module, "SPILL_BYTES", 0)
    monkeypatch.setattr(data_module, "BLOCK_BYTES", 100)


SELECTIONS: dict[str, Callable[[int], Any]] = {
    "a mask": lambda n: np.random.default_rng(1).random(n) < 0.4,
    "rising positions": lambda n: np.flatnonzero(np.random.default_rng(1).random(n) < 0.4),
    "positions in any order, some twice": lambda n: np.random.default_rng(1).integers(0, n, n),
    "a list, from the end too": lambda n: [3, 1, -1, 3],
}


@pytest.mark.usefixtures("spilling")
@pytest.mark.parametrize("name", SELECTIONS)
def test_a_selection_on_disk_is_that_in_memory(tmp_path: Path, name: str) -> None:
    whole = some_split()
    index = SELECTIONS[name](len(whole))
    expected, found = whole.take(index), mapped(whole, tmp_path).take(index)
    assert on_disk(found) == set(whole.arrays()) and not on_disk(expected)
    assert same(found, expected) and [a.dtype for a in found.arrays().values()] == [
        a.dtype for a in whole.arrays().values()
    ]
    with pytest.raises(ValueError, match="read-only"):
        found.ids[0, 0] = 1


@pytest.mark.usefixtures("spilling")
def test_slices_stay_views_and_nothing_selected_is_nothing(tmp_path: Path) -> None:
    whole = mapped(some_split(), tmp_path)
    part = whole.take(slice(10, 400))
    assert np.shares_memory(part.ids, whole.ids) and len(part) == 390 and not unnamed(tmp_path)
    assert len(whole.take(np.zeros(500, bool))) == 0


def test_small_selections_are_in_memory(tmp_path: Path) -> None:
    whole = some_split()
    found = mapped(whole, tmp_path).take(np.arange(100))
    assert same(found, whole.take(slice(0, 100))) and not on_disk(found)


def test_each_array_is_judged_by_its_own_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "SPILL_BYTES", 200 * 8)  # 200 rows have 2400 bytes of ids, 800 of labels
    assert on_disk(mapped(some_split(), tmp_path).take(np.arange(200))) == {"ids"}


@pytest.mark.usefixtures("spilling")
@pytest.mark.skipif(not STATUS.exists(), reason="no /proc here")
def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    whole = mapped(some_split(), tmp_path)
    names = sorted(tmp_path.iterdir())
    found = whole.take(np.arange(0, 500, 2))
    again = found.take(np.arange(0, 250, 2))
    assert sorted(tmp_path.iterdir()) == names, "no file that a killed process would leave"
    assert len(unnamed(tmp_path)) == 8, "both lie beside the data, where there is room"
    del found
    gc.collect()
    assert len(unnamed(tmp_path)) == 4 and same(again, whole.take(np.arange(0, 500, 4)))
    del again
    gc.collect()
    assert not unnamed(tmp_path) and sorted(tmp_path.iterdir()) == names


@pytest.mark.usefixtures("spilling")
@pytest.mark.skipif(not STATUS.exists(), reason="no /proc here")
def test_a_folder_that_cannot_be_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = tmp_path / "data", tmp_path / "tmp"
    own.mkdir()
    other.mkdir()
    whole = mapped(some_split(), own)
    make = data_module.tempfile.TemporaryFile

    def refusing(**options: Any) -> Any:
        if options.get("dir") == own:
            raise OSError(errno.EROFS, "Read-only file system")
        return make(**options)

    monkeypatch.setattr(data_module.tempfile, "TemporaryFile", refusing)
    monkeypatch.setattr(data_module.tempfile, "tempdir", str(other))
    found = whole.take(np.arange(100))
    assert same(found, some_split().take(slice(0, 100)))
    assert not unnamed(own) and len(unnamed(other)) == 4


@pytest.mark.usefixtures("spilling")
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mapped(some_split(), tmp_path)
    monkeypatch.setattr(data_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1199))
    with pytest.raises(DataError, match=rf"{tmp_path}: 0\.0 GB of selected rows .*No space left.*make room"):
        whole.take(np.arange(100))
    monkeypatch.setattr(data_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1200))
    assert len(whole.take(np.arange(100))) == 100


@pytest.mark.usefixtures("spilling")
def test_a_disk_that_fills_up_meanwhile_is_named(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    whole = mapped(some_split(), tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError, match=rf"{tmp_path}: .* cannot be written \(File too large\)"):
            whole.take(np.arange(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("spilling")
def test_a_search_cut_of_a_file_is_that_of_its_rows(tmp_path: Path) -> None:
    ours, theirs = search_cut(mapped(some_split(), tmp_path), 0.2, 5), search_cut(some_split(), 0.2, 5)
    assert all(same(one, other) for one, other in zip(ours, theirs, strict=True))
    assert all(on_disk(part) == set(part.arrays()) for part in ours)


@pytest.mark.parametrize("block", [1, 100, 10**9])
def test_counts_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    fields = (Field("one", 12), Field("many", 9, columns=2, padding=0))
    split = some_split()
    monkeypatch.setattr(data_module, "BLOCK_BYTES", block)
    one, many = Dataset("toy", fields, {name: split for name in ("train", "valid", "test")}).counts
    assert one.tolist() == [(split.ids[:, 0] == i).sum() for i in range(12)]
    assert many.tolist() == [0] + [(split.ids[:, 1:] == i).sum() for i in range(1, 9)]
    assert one.dtype == many.dtype == np.int64


def search_task(data: Dataset, use: DataUse) -> SearchTask:
    info = MethodInfo("mine", "Mine", "field", use, "none", ("field_dims",), "reference")
    return SearchTask(data, "fm", tiny_protocol(), info, (0, 0), Budget(1), lambda plan: {})


def test_rows_are_cut_once_and_only_for_those_who_ask(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts: list[int] = []

    def counting(*given: Any) -> tuple[Split, Split]:
        cuts.append(1)
        return search_cut(*given)

    monkeypatch.setattr(searcher_module, "search_cut", counting)
    task = search_task(tiny, "train+search")
    assert not cuts, "a cached search is not cut again"
    assert len(task.train) + len(task.search) == len(tiny.split("train")) and len(cuts) == 1
    assert task.search is task.search and len(cuts) == 1
    other = search_task(tiny, "train")
    assert len(other.train) == len(tiny.split("train")) and len(cuts) == 1
    with pytest.raises(NasbenchError, match="no search split"):
        _ = other.search


@pytest.mark.usefixtures("spilling")
def test_clusters_train_alike_on_rows_from_disk(tiny: Dataset, tmp_path: Path) -> None:
    parts = {name: tmp_path / name for name in ("train", "valid", "test")}
    for part in parts.values():
        part.mkdir()
    from_disk = Dataset(tiny.name, tiny.fields, {n: mapped(tiny.split(n), f) for n, f in parts.items()})
    layout = Layout(tiny.fields, 4)
    router = HashRouter.of(layout, [0.4, 0.6], np.random.default_rng(0))
    plan = Clustered(router=router, plans=(uniform(layout), uniform(layout, 2)))
    task = Task(DataRef("tiny", "generated"), "dnn", tiny_protocol())
    (one, ours), (other, theirs) = (retrain(plan, task, d, Seeds()) for d in (tiny, from_disk))
    assert [r.rows_seen for r in ours] == [r.rows_seen for r in theirs]
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    gc.collect()
    assert not STATUS.exists() or not unnamed(tmp_path)


@pytest.mark.parametrize("limit", [0, 10**9])
def test_sseds_sees_every_row_once_in_either_order(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(training, "RANDOM_BYTES", limit)
    monkeypatch.setattr(training, "CHUNK_BYTES", 20 * 8)
    batches = list(SSEDS()._batches(search_task(tiny, "train")))
    found = np.concatenate([ids.numpy() for ids, _ in batches])
    rows = tiny.split("train").ids
    assert np.array_equal(found[np.lexsort(found.T)], rows[np.lexsort(rows.T)])
    assert {len(labels) for _, labels in batches[:-1]} == {256} and not np.array_equal(found, rows)


# A process that is not allowed the memory.

MARGIN = 256 * MIB
ROWS, COLUMNS, VALUES = 150_000, 1024, 50
FIELDS = tuple(Field(f"f{i}", VALUES, columns=COLUMNS // 32, padding=0) for i in range(32))
DIMS = (4, 4, *(0 for _ in FIELDS[2:]))
"""The model looks two fields up: it is the reading of the rows that takes the time."""


def write_rows(folder: Path) -> None:
    """Write ids [ROWS, COLUMNS], 614 MB, one random block again and again, and labels that they explain."""
    block = np.random.default_rng(0).integers(0, VALUES, (ROWS // 100, COLUMNS), dtype=np.int32)
    with (folder / "ids.npy").open("wb") as file:
        header = {"descr": "<i4", "fortran_order": False, "shape": (ROWS, COLUMNS)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(100):
            file.write(block.data)
    labels = block[:, : FIELDS[0].columns].mean(1) > (VALUES - 1) / 2
    np.save(folder / "labels.npy", np.tile(labels.astype(np.float32), 100))


def read_rows(folder: Path) -> Split:
    return Split(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "labels")})


def limit_memory(margin: int) -> None:
    """Allow this process `margin` bytes of private memory on top of what it has; maps of files do not count."""
    import resource

    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmData:")]
    resource.setrlimit(resource.RLIMIT_DATA, (int(line.split()[1]) * 1024 + margin,) * 2)


def has_room_for(rows: np.ndarray) -> bool:
    try:
        return np.array(rows).nbytes > 0
    except MemoryError:
        return False


def fresh_model() -> CTRModel:
    layout = Layout(FIELDS, 4, std=0.1)
    return build_model(lambda: FieldDims(dims=DIMS).build(layout), FIELDS, "dnn", PROTOCOL, 0)


def trained(split: Split) -> dict[str, float]:
    """One epoch on the mapped rows, and their predictions."""
    model = fresh_model()
    result = fit(model, split, None, PROTOCOL, 0)
    hits = (predict(model, split) > 0) == (split.labels > 0.5)
    return {"rows": result.rows_seen, "accuracy": float(hits.mean())}


def searched(split: Split) -> dict[str, float]:
    """One epoch on one part of a search cut, with structure steps on the other."""
    rest, search = search_cut(split, 0.1, 0)
    model = fresh_model()
    steps = Bilevel(list(model.backbone.parameters())[-1:], search, PROTOCOL, 0)
    result = fit(model, rest, search, PROTOCOL, 0, hooks=[steps])
    parts = {"rest": len(rest), "search": len(search), "on_disk": on_disk(rest) == {"ids"}}
    return {**parts, "rows": result.rows_seen, "auc": result.history[0]["auc"], "stepped": steps.rows_seen}


def under_a_limit(folder: Path) -> dict[str, Any]:
    """What this process does with the rows in `folder`, and whether it has the memory for a copy of them."""
    torch.set_num_threads(1)
    rows = read_rows(folder)
    few = rows.take(slice(0, 4096))
    trained(few), searched(few)  # what is imported when first used is now imported
    limit_memory(MARGIN)
    found: dict[str, Any] = {"copied": [has_room_for(rows.ids)], "any_order": trained(rows)}
    training.RANDOM_BYTES = 512 * MIB  # now they are read in chunks
    found |= {"in_chunks": trained(rows), "searched": searched(rows)}
    found["copied"].append(has_room_for(rows.ids))
    return found


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    resource = pytest.importorskip("resource")
    if not STATUS.exists() or not hasattr(resource, "RLIMIT_DATA"):
        pytest.skip("this system has no /proc or no limit of private memory")
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder)
    try:
        command = [sys.executable, "-W", "error::UserWarning", __file__, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))
    finally:
        (folder / "ids.npy").unlink()


def test_the_limit_forbids_a_copy(outcome: dict[str, Any]) -> None:
    assert outcome["copied"] == [False, False]


@pytest.mark.parametrize("order", ["any_order", "in_chunks"])
def test_a_file_larger_than_the_limit_is_learned(outcome: dict[str, Any], order: str) -> None:
    assert outcome[order]["rows"] == ROWS and outcome[order]["accuracy"] > 0.8


def test_so_is_a_search_cut_of_it(outcome: dict[str, Any]) -> None:
    found = outcome["searched"]
    assert (found["rest"], found["search"]) == (135_000, 15_000) and found["on_disk"]
    assert found["rows"] == 135_000 and found["stepped"] > 130_000 and found["auc"] > 0.9


if __name__ == "__main__":
    sys.stdout.write(json.dumps(under_a_limit(Path(sys.argv[1]))))
