"""pandas' side of encode.py: the whole file in memory, then column by column to ids.

    python benchmarks/encode_pandas.py TRAIN.TXT FOLDER c|pyarrow

Of the ways to say this in pandas, these were the fastest tried: text as Python strings with the C reader, as Arrow's
with the other; `factorize` and `bincount` rather than `value_counts` and `map`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

INTEGERS = [f"I{i}" for i in range(1, 14)]
VALUES = [f"C{i}" for i in range(1, 27)]
NAMES = ["label", *INTEGERS, *VALUES]
MIN_COUNT = 10
READERS: dict[str, dict[str, Any]] = {
    "c": {"engine": "c", "dtype": {**dict.fromkeys(INTEGERS, "float32"), **dict.fromkeys(VALUES, object)}},
    # Without its type a value like 00084738 would be read as a number.
    "pyarrow": {
        "engine": "pyarrow",
        "dtype": dict.fromkeys(VALUES, "string[pyarrow]"),
        "dtype_backend": "pyarrow",
    },
}


def bucket(column: pd.Series) -> np.ndarray:
    """Floor of the squared logarithm above 2, the integer itself up to there, NaN where it is missing."""
    number = column.to_numpy(np.float32, na_value=np.nan)
    large = number > 2
    return np.where(large, np.floor(np.log(number, where=large, out=np.ones_like(number)) ** 2), number)


def ids(column: pd.Series | np.ndarray) -> tuple[np.ndarray, int]:
    """Return the ids, 0 for what is rare or missing, and how many values have an id of their own."""
    codes, _ = pd.factorize(column)
    kept = np.bincount(codes[codes >= 0]) >= MIN_COUNT
    # The last entry is that of the code -1, a missing value.
    table = np.append(np.where(kept, np.cumsum(kept), 0), 0).astype(np.int32)
    return table[codes], int(kept.sum())


def main(source: str, folder: str, reader: str) -> None:
    print("encode-phase reading", flush=True)
    frame = pd.read_csv(source, sep="\t", header=None, names=NAMES, **READERS[reader])
    encoded, values = np.empty((len(frame), len(NAMES) - 1), np.int32), 0
    for at, name in enumerate(NAMES[1:]):
        print(f"encode-phase encoding {name}", flush=True)
        column = frame[name]
        encoded[:, at], kept = ids(bucket(column) if name in INTEGERS else column)
        values += kept
    np.save(Path(folder) / "ids.npy", encoded)
    np.save(Path(folder) / "labels.npy", frame["label"].to_numpy(np.float32))
    print(f"encode-values {values}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
