"""The one training loop, for search and for retraining, with hooks.

A hook may add losses, claim parameters for a group of its own, step structure parameters on the search
split, follow a schedule, prune, watch the evaluations. The loop gathers batches straight from the encoded
int32 rows; tables move by the optimisers of `nasbench_rec.optim`, all other weights by Adam.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from nasbench_rec import metrics
from nasbench_rec.data import Split
from nasbench_rec.errors import NasbenchError
from nasbench_rec.model import tables_of
from nasbench_rec.optim import make_table_optimizer
from nasbench_rec.protocol import Protocol
from nasbench_rec.seeds import seeded, stream

PREDICT_ROWS = 8192
RANDOM_BYTES = 2**30
"""Ids up to this size are read in any order; `Batches` shuffles more of them in two steps."""
CHUNK_BYTES = 512 * 2**10
"""Ids that lie together, in the first step."""
BUFFER_CHUNKS = 256
"""Chunks among which rows are shuffled, in the second: 128 MiB."""


class TrainingDiverged(NasbenchError):
    """The training loss is no longer a finite number."""


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that the main optimiser steps with a learning rate and decay of their own.

    A small `eps` (of Adam) lets parameters move whose gradients are themselves tiny.
    """

    params: tuple[nn.Parameter, ...]
    lr: float
    weight_decay: float = 0.0
    eps: float = 1e-8


@dataclass
class Step:
    """Where a training is: handed to every hook. `index` counts from 0 over all epochs."""

    model: nn.Module
    total: int
    index: int = 0
    epoch: int = 0
    ids: Tensor = field(default_factory=lambda: torch.empty(0))
    labels: Tensor = field(default_factory=lambda: torch.empty(0))
    zero_grad: Callable[[], None] = lambda: None

    @property
    def share(self) -> float:
        """How much of the training is done: 0 at the first step, 1 at the last."""
        return self.index / max(self.total - 1, 1)


class Hook:
    """What may be done in a training; called in the order of the methods below. All do nothing here."""

    def groups(self) -> Sequence[ParamGroup]:
        """Return parameters that the main optimiser steps with their own rates."""
        return ()

    def own_parameters(self) -> Sequence[nn.Parameter]:
        """Return parameters that the main optimiser must leave alone (the hook steps them)."""
        return ()

    def extra_rows(self, steps: int) -> int:
        """Return the rows that the hook itself trains on during `steps` steps: they count as search budget."""
        return 0

    def before_step(self, step: Step) -> None:
        """Act before the forward pass: schedules, structure steps."""

    def extra_loss(self, step: Step) -> Tensor | None:
        """Return a term to add to the loss, after the forward pass, or None."""
        return None

    def after_step(self, step: Step) -> None:
        """Act after the weights moved: pruning, clipping, counting."""

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        """See the validation scores of this moment."""


class Frozen(Hook):
    """Keeps parameters as they are: nobody steps them."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = tuple(parameters)

    def own_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that stay."""
        return self.parameters


@dataclass(frozen=True)
class FitResult:
    """What a training gave: anytime curve, best evaluation, steps, rows seen, seconds."""

    history: tuple[dict[str, float], ...]
    best_epoch: int
    steps: int
    rows_seen: int
    seconds: float


def ids_of(split: Split) -> Tensor:
    """Return the ids of a split as an int32 tensor [N, C] without a copy: nobody writes into it.

    The memory of a data set on disk is mapped read-only; a write would end the process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(split.ids)


def labels_of(split: Split) -> Tensor:
    """Return the labels of a split as a float32 tensor [N], always a copy in memory: 4 bytes a row."""
    return torch.from_numpy(np.array(split.labels, dtype=np.float32))


def read_in_chunks(ids: Tensor) -> bool:
    """Return whether ids [N, C] are too large to be read in any order. Their size decides, not the machine's."""
    return ids.nbytes > RANDOM_BYTES


