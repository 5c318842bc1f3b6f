"""Each failure of iHAS, provoked on purpose by its settings: the health report names it; a healthy run raises none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nasbench_rec.config import plain
from nasbench_rec.pipeline import Pipeline
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.seeds import Seeds
from nasbench_rec.stages import Stages
from nasbench_rec.unit import DataRef, Task, Unit

STRONG = {"lam": 0.2, "lam_polarization": 0.2, "lam_ramp": 0.0, "polarization_start": 0.0, "init_std": None}
"""Gates that polarize before they depend on the sample."""


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Path:
    """One folder for all: variants of the later stages share their search."""
    return tmp_path_factory.mktemp("stages")


def signatures(stages: Path, method: str, tier: str = "T2", rows: int = 100_000, **settings) -> list[str]:
    """Return the signatures of a search at full size (12 epochs), without retraining."""
    source = resolve_dataset("planted", {"tier": tier, "train": rows})
    ref = DataRef("planted", source.source_fingerprint(None), plain(source.config))
    task = Task(ref, "deepfm", Protocol(**source.info.protocol))
    unit = Unit(task, resolve_method(method, settings), Seeds.of(0))
    pipeline = Pipeline(Stages(stages))
    _, searched, derived = pipeline.derive(unit, pipeline.prepare(ref))
    files = {"search": searched, "derive": derived}
    found = {name: json.loads((folder / "diagnostics.json").read_text()) for name, folder in files.items()}
    return [finding.signature for finding in unit.method.searcher().health(found, None)]


@pytest.mark.slow
def test_a_healthy_run_raises_none(stages):
    assert signatures(stages, "ihas/robust") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expected", "method", "settings"),
    [
        ("probabilities-not-bimodal", "ihas/robust", {"lam": 0.0, "lam_polarization": 0.0}),
        ("static-masks", "ihas/robust", STRONG),
        ("one-cluster", "ihas/robust", STRONG),
        ("gates-hardly-learn", "ihas/robust", {"tau": 0.05}),
        ("gates-hardly-learn", "ihas/robust", {"tau": 10.0}),
        ("train-serve-gap", "ihas/robust", {"hard": False, "tau": 5.0}),
        ("all-on", "ihas/robust", {"lam": 1.0, "t": -2.0}),
        ("all-off", "ihas/robust", {"lam": 1.0, "t": 2.0}),
        ("poor-separation", "ihas/robust", {"k": 8}),
        ("unstable-clusters", "ihas/robust", {"k": 60}),
        ("equal-cluster-masks", "ihas/robust", {"columns": "all"}),
    ],
)
def test_provoked_failures_are_named(stages, expected, method, settings):
    assert expected in signatures(stages, method, **settings)


@pytest.mark.slow
def test_clusters_that_follow_one_field_are_named(stages):
    """Tier T3: masked embeddings follow the distractor, a strong field that has nothing to do with the groups."""
    assert "one-field" in signatures(stages, "ihas/robust", tier="T3", cluster_on="embedding")


@pytest.mark.slow
def test_more_clusters_than_the_rows_can_feed_are_named(stages):
    many = {"k": 150, "cluster_on": "embedding", "metric": "euclidean", "restarts": 1}
    assert "tiny-cluster" in signatures(stages, "ihas/robust", rows=5000, epochs=2, **many)
