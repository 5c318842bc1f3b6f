"""The polarization regularizer (Zhuang et al., NeurIPS 2020) on gates in [0, 1]."""

from __future__ import annotations

from torch import Tensor


def regularizer(pi: Tensor, t: float, polarization: float, scope: str) -> Tensor:
    """R(pi) = t mean(pi) - polarization * mean |pi - mean(pi)|, for pi [B, D] in [0, 1].

    `scope` says over what the inner mean is taken: the D gates of each `sample`, the batch for each `gate`, or all
    of the `batch`. With polarization 1 the least R has a share 1/2 - t/4 of the gates at 1, the rest at 0.
    """
    if scope == "sample":
        center = pi.mean(1, keepdim=True)
    else:
        center = pi.mean(0) if scope == "gate" else pi.mean()
    return t * pi.mean() - polarization * (pi - center).abs().mean()
