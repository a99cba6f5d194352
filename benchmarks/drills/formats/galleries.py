"""Galleries: the files beside the crops, and a gallery as one zip."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.drills.damaging import JSON
from benchmarks.drills.formats.form import Format, Reported, must, noise
from reid_lightning.search.gallery import Gallery, records_of
from reid_lightning.search.gallery.archive import export_gallery, import_gallery
from reid_lightning.search.records import Crop, Sighting


def _gallery(root: Path) -> Gallery:
    gallery = Gallery(root)
    boxes = tuple(Crop("", number, 0.5 * number, (1.0, 2.0, 9.0, 9.0), 0.9, 0.8) for number in range(2))
    common = {"source": "f0", "source_name": "x.mp4", "track": 1, "type": "car", "detector": "motion", "crops": boxes}
    for number, vehicle in enumerate(("51G12345", "UNKNOWN", "51G12345")):
        one = Sighting(
            f"a{number}", vehicle, "north", start=1e9, end=1e9 + 4, plate="51G12345", plate_confidence=0.9, **common
        )
        gallery.add(one, [np.asarray(noise(16, 24, seed=number))] * 2)
    return gallery


def _write_sidecars(folder: Path) -> list[Path]:
    return sorted(_gallery(folder / "gallery").root.rglob("*.json"))


def _read_gallery(folder: Path, path: Path) -> Reported:
    gallery = Gallery(folder / "gallery")
    reported: list[str] = []
    for sighting in gallery.sightings(on_problem=reported.append):
        _check_sighting(sighting)
        must(all(crop.is_file() for crop in gallery.crop_paths(sighting)), "a sighting without its crops")
        must(len(list(records_of(sighting))) == len(sighting.crops), "records of another number than the crops")
    summaries = gallery.vehicles(on_problem=reported.append)
    must(len(summaries) >= 1, "the other sightings are gone")
    return [*reported, *gallery.check()]


def _check_sighting(sighting: Sighting) -> None:
    texts = (sighting.id, sighting.vehicle, sighting.camera, sighting.type)
    must(all(text.isascii() or text.encode("utf-8", "ignore").decode() == text for text in texts), "no valid text")
    numbers = [sighting.start or 0.0, sighting.end or 0.0, sighting.plate_confidence]
    numbers += [number for crop in sighting.crops for number in (*crop.box, crop.seconds, crop.score, crop.quality)]
    must(all(np.isfinite(number) for number in numbers), f"{sighting.id} holds a number that is not finite")


def _write_archive(folder: Path) -> list[Path]:
    export_gallery(_gallery(folder / "source"), folder / "gallery.zip")
    return [folder / "gallery.zip"]


def _read_archive(folder: Path, path: Path) -> Reported:
    before = {file for file in folder.rglob("*") if file.is_file()}
    gallery = Gallery(folder / "imported")
    report = import_gallery(gallery, path)
    made = {file for file in folder.rglob("*") if file.is_file()} - before
    must(all(file.is_relative_to(gallery.root) for file in made), "a file outside the gallery")
    must(gallery.check() == [], "an imported gallery that is damaged")
    for sighting in gallery.sightings():
        _check_sighting(sighting)
    return report.problems


GALLERIES = (
    Format("gallery sidecar", _write_sidecars, _read_gallery, text=True, structure=JSON),
    Format("gallery zip", _write_archive, _read_archive),
)
