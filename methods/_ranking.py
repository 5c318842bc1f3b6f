"""Plans from scores: what methods share that rank entries, columns or rows and cut at a plan budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from nasbench_rec.cost import EMBEDDING_PARTS, most_nonzeros
from nasbench_rec.embeddings import Layout
from nasbench_rec.errors import PlanError
from nasbench_rec.plans import ColumnMask, EmbeddingPlan, EntryMask, FieldDims, Recipe, RowDims, uniform
from nasbench_rec.searcher import PlanBudget, SearchTask, uniform_bytes

UNIFORM_TABLE = "embedding.lookups.0.table.weight"
"""The table of the uniform model, [V, d], rows stacked in field order."""
MASKED_TABLE = "embedding.lookup.table.weight"
"""The table of a model with a mask on entries, rows or columns."""
PRUNED: dict[str, Recipe] = {"none": "none", "finetune": "inherit", "rewind": "same_init"}
"""How a pruned model goes on: served as it is, trained on, or trained again from the initial weights."""


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the mask of the `count` largest of `values`, bool of the same shape; of equal ones the first."""
    mask = np.zeros(values.size, dtype=bool)
    mask[np.argsort(-values, axis=None, kind="stable")[:count]] = True
    return mask.reshape(values.shape)


def limit_of(task: SearchTask, size: PlanBudget, ratio: float) -> int:
    """Return the bytes allowed: the plan budget, or `ratio` of the uniform model where none is given."""
    limit = PlanBudget(ratio if size.ratio is None else size.ratio).bytes(task.layout)
    assert limit is not None
    return limit


def entries_that_fit(scores: np.ndarray, limit: int) -> np.ndarray:
    """Return the mask of the most entries of largest score, index included in `limit` bytes: bool [V, d]."""
    rows, width = scores.shape
    kept = most_nonzeros(rows, width, limit)
    if kept == 0:
        raise PlanError(f"a plan budget of {limit} bytes holds no entry and its index; give a larger one.")
    return largest(scores, kept)


def rows_that_fit(task: SearchTask, scores: np.ndarray, limit: int, width: int | None = None) -> np.ndarray:
    """Return the mask of the most rows of largest score in `limit` bytes, index included: bool [V].

    A row that is kept is whole, or has the given `width`.
    """
    if width is None and limit >= uniform_bytes(task.layout):
        return np.ones(scores.shape, dtype=bool)
    order, low, high = np.argsort(-scores, kind="stable"), 0, len(scores)
    while low < high:
        middle = (low + high + 1) // 2
        mask = np.zeros(scores.shape, dtype=bool)
        mask[order[:middle]] = True
        if plan_bytes(task, row_plan(mask, task.layout, width)) <= limit:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        raise PlanError(f"a plan budget of {limit} bytes holds no row and its index; give a larger one.")
    return largest(scores, low)


def columns_that_fit(
    task: SearchTask,
    scores: np.ndarray,
    limit: int,
    plan: Callable[[np.ndarray], EmbeddingPlan] | None = None,
    kept: np.ndarray | None = None,
) -> np.ndarray:
    """Return the mask of columns taken in falling order of score, each if the plan still fits: bool [F, d].

    `plan` makes the plan whose bytes count, `column_plan` by default. Columns of `kept` [F, d] are in from the start.
    """
    plan = plan or column_plan
    if limit >= uniform_bytes(task.layout):
        return np.ones(scores.shape, dtype=bool)
    mask = np.zeros(scores.shape, dtype=bool) if kept is None else kept.copy()
    for column in np.argsort(-np.where(mask, -np.inf, scores), axis=None, kind="stable")[
        : int((~mask).sum())
    ]:
        mask.flat[column] = True
        if plan_bytes(task, plan(mask)) > limit:
            mask.flat[column] = False
    if not mask.any():
        raise PlanError(f"no column fits into {limit} bytes; give a larger plan budget.")
    return mask


def filled(task: SearchTask, dims: Sequence[int], scores: np.ndarray, limit: int) -> FieldDims:
    """Return the widths after single columns are added to `dims` [F] while they fit, in falling order of score [F, d].

    What a rule with one threshold leaves of a plan budget would otherwise be lost, and other methods use it.
    """
    place = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return dims_plan(columns_that_fit(task, scores, limit, dims_plan, place < np.array(dims)[:, None]))


def fields_that_fit(task: SearchTask, scores: np.ndarray, limit: int, wanted: np.ndarray) -> np.ndarray:
    """Return the mask of whole fields taken in falling order of score [F], each if it still fits: bool [F, d].

    Fields that are not `wanted` [F] are taken only where everything fits, or nothing that is wanted does.
    """
    everything = limit >= uniform_bytes(task.layout)
    mask = _whole_fields(task, scores, limit, np.ones_like(wanted) if everything else wanted)
    if not mask.any():
        mask = _whole_fields(task, scores, limit, ~wanted)
    if not mask.any():
        raise PlanError(f"no whole field fits into {limit} bytes; give a larger plan budget.")
    return mask


def _whole_fields(task: SearchTask, scores: np.ndarray, limit: int, wanted: np.ndarray) -> np.ndarray:
    mask = np.zeros((len(scores), task.layout.dim), dtype=bool)
    for field in np.argsort(-scores, kind="stable"):
        if wanted[field]:
            mask[field] = True
            mask[field] = plan_bytes(task, dims_plan(mask)) <= limit
    return mask


def plan_bytes(task: SearchTask, plan: EmbeddingPlan) -> int:
    """Return the bytes of everything that the plan adds below the backbone."""
    return task.cost(plan).bytes(EMBEDDING_PARTS)


def column_plan(mask: np.ndarray) -> ColumnMask:
    """Return the plan that keeps columns where they are."""
    return ColumnMask(mask=mask)


def dims_plan(mask: np.ndarray) -> FieldDims:
    """Return the plan of as many columns as the mask keeps of each field: trained from scratch, any will do."""
    return FieldDims(dims=tuple(int(w) for w in mask.sum(1)))


def row_plan(mask: np.ndarray, layout: Layout, width: int | None = None) -> RowDims:
    """Return the plan that keeps rows whole, or all at one `width`."""
    return RowDims(row_widths=np.where(mask, width or layout.dim, 0).astype(np.int32))


def masked_state(weights: Mapping[str, Tensor], mask: np.ndarray) -> dict[str, Tensor]:
    """Return the uniform model's weights under the names of the masked model, the table masked (bool [V, d])."""
    found = {name: value.detach().clone() for name, value in weights.items()}
    found[MASKED_TABLE] = found.pop(UNIFORM_TABLE) * torch.from_numpy(mask)
    return found


def pruned(task: SearchTask, trained: Mapping[str, Tensor], mask: np.ndarray, how: str) -> EntryMask:
    """Return the plan of the `trained` uniform model under a mask bool [V, d]; `how` is one of `PRUNED`."""
    initial = how == "rewind"
    weights = task.build_plan(uniform(task.layout)).cpu().state_dict() if initial else trained
    return EntryMask(mask=mask, recipe=PRUNED[how], weights=masked_state(weights, mask))
