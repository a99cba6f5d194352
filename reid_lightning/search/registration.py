"""From a source into a gallery: each vehicle found is named by its plate, saved, embedded and stored, one by one.

A process that is killed has lost at most the vehicle it was saving, and the same command then finishes the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex
from reid_lightning.search.gallery.index import NotInGalleryError
from reid_lightning.search.hints import Hints
from reid_lightning.search.plates import unknown_name, vehicle_name
from reid_lightning.search.records import Crop, Sighting, box_of
from reid_lightning.search.video.fixed_camera import ADVICE
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.track_source import Step
from reid_lightning.search.video.vehicle_finder import FoundVehicle, VehicleFinder


@dataclass(frozen=True)
class Registered:
    """A vehicle of a source: its sighting, and whether it was new to the gallery."""

    sighting: Sighting
    found: FoundVehicle
    is_new: bool


@dataclass
class Registrar:
    """Finds the vehicles of sources and keeps them.

    Args:
        gallery: where crops and sidecars go.
        finder: detector, tracker and plate reader.
        index: where embeddings go; None: nowhere, until the index is rebuilt.
        settings: a word for all that decides which tracks a source has: what was interrupted under another one is
            removed and done again, since its tracks are numbered otherwise.
    """

    gallery: Gallery
    finder: VehicleFinder
    index: GalleryIndex | None = field(default=None, kw_only=True)
    settings: str = field(default="", kw_only=True)

    def register(
        self, source: Source, *, camera: str, start: float | None = None, on_step: Callable[[Step], None] | None = None
    ) -> Generator[Registered, None, None]:
        """Save each vehicle as soon as its track has ended.

        A source that was registered for this camera before gives nothing; one that was interrupted is done again, and
        what was saved of it stays as it is. Each picture of a folder is a source of its own, known in any folder.

        Args:
            source: an open source.
            camera: the name of the camera it was taken with.
            start: when it began, in seconds since 1970; None: what the source says, if it says so.
            on_step: is called with every frame.

        Raises:
            ReIDError: nothing was found in all of the source.
        """
        if self.is_done(source, camera=camera):
            return
        if source.kind == "video":
            self._begin(source.fingerprint, camera, source.name)  # before the first vehicle: it may be long in coming
        with closing(self.finder.find(source, on_step=on_step)) as vehicles:
            yield from self.keep(vehicles, source, camera=camera, start=start)

    def keep(
        self,
        vehicles: Iterable[FoundVehicle],
        source: Source,
        *,
        camera: str,
        start: float | None = None,
        names: Mapping[int, str] | None = None,
        replace: bool = False,
    ) -> Iterator[Registered]:
        """Save vehicles that the finder has found in a source, and remember that the source is done.

        Args:
            vehicles: all that shall be kept of it, in the order they were found.
            source: what they were found in; it may be closed.
            camera: as in `register`.
            start: as in `register`.
            names: of tracks whose vehicle is not called by the plate that was read.
            replace: what was registered of the source before is called as here, and goes at the end if it is not here.

        Raises:
            ReIDError: there was no vehicle.
        """
        began = source.start if start is None else start
        kept, seen_before, sources, new = 0, "", {source.fingerprint}, set()
        for found in vehicles:
            kept += 1
            seen = _seen_in(found, source)
            sources.add(seen)
            if source.kind != "stream" and seen != seen_before:
                seen_before = seen
                self._begin(seen, camera, source.name, clear=not replace)
            name = self._known_as((names or {}).get(found.track))
            saved = self.save(found, source, camera=camera, start=began, vehicle=name)
            if replace:
                new.add(saved.sighting.id)
                if name is not None and saved.sighting.vehicle != name:
                    self._delete(saved.sighting)
                    saved = self.save(found, source, camera=camera, start=began, vehicle=name)
            yield saved
        if kept == 0:
            raise ReIDError(nothing_found(source, self.finder.detector.name))
        if replace:
            for one in [one for seen in sorted(sources) for one in self.gallery.sightings_of_source(seen, camera)]:
                if one.id not in new:
                    self._delete(one)
        if source.kind != "stream":
            self.gallery.mark_source(
                source.fingerprint, camera, name=source.name, detector=self.finder.detector.name, sightings=kept
            )

    def is_done(self, source: Source, *, camera: str) -> bool:
        """Whether all of the source was registered for this camera before."""
        return source.kind != "stream" and self.gallery.source_done(source.fingerprint, camera)

    def forget(self, source: Source, *, camera: str) -> None:
        """Remove what was registered of a source, so that it can be done again with other settings."""
        self.gallery.forget_source(source.fingerprint, camera)
        fingerprints = {source.fingerprint}
        if not source.in_video:
            fingerprints |= {fingerprint_of(frame.path) for frame in source if frame.path is not None}
        for fingerprint in sorted(fingerprints):
            self._clear(fingerprint, camera)

    def save(
        self,
        found: FoundVehicle,
        source: Source,
        *,
        camera: str,
        start: float | None,
        vehicle: str | None = None,
    ) -> Registered:
        """Save one vehicle, under `vehicle` or the name its plate gives it."""
        name = self._known_as(vehicle)
        sighting = sighting_of(found, source, camera=camera, start=start, vehicle=name)
        pictures, vectors = [crop.picture for crop in found.crops], None
        if self.gallery.find(sighting.id) is None:
            hints = Hints(self.gallery, self.index)
            vectors = hints.vectors_of(sighting.id, pictures)
            sighting = sighting if vehicle is not None else hints.of(sighting, vectors)
        is_new = self.gallery.add(sighting, pictures)
        if self.index is not None:
            with suppress(NotInGalleryError):  # somebody has deleted it meanwhile
                self.index.add(sighting, vectors)  # a known one as well: who was killed may have saved pictures only
        return Registered(self.gallery.find(sighting.id) or sighting, found, is_new)

    def _known_as(self, name: str | None) -> str | None:
        """What the gallery calls a vehicle that somebody has named, `LS15 EBC` for example."""
        return None if name is None else self.gallery.place_of(name).name

    def _begin(self, fingerprint: str, camera: str, name: str, *, clear: bool = True) -> None:
        earlier = self.gallery.source_state(fingerprint, camera)
        if clear and earlier is not None and earlier.settings != self.settings:
            self._clear(fingerprint, camera)
        self.gallery.begin_source(fingerprint, camera, name=name, settings=self.settings)

    def _clear(self, fingerprint: str, camera: str) -> None:
        for sighting in self.gallery.sightings_of_source(fingerprint, camera):
            self._delete(sighting)

    def _delete(self, sighting: Sighting) -> None:
        (self.gallery if self.index is None else self.index).delete_sighting(sighting)


def fingerprint_of(picture: Path) -> str:
    """16 hex digits over the bytes of a picture's file. ReIDError: it cannot be read (any more)."""
    try:
        return hashlib.sha256(picture.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ReIDError(f"the picture {picture.name} cannot be read: {error.strerror or error}.") from error


def _seen_in(found: FoundVehicle, source: Source) -> str:
    """The fingerprint of what the vehicle was seen in: its picture's, or the video's."""
    picture = None if found.frame is None else found.frame.path
    return source.fingerprint if picture is None else fingerprint_of(picture)


def sighting_of(
    found: FoundVehicle, source: Source, *, camera: str, start: float | None, vehicle: str | None = None
) -> Sighting:
    """The record of a found vehicle, in the folder `vehicle`, or None: in that of its plate.

    Its id follows from the bytes of what it was seen in, the camera and the track.
    """
    fingerprint, picture = _seen_in(found, source), None if found.frame is None else found.frame.path
    number = found.track if picture is None else [round(float(side)) for side in found.crops[0].box]
    key = f"{fingerprint}|{camera}|{number}"
    identifier = hashlib.sha256(key.encode()).hexdigest()[:16]
    plate = None if found.plate is None else found.plate.text
    name = unknown_name(identifier) if plate is None else vehicle_name(plate)
    crops = tuple(
        Crop(
            f"{identifier}-{number}.jpg",
            crop.frame,
            round(crop.seconds, 3),
            box_of(crop.box, digits=1),
            round(float(crop.score), 4),
            round(float(crop.quality), 4),
        )
        for number, crop in enumerate(found.crops)
    )
    return Sighting(
        id=identifier,
        vehicle=name if vehicle is None else vehicle,
        camera=camera,
        source=fingerprint,
        source_name=source.name if picture is None else picture.name,
        track=found.track,
        type=found.type,
        detector=found.detector,
        crops=crops,
        start=None if start is None else start + found.first,
        end=None if start is None else start + found.last,
        plate=plate,
        plate_confidence=0.0 if found.plate is None else round(found.plate.confidence, 4),
        confirmed=found.confirmed,
    )


def nothing_found(source: Source, detector: str) -> str:
    """What to say when a source shows no vehicle."""
    advice = {
        "motion": f"It needs a fixed camera, and something that moves. {ADVICE}",
    }.get(detector, "Look at the clip, or lower detector.min_score.")
    return f"no vehicle was found in {source.name} by the {detector} detector. {advice}"
