"""The training loop: it learns, stops, restores, repeats bit for bit, and keeps its promises to hooks."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasbench_rec import training
from nasbench_rec.backbones import EmbeddingShape
from nasbench_rec.data import Dataset, Split
from nasbench_rec.embeddings import Layout, StackedLookup
from nasbench_rec.errors import NasbenchError
from nasbench_rec.model import CTRModel, Embedding, build_model
from nasbench_rec.optim import AdamTables, RowAdam
from nasbench_rec.plans import ColumnMask, EmbeddingPlan, EntryMask, RowDims, uniform
from nasbench_rec.seeds import Seeds, seeded, stream
from nasbench_rec.testing import kept_entries, tiny_protocol
from nasbench_rec.training import (
    Batches,
    Bilevel,
    FitResult,
    Hook,
    ParamGroup,
    Step,
    TrainingDiverged,
    evaluate,
    fit,
    ids_of,
    labels_of,
    predict,
)

OPTIMIZERS = ("row_adam", "dense_adam")


def model_of(
    data: Dataset, plan: EmbeddingPlan | None = None, backbone: str = "deepfm", seed: int = 0, **protocol: Any
) -> CTRModel:
    layout = Layout(data.fields, 4)
    plan = uniform(layout) if plan is None else plan
    return build_model(lambda: plan.build(layout), data.fields, backbone, tiny_protocol(**protocol), seed)


def train(model: nn.Module, data: Dataset, seed: int = 0, valid: bool = True, **options: Any) -> FitResult:
    fit_options = {k: options.pop(k) for k in ("hooks", "epochs", "restore_best") if k in options}
    held = data.split("valid") if valid else None
    return fit(model, data.split("train"), held, tiny_protocol(**options), seed, **fit_options)


def state(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[k], other[k]) for k in one.keys() | other.keys())


def script(monkeypatch: pytest.MonkeyPatch, values: Sequence[float], name: str = "auc") -> None:
    """Let the evaluations of a training give these scores."""
    scores = iter(values)
    monkeypatch.setattr(training, "evaluate", lambda *_: {"auc": 0.5, "logloss": 0.7, name: next(scores)})


class Snapshots(Hook):
    """Keeps the weights of every evaluation."""

    def __init__(self) -> None:
        self.states: list[dict[str, Tensor]] = []

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        self.states.append(state(step.model))


# Learning, stopping, restoring.


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_learns(tiny: Dataset, optimizer: str) -> None:
    model = model_of(tiny)
    before = evaluate(model, tiny.split("valid"))
    result = train(model, tiny, optimizer=optimizer, epochs=6, lr=0.02)
    losses = [h["train_loss"] for h in result.history]
    assert losses[-1] < losses[0] < 0.8
    assert evaluate(model, tiny.split("valid"))["auc"] > max(before["auc"], 0.6)
    assert result.steps == 6 * 3 and result.rows_seen == 6 * len(tiny.split("train"))
    assert [h["step"] for h in result.history] == [3, 6, 9, 12, 15, 18]


def test_the_best_weights_come_back(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [0.6, 0.8, 0.7, 0.5])
    seen, model = Snapshots(), model_of(tiny)
    result = train(model, tiny, hooks=[seen], epochs=4, patience=0)
    assert (result.best_epoch, len(result.history)) == (1, 4)
    assert same(state(model), seen.states[1]) and not same(seen.states[1], seen.states[3])


def test_or_the_last_ones_stay(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [0.6, 0.8, 0.7])
    seen, model = Snapshots(), model_of(tiny)
    train(model, tiny, hooks=[seen], epochs=3, patience=0, restore_best=False)
    assert same(state(model), seen.states[2])
    other = model_of(tiny)
    assert len(train(other, tiny, valid=False, epochs=3, patience=1).history) == 3
    assert same(state(other), seen.states[2])


@pytest.mark.parametrize(
    ("scores", "patience", "epochs", "best"),
    [
        ([0.6, 0.5, 0.5, 0.9], 2, 3, 0),
        ([0.6, 0.5, 0.7, 0.6, 0.6], 2, 5, 2),
        ([0.6, 0.6, 0.9], 1, 2, 0),  # equal is not better
        ([0.6, 0.5, 0.4, 0.3], 0, 4, 0),
    ],
)
def test_it_stops_early(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch, scores: list[float], patience: int, epochs: int, best: int
) -> None:
    script(monkeypatch, scores)
    result = train(model_of(tiny), tiny, epochs=len(scores), patience=patience)
    assert (len(result.history), result.best_epoch) == (epochs, best)


def test_the_monitored_score_decides(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    script(monkeypatch, [0.6, 0.4, 0.5], "logloss")
    assert train(model_of(tiny), tiny, epochs=3, patience=0, monitor="logloss").best_epoch == 1


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_lr_factor_scales_every_rate(tiny: Dataset, monkeypatch: pytest.MonkeyPatch, optimizer: str) -> None:
    script(monkeypatch, [0.9, 0.5, 0.4])
    seen, own = Snapshots(), nn.Parameter(torch.ones(1))
    model = model_of(tiny, batch_norm=False)
    model.register_parameter("own", own)
    hook = Pull(own)
    options = {"optimizer": optimizer, "lr_factor": 1e-9, "epochs": 3, "patience": 0, "batch_norm": False}
    train(model, tiny, hooks=[seen, hook], restore_best=False, **options)
    for name, last in seen.states[2].items():
        torch.testing.assert_close(last, seen.states[1][name], rtol=0, atol=1e-7)
        assert not torch.equal(seen.states[1][name], seen.states[0][name])


def test_a_loss_that_is_not_finite_is_an_error(tiny: Dataset) -> None:
    class Explode(Hook):
        def extra_loss(self, step: Step) -> Tensor:
            return next(step.model.backbone.mlp.parameters()).sum() * math.inf

    with pytest.raises(TrainingDiverged, match="epoch 0.*lower the learning rate"):
        train(model_of(tiny), tiny, hooks=[Explode()])


# The same again.


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_same_seed_gives_the_same_bits(tiny: Dataset, optimizer: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = []
        for seed in (3, 3, 4):
            torch.rand(7)  # what global generators hold is of no matter
            model = model_of(tiny)
            train(model, tiny, seed, optimizer=optimizer, dropout=0.3)
            found.append(predict(model, tiny.split("valid")))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_training_leaves_global_generators_alone(tiny: Dataset) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(model_of(tiny), tiny, epochs=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("backbone", ["deepfm", "dcnv2"])
def test_full_masks_are_the_uniform_model_to_the_bit(tiny: Dataset, optimizer: str, backbone: str) -> None:
    layout = Layout(tiny.fields, 4)
    plans = (
        uniform(layout),
        ColumnMask(mask=np.ones((5, 4), dtype=bool)),
        EntryMask(mask=np.ones((layout.rows, 4), dtype=bool)),
        RowDims(row_widths=np.full(layout.rows, 4)),
    )
    found = []
    for plan in plans:
        model = model_of(tiny, plan, backbone)
        train(model, tiny, optimizer=optimizer, embedding_l2=0.01)
        found.append(predict(model, tiny.split("test")))
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["columns", "entries", "rows"])
def test_masked_entries_get_neither_value_nor_moments(tiny: Dataset, optimizer: str, kind: str) -> None:
    layout, rng = Layout(tiny.fields, 4), np.random.default_rng(0)
    plan = {
        "columns": ColumnMask(mask=rng.random((5, 4)) < 0.5),
        "entries": EntryMask(mask=rng.random((layout.rows, 4)) < 0.5),
        "rows": RowDims(row_widths=rng.integers(0, 5, layout.rows)),
    }[kind]

    class Look(Hook):
        optimizers: Any = None

        def after_step(self, step: Step) -> None:
            self.optimizers = step.zero_grad.__self__  # type: ignore[attr-defined]

    model, look = model_of(tiny, plan), Look()
    train(model, tiny, optimizer=optimizer, embedding_l2=0.5, lr=0.05, hooks=[look])
    masked = torch.from_numpy(~kept_entries(plan, layout))
    table, moments = model.embedding.lookup.table, look.optimizers.tables
    if isinstance(moments, RowAdam):
        n = moments.tables.index(table)
        states = [moments.exp_avg[n], moments.exp_avg_sq[n]]
    else:
        assert isinstance(moments, AdamTables)
        states = [moments.optimizer.state[table.weight][k] for k in ("exp_avg", "exp_avg_sq")]
    for tensor in (table.weight, *states):
        assert int(tensor[masked].count_nonzero()) == 0 < int(tensor[~masked].count_nonzero())


# Hooks.


class Recorder(Hook):
    """Writes down what is called when."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def groups(self) -> Sequence[ParamGroup]:
        self.log.append(f"{self.name}.groups")
        return ()

    def own_parameters(self) -> Sequence[nn.Parameter]:
        self.log.append(f"{self.name}.own")
        return ()

    def before_step(self, step: Step) -> None:
        assert step.model.training and len(step.ids) == len(step.labels)
        self.log.append(f"{self.name}.before {step.index}")

    def extra_loss(self, step: Step) -> None:
        self.log.append(f"{self.name}.extra")

    def after_step(self, step: Step) -> None:
        assert all(p.grad is None for p in step.model.parameters())
        self.log.append(f"{self.name}.after")

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        self.log.append(f"{self.name}.evaluation {step.epoch} {sorted(scores)}")


