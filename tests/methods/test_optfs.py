"""OptFS: the gate, its temperature, its penalty, what is rewound, and which values it drops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE
from nasbench_rec.methods.optfs import REWOUND, TICKET, OptFSConfig, OptFSEmbedding, _Continuation, open_rows

from nasbench_rec.data import SPLITS, Dataset, Field, Split
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.registry import resolve_method
from nasbench_rec.searcher import Budget, PlanBudget, SearchTask
from nasbench_rec.testing import tiny_dataset, tiny_protocol
from nasbench_rec.training import Hook, Step, ids_of

LAYOUT = Layout(tiny_dataset().fields, 4)
IDS = ids_of(tiny_dataset().split("valid"))[:50]


def test_gates_start_at_one_and_end_at_a_step() -> None:
    embedding = OptFSEmbedding(LAYOUT)
    assert torch.allclose(embedding(IDS), embedding.lookup(IDS))
    embedding.tau = 200.0
    ends = embedding.gates(torch.tensor([-0.1, 0.1]))
    assert ends[0] < 1e-6 and ends[1] == pytest.approx(1.6065, rel=1e-3)
    assert float(TICKET) == pytest.approx(1 + np.exp(-0.5))


@pytest.mark.parametrize(("epoch", "tau"), [(0, 1.0), (2, 200 ** (2 / 4)), (4, 200.0)])
def test_the_temperature_of_an_epoch(epoch: int, tau: float) -> None:
    embedding = OptFSEmbedding(LAYOUT)
    step = Step(torch.nn.Identity(), total=10)
    step.epoch = epoch
    _Continuation(embedding, OptFSConfig(), 1e-3, 5).before_step(step)
    assert embedding.tau == pytest.approx(tau)


def test_one_epoch_does_not_divide_by_zero(bench: Callable[..., Any]) -> None:
    b = bench("optfs", protocol={"epochs": 1})
    b.derive(ratio=0.5)


class _Watch(Hook):
    def __init__(self, embedding: OptFSEmbedding) -> None:
        self.embedding, self.seen = embedding, list[float]()

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        self.seen.append(self.embedding.tau)


def test_evaluation_does_not_move_the_temperature(bench: Callable[..., Any]) -> None:
    b = bench("optfs", protocol={"epochs": 3})
    model = b.task.build(lambda: OptFSEmbedding(b.task.layout))
    hook, watch = _Continuation(model.embedding, OptFSConfig(), 1e-3, 3), _Watch(model.embedding)
    b.task.fit(model, [hook, watch], epochs=3, early_stopping=False)
    for _ in range(3):
        model.eval()(ids_of(b.task.train)[:10])
    assert watch.seen == pytest.approx([1, 200**0.5, 200]) and model.embedding.tau == watch.seen[-1]


@pytest.mark.parametrize(("penalty", "share"), [("mean", 1 / 975), ("sum", 1.0)])
def test_the_penalty_is_over_all_rows_looked_up_or_not(penalty: Any, share: float) -> None:
    embedding = OptFSEmbedding(LAYOUT)
    hook = _Continuation(embedding, OptFSConfig(lam=2.0, penalty=penalty), 1e-3, 5)
    loss = hook.extra_loss(Step(torch.nn.Identity(), total=10))
    loss.backward()
    slope = 2 * torch.tensor(0.5).sigmoid() * (1 - torch.tensor(0.5).sigmoid()) * share
    assert embedding.w.grad is not None
    assert torch.allclose(embedding.w.grad, slope.expand(LAYOUT.rows))


@pytest.mark.parametrize("backbone", ["ipnn", "dcn", "fm"])
def test_every_backbone_sees_the_gates(bench: Callable[..., Any], backbone: str) -> None:
    b = bench("optfs", backbone=backbone)
    model = b.task.build(lambda: OptFSEmbedding(b.task.layout)).eval()
    ids = ids_of(b.task.train)[:20]
    before = model(ids)
    with torch.no_grad():
        model.embedding.lookup.table.weight.normal_(0, 0.5)
        before = model(ids)
        model.embedding.tau = 50.0
        model.embedding.w.fill_(-1)
    assert not torch.allclose(before, model(ids))


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_whole_model_of_the_epochs_start_is_rewound(bench: Callable[..., Any], epoch: int) -> None:
    b = bench("optfs", settings={"rewind_epoch": epoch}, protocol={"epochs": 2}, backbone="dcn")
    state = b.search()
    model = b.task.build(lambda: OptFSEmbedding(b.task.layout))
    if epoch:
        hook = _Continuation(model.embedding, OptFSConfig(), b.task.protocol.lr, 2)
        b.task.fit(model, [hook], epochs=1, early_stopping=False)
    expected = {k: v for k, v in model.state_dict().items() if k != "embedding.w"}
    assert {k.removeprefix(REWOUND) for k in state.tensors} - {"w"} == set(expected)
    for name, value in expected.items():
        assert torch.equal(value, state.tensors[REWOUND + name]), name
    plan = b.derive(state)
    mask = torch.from_numpy(plan.row_widths > 0)
    assert plan.recipe == "rewind"
    assert torch.allclose(plan.weights[MASKED_TABLE][mask], expected[MASKED_TABLE][mask] * TICKET)
    assert not plan.weights[MASKED_TABLE][~mask].any()


def test_values_that_tell_nothing_lose_their_gates() -> None:
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(0, 10, 4000), rng.integers(0, 100, 4000)], 1).astype(np.int32)
    labels = (ids[:, 0] < 5).astype(np.float32)
    split = Split(ids, labels)
    data = Dataset("two", [Field("tells", 10), Field("noise", 100)], dict.fromkeys(SPLITS, split))
    searcher = resolve_method("optfs", {"lam": 0.1}).searcher()
    protocol = tiny_protocol(epochs=6)
    task = SearchTask(data, "dnn", protocol, searcher.info, (0, 0), Budget(4000 * 6), lambda plan: {})
    plan = searcher.derive(task, searcher.search(task), PlanBudget(None))
    kept = plan.row_widths > 0
    assert kept[:10].all() and kept[10:].mean() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_it_finds_planted_widths(bench: Callable[..., Any], seed: int) -> None:
    b = bench("optfs", seed=seed, small=False)
    assert b.correlation(b.derive(ratio=0.5)) > 0.5


def test_where_all_gates_close_the_largest_stays() -> None:
    assert open_rows(np.array([-3.0, -1.0, -2.0])).tolist() == [False, True, False]
    assert open_rows(np.array([0.0, 1.0, -1.0])).tolist() == [False, True, False]


@pytest.mark.parametrize("settings", [{"final_tau": 0.5}, {"rewind_epoch": -1}])
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="optfs: final_tau"):
        OptFSConfig(**settings)
