"""What a site is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasbench_rec.reports._study_data import Pairs, StudyFrames

FIGURES = ("pareto", "search-cost", "anytime")
ACROSS = ("rank-over-budgets", "critical-difference")
Facts = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class About:
    """What is known of a method or a data set beside its records."""

    title: str = ""
    paper: str = ""
    facts: Facts = ()
    deviations: Sequence[str] = ()


@dataclass(frozen=True)
class SiteStudy:
    """A study of the store: its name, and how its frames and the pairs of its contours are read.

    A `NasbenchError` of `read` is told on the site, in place of the study.
    """

    name: str
    read: Callable[[], tuple[StudyFrames, Pairs]]


@dataclass(frozen=True)
class SiteContent:
    """Records, and what else is known. All but the records may be left out."""

    records: Iterable[Mapping[str, Any]]
    """As a `Store` yields them: dictionaries, oldest start first."""
    store: str = "results"
    """How the store is called in commands."""
    title: str = "Embedding-dimension search, compared"
    methods: Mapping[str, About] = field(default_factory=dict)
    datasets: Mapping[str, About] = field(default_factory=dict)
    levels: Mapping[str, str] = field(default_factory=dict)
    """What each method decides, by its name: parts a figure of many methods."""
    studies: Sequence[SiteStudy] = ()
    ablations: Path | None = None
    """Folder of the ablations, `STORE/ablations`."""
    claims: Path | None = None
    """Folder of the claim sets, `STORE/claims`."""
    explanations: Mapping[str, str] = field(default_factory=dict)
    """Why something is not above random plans of its size, by label or method."""
    truth: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Useful widths by field, by a planted data set's fingerprint (`comparison.planted_widths`)."""
    figures: Sequence[str] = FIGURES
    """Figures of `reports.comparison` below that of AUC over bytes, for each data set and backbone."""
    across: Sequence[str] = ACROSS
    """Figures over all data sets, where there are several."""
