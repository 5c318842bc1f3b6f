"""Avazu click-through rate prediction: is a mobile advertisement clicked, in Kaggle's own layout.

`train.csv` (Kaggle's `train.gz` unpacked is called `train`): a header and 24 columns; `id` names the row and is no
field. `hour` is YYMMDDHH: the AutoDim line of papers takes it as it is (240 values in the full file), BARS and OptFS
make hour of the day, weekday and weekend of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from nasbench_rec.datasets._batches import Batch, refuse
from nasbench_rec.datasets._clicks import ClickConfig, ClickLog
from nasbench_rec.datasets._spec import Column, Label, setting
from nasbench_rec.datasets._text import TextLayout

from nasbench_rec.data import DatasetInfo
from nasbench_rec.errors import ConfigError, unknown

FIELDS = (
    *("hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain"),
    *("app_category", "device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    *(f"C{i}" for i in range(14, 22)),
)
COLUMNS = ("id", "click", *FIELDS)
HOURS = ("raw", "parts")


@dataclass(frozen=True)
class AvazuConfig(ClickConfig):
    """How Avazu is encoded and split."""

    hour: str | None = setting(
        None,
        "raw: YYMMDDHH as a value; parts: hour of the day, weekday (0 is Sunday) and weekend; by default as the recipe",
        "raw: autodim, pep; parts: ours, bars-x4, optfs",
    )


class Avazu(ClickLog):
    """Avazu, encoded by one of the published recipes."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="avazu",
        title="Avazu click-through rate prediction",
        rows="40,428,967 in all",
        licence="Kaggle's competition rules",
        source=(
            "accept the rules of the competition avazu-ctr-prediction on Kaggle, get train.gz (or the whole "
            "avazu-ctr-prediction.zip) there, and give its folder as --source or --data-dir"
        ),
        protocol={"dim": 16, "hidden": (64, 32), "batch_size": 4096, "epochs": 1, "patience": 1},
    )
    Config: ClassVar[type] = AvazuConfig
    config: AvazuConfig

    names = ("train.gz", "train.csv.gz", "train.csv", "train")
    archives = ("avazu-ctr-prediction.zip",)
    folders = (".", "avazu", "Avazu", "avazu-ctr-prediction")
    layout = TextLayout(COLUMNS, label="click")
    label = Label("click")
    # Least counts: pytorch-fm and AdaFS 4, BARS Avazu_x4_001 2, OptEmbed and OptFS 2, PEP 10.
    counts: ClassVar[dict[str, int]] = {"ours": 2, "autodim": 4, "bars-x4": 2, "optfs": 2, "pep": 10}

    def __init__(self, config: AvazuConfig) -> None:
        super().__init__(config)
        if config.hour not in (None, *HOURS):
            raise ConfigError(unknown("value of hour", config.hour, HOURS))
        self._raw = (config.hour or ("raw" if config.recipe in ("autodim", "pep") else "parts")) == "raw"
        more = () if self._raw else ("weekday", "weekend")
        self.columns = tuple(Column(name) for name in (*FIELDS, *more))

    def rows(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Make hour, weekday and weekend of the hour, where the recipe wants them."""
        return batches if self._raw else map(_with_time, batches)


def _with_time(batch: Batch) -> Batch:
    """Split `hour` (YYMMDDHH) as FuxiCTR does: hour of the day, weekday from 0 (Sunday), weekend 0 or 1."""
    import polars as pl

    text = batch.frame["hour"]
    date = ("20" + text.str.head(-2)).str.to_date("%Y%m%d", strict=False)
    known = text.str.contains(r"^\d{6}([01]\d|2[0-3])$").fill_null(False) & date.is_not_null()
    refuse(batch, ~known, "hour", "YYMMDDHH")
    day = date.dt.weekday() % 7
    made = [
        text.str.tail(2).cast(pl.Int8).cast(pl.String).alias("hour"),
        day.cast(pl.String).alias("weekday"),
        day.is_in([0, 6]).cast(pl.Int8).cast(pl.String).alias("weekend"),
    ]
    return dataclasses.replace(batch, frame=batch.frame.with_columns(made))
