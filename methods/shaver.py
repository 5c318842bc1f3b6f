"""`shaver`: entries ranked by their Shapley share of the loss on held-out rows; one ranking serves every budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, PRUNED, entries_that_fit, limit_of
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.data import Split
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import ConfigError
from nasbench_rec.model import CTRModel, Embedding
from nasbench_rec.plans import EmbeddingPlan, EntryMask
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.seeds import stream
from nasbench_rec.tables import pool
from nasbench_rec.training import ids_of, labels_of

MODEL = "model."
"""Prefix of the trained model's weights in the state."""
FORWARD = 3
"""So many forward passes cost about what one training step does: they are charged that way."""


@dataclass(frozen=True)
class ShaverConfig:
    """Settings of `shaver`."""

    rows: int = setting(
        40_000,
        "most rows that credits are averaged over: search rows first, then training rows",
        source="code: validation and part of the training rows; the cap is ours",
        space={"type": "int", "low": 5_000, "high": 200_000, "log": True},
    )
    tolerance: float = setting(
        1e-2,
        "stop where the largest standard error of a credit falls below this share of the credits' range",
        source="code",
        space={"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    )
    recipe: Literal["none", "finetune"] = setting(
        "none",
        "none: serve the pruned weights; finetune: train on from them under the mask",
        source="code: none, finetuning optional",
        space={"type": "categorical", "choices": ["none", "finetune"]},
        stage="derive",
    )
    ratio: float = setting(
        0.5,
        "share of the uniform model's bytes where no plan budget is given",
        source="code: sparsities .5, .8 and .95",
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse a measurement of nothing."""
        if self.rows < 1 or self.tolerance < 0:
            raise ConfigError(
                f"shaver: rows = {self.rows} must be at least 1 and tolerance = {self.tolerance} at least 0."
            )


class PlayedEmbedding(Embedding):
    """A whole table of whose looked-up values some are taken out: `present` [B, C, d] says which stay."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.present: Tensor | None = None
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)

    def forward(self, ids: Tensor) -> Tensor:
        """Return [B, F, d]."""
        local, rows = self.lookup.rows(ids)
        e = self.lookup.table(rows)
        return pool(e if self.present is None else e * self.present, local, self.lookup.fields)


class Shaver(Searcher):
    """The importance of entry (i, j) of the trained table is its expected share of what the table takes off the loss:

        phi_ij = E_(x, y) [ 1[i in x]  E_pi ( L(S + (i, j) removed) - L(S removed) ) ],

    pi a random order of the C d values that sample x looks up, S those before (i, j) in it, L the sample's BCE with
    removed values at 0. One order is drawn for each sample; rows that a sample lacks get 0 from it, so frequent values
    weigh more. The entries of largest phi that fit the plan budget are kept and served with their weights.
    """

    info = MethodInfo(
        name="shaver",
        title="Shaver",
        level="entry",
        data="train+search",
        budget="exact",
        plans=("entry_mask",),
        faithfulness="inferred",
        paper="Tran et al., On-device Content-based Recommendation with Single-shot Embedding Pruning: A Cooperative "
        "Game Perspective, WWW 2025, arXiv:2411.13052",
        year=2025,
        deviations=(
            "the model is trained without the search rows, on which credits are then measured first; the code takes "
            "validation rows and part of the training rows",
            "removed entries are 0; the paper's codebook, a value per field and column in their place, is left out",
            "measuring stops at a number of rows if its tolerance is not met before",
        ),
    )
    Config = ShaverConfig
    presets = {"finetune": {"recipe": "finetune"}}

    def search(self, task: SearchTask) -> SearchState:
        """Train the uniform model and credit its entries."""
        model = task.build(lambda: PlayedEmbedding(task.layout))
        task.fit(model)
        credit = _Credit(task.layout.rows, task.layout.dim)
        generator = torch.Generator().manual_seed(stream("shaver", task.seed))
        for ids, labels in _batches(task, self.config.rows):
            credit.add(ids, *removals(model, ids, labels, generator))
            task.budget.charge(len(ids) * ids.shape[1] * task.layout.dim // FORWARD, 0.0)
            if credit.error() < self.config.tolerance:
                break
        task.diagnose("rows", credit.rows)
        task.diagnose("error", credit.error())
        weights = {MODEL + k: v for k, v in model.state_dict().items()}
        return SearchState({"credit": credit.mean(), **weights})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the mask of the entries of largest credit, with the weights under it."""
        credit = state.tensors["credit"].cpu().numpy()
        mask = entries_that_fit(credit, limit_of(task, size, self.config.ratio))
        weights = {k.removeprefix(MODEL): v for k, v in state.tensors.items() if k.startswith(MODEL)}
        weights[MASKED_TABLE] = weights[MASKED_TABLE] * torch.from_numpy(mask)
        return EntryMask(mask=mask, recipe=PRUNED[self.config.recipe], weights=weights)


class _Credit:
    """Running sums of credits per entry, over all rows so far."""

    def __init__(self, rows: int, width: int) -> None:
        self.sum, self.square = (torch.zeros(rows * width, dtype=torch.float64) for _ in range(2))
        self.shape, self.rows = (rows, width), 0

    def add(self, ids: Tensor, entries: Tensor, gains: Tensor) -> None:
        """Take the gains [B, P] of the removed entries [B, P], positions in the flat table."""
        self.sum.index_add_(0, entries.flatten(), gains.flatten().double())
        self.square.index_add_(0, entries.flatten(), gains.flatten().double() ** 2)
        self.rows += len(ids)

    def mean(self) -> Tensor:
        """Return the credits [V, d]: the mean over all rows, 0 for those without the entry."""
        return (self.sum / max(self.rows, 1)).view(self.shape)

    def error(self) -> float:
        """Return the largest standard error of a credit as a share of the credits' range."""
        mean = self.sum / max(self.rows, 1)
        deviation = (self.square / max(self.rows, 1) - mean**2).clamp_min(0).sqrt()
        return float(deviation.max() / max(self.rows, 1) ** 0.5 / (mean.max() - mean.min()).clamp_min(1e-30))


def _batches(task: SearchTask, most: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches of at most `most` rows in a random order: search rows, then training rows."""
    found, left = [], most
    splits: tuple[Split, ...] = (task.search, task.train)
    for name, split in zip(("search rows", "training rows"), splits, strict=True):
        order = task.rng(name).permutation(len(split))[:left]
        left -= len(order)
        if len(order):
            part = split.take(order)
            size = task.protocol.batch_size
            found += list(zip(ids_of(part).split(size), labels_of(part).split(size), strict=True))
    return found


@torch.no_grad()
def removals(
    model: CTRModel, ids: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Remove the C d looked-up values of each sample one by one in a random order of its own.

    Returns the removed entries [B, C d], as positions in the flat table, and by how much the sample's loss rose.
    """
    embedding = model.eval().embedding
    assert isinstance(embedding, PlayedEmbedding)
    device = embedding.lookup.table.weight.device
    ids, labels = ids.to(device), labels.to(device)
    width = embedding.lookup.table.weight.shape[1]
    players = ids.shape[1] * width
    order = torch.rand(len(ids), players, generator=generator).argsort(1).to(device)
    present = torch.ones(len(ids), players, device=device)
    embedding.present = present.view(len(ids), -1, width)
    before, gains = _losses(model, ids, labels), []
    for step in order.unbind(1):
        present.scatter_(1, step[:, None], 0.0)
        after = _losses(model, ids, labels)
        gains.append(after - before)
        before = after
    embedding.present = None
    _, rows = embedding.lookup.rows(ids)
    entries = (rows.long() * width).gather(1, order // width) + order % width
    return entries.cpu(), torch.stack(gains, 1).cpu()


def _losses(model: CTRModel, ids: Tensor, labels: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(model(ids), labels, reduction="none")
