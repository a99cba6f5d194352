"""What a vehicle may be, when it is registered: the one that it looks like, or one with nearly the same plate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_gallery import pictures, sighting
from toy_traffic import Pass, registered, vectors_of

from reid_lightning.search.gallery import Gallery, GalleryIndex
from reid_lightning.search.gallery.sighting_list import plates_near
from reid_lightning.search.hints import Hints, most_alike
from reid_lightning.search.records import Hit, VectorRecord


@pytest.fixture
def hints(tmp_path: Path) -> Hints:
    passes = [
        Pass(1, "north", 1e9, plate="LS15EBC"),
        Pass(2, "south", 1e9 + 40, plate="AB12CDE"),
        Pass(3, "south", 1e9 + 80),
    ]
    store = registered(tmp_path, passes)
    gallery = Gallery(tmp_path)
    return Hints(gallery, GalleryIndex(gallery, store))


def test_without_a_plate_it_looks_like_the_nearest_vehicle(hints: Hints) -> None:
    new = sighting(9, "unknown-a9", camera="east")
    found = hints.of(new, vectors_of(Pass(2, "east", 1e9 + 200)))
    assert found.looks_like == "AB12CDE"
    assert 0.4 < found.looks_like_score < 1
    assert (found.near_plate, found.near_plate_camera) == (None, None)
    assert hints.of(new, None) == new


def test_a_plate_that_is_nearly_another_names_it_and_its_camera(hints: Hints) -> None:
    found = hints.of(sighting(9, "LS15EBO", plate="LS15EBO", plate_confidence=0.9), vectors_of(Pass(2, "east", 0.0)))
    assert (found.near_plate, found.near_plate_camera, found.looks_like) == ("LS15EBC", "north", None)
    same = sighting(9, "LS15EBC", plate="LS15EBC", plate_confidence=0.9)
    assert hints.of(same, None) == same


@pytest.mark.parametrize(
    ("plate", "near"),
    [
        ("LS15EBO", ["LS15EBC"]),
        ("LS15EB", ["LS15EBC"]),
        ("LS155EBC", ["LS15EBC"]),
        ("S15EBC", ["LS15EBC"]),
        ("LS15EBC", []),
        ("LS16EBO", []),
        ("*", []),
        ("[A]", []),
    ],
)
def test_one_character_is_another_missing_or_too_much(hints: Hints, plate: str, near: list[str]) -> None:
    assert [found for found, _ in plates_near(hints.gallery.locations.index, plate)] == near


def test_in_an_empty_gallery_nothing_is_said(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path)
    store = registered(tmp_path, [])
    new = sighting(9, "unknown-a9")
    assert Hints(gallery, GalleryIndex(gallery, store)).of(new, vectors_of(Pass(1, "east", 0.0))) == new


def test_the_sidecar_keeps_what_was_known(hints: Hints) -> None:
    found = hints.of(sighting(9, "unknown-a9"), vectors_of(Pass(2, "east", 1e9)))
    gallery = Gallery(hints.gallery.root)
    gallery.add(found, pictures(9))
    kept = Gallery(hints.gallery.root).find("a9")
    assert (kept.looks_like, kept.looks_like_score) == ("AB12CDE", found.looks_like_score)


def test_most_alike_is_the_mean_of_the_better_half() -> None:
    def hit(vehicle: str, score: float) -> Hit:
        return Hit(VectorRecord(f"{vehicle}-0", vehicle, vehicle, "north", "car"), score)

    hits = [[hit("A", 0.9), hit("B", 0.8)], [hit("B", 0.8), hit("A", 0.3)], [hit("B", 0.7)]]
    assert most_alike(hits) == ("B", pytest.approx(np.mean([0.8, 0.8])))
    assert most_alike([[hit("B", 0.5), hit("A", 0.5)]]) == ("A", 0.5)
    assert most_alike([[], []]) is None
