"""OptEmbed: the step's gradient, thresholds on training rows, one width everywhere, budgets, and the result."""

import numpy as np
import pytest
import torch
from nasbench_rec.methods.optembed import OptEmbedConfig, OptEmbedEmbedding, Space, Thresholds, UnitStep

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.data import Field
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import FieldDims, RowDims
from nasbench_rec.searcher import uniform_bytes

QUICK = {"generations": 2, "population": 6, "mutants": 4, "crossovers": 4, "score_rows": 1000}


def test_the_step_and_its_long_tailed_gradient() -> None:
    x = torch.tensor([-1.5, -1.0, -0.7, -0.4, -0.1, 0.0, 0.1, 0.4, 0.7, 1.0, 1.5], requires_grad=True)
    y = UnitStep.apply(x)
    assert y.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    y.sum().backward()
    assert x.grad.tolist() == pytest.approx([0, 0.4, 0.4, 0.4, 1.6, 2.0, 1.6, 0.4, 0.4, 0.4, 0])


def _embedding(per: str = "field") -> OptEmbedEmbedding:
    layout = Layout((Field("a", 3), Field("b", 2)), 4)
    embedding = OptEmbedEmbedding(layout, per)
    with torch.no_grad():
        embedding.lookup.table.weight.copy_(torch.arange(1.0, 6.0).unsqueeze(1).expand(5, 4) / 4)
    return embedding.eval()


def test_rows_whose_norm_is_not_above_their_fields_threshold_are_zero() -> None:
    embedding = _embedding()  # norms 1, 2, 3 | 4, 5
    with torch.no_grad():
        embedding.t.copy_(torch.tensor([2.0, 4.5]))
    ids = torch.tensor([[0, 0], [1, 1], [2, 0]], dtype=torch.int32)
    assert embedding(ids)[:, :, 0].tolist() == [[0, 0], [0, 1.25], [0.75, 0]]
    assert embedding.margins().tolist() == pytest.approx([-1, 0, 1, -0.5, 0.5])
    assert _embedding("row").t.shape == (5,)


def test_thresholds_receive_gradient_from_the_loss() -> None:
    embedding = _embedding()
    with torch.no_grad():
        embedding.t.copy_(torch.tensor([2.3, 4.5]))
    embedding(torch.tensor([[1, 0], [2, 1]], dtype=torch.int32)).sum().backward()
    # d/dt = -e step'(norm - t), over the rows that were looked up.
    slope = lambda x: 2 - 4 * abs(x) if abs(x) <= 0.4 else 0.4 * (abs(x) <= 1)  # noqa: E731
    expected = [-(2 * slope(-0.3) + 3 * slope(0.7)), -(4 * slope(-0.5) + 5 * slope(0.5))]
    assert embedding.t.grad.tolist() == pytest.approx(expected)


def test_thresholds_move_by_plain_gradient_once_in_each_step_and_not_on_search_rows(
    bench, monkeypatch
) -> None:
    b = bench("optembed", settings={"epochs": 1, "alpha": 0.0, "threshold_lr": 0.0})
    assert (b.search().tensors["embedding.t"] == 0).all()
    # With no gradient from the loss (norms far above 1), alpha exp(-t) alone moves t: t += lr alpha exp(-t).
    layout = Layout((Field("a", 3), Field("b", 2)), 4)
    embedding = OptEmbedEmbedding(layout, "field")
    hook = Thresholds(embedding, OptEmbedConfig(alpha=0.5, threshold_lr=0.1))
    assert [id(p) for p in hook.own_parameters()] == [id(embedding.t)]
    t = 0.0
    for _ in range(3):
        embedding.t.grad = None
        hook.extra_loss(None).backward()
        t += 0.1 * 0.5 * np.exp(-t)
    assert embedding.t.tolist() == pytest.approx([t, t])
    seen = []
    move = Thresholds._move

    def watch(self: Thresholds, t: torch.Tensor) -> None:
        seen.append(1)
        move(self, t)

    monkeypatch.setattr(Thresholds, "_move", watch)
    b = bench("optembed", settings={"epochs": 1})
    b.search()
    train = len(b.task.train)
    assert len(seen) == -(-train // b.task.protocol.batch_size)


def test_the_width_that_is_scored_is_counted_and_retrained(bench) -> None:
    b = bench("optembed")
    F, d = len(b.data.fields), b.task.layout.dim
    space = Space(b.task, np.ones(b.task.layout.rows), None)
    for gene, width in ((0, 1), (6, 7), (d - 1, d)):
        genome = (gene,) * F + (0,)
        assert (space.row_widths(genome) == width).all()
        plan = space.plan(genome)
        assert isinstance(plan, FieldDims) and plan.dims == (width,) * F
        assert b.task.cost(plan).bytes(EMBEDDING_PARTS) >= width * b.task.layout.rows * 4
        model = b.task.build(lambda: OptEmbedEmbedding(b.task.layout, "field")).eval()
        model.embedding.row_widths = torch.from_numpy(space.row_widths(genome).astype(np.int64))
        out = model.embedding(torch.from_numpy(b.task.search.ids[:50]))
        assert (out != 0).sum(2).unique().tolist() == [width]


def test_rows_under_their_threshold_are_dropped_for_good(bench) -> None:
    b = bench("optembed")
    margins = np.ones(b.task.layout.rows)
    margins[::3] = -1
    plan = Space(b.task, margins, None).plan((4,) * len(b.data.fields) + (0,))
    assert isinstance(plan, RowDims)
    assert (plan.row_widths[::3] == 0).all() and (np.delete(plan.row_widths, np.s_[::3]) == 5).all()


def test_candidates_under_a_budget_fit_it_and_use_it(bench) -> None:
    b = bench("optembed")
    limit = int(0.3 * uniform_bytes(b.task.layout))
    space = Space(b.task, np.linspace(2, 1, b.task.layout.rows), limit)
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(20):
        genome = space.fitting(tuple(int(rng.integers(n)) for n in space.choices))
        used = b.task.cost(space.plan(genome)).bytes(EMBEDDING_PARTS)
        assert used <= limit
        shares.append(used / limit)
    assert np.median(shares) > 0.85
    with pytest.raises(PlanError, match="holds not even one column"):
        Space(b.task, np.ones(b.task.layout.rows), 40).fitting((0,) * len(space.choices))


def test_a_search_is_the_same_for_the_same_seed(bench) -> None:
    one, two = (bench("optembed", settings={"epochs": 1, **QUICK}).derive(ratio=0.4) for _ in range(2))
    assert isinstance(one, RowDims) and isinstance(two, RowDims)
    assert (one.row_widths == two.row_widths).all()


def test_planted_widths_are_found(bench) -> None:
    b = bench("optembed", small=False, protocol={"epochs": 8}, settings={"generations": 10})
    state = b.search()
    plan = b.derive(state)
    assert b.correlation(plan) > 0.4
    for found in (plan, b.derive(state, 0.5)):
        widths = found.widths(b.task.layout)
        assert widths[b.useful == 0].mean() < widths[b.useful > 0].mean()
    history = b.task.diagnostics["best_score"]
    assert list(history) == sorted(history)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="parents = 0"):
        OptEmbedConfig(parents=0)
