"""A relaxed choice among alternatives: the Gumbel-softmax and its temperature."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nasbench_rec.training import Hook, Step

TAU_FLOOR = 0.01
PAPER_TAU_STEPS = 19_800
"""tau_t = max(0.01, 1 - 0.00005 t) is at its floor after so many steps."""


class Relaxed(Protocol):
    """Whatever has a temperature."""

    tau: float


def gumbel_softmax(log_alpha: Tensor, tau: float) -> Tensor:
    """Return p [..., N] = softmax((log alpha + g) / tau), g ~ Gumbel(0, 1) from the global generator."""
    exponential = torch.empty_like(log_alpha).exponential_().clamp_min(torch.finfo(torch.float32).tiny)
    return torch.softmax((log_alpha - exponential.log()) / tau, -1)


class Temperature(Hook):
    """tau_t = max(0.01, 1 - 0.99 t / steps), t counting the training steps of the weights: evaluation never moves it.

    `steps` None: all steps of the training.
    """

    def __init__(self, embedding: Relaxed, steps: int | None) -> None:
        self.embedding, self.steps = embedding, steps

    def before_step(self, step: Step) -> None:
        """Set the temperature of this step."""
        passed = step.index / (self.steps or step.total)
        self.embedding.tau = max(TAU_FLOOR, 1 - (1 - TAU_FLOOR) * passed)
