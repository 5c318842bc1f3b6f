"""Ablations: one factor at a time, what wins over what, strict reading, and searches that variants share."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from nasbench_rec.methods.ihas import IHASConfig
from nasbench_rec.reports.ablation import FIGURES
from nasbench_rec.studies.ablation import (
    BASE,
    Ablation,
    Bar,
    PlannedUnit,
    Variant,
    describe_ablations,
    plan_frame,
    queue,
    read_ablation,
    shipped_ablations,
    shipped_path,
)
from nasbench_rec.studies.execute import Workers, execute
from nasbench_rec.studies.leaderboard import shipped_names

from nasbench_rec.config import plain
from nasbench_rec.errors import ConfigError
from nasbench_rec.registry import method_names
from nasbench_rec.searcher import search_settings
from nasbench_rec.store import Store

TINY = {
    "planted": {"train": 1500, "valid": 300, "test": 400},
    "protocol": {"epochs": 1, "batch_size": 256, "hidden": (8,)},
}
HEAD = 'title = "t"\nquestion = "q"\nbase = "ihas/robust"\n'
SHIPPED = ("ihas-ablation", "ihas-controls", "ihas-first-experiments", "ihas-next-checks")
UNVARIED = {"cluster_field", "thresholds", "rows"}
"""Which field and which grid: `clusters` and `threshold` vary what they serve; `rows` bounds memory only."""


class Silent:
    """Hears nothing."""

    def started(self, total: int, done: int) -> None: ...

    def finished(self, record: dict) -> None: ...


def ablation(**changes: Any) -> Ablation:
    known = {"title": "t", "question": "q", "base": "ihas/robust", "seeds": (0,), "settings": TINY}
    return Ablation(**{**known, **changes})


def configs(planned: list[PlannedUnit]) -> dict[str, dict[str, Any]]:
    """What each variant runs with, as one flat dictionary: setting or `protocol.NAME`, `planted.NAME`."""
    found = {}
    for p in planned:
        task, values = p.unit.task, plain(p.unit.method.config)
        values |= {f"protocol.{k}": v for k, v in plain(task.protocol).items()}
        found[p.variant.name] = values | {f"planted.{k}": v for k, v in task.data.config.items()}
    return found


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as found:
        read_ablation(written(tmp_path, text))
    assert str(found.value).startswith(str(tmp_path / "mine.toml"))
    return str(found.value)


def test_each_factor_changes_its_own_setting_only():
    factors = {"tau": (0.1, 1.0), "hard": (False,), "gate_hidden": ([8],)}
    factors |= {"protocol.search_fraction": (0.3,), "planted.tier": ("T3",)}
    found = configs(ablation(factors=factors).units(None))
    base = found.pop(BASE)
    changed = {name: {k: v for k, v in values.items() if v != base[k]} for name, values in found.items()}
    assert changed == {
        "tau = 0.1": {"tau": 0.1},
        "tau = 1.0": {"tau": 1.0},
        "hard = false": {"hard": False},
        "gate_hidden = [8]": {"gate_hidden": [8]},
        "protocol.search_fraction = 0.3": {"protocol.search_fraction": 0.3},
        "planted.tier = T3": {"planted.tier": "T3"},
    }


def test_variants_win_over_common_settings_and_presets_over_none():
    settings = {**TINY, "ihas": {"k": 4, "tau": 2.0}, "ihas/robust": {"restarts": 3}}
    named = Variant(
        "mine",
        settings={"k": 3},
        protocol={"epochs": 2},
        data={"train": 1600},
        best_of="",
        method="ihas/paper",
    )
    found = configs(ablation(settings=settings, variants=(named,)).units(None))
    base, mine = found[BASE], found["mine"]
    assert (base["k"], base["tau"], base["restarts"], base["cluster_on"]) == (4, 2.0, 3, "mask")
    assert (mine["k"], mine["tau"], mine["restarts"], mine["cluster_on"]) == (3, 2.0, 10, "masked")
    assert (base["protocol.epochs"], base["planted.train"]) == (1, 1500)
    assert (mine["protocol.epochs"], mine["planted.train"], mine["planted.test"]) == (2, 1600, 400)


def test_plan_frame_has_a_row_per_variant_split_and_seed():
    tuned = [Variant(f"width {w}", "fixed", {"width": w}, best_of="uniform, tuned") for w in (2, 4)]
    found = ablation(
        seeds=(3, 5),
        split_seeds=(0, 1),
        factors={"k": (3,)},
        variants=tuple(tuned),
        reference="uniform, tuned",
    )
    frame = plan_frame(found.units(None))
    assert list(frame) == [
        "variant",
        "factor",
        "value",
        "best_of",
        "dataset",
        "backbone",
        "seed",
        "split_seed",
        "key",
    ]
    assert len(frame) == 4 * 4 and frame["key"].nunique() == 16
    first = frame.groupby("variant", sort=False)[["factor", "value", "best_of"]].first()
    assert list(first.index) == [BASE, "k = 3", "width 2", "width 4"]
    assert first.loc["k = 3"].tolist() == ["k", "3", ""]
    assert first.loc["width 4"].tolist() == ["", "", "uniform, tuned"]
    assert set(frame["dataset"]) == {"planted"} and set(frame["backbone"]) == {"deepfm"}
    assert set(zip(frame["seed"], frame["split_seed"], strict=True)) == {(3, 0), (3, 1), (5, 0), (5, 1)}


def test_data_seed_follows_the_unit_and_is_set_once():
    seeds = [p.unit.task.data.config["seed"] for p in ablation(seeds=(4, 7), data_seed=True).units(None)]
    assert seeds == [4, 7]
    assert {p.unit.task.data.config["seed"] for p in ablation(seeds=(4, 7)).units(None)} == {0}
    with pytest.raises(ConfigError, match=r"planted\.seed = 1.*data_seed"):
        ablation(data_seed=True, factors={"planted.seed": (1,)}).units(None)


@pytest.mark.parametrize(("count", "seeds"), [(1, (2,)), (2, (2, 5)), (4, (2, 5, 6, 7))])
def test_seeds_are_the_first_ones_then_go_on(count, seeds):
    assert ablation(seeds=(2, 5)).with_seeds(count).seeds == seeds


def test_the_queue_holds_each_unit_once_and_searches_before_those_that_share_them():
    found = ablation(
        seeds=(0, 1), factors={"k": (3,), "tau": (0.1,)}, variants=(Variant("the base again"),)
    ).units(None)
    order = queue(found)
    assert len(found) == 8 and len(order) == len({u.key for u in order}) == 6
    searches = [(search_settings(u.method.config)["tau"], u.seeds.search) for u in order]
    assert searches == [(0.5, 0), (0.5, 1), (0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)]
    assert order[0].key == found[0].unit.key, "the base comes first"


def test_derive_stage_factors_share_the_search_and_others_do_not(tmp_path):
    found = ablation(factors={"k": (3,), "tau": (0.1,)}, settings={**TINY, "ihas": {"epochs": 1}}).units(None)
    store = Store(tmp_path)
    assert execute(queue(found), store, Workers(), None, Silent()) == 0
    uses = {p.variant.name: {u["kind"]: u for u in store.get(p.unit.key)["stages"]} for p in found}
    assert not uses[BASE]["search"]["reused"]
    assert uses["k = 3"]["search"]["reused"] and uses["k = 3"]["search"]["key"] == uses[BASE]["search"]["key"]
    assert not uses["k = 3"]["derive"]["reused"]
    assert not uses["tau = 0.1"]["search"]["reused"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('titel = "t"', "did you mean 'title'"),
        ('title = "t"\nbase = "ihas"', "question is empty"),
        (HEAD + "seeds = []", "seeds is empty"),
        (HEAD + 'seeds = ["one"]', "seeds"),
        (HEAD + "[factors]\ntua = [1.0]", "variant 'tua = 1.0': .*did you mean 'tau'"),
        (HEAD + "[factors]\ntau = 1.0", "factors.tau = 1.0"),
        (HEAD + "[factors]\ntau = []", "factor 'tau' has no values"),
        (HEAD + '[factors]\ntau = ["hot"]', "variant 'tau = hot': .*tau = 'hot'"),
        (HEAD + '[factors]\n"protocol.batchsize" = [1]', "did you mean 'batch_size'"),
        (HEAD + '[factors]\n"plantd.tier" = ["T3"]', "did you mean 'planted'"),
        (HEAD + '[factors]\n"planted.teir" = ["T3"]', "did you mean 'tier'"),
        (HEAD + '[[variants]]\nname = "a"\nsetings = {}', "variants: a: .*did you mean 'settings'"),
        (HEAD + '[[variants]]\nname = "a"\nmethod = "fixd"', "variant 'a': .*did you mean 'fixed'"),
        (HEAD + '[[variants]]\nname = "a"\nmethod = "ihas/robst"', "did you mean 'robust'"),
        (HEAD + '[[variants]]\nname = "a"\n[[variants]]\nname = "a"', "'a' is there twice"),
        (HEAD + '[[variants]]\nname = "default"', "'default' is there twice"),
        (HEAD + "[variants]\nname = 1", r"write each entry as a table, \[\[variants\]\]"),
        (
            HEAD + 'reference = "unifrm"\n[[variants]]\nname = "uniform"',
            "reference: .*did you mean 'uniform'",
        ),
        (
            HEAD + '[[bars]]\nname = "b"\nvariant = "defalt"\nvalue = "x"\nat_least = 1',
            "did you mean 'default'",
        ),
        (HEAD + '[[bars]]\nname = "b"\nvariant = "default"\nvalue = "x"', "one of at_least and at_most"),
        (
            HEAD + '[[bars]]\nname = "b"\nvariant = "default"\nvalue = "x"\nat_leats = 1',
            "did you mean 'at_least'",
        ),
        (HEAD + "include_base = false", "no variants"),
        (HEAD + "seeds = ", "not valid TOML"),
    ],
)
def test_errors_name_the_file_the_setting_and_the_nearest_name(tmp_path, text, message):
    import re

    assert re.search(message, refused(tmp_path, text))


def test_settings_of_what_takes_no_part_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'ihas'"):
        ablation(settings={"ihsa": {"k": 2}}).units(None)


def test_data_settings_must_fit_every_data_set():
    found = ablation(variants=(Variant("parity", data={"tier": "T4"}),))
    with pytest.raises(ConfigError, match="variant 'parity': data set 'frappe': unknown setting 'tier'"):
        replace(found, datasets=("frappe",), settings={}).check()


def test_a_file_says_all_that_it_can(tmp_path):
    path = written(
        tmp_path,
        HEAD
        + 'include_base = false\nreference = "u"\nfigures = ["histogram"]\ndata_seed = true\n'
        + '[settings.ihas]\nk = 3\n[[variants]]\nname = "u"\nmethod = "fixed"\nsettings = { width = 2 }\n'
        + 'protocol = { dim = 4 }\n[[variants]]\nname = "m"\nbest_of = "g"\n'
        + '[[bars]]\nname = "b"\nvariant = "g"\nversus = "u"\nvalue = "scores.test_auc"\nat_least = 0\nhold_in = 2',
    )
    found = read_ablation(path)
    assert [v.name for v in found.expand()] == ["u", "m"]
    assert [v.method for v in found.expand()] == ["fixed", "ihas/robust"]
    assert found.bars == (Bar("b", "g", "scores.test_auc", "u", 0.0, None, 2),)
    assert found.variants[0].protocol == {"dim": 4} and found.figures == ("histogram",)


def test_shipped_ablations_are_listed_apart_from_leaderboards():
    assert set(SHIPPED) <= set(shipped_ablations())
    assert not set(shipped_ablations()) & set(shipped_names())
    assert all(entry["title"] and entry["question"].endswith("?") for entry in describe_ablations())


@pytest.mark.parametrize("name", shipped_ablations())
def test_shipped_ablations_resolve(name):
    found = read_ablation(shipped_path(name))
    units = found.units(None)
    assert {p.unit.method.info.name for p in units} <= set(method_names())
    assert set(found.figures) <= set(FIGURES)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_ablations_run_on_real_data_too(name):
    replace(read_ablation(shipped_path(name)), datasets=("frappe",)).check()


def test_the_ablation_of_ihas_varies_every_option():
    found = read_ablation(shipped_path("ihas-ablation"))
    varied = set(found.factors) | {name for v in found.variants if not v.method for name in v.settings}
    assert varied == {f.name for f in fields(IHASConfig)} - UNVARIED
    assert {3, 4, 8} <= set(found.factors["k"])
    base = configs(found.units(None))[BASE]
    same = [k for k, values in found.factors.items() for v in values if plain(v) == base[k]]
    assert not same, "a factor's value that the base has measures nothing"


def test_the_controls_that_need_no_search_of_their_own_share_the_base_s():
    planned = read_ablation(shipped_path("ihas-controls")).units(None)
    base = next(p.unit for p in planned if p.variant.name == BASE)
    shared = {
        p.variant.name
        for p in planned
        if p.unit.method.info.name == "ihas"
        and search_settings(p.unit.method.config) == search_settings(base.method.config)
    }
    assert shared >= {"random clusters", "clusters of unmasked embeddings", "one field's value"}
    assert shared >= {"full width", "no clustering"}


def test_the_first_experiments_are_those_of_the_paper():
    planned = read_ablation(shipped_path("ihas-first-experiments")).units(None)
    assert {p.variant.name for p in planned} == {"paper", "robust", "robust, no regularizer"}
    assert {(p.unit.method.config.tau, p.unit.method.config.k) for p in planned} == {(0.5, 2)}
    free = [p.unit.method.config for p in planned if p.variant.name.endswith("no regularizer")]
    assert all(c.lam == 0 and not c.lam_polarization for c in free)