def test_hooks_are_called_in_order(tiny: Dataset) -> None:
    log: list[str] = []
    train(model_of(tiny), tiny, hooks=[Recorder("a", log), Recorder("b", log)], epochs=2, batch_size=400)
    keys = ["auc", "epoch", "logloss", "seconds", "step", "train_loss"]
    assert sorted(log[:4]) == ["a.groups", "a.own", "b.groups", "b.own"]
    expected = []
    for epoch in (0, 1):
        for step in (2 * epoch, 2 * epoch + 1):
            expected += [f"a.before {step}", f"b.before {step}", "a.extra", "b.extra", "a.after", "b.after"]
        expected += [f"{n}.evaluation {epoch} {keys}" for n in "ab"]
    assert log[4:] == expected


class Pull(Hook):
    """Pulls a parameter down, in a group of its own."""

    def __init__(self, parameter: nn.Parameter, lr: float = 0.1) -> None:
        self.parameter, self.lr = parameter, lr
        self.gradients: list[Tensor | None] = []

    def groups(self) -> Sequence[ParamGroup]:
        return (ParamGroup((self.parameter,), self.lr),)

    def extra_loss(self, step: Step) -> Tensor:
        self.gradients.append(self.parameter.grad)
        return self.parameter.sum()


def test_groups_move_at_their_own_rate(tiny: Dataset) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    train(model_of(tiny), tiny, hooks=[Pull(parameter)], epochs=1, batch_size=560)
    torch.testing.assert_close(parameter.detach(), torch.full((2,), -0.1))


