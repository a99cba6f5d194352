from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.evaluation.ranking_labels import ranking_labels
from reid_lightning.ranking import evaluate_retrieval

IMAGES = tuple(VehicleImage(Path(f"{row}.jpg"), "ab"[row % 2], f"c{row // 2}") for row in range(6))


def test_cameras_make_the_junk_rule():
    labels = ranking_labels(VehicleDataset("toy", query=IMAGES[:2], gallery=IMAGES))
    assert labels["query_cameras"] == ["c0", "c0"]
    assert "jk_index" not in labels


def test_without_cameras_a_query_never_finds_itself():
    images = tuple(replace(image, camera=None) for image in IMAGES)
    labels = ranking_labels(VehicleDataset("toy", query=images[:2], gallery=images))
    assert labels["jk_index"] == [[0], [1]]
    embeddings = torch.eye(6)
    result = evaluate_retrieval(embeddings[:2], embeddings, **labels)
    assert result.mAP < 1  # the query's own picture, the only one that is like it, does not count
    apart = ranking_labels(VehicleDataset("toy", query=images[:2], gallery=images[2:]))
    assert apart["jk_index"] is None


def test_cameras_known_for_some_are_refused():
    gallery = (*IMAGES, VehicleImage(Path("other.jpg"), "a"))
    with pytest.raises(ReIDError, match=r"1 of 9 .*other\.jpg"):
        ranking_labels(VehicleDataset("toy", query=IMAGES[:2], gallery=gallery))
