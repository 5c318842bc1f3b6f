"""Our side: DeepFM by the project's own training loop, one epoch a turn."""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from turns import Work, await_turn, report

from nasbench_rec.data import Field, Split
from nasbench_rec.embeddings import Layout
from nasbench_rec.model import CTRModel, build_model
from nasbench_rec.plans import uniform
from nasbench_rec.protocol import Protocol
from nasbench_rec.training import Hook, Step, fit


class Turns(Hook):
    """Reports each epoch's seconds and waits for the next turn."""

    def __init__(self, turns: int) -> None:
        self.turns = turns
        self.start = time.perf_counter()

    def on_evaluation(self, step: Step, scores: dict[str, float]) -> None:
        report(time.perf_counter() - self.start)
        if step.epoch + 1 < self.turns:
            await_turn()
        self.start = time.perf_counter()


def protocol_of(work: Work) -> Protocol:
    """The peers' training: Adam, no decay, no dropout, no batch normalisation."""
    return Protocol(
        dim=work.dim,
        hidden=work.hidden,
        batch_norm=False,
        dropout=0.0,
        optimizer=work.optimizer,  # type: ignore[arg-type]
        weight_decay=0.0,
        embedding_l2=0.0,
        batch_size=work.batch,
        epochs=work.turns,
        patience=0,
    )


def deepfm(fields: tuple[Field, ...], protocol: Protocol) -> CTRModel:
    layout = Layout(fields, protocol.dim)
    return build_model(lambda: uniform(layout).build(layout), fields, "deepfm", protocol, seed=0)


def main() -> None:
    work = Work.parse(sys.argv[1])
    torch.set_num_threads(work.threads)
    with np.load(work.data) as arrays:
        train = Split(arrays["ids"], arrays["labels"])
        fields = tuple(Field(f"f{i}", int(n)) for i, n in enumerate(arrays["cardinalities"]))
    protocol = protocol_of(work)
    model = deepfm(fields, protocol)
    await_turn()
    fit(model, train, None, protocol, seed=0, hooks=[Turns(work.turns)], restore_best=False)


if __name__ == "__main__":
    main()
