"""`pep`: soft thresholds on the entries of the table, learned beside the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._ranking import entries_that_fit, limit_of, masked_state
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import Embedding
from nasbench_rec.plans import EmbeddingPlan, EntryMask, Recipe, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.tables import pool
from nasbench_rec.training import Hook, ParamGroup, Step

Granularity = Literal["global", "column", "field", "field_column", "row", "entry"]


@dataclass(frozen=True)
class PEPConfig:
    """Settings of `pep`; the presets are `repaired` (the defaults) and `official`."""

    granularity: Granularity = setting(
        "entry",
        "what shares one threshold: all entries, those of a column, of a field, of a column in a field, of a row, none",
        source="code: feature_dim, one for each entry",
        space={"type": "categorical", "choices": ["global", "field", "field_column", "row", "entry"]},
    )
    init: float = setting(
        -8.0,
        "s at the start: the threshold is sigmoid(s)",
        source="code: -150 on Criteo and Avazu, -15 on MovieLens-1M; -8: inferred, sigmoid(-8) = 3e-4",
        space={"type": "float", "low": -15.0, "high": -5.0},
    )
    threshold_lr: float | None = setting(
        3e-2,
        "Adam's learning rate of s; none: that of the weights",
        source="code: that of the weights, over hundreds of thousands of steps; 3e-2: inferred, for short searches",
        space={"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    )
    threshold_decay: float = setting(
        0.0,
        "weight decay of s, in its gradient; it drives s towards 0, the threshold towards 1/2",
        source="code: 1e-5, on all parameters; 0: inferred, so that the loss alone moves s",
    )
    threshold_eps: float = setting(
        1e-15,
        "Adam's epsilon for s; gradients of s have the factor sigmoid'(s), far below the usual 1e-8",
        source="code: 1e-8; 1e-15: inferred",
    )
    every: int = setting(10, "training steps from look to look at which entries are zero", source="code: 1")
    recipe: Literal["same_init", "scratch"] = setting(
        "same_init",
        "what the retraining starts from: the initial weights of the search under the mask, or new ones",
        source="paper and code: same_init; scratch is the code's re_init",
        space={"type": "categorical", "choices": ["same_init", "scratch"]},
        stage="derive",
    )
    epochs: int | None = setting(
        None, "epochs of the search; none: the protocol's", source="code: until a target"
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours; code: numbers of entries to be left",
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse steps that make no sense."""
        if self.every < 1 or self.threshold_eps <= 0:
            raise ConfigError(
                f"pep: every = {self.every} must be at least 1 and threshold_eps = {self.threshold_eps} above 0."
            )


def soft_threshold(v: Tensor, s: Tensor) -> Tensor:
    """Return sign(v) max(|v| - sigmoid(s), 0)."""
    return v.sign() * (v.abs() - s.sigmoid()).relu()


