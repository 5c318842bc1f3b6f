"""How Ray is started: on this machine for one user, or joined on a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # By default Ray's workers have a low priority: beside any other load they would starve.
    "RAY_worker_niceness": "0",
}
LOCAL = {"RAY_AUTH_MODE": "disabled"}
"""One user's run on one machine needs no token; on a cluster all nodes have to be set alike, by whoever starts them."""
OBJECT_STORE = 128 * 1024**2


@contextmanager
def started(cpus: int, address: str | None) -> Iterator[None]:
    """Start Ray with `cpus` on this machine, or join the cluster at `address`; leave it in the end."""
    settings = SETTINGS if address else {**SETTINGS, **LOCAL}
    for name, value in settings.items():  # Ray reads them when it is imported
        os.environ.setdefault(name, value)
    import ray

    ray.init(**_options(cpus, address))
    try:
        yield
    finally:
        ray.shutdown()


def _options(cpus: int, address: str | None) -> dict[str, Any]:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is not None:
        return {**quiet, "address": address}
    # Not plain `init()`: after a kill it may join the dying cluster of the killed driver.
    local = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    return {**quiet, **local, "object_store_memory": OBJECT_STORE}
