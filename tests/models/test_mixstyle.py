"""MixStyle against a slow loop and one number by hand, its draws, and that nothing of it outlives training."""

from __future__ import annotations

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel, check_input_size, mixstyle
from reid_lightning.models.mixstyle import MixStyle, mix_styles


def test_two_pictures_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 3.0]]], [[[10.0, 18.0]]]])  # means 2 and 14, deviations 1 and 4
    mixed = mix_styles(maps, torch.tensor([1, 0]), torch.tensor([0.5, 0.25]))
    # Deviation 2.5 around 8, and 1.75 around 5.
    torch.testing.assert_close(mixed, torch.tensor([[[[5.5, 10.5]]], [[[3.25, 6.75]]]]), atol=1e-4, rtol=0)


def test_mixing_equals_a_slow_loop() -> None:
    torch.manual_seed(0)
    maps, partners, shares = torch.randn(3, 2, 4, 5) * 3 + 1, torch.tensor([2, 1, 0]), torch.tensor([0.3, 0.9, 0.0])
    mixed = mix_styles(maps, partners, shares)
    for picture, (partner, share) in enumerate(zip(partners.tolist(), shares.tolist(), strict=True)):
        for channel in range(2):
            ours, theirs = maps[picture, channel], maps[partner, channel]
            deviations = [((one - one.mean()).square().mean() + 1e-6).sqrt() for one in (ours, theirs)]
            scale = share * deviations[0] + (1 - share) * deviations[1]
            shift = share * ours.mean() + (1 - share) * theirs.mean()
            expected = scale * (ours - ours.mean()) / deviations[0] + shift
            torch.testing.assert_close(mixed[picture, channel], expected, atol=1e-5, rtol=1e-5)


def test_a_share_of_1_changes_no_bit_and_flat_maps_stay_finite() -> None:
    maps = torch.randn(4, 3, 5, 5)
    maps[0] = 7.0
    partners = torch.tensor([1, 0, 3, 2])
    assert torch.equal(mix_styles(maps, partners, torch.ones(4)), maps)
    assert torch.isfinite(mix_styles(maps, partners, torch.zeros(4))).all()
    assert torch.isfinite(mix_styles(maps[:, :, :1, :1], partners, torch.zeros(4))).all()  # one position, no variance


def test_gradients_pass_by_the_statistics() -> None:
    maps = torch.randn(2, 1, 3, 3, requires_grad=True)
    mix_styles(maps, torch.tensor([1, 0]), torch.tensor([0.0, 1.0])).sum().backward()
    deviations = (maps.detach().var(dim=(1, 2, 3), correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(maps.grad[0], torch.full((1, 3, 3), float(deviations[1] / deviations[0])))
    torch.testing.assert_close(maps.grad[1], torch.ones(1, 3, 3))


def test_bfloat16_and_channels_last_come_back() -> None:
    maps = torch.randn(4, 8, 3, 3, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    mixed = mix_styles(maps, torch.tensor([1, 0, 3, 2]), torch.full((4,), 0.5))
    assert mixed.dtype == torch.bfloat16 and mixed.is_contiguous(memory_format=torch.channels_last)


def test_draws() -> None:
    torch.manual_seed(0)
    style, maps = MixStyle(["layer1"], p=0.3, alpha=0.1), torch.randn(16, 2, 3, 3)
    results = [style(maps) for _ in range(400)]
    changed = [not torch.equal(result, maps) for result in results]
    assert 0.22 < sum(changed) / 400 < 0.38  # three deviations of a share of 0.3 in 400 draws
    assert torch.equal(style.eval()(maps), maps)
    style.train()
    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        runs.append(torch.stack([style(maps) for _ in range(5)]))
    assert torch.equal(*runs)
    assert not torch.equal(MixStyle(["layer1"], p=1.0)(maps), maps)
    assert torch.equal(MixStyle(["layer1"], p=0.0)(maps), maps)


def test_partners_are_a_permutation_and_shares_from_the_beta_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(mixstyle, "mix_styles", lambda maps, *draws: drawn.append(draws))
    torch.manual_seed(0)
    MixStyle(["layer1"], p=1.0, alpha=0.1)(torch.zeros(4000, 1, 1, 1))
    partners, shares = drawn[0]
    assert sorted(partners.tolist()) == list(range(4000)) != partners.tolist()
    # Beta(0.1, 0.1) is symmetric and below 0.01 with probability 0.320; three deviations of 4000 draws are 0.024.
    assert abs((shares < 0.01).float().mean() - 0.320) < 0.024 and abs((shares > 0.99).float().mean() - 0.320) < 0.024


@pytest.mark.parametrize("backbone", ["resnet18", "torchvision/resnet18"])
def test_it_acts_in_training_only_and_leaves_no_trace(backbone: str) -> None:
    torch.manual_seed(0)
    plain = ReIDModel(backbone, ibn=None, last_stride=2)
    torch.manual_seed(0)
    styled = ReIDModel(backbone, ibn=None, last_stride=2, mixstyle={"after": ["layer1", "layer2"], "p": 1.0})
    assert styled.architecture == plain.architecture
    assert styled.state_dict().keys() == plain.state_dict().keys()
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(styled(images).features, plain(images).features, atol=1e-3)
        plain.load_state_dict(styled.state_dict())
        assert torch.equal(styled.eval().embed(images), plain.eval().embed(images))


def test_a_frozen_layer_is_still_mixed_after() -> None:
    model = ReIDModel("resnet18", ibn=None, last_stride=2, mixstyle={"after": ["layer1"], "p": 1.0})
    outputs = []
    model.backbone.layer1.register_forward_hook(lambda layer, inputs, output: outputs.append(output))
    model.backbone.eval()
    with torch.no_grad():
        images = torch.rand(4, 3, 32, 32)
        model(images)
        model.eval()(images)
    assert not torch.allclose(*outputs)


def test_what_does_not_fit_is_named() -> None:
    def build(backbone: str = "test_resnet", **mixstyle: object) -> ReIDModel:
        return ReIDModel(backbone, ibn=None, last_stride=2, mixstyle=mixstyle)

    with pytest.raises(ReIDError, match=r"'layer9', which ResNet does not have; its layers are conv1, bn1, .*layer4"):
        build(after=["layer9"])
    with pytest.raises(ReIDError, match="a VisionTransformer does not give any"):
        build("test_vit", after=["blocks.1"])
    with pytest.raises(ReIDError, match="expected a list of layers"):
        build(after="layer1")
    with pytest.raises(ReIDError, match=r"p=1.5: expected a probability"):
        build(after=["layer1"], p=1.5)
    with pytest.raises(ReIDError, match="alpha=0: expected a positive number"):
        build(after=["layer1"], alpha=0)
    with pytest.raises(ReIDError, match="unexpected keyword argument 'before'"):
        build(after=["layer1"], before=["layer2"])
    # The size check before a run shows what building cannot.
    with pytest.raises(ReIDError, match="does not put out maps"):
        check_input_size(build("torchvision/resnet18", after=["fc"]), height=64, width=64)
