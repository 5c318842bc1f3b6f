"""Shared by all tests: one thread, and the small layouts and plans that several files use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from nasbench_rec.data import Dataset
    from nasbench_rec.embeddings import Layout


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """The contract suite's data set, five fields of one column each."""
    from nasbench_rec.testing import tiny_dataset

    return tiny_dataset(800)


@pytest.fixture(scope="session")
def multivalued() -> Dataset:
    """The same with a sixth field of three columns, padded."""
    from nasbench_rec.testing import tiny_dataset

    return tiny_dataset(800, multivalued=True)


@pytest.fixture
def layout(tiny: Dataset) -> Layout:
    """Layout of the tiny data set, d = 4, linear alignment."""
    from nasbench_rec.embeddings import Layout

    return Layout(tiny.fields, 4)


@pytest.fixture
def registered() -> Iterator[None]:
    """Forget what the registry read, before and after: the test changes entry points."""
    from nasbench_rec import registry

    registry._points.cache_clear()
    yield
    registry._points.cache_clear()
