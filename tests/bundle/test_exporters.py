import pytest
import torch

from reid_lightning.bundle import exporters
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError

PREPROCESSING = Preprocessing(64, 64)


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_an_exported_file_equals_eager_at_every_batch_size(small_model, tmp_path, kind):
    difference = exporters.export_file(small_model, PREPROCESSING, kind=kind, folder=tmp_path)
    assert difference <= 1e-5
    name = exporters.FILE_NAMES[kind]
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.sha256"}
    reload = {"onnx": exporters._reload_onnx, "pt2": exporters._reload_pt2}[kind]
    images = torch.randn(7, 3, 64, 64)
    torch.testing.assert_close(
        reload(tmp_path / exporters.FILE_NAMES[kind])(images), small_model.embed(images), atol=1e-5, rtol=0
    )


def test_a_file_that_differs_from_eager_is_not_kept(small_model, tmp_path, monkeypatch):
    honest = exporters._reload_pt2
    monkeypatch.setattr(exporters, "_reload_pt2", lambda path: lambda images: honest(path)(images) + 0.01)
    with pytest.raises(ReIDError, match="differs from eager"):
        exporters.export_file(small_model, PREPROCESSING, kind="pt2", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("formats", [["onxx"], []])
def test_unknown_formats_are_named_before_any_work(formats):
    with pytest.raises(ReIDError, match="safetensors, onnx, pt2"):
        exporters.check_formats(formats)
