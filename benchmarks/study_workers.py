"""How many trials a minute a study makes with so many workers of so many threads each, and what an engine adds.

Every turn is a whole study in a store of its own (the encoded data copied there): random search over the learning
rate of the uniform model on planted data. Sides alternate, round by round.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from nasbench_rec.studies.run import run
from nasbench_rec.studies.running import Options as RunOptions
from nasbench_rec.studies.study import Sampler, Study

from nasbench_rec.pipeline import Pipeline
from nasbench_rec.stages import Stages
from nasbench_rec.store import Store

PAGE = """# Trials a minute

Written by `python benchmarks/study_workers.py --out docs/study-workers.md --rounds {rounds} --trials {trials}` on a
machine with {cores} cores.

A study of {trials} trials (random search, uniform model, DeepFM on planted data, MLP {hidden}, {epochs} epochs),
with the start of the workers; median, least and most of {rounds} alternating rounds.

| engine | workers | threads each | trials a minute: median (min to max) | times one worker, one thread |
|---|---|---|---|---|
{rows}
"""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What to measure."""

    rounds: int = 3
    trials: int = 12
    epochs: int = 3
    hidden: tuple[int, ...] = (64, 32)
    out: Path | None = None


Side = tuple[Literal["optuna", "ray"], int, int]
SIDES: tuple[Side, ...] = (
    ("optuna", 1, 1),
    ("optuna", 1, 2),
    ("optuna", 2, 1),
    ("optuna", 2, 2),
    ("ray", 2, 1),
)


def study(options: Options) -> Study:
    """Return the study that every side runs."""
    protocol = {"epochs": options.epochs, "hidden": list(options.hidden), "patience": 0}
    return Study(
        method="fixed",
        space={"protocol.lr": {}},
        sampler=Sampler("random"),
        trials=options.trials,
        settings={"protocol": protocol},
        include_default=False,
    )


def turn(side: Side, options: Options) -> float:
    """Run one study; return its trials a minute."""
    engine, workers, threads = side
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store").create()
        bound = study(options).bind(None)
        Pipeline(Stages(store.stages)).prepare(bound.data[0])
        start = time.perf_counter()
        run(study(options), "study", store, engine, RunOptions(workers, threads))
        return 60 * options.trials / (time.perf_counter() - start)


def row(side: Side, rates: list[float], base: list[float]) -> str:
    """Return a side's line of the page; ratios are taken within each round."""
    times = statistics.median(a / b for a, b in zip(rates, base, strict=True))
    middle = f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
    return f"| {side[0]} | {side[1]} | {side[2]} | {middle} | {times:.2f} |"


def main(options: Options) -> int:
    """Measure and write."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found: dict[Side, list[float]] = {side: [] for side in SIDES}
    for at in range(options.rounds):
        for side in SIDES:
            found[side].append(turn(side, options))
            log.info("round %d %s: %.1f trials a minute", at + 1, side, found[side][-1])
    text = PAGE.format(
        rounds=options.rounds,
        trials=options.trials,
        epochs=options.epochs,
        hidden="-".join(map(str, options.hidden)),
        cores=os.cpu_count(),
        rows="\n".join(row(side, rates, found[SIDES[0]]) for side, rates in found.items()),
    )
    if options.out is not None:
        options.out.write_text(text)
        rates = {" ".join(map(str, side)): values for side, values in found.items()}
        options.out.with_suffix(".json").write_text(json.dumps(rates, indent=1) + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
