"""Weights from files and from the published release, without a network: what loads, what is refused and how."""

from __future__ import annotations

import io
import logging
import socket
from email.message import Message
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from reid_lightning.bundle.bundle import save_bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.backbones import build_backbone
from reid_lightning.models.pretrained import preprocessing_mismatch


def make(pretrained: str | Path | None, *, ibn: str | None = "a", name: str = "resnet18") -> torch.nn.Module:
    return build_backbone(name, ibn=ibn, last_stride=2, pretrained=None if pretrained is None else str(pretrained))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    state = make(None).state_dict()
    return state | {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}


def same(backbone: torch.nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, weights[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize(
    ("wrapper", "prefix"), [(None, ""), ("state_dict", "module."), ("model", "model.backbone."), (None, "any.other.")]
)
def test_wrappers_prefixes_and_classifiers_are_stripped(
    tmp_path: Path, weights: dict[str, torch.Tensor], wrapper: str | None, prefix: str
) -> None:
    state = {prefix + key: value for key, value in weights.items()}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "weights.pth")
    backbone = make(tmp_path / "weights.pth")
    assert same(backbone, weights)
    report = backbone.weights_report
    assert (report.missing, report.unused, report.classifier) == ((), (), ("fc.weight", "fc.bias"))


def test_safetensors_load_and_the_counts_are_logged(
    tmp_path: Path, weights: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    save_file(weights | {"neck.bias": torch.rand(3)}, tmp_path / "weights.safetensors")
    with caplog.at_level(logging.INFO):
        assert same(make(tmp_path / "weights.safetensors"), weights)
    assert "112 tensors loaded, 0 of the backbone missing, 1 in the file unused" in caplog.text


def test_what_is_missing_in_a_file_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {key: value for key, value in timm.create_model("resnet18").state_dict().items() if "layer4.1" not in key}
    torch.save(state, tmp_path / "plain.pth")
    backbone = make(tmp_path / "plain.pth", ibn=None)
    assert torch.equal(backbone.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])
    assert "90 tensors loaded, 10 of the backbone missing" in caplog.text


def test_a_bundle_is_a_start_too_and_lacks_nothing_where_it_ends_early(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its network stops behind the last of its levels: what timm's whole one has beyond them is no mistake."""
    model = ReIDModel("resnet18", ibn=None, last_stride=2, levels=[2, 3])
    folder = save_bundle(tmp_path / "bundle", model, Preprocessing(32, 32), metrics={}, data={})
    with caplog.at_level(logging.INFO):
        for source in (folder, folder / "model.safetensors"):
            backbone = make(source, ibn=None)
            assert torch.equal(backbone.layer3[0].conv1.weight, model.backbone.layer3[0].conv1.weight)
            assert backbone.weights_report.source == "bundle"
    said = [record for record in caplog.records if "of the backbone missing (layer4" in record.message]
    assert [record.levelno for record in said] == [logging.INFO, logging.INFO]

    started = ReIDModel("resnet18", ibn=None, last_stride=2, pretrained=str(folder))
    assert preprocessing_mismatch(started, Preprocessing(64, 64)) is None
    other = preprocessing_mismatch(started, Preprocessing(64, 64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    assert other is not None and "Set input.mean=[0.485,0.456,0.406]" in other
    (folder / "opts.yaml").write_text("preprocessing: 3\n")
    assert preprocessing_mismatch(started, Preprocessing(64, 64, mean=(0.5, 0.5, 0.5))) is None


def test_old_files_and_files_with_numpy_numbers_load(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    content = {"state_dict": weights, "rank1": np.float64(0.97), "mAP": np.float32(0.82)}
    torch.save(content, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    assert same(make(tmp_path / "old.pth.tar"), weights)


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet26").state_dict(), tmp_path / "resnet26.pth")
    with pytest.raises(ReIDError, match=r"resnet26\.pth is for another network; shapes differ: layer1\.0\.conv1"):
        make(tmp_path / "resnet26.pth")
    torch.save({"blocks.0.weight": torch.rand(3)}, tmp_path / "vit.pth")
    with pytest.raises(ReIDError, match=r"only 0 of the backbone's 100 tensors are in it .*blocks\.0\.weight"):
        make(tmp_path / "vit.pth")


class Unsafe:
    """Something that only a pickle with code can hold."""


class MuchOfNothing:
    """A few bytes of pickle that ask for 3 GB."""

    def __reduce__(self) -> tuple:
        return bytearray, (3_000_000_000,)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_small_file_that_asks_for_much_is_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor], new_format: bool
) -> None:
    torch.save(weights | {"x": MuchOfNothing()}, tmp_path / "x.pth", _use_new_zipfile_serialization=new_format)
    with pytest.raises(ReIDError, match=r"x\.pth holds no plain weights \(it calls builtins\.bytearray"):
        make(tmp_path / "x.pth")


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ReIDError,
        match=r"nowhere\.pth' is no file; expected .*'timm', 'torchvision', 'ibn_net', 'wheel', 'drawn' or null",
    ):
        make(tmp_path / "nowhere.pth")
    (tmp_path / "torn.pth").write_bytes(b"\x80\x02 torn")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    torch.save({"state_dict": Unsafe()}, tmp_path / "unsafe.pth")
    for name in ("torn.pth", "torn.safetensors", "unsafe.pth"):
        with pytest.raises(ReIDError, match=f"{name} holds no plain weights"):
            make(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ReIDError, match="holds a list; expected a state dict"):
        make(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.full((512,), float("nan")), "holds NaN or infinity"),
        (torch.full((512,), float("inf")), "holds NaN or infinity"),
        (torch.ones(512, dtype=torch.int8), r"is of torch\.int8; expected torch\.float32"),
        (torch.ones(512).to_sparse(), "is a sparse tensor"),
    ],
)
def test_weights_that_are_no_plain_finite_numbers_are_refused(
    tmp_path: Path, weights: dict[str, torch.Tensor], value: torch.Tensor, words: str
) -> None:
    torch.save(weights | {"layer4.0.downsample.1.weight": value}, tmp_path / "odd.pth")
    with pytest.raises(ReIDError, match=rf"odd\.pth: layer4\.0\.downsample\.1\.weight {words}"):
        make(tmp_path / "odd.pth")


def test_a_file_with_changed_bytes_is_refused(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, tmp_path / "changed.pth")
    content = bytearray((tmp_path / "changed.pth").read_bytes())
    content[len(content) // 2] ^= 1  # one bit of one weight, which torch would take
    (tmp_path / "changed.pth").write_bytes(content)
    with pytest.raises(ReIDError, match=r"changed\.pth is damaged: its bytes have changed, in changed/data/"):
        make(tmp_path / "changed.pth")


def test_the_published_release_is_taken_from_the_hub_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, torch.Tensor]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(weights, tmp_path / "hub" / "checkpoints" / "resnet18_ibn_a-2f571257.pth")
    assert same(make("ibn_net"), weights)
    torch.save(weights | {"x": MuchOfNothing()}, tmp_path / "hub" / "checkpoints" / "resnet18_ibn_a-2f571257.pth")
    with pytest.raises(ReIDError, match=r"could not be had \(it calls builtins\.bytearray"):
        make("ibn_net")


def test_a_missing_network_says_what_was_tried_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(ReIDError, match=r"resnet50_ibn_b-9ca61e85\.pth could not be had .*model\.pretrained=<file>"):
        make("ibn_net", ibn="b", name="resnet50")

    create = timm.create_model

    def create_offline(name: str, *, pretrained: bool = False, **arguments: object) -> torch.nn.Module:
        if pretrained:
            no_network()
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", create_offline)
    with pytest.raises(ReIDError, match=r"timm's weights of 'resnet18' could not be had .*model\.pretrained=null"):
        make("timm", ibn=None)


def test_weights_that_do_not_exist_are_refused_with_the_choice() -> None:
    with pytest.raises(ReIDError, match=r"published weights for resnet101-a, .* not for 'resnet26' with ibn='a'"):
        make("ibn_net", name="resnet26")


@pytest.mark.parametrize("variant", ["a", "b"])
def test_weights_of_a_plain_network_are_carried_into_an_ibn_network(tmp_path: Path, variant: str) -> None:
    torch.manual_seed(0)
    plain = make(None, ibn=None)
    for norm in plain.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                value.data.uniform_(0.5, 1.5)
    torch.save(plain.state_dict(), tmp_path / "plain.pth")
    ibn, theirs = make(tmp_path / "plain.pth", ibn=variant).state_dict(), plain.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ibn.items() if key in theirs)
    if variant == "a":
        for key in ("weight", "bias"):
            both = torch.cat([ibn[f"layer2.1.bn1.{part}.{key}"] for part in ("IN", "BN")])
            assert torch.equal(both, theirs[f"layer2.1.bn1.{key}"])
        assert torch.equal(ibn["layer2.1.bn1.BN.running_var"], theirs["layer2.1.bn1.running_var"][64:])
    else:  # the sum of what the blocks of the stage add, each with the mean and deviation of its last norm
        last = [f"layer1.{block}.bn2" for block in (0, 1)]
        expected = sum(theirs[f"{name}.weight"].square() for name in last).sqrt()
        torch.testing.assert_close(ibn["layer1.1.IN.weight"], expected)
        torch.testing.assert_close(ibn["layer1.1.IN.bias"], sum(theirs[f"{name}.bias"] for name in last))


