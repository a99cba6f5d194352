"""Models: bundles, checkpoints, weights from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.drills.damaging import CHECKPOINT, SAFETENSORS, YAML
from benchmarks.drills.formats.form import Format, Reported, must, noise
from reid_lightning.bundle import bundle
from reid_lightning.bundle.exporters import export_file
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.models import ReIDModel
from reid_lightning.models.pretrained import find_weights, load_matching
from reid_lightning.ranking.open_set_result import Calibration, CompactHistogram
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE
from reid_lightning.search import load_reid_model


def _model() -> ReIDModel:
    torch.manual_seed(0)
    return ReIDModel("test_efficientnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=8).eval()


def _bundle(*names: str) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        rates = {"false_match_rate": 0.001, "measured_false_match_rate": 0.001, "true_match_rate": 0.9}
        counts = {"same_pairs": 10, "different_pairs": 1000, "queries": 12, "gallery": 90}
        words = {"metric": "cosine", "junk": "same identity, same camera", "protocol": IMAGE_TO_IMAGE}
        histogram = CompactHistogram(-1.0, 1.0, (0, 2, 8), (500, 490, 10))
        calibration = Calibration(
            0.5, True, **rates, queries_with_false_match=0.1, **counts, **words, histogram=histogram
        )
        bundle.save_bundle(
            folder / "bundle",
            _model(),
            Preprocessing(32, 32),
            metrics={"mAP": 0.5, "ranks": [0.5, 0.9]},
            data={"name": "noise", "train": 12},
            calibration={f"{IMAGE_TO_IMAGE}, cosine": calibration.as_dict()},
        )
        return [folder / "bundle" / name for name in names]

    return write


def _read_bundle(folder: Path, path: Path) -> Reported:
    _check_embedder(path.parent, None)
    return ()


def _write_checkpoint(folder: Path) -> list[Path]:
    model = _model()
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    record = bundle.training_record(model, Preprocessing(32, 32))
    torch.save({"reid": record, "state_dict": state, "global_step": 12, "epoch": 1}, folder / "last.ckpt")
    return [folder / "last.ckpt"]


def _read_checkpoint(folder: Path, path: Path) -> Reported:
    _check_embedder(None, path)
    return ()


def _write_onnx(folder: Path) -> list[Path]:
    _bundle("opts.yaml")(folder)
    export_file(_model(), Preprocessing(32, 32), kind="onnx", folder=folder / "bundle")
    return [folder / "bundle" / "model.onnx"]


def _read_onnx(folder: Path, path: Path) -> Reported:
    _check_embedder(path.parent, None, backend="onnx")
    return ()


def _write_pretrained(folder: Path) -> list[Path]:
    """As torch.save writes it, as it wrote it before its version 1.6, and as safetensors does."""
    backbone = {name: tensor.clone() for name, tensor in _model().backbone.state_dict().items()}
    new, old, safe = folder / "new.pth", folder / "old.pth", folder / "weights.safetensors"
    torch.save({"state_dict": backbone, "epoch": 3}, new)
    torch.save(backbone, old, _use_new_zipfile_serialization=False)
    save_file(backbone, safe)
    return [new, old, safe]


def _read_pretrained(folder: Path, path: Path) -> Reported:
    backbone = _model().backbone
    weights = find_weights(str(path), name="test_efficientnet", ibn=None)
    assert weights is not None
    report = load_matching(backbone, weights.state, origin=weights.origin)
    must(all(bool(torch.isfinite(tensor).all()) for tensor in backbone.state_dict().values()), "weights not finite")
    return [str(report)] if report.missing or report.unused else ()


def _check_embedder(opts: Path | None, checkpoint: Path | None, *, backend: Literal["torch", "onnx"] = "torch") -> None:
    embedder = load_reid_model(opts, checkpoint, backend=backend)
    embeddings = embedder.embed([noise()])
    must(tuple(embeddings.shape) == (1, embedder.embedding_dim), f"an embedding of {tuple(embeddings.shape)}")
    must(bool(torch.isfinite(embeddings).all()), "an embedding that is not finite")
    must(embedder.threshold is None or np.isfinite(embedder.threshold), f"the threshold {embedder.threshold}")


MODELS = (
    Format("opts.yaml", _bundle("opts.yaml"), _read_bundle, text=True, structure=YAML),
    Format("safetensors weights", _bundle("model.safetensors"), _read_bundle, structure=SAFETENSORS),
    Format("ckpt", _write_checkpoint, _read_checkpoint, structure=CHECKPOINT),
    Format("pretrained weights", _write_pretrained, _read_pretrained, structure=CHECKPOINT),
    Format("ONNX model", _write_onnx, _read_onnx),
)
