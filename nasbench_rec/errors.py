"""The errors that a user sees: one tree, each message with the value, what is allowed, and the remedy."""

from __future__ import annotations

import difflib
import errno
import shutil
from collections.abc import Iterable
from pathlib import Path


class NasbenchError(Exception):
    """Something the user can mend; the command line prints its text without a traceback."""


class ConfigError(NasbenchError):
    """A name, value or configuration file that is not valid."""


class DataError(NasbenchError):
    """Raw or encoded data that is missing, broken or of the wrong form."""


class PlanError(NasbenchError):
    """A plan that does not fit its task, or a combination that makes no sense."""


class RegistryError(NasbenchError):
    """A method or data set that cannot be registered or loaded."""


class StoreError(NasbenchError):
    """A store that cannot be read or written."""


class SealedError(NasbenchError):
    """The test split was asked for before the last training had ended, or a second time."""


def disk_full(error: OSError, folder: Path, name: str = "") -> str | None:
    """Return what to say where `error` means that there is no room in `folder`, None where it means something else."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) and "requested and" not in str(error):
        return None
    free = shutil.disk_usage(folder).free / 2**20
    what = f" while writing {name}" if name else ""
    remedy = "free some space or choose another place with --store"
    return f"{folder}: the disk is full ({free:,.0f} MiB free){what}; {remedy}"


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """Return the message for an unknown `name`, with the nearest valid one and all that are valid."""
    known = sorted(allowed)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known) or 'none'}."
