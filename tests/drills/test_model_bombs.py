"""Models from strangers: weights, options and checkpoints that want much, run code, or are not what they say."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from bombs import MIB, refused
from safetensors.torch import load_file, save_file

from reid_lightning.bundle import bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.models.pretrained import find_weights
from reid_lightning.ranking.files import read_embeddings
from reid_lightning.search import load_reid_model


def claims(shape: list[int], *, header: int | None = None) -> bytes:
    """A safetensors file without data; `header`: the length that it says its header has."""
    size = 4 * int(np.prod(shape, dtype=object))
    text = json.dumps({"embeddings": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", header or len(text)) + text


@pytest.mark.parametrize(
    "content",
    [claims([1 << 20, 1 << 12]), claims([2, 2], header=1 << 33), claims([2, 2], header=(1 << 64) - 1)],
    ids=["16 GiB of data", "8 GiB of header", "all there is"],
)
def test_a_safetensors_file_that_claims_gigabytes(content: bytes, tmp_path: Path) -> None:
    saved = small_bundle(tmp_path)
    (tmp_path / "features.safetensors").write_bytes(content)
    with refused("features.safetensors: not a file of embeddings"):
        read_embeddings(tmp_path / "features.safetensors")
    with refused("holds no plain weights"):
        find_weights(str(tmp_path / "features.safetensors"), name="x", ibn=None)
    (saved / "model.safetensors").write_bytes(content)
    with refused("not a readable safetensors file"):
        load_reid_model(saved)


def small_bundle(folder: Path) -> Path:
    torch.manual_seed(0)
    model = ReIDModel("test_efficientnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=8)
    return bundle.save_bundle(folder / "bundle", model, Preprocessing(32, 32), metrics={}, data={})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("saved"))


TENFOLD = [(n, ", ".join([f"*a{n - 1}"] * 10)) for n in range(1, 12)]
LAUGHS = "\n".join(["a0: &a0 [lol]", *(f"a{n}: &a{n} [{ten}]" for n, ten in TENFOLD)])
MERGES = "\n".join(["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{<<: [{ten}]}}" for n, ten in TENFOLD)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{LAUGHS}\nformat: *a11\n", r"not readable as YAML: .*alias \*a0"),
        (f"{MERGES}\nmetrics: *a11\n", r"not readable as YAML: .*alias \*a0"),
        ("metrics: &m\n  again: *m\n", r"alias \*m"),
        ("format: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("data: !!python/name:os.system\n", "could not determine a constructor"),
        ("[" * 2_000, "not readable as YAML"),
        ("x: " + "y" * (MIB + 1), "more than 262,144 bytes"),
        ("day: 2026-99-99\n", "not readable as YAML: month must be in 1..12"),
        ("number: " + "9" * 5000, "not readable as YAML: a number that long"),
        ("number: " + "1:" * 60_000 + "1", "not readable as YAML: a number that long"),  # base 60, in quadratic time
        ("format: 1\nformat: 2\n", "the key 'format' twice"),
    ],
)
def test_options_that_unfold_or_run_code(content: str, message: str, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "opts.yaml").write_text(content, encoding="utf-8")
    with refused(message):
        load_reid_model(tmp_path / "opts.yaml", saved / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_dim": 10**9}, r"of another architecture.* 5 of another shape"),
        ({"backbone": "vit_giant_patch14_dinov2", "embedding_dim": None}, "of another architecture"),
        ({"backbone": ["x"]}, "is not one of ours|cannot be built"),
        ({"backbone": "hf-hub:someone/anything"}, "is no timm network"),
        ({"backbone": "local-dir:/etc"}, "is no timm network"),
        ({"pretrained": "/etc/passwd"}, "names pretrained"),
        ({"_target_": "os.system"}, "is not one of ours"),
    ],
)
def test_an_architecture_that_is_not_that_of_the_weights(
    changes: dict[str, object], message: str, saved: Path, tmp_path: Path
) -> None:
    values = yaml.safe_load((saved / "opts.yaml").read_text(encoding="utf-8"))
    values["architecture"] |= changes
    (tmp_path / "opts.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    with refused(message, mib=400):
        load_reid_model(tmp_path / "opts.yaml", saved / "model.safetensors")


def test_options_that_promise_other_embeddings_than_the_network_gives(saved: Path, tmp_path: Path) -> None:
    values = yaml.safe_load((saved / "opts.yaml").read_text(encoding="utf-8"))
    (tmp_path / "opts.yaml").write_text(yaml.safe_dump(values | {"embedding_dim": 16}), encoding="utf-8")
    with refused("embeddings of 16 numbers, and its network gives 8"):
        load_reid_model(tmp_path / "opts.yaml", saved / "model.safetensors")


def checkpoint(path: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    model = ReIDModel("test_efficientnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=8)
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    record = bundle.training_record(model, Preprocessing(32, 32))
    torch.save({"reid": record, "state_dict": {**state, **changes}}, path)
    return path


def test_a_checkpoint_that_unpacks_to_far_more(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path / "whole.ckpt")
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w") as bomb:
        for info in archive.infolist():
            bomb.writestr(info.filename, archive.read(info))
        bomb.writestr("whole/data/999", bytes(64 * MIB), zipfile.ZIP_DEFLATED)
    with refused("packed, which torch writes no checkpoint"):
        load_reid_model(None, tmp_path / "bomb.ckpt")


def test_a_checkpoint_of_which_a_byte_has_changed(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "last.ckpt")
    assert load_reid_model(None, path).embedding_dim == 8
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    data[largest.header_offset + 200] ^= 1  # in the numbers themselves, where torch looks at nothing
    path.write_bytes(data)
    with refused("its bytes have changed"):
        load_reid_model(None, path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((8, 256), float("nan")), "'reduction.weight' holds NaN or infinity"),
        (torch.full((8, 256), 1, dtype=torch.int64), r"'reduction.weight' is of type torch.int64"),
        (torch.zeros(1).expand(1 << 16, 1 << 14), "of another shape|not stored but repeated"),
        ("text", "holds a str as weight 'reduction.weight'"),
    ],
)
def test_weights_that_are_none(value: object, message: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "last.ckpt", **{"model.reduction.weight": value})
    with refused(message):
        load_reid_model(None, path)


def test_weights_of_a_bundle_that_are_not_finite(saved: Path, tmp_path: Path) -> None:
    weights = load_file(saved / "model.safetensors")
    weights["reduction.weight"][0, 0] = float("inf")
    save_file(weights, tmp_path / "model.safetensors")
    with refused("'reduction.weight' holds NaN or infinity"):
        load_reid_model(saved / "opts.yaml", tmp_path / "model.safetensors")