def make_torchvision(name: str, pretrained: str | Path | None) -> torch.nn.Module:
    return make(pretrained, ibn=None, name=f"torchvision/{name}")


def test_torchvisions_weights_are_taken_from_the_hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    weights = torchvision.models.mobilenet_v3_small().state_dict()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(weights, tmp_path / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth")
    assert same(make_torchvision("mobilenet_v3_small", "torchvision"), weights)


def test_a_classifier_of_other_classes_and_auxiliary_ones_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(7)
    weights = torchvision.models.googlenet(num_classes=576, aux_logits=True, init_weights=False).state_dict()
    torch.save(weights, tmp_path / "veri.pth")
    with caplog.at_level(logging.INFO):
        assert same(make_torchvision("googlenet", tmp_path / "veri.pth"), weights)
    assert "285 tensors loaded, 0 of the backbone missing, 0 in the file unused" in caplog.text


def test_keys_of_the_published_densenets_are_translated(tmp_path: Path) -> None:
    torch.manual_seed(7)
    weights = torchvision.models.densenet121(num_classes=5).state_dict()
    old = {
        key.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2.")
        if "denselayer" in key
        else key: value
        for key, value in weights.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.running_mean" in old
    torch.save(old, tmp_path / "old.pth")
    assert same(make_torchvision("densenet121", tmp_path / "old.pth"), weights)


def test_without_network_and_file_the_place_of_the_file_is_named_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def no_network(*args: object, **kwargs: object) -> None:
        limits.append(socket.getdefaulttimeout())
        raise URLError("timed out")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    before = socket.getdefaulttimeout()
    place = tmp_path / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"
    with pytest.raises(ReIDError, match=rf"could not be had \(.*timed out.*put it at {place}, or .*pretrained=<file>"):
        make_torchvision("mobilenet_v3_small", "torchvision")
    assert limits[0] is not None and limits[0] <= 30  # seconds without an answer
    assert socket.getdefaulttimeout() == before


class Response(io.BytesIO):
    """What urlopen gives, without headers."""

    def info(self) -> Message:
        return Message()


def test_a_damaged_download_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", lambda request: Response(b"a login page"))
    with pytest.raises(ReIDError, match=r"mobilenet_v3_small-047dcff4\.pth could not be had \(invalid hash value"):
        make_torchvision("mobilenet_v3_small", "torchvision")
    assert list((tmp_path / "hub" / "checkpoints").iterdir()) == []
    (tmp_path / "hub" / "checkpoints" / "mobilenet_v3_small-047dcff4.pth").touch()
    with pytest.raises(ReIDError, match=r"mobilenet_v3_small-047dcff4\.pth could not be had"):
        make_torchvision("mobilenet_v3_small", "torchvision")
