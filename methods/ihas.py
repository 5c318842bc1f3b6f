"""`ihas`: instance-wise hierarchical architecture search (Yu et al., CIKM 2023, arXiv 2309.07967).

Stage 1, searching. Gate probabilities pi(x) = sigmoid(g(e(x))) from the sample's own concatenated embedding e(x)
in R^D, D = F d; m_j ~ Bernoulli(pi_j), relaxed by the binary concrete distribution,

    m_j = sigmoid((logit pi_j + log u - log(1 - u)) / tau),   u ~ U(0, 1);

the base model predicts from e(x) * m(x), and the loss is BCE + lambda R with

    R(pi) = t ||pi||_1 - ||pi - mean(pi)||_1,   both divided by D (Zhuang et al., NeurIPS 2020).

Stage 2, clustering. Deterministic masks m(x) = 1[pi(x) > c]; K-Means with k clusters.
Stage 3, retraining. Per cluster the masks are averaged and cut at a searched threshold theta, giving one column
mask; each cluster has tables and a backbone of its own. A sample is routed: search embedding -> deterministic
mask -> nearest centroid. What routes is part of the served model and of its cost.

No code was published and only the abstract, a summary and Figure 1 were at hand: what they do not say is a named
option here, marked "inferred" in its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from nasbench_rec.methods._ihas_clusters import (
    Clusters,
    Metric,
    cluster,
    column_masks,
    field_router,
    sample_rows,
    threshold_curve,
)
from nasbench_rec.methods._ihas_gates import GatedEmbedding, gate_outputs, selection_cut
from nasbench_rec.methods._ihas_health import findings
from nasbench_rec.methods._ihas_record import record_clusters, record_gates, record_separation
from nasbench_rec.methods._ihas_trend import GateWatch
from nasbench_rec.methods._polarization import regularizer
from torch import Tensor

from nasbench_rec.data import Split
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import CTRModel
from nasbench_rec.pipeline import assign
from nasbench_rec.plans import Clustered, ColumnMask, EmbeddingPlan, InstanceWise
from nasbench_rec.protocol import setting
from nasbench_rec.routers import ClusterInput, GateNetwork, GateRouter, HashRouter, Router, cluster_features
from nasbench_rec.searcher import Finding, MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.seeds import seeded, stream
from nasbench_rec.training import Bilevel, Frozen, Hook, ParamGroup, Step

TABLE = "embedding.lookup.table.weight"
GATE = "embedding.gate."
ROBUST = {
    "cluster_on": "mask",
    "metric": "within",
    "warmup_epochs": 0,
    "retrain": "warm_rows",
    "init_std": 0.1,
    "lam_ramp": 0.5,
}
"""What the two robust presets share: chosen on planted data with seeds 0 to 6 (docs/ihas.md)."""


@dataclass(frozen=True)
class IHASConfig:
    """Settings of `ihas`; the defaults are the preset `paper`."""

    lam: float = setting(
        0.05,
        "lambda: weight of the regularizer (means per gate)",
        source="inferred; planted-data prototype",
        space={"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    )
    t: float = setting(
        1.0,
        "weight of the L1 part: asks for the keep-rate 1/2 - t/4 where the regularizer dominates",
        source="Zhuang et al. 2020; value inferred",
        space={"type": "float", "low": -1.0, "high": 2.0},
    )
    lam_polarization: float | None = setting(
        None,
        "lambda of the polarization part apart; none: as lam, 0: L1 only",
        source="paper: one lambda; apart: inferred",
        space={"type": "float", "low": 0.0, "high": 0.3},
    )
    lam_ramp: float = setting(
        0.0, "share of the gated steps over which lambda rises linearly from 0", source="ours"
    )
    polarization_start: float = setting(
        0.0,
        "share of the gated steps before the polarization part begins to rise, linearly, to its weight at the end",
        source="ours: gates first learn to depend on the instance, then polarize",
    )
    scope: Literal["sample", "gate", "batch"] = setting(
        "sample",
        "the mean in the polarization: over a sample's gates, over the batch per gate, over all",
        source="inferred",
        space={"type": "categorical", "choices": ["sample", "gate", "batch"]},
    )
    tau: float = setting(
        0.5,
        "temperature of the relaxed Bernoulli",
        source="paper's first experiment",
        space={"type": "float", "low": 0.05, "high": 5.0, "log": True},
    )
    tau_end: float | None = setting(
        None,
        "temperature at the last step, reached geometrically; none: constant",
        source="inferred",
        space={"type": "float", "low": 0.05, "high": 1.0, "log": True},
    )
    hard: bool = setting(
        True,
        "0/1 masks forward with the relaxation's gradient (straight-through), or soft masks",
        source="inferred from Figure 1",
        space={"type": "categorical", "choices": [True, False]},
    )
    gate_hidden: tuple[int, ...] = setting(
        (),
        "hidden layers of the gate network; none: linear",
        source="inferred",
        space={"type": "categorical", "choices": [[], [64]]},
    )
    gate_products: int = setting(
        0,
        "products of two linear maps of the embeddings that the gate network sees beside them: for groups that two "
        "fields decide together",
        source="ours: solves planted tier T4, which no linear gate can",
        space={"type": "categorical", "choices": [0, 64]},
    )
    gate_bias: float = setting(
        1.0,
        "initial bias of the gate logits (1: start mostly open)",
        source="prototype",
        space={"type": "float", "low": 0.0, "high": 3.0},
    )
    gate_lr: float = setting(
        1e-2,
        "Adam's learning rate of the gate network",
        source="prototype",
        space={"type": "float", "low": 1e-3, "high": 3e-2, "log": True},
    )
    init_std: float | None = setting(
        None,
        "standard deviation of the search table's initial values; none: the protocol's",
        source="ours: gates can depend on the instance only through embeddings that differ",
        space={"type": "float", "low": 0.01, "high": 0.3, "log": True},
    )
    bilevel: bool = setting(
        False,
        "step the gate network on the search split instead of the training rows",
        source="inferred",
        space={"type": "categorical", "choices": [False, True]},
    )
    bilevel_every: int = setting(
        1,
        "training steps per structure step when bi-level",
        source="inferred",
        space={"type": "int", "low": 1, "high": 10, "when": {"bilevel": True}},
    )
    warmup_epochs: int = setting(
        2,
        "epochs without gates before the search",
        source="inferred (AdaFS' set-up)",
        space={"type": "int", "low": 0, "high": 4},
    )
    epochs: int | None = setting(
        None, "gated epochs; none: the protocol's epochs less the warm-up", source="inferred"
    )
    k: int = setting(
        2,
        "clusters",
        source="paper's first experiment",
        space={"type": "int", "low": 2, "high": 8, "when": {"clusters": ["kmeans", "random"]}},
        stage="derive",
    )
    clusters: Literal["kmeans", "random", "field", "none"] = setting(
        "kmeans",
        "who is served by which model: K-Means; controls: random clusters of the same sizes, one field's value; none: "
        "no clusters, the search model serves its instance-wise masks",
        source="paper: K-Means; controls ours",
        space={"type": "categorical", "choices": ["kmeans", "random", "field", "none"]},
        stage="derive",
    )
    cluster_field: str | None = setting(
        None,
        "the field of clusters = field; none: the one that says most about the K-Means clusters",
        source="ours",
        stage="derive",
    )
    selection: Literal["half", "valley", "topk"] = setting(
        "half",
        "deterministic masks: pi > 0.5, pi > valley of the histogram, or the cut that keeps `keep` of all gates",
        source="inferred",
        space={"type": "categorical", "choices": ["half", "valley", "topk"]},
        stage="derive",
    )
    keep: float = setting(
        0.5,
        "share of gates kept with selection = topk",
        source="inferred",
        space={"type": "float", "low": 0.1, "high": 0.9, "when": {"selection": "topk"}},
        stage="derive",
    )
    cluster_on: ClusterInput = setting(
        "masked",
        "what K-Means sees: masked embeddings, mask, probabilities, embedding",
        source="Figure 1: masked embeddings",
        space={"type": "categorical", "choices": ["masked", "mask", "probabilities", "embedding"]},
        stage="derive",
    )
    metric: Metric = setting(
        "euclidean",
        "K-Means' distance, or (within) refined in the metric of the clusters' own scatter: directions in which every "
        "cluster is wide count less",
        source="paper: K-Means; within: ours, measured on planted data",
        space={"type": "categorical", "choices": ["euclidean", "within"]},
        stage="derive",
    )
    restarts: int = setting(10, "restarts of K-Means", source="inferred", stage="derive")
    rows: int = setting(
        300_000,
        "training rows that stages 2 and 3 look at; a random sample where there are more",
        source="ours: bounds memory",
        stage="derive",
    )
    columns: Literal["searched", "all"] = setting(
        "searched",
        "columns of a cluster: the averaged masks, cut; or all of them (control: the clusters without their masks)",
        source="paper: searched; all: control",
        space={"type": "categorical", "choices": ["searched", "all"]},
        stage="derive",
    )
    threshold: float | None = setting(
        None,
        "theta, the cut of the averaged masks; none: searched on the search split",
        source="paper: searched",
        space={"type": "categorical", "choices": [None, 0.1, 0.25, 0.5]},
        stage="derive",
    )
    thresholds: tuple[float, ...] = setting(
        (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "grid of the search",
        source="inferred",
        stage="derive",
    )
    threshold_per_cluster: bool = setting(
        True,
        "one theta for each cluster, or one for all",
        source="inferred",
        space={"type": "categorical", "choices": [True, False]},
        stage="derive",
    )
    retrain: Literal["scratch", "warm_rows"] = setting(
        "scratch",
        "retrain from scratch, or from the search model's embedding rows",
        source="inferred",
        space={"type": "categorical", "choices": ["scratch", "warm_rows"]},
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        for name in ("tau", "gate_lr", "init_std", "tau_end"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"ihas.{name} = {value}: must be above 0.")
        if not (0 <= self.lam_ramp <= 1 and 0 <= self.polarization_start < 1):
            raise ConfigError("ihas: lam_ramp lies in [0, 1] and polarization_start in [0, 1).")
        if self.gate_products < 0:
            raise ConfigError("ihas.gate_products must be at least 0.")
        if self.rows < 2 or (self.lam_polarization or 0) < 0:
            raise ConfigError("ihas: rows must be at least 2, lam_polarization at least 0.")
        if self.k < 1 or self.restarts < 1 or self.warmup_epochs < 0 or self.lam < 0:
            raise ConfigError("ihas: k and restarts must be at least 1, warmup_epochs and lam at least 0.")
        if not self.thresholds or not 0 < self.keep < 1:
            raise ConfigError("ihas: `thresholds` needs a value and `keep` lies between 0 and 1.")


def weights_at(config: IHASConfig, share: float) -> tuple[float, float]:
    """Return lambda of the L1 and of the polarization part when a `share` of the gated steps is done."""
    ramp = min(1.0, share / config.lam_ramp) if config.lam_ramp > 0 else 1.0
    polar = config.lam if config.lam_polarization is None else config.lam_polarization
    start = config.polarization_start
    rise = ramp if start <= 0 else max(0.0, share - start) / (1 - start)
    return config.lam * ramp, polar * rise


class _Gates(Hook):
    """Adds lambda R, anneals tau, gives the gate network a learning rate of its own, watches the gates."""

    def __init__(self, embedding: GatedEmbedding, config: IHASConfig) -> None:
        self.embedding, self.config = embedding, config
        self.watch = embedding.watch = GateWatch()
        self.trend: list[dict[str, Any]] = [
            self.watch.close(epoch, config.tau, gated=False) for epoch in range(config.warmup_epochs)
        ]

    def groups(self) -> Sequence[ParamGroup]:
        """Return the gate network's group (single-level)."""
        if self.config.bilevel:
            return ()
        return (ParamGroup(tuple(self.embedding.gate.parameters()), self.config.gate_lr),)

    def before_step(self, step: Step) -> None:
        """Anneal tau geometrically where asked to; watch every tenth step."""
        if self.config.tau_end is not None:
            self.embedding.tau = self.config.tau * (self.config.tau_end / self.config.tau) ** step.share
        self.watch.arm()

    def penalty(self, step: Step) -> Tensor:
        """Return lambda R of the last forward pass."""
        assert self.embedding.probabilities is not None
        sparse, polar = weights_at(self.config, step.share)
        return regularizer(self.embedding.probabilities, sparse * self.config.t, polar, self.config.scope)

    def extra_loss(self, step: Step) -> Tensor | None:
        """Return lambda R; bi-level it belongs to the structure step instead."""
        return None if self.config.bilevel else self.penalty(step)

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Close an epoch of the polarization trend."""
        epoch = self.config.warmup_epochs + step.epoch
        self.trend.append(self.watch.close(epoch, self.embedding.tau, gated=True))


class IHAS(Searcher):
    """iHAS: instance-wise gates, clustering of their masks, one column mask and one model per cluster.

    Search: with e(x) the sample's concatenated embeddings and D = F d gates,

        pi(x) = sigmoid(g(e(x))),    m_j = sigmoid((logit pi_j + log u - log(1 - u)) / tau),    u ~ U(0, 1),
        loss = BCE(e(x) * m(x)) + lambda (t ||pi||_1 - ||pi - mean(pi)||_1) / D.

    Derive: masks 1[pi(x) > c] of the training rows are clustered by K-Means with k clusters; per cluster their mean is
    cut at a searched threshold. Retrain: each cluster has tables and a backbone of its own. A sample goes from its
    search embedding to its mask to the nearest centroid: that router is part of the served model and of its cost.
    """

    info = MethodInfo(
        name="ihas",
        title="iHAS: instance-wise hierarchical architecture search",
        level="instance",
        data="train+search",
        budget="none",
        plans=("clustered",),
        faithfulness="inferred",
        paper="arXiv 2309.07967",
        year=2023,
        deviations=(
            "the paper's equations and hyper-parameters were not at hand: every inferred point is an option",
            "the threshold is searched with the search model's weights, without retraining for each candidate",
        ),
        version=2,
    )
    Config = IHASConfig
    presets = {
        "paper": {},
        "robust": {**ROBUST, "lam_polarization": 0.5, "polarization_start": 0.7},
        "robust-products": {
            **ROBUST,
            "lam_polarization": 0.5,
            "polarization_start": 0.7,
            "gate_products": 64,
            "epochs": 30,
        },
        "robust-l1": {**ROBUST, "lam": 0.06, "lam_polarization": 0.0},
    }

    def search(self, task: SearchTask) -> SearchState:
        """Stage 1: train the gated model for a fixed number of epochs (early stopping would end it too soon)."""
        config = self.config
        model, embedding = self._build(task)
        if config.warmup_epochs:
            embedding.open = True
            frozen = Frozen(list(embedding.gate.parameters()))
            task.fit(model, [frozen], epochs=config.warmup_epochs, early_stopping=False)
            embedding.open = False
        gates = _Gates(embedding, config)
        hooks: list[Hook] = [gates]
        if config.bilevel:
            gate = tuple(embedding.gate.parameters())
            lr, every = config.gate_lr, config.bilevel_every
            hooks.append(
                Bilevel(gate, task.search, task.protocol, task.seed, lr=lr, every=every, loss=gates.penalty)
            )
        epochs = config.epochs or max(1, task.protocol.epochs - config.warmup_epochs)
        task.fit(model, hooks, epochs=epochs, early_stopping=False)
        task.diagnose("trend", gates.trend)
        task.diagnose("search_scores", task.evaluate(model))
        task.diagnose("sampled_scores", _sampled_scores(task, model, embedding))
        return SearchState(tensors=model.state_dict())

    def _build(self, task: SearchTask) -> tuple[CTRModel, GatedEmbedding]:
        """Return a new search model and its gated embedding."""
        c, layout = self.config, task.layout
        width = len(layout.fields) * layout.dim

        def gate() -> GateNetwork:
            return GateNetwork(width, c.gate_hidden, c.gate_bias, c.gate_products)

        model = task.build(lambda: GatedEmbedding(layout, gate, c.init_std, c.tau, c.hard))
        assert isinstance(model.embedding, GatedEmbedding)
        return model, model.embedding

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Stages 2 and 3 up to the plan: clusters, their column masks, the router."""
        config = self.config
        model, _ = self._build(task)
        model.load_state_dict(dict(state.tensors))
        rows = sample_rows(task.train, config.rows, task.rng("rows"))
        e, logits = gate_outputs(model, rows, task.protocol.device)
        pi = logits.sigmoid()
        cut = selection_cut(pi, config.selection, config.keep)
        masks = (pi > cut).numpy()
        search = sample_rows(task.search, config.rows, task.rng("search rows"))
        _, held = gate_outputs(model, search, task.protocol.device)
        task.diagnose("k_wanted", config.k)
        record_gates(task, pi.numpy(), held.sigmoid().numpy(), masks, cut)
        if config.clusters == "none":
            return self._instance_wise(task, state, masks, cut)
        features = cluster_features(e, logits, cut, config.cluster_on).numpy()
        found = cluster(features, config.k, config.restarts, task.rng("clusters"), config.metric)
        record_separation(task, features, found.labels, found.centroids, self._recluster(task, features))
        router = self._router(task, state, cut, found, rows)
        labels = found.labels if config.clusters == "kmeans" else assign(router, rows)
        mean = np.stack([masks[labels == c].mean(0) for c in range(router.clusters)])
        columns, theta = self._columns(task, model, mean, router)
        task.diagnose("theta", theta.tolist())
        record_clusters(task, masks, labels, rows, mean, columns)
        return Clustered(router=router, plans=tuple(self._part(task, state, mask) for mask in columns))

    def health(
        self, diagnostics: Mapping[str, Any], routing: Mapping[str, Any] | None
    ) -> tuple[Finding, ...]:
        """Say in words which failure signatures the run shows."""
        return tuple(findings(self.config, diagnostics, routing))

    def _instance_wise(
        self, task: SearchTask, state: SearchState, masks: np.ndarray, cut: float
    ) -> InstanceWise:
        """Return the search model as it is: every sample is served its own mask (control: no clusters)."""
        rates = masks.mean(0, dtype=np.float32).reshape(len(task.fields), task.layout.dim)
        gate = {"hidden": list(self.config.gate_hidden), "products": self.config.gate_products}
        options = {**gate, "cut": cut}
        weights = dict(state.tensors)
        return InstanceWise(gate="column", options=options, rates=rates, recipe="none", weights=weights)

    def _recluster(self, task: SearchTask, features: np.ndarray) -> Callable[[int], np.ndarray]:
        """Return what clusters the same rows again with another seed (to see whether assignments hold)."""
        k, restarts, metric = self.config.k, self.config.restarts, self.config.metric
        return lambda i: cluster(features, k, restarts, task.rng(f"clusters again {i}"), metric).labels

    def _router(
        self, task: SearchTask, state: SearchState, cut: float, found: Clusters, rows: Split
    ) -> Router:
        """Return what sends samples to clusters: gates and centroids, or what stands in for them in a control."""
        config, k = self.config, len(found.centroids)
        if config.clusters == "random":
            shares = np.bincount(found.labels) / len(found.labels)
            shares = shares if k == config.k else np.full(config.k, 1 / config.k)
            return HashRouter.of(task.layout, shares.tolist(), task.rng("random clusters"))
        if config.clusters == "field":
            return field_router(task, rows, found.labels, config.cluster_field)
        hidden, products = config.gate_hidden, config.gate_products
        router = GateRouter(task.layout, k, hidden, cut, config.cluster_on, products=products)
        own = {"lookup.table.weight": state.tensors[TABLE]}
        own |= {name: torch.from_numpy(getattr(found, name)) for name in ("directions", "offsets")}
        own |= {k.removeprefix("embedding."): v for k, v in state.tensors.items() if k.startswith(GATE)}
        router.load_state_dict(own)
        return router.requires_grad_(False).eval()

    def _part(self, task: SearchTask, state: SearchState, mask: np.ndarray) -> ColumnMask:
        """Return one cluster's plan, with the masked search rows where retraining is warm."""
        if self.config.retrain == "scratch":
            return ColumnMask(mask=mask)
        rows = torch.from_numpy(mask[task.layout.field_of_row].astype(np.float32))
        return ColumnMask(mask=mask, recipe="warm_rows", weights={TABLE: state.tensors[TABLE] * rows})

    def _columns(
        self, task: SearchTask, model: CTRModel, mean: np.ndarray, router: Router
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the clusters' column masks, bool [k, F, d], and their thetas [k] (fixed, or of least Logloss)."""
        config, shape = self.config, (len(mean), len(task.fields), task.layout.dim)
        if config.columns == "all":
            return np.ones(shape, dtype=bool), np.zeros(len(mean))
        theta = np.full(len(mean), config.threshold)
        if config.threshold is None:
            theta = self._search_thresholds(task, model, mean, assign(router, task.search))
        return column_masks(mean, theta).reshape(shape), theta

    def _search_thresholds(
        self, task: SearchTask, model: CTRModel, mean: np.ndarray, search_cluster: np.ndarray
    ) -> np.ndarray:
        """Return the grid value of the least Logloss on the search split, per cluster or for all [k]."""
        grid = np.array(self.config.thresholds)
        sizes = np.bincount(search_cluster, minlength=len(mean))
        curve = np.stack(
            [threshold_curve(task, model, mean[c], search_cluster == c, grid) for c in range(len(mean))]
        )
        found = {"theta": grid.tolist(), "logloss": curve.tolist(), "rows": sizes.tolist()}
        task.diagnose("threshold_curve", found)
        if self.config.threshold_per_cluster:
            return grid[curve.argmin(1)]
        return np.full(len(mean), grid[(curve * sizes[:, None]).sum(0).argmin()])


def _sampled_scores(task: SearchTask, model: CTRModel, embedding: GatedEmbedding) -> dict[str, float]:
    """Return the search model's scores on the search split under sampled masks, as in training.

    Beside `search_scores`, under the deterministic masks, they show the gap between training and serving.
    """
    embedding.sampled = True
    with seeded(stream("search/sampled masks", task.seed)):
        scores = task.evaluate(model)
    embedding.sampled = False
    return scores
