"""Merging stores: records verified, conflicts reported and never overwritten, the same again changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from nasbench_rec.cli import main
from nasbench_rec.config import content_key
from nasbench_rec.errors import StoreError
from nasbench_rec.merging import checked, merge
from nasbench_rec.predictions import digest, read
from nasbench_rec.store import Store
from nasbench_rec.unit import ENGINE


def unit(seed: int) -> dict[str, Any]:
    method = {"spec": "random", "preset": "", "config": {}, "version": 1, "code": ""}
    return {"method": method, "seeds": {"init": seed}, "ratio": None, "protocol": {}}


def key_of(seed: int) -> str:
    return content_key([ENGINE, unit(seed)])


def record(seed: int, auc: float | None = 0.7, started: str = "10:00") -> dict[str, Any]:
    head = {
        "key": key_of(seed),
        "unit": unit(seed),
        "label": f"unit {seed}",
        "started": started,
        "search_seconds": 1.0,
    }
    if auc is None:
        return {**head, "status": "failed", "error": f"no, at {started}"}
    return {
        **head,
        "status": "ok",
        "fingerprint": "f",
        "scores": {"test_auc": auc},
        "plan": {"digest": f"d{auc}"},
    }


def store_of(folder: Path, *records: dict[str, Any]) -> Store:
    store = Store(folder).create()
    for one in records:
        store.add(one)
    return store


def with_stages(store: Store, seed: int) -> dict[str, Any]:
    """Add a record of `seed` with a plan and predictions on disk."""
    predictions = {"valid": np.arange(3.0) + seed, "test": np.arange(4.0)}
    for kind in ("test", "derive"):
        folder = store.stages / kind / f"s{seed}"
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text("{}")
    save_file(predictions, store.stages / "test" / f"s{seed}" / "predictions.safetensors")
    made = record(seed)
    made |= {"predictions": f"stages/test/s{seed}/predictions.safetensors"}
    made["plan"]["folder"] = f"stages/derive/s{seed}"
    made["predictions_sha256"] = digest(predictions)
    store.add(made)
    return made


def contents(store: Store) -> dict[str, str]:
    return {p.name: p.read_text() for p in sorted((store.path / "records").glob("*.json"))}


def outcomes(store: Store, seed: int) -> list[Any]:
    files = Store(store.path).attempts(key_of(seed))
    return [json.loads(p.read_text()).get("scores", {}).get("test_auc") for p in files]


def test_records_of_both_are_there_and_again_changes_nothing(tmp_path: Path) -> None:
    a, b = store_of(tmp_path / "a", record(1), record(2)), store_of(tmp_path / "b", record(3))
    c = Store(tmp_path / "c")
    done = merge(a, b, c)
    assert (done.written, done.known, done.clean) == (3, 0, True)
    assert Store(c.path).keys() == sorted(key_of(s) for s in (1, 2, 3))
    before = contents(c)
    again = merge(a, b, Store(c.path))
    assert (again.written, again.known, contents(c)) == (0, 3, before)


def test_without_into_the_second_goes_into_the_first(tmp_path: Path) -> None:
    a, b = store_of(tmp_path / "a", record(1)), store_of(tmp_path / "b", record(1), record(2))
    kept = contents(a)
    done = merge(a, b)
    assert (done.written, done.target) == (1, a.path) and kept.items() <= contents(a).items()
    assert merge(Store(a.path), b).written == 0 and len(contents(b)) == 2


def test_equal_results_are_one_whatever_they_took(tmp_path: Path) -> None:
    other = record(1, started="11:00") | {"search_seconds": 9.0}
    done = merge(store_of(tmp_path / "a", record(1)), store_of(tmp_path / "b", other), Store(tmp_path / "c"))
    assert (done.written, done.conflicts) == (1, [])


def test_a_conflict_is_reported_with_both_and_nothing_of_it_is_written(tmp_path: Path) -> None:
    a, b = store_of(tmp_path / "a", record(1, 0.7), record(2)), store_of(tmp_path / "b", record(1, 0.8))
    before = contents(a)
    done = merge(a, b)
    (conflict,) = done.conflicts
    assert not done.clean and conflict.key == key_of(1) and conflict.kept == ""
    assert {p.parent.parent.name for p in conflict.places} == {"a", "b"}
    assert any("0.7" in d and "0.8" in d for d in conflict.differences) and contents(a) == before
    fresh = merge(a, b, Store(tmp_path / "c"))
    assert len(fresh.conflicts) == 1 and Store(tmp_path / "c").keys() == [key_of(2)]


@pytest.mark.parametrize(("keep", "attempts"), [("first", [0.8, 0.7]), ("second", [0.7, 0.8])])
def test_keep_decides_and_the_other_stays_as_an_earlier_attempt(
    tmp_path: Path, keep: Any, attempts: list[float]
) -> None:
    a, b = store_of(tmp_path / "a", record(1, 0.7)), store_of(tmp_path / "b", record(1, 0.8))
    c = Store(tmp_path / "c")
    for _ in range(2):
        done = merge(a, b, Store(c.path), keep)
        assert done.clean and len(done.conflicts) == 1
        assert outcomes(c, 1) == attempts
    merge(a, b, None, keep)
    assert outcomes(a, 1) == ([0.7] if keep == "first" else [0.7, 0.8])


def test_attempts_keep_their_order_and_a_result_comes_last(tmp_path: Path) -> None:
    a = store_of(tmp_path / "a", record(1, None, "09:00"), record(1, 0.7, "10:00"))
    b = store_of(tmp_path / "b", record(1, None, "08:00"), record(1, None, "11:00"))
    c = Store(tmp_path / "c")
    merge(a, b, c)
    found = [json.loads(p.read_text())["started"] for p in Store(c.path).attempts(key_of(1))]
    assert found == ["08:00", "09:00", "11:00", "10:00"] and Store(c.path).done(key_of(1))
    merge(a, b)
    assert Store(a.path).done(key_of(1)) and len(Store(a.path).attempts(key_of(1))) == 2
    merge(b, a)
    assert Store(b.path).done(key_of(1)) and outcomes(b, 1)[-1] == 0.7


def test_failures_alone_are_collected_once(tmp_path: Path) -> None:
    a, b = (
        store_of(tmp_path / "a", record(1, None, "09:00")),
        store_of(tmp_path / "b", record(1, None, "08:00")),
    )
    for written in (1, 0):
        assert merge(Store(a.path), b).written == written
    assert len(Store(a.path).attempts(key_of(1))) == 2


def test_plans_and_predictions_come_along(tmp_path: Path) -> None:
    a, b = store_of(tmp_path / "a", record(1)), Store(tmp_path / "b").create()
    made = with_stages(b, 2)
    done = merge(a, b)
    assert done.stages == 2 and (a.stages / "derive" / "s2" / "meta.json").is_file()
    assert set(read(a.path / made["predictions"], made["predictions_sha256"])) == {"valid", "test"}
    assert not list(a.stages.rglob(".s2*"))


def test_an_interrupted_merge_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = store_of(tmp_path / "a", record(1)), Store(tmp_path / "b").create()
    made = with_stages(b, 2)
    real = shutil.copytree

    def killed(source: Path, part: Path) -> None:
        real(source, part)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", killed)
    with pytest.raises(KeyboardInterrupt):
        merge(a, b)
    assert Store(a.path).keys() == [key_of(1)] and not (a.path / made["predictions"]).exists()
    monkeypatch.undo()
    assert merge(Store(a.path), b).written == 1 and (a.path / made["predictions"]).is_file()


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_records_with_wrong_hashes_are_not_taken(tmp_path: Path) -> None:
    a, b = store_of(tmp_path / "a", record(1)), store_of(tmp_path / "b", record(2))
    made = with_stages(b, 3)
    changed(b.attempts(key_of(2))[0], '"init": 2', '"init": 5')
    save_file({"test": np.zeros(2)}, b.path / made["predictions"])
    done = merge(a, Store(b.path))
    assert done.written == 0 and not done.clean and len(done.broken) == 2
    assert any("was changed" in text for text in done.broken) and any(
        "predictions" in text for text in done.broken
    )
    with pytest.raises(StoreError, match="no readable record"):
        b.attempts(key_of(3))[0].write_text("{")
        checked(b, b.attempts(key_of(3))[0])


def test_two_different_stores_are_wanted(tmp_path: Path) -> None:
    a = store_of(tmp_path / "a", record(1))
    with pytest.raises(StoreError, match="the same folder"):
        merge(a, Store(a.path))
    with pytest.raises(StoreError, match="no store with records"):
        merge(a, Store(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = store_of(tmp_path / "a", record(1, 0.7)), store_of(tmp_path / "b", record(1, 0.8), record(2))

    def run(*arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as left:
            main(["store", *arguments])
        return left.value.code, capsys.readouterr().out

    code, text = run("merge", str(a.path), str(b.path))
    assert (
        code == 1
        and "conflict" in text
        and "undecided" in text
        and "--keep" in text
        and "1 records written" in text
    )
    code, text = run("merge", str(a.path), str(b.path), "--keep", "second")
    assert code == 0 and f"{b.path} counts" in text
    assert run("check", str(a.path)) == (0, f"{a.path}: 3 records, 0 with wrong hashes\n")
    changed(a.attempts(key_of(1))[0], '"init": 1', '"init": 4')
    code, text = run("check", str(a.path))
    assert code == 1 and "1 with wrong hashes" in text
