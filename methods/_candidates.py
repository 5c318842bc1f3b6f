"""What methods that choose among candidate widths share."""

from __future__ import annotations

from collections.abc import Iterable

from nasbench_rec.errors import ConfigError


def candidate_widths(wanted: tuple[int, ...] | None, default: Iterable[int], dim: int) -> tuple[int, ...]:
    """Return the `wanted` widths, or those of `default` that lie in 1..d; ConfigError for widths that do not."""
    if wanted is None:
        return tuple(sorted({width for width in default if 1 <= width <= dim}))
    if not wanted or list(wanted) != sorted(set(wanted)) or wanted[0] < 1 or wanted[-1] > dim:
        raise ConfigError(
            f"candidates = {wanted}: widths from 1 to the base width {dim}, ascending, each once."
        )
    return wanted
