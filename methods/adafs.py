"""`adafs`: a weight per field and sample, from a controller that sees the sample's embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from nasbench_rec.methods._prefix import some_rows
from torch import Tensor

from nasbench_rec.data import Split
from nasbench_rec.errors import ConfigError
from nasbench_rec.instance import FieldGate, GatedLookup
from nasbench_rec.model import CTRModel
from nasbench_rec.plans import EmbeddingPlan, InstanceWise
from nasbench_rec.protocol import setting
from nasbench_rec.searcher import MethodInfo, PlanBudget, Searcher, SearchState, SearchTask
from nasbench_rec.training import PREDICT_ROWS, Bilevel, ids_of

RATE_ROWS = 1_000_000
"""Training rows that rates are averaged over, drawn at random where there are more: F floats each are kept."""

MODEL = "model."


@dataclass(frozen=True)
class AdaFSConfig:
    """Settings of `adafs`; the preset `paper` has the published values."""

    selection: Literal["soft", "hard"] = setting(
        "soft",
        "soft: weight all fields; hard: keep a share of the fields per sample and divide their weights by the sum",
        source="paper: both",
        space={"type": "categorical", "choices": ["soft", "hard"]},
    )
    keep: float = setting(
        0.5,
        "share of the fields that hard selection keeps, rounded down, at least one field",
        source="code: half",
        space={"type": "float", "low": 0.1, "high": 0.9, "when": {"selection": "hard"}},
    )
    batch_norm: bool = setting(
        False,
        "batch-normalise the embeddings; makes the pair terms of FM-type backbones large",
        source="code: true, under an MLP; false: measured on planted data",
        space={"type": "categorical", "choices": [True, False]},
    )
    relu_before_softmax: bool = setting(
        False,
        "ReLU and the protocol's dropout between the controller's normalisation and its softmax",
        source="code: true; false: such a controller cannot rank fields below its closed units",
        space={"type": "categorical", "choices": [True, False]},
    )
    pretrain_epochs: int = setting(
        2, "epochs without the controller", source="code", space={"type": "int", "low": 0, "high": 4}
    )
    every: int = setting(
        1,
        "training steps per controller step",
        source="code: 10; 1: short searches have too few steps otherwise",
        space={"type": "int", "low": 1, "high": 20},
    )
    structure_lr: float = setting(
        1e-2,
        "Adam's learning rate of the controller",
        source="code: 1e-3; 1e-2: measured on planted data",
        space={"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    )

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        if not 0 < self.keep <= 1:
            raise ConfigError(f"adafs.keep = {self.keep}: must lie above 0 and be at most 1.")
        if self.every < 1 or self.pretrain_epochs < 0 or self.structure_lr <= 0:
            raise ConfigError("adafs: every and structure_lr must be above 0, pretrain_epochs at least 0.")


class AdaFSEmbedding(GatedLookup):
    """The served embedding, but for the pretraining, where it is `open`: no weights."""

    gate: FieldGate
    open = False

    def forward(self, ids: Tensor) -> Tensor:
        """Return the embeddings [B, F, d], weighted unless open."""
        e = self.lookup(ids)
        return self.gate.normed(e) if self.open else self.gate.serve(e)


class AdaFS(Searcher):
    """Per sample a weight for each field, from all embeddings of the sample side by side:

        x_f = w_f(e) e_f,    w(e) = softmax(BN(W e + b)),    e = [e_1, ..., e_F].

    `soft` weights all fields; `hard` keeps the largest half of the weights, divided by their sum. The model is trained
    for two epochs without w; then the controller (W, b and its BN) learns on the search rows, in turns with the
    weights, which learn on the training rows. The best model on the validation rows is served as it is: nothing
    is saved, the whole table and the controller are needed.

    The defaults differ from the published values because those hardly move the controller in a short training. On
    planted data (tier T2, DeepFM, one training each) the served model's AUC is .760 with the published steps, .753
    with normalised embeddings as well, and .775 with the defaults; that of the uniform model is .780. The rank
    correlation of the fields' mean weights with the planted widths is -.11, -.02 and .71.
    """

    info = MethodInfo(
        name="adafs",
        title="AdaFS",
        level="instance",
        data="train+search",
        budget="none",
        plans=("instance_wise",),
        faithfulness="repaired",
        paper="Lin et al., AdaFS: Adaptive Feature Selection in Deep Recommender System, KDD 2022",
        year=2022,
        deviations=(
            "the controller's weights are initialised as its code means to (Xavier); there the call has no effect",
            "the best weights on the validation rows are served; the code tests the last ones",
            "no ReLU and dropout before the softmax, no batch normalisation of the embeddings; the code has them, and "
            "so has the preset paper",
            "the controller takes a step at 1e-2 beside every step of the weights; the code's is 1e-3, every tenth",
            "training rows are shuffled; the code's loader does not shuffle",
            "the controller learns on a search split of the training rows, apart from the rows of early stopping",
        ),
    )
    Config = AdaFSConfig
    presets = {
        "soft": {"selection": "soft"},
        "hard": {"selection": "hard"},
        "paper": {"batch_norm": True, "relu_before_softmax": True, "every": 10, "structure_lr": 1e-3},
    }

    def search(self, task: SearchTask) -> SearchState:
        """Train with open gates, then weights and controller in turns, with early stopping: it is served."""
        config = self.config
        options = self._options(task)
        model = task.build(lambda: AdaFSEmbedding(task.layout, "field", options))
        embedding = model.embedding
        assert isinstance(embedding, AdaFSEmbedding)
        if config.pretrain_epochs:
            embedding.open = True
            task.fit(model, epochs=config.pretrain_epochs, early_stopping=False)
            embedding.open = False
        epochs = max(1, task.protocol.epochs - config.pretrain_epochs)
        task.fit(model, [self._controller_steps(task, embedding)], epochs=epochs)
        rows = some_rows(task.train, RATE_ROWS, task.rng("rate rows"))
        weights = field_weights(model, rows, task.protocol.device)
        mean, spread = weights.mean(0), weights.std(0)
        names = [f.name for f in task.fields]
        task.diagnose("mean_weight", dict(zip(names, mean.tolist(), strict=True)))
        task.diagnose("weight_spread", dict(zip(names, spread.tolist(), strict=True)))
        use = (weights > 0).float().mean(0) if config.selection == "hard" else mean / mean.max()
        return SearchState({"use": use, **{MODEL + k: v for k, v in model.state_dict().items()}})

    def _options(self, task: SearchTask) -> dict[str, Any]:
        config = self.config
        found: dict[str, Any] = {"norm": config.batch_norm}
        if config.selection == "hard":
            found |= {"hard": True, "keep": config.keep}
        if config.relu_before_softmax:
            found |= {"relu": True, "dropout": task.protocol.dropout}
        return found

    def _controller_steps(self, task: SearchTask, embedding: AdaFSEmbedding) -> Bilevel:
        protocol = task.protocol
        return Bilevel(
            list(embedding.gate.controller.parameters()),
            task.search,
            protocol,
            task.seed,
            lr=self.config.structure_lr,
            every=self.config.every,
            weight_decay=protocol.weight_decay,
        )

    def derive(self, task: SearchTask, state: SearchState, size: PlanBudget) -> EmbeddingPlan:
        """Return the trained model as it is; the plan budget has no say.

        A column's rate is the share of samples that use its field (hard), or the field's mean weight as a share of
        the largest field's (soft: every sample uses every field), over at most `RATE_ROWS` training rows.
        """
        use = state.tensors["use"].cpu().numpy()
        weights = {k.removeprefix(MODEL): v for k, v in state.tensors.items() if k.startswith(MODEL)}
        rates = use[:, None].repeat(task.layout.dim, 1)
        return InstanceWise(
            gate="field", options=self._options(task), rates=rates, recipe="none", weights=weights
        )


@torch.no_grad()
def field_weights(model: CTRModel, split: Split, device: str) -> Tensor:
    """Return the weights that every row's fields get, [N, F] on the CPU."""
    embedding = model.eval().embedding
    assert isinstance(embedding, AdaFSEmbedding)
    gate, parts = embedding.gate, ids_of(split).split(PREDICT_ROWS)
    return torch.cat([gate.weights(gate.normed(embedding.lookup(ids.to(device)))).cpu() for ids in parts])
