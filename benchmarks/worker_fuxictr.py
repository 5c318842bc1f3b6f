"""FuxiCTR's side: DeepFM of its own layers, trained by its own loop and loader with its defaults.

Runs in an environment of its own; its dependencies conflict with ours.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
from fuxictr.pytorch.models import BaseModel
from turns import Work, await_turn, report


class DeepFM(BaseModel):
    def __init__(self, features: FeatureMap, work: Work, folder: str) -> None:
        super().__init__(features, model_id="deepfm", gpu=-1, metrics=["AUC"], verbose=0, model_root=folder)
        self.embedding = FeatureEmbedding(features, work.dim)
        self.fm = FactorizationMachine(features)
        inputs = work.dim * features.num_fields
        self.mlp = MLP_Block(input_dim=inputs, output_dim=1, hidden_units=list(work.hidden))
        self.compile("adam", "binary_crossentropy", 1e-3)
        self.reset_parameters()
        self.model_to_device()

    def forward(self, inputs: Any) -> dict[str, torch.Tensor]:
        x = self.get_inputs(inputs)
        e = self.embedding(x)
        logit = self.fm(x, e) + self.mlp(e.flatten(start_dim=1))
        return {"y_pred": self.output_activation(logit)}


def feature_map(cardinalities: list[int], dim: int, folder: str) -> FeatureMap:
    features = FeatureMap("clicks", folder)
    features.features = OrderedDict(
        (f"f{i}", {"source": "", "type": "categorical", "vocab_size": n}) for i, n in enumerate(cardinalities)
    )
    features.labels, features.default_emb_dim = ["label"], dim
    features.num_fields, features.total_features = len(cardinalities), sum(cardinalities)
    features.set_column_index()
    return features


def main() -> None:
    work = Work.parse(sys.argv[1])
    torch.set_num_threads(work.threads)
    with tempfile.TemporaryDirectory() as folder:
        run(work, folder)


def run(work: Work, folder: str) -> None:
    with np.load(work.data) as arrays:
        cardinalities = [int(n) for n in arrays["cardinalities"]]
        path = os.path.join(folder, "train.npz")
        columns = {f"f{i}": column for i, column in enumerate(arrays["ids"].T)}
        np.savez(path, label=arrays["labels"], **columns)
    features = feature_map(cardinalities, work.dim, folder)
    model = DeepFM(features, work, folder)
    loader = NpzDataLoader(features, path, batch_size=work.batch, shuffle=True, num_workers=1)
    # What its fit() sets before it calls train_epoch; 10 is its default bound of the gradient norm.
    model._max_gradient_norm, model._eval_steps, model._stop_training, model._total_steps = (
        10.0,
        10**9,
        False,
        0,
    )
    for _ in range(work.turns):
        await_turn()
        start = time.perf_counter()
        model.train_epoch(loader)
        report(time.perf_counter() - start)


if __name__ == "__main__":
    main()
