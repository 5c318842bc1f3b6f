"""Speed and memory from the raw file of Criteo to ids on disk: ours beside pandas and FuxiCTR, in alternating turns.

    python benchmarks/encode.py --out docs/encoding.md --peer-python PEERS/bin/python

Writes that page and the same figures as JSON beside it. Rows are drawn by criteo_shaped.py, or are the head of
--source. FuxiCTR's dependencies conflict with ours: it runs by --peer-python, the interpreter of an environment with

    pip install torch==2.13.0 && pip install fuxictr==2.3.10 "polars<2"

and is left out without it. A side that dies, or is ended at --memory-limit or --time-limit, is reported with how far
it came, and is not tried again. This process stays small, as what it starts would inherit its peak memory (Linux).
"""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil
import tyro

from nasbench_rec.environment import environment

HERE = Path(__file__).resolve().parent
OURS, FUXICTR = "ours", "fuxictr"
MIN_COUNT = 10
SETTINGS = (f"criteo.min_count={MIN_COUNT}", "criteo.numeric=log-squared-int", "criteo.learn=all")
"""With which we give ids to the very values that pandas' side does."""
INTERVAL = 0.05
GIB = 1 << 30
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
"""A side may start it: it then neither calls home nor asks for a token."""
PHASE, VALUES = "encode-phase ", "encode-values "
PEER_PACKAGES = ("fuxictr", "polars", "ray", "pandas")
PAGE = """# Encoding speed

Written by `{command}`.

{machine}

From the raw text file to ids on disk: integers to buckets of their squared logarithm, every value seen at
least {min_count} times an id of its own. Each turn is a process of its own, timed from its start to its end
with the interpreter's start and all imports; the sides alternate turn by turn (turns of each: {rounds}). The
file has been written just before, so reading the disk is hardly in it, nor is waiting until the result is on it.

- ours: `nasbench-rec data prepare criteo {settings}`
  into an empty store. It also checks every cell, splits the rows and takes fingerprints, which the others do not.
- pandas-c, pandas-pyarrow: the whole file read into memory, by its default reader or by pyarrow's, `factorize`
  and `bincount` column by column, `numpy.save` ([encode_pandas.py](../benchmarks/encode_pandas.py)).
- fuxictr: its own feature processor and `build_dataset` with the settings that BARS publishes for Criteo_x4,
  to Parquet ([encode_fuxictr.py](../benchmarks/encode_fuxictr.py)). It starts Ray, with a dozen processes.

A side is ended where all its processes together pass {memory_limit:.1f} GiB or after {time_limit:,.0f} s. In the
second before a turn the processors were busy with other work by {busy}: much of it makes times longer.

{tables}Rows a second come from the median time. Times and peaks are medians (least to most); the ratio to ours is
taken within each turn. Peak, largest process: `ru_maxrss` as the system counts it. Peak, all processes: the sum
over the process and all that it started, looked at about every {interval:.0f} ms; where these are several, each
counts what it shares in proportion (PSS, on Linux). "Values" are those with an id of their own, missing ones
not counted; FuxiCTR gives none to the integer 0, with which it fills the empty ones.
"""
log = logging.getLogger("encode")


@dataclass(frozen=True)
class Options:
    """What to measure."""

    out: Path | None = None
    """Page to write (Markdown); a JSON file of the same name goes beside it."""
    peer_python: Path | None = None
    """Interpreter of an environment that has FuxiCTR."""
    rows: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    """Sizes; a small one shows what the mere start costs."""
    rounds: int = 3
    """Turns of each side."""
    source: Path | None = None
    """A train.txt or train.txt.gz of Criteo, of which the head is taken; by default rows are drawn."""
    memory_limit: float = 0.8 * psutil.virtual_memory().total / GIB
    """GiB over all processes of a side at which it is ended; by default four fifths of the machine's."""
    time_limit: float = 3600.0
    """Seconds after which a side is ended."""
    sides: tuple[str, ...] = ()
    """Only these; by default all."""
    scratch: Path | None = None
    """Where files lie meanwhile; by default the system's temporary folder."""


