"""Makes files.zip, from a clone at commit 5ddaa4a, the last one with 41 flat modules:

    git worktree add /tmp/before 5ddaa4a
    cd /tmp/before && python <here>/make.py <here>/files.zip

Weights would be megabytes. So a tensor is its type and shape here (`plain`), and the numbers are drawn, alike in script
and test (`filled`): what the files prove is names, structure, and what a network of drawn weights answers.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def plain(value: Any) -> Any:
    """What a checkpoint holds, as JSON can write it."""
    if isinstance(value, Tensor):
        return {"tensor": [str(value.dtype).removeprefix("torch."), list(value.shape)]}
    if isinstance(value, dict):
        return {"dict": [[key, plain(entry)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [plain(entry) for entry in value]}
    return value


def filled(value: Any, random: np.random.Generator) -> Any:
    """The same with tensors of drawn numbers from 0 to 0.1; whole numbers are 3."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: filled(entry, random) for key, entry in content}
    if kind != "tensor":
        entries = [filled(entry, random) for entry in content]
        return tuple(entries) if kind == "tuple" else entries
    dtype, shape = getattr(torch, content[0]), content[1]
    if not dtype.is_floating_point:
        return torch.full(shape, 3, dtype=dtype)
    return torch.tensor(random.random(shape, dtype=np.float32) / 10).to(dtype)


def picture() -> np.ndarray:
    """(40, 60, 3) uint8 of noise."""
    return np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)


class Stopped(Exception):
    """A run is interrupted."""


def stop() -> None:
    """In the middle of a run."""
    raise Stopped


def make(folder: Path) -> None:
    """Everything that version wrote which another one reads."""
    sys.path[:0] = [str(Path.cwd() / part) for part in (".", "tests", "tests/search")]
    from PIL import Image
    from reid_lightning.data.transforms import Preprocessing
    from test_gallery_index import Colours, pictures, sighting
    from toy_run import At, fit, noise_pictures

    from reid_lightning.bundle import save_bundle
    from reid_lightning.models import ReIDModel
    from reid_lightning.ranking.files import write_embeddings
    from reid_lightning.ranking.table import EmbeddingTable
    from reid_lightning.search import load_reid_model
    from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store

    model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", embedding_dim=8).eval()
    weights = plain(model.state_dict())
    model.load_state_dict(filled(weights, np.random.default_rng(0)))
    save_bundle(folder / "bundle", model, Preprocessing(32, 32), metrics={"mAP": 0.5}, data={"data set": "toy"})
    (folder / "bundle/weights.json").write_text(json.dumps(weights))
    embedder = load_reid_model(folder / "bundle", device="cpu")
    (folder / "embedding.json").write_text(json.dumps(embedder.embed([Image.fromarray(picture())]).tolist()))
    (folder / "bundle/model.safetensors").unlink()

    rows = torch.from_numpy(np.random.default_rng(2).standard_normal((4, 8), dtype=np.float32))
    names = (tuple("aabb"), ("c1", "c2", "c1", "c2"), ("t1", "t2", "t3", "t4"), ("1.jpg", "2.jpg", "3.jpg", "4.jpg"))
    for ending in ("json", "npz", "safetensors"):
        write_embeddings(folder / f"table.{ending}", EmbeddingTable(rows, *names, "0123456789abcdef"))

    store = open_store(folder / "gallery/.index", fingerprint="colours", dim=4)
    index = GalleryIndex(Gallery(folder / "gallery"), store, Colours())
    for number, vehicle in enumerate("AAB"):
        index.gallery.add(sighting(number, vehicle), pictures(number))
        index.add(sighting(number, vehicle))

    with tempfile.TemporaryDirectory() as elsewhere:
        dataset = noise_pictures(Path(elsewhere))
        try:
            fit(Path("run"), dataset, At("on_train_batch_start", 7, stop))
        except Stopped:
            last = torch.load("run/checkpoints/last.ckpt", weights_only=True)
            (folder / "last.json").write_text(json.dumps(plain(last)).replace(str(Path.cwd()), "."))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
        with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(made).rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(made))
