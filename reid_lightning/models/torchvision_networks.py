"""torchvision's classification networks, cut before their last linear layer: its input is the embedding.

In this form arXiv 1910.09458 compares DenseNet201, ResNet18, AlexNet, VGG16 and InceptionV3 ("second-to-last layer").
"""

from __future__ import annotations

import difflib

import torchvision
from torch import nn

from reid_lightning.errors import ReIDError

PREFIX = "torchvision/"

# aux_logits: the auxiliary classifiers serve ImageNet training only. transform_input: the published weights of both
# expect (picture - 0.5) / 0.5, and the network converts from ImageNet's mean and deviation; always, so that the name
# alone says what a bundle computes. init_weights: torch's usual random weights reached the same loss in half the steps
# of these networks' own draw (a deviation of 0.1).
_INCEPTION_ARGUMENTS = {"aux_logits": False, "transform_input": True, "init_weights": False}
_ARGUMENTS = {"inception_v3": _INCEPTION_ARGUMENTS, "googlenet": _INCEPTION_ARGUMENTS}


def is_torchvision(name: str) -> bool:
    """Whether `name` asks for one of torchvision's networks: "torchvision/<its name there>"."""
    return name.startswith(PREFIX)


def torchvision_names() -> list[str]:
    """The classification networks of torchvision, by their names there."""
    return torchvision.models.list_models(module=torchvision.models)


def build_torchvision(name: str) -> nn.Module:
    """The network "torchvision/<name>", from images (B, 3, H, W) to vectors (B, C).

    "torchvision/<name>.<part>" is a part of it that takes pictures, such as "torchvision/densenet201.features", which
    gives maps. Weights are random, as torchvision draws them; keys are torchvision's, less those of what is cut off.
    Raises ReIDError for an unknown name (with close matches) and for a network that does not end in a linear layer.
    """
    architecture, _, part = name.removeprefix(PREFIX).partition(".")
    if architecture not in torchvision_names():
        close = [PREFIX + known for known in difflib.get_close_matches(architecture, torchvision_names(), n=5)]
        hint = f"did you mean {', '.join(close)}?" if close else f"expected {PREFIX} and one of {torchvision_names()}"
        raise ReIDError(f"backbone={name!r} is no classification network of torchvision; {hint}")
    network = torchvision.models.get_model(architecture, **_ARGUMENTS.get(architecture, {}))
    if part:
        return _part(network, part, name=name)
    path, last = list(network.named_modules())[-1]
    if not isinstance(last, nn.Linear):
        raise ReIDError(
            f"backbone={name!r} does not end in a linear layer but in {type(last).__name__} ({path}), so it has no "
            "second-to-last layer to take; choose another network"
        )
    network.set_submodule(path, nn.Identity())
    return network


def _part(network: nn.Module, part: str, *, name: str) -> nn.Module:
    try:
        return network.get_submodule(part)
    except AttributeError as error:
        known = ", ".join(f"{name.partition('.')[0]}.{child}" for child, _ in network.named_children())
        raise ReIDError(f"backbone={name!r}: the network has no part {part!r}; its parts are {known}") from error


def torchvision_weights_url(name: str) -> str:
    """Where torchvision's default ImageNet weights of the network `name` are published."""
    architecture = name.removeprefix(PREFIX).partition(".")[0]
    return torchvision.models.get_model_weights(architecture).DEFAULT.url
