"""The parameters an optimiser gets: what decays and what does not, and how fast each layer learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.layers import ordered_layers


def parameter_groups(module: nn.Module, *, layer_decay: float | None = None) -> list[dict[str, Any]]:
    """Trainable parameters in groups of one weight decay and one share of the learning rate.

    Weight decay is for tensors of two or more dimensions, less those that a network wants without it (its
    `no_weight_decay()`: position embeddings, class tokens); the other groups say `weight_decay: 0`.

    `layer_decay`: None, or d between 0 and 1: of L layers of the backbone of the `ReIDModel` in `module`, layer
    i = 1, ..., L learns at d^(L + 1 - i) of the learning rate, and all that is not backbone at the full rate; groups
    then carry their share as `lr_scale`, which `build_optimizer` applies. Source: Bao et al., "BEiT", ICLR 2022, as in
    timm. Raises ReIDError for other values and for networks whose layers have no known order.
    """
    trainable = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not trainable:
        raise ReIDError("the model and the loss have no trainable parameter; nothing can be trained.")
    undecayed = _named_without_decay(module)
    scales = {} if layer_decay is None else _layer_scales(module, layer_decay)
    groups: dict[tuple[float, bool], list[Parameter]] = {}
    for name, parameter in trainable:
        decays = parameter.ndim >= 2 and not any(fnmatchcase(name, pattern) for pattern in undecayed)
        groups.setdefault((scales.get(name, 1.0), decays), []).append(parameter)
    return [
        {"params": groups[scale, decays]}
        | ({} if decays else {"weight_decay": 0.0})
        | ({} if layer_decay is None else {"lr_scale": scale})
        for scale, decays in sorted(groups, reverse=True)
    ]


def build_optimizer(
    build: Callable[[Iterable[dict[str, Any]]], Optimizer], module: nn.Module, *, layer_decay: float | None = None
) -> Optimizer:
    """The optimiser that `build` makes of the parameter groups of `module`, each group at its own learning rate.

    Schedules that multiply the rate a group starts with, as ours do, keep the shares.
    """
    optimizer = build(parameter_groups(module, layer_decay=layer_decay))
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group.pop("lr_scale", 1.0)  # not in place: a rate may be one tensor for all groups
    return optimizer


def _named_without_decay(module: nn.Module) -> list[str]:
    return [
        f"{prefix}.{pattern}" if prefix else pattern
        for prefix, submodule in module.named_modules()
        if hasattr(submodule, "no_weight_decay")
        for pattern in submodule.no_weight_decay()
    ]


def _layer_scales(module: nn.Module, layer_decay: float) -> dict[str, float]:
    if isinstance(layer_decay, bool) or not isinstance(layer_decay, int | float) or not 0 < layer_decay <= 1:
        raise ReIDError(
            f"layer_decay={layer_decay!r}: expected a number above 0 and up to 1, such as 0.75, or null for one rate"
        )
    path, model = next((path, model) for path, model in module.named_modules() if isinstance(model, ReIDModel))
    prefix = f"{path}.backbone." if path else "backbone."
    layers = ordered_layers(model.backbone)
    return {prefix + name: layer_decay ** (len(layers) - depth) for depth, names in enumerate(layers) for name in names}
