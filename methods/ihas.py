"""`ihas`: instance-wise hierarchical architecture search (Qi et al., CIKM 2023, arXiv 2309.07967).

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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from nasbench_rec.data import Split
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import CTRModel, Embedding, EmbeddingShape
from nasbench_rec.plans import Clustered, ColumnMask, EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.routers import ClusterInput, GateNetwork, GateRouter, cluster_features
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import PREDICT_ROWS, Bilevel, Hook, ParamGroup, Step, ids_of, labels_of

TABLE = "embedding.lookup.table.weight"
GATE = "embedding.gate."


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
    polarization: float = setting(
        1.0,
        "weight of the polarization part; 0: L1 only",
        source="paper: bi-polarization",
        space={"type": "categorical", "choices": [0.0, 1.0]},
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
        None, "temperature at the last step, reached geometrically; none: constant", source="inferred"
    )
    hard: bool = setting(
        True,
        "0/1 masks forward with the relaxation's gradient (straight-through), or soft masks",
        source="inferred from Figure 1",
        space={"type": "categorical", "choices": [True, False]},
    )
    gate_hidden: tuple[int, ...] = setting(
        (), "hidden layers of the gate network; none: linear", source="inferred"
    )
    gate_bias: float = setting(
        1.0, "initial bias of the gate logits (1: start mostly open)", source="prototype"
    )
    gate_lr: float = setting(
        1e-2,
        "Adam's learning rate of the gate network",
        source="prototype",
        space={"type": "float", "low": 1e-3, "high": 3e-2, "log": True},
    )
    bilevel: bool = setting(
        False, "step the gate network on the search split instead of the training rows", source="inferred"
    )
    bilevel_every: int = setting(1, "training steps per structure step when bi-level", source="inferred")
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
        space={"type": "int", "low": 2, "high": 8},
        stage="derive",
    )
    selection: Literal["half", "valley", "topk"] = setting(
        "half",
        "deterministic masks: pi > 0.5, pi > valley of the histogram, or the cut that keeps `keep` of all gates",
        source="inferred",
        stage="derive",
    )
    keep: float = setting(0.5, "share of gates kept with selection = topk", source="inferred", stage="derive")
    cluster_on: ClusterInput = setting(
        "masked",
        "what K-Means sees: masked embeddings, mask, probabilities, embedding",
        source="Figure 1: masked embeddings",
        space={"type": "categorical", "choices": ["masked", "mask", "probabilities", "embedding"]},
        stage="derive",
    )
    restarts: int = setting(10, "restarts of K-Means", source="inferred", stage="derive")
    threshold: float | None = setting(
        None,
        "theta, the cut of the averaged masks; none: searched on the search split",
        source="paper",
        stage="derive",
    )
    thresholds: tuple[float, ...] = setting(
        (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "grid of the search",
        source="inferred",
        stage="derive",
    )
    threshold_per_cluster: bool = setting(
        True, "one theta for each cluster, or one for all", source="inferred", stage="derive"
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
        for name in ("tau", "gate_lr"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"ihas.{name} = {getattr(self, name)}: must be above 0.")
        if self.k < 1 or self.restarts < 1 or self.warmup_epochs < 0 or self.lam < 0:
            raise ConfigError("ihas: k and restarts must be at least 1, warmup_epochs and lam at least 0.")
        if not self.thresholds or not 0 < self.keep < 1:
            raise ConfigError("ihas: `thresholds` needs a value and `keep` lies between 0 and 1.")


class GatedEmbedding(Embedding):
    """Stage 1: e(x) * m(x), [B, F, d]. Without gates while `open`; deterministic masks 1[pi > cut] in evaluation."""

    def __init__(self, layout: Layout, config: IHASConfig) -> None:
        super().__init__()
        width = len(layout.fields) * layout.dim
        self.lookup = StackedLookup(layout, layout.dim)
        self.gate = GateNetwork(width, config.gate_hidden, config.gate_bias)
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)
        self.tau, self.hard, self.cut, self.open = config.tau, config.hard, 0.5, False
        self.probabilities: Tensor | None = None

    def forward(self, ids: Tensor) -> Tensor:
        """Return the masked embedding; keeps pi [B, D] of a gated training pass for the regularizer."""
        e = self.lookup(ids)
        self.probabilities = None
        if self.open:
            return e
        logits = self.gate(e.flatten(1))
        if not self.training:
            return e * (logits.sigmoid() > self.cut).view_as(e)
        self.probabilities = logits.sigmoid()
        return e * binary_concrete(logits, self.tau, self.hard).view_as(e)


def binary_concrete(logits: Tensor, tau: float, hard: bool) -> Tensor:
    """Sample relaxed Bernoulli masks; `hard`: 0/1 forward with the relaxation's gradient (straight-through)."""
    u = torch.rand_like(logits).clamp_(1e-7, 1 - 1e-7)
    soft = ((logits + u.log() - (-u).log1p()) / tau).sigmoid()
    return (soft > 0.5).to(soft.dtype) + soft - soft.detach() if hard else soft


