"""Frappe: which app is used in which context, in the published Frappe_x1 split (RecZoo)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from nasbench_rec.datasets.reczoo import RecZoo, RecZooConfig

from nasbench_rec.data import DatasetInfo

FIELDS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
COLUMNS = ("label", *FIELDS)
URL = "https://huggingface.co/datasets/reczoo/Frappe_x1/resolve/main/Frappe_x1.zip"
# As published beside the data; of the files as they lie in the archive, with CRLF line ends.
MD5 = {
    "train.csv": "ba7306e6c4fc19dd2cd84f2f0596d158",
    "valid.csv": "88d51bf2173505436d3a8f78f2a59da8",
    "test.csv": "3470f6d32713dc5f7715f198ca7c612a",
}
FrappeConfig = RecZooConfig


class Frappe(RecZoo):
    """Frappe_x1 in its published split."""

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="frappe",
        title="Frappe app usage (Frappe_x1)",
        rows="202,027 / 57,722 / 28,860",
        licence="research use, no redistribution",
        source=(
            f"download {URL} (data set reczoo/Frappe_x1 on Hugging Face) and give the folder with the archive, or "
            "with its train.csv, valid.csv and test.csv, as --source or --data-dir"
        ),
        protocol={"dim": 16, "hidden": (64, 32), "batch_size": 2048, "epochs": 20, "patience": 2},
    )
    columns = COLUMNS
    folders = (".", "frappe", "Frappe_x1")

    @classmethod
    def published(cls) -> tuple[str, Mapping[str, str]]:
        """Return the address of the archive, and the published MD5 of the files in it."""
        return URL, MD5
