"""What goes wrong: bad files, a full disk, a process killed. One clear message, and nothing that looks finished."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nasbench_rec.datasets import _files
from nasbench_rec.datasets._encode import Recipe, encode
from nasbench_rec.datasets._files import SourceFile
from nasbench_rec.datasets._spec import Column, Encoding, SplitRule
from nasbench_rec.datasets._text import TextLayout, read_text

from nasbench_rec.data import SPLITS, Dataset, DatasetWriter, OnProgress, silent
from nasbench_rec.errors import DataError, NasbenchError, StoreError
from nasbench_rec.stages import Stages

LAYOUT = TextLayout(("label", "user", "age", "tags", "day"), label="label")
RECIPE = Recipe(
    "clicks",
    (Column("user"), Column("age", "numeric"), Column("tags", "multi")),
    source="clicks",
    files={"clicks": "0"},
)
ROWS = 120


def lines(rows: int = ROWS) -> list[str]:
    rng = np.random.default_rng(1)
    found = [",".join(LAYOUT.columns)]
    for n in range(rows):
        tags = "|".join(f"t{t}" for t in rng.integers(0, 5, rng.integers(0, 4)))
        found.append(f"{rng.integers(2)},u{rng.integers(9)},{rng.integers(70)},{tags},{n // 10}")
    return found


def text(changes: dict[int, str] | None = None, rows: int = ROWS) -> bytes:
    """The file, with other texts in some lines (from 1)."""
    found = lines(rows)
    for line, other in (changes or {}).items():
        found[line - 1] = other
    return ("\n".join(found) + "\n").encode()


def stage(
    stages: Stages, path: Path, layout: TextLayout, recipe: Recipe, progress: OnProgress = silent
) -> Path:
    def compute(folder: Path) -> dict[str, Any]:
        encode(recipe, read_text(SourceFile(path), layout, progress), folder, progress)
        return {"name": recipe.name}

    return stages.get("prepare", "key", compute)


def left(root: Path) -> list[str]:
    """What is there but for the locks."""
    return sorted(
        str(p.relative_to(root)) for p in root.rglob("*") if ".locks" not in p.parts and p.name != "prepare"
    )


def refused(
    root: Path,
    path: Path,
    layout: TextLayout = LAYOUT,
    recipe: Recipe = RECIPE,
    progress: OnProgress = silent,
) -> str:
    """Return the message of the only error, after which nothing is left."""
    with pytest.raises(NasbenchError) as caught:
        stage(Stages(root / "stages"), path, layout, recipe, progress)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert left(root / "stages") == []
    return message


QUOTED = replace(LAYOUT, quotes=True)
BARE = replace(LAYOUT, header=False)
Case = tuple[str, bytes, TextLayout, str]
CASES: dict[str, Case] = {
    "truncated gzip": (".gz", gzip.compress(text())[:-30], LAYOUT, r"clicks.csv.gz is a truncated gzip file"),
    "no end of gzip": (".gz", gzip.compress(text())[:-8], LAYOUT, r"clicks.csv.gz is a truncated gzip file"),
    "broken gzip": (
        ".gz",
        gzip.compress(text())[:99] + b"xxxxxxxxxxxx",
        LAYOUT,
        r"clicks.csv.gz (cannot be|is a trunc)",
    ),
    "other sum": (
        ".gz",
        gzip.compress(text())[:-8] + b"xxxxxxxx",
        LAYOUT,
        r"clicks.csv.gz cannot be read \(CRC",
    ),
    "no gzip": (".gz", text(), LAYOUT, r"clicks.csv.gz cannot be read \(Not a gzipped file"),
    "truncated bzip2": (
        ".bz2",
        bz2.compress(text())[:-9],
        LAYOUT,
        r"clicks.csv.bz2 is a truncated bzip2 file",
    ),
    "truncated xz": (".xz", lzma.compress(text())[:-9], LAYOUT, r"clicks.csv.xz is a truncated xz file"),
    "too few cells": (
        "",
        text({57: "1,u3,7,t1"}),
        LAYOUT,
        r"clicks.csv, line 57: 4 cells instead of 5: '1,u3,7,t1'; ",
    ),
    "too many cells": ("", text({57: "1,u3,7,t1,2,3"}), LAYOUT, r"line 57: 6 cells instead of 5"),
    "one more, one less": (
        "",
        text({57: "1,u3,7,t1", 58: "1,u3,7,t1,2,3"}),
        LAYOUT,
        r"line 57: 4 cells instead of 5",
    ),
    "one less, one more": (
        "",
        text({57: "1,u3,7,t1,2,3", 58: "1,u3,7,t1"}),
        LAYOUT,
        r"line 57: 6 cells instead of 5",
    ),
    "an empty line": ("", text({57: ""}), LAYOUT, r"line 57: 1 cells instead of 5"),
    "too few, quoted": (
        "",
        text({9: '1,"u\n3",7,t1,2', 57: "1,u3"}),
        QUOTED,
        r"line 58: 2 cells instead of 5",
    ),
    "not UTF-8": (
        "",
        text().replace(b"\n0,u", b"\n0,\xfc", 30).replace(b"\n0,\xfc", b"\n0,u", 29),
        LAYOUT,
        r"line \d+: b'\\xfc' is not UTF-8",
    ),
    "UTF-16": ("", text().decode().encode("utf-16"), LAYOUT, r"line 1: b'\\xff' is not UTF-8"),
    "label 2": (
        "",
        text({57: "2,u3,7,t1,2"}),
        LAYOUT,
        r"line 57, column 'label': found '2', expected 0 or 1; ",
    ),
    "label missing": (
        "",
        text({57: ",u3,7,t1,2"}),
        LAYOUT,
        r"line 57, column 'label': found '', expected 0 or 1; ",
    ),
    "label yes": (
        "",
        text({57: "yes,u3,7,t1,2"}),
        LAYOUT,
        r"line 57, column 'label': found 'yes', expected 0 or 1",
    ),
    "empty": ("", b"", LAYOUT, r"clicks.csv is empty; "),
    "blank": ("", b"\n\r\n\n", LAYOUT, r"clicks.csv is empty; "),
    "only a mark": ("", b"\xef\xbb\xbf", LAYOUT, r"clicks.csv is empty; "),
    "empty gzip": (".gz", gzip.compress(b""), LAYOUT, r"clicks.csv.gz is empty; "),
    "header only": ("", text(rows=0), LAYOUT, r"clicks.csv has a header but no rows"),
    "header only, without end": ("", text(rows=0).strip(), LAYOUT, r"clicks.csv has a header but no rows"),
    "all missing": (
        "",
        re.sub(rb",u\d", b",", text()),
        LAYOUT,
        r"clicks, column 'user': every cell is missing; ",
    ),
    "doubled column": (
        "",
        text({1: "label,user,age,tags,day,user"}),
        LAYOUT,
        r"line 1: column 'user' stands twice; ",
    ),
    "missing column": ("", text({1: "label,user,age,tags,hour"}), LAYOUT, r"line 1: unknown column 'hour'"),
    "one column less": ("", text({1: "label,user,age,tags"}), LAYOUT, r"line 1: missing column 'day'; "),
    "a header too many": (
        "",
        text(),
        BARE,
        r"line 1, column 'label': found 'label': this is a header, .*; remove the line",
    ),
    "no header": (
        "",
        b"\n".join(text().split(b"\n")[1:]),
        LAYOUT,
        r"line 1: unknown column '.*header must be label,user",
    ),
    "open quote": (
        "",
        text({57: '1,"u3,7,t1,2'}),
        QUOTED,
        r"line 57: a double quote opens a cell and none closes it; ",
    ),
    "quote within": (
        "",
        text({57: '1,5" x,7,t1,2', 60: '1,7" x,7,t1,2'}),
        QUOTED,
        r"line 57: a double quote within a cell",
    ),
    "letters after a quote": (
        "",
        text({57: '1,"5"x,7,t1,2'}),
        QUOTED,
        r"line 57: a double quote within a cell",
    ),
    "quote after a blank": (
        "",
        text({57: '1, "a,b",7,t1,2'}),
        QUOTED,
        r"line 57: a double quote within a cell",
    ),
    "no number": (
        "",
        text({57: "1,u3,old,t1,2"}),
        LAYOUT,
        r"line 57, column 'age': found 'old', expected a finite number; ",
    ),
    "infinite": (
        "",
        text({57: "1,u3,-inf,t1,2"}),
        LAYOUT,
        r"line 57, column 'age': found '-inf', expected a finite number",
    ),
    "a number after blanks": (
        "",
        text({57: "1,u3, 7,t1,2"}),
        LAYOUT,
        r"line 57, column 'age': found ' 7', expected",
    ),
    "binary": (
        "",
        os.urandom(64) + b"\xff\n" + os.urandom(64),
        LAYOUT,
        r"clicks.csv, line \d+: b'.*' is not UTF-8",
    ),
}


@pytest.mark.parametrize("block", [64, 8 << 20])
@pytest.mark.parametrize("case", CASES)
def test_bad_file(case: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suffix, content, layout, expected = CASES[case]
    monkeypatch.setattr(_files, "BLOCK", block)
    path = tmp_path / f"clicks.csv{suffix}"
    path.write_bytes(content)
    message = refused(tmp_path, path, layout)
    assert re.search(expected, message), message
    assert "; " in message or "Mend it: " in message  # what to do


@pytest.mark.parametrize("numeric", ["quantile", "as-is", "log-squared-int"])
@pytest.mark.parametrize("cell", ["old", "inf", "1e999", "1,5".replace(",", ";")])
def test_text_in_a_numeric_column(numeric: str, cell: str, tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_bytes(text({57: f"1,u3,{cell},t1,2"}))
    recipe = replace(RECIPE, encoding=Encoding(numeric=numeric))
    assert f"line 57, column 'age': found '{cell}', expected a finite number" in refused(
        tmp_path, path, LAYOUT, recipe
    )


SPLITS_OF: list[tuple[SplitRule, bytes, str]] = [
    (SplitRule(), text(rows=3), r"clicks: split rule 'random' leaves \w+ empty \(3 rows\); give more rows"),
    (SplitRule("group", columns=("day",)), text(rows=9), r"'group' leaves valid empty \(9 rows, by 'day'\)"),
    (
        SplitRule("time", columns=("day",)),
        text(rows=20),
        r"column 'day': 2 distinct times in 20 rows; .*choose another",
    ),
    (
        SplitRule("time", columns=("day",)),
        text({57: "1,u3,7,t1,"}),
        r"line 57, column 'day': found '', expected a number",
    ),
    (
        SplitRule("time", columns=("day",)),
        text({57: "1,u3,7,t1,May"}),
        r"line 57, column 'day': found 'May', expected a num",
    ),
    (
        SplitRule("time", columns=("tags",)),
        text(),
        r"line 2, column 'tags': found '.*', expected a number, or a date",
    ),
    (
        SplitRule("order", (10, 1, 1)),
        re.sub(rb"\n1,(u\d,\d+,[^,]*,11)", rb"\n0,\1", text()),
        r"all 10 labels of test are 0; .*choose an",
    ),
]


@pytest.mark.parametrize(("rule", "content", "expected"), SPLITS_OF, ids=range(len(SPLITS_OF)))
def test_split_that_cannot_be(rule: SplitRule, content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_bytes(content)
    message = refused(tmp_path, path, LAYOUT, replace(RECIPE, split=rule))
    assert re.search(expected, message), message


def test_missing_file_and_folder_in_its_place(tmp_path: Path) -> None:
    assert "clicks.csv is missing; " in refused(tmp_path, tmp_path / "clicks.csv")
    (tmp_path / "folder.csv").mkdir()
    assert re.search(r"folder.csv cannot be read \(.*\); ", refused(tmp_path, tmp_path / "folder.csv"))


def noted(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture, **settings: Any) -> list[str]:
    path = tmp_path / "clicks.csv"
    path.write_bytes(content)
    recipe = replace(RECIPE, **settings)
    notes = Dataset.load(stage(Stages(tmp_path / "stages"), path, LAYOUT, recipe)).origin["notes"]
    assert notes == [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    return notes


def test_a_field_with_a_single_value_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = noted(tmp_path, re.sub(rb",u\d", b",u1", text()), caplog)
    assert notes == ["clicks, column 'user': a single value in train; the field tells nothing: leave it out"]


def test_values_unseen_in_test_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = text().replace(b",u", b",v", 60).replace(b",v", b",u", 60).split(b"\n")
    content[-20:] = [line.replace(b",u", b",new") for line in content[-20:]]
    notes = noted(tmp_path, b"\n".join(content), caplog, split=SplitRule("order"))
    assert len(notes) == 1
    assert "column 'user': 100% of the test rows have a value that is rare or unseen in train" in notes[0]


def test_missing_cells_are_no_unseen_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = re.sub(rb",u[0-6],", b",,", text())
    assert noted(tmp_path, content, caplog, encoding=Encoding(missing="rare")) == []


def test_values_that_are_all_rare_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = noted(tmp_path, text(), caplog, encoding=Encoding(min_count=90, numeric_min_count=1))
    assert any("column 'user': every value is rarer than min_count" in note for note in notes)


# A file that changes while it is read.


@pytest.mark.parametrize("change", ["append", "replace", "touch", "remove"])
def test_file_that_changes_while_it_is_read(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_files, "BLOCK", 256)
    path = tmp_path / "clicks.csv"
    path.write_bytes(text())

    def progress(step: str, done: int, total: int) -> None:
        if step == "reading" and done == total:
            changes[change]()

    changes: dict[str, Callable[[], Any]] = {
        "append": lambda: path.open("ab").write(b"1,u1,2,t1,9\n"),
        "replace": lambda: (
            os.replace(path.with_suffix(".new"), path) if path.with_suffix(".new").exists() else None
        ),
        "touch": lambda: os.utime(path, (1, 1)),
        "remove": lambda: path.unlink(missing_ok=True),
    }
    path.with_suffix(".new").write_bytes(text())
    expected = "is missing" if change == "remove" else "clicks.csv was changed while it was read; run again"
    assert expected in refused(tmp_path, path, progress=progress)


def test_interrupt_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_bytes(text())
    for when in ("reading", "learning vocabularies", "writing"):

        def interrupted(step: str, done: int, total: int, when: str = when) -> None:
            if step == when:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stage(Stages(tmp_path / "stages"), path, LAYOUT, RECIPE, interrupted)
        assert left(tmp_path / "stages") == []


# A full disk.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
        found = subprocess.run(mount, check=False, capture_output=True, text=True)
        problem = found.stderr.strip() if found.returncode else ""
    except OSError as error:
        problem = str(error)
    if problem:
        pytest.skip(f"a small disk cannot be mounted here: {problem}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Write until nothing more can be written."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC


def large(path: Path, rows: int = 20_000) -> Path:
    rng = np.random.default_rng(0)
    users = rng.integers(0, rows, rows)
    path.write_text(
        ",".join(LAYOUT.columns)
        + "\n"
        + "".join(f"{u % 2},user{u},{u % 70},t{u % 5}|t{u % 3},{n}\n" for n, u in enumerate(users.tolist()))
    )
    return path


@pytest.mark.parametrize("when", ["reading", "learning vocabularies", "writing", "manifest", "meta"])
def test_full_disk(when: str, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "BLOCK", 1 << 16)
    path, stages = large(tmp_path / "clicks.csv"), Stages(small_disk / "stages")
    whole = Dataset.load(stage(Stages(tmp_path / "stages"), path, LAYOUT, RECIPE)).fingerprint

    def progress(step: str, done: int, total: int) -> None:
        if step == when:
            fill(small_disk)

    def compute(folder: Path) -> dict[str, Any]:
        encode(RECIPE, read_text(SourceFile(path), LAYOUT, progress), folder, progress)
        if when == "meta":
            fill(small_disk)
        return {"x": list(range(9999))}

    if when == "manifest":
        finish = DatasetWriter.finish
        monkeypatch.setattr(DatasetWriter, "finish", lambda *a, **k: (fill(small_disk), finish(*a, **k))[1])
    with pytest.raises(StoreError if when == "meta" else DataError) as caught:
        stages.get("prepare", "key", compute)
    message = str(caught.value)
    assert re.search(
        rf"^{small_disk}/stages.*: the disk is full \(\d+ MiB free\).*; free some space or choose", message
    )
    assert "\n" not in message
    assert left(small_disk / "stages") == []
    monkeypatch.undo()
    (small_disk / "filler").unlink()
    assert Dataset.load(stage(stages, path, LAYOUT, RECIPE)).fingerprint == whole


def test_data_larger_than_the_disk(small_disk: Path, tmp_path: Path) -> None:
    path = large(tmp_path / "clicks.csv", 200_000)
    with pytest.raises(DataError, match="the disk is full"):
        stage(Stages(small_disk / "stages"), path, LAYOUT, RECIPE)
    assert left(small_disk / "stages") == []


def test_disk_that_is_full_from_the_start(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "stages" / ".locks").mkdir(parents=True)
    (small_disk / "stages" / "prepare").mkdir(parents=True)
    (small_disk / "stages" / ".locks" / "prepare-key.lock").touch()
    fill(small_disk)
    path = tmp_path / "clicks.csv"
    path.write_bytes(text())
    with pytest.raises(NasbenchError, match="the disk is full"):
        stage(Stages(small_disk / "stages"), path, LAYOUT, RECIPE)
    assert left(small_disk / "stages") == []


# A process that is killed.

KILLED = """
import sys
from pathlib import Path
from nasbench_rec.datasets import _files
from nasbench_rec.datasets._encode import Recipe, encode
from nasbench_rec.datasets._files import SourceFile
from nasbench_rec.datasets._spec import Column
from nasbench_rec.datasets._text import TextLayout, read_text
from nasbench_rec.stages import Stages
_files.BLOCK = 1 << 15
layout = TextLayout(("label", "user", "age", "tags", "day"))
columns = (Column("user"), Column("age", "numeric"), Column("tags", "multi"), Column("day"))
def compute(folder):
    encode(Recipe("clicks", columns), read_text(SourceFile(Path(sys.argv[2])), layout), folder)
    return {}
