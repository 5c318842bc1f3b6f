"""FuxiCTR's side of encode.py: its own feature processor with the settings that BARS publishes for Criteo_x4.

    python benchmarks/encode_fuxictr.py TRAIN.TXT FOLDER BLOCK

The only change is that the columns are named here, as the raw file has no header. Runs in an environment of its
own; its dependencies conflict with ours.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import polars as pl
from fuxictr.datasets.criteo import CustomizedFeatureProcessor
from fuxictr.preprocess import build_dataset

INTEGERS = [f"I{i}" for i in range(1, 14)]
VALUES = [f"C{i}" for i in range(1, 27)]
FEATURES = [
    {
        "name": INTEGERS,
        "active": True,
        "dtype": "float",
        "type": "categorical",
        "preprocess": "convert_to_bucket",
        "fill_na": 0,
    },
    {"name": VALUES, "active": True, "dtype": "str", "type": "categorical", "fill_na": ""},
]
MIN_COUNT = 10


class RawCriteo(CustomizedFeatureProcessor):
    """Reads the file of Kaggle, which has tabs and no header, as the processor reads others: lazily."""

    def read_data(self, data_path: str, **_: Any) -> pl.LazyFrame:
        schema = {
            "label": pl.Float64,
            **dict.fromkeys(INTEGERS, pl.Float64),
            **dict.fromkeys(VALUES, pl.String),
        }
        return pl.scan_csv(data_path, separator="\t", has_header=False, schema=schema, quote_char=None)


def main(source: str, folder: str, block: int) -> None:
    # Its log tells how far it came.
    logging.basicConfig(level=logging.INFO, format="encode-phase %(message)s", stream=sys.stdout)
    label = {"name": "label", "dtype": "float"}
    processor = RawCriteo(FEATURES, label, dataset_id="criteo", data_root=folder)
    build_dataset(processor, train_data=source, min_categr_count=MIN_COUNT, data_block_size=block)
    # A vocabulary holds two more: for padding and for rare or unseen values.
    kept = sum(spec["vocab_size"] - 2 for spec in processor.feature_map.features.values())
    print(f"encode-values {kept}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
