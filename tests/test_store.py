"""The store of records: append-only, the latest counts, and what is broken is named."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from nasbench_rec.errors import StoreError
from nasbench_rec.store import COLUMNS, Store

UNIT = {
    "method": {"spec": "random", "preset": "", "config": {"ratio": 0.5}, "version": 1, "code": ""},
    "protocol": {"dim": 4},
    "seeds": {"split": 2, "init": 7, "search": 8, "order": 9},
    "ratio": 0.5,
    "trainings": None,
}
GOOD = {
    "status": "ok",
    "error": None,
    "scores": {"test_auc": 0.7, "test_logloss": 0.5, "valid_auc": 0.71, "valid_logloss": 0.51}
    | {"expected_auc": None, "expected_logloss": None},
    "ledger": {"embedding_params": 10, "embedding_bytes": 40, "embedding_ratio": 0.5, "router_bytes": 0}
    | {"total_bytes": 99},
    "search_seconds": 1.0,
    "search_trainings": 0.5,
    "retrain_seconds": 2.0,
    "peak_rss_bytes": 5,
    "fingerprint": "f",
}


def record(key: str = "abc", ok: bool = True, **changes: Any) -> dict[str, Any]:
    head = {
        "key": key,
        "unit": UNIT,
        "dataset": "tiny",
        "backbone": "fm",
        "method": "random",
        "label": "random @ 1/2",
    }
    head |= {"started": "2026-01-01T00:00:00Z", "stages": []}
    rest = GOOD if ok else {"status": "failed", "error": "ValueError: no", "traceback": "..."}
    return {**head, **rest, **changes}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store").create()


def test_records_come_back(store: Store) -> None:
    path = store.add(record())
    assert path.name == "abc-0.json" and store.get("abc") == {**record(), "attempt": 0}
    assert Store(store.path).get("abc") == store.get("abc")
    assert store.get("nothing") is None and not store.done("nothing")


def test_the_latest_attempt_counts_and_none_is_lost(store: Store) -> None:
    store.add(record(ok=False))
    assert not store.done("abc")
    store.add(record())
    for found in (store, Store(store.path)):
        assert found.done("abc") and found.get("abc")["attempt"] == 1 and len(list(found)) == 1
    assert sorted(p.name for p in (store.path / "records").iterdir()) == ["abc-0.json", "abc-1.json"]


def test_the_tenth_attempt_comes_after_the_ninth(store: Store) -> None:
    for n in range(11):
        store.add(record(label=str(n)))
    assert Store(store.path).get("abc")["label"] == "10"


def test_two_writers_overwrite_nothing(store: Store) -> None:
    """Two drivers on one store, each opened before the other wrote."""
    other = Store(store.path)
    assert other.get("abc") is None
    store.add(record(label="one"))
    other.add(record(label="two"))
    store.add(record(label="three"))
    labels = [json.loads(p.read_text())["label"] for p in sorted((store.path / "records").iterdir())]
    assert labels == ["one", "two", "three"] and Store(store.path).get("abc")["label"] == "three"


def test_a_deleted_attempt_is_not_filled_over_a_later_one(store: Store) -> None:
    first, second = store.add(record(label="one")), store.add(record(label="two"))
    first.unlink()
    Store(store.path).add(record(label="three"))
    assert json.loads(second.read_text())["label"] == "two"
    assert Store(store.path).get("abc")["label"] == "three"


def test_keys_may_be_shortened(store: Store) -> None:
    for key in ("abcdef", "abcxyz", "abc"):
        store.add(record(key))
    assert store.get("abcd")["key"] == "abcdef" and store.get("abc")["key"] == "abc"
    with pytest.raises(StoreError, match="'ab' is ambiguous in .*: abc, abcdef, abcxyz"):
        store.get("ab")


def test_numbers_that_are_not_finite_do_not_lose_the_record(store: Store) -> None:
    curve = [{"step": 1, "auc": math.nan}, {"step": 2, "auc": math.inf}]
    store.add(record(history={"search": curve}))
    assert store.get("abc")["history"]["search"] == [{"step": 1, "auc": None}, {"step": 2, "auc": None}]


def test_records_can_be_read_by_others(store: Store) -> None:
    """Under the usual umask, files of a shared store are readable to the group."""
    before = os.umask(0o022)
    try:
        mode = store.add(record()).stat().st_mode
    finally:
        os.umask(before)
    assert mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "text", ['{"key": "abc", "stat', "", "[]", "{}", "\udcff".encode(errors="surrogateescape")]
)
def test_a_corrupt_record_is_named(store: Store, text: str | bytes) -> None:
    path = store.add(record())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (lambda s: s.get("abc"), lambda s: list(s), lambda s: s.done("abc"), lambda s: s.frame()):
        with pytest.raises(
            StoreError, match="abc-0.json: is no readable record .*delete it and run the unit again"
        ):
            read(Store(store.path))


def test_other_files_are_left_alone(store: Store) -> None:
    store.add(record())
    for name in ("notes-old.json", "notes.txt", ".abc-0.json.x1"):
        (store.path / "records" / name).write_text("mine")
    assert [r["key"] for r in Store(store.path)] == ["abc"]


def test_records_come_oldest_first(store: Store) -> None:
    for key, hour in (("b", 2), ("a", 3), ("c", 1), ("d", 2)):
        store.add(record(key, started=f"2026-01-01T0{hour}:00:00Z"))
    assert [r["key"] for r in Store(store.path)] == ["c", "b", "d", "a"]


def test_the_frame_has_all_columns_and_nan_where_a_unit_failed(store: Store) -> None:
    assert list(store.frame().columns) == COLUMNS and len(store.frame()) == 0
    store.add(record("good"))
    store.add(record("bad", ok=False, started="2026-01-02"))
    frame = store.frame()
    assert list(frame.columns) == COLUMNS and frame["key"].tolist() == ["good", "bad"]
    good, bad = frame.iloc[0], frame.iloc[1]
    assert (good["test_auc"], good["embedding_bytes"], good["seed"], good["split_seed"]) == (0.7, 40, 7, 2)
    assert good["config"] == '{"ratio":0.5}' and good["ratio"] == 0.5 and good["fingerprint"] == "f"
    assert math.isnan(good["expected_auc"])
    assert bad["status"] == "failed" and bad["error"] == "ValueError: no" and bad["label"] == "random @ 1/2"
    numbers = COLUMNS[COLUMNS.index("test_auc") : COLUMNS.index("peak_rss_bytes") + 1]
    assert len(numbers) == 18 and all(math.isnan(bad[c]) for c in numbers)
    assert all(frame[c].dtype.kind in "if" for c in numbers)


def test_the_frame_has_no_ratio_where_none_was_asked_for(store: Store) -> None:
    store.add(record(unit={**UNIT, "ratio": None}))
    assert math.isnan(store.frame()["ratio"][0])


def test_opening_creates_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert list(store) == [] and store.get("a") is None and not (tmp_path / "store").exists()


def test_stores_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file; give a folder"):
        Store(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(tmp_path / "file" / "below").create()
    marker = tmp_path / "store" / "store.json"
    marker.parent.mkdir()
    for text, says in (
        ('{"format": 99}', "has format 99, this version reads 1"),
        ("[", "cannot be read"),
        ("[]", "no store"),
    ):
        marker.write_text(text)
        with pytest.raises(StoreError, match=says):
            Store(marker.parent)
