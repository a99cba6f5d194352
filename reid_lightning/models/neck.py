"""What stands between the pooled features and the embedding: a batch norm (BNNeck) or nothing."""

from __future__ import annotations

from torch import nn

from reid_lightning.errors import ReIDError

NECKS = ("bnneck", "none")


def build_neck(name: str, *, dim: int) -> nn.Module:
    """The neck called `name`, (batch, dim) to (batch, dim); ReIDError for another name.

    "bnneck": batch norm with scale 1 at the start and a bias fixed at 0, so that embeddings stay centred and cosine is
    meaningful. Source: Luo et al., "Bag of Tricks and a Strong Baseline for Deep Person Re-ID", 2019. "none": identity.
    """
    if name == "none":
        return nn.Identity()
    if name != "bnneck":
        raise ReIDError(f"neck={name!r} is unknown; expected one of {list(NECKS)}")
    neck = nn.BatchNorm1d(dim)
    neck.bias.requires_grad_(False)
    return neck