def regularizer(pi: Tensor, t: float, polarization: float, scope: str) -> Tensor:
    """R(pi) = t mean(pi) - polarization * mean |pi - mean(pi)|, for pi [B, D] in [0, 1]."""
    if scope == "sample":
        center = pi.mean(1, keepdim=True)
    else:
        center = pi.mean(0) if scope == "gate" else pi.mean()
    return t * pi.mean() - polarization * (pi - center).abs().mean()


class _Gates(Hook):
    """Adds lambda R, anneals tau, gives the gate network a learning rate of its own, watches the gates."""

    def __init__(self, embedding: GatedEmbedding, config: IHASConfig) -> None:
        self.embedding, self.config = embedding, config
        self.trend: list[dict[str, float]] = []
        self._sum, self._count = torch.zeros(3), 0

    def groups(self) -> Sequence[ParamGroup]:
        """Return the gate network's group (single-level)."""
        if self.config.bilevel:
            return ()
        return (ParamGroup(tuple(self.embedding.gate.parameters()), self.config.gate_lr),)

    def before_step(self, step: Step) -> None:
        """Anneal tau geometrically where asked to."""
        if self.config.tau_end is not None:
            share = step.index / max(step.total - 1, 1)
            self.embedding.tau = self.config.tau * (self.config.tau_end / self.config.tau) ** share

    def penalty(self, step: Step) -> Tensor:
        """Return lambda R of the last forward pass."""
        assert self.embedding.probabilities is not None
        c = self.config
        return c.lam * regularizer(self.embedding.probabilities, c.t, c.polarization, c.scope)

    def extra_loss(self, step: Step) -> Tensor | None:
        """Return lambda R; bi-level it belongs to the structure step instead."""
        return None if self.config.bilevel else self.penalty(step)

    def after_step(self, step: Step) -> None:
        """Sum what `on_evaluation` averages: mean(pi), shares within .1 of 0 and of 1."""
        pi = self.embedding.probabilities
        if pi is not None:
            pi = pi.detach()
            self._sum += torch.stack([pi.mean(), (pi < 0.1).float().mean(), (pi > 0.9).float().mean()]).cpu()
            self._count += 1

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Close an epoch of the polarization trend."""
        mean, low, high = (self._sum / max(self._count, 1)).tolist()
        self.trend.append(
            {"epoch": step.epoch, "mean": mean, "near_0": low, "near_1": high, "tau": self.embedding.tau}
        )
        self._sum, self._count = torch.zeros(3), 0


class IHAS(Searcher):
    """iHAS: instance-wise gates, clustering of their masks, one column mask and one model per cluster."""

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
    )
    Config = IHASConfig
    presets = {
        "paper": {},
        "robust": {"cluster_on": "mask", "warmup_epochs": 0, "retrain": "warm_rows"},
        "robust-l1": {"cluster_on": "mask", "warmup_epochs": 0, "retrain": "warm_rows", "polarization": 0.0},
    }

    def search(self, task: SearchTask) -> SearchState:
        """Stage 1: train the gated model for a fixed number of epochs (early stopping would end it too soon)."""
        config = self.config
        model = task.build(lambda: GatedEmbedding(task.layout, config))
        embedding = model.embedding
        assert isinstance(embedding, GatedEmbedding)
        if config.warmup_epochs:
            embedding.open = True
            frozen = _Frozen(tuple(embedding.gate.parameters()))
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
        return SearchState(tensors=model.state_dict())

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Stages 2 and 3 up to the plan: clusters, their column masks, the router."""
        model = task.build(lambda: GatedEmbedding(task.layout, self.config))
        model.load_state_dict(dict(state.tensors))
        e, logits = gate_outputs(model, task.train, task.protocol.device)
        cut = selection_cut(logits.sigmoid(), self.config.selection, self.config.keep)
        features = cluster_features(e, logits, cut, self.config.cluster_on)
        labels, centroids = cluster(
            features.numpy(), self.config.k, self.config.restarts, task.rng("clusters")
        )
        masks = (logits.sigmoid() > cut).numpy()
        mean = np.stack([masks[labels == c].mean(0) for c in range(len(centroids))])
        router = self._router(task, state, cut, centroids)
        search_cluster = torch.cat([router(ids) for ids in ids_of(task.search).split(PREDICT_ROWS)]).numpy()
        theta = self._thresholds(task, model, mean, search_cluster)
        columns = column_masks(mean, theta).reshape(len(mean), len(task.fields), task.layout.dim)
        _diagnose(task, masks, labels, mean, columns, theta, cut)
        return Clustered(router=router, plans=tuple(self._part(task, state, mask) for mask in columns))

    def _router(self, task: SearchTask, state: SearchState, cut: float, centroids: np.ndarray) -> GateRouter:
        router = GateRouter(task.layout, len(centroids), self.config.gate_hidden, cut, self.config.cluster_on)
        own = {"lookup.table.weight": state.tensors[TABLE], "centroids": torch.from_numpy(centroids)}
        own |= {k.removeprefix("embedding."): v for k, v in state.tensors.items() if k.startswith(GATE)}
        router.load_state_dict(own)
        return router.requires_grad_(False).eval()

    def _part(self, task: SearchTask, state: SearchState, mask: np.ndarray) -> ColumnMask:
        """Return one cluster's plan, with the masked search rows where retraining is warm."""
        if self.config.retrain == "scratch":
            return ColumnMask(mask=mask)
        rows = torch.from_numpy(mask[task.layout.field_of_row].astype(np.float32))
        return ColumnMask(mask=mask, recipe="warm_rows", weights={TABLE: state.tensors[TABLE] * rows})

    def _thresholds(
        self, task: SearchTask, model: CTRModel, mean: np.ndarray, search_cluster: np.ndarray
    ) -> np.ndarray:
        """Return theta per cluster [k]: fixed, or the grid value of the least Logloss on the search split."""
        if self.config.threshold is not None:
            return np.full(len(mean), self.config.threshold)
        grid = np.array(self.config.thresholds)
        sizes = np.bincount(search_cluster, minlength=len(mean))
        curve = np.stack(
            [_threshold_curve(task, model, mean[c], search_cluster == c, grid) for c in range(len(mean))]
        )
        task.diagnose("threshold_curve", {"theta": grid.tolist(), "logloss": curve.tolist()})
        if self.config.threshold_per_cluster:
            return grid[curve.argmin(1)]
        return np.full(len(mean), grid[(curve * sizes[:, None]).sum(0).argmin()])


