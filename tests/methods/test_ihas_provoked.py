"""Each failure of iHAS, provoked on purpose by its settings: the health report names it; a healthy run raises none."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasbench_rec.config import plain
from nasbench_rec.pipeline import Pipeline
from nasbench_rec.protocol import Protocol
from nasbench_rec.registry import resolve_dataset, resolve_method
from nasbench_rec.seeds import Seeds
from nasbench_rec.stages import Stages
from nasbench_rec.unit import DataRef, Task, Unit


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Path:
    """One folder for all: variants of the later stages share their search."""
    return tmp_path_factory.mktemp("stages")


def signatures(stages: Path, method: str, tier: str = "T2", **settings) -> list[str]:
    """Return the signatures of a search at full size (100,000 rows, 12 epochs), without retraining."""
    import json

    source = resolve_dataset("planted", {"tier": tier})
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
        ("static-masks", "ihas/robust", {"lam": 0.2, "lam_polarization": None, "polarization_start": 0.0}),
        ("gates-hardly-learn", "ihas/robust", {"tau": 0.05}),
        ("gates-hardly-learn", "ihas/robust", {"tau": 10.0}),
        ("train-serve-gap", "ihas/robust", {"hard": False, "tau": 5.0}),
        ("all-on", "ihas/robust", {"lam": 1.0, "t": -2.0}),
        ("all-off", "ihas/robust", {"lam": 1.0, "t": 2.0}),
        ("poor-separation", "ihas/robust", {"k": 8}),
        ("tiny-cluster", "ihas/robust", {"k": 60}),
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
def test_equal_masks_leave_one_cluster(stages):
    found = signatures(stages, "ihas/robust", lam=1.0, lam_polarization=1.0, polarization_start=0.0, t=0.0)
    assert {"one-cluster", "static-masks"} & set(found)
