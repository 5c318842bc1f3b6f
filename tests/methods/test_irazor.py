"""i-Razor: disjoint blocks, each with its own probability, and widths by cumulative probability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nasbench_rec.methods.irazor import (
    IRazorConfig,
    IRazorEmbedding,
    SizePenalty,
    block_of_column,
    block_sizes,
    field_shares,
    kept_widths,
    tails,
)

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.data import Dataset
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import FieldDims
from nasbench_rec.registry import resolve_method
from nasbench_rec.searcher import SearchState, uniform_bytes
from nasbench_rec.testing import SearcherContract, tiny_dataset
from nasbench_rec.training import Step

SIZES = np.array([0, 1, 1, 2, 4])


def log_p(*rows: list[float]) -> np.ndarray:
    return np.log(np.array(rows))


def test_blocks_are_disjoint_and_cover_all_columns():
    assert block_sizes(None, 8) == (0, 1, 1, 2, 4)
    assert block_sizes(None, 30) == (0, 1, 1, 2, 4, 8, 14)  # the candidates of the code
    assert block_sizes((3, 8), 8) == (0, 3, 5)
    assert block_sizes(None, 1) == (0, 1)
    assert block_of_column(SIZES).tolist() == [1, 2, 3, 3, 4, 4, 4, 4]
    with pytest.raises(ConfigError, match="last one must be"):
        block_sizes((1, 4), 8)


def test_each_block_is_weighted_by_its_own_probability(layout):
    embedding = IRazorEmbedding(layout, block_sizes(None, 4), 0.05, norm=False)
    with torch.no_grad():
        embedding.logits.copy_(0.05 * torch.tensor([0.4, 0.1, 0.2, 0.3]).log())
    ids = torch.stack([torch.randint(f.cardinality, (6,)) for f in layout.fields], 1).int()
    # Not cumulative: column 0 is in the blocks of all widths, but has the share of the first alone.
    expected = embedding.lookup(ids) * torch.tensor([0.1, 0.2, 0.3, 0.3])
    torch.testing.assert_close(embedding(ids), expected)


def test_probabilities_start_even_and_are_sharp(layout):
    embedding = IRazorEmbedding(layout, block_sizes(None, 4), 0.05, norm=False)
    torch.testing.assert_close(embedding.log_probabilities().exp(), torch.full((len(layout.fields), 4), 0.25))
    embedding.logits.data[:, 1] = 0.05
    first, second = embedding.log_probabilities().exp()[0, :2].tolist()
    assert second / first == pytest.approx(np.e, rel=1e-5)


def test_normalisation_is_by_the_batch_and_really_happens(layout):
    """The code's layer stayed at its first statistics: an identity."""
    embedding = IRazorEmbedding(layout, block_sizes(None, 4), 0.05, norm=True).train()
    embedding.lookup.table.weight.data.normal_()
    ids = torch.stack([torch.randint(f.cardinality, (4000,)) for f in layout.fields], 1).int()
    scaled = embedding(ids) * 4  # even probabilities are 1/4
    torch.testing.assert_close(scaled.var(0, unbiased=False), torch.ones(scaled.shape[1:]), atol=0.01, rtol=0)


def test_the_penalty_is_lambda_times_the_expected_share_of_rows(layout):
    embedding = IRazorEmbedding(layout, block_sizes(None, 4), 0.05, norm=False)
    rows = torch.tensor([f.cardinality for f in layout.fields]).float()
    expected = 0.25 * (0 + 1 + 1 + 2)
    for how, shares in (("rows", rows / rows.sum()), ("constant", torch.full_like(rows, 0.01))):
        torch.testing.assert_close(field_shares(layout, how), shares)
        found = SizePenalty(embedding, shares, IRazorConfig(lam=0.5)).extra_loss(Step(embedding, 1))
        assert found.item() == pytest.approx(0.5 * float(shares.sum()) * expected)
    found = SizePenalty(embedding, field_shares(layout, "rows"), IRazorConfig()).extra_loss(
        Step(embedding, 1)
    )
    (gradient,) = torch.autograd.grad(found, embedding.logits)
    assert (gradient[:, 0] < 0).all() and (gradient[:, -1] > 0).all()  # towards block 0
    per_row = gradient[:, -1] / rows
    torch.testing.assert_close(per_row, per_row[:1].expand_as(per_row))


def test_tails_add_up_and_tell_small_ones_apart():
    found = tails(log_p([0.1, 0.2, 0.4, 0.3, 1e-300]))
    assert found[0] == pytest.approx([0.6, 0.3, 0.1, 1e-300, 0.0], rel=1e-9, abs=0)
    sharp = tails(np.array([[0.0, -50.0, -60.0]]))
    assert sharp[0, 0] > sharp[0, 1] > 0


@pytest.mark.parametrize(
    ("threshold", "width"),
    [(0.0, 2), (0.39, 2), (0.41, 2), (0.69, 2), (0.71, 3), (0.89, 3), (0.91, 4), (0.999, 8)],
)
def test_blocks_are_kept_likeliest_first_until_above_the_threshold(threshold, width):
    """Block 3 (2 columns) .4, block 0 .3, block 1 (1) .2, block 2 (1) .09, block 4 (4) .01."""
    assert kept_widths(log_p([0.3, 0.2, 0.09, 0.4, 0.01]), SIZES, 1 - threshold) == (width,)