class _Frozen(Hook):
    """Keeps parameters out of a training."""

    def __init__(self, parameters: tuple[torch.nn.Parameter, ...]) -> None:
        self._parameters = parameters

    def own_parameters(self) -> Sequence[torch.nn.Parameter]:
        """Return the parameters that stay as they are."""
        return self._parameters


@torch.no_grad()
def gate_outputs(model: CTRModel, split: Split, device: str) -> tuple[Tensor, Tensor]:
    """Return e(x) and the gate logits of every row, both [N, D] on the CPU."""
    embedding = model.eval().embedding
    assert isinstance(embedding, GatedEmbedding)
    found = []
    for ids in ids_of(split).split(PREDICT_ROWS):
        e = embedding.lookup(ids.to(device)).flatten(1)
        found.append((e.cpu(), embedding.gate(e).cpu()))
    return torch.cat([e for e, _ in found]), torch.cat([g for _, g in found])


def selection_cut(pi: Tensor, selection: str, keep: float) -> float:
    """Return c of m = 1[pi > c]: 0.5, the histogram's valley, or the quantile that keeps a share `keep`."""
    if selection == "half":
        return 0.5
    if selection == "topk":
        values = pi.flatten().numpy()
        return float(np.quantile(values, 1 - keep))
    counts, edges = np.histogram(pi.numpy(), bins=50, range=(0.0, 1.0))
    # The valley between the peaks next to 0 and to 1; the middle of a flat one.
    low, high = int(counts[:25].argmax()), 25 + int(counts[25:].argmax())
    valley = np.flatnonzero(counts[low : high + 1] == counts[low : high + 1].min()) + low
    middle = int(valley[len(valley) // 2])
    return float((edges[middle] + edges[middle + 1]) / 2)


def cluster(
    features: np.ndarray, k: int, restarts: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """K-Means: labels [N] and centroids [k', D]; k' < k where fewer distinct clusters are left."""
    import warnings

    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    seed = int(rng.integers(2**31))
    means = MiniBatchKMeans(k, n_init=restarts, batch_size=4096, random_state=seed, reassignment_ratio=0.0)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        means.fit(features)
    centroids = means.cluster_centers_.astype(np.float32)
    labels = np.concatenate(
        [_nearest(part, centroids) for part in np.array_split(features, max(1, len(features) // 8192))]
    )
    kept = np.unique(labels)
    return np.searchsorted(kept, labels), centroids[kept]


def _nearest(features: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return torch.cdist(torch.from_numpy(features), torch.from_numpy(centroids)).argmin(1).numpy()


def column_masks(mean: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return 1[mean >= theta_c], bool [k, D]; a cluster that would keep nothing keeps its most used column."""
    masks = mean >= theta[:, None]
    for mask, share in zip(masks, mean, strict=True):
        if not mask.any():
            mask[share.argmax()] = True
    return masks


@torch.no_grad()
def _threshold_curve(
    task: SearchTask, model: CTRModel, mean: np.ndarray, rows: np.ndarray, grid: np.ndarray
) -> np.ndarray:
    """Return the Logloss of the search model under the cluster's mask at each theta, on its search rows."""
    if not rows.any():
        return np.zeros(len(grid))
    split, device = task.search.take(np.flatnonzero(rows)), task.protocol.device
    masks = torch.from_numpy(column_masks(np.repeat(mean[None], len(grid), 0), grid)).to(device)
    losses, labels = np.zeros(len(grid)), labels_of(split)
    embedding = model.eval().embedding
    assert isinstance(embedding, GatedEmbedding)
    for ids, target in _chunks(ids_of(split), labels):
        ids = ids.to(device)
        e = embedding.lookup(ids)
        for i, mask in enumerate(masks):
            logits = model.backbone(e * mask.view_as(e[0]), ids).cpu()
            losses[i] += float(binary_cross_entropy_with_logits(logits, target, reduction="sum"))
    return losses / len(split)


def _chunks(ids: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(ids.split(PREDICT_ROWS), labels.split(PREDICT_ROWS), strict=True)


def _diagnose(
    task: SearchTask,
    masks: np.ndarray,
    labels: np.ndarray,
    mean: np.ndarray,
    columns: np.ndarray,
    theta: np.ndarray,
    cut: float,
) -> None:
    """Keep what shows whether anything instance-wise is left."""
    sizes = np.bincount(labels)
    rate = masks.mean(0)
    # The mean Hamming distance (share of gates) of two random samples is 2 p (1 - p), averaged over gates.
    task.diagnose("hamming_between_samples", float((2 * rate * (1 - rate)).mean()))
    task.diagnose(
        "keep_rate_per_field", masks.reshape(len(masks), len(task.fields), -1).mean((0, 2)).tolist()
    )
    task.diagnose("cut", cut)
    task.diagnose("clusters", len(sizes))
    task.diagnose("cluster_sizes", sizes.tolist())
    task.diagnose("theta", theta.tolist())
    task.diagnose("columns_kept", columns.mean((1, 2)).tolist())
    task.diagnose("mean_masks", mean.astype(np.float32))
