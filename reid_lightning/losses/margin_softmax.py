"""ID losses over cosines with a margin: ArcFace, CosFace and circle loss, with a classifier of their own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from reid_lightning.errors import ReIDError
from reid_lightning.losses.id import check_classifier, id_loss
from reid_lightning.losses.precision import full_precision


def arcface_logits(cosines: Tensor, labels: Tensor, *, margin: float, scale: float) -> Tensor:
    """scale cos(theta), and scale cos(theta + margin) for a picture's own identity.

    theta is the angle whose cosine is given; `margin` is in radians. Beyond theta = pi - margin, where cos(theta +
    margin) would rise again, the own logit is scale (cos(theta) - margin sin(margin)), which goes on falling. The
    gradient is finite everywhere: at theta = 0 and pi that of sin(theta), which is infinite there, is taken as 0.
    cosines: (batch, num_identities); labels: (batch,).
    Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, equation 3.
    """
    own = cosines.gather(1, labels[:, None])
    sine = (1.0 - own.square()).clamp(min=torch.finfo(own.dtype).eps).sqrt()
    turned = own * math.cos(margin) - sine * math.sin(margin)
    turned = torch.where(own > -math.cos(margin), turned, own - margin * math.sin(margin))
    return scale * cosines.scatter(1, labels[:, None], turned)


def cosface_logits(cosines: Tensor, labels: Tensor, *, margin: float, scale: float) -> Tensor:
    """scale cos(theta), and scale (cos(theta) - margin) for a picture's own identity.

    cosines: (batch, num_identities); labels: (batch,).
    Source: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, equation 4.
    """
    own = cosines.gather(1, labels[:, None])
    return scale * cosines.scatter(1, labels[:, None], own - margin)


def circle_logits(cosines: Tensor, labels: Tensor, *, margin: float, scale: float) -> Tensor:
    """scale a_n (s - m), and scale a_p (s - (1 - m)) for a picture's own identity.

    s are the cosines and m is `margin`; a_p = max(0, 1 + m - s) and a_n = max(0, s + m) have no gradient. The
    cross-entropy of these is the circle loss with class weights in place of pictures.
    cosines: (batch, num_identities); labels: (batch,).
    Source: Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020, eq. 4 to 8.
    """
    own = cosines.gather(1, labels[:, None])
    others = (cosines.detach() + margin).clamp(min=0.0) * (cosines - margin)
    own = (1.0 + margin - own.detach()).clamp(min=0.0) * (own - (1.0 - margin))
    return scale * others.scatter(1, labels[:, None], own)


class _MarginSoftmax(nn.Module, ABC):
    """Cross-entropy over logits with a margin, from the cosines between embeddings and one weight vector per identity.

    Only the directions of the weights count; their length sets how fast these turn, and starts at a standard deviation
    of 0.01 per number.

    Args:
        margin: how much closer than the softmax asks for a picture has to be; its unit is the loss's.
        scale: of the cosines, which lie in [-1, 1]; the more identities, the larger.
        label_smoothing: as in `IDLoss`.
    """

    _largest_margin: float

    def __init__(
        self, *, margin: float, scale: float, label_smoothing: float, num_identities: int, embedding_dim: int
    ) -> None:
        super().__init__()
        check_classifier(label_smoothing=label_smoothing, num_identities=num_identities)
        if not 0.0 <= margin <= self._largest_margin or not 0.0 < scale < math.inf:
            raise ReIDError(
                f"{type(self).__name__} margin={margin}, scale={scale}: expected margin in "
                f"[0, {self._largest_margin:.4g}] and scale above 0"
            )
        self.margin = margin
        self.scale = scale
        self.label_smoothing = label_smoothing
        self.classifier = nn.Linear(embedding_dim, num_identities, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.01)

    @full_precision
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """embeddings: (batch, embedding_dim); labels: (batch,) positions among the training identities."""
        weights = self.classifier.weight.to(embeddings.dtype)
        # Divided after the product: a copy of the weights at length 1 would cost as much again as the product.
        lengths = torch.linalg.vector_norm(weights, dim=1).clamp(min=1e-12)
        cosines = functional.linear(functional.normalize(embeddings, dim=1), weights) / lengths
        return id_loss(self.logits(cosines, labels), labels, label_smoothing=self.label_smoothing)

    @abstractmethod
    def logits(self, cosines: Tensor, labels: Tensor) -> Tensor:
        """(batch, num_identities) cosines -> logits of the same shape."""


class ArcFaceLoss(_MarginSoftmax):
    """`arcface_logits` in a cross-entropy; `margin` in radians, 0.5 in the paper."""

    _largest_margin = math.pi / 2

    def logits(self, cosines: Tensor, labels: Tensor) -> Tensor:
        return arcface_logits(cosines, labels, margin=self.margin, scale=self.scale)


class CosFaceLoss(_MarginSoftmax):
    """`cosface_logits` in a cross-entropy; `margin` in cosine, 0.35 in the paper."""

    _largest_margin = 2.0

    def logits(self, cosines: Tensor, labels: Tensor) -> Tensor:
        return cosface_logits(cosines, labels, margin=self.margin, scale=self.scale)


class CircleSoftmaxLoss(_MarginSoftmax):
    """`circle_logits` in a cross-entropy; `margin` in cosine, 0.25 in the paper, 0.35 in fast-reid."""

    _largest_margin = 1.0

    def logits(self, cosines: Tensor, labels: Tensor) -> Tensor:
        return circle_logits(cosines, labels, margin=self.margin, scale=self.scale)
