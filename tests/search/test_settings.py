"""What commands open first: the newest bundle, thresholds, times in words."""

import os

import pytest
import torch
from PIL import Image

from reid_lightning.bundle.loading import best_device, find_bundle
from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.command_line import as_typed, read_words
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import Filter
from reid_lightning.search.settings import (
    camera_of,
    seconds_since_1970,
    settings_of,
    threshold_of,
    where_of,
    words,
)


def test_the_newest_bundle_is_found(tmp_path):
    with pytest.raises(ReIDError, match=r"there is no model yet.*make train.*bundle=<folder>"):
        find_bundle("latest", runs=tmp_path, or_starter=False)
    for number, name in enumerate(("adapt/newest", "train/new", "train/old")):
        folder = tmp_path / name / "bundle"
        folder.mkdir(parents=True)
        (folder / "opts.yaml").touch()
        os.utime(folder / "opts.yaml", (100 - number, 100 - number))
    assert find_bundle("latest", runs=tmp_path) == tmp_path / "adapt/newest/bundle"
    os.utime(tmp_path / "train/new/bundle/opts.yaml", (200, 200))
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


def test_names_are_texts_one_or_several():
    assert words(None, key="plate") is None
    assert words("north", key="cameras") == ("north",)
    assert words(["north", 2], key="cameras") == ("north", "2")
    with pytest.raises(ReIDError, match=r"plate is empty; name at least one"):
        words([], key="plate")
    for wrong in ("", " ", "rtsp://me:pw@h/x"):
        with pytest.raises(ReIDError, match=r"camera is '.*'; expected a name of 1,024 bytes at most"):
            camera_of(wrong)


def test_a_filter_names_vehicles_as_the_gallery_does(tmp_path):
    with pytest.raises(ReIDError, match=r"no gallery at .*reid register"):
        where_of(Gallery(tmp_path / "typo"))
    (tmp_path / "LS15EBC").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "LS15EBC/a.png")
    where = where_of(Gallery(tmp_path), plate="ls15ebc", cameras="north", types=["car"], since="2026-01-01T00:00:00Z")
    assert where == Filter(("LS15EBC",), ("north",), ("car",), 1_767_225_600.0)
    for nobody in ("../../x", "A" * 300, "LS15EBX"):
        with pytest.raises(ReIDError, match="no vehicle"):
            where_of(Gallery(tmp_path), plate=nobody)


def test_where_a_network_runs_decides_no_tracks():
    def word(*typed: str) -> str:
        line = read_words(
            ["detector=yolox", *typed], command="register", config_name="register", config_dir=str(CONFIG_DIR)
        )
        return settings_of(line.composed(as_typed(line)))

    assert word() == word("providers=openvino") == word("detector.providers=[cuda,cpu]", "device=cuda:1")
    assert word() == "b3f2a182f05c635e", "as before there were providers: sources that are known stay known"
    assert word() != word("detector.min_score=0.4")
