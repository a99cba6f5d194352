"""What commands open first: the newest bundle, thresholds, times in words."""

import os

import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.search.opening import best_device, find_bundle, seconds_since_1970, threshold_of


def test_the_newest_bundle_is_found(tmp_path):
    with pytest.raises(ReIDError, match=r"there is no model yet.*make train.*bundle=<folder>"):
        find_bundle("latest", runs=tmp_path)
    for number, name in enumerate(("new", "old")):
        folder = tmp_path / "train" / name / "bundle"
        folder.mkdir(parents=True)
        (folder / "opts.yaml").touch()
        os.utime(folder / "opts.yaml", (100 - number, 100 - number))
    assert find_bundle("latest", runs=tmp_path) == tmp_path / "train/new/bundle"
    assert find_bundle(tmp_path / "train/old/bundle") == tmp_path / "train/old/bundle"
    with pytest.raises(ReIDError, match=r"bundle=.*is not the folder of a bundle"):
        find_bundle(tmp_path / "train/old")


def test_a_threshold_is_a_number_or_the_bundles_own():
    class Model:
        threshold = 0.71

    assert threshold_of(0.6, Model()) == 0.6
    assert threshold_of("calibrated", Model()) == 0.71
    Model.threshold = None
    with pytest.raises(ReIDError, match=r"no calibrated threshold.*store_threshold=true"):
        threshold_of("calibrated", Model())
    for wrong in ("high", True, None):
        with pytest.raises(ReIDError, match="expected a cosine similarity"):
            threshold_of(wrong, Model())


def test_times_are_told_in_words():
    assert seconds_since_1970(None, key="since") is None
    assert seconds_since_1970("2026-01-01T09:00:00+01:00", key="since") == 1_767_254_400
    with pytest.raises(ReIDError, match="since is 'yesterday'; expected a time such as"):
        seconds_since_1970("yesterday", key="since")


def test_the_best_device_is_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert best_device("auto") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert best_device("auto") == "cpu"
    assert best_device("cuda:1") == "cuda:1"
    assert best_device("auto", backend="onnx") == "cpu"
