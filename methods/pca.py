"""`pca`: each field as wide as its trained table has principal components that explain its variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from nasbench_rec.methods._ranking import UNIFORM_TABLE, columns_that_fit, dims_plan, filled, plan_bytes

from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import EmbeddingPlan, FieldDims, uniform
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask, uniform_bytes


@dataclass(frozen=True)
class PCAConfig:
    """Settings of `pca`."""

    weighted: bool = setting(
        False,
        "weight each row by its count in the training rows; else rare rows, near their initial values, decide",
        source="code: false",
        space={"type": "categorical", "choices": [True, False]},
    )
    rho: float = setting(
        0.95,
        "share of a field's variance that its width must explain, where no plan budget is given",
        source="code: 0.95 (FmFM); FDO also reports 0.8 and 0.7",
        space={"type": "float", "low": 0.5, "high": 0.99},
        stage="derive",
    )
    floor: int = setting(
        1,
        "least width of a field",
        source="code: 1 (FDO), 2 (FmFM)",
        space={"type": "int", "low": 1, "high": 2},
        stage="derive",
    )

    def __post_init__(self) -> None:
        """Refuse shares that are none, and floors that drop fields: nothing would say which."""
        if not 0 < self.rho <= 1:
            raise ConfigError(f"pca.rho = {self.rho}: must be above 0 and at most 1.")
        if self.floor < 1:
            raise ConfigError(f"pca.floor = {self.floor}: must be at least 1.")


class PCA(Searcher):
    """The width of a field from the spectrum of its table in the trained uniform model:

        C_f = sum_i c_i (e_i - m)(e_i - m)^T / sum_i c_i,    m = sum_i c_i e_i / sum_i c_i,
        l_1 >= l_2 >= ... >= l_d the eigenvalues of C_f,    r_fk = (l_1 + ... + l_k) / (l_1 + ... + l_d),
        d_f = the smallest k with r_fk >= rho,

    c_i = 1, or the count of value i in the training rows (`weighted`). A table of n_f < d rows has at most n_f - 1
    components. Nothing but the uniform model is trained; the model of the found widths is trained from scratch.

    Under a plan budget rho is the largest share whose widths fit, alignment counted; widths change at finitely many
    shares, all of which are tried. Single columns of the next largest l_k / (l_1 + ... + l_d) fill what is left. Where
    not even the widths of the smallest share fit, single columns of the fields of largest l_1 are kept as far as they
    fit, and the other fields are dropped.

    The rule asks how evenly the variance is spread, not how large or useful it is. A useless field's table is noise,
    whose variance is spread over all columns: on planted data (tier T2, DeepFM, seeds 0 and 1) useless fields get the
    largest widths, and the rank correlation with the planted widths is -.61 and -.57 at half the bytes.
    """

    info = MethodInfo(
        name="pca",
        title="Explained variance of trained tables (FmFM, FDO)",
        level="field",
        data="train",
        budget="granular",
        plans=("field_dims",),
        faithfulness="faithful",
        paper="Sun et al., FM2: Field-matrixed Factorization Machines for Recommender Systems, WWW 2021, "
        "arXiv:2102.12994; Wang et al., Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction "
        "(field dimension optimisation), CIKM 2023, arXiv:2311.04635",
        year=2021,
        version=2,
        deviations=(
            "weights by training counts are ours; the id that pads a multi-valued field is left out",
            "plan budgets are ours: the largest share of variance whose widths fit, filled with the next columns",
            "budgets too small for one column per field drop fields of small variance; the papers drop none",
            "alignment is the protocol's",
        ),
    )
    Config = PCAConfig
    presets = {"fmfm": {"floor": 2}, "weighted": {"weighted": True}}

    def search(self, task: SearchTask) -> SearchState:
        """Train the uniform model, or take it from the cache, and decompose its tables."""
        table = task.trained_uniform()[UNIFORM_TABLE].cpu().numpy().astype(float)
        starts = np.cumsum(task.layout.cardinalities)[:-1]
        weights = row_weights(task) if self.config.weighted else used_rows(task)
        spectra = np.stack([spectrum(*field) for field in zip(np.split(table, starts), weights, strict=True)])
        task.diagnose("eigenvalues", spectra)
        return SearchState({"eigenvalues": torch.from_numpy(spectra)})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the widths that explain `rho`, or the largest share that fits the plan budget, and what else fits."""
        spectra, limit = state.tensors["eigenvalues"].cpu().numpy(), size.bytes(task.layout)
        if limit is None:
            return FieldDims(dims=explaining(spectra, self.config.rho, self.config.floor))
        if limit >= uniform_bytes(task.layout):
            return uniform(task.layout)
        shares = spectra / np.maximum(spectra.sum(1, keepdims=True), np.finfo(float).tiny)
        for rho in np.unique(explained(spectra))[::-1]:
            dims = explaining(spectra, rho, self.config.floor)
            if plan_bytes(task, FieldDims(dims=dims)) <= limit:
                task.diagnose("rho", float(rho))
                return filled(task, dims, shares, limit)
        return dims_plan(columns_that_fit(task, spectra[:, :1], limit, dims_plan))


def used_rows(task: SearchTask) -> list[np.ndarray]:
    """Return weight 1 for each row of each field, 0 for the id that only pads: float [n_f] per field."""
    found = [np.ones(field.cardinality) for field in task.fields]
    for field, weight in zip(task.fields, found, strict=True):
        if field.padding is not None:
            weight[field.padding] = 0.0
    return found


def row_weights(task: SearchTask) -> Sequence[np.ndarray]:
    """Return each row's count in the training rows, [n_f] per field; all rows where none was seen."""
    pairs = zip(task.counts, used_rows(task), strict=True)
    return [counts.astype(float) if counts.any() else every for counts, every in pairs]


def spectrum(table: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of the weighted covariance of `table` [n_f, d], falling, none below 0: [d]."""
    if not weight.any():
        return np.zeros(table.shape[1])
    share = weight / weight.sum()
    centred = table - share @ table
    return np.linalg.eigvalsh((centred * share[:, None]).T @ centred)[::-1].clip(min=0.0)


def explained(spectra: np.ndarray) -> np.ndarray:
    """Return r [F, d], the share of a field's variance in its first k components; 1 where it has no variance."""
    total = spectra.sum(1, keepdims=True)
    shares = np.cumsum(spectra, 1) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, shares, 1.0)


def explaining(spectra: np.ndarray, rho: float, floor: int) -> tuple[int, ...]:
    """Return per field the smallest k, at least `floor`, whose components explain `rho`."""
    # Rounding: the last share may be 1 - 1e-16, so rho = 1 asks for it and not for more than d.
    short = (explained(spectra) < min(rho, 1 - 1e-12)).sum(1)
    dim = spectra.shape[1]
    return tuple(int(k) for k in (short + 1).clip(min(floor, dim), dim))