Stages(Path(sys.argv[1])).get("prepare", "key", compute)
"""


def started(root: Path, path: Path) -> subprocess.Popen[bytes]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", KILLED, str(root), str(path)], env=variables)


def test_killed_at_any_moment_and_run_again(tmp_path: Path) -> None:
    path = large(tmp_path / "clicks.csv", 40_000)
    begun = tmp_path / "other" / "prepare" / ".key.part"
    process = started(tmp_path / "other", path)
    while not begun.exists() and process.poll() is None:
        time.sleep(0.005)
    start = time.perf_counter()
    assert process.wait() == 0
    seconds = time.perf_counter() - start
    whole = Dataset.load(tmp_path / "other" / "prepare" / "key").fingerprint
    root, killed = tmp_path / "stages", 0
    part = root / "prepare" / ".key.part"
    for share in sorted(random.uniform(0, 0.9) for _ in range(4)):
        process = started(root, path)
        while not any(part.glob("*")) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(share * seconds)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        if (root / "prepare" / "key").exists():
            break
        assert part.exists()
    assert killed
    assert started(root, path).wait() == 0
    assert sorted(p.name for p in (root / "prepare").iterdir()) == ["key"]
    arrays = {f"{split}.{part}.npy" for split in SPLITS for part in ("ids", "labels")}
    found = {p.name for p in (root / "prepare" / "key").iterdir()}
    assert found == arrays | {"manifest.json", "meta.json", "vocabularies.parquet"}
    data = Dataset.load(root / "prepare" / "key")
    data.verify()
    assert data.fingerprint == whole
