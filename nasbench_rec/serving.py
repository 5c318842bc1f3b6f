"""Trained models for serving: as plain PyTorch that stores just what the ledger charges."""

from __future__ import annotations

from typing import Any

from torch import nn

from nasbench_rec import export
from nasbench_rec.embeddings import Layout
from nasbench_rec.model import CTRModel
from nasbench_rec.pipeline import JointModel
from nasbench_rec.plans import EmbeddingPlan, Joint


def parts_of(plan: EmbeddingPlan, model: nn.Module) -> list[tuple[EmbeddingPlan, CTRModel]]:
    """Return the plan with its model, or each cluster's or member's plan with its model."""
    if isinstance(plan, Joint) and isinstance(model, JointModel):
        return list(zip(plan.plans, model.parts(), strict=True))
    assert isinstance(model, CTRModel)
    return [(plan, model)]


def export_model(plan: EmbeddingPlan, model: nn.Module, layout: Layout) -> nn.Module:
    """Return a copy of the trained `model` of `plan` that maps ids [B, C] to logits [B].

    Only torch is needed to run it, tables hold kept values only, and `torch.export` accepts it.
    """
    found = export.plain(model)
    for (own, trained), (_, copied) in zip(parts_of(plan, model), parts_of(plan, found), strict=True):
        stored: Any = own.export(trained.embedding, layout)
        copied.embedding = stored
    return found
