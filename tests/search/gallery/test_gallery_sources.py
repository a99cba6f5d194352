"""Which sources were registered: begun, finished and forgotten by camera."""

from __future__ import annotations

import json

import pytest
from gallery_files import all_files, pictures, sighting

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery


def test_sources_are_remembered_by_camera(gallery: Gallery) -> None:
    assert not gallery.source_done("f00d", "north")
    gallery.mark_source("f00d", "north", name="clip.mp4", detector="motion", sightings=3)
    gallery.mark_source("f00d", "../s'out\"h", name="clip.mp4", detector="motion", sightings=3)
    assert gallery.source_done("f00d", "north") and gallery.source_done("f00d", "../s'out\"h")
    assert not gallery.source_done("f00d", "east") and not gallery.source_done("beef", "north")
    assert gallery.source_state("f00d", "north").settings == ""
    (gallery.root / ".sources/f00d.json").write_text("{")
    assert not gallery.source_done("f00d", "north")
    with pytest.raises(ReIDError, match="fingerprint"):
        gallery.source_done("../x", "north")


def test_a_source_is_begun_finished_and_forgotten(gallery: Gallery) -> None:
    given = {"name": "clip.mp4", "settings": "motion min_score=0.5"}
    assert gallery.begin_source("f00d", "north", **given) is None
    assert gallery.begin_source("f00d", "south", **given) is None
    mark = gallery.source_state("f00d", "north")
    assert (mark.done, mark.settings, mark.name) == (False, given["settings"], "clip.mp4")
    assert not gallery.source_done("f00d", "north")
    assert gallery.begin_source("f00d", "north", name="clip.mp4", settings="other") == mark
    assert gallery.source_state("f00d", "north").settings == "other"
    gallery.mark_source("f00d", "north", name="clip.mp4", detector="motion", sightings=3)
    done = gallery.source_state("f00d", "north")
    assert (done.done, done.settings, done.sightings) == (True, "other", 3) and gallery.source_done("f00d", "north")
    assert gallery.begin_source("f00d", "north", name="clip.mp4", settings="other") == done
    assert gallery.source_done("f00d", "north")  # it stays finished
    gallery.forget_source("f00d", "north")
    gallery.forget_source("f00d", "nowhere")
    assert gallery.source_state("f00d", "north") is None and gallery.source_state("f00d", "south") is not None
    gallery.forget_source("f00d", "south")
    assert all_files(gallery.root) == set()


def test_a_mark_of_before_is_of_a_finished_source(gallery: Gallery) -> None:
    (gallery.root / ".sources").mkdir(parents=True)
    mark = {"source": "f00d", "camera": "c", "name": "x", "detector": "motion", "sightings": 3, "when": 1e9}
    (gallery.root / ".sources/f00d.json").write_text(json.dumps({"format": 1, "marks": [mark]}))
    assert gallery.source_done("f00d", "c") and gallery.source_state("f00d", "c").sightings == 3


def test_sightings_of_a_source(gallery: Gallery) -> None:
    for number, (source, camera) in enumerate([("f00d", "n"), ("f00d", "s"), ("beef", "n"), ("f00d", "n")]):
        gallery.add(sighting(f"a{number}", f"V{number}", source=source, camera=camera), pictures())
    gallery.add(sighting("a9", "V9", source="f00d", camera="n"), pictures())
    (gallery.root / "V9/a9.json").write_text("{")
    assert [one.id for one in gallery.sightings_of_source("f00d", "n")] == ["a0", "a3"]
