"""Published weights without a network: timm's from the hub's cache, errors that come soon, and pictures that fit."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.models.backbones import build_backbone
from reid_lightning.models.pretrained import MatchReport, preprocessing_mismatch
from reid_lightning.models.published import ibn_net_url

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, with no proxy set."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in (*PROXIES, *(name.upper() for name in PROXIES)):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "hub"


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where connections were tried; every one of them fails."""
    tried: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], **options: object) -> None:
        tried.append(address)
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    return tried


def put_into_cache(hub: Path, name: str, *, file_name: str) -> dict[str, torch.Tensor]:
    """Random weights of timm's network, its classifier among them, as the hub's client would have left them."""
    torch.manual_seed(7)
    network = timm.create_model(name)
    weights = {
        key: torch.rand_like(value) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    repository = hub / f"models--{network.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    (repository / "snapshots" / "0123abcd").mkdir(parents=True)
    file = repository / "snapshots" / "0123abcd" / file_name
    save_file(weights, file) if file.suffix == ".safetensors" else torch.save(weights, file)
    return weights


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("test_vit", "model.safetensors"),
        ("test_vit2", "model.safetensors"),  # pools itself, by a mean with a norm of its own
        ("test_vit3", "pytorch_model.bin"),  # by attention
        ("test_resnet", "pytorch_model.bin"),
    ],
)
def test_timms_weights_come_from_the_cache_without_a_connection(
    hub: Path, addresses: list[tuple[str, int]], name: str, file_name: str
) -> None:
    weights = put_into_cache(hub, name, file_name=file_name)
    backbone = build_backbone(name, ibn=None, last_stride=2, pretrained="timm")
    assert addresses == []
    assert all(torch.equal(value, weights[key]) for key, value in backbone.state_dict().items())
    report = backbone.weights_report
    assert (report.source, report.origin, report.missing) == ("timm", f"timm/{name}.r160_in1k", ())
    assert set(report.loaded) == set(backbone.state_dict())


def test_without_cache_and_network_the_error_comes_before_the_hubs_client_is_asked(
    hub: Path, addresses: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub's client retries for a minute")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", never)
    message = r"timm's weights of 'test_resnet' .*timm/test_resnet\.r160_in1k.*unreachable.*model\.pretrained=<file>"
    with pytest.raises(ReIDError, match=message):
        build_backbone("test_resnet", ibn=None, last_stride=2, pretrained="timm")
    assert addresses == [("huggingface.co", 443)]

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    with pytest.raises(ReIDError, match=r"no connection to proxy\.example"):
        build_backbone("test_resnet", ibn=None, last_stride=2, pretrained="timm")
    assert addresses[1:] == [("proxy.example", 3128)]


def test_a_silent_name_server_is_not_waited_for(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 0.05)
    monkeypatch.setattr(socket, "create_connection", lambda *args, **kwargs: threading.Event().wait())
    with pytest.raises(ReIDError, match=r"no answer within 0\.05 s; HF_HUB_ETAG_TIMEOUT sets another limit"):
        build_backbone("test_resnet", ibn=None, last_stride=2, pretrained="timm")


def test_offline_mode_tries_no_connection(
    hub: Path, addresses: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ReIDError, match="HF_HUB_OFFLINE is set and they are not in the cache"):
        build_backbone("test_resnet", ibn=None, last_stride=2, pretrained="timm")
    assert addresses == []


def test_a_network_of_which_timm_has_no_weights_is_refused(hub: Path, addresses: list[tuple[str, int]]) -> None:
    with pytest.raises(ReIDError, match=r"timm publishes no weights of 'mixer_s32_224'; set model\.pretrained=<file>"):
        build_backbone("mixer_s32_224", ibn=None, last_stride=2, pretrained="timm")
    assert addresses == []


def test_the_release_of_ibn_net() -> None:
    release = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0"
    assert ibn_net_url("resnext101_32x4d", "a") == f"{release}/resnext101_ibn_a-6ace051d.pth"
    assert ibn_net_url("seresnet101", "a") == f"{release}/se_resnet101_ibn_a-fabed4e2.pth"
    assert ibn_net_url("resnet50", "b") == f"{release}/resnet50_ibn_b-9ca61e85.pth"
    with pytest.raises(ReIDError, match=r"published weights for resnet101-a, .* not for 'seresnet101' with ibn='b'"):
        ibn_net_url("seresnet101", "b")


def model_with(source: str | None) -> ReIDModel:
    model = ReIDModel("test_vit", ibn=None, last_stride=2)
    if source is not None:
        model.backbone.weights_report = MatchReport(source=source, origin=f"{source}/weights", loaded=("cls_token",))
    return model


def test_pictures_on_another_scale_than_the_weights_were_trained_with_are_named() -> None:
    model = model_with("timm")  # trained with a mean and a deviation of 0.5, bicubic
    message = preprocessing_mismatch(model, Preprocessing(160, 160))
    assert "timm/weights" in message and "this run gives mean [0.485,0.456,0.406]" in message
    assert message.endswith("Set input.mean=[0.5,0.5,0.5] input.std=[0.5,0.5,0.5] input.interpolation=bicubic")
    halves = Preprocessing(160, 160, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert preprocessing_mismatch(model, halves) is None  # bilinear alone is no reason
    for source in ("torchvision", "ibn_net"):
        assert preprocessing_mismatch(model_with(source), Preprocessing(160, 160)) is None
        assert "Set input.mean=[0.485,0.456,0.406]" in preprocessing_mismatch(model_with(source), halves)


@pytest.mark.parametrize("source", [None, "file"])
def test_random_weights_and_files_expect_no_scale(source: str | None) -> None:
    assert preprocessing_mismatch(model_with(source), Preprocessing(160, 160)) is None
