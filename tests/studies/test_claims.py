"""Claims: strict reading, what is frozen, what is run, and verdicts that are right where the answer is known."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nasbench_rec.studies._claims_values import look, value
from nasbench_rec.studies.claims import (
    Cell,
    Claim,
    ClaimSet,
    Comparison,
    Judged,
    cells_of,
    content_of,
    describe_claims,
    digest,
    freeze,
    judge,
    open_claims,
    prepare_limited,
    read_claims,
    read_frozen,
    shipped_claims,
    shipped_path,
    units_of,
    with_seeds,
    write_verdicts,
)
from nasbench_rec.studies.execute import Workers, execute
from safetensors.numpy import load_file, save_file

from nasbench_rec.config import content_key
from nasbench_rec.data import Dataset
from nasbench_rec.errors import ConfigError, StoreError
from nasbench_rec.statistics import noise_split, verdict_shares
from nasbench_rec.store import Store
from nasbench_rec.unit import ENGINE, Unit

HEAD = 'title = "t"\npaper = "p"\nsource = "s"\n'
CLAIM = '[[claims]]\nid = "c"\nsentence = "better"\nsource = "table 1"\nmethod = "random"\ncomparators = ["fixed"]\n'
TINY = """
seeds = [0, 1]
[settings.planted]
train = 1500
valid = 300
test = 400
[settings.protocol]
epochs = 1
batch_size = 256
hidden = [8]
"""
SHIPPED = ("ihas", "field", "autodim", "pep", "optembed")
Values = Mapping[str, Callable[[int], float | None]]


class Silent:
    """Hears nothing."""

    def started(self, total: int, done: int) -> None: ...

    def finished(self, record: dict) -> None: ...


def written(folder: Path, text: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def claim(**changes: Any) -> Claim:
    known: dict[str, Any] = {"id": "c", "sentence": "s", "source": "t", "method": "random"}
    known |= {"comparators": ("fixed",), "interest": 0.001, "metric": "test_auc"}
    return Claim(**{**known, **changes})


def claim_set(*claims: Claim, **changes: Any) -> ClaimSet:
    known: dict[str, Any] = {"name": "x", "title": "t", "paper": "p", "source": "s"}
    raw = ClaimSet(**{**known, **changes}, claims=claims)
    return replace(raw, claims=tuple(raw.filled(c) for c in claims))


def record(unit: Unit, auc: float | None, **changes: Any) -> dict[str, Any]:
    """A record that says what matters to a claim; `auc` None: a failure."""
    head = {"key": unit.key, "started": "2026-01-01T00:00:00Z", "unit": unit.describe()}
    if auc is None:
        return {**head, "status": "failed", "error": "no", **changes}
    return {**head, "status": "ok", "scores": {"test_auc": auc, "valid_auc": auc}, **changes}


def records(cells: list[Cell], values: Values) -> dict[str, dict[str, Any]]:
    """Records with AUC `values[arm](seed)` for every unit of these arms."""
    return {
        unit.key: record(unit, of(seed))
        for cell in cells
        for arm, of in values.items()
        for (_, seed), units in cell.arms.get(arm, {}).items()
        for unit in units
    }


def judged(found: ClaimSet, values: Values) -> Judged:
    cells = cells_of(found, None)
    return judge(found.claims, cells, records(cells, values), found.alpha)[0]


def noise(seed: int, size: float = 1e-4) -> float:
    return float(np.random.default_rng(seed).normal(0, size))


def only(found: Judged) -> Comparison:
    (comparison,) = found.comparisons
    return comparison


# Reading ---------------------------------------------------------------------------------------------------------


def test_a_claim_takes_from_the_set_what_it_leaves_out(tmp_path: Path) -> None:
    text = HEAD + 'seeds = [4, 5]\nmetric = "test_auc"\n[margins]\ntest_auc = 0.01\n' + CLAIM
    (found,) = read_claims(written(tmp_path, text)).claims
    assert (found.seeds, found.metric, found.interest, found.direction) == (
        (4, 5),
        "test_auc",
        0.01,
        "higher",
    )
    assert (found.datasets, found.backbones, found.family) == (("planted",), ("deepfm",), "c")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLAIM.replace("comparators", "comparator"), "comparators"),
        (CLAIM.replace('"random"', '"randon"'), "'random'"),
        (CLAIM + 'metric = "test_auk"\n', "'test_auc'"),
        (CLAIM + 'metric = "recovery.adjusted_rand"\n', "direction"),
        (CLAIM + "interest = -1.0\n", "above 0"),
        (CLAIM + 'kind = "untestable"\n', "needs"),
        (CLAIM + 'kind = "value"\n', "bound"),
        (CLAIM + "claimed = -0.01\n", "worse side"),
        (CLAIM + 'metric = "embedding_bytes"\n', "smallest effect of interest"),
        (CLAIM + 'datasets = ["plantet"]\n', "'planted'"),
        (CLAIM + 'backbones = ["deepfn"]\n', "'deepfm'"),
        (CLAIM + "[claims.settings.mde]\nratio = 0.5\n", "mde"),
        (CLAIM + CLAIM, "there twice"),
        (CLAIM + '[arms.idle]\nmethod = "mde"\n', "takes part in no claim"),
        (CLAIM + "[arms.random]\nmethod = 'random'\nsettings = { factr = 2 }\n", "factr"),
        (CLAIM + "[least_rows]\ncriteo = 5\n", "criteo"),
        ("", "claims"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="mine.toml") as error:
        read_claims(written(tmp_path, HEAD + text))
    assert said in str(error.value)


def test_an_arm_wins_over_the_claim_and_the_claim_over_the_set(tmp_path: Path) -> None:
    text = HEAD + CLAIM.replace('"random"', '"mine"')
    text += "settings = { planted = { tier = 'T0' }, protocol = { epochs = 2 } }\n"
    text += "[arms.mine]\nmethod = 'random'\nprotocol = { dim = 4 }\ndata = { train = 900 }\n"
    text += "[settings.protocol]\nepochs = 9\ndim = 6\n[protocols.planted]\nepochs = 5\nlr = 0.1\n"
    text += "[settings.planted]\ntier = 'T3'\n"
    (cell,) = cells_of(read_claims(written(tmp_path, text)), None)
    mine, fixed = (next(iter(cell.arms[name].values()))[0].task for name in ("mine", "fixed"))
    assert (mine.protocol.epochs, mine.protocol.dim, mine.protocol.lr) == (2, 4, 0.1)
    assert (fixed.protocol.epochs, fixed.protocol.dim) == (2, 6)
    assert (mine.data.config["train"], mine.data.config["tier"], fixed.data.config["tier"]) == (
        900,
        "T0",
        "T0",
    )


def test_the_budget_of_a_claim_is_not_that_of_the_full_model(tmp_path: Path) -> None:
    text = HEAD + CLAIM.replace('["fixed"]', '["full", "mde"]') + "ratios = [0.5, 0.2]\n"
    cells = cells_of(
        read_claims(written(tmp_path, text + "[arms.full]\nmethod = 'fixed'\nratio = 1.0\n")), None
    )
    found = {
        (cell.ratio, name): next(iter(pairs.values()))[0].ratio
        for cell in cells
        for name, pairs in cell.arms.items()
    }
    assert found[0.5, "random"] == 0.5 and found[0.2, "mde"] == 0.2 and found[0.2, "full"] is None


def test_parts_of_a_record_are_found_by_path_and_summed() -> None:
    known = {"status": "ok", "trend": [{"near": 0.1}, {"near": 0.75}], "search_seconds": 2, "flag": None}
    assert look(known, "trend.-1.near") == 0.75 and look(known, "trend.2.near") is None
    assert value(known, "trend.-1.near - trend.0.near + search_seconds") == pytest.approx(2.65)
    assert math.isnan(value(known, "trend.0.near + flag.x"))
    assert math.isnan(value({**known, "status": "failed"}, "search_seconds"))


# Freezing --------------------------------------------------------------------------------------------------------


def test_a_claim_set_is_frozen_once_and_holds(tmp_path: Path) -> None:
    found = claim_set(claim(), claim(id="d", sentence="another"))
    frozen = freeze(found, tmp_path)
    assert frozen["sha256"] == digest(content_of(found)) and freeze(found, tmp_path) == frozen
    changed = replace(found, claims=(found.claims[0], replace(found.claims[1], interest=0.1)))
    with pytest.raises(StoreError, match="claim 'd' changed in interest.*new name"):
        freeze(changed, tmp_path)
    with pytest.raises(StoreError, match="claim 'd' is gone"):
        freeze(replace(found, claims=found.claims[:1]), tmp_path)
    assert read_frozen(tmp_path / "claims.json") == frozen


def test_what_an_arm_means_is_frozen_too(tmp_path: Path) -> None:
    text = (
        HEAD
        + CLAIM.replace('"random"', '"mine"')
        + "[arms.mine]\nmethod = 'random'\nprotocol = {{ dim = {} }}\n"
    )
    freeze(read_claims(written(tmp_path, text.format(4))), tmp_path)
    with pytest.raises(StoreError, match="claim 'c' changed in arms"):
        freeze(read_claims(written(tmp_path, text.format(6))), tmp_path)


def test_an_edited_frozen_file_is_found_out(tmp_path: Path) -> None:
    found = claim_set(claim())
    freeze(found, tmp_path)
    path = tmp_path / "claims.json"
    path.write_text(path.read_text().replace('"interest": 0.001', '"interest": 0.0001'))
    with pytest.raises(StoreError, match="was edited after it was frozen"):
        freeze(found, tmp_path)
    path.write_text("{}")
    with pytest.raises(StoreError, match="no readable frozen claim set"):
        freeze(found, tmp_path)


def test_claims_are_frozen_before_anything_runs_and_checks_are_counted(tmp_path: Path) -> None:
    found = read_claims(written(tmp_path, HEAD + TINY + CLAIM))
    store = Store(tmp_path / "store")
    opened = open_claims(found, store, None)
    frozen = store.path / "claims" / "mine" / "claims.json"
    assert frozen.is_file() and not (store.path / "records").exists()
    first = write_verdicts(opened, store)
    assert first["verdicts"][0]["outcome"] == "inconclusive" and first["recorded"] == 0
    assert execute(opened.units, store, Workers(), None, Silent()) == 0
    second = write_verdicts(open_claims(found, Store(store.path), None), Store(store.path))
    assert (second["recorded"], second["failed"], second["before_freezing"]) == (4, 0, 0)
    assert [c["recorded"] for c in second["checks"]] == [0, 4]
    (comparison,) = second["verdicts"][0]["comparisons"]
    assert (
        comparison["n"] == 2
        and comparison["outcome"] == "inconclusive"
        and "fewer than 6" in comparison["reason"]
    )
    keys = {key for point in comparison["points"] for key in point["keys"]}
    assert keys == {unit.key for unit in opened.units}
    assert json.loads((frozen.parent / "verdicts.json").read_text()) == second


def test_noise_of_test_rows_stands_beside_that_of_seeds(tmp_path: Path) -> None:
    label_free = CLAIM.replace('"c"', '"free"')
    found = read_claims(written(tmp_path, HEAD + TINY + CLAIM + 'metric = "test_auc"\n' + label_free))
    store = Store(tmp_path / "store")
    opened = open_claims(found, store, None)
    assert execute(opened.units, store, Workers(), None, Silent()) == 0
    entry, free = write_verdicts(opened, store)["verdicts"]
    (comparison,) = entry["comparisons"]
    assert free["comparisons"][0]["rows"] is None  # without label noise there is no such error
    rows = comparison["rows"]
    pairs = [[record_of(store, key) for key in point["keys"]] for point in comparison["points"]]
    labels = Dataset.load(store.stages / "prepare" / opened.units[0].task.data.key).split("test").labels
    sides = [
        [load_file(store.path / r["predictions"])["test"] for r in side] for side in zip(*pairs, strict=True)
    ]
    expected = noise_split(labels, *sides)
    assert rows == pytest.approx(vars(expected)) and rows["difference"] == pytest.approx(comparison["mean"])
    assert 0 < rows["row_se"] < 0.1 and rows["rows"] == len(labels) == 400
    path = store.path / pairs[0][0]["predictions"]
    save_file({name: values + 1 for name, values in load_file(path).items()}, path)
    with pytest.raises(StoreError, match="predictions were changed"):
        write_verdicts(opened, store)
    path.unlink()
    assert write_verdicts(opened, store)["verdicts"][0]["comparisons"][0]["rows"] is None


def test_test_rows_that_seeds_do_not_share_have_no_noise_of_their_own(tmp_path: Path) -> None:
    text = HEAD + TINY.replace("seeds =", "data_seed = true\nseeds =") + CLAIM + 'metric = "test_auc"\n'
    found, store = read_claims(written(tmp_path, text)), Store(tmp_path / "store")
    opened = open_claims(found, store, None)
    assert execute(opened.units, store, Workers(), None, Silent()) == 0
    (comparison,) = write_verdicts(opened, store)["verdicts"][0]["comparisons"]
    assert comparison["n"] == 2 and comparison["rows"] is None


def record_of(store: Store, key: str) -> dict[str, Any]:
    found = store.get(key)
    assert found is not None
    return found


def test_records_older_than_the_claims_are_counted(tmp_path: Path) -> None:
    found = claim_set(claim(seeds=(0, 1)))
    store = Store(tmp_path).create()
    for unit in units_of(cells_of(found, None)):
        store.add(record(unit, 0.7))
    assert write_verdicts(open_claims(found, store, None), store)["before_freezing"] == 4


def test_more_or_fewer_seeds_leave_the_frozen_claims_alone(tmp_path: Path) -> None:
    found, store = claim_set(claim(seeds=(3, 4, 5))), Store(tmp_path)
    open_claims(found, store, None)
    opened = open_claims(found, store, None, seeds=5)
    (entry,) = write_verdicts(opened, store)["verdicts"]
    assert opened.asked.claims[0].seeds == (3, 4, 5, 6, 7) and with_seeds(found, 2).claims[0].seeds == (3, 4)
    assert (entry["seeds_asked"], entry["seeds_written"]) == (5, 3)


# Verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "outcome"), [(0.01, "supported"), (-0.01, "refuted"), (0.0002, "refuted"), (0.0, "refuted")]
)
def test_clear_differences_are_decided(effect: float, outcome: str) -> None:
    found = judged(
        claim_set(claim(claimed=0.01)),
        {"random": lambda s: 0.7 + 0.01 * s + effect + noise(s), "fixed": lambda s: 0.7 + 0.01 * s},
    )
    assert found.outcome == outcome and found.scope == "other data"
    comparison = only(found)
    assert comparison.n == 10 and comparison.low < effect < comparison.high
    assert comparison.claimed_within == (effect == 0.01) and comparison.interval == "sign-flip"
    assert 0 < comparison.minimum_detectable < 0.001
    assert [round(p.difference - noise(p.seed), 9) for p in comparison.points] == pytest.approx([effect] * 10)


def test_what_is_too_noisy_is_inconclusive_with_the_seeds_that_would_decide() -> None:
    found = judged(
        claim_set(claim()),
        {"random": lambda s: 0.703 + noise(s, 0.01), "fixed": lambda s: 0.7 + noise(s + 99, 1e-6)},
    )
    assert found.outcome == "inconclusive" and found.seeds_needed is not None and found.seeds_needed > 10


def test_five_seeds_decide_nothing() -> None:
    values = {"random": lambda s: 0.8 + noise(s), "fixed": lambda s: 0.7}
    assert judged(claim_set(claim(seeds=tuple(range(5)))), values).outcome == "inconclusive"
    assert judged(claim_set(claim(seeds=tuple(range(6)))), values).outcome == "supported"


def test_failed_units_are_missing_and_said_so() -> None:
    found = only(
        judged(
            claim_set(claim()),
            {"random": lambda s: None if s < 3 else 0.8 + noise(s), "fixed": lambda s: 0.7},
        )
    )
    assert (found.n, found.planned, found.failed, found.absent) == (7, 10, 3, 0)
    assert found.outcome == "supported"


def test_a_number_that_no_record_has_is_no_verdict() -> None:
    found = judged(
        claim_set(claim(metric="recovery.x", direction="higher")),
        {"random": lambda s: 0.8, "fixed": lambda s: 0.7},
    )
    assert found.outcome == "inconclusive" and "recovery.x" in found.reason
    assert only(found).silent == 20


def test_lower_is_better_where_it_is() -> None:
    found = claim_set(claim(metric="scores.test_auc", direction="lower", claimed=-0.01))
    values = {"random": lambda s: 0.69 + noise(s), "fixed": lambda s: 0.7}
    assert judged(found, values).outcome == "supported" and only(judged(found, values)).claimed_within
    assert judged(found, {"random": values["fixed"], "fixed": values["random"]}).outcome == "refuted"


def test_relative_differences_are_shares_of_the_comparator() -> None:
    found = judged(
        claim_set(claim(relative=True, interest=0.1, claimed=0.5)),
        {"random": lambda s: (0.3 + noise(s)) * (s + 1), "fixed": lambda s: 0.2 * (s + 1)},
    )
    assert found.outcome == "supported" and only(found).mean == pytest.approx(0.5, abs=1e-3)


def test_equivalence_and_noninferiority() -> None:
    close = {"random": lambda s: 0.7 + noise(s), "fixed": lambda s: 0.7}
    above = {"random": lambda s: 0.71 + noise(s), "fixed": lambda s: 0.7}
    equal, as_good = (claim(kind="equivalence", direction=d) for d in ("", "higher"))
    assert [judged(claim_set(equal), v).outcome for v in (close, above)] == ["supported", "refuted"]
    assert [judged(claim_set(as_good), v).outcome for v in (close, above)] == ["supported", "supported"]
    below = {"random": above["fixed"], "fixed": above["random"]}
    assert judged(claim_set(as_good), below).outcome == "refuted"


def test_a_value_is_compared_with_its_bound() -> None:
    made = [
        claim_set(
            claim(kind="value", comparators=(), bound=b, direction=d, metric="scores.test_auc", interest=None)
        )
        for b, d in ((0.65, "higher"), (0.75, "higher"), (0.75, "lower"), (0.7, "higher"))
    ]
    values = {"random": lambda s: 0.7 + noise(s)}
    assert [judged(c, values).outcome for c in made] == ["supported", "refuted", "supported", "inconclusive"]


def test_a_tuned_arm_counts_with_its_best_validation_score(tmp_path: Path) -> None:
    text = HEAD + CLAIM.replace('["fixed"]', '["tuned"]') + "[arms.tuned]\nmethod = 'fixed'\n"
    text += "choices = [{ settings = { factor = 0.5 } }, { settings = { factor = 1.0 } }]\n"
    found = read_claims(written(tmp_path, text))
    (cell,) = cells_of(found, None)
    known = records([cell], {"random": lambda s: 0.8 + noise(s)})
    for (_, seed), units in cell.arms["tuned"].items():
        assert len(units) == 2
        scores = {"valid_auc": 0.7, "test_auc": 0.6}, {"valid_auc": 0.6, "test_auc": 0.9}
        chosen = scores if seed % 2 else scores[::-1]
        known |= {u.key: record(u, 0.0, scores=s) for u, s in zip(units, chosen, strict=True)}
    comparison = only(judge(found.claims, [cell], known)[0])
    assert {p.other for p in comparison.points} == {0.6} and comparison.outcome == "supported"


def test_a_claim_needs_all_of_its_comparisons_and_falls_with_one() -> None:
    found = claim_set(claim(comparators=("fixed", "mde")))
    good: dict[str, Callable[[int], float | None]] = {
        "random": lambda s: 0.8 + noise(s),
        "fixed": lambda s: 0.7,
    }
    assert judged(found, {**good, "mde": lambda s: 0.7}).outcome == "supported"
    fallen = judged(found, {**good, "mde": lambda s: 0.9})
    assert fallen.outcome == "refuted" and "against mde" in fallen.reason
    assert judged(found, good).outcome == "inconclusive"


def test_holm_makes_a_family_pay_for_its_size() -> None:
    """With six seeds p cannot go below .03125: alone it decides, in a family of two it does not."""
    values = {"random": lambda s: 0.8 + noise(s), "fixed": lambda s: 0.7, "mde": lambda s: 0.7}
    six = tuple(range(6))
    alone = judged(claim_set(claim(seeds=six)), values)
    both = judged(claim_set(claim(seeds=six, comparators=("fixed", "mde"))), values)
    assert (only(alone).p, only(alone).p_corrected, alone.outcome) == (0.03125, 0.03125, "supported")
    assert {c.p_corrected for c in both.comparisons} == {0.0625} and both.outcome == "inconclusive"
    assert "corrected p is 0.0625" in both.reason
    named = claim_set(
        claim(seeds=six, family="f"), claim(id="d", seeds=six, family="f", comparators=("mde",))
    )
    cells = cells_of(named, None)
    assert {j.outcome for j in judge(named.claims, cells, records(cells, values))} == {"inconclusive"}


def test_a_control_that_does_as_well_explains_the_effect_away() -> None:
    found = claim_set(claim(controls=("mde", "constant", "hash")))
    best = {"random": lambda s: 0.8 + noise(s), "fixed": lambda s: 0.7}
    result = judged(found, {**best, "mde": lambda s: 0.8 + noise(s + 50), "constant": lambda s: 0.75})
    states = {c.name: c.state for c in only(result).controls}
    assert states == {"mde": "does as well", "constant": "does worse", "hash": "not run"}
    assert result.outcome == "supported" and result.explained_by == ("mde",) and result.unchecked == ("hash",)
    noisy = judged(found, {**best, "mde": lambda s: 0.79 + noise(s, 0.05)})
    assert only(noisy).controls[0].state == "not shown to do worse" and noisy.explained_by == ("mde",)
    refuted = judged(found, {"random": best["fixed"], "fixed": best["random"], "mde": lambda s: 0.8})
    assert refuted.outcome == "refuted" and refuted.explained_by == ()


def test_a_control_of_a_value_explains_it_where_it_reaches_the_bound_too() -> None:
    made = claim(
        kind="value", comparators=(), bound=0.5, direction="higher", metric="scores.test_auc", interest=None
    )
    found = claim_set(replace(made, controls=("mde", "hash")))
    result = judged(
        found, {"random": lambda s: 0.9 + noise(s), "mde": lambda s: 0.6 + noise(s), "hash": lambda s: 0.4}
    )
    assert {c.name: c.state for c in only(result).controls} == {"mde": "does as well", "hash": "does worse"}
    assert result.explained_by == ("mde",)


def test_data_that_are_missing_are_named_and_the_rest_is_judged(tmp_path: Path) -> None:
    found = claim_set(
        claim(datasets=("criteo", "planted"), paper_datasets=("criteo",)), claim(id="d", datasets=("criteo",))
    )
    cells = cells_of(found, tmp_path)
    known = records(
        [c for c in cells if not c.missing], {"random": lambda s: 0.8 + noise(s), "fixed": lambda s: 0.7}
    )
    both, lost = judge(found.claims, cells, known)
    assert (
        both.outcome == "supported" and both.scope == "other data" and "not tested on criteo" in both.reason
    )
    assert (
        both.comparisons[0].family_size == 2 and both.comparisons[0].p_corrected == 2 * both.comparisons[0].p
    )
    assert (
        both.comparisons[-1].outcome == "not testable here"
        and both.comparisons[-1].scope == "the paper's data"
    )
    assert lost.outcome == "not testable here" and str(tmp_path) in lost.reason
    untestable = claim_set(claim(kind="untestable", method="", comparators=(), needs="a time machine"))
    assert judge(untestable.claims, [], {})[0].reason == "a time machine"


def test_data_with_too_few_rows_are_not_run(tmp_path: Path) -> None:
    text = HEAD + TINY + CLAIM + "[least_rows]\nplanted = 10000\n"
    found, store = read_claims(written(tmp_path, text)), Store(tmp_path / "store")
    opened = open_claims(found, store, None)
    assert len(opened.units) == 4
    opened = prepare_limited(opened, store, None)
    assert opened.units == [] and "2,200 rows here, the claim needs 10,000" in opened.cells[0].missing
    assert open_claims(found, store, None).units == []


def test_a_check_may_leave_data_sets_out(tmp_path: Path) -> None:
    found = claim_set(claim(datasets=("planted", "frappe")))
    opened = open_claims(found, Store(tmp_path), None, datasets=["planted"])
    assert {u.task.data.name for u in opened.units} == {"planted"}
    alone = claim_set(claim(id="d", datasets=("frappe",)), name="y")
    both = replace(found, claims=(*found.claims, *alone.claims))
    opened = open_claims(replace(both, name="z"), Store(tmp_path), None, datasets=["planted"])
    judged_both = judge(opened.asked.claims, opened.cells, {})
    assert [j.outcome for j in judged_both] == ["inconclusive", "not testable here"]
    with pytest.raises(ConfigError, match="did you mean 'planted'"):
        open_claims(found, Store(tmp_path), None, datasets=["plantd"])


@pytest.mark.parametrize(("effect", "runs"), [(0.0, 400), (0.001, 300), (0.002, 300)])
def test_shares_of_verdicts_are_those_of_theory(effect: float, runs: int) -> None:
    """1,000 simulated claims with ten seeds, a smallest effect of .001 and differences of sd .001."""
    found = claim_set(claim())
    (cell,) = cells_of(found, None)
    units = {name: [u[0] for u in cell.arms[name].values()] for name in ("random", "fixed")}
    rng, counts = np.random.default_rng(round(effect * 1e4)), Counter[str]()
    for _ in range(runs):
        base, difference = rng.normal(0.8, 0.02, 10), rng.normal(effect, 0.001, 10)
        values = {"fixed": base, "random": base + difference}
        known = {
            u.key: {"key": u.key, "status": "ok", "scores": {"test_auc": v, "valid_auc": v}}
            for name, own in units.items()
            for u, v in zip(own, values[name], strict=True)
        }
        counts[judge(found.claims, [cell], known)[0].outcome] += 1
    theory = verdict_shares(effect, 0.001, 10, 0.001)
    for outcome in ("supported", "refuted", "inconclusive"):
        share = getattr(theory, outcome)
        error = 3.5 * math.sqrt(max(share * (1 - share), 0.002) / runs)
        assert abs(counts[outcome] / runs - share) <= error + 0.01, (outcome, counts, theory)
    if effect == 0:
        assert counts["supported"] / runs <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / runs)


# Shipped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_claims_are_read_and_can_be_decided(name: str) -> None:
    found = read_claims(shipped_path(name))
    assert found.name == name and name in {entry["name"] for entry in describe_claims()}
    for c in found.claims:
        if c.kind != "untestable":
            comparisons = (
                max(1, len(c.comparators)) * len(c.datasets) * len(c.backbones) * max(1, len(c.ratios))
            )
            pairs = len(c.seeds) * len(c.split_seeds)
            exact = c.kind != "equivalence"
            assert pairs >= 6 and (not exact or comparisons * 2.0 ** (1 - pairs) <= found.alpha), c.id


def test_all_of_them_are_listed() -> None:
    assert set(shipped_claims()) == set(SHIPPED)


def test_simulated_records_have_the_keys_of_real_ones() -> None:
    (unit, *_) = units_of(cells_of(claim_set(claim()), None))
    assert content_key([ENGINE, record(unit, 0.5)["unit"]]) == unit.key


def test_the_page_on_claims_lists_what_is_shipped() -> None:
    docs = Path(__file__).parents[2] / "docs"
    text = (docs / "claims.md").read_text(encoding="utf-8")
    for entry in describe_claims():
        assert f"| `{entry['name']}` | {entry['claims']} |" in text
    assert len(read_claims(docs / "claims-example.toml").claims) == 3
