"""Saved predictions of a unit (logits by split), and the hash by which its record names them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nasbench_rec.errors import StoreError

if TYPE_CHECKING:
    import numpy as np


def digest(predictions: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of logits [N] by split, in the order of the splits' names."""
    import numpy as np

    found = hashlib.sha256()
    for name in sorted(predictions):
        found.update(np.ascontiguousarray(predictions[name]).tobytes())
    return found.hexdigest()


def read(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Return the logits [N] by split of a file; `StoreError` where it is broken or has not this SHA-256."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        predictions: dict[str, np.ndarray] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: predictions cannot be read ({error}).") from None
    if (found := digest(predictions)) != sha256:
        raise StoreError(
            f"{path}: predictions were changed after they were made, or are broken: SHA-256 {found[:12]}, not "
            f"{sha256[:12]} as their record says."
        )
    return predictions
