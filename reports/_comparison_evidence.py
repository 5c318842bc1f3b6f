"""What comparisons are made from: the records of a store, and what else is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from nasbench_rec.reports._comparison_pairs import UNIFORM
from nasbench_rec.reports._comparison_units import named, newest, pooled
from nasbench_rec.reports._comparison_widths import planted_widths

from nasbench_rec.store import COLUMNS, Record, Store, row


@dataclass(frozen=True)
class Evidence:
    """What figures are made from; what is not given, they cannot show."""

    frame: pd.DataFrame
    """The frame of `Store.frame()`."""
    records: Sequence[Record] = ()
    """The same records in full: curves, widths and gates need them."""
    truth: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Useful widths by field, by a planted data set's fingerprint (`planted_widths`)."""
    tuning: pd.DataFrame | None = None
    """The rows of an equal tuning (`reports.tuning.tuning_frame`)."""
    levels: Mapping[str, str] = field(default_factory=dict)
    """What a method decides, by its name: parts figures of many methods."""
    reference: str = UNIFORM
    """What the figure `paired` compares with; see `paired_frame`."""
    replaced: int = 0
    """Records that were left out, as a later one takes their place."""

    @classmethod
    def of(cls, store: Store | Path | str, **more: Any) -> Evidence:
        """Return what a store holds, read once; `more` are the fields that a store does not have.

        Of several records for one place of a comparison (the method's code has changed, say) the one begun last counts.
        """
        store = store if isinstance(store, Store) else Store(store)
        records = list(store)
        frame = newest(pd.DataFrame([row(record) for record in records], columns=COLUMNS))
        kept = [records[i] for i in frame.index]
        return cls(frame, kept, planted_widths(store.path), replaced=len(records) - len(frame), **more)

    def where(self, **values: str | Collection[str]) -> Evidence:
        """Return the evidence of some records only: `where(dataset="frappe", backbone=("dnn", "deepfm"))`."""
        frame, tuning = self.frame, self.tuning
        for name, chosen in values.items():
            wanted = {chosen} if isinstance(chosen, str) else set(chosen)
            frame = frame[frame[name].isin(wanted)]
            if tuning is not None and name in tuning:  # which calls them without their settings
                tuning = tuning[tuning[name].isin(wanted | {text.partition(" (")[0] for text in wanted})]
        keys = set(frame["key"])
        records = [record for record in self.records if record["key"] in keys]
        return replace(self, frame=frame, records=records, tuning=tuning)

    def pooled(self) -> Evidence:
        """Return the evidence with data sets that differ in their seed alone as one: `planted (seed=*)`.

        Only where each was run with one seed of its own, as claims on planted data are: else a place has but one pair.
        """
        return replace(self, frame=pooled(self.frame))

    def plan(self) -> pd.DataFrame:
        """Return the records as a plan of variants, a variant per label: the form that gate figures take."""
        good = named(self.frame)
        good = good[good["status"] == "ok"].rename(columns={"label": "variant"})
        plan = good[["dataset", "backbone", "variant", "seed", "split_seed", "key"]]
        return plan.assign(factor="", value="", best_of="").reset_index(drop=True)
