"""Criteo Kaggle display advertising: is an advertisement clicked, in the owner's own layout.

`train.txt`: 40 cells separated by tabs, no header: label, I1..I13 (integers, may be empty or negative), C1..C26
(hashed categories, may be empty). It is read plain, as .gz, or inside the tarball or zip in which it is published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nasbench_rec.datasets._clicks import ClickConfig, ClickLog
from nasbench_rec.datasets._spec import Column
from nasbench_rec.datasets._text import TextLayout

from nasbench_rec.data import DatasetInfo

NUMBERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
COLUMNS = ("label", *NUMBERS, *CATEGORIES)
URL = "https://go.criteo.net/criteo-research-kaggle-display-advertising-challenge-dataset.tar.gz"


@dataclass(frozen=True)
class CriteoConfig(ClickConfig):
    """How Criteo is encoded and split."""


class Criteo(ClickLog):
    """Criteo Kaggle, encoded by one of the published recipes."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="criteo",
        title="Criteo Kaggle display advertising",
        rows="45,840,617 in all",
        licence="Criteo's terms of use",
        source=(
            f"accept Criteo's terms, get {URL} (it holds train.txt), and give its folder, or that of train.txt "
            "or train.txt.gz, as --source or --data-dir"
        ),
        protocol={"dim": 16, "hidden": (64, 32), "batch_size": 4096, "epochs": 1, "patience": 1},
    )
    Config: ClassVar[type] = CriteoConfig
    config: CriteoConfig

    names = ("train.txt", "train.txt.gz")
    archives = (
        "dac.tar.gz",
        "criteo-research-kaggle-display-advertising-challenge-dataset.tar.gz",
        "kaggle-display-advertising-challenge-dataset.tar.gz",
    )
    folders = (".", "criteo", "Criteo", "dac")
    layout = TextLayout(COLUMNS, separator="\t", header=False, label="label")
    columns = tuple(Column(n, "numeric") for n in NUMBERS) + tuple(Column(c) for c in CATEGORIES)
    # Least counts: pytorch-fm and AdaFS 10, BARS Criteo_x4_001 10, OptEmbed and OptFS 2, PEP 10.
    counts: ClassVar[dict[str, int]] = {"ours": 10, "autodim": 10, "bars-x4": 10, "optfs": 2, "pep": 10}