def test_gradients_of_parameters_outside_the_model_do_not_pile_up(tiny: Dataset) -> None:
    hook = Pull(nn.Parameter(torch.zeros(2)))
    train(model_of(tiny), tiny, hooks=[hook])
    assert len(hook.gradients) > 2 and all(g is None for g in hook.gradients)


def test_own_parameters_are_left_alone(tiny: Dataset) -> None:
    class Own(Hook):
        def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
            self.parameters = tuple(parameters)

        def own_parameters(self) -> Sequence[nn.Parameter]:
            return self.parameters

    model = model_of(tiny)
    table = model.embedding.lookups[0].table
    held = [model.backbone.mlp[0].weight, table.weight]
    before = [p.detach().clone() for p in held]
    train(model, tiny, hooks=[Own(held)], embedding_l2=0.1, weight_decay=0.1, epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(held, before, strict=True))


def test_a_table_can_change_hands_between_trainings(tiny: Dataset) -> None:
    """Trained row-wise first, then claimed by a hook's group: its gradients must reach that group."""
    model = model_of(tiny)
    train(model, tiny, optimizer="row_adam", epochs=1)
    table = model.embedding.lookups[0].table

    class Claim(Hook):
        def groups(self) -> Sequence[ParamGroup]:
            return (ParamGroup((table.weight,), 0.01),)

    before = table.weight.detach().clone()
    train(model, tiny, hooks=[Claim()], epochs=1)
    assert not torch.equal(table.weight, before) and not table.pending


# Bi-level steps.


