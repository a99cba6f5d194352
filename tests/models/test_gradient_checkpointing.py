"""Gradient checkpointing: the same gradients, statistics and random draws as without it, and less kept in between."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel


def pair(backbone: str, *, ibn: str | None = None, **arguments: object) -> tuple[ReIDModel, ReIDModel]:
    """The same network without and with gradient checkpointing."""
    plain = ReIDModel(backbone, ibn=ibn, last_stride=2, pooling="avg", **arguments)
    checkpointed = ReIDModel(backbone, ibn=ibn, last_stride=2, pooling="avg", gradient_checkpointing=True, **arguments)
    checkpointed.load_state_dict(plain.state_dict())
    return plain, checkpointed


def train_step(model: nn.Module) -> int:
    """Forward and backward pass; returns the bytes of activations that autograd keeps between the two."""
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    images = torch.rand(4, 3, 64, 64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(images).embeddings.square().mean()
    loss.backward()
    return sum(kept.values())


@pytest.mark.parametrize(
    ("backbone", "ibn"),
    [
        ("resnet18", "a"),
        ("resnet18", "b"),
        ("test_resnet", None),
        ("test_efficientnet", None),
        ("densenet121", None),
        ("torchvision/resnet18", None),
        ("osnet_x0_25", None),
        ("test_vit", None),
        ("test_convnext", None),
    ],
)
def test_gradients_and_statistics_are_the_same(backbone: str, ibn: str | None) -> None:
    torch.manual_seed(0)
    plain, checkpointed = pair(backbone, ibn=ibn)
    assert train_step(checkpointed) < train_step(plain)
    for ours, theirs in zip(checkpointed.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)
    state = plain.state_dict()
    assert state.keys() == checkpointed.state_dict().keys()
    for name, value in checkpointed.state_dict().items():  # num_batches_tracked among them
        assert torch.equal(value, state[name]), name


def test_most_activations_are_not_kept() -> None:
    plain, checkpointed = pair("resnet18", mixstyle={"after": ["layer1"], "p": 1.0})
    assert train_step(checkpointed) < 0.6 * train_step(plain)


def test_random_draws_inside_blocks_and_mixing_after_them_are_repeated() -> None:
    plain, checkpointed = pair("resnet18", mixstyle={"after": ["layer1", "layer2.0"], "p": 1.0})
    for model in (plain, checkpointed):
        model.backbone.layer1[0].drop_block = nn.Dropout(0.5)
        train_step(model)
    for ours, theirs in zip(checkpointed.parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)


def test_a_frozen_part_and_evaluation_go_through() -> None:
    plain, checkpointed = pair("test_resnet")
    for model in (plain, checkpointed):
        model.backbone.layer1.requires_grad_(False)
        model.backbone.eval()  # as in a freeze warm-up: statistics stay, gradients flow
        train_step(model)
    gradients = [parameter.grad for parameter in checkpointed.backbone.parameters() if parameter.requires_grad]
    assert all(gradient is not None for gradient in gradients)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(checkpointed.eval().embed(images), plain.eval().embed(images))


def test_a_copy_is_independent() -> None:
    _, checkpointed = pair("test_resnet")
    duplicate = copy.deepcopy(checkpointed)  # what averaging of weights does
    train_step(duplicate)
    assert all(parameter.grad is None for parameter in checkpointed.parameters())
    assert not torch.equal(duplicate.backbone.bn1.running_mean, checkpointed.backbone.bn1.running_mean)


def test_a_network_that_cannot_is_named() -> None:
    with torch.device("meta"), pytest.raises(ReIDError, match="gradient_checkpointing is not known for a VGG"):
        ReIDModel("torchvision/vgg11", ibn=None, last_stride=2, gradient_checkpointing=True)
