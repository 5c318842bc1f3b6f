"""Stages: complete or absent, computed once, whoever else wants them and whatever kills them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nasbench_rec.errors import StoreError
from nasbench_rec.stages import Stages, peak_memory, read_meta

KILLED = """
import os, signal, sys
from pathlib import Path
from nasbench_rec.stages import Stages
def compute(folder):
    (folder / "half").write_text("written")
    os.kill(os.getpid(), signal.SIGKILL)
Stages(Path(sys.argv[1])).get("train", "k", compute)
"""

SLOW = """
import sys, time
from pathlib import Path
from nasbench_rec.stages import Stages
root = Path(sys.argv[1])
def compute(folder):
    with (root / "computed").open("a") as file:
        file.write("x")
    (folder / "part").write_text("1")
    (root / "begun").touch()
    time.sleep(0.7)
    return {}
stages = Stages(root)
stages.get("train", "k", compute)
print(stages.used[0].reused)
"""


def filled(text: str = "result", **meta: Any) -> Any:
    def compute(folder: Path) -> dict[str, Any]:
        (folder / "file").write_text(text)
        return meta

    return compute


def files(root: Path) -> list[str]:
    return sorted(
        str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and ".locks" not in p.parts
    )


def test_a_stage_is_computed_once(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    first = stages.get("search", "k", filled("one", extra=3))
    again = Stages(tmp_path).get("search", "k", filled("two"))
    assert first == again == stages.folder("search", "k")
    assert (first / "file").read_text() == "one"
    meta = read_meta(first)
    assert meta["extra"] == 3 and meta["seconds"] >= 0 and meta["peak_rss_bytes"] > 10**6


def test_kinds_and_keys_are_apart(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    folders = {stages.get(kind, key, filled(kind + key)) for kind in ("a", "b") for key in ("k", "l")}
    assert len(folders) == 4 and {f.joinpath("file").read_text() for f in folders} == {"ak", "al", "bk", "bl"}


def test_uses_are_noted_once_with_what_computing_took(tmp_path: Path) -> None:
    stages = Stages(tmp_path)
    for _ in range(3):
        stages.get("train", "k", filled(seconds=12.5))
    stages.get("train", "l", filled())
    assert [(u.kind, u.key, u.reused) for u in stages.used] == [("train", "k", False), ("train", "l", False)]
    assert stages.used[0].seconds == 12.5
    later = Stages(tmp_path)
    later.get("train", "k", filled())
    assert later.used[0].reused and later.used[0].seconds == 12.5


def test_a_failing_computation_leaves_nothing(tmp_path: Path) -> None:
    def compute(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("written")
        raise RuntimeError("no")

    stages = Stages(tmp_path)
    with pytest.raises(RuntimeError, match="no"):
        stages.get("train", "k", compute)
    assert files(tmp_path) == [] and stages.used == []
    assert stages.get("train", "k", filled()).is_dir()


def test_meta_that_is_no_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        Stages(tmp_path).get("train", "k", filled(bad=object()))
    assert files(tmp_path) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def compute(folder: Path) -> dict[str, Any]:
        (folder / "half").write_text("written")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path).get("train", "k", compute)
    assert files(tmp_path) == []


def test_killed_in_the_middle_it_is_absent_and_runs_again(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=60)
    assert done.returncode == -9
    stages = Stages(tmp_path)
    assert not stages.folder("train", "k").exists()
    folder = stages.get("train", "k", filled())
    assert files(tmp_path) == ["train/k/file", "train/k/meta.json"] and not (folder / "half").exists()


def test_a_second_process_waits_and_uses_the_result(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert first.communicate(timeout=60)[0].split() == ["False"] and second.stdout.split() == ["True"]
    assert (tmp_path / "computed").read_text() == "x"


def test_a_root_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file: cannot be written.*choose a folder"):
        Stages(tmp_path / "file").get("train", "k", filled())


def test_a_lock_that_cannot_be_taken_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / ".locks" / "train-k.lock").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be written"):
        Stages(tmp_path).get("train", "k", filled())


def test_a_broken_stage_is_named(tmp_path: Path) -> None:
    folder = Stages(tmp_path).get("train", "k", filled())
    (folder / "meta.json").write_text("{")
    with pytest.raises(StoreError, match=f"{folder}: is no complete stage.*delete the folder"):
        Stages(tmp_path).get("train", "k", filled())


def test_a_folder_without_its_meta_is_computed_again(tmp_path: Path) -> None:
    """As an old copy or a half-deleted folder would be."""
    folder = Stages(tmp_path).get("train", "k", filled())
    (folder / "meta.json").unlink()
    again = Stages(tmp_path).get("train", "k", filled("new"))
    assert (again / "file").read_text() == "new" and read_meta(again)


def test_peak_memory_is_plausible() -> None:
    assert 10**6 < peak_memory() < 10**12
