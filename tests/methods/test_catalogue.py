"""What every method of the package says of itself: sources of defaults, search spaces, equations."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from nasbench_rec.registry import method_class, method_names


def test_there_are_at_least_25_methods() -> None:
    assert len([name for name in method_names() if method_class(name)]) >= 25


@pytest.mark.parametrize("name", method_names())
def test_every_default_names_its_source(name: str) -> None:
    bare = [f.name for f in fields(method_class(name).Config) if not f.metadata.get("source")]
    assert not bare, f"settings of {name} without a source: {bare}"


@pytest.mark.parametrize("name", method_names())
def test_what_a_published_method_leaves_open_can_be_searched(name: str) -> None:
    cls = method_class(name)
    spaces = [f.name for f in fields(cls.Config) if f.metadata.get("space")]
    assert spaces or cls.info.faithfulness == "reference", f"{name} has no search space"


@pytest.mark.parametrize("name", method_names())
def test_a_published_method_shows_its_equations(name: str) -> None:
    text = inspect.getdoc(method_class(name)) or ""
    assert " = " in text or method_class(name).info.faithfulness == "reference", f"{name}: no equation"
