"""A stranger's weights take no more memory than their file has."""

import os
import re

import pytest
import torch

from reid_lightning.bundle import bundle
from reid_lightning.bundle import weights as stored_weights
from reid_lightning.bundle.weights import build_with
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel

PREPROCESSING = Preprocessing(32, 32)
SMALL = {"backbone": "test_efficientnet", "ibn": None, "last_stride": 2, "pooling": "avg", "embedding_dim": 8}
COUNTING = {"backbone": "torchvision/regnet_x_400mf", "ibn": None, "last_stride": 2}


@pytest.fixture
def built(monkeypatch):
    """The architectures that memory was taken for."""
    built = []

    def build(**architecture):
        if torch.empty(0).device.type != "meta":
            built.append(architecture)
        return ReIDModel(**architecture)

    monkeypatch.setattr(stored_weights, "_network", lambda: build)
    return built


def checkpoint(path, architecture, weights):
    record = bundle.training_record(ReIDModel(**SMALL), PREPROCESSING)
    record |= {"architecture": architecture, "embedding_dim": architecture["embedding_dim"]}
    torch.save({"reid": record, "state_dict": {f"model.{key}": value for key, value in weights.items()}}, path)
    return path


def repeated(architecture):
    with torch.device("meta"):
        expected = ReIDModel(**architecture).state_dict()
    return {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in expected.items()}


def build(weights, architecture):
    return build_with(weights, architecture, source="opts.yaml", where="model.safetensors")


def test_a_checkpoint_of_repeated_numbers_is_refused_before_a_network_is_built(tmp_path, built):
    architecture = SMALL | {"embedding_dim": 1_000_000}
    path = checkpoint(tmp_path / "huge.ckpt", architecture, repeated(architecture))
    with pytest.raises(ReIDError, match=r"huge\.ckpt is not a readable checkpoint \(its tensors would take"):
        bundle.open_model(path)
    assert built == []


def test_repeated_weights_are_refused_however_small(tmp_path, built):
    weights = ReIDModel(**SMALL).state_dict()
    weights["reduction.weight"] = torch.zeros(1).expand(weights["reduction.weight"].shape)
    with pytest.raises(ReIDError, match=r"the weight 'reduction\.weight' of shape .* repeats 4 stored bytes"):
        bundle.open_model(checkpoint(tmp_path / "small.ckpt", SMALL, weights))
    assert built == []


def test_views_of_one_storage_and_other_precisions_are_weights(tmp_path):
    torch.manual_seed(0)
    model = ReIDModel(**SMALL).eval()
    weights = model.state_dict()
    flat = torch.cat([weights["reduction.weight"].flatten(), weights["neck.weight"]])
    weights["reduction.weight"] = flat[: weights["reduction.weight"].numel()].view_as(weights["reduction.weight"])
    weights["neck.weight"] = flat[-8:]
    loaded = bundle.open_model(checkpoint(tmp_path / "views.ckpt", SMALL, weights)).model
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in model.state_dict().items())
    halves = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    assert build(halves, SMALL).state_dict()["neck.weight"].dtype == torch.float32


def test_a_network_that_counts_with_tensors_is_compared_before_it_is_built(built):
    weights = ReIDModel(**COUNTING, embedding_dim=4).state_dict()
    assert build(weights, COUNTING | {"embedding_dim": 4}).embedding_dim == 4
    built.clear()
    with pytest.raises(ReIDError, match=r"\d+ weights missing, 1 unexpected"):
        build({"x": torch.zeros(1)}, COUNTING | {"embedding_dim": 1_500_000})
    assert built == []


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"x": torch.zeros(1)}, "embedding_dim is 1500000, and the weights of the reduction are missing"),
        ({"reduction.weight": torch.zeros(1_500_000, 1)}, r"reduction are of shape \(1500000, 1\)"),
    ],
)
def test_without_that_comparison_the_reduction_alone_is_compared(monkeypatch, built, weights, words):
    monkeypatch.setattr(stored_weights, "_without_memory", lambda architecture: None)
    with pytest.raises(ReIDError, match=words):
        build(weights, SMALL | {"embedding_dim": 1_500_000})
    assert [architecture["embedding_dim"] for architecture in built] == [None]
    whole = ReIDModel(**SMALL).state_dict()
    assert build(whole, SMALL).embedding_dim == 8


def test_a_checkpoint_with_code_is_refused_without_advice_to_run_it(tmp_path):
    class Code:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save({"reid": Code()}, tmp_path / "code.ckpt")
    with pytest.raises(ReIDError, match=r"names (posix|nt)\.system, which is no plain data") as caught:
        bundle.open_model(tmp_path / "code.ckpt")
    assert not re.search("weights_only|can still|trust", str(caught.value))
