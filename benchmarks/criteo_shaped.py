"""Write a file of any size in the layout of Criteo Kaggle's train.txt, to try an encoder, a disk and a memory.

    python benchmarks/criteo_shaped.py --rows 20000000 --out train.txt

Forty columns divided by tabs, no header: the label (.256 are 1), 13 integers (I2 as low as -3, the others from
0), 26 values of 8 hexadecimal digits; integers and values may be empty. A name that ends in .gz is packed, which
takes about three times as long. A row takes about 240 bytes, so 45,840,617 rows, as many as Criteo's, take 11 GB;
memory stays at about 100 MB whatever the size.

What an encoder pays for is as in Criteo: how many cells are empty and in which columns together, how often the
frequent values come, and how many distinct values a column has, which grows with the rows: 33.8 million over all
columns at 45.8 million rows. What is not: rows are drawn independently, so no value comes into fashion or goes out
of it, columns do not depend on each other but for the empty cells, and **nothing predicts the label**.

The same seed writes the same rows, whatever the number of threads, and a short file is the head of a long one;
another processor or version of NumPy may round a few cells differently.
"""

from __future__ import annotations

import gzip
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tyro

log = logging.getLogger("criteo_shaped")

BLOCK = 1 << 14
"""Rows drawn at a time: the arrays of one column stay in the processor's cache."""
POSITIVE = 0.256
EMPTY: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.445, ("I1", "I10")),
    (0.191, ("I3",)),
    (0.194, ("I4", "I13")),
    (0.048, ("I5",)),
    (0.252, ("I6",)),
    (0.0475, ("I7", "I9", "I11")),
    (0.001, ("I8",)),
    (0.772, ("I12",)),
    (0.039, ("C3", "C4", "C12", "C16", "C21", "C24")),
    (0.137, ("C6",)),
    (0.414, ("C19", "C20", "C25", "C26")),
    (0.817, ("C22",)),
)
"""Share of empty cells, of columns that are empty together; the other columns are never empty."""
STEPS = tuple(
    map(int, "-3 -2 -1 0 1 2 3 4 6 10 20 50 100 200 500 1000 2000 5000 20000 100000 1000000".split())
)
_BELOW = {
    "I1": "0 0 0 0 .444 .61 .701 .76 .832 .903 .961 .992 .999",
    "I2": "0 .0002 .001 .1 .28 .433 .489 .518 .555 .602 .671 .776 .842 .898 .944 .97 .987",
    "I3": "0 0 0 0 .007 .148 .245 .317 .424 .556 .715 .874 .944 .978 .993 .997 .999",
    "I4": "0 0 0 0 .066 .218 .336 .423 .553 .711 .887 .994 .999",
    "I5": "0 0 0 0 .019 .041 .056 .066 .077 .092 .123 .168 .201 .241 .307 .366 .483 .637 .844 .969 .9998",
    "I6": "0 0 0 0 .064 .096 .123 .147 .188 .253 .367 .559 .709 .831 .936 .978 .994 .999",
    "I7": "0 0 0 0 .255 .395 .484 .544 .632 .734 .845 .938 .973 .99 .998 .9995",
    "I8": "0 0 0 0 .112 .193 .261 .318 .414 .552 .745 .998 .999 .9995",
    "I9": "0 0 0 0 .031 .072 .105 .132 .174 .238 .35 .549 .712 .84 .946 .984 .996 .9995",
    "I10": "0 0 0 0 .476 .928 .987 .997 .9998",
    "I11": "0 0 0 0 .267 .626 .76 .83 .899 .953 .987 .999",
    "I12": "0 0 0 0 .741 .886 .924 .944 .964 .98 .994 .999",
    "I13": "0 0 0 0 .064 .206 .313 .395 .516 .663 .837 .975 .995 .999",
}
BELOW = {name: tuple(map(float, shares.split())) for name, shares in _BELOW.items()}
"""Share of the integers of a column that are below -3, -2, -1, 0, 1, ... (STEPS); all are below the step after."""
VALUES: dict[str, tuple[int, tuple[float, ...]]] = {
    "C1": (1_460, (0.503, 0.937, 0.993, 0.9996)),
    "C2": (583, (0.126, 0.429, 0.939)),
    "C3": (41_630_000, (0.0387, 0.1599, 0.3016, 0.5151, 0.5767, 0.6177, 0.7085)),
    "C4": (8_849_000, (0.0565, 0.2284, 0.4051, 0.6589, 0.8113, 0.8915, 0.9669)),
    "C5": (305, (0.67, 0.991, 0.9996)),
    "C6": (24, (0.538, 0.9998)),
    "C7": (12_517, (0.0096, 0.068, 0.274, 0.779, 0.995)),
    "C8": (633, (0.592, 0.982, 0.998)),
    "C9": (3, (0.885,)),
    "C10": (93_160, (0.268, 0.325, 0.473, 0.768, 0.9711)),
    "C11": (5_683, (0.021, 0.106, 0.369, 0.902)),
    "C12": (33_910_000, (0.0387, 0.1617, 0.3185, 0.5379, 0.6182, 0.6694, 0.7721)),
    "C13": (3_194, (0.023, 0.124, 0.426, 0.916)),
    "C14": (27, (0.364, 0.997)),
    "C15": (14_992, (0.02, 0.104, 0.429, 0.908, 0.99)),
    "C16": (21_960_000, (0.0387, 0.1623, 0.3525, 0.5959, 0.702, 0.7656, 0.8696)),
    "C17": (10, (0.425,)),
    "C18": (5_652, (0.054, 0.232, 0.671, 0.977)),
    "C19": (2_173, (0.593, 0.747, 0.88, 0.99)),
    "C20": (4, (0.374,)),
    "C21": (28_490_000, (0.0387, 0.1618, 0.3355, 0.563, 0.6531, 0.7102, 0.8172)),
    "C22": (18, (0.517, 0.9998)),
    "C23": (15, (0.444, 0.9995)),
    "C24": (299_900, (0.0765, 0.3643, 0.5822, 0.8183, 0.9411, 0.9862)),
    "C25": (105, (0.323, 0.99, 0.9999)),
    "C26": (143_000, (0.084, 0.2844, 0.5072, 0.7784, 0.9429)),
}
"""How many values a column can have, and which share of its cells the most frequent 1, 10, 100, ... have.

Between these steps the value of rank r comes in proportion to 1 / r. The shares of up to 1,000 are of the first
rows of the real file; the others, and the number of values of the large columns, are such that the distinct
values in so many rows, up to all 45.8 million, are nearly as many as there.
"""


