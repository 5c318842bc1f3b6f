"""AMTL: prefixes, the straight-through argmax, what the features see, and the price of a column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nasbench_rec.methods.amtl import AMTLConfig, AMTLEmbedding, _Rate, frequency_features, priced

from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import RowDims
from nasbench_rec.testing import tiny_dataset
from nasbench_rec.training import ids_of, predict

DATA = tiny_dataset()
LAYOUT = Layout(DATA.fields, 4)
ROWS = torch.arange(LAYOUT.rows)


def embedding(**settings: Any) -> AMTLEmbedding:
    torch.manual_seed(0)
    return AMTLEmbedding(LAYOUT, frequency_features(DATA.counts), AMTLConfig(**settings))


def set_logits(e: AMTLEmbedding, logits: list[float]) -> None:
    """Make the distribution the same for all rows."""
    with torch.no_grad():
        for network in (e.widths.head, e.widths.tail):
            network[2].weight.zero_()
            network[2].bias.copy_(torch.tensor(logits))


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_width_keeps_exactly_so_many_first_columns(width: int) -> None:
    e = embedding()
    set_logits(e, [3.0 * (k + 1 == width) for k in range(4)])
    masks = e.masks(ROWS)
    assert torch.allclose(masks, (torch.arange(4) < width).float().expand(LAYOUT.rows, 4), atol=1e-6)
    ids = ids_of(DATA.split("valid"))[:7]
    served = RowDims(row_widths=priced(e.widths(ROWS).log().detach().numpy(), 0.0)).build(
        Layout(DATA.fields, 4, "zero_pad")
    )
    with torch.no_grad():
        served.lookup.table.weight.copy_(e.lookup.table.weight)
        served.drop_masked()
        assert torch.allclose(served(ids), e(ids), atol=1e-6)


def test_the_gradient_is_that_of_the_soft_mask() -> None:
    e = embedding(temperature=2.0)
    set_logits(e, [0.1, 0.4, -0.3, 0.2])
    weights = torch.tensor([0.3, -1.0, 0.7, 2.0])
    (e.masks(ROWS[:1]) * weights).sum().backward()
    bias = e.widths.head[2].bias.grad + e.widths.tail[2].bias.grad
    logits = torch.tensor([0.1, 0.4, -0.3, 0.2], requires_grad=True)
    soft = (logits / 2).softmax(0) @ torch.ones(4, 4).tril()
    (soft * weights).sum().backward()
    assert torch.allclose(bias, logits.grad, atol=1e-6)


def test_rows_of_equal_frequency_in_a_field_have_nearly_equal_features() -> None:
    features = frequency_features([np.array([1, 100, 10]), np.array([5, 5, 5, 500])])
    assert features.mean(0) == pytest.approx([0, 0], abs=1e-9) and features.std(0) == pytest.approx([1, 1])
    assert features[[0, 2, 1], 0].tolist() == sorted(features[:3, 0].tolist())
    assert features[[0, 2, 1], 1].tolist() == sorted(features[:3, 1].tolist())
    assert np.ptp(features[3:6, 0]) == 0


def test_frequent_and_rare_rows_follow_their_own_network() -> None:
    e = embedding()
    with torch.no_grad():
        for network, width in ((e.widths.head, 3), (e.widths.tail, 0)):
            network[2].weight.zero_()
            network[2].bias.copy_(5.0 * torch.nn.functional.one_hot(torch.tensor(width), 4).float())
    kept = e.masks(ROWS).sum(1).detach().round()
    counts = torch.from_numpy(np.concatenate(DATA.counts))
    assert (kept[counts > counts.float().quantile(0.95)] == 4).all()
    assert (kept[counts == 0] == 1).all()


def test_a_price_makes_rows_narrower_and_none_keeps_the_likeliest() -> None:
    log_p = np.log(np.random.default_rng(0).dirichlet(np.ones(8), 200))
    assert (priced(log_p, 0.0) == log_p.argmax(1) + 1).all()
    sizes = [priced(log_p, price).sum() for price in (0.0, 0.1, 0.5, 1.0, 100.0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == 200


def test_budgets_use_what_they_allow_down_to_fewer_than_a_column_for_each_row(
    bench: Callable[..., Any],
) -> None:
    b = bench("amtl", protocol={"epochs": 2})
    state = b.search()
    for ratio in (0.5, 0.2, 0.05):
        plan = b.derive(state, ratio)
        used = b.task.cost(plan).bytes() / (b.task.layout.rows * b.task.layout.dim * 4)
        assert 0.85 * ratio < used <= ratio
    counts = np.concatenate(b.task.counts)
    dropped = plan.row_widths == 0
    assert dropped.any() and counts[dropped].max() <= counts[~dropped].min()


def test_the_searchs_weights_are_served_where_rows_are_padded(bench: Callable[..., Any]) -> None:
    padded = bench("amtl", settings={"recipe": "none"}, protocol={"epochs": 1, "alignment": "zero_pad"})
    state = padded.search()
    plan = padded.derive(state)
    model = padded.task.build(
        lambda: AMTLEmbedding(
            padded.task.layout, frequency_features(padded.task.counts), padded.searcher.config
        )
    )
    padded.task.fit(model, [_Rate(model.embedding.widths, 1e-2)])
    valid = padded.data.split("valid")
    assert np.allclose(predict(padded.trained(plan), valid), predict(model, valid), atol=1e-5)
    with pytest.raises(PlanError, match="zero_pad"):
        bench("amtl", settings={"recipe": "finetune"}).derive(state)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"hidden": 0}])
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="amtl: temperature"):
        AMTLConfig(**settings)
