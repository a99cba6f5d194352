"""Frozen batch norms that convolutions compute: other costs, the same network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from reid_lightning.models import ReIDModel
from reid_lightning.models.conv_as_matmul import use_conv_as_matmul
from reid_lightning.models.folded_norms import fold_frozen_norms


def _network(name: str, **settings: object) -> ReIDModel:
    """In training, its batch norms frozen at statistics and weights that change what comes in."""
    torch.manual_seed(0)
    model = ReIDModel(name, **{"ibn": None, "last_stride": 2, "frozen_statistics": True, **settings})  # type: ignore[arg-type]
    for norm in _norms(model):
        for values in (norm.running_mean, norm.bias.data):
            values.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
        for values in (norm.running_var, norm.weight.data):
            values.uniform_(0.5, 2)  # type: ignore[union-attr]
    return _frozen(model)


def _frozen(model: ReIDModel) -> ReIDModel:
    model.train()
    for norm in _norms(model):
        norm.eval()
    return model


def _norms(model: ReIDModel) -> list[nn.BatchNorm2d]:
    return [module for module in model.backbone.modules() if isinstance(module, nn.BatchNorm2d)]


def _folded(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if "norm" in module.__dict__ and "WithNorm" in type(module).__name__]


def _step(model: ReIDModel, images: Tensor) -> list[Tensor]:
    """The backbone's maps and the gradient of every weight of it."""
    torch.manual_seed(1)  # of dropout
    maps = model.backbone(images)
    maps.sin().sum().backward()
    return [maps, *(weight.grad for weight in model.backbone.parameters() if weight.grad is not None)]


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("test_efficientnet", 0),  # norms with activations
        ("tf_efficientnet_lite0", 0),  # and padding as in TensorFlow
        ("torchvision/mobilenet_v2", 0),
        ("osnet_x0_25", 0),
        ("densenet121", 62),  # norms before convolutions
    ],
)
def test_a_folded_network_gives_the_same_numbers_and_gradients(name: str, left: int) -> None:
    apart, images = _network(name).double(), torch.randn(4, 3, 64, 64, dtype=torch.float64)
    folded = copy.deepcopy(apart)
    fold_frozen_norms(folded.backbone)
    assert len(_norms(apart)) - len(_folded(folded)) == left
    assert list(folded.state_dict()) == list(apart.state_dict())
    torch.testing.assert_close(_step(folded, images), _step(apart, images))


def test_convolutions_as_matrix_products_take_norms_along_too() -> None:
    apart, images = _network("resnet18"), torch.randn(2, 3, 32, 32)
    folded = fold_frozen_norms(use_conv_as_matmul(copy.deepcopy(apart)))
    assert {type(module).__name__ for module in _folded(folded)} == {"SmallMapConv2dWithNorm"}
    torch.testing.assert_close(_step(folded, images), _step(apart, images), rtol=1e-3, atol=1e-3)


def test_norms_that_learn_their_statistics_are_left_to_do_it() -> None:
    apart, images = _network("test_efficientnet"), torch.randn(4, 3, 64, 64)
    folded = fold_frozen_norms(copy.deepcopy(apart))
    for model in (apart, folded):
        model.frozen_statistics = False
        model.train()
        model(images)
    for ours, theirs in zip(folded.state_dict().values(), apart.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_evaluation_is_bit_for_bit_that_of_the_network_as_it_is() -> None:
    apart, images = _network("test_efficientnet").eval(), torch.randn(4, 3, 64, 64)
    assert torch.equal(fold_frozen_norms(copy.deepcopy(apart)).embed(images), apart.embed(images))


def test_a_copy_has_norms_of_its_own() -> None:
    folded, images = fold_frozen_norms(_network("test_efficientnet")), torch.randn(4, 3, 64, 64)
    before = folded(images).features
    with torch.no_grad():
        for norm in _norms(copied := copy.deepcopy(folded)):
            norm.weight.zero_()
    torch.testing.assert_close(folded(images).features, before)
    assert not torch.allclose(copied(images).features, before, atol=1e-3)


class _UsedTwice(nn.Module):
    """A convolution whose output goes past its norm as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        return self.bn(maps) + maps.relu()


def test_a_convolution_whose_output_is_used_elsewhere_is_left_alone() -> None:
    network = _UsedTwice()
    before = copy.deepcopy(network.state_dict())
    fold_frozen_norms(network)
    assert (type(network.conv), type(network.bn)) == (nn.Conv2d, nn.BatchNorm2d)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), "looked at only"
    assert network.training


def test_a_network_that_cannot_take_the_picture_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 65), nn.BatchNorm2d(4))
    assert [type(module) for module in fold_frozen_norms(network)] == [nn.Conv2d, nn.BatchNorm2d]
