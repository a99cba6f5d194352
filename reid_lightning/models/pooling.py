"""From what a backbone puts out, maps (B, C, H, W) or tokens (B, N, C), to one vector a picture (B, C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError


class GeM(nn.Module):
    """Generalised mean pooling with a learned exponent: (mean x^p)^(1/p) over the positions of each channel.

    p = 1 is average pooling, a large p tends to max pooling. Values below `eps` count as `eps`. p is used between 1
    and 6: beyond, eps^p leaves float32 and the gradient of a dead channel would be NaN. Computed in float32.
    `positions` are the dimensions of height and width: (2, 3) for maps (B, C, H, W), (1, 2) for maps (B, H, W, C).
    Source: Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
    """

    def __init__(self, positions: tuple[int, int] = (2, 3), *, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self.positions = positions
        self.eps = eps

    def forward(self, maps: Tensor) -> Tensor:
        p = self.p.float().clamp(1.0, 6.0)
        return maps.float().clamp(min=self.eps).pow(p).mean(dim=self.positions).pow(1.0 / p)


class AveragePool(nn.Module):
    """Mean over the positions of each channel, in float32; `positions` as in `GeM`."""

    def __init__(self, positions: tuple[int, int] = (2, 3)) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, maps: Tensor) -> Tensor:
        return maps.float().mean(dim=self.positions)


class TokenPool(nn.Module):
    """Tokens (B, N, C) to (B, C) in float32: the class token, which comes first, or the mean where there is none."""

    def __init__(self, *, has_class_token: bool) -> None:
        super().__init__()
        self.has_class_token = has_class_token

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0].float() if self.has_class_token else tokens.float().mean(dim=1)


POOLINGS: dict[str, type[GeM] | type[AveragePool]] = {"gem": GeM, "avg": AveragePool}


def build_pooling(name: str, *, layout: str, has_class_token: bool = False) -> nn.Module:
    """The pooling for a backbone's output.

    `layout` "NCHW" and "NHWC" (maps) are pooled by `name`, "gem" or "avg"; "NLC" (tokens) by `TokenPool` and "NC" (the
    network has pooled) not at all, whatever the name. Raises ReIDError for another name.
    """
    if name not in POOLINGS:
        raise ReIDError(f"pooling={name!r} is unknown; expected one of {sorted(POOLINGS)}")
    if layout == "NC":
        return nn.Identity()
    if layout == "NLC":
        return TokenPool(has_class_token=has_class_token)
    return POOLINGS[name]((1, 2) if layout == "NHWC" else (2, 3))
