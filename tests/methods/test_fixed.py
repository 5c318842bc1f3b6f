"""The uniform model: its width as a number, as a multiple of d, and under a plan budget."""

from __future__ import annotations

import pytest
from nasbench_rec.methods.fixed import Fixed, FixedConfig

from nasbench_rec.errors import ConfigError, PlanError
from nasbench_rec.searcher import PlanBudget, SearchState


class Task:
    """The part of a search task that `fixed` looks at."""

    def __init__(self, layout):
        self.layout = layout


def width(layout, ratio=None, **config):
    """Derive on a layout with d = 4; return the one width."""
    plan = Fixed(FixedConfig(**config)).derive(Task(layout), SearchState(), PlanBudget(ratio))
    (found,) = set(plan.dims)
    return found


@pytest.mark.parametrize(
    ("config", "ratio", "expected"),
    [
        ({}, None, 4),
        ({}, 0.5, 2),
        ({"width": 3}, None, 3),
        ({"width": 3}, 0.5, 2),
        ({"factor": 2.0}, None, 8),
        ({"factor": 0.5}, None, 2),
        ({"factor": 2.0}, 0.75, 3),
        ({"factor": 0.25}, 0.75, 1),
    ],
)
def test_width(layout, config, ratio, expected):
    assert width(layout, ratio, **config) == expected


def test_widths_that_make_no_sense(layout):
    for config in ({"factor": 0.0}, {"width": 0}, {"width": 2, "factor": 2.0}):
        with pytest.raises(ConfigError, match="fixed"):
            FixedConfig(**config)
    with pytest.raises(PlanError, match=r"factor = 0\.1"):
        width(layout, factor=0.1)
    with pytest.raises(PlanError, match=r"budget of 0\.1"):
        width(layout, 0.1)
