"""Is it the same training? Loss curves of our engine and of plain PyTorch, same weights, same batches."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from clicks import SMALL, draw
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from turns import Work
from worker_ours import deepfm, protocol_of

from nasbench_rec.data import Field, Split
from nasbench_rec.model import CTRModel
from nasbench_rec.training import FitResult, Hook, Step, fit

TOLERANCE = 1e-5
EPOCHS, TRAIN, VALID = 10, 40_000, 20_000


@dataclass(frozen=True)
class Curves:
    """Mean training loss of each epoch; and the log loss on held-out rows after it."""

    torch_adam: list[float]
    dense_adam: list[float]
    row_adam: list[float]
    dense_adam_valid: list[float]
    row_adam_valid: list[float]

    @property
    def gap(self) -> float:
        """The largest difference between dense_adam and plain PyTorch."""
        return float(np.abs(np.subtract(self.torch_adam, self.dense_adam)).max())

    @property
    def same(self) -> bool:
        return self.gap <= TOLERANCE


class PlainDeepFM(nn.Module):
    """DeepFM as a tutorial would write it, started from the weights of ours."""

    def __init__(self, ours: CTRModel, cardinalities: tuple[int, ...]) -> None:
        super().__init__()
        state = {name: value.clone() for name, value in ours.state_dict().items()}
        self.offsets = torch.tensor([0, *np.cumsum(cardinalities)[:-1]])
        self.table = nn.Embedding.from_pretrained(state["embedding.lookups.0.table.weight"], freeze=False)
        self.first = nn.Embedding.from_pretrained(state["backbone.first_order.table.weight"], freeze=False)
        self.bias = nn.Parameter(state["backbone.first_order.bias"])
        self.mlp = copy.deepcopy(ours.backbone.get_submodule("mlp"))

    def forward(self, ids: Tensor) -> Tensor:
        e = self.table(ids + self.offsets)
        pairs = 0.5 * (e.sum(1) ** 2 - (e**2).sum(1)).sum(1)
        return (
            self.bias + self.first(ids + self.offsets).sum((1, 2)) + pairs + self.mlp(e.flatten(1)).squeeze(1)
        )


class Recorder(Hook):
    """Keeps the batches of each epoch."""

    def __init__(self) -> None:
        self.epochs: list[list[tuple[Tensor, Tensor]]] = []

    def before_step(self, step: Step) -> None:
        if step.epoch == len(self.epochs):
            self.epochs.append([])
        self.epochs[-1].append((step.ids, step.labels))


def train_plain(model: PlainDeepFM, epochs: list[list[tuple[Tensor, Tensor]]]) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve = []
    for batches in epochs:
        losses = []
        for ids, labels in batches:
            loss = binary_cross_entropy_with_logits(model(ids), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curve.append(float(np.mean(losses)))
    return curve


def measure(threads: int) -> Curves:
    torch.set_num_threads(threads)
    fields = tuple(Field(f"f{i}", n) for i, n in enumerate(SMALL))
    clicks = Split(*draw(TRAIN + VALID, SMALL))
    train, valid = clicks.take(slice(TRAIN)), clicks.take(slice(TRAIN, None))
    results: dict[str, FitResult] = {}
    recorder = Recorder()
    for optimizer in ("dense_adam", "row_adam"):
        protocol = protocol_of(Work("", (16, 8), 16, 512, threads, EPOCHS, optimizer))
        ours = deepfm(fields, protocol)
        if optimizer == "dense_adam":
            plain = PlainDeepFM(ours, SMALL)
        hooks = [recorder] if optimizer == "dense_adam" else []
        results[optimizer] = fit(ours, train, valid, protocol, seed=0, hooks=hooks, restore_best=False)
    train_losses = {name: [row["train_loss"] for row in result.history] for name, result in results.items()}
    valid_losses = {f"{name}_valid": [row["logloss"] for row in r.history] for name, r in results.items()}
    return Curves(torch_adam=train_plain(plain, recorder.epochs), **train_losses, **valid_losses)