def test_a_probability_just_at_the_threshold_is_not_above_it():
    even = log_p([0.5, 0.0625, 0.25, 0.125, 0.0625])
    assert kept_widths(even, SIZES, float(tails(even)[0, 0])) == (1,)
    assert kept_widths(even, SIZES, float(tails(even)[0, 1])) == (3,)


def test_only_block_0_drops_the_field():
    both = log_p([0.6, 0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1, 0.6])
    assert kept_widths(both, SIZES, 0.5) == (0, 4)
    assert kept_widths(both, SIZES, 0.35)[0] == 1


def test_never_an_empty_plan():
    all_dropped = log_p([0.9, 0.05, 0.02, 0.02, 0.01], [0.9, 0.01, 0.01, 0.07, 0.01])
    assert kept_widths(all_dropped, SIZES, 0.5) == (0, 2)


@pytest.fixture(scope="module")
def own(bench):
    return bench("irazor", protocol={"epochs": 2, "batch_size": 1024})


@pytest.fixture(scope="module")
def state():
    logits = torch.randn(14, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return SearchState({"log_p": torch.log_softmax(2 * logits, 1)}, {"sizes": SIZES.tolist()})


def used(own, plan) -> int:
    return own.task.cost(plan).bytes(EMBEDDING_PARTS)


@pytest.mark.parametrize("ratio", [0.9, 0.6, 0.4])
def test_a_budget_takes_the_largest_threshold_that_fits(own, state, ratio):
    plan, limit = own.derive(state, ratio), ratio * uniform_bytes(own.task.layout)
    probabilities = state.tensors["log_p"].numpy()
    rest = own.task.diagnostics["one_minus_threshold"]
    kept = kept_widths(probabilities, SIZES, rest)
    assert all(w >= least for w, least in zip(plan.dims, kept, strict=True)) and used(own, plan) <= limit
    for f, w in enumerate(plan.dims):
        wider = FieldDims(dims=(*plan.dims[:f], w + 1, *plan.dims[f + 1 :]))
        assert w == own.task.layout.dim or used(own, wider) > limit, "a column more would have fitted"
    for less in np.unique(tails(probabilities)):
        dearer = FieldDims(dims=kept_widths(probabilities, SIZES, less))
        assert less >= rest or used(own, dearer) > limit


def test_a_budget_below_threshold_0_takes_columns_of_likely_blocks(own):
    rows = torch.full((14, 5), 0.05, dtype=torch.float64)
    rows[:, 4] = torch.linspace(0.5, 0.8, 14)
    found = SearchState({"log_p": (rows / rows.sum(1, keepdim=True)).log()}, {"sizes": SIZES.tolist()})
    plan = own.derive(found, 0.3)
    assert used(own, plan) <= 0.3 * uniform_bytes(own.task.layout)
    cards = own.task.layout.cardinalities
    assert plan.dims[13] == 4 and cards[13] == max(cards)  # the dearest field, and the likeliest block
    assert max(plan.dims) <= 4 and sum(plan.dims) < 14 * 4
    with pytest.raises(PlanError, match="no column fits"):
        own.derive(found, 1e-4)


def test_without_a_budget_the_threshold_decides(bench, state):
    plans = [bench("irazor", settings={"threshold": t}).derive(state).dims for t in (0.1, 0.5, 0.9)]
    expected = [kept_widths(state.tensors["log_p"].numpy(), SIZES, 1 - t) for t in (0.1, 0.5, 0.9)]
    assert plans == expected
    sums = [sum(p) for p in plans]
    assert sums[0] < sums[1] < sums[2]


def test_logits_learn_on_training_batches_at_their_own_rate(bench):
    still = bench("irazor", settings={"structure_lr": 1e-12}, protocol={"epochs": 1})
    even = still.search().tensors["log_p"].exp()
    torch.testing.assert_close(even, torch.full_like(even, 1 / 5))
    moved = bench("irazor", protocol={"epochs": 1})
    assert float((moved.search().tensors["log_p"].exp() - 1 / 5).abs().max()) > 0.2
    assert moved.task.budget.rows_spent == len(moved.task.train)
    assert moved.task.diagnostics["probabilities"].shape == (1, 14, 5)


def test_a_tenfold_penalty_empties_large_fields_and_keeps_small_ones(bench):
    b = bench("irazor", settings={"lam": 1e-3}, protocol={"epochs": 2})
    p0 = b.search().tensors["log_p"].exp()[:, 0].numpy()
    cards = b.task.layout.cardinalities
    assert p0[cards >= 400].min() > 0.9 and p0[cards <= 20].max() < 0.5


def test_settings_that_make_no_sense():
    for settings in ({"temperature": 0.0}, {"structure_lr": 0.0}, {"threshold": 1.0}, {"threshold": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            resolve_method("irazor", settings)


class TestMultivalued(SearcherContract):
    """The contract with a field of three padded columns."""

    spec = "irazor"

    @classmethod
    def data(cls) -> Dataset:
        return tiny_dataset(multivalued=True)


@pytest.mark.slow
def test_beats_random_widths_on_planted_data(bench):
    gains, found = [], []
    for seed in (0, 1):
        b, random = bench("irazor", seed, small=False), bench("random", seed, small=False)
        state = b.search()
        found.append(b.derive(state))
        plan = b.derive(state, ratio=0.2)
        gains.append(b.auc(plan) - random.auc(random.derive(ratio=0.2)))
    assert np.mean(gains) > 0.02
    large_and_useless = [plan.dims[-1] for plan in found]
    assert large_and_useless == [0, 0]
