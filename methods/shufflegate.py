"""`shufflegate`: a column that can be swapped with another row's without harm is not needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nasbench_rec.methods._ranking import columns_that_fit
from nasbench_rec.methods._shuffle import ShuffleGatedEmbedding

from nasbench_rec.errors import ConfigError
from nasbench_rec.plans import ColumnMask, EmbeddingPlan
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import Bilevel


@dataclass(frozen=True)
class ShuffleGateConfig:
    """Settings of `shufflegate`."""

    lam: float = setting(
        0.1,
        "weight of the mean gate in the loss of the gates",
        source="inferred: the code's fs_weight differs from data set to data set",
        space={"type": "float", "low": 1e-3, "high": 10.0, "log": True},
    )
    init: float = setting(
        1.0,
        "theta at the start: the gates are sigmoid(5 theta)",
        source="code (of fields): 1, gates at .993",
        space={"type": "float", "low": 0.0, "high": 1.0},
    )
    structure_lr: float = setting(
        1e-2,
        "Adam's learning rate of theta",
        source="code: 1e-3; 1e-2: inferred, for short searches",
        space={"type": "float", "low": 1e-3, "high": 1e-1, "log": True},
    )
    cut: float = setting(0.5, "columns whose gate is above are kept", source="paper: 0.5", stage="derive")
    epochs: int | None = setting(None, "epochs of the search; none: the protocol's", source="inferred")

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if self.lam < 0 or self.structure_lr <= 0 or not 0 <= self.cut < 1:
            raise ConfigError(
                f"shufflegate: lam = {self.lam} must be at least 0, structure_lr = {self.structure_lr} above 0 and "
                f"cut = {self.cut} in 0..1, below 1."
            )


class ShuffleGate(Searcher):
    """A gate for each field and column between the value and that of a random other row of the batch:

        x_fj = g_fj e_fj + (1 - g_fj) sg(shuffle_fj(e_fj)),    g = sigmoid(5 theta),
        theta by BCE + lambda mean(g) on search rows, all else by BCE on training rows, in turns.

    The shuffle keeps a column's distribution and destroys what it says, so no weight can make up for a closed gate by
    growing, as it can where gates scale. Each column is shuffled by itself. Columns with g > 1/2 are kept and the model
    is trained from scratch. Under a plan budget the columns of largest g that fit are kept, whatever their size.
    """

    info = MethodInfo(
        name="shufflegate",
        title="ShuffleGate (columns)",
        level="column",
        data="train+search",
        budget="granular",
        plans=("column_mask",),
        faithfulness="inferred",
        paper="Huang et al., ShuffleGate: Scalable Feature Optimization for Recommender Systems via Batch-wise "
        "Sensitivity Learning, arXiv:2503.09315 (2025; title of version 6)",
        year=2025,
        deviations=(
            "code was published for gates on fields only; gates on columns follow the paper's abstract and DimGrow",
            "columns are shuffled by cyclic shifts of a batch in random order, a random one for each column",
            "lambda and the learning rate of theta are inferred",
            "gates are stepped at the current weights, without look-ahead",
            "a search that closes every gate keeps the column of largest gate",
            "plan budgets, met by the columns of largest gate, are ours",
        ),
    )
    Config = ShuffleGateConfig

    def search(self, task: SearchTask) -> SearchState:
        """Train weights and gates in turns."""
        c = self.config
        model = task.build(lambda: ShuffleGatedEmbedding(task.layout, c.init))
        embedding = model.embedding
        assert isinstance(embedding, ShuffleGatedEmbedding)
        gate_steps = Bilevel(
            [embedding.theta],
            task.search,
            task.protocol,
            task.seed,
            lr=c.structure_lr,
            loss=lambda step: c.lam * embedding.gates().mean(),
        )
        task.fit(model, [gate_steps], epochs=c.epochs, early_stopping=False)
        gates = embedding.gates().detach().cpu()
        task.diagnose("gates", gates.numpy())
        task.diagnose("near_0", float((gates < 0.1).float().mean()))
        task.diagnose("near_1", float((gates > 0.9).float().mean()))
        return SearchState({"gates": gates})

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the columns whose gate is open, or under a plan budget those of largest gate that fit."""
        gates, limit = state.tensors["gates"].numpy(), size.bytes(task.layout)
        mask = open_columns(gates, self.config.cut) if limit is None else columns_that_fit(task, gates, limit)
        return ColumnMask(mask=mask)


def open_columns(gates: np.ndarray, cut: float) -> np.ndarray:
    """Return gates > cut, bool [F, d]; where none is, the largest."""
    mask = gates > cut
    if not mask.any():
        mask.flat[gates.argmax()] = True
    return mask
