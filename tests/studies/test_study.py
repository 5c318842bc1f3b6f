"""Studies: their space, strict reading, what a trial asks for, and what identifies one."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace

import optuna
import pytest
from nasbench_rec.studies.samplers import first_points, make_sampler
from nasbench_rec.studies.sharing import followers
from nasbench_rec.studies.space import Dimension, decode, encode, space_of, suggest
from nasbench_rec.studies.study import (
    Pruner,
    Sampler,
    Study,
    read_study,
    shipped_studies,
    shipped_study,
    study_from,
)
from nasbench_rec.studies.tuning import is_tuning, read_tuning

from nasbench_rec.config import plain
from nasbench_rec.errors import ConfigError
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import method_names, resolve_method

TINY = {
    "planted": {"train": 1500, "valid": 300, "test": 400},
    "protocol": {"epochs": 2, "batch_size": 256, "hidden": [8]},
}
optuna.logging.set_verbosity(optuna.logging.ERROR)


def make(**changes) -> Study:
    space = {"lam": {}, "tau": {}, "k": {}}
    return Study(**{"method": "ihas/robust", "space": space, "settings": TINY, **changes})


def trial(**values):
    return optuna.trial.FixedTrial(values)


def test_ranges_come_from_the_method_and_the_study_goes_before_them():
    space = space_of(
        resolve_method("ihas"), {"lam": {"high": 0.5}, "k": {"choices": [2, 4]}, "protocol.lr": {}}
    )
    lam, k, lr = space
    assert (lam.low, lam.high, lam.log) == (1e-3, 0.5, True)
    assert (k.type, k.choices) == ("categorical", (2, 4))
    assert lr.name == "protocol.lr" and lr.log


def test_an_empty_space_is_all_that_the_method_declares():
    names = {d.name for d in space_of(resolve_method("ihas"), {})}
    assert {"lam", "tau", "k", "keep", "bilevel_every"} <= names
    assert "thresholds" not in names and not any(n.startswith("protocol.") for n in names)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lamb": {}}, "did you mean 'lam'"),
        ({"protocol.lrr": {}}, "did you mean 'protocol.lr'"),
        ({"lam": {"lo": 1}}, "did you mean 'low'"),
        ({"lam": {"low": 2.0, "high": 1.0}}, "low < high"),
        ({"lam": {"low": -1.0}}, "logarithmic range begins above 0"),
        ({"k": {"choices": [2, 2]}}, "different values"),
        ({"restarts": {}}, "declares no range of its own"),
        ({"k": {"low": 2.5}}, "whole numbers"),
        ({"keep": {"when": {"tau": 0.5}}, "tau": {"when": {"keep": 0.1}}}, "wait for each other"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        space_of(resolve_method("ihas"), space)


@pytest.mark.parametrize("name", method_names())
def test_every_method_declares_ranges_that_hold_its_defaults(name):
    """Each setting's default lies in its own range, or is none: then it is not asked of the first trial."""
    method = resolve_method(name)
    declared = [f for f in fields(method.config) if "space" in f.metadata]
    if not declared:
        with pytest.raises(ConfigError, match="declares no search space"):
            space_of(method, {})
        return
    for dimension in space_of(method, {}):
        default = plain(getattr(method.config, dimension.name))
        assert default is None or dimension.holds(default), dimension.name


def test_the_protocols_ranges_hold_its_defaults():
    for f in fields(Protocol):
        if "space" in f.metadata:
            (dimension,) = space_of(resolve_method("fixed"), {f"protocol.{f.name}": {}})
            assert dimension.holds(f.default), f.name


def test_lists_travel_as_text_and_come_back():
    space = space_of(resolve_method("ihas"), {"gate_hidden": {}, "threshold": {}})
    params = encode({"gate_hidden": [64], "threshold": None}, space)
    assert params == {"gate_hidden": "[64]", "threshold": None}
    assert decode(params, space) == {"gate_hidden": [64], "threshold": None}
    asked = suggest(trial(gate_hidden="[64]", threshold=0.25), space, {})
    assert decode(asked, space) == {"gate_hidden": [64], "threshold": 0.25}


def test_a_conditional_dimension_is_asked_where_its_condition_holds():
    space = space_of(resolve_method("ihas"), {"keep": {}, "selection": {}})
    assert [d.name for d in space] == ["selection", "keep"]
    values = {"selection": "topk", "keep": 0.3}
    assert suggest(trial(**values), space, {}) == values
    assert suggest(trial(selection="half", keep=0.3), space, {}) == {"selection": "half"}


