"""Flip test-time augmentation: what it computes, and that its thresholds and embeddings stay among themselves."""

import json

import pytest
import torch
from PIL import Image

from reid_lightning.bundle import bundle
from reid_lightning.bundle.bundle import BundleOptions, LoadedModel
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.search import ReIDEmbedder, load_reid_model


@pytest.fixture
def embedder(small_model):
    return ReIDEmbedder(LoadedModel(small_model, BundleOptions({}, Preprocessing(32, 32), embedding_dim=32)))


@pytest.fixture
def pictures():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def mirrored(pictures):
    """Column by column."""
    return torch.stack([pictures[..., column] for column in reversed(range(pictures.shape[-1]))], dim=-1)


def test_the_two_embeddings_are_added_before_they_are_normalised(embedder, pictures):
    straight = embedder.embed(pictures, normalize=False)
    mirror = embedder.embed(mirrored(pictures), normalize=False)
    mean = embedder.embed(pictures, flip=True, normalize=False, batch_size=2)
    torch.testing.assert_close(mean, (straight + mirror) / 2)
    both = embedder.embed(pictures, flip=True)
    torch.testing.assert_close(both, (straight + mirror) / (straight + mirror).norm(dim=1, keepdim=True))
    assert not torch.allclose(both, embedder.embed(pictures), atol=1e-3)


def test_a_picture_and_its_mirror_image_become_one(embedder, pictures):
    torch.testing.assert_close(embedder.embed(pictures, flip=True), embedder.embed(mirrored(pictures), flip=True))


def test_a_picture_file_is_mirrored_after_its_preprocessing(embedder):
    picture = Image.effect_mandelbrot((50, 40), (-2, -1, 1, 1), 20).convert("RGB")
    tensor = embedder.preprocessing(picture)[None]
    torch.testing.assert_close(embedder.embed([picture], flip=True), embedder.embed(tensor, flip=True))


def test_no_picture_gives_no_embedding(embedder):
    assert embedder.embed([], flip=True).shape == (0, 32)


def test_an_evaluation_with_flip_says_so_and_keeps_its_threshold_apart(run_command, small_model, fleet_root, tmp_path):
    folder = bundle.save_bundle(tmp_path / "bundle", small_model, Preprocessing(32, 32), metrics={}, data={})

    def evaluate(name, *arguments):
        common = [f"data.root={fleet_root}", "data.size=tiny", "evaluation.num_workers=0", "evaluation.pictures=false"]
        finished = run_command("evaluate.py", *common, f"hydra.run.dir={name}", *arguments)
        return finished, json.loads((tmp_path / name / "metrics.json").read_text()) if not finished.returncode else None

    with_model = ["checkpoint=bundle", "store_threshold=true", "evaluation.save_embeddings=npz"]
    finished, flipped = evaluate("flipped", "evaluation.flip=true", *with_model)
    assert finished.returncode == 0, finished.stderr
    assert flipped["metric"] == flipped["open_set"]["metric"] == "cosine, flip"
    assert "cosine, flip" in finished.stdout
    model = load_reid_model(folder)
    assert model.threshold is None
    assert model.flip_threshold == flipped["calibration"]["threshold"]

    _, straight = evaluate("straight", *with_model)
    assert straight["metric"] == "cosine"
    model = load_reid_model(folder)
    assert model.threshold == straight["calibration"]["threshold"]
    assert model.flip_threshold == flipped["calibration"]["threshold"] != model.threshold

    files = [
        f"{side}_embeddings={run}/{side}_embeddings.npz"
        for side, run in zip(("query", "gallery"), ("flipped", "straight"), strict=True)
    ]
    finished, _ = evaluate("mixed", *files)
    assert finished.returncode == 1
    assert "flip" in finished.stderr and "cannot be compared" in finished.stderr


def test_flip_must_be_a_truth_value(run_command, tmp_path):
    finished = run_command("evaluate.py", "checkpoint=bundle", "evaluation.flip=5", "hydra.run.dir=run")
    assert finished.returncode == 1
    assert "evaluation.flip is 5" in finished.stderr
