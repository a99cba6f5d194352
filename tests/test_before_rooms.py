"""What the last version of 41 flat modules wrote (before_rooms/make.py) is read as that version read it."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import PROJECT
from safetensors.torch import save_file
from toy_run import fit, noise_pictures

from reid_lightning.bundle.bundle import open_model, read_options
from reid_lightning.ranking.files import read_embeddings
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.training.checkpoints import LAST_NAME

sys.path.append(str(PROJECT / "tests/before_rooms"))
from make import filled, picture


@pytest.fixture
def before(tmp_path: Path) -> Path:
    with zipfile.ZipFile(PROJECT / "tests/before_rooms/files.zip") as archive:
        archive.extractall(tmp_path / "before")
    return tmp_path / "before"


def test_a_bundle_gives_the_same_embedding(before: Path) -> None:
    options = read_options(before / "bundle")
    weights = filled(json.loads((before / "bundle/weights.json").read_text()), np.random.default_rng(0))
    save_file(weights, before / "bundle/model.safetensors", metadata={"fingerprint": options.fingerprint})
    embedder = load_reid_model(before / "bundle", device="cpu")
    assert embedder.options.metrics == {"mAP": 0.5} and embedder.options.data == {"data set": "toy"}
    came = embedder.embed([Image.fromarray(picture())])
    np.testing.assert_allclose(came, json.loads((before / "embedding.json").read_text()), atol=1e-5)


@pytest.mark.parametrize("ending", ["json", "npz", "safetensors"])
def test_embeddings_keep_their_names(before: Path, ending: str) -> None:
    table = read_embeddings(before / f"table.{ending}")
    rows = np.random.default_rng(2).standard_normal((4, 8), dtype=np.float32)
    np.testing.assert_allclose(table.embeddings, rows, atol=1e-6)
    assert table.identities == tuple("aabb") and table.cameras == ("c1", "c2", "c1", "c2")
    if ending != "json":
        assert table.tracks == ("t1", "t2", "t3", "t4") and table.model == "0123456789abcdef"
        assert table.names == ("1.jpg", "2.jpg", "3.jpg", "4.jpg")


def test_a_gallery_and_its_vectors_agree_and_go_on(before: Path) -> None:
    gallery = Gallery(before / "gallery")
    index = GalleryIndex(gallery, open_store(before / "gallery/.index", fingerprint="colours", dim=4))
    assert [(one.id, one.vehicle, one.camera, len(one.crops)) for one in gallery.sightings()] == [
        ("a0", "A", "north", 2),
        ("a1", "A", "north", 2),
        ("a2", "B", "north", 2),
    ]
    report = index.sync()
    assert (report.total, report.embedded, report.removed, report.changed, report.problems) == (6, 0, 0, 0, ())
    ((query, *_),) = (rows for _, rows in index.store.scan())
    (hits,) = index.store.search(query[None], top_k=1)
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    index.rename("B", "C")
    vehicles = [record.vehicle for part in index.store.records() for record in part]
    assert sorted(vehicles) == ["A"] * 4 + ["C"] * 2


def test_an_interrupted_run_goes_on(before: Path, tmp_path: Path) -> None:
    content = (before / "last.json").read_text().replace("./run", str(tmp_path / "run"))
    checkpoint = filled(json.loads(content), np.random.default_rng(3))
    path = tmp_path / "run/checkpoints" / LAST_NAME
    path.parent.mkdir(parents=True)
    for name in (LAST_NAME, "best.ckpt"):
        torch.save(checkpoint, path.with_name(name))
    assert open_model(path).options.architecture["backbone"] == "test_efficientnet"
    (tmp_path / "pictures").mkdir()
    finished = fit(tmp_path / "run", noise_pictures(tmp_path / "pictures"), resume=path)
    assert finished.weights.keys() == checkpoint["state_dict"].keys()
    assert finished.state()["global_step"] == 12 > checkpoint["global_step"]
