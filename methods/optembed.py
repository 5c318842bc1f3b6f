"""`optembed`: a supernet with learned thresholds on rows and sampled widths, then evolution of the fields' widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from nasbench_rec.methods import _evolution
from nasbench_rec.methods._evolution import Genome, evolve
from nasbench_rec.methods._prefix import PrefixEmbedding, score_widths, some_rows
from nasbench_rec.methods._ranking import plan_bytes
from torch import Tensor, nn

from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.model import CTRModel
from nasbench_rec.plans import EmbeddingPlan, FieldDims, RowDims, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask, uniform_bytes
from nasbench_rec.training import Hook, Step

SHARES = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02)
"""Of the rows above their threshold, those of largest margin that are kept: a gene, only under a plan budget."""


@dataclass(frozen=True)
class OptEmbedConfig:
    """Settings of `optembed`; the preset `paper` has the values of its code for DeepFM on Criteo."""

    alpha: float = setting(
        3e-3,
        "weight of sum_f exp(-t_f), which raises the thresholds",
        source="code: 1e-4 on Criteo, 1e-6 on Avazu; 3e-3: inferred, for short searches",
        space={"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    )
    threshold_lr: float = setting(
        1e-1,
        "learning rate of the thresholds (plain gradient steps)",
        source="code: 1e-4, over hundreds of thousands of steps; 1e-1: inferred, for short searches",
        space={"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    )
    per: Literal["field", "row"] = setting(
        "field",
        "what has a threshold of its own",
        source="code: field while searching, row while retraining, by default",
        space={"type": "categorical", "choices": ["field", "row"]},
    )
    epochs: int | None = setting(None, "most epochs of the supernet; none: the protocol's", source="code: 30")
    population: int = setting(20, "width assignments at the start", source="code", stage="derive")
    generations: int = setting(
        30,
        "generations of the evolution",
        source="code",
        space={"type": "int", "low": 0, "high": 60},
        stage="derive",
    )
    parents: int = setting(
        15, "best assignments that breed", source="paper (the code never uses it)", stage="derive"
    )
    mutants: int = setting(10, "mutants in each generation", source="code", stage="derive")
    crossovers: int = setting(10, "crossovers in each generation", source="code", stage="derive")
    mutation: float = setting(0.1, "probability that a width is drawn anew", source="code", stage="derive")
    score_rows: int = setting(
        10_000, "most search rows that an assignment is scored on", source="ours", stage="derive"
    )

    def __post_init__(self) -> None:
        """Refuse an evolution of nobody."""
        if min(self.population, self.parents) < 1 or not 0 <= self.mutation <= 1 or self.score_rows < 2:
            raise ConfigError(
                f"optembed: population = {self.population} and parents = {self.parents} must be at least 1, mutation "
                f"= {self.mutation} in 0..1, score_rows = {self.score_rows} at least 2."
            )


class UnitStep(torch.autograd.Function):
    """1[x > 0], with the derivative 2 - 4 |x| for |x| <= 0.4, 0.4 for 0.4 < |x| <= 1, and 0 beyond."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the step."""
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Return the gradient by the long-tailed estimate."""
        distance = ctx.saved_tensors[0].abs()
        slope = torch.where(distance <= 0.4, 2 - 4 * distance, torch.where(distance <= 1, 0.4, 0.0))
        return grads[0] * slope


class OptEmbedEmbedding(PrefixEmbedding):
    """Prefixes of the rows whose L1 norm is above their threshold, [B, F, d]."""

    owner: Tensor
    """Whose threshold a row stands under, [V]."""

    def __init__(self, layout: Layout, per: str) -> None:
        super().__init__(layout)
        sizes = [f.cardinality for f in layout.fields]
        owner = np.arange(layout.rows) if per == "row" else np.repeat(np.arange(len(sizes)), sizes)
        self.register_buffer("owner", torch.from_numpy(owner), persistent=False)
        self.t = nn.Parameter(torch.zeros(int(owner.max()) + 1))

    def looked_up(self, rows: Tensor) -> Tensor:
        """Return m_e e of the rows [B, C]: [B, C, d]."""
        e = self.lookup.table(rows)
        t = self.t.index_select(0, self.owner.index_select(0, rows.flatten())).view(rows.shape)
        mask: Tensor = UnitStep.apply(e.abs().sum(2) - t)
        return e * mask.unsqueeze(2)

    @torch.no_grad()
    def margins(self) -> Tensor:
        """Return ||e_i||_1 - t of every row, [V]."""
        return self.lookup.table.weight.abs().sum(1) - self.t.index_select(0, self.owner)


class Thresholds(Hook):
    """Adds alpha sum exp(-t), and moves t by plain gradient steps as soon as its gradient is there."""

    def __init__(self, embedding: OptEmbedEmbedding, config: OptEmbedConfig) -> None:
        self.embedding, self.config = embedding, config
        self.kept: list[float] = []
        self.handle = embedding.t.register_post_accumulate_grad_hook(self._move)

    def own_parameters(self) -> Sequence[nn.Parameter]:
        """Return t: the main optimiser leaves it alone."""
        return (self.embedding.t,)

    @torch.no_grad()
    def _move(self, t: Tensor) -> None:
        assert t.grad is not None
        t.sub_(self.config.threshold_lr * t.grad)

    def extra_loss(self, step: Step) -> Tensor:
        """Return the term that raises thresholds."""
        return self.config.alpha * (-self.embedding.t).exp().sum()

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Note the share of rows above their threshold."""
        self.kept.append(float((self.embedding.margins() > 0).float().mean()))


