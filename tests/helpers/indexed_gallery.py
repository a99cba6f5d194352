"""Galleries with an index of sidecars, and what it must agree with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from gallery_files import pictures, sighting

from reid_lightning.search.gallery import Gallery, reader, sighting_index
from reid_lightning.search.gallery.index_file import NAME
from reid_lightning.search.gallery.summary import summary_of
from reid_lightning.search.gallery.vehicle_folder import is_picture
from reid_lightning.search.stores.base import INDEX_FOLDER

OLD = 1e9  # a time of change that can be relied on


def filled(root: Path, *, vehicles: int = 3) -> Gallery:
    gallery = Gallery(root)
    for number in range(2 * vehicles):
        one = sighting(f"a{number}", f"V{number // 2}", start=60.0 * number, end=60.0 * number + 5)
        gallery.add(one, pictures())
    return gallery


def grow_old(root: Path) -> None:
    """As if nothing had changed for long."""
    for path in [root, *root.rglob("*")]:
        os.utime(path, (OLD, OLD))


def database(root: Path) -> Path:
    return root / INDEX_FOLDER / NAME


def slow_list(gallery: Gallery) -> list[object]:
    """Of all sidecars."""
    names = gallery.vehicle_names()
    found = {name: gallery.sightings_of(name, on_problem=lambda problem: None) for name in names}
    return [summary_of(name, sightings) for name, sightings in found.items() if sightings]


def check_agrees(gallery: Gallery) -> None:
    """The index, as a process sees it that comes new, with the disk."""
    new = Gallery(gallery.root)
    expected = slow_list(new)
    assert new.vehicles(on_problem=lambda problem: None) == expected
    numbers = new.statistics()
    assert (numbers.vehicles, numbers.sightings) == (len(expected), sum(one.sightings for one in expected))
    assert numbers.crops == sum(one.crops for one in expected)
    cameras = [one.camera for name in new.vehicle_names() for one in new.sightings_of(name, on_problem=lambda _: None)]
    assert numbers.per_camera == {camera: cameras.count(camera) for camera in sorted(set(cameras))}
    for name in new.vehicle_names():
        for one in new.sightings_of(name, on_problem=lambda problem: None):
            if not is_picture(one):
                assert new.find(one.id) is not None
    assert new.find("nobody") is None


def only_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a gallery of very many vehicles: no folder is compared with the disk unasked."""
    monkeypatch.setattr(reader, "MANY", 0)
    monkeypatch.setattr("reid_lightning.search.gallery.locations.FEW", 0)
    look = sighting_index.SightingIndex.look
    monkeypatch.setattr(
        sighting_index.SightingIndex, "look", lambda self, folders=0, **named: look(self, min(folders, 0), **named)
    )
