"""Files under the key names of other code bases, loaded into our networks: the same function of a picture comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from timm.layers import SEModule
from torch import Tensor, nn

from reid_lightning.errors import ReIDError
from reid_lightning.models.backbones import build_backbone
from reid_lightning.models.weight_names import common_prefix, translated


def make(name: str, pretrained: Path | None = None, *, ibn: str | None = None) -> nn.Module:
    return build_backbone(name, ibn=ibn, last_stride=2, pretrained=None if pretrained is None else str(pretrained))


def random_weights(name: str, *, ibn: str | None = None) -> dict[str, Tensor]:
    torch.manual_seed(7)
    return {key: torch.rand_like(value.float()) for key, value in make(name, ibn=ibn).state_dict().items()}


def differing(backbone: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    return [
        key
        for key, value in backbone.state_dict().items()
        if not key.endswith("num_batches_tracked") and not torch.equal(value, weights[key])
    ]


def test_a_prefix_is_the_one_under_which_most_names_are_wanted() -> None:
    wanted = ["conv1.weight", "bn1.weight", "layer1.0.conv1.weight"]
    assert common_prefix(["module.backbone." + key for key in wanted], wanted) == "module.backbone."
    assert common_prefix([*wanted, "layer1.0.bn1.weight"], wanted) == ""
    assert common_prefix(["student.conv1.weight", "teacher.conv1.weight"], wanted) == "student."
    assert common_prefix(["head.weight"], wanted) == common_prefix([], wanted) == ""


def test_squeeze_and_excitation_of_ibn_net_is_timms_with_a_bias_of_zero() -> None:
    torch.manual_seed(0)
    theirs = {"layer1.0.se.fc.0.weight": torch.randn(2, 8), "layer1.0.se.fc.2.weight": torch.randn(8, 2)}
    module = SEModule(8, rd_channels=2)
    prefix = "layer1.0.se."
    module.load_state_dict({key.removeprefix(prefix): value for key, value in translated(theirs).items()})
    maps = torch.randn(3, 8, 4, 5)
    down, up = theirs.values()
    weights = ((maps.mean(dim=(2, 3)) @ down.T).relu() @ up.T).sigmoid()
    torch.testing.assert_close(module(maps), maps * weights[:, :, None, None])


def test_a_squeeze_and_excitation_network_of_the_ibn_net_release_loads(tmp_path: Path) -> None:
    weights = random_weights("seresnet18", ibn="a")
    theirs = {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}
    for key, value in weights.items():
        if ".se." in key and key.endswith("bias"):
            weights[key] = torch.zeros_like(value)
        else:
            name = key.replace("se.fc1.", "se.fc.0.").replace("se.fc2.", "se.fc.2.")
            theirs[name] = value[:, :, 0, 0] if ".se." in key else value
    torch.save(theirs, tmp_path / "se_resnet18_ibn_a.pth")
    backbone = make("seresnet18", tmp_path / "se_resnet18_ibn_a.pth", ibn="a")
    assert differing(backbone, weights) == []
    report = backbone.weights_report
    assert (report.missing, report.unused, report.classifier) == ((), (), ("fc.weight", "fc.bias"))


def test_a_checkpoint_of_fast_reid_loads(tmp_path: Path) -> None:
    weights = random_weights("resnet18", ibn="a")
    others = ["backbone.NL_2.0.g.weight", "heads.bottleneck.0.weight", "heads.pool_layer.p", "heads.weight"]
    content = {
        "model": {"backbone." + key: value for key, value in weights.items()} | dict.fromkeys(others, torch.rand(3)),
        "iteration": 7,
    }
    torch.save(content, tmp_path / "model_best.pth")
    backbone = make("resnet18", tmp_path / "model_best.pth", ibn="a")
    assert differing(backbone, weights) == []
    assert set(backbone.weights_report.unused) == {"NL_2.0.g.weight", *others[1:3]}
    assert backbone.weights_report.classifier == ("heads.weight",)


def test_the_global_branch_of_transreid_loads(tmp_path: Path) -> None:
    """With the jigsaw branch the trained last block and norm are called b1; those in base never changed."""
    weights = random_weights("test_vit")
    untrained = {key: torch.zeros(1) for key in weights if key.startswith(("blocks.5.", "norm."))}
    assert len(untrained) == 14
    state = {"base." + key: value for key, value in (weights | untrained).items()}
    for branch, shift in (("b1", 0.0), ("b2", 1.0)):
        for key in untrained:
            place = key.replace("blocks.5.", "0.") if key.startswith("blocks") else key.replace("norm.", "1.")
            state[f"{branch}.{place}"] = weights[key] + shift
    state |= {"base.sie_embed": torch.rand(160, 1, 64), "bottleneck.weight": torch.rand(64)}
    state["classifier.weight"] = torch.rand(576, 64)
    torch.save({"module." + key: value for key, value in state.items()}, tmp_path / "transformer_120.pth")
    backbone = make("test_vit", tmp_path / "transformer_120.pth")
    assert differing(backbone, weights) == []
    unused = set(backbone.weights_report.unused)
    assert {"sie_embed", "module.bottleneck.weight", "module.b2.0.norm1.weight"} <= unused and len(unused) == 16
    assert backbone.weights_report.classifier == ("module.classifier.weight",)


def test_position_embeddings_of_another_picture_size_are_resampled(tmp_path: Path) -> None:
    weights = random_weights("test_vit")
    assert weights["pos_embed"].shape == (1, 1 + 10 * 10, 64)  # 160 pixels, patches of 16
    ramp = torch.linspace(0.0, 1.0, 20)[:, None, None].expand(20, 20, 64)
    weights["pos_embed"] = torch.cat((torch.full((1, 64), 5.0), ramp.reshape(400, 64)))[None]
    torch.save(weights, tmp_path / "320.pth")
    embedding = make("test_vit", tmp_path / "320.pth").pos_embed.detach()[0]
    torch.testing.assert_close(embedding[0], torch.full((64,), 5.0))  # the class token has no place
    grid = embedding[1:].reshape(10, 10, 64)
    # Each place is the middle of two of the 20: (2 i + 0.5) / 19, but near the border.
    torch.testing.assert_close(grid[2:-2, :, 0], ((2 * torch.arange(2, 8) + 0.5) / 19)[:, None].expand(6, 10))
    assert torch.allclose(grid, grid[:, :1, :1].expand_as(grid))

    weights["pos_embed"] = torch.rand(1, 1 + 16 * 8, 64)
    torch.save(weights, tmp_path / "person.pth")
    with pytest.raises(
        ReIDError, match=r"person\.pth is for another network; shapes differ: pos_embed: \(1, 129, 64\)"
    ):
        make("test_vit", tmp_path / "person.pth")


def test_a_checkpoint_of_clip_reid_loads(tmp_path: Path) -> None:
    name = "vit_xsmall_patch16_clip_224"
    weights = random_weights(name)
    theirs: dict[str, Tensor] = {}
    for key, value in weights.items():
        for ours, clip in (
            ("norm_pre.", "ln_pre."),
            ("norm.", "ln_post."),
            ("patch_embed.proj.", "conv1."),
            ("cls_token", "class_embedding"),
            ("pos_embed", "positional_embedding"),
            (".norm", ".ln_"),
            (".qkv.", ".in_proj_"),
            ("attn.proj.", "attn.out_proj."),
            ("fc1.", "c_fc."),
            ("fc2.", "c_proj."),
            ("blocks.", "transformer.resblocks."),
        ):
            key = key.replace(ours, clip) if ours != "norm." or key.startswith("norm.") else key
        theirs["image_encoder." + key] = value
    theirs["image_encoder.class_embedding"] = weights["cls_token"][0, 0]
    theirs["image_encoder.positional_embedding"] = weights["pos_embed"][0]
    assert "image_encoder.transformer.resblocks.0.attn.in_proj_weight" in theirs
    others = {"image_encoder.proj": torch.rand(256, 512), "text_encoder.ln_final.weight": torch.rand(512)}
    torch.save(theirs | others | {"classifier_proj.weight": torch.rand(576, 512)}, tmp_path / "vit_clipreid.pth")
    backbone = make(name, tmp_path / "vit_clipreid.pth")
    assert differing(backbone, weights) == []
    report = backbone.weights_report
    assert (report.missing, set(report.unused)) == ((), {"proj", "text_encoder.ln_final.weight"})
    assert report.classifier == ("classifier_proj.weight",)


class DenseNetVeRi(nn.Module):
    """The form in which arXiv 1910.09458's code saves its network: parts `features` and `classifier`."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Linear(1920, 576)


def test_a_densenet_veri_file_loads_into_both_forms_of_the_network(tmp_path: Path) -> None:
    torch.manual_seed(7)
    theirs = DenseNetVeRi(torchvision.models.densenet201().features).eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + 0.5)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = theirs.features(images)
        for saved, name, expected in (
            (theirs, "torchvision/densenet201.features", maps),  # their latent space is the mean of this
            (nn.DataParallel(theirs), "torchvision/densenet201", maps.relu().mean(dim=(2, 3))),
        ):
            torch.save(saved.state_dict(), tmp_path / "VeRI_densenet_ft50.pth")
            backbone = make(name, tmp_path / "VeRI_densenet_ft50.pth").eval()
            torch.testing.assert_close(backbone(images), expected)
            report = backbone.weights_report
            assert (report.missing, report.unused, len(report.classifier)) == ((), (), 2)
