"""OSNet: small networks made for re-identification, whose blocks see several scales at once and weigh them by picture.

Sources: Zhou et al., "Omni-Scale Feature Learning for Person Re-Identification", ICCV 2019; for osnet_ain, "Learning
Generalisable Omni-Scale Representations for Person Re-Identification", TPAMI 2021. Parameter names are torchreid's, so
that its weights load by key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

_CHANNELS = (64, 256, 384, 512)  # of the stem and the three stages
_NARROWING = 4
_GATE_NARROWING = 16
_DEPTHS = (1, 2, 3, 4)  # of a block's streams, which see 3, 5, 7 and 9 pixels across
# Where the two blocks of each stage normalise each picture by itself; "inside" was found by the authors' search.
_NORMS = {
    None: ((None, None), (None, None), (None, None)),
    "after": (("after", "after"), (None, None), (None, None)),
    "inside": (("inside", "inside"), (None, "inside"), ("inside", None)),
}

OSNETS: dict[str, tuple[float, str | None]] = {
    "osnet_x1_0": (1.0, None),
    "osnet_x0_75": (0.75, None),
    "osnet_x0_5": (0.5, None),
    "osnet_x0_25": (0.25, None),
    "osnet_ibn_x1_0": (1.0, "after"),
    "osnet_ain_x1_0": (1.0, "inside"),
    "osnet_ain_x0_75": (0.75, "inside"),
    "osnet_ain_x0_5": (0.5, "inside"),
    "osnet_ain_x0_25": (0.25, "inside"),
}
"""torchreid's names, each with its width and where its blocks have instance norm."""


def build_osnet(name: str) -> OSNet:
    """The network `name` of `OSNETS` with random weights."""
    width, norm = OSNETS[name]
    return OSNet(width, norm=norm)


class OSNet(nn.Sequential):
    """From images (B, 3, H, W) to maps (B, C, H/16, W/16): torchreid's network up to its pooling.

    `width` multiplies the channels, 512 at the end. `norm`: None; "after" (osnet_ibn) has instance norm in the stem and
    after the additions of the first stage; "inside" (osnet_ain) in the stem and on the residual branch of some blocks.
    """

    def __init__(self, width: float = 1.0, *, norm: str | None = None) -> None:
        stem, first, second, third = (int(channels * width) for channels in _CHANNELS)
        numbered = norm == "inside"

        def stage(came: int, channels: int, norms: tuple[str | None, str | None]) -> nn.Sequential:
            return nn.Sequential(
                OmniScaleBlock(came, channels, norm=norms[0], numbered=numbered),
                OmniScaleBlock(channels, channels, norm=norms[1], numbered=numbered),
            )

        def halving(channels: int) -> nn.Sequential:
            return nn.Sequential(_conv(channels, channels), nn.AvgPool2d(2))

        norms = _NORMS[norm]
        layers: OrderedDict[str, Any] = OrderedDict(
            conv1=_conv(3, stem, 7, stride=2, norm=nn.BatchNorm2d if norm is None else _instance_norm),
            maxpool=nn.MaxPool2d(3, stride=2, padding=1),
            conv2=stage(stem, first, norms[0]),
            pool2=halving(first),
            conv3=stage(first, second, norms[1]),
            pool3=halving(second),
            conv4=stage(second, third, norms[2]),
            conv5=_conv(third, third),
        )
        if not numbered:  # torchreid's names: here the halving is the third part of the stage before it
            layers["conv2"].append(layers.pop("pool2"))
            layers["conv3"].append(layers.pop("pool3"))
        super().__init__(layers)
        self.num_features: int = third
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Which parameters make a layer, in order, as timm's networks say it; `coarse`: stages in place of blocks."""
        before = (99999,)  # timm's mark for parameters that belong to the layer before them
        blocks = (r"^conv([234])" if coarse else r"^conv([234])\.(\d+)", None)
        return {
            "stem": r"^conv1",
            "blocks": [(r"^pool(\d)", before), (r"^conv(\d)\.2", before), blocks, (r"^conv5", before)],
        }


class OmniScaleBlock(nn.Module):
    """A residual block of four streams of different depth, weighed by one gate; (B, came, H, W) to (B, channels, H, W).

    x + W3 sum_t G(S_t(W1 x)), with S_t of t light 3x3 convolutions and G the shared `ChannelGate`. `norm`: "inside" has
    instance norm before the addition, "after" after it. `numbered`: osnet_ain's names of the streams.
    """

    def __init__(self, came: int, channels: int, *, norm: str | None = None, numbered: bool = False) -> None:
        super().__init__()
        middle = channels // _NARROWING
        streams = [nn.Sequential(*(_light_conv(middle) for _ in range(depth))) for depth in _DEPTHS]
        self.norm = norm
        self.conv1 = _conv(came, middle)
        self.conv2: nn.ModuleList | None = None
        if numbered:
            self.conv2 = nn.ModuleList(nn.Sequential(OrderedDict(layers=stream)) for stream in streams)
        else:
            self.conv2a, self.conv2b, self.conv2c, self.conv2d = streams[0][0], *streams[1:]
        self.gate = ChannelGate(middle)
        self.conv3 = _conv(middle, channels, norm=None if norm == "inside" else nn.BatchNorm2d, relu=False)
        self.downsample = _conv(came, channels, relu=False) if came != channels else nn.Identity()
        self.IN = nn.Identity() if norm is None else _instance_norm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        narrow = self.conv1(maps)
        first, *others = self.conv2 or (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        fused = self.gate(first(narrow))
        for stream in others:
            fused = fused + self.gate(stream(narrow))
        residual = self.conv3(fused)
        if self.norm == "inside":
            return functional.relu(self.IN(residual) + self.downsample(maps))
        return functional.relu(self.IN(residual + self.downsample(maps)))


class ChannelGate(nn.Module):
    """Weighs the channels of each picture: x * sigmoid(W2 relu(W1 mean(x))), (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _GATE_NARROWING, 1)
        self.fc2 = nn.Conv2d(channels // _GATE_NARROWING, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        weights = self.fc2(functional.relu(self.fc1(functional.adaptive_avg_pool2d(maps, 1))))
        return maps * weights.sigmoid()


def _instance_norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


def _conv(
    came: int,
    channels: int,
    size: int = 1,
    *,
    stride: int = 1,
    norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
    relu: bool = True,
) -> nn.Sequential:
    """A convolution, its norm and its activation."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(came, channels, size, stride=stride, padding=size // 2, bias=False)
    )
    if norm is not None:
        layers["bn"] = norm(channels)
    if relu:
        layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def _light_conv(channels: int) -> nn.Sequential:
    """A 3x3 convolution in two factors: across channels first, then within each."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, channels, 1, bias=False),
            conv2=nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels),
            bn=nn.BatchNorm2d(channels),
            relu=nn.ReLU(inplace=True),
        )
    )