@dataclass(frozen=True)
class Turn:
    """One side, once, at one size."""

    side: str
    rows: int
    seconds: float
    busy: float
    """Share of the processors that other work had in the second before."""
    process_peak: int
    """Bytes, the largest of its processes."""
    total_peak: int
    """Bytes, all its processes together."""
    processes: int
    """How many there were at once, at most."""
    written: int
    """Bytes of its files at the end."""
    values: int | None
    """How many values have an id of their own."""
    died: str | None = None
    """Why it ended early, and how far it came."""


@dataclass
class Watch:
    """Samples the memory of a process and of all that it starts, and ends them at a limit."""

    process: psutil.Process
    memory_limit: float
    time_limit: float
    peak: int = 0
    most: int = 1
    ended: str | None = None
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def loop(self) -> None:
        """Sample until told to stop; a sample that takes long is followed by a longer pause."""
        start, pause = time.perf_counter(), INTERVAL
        while not self._stop.wait(pause):
            before = time.perf_counter()
            self._sample()
            if self.peak > self.memory_limit * GIB:
                self.end(f"ended at the memory limit of {self.memory_limit:.1f} GiB")
            elif before - start > self.time_limit:
                self.end(f"ended at the time limit of {self.time_limit:,.0f} s")
            pause = max(INTERVAL, 9 * (time.perf_counter() - before))

    def stop(self) -> None:
        self._stop.set()

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        _kill(self.process)
        self.sweep()

    def sweep(self) -> None:
        """Kill what the process has started and is still there; wait for it."""
        for process in self.seen.values():
            _kill(process)
        psutil.wait_procs(list(self.seen.values()), timeout=10)

    def _sample(self) -> None:
        try:
            family = [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self.seen.update({process.pid: process for process in family[1:]})
        self.most = max(self.most, len(family))
        self.peak = max(self.peak, sum(_memory(process, shared=len(family) > 1) for process in family))


def _memory(process: psutil.Process, shared: bool) -> int:
    """Resident bytes; of several processes each counts what they share in proportion."""
    try:
        if shared:
            info = process.memory_full_info()
            return getattr(info, "pss", info.rss)
        return process.memory_info().rss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass


def command(side: str, source: Path, target: Path, options: Options) -> list[str]:
    """Return what encodes the file `source` into the folder `target`."""
    if side == OURS:
        return ours(source, target)
    if side == FUXICTR:
        return [str(options.peer_python), str(HERE / "encode_fuxictr.py"), str(source), str(target), "0"]
    return [
        sys.executable,
        str(HERE / "encode_pandas.py"),
        str(source),
        str(target),
        side.removeprefix("pandas-"),
    ]


def ours(source: Path, target: Path) -> list[str]:
    """Return our command: its source is the folder of train.txt."""
    verb = [str(Path(sys.executable).with_name("nasbench-rec")), "data", "prepare", "criteo"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return [*verb, "--source", str(source.parent), "--store", str(target / "store"), *settings]


def values_of(side: str, target: Path, output: str) -> int | None:
    """Return how many values have an id of their own, from what a side wrote or printed."""
    if side == OURS:
        (path,) = target.rglob("vocabularies.parquet")
        count = "import sys, polars; print((polars.read_parquet(sys.argv[1])['kind'] == 'value').sum())"
        found = subprocess.run([sys.executable, "-c", count, str(path)], check=True, capture_output=True)
        return int(found.stdout)
    lines = [line for line in output.splitlines() if line.startswith(VALUES)]
    return int(lines[-1].removeprefix(VALUES)) if lines else None


def sides(options: Options) -> list[str]:
    """Return the sides to measure, ours first."""
    every = [OURS, "pandas-c", "pandas-pyarrow", *([FUXICTR] if options.peer_python else [])]
    unknown = set(options.sides) - set(every)
    if unknown:
        raise SystemExit(
            f"--sides {' '.join(unknown)}: there are {', '.join(every)} (fuxictr with --peer-python)"
        )
    return [side for side in every if not options.sides or side in options.sides]


def turn(side: str, rows: int, source: Path, options: Options) -> Turn:
    """Run a side once in a folder of its own, which is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        target, printed = Path(folder) / "out", Path(folder) / "printed"
        target.mkdir()
        os.sync()  # What the last turn wrote is not to disturb this one.
        busy = psutil.cpu_percent(interval=1.0) / 100
        seconds, status, peak, watch = _run(command(side, source, target, options), printed, options)
        output = printed.read_text(errors="replace")
        died = watch.ended or (None if status == 0 else f"ended with status {status}")
        written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        values = None if died else values_of(side, target, output)
        if died:
            died = f"{died} after {seconds:,.0f} s; last heard: {_last(output)}"
        # A short peak may fall between two samples.
        total = max(watch.peak, peak)
        return Turn(side, rows, seconds, busy, peak, total, watch.most, written, values, died)


def _run(arguments: list[str], printed: Path, options: Options) -> tuple[float, int, int, Watch]:
    """Run to the end; return seconds, status, the peak of its largest process, and the watch kept on it."""
    # Sockets must have short names, so this is not in the scratch folder.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as ray, printed.open("w") as output:
        start = time.perf_counter()
        variables = {**os.environ, **RAY, "RAY_TMPDIR": ray}
        child = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, env=variables)
        watch = Watch(psutil.Process(child.pid), options.memory_limit, options.time_limit)
        thread = threading.Thread(target=watch.loop, daemon=True)
        thread.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            watch.end("interrupted")
            raise
        finally:
            watch.stop()
            thread.join()
            watch.sweep()
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, child.returncode, usage.ru_maxrss * unit, watch


def _last(output: str) -> str:
    """Return the last phase that was announced, or else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["nothing printed"]
    phases = [line.removeprefix(PHASE) for line in lines if line.startswith(PHASE)]
    return (phases or lines)[-1][:200].rstrip(".")


def prepare(rows: int, folder: Path, options: Options) -> Path:
    """Write the raw file of so many rows."""
    path = folder / "train.txt"
    if options.source is None:
        script = [sys.executable, str(HERE / "criteo_shaped.py"), "--rows", str(rows), "--out", str(path)]
        subprocess.run(script, check=True)
        return path
    packed = options.source.suffix == ".gz"
    with (
        gzip.open(options.source) if packed else options.source.open("rb") as source,
        path.open("wb") as target,
    ):
        target.writelines(itertools.islice(source, rows))
    with path.open("rb") as file:
        found = sum(1 for _ in file)
    if found < rows:
        raise SystemExit(f"{options.source} has {found:,} rows, --rows asks for {rows:,}")
    return path


def measure(options: Options) -> list[Turn]:
    """Take all turns; a side that died is not tried again, nor at larger sizes."""
    turns: list[Turn] = []
    dead: set[str] = set()
    for rows in sorted(options.rows):
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            source = prepare(rows, Path(folder), options)
            for _, side in itertools.product(range(options.rounds), sides(options)):
                if side in dead:
                    continue
                turns.append(turn(side, rows, source, options))
                log.info("%s", turns[-1])
                if turns[-1].died:
                    dead.add(side)
    return turns


def _spread(values: Iterable[float], form: str) -> str:
    found = list(values)
    middle, low, high = (format(f(found), form) for f in (statistics.median, min, max))
    return middle if low == high else f"{middle} ({low} to {high})"


def table(rows: int, turns: list[Turn], wanted: list[str]) -> str:
    """Markdown of one size."""
    lines = [
        f"## {rows:,} rows",
        "",
        "| side | seconds | rows a second | time, times ours | peak, largest process, MB | peak, all processes, MB "
        "| processes | written, MB | values |",
        "|" + "---|" * 9,
    ]
    done = {side: [t for t in turns if t.side == side and not t.died] for side in wanted}
    notes = [
        f"{t.side}: {t.died}; all its processes had {t.total_peak / 1e6:,.0f} MB." for t in turns if t.died
    ]
    for side, found in done.items():
        if not found:
            died = any(t.side == side for t in turns)
            lines.append(f"| {side} | {'died, see below' if died else 'not tried, died before'} |" + " |" * 7)
            continue
        middle = statistics.median(t.seconds for t in found)
        ratios = [a.seconds / b.seconds for a, b in zip(found, done.get(OURS, []), strict=False)]
        cells = [
            _spread((t.seconds for t in found), ",.2f"),
            f"{rows / middle:,.0f}",
            _spread(ratios, ".2f") if ratios else "",
            _spread((t.process_peak / 1e6 for t in found), ",.0f"),
            _spread((t.total_peak / 1e6 for t in found), ",.0f"),
            str(max(t.processes for t in found)),
            f"{found[-1].written / 1e6:,.0f}",
            "" if found[-1].values is None else f"{found[-1].values:,}",
        ]
        lines.append(f"| {side} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{note}\n" for note in notes)])


