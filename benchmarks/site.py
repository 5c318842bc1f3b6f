"""How long the site of a store takes to build, and how long Chromium takes to sort its leaderboard.

python benchmarks/site.py --records 5000            ten seeds a row, as a leaderboard has them
python benchmarks/site.py --records 5000 --seeds 1  as many rows as records: the worst case for sorting
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _chromium import Page, chromium, chromium_path
from nasbench_rec.reports.site import SiteContent, write_site

from nasbench_rec.store import Store

NAMES = (
    "random",
    "mde",
    "autodim",
    "autoemb",
    "magnitude",
    "ihas/robust",
    "pep",
    "optembed",
    "adafs",
    "dimreg",
)
RATIOS = (0.5, 0.1, 0.05, 0.02)
BACKBONES = ("deepfm", "dcnv2", "fm")
UNIFORM = 5382 * 16 * 4
SORTS = """
(() => {
  const times = [];
  for (const button of document.querySelectorAll("#board thead button")) {
    const start = performance.now();
    button.click();
    document.querySelector("#board tbody").getBoundingClientRect();
    times.push(performance.now() - start);
  }
  return times;
})()
"""
"""Sorts by every column, with the layout that each needs; milliseconds."""
FRAMES = """
(async () => {
  const button = document.querySelector("#board thead button"), start = performance.now();
  button.click();
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
})()
"""
"""From a click to the next picture; milliseconds."""


def labels(count: int) -> list[tuple[str, str, float | None]]:
    """Return `count` rows of one data set and backbone: label, method, ratio."""
    found: list[tuple[str, str, float | None]] = [("fixed", "fixed", None)]
    i = 0
    while len(found) < count:
        method = NAMES[i % len(NAMES)] + (f"-{i // 40}" if i >= 40 else "")
        ratio = RATIOS[i // len(NAMES) % len(RATIOS)]
        found.append((f"{method} @ 1/{round(1 / ratio)}", method, ratio))
        i += 1
    return found


def make_store(path: Path, records: int, seeds: int) -> Store:
    """Write a store of about `records` records: data sets x three backbones x some forty rows x seeds."""
    rows = records // seeds
    places = max(1, round(rows / 42 / len(BACKBONES))) * len(BACKBONES)
    rng, store = np.random.default_rng(0), Store(path).create()
    for place in range(places):
        dataset, backbone = f"data-{place // len(BACKBONES) + 1}", BACKBONES[place % len(BACKBONES)]
        shared = rng.normal(0, 0.0015, seeds)
        for label, method, ratio in labels(rows // places + (place < rows % places)):
            gain = 0.0 if ratio is None else 0.002 * rng.normal() - 0.001 / ratio / 10
            for seed in range(seeds):
                auc = float(0.80 + gain + shared[seed] + rng.normal(0, 0.0003))
                store.add(make_record((dataset, backbone, label, method, ratio), seed, auc, rng))
    return store


def make_record(
    place: tuple[str, str, str, str, float | None], seed: int, auc: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return a record as a unit leaves it, curves and all."""
    dataset, backbone, label, method, ratio = place
    size = UNIFORM * (1 if ratio is None else ratio * (1 - 0.01 * float(rng.uniform())))
    curve = [
        {"epoch": e, "step": 100 * e, "auc": auc - 0.01 / (e + 1), "seconds": 3.0 * e} for e in range(20)
    ]
    return {
        "key": rng.bytes(10).hex(),
        "status": "ok",
        "error": None,
        "started": f"2026-01-01T{seed:02d}:00:00Z",
        **{"dataset": dataset, "backbone": backbone, "label": label, "method": method},
        "unit": {
            "data": {"name": dataset, "source": "0" * 64, "config": {}},
            "backbone": backbone,
            "protocol": {"dim": 16, "hidden": [64, 32], "epochs": 20, "lr": 0.003},
            "method": {"spec": method, "preset": "", "config": {"tau": 0.1}, "version": 1, "code": ""},
            "seeds": {"split": 0, "init": seed, "search": seed, "order": seed},
            "ratio": ratio,
            "trainings": None,
        },
        "environment": {"packages": {"torch": "2.13.0"}, "commit": "0123456789ab", "threads": 1},
        "fingerprint": "0" * 64,
        "scores": {"test_auc": auc, "test_logloss": 0.9 - 0.6 * auc, "valid_auc": auc, "valid_logloss": 0.4},
        "plan": {"kind": "field_dims", "widths": {f"field-{i}": 16.0 for i in range(24)}},
        "ledger": {
            "embedding_params": int(size / 4),
            "embedding_bytes": int(size),
            "embedding_ratio": size / UNIFORM,
            "router_bytes": 0,
            "total_bytes": int(size) + 30_000,
            "latency_seconds": {"1": 0.0002, "4096": 0.003},
        },
        "recovery": {},
        "search_seconds": 0.0 if ratio is None else float(rng.uniform(1, 900)),
        "search_trainings": 1.0,
        "retrain_seconds": float(rng.uniform(10, 60)),
        "peak_rss_bytes": 400_000_000,
        "history": {"search": [], "retrain": [curve], "best_epoch": [19]},
        "health": [],
    }


def sorting(page: Page, index: Path) -> dict[str, float]:
    """Return what opening, sorting by each column and filtering take, in seconds."""
    page.look(1400)
    loaded = page.open(index)
    times = page.run(SORTS)
    start = time.perf_counter()
    page.click("input[type=search]")
    page.type("magnitude")
    page.run("document.querySelector('#board tbody').getBoundingClientRect().height")
    filtered = time.perf_counter() - start
    page.click("button[type=reset]")
    return {
        "rows": page.run("document.querySelectorAll('#board tbody tr').length"),
        "open": loaded,
        "sort_slowest": max(times) / 1000,
        "sort_mean": sum(times) / len(times) / 1000,
        "click_to_picture": page.run(FRAMES) / 1000,
        "filter": filtered,
    }


def main() -> None:
    """Make a store, build its site, sort it; print what it took as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="Folder to keep store and site in.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = args.keep or Path(scratch)
        store = make_store(root / "store", args.records, args.seeds)
        start, used = time.perf_counter(), time.process_time()
        index = write_site(SiteContent(Store(store.path), str(store.path)), root / "site")
        found: dict[str, Any] = {"records": args.records, "build": time.perf_counter() - start}
        found["build_cpu"] = time.process_time() - used
        files = [path for path in (root / "site").rglob("*") if path.is_file()]
        found |= {"files": len(files), "megabytes": sum(p.stat().st_size for p in files) / 1e6}
        found["index_megabytes"] = index.stat().st_size / 1e6
        browser = chromium_path()
        if browser is None:
            sys.stderr.write("no Chromium here: sorting is not measured\n")
        else:
            with chromium(browser) as page:
                found |= sorting(page, index)
    print(json.dumps({k: round(v, 3) for k, v in found.items()}, indent=1))


if __name__ == "__main__":
    main()
