"""The ONNX Runtime backend: the numbers of torch, and no file that belongs to another bundle."""

import hashlib
import logging
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx_providers import CPU, CUDA, OPENVINO, stand_in
from PIL import Image

from reid_lightning.bundle import bundle, exporters, loading, onnx_embedder
from reid_lightning.bundle.embedder import ReIDEmbedder
from reid_lightning.bundle.loading import best_device, load_by_keys, load_reid_model
from reid_lightning.bundle.onnx_embedder import OnnxEmbedder
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.untrusted import checksums

PREPROCESSING = Preprocessing(48, 32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle with model.onnx, of a network whose embeddings are not of length 1."""
    torch.manual_seed(0)
    model = ReIDModel("resnet18", ibn="a", last_stride=2, embedding_dim=32)
    with torch.no_grad():
        model(torch.randn(8, 3, 48, 32))
    folder = tmp_path_factory.mktemp("onnx") / "bundle"
    bundle.save_bundle(folder, model.eval(), PREPROCESSING, metrics={}, data={"name": "noise"})
    exporters.export_file(model, PREPROCESSING, kind="onnx", folder=folder)
    return folder


@pytest.fixture
def copied(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "bundle")


@pytest.fixture
def pictures():
    draw = np.random.default_rng(1)
    arrays = [
        draw.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((90, 70), (31, 44), (48, 32))
    ]
    return [Image.fromarray(arrays[0]), arrays[1], Image.fromarray(arrays[2]).convert("L")]


@pytest.mark.parametrize("options", [{}, {"normalize": False}, {"flip": True}, {"flip": True, "normalize": False}])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_both_backends_give_the_same_numbers(exported, pictures, options, batch_size):
    torch_model = load_reid_model(exported)
    onnx_model = load_reid_model(exported, backend="onnx")
    expected = torch_model.embed(pictures, **options)
    found = onnx_model.embed(pictures, batch_size=batch_size, **options)
    assert found.shape == (3, 32)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    tensor = torch.stack([torch_model.preprocessing(picture) for picture in (pictures[0], pictures[2])])
    torch.testing.assert_close(onnx_model.embed(tensor, **options), expected[[0, 2]], atol=1e-5, rtol=1e-5)


def test_both_backends_say_the_same_of_themselves(exported):
    torch_model, onnx_model = load_reid_model(exported), OnnxEmbedder(exported, threads=2)
    assert onnx_model.options == torch_model.options
    assert onnx_model.preprocessing == PREPROCESSING
    assert onnx_model.embedding_dim == 32
    assert onnx_model.threshold is None and onnx_model.flip_threshold is None
    assert onnx_model.embed([]).shape == (0, 32)


@pytest.mark.parametrize("name", ["", "opts.yaml", "model.onnx"])
def test_a_bundle_is_named_by_its_folder_or_a_file_in_it(exported, pictures, name):
    assert OnnxEmbedder(exported / name).embed(pictures).isfinite().all()
    assert isinstance(load_reid_model(exported, exported / "model.onnx", backend="onnx"), OnnxEmbedder)


def test_wrong_pictures_are_named_as_by_the_torch_backend(exported):
    with pytest.raises(ReIDError, match="images holds a str"):
        OnnxEmbedder(exported).embed(["car.jpg"])
    with pytest.raises(ReIDError, match=r"an array \(4, 4\) of uint8"):
        OnnxEmbedder(exported).embed([np.zeros((4, 4), np.uint8)])
    with pytest.raises(ReIDError, match="images has shape"):
        OnnxEmbedder(exported).embed(torch.zeros(1, 3, 32, 48))


def test_a_missing_file_and_a_missing_package_say_what_to_do(copied, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ReIDError, match=r"onnxruntime is not installed.*pip install \"reid_lightning\[export\]\""):
        OnnxEmbedder(copied)
    (copied / "model.onnx").unlink()
    with pytest.raises(ReIDError, match=r"reid export checkpoint=.* formats=\[safetensors,onnx\]"):
        OnnxEmbedder(copied)
    with pytest.raises(ReIDError, match=r"opts\.yaml"):
        OnnxEmbedder(copied / "nowhere")


def seal(file):
    """Its checksum among its metadata, as it was written before it had a place beside the file."""
    (file.parent / "model.onnx.sha256").unlink()
    model = onnx.load(file)
    model.metadata_props.add(key="sha256", value="0" * 64)
    onnx.save(model, file)
    content = file.read_bytes()
    zeros = b"sha256\x12\x40" + b"0" * 64
    assert content.count(zeros) == 1
    file.write_bytes(content.replace(zeros, zeros[:8] + hashlib.sha256(content).hexdigest().encode()))


def test_the_checksum_is_as_the_usual_tool_reads_it(copied):
    (digest, name) = (copied / "model.onnx.sha256").read_text().split()
    assert name == "model.onnx" and digest == hashlib.sha256((copied / name).read_bytes()).hexdigest()


def test_a_file_with_its_checksum_within_is_read_as_before(copied, pictures):
    expected = OnnxEmbedder(copied).embed(pictures)
    seal(copied / "model.onnx")
    torch.testing.assert_close(OnnxEmbedder(copied).embed(pictures), expected)


@pytest.mark.parametrize("change", ["cut", "flipped", "emptied", "unsealed"])
@pytest.mark.parametrize("within", [False, True], ids=["beside", "within"])
def test_a_damaged_file_is_named(copied, change, within):
    file = copied / "model.onnx"
    if within:
        seal(file)
    content = bytearray(file.read_bytes())
    if change == "flipped":
        content[len(content) // 2] ^= 1  # one bit of one weight, which would give other numbers
    elif change == "unsealed":
        content = content.replace(b"sha256", b"sha255")
        (copied / "model.onnx.sha256").unlink(missing_ok=True)
    else:
        content = content[: 5000 if change == "cut" else 0]
    file.write_bytes(content)
    with pytest.raises(ReIDError, match=r"model\.onnx is damaged.*(bytes have changed|no checksum).*reid export"):
        OnnxEmbedder(copied)


def test_a_file_that_another_tool_has_written_is_no_model(copied):
    (copied / "model.onnx").write_bytes(b"no metadata")
    checksums.write_checksum(copied / "model.onnx")
    with pytest.raises(ReIDError, match="not a readable ONNX model"):
        OnnxEmbedder(copied)


def test_a_model_that_fails_or_gives_no_number_is_named(copied, pictures, monkeypatch):
    model = OnnxEmbedder(copied)
    not_finite = np.ones((3, 32), np.float32)
    not_finite[1, 4] = np.nan
    for answer, words in (
        (not_finite, "NaN or infinity for picture 1"),
        (np.ones((3, 31)), r"\(3, 31\) for 3 pictures"),
    ):
        monkeypatch.setattr(model, "_session", SimpleNamespace(run=lambda *_, answer=answer: [answer]))
        with pytest.raises(ReIDError, match=words):
            model.embed(pictures)
    monkeypatch.setattr(model, "_session", SimpleNamespace(run=lambda *_: {}["Conv_7: out of memory"]))
    with pytest.raises(ReIDError, match=r"model\.onnx cannot be run .*Conv_7"):
        model.embed(pictures)


def test_a_file_of_another_bundle_is_refused(copied):
    options = (copied / "opts.yaml").read_text()
    fingerprint = bundle.read_options(copied).fingerprint
    (copied / "opts.yaml").write_text(options.replace(fingerprint, "f" * 16))
    with pytest.raises(ReIDError, match=f"fingerprint {fingerprint}, expected {'f' * 16}"):
        OnnxEmbedder(copied)
    (copied / "opts.yaml").write_text(options.replace("0.485", "0.5"))
    with pytest.raises(ReIDError, match="another preprocessing"):
        OnnxEmbedder(copied)


def test_a_file_that_does_not_say_where_it_is_from_is_refused(copied):
    model = onnx.load(copied / "model.onnx")
    assert {entry.key for entry in model.metadata_props} >= {"fingerprint", "preprocessing"}
    del model.metadata_props[:]
    onnx.save(model, copied / "model.onnx")
    checksums.write_checksum(copied / "model.onnx")
    with pytest.raises(ReIDError, match="does not say which bundle"):
        OnnxEmbedder(copied)


def test_names_of_cameras_are_refused_where_the_model_would_use_them(copied, pictures):
    assert OnnxEmbedder(copied).embed(pictures, cameras=["c1", "c2", None]).shape == (3, 32)  # takes no notice
    model = OnnxEmbedder(copied)
    model.options.architecture["side_information"] = {"cameras": ["c1", "c2"]}
    with pytest.raises(ReIDError, match="backend='torch'"):
        model.embed(pictures, cameras=["c1", "c2", None])
    assert model.embed(pictures, cameras=[None] * 3).shape == (3, 32)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"backend": "tensorrt"}, "backend is 'tensorrt'"),
        ({"backend": "onnx", "threads": 0}, "threads is 0"),
        ({"backend": "onnx", "device": "meta"}, "runs on the CPU"),
        ({"backend": "onnx", "checkpoint_path": "best.ckpt"}, "expected a bundle folder"),
        ({"threads": 2}, "set_num_threads"),
        ({"providers": "cpu"}, "takes device instead"),
        ({"providers": "coreml", "backend": "onnx"}, "names coreml, but .* offers cpu.*onnxruntime on macOS"),
        ({"providers": "gpu", "backend": "auto"}, "providers is gpu; expected auto"),
    ],
)
def test_arguments_that_do_not_go_together_are_named(exported, arguments, words):
    with pytest.raises(ReIDError, match=words):
        load_reid_model(exported, **arguments)
    with pytest.raises(ReIDError, match="expected a bundle folder"):
        load_reid_model(None, exported / "model.onnx", backend="onnx")


def test_auto_takes_the_file_for_onnx_runtime_where_there_is_one(copied, pictures, caplog):
    caplog.set_level(logging.INFO)
    for opts in (copied, copied / bundle.OPTS_NAME):
        assert isinstance(load_reid_model(opts, backend="auto"), OnnxEmbedder)
    assert "backend=auto takes ONNX Runtime" in caplog.text
    assert isinstance(load_reid_model(copied, copied / bundle.WEIGHTS_NAME, backend="auto"), ReIDEmbedder)
    (copied / bundle.ONNX_NAME).unlink()
    assert isinstance(load_reid_model(copied, backend="auto"), ReIDEmbedder)


def test_auto_takes_torch_where_the_file_is_damaged_and_says_so(copied, caplog):
    file = copied / bundle.ONNX_NAME
    file.write_bytes(file.read_bytes()[:-100])
    assert isinstance(load_reid_model(copied, backend="auto"), ReIDEmbedder)
    assert "backend=auto takes torch" in caplog.text and "is damaged" in caplog.text


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_a_provider_that_is_named_runs_the_model_and_is_said(exported, pictures, monkeypatch, caplog, backend):
    expected = load_reid_model(exported, backend="onnx").embed(pictures)
    asked = stand_in(monkeypatch, [OPENVINO])
    caplog.set_level(logging.INFO)
    model = load_by_keys(exported, device="cpu", backend=backend, providers=["OpenVINO"])
    assert model.providers == ("openvino", "cpu") and asked[0][0][0] == OPENVINO
    assert f"backend={backend} takes" in caplog.text and caplog.text.count("openvino, cpu") == 1
    assert torch.equal(model.embed(pictures), expected)


def test_onnx_runtime_takes_a_gpu_by_the_device_or_by_its_name(exported, monkeypatch):
    asked = stand_in(monkeypatch, [CUDA])
    assert best_device("auto", backend="onnx") == "cuda"
    load_by_keys(exported, backend="onnx")
    load_reid_model(exported, backend="onnx", device="cuda:1")
    load_reid_model(exported, backend="auto", providers="cuda")
    assert [providers[0][1]["device_id"] for providers in asked] == ["0", "1", "0"]
    load_reid_model(exported, backend="onnx")
    assert asked[-1] == [CPU]


def test_a_provider_that_cannot_be_loaded_is_no_reason_for_torch(exported, monkeypatch):
    stand_in(monkeypatch, [CUDA], missing=[CUDA])
    with pytest.raises(ReIDError, match="could not load cuda"):
        load_by_keys(exported, backend="auto", providers="cuda")


def test_auto_says_where_a_provider_that_was_named_is_not_used(copied, monkeypatch, caplog):
    stand_in(monkeypatch, [OPENVINO])
    (copied / bundle.ONNX_NAME).unlink()
    assert isinstance(load_by_keys(copied, device="cpu", providers="openvino"), ReIDEmbedder)
    assert "takes torch on cpu and not openvino: the bundle has no model.onnx" in caplog.text
    caplog.clear()
    assert isinstance(load_by_keys(copied, device="cpu", backend="torch", providers="openvino"), ReIDEmbedder)
    assert not caplog.text, "the providers may be the detector's"


def test_what_is_not_there_is_said_before_a_starter_is_made(monkeypatch):
    monkeypatch.setattr(loading, "starter_bundle", lambda: pytest.fail("it takes half a minute"))
    with pytest.raises(ReIDError, match="names coreml"):
        load_by_keys("starter", providers="coreml")


def test_auto_takes_torch_for_a_network_that_may_be_told_cameras(copied, monkeypatch):
    monkeypatch.setattr(loading, "ONNX_NAME", bundle.OPTS_NAME)  # whatever is there
    sides = SimpleNamespace(options=SimpleNamespace(architecture={"side_information": {}}))
    monkeypatch.setattr(onnx_embedder, "OnnxEmbedder", lambda folder, **_: sides)
    assert isinstance(load_reid_model(copied, backend="auto"), ReIDEmbedder)


def test_a_bundle_gets_the_file_or_a_reason_why_not(copied, pictures, monkeypatch, caplog):
    expected = load_reid_model(copied, backend="onnx").embed(pictures)
    (copied / bundle.ONNX_NAME).unlink()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert exporters.add_onnx(copied) is False
    assert "no model.onnx beside the weights" in caplog.text and "[export]" in caplog.text
    assert not (copied / bundle.ONNX_NAME).exists()
    monkeypatch.undo()
    assert exporters.add_onnx(copied) is True
    assert torch.equal(load_reid_model(copied, backend="onnx").embed(pictures), expected)
