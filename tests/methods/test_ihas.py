"""iHAS: each stage against what its equation says, and the whole against planted groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ihas_clusters import cluster, column_masks, field_router, sample_rows
from nasbench_rec.methods._ihas_gates import (
    GatedEmbedding,
    binary_concrete,
    selection_cut,
    straight_through,
)
from nasbench_rec.methods._polarization import regularizer
from nasbench_rec.methods.ihas import IHASConfig, weights_at
from torch.nn.functional import binary_cross_entropy_with_logits

from nasbench_rec.config import plain
from nasbench_rec.data import Field, Split
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.pipeline import Pipeline, assign, retrain, run_unit
from nasbench_rec.plans import Clustered
from nasbench_rec.protocol import Protocol
from nasbench_rec.recovery import group_recovery
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.routers import GateNetwork, GateRouter, cluster_features
from nasbench_rec.seeds import Seeds
from nasbench_rec.stages import Stages
from nasbench_rec.unit import DataRef, Task, Unit

SMALL = {"train": 6000, "valid": 1000, "test": 2000}
EARLY = {"gate_bias": 0.0, "lam_ramp": 0.0}
"""Gates that differ between samples after two epochs on few rows."""


def planted_unit(
    method: str, seed: int = 0, settings: dict | None = None, protocol: dict | None = None, **data
) -> Unit:
    source = resolve_dataset("planted", data)
    ref = DataRef("planted", source.source_fingerprint(None), plain(source.config))
    task = Task(ref, "deepfm", Protocol(**{**source.info.protocol, **(protocol or {})}))
    return Unit(task, resolve_method(method, settings), Seeds.of(seed))


def derive(unit: Unit, folder) -> tuple[Pipeline, Clustered]:
    pipeline = Pipeline(Stages(folder / "stages"))
    plan, _, _ = pipeline.derive(unit, pipeline.prepare(unit.task.data))
    assert isinstance(plan, Clustered)
    return pipeline, plan


def test_binary_concrete_is_bernoulli_with_the_relaxations_gradient():
    torch.manual_seed(0)
    logits = torch.tensor([-2.0, 0.0, 2.0]).repeat(40_000, 1).requires_grad_()
    mask = straight_through(binary_concrete(logits, 0.5))
    # Equal to 0 and 1 up to one rounding of the straight-through sum.
    assert torch.minimum(mask.abs(), (mask - 1).abs()).max() < 1e-6
    assert torch.allclose(mask.mean(0), logits[0].sigmoid(), atol=0.01)
    mask.sum().backward()
    assert (logits.grad > 0).float().mean() > 0.5
    soft = binary_concrete(logits, 0.5)
    assert 0.1 < ((soft > 0.05) & (soft < 0.95)).float().mean()


@pytest.mark.parametrize("scope", ["sample", "gate", "batch"])
def test_regularizer_is_the_polarization_formula(scope):
    pi = torch.rand(7, 5, dtype=torch.float64)
    total = 0.0
    for b in range(7):
        for j in range(5):
            mean = {"sample": pi[b].mean(), "gate": pi[:, j].mean(), "batch": pi.mean()}[scope]
            total += float(1.3 * pi[b, j] - 0.7 * (pi[b, j] - mean).abs())
    assert float(regularizer(pi, 1.3, 0.7, scope)) == pytest.approx(total / 35)


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0, 1.6])
def test_regularizer_is_least_for_polarized_gates_at_the_keep_rate_that_t_asks_for(t):
    # Zhuang et al.: the minimisers put a share rho = 1/2 - t/4 of the gates at 1, the rest at 0.
    polarized = [torch.cat([torch.ones(n), torch.zeros(100 - n)])[None] for n in range(101)]
    values = [float(regularizer(pi, t, 1.0, "sample")) for pi in polarized]
    assert int(np.argmin(values)) == round(100 * (0.5 - t / 4))
    assert min(values) < min(
        float(regularizer(torch.full((1, 100), v), t, 1.0, "sample")) for v in (0.1, 0.5, 0.9)
    )


def test_gates_depend_on_the_instance_and_are_deterministic_when_served():
    layout = Layout((Field("a", 5), Field("b", 7)), 4, std=1.0)
    torch.manual_seed(0)
    embedding = GatedEmbedding(layout, lambda: GateNetwork(8, bias=0.0))
    with torch.no_grad():
        embedding.gate.layers[-1].weight.normal_()
    ids = torch.tensor([[0, 0], [1, 3], [4, 6]])
    embedding.eval()
    served = embedding(ids)
    assert torch.equal(served, embedding(ids))
    masks = served != 0
    assert not torch.equal(masks[0], masks[1])
    kept = embedding.lookup(ids)[masks]
    assert torch.equal(served[masks], kept), "kept values stay unscaled"
    embedding.train()
    assert not torch.equal(embedding(ids), embedding(ids))
    embedding.eval().sampled = True
    assert not torch.equal(embedding(ids), embedding(ids)), "masks are sampled as in training"
    embedding.train().open = True
    assert torch.equal(embedding(ids), embedding.lookup(ids)) and embedding.probabilities is None


def test_lambdas_rise_as_scheduled():
    config = IHASConfig(lam=0.4, lam_ramp=0.5, lam_polarization=0.2, polarization_start=0.5)
    assert weights_at(config, 0.0) == (0.0, 0.0)
    assert weights_at(config, 0.25) == (pytest.approx(0.2), 0.0)
    assert weights_at(config, 0.75) == (pytest.approx(0.4), pytest.approx(0.1))
    assert weights_at(config, 1.0) == (pytest.approx(0.4), pytest.approx(0.2))
    assert weights_at(IHASConfig(lam=0.4), 0.0) == (0.4, 0.4), "one lambda for both, from the start"


def test_gates_with_products_see_parity_and_linear_gates_do_not():
    torch.manual_seed(0)
    e = torch.randn(2000, 2) * 0.1
    parity = (e[:, :1] * e[:, 1:] > 0).float()

    def loss(products: int) -> float:
        gate = GateNetwork(2, products=products)
        adam = torch.optim.Adam(gate.parameters(), lr=0.02)
        for _ in range(150):
            found = binary_cross_entropy_with_logits(gate(e)[:, :1], parity)
            adam.zero_grad()
            found.backward()
            adam.step()
        return float(found.detach())

    assert loss(8) < 0.3 < 0.65 < loss(0), "chance is log 2 = .69"


def test_cluster_features_are_the_four_inputs():
    e, logits = torch.tensor([[2.0, -3.0]]), torch.tensor([[1.0, -1.0]])
    assert cluster_features(e, logits, 0.5, "masked").tolist() == [[2.0, 0.0]]
    assert cluster_features(e, logits, 0.5, "mask").tolist() == [[1.0, 0.0]]
    assert torch.equal(cluster_features(e, logits, 0.5, "probabilities"), logits.sigmoid())
    assert torch.equal(cluster_features(e, logits, 0.5, "embedding"), e)


def test_clusters_are_found_and_equal_masks_give_one():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 500)
    features = np.where(truth[:, None] == 1, [1, 1, 0, 0], [0, 0, 1, 1]).astype(np.float32)
    found = cluster(features, 2, 3, np.random.default_rng(1))
    assert group_recovery(found.labels, truth)["adjusted_rand"] == 1.0 and found.centroids.shape == (2, 4)
    alike = cluster(np.ones((50, 3), np.float32), 2, 3, np.random.default_rng(1))
    assert len(alike.centroids) == 1 and not alike.labels.any(), "nothing instance-wise is left: one cluster"


def test_euclidean_rule_is_the_nearest_centroid():
    features = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    found = cluster(features, 3, 3, np.random.default_rng(1))
    distance = np.linalg.norm(features[:, None] - found.centroids, axis=2)
    assert np.array_equal(found.labels, distance.argmin(1))


def test_within_metric_sees_past_directions_in_which_all_clusters_are_wide():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 4000)
    # Both groups differ along a direction in which each of them is wide, and along one in which they are narrow.
    wide = rng.normal(size=(4000, 1)) * 0.7 + 1.2 * truth[:, None]
    features = np.concatenate([wide * np.ones((1, 6)), 1.5 * truth[:, None] * np.ones((1, 3))], 1)
    features = (features + rng.normal(size=features.shape) * 0.5).astype(np.float32)
    plain, refined = (
        group_recovery(cluster(features, 2, 5, np.random.default_rng(1), metric).labels, truth)
        for metric in ("euclidean", "within")
    )
    assert refined["adjusted_rand"] > 0.95 > 0.9 > plain["adjusted_rand"]


def test_column_masks_keep_the_cut_itself_and_never_nothing():
    mean = np.array([[0.5, 0.4, 0.9], [0.1, 0.3, 0.2]])
    masks = column_masks(mean, np.array([0.5, 0.5]))
    assert masks.tolist() == [[True, False, True], [False, True, False]]


def test_selection_cuts():
    pi = torch.cat([torch.full((600, 1), 0.02), torch.full((300, 1), 0.97), torch.full((100, 1), 0.3)])
    assert selection_cut(pi, "half", 0.5) == 0.5
    assert 0.3 < selection_cut(pi, "valley", 0.5) < 0.97
    cut = selection_cut(torch.rand(1000, 4), "topk", 0.3)
    assert cut == pytest.approx(0.7, abs=0.05)


def test_nonsense_settings_are_refused():
    for settings in (
        {"tau": 0.0},
        {"k": 0},
        {"keep": 1.0},
        {"lam": -1.0},
        {"lam_ramp": 1.5},
        {"polarization_start": 1.0},
        {"init_std": 0.0},
        {"rows": 1},
    ):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            resolve_method("ihas", settings)


def test_every_cluster_serves_and_trains_on_its_own_rows(tmp_path, monkeypatch):
    unit = planted_unit("ihas/robust-l1", settings=EARLY, protocol={"epochs": 2}, **SMALL)
    pipeline, plan = derive(unit, tmp_path)
    data = pipeline.prepare(unit.task.data)
    seen = []
    import nasbench_rec.pipeline as module

    real = module.fit
    monkeypatch.setattr(module, "fit", lambda m, rows, *a, **k: seen.append(rows) or real(m, rows, *a, **k))
    model, _ = retrain(plan, unit.task, data.without_test(), unit.seeds)
    model.eval()
    assert len(plan.plans) == 2
    cluster_of = assign(plan.router, data.split("train"))
    assert [len(rows) for rows in seen] == np.bincount(cluster_of).tolist()
    ids = torch.from_numpy(np.array(data.split("valid").ids[:64]))
    with torch.no_grad():
        own = plan.router(ids)
        expected = torch.stack([model.models[c](ids[i : i + 1])[0] for i, c in enumerate(own.tolist())])
        assert torch.allclose(model(ids), expected, atol=1e-6)


def test_warm_rows_start_from_the_searched_rows_under_the_clusters_mask(tmp_path):
    unit = planted_unit("ihas/robust-l1", settings=EARLY, protocol={"epochs": 2}, **SMALL)
    _, plan = derive(unit, tmp_path)
    searched = plan.router.lookup.table.weight
    for part in plan.plans:
        weight = part.weights["embedding.lookup.table.weight"]
        assert part.recipe == "warm_rows" and torch.equal(weight[weight != 0], searched[weight != 0])
    scratch = derive(planted_unit("ihas", protocol={"epochs": 2}, **SMALL), tmp_path)[1]
    assert all(part.recipe == "scratch" and not part.weights for part in scratch.plans)


def test_another_k_needs_no_new_search(tmp_path):
    first = planted_unit("ihas/robust", protocol={"epochs": 2}, **SMALL)
    other = planted_unit("ihas/robust", settings={"k": 3}, protocol={"epochs": 2}, **SMALL)
    derive(first, tmp_path)
    pipeline, _ = derive(other, tmp_path)
    assert {use.kind: use.reused for use in pipeline.stages.used} == {
        "prepare": True,
        "search": True,
        "derive": False,
    }


def test_router_and_its_cost_belong_to_the_model(tmp_path):
    unit = planted_unit("ihas/robust-l1", settings=EARLY, protocol={"epochs": 2}, **SMALL)
    _, plan = derive(unit, tmp_path)
    layout = Layout(plan.router.lookup.fields, 8)
    table = layout.rows * 8
    router = {i.part: i.params for i in plan.router.cost()}
    width = len(layout.fields) * 8
    assert router == {
        "router": table,
        "gate": width * width + width,
        "centroids": plan.router.clusters * (width + 1),
    }
    assert sum(i.params for i in plan.cost(layout) if i.part == "router") == table


def test_router_sends_a_sample_to_the_nearest_centroid():
    router = GateRouter(Layout((Field("a", 3),), 2), 2, which="embedding")
    with torch.no_grad():
        router.lookup.table.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.9, 1.2]]))
        centroids = torch.tensor([[1.0, 1.0], [0.0, 0.1]])
        router.directions.copy_(centroids)
        router.offsets.copy_(-(centroids**2).sum(1) / 2)
    assert router(torch.tensor([[0], [1], [2]])).tolist() == [1, 0, 0]


def test_planted_groups_are_recovered_where_random_clusters_cannot(tmp_path):
    """Tier T1: one context field decides the group. Random clusters would have an adjusted Rand index of 0."""
    unit = planted_unit("ihas/robust-l1", tier="T1", seed=0, train=100_000)
    pipeline, plan = derive(unit, tmp_path)
    test = pipeline.prepare(unit.task.data).split("test")
    assert group_recovery(assign(plan.router, test), test.groups)["adjusted_rand"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_vote_groups_are_recovered_by_masks_and_not_by_embeddings(tmp_path, seed):
    unit = planted_unit("ihas/robust", seed=seed)
    pipeline, plan = derive(unit, tmp_path)
    test = pipeline.prepare(unit.task.data).split("test")
    assert group_recovery(assign(plan.router, test), test.groups)["adjusted_rand"] > 0.9
    plain_embeddings = planted_unit("ihas/robust", seed=seed, settings={"cluster_on": "embedding"})
    _, other = derive(plain_embeddings, tmp_path)
    assert group_recovery(assign(other.router, test), test.groups)["adjusted_rand"] < 0.3


def small(tmp_path, **settings) -> tuple[Pipeline, object, Unit]:
    unit = planted_unit("ihas/robust-l1", settings={**EARLY, **settings}, protocol={"epochs": 2}, **SMALL)
    pipeline = Pipeline(Stages(tmp_path / "stages"))
    return pipeline, pipeline.derive(unit, pipeline.prepare(unit.task.data))[0], unit


def test_random_clusters_have_the_sizes_of_those_of_kmeans_and_nothing_else_of_them(tmp_path):
    pipeline, plan, unit = small(tmp_path)
    rows = pipeline.prepare(unit.task.data).split("train")
    real = assign(plan.router, rows)
    _, control, _ = small(tmp_path, clusters="random")
    random = assign(control.router, rows)
    sizes = [np.bincount(c, minlength=2) / len(rows) for c in (real, random)]
    assert np.abs(sizes[0] - sizes[1]).max() < 0.02
    assert abs(group_recovery(random, real)["adjusted_rand"]) < 0.01
    assert np.array_equal(random, assign(control.router, rows)), "a sample always goes to the same cluster"
    assert all(part.recipe == "warm_rows" for part in control.plans), "treated as the real clusters are"


def test_one_fields_value_imitates_clusters_that_follow_that_field():
    fields = (Field("a", 6), Field("b", 4), Field("c", 5))
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(0, f.cardinality, 4000) for f in fields], 1).astype(np.int32)
    labels = (ids[:, 1] >= 2).astype(np.int64)
    noisy = np.where(rng.random(4000) < 0.1, 1 - labels, labels)

    class Fake:
        layout = Layout(fields, 4)
        diagnosed: dict = {}

        def rng(self, name):
            return np.random.default_rng(0)

        def diagnose(self, name, value):
            self.diagnosed[name] = value

    task = Fake()
    task.fields = fields
    router = field_router(task, Split(ids, np.zeros(4000, np.float32)), noisy, None)
    assert task.diagnosed["cluster_field"] == "b"
    assert np.array_equal(router(torch.from_numpy(ids)).numpy(), labels)
    with pytest.raises(ConfigError, match="did you mean"):
        field_router(task, Split(ids, np.zeros(4000, np.float32)), noisy, "bb")


def test_gates_with_products_route_and_serve_as_searched(tmp_path):
    pipeline, plan, unit = small(tmp_path, gate_products=4)
    data = pipeline.prepare(unit.task.data)
    _, alone, _ = small(tmp_path, gate_products=4, clusters="none")
    model = pipeline.load_model(alone, unit.task, data, unit.seeds)
    ids = torch.from_numpy(np.array(data.split("valid").ids[:100]))
    assert torch.equal(plan.router.masks(ids), model.embedding.masks(ids))


def test_without_clusters_the_search_model_serves_each_sample_its_own_mask(tmp_path):
    pipeline, plan, unit = small(tmp_path, clusters="none")
    data = pipeline.prepare(unit.task.data)
    assert plan.kind == "instance_wise" and plan.recipe == "none"
    model = pipeline.load_model(plan, unit.task, data, unit.seeds)
    _, clustered, _ = small(tmp_path)
    ids = torch.from_numpy(np.array(data.split("valid").ids[:200]))
    with torch.no_grad():
        e = clustered.router.lookup(ids)
        masks = clustered.router.masks(ids).view_as(e)
        expected = model.backbone(e * masks, ids)
        assert torch.allclose(model(ids), expected, atol=1e-6)
    assert not torch.equal(masks[0], masks[1])


def test_full_width_keeps_every_column_of_every_cluster(tmp_path):
    _, plan, _ = small(tmp_path, columns="all")
    assert all(part.mask.all() for part in plan.plans) and len(plan.plans) == 2


def test_large_data_are_sampled_for_clustering():
    split = Split(np.arange(100, dtype=np.int32)[:, None], np.zeros(100, np.float32))
    rng = np.random.default_rng(0)
    assert sample_rows(split, 100, rng) is split
    few = sample_rows(split, 30, rng)
    assert len(few) == 30 and (np.diff(few.ids[:, 0]) > 0).all()


def test_the_record_shows_gates_clusters_and_routing(tmp_path):
    unit = planted_unit("ihas/paper", protocol={"epochs": 3}, **SMALL)
    record = run_unit(unit, tmp_path)
    assert record["status"] == "ok", record["error"]
    search, derived = (record["diagnostics"][stage] for stage in ("search", "derive"))
    assert [entry["gated"] for entry in search["trend"]] == [False, False, True]
    last = search["trend"][-1]
    assert sum(last["histogram"]) == pytest.approx(1, abs=1e-4) and last["gate_gradient"] > 0
    assert {"auc", "logloss"} <= search["sampled_scores"].keys()
    assert sum(derived["probability_histogram"]["train"]) == pytest.approx(1, abs=1e-3)
    assert set(derived["cluster_field_information"]) <= set(derived["fields"])
    assert sum(derived["cluster_sizes"]) == 5400, "the training rows less the search split"
    routing = record["routing"]
    assert [sum(share) for share in routing["shares"].values()] == pytest.approx([1, 1, 1])
    assert sum(c["rows"] for c in routing["clusters"]) == SMALL["test"]
    assert set(record["ledger"]["router_latency_seconds"]) == set(record["ledger"]["latency_seconds"])
    assert 0 <= record["recovery"]["own_keep"] <= 1
    assert isinstance(record["health"], list)
