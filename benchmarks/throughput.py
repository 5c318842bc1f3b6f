"""Training throughput of this project's engine beside FuxiCTR's, in alternating turns, and its loss curve.

    python benchmarks/throughput.py --out docs/benchmarks.md

Writes that page and the same figures as JSON beside it. FuxiCTR's dependencies conflict with ours: it runs by
`--peer-python`, or in an environment that is made on first use in `.bench-venv` (a large download).
Exit status 1 where the loss curve is not that of plain PyTorch; a missed speed target is only reported.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import venv
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import tyro
from clicks import CARDINALITIES, save
from loss_curves import EPOCHS, TOLERANCE, Curves, measure
from turns import Work, Worker

HERE = Path(__file__).resolve().parent
OURS, PEER = HERE / "worker_ours.py", HERE / "worker_fuxictr.py"
SIDES = {"ours, row_adam": "row_adam", "ours, dense_adam": "dense_adam", "FuxiCTR": "fuxictr"}
TARGETS = {(16, 8): 4.0, (400, 400, 400): 2.0}
FUXICTR = "fuxictr==2.3.10"
PAGE = """# Training speed

Written by `python benchmarks/throughput.py --out docs/benchmarks.md --rounds {options.rounds} --rows {options.rows}`
(`make bench` takes the defaults).

{machine}

## Samples per second

DeepFM with embeddings of 16 on clicks in the shape of Criteo's (39 fields, {values:,} values, power-law
counts), batch {options.batch}, {options.rows:,} rows a turn, {options.rounds} turns a side after one to
warm up. The sides alternate turn by turn, each in a process of its own. Ours is the project's training
loop; FuxiCTR is its own layers, loop and loader with its defaults (Adam on whole tables, gradient norm
clipped at 10). `row_adam` moves only the rows of the batch, which is not quite Adam; `dense_adam` is
the same optimiser as FuxiCTR's. No decay, dropout or batch normalisation on any side.

{speeds}
## Is it the same training?

Mean training loss of each epoch on smaller clicks (DeepFM, MLP 16-8, batch 512), from the same weights
on the same batches; plain PyTorch is `nn.Embedding` and `torch.optim.Adam`. `row_adam` is another
optimiser, so its curve stands beside, with the log loss on held-out rows.

{losses}

Largest difference of `dense_adam` and plain PyTorch over {epochs} epochs: {gap:.1e} (tolerance
{tolerance:.0e}): {verdict}.
"""
log = logging.getLogger("throughput")


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out: Path | None = None
    """Page to write (Markdown); a JSON file of the same name goes beside it."""
    peer_python: Path | None = None
    """Interpreter of an environment that has FuxiCTR."""
    rounds: int = 7
    """Turns of each side that count, after one to warm up."""
    rows: int = 200_000
    """Rows of one turn."""
    batch: int = 4096
    threads: int = 2


def peer_environment(path: Path) -> Path:
    """Make FuxiCTR's environment, with our own version of torch, unless it is there; return its Python."""
    python = path / "bin" / "python"
    ready = path / "ready"
    if not ready.exists():
        log.info("making %s", path)
        venv.create(path, with_pip=True, clear=True)
        wanted = [f"torch=={torch.__version__.split('+')[0]}", FUXICTR]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
        ready.touch()
    return python


def rates(hidden: tuple[int, ...], data: Path, peer_python: Path, options: Options) -> dict[str, list[float]]:
    """Samples per second of each side, turn by turn; within a round the sides follow each other directly."""
    workers = {}
    for side, optimizer in SIDES.items():
        work = Work(str(data), hidden, 16, options.batch, options.threads, options.rounds + 1, optimizer)
        python, script = (str(peer_python), PEER) if side == "FuxiCTR" else (sys.executable, OURS)
        workers[side] = Worker(python, script, work)
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(options.rounds + 1):
        for side, worker in workers.items():
            rate = options.rows / worker.turn()
            log.info("MLP %s, turn %d, %s: %.0f samples/s", hidden, turn, side, rate)
            if turn > 0:
                found[side].append(rate)
    for worker in workers.values():
        worker.close()
    return found


def machine(options: Options) -> dict[str, str]:
    """Describe the machine and the versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {
        "processor": cpu,
        "cores": str(os.cpu_count()),
        "threads used": str(options.threads),
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "FuxiCTR": FUXICTR.partition("==")[2],
    }


def speed_table(hidden: tuple[int, ...], found: dict[str, list[float]]) -> list[str]:
    """Markdown of one workload; ratios are taken within each round."""
    lines = [
        f"### MLP {'-'.join(map(str, hidden))}",
        "",
        "| side | median | min | max | times FuxiCTR: median (min to max) |",
        "|---|---|---|---|---|",
    ]
    for side, values in found.items():
        ratios = [a / b for a, b in zip(values, found["FuxiCTR"], strict=True)]
        middle, low, high = (f"{f(values):,.0f}" for f in (statistics.median, min, max))
        times = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {side} | {middle} | {low} | {high} | {times} |")
    ratio = statistics.median(a / b for a, b in zip(found["ours, row_adam"], found["FuxiCTR"], strict=True))
    verdict = "met" if ratio >= TARGETS[hidden] else "missed"
    return [*lines, "", f"Target, at least {TARGETS[hidden]:g} times FuxiCTR with `row_adam`: {verdict}.", ""]


def loss_table(curves: Curves) -> list[str]:
    """Markdown of the loss curves."""
    lines = [
        "| epoch | plain PyTorch, Adam | ours, dense_adam | ours, row_adam "
        "| held out: ours, dense_adam | held out: ours, row_adam |",
        "|---|---|---|---|---|---|",
    ]
    columns = zip(*asdict(curves).values(), strict=True)
    for epoch, values in enumerate(columns, 1):
        lines.append(f"| {epoch} | " + " | ".join(f"{v:.6f}" for v in values) + " |")
    return lines


def page(options: Options, found: dict[tuple[int, ...], dict[str, list[float]]], curves: Curves) -> str:
    """The whole page."""
    return PAGE.format(
        machine="\n".join(f"- {name}: {value}" for name, value in machine(options).items()),
        values=sum(CARDINALITIES),
        options=options,
        speeds="\n".join(line for hidden, values in found.items() for line in speed_table(hidden, values)),
        losses="\n".join(loss_table(curves)),
        epochs=EPOCHS,
        gap=curves.gap,
        tolerance=TOLERANCE,
        verdict="the same" if curves.same else "NOT the same",
    )


def main(options: Options) -> int:
    """Measure, write, and tell whether the loss curve is right."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    peer_python = options.peer_python or peer_environment(HERE.parent / ".bench-venv")
    curves = measure(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "clicks.npz"
        save(data, options.rows)
        found = {hidden: rates(hidden, data, peer_python, options) for hidden in TARGETS}
    text = page(options, found, curves)
    if options.out is not None:
        named = {"-".join(map(str, hidden)): values for hidden, values in found.items()}
        figures = {"machine": machine(options), "samples_per_second": named, "losses": asdict(curves)}
        options.out.write_text(text)
        options.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(text)
    return 0 if curves.same else 1


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
