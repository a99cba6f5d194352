"""The two long pieces of registering: find the vehicles of a source, and save the ones that the user keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Cancelled, Job, counting
from reid_lightning.app.pictures import small_jpeg
from reid_lightning.app.register.cards import Cards
from reid_lightning.app.text import count
from reid_lightning.app.uploads import Uploads, check_pictures
from reid_lightning.errors import ReIDError
from reid_lightning.search.records import time_code
from reid_lightning.search.registration import Registered, nothing_found
from reid_lightning.search.video.sources import Source, open_source
from reid_lightning.search.video.track_source import Step
from reid_lightning.search.video.vehicle_finder import FoundVehicle, VehicleFinder

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_THUMBNAIL = 480  # pixels of the longer side


@dataclass
class Findings:
    """What a source gave so far; `source` is closed when all is found.

    Args:
        uploads: where `place` may lie: whoever holds this keeps the files.
    """

    uploads: Uploads
    place: str | Path
    camera: str
    start: float | None
    finder: VehicleFinder
    again: bool = False
    """Found again though it was registered before; saving then replaces what was registered of it."""
    source: Source = field(init=False)
    """Known as soon as it was opened."""
    known: bool = False
    """It was registered before."""
    vehicles: list[FoundVehicle] = field(default_factory=list)
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    """Of each track's best picture, JPEG."""
    held: int = 0
    """Bytes of pictures."""

    def add(self, vehicle: FoundVehicle) -> None:
        """Keep its crops, which are copies, but not the picture that they were cut from."""
        if vehicle.frame is not None:
            vehicle = replace(vehicle, frame=replace(vehicle.frame, picture=_NO_PIXELS))
        self.held += sum(crop.picture.nbytes for crop in vehicle.crops)
        best = Image.fromarray(max(vehicle.crops, key=lambda crop: crop.quality).picture)
        self.thumbnails[vehicle.track] = small_jpeg(best, _THUMBNAIL)
        self.vehicles.append(vehicle)


@dataclass(frozen=True)
class Saved:
    """What became of the cards; `kept_names` are vehicles saved before under other names than the cards' ones."""

    registered: tuple[Registered, ...]
    kept_names: tuple[str, ...]


def find_vehicles(context: AppContext, findings: Findings) -> Callable[[Job], Findings]:
    """The work of finding: `findings` fills while it goes on. Nothing is stored.

    A camera's stream has no end: stopped, it gives what was found so far, and it stops by itself when that becomes too
    much. Any other source that is stopped gives nothing: saving a part of it would mark all of it as registered.
    """
    most = context.settings.max_found_mib << 20

    def work(job: Job) -> Findings:
        if isinstance(findings.place, Path):  # uploaded
            check_pictures(findings.place, on_progress=counting(job, "picture", before="checking: "))
        job.step(done=0, note="opening")
        settings = context.settings
        with open_source(findings.place, every=settings.every, allow_redirects=settings.allow_redirects) as source:
            findings.source = source
            fingerprint, camera = source.fingerprint, findings.camera
            if source.kind != "stream" and context.gallery.source_done(fingerprint, camera) and not findings.again:
                findings.known = True
                return findings

            def on_step(step: Step) -> None:
                found = count(len(findings.vehicles), "vehicle")
                job.step(total=source.length, note=f"{time_code(step.frame.seconds)[:8]}, {found} found")

            try:
                with closing(findings.finder.find(source, on_step=on_step)) as vehicles:
                    for vehicle in vehicles:
                        findings.add(vehicle)
                        if findings.held > most:
                            if source.kind == "stream":
                                break
                            raise ReIDError(
                                f"the pictures of the first {len(findings.vehicles):,} vehicles have more than "
                                f"{most >> 20:,} MiB, which the page holds until they are saved. Take fewer or smaller "
                                "pictures at once, or: reid register source=<folder> camera=<name>."
                            )
            except Cancelled:
                if source.kind != "stream" or not findings.vehicles:
                    raise
            if not findings.vehicles:
                raise ReIDError(nothing_found(source, findings.finder.detector.name))
            return findings

    return work


def save_vehicles(context: AppContext, findings: Findings, cards: Cards) -> Callable[[Job], Saved]:
    """The work of saving the cards that are kept: crops and sidecars, then their embeddings.

    When it is stopped or fails, what was saved stays, and saving again replaces it.

    Raises:
        ReIDError: at once: nothing is kept, or a name cannot be one.
    """
    source, camera, again = findings.source, findings.camera, findings.again
    vehicles = cards.vehicles()
    if not vehicles:
        raise ReIDError("every card is left out; keep one at least, or start over.")
    began = source.start if findings.start is None else findings.start
    names = cards.names(source, camera=camera, start=began)

    def work(job: Job) -> Saved:
        job.step(done=0, total=len(vehicles), note="loading the model")
        saved: list[Registered] = []
        kept_names = []
        with context.registrar(findings.finder, context.embedder()) as registrar:
            findings.again = True  # from here on
            if not again and registrar.is_done(source, camera=camera):
                raise ReIDError(
                    f"{source.name} was registered for camera {camera} meanwhile, by another tab or program. Save "
                    "again to replace what was registered."
                )
            for one in registrar.keep(
                vehicles, source, camera=camera, start=findings.start, names=names, replace=again
            ):
                saved.append(one)
                if one.sighting.vehicle != names[one.found.track]:
                    kept_names.append(one.sighting.vehicle)
                job.step(note=f"{count(len(saved), 'sighting')} saved")
        return Saved(tuple(saved), tuple(kept_names))

    return work
