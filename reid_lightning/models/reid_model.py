"""The network that is trained, exported and searched with: backbone, pooling, reduction, neck."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.models.backbones import build_backbone, output_format
from reid_lightning.models.neck import build_neck
from reid_lightning.models.pooling import build_pooling


class ReIDOutput(NamedTuple):
    """What training sees of a batch."""

    features: Tensor
    """(batch, dim) pooled (and reduced), before the neck."""
    embeddings: Tensor
    """(batch, dim) after the neck, not normalised."""


class ReIDModel(nn.Module):
    """A timm or torchvision network that gives one embedding a picture.

    Args:
        backbone: a name of timm.list_models(), with or without timm's weight tag; or "torchvision/<name>" for a
            classification network of torchvision.models, whose second-to-last layer gives the features.
        ibn: "a", "b" or None; timm's ResNets only.
        last_stride: 1 doubles the last map of a timm ResNet, 2 leaves any network as it is.
        pooling: "gem" or "avg", for networks that give maps. Networks that give tokens (ViT) are pooled by their class
            token, or the mean of all tokens where there is none; networks that pool themselves are taken as they are.
        neck: "bnneck" or "none".
        embedding_dim: None keeps the backbone's width; a number adds a linear reduction without bias before the neck.
        pretrained: None, "timm", "torchvision", "ibn_net" or the path of a weights file; for the backbone only.

    Random weights come from torch's global generator. Raises ReIDError for a value that is unknown or does not fit.
    """

    def __init__(
        self,
        backbone: str = "resnet50",
        *,
        ibn: str | None = "a",
        last_stride: int = 1,
        pooling: str = "gem",
        neck: str = "bnneck",
        embedding_dim: int | None = None,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        if embedding_dim is not None and embedding_dim < 1:
            raise ReIDError(
                f"embedding_dim={embedding_dim}: expected a positive number, or null for the backbone's width"
            )
        self.architecture: dict[str, str | int | None] = {
            "backbone": backbone,
            "ibn": ibn,
            "last_stride": last_stride,
            "pooling": pooling,
            "neck": neck,
            "embedding_dim": embedding_dim,
        }
        """The plain arguments that rebuild this network: ReIDModel(**architecture)."""
        self.backbone = build_backbone(backbone, ibn=ibn, last_stride=last_stride, pretrained=pretrained)
        output = output_format(self.backbone)
        self.pool = build_pooling(pooling, layout=output.layout, has_class_token=output.has_class_token)
        self.embedding_dim: int = output.dim if embedding_dim is None else embedding_dim
        self.reduction = nn.Identity() if embedding_dim is None else nn.Linear(output.dim, embedding_dim, bias=False)
        self.neck = build_neck(neck, dim=self.embedding_dim)

    def forward(self, images: Tensor) -> ReIDOutput:
        """Images (batch, 3, height, width), normalised as in training, to features and embeddings (batch, dim)."""
        features = self.reduction(self.pool(self.backbone(images)))
        return ReIDOutput(features, self.neck(features))

    def embed(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), normalised as in training, to L2-normalised embeddings (N, dim), float32.

        Neither switches to evaluation mode nor turns gradients off: both are the caller's.
        """
        return functional.normalize(self(images).embeddings.float(), dim=1)


@torch.no_grad()
def check_input_size(model: ReIDModel, *, height: int, width: int) -> None:
    """ReIDError when the network cannot take pictures of this size; some take only the one that they were made for."""
    training = model.training
    try:
        model.eval()(torch.zeros(1, 3, height, width))
    except (AssertionError, RuntimeError, ValueError) as error:
        backbone = model.architecture["backbone"]
        raise ReIDError(
            f"backbone={backbone!r} cannot take pictures of {height} x {width} ({str(error).splitlines()[0]}). Set "
            "input.height and input.width to the size it was made for, such as 224 or 299."
        ) from error
    finally:
        model.train(training)
