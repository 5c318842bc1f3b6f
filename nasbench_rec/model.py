"""A CTR model: an embedding module with a backbone on top."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from nasbench_rec.backbones import BackboneOptions, EmbeddingShape, build_backbone
from nasbench_rec.data import Field
from nasbench_rec.protocol import Protocol
from nasbench_rec.seeds import seeded, stream
from nasbench_rec.tables import Table


class Embedding(nn.Module):
    """What a plan or a search method builds: ids [B, C] -> [B, F', d], or [B, D] when flat.

    `shape` says which; the ids are local to each field and the module adds its own offsets.
    """

    shape: EmbeddingShape

    def drop_masked(self) -> None:
        """Set the table's entries that a mask drops to zero; nothing to do where there is no mask."""


class CTRModel(nn.Module):
    """Embedding and backbone; `forward(ids [B, C]) -> logits [B]`."""

    def __init__(self, embedding: Embedding, backbone: nn.Module) -> None:
        super().__init__()
        self.embedding = embedding
        self.backbone = backbone

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [B] for ids [B, C]."""
        return self.backbone(self.embedding(ids), ids)


def tables_of(module: nn.Module) -> Iterator[Table]:
    """Yield every stacked table inside `module`."""
    return (m for m in module.modules() if isinstance(m, Table))


def build_model(
    make_embedding: Callable[[], Embedding],
    fields: Sequence[Field],
    backbone: str,
    protocol: Protocol,
    seed: int,
) -> CTRModel:
    """Build a model whose table and backbone weights come from two streams of the init seed.

    The same seed gives the same backbone weights under every plan of the same output shape.
    """
    options = BackboneOptions(
        hidden=protocol.hidden,
        dropout=protocol.dropout,
        batch_norm=protocol.batch_norm,
        cross_layers=protocol.cross_layers,
    )
    with seeded(stream("init/embedding", seed)):
        embedding = make_embedding()
    with seeded(stream("init/backbone", seed)):
        head = build_backbone(backbone, embedding.shape, fields, options)
    return CTRModel(embedding, head).to(protocol.device)