class OptEmbed(Searcher):
    """A supernet learns which rows to keep and serves at every width; evolution on it picks the widths of the fields:

        m_e,i = 1[||e_i||_1 > t_f(i)],    d step(x) / dx = 2 - 4|x| up to .4, .4 up to 1, else 0,
        x_i = m_e,i m_d e_i,    m_d = the first k columns,  k ~ U{1, ..., d} for each instance and field,
        loss = BCE + alpha sum_f exp(-t_f),    all on training rows, t by plain gradient steps.

    A candidate is a width 1..d for each field, scored by the supernet's AUC on search rows, without training. The best
    of all candidates so far breed by mutation and by crossover between fields; parents are never changed and the best
    is never lost. The rows above their threshold are kept, at the width of their field, and trained from scratch.

    Under a plan budget every candidate is scaled to the largest widths that fit, and one more gene says which share of
    those rows, by their margin, is kept: the benchmark's variant, as the method has no control of size.
    """

    info = MethodInfo(
        name="optembed",
        title="OptEmbed",
        level="row",
        data="train+search",
        budget="granular",
        plans=("row_dims", "field_dims"),
        faithfulness="repaired",
        paper="Lyu et al., OptEmbed: Learning Optimal Embedding Table for Click-through Rate Prediction, CIKM 2022, "
        "arXiv:2208.04482",
        year=2022,
        deviations=(
            "parents are immutable, every candidate has its own score, crossover cuts between fields, the best 15 of "
            "all candidates breed, mutation reaches all widths: the code fails in each of these",
            "the width that is scored is the width that is counted and retrained; the code counts one less",
            "thresholds and masks are the same in search and retraining; the code's defaults differ",
            "candidates are scored on search rows; the code uses validation rows",
            "alpha and the rate of the thresholds are larger, so that they get somewhere in few epochs; the preset "
            "paper has the code's",
            "the supernet has the protocol's early stopping; the code stops at the first fall of validation AUC",
            "the model is trained from scratch; the code can start from a saved initialisation; no shared row stands "
            "for dropped ones",
            "plan budgets are ours",
        ),
    )
    Config = OptEmbedConfig
    presets = {"paper": {"alpha": 1e-4, "threshold_lr": 1e-4}}

    def search(self, task: SearchTask) -> SearchState:
        """Train the supernet."""
        model = self._supernet(task)
        embedding = model.embedding
        assert isinstance(embedding, OptEmbedEmbedding)
        hook = Thresholds(embedding, self.config)
        task.fit(model, [hook], epochs=self.config.epochs)
        hook.handle.remove()
        task.diagnose("kept", hook.kept)
        task.diagnose("thresholds", embedding.t.detach().cpu().numpy())
        return SearchState(model.state_dict())

    def _supernet(self, task: SearchTask) -> CTRModel:
        return task.build(lambda: OptEmbedEmbedding(task.layout, self.config.per))

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the rows above their threshold at the widths that evolution finds."""
        limit = size.bytes(task.layout)
        if limit is not None and limit >= uniform_bytes(task.layout):
            return uniform(task.layout)
        model = self._supernet(task)
        model.load_state_dict(dict(state.tensors))
        embedding = model.embedding
        assert isinstance(embedding, OptEmbedEmbedding)
        space = Space(task, embedding.margins().cpu().numpy(), limit)
        rows, c = some_rows(task.search, self.config.score_rows, task.rng("rows")), self.config
        how = _evolution.Plan(c.population, c.generations, c.parents, c.mutants, c.crossovers, c.mutation)
        found = evolve(
            space.choices,
            lambda genome: score_widths(task, model, space.row_widths(genome), rows),
            task.rng("evolution"),
            how,
            space.fitting,
        )
        task.diagnose("best_score", list(found.history))
        task.diagnose("scored", found.scored)
        return space.plan(found.best)


class Space:
    """What evolution moves in: the genes of a candidate, the plan they stand for, and how it is made to fit.

    Gene f < F is the width of field f less one; the last is the share of open rows that are kept, an index of
    `SHARES` (one choice alone where there is no limit).
    """

    def __init__(self, task: SearchTask, margins: np.ndarray, limit: int | None) -> None:
        self.task, self.limit = task, limit
        self.sizes = [f.cardinality for f in task.layout.fields]
        self.choices = [task.layout.dim] * len(self.sizes) + [1 if limit is None else len(SHARES)]
        self.order = np.argsort(-margins, kind="stable")
        # Where nothing is above its threshold, the row that is nearest to it.
        self.open = max(1, int((margins > 0).sum()))

    def row_widths(self, genome: Genome) -> np.ndarray:
        """Return the width of each row, int32 [V]."""
        kept = np.zeros(len(self.order), dtype=bool)
        kept[self.order[: max(1, round(SHARES[genome[-1]] * self.open))]] = True
        widths = np.repeat(np.array(genome[:-1]) + 1, self.sizes)
        return np.where(kept, widths, 0).astype(np.int32)

    def plan(self, genome: Genome) -> EmbeddingPlan:
        """Return the plan: of field widths alone where no row is dropped."""
        widths = self.row_widths(genome)
        if widths.all():
            return FieldDims(dims=tuple(k + 1 for k in genome[:-1]))
        return RowDims(row_widths=widths)

    def fitting(self, genome: Genome) -> Genome:
        """Return the genome whose widths have the same proportions and are as large as fit the limit.

        Where not even one column each fits, fewer rows are kept.
        """
        if self.limit is None:
            return genome
        for share in range(genome[-1], len(SHARES)):
            low, high = 0, 200
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (
                    (middle, high) if self._fits(self._scaled(genome, middle, share)) else (low, middle - 1)
                )
            found = self._scaled(genome, low, share)
            if self._fits(found):
                return found
        raise PlanError(
            f"a plan budget of {self.limit} bytes holds not even one column of {SHARES[-1]:.0%} of the rows that the "
            "search kept; give a larger one."
        )

    def _scaled(self, genome: Genome, percent: int, share: int) -> Genome:
        dim = self.task.layout.dim
        # A factor 0..d: at its top every width is d.
        factor = (percent / 200) ** 2 * dim
        widths = (min(dim, max(1, round((gene + 1) * factor))) for gene in genome[:-1])
        return (*(w - 1 for w in widths), share)

    def _fits(self, genome: Genome) -> bool:
        return plan_bytes(self.task, self.plan(genome)) <= (self.limit or 0)