class Gated(Embedding):
    """A gate per field on the uniform embedding."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.lookup = StackedLookup(layout, layout.dim)
        self.gate = nn.Parameter(torch.ones(len(layout.fields)))
        self.shape = EmbeddingShape(len(layout.fields), layout.dim)
        self.seen: list[Tensor] = []

    def forward(self, ids: Tensor) -> Tensor:
        self.seen.append(ids)
        return self.lookup(ids) * self.gate[None, :, None]


def marked(split: Split, site: int) -> Split:
    """The same rows with the first field's id set: it tells splits apart."""
    ids = np.array(split.ids)
    ids[:, 0] = site
    return Split(ids, split.labels)


def gated_model(data: Dataset, **protocol: Any) -> CTRModel:
    layout = Layout(data.fields, 4, std=0.1)
    return build_model(lambda: Gated(layout), data.fields, "deepfm", tiny_protocol(**protocol), 0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_structure_step_moves_structure_only(tiny: Dataset, optimizer: str) -> None:
    """Seen from a hook behind it: between its step and the forward pass only the gate has moved."""
    model = gated_model(tiny)
    gate = model.embedding.gate
    bilevel = Bilevel([gate], marked(tiny.split("valid"), 1), tiny_protocol(), seed=0, lr=0.1)

    class Watch(Hook):
        def __init__(self) -> None:
            self.before: dict[str, Tensor] = {}
            self.checked = 0

        def before_step(self, step: Step) -> None:
            if not self.before:  # first of the two calls
                self.before = state(model)
                model.embedding.seen.clear()
                return
            weights = {name for name, _ in model.named_parameters()}
            moved = {
                n for n, v in state(model).items() if n in weights and not torch.equal(v, self.before[n])
            }
            assert moved == {"embedding.gate"}
            assert all(p.grad is None for p in model.parameters())
            assert not any(t.pending for t in training.tables_of(model))
            assert all((ids[:, 0] == 1).all() for ids in model.embedding.seen)
            self.before, self.checked = {}, self.checked + 1
            model.embedding.seen.clear()

        def after_step(self, step: Step) -> None:
            assert all((ids[:, 0] == 0).all() for ids in model.embedding.seen)

    watch = Watch()
    rows = marked(tiny.split("train"), 0)
    fit(model, rows, None, tiny_protocol(optimizer=optimizer), 0, hooks=[watch, bilevel, watch], epochs=1)
    assert watch.checked == 3 and bilevel.rows_seen == 3 * len(tiny.split("valid"))


def test_main_steps_leave_structure_alone(tiny: Dataset) -> None:
    """With a rate of 0 for the structure it never moves, though the weights' loss reaches it."""
    model = gated_model(tiny)
    bilevel = Bilevel([model.embedding.gate], tiny.split("valid"), tiny_protocol(), seed=0, lr=0.0)
    train(model, tiny, hooks=[bilevel], weight_decay=0.1)
    assert torch.equal(model.embedding.gate.detach(), torch.ones(5))


def test_structure_outside_the_model_gets_one_gradient_a_step(tiny: Dataset) -> None:
    """The gradient of the weights' own loss must not reach the structure's optimiser."""
    model, gate = model_of(tiny), nn.Parameter(torch.zeros(1))
    found: list[Tensor] = []
    bilevel = Bilevel([gate], tiny.split("valid"), tiny_protocol(), 0, loss=lambda step: gate.sum())
    step_of = bilevel.optimizer.step

    def spy() -> None:
        assert gate.grad is not None
        found.append(gate.grad.clone())
        step_of()

    bilevel.optimizer.step = spy  # type: ignore[method-assign]

    class Weights(Hook):
        def extra_loss(self, step: Step) -> Tensor:
            return 100 * gate.sum()

    train(model, tiny, hooks=[bilevel, Weights()])
    assert len(found) > 2 and all(float(g) == 1.0 for g in found)


def test_structure_steps_can_be_rarer(tiny: Dataset) -> None:
    model = gated_model(tiny)
    bilevel = Bilevel([model.embedding.gate], tiny.split("valid"), tiny_protocol(), 0, every=2)
    train(model, tiny, hooks=[bilevel], epochs=2)  # steps 0, 2, 4 of 6
    assert bilevel.rows_seen == 3 * len(tiny.split("valid"))


# Batches, prediction, seeds.


def test_every_row_once_an_epoch_in_a_new_order() -> None:
    split = Split(np.arange(10, dtype=np.int32)[:, None], np.zeros(10, np.float32))
    batches = Batches(split, 4, torch.Generator().manual_seed(0))
    epochs = [[ids.flatten().tolist() for ids, _ in batches.epoch()] for _ in range(2)]
    assert [len(b) for b in epochs[0]] == [4, 4, 2] and len(batches) == 3
    assert sorted(sum(epochs[0], [])) == sorted(sum(epochs[1], [])) == list(range(10))
    assert epochs[0] != epochs[1]


def test_no_batch_has_a_single_row() -> None:
    split = Split(np.zeros((9, 1), np.int32), np.zeros(9, np.float32))
    batches = Batches(split, 4, torch.Generator())
    assert [len(labels) for _, labels in batches.epoch()] == [4, 4] and len(batches) == 2
    with pytest.raises(NasbenchError, match="at least 2 rows, got 1"):
        Batches(split.take(slice(0, 1)), 4, torch.Generator())


def numbered(rows: int) -> Split:
    """Rows whose only id is their number, and whose label is its parity."""
    ids = np.arange(rows, dtype=np.int32)
    return Split(ids[:, None], (ids % 2).astype(np.float32))


def orders(split: Split, size: int = 10, seed: int = 0, epochs: int = 1) -> list[list[list[int]]]:
    """The rows of each batch of each epoch."""
    batches = Batches(split, size, torch.Generator().manual_seed(seed))
    return [[ids.flatten().tolist() for ids, _ in batches.epoch()] for _ in range(epochs)]


def flat(epoch: list[list[int]]) -> list[int]:
    return [row for batch in epoch for row in batch]


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of more than 1000 rows of one id are read in chunks of 16 rows, 8 of them at a time."""
    monkeypatch.setattr(training, "RANDOM_BYTES", 4000)
    monkeypatch.setattr(training, "CHUNK_BYTES", 64)
    monkeypatch.setattr(training, "BUFFER_CHUNKS", 8)


@pytest.mark.usefixtures("chunked")
def test_small_sets_keep_the_order_of_results_that_were_stored() -> None:
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(3))
    assert flat(orders(numbered(1000), seed=3)[0]) == order.tolist()
    assert flat(orders(numbered(1001), seed=3)[0])[:10] != order.tolist()[:10]


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("rows", [1008, 1024, 1031, 2050])
@pytest.mark.parametrize("size", [3, 16, 100, 128, 300, 1023, 5000])
def test_chunks_give_every_row_once_in_full_batches(rows: int, size: int) -> None:
    batches = Batches(numbered(rows), size, torch.Generator().manual_seed(0))
    for _ in range(2):
        found = list(batches.epoch())
        assert len(found) == len(batches)
        assert [len(ids) for ids, _ in found] == [min(size, rows - i * size) for i in range(len(batches))]
        ids, labels = torch.cat([i for i, _ in found]).flatten(), torch.cat([y for _, y in found])
        assert torch.equal(labels, ids % 2) and ids.dtype == torch.int32
        left_out = rows % size == 1
        assert len(ids.unique()) == len(ids) == rows - left_out


@pytest.mark.usefixtures("chunked")
def test_chunks_leave_a_single_last_row_out() -> None:
    (epoch,) = orders(numbered(1025), 16)
    assert {len(batch) for batch in epoch} == {16} and len(epoch) == 64


@pytest.mark.usefixtures("chunked")
def test_batches_of_chunks_stay_as_they_were_given() -> None:
    """The buffer is used again, what was yielded is not."""
    kept = list(Batches(numbered(2000), 30, torch.Generator().manual_seed(0)).epoch())
    assert flat([ids.flatten().tolist() for ids, _ in kept]) == flat(orders(numbered(2000), 30)[0])
    assert len(set(flat([ids.flatten().tolist() for ids, _ in kept]))) == 2000


@pytest.mark.usefixtures("chunked")
def test_the_chunked_order_follows_seed_and_epoch_alone(tmp_path: Path) -> None:
    split = numbered(2000)
    np.save(tmp_path / "ids.npy", split.ids)
    on_disk = Split(np.load(tmp_path / "ids.npy", mmap_mode="r"), split.labels)
    first, second = orders(split, epochs=2)
    assert orders(split, epochs=2) == orders(on_disk, epochs=2) == [first, second]
    assert len({tuple(flat(e)) for e in (first, second, *orders(split, seed=1))}) == 3


@pytest.mark.usefixtures("chunked")
def test_a_buffer_is_filled_from_whole_chunks() -> None:
    epoch = flat(orders(numbered(2048), 64)[0])
    for start in range(0, 2048, 128):
        buffer = np.array(epoch[start : start + 128])
        assert len(np.unique(buffer // 16)) == 8


@pytest.mark.usefixtures("chunked")
def test_chunks_mix_well() -> None:
    place, adjacent = np.arange(2048), []
    found = []
    for seed in range(30):
        epoch = np.array(flat(orders(numbered(2048), 64, seed)[0]))
        found.append(np.corrcoef(place, epoch)[0, 1])
        adjacent.append(np.mean(np.abs(np.diff(epoch)) == 1))
    # 128 chunks in a random order: a deviation of 1 / sqrt(127) = .09 each, .016 of the mean.
    assert abs(np.mean(found)) < 0.06 and np.std(found) < 0.15
    # Of the 127 other rows in a buffer 1.9 are neighbours, on average.
    assert np.mean(adjacent) == pytest.approx(1.9 / 127, abs=0.004)


@pytest.mark.usefixtures("chunked")
def test_training_in_chunks_learns_alike(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for limit in (0, 10**9):
        monkeypatch.setattr(training, "RANDOM_BYTES", limit)
        model = model_of(tiny)
        result = train(model, tiny, epochs=6, lr=0.02)
        assert result.rows_seen == 6 * len(tiny.split("train"))
        found.append(evaluate(model, tiny.split("valid"))["auc"])
    assert found[0] != found[1] and found[0] == pytest.approx(found[1], abs=0.05)


def test_ids_of_a_mapped_file_are_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", numbered(100).ids)
    split = Split(np.load(tmp_path / "ids.npy", mmap_mode="r"), np.zeros(100, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ids = ids_of(split)
    assert np.shares_memory(ids.numpy(), split.ids) and ids.dtype == torch.int32
    labels = labels_of(split)
    labels += 1
    assert not split.labels.any(), "labels are a copy"


def test_predictions_do_not_depend_on_the_chunks(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(tiny).train()
    whole = predict(model, tiny.split("valid"))
    assert whole.dtype == np.float32 and not model.training
    monkeypatch.setattr(training, "PREDICT_ROWS", 50)
    np.testing.assert_allclose(predict(model, tiny.split("valid")), whole, rtol=1e-5, atol=1e-6)
    assert predict(model, tiny.split("valid").take(slice(0, 0))).shape == (0,)


def test_streams_are_their_own() -> None:
    names = ("init/embedding", "init/backbone", "order/batches", "order/noise", "search cut", "bilevel")
    found = {stream(name, seed) for name in names for seed in range(50)}
    assert len(found) == 300 and all(0 <= s < 2**63 for s in found)
    assert stream("a", 12) == stream("a", 12) != stream("a1", 2)
    assert Seeds.of(7) == Seeds(split=0, init=7, search=7, order=7) and Seeds.of(7, 2).split == 2


def test_seeded_blocks_restore_the_generator_even_after_an_error() -> None:
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with pytest.raises(ValueError), seeded(9):
        first = torch.rand(3)
        raise ValueError
    assert torch.equal(torch.rand(2), expected)
    with seeded(9):
        assert torch.equal(torch.rand(3), first)


def test_tables_and_backbone_have_streams_of_their_own(tiny: Dataset) -> None:
    """Another embedding of the same shape leaves the backbone's first weights as they are."""
    layout = Layout(tiny.fields, 4, "zero_pad")
    from nasbench_rec.plans import FieldDims

    one, other = model_of(tiny), model_of(tiny, FieldDims(dims=(4, 2, 1, 3, 4)))
    for name, value in one.backbone.state_dict().items():
        assert torch.equal(value, other.backbone.state_dict()[name])
    assert layout.rows == one.embedding.lookups[0].table.weight.shape[0]
