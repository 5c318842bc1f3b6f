"""What the timed processes share: the work to do, and taking turns with the process that starts them.

Only the standard library, as it is read by the interpreters of both sides. A worker starts up, then trains
one epoch for every line it gets on its input, and answers with the seconds that the epoch took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

MARK = "turn-took-seconds "


@dataclass(frozen=True)
class Work:
    """One training to time."""

    data: str
    """Path of the clicks (see clicks.py)."""
    hidden: tuple[int, ...]
    dim: int
    batch: int
    threads: int
    turns: int
    """Epochs to train, the warm-up included."""
    optimizer: str = "row_adam"

    def text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Work:
        values = json.loads(text)
        return cls(**{**values, "hidden": tuple(values["hidden"])})


def await_turn() -> None:
    """Block until the starter gives the turn; end the process where the starter is gone."""
    if not sys.stdin.readline():
        sys.exit("the starter is gone")


def report(seconds: float) -> None:
    print(f"{MARK}{seconds}", flush=True)


class Worker:
    """A training in a process of its own, one epoch a turn."""

    def __init__(self, python: str, script: Path, work: Work) -> None:
        command = [python, str(script), work.text()]
        environment = {**os.environ, "OMP_NUM_THREADS": str(work.threads)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def turn(self) -> float:
        """Let it train one epoch; return the seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(MARK):
                return float(line.removeprefix(MARK))
        raise RuntimeError(f"{self.process.args!r} ended with status {self.process.wait()} in its turn")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
