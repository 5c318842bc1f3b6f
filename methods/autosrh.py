"""`autosrh`: one soft mask per frequency group, learned on held-out rows; the smallest products are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, entries_that_fit, limit_of
from torch import Tensor, nn

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import CTRModel, Embedding, tables_of
from nasbench_rec.plans import EmbeddingPlan, EntryMask, Recipe
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.tables import pool
from nasbench_rec.training import Bilevel, Frozen, Hook, Step

MODEL = "model."
"""Prefix of the search model's weights in the state."""
_RECIPES: dict[str, Recipe] = {"finetune": "inherit", "none": "none"}


@dataclass(frozen=True)
class AutoSrhConfig:
    """Settings of `autosrh`."""

    groups: int = setting(
        10,
        "L, the groups of equally many rows in order of their counts, whatever their fields",
        source="code: 10 equal groups (collaborative filtering)",
        space={"type": "int", "low": 2, "high": 20},
    )
    shares: tuple[float, ...] | None = setting(
        None,
        "shares of the rows in each group, the most frequent first, in place of `groups`; they sum to 1",
        source="code: .1, .2, .2, .2, .3 as another choice; six groups of growing size on Criteo",
    )
    warmup_epochs: int | None = setting(
        None,
        "epochs with all of alpha at 1; none: half of the protocol's",
        source="code: 20 of 70; half: ours",
        space={"type": "int", "low": 1, "high": 20},
    )
    epochs: int | None = setting(
        None, "epochs in which alpha is learned; none: the rest of the protocol's", source="code: 50"
    )
    structure_lr: float = setting(
        1e-2,
        "learning rate of alpha's normalised gradient steps",
        source="code",
        space={"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    )
    l1: float = setting(
        1e-5,
        "weight of the sum of |alpha|",
        source="code",
        space={"type": "float", "low": 1e-6, "high": 1e-2, "log": True},
    )
    normalise: bool = setting(
        True,
        "divide alpha's gradient in each group by its mean size: rare groups then move as far as frequent ones",
        source="code",
    )
    freeze: bool = setting(
        True, "keep the dense weights as they are after the warm-up; tables go on learning", source="code"
    )
    cut: Literal["product", "weight"] = setting(
        "product",
        "product: entries of least |alpha e| are cut; weight: those of least |e|",
        source="paper: product; the code's notebook: weight",
        space={"type": "categorical", "choices": ["product", "weight"]},
        stage="derive",
    )
    recipe: Literal["finetune", "none"] = setting(
        "finetune",
        "finetune: train on from the search's weights under the mask; none: serve them",
        source="code: optional, advised for high sparsity",
        stage="derive",
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="ours",
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse groups that are none."""
        if self.groups < 1 or (
            self.shares and not (min(self.shares) > 0 and abs(sum(self.shares) - 1) < 1e-6)
        ):
            raise ConfigError(
                f"autosrh: groups = {self.groups} must be at least 1, shares = {self.shares} above 0 and sum to 1."
            )


class AutoSrhEmbedding(Embedding):
    """alpha_{g(i)} * e_i, [B, F, d]; `alpha` [L, d] starts at 1, `group_of_row` [V] says which of it a row has."""

    group_of_row: Tensor

    def __init__(self, layout: Layout, group_of_row: np.ndarray) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.register_buffer("group_of_row", torch.from_numpy(group_of_row), persistent=False)
        self.alpha = nn.Parameter(torch.ones(int(group_of_row.max()) + 1, layout.dim))
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the masked embeddings."""
        local, rows = self.lookup.rows(ids)
        group = self.group_of_row.index_select(0, rows.flatten())
        mask = self.alpha.index_select(0, group).view(*rows.shape, -1)
        return pool(self.lookup.table(rows) * mask, local, self.lookup.fields)


class _AlphaSteps(Bilevel):
    """Plain gradient steps on search rows, normalised in each group, alpha held in [0, 1]."""

    def __init__(self, embedding: AutoSrhEmbedding, task: SearchTask, config: AutoSrhConfig) -> None:
        def penalty(step: Step) -> Tensor:
            return config.l1 * embedding.alpha.abs().sum()

        super().__init__([embedding.alpha], task.search, task.protocol, task.seed, loss=penalty)
        self.alpha, self.config = embedding.alpha, config

    @torch.no_grad()
    def move(self) -> None:
        """Take the step alpha <- clip(alpha - eta g_l / (mean_j |g_lj| + 1e-8), 0, 1)."""
        slope = self.alpha.grad
        assert slope is not None
        if self.config.normalise:
            slope = slope / (slope.abs().mean(1, keepdim=True) + 1e-8)
        self.alpha.sub_(self.config.structure_lr * slope).clamp_(0, 1)


class AutoSrh(Searcher):
    """Rows are sorted by their training counts into L groups that share a soft mask over the d columns,

        x_i = alpha_{g(i)} * e_i,    alpha in [0, 1]^{L x d}, 1 at the start.

    After a warm-up without masks, tables learn on the training rows and alpha on the search rows, in turns:

        g = d(BCE + c sum |alpha|) / d alpha,    alpha_l <- clip(alpha_l - eta g_l / (mean_j |g_lj| + 1e-8), 0, 1).

    The entries of largest |alpha_{g(i)j} e_ij| over the whole table that fit the plan budget are kept. alpha goes into
    the table, and the model trains on from the search's weights with the mask in force.
    """

    info = MethodInfo(
        name="autosrh",
        title="AutoSrh (DNIS)",
        level="entry",
        data="train+search",
        budget="exact",
        plans=("entry_mask",),
        faithfulness="repaired",
        paper="Kong et al., AutoSrh: An Embedding Dimensionality Search Framework for Tabular Data Prediction, "
        "TKDE 2023; Cheng et al., Differentiable Neural Input Search for Recommender Systems, 2020, arXiv:2006.04466",
        year=2023,
        deviations=(
            "the mask stays in force while the model trains on; the code lets cut entries grow again and cuts anew",
            "warm-up and search share the protocol's epochs; the code has 20 and 50, with a falling learning rate",
            "alpha is stepped at the current weights (the code's default), without its second-order option",
            "groups have equally many rows by default; the sizes for Criteo are an option (shares)",
            "first-order weights have no mask",
        ),
    )
    Config = AutoSrhConfig
    presets = {"none": {"recipe": "none"}}

    def search(self, task: SearchTask) -> SearchState:
        """Warm up, then train the tables on training rows and alpha on search rows."""
        groups = frequency_groups(np.concatenate(task.counts), self._shares())
        model = task.build(lambda: AutoSrhEmbedding(task.layout, groups))
        embedding = model.embedding
        assert isinstance(embedding, AutoSrhEmbedding)
        total = task.protocol.epochs
        warmup = total // 2 if self.config.warmup_epochs is None else self.config.warmup_epochs
        if warmup:
            task.fit(model, [Frozen([embedding.alpha])], epochs=warmup, early_stopping=False)
        hooks: list[Hook] = [_AlphaSteps(embedding, task, self.config)]
        if self.config.freeze:
            hooks.append(Frozen(dense_weights(model)))
        task.fit(model, hooks, epochs=self.config.epochs or max(1, total - warmup), early_stopping=False)
        alpha = embedding.alpha.detach()
        task.diagnose("alpha", alpha.cpu().numpy())
        product = embedding.lookup.table.weight.detach() * alpha[embedding.group_of_row]
        weights = {MODEL + k: v for k, v in model.state_dict().items() if k != "embedding.alpha"}
        return SearchState({"product": product, **weights})

    def _shares(self) -> Sequence[float]:
        return self.config.shares or [1 / self.config.groups] * self.config.groups

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the mask of the largest products, and the search's weights under it, alpha inside the table."""
        weights = {k.removeprefix(MODEL): v for k, v in state.tensors.items() if k.startswith(MODEL)}
        product = state.tensors["product"]
        scores = product if self.config.cut == "product" else weights[MASKED_TABLE]
        mask = entries_that_fit(scores.abs().cpu().numpy(), limit_of(task, size, self.config.ratio))
        weights[MASKED_TABLE] = product * torch.from_numpy(mask)
        return EntryMask(mask=mask, recipe=_RECIPES[self.config.recipe], weights=weights)


def frequency_groups(counts: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the group of each row [V], int64: the `shares` of the rows in falling order of count [V]."""
    ends = np.round(np.cumsum(shares) * len(counts)).astype(int)
    found = np.empty(len(counts), dtype=np.int64)
    found[np.argsort(-counts, kind="stable")] = np.searchsorted(ends, np.arange(len(counts)), side="right")
    return np.unique(found, return_inverse=True)[1]  # groups that no row falls into leave no number out


def dense_weights(model: CTRModel) -> list[nn.Parameter]:
    """Return the backbone's weights that are no table's."""
    tables = {id(table.weight) for table in tables_of(model.backbone)}
    return [p for p in model.backbone.parameters() if id(p) not in tables]
