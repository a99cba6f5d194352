"""Parameter groups: who decays, who learns how fast, and what becomes of the rates under a schedule."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.training.parameter_groups import build_optimizer, parameter_groups


class Training(nn.Module):
    """A model and a loss with weights of its own, as ReIDModule holds them."""

    def __init__(self, backbone: str, **arguments: object) -> None:
        super().__init__()
        self.model = ReIDModel(backbone, ibn=None, last_stride=2, **arguments)
        self.loss = nn.Linear(8, 5)


def described(module: nn.Module, **arguments: object) -> dict[str, tuple[float, bool]]:
    """Share of the rate and whether it decays, for every parameter in the groups."""
    names = {parameter: name for name, parameter in module.named_parameters()}
    found = {}
    for group in parameter_groups(module, **arguments):
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = (group.get("lr_scale", 1.0), "weight_decay" not in group)
    return found


@pytest.fixture(scope="module")
def resnet() -> Training:
    return Training("resnet18", embedding_dim=8)


@pytest.fixture(scope="module")
def vit() -> Training:
    return Training("test_vit", side_information={"cameras": ["a", "b"]})


def test_norms_and_biases_do_not_decay(resnet: Training) -> None:
    groups = parameter_groups(resnet)
    assert [sorted(group) for group in groups] == [["params"], ["params", "weight_decay"]]
    assert groups[1]["weight_decay"] == 0.0
    found = described(resnet)
    assert {name for name, parameter in resnet.named_parameters() if parameter.requires_grad} == found.keys()
    for name, parameter in resnet.named_parameters():
        if parameter.requires_grad:
            assert found[name] == (1.0, parameter.ndim >= 2)


def test_what_a_network_wants_without_decay(vit: Training) -> None:
    found = described(vit)
    decay = [name for name, (_, decays) in found.items() if decays]
    for name in ("backbone.pos_embed", "backbone.cls_token", "side_information.table"):
        assert not found[f"model.{name}"][1] and dict(vit.named_parameters())[f"model.{name}"].ndim > 2
    assert "model.backbone.patch_embed.proj.weight" in decay and "loss.weight" in decay


def test_layers_learn_slower_the_deeper_they_lie(resnet: Training) -> None:
    found = described(resnet, layer_decay=0.5)
    order = ["conv1", "layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1"]
    for depth, layer in enumerate(order):
        scales = {scale for name, (scale, _) in found.items() if name.startswith(f"model.backbone.{layer}.")}
        assert scales == {0.5 ** (9 - depth)}
    assert found["model.backbone.bn1.bias"] == (0.5**9, False)
    for name in ("model.reduction.weight", "model.neck.weight", "model.pool.p", "loss.weight", "loss.bias"):
        assert found[name][0] == 1.0
    plain = described(resnet)
    assert plain.keys() == found.keys() and all(found[name][1] == decays for name, (_, decays) in plain.items())


def test_a_vision_transformer_has_its_stem_and_a_layer_for_each_block(vit: Training) -> None:
    found = described(vit, layer_decay=0.8)
    for name in ("cls_token", "pos_embed", "patch_embed.proj.bias"):
        assert found[f"model.backbone.{name}"][0] == pytest.approx(0.8**7)
    for block in range(6):
        assert found[f"model.backbone.blocks.{block}.attn.qkv.weight"][0] == pytest.approx(0.8 ** (6 - block))
    assert found["model.backbone.norm.weight"][0] == pytest.approx(0.8)
    assert found["model.side_information.table"][0] == 1.0


@pytest.mark.parametrize(
    ("backbone", "layers", "first", "last"),
    [
        ("torchvision/resnet18", 9, "conv1.weight", "layer4.1.bn2.weight"),
        ("torchvision/vgg11", 10, "features.0.weight", "classifier.3.weight"),
        ("torchvision/densenet121", 60, "features.conv0.weight", "features.norm5.weight"),
        ("torchvision/vit_b_16", 14, "conv_proj.weight", "encoder.ln.weight"),
        ("densenet121", 60, "features.conv0.weight", "features.norm5.weight"),
    ],
)
def test_torchvisions_networks_have_layers_too(backbone: str, layers: int, first: str, last: str) -> None:
    with torch.device("meta"):
        found = described(Training(backbone), layer_decay=0.9)
    assert found[f"model.backbone.{first}"][0] == pytest.approx(0.9**layers)
    assert found[f"model.backbone.{last}"][0] == pytest.approx(0.9)
    assert len({round(scale, 9) for scale, _ in found.values()}) == layers + 1


@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)])
def test_rates_keep_their_shares_under_a_schedule(resnet: Training, rate: float | torch.Tensor) -> None:
    optimizer = build_optimizer(lambda groups: torch.optim.AdamW(groups, lr=rate), resnet, layer_decay=0.5)
    shares = sorted({float(group["lr"]) / 0.1 for group in optimizer.param_groups})
    assert shares == pytest.approx([0.5**depth for depth in range(9, -1, -1)])
    schedule = LambdaLR(optimizer, lambda step: 1.0 if step == 0 else 0.25)
    optimizer.step()
    schedule.step()
    assert sorted({float(group["lr"]) / 0.025 for group in optimizer.param_groups}) == pytest.approx(shares)
    assert not any("lr_scale" in group for group in optimizer.param_groups)


def test_a_saved_optimiser_goes_on_at_its_rates(resnet: Training) -> None:
    def build() -> torch.optim.Optimizer:
        return build_optimizer(lambda groups: torch.optim.SGD(groups, lr=1.0), resnet, layer_decay=0.5)

    first, second = build(), build()
    for group in first.param_groups:
        group["lr"] *= 0.5
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [group["lr"] for group in second.param_groups] == [group["lr"] for group in first.param_groups]


def test_one_step_moves_each_layer_by_its_own_rate() -> None:
    module = Training("resnet18", embedding_dim=8)
    optimizer = build_optimizer(lambda groups: torch.optim.SGD(groups, lr=1.0), module, layer_decay=0.5)
    parameters = dict(module.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, moved in (("model.backbone.layer4.1.conv1.weight", 0.5), ("model.backbone.conv1.weight", 0.5**9)):
        torch.testing.assert_close(
            before[name] - parameters[name], torch.full_like(before[name], moved), atol=2e-6, rtol=0
        )
    torch.testing.assert_close(before["loss.bias"] - parameters["loss.bias"], torch.ones(5))


def test_frozen_parameters_are_in_no_group() -> None:
    module = Training("resnet18", embedding_dim=8)
    module.model.backbone.requires_grad_(False)
    owners = {name.rsplit(".", 1)[0] for name in described(module)}
    assert owners == {"model.pool", "model.reduction", "model.neck", "loss"}
    module.requires_grad_(False)
    with pytest.raises(ReIDError, match="no trainable parameter"):
        parameter_groups(module)


def test_wrong_values_are_named(resnet: Training) -> None:
    for value in (0.0, 1.5, True, "0.7"):
        with pytest.raises(ReIDError, match="expected a number above 0 and up to 1"):
            parameter_groups(resnet, layer_decay=value)
    with torch.device("meta"):
        module = Training("torchvision/googlenet")
    with pytest.raises(ReIDError, match="order of the layers of a GoogLeNet is not known"):
        parameter_groups(module, layer_decay=0.7)
