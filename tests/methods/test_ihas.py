"""iHAS: each stage against what its equation says, and the whole against planted groups."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nasbench_rec.methods.ihas import (
    GatedEmbedding,
    IHASConfig,
    binary_concrete,
    cluster,
    column_masks,
    regularizer,
    selection_cut,
)

from nasbench_rec.config import plain
from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.pipeline import Pipeline, assign, retrain
from nasbench_rec.plans import Clustered
from nasbench_rec.protocol import Protocol
from nasbench_rec.recovery import group_recovery
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.routers import GateRouter, cluster_features
from nasbench_rec.seeds import Seeds
from nasbench_rec.stages import Stages
from nasbench_rec.unit import DataRef, Task, Unit

SMALL = {"train": 6000, "valid": 1000, "test": 2000}


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
    mask = binary_concrete(logits, 0.5, hard=True)
    # Equal to 0 and 1 up to one rounding of the straight-through sum.
    assert torch.minimum(mask.abs(), (mask - 1).abs()).max() < 1e-6
    assert torch.allclose(mask.mean(0), logits[0].sigmoid(), atol=0.01)
    mask.sum().backward()
    assert (logits.grad > 0).float().mean() > 0.5
    soft = binary_concrete(logits, 0.5, hard=False)
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
    embedding = GatedEmbedding(layout, IHASConfig(gate_bias=0.0))
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
    embedding.open = True
    assert torch.equal(embedding(ids), embedding.lookup(ids)) and embedding.probabilities is None


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
    labels, centroids = cluster(features, 2, 3, np.random.default_rng(1))
    assert group_recovery(labels, truth)["adjusted_rand"] == 1.0 and centroids.shape == (2, 4)
    labels, centroids = cluster(np.ones((50, 3), np.float32), 2, 3, np.random.default_rng(1))
    assert len(centroids) == 1 and not labels.any(), "nothing instance-wise is left: one cluster"


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
    for settings in ({"tau": 0.0}, {"k": 0}, {"keep": 1.0}, {"lam": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            resolve_method("ihas", settings)


def test_every_cluster_serves_and_trains_on_its_own_rows(tmp_path, monkeypatch):
    unit = planted_unit("ihas/robust-l1", protocol={"epochs": 2}, **SMALL)
    pipeline, plan = derive(unit, tmp_path)
    data = pipeline.prepare(unit.task.data)
    seen = []
    import nasbench_rec.pipeline as module

    real = module.fit
    monkeypatch.setattr(module, "fit", lambda m, rows, *a, **k: seen.append(rows) or real(m, rows, *a, **k))
    model, _ = retrain(plan, unit.task, data.without_test(), unit.seeds)
    model.eval()
    cluster_of = assign(plan.router, data.split("train"))
    assert [len(rows) for rows in seen] == np.bincount(cluster_of).tolist()
    ids = torch.from_numpy(np.array(data.split("valid").ids[:64]))
    with torch.no_grad():
        own = plan.router(ids)
        expected = torch.stack([model.models[c](ids[i : i + 1])[0] for i, c in enumerate(own.tolist())])
        assert torch.allclose(model(ids), expected, atol=1e-6)


def test_warm_rows_start_from_the_searched_rows_under_the_clusters_mask(tmp_path):
    unit = planted_unit("ihas/robust-l1", protocol={"epochs": 2}, **SMALL)
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
    unit = planted_unit("ihas/robust-l1", protocol={"epochs": 2}, **SMALL)
    _, plan = derive(unit, tmp_path)
    layout = Layout(plan.router.lookup.fields, 8)
    table = layout.rows * 8
    router = {i.part: i.params for i in plan.router.cost()}
    width = len(layout.fields) * 8
    assert router == {
        "router": table,
        "gate": width * width + width,
        "centroids": plan.router.clusters * width,
    }
    assert sum(i.params for i in plan.cost(layout) if i.part == "router") == table


def test_router_sends_a_sample_to_the_nearest_centroid():
    router = GateRouter(Layout((Field("a", 3),), 2), 2, which="embedding")
    with torch.no_grad():
        router.lookup.table.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.9, 1.2]]))
        router.centroids.copy_(torch.tensor([[1.0, 1.0], [0.0, 0.1]]))
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
    unit = planted_unit("ihas/robust-l1", seed=seed)
    pipeline, plan = derive(unit, tmp_path)
    test = pipeline.prepare(unit.task.data).split("test")
    assert group_recovery(assign(plan.router, test), test.groups)["adjusted_rand"] > 0.9
    plain_embeddings = planted_unit("ihas/robust-l1", seed=seed, settings={"cluster_on": "embedding"})
    _, other = derive(plain_embeddings, tmp_path)
    assert group_recovery(assign(other.router, test), test.groups)["adjusted_rand"] < 0.3