class PEPEmbedding(Embedding):
    """The soft-thresholded table, [B, F, d]; `s` has a value for each of what shares a threshold."""

    rows: Tensor
    """What a row's threshold stands under, [V]: nothing, its field, or itself."""

    def __init__(self, layout: Layout, granularity: Granularity, init: float) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        sizes = [f.cardinality for f in layout.fields]
        owner = {"field": np.repeat(np.arange(len(sizes)), sizes), "row": np.arange(layout.rows)}
        owner |= {"field_column": owner["field"], "entry": owner["row"]}
        rows = owner.get(granularity, np.zeros(layout.rows, dtype=np.int64))
        width = layout.dim if granularity in ("column", "field_column", "entry") else 1
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.s = nn.Parameter(torch.full((int(rows.max()) + 1, width), init))
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the thresholded embeddings."""
        local, rows = self.lookup.rows(ids)
        # Looked-up rows alone: the same as thresholding the whole table, at the cost of the batch.
        s = self.s.index_select(0, self.rows.index_select(0, rows.flatten()))
        return pool(
            soft_threshold(self.lookup.table(rows), s.view(*rows.shape, -1)), local, self.lookup.fields
        )

    @torch.no_grad()
    def surplus(self) -> Tensor:
        """Return |v| - sigmoid(s) of every entry, [V, d]: zero entries have none."""
        return self.lookup.table.weight.abs() - self.s.sigmoid().index_select(0, self.rows)


class Thresholds(Hook):
    """Steps s in a group of its own, and notes when each entry was last alive: 0 never, 1 at the end."""

    def __init__(self, embedding: PEPEmbedding, config: PEPConfig, lr: float) -> None:
        self.embedding, self.config = embedding, config
        self.lr = config.threshold_lr or lr
        self.last_alive = torch.zeros_like(embedding.lookup.table.weight)
        self.alive: list[float] = []
        self.thresholds: list[float] = []

    def groups(self) -> Sequence[ParamGroup]:
        """Return s with its learning rate, decay and epsilon."""
        c = self.config
        return (ParamGroup((self.embedding.s,), self.lr, c.threshold_decay, c.threshold_eps),)

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        """Look which entries are alive, at the last step in any case."""
        n = step.index + 1
        if n % self.config.every == 0 or n == step.total:
            self.last_alive[self.embedding.surplus() > 0] = n / step.total

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """Note the share of entries that are alive, and the mean threshold."""
        self.alive.append(float((self.embedding.surplus() > 0).float().mean()))
        self.thresholds.append(float(self.embedding.s.detach().sigmoid().mean()))


class PEP(Searcher):
    """Every entry v of the table is soft-thresholded, and the thresholds s are learned beside the weights:

        v^ = sign(v) max(|v| - sigmoid(s), 0),    loss = BCE,
        d loss / d s = -sign(v) sigmoid'(s) d loss / d v^    where |v| > sigmoid(s), else 0,

    all on the training rows. The entries that are left when their number falls to the target make the mask; the table
    goes back to its initial values under the mask and the model is trained again without thresholds.

    One search serves all plan budgets: entries are ranked by when they were last alive, those alive at the end by
    |v| - sigmoid(s). A budget that the search passed thus gets the entries that were alive as it did; one that it never
    reached is met by the second rule, a benchmark variant.

    The official setting hardly learns anything: sigmoid(-150) and its derivative are 0 in float32, and what moves s is
    the weight decay on s alone, by Adam about one learning rate for each step, whatever the data. From -15 it takes
    thousands of steps until a threshold cuts anything. The repaired setting starts where the derivative counts, has no
    decay on s, and an epsilon in Adam that is smaller than its gradients.
    """

    info = MethodInfo(
        name="pep",
        title="PEP (plug-in embedding pruning)",
        level="entry",
        data="train",
        budget="exact",
        plans=("entry_mask",),
        faithfulness="repaired",
        paper="Liu et al., Learnable Embedding Sizes for Recommender Systems, ICLR 2021, arXiv:2101.07577",
        year=2021,
        deviations=(
            "thresholds start at -8, have no decay, and a learning rate and an epsilon of their own; the preset "
            "official has the code's values for MovieLens-1M on them",
            "the retraining starts at the true initial weights of table and backbone; the code keeps the table after "
            "the first update, thresholded, and draws the backbone anew",
            "early stopping and scores are on validation rows; the code uses test rows",
            "weights decay as the protocol says; the code decays all of them by 1e-5",
            "targets are met exactly, index included; the code overshoots them",
            "the search has a fixed length; the code's ends when the last target is reached",
            "entries that die and come back count by the last time they were alive",
        ),
    )
    Config = PEPConfig
    presets = {
        "repaired": {},
        "official": {"init": -15.0, "threshold_lr": None, "threshold_decay": 1e-5, "threshold_eps": 1e-8},
    }

    def search(self, task: SearchTask) -> SearchState:
        """Train weights and thresholds together; return the ranking of the entries."""
        c = self.config
        model = task.build(lambda: PEPEmbedding(task.layout, c.granularity, c.init))
        embedding = model.embedding
        assert isinstance(embedding, PEPEmbedding)
        hook = Thresholds(embedding, c, task.protocol.lr)
        task.fit(model, [hook], epochs=c.epochs, early_stopping=False)
        task.diagnose("alive", hook.alive)
        task.diagnose("thresholds", hook.thresholds)
        return SearchState({"ranking": ranks(hook.last_alive, embedding.surplus())})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the mask of the entries that live longest, with the initial weights under it."""
        mask = entries_that_fit(
            state.tensors["ranking"].cpu().numpy(), limit_of(task, size, self.config.ratio)
        )
        initial = task.build_plan(uniform(task.layout)).cpu().state_dict()
        recipe: Recipe = self.config.recipe
        if recipe == "scratch":
            return EntryMask(mask=mask)
        return EntryMask(mask=mask, recipe=recipe, weights=masked_state(initial, mask))


def ranks(last_alive: Tensor, surplus: Tensor) -> Tensor:
    """Return the place of each entry, int64 [V, d]: by when it was last alive, then by its surplus; highest kept."""
    keys = surplus.flatten().cpu().numpy(), last_alive.flatten().cpu().numpy()
    found = np.empty(surplus.numel(), dtype=np.int64)
    found[np.lexsort(keys)] = np.arange(surplus.numel())
    return torch.from_numpy(found.reshape(surplus.shape))
