"""The starter bundle, and what `reid adapt` makes of it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import torch
from PIL import Image

from reid_lightning.bundle import starter
from reid_lightning.bundle.bundle import read_options
from reid_lightning.bundle.loading import find_bundle
from reid_lightning.errors import ReIDError
from reid_lightning.search import load_reid_model
from reid_lightning.search.gallery import Gallery


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's cache with a starter in it, made of fewer drawn vehicles."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(starter, "_FLEET", "tiny")
        starter.starter_bundle()
    return folder


@pytest.fixture
def cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(starter, "make_starter", lambda folder: pytest.fail("it is there already"))
    return cache


def test_it_is_made_once_and_found_wherever_a_bundle_is_named(cached: Path, tmp_path: Path, caplog) -> None:
    folder = cached / "reid_lightning/starter-1"
    assert find_bundle("starter") == folder
    with caplog.at_level("WARNING"):
        assert find_bundle("latest", runs=tmp_path) == folder
    assert "this is the starter" in caplog.text and "reid adapt" in caplog.text
    model = load_reid_model("starter")
    assert model.options.fingerprint == read_options(folder).fingerprint
    assert model.threshold is not None and model.calibration.same_pairs == 507
    card = (folder / "model_card.md").read_text()
    assert "none: ImageNet weights" in card and "507 real vehicles" in card and "reid train data=folder" in card


def test_of_two_at_once_the_second_takes_what_the_first_has_made(tmp_path: Path, monkeypatch) -> None:
    made: list[Path] = []
    begun = Barrier(2)

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.2)  # the other has long asked for it
        folder.mkdir()
        (folder / "opts.yaml").touch()

    def ask() -> Path:
        begun.wait()
        return starter.starter_bundle(tmp_path / "caches/starter")

    monkeypatch.setattr(starter, "make_starter", make)
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(ask) for _ in range(2)]
    assert {each.result() for each in asked} == {*made} and len(made) == 1


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_drawn(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(starter, "make_starter", lambda folder: pytest.fail("it cannot be kept"))
    with pytest.raises(ReIDError, match=r"the starter cannot be kept in .*file.*XDG_CACHE_HOME=<folder>"):
        starter.starter_bundle()


def test_its_embeddings_are_centred_on_drawn_vehicles_and_alike_for_mirror_images(
    cached: Path, fleet_root: Path
) -> None:
    pictures = [Image.open(path) for path in sorted(fleet_root.rglob("image_train/*.jpg"))]
    model = load_reid_model("starter")
    embeddings = model.embed(pictures)
    assert embeddings.shape == (96, 512)
    assert embeddings.mean(dim=0).norm() < 0.1, "the fleet that it was made of"
    mirrored = model.embed([picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in pictures[:8]])
    assert ((embeddings[:8] * mirrored).sum(dim=1) > 0.99).all()


@pytest.mark.parametrize("given", ["source", "gallery"])
def test_adapting_moves_a_bundle_to_pictures_without_labels(
    cached: Path, fleet_root: Path, tmp_path: Path, run_command: Callable, given: str
) -> None:
    crops = sorted(fleet_root.rglob("image_test/*.jpg"))
    source = crops[0].parent
    if given == "gallery":
        for number, crop in enumerate(crops):
            folder = tmp_path / f"gallery/car-{number}"
            folder.mkdir(parents=True)
            (folder / crop.name).write_bytes(crop.read_bytes())
        source = tmp_path / "gallery"
        assert len(list(Gallery(source).sightings())) == len(crops)
    names = [r"pattern=(?P<track>\d+_(?P<camera>c\d+))"] if given == "source" else []
    finished = run_command("reid", "adapt", f"{given}={source}", "bundle=starter", *names)
    assert finished.returncode == 0, finished.stderr
    folder = next((tmp_path / "runs/adapt").glob("*/bundle"))
    options = read_options(folder)
    assert options.data["before"] == read_options(cached / "reid_lightning/starter-1").fingerprint
    with (folder.parent / "pseudo_labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    tracks = {"_".join(crop.name.split("_")[:2]) for crop in crops}
    if given == "source":
        assert f"{len(tracks):,} tracks or single pictures, " in finished.stdout and " cameras; " in finished.stdout
        for track in tracks:
            identities = [row["identity"] for row in rows if Path(row["path"]).name.startswith(f"{track}_")]
            assert len(set(identities)) <= 1, "one track is one vehicle"
            assert {row["camera"] for row in rows if row["identity"] in identities} >= {track[-4:]} or not identities
    else:
        assert f"{len(crops):,} tracks or single pictures, cameras unknown" in finished.stdout
    assert str(len(crops)) in options.data["adaptation"]
    calibration = load_reid_model(folder).calibration
    assert ("without labels" in options.data.get("threshold", "")) is (calibration is not None)
    assert "measured on real vehicles" not in options.data, "another model was"
    pictures = [Image.open(crop) for crop in crops]
    before, after = (load_reid_model(bundle).embed(pictures) for bundle in ("starter", folder))
    assert after.mean(dim=0).norm() < before.mean(dim=0).norm() / 2
    assert not torch.allclose(before @ before.T, after @ after.T, atol=0.05)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected one of source="),
        (["source=nowhere"], "is no folder"),
        (["source=.", "gallery=."], "expected one of source="),
        (["source=none"], "none holds 0 pictures"),
        (["source=.", "share=2"], "share"),
        (["source=alike", "pattern=(?P<camera>"], "pattern=(?P<camera> is no regular expression"),
        (["gallery=.", "pattern=_c(?P<camera>.)"], "pattern= reads the names of source="),
        (["source=alike", "pattern=_c(?P<camera>.)"], "is found in 0 of 3 names, and not in 0.png"),
        (["source=alike", "pattern=cam(?P<cam>.)"], "expected the groups camera and track, or one of them"),
        (["source=alike", "most=1"], "alike holds 3 pictures, most=1"),
        (["source=damaged"], "3 of 3 pictures cannot be read"),
        (["source=alike"], "3 pictures of which no two differ"),
    ],
)
def test_what_cannot_be_adapted_to_is_said(
    cached: Path, run_command: Callable, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "none").mkdir()
    content = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 20, 20)).save(content, "PNG")
    for name, length in (("alike", None), ("damaged", 30)):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(content.getvalue()[:length])
    finished = run_command("reid", "adapt", "bundle=starter", *words)
    assert finished.returncode != 0 and message in finished.stderr
    assert not list(tmp_path.rglob("opts.yaml"))
