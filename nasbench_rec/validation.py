"""One unit on validation data: what a study sees of a configuration. The test split stays sealed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from nasbench_rec.pipeline import OnReport, Pipeline, read_diagnostics
from nasbench_rec.stages import Stages, read_meta
from nasbench_rec.unit import Unit

SIZES = (
    "embedding_bytes",
    "embedding_params",
    "embedding_ratio",
    "router_bytes",
    "total_bytes",
    "values_per_lookup",
    "flops_per_row",
)
SCORES = ("valid_auc", "valid_logloss")
COSTS = ("search_seconds", "retrain_seconds", "search_trainings", "peak_rss_bytes")
NUMBERS = (*SCORES, *SIZES, *COSTS)
"""What a study can ask for."""


def validate_unit(
    unit: Unit,
    root: Path,
    data_dir: Path | None = None,
    threads: int = 1,
    on_report: OnReport = lambda phase, count, scores: None,
) -> dict[str, Any]:
    """Run a unit below the store at `root` up to its validation scores; return these, its sizes and costs.

    Whatever goes wrong is raised, a score that is not finite as a FloatingPointError. `on_report` hears the
    validation scores of search and retraining as they come, and those of found stages all the same.
    """
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    pipeline = Pipeline(Stages(root / "stages"), data_dir, on_report)
    with threadpool_limits(threads):
        data = pipeline.prepare(unit.task.data).without_test()
        plan, search_folder, derive_folder = pipeline.derive(unit, data)
        valid = read_meta(pipeline.validate(plan, unit, data))
        train = read_meta(pipeline.train(plan, unit.task, data, unit.seeds))
    if not all(math.isfinite(value) for value in valid["scores"].values()):
        raise FloatingPointError(f"validation scores are not finite: {valid['scores']}")
    stages = [read_meta(search_folder), read_meta(derive_folder), train, valid]
    diagnostics = read_diagnostics(search_folder, derive_folder)
    return {
        **_head(unit),
        **valid["scores"],
        **{name: valid["sizes"][name] for name in SIZES},
        "search_seconds": stages[0]["seconds"] + stages[1]["seconds"],
        "retrain_seconds": train["seconds"],
        "search_trainings": stages[0]["trainings"] + stages[1].get("trainings", 0.0),
        "peak_rss_bytes": max(stage["peak_rss_bytes"] for stage in stages),
        "stages": [asdict(use) for use in pipeline.stages.used],
        "health": [asdict(f) for f in unit.method.searcher().health(diagnostics, None)],
    }


def _head(unit: Unit) -> Mapping[str, Any]:
    return {
        "key": unit.key,
        "dataset": unit.task.data.name,
        "backbone": unit.task.backbone,
        "seed": unit.seeds.init,
        "split_seed": unit.seeds.split,
    }
