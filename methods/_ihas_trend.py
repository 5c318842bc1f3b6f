"""Watching the gates of an iHAS search: what the probabilities do, and how much gradient reaches them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BINS = 20
NEAR = 0.1
ACTIVE = 0.05
"""Slope |dm/dlogit| from which a gate counts as one that passes its gradient on (the steepest is 1/(4 tau))."""

_NAMES = ("mean", "near_0", "near_1", "gate_gradient", "active", "hamming")


class GateWatch:
    """One entry of the polarization trend per epoch, from every `every`-th step.

    Order of calls: `arm` before each step, `watch` in the gated forward pass, `close` at the end of an epoch. The
    backward pass does the rest. Where a step has more than one forward pass (bi-level), the first one is watched.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._armed, self._steps, self._seen = False, 0, 0
        self._sums = torch.zeros(len(_NAMES) + BINS)

    def arm(self) -> None:
        """Count a step; the first of an epoch and every `every`-th after it will be watched."""
        self._armed = self._steps % self.every == 0
        self._steps += 1

    def watch(self, logits: Tensor, soft: Tensor, mask: Tensor, tau: float) -> None:
        """Take a forward pass where one is due: `see` is called when the gradient of `mask` is known.

        `mask` [B, D] is the very tensor that multiplies the embedding, `soft` the relaxed sample that it was made of.
        Only what is predicted through the mask comes back through it: the regularizer, a function of the
        probabilities, does not.
        """
        if not self._armed or not mask.requires_grad:
            return
        self._armed = False
        logits, soft = logits.detach(), soft.detach()
        mask.register_hook(lambda gradient: self.see(logits, soft, gradient, tau))

    @torch.no_grad()
    def see(self, logits: Tensor, soft: Tensor, gradient_of_mask: Tensor, tau: float) -> None:
        """Add a batch: gate logits, soft masks and d(mean BCE)/dm, all [B, D]."""
        pi, slope = logits.sigmoid(), soft * (1 - soft) / tau
        # B times the mean's gradient: that of the sample's own loss, which no batch size changes.
        gradient = len(pi) * gradient_of_mask * slope
        kept = (pi > 0.5).sum(0, dtype=pi.dtype)
        differing = 2 * kept * (len(pi) - kept) / max(len(pi) * (len(pi) - 1), 1)
        low, high, active = pi < NEAR, pi > 1 - NEAR, slope > ACTIVE
        shares = [part.to(pi.dtype).mean() for part in (low, high)]
        values = [pi.mean(), *shares, gradient.square().mean(), active.to(pi.dtype).mean(), differing.mean()]
        histogram = torch.histc(pi, BINS, 0, 1) / pi.numel()
        self._sums = self._sums.to(pi.device) + torch.cat([torch.stack(values), histogram])
        self._seen += 1

    def close(self, epoch: int, tau: float, gated: bool) -> dict[str, Any]:
        """Return the epoch's entry of the trend and start the next one.

        `epoch`, `gated`, `tau` (the last one); `mean`, `near_0`, `near_1` (shares of pi below .1 and above .9) and
        `histogram` (20 shares); `gate_gradient`, the root mean square over samples and gates of d(the sample's
        BCE)/dlogit through the mask; `active`, the share of gates with |dm/dlogit| > .05; `hamming`, the mean share
        of gates in which 1[pi > .5] of two samples differs. None where nothing was watched: warm-up epochs.
        """
        entry: dict[str, Any] = {"epoch": epoch, "gated": gated, "tau": tau}
        if gated and self._seen:
            means = (self._sums / self._seen).tolist()
            entry |= dict(zip(_NAMES, means, strict=False)) | {"histogram": means[len(_NAMES) :]}
            entry["gate_gradient"] = entry["gate_gradient"] ** 0.5
        else:
            entry |= dict.fromkeys((*_NAMES, "histogram"))
        self._armed, self._steps, self._seen = False, 0, 0
        self._sums = torch.zeros_like(self._sums)
        return entry
