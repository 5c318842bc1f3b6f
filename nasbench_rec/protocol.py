"""The training protocol of a task: how every model of it, searched or not, is trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nasbench_rec.errors import ConfigError

Alignment = Literal["linear", "zero_pad", "concat"]
TableOptimizer = Literal["row_adam", "dense_adam"]


def setting(default: Any, text: str, **metadata: Any) -> Any:
    """Declare a documented dataclass field; further metadata: `source`, `space`, `stage`."""
    return field(default=default, metadata={"help": text, **metadata})


@dataclass(frozen=True)
class Protocol:
    """How every model of a task is trained. Every setting is part of a unit's key."""

    dim: int = setting(16, "base embedding width d")
    hidden: tuple[int, ...] = setting((16, 8), "widths of the MLP's hidden layers")
    batch_norm: bool = setting(True, "batch normalisation in the MLP")
    dropout: float = setting(0.2, "dropout in the MLP", space={"type": "float", "low": 0.0, "high": 0.5})
    cross_layers: int = setting(3, "cross layers of DCN and DCN-v2")
    alignment: Alignment = setting("linear", "how unequal widths meet: linear | zero_pad | concat")
    optimizer: TableOptimizer = setting(
        "row_adam", "row_adam: only rows in the batch move; dense_adam: torch's Adam over whole tables"
    )
    lr: float = setting(
        1e-3, "learning rate of Adam", space={"type": "float", "low": 3e-4, "high": 1e-2, "log": True}
    )
    weight_decay: float = setting(
        1e-6,
        "L2 (coupled, as in Adam) on all dense weights",
        space={"type": "float", "low": 1e-8, "high": 1e-3, "log": True},
    )
    embedding_l2: float = setting(
        1e-6,
        "L2 on tables: on looked-up rows (row_adam) or all rows (dense_adam)",
        space={"type": "float", "low": 1e-8, "high": 1e-3, "log": True},
    )
    embedding_std: float = setting(
        0.01,
        "standard deviation of the tables' initial values",
        space={"type": "float", "low": 1e-4, "high": 0.3, "log": True},
    )
    clip_norm: float = setting(0.0, "clip the gradient norm of dense weights; 0: off")
    batch_size: int = setting(2048, "rows a step")
    epochs: int = setting(30, "most epochs")
    patience: int = setting(3, "evaluations without a better value before training stops; 0: never stop")
    monitor: Literal["auc", "logloss"] = setting("auc", "validation score that early stopping watches")
    lr_factor: float = setting(1.0, "factor on the learning rate after an evaluation without a better value")
    search_fraction: float = setting(0.1, "share of the training rows cut off as the search split")
    device: Literal["cpu", "cuda"] = setting("cpu", "where to train")

    def __post_init__(self) -> None:
        """Refuse values that make no sense, naming the setting."""
        for name in ("dim", "batch_size", "epochs", "cross_layers"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(all(h >= 1 for h in self.hidden), "hidden", self.hidden, "positive widths")
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)")
        _require(0 < self.search_fraction < 1, "search_fraction", self.search_fraction, "in (0, 1)")
        _require(0 < self.lr_factor <= 1, "lr_factor", self.lr_factor, "in (0, 1]")
        _require(self.lr > 0, "lr", self.lr, "above 0")
        for name in ("weight_decay", "embedding_l2", "embedding_std", "clip_norm", "patience"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")


def _require(ok: bool, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ConfigError(f"protocol setting {name} = {value!r}: must be {allowed}.")
