"""Optimisers of embedding tables: a lazy Adam that moves only the rows of the batch, and the dense Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.optim.adam import adam

from nasbench_rec.tables import distinct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nasbench_rec.tables import Table

__all__ = ["AdamTables", "RowAdam", "make_table_optimizer"]


class RowAdam:
    """Adam that reads and writes weights and moments of only the rows looked up since `zero_grad`.

    Not the same optimiser as Adam: a row that is absent from a batch keeps its weights and moments bit for
    bit, where Adam would let its momentum go on. Bias correction counts the optimiser's own steps, not the
    visits of a row, as SparseAdam does, so a table whose rows are all in every batch moves exactly as under
    Adam. `l2` is added to the gradient (coupled), on the looked-up rows only.

    It takes the tables over: their lookups stay row-wise until another optimiser is made for them.
    """

    def __init__(
        self,
        tables: Sequence[Table],
        lr: float,
        l2: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.tables = list(tables)
        self.lr, self.l2, self.betas, self.eps = lr, l2, betas, eps
        self.exp_avg = [torch.zeros_like(table.weight.detach()) for table in self.tables]
        self.exp_avg_sq = [torch.zeros_like(table.weight.detach()) for table in self.tables]
        self.steps = 0
        for table in self.tables:
            table.rowwise, table.weight.grad = True, None
        self.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Move the looked-up rows; lookups that got no gradient are left out."""
        self.steps += 1
        for table, first, second in zip(self.tables, self.exp_avg, self.exp_avg_sq, strict=True):
            found = _gradient(table)
            if found is not None:
                self._update((table.weight, first, second), *found)

    def zero_grad(self) -> None:
        """Forget all lookups."""
        for table in self.tables:
            table.pending.clear()

    def state_dict(self) -> dict[str, Any]:
        """Step count, learning rate, and per table the moments [V, w]."""
        return {"steps": self.steps, "lr": self.lr, "exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over copies of what `state_dict` gave; tables must have the same number and shapes."""
        self.steps, self.lr = int(state["steps"]), float(state["lr"])
        for name in ("exp_avg", "exp_avg_sq"):
            for own, saved in zip(getattr(self, name), state[name], strict=True):
                own.copy_(saved)

    def _update(self, states: tuple[Tensor, Tensor, Tensor], rows: Tensor, gradient: Tensor) -> None:
        """One step of torch's fused Adam on `rows` [U] of weight and moments, by their `gradient` [U, w]."""
        weight, first, second = (state.index_select(0, rows) for state in states)
        adam(
            [weight],
            [gradient],
            [first],
            [second],
            [],
            [torch.tensor(float(self.steps - 1), device=weight.device)],  # the kernel counts on by one
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.lr,
            weight_decay=self.l2,
            eps=self.eps,
            maximize=False,
        )
        for state, moved in zip(states, (weight, first, second), strict=True):
            state.index_copy_(0, rows, moved)


class AdamTables:
    """Dense Adam on whole tables, the reference: every step moves every row, coupled `l2` is on all rows."""

    def __init__(self, tables: Sequence[Table], lr: float, l2: float = 0.0) -> None:
        for table in tables:
            table.rowwise = False
            table.pending.clear()
        group = {"params": [table.weight for table in tables]}  # a bare list must not be empty, a group may
        self.optimizer = torch.optim.Adam([group], lr=lr, weight_decay=l2, fused=True)

    @property
    def lr(self) -> float:
        """Learning rate; may be set between steps."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        self.optimizer.param_groups[0]["lr"] = value

    def step(self) -> None:
        """Move all rows."""
        self.optimizer.step()

    def zero_grad(self) -> None:
        """Drop the gradients of the tables."""
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Give the state of the torch optimiser."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.optimizer.load_state_dict(dict(state))


def make_table_optimizer(
    kind: Literal["row_adam", "dense_adam"], tables: Sequence[Table], lr: float, l2: float = 0.0
) -> RowAdam | AdamTables:
    """Make the optimiser named in a configuration, and put the tables into its mode."""
    kinds: dict[str, type[RowAdam | AdamTables]] = {"row_adam": RowAdam, "dense_adam": AdamTables}
    return kinds[kind](tables, lr=lr, l2=l2)


def _gradient(table: Table) -> tuple[Tensor, Tensor] | None:
    """Rows [U] looked up since `zero_grad`, each once, and their summed gradient [U, w]; None if none has."""
    found = [(rows, leaf.grad) for rows, leaf in table.pending if leaf.grad is not None]
    if len(found) <= 1:
        return found[0] if found else None
    groups = distinct(torch.cat([rows for rows, _ in found]))
    return groups.rows, groups.sum(torch.cat([gradient for _, gradient in found]))