class Batches:
    """Shuffled batches of a split; every epoch a new order from `generator`.

    No batch has a single row, as batch normalisation needs two: a last row that would stand alone is left out of
    that epoch.

    Ids of up to `RANDOM_BYTES` are in a uniformly random order. A larger file may not fit the memory, and reading it
    row by row in random order would fetch a page for each: then chunks of consecutive rows are shuffled, and rows
    within a buffer of `BUFFER_CHUNKS` chunks at a time. The file is read once an epoch in pieces of `CHUNK_BYTES`,
    and memory holds one buffer whatever N. The price: rows of different buffers cannot meet in a batch, rows of one
    chunk meet more often than others, and where the file has an order (time), a buffer is a sample of 256 places
    and not of each row. The order depends on the shape of the ids and the generator alone.
    """

    def __init__(self, split: Split, size: int, generator: torch.Generator, device: str = "cpu") -> None:
        self.ids, self.labels = ids_of(split), labels_of(split)
        self.size, self.generator, self.device = size, generator, device
        if len(self.ids) < 2:
            raise NasbenchError(f"a training needs at least 2 rows, got {len(self.ids)}.")

    def __len__(self) -> int:
        """Return the batches of one epoch."""
        full, rest = divmod(len(self.ids), self.size)
        return full + (rest > 1)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (ids [B, C] int32, labels [B]) over one epoch."""
        for ids, labels in self._chunked() if read_in_chunks(self.ids) else self._random():
            yield ids.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)

    def _random(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch in a uniformly random order."""
        order = torch.randperm(len(self.ids), generator=self.generator)
        for b in range(len(self)):
            rows = order[b * self.size : (b + 1) * self.size]
            yield self.ids.index_select(0, rows), self.labels.index_select(0, rows)

    def _chunked(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, shuffled in two steps."""
        size = max(1, CHUNK_BYTES // self.ids[0].nbytes)
        chunks = torch.randperm(-(-len(self.ids) // size), generator=self.generator)
        most = min(len(self.ids), BUFFER_CHUNKS * size + self.size)
        ids, labels = self.ids.new_empty(most, self.ids.shape[1]), self.labels.new_empty(most)
        kept = 0  # rows of the last buffer that did not fill a batch are the first ones of the next
        for some in chunks.split(BUFFER_CHUNKS):
            end = self._read(some, size, ids, labels, kept)
            order = kept + torch.randperm(end - kept, generator=self.generator)
            order = torch.cat([torch.arange(kept), order])
            whole = end - end % self.size
            for b in range(0, whole, self.size):
                rows = order[b : b + self.size]
                yield ids.index_select(0, rows), labels.index_select(0, rows)
            rest, kept = order[whole:], end - whole
            ids[:kept], labels[:kept] = ids[rest], labels[rest]
        if kept > 1:
            yield ids[:kept].clone(), labels[:kept].clone()

    def _read(self, chunks: Tensor, size: int, ids: Tensor, labels: Tensor, at: int) -> int:
        """Copy chunks of `size` rows into the buffer from row `at` on, as the file has them; return their end."""
        for start in (chunks.sort().values * size).tolist():
            stop = min(start + size, len(self.ids))
            end = at + stop - start
            ids[at:end], labels[at:end] = self.ids[start:stop], self.labels[start:stop]
            at = end
        return at

    def forever(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches without end, epoch after epoch."""
        while True:
            yield from self.epoch()


class Bilevel(Hook):
    """Structure parameters stepped on the search split, every `every` steps, before the weights move.

    First order: the gradient is taken at the current weights (the one-step look-ahead of DARTS is left out).
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        search: Split,
        protocol: Protocol,
        seed: int,
        lr: float = 1e-3,
        every: int = 1,
        weight_decay: float = 0.0,
        loss: Callable[[Step], Tensor | None] | None = None,
    ) -> None:
        self.parameters = tuple(parameters)
        self.every, self.structure_loss = every, loss
        self.optimizer = torch.optim.Adam(self.parameters, lr=lr, weight_decay=weight_decay)
        generator = torch.Generator().manual_seed(stream("bilevel", seed))
        self.batches = Batches(search, protocol.batch_size, generator, protocol.device).forever()
        self.rows_each = min(protocol.batch_size, len(search))
        self.rows_seen = 0

    def own_parameters(self) -> Sequence[nn.Parameter]:
        """Return the structure parameters: the main optimiser leaves them alone."""
        return self.parameters

    def extra_rows(self, steps: int) -> int:
        """Return the rows of the structure steps that fall into `steps` steps."""
        return -(-steps // self.every) * self.rows_each

    def before_step(self, step: Step) -> None:
        """Take one structure step on a search batch, then clear every gradient it left."""
        if step.index % self.every:
            return
        ids, labels = next(self.batches)
        loss = binary_cross_entropy_with_logits(step.model(ids), labels)
        extra = self.structure_loss(step) if self.structure_loss else None
        (loss if extra is None else loss + extra).backward()
        self.move()
        step.zero_grad()
        self.rows_seen += len(labels)

    def move(self) -> None:
        """Move the structure parameters by their gradients: Adam, unless a subclass knows another rule."""
        self.optimizer.step()


class _Optimizers:
    """Tables, dense weights and hooks' groups, stepped together."""

    def __init__(self, model: nn.Module, protocol: Protocol, hooks: Sequence[Hook]) -> None:
        groups = [g for hook in hooks for g in hook.groups()]
        self.claimed = [p for g in groups for p in g.params]
        self.claimed += [p for hook in hooks for p in hook.own_parameters()]
        taken = {id(p) for p in self.claimed}
        tables = [t for t in tables_of(model) if id(t.weight) not in taken]
        for table in (t for t in tables_of(model) if id(t.weight) in taken):
            table.rowwise = False  # whoever claims a weight looks for its gradient there
            table.pending.clear()
        taken |= {id(t.weight) for t in tables}
        self.model, self.clip = model, protocol.clip_norm
        self.dense = [p for p in model.parameters() if id(p) not in taken]
        self.tables = make_table_optimizer(protocol.optimizer, tables, protocol.lr, protocol.embedding_l2)
        main = {"params": self.dense, "lr": protocol.lr, "weight_decay": protocol.weight_decay}
        own = [
            {"params": list(g.params), "lr": g.lr, "weight_decay": g.weight_decay, "eps": g.eps}
            for g in groups
        ]
        self.adam = torch.optim.Adam([g for g in [main, *own] if g["params"]] or [main], fused=True)

    def step(self) -> None:
        """Move all weights by their gradients."""
        if self.clip > 0:
            nn.utils.clip_grad_norm_(self.dense, self.clip)
        self.adam.step()
        self.tables.step()

    def zero_grad(self) -> None:
        """Clear every gradient of the model and of what hooks claimed, inside the model or not."""
        self.model.zero_grad(set_to_none=True)
        self.tables.zero_grad()
        for parameter in self.claimed:
            parameter.grad = None

    def scale_lr(self, factor: float) -> None:
        """Multiply every learning rate."""
        self.tables.lr *= factor
        for group in self.adam.param_groups:
            group["lr"] *= factor


class _Best:
    """The best evaluation so far, with its weights."""

    def __init__(self, model: nn.Module, monitor: str) -> None:
        self.model, self.sign = model, -1.0 if monitor == "logloss" else 1.0
        self.monitor, self.value, self.epoch, self.waited = monitor, -float("inf"), 0, 0
        self.weights: dict[str, Tensor] = {}

    def update(self, epoch: int, scores: dict[str, float]) -> bool:
        """Take the scores of an evaluation; return whether they are the best so far."""
        value = self.sign * scores[self.monitor]
        if value > self.value:
            self.value, self.epoch, self.waited = value, epoch, 0
            self.weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            return True
        self.waited += 1
        return False

    def restore(self) -> None:
        """Put the best weights back."""
        if self.weights:
            self.model.load_state_dict(self.weights)


def fit(
    model: nn.Module,
    train: Split,
    valid: Split | None,
    protocol: Protocol,
    seed: int,
    *,
    hooks: Sequence[Hook] = (),
    epochs: int | None = None,
    restore_best: bool = True,
) -> FitResult:
    """Train `model` in place on `train`; stop early on `valid` and restore the best weights.

    `seed` is the order stream's value: it drives the batches and every random number drawn inside (dropout,
    sampled gates). `epochs` replaces the protocol's; without `valid` or with `patience` 0 all of them run.
    With `restore_best=False` the last weights stay. Raises `TrainingDiverged` on a loss that is not finite.
    """
    start = time.perf_counter()
    generator = torch.Generator().manual_seed(stream("order/batches", seed))
    batches = Batches(train, protocol.batch_size, generator, protocol.device)
    epochs = protocol.epochs if epochs is None else epochs
    optimizers = _Optimizers(model, protocol, hooks)
    step = Step(model, total=epochs * len(batches), zero_grad=optimizers.zero_grad)
    best, history, rows = _Best(model, protocol.monitor), [], 0
    with seeded(stream("order/noise", seed)):
        for step.epoch in range(epochs):
            loss, seen = _train_epoch(step, batches, optimizers, hooks)
            rows += seen
            scores = {"epoch": step.epoch, "step": step.index, "train_loss": loss}
            if valid is not None:
                scores |= evaluate(model, valid, protocol.device)
            scores["seconds"] = time.perf_counter() - start
            history.append(scores)
            for hook in hooks:
                hook.on_evaluation(step, scores)
            if valid is None or best.update(step.epoch, scores):
                continue
            optimizers.scale_lr(protocol.lr_factor)
            if protocol.patience and best.waited >= protocol.patience:
                break
    if restore_best:
        best.restore()
    optimizers.zero_grad()
    return FitResult(tuple(history), best.epoch, step.index, rows, time.perf_counter() - start)


def _train_epoch(
    step: Step, batches: Batches, optimizers: _Optimizers, hooks: Sequence[Hook]
) -> tuple[float, int]:
    """Run one epoch; return its mean loss and the rows seen."""
    step.model.train()
    total, rows = torch.zeros((), device=batches.device), 0
    for step.ids, step.labels in batches.epoch():
        for hook in hooks:
            hook.before_step(step)
        loss = binary_cross_entropy_with_logits(step.model(step.ids), step.labels)
        total += loss.detach()
        for hook in hooks:
            extra = hook.extra_loss(step)
            loss = loss if extra is None else loss + extra
        loss.backward()
        optimizers.step()
        optimizers.zero_grad()
        rows += len(step.labels)
        for hook in hooks:
            hook.after_step(step)
        step.index += 1
    mean = float(total) / len(batches)
    if not np.isfinite(mean):
        raise TrainingDiverged(
            f"the training loss became {mean} in epoch {step.epoch} (by step {step.index}); "
            "lower the learning rate, or look for unbounded values in the method."
        )
    return mean, rows


@torch.no_grad()
def predict(model: nn.Module, split: Split, device: str = "cpu") -> np.ndarray:
    """Return logits float32 [N] of `model` in evaluation mode."""
    model.eval()
    found, ids = torch.empty(len(split)), ids_of(split)
    for part, logits in zip(ids.split(PREDICT_ROWS), found.split(PREDICT_ROWS), strict=True):
        logits.copy_(model(part.to(device)))
    return found.numpy()


def evaluate(model: nn.Module, split: Split, device: str = "cpu") -> dict[str, float]:
    """Return `auc` and `logloss` of `model` on `split`."""
    logits = predict(model, split, device)
    return {"auc": metrics.auc(split.labels, logits), "logloss": metrics.logloss(split.labels, logits)}
