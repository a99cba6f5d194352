"""torchvision's networks as backbones: the five of arXiv 1910.09458 against torchvision's own forward, and the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from reid_lightning.bundle import bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel, check_input_size
from reid_lightning.models.torchvision_networks import torchvision_weights_url

CONF = Path(__file__).resolve().parents[2] / "conf"


def cut(name: str, **options: object) -> ReIDModel:
    arguments: dict[str, object] = {"ibn": None, "last_stride": 2, "pooling": "avg", "neck": "none"}
    return ReIDModel(f"torchvision/{name}", **arguments | options)


@pytest.mark.parametrize(
    ("choice", "dim", "last", "size"),
    [
        ("densenet201", 1920, "classifier", (32, 32)),
        ("resnet18", 512, "fc", (32, 48)),
        ("alexnet", 4096, "classifier.6", (64, 80)),
        ("vgg16", 4096, "classifier.6", (32, 32)),
        ("inception_v3", 2048, "fc", (80, 75)),
    ],
)
def test_embeddings_of_the_papers_networks_are_what_torchvisions_last_layer_gets(
    choice: str, dim: int, last: str, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    with initialize_config_dir(str(CONF), version_base=None):
        model = instantiate(compose(overrides=[f"+model={choice}"]).model).eval()
    with torch.device("meta"):  # costs nothing, then shares the weights
        options = {"transform_input": True, "init_weights": False} if choice == "inception_v3" else {}
        whole = torchvision.models.get_model(choice, **options).eval()
    loaded = whole.load_state_dict(model.backbone.state_dict(), strict=False, assign=True)
    assert not loaded.unexpected_keys
    missing = {key for key in loaded.missing_keys if not key.startswith("AuxLogits.")}
    assert missing == {f"{last}.weight", f"{last}.bias"}

    received = []
    whole.get_submodule(last).register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
    whole.get_submodule(last).to_empty(device="cpu")
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        whole(images)
        features, embeddings = model(images)
        assert torch.equal(features, received[0]) and torch.equal(embeddings, features)
        assert features.shape == (2, dim) == (2, model.embedding_dim)
        assert features.std(dim=0).max() > 0
        channels_last = model.to(memory_format=torch.channels_last).embed(images)
    torch.testing.assert_close(channels_last, torch.nn.functional.normalize(features), atol=1e-5, rtol=1e-4)


def test_a_seed_gives_the_weights_that_it_gives_torchvision() -> None:
    torch.manual_seed(3)
    expected = torchvision.models.resnet18().state_dict()
    torch.manual_seed(3)
    state = cut("resnet18").backbone.state_dict()
    assert set(expected) - set(state) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, expected[key]) for key, value in state.items())


@pytest.mark.parametrize(("name", "size"), [("alexnet", 64), ("inception_v3", 80), ("googlenet", 32)])
def test_training_gives_vectors_and_a_gradient_to_every_parameter(name: str, size: int) -> None:
    torch.manual_seed(0)
    model = cut(name).train()
    embeddings = model(torch.randn(2, 3, size, size)).embeddings
    embeddings.square().mean().backward()
    assert embeddings.shape == (2, model.embedding_dim)
    assert [key for key, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize(
    ("name", "smallest"), [("densenet201", 29), ("alexnet", 63), ("vgg16", 32), ("inception_v3", 75)]
)
def test_too_small_pictures_are_refused_from_the_size_that_the_configs_name(name: str, smallest: int) -> None:
    with torch.device("meta"):
        model = cut(name)
        check_input_size(model, height=smallest, width=smallest)
        with pytest.raises(ReIDError, match=rf"torchvision/{name}' cannot take .*{smallest - 1}.*input\.height"):
            check_input_size(model, height=smallest - 1, width=smallest - 1)
    assert f"({smallest} or more)" in (CONF / "model" / f"{name}.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "dim"),
    [("mobilenet_v3_small", 1024), ("convnext_tiny", 768), ("maxvit_t", 512), ("swin_t", 768), ("vit_b_32", 768)],
)
def test_any_network_that_ends_in_a_linear_layer_works(name: str, dim: int) -> None:
    with torch.device("meta"):
        assert cut(name).embedding_dim == dim


def test_a_part_of_a_network_gives_its_maps_and_loads_by_key(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = torchvision.models.mobilenet_v3_small().eval()
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    model = cut("mobilenet_v3_small.features", pretrained=str(tmp_path / "weights.pth")).eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(model(images).features, whole.features(images).mean(dim=(2, 3)))
    assert torchvision_weights_url("torchvision/mobilenet_v3_small.features").endswith(
        "mobilenet_v3_small-047dcff4.pth"
    )
    with pytest.raises(ReIDError, match=r"no part 'feature'; its parts are torchvision/mobilenet_v3_small\.features, "):
        cut("mobilenet_v3_small.feature")


def test_reduction_and_neck_can_follow() -> None:
    model = cut("shufflenet_v2_x0_5", embedding_dim=16, neck="bnneck").eval()
    assert model.embed(torch.randn(2, 3, 64, 64)).shape == (2, 16)


def test_a_bundle_brings_the_network_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = cut("mobilenet_v3_small").eval()
    bundle.save_bundle(tmp_path / "bundle", model, Preprocessing(64, 48), metrics={}, data={})
    loaded = bundle.open_model(tmp_path / "bundle")
    assert loaded.options.architecture["backbone"] == "torchvision/mobilenet_v3_small"
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        assert torch.equal(loaded.model.embed(images), model.embed(images))


def test_published_weights_are_those_of_imagenet() -> None:
    files = {
        "densenet201": "densenet201-c1103571.pth",
        "resnet18": "resnet18-f37072fd.pth",
        "alexnet": "alexnet-owt-7be5be79.pth",
        "vgg16": "vgg16-397923af.pth",
        "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    }
    for name, file in files.items():
        assert torchvision_weights_url(f"torchvision/{name}") == f"https://download.pytorch.org/models/{file}"


def test_unknown_names_come_back_with_close_ones() -> None:
    with pytest.raises(ReIDError, match=r"'torchvision/densenet210' is no .*; did you mean torchvision/densenet201"):
        cut("densenet210")
    with pytest.raises(ReIDError, match=r"'torchvision/\?\?\?' is no .* one of .*'vgg16'"):
        cut("???")
    with pytest.raises(ReIDError, match=r"'alexnet' is no timm network; did you mean torchvision/alexnet"):
        ReIDModel("alexnet", ibn=None, last_stride=2)
    with pytest.raises(ReIDError, match=r"squeezenet1_1' does not end in a linear layer but in AdaptiveAvgPool2d"):
        cut("squeezenet1_1")


@pytest.mark.parametrize("options", [{"ibn": "a"}, {"last_stride": 1}])
def test_ibn_and_last_stride_are_for_timm(options: dict[str, object]) -> None:
    with pytest.raises(ReIDError, match=r"'torchvision/resnet18' with ibn=.* model\.ibn=null and model\.last_stride=2"):
        cut("resnet18", **options)


def test_weights_of_the_other_library_are_refused() -> None:
    with pytest.raises(ReIDError, match=r"pretrained='timm' with .*set model\.pretrained=torchvision"):
        cut("resnet18", pretrained="timm")
    with pytest.raises(ReIDError, match=r"pretrained='torchvision' with .*'resnet18', which is timm's"):
        ReIDModel("resnet18", ibn=None, pretrained="torchvision")
    with pytest.raises(ReIDError, match=r"published weights for .* not for 'torchvision/resnet18'"):
        cut("resnet18", pretrained="ibn_net")