def test_a_condition_on_what_does_not_vary_is_decided_at_once():
    alone = space_of(resolve_method("ihas", {"selection": "topk"}), {"keep": {}})
    assert not alone[0].when and suggest(trial(keep=0.3), alone, {}) == {"keep": 0.3}
    with pytest.raises(ConfigError, match="space.keep: asked only where selection = topk; here it is 'half'"):
        space_of(resolve_method("ihas"), {"keep": {}})


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (Dimension("a", "float", 0.0, 1.0), [0.0, 0.5, 1, 1.0], [-0.1, 1.1, None, True, "x"]),
        (Dimension("a", "float", 0.0, 1.0, step=0.25), [0.25, 1.0], [0.3]),
        (Dimension("a", "int", 2, 8, step=2), [2, 4.0, 8], [3, 4.5]),
        (Dimension("a", "categorical", choices=(None, 1, "b", [1])), [None, 1, "b", [1]], [True, [2]]),
    ],
)
def test_which_values_lie_in_a_range(dimension, inside, outside):
    assert all(dimension.holds(v) for v in inside)
    assert not any(dimension.holds(v) for v in outside)


def test_units_hold_the_values_and_are_paired_over_trials():
    bound = make(seeds=(3, 4), space={"k": {}, "protocol.lr": {}}).bind(None)
    one, two = bound.units({"k": 3, "protocol.lr": 0.01}), bound.units({"k": 5, "protocol.lr": 0.01})
    assert [u.seeds.init for u in one] == [3, 4] == [u.seeds.init for u in two]
    assert {u.method.config.k for u in one} == {3} and {u.task.protocol.lr for u in two} == {0.01}
    assert {u.task.protocol.epochs for u in one} == {2}, "the study's settings hold"


def test_the_first_trial_is_the_method_as_it_is():
    bound = make(space={"lam": {}, "lam_polarization": {}, "tau_end": {}, "k": {}}).bind(None)
    study = optuna.create_study(sampler=make_sampler(bound, 0))
    study.enqueue_trial(bound.default_params)
    params = bound.ask(study.ask())
    assert params == {"lam": 0.05, "k": 2}, "0.5 and none lie outside their ranges: they are not asked"
    assert bound.units(params)[0].key == bound.units({})[0].key
    assert set(bound.ask(study.ask())) == {"lam", "lam_polarization", "tau_end", "k"}


def test_the_same_history_is_asked_the_same_whoever_asks():
    """A driver that starts anew in the middle goes on as the old one would have."""
    bound = make(sampler=Sampler("tpe", startup_trials=3)).bind(None)

    def history(restarts: bool) -> list[dict]:
        study = optuna.create_study(direction="maximize")
        for number in range(6):
            if restarts:
                study = optuna.load_study(study_name=study.study_name, storage=study._storage)
            study.sampler = make_sampler(bound, number)
            asked = study.ask()
            params = bound.ask(asked)
            study.tell(asked, params["lam"] + params["k"])
        return [t.params for t in study.trials]

    found = history(restarts=False)
    assert found == history(restarts=True)
    assert len({p["lam"] for p in found}) == 6


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsga2", "qmc", "random"])
def test_every_sampler_searches_a_mixed_space(name):
    bound = make(sampler=Sampler(name, startup_trials=4)).bind(None)
    study = optuna.create_study(direction="maximize")
    for number in range(6):
        study.sampler = make_sampler(bound, number)
        asked = study.ask()
        study.tell(asked, bound.ask(asked)["lam"])
    assert len({t.params["tau"] for t in study.trials}) > 3


