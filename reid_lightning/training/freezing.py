"""Freezing layers of a backbone: their weights get no gradient, their statistics and dropout stay as in evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.layers import ordered_layers


def freeze_layers(model: ReIDModel, layers: Sequence[str] | int) -> list[str]:
    """Freeze layers of the backbone for good; returns the names of the parameters that no longer learn.

    `layers`: names, such as ["conv1", "bn1", "layer1"] or ["blocks.0"], each with all that lies in it, where "stem" is
    what stands before the first block; or a number n, for the first n of the stem and its blocks. Call it before an
    optimiser or DDP sees the parameters. Raises ReIDError for what the backbone does not have.
    """
    if isinstance(layers, bool | str) or not isinstance(layers, int | Sequence):
        raise ReIDError(f"freeze={layers!r}: expected a list of layers, such as [stem, layer1], or their number")
    parameters = dict(model.backbone.named_parameters())
    if isinstance(layers, int):
        frozen = _first_layers(model.backbone, layers) if layers else []
    else:
        frozen = [parameter for layer in layers for parameter in _inside(model.backbone, layer, list(parameters))]
    for name in frozen:
        parameters[name].requires_grad_(False)
    return frozen


def keep_frozen_in_eval(model: ReIDModel) -> None:
    """Put every frozen part of the backbone into evaluation mode; call it whenever training mode was switched on.

    A part is frozen when it has parameters and none of them learns. Batch norms in it keep their running statistics.
    """
    for module in model.backbone.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def _first_layers(backbone: nn.Module, count: int) -> list[str]:
    layers = ordered_layers(backbone)
    if not 0 < count <= len(layers):
        raise ReIDError(
            f"freeze={count}: expected 0 to {len(layers)}, as many layers as this {type(backbone).__name__} has: the "
            f"stem and {len(layers) - 1} blocks"
        )
    return [name for layer in layers[:count] for name in layer]


def _inside(backbone: nn.Module, layer: str, parameters: list[str]) -> list[str]:
    found = [name for name in parameters if name == layer or name.startswith(f"{layer}.")]
    if not found and layer == "stem":
        found = _first_layers(backbone, 1)
    if not found:
        known = dict.fromkeys(["stem", *(name.split(".")[0] for name in parameters)])
        raise ReIDError(
            f"freeze names {layer!r}, which this {type(backbone).__name__} does not have; its layers are "
            f"{', '.join(known)}"
        )
    return found
