"""`lpfs`: feature selection by a smoothed l0 gate per field, driven to exact zeros by a proximal step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._ranking import dims_plan, fields_that_fit
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import Embedding
from nasbench_rec.plans import EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Hook, Step

PAPER_DECAY, PAPER_STEPS = 0.9978, 100
"""The code multiplies eps by the first every so many steps."""


@dataclass(frozen=True)
class LPFSConfig:
    """Settings of `lpfs`; the preset `paper` has the code's schedule and rate."""

    gate: Literal["lpfs++", "lpfs"] = setting(
        "lpfs++",
        "lpfs++: keeps a gradient at 0, so that a closed gate may open again; lpfs: does not",
        source="paper: both",
        space={"type": "categorical", "choices": ["lpfs++", "lpfs"]},
    )
    eps: float = setting(
        0.1,
        "eps of the first step",
        source="code: 0.1 on Criteo, 4e-3 on Avazu, 1e-3 on KDD12",
        space={"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    )
    final_eps: float | None = setting(
        1e-3,
        "eps of the last step, reached by a constant factor; none: the code's factor 0.9978 every 100 steps",
        source="code: no such aim; 1e-3: ours, as short searches have few steps",
        space={"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
    )
    lam: float = setting(
        0.03,
        "lambda: the proximal step shrinks |x| by lambda times the gates' learning rate",
        source="code: 0.1 on Criteo, 0.25 on Avazu, 0.3 on KDD12; ERASE: 0.01; 0.03: measured on planted data",
        space={"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    )
    gate_lr: float | None = setting(
        0.1,
        "learning rate of the gates' gradient steps; none: that of the weights",
        source="code: that of the weights; 0.1: measured on planted data, where searches have few steps",
        space={"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    )
    epochs: int | None = setting(None, "epochs of the search; none: the protocol's", source="ours")

    def __post_init__(self) -> None:
        """Refuse eps that divides by nothing."""
        if self.eps <= 0 or (self.final_eps is not None and self.final_eps <= 0):
            raise ConfigError(f"lpfs: eps = {self.eps} and final_eps = {self.final_eps}: must be above 0.")


class LPFSEmbedding(Embedding):
    """x_f e_f with a gate for each field, [B, F, d]; `eps` moves only when a hook sets it."""

    def __init__(self, layout: Layout, gate: str, eps: float) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.x = nn.Parameter(torch.ones(len(layout.fields)))
        self.kind, self.eps = gate, eps
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def gates(self) -> Tensor:
        """Return g(x), [F]."""
        square = self.x**2
        polar = square / (square + self.eps)
        if self.kind == "lpfs":
            return polar
        return self.x.sign() * polar + 10 * math.sqrt(self.eps) * self.x.arctan()

    def forward(self, ids: Tensor) -> Tensor:
        """Return the gated embeddings."""
        return self.lookup(ids) * self.gates()[:, None]


class _Proximal(Hook):
    """Anneals eps and shrinks x towards exact zeros after each step."""

    def __init__(self, embedding: LPFSEmbedding, config: LPFSConfig, lr: float) -> None:
        self.embedding, self.config, self.lr = embedding, config, config.gate_lr or lr
        self.slope = torch.zeros_like(embedding.x)
        embedding.x.register_hook(self.slope.copy_)
        self.trace: list[list[float]] = []
        self.last_open = torch.zeros(len(embedding.x))

    def own_parameters(self) -> Sequence[nn.Parameter]:
        """Return x: it moves by plain gradient steps, as Adam's would kick every zero off again."""
        return (self.embedding.x,)

    def before_step(self, step: Step) -> None:
        """Set eps of this training step."""
        c = self.config
        if c.final_eps is None:
            self.embedding.eps = c.eps * PAPER_DECAY ** (step.index // PAPER_STEPS)
        else:
            self.embedding.eps = c.eps * (c.final_eps / c.eps) ** step.share

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Move x by its gradient, then soft-threshold: x <- sign(x) max(|x| - lambda eta, 0)."""
        x = self.embedding.x
        x.sub_(self.lr * self.slope)
        x.copy_(x.sign() * (x.abs() - self.config.lam * self.lr).clamp_min(0))
        self.last_open[(x != 0).cpu()] = (step.index + 1) / step.total

    def scores(self) -> Tensor:
        """Return |x| of open fields, and how long ago the others closed, -1..0: [F]."""
        size = self.embedding.x.detach().abs().cpu()
        return torch.where(size > 0, size, self.last_open - 1)

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Note x."""
        self.trace.append(self.embedding.x.tolist())


class LPFS(Searcher):
    """A gate on each field, a smooth stand-in of the l0 norm, with x_f = 1 at the start:

        lpfs:    g(x) = x^2 / (x^2 + eps),
        lpfs++:  g(x) = sign(x) x^2 / (x^2 + eps) + 10 sqrt(eps) arctan(x),
        e_f <- g(x_f) e_f,    after each step of rate eta:  x <- sign(x) max(|x| - lambda eta, 0),

    while eps falls towards 0, where g is a step. Gates and weights learn together on the training rows. Fields whose x
    is exactly 0 are dropped, the others keep the whole width: the {0, d} special case of a width search. The model is
    then trained from scratch. Under a plan budget open fields are taken whole in falling order of |x|, each if it still
    fits; closed ones, the last to close first, only where no open one fits or all do.
    """

    info = MethodInfo(
        name="lpfs",
        title="LPFS (learnable polarizing feature selection)",
        level="field",
        data="train",
        budget="granular",
        plans=("field_dims",),
        faithfulness="inferred",
        paper="Guo et al., LPFS: Learnable Polarizing Feature Selection for Click-Through Rate Prediction, 2022, "
        "arXiv:2206.00267",
        year=2022,
        deviations=(
            "known to us by the notes of its code and by ERASE's re-implementation",
            "eps falls by a constant factor to 1e-3 over the search, and gates have a learning rate of their own; the "
            "preset paper has the code's schedule and rate, made for tens of thousands of steps",
            "gates move by plain proximal gradient steps: Adam's steps kick every zero off again",
            "eps follows the training steps alone; the re-implementation also moves it in evaluation",
            "fields rank by |x|; the re-implementation ranks by x with its sign",
            "a search that closes every gate keeps the field that closed last",
            "plan budgets are ours: a field is kept whole or not at all, so a large field may not fit any",
        ),
    )
    Config = LPFSConfig
    presets = {"paper": {"final_eps": None, "gate_lr": None, "lam": 0.1}}

    def search(self, task: SearchTask) -> SearchState:
        """Train weights and gates together."""
        c = self.config
        model = task.build(lambda: LPFSEmbedding(task.layout, c.gate, c.eps))
        embedding = model.embedding
        assert isinstance(embedding, LPFSEmbedding)
        hook = _Proximal(embedding, c, task.protocol.lr)
        task.fit(model, [hook], epochs=c.epochs, early_stopping=False)
        task.diagnose("x", hook.trace)
        return SearchState({"scores": hook.scores()})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the fields with x other than 0, or under a plan budget those of largest |x| that fit."""
        scores, limit = state.tensors["scores"].numpy(), size.bytes(task.layout)
        kept = (scores > 0) | (scores == scores.max())
        if limit is not None:
            return dims_plan(fields_that_fit(task, scores, limit, kept))
        return dims_plan(np.repeat(kept[:, None], task.layout.dim, axis=1))
