"""`autofield`: keep or drop each field, chosen by a Gumbel-softmax relaxation on held-out rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from nasbench_rec.methods._gumbel import PAPER_TAU_STEPS, Temperature, gumbel_softmax
from nasbench_rec.methods._ranking import dims_plan, fields_that_fit, largest
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import Embedding
from nasbench_rec.plans import EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Bilevel, Hook, Step


@dataclass(frozen=True)
class AutoFieldConfig:
    """Settings of `autofield`; the preset `paper` has the values of the known re-implementation."""

    keep: float | None = setting(
        None,
        "share of the fields to keep where no plan budget is given; none: those more likely kept than dropped",
        source="paper: the top k fields, k searched",
        space={"type": "float", "low": 0.2, "high": 0.9},
        stage="derive",
    )
    every: int = setting(
        1,
        "training steps per structure step",
        source="ERASE: 10; 1: ours, as short searches have too few steps otherwise",
        space={"type": "int", "low": 1, "high": 20},
    )
    structure_lr: float = setting(
        1e-2,
        "Adam's learning rate of the structure weights",
        source="ERASE: 1e-3; 1e-2: ours, as short searches have few steps",
        space={"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    )
    tau_steps: int | None = setting(
        None,
        "training steps until the temperature is at its floor 0.01; none: all steps of the search",
        source="ERASE: 0.00005 a step; all steps: ours, as short searches never cool otherwise",
        space={"type": "int", "low": 200, "high": 20_000, "log": True},
    )
    epochs: int | None = setting(None, "epochs of the search; none: the protocol's", source="ours")

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(f"autofield: keep = {self.keep}: must be above 0 and at most 1.")


class AutoFieldEmbedding(Embedding):
    """p_f e_f, [B, F, d]; `logits` [F, 2] of keeping and dropping start equal. `tau` moves only when a hook sets it."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.logits = nn.Parameter(torch.full((len(layout.fields), 2), 0.5))
        self.tau = 1.0
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def keep(self) -> Tensor:
        """Return p [F], a sample in training and alpha in evaluation."""
        log_alpha = torch.log_softmax(self.logits, 1)
        return (gumbel_softmax(log_alpha, self.tau) if self.training else log_alpha.exp())[:, 0]

    def forward(self, ids: Tensor) -> Tensor:
        """Return the weighted embeddings."""
        return self.lookup(ids) * self.keep()[:, None]


class _Trace(Hook):
    """Keeps alpha of keeping [F] of every epoch."""

    def __init__(self, embedding: AutoFieldEmbedding) -> None:
        self.embedding, self.alphas = embedding, list[list[float]]()

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Note alpha."""
        self.alphas.append(self.embedding.logits.detach().softmax(1)[:, 0].tolist())


class AutoField(Searcher):
    """Per field f a choice between keeping and dropping, relaxed:

        p_f = softmax((log alpha_f + g) / tau)_keep,    g ~ Gumbel(0, 1),    alpha_f = softmax(logits_f),
        e_f <- p_f e_f,    tau falling from 1 to 0.01.

    Weights are trained on the training rows and the logits on the search rows, in turns. Fields with alpha_keep > 1/2
    (or the share `keep` of largest alpha) keep the whole width, the others are dropped: the {0, d} special case of a
    width search. The model is then trained from scratch. Under a plan budget kept fields are taken whole in falling
    order of alpha_keep, each if it still fits; dropped ones only where no kept one fits or all do.
    """

    info = MethodInfo(
        name="autofield",
        title="AutoField",
        level="field",
        data="train+search",
        budget="granular",
        plans=("field_dims",),
        faithfulness="repaired",
        paper="Wang et al., AutoField: Automating Feature Selection in Deep Recommender Systems, WWW 2022, "
        "arXiv:2204.09078",
        year=2022,
        deviations=(
            "known to us by ERASE's re-implementation",
            "the temperature follows the training steps alone; the re-implementation also moves it in evaluation",
            "logits at 1e-2 in every step and a temperature that falls over the whole search; the preset paper has the "
            "published values, made for tens of thousands of steps",
            "logits are stepped at the current weights, without look-ahead",
            "a search that drops every field keeps the one of largest alpha",
            "plan budgets are ours: a field is kept whole or not at all, so a large field may not fit any",
        ),
    )
    Config = AutoFieldConfig
    presets = {"paper": {"every": 10, "structure_lr": 1e-3, "tau_steps": PAPER_TAU_STEPS}}

    def search(self, task: SearchTask) -> SearchState:
        """Train the weights on the training rows and the logits on the search rows."""
        config = self.config
        model = task.build(lambda: AutoFieldEmbedding(task.layout))
        embedding = model.embedding
        assert isinstance(embedding, AutoFieldEmbedding)
        trace, tau = _Trace(embedding), Temperature(embedding, config.tau_steps)
        lr, every = config.structure_lr, config.every
        steps = Bilevel([embedding.logits], task.search, task.protocol, task.seed, lr=lr, every=every)
        task.fit(model, [tau, steps, trace], epochs=config.epochs, early_stopping=False)
        task.diagnose("alpha_keep", trace.alphas)
        return SearchState({"alpha_keep": embedding.logits.detach().softmax(1)[:, 0]})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the fields that are kept, whole."""
        alpha, limit = state.tensors["alpha_keep"].cpu().numpy(), size.bytes(task.layout)
        kept = self._wanted(alpha)
        if limit is not None:
            return dims_plan(fields_that_fit(task, alpha, limit, kept))
        return dims_plan(np.repeat(kept[:, None], task.layout.dim, axis=1))

    def _wanted(self, alpha: np.ndarray) -> np.ndarray:
        """Return the fields that are kept where size does not matter, bool [F]; at least one."""
        if self.config.keep is None:
            return (alpha > 0.5) | (alpha == alpha.max())
        return largest(alpha, max(1, round(self.config.keep * len(alpha))))