def machine(options: Options) -> dict[str, str]:
    """Describe the machine and the versions of both environments."""
    found = environment(os.cpu_count() or 1)
    packages: Mapping[str, str] = {**found["packages"], "pyarrow": version("pyarrow")}
    named = ("nasbench-rec", "numpy", "polars", "pandas", "pyarrow")
    drawn = "drawn in the shape of Criteo's by `benchmarks/criteo_shaped.py`"
    described = {
        "rows": drawn if options.source is None else f"the head of Criteo's `{options.source.name}`",
        "processor": found["processor"],
        "cores": str(found["cores"]),
        "memory": f"{found['memory_bytes'] / GIB:.0f} GiB",
        "priority": f"nice {os.nice(0)}" + (", before whatever else runs" if os.nice(0) < 0 else ""),
        "Python": found["python"],
        "ours and pandas": ", ".join(f"{name} {packages[name]}" for name in named),
    }
    if options.peer_python is None:
        return {**described, FUXICTR: "left out: it takes --peer-python and an environment that has it"}
    ask = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    arguments = [str(options.peer_python), "-c", ask, *PEER_PACKAGES]
    versions = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()
    return {**described, FUXICTR: ", ".join(map(" ".join, zip(PEER_PACKAGES, versions, strict=True)))}


def page(options: Options, turns: list[Turn], described: Mapping[str, str]) -> str:
    """The whole page."""
    words = ["python benchmarks/encode.py --out docs/encoding.md --rows", *map(str, options.rows)]
    words += ["--rounds", str(options.rounds)]
    if options.peer_python is not None:
        words.append("--peer-python PEERS/bin/python")
    if options.source is not None:
        words += ["--source", options.source.name]
    tables = (table(n, [t for t in turns if t.rows == n], sides(options)) for n in sorted(options.rows))
    return PAGE.format(
        command=" ".join(words),
        machine="\n".join(f"- {name}: {text}" for name, text in described.items()),
        min_count=MIN_COUNT,
        rounds=options.rounds,
        settings=" ".join(f"--set {setting}" for setting in SETTINGS),
        memory_limit=options.memory_limit,
        time_limit=options.time_limit,
        busy=_spread((t.busy for t in turns), ".0%"),
        interval=1000 * INTERVAL,
        tables="\n".join(tables) + "\n",
    )


def main(options: Options) -> int:
    """Measure and write; status 1 where our own side died."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.peer_python is None:
        log.info("FuxiCTR is left out: give --peer-python")
    sides(options)  # A wrong name is to be told before anything is measured.
    described = machine(options)
    turns = measure(options)
    text = page(options, turns, described)
    if options.out is not None:
        options.out.write_text(text)
        figures = {"machine": described, "turns": [asdict(t) for t in turns]}
        options.out.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(text)
    return int(any(t.died for t in turns if t.side == OURS))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
