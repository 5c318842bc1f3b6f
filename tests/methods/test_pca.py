"""PCA widths: the spectrum, the smallest width that explains a share, budgets by that share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nasbench_rec.methods.pca import explained, explaining, spectrum

from nasbench_rec.cost import EMBEDDING_PARTS
from nasbench_rec.data import Dataset
from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.plans import FieldDims
from nasbench_rec.registry import resolve_method
from nasbench_rec.searcher import SearchState, uniform_bytes
from nasbench_rec.testing import SearcherContract, tiny_dataset


def of_rank(rank: int, rows: int = 60, dim: int = 8, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    """A table whose centred rows span `rank` directions, in no way along the axes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, dim)) + mean


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_width_is_the_rank_of_the_table_however_it_is_turned_and_shifted(rank):
    for mean in (0.0, 100.0):  # uncentred, the mean would be a component of its own
        found = spectrum(of_rank(rank, mean=mean), np.ones(60))
        assert explaining(found[None], 1 - 1e-9, 1) == (rank,)


def test_eigenvalues_are_those_of_numpys_covariance_and_fall():
    table = of_rank(8)
    found = spectrum(table, np.ones(60))
    assert np.allclose(found, np.linalg.eigvalsh(np.cov(table.T, bias=True))[::-1])
    assert (np.diff(found) <= 0).all() and (found >= 0).all()


def test_weights_are_repetitions():
    table, counts = of_rank(4, rows=20), np.random.default_rng(1).integers(0, 9, 20)
    repeated = np.repeat(table, counts, axis=0)
    assert np.allclose(spectrum(table, counts.astype(float)), spectrum(repeated, np.ones(len(repeated))))


@pytest.mark.parametrize(("rho", "width"), [(0.49, 1), (0.5, 1), (0.51, 2), (0.8, 2), (0.81, 3), (1.0, 4)])
def test_the_smallest_width_that_reaches_the_share(rho, width):
    assert explaining(np.array([[5.0, 3.0, 1.0, 1.0]]), rho, 1) == (width,)


def test_the_floor_holds_and_never_exceeds_the_base_width():
    spectra = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    assert explaining(spectra, 0.95, 2) == (2, 3)
    assert explaining(spectra[:, :1], 0.95, 2) == (1, 1)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_field_of_few_rows_has_at_most_one_component_less_than_rows(rows):
    found = spectrum(np.random.default_rng(0).normal(size=(rows, 8)), np.ones(rows))
    assert explaining(found[None], 1 - 1e-9, 1)[0] == max(rows - 1, 1)
    assert np.isfinite(explained(found[None])).all()


def test_a_field_that_was_never_seen_has_the_least_width():
    assert explaining(spectrum(of_rank(3), np.zeros(60))[None], 0.95, 1) == (1,)


@pytest.fixture(scope="module")
def own(bench):
    return bench("pca", protocol={"epochs": 2})


@pytest.fixture(scope="module")
def state():
    rng = np.random.default_rng(0)
    return SearchState({"eigenvalues": torch.from_numpy(-np.sort(-(rng.random((14, 8)) ** 4)))})


@pytest.mark.parametrize("ratio", [0.9, 0.5, 0.2])
def test_a_budget_takes_the_largest_share_that_fits(own, state, ratio):
    plan = own.derive(state, ratio)
    rho, limit = own.task.diagnostics["rho"], ratio * uniform_bytes(own.task.layout)
    spectra = state.tensors["eigenvalues"].numpy()
    assert all(w >= least for w, least in zip(plan.dims, explaining(spectra, rho, 1), strict=True))
    for f in range(len(plan.dims)):
        wider = [w + (i == f and w < own.task.layout.dim) for i, w in enumerate(plan.dims)]
        if wider != list(plan.dims):
            more = own.task.cost(FieldDims(dims=tuple(wider))).bytes(EMBEDDING_PARTS)
            assert more > limit, "a column more would have fitted"
    assert own.task.cost(plan).bytes(EMBEDDING_PARTS) <= limit
    for more in np.unique(explained(spectra)):
        dearer = FieldDims(dims=explaining(spectra, more, 1))
        assert more <= rho or own.task.cost(dearer).bytes(EMBEDDING_PARTS) > limit


def test_a_budget_below_one_column_each_drops_fields_of_small_variance(own, state):
    plan = own.derive(state, 0.05)
    first = state.tensors["eigenvalues"][:, 0].numpy()
    assert set(plan.dims) == {0, 1}
    assert own.task.cost(plan).bytes(EMBEDDING_PARTS) <= 0.05 * uniform_bytes(own.task.layout)
    assert plan.dims[first.argmax()] == 1
    with pytest.raises(PlanError, match="no column fits"):
        own.derive(state, 1e-4)


def test_without_a_budget_rho_decides_and_the_preset_has_a_floor(bench, own, state):
    spectra = state.tensors["eigenvalues"].numpy()
    assert own.derive(state).dims == explaining(spectra, 0.95, 1)
    low = bench("pca/fmfm", settings={"rho": 0.01}).derive(state)
    assert low.dims == (2,) * 14


def test_counts_change_the_spectrum_and_only_with_the_option(bench, own):
    trained = own.task.trained_uniform()
    found = {}
    for name in ("pca", "pca/weighted"):
        b = bench(name)
        b.task._trained = lambda plan: trained
        found[name] = b.search().tensors["eigenvalues"]
        b.task.counts = tuple(counts[::-1].copy() for counts in b.task.counts)
        assert torch.equal(b.search().tensors["eigenvalues"], found[name]) == (name == "pca")
    assert not torch.allclose(found["pca"], found["pca/weighted"])


def test_each_field_has_its_own_rows_of_the_stacked_table(own):
    layout, tables = own.task.layout, []
    for f, n in enumerate(layout.cardinalities):
        tables.append(of_rank(1 + f % 8, rows=int(n), seed=f))
    own.task._trained = lambda plan: {"embedding.lookups.0.table.weight": torch.from_numpy(np.vstack(tables))}
    spectra = own.searcher.search(own.task).tensors["eigenvalues"].numpy()
    assert explaining(spectra, 1 - 1e-9, 1) == tuple(1 + f % 8 for f in range(14))


def test_settings_that_make_no_sense():
    for settings in ({"rho": 0.0}, {"rho": 1.1}, {"floor": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            resolve_method("pca", settings)


class TestMultivalued(SearcherContract):
    """The contract with a field of three padded columns."""

    spec = "pca/weighted"

    @classmethod
    def data(cls) -> Dataset:
        return tiny_dataset(multivalued=True)


@pytest.mark.slow
def test_drops_no_field_so_it_beats_random_widths_on_planted_data(bench):
    gains = []
    for seed in (0, 1):
        b, random = bench("pca", seed, small=False), bench("random", seed, small=False)
        plan = b.derive(ratio=0.2)
        assert min(plan.dims) == 1
        gains.append(b.auc(plan) - random.auc(random.derive(ratio=0.2)))
    assert np.mean(gains) > 0.02
