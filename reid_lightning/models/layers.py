"""The layers of a backbone in order, from the picture to the features: what is frozen first and learns slowest."""

from __future__ import annotations

from typing import Any

from timm.models import group_parameters
from torch import nn

from reid_lightning.errors import ReIDError

_WITH_THE_ONE_BEFORE = (99999,)  # timm's mark for parameters that belong to the layer before them
# torchvision's networks do not say how their parameters are grouped, as timm's do; this is timm's way of saying it.
_TORCHVISION = {
    "stem": r"^(?:conv1|bn1|conv_proj|class_token|encoder\.pos_embedding|features\.conv0|features\.norm0)(?:\.|$)",
    "blocks": [
        (r"^layer(\d+)\.(\d+)", None),  # ResNet, ResNeXt
        (r"^features\.denseblock(\d+)\.denselayer(\d+)", None),
        (r"^features\.transition(\d+)", _WITH_THE_ONE_BEFORE),
        (r"^encoder\.layers\.encoder_layer_(\d+)", None),  # ViT
        (r"^features\.(\d+)", None),  # AlexNet, VGG, and stages of ConvNeXt, EfficientNet, MobileNet, Swin
    ],
    "head": r"^classifier\.(\d+)",  # AlexNet, VGG
}


def ordered_layers(backbone: nn.Module) -> list[list[str]]:
    """Names of a backbone's parameters by layer: the stem, then block after block.

    The order is the network's own `group_matcher` (timm's way), or what is known of torchvision's networks. Raises
    ReIDError where neither says an order.
    """
    of_timm: Any = getattr(backbone, "group_matcher", None)
    matcher = _TORCHVISION if of_timm is None else of_timm(coarse=False)
    groups = group_parameters(backbone, matcher)
    if len(groups) < 3:
        raise ReIDError(
            f"the order of the layers of a {type(backbone).__name__} is not known, so it can neither learn at "
            "layer-wise rates nor be frozen by a number of layers; set module.layer_decay=null and name the layers of "
            "module.freeze"
        )
    return [groups[depth] for depth in sorted(groups)]
