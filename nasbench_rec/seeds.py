"""The four named seed streams, and what derives generators from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Seeds:
    """One value for each stream; a leaderboard's "seed" sets init, search and order at a fixed split."""

    split: int = 0
    init: int = 0
    search: int = 0
    order: int = 0

    @classmethod
    def of(cls, seed: int, split: int = 0) -> Seeds:
        """Return the seeds of leaderboard seed `seed` on split `split`."""
        return cls(split=split, init=seed, search=seed, order=seed)


def stream(name: str, seed: int) -> int:
    """Return a 63-bit seed for stream `name`: different names never share random numbers."""
    digest = hashlib.sha256(f"{name}/{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them after it."""
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield
