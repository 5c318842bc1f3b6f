from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from nasbench_rec.datasets import planted
from nasbench_rec.datasets.planted import TIERS, Planted, PlantedConfig, balanced_sets, settle

from nasbench_rec.data import SPLITS, Dataset
from nasbench_rec.errors import ConfigError, DataError
from nasbench_rec.metrics import auc, expected_auc, expected_logloss


@functools.cache
def make(**knobs: Any) -> Dataset:
    return Planted(PlantedConfig(**knobs)).prepare(None)


def small(**knobs: Any) -> Dataset:
    return make(**{"train": 3_000, "valid": 500, "test": 1_000, **knobs})


def logits(data: Dataset) -> np.ndarray:
    p = np.concatenate([data.split(name).probabilities for name in SPLITS]).astype(np.float64)
    return np.log(p / (1 - p))


def whole(data: Dataset, part: str) -> np.ndarray:
    return np.concatenate([data.split(name).arrays()[part] for name in SPLITS])


def column(data: Dataset, field: str) -> int:
    return [f.name for f in data.fields].index(field)


@pytest.mark.parametrize("tier", ["T1", "T2", "T3"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_full_size_is_as_specified(tier: str, seed: int) -> None:
    data = make(tier=tier, seed=seed)
    assert [len(data.split(name)) for name in SPLITS] == [100_000, 20_000, 40_000]
    contexts = {"T1": 1, "T2": 3, "T3": 3}[tier]
    sizes = [20] * contexts + [10, 50, 200] + [30, 100, 400] * 2 + [50, 500]
    assert [f.cardinality for f in data.fields] == sizes
    assert 0.80 < data.truth["bayes_auc"] < 0.86
    assert 0.42 < data.truth["bayes_logloss"] < 0.50
    test = data.split("test")
    assert test.labels.mean() == pytest.approx(0.33, abs=0.03)
    assert test.groups is not None and test.probabilities is not None
    assert test.groups.mean() == pytest.approx(0.5, abs=0.03)
    assert auc(test.labels, test.probabilities) == pytest.approx(data.truth["bayes_auc"], abs=0.01)


def test_the_best_possible_is_that_of_the_true_probabilities() -> None:
    data = small()
    p = data.split("test").probabilities
    assert p is not None
    assert data.truth["bayes_auc"] == expected_auc(p, p)
    assert data.truth["bayes_logloss"] == pytest.approx(expected_logloss(p, logits(data)[-1_000:]), abs=1e-6)


def test_labels_follow_the_probabilities() -> None:
    data = make()
    labels, p = whole(data, "labels"), whole(data, "probabilities")
    for low in np.arange(0, 1, 0.1):
        chosen = (p >= low) & (p < low + 0.1)
        error = 4 * np.sqrt(0.25 / chosen.sum())
        assert labels[chosen].mean() == pytest.approx(p[chosen].mean(), abs=error)


def test_the_seed_alone_decides() -> None:
    prints = [
        Planted(PlantedConfig(train=50, valid=20, test=20, seed=s)).prepare(None).fingerprint
        for s in (0, 0, 1)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_values_have_power_law_counts_and_do_not_depend_on_each_other() -> None:
    data = make()
    ids = data.split("train").ids
    for name, power in (("block0_2", 1.0), ("useless_1", 1.0), ("context_1", 0.5), ("distractor", 0.5)):
        counts = np.sort(data.counts[column(data, name)])[::-1]
        law = np.arange(1, len(counts) + 1) ** -power
        expected = law / law.sum() * len(ids)
        assert (np.abs(counts[:5] - expected[:5]) < 5 * np.sqrt(expected[:5])).all()
    correlation = np.corrcoef(ids.T) - np.eye(ids.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(len(ids))


def slow_logits(config: PlantedConfig) -> list[float]:
    """The definition, row by row and pair by pair, from the same random streams."""
    tier = settle(config)
    data = Planted(config).prepare(None)
    rows = whole(data, "ids").tolist()
    names = [f.name for f in data.fields]
    _, latents, effects, _ = np.random.default_rng(config.seed).spawn(4)
    blocks = [slow_block(config, data, rows, latents, [n for n in names if n.startswith("common")])]
    for g in range(config.groups):
        blocks.append(
            slow_block(config, data, rows, latents, [n for n in names if n.startswith(f"block{g}_")])
        )
    contexts = [n for n in names if n.startswith("context")]
    effect = [effects.standard_normal(20) for _ in contexts]
    main = slow_std([sum(effect[i][row[i]] for i in range(len(contexts))) for row in rows])
    distractor = slow_distractor(rows, config, len(contexts))
    share = 1 - config.common - config.context - tier.distractor
    result = []
    for i, row in enumerate(rows):
        group = slow_group(tier.rule, [data.truth["sets"][n][row[names.index(n)]] for n in contexts])
        mixed = 0.0
        for j in range(config.groups):
            own = tier.heterogeneity if j == group else 0.0
            mixed += math.sqrt((1 - tier.heterogeneity) / config.groups + own) * blocks[1 + j][i]
        signal = math.sqrt(config.common) * blocks[0][i] + math.sqrt(share) * mixed
        signal += math.sqrt(config.context) * main[i] + math.sqrt(tier.distractor) * distractor[i]
        result.append(config.beta + config.signal * signal)
    return result


def slow_block(
    config: PlantedConfig,
    data: Dataset,
    rows: list[list[int]],
    rng: np.random.Generator,
    names: Sequence[str],
) -> list[float]:
    tables, directions = {}, {}
    for name in names:
        tables[name] = rng.standard_normal((data.fields[column(data, name)].cardinality, config.rank))
        w = rng.standard_normal(config.rank)
        directions[name] = w / math.sqrt(sum(x * x for x in w))
    pairs, mains = [], []
    for row in rows:
        a = {name: tables[name][row[column(data, name)]] for name in names}
        pairs.append(sum(float(a[x] @ a[y]) for x, y in combinations(names, 2)) / math.sqrt(config.rank))
        mains.append(sum(float(directions[name] @ a[name]) for name in names))
    return [
        math.sqrt(1 - config.mu) * p + math.sqrt(config.mu) * m
        for p, m in zip(slow_std(pairs), slow_std(mains), strict=True)
    ]


def slow_std(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))
    return [(v - mean) / deviation for v in values]


def slow_group(rule: str, sets: list[int]) -> int:
    return {"ctx": sets[0], "vote": int(sum(sets) >= 2), "xor": sum(sets) % 2}[rule]


def slow_distractor(rows: list[list[int]], config: PlantedConfig, place: int) -> list[float]:
    world = planted._generate(config, settle(config))
    return [2.0 * int(world.sets[place][row[place]]) - 1 for row in rows]


@pytest.mark.parametrize(
    "knobs",
    [
        {"tier": "T2"},
        {"tier": "T3", "seed": 4},
        {"tier": "T4"},
        {"tier": "T1", "groups": 3, "rank": 3, "mu": 0.3},
        {"tier": "T0", "beta": 0.5, "signal": 1.0},
        {"heterogeneity": 0.4, "common": 0.3, "context": 0.0},
    ],
)
def test_every_logit_is_that_of_the_definition(knobs: dict[str, Any]) -> None:
    config = PlantedConfig(train=300, valid=50, test=50, **knobs)
    data = Planted(config).prepare(None)
    np.testing.assert_allclose(logits(data), slow_logits(config), atol=1e-4)


@pytest.mark.parametrize("tier", ["T1", "T2", "T4"])
def test_groups_follow_their_rule(tier: str) -> None:
    data = small(tier=tier)
    ids, sets = whole(data, "ids"), data.truth["sets"]
    expected = [
        slow_group(TIERS[tier].rule, [sets[name][row[column(data, name)]] for name in sets]) for row in ids
    ]
    assert whole(data, "groups").tolist() == expected


def spread_within_equal_rows(data: Dataset, group: int, fields: Sequence[str]) -> float:
    """The largest spread of logits among rows of one group that agree in `fields`."""
    chosen = whole(data, "groups") == group
    keys = whole(data, "ids")[chosen][:, [column(data, name) for name in fields]]
    _, inverse = np.unique(keys, axis=0, return_inverse=True)
    z = logits(data)[chosen]
    highest, lowest = np.full(inverse.max() + 1, -np.inf), np.full(inverse.max() + 1, np.inf)
    np.maximum.at(highest, inverse.ravel(), z)
    np.minimum.at(lowest, inverse.ravel(), z)
    assert len(highest) < len(z), "no two rows agree"
    return float((highest - lowest).max())


@pytest.mark.parametrize("group", [0, 1])
def test_only_the_relevant_fields_move_the_logit_of_a_group(group: int) -> None:
    data = make(tier="T1")
    relevant = data.truth["relevant_fields"][str(group)]
    assert relevant == ["context_0", "common_0", "common_1", *(f"block{group}_{i}" for i in range(3))]
    assert spread_within_equal_rows(data, group, relevant) < 1e-4
    for name in relevant:
        assert spread_within_equal_rows(data, group, [r for r in relevant if r != name]) > 0.1


def test_without_heterogeneity_all_blocks_matter_to_all_and_groups_to_none() -> None:
    data = small(tier="T0", context=0.0)
    relevant = data.truth["relevant_fields"]
    assert relevant["0"] == relevant["1"]
    assert len(relevant["0"]) == 8
    assert data.truth["useless_fields"] == [
        "context_0", "context_1", "context_2", "distractor", "useless_0", "useless_1"
    ]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_the_signal_has_the_same_variance_for_every_heterogeneity(seed: int) -> None:
    variances = [logits(make(seed=seed, heterogeneity=h)).var() for h in (0.0, 0.5, 1.0)]
    assert max(variances) / min(variances) < 1.05
    assert variances[0] == pytest.approx(1.7**2, rel=0.15)


def test_data_sets_that_differ_in_strength_are_paired() -> None:
    base = small()
    for knobs in ({"heterogeneity": 0.0}, {"signal": 0.5}, {"distractor": 0.15}, {"beta": 0.0}):
        other = small(**knobs)
        np.testing.assert_array_equal(whole(base, "ids"), whole(other, "ids"))
        np.testing.assert_array_equal(whole(base, "groups"), whole(other, "groups"))
    raised = small(beta=0.0)
    assert (whole(raised, "labels") >= whole(base, "labels")).all()


def test_the_distractor_splits_in_two_and_carries_its_share() -> None:
    plain, loud = make(tier="T2"), make(tier="T3")
    assert plain.truth["useful_width"]["distractor"] == 0
    assert loud.truth["useful_width"]["distractor"] == 1
    ids = whole(loud, "ids")[:, column(loud, "distractor")]
    means = np.array([logits(loud)[ids == value].mean() for value in range(10)])
    high = means > means.mean()
    assert means[high].mean() - means[~high].mean() == pytest.approx(2 * 1.7 * np.sqrt(0.15), abs=0.1)
    assert np.isin(ids, np.flatnonzero(high)).mean() == pytest.approx(0.5, abs=0.05)


def test_the_known_answer() -> None:
    truth = small(tier="T3", seed=3).truth
    assert json.loads(json.dumps(truth)) == truth
    assert truth["tier"] == "T3"
    assert truth["knobs"] == {
        **dataclasses.asdict(PlantedConfig(tier="T3", seed=3, train=3_000, valid=500, test=1_000)),
        "heterogeneity": 1.0, "rule": "vote", "distractor": 0.15,
    }  # fmt: skip
    assert truth["roles"]["context_0"] == "context" and truth["roles"]["useless_1"] == "useless"
    assert truth["blocks"] == {str(g): [f"block{g}_{i}" for i in range(3)] for g in range(2)}
    assert truth["useless_fields"] == ["useless_0", "useless_1"]
    widths = truth["useful_width"]
    assert {widths[name] for name in truth["blocks"]["0"]} == {2}
    assert widths["context_0"] == 2 and widths["common_1"] == 2 and widths["useless_0"] == 0


@pytest.mark.parametrize(
    ("knobs", "field", "width"),
    [
        ({"rank": 4}, "block1_0", 4),
        ({"mu": 1.0}, "block1_0", 1),
        ({"mu": 0.0}, "common_0", 2),
        ({"common": 0.0}, "common_0", 0),
        ({"context": 0.0}, "context_0", 1),
        ({"tier": "T0"}, "context_0", 1),
        ({"common": 0.6, "context": 0.4}, "block0_0", 0),
        ({"signal": 0.0}, "common_0", 0),
    ],
)
def test_useful_widths_follow_the_knobs(knobs: dict[str, Any], field: str, width: int) -> None:
    data = small(**knobs)
    assert data.truth["useful_width"][field] == width
    assert (field in data.truth["useless_fields"]) == (width == 0)


def test_no_signal_leaves_nothing_to_learn() -> None:
    assert small(signal=0.0).truth["bayes_auc"] == 0.5


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_the_context_rule_can_have_more_groups(groups: int) -> None:
    data = small(tier="T1", groups=groups)
    assert len(data.fields) == 1 + 1 + 2 + 3 * groups + 2
    shares = np.bincount(whole(data, "groups")) / 4_500
    assert len(shares) == groups and np.abs(shares - 1 / groups).max() < 0.06


def test_balanced_sets_are_balanced() -> None:
    mass = 1 / np.sqrt(np.arange(1, 21))
    mass /= mass.sum()
    for parts in (2, 3, 4):
        sets = balanced_sets(mass, parts)
        assert np.abs(np.bincount(sets, weights=mass) - 1 / parts).max() < 0.03


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({"tier": "T5"}, "unknown tier 'T5'; did you mean"),
        ({"rule": "votes"}, "unknown rule 'votes'; did you mean 'vote'"),
        ({"heterogeneity": 1.2}, "heterogeneity is 1.2"),
        ({"heterogeneity": -0.1}, "heterogeneity is -0.1"),
        ({"heterogeneity": math.nan}, "heterogeneity is nan"),
        ({"mu": 2.0}, "mu is 2.0"),
        ({"common": -0.2}, "common is -0.2"),
        (
            {"tier": "T3", "common": 0.6, "context": 0.4},
            r"common 0.6 \+ context 0.4 \+ distractor 0.15 is more than 1",
        ),
        ({"groups": 1}, "groups is 1; rule 'vote' can have 2"),
        ({"groups": 3}, "groups is 3; rule 'vote' can have 2; more groups need rule 'ctx'"),
        ({"tier": "T4", "groups": 4}, "groups is 4; rule 'xor'"),
        ({"tier": "T1", "groups": 21}, "groups is 21; rule 'ctx' can have 2 to 20"),
        ({"train": 0}, "train is 0; it must be at least 10"),
        ({"test": 9}, "test is 9"),
        ({"seed": -1}, "seed is -1"),
        ({"rank": 0}, "rank is 0"),
        ({"signal": -1.0}, "signal is -1.0"),
        ({"signal": math.inf}, "signal is inf"),
        ({"beta": math.nan}, "beta is nan"),
    ],
)
def test_knobs_that_make_no_sense_are_named(knobs: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Planted(PlantedConfig(**knobs)).prepare(None)


def test_shares_that_make_up_the_whole_are_allowed() -> None:
    small(tier="T3", common=0.75, context=0.1)


def test_rows_too_few_for_both_classes_are_named() -> None:
    with pytest.raises(DataError, match="valid has 10 rows, all with the same label; raise valid"):
        make(train=100, valid=10, test=100, beta=-6.0)


def test_every_knob_is_explained_and_the_source_is_not_needed() -> None:
    assert all(f.metadata["help"] and f.metadata["source"] for f in dataclasses.fields(PlantedConfig))
    assert Planted(PlantedConfig()).source_fingerprint(None) == planted.VERSION
    with pytest.raises(DataError, match="nothing to download"):
        Planted.download(None)  # type: ignore[arg-type]
