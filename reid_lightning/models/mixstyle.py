"""MixStyle: in training, mixes the light and colour of pictures of one batch inside the network.

Source: Zhou et al., "Domain Generalization with MixStyle", ICLR 2021, in its form with a random shuffle of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Beta

from reid_lightning.errors import ReIDError

_EPS = 1e-6


def mix_styles(maps: Tensor, partners: Tensor, shares: Tensor) -> Tensor:
    """Maps x (B, C, H, W) with the style of each mixed with that of its partner's.

    g * (x - m(x)) / s(x) + b, with g = l * s(x) + (1 - l) * s(x'), b = l * m(x) + (1 - l) * m(x'), where m and s are
    mean and deviation of each channel of a picture, x' = x[partners], (B,) int64, and l = `shares`, (B,). As in the
    authors' code no gradient goes through m and s, and s = sqrt(variance + 1e-6). Where l is 1, x stays as it is, to
    the bit. Statistics in float32; the type of `maps` comes back.
    """
    with torch.no_grad():
        variance, mean = torch.var_mean(maps.float(), dim=(2, 3), correction=0, keepdim=True)
        deviation = (variance + _EPS).sqrt()
        rest = 1.0 - shares.float().reshape(-1, 1, 1, 1)
        scale = 1.0 + rest * (deviation[partners] / deviation - 1.0)
        shift = mean + rest * (mean[partners] - mean) - mean * scale
    return (maps * scale + shift).to(maps.dtype)


class MixStyle(nn.Module):
    """Applies `mix_styles` to the output of layers of a backbone, in training only; without weights or buffers.

    Each layer decides for the whole batch: with probability `p` every picture gets a random partner of the batch and a
    share from Beta(alpha, alpha). Draws come from torch's global generator of the maps' device, and nothing waits for
    them: a batch that is left alone is mixed with shares of 1.

    Args:
        after: names of layers that put out maps (B, C, H, W), such as layer1 and layer2 of a ResNet.
        p: probability, 0 to 1.
        alpha: of the Beta distribution; small values give shares close to 0 or 1.
    """

    def __init__(self, after: Sequence[str], *, p: float = 0.5, alpha: float = 0.1) -> None:
        super().__init__()
        if isinstance(after, str) or not after:
            raise ReIDError(f"mixstyle.after={after!r}: expected a list of layers, such as [layer1, layer2]")
        if not 0 <= p <= 1:
            raise ReIDError(f"mixstyle.p={p}: expected a probability, 0 to 1")
        if not alpha > 0:
            raise ReIDError(f"mixstyle.alpha={alpha}: expected a positive number; the paper takes 0.1")
        self.after = list(after)
        self.p = p
        self.alpha = alpha

    def attach(self, backbone: nn.Module, *, layout: str) -> None:
        """Act after the layers of `backbone` from now on.

        Raises ReIDError for layers that it does not have, and when its own output (`layout`) shows that its layers give
        no maps with the channels first.
        """
        if layout not in ("NCHW", "NC"):
            raise ReIDError(
                f"mixstyle mixes maps (batch, channels, height, width), and a {type(backbone).__name__} does not give "
                "any; choose a convolutional network, such as model=resnet50_ibn_a, or set model.mixstyle=null"
            )
        modules = dict(backbone.named_modules())
        for name in self.after:
            if name not in modules or name == "":
                raise ReIDError(
                    f"mixstyle.after names {name!r}, which {type(backbone).__name__} does not have; its layers are "
                    f"{', '.join(child for child, _ in backbone.named_children())}"
                )
            modules[name].register_forward_hook(self._mix)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape; in evaluation mode the maps themselves."""
        if not self.training:
            return maps
        size, device = len(maps), maps.device
        alpha = torch.full((size,), self.alpha, device=device)
        shares = Beta(alpha, alpha, validate_args=False).sample()  # validating would wait for the device
        mixing = torch.rand((), device=device) < self.p
        return mix_styles(maps, torch.randperm(size, device=device), torch.where(mixing, shares, 1.0))

    def _mix(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ReIDError(
                f"mixstyle.after: a {type(layer).__name__} does not put out maps (batch, channels, height, width); "
                "choose the stages of a convolutional network, such as [layer1, layer2] of a ResNet"
            )
        return self(output)