@dataclass(frozen=True)
class Options:
    """What to write."""

    rows: int
    out: Path
    """A name that ends in .gz is packed."""
    seed: int = 0
    threads: int = os.cpu_count() or 1


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Text of four hexadecimal and of four decimal digits as the first four bytes of a number, by value."""
    hexadecimal = np.array([f"{i:04x}" for i in range(1 << 16)], "S4").view("<u4").astype(np.uint64)
    padded = [f"{i:04d}" for i in range(10_000)]
    # Three more tables follow: without leading zeros; nothing for 0, as the upper half of a number; below 0.
    short = [str(i) for i in range(10_000)]
    text = [*padded, *short, "", *short[1:], *(f"-{i}" for i in range(-STEPS[0] + 1))]
    return hexadecimal, np.array(text, "S4").view("<u4").astype(np.uint64)


HEX, DECIMAL = _digits()


class Rows:
    """Draws blocks of rows and writes them as text: one cell of nine bytes a column, unused bytes 0."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.names = (*BELOW, *VALUES)
        cells = {name: 2 + 9 * at for at, name in enumerate(self.names)}
        self.width = 2 + 9 * len(cells)
        self.cell = np.dtype(
            {
                "names": ["label", *cells],
                "formats": ["u1", *["<u8"] * len(cells)],
                "offsets": [0, *cells.values()],
                "itemsize": self.width,
            }
        )
        self.blank = np.zeros(self.width, np.uint8)
        self.blank[[1, *(start + 8 for start in cells.values())]] = ord("\t")
        self.blank[-1] = ord("\n")
        self.empty = {name: group for group, (_, names) in enumerate(EMPTY) for name in names}
        self.steps = {name: _integer_steps(below) for name, below in BELOW.items()}
        self.ranks = {name: _rank_steps(*value) for name, value in VALUES.items()}

    def block(self, number: int, rows: int) -> np.ndarray:
        """Return the first `rows` rows of a block as text. A block is drawn whole, so that heads agree."""
        rng = np.random.default_rng([self.seed, number])
        text = np.tile(self.blank, (BLOCK, 1))
        cells = text.view(self.cell)[:, 0]
        cells["label"] = ord("0") + (rng.random(BLOCK) < POSITIVE)
        present = [rng.random(BLOCK) >= share for share, _ in EMPTY]
        for at, name in enumerate(self.names):
            quantile = rng.random(BLOCK)
            if name in self.steps:
                digits = _decimal(quantile, *self.steps[name])
            else:
                digits = _hexadecimal(quantile, *self.ranks[name], salt=at)
            if name in self.empty:
                digits *= present[self.empty[name]]
            cells[name] = digits
        used = text[:rows].reshape(-1)
        return used[used != 0]

    def blocks(self, rows: int, threads: int) -> Iterator[np.ndarray]:
        """Give the blocks in order; at most two a thread are there at a time."""
        waiting: deque[Future[np.ndarray]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for number, start in enumerate(range(0, rows, BLOCK)):
                waiting.append(pool.submit(self.block, number, min(BLOCK, rows - start)))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _integer_steps(below: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles and the integers that start there."""
    steps = (*STEPS, 10 * STEPS[-1])
    return np.array([*below, 1.0]), np.array(steps[: len(below) + 1], float)


def _rank_steps(size: int, shares: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles and the logarithms of one more than the number of values up to there."""
    ranks = [0, *(10**power for power in range(len(shares))), size]
    return np.array([0.0, *shares, 1.0]), np.log1p(ranks)


def _decimal(quantile: np.ndarray, shares: np.ndarray, steps: np.ndarray) -> np.ndarray:
    value = np.floor(np.interp(quantile, shares, steps)).astype(np.int64)
    upper, lower = np.divmod(value, 10_000)
    lower += 10_000 * (upper == 0)
    negative = value < 0
    if negative.any():
        upper[negative], lower[negative] = 0, 30_000 - value[negative]
    return DECIMAL.take(upper + 20_000) | DECIMAL.take(lower) << np.uint64(32)


def _hexadecimal(quantile: np.ndarray, shares: np.ndarray, logs: np.ndarray, salt: int) -> np.ndarray:
    value = np.exp(np.interp(quantile, shares, logs)).astype(np.uint32)
    # Steps that can be undone, so that other ranks have other digits.
    value = (value + np.uint32(salt * 0x01000193)) * np.uint32(0x9E3779B1)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x85EBCA77)
    value ^= value >> np.uint32(13)
    return HEX.take(value >> np.uint32(16)) | HEX.take(value & np.uint32(0xFFFF)) << np.uint64(32)


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) if path.suffix == ".gz" else path.open("wb")


def main(options: Options) -> int:
    """Write the file and say how long it took."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start, size = time.perf_counter(), 0
    with _open(options.out) as file:
        for block in Rows(options.seed).blocks(options.rows, options.threads):
            file.write(block.data)
            size += len(block)
    seconds = time.perf_counter() - start
    log.info(
        "%s: %d rows, %.1f bytes a row, %.1f s, %.0f rows/s",
        options.out,
        options.rows,
        size / max(options.rows, 1),
        seconds,
        options.rows / seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
