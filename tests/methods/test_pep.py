"""PEP: the soft threshold and its gradient, who moves s, and one trajectory for all budgets."""

import numpy as np
import pytest
import torch
from nasbench_rec.methods._ranking import MASKED_TABLE, UNIFORM_TABLE
from nasbench_rec.methods.pep import PEPConfig, PEPEmbedding, Thresholds, ranks, soft_threshold

from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import EntryMask, uniform
from nasbench_rec.training import Step

LAYOUT = Layout(tuple(Field(f"f{i}", n) for i, n in enumerate([3, 2, 4, 3])), 4)


def test_the_soft_threshold_and_its_gradients() -> None:
    v = torch.tensor([0.5, -0.5, 0.1, -0.1], requires_grad=True)
    s = torch.full((4,), float(np.log(0.2 / 0.8)), requires_grad=True)  # sigmoid(s) = .2
    out = soft_threshold(v, s)
    assert torch.allclose(out, torch.tensor([0.3, -0.3, 0.0, 0.0]))
    out.sum().backward()
    assert v.grad is not None and s.grad is not None
    assert v.grad.tolist() == [1, 1, 0, 0]
    slope = 0.2 * 0.8
    assert torch.allclose(s.grad, torch.tensor([-slope, slope, 0.0, 0.0]))


def test_at_the_official_start_no_gradient_reaches_s() -> None:
    v, s = torch.tensor([0.01]), torch.tensor([-150.0], requires_grad=True)
    out = soft_threshold(v, s)
    out.sum().backward()
    assert float(out) == pytest.approx(0.01) and s.grad is not None and float(s.grad) == 0.0
    mended = torch.tensor([PEPConfig().init], requires_grad=True)
    soft_threshold(v, mended).sum().backward()
    assert mended.grad is not None and float(mended.grad) < -1e-4


@pytest.mark.parametrize(
    ("granularity", "shape"),
    [
        ("global", (1, 1)),
        ("column", (1, 4)),
        ("field", (4, 1)),
        ("field_column", (4, 4)),
        ("row", (12, 1)),
        ("entry", (12, 4)),
    ],
)
def test_what_shares_a_threshold(granularity, shape) -> None:
    # As many fields as columns: the code then took one granularity for another.
    embedding = PEPEmbedding(LAYOUT, granularity, -1.0)
    assert embedding.s.shape == shape
    with torch.no_grad():
        embedding.lookup.table.weight.fill_(2.0)
        embedding.s[-1] = 100.0  # a threshold of 1
    expected = torch.full((12, 4), 2 - float(torch.tensor(-1.0).sigmoid()))
    rows = {
        "global": slice(0, 12),
        "column": slice(0, 12),
        "field": slice(9, 12),
        "field_column": slice(9, 12),
    }
    expected[rows.get(granularity, slice(11, 12))] = 1.0
    assert torch.allclose(embedding.surplus(), expected)
    last = embedding(torch.tensor([[2, 1, 3, 2]], dtype=torch.int32))
    assert torch.allclose(last[0, 3], torch.ones(4))


def test_entries_rank_by_their_last_life_and_then_by_what_exceeds_the_threshold() -> None:
    last_alive = torch.tensor([[0.2, 1.0], [1.0, 0.0]])
    surplus = torch.tensor([[-0.1, 0.3], [0.5, -0.01]])
    assert ranks(last_alive, surplus).tolist() == [[1, 2], [3, 0]]


def test_an_entry_that_comes_back_counts_as_alive() -> None:
    embedding = PEPEmbedding(LAYOUT, "entry", -8.0)
    hook, step = Thresholds(embedding, PEPConfig(every=1), 1e-3), Step(embedding, total=4)
    values = [[1, 1, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0], [1, 0, 1, 0]]
    with torch.no_grad():
        for step.index, row in enumerate(values):
            embedding.lookup.table.weight[0] = torch.tensor(row, dtype=torch.float32)
            hook.after_step(step)
    assert hook.last_alive[0].tolist() == [1.0, 0.5, 1.0, 0.0]


def _searched(bench, **settings):
    b = bench("pep", settings={"epochs": 2, **settings})
    caught = {}
    fit = b.task.fit

    def keep(model, hooks, **options):
        caught["s"] = model.embedding.s
        return fit(model, hooks, **options)

    b.task.fit = keep
    return b, b.search(), caught["s"].detach()


def test_repaired_thresholds_move_by_the_loss_and_official_ones_by_their_decay_alone(bench) -> None:
    _, _, s = _searched(bench)
    assert float((s != PEPConfig().init).float().mean()) > 0.9 and float(s.std()) > 0.01
    b, _, official = _searched(bench, init=-15.0, threshold_lr=None, threshold_decay=1e-5, threshold_eps=1e-8)
    steps = 2 * -(-len(b.task.train) // b.task.protocol.batch_size)
    # The same for every entry, whatever the data: about one learning rate for each step.
    moved = official + 15.0
    assert float(moved.std()) < 0.01 * float(moved.mean())
    assert float(moved.mean()) == pytest.approx(steps * b.task.protocol.lr, rel=0.05)


def test_thresholds_cut_and_one_search_serves_nested_budgets_from_the_true_start(bench) -> None:
    b, state, _ = _searched(bench, threshold_decay=1e-5)
    assert b.task.diagnostics["alive"][-1] < b.task.diagnostics["alive"][0]
    assert state.tensors["ranking"].unique().numel() == state.tensors["ranking"].numel()
    wide, narrow = b.derive(state, 0.5), b.derive(state, 0.2)
    assert isinstance(wide, EntryMask) and isinstance(narrow, EntryMask)
    assert not (narrow.mask & ~wide.mask).any() and narrow.mask.sum() < wide.mask.sum()
    initial = b.task.build_plan(uniform(b.task.layout)).state_dict()
    assert wide.recipe == "same_init"
    assert torch.equal(wide.weights[MASKED_TABLE], initial[UNIFORM_TABLE] * torch.from_numpy(wide.mask))
    others = [k for k in initial if k != UNIFORM_TABLE]
    assert others and all(torch.equal(wide.weights[k], initial[k]) for k in others)


def test_pruning_by_thresholds_beats_random_entries(bench) -> None:
    """In the mean of three seeds: one alone moves by more than the difference from one processor to another."""
    lead = []
    for seed in range(3):
        b, mask = bench("pep", seed=seed), bench("random-mask", seed=seed)
        lead.append(b.auc(b.derive(ratio=0.2)) - mask.auc(mask.derive(ratio=0.2)))
    assert sum(lead) / len(lead) > 0.002


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="every = 0"):
        PEPConfig(every=0)
