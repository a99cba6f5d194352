"""What is added to a gallery is read back, once, and what cannot be added leaves nothing."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from gallery_files import all_files, ids, pictures, sighting
from PIL import Image

from reid_lightning import atomic
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import Crop


def test_what_is_added_is_read_back(gallery: Gallery) -> None:
    given = sighting(start=1e9, end=1e9 + 4.25, plate="51G 123.45", plate_confidence=0.75)
    assert gallery.add(given, pictures())
    read = list(gallery.sightings())
    crops = tuple(replace(crop, file=f"a1-{k}.jpg") for k, crop in enumerate(given.crops))
    assert read == [replace(given, crops=crops)]
    assert [path.name for path in gallery.crop_paths(read[0])] == ["a1-0.jpg", "a1-1.jpg"]
    saved = np.asarray(Image.open(gallery.crop_paths(read[0])[1]))
    assert saved.shape == (20, 30, 3) and np.abs(saved.astype(int) - 130).max() <= 2
    assert all_files(gallery.root) == {"51G12345/a1.json", "51G12345/a1-0.jpg", "51G12345/a1-1.jpg"}
    assert json.loads((gallery.root / "51G12345/a1.json").read_text())["format"] == 1


def test_the_same_id_again_changes_nothing_even_in_another_folder(gallery: Gallery) -> None:
    assert gallery.add(sighting(), pictures())
    before = (gallery.root / "51G12345/a1-0.jpg").read_bytes()
    assert not gallery.add(sighting(), pictures(level=10))
    assert not Gallery(gallery.root).add(sighting(vehicle="OTHER"), pictures(level=10))
    gallery.rename("51G12345", "B2")
    assert not gallery.add(sighting(), pictures(level=10))
    assert ids(gallery) == {"a1": "B2"}
    assert (gallery.root / "B2/a1-0.jpg").read_bytes() == before
    gallery.delete("B2")
    assert gallery.add(sighting(), pictures())


def test_numbers_of_numpy_are_kept_as_plain_ones(gallery: Gallery) -> None:
    odd = Crop("", np.int64(4), np.float32(0.5), tuple(np.float32([1, 2, 3, 4])), np.float32(0.25), np.float64(1))
    gallery.add(replace(sighting(track=np.int64(9)), crops=(odd,)), pictures(1))
    (read,) = gallery.sightings()
    assert read.track == 9 and read.crops[0] == Crop("a1-0.jpg", 4, 0.5, (1.0, 2.0, 3.0, 4.0), 0.25, 1.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "0 pictures came with 2 crops"),
        ([np.zeros((2, 2), np.uint8)] * 2, "expected uint8"),
        ([np.zeros((2, 2, 3))] * 2, "expected uint8"),
        ([np.zeros((0, 2, 3), np.uint8)] * 2, "expected uint8"),
    ],
)
def test_pictures_that_do_not_fit_are_an_error(gallery: Gallery, wrong: list[np.ndarray], message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        gallery.add(sighting(), wrong)
    assert not gallery.root.exists()


def test_nan_is_refused_before_anything_is_written(gallery: Gallery) -> None:
    with pytest.raises(ReIDError, match="a1"):
        gallery.add(sighting(start=float("nan")), pictures())
    assert not gallery.root.exists()


def test_vehicles_sums_up(gallery: Gallery) -> None:
    gallery.add(sighting("a1", start=100.0, end=104.0), pictures())
    gallery.add(sighting("a2", camera="south", type="truck", start=50.0, end=51.0, crops=1), pictures(1))
    gallery.add(sighting("a3", "B2", crops=1), pictures(1))
    first, second = gallery.vehicles()
    assert (first.id, first.sightings, first.crops) == ("51G12345", 2, 3)
    assert (first.cameras, first.types, first.first, first.last) == (("north", "south"), ("car", "truck"), 50.0, 104.0)
    assert (second.id, second.first, second.last) == ("B2", None, None)


def test_a_users_pictures_are_sightings(gallery: Gallery) -> None:
    folder = gallery.root / "my car"
    folder.mkdir(parents=True)
    for name in ("left.PNG", "right.jpg"):
        Image.new("RGB", (30, 20), "red").save(folder / name)
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.jpg").write_bytes((folder / "right.jpg").read_bytes())
    found = gallery.sightings_of("my car")
    assert [one.crops[0].file for one in found] == ["left.PNG", "right.jpg"]
    assert {(one.vehicle, one.camera, one.type, one.start) for one in found} == {("my car", "", "vehicle", None)}
    assert len({one.id for one in found}) == 2
    assert [one.id for one in Gallery(gallery.root).sightings_of("my car")] == [one.id for one in found]
    moved = gallery.rename("my car", "b2")
    assert moved == dict(zip([one.id for one in found], [one.id for one in gallery.sightings_of("B2")], strict=True))
    assert not set(moved) & set(moved.values())


@pytest.mark.parametrize("writes", range(3))
def test_a_full_disk_leaves_nothing(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    gallery.add(sighting("a0"), pictures())
    before = all_files(gallery.root)
    left = writes

    def full(number: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "flush_folder", lambda folder: None)
    monkeypatch.setattr("reid_lightning.search.gallery.adding.flush_folder", lambda folder: None)
    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(ReIDError, match="No space left"):
        gallery.add(sighting("a1", "NEW"), pictures())
    with pytest.raises(ReIDError, match="No space left"):
        gallery.add(sighting("a1"), pictures())
    monkeypatch.undo()
    assert all_files(gallery.root) == before
    assert gallery.vehicle_names() == ["51G12345"]
    assert gallery.add(sighting("a1"), pictures())
