"""The two long pieces of registering: find the vehicles of a source, and save the ones that the user keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from reid_lightning.app.context import AppContext
from reid_lightning.app.jobs import Cancelled, Job
from reid_lightning.app.register_cards import Cards
from reid_lightning.app.text import count
from reid_lightning.errors import ReIDError
from reid_lightning.search.following import Step
from reid_lightning.search.registration import Registered, nothing_found
from reid_lightning.search.results import time_code
from reid_lightning.search.sources import Source, open_source
from reid_lightning.search.vehicle_finder import FoundVehicle, VehicleFinder

_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


@dataclass
class Findings:
    """What a source gave so far; `source` is closed when all is found. `known`: it was registered before."""

    place: str | Path
    camera: str
    start: float | None
    finder: VehicleFinder
    again: bool = False
    """Found anew though it was registered before; saving then removes what was registered of it."""
    source: Source | None = None
    known: bool = False
    vehicles: list[FoundVehicle] = field(default_factory=list)


def find_vehicles(context: AppContext, findings: Findings) -> Callable[[Job], Findings]:
    """The work of finding: `findings` fills while it goes on. Nothing is stored.

    A camera's stream has no end: stopped, it gives what was found so far. Any other source that is stopped gives
    nothing, because saving a part of it would mark all of it as registered.
    """

    def work(job: Job) -> Findings:
        with open_source(findings.place, every=context.settings.every) as source:
            findings.source = source
            fingerprint, camera = source.fingerprint, findings.camera
            if source.kind != "stream" and context.gallery.source_done(fingerprint, camera) and not findings.again:
                findings.known = True
                return findings

            def on_step(step: Step) -> None:
                found = count(len(findings.vehicles), "vehicle")
                job.step(total=source.length, note=f"{time_code(step.frame.seconds)}, {found} found")

            try:
                for vehicle in findings.finder.find(source, on_step=on_step):
                    findings.vehicles.append(_without_frame(vehicle))
            except Cancelled:
                if source.kind != "stream" or not findings.vehicles:
                    raise
            if not findings.vehicles:
                raise ReIDError(nothing_found(source, findings.finder.detector.name))
            return findings

    return work


def save_vehicles(context: AppContext, findings: Findings, cards: Cards) -> Callable[[Job], Sequence[Registered]]:
    """The work of saving the cards that are kept: crops and sidecars, then their embeddings.

    Raises:
        ReIDError: at once: nothing is kept, or a name cannot be one.
    """
    source, camera = findings.source, findings.camera
    vehicles = cards.vehicles()
    if not vehicles:
        raise ReIDError("every card is left out; keep one at least, or start over.")
    began = source.start if findings.start is None else findings.start
    names = cards.names(source, camera=camera, start=began, detector=findings.finder.detector.name)

    def work(job: Job) -> Sequence[Registered]:
        job.step(done=0, total=len(vehicles), note="loading the model")
        registrar = context.registrar(findings.finder, context.embedder())
        if findings.again:
            with open_source(findings.place) as again:
                registrar.forget(again, camera=camera)
        saved = []
        for one in registrar.keep(vehicles, source, camera=camera, start=findings.start, names=names):
            saved.append(one)
            job.step(note=f"{count(len(saved), 'sighting')} saved")
        return saved

    return work


def _without_frame(vehicle: FoundVehicle) -> FoundVehicle:
    """The crops are copies; the picture that they were cut from would fill the memory."""
    return vehicle if vehicle.frame is None else replace(vehicle, frame=replace(vehicle.frame, picture=_NO_PIXELS))