def test_a_grid_holds_every_point_once_and_the_defaults_first():
    space = {"k": {"choices": [2, 3]}, "clusters": {}}
    bound = make(space=space, sampler=Sampler("grid")).bind(None)
    points = first_points(bound)
    assert points[0] == {"k": 2, "clusters": "kmeans"}
    assert len(points) == 6 == len({tuple(sorted(p.items())) for p in points})
    assert {"clusters": "none"} in points, "k is asked for K-Means and random clusters only"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"lam": {}}, "sampler": Sampler("grid")}, "needs `choices` or a `step`"),
        ({"space": {}, "sampler": Sampler("cmaes")}, "knows no conditional dimensions"),
        ({"objectives": ("valid_auk",)}, "did you mean 'valid_auc'"),
        ({"datasets": ("plantde",)}, "did you mean 'planted'"),
        ({"backbones": ("depfm",)}, "did you mean 'deepfm'"),
        ({"method": "ihas/robst"}, "did you mean 'robust'"),
        ({"settings": {"autodim": {}}}, "unknown method or data set"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_it_runs(change, message):
    with pytest.raises(ConfigError, match=message):
        make(**change).bind(None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ("valid_auc", "embedding_bytes"), "pruner": Pruner("median")}, "needs one objective"),
        ({"objectives": ("embedding_bytes",), "pruner": Pruner("asha")}, "needs one objective"),
        ({"pruner": Pruner("wilcoxon")}, "give more seeds"),
        ({"sampler": Sampler("cmaes"), "objectives": ("valid_auc", "total_bytes")}, "has one objective"),
        ({"trials": 0}, "above 0"),
        ({"seeds": ()}, "seeds is empty"),
        ({"objectives": ("valid_auc", "valid_auc")}, "name each once"),
        ({"per_search": 2, "sampler": Sampler("grid")}, "with a grid just 1"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        make(**change)


def test_followers_keep_the_search_and_repeat_no_derive_setting():
    bound = make(per_search=4).bind(None)
    study = optuna.create_study(direction="maximize")
    asked = study.ask()
    params = bound.ask(asked)
    study.tell(asked, 0.5)
    found = list(followers(bound, study.trials[0]))
    assert len(found) == 3 and {(p["lam"], p["tau"]) for p in found} == {(params["lam"], params["tau"])}
    assert len({p["k"] for p in found} | {params["k"]}) == 4
    bound.ask(study.ask())
    bound.ask(study.ask())
    shares = [t.user_attrs["shares"] for t in study.trials if "shares" in t.user_attrs]
    assert Counter(shares) == {0: 3}, "queued once, and only for a trial that has ended"


def test_what_identifies_a_study():
    base = make().bind(None).describe()
    assert make(trials=99, title="x", seconds=5.0, contour=(("lam", "tau"),)).bind(None).describe() == base
    for change in ({"seeds": (1,)}, {"space": {"lam": {}}}, {"sampler": Sampler("random")}, {"ratio": 0.5}):
        assert make(**change).bind(None).describe() != base


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_are_read(name):
    path = shipped_study(name)
    if is_tuning(path):
        studies = read_tuning(path).studies(name)
        assert len(studies) >= 7
        assert len({(s.trials, s.sampler, s.seeds) for s in studies.values()}) == 1, "equal budgets"
        assert all({"protocol.lr"} <= set(s.space) for s in studies.values())
        for study in studies.values():
            study.bind(None)
    else:
        study = read_study(path)
        assert study.title and study.question
        bound = study.bind(None)
        assert bound.default_params.keys() == {d.name for d in bound.space}


def test_a_file_is_read_strictly():
    good = {"method": "ihas", "space": {"lam": {}}, "sampler": "random", "pruner": {"name": "median"}}
    study = study_from(good, "x.toml")
    assert study.sampler == Sampler("random") and study.pruner == Pruner("median")
    wrongs = [
        ({"samplr": "tpe"}, "did you mean 'sampler'"),
        ({"sampler": "tpee"}, "x.toml: sampler"),
        ({"pruner": {"nam": "median"}}, "did you mean 'name'"),
        ({"space": {"lam": 3}}, "write each dimension as a table"),
        ({"trials": "many"}, "x.toml: trials"),
    ]
    for wrong, message in wrongs:
        with pytest.raises(ConfigError, match=message):
            study_from({**good, **wrong}, "x.toml")


def test_values_are_means_over_units():
    bound = make(objectives=("valid_auc", "embedding_bytes")).bind(None)
    outcomes = [{"valid_auc": 0.5, "embedding_bytes": 10}, {"valid_auc": 0.7, "embedding_bytes": 30}]
    assert bound.value(outcomes) == pytest.approx([0.6, 20.0])
    directions = [g.direction for g in bound.study.goals()]
    assert directions == ["maximize", "minimize"]
    assert replace(bound, study=replace(bound.study, objectives=("valid_logloss",))).study.goals()[
        0
    ].direction == ("minimize")
