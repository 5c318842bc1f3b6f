"""Progress with remaining time: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from nasbench_rec.data import OnProgress

Record = dict[str, Any]
SECONDS = 10.0
"""Between two lines about a long step, where there is no terminal."""


class Watcher:
    """Prints a line for each finished unit, and how long the rest may take."""

    what = "units"

    def __init__(self, console: Console, bar: Progress | None) -> None:
        self.console, self.bar = console, bar
        self.todo = self.finished_count = 0
        self.begin = time.perf_counter()
        self.uses: list[Record] = []

    def started(self, total: int, done: int) -> None:
        """Say how much is to do."""
        self.todo, self.begin = max(total - done, 0), time.perf_counter()
        self.finished_count = 0
        self.console.print(Text(f"{total} {self.what}, {done} done before, {self.todo} to run"))
        if self.bar and self.todo:
            self.task = self.bar.add_task(self.what, total=self.todo)

    def finished(self, record: Record) -> None:
        """Print a finished unit."""
        self.uses += record["stages"]
        self.advance(unit_line(record), record["status"] != "ok")

    def advance(self, text: str, failed: bool) -> None:
        """Print one more line, and how long the rest may take."""
        self.finished_count += 1
        line = f"[{self.finished_count}/{self.todo}] {text}"
        if self.bar:
            self.bar.advance(self.task)
        else:
            each = (time.perf_counter() - self.begin) / self.finished_count
            line += f" | {_time(each * max(self.todo - self.finished_count, 0))} left"
        self.console.print(Text(line, style="red" if failed else ""), soft_wrap=True)

    def summary(self) -> None:
        """Say which stages were computed and which were found."""
        if self.uses:
            self.console.print(Text(stages_line(self.uses)))


class TrialWatcher(Watcher):
    """The same for the trials of a study."""

    what = "trials"

    def finished(self, record: Record) -> None:
        """Print a finished trial."""
        self.advance(trial_line(record), record["state"] not in ("complete", "pruned"))


def trial_line(line: Record) -> str:
    """Return one line of a finished trial: state or values, parameters, seconds, searches found."""
    values = ", ".join(f"{name} {value:.5g}" for name, value in line["values"].items())
    params = ", ".join(f"{name} {_value(value)}" for name, value in line["params"].items())
    state = line["state"].upper() if line["reason"] else line["state"]
    what = values or f"{state}: {line['reason']}"
    found = ", search found" if line["reused"] else ""
    return f"trial {line['number']}: {what} ({params or 'defaults'}; {line['seconds']:.1f} s{found})"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def stages_line(uses: Iterable[Record]) -> str:
    """Return how many stages of each kind were computed, and how many were found; `uses`: records' "stages"."""
    counts = Counter((use["kind"], bool(use["reused"])) for use in uses)
    parts = [
        f"{kind} {counts[kind, False]} computed, {counts[kind, True]} reused"
        for kind in ("search", "derive", "train", "test")
    ]
    return "stages: " + "; ".join(parts)


def unit_line(record: Record) -> str:
    """Return one line of a record: what, score, and which stages were computed."""
    name = (
        f"{record['dataset']} {record['backbone']} {record['label']} seed {record['unit']['seeds']['init']}"
    )
    if record["status"] != "ok":
        return f"{name}: FAILED: {record['error']}"
    uses = {use["kind"]: "reused" if use["reused"] else f"{use['seconds']:.1f} s" for use in record["stages"]}
    stages = ", ".join(f"{kind} {uses[kind]}" for kind in ("search", "train") if kind in uses)
    return f"{name}: test AUC {record['scores']['test_auc']:.4f} ({stages})"


def show_record(record: Record | None) -> None:
    """Print a record for reading."""
    if record is None:
        return
    console = Console()
    console.print(Text(unit_line(record)), soft_wrap=True)
    for part in ("scores", "recovery"):
        values = {k: v for k, v in record.get(part, {}).items() if v is not None}
        if values:
            console.print(
                Text(f"{part}: " + ", ".join(f"{k} {v:.5f}" for k, v in values.items())), soft_wrap=True
            )
    for item in record.get("ledger", {}).get("items", []):
        note = f" ({item['note']})" if item["note"] else ""
        console.print(Text(f"  {item['part']}{note}: {item['params']:,} parameters, {item['bytes']:,} bytes"))
    if "plan" in record:
        widths = ", ".join(f"{k} {v:g}" for k, v in record["plan"]["widths"].items())
        console.print(
            Text(f"plan: {record['plan']['kind']}, {record['plan']['recipe']}; widths {widths}"),
            soft_wrap=True,
        )
    for line in health_lines(record):
        console.print(Text(line, style="yellow"), soft_wrap=True)
    console.print(Text(f"key: {record['key']}"))


def health_lines(record: Record) -> list[str]:
    """Return a line per sign of a search that failed in a way known: what, by which evidence, what to do."""
    return [
        f"health: {f['signature']}: {f['evidence'].rstrip('.')}. To try: {f['advice']}"
        for f in record.get("health") or []
    ]


class _StepLines:
    """Prints a line about a long step now and then, with the time that is left."""

    def __init__(self, console: Console) -> None:
        self.console, self.step = console, ""
        self.begin = self.last = time.perf_counter()

    def __call__(self, step: str, done: int, total: int) -> None:
        """Hear how far a step is."""
        now = time.perf_counter()
        if step != self.step:
            self.step, self.begin, self.last = step, now, now
        if now - self.last >= SECONDS and 0 < done < total:
            self.last = now
            left = (now - self.begin) * (total - done) / done
            self.console.print(Text(f"{step}: {done / total:.0%}, {_time(left)} left"), soft_wrap=True)


@contextmanager
def steps() -> Iterator[OnProgress]:
    """Watch the steps of preparing data on standard error: a bar each, or plain lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _StepLines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step)
            bar.update(tasks[step], completed=done, total=total)

        yield show


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def watch(kind: type[Watcher] = Watcher) -> Iterator[Watcher]:
    """Watch a run on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        watcher = kind(console, None)
        yield watcher
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            watcher = kind(console, bar)
            yield watcher
    watcher.summary()
