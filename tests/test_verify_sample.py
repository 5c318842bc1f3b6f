"""Re-running a random sample of a store: which records, what is reproduced, what the share says."""

from __future__ import annotations

from pathlib import Path

import pytest
from nasbench_rec.studies.execute import Workers, execute
from nasbench_rec.studies.leaderboard import task_of

from nasbench_rec.cli import main
from nasbench_rec.errors import StoreError
from nasbench_rec.registry import resolve_method
from nasbench_rec.seeds import Seeds
from nasbench_rec.store import Store
from nasbench_rec.unit import Unit
from nasbench_rec.verify import Checked, check, sample, share_of

DATA = {"train": 600, "valid": 200, "test": 200}


class Silent:
    """Hears nothing."""

    def started(self, total: int, done: int) -> None: ...

    def finished(self, record: dict) -> None: ...


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three records of the model that needs no training."""
    found = Store(tmp_path_factory.mktemp("store"))
    task = task_of("planted", "fm", None, DATA, {"epochs": 1})
    method = resolve_method("constant")
    assert execute([Unit(task, method, Seeds.of(s)) for s in range(3)], found, Workers(), None, Silent()) == 0
    return found


def test_equal_seeds_give_equal_samples(store: Store) -> None:
    keys = [r["key"] for r in sample(store, 2, 5)]
    assert keys == [r["key"] for r in sample(store, 2, 5)] and len(set(keys)) == 2
    assert len({tuple(r["key"] for r in sample(store, 2, s)) for s in range(12)}) > 1
    assert len(sample(store, 50)) == 3


def test_an_empty_store_has_no_sample(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no successful record"):
        sample(Store(tmp_path), 1)


def test_a_record_is_reproduced_and_a_changed_one_is_not(store: Store) -> None:
    (record,) = sample(store, 1)
    assert check(record).reproduced
    wrong = check({**record, "scores": {**record["scores"], "test_auc": 0.9}})
    assert not wrong.reproduced and len(wrong.differences) == 1 and "0.9" in wrong.differences[0]
    other = check({**record, "key": "0" * 20})
    assert "cannot be verified with this version" in other.trouble and not other.reproduced


def test_the_share_says_how_sure_it_is() -> None:
    good, bad, lost = Checked("a", "a"), Checked("b", "b", ("x",)), Checked("c", "c", trouble="no data")
    share = share_of([good] * 10)
    assert (share.reproduced, share.run) == (10, 10) and share.least == pytest.approx(0.05 ** (1 / 10))
    assert share_of([good, bad, lost]).run == 2 and share_of([bad]).least == 0.0


def test_the_command_prints_the_share(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["verify", "--sample", "2", "--store", str(store.path)])
    text = capsys.readouterr().out
    assert left.value.code == 0 and "[2/2]" in text
    assert "reproduced bit for bit: 2 of 2; at least 22% of all" in text


@pytest.mark.parametrize("arguments", [[], ["abc", "--sample", "2"], ["--sample", "0"]])
def test_a_key_or_a_number_is_wanted(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["verify", *arguments])
    assert left.value.code == 2 and "--sample" in capsys.readouterr().err
