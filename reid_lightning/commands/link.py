"""Join the sightings of all cameras to vehicles: `reid link`, and what was linked: `reid link list`, `show`, `undo`."""

from __future__ import annotations

import getpass
from itertools import combinations
from pathlib import Path

from omegaconf import DictConfig

from reid_lightning.bundle.bundle import OPTS_NAME, read_options
from reid_lightning.bundle.loading import find_bundle
from reid_lightning.commands.entry_point import build
from reid_lightning.commands.link_tables import print_evidence, print_links
from reid_lightning.drawing.progress import counted
from reid_lightning.drawing.tables import say
from reid_lightning.errors import ReIDError, count
from reid_lightning.ranking.open_set_result import Calibration
from reid_lightning.ranking.problem import IMAGE_TO_IMAGE
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.linking.answers import Answers
from reid_lightning.search.linking.linker import link as link_gallery
from reid_lightning.search.linking.linker import linked_before
from reid_lightning.search.linking.links import LinkedVehicle, Links
from reid_lightning.search.linking.links import read as read_links
from reid_lightning.search.linking.problem import LinkOptions
from reid_lightning.search.linking.thresholds import threshold_for_links
from reid_lightning.search.matching.travel_times import TravelTimes
from reid_lightning.search.output.link_sheet import link_sheet

_LONG = 1000  # sightings, which are compared for a while


def link(cfg: DictConfig) -> int:
    """Compare who is new, group all, keep the links; returns the number of vehicles."""
    gallery = opened(cfg)
    times = None if cfg.travel_times is None else TravelTimes.read(cfg.travel_times)
    store = build(cfg, "stores")()
    options = LinkOptions(
        _threshold(cfg, store.fingerprint),
        use_answers=cfg.min_score == "auto",
        travel_times=times,
        use_plates=cfg.use_plates,
        again=cfg.again,
    )
    with counted("comparing sightings", least=_LONG) as on_progress:
        done = link_gallery(gallery, store, options, on_progress=on_progress)
    for note in done.links.notes:
        say(note)
    if times is not None:
        _note_unknown_cameras(times, {one.camera for one in done.problem.seen if one.camera})
    if done.without_vectors:
        what = count(done.without_vectors, "sighting")
        say(f"{what} without vectors, joined by plates and words alone: reid gallery sync")
    seen, joined = len(done.problem.seen), done.links.joined
    together = sum(len(one.sightings) for one in joined)
    say(f"{done.problem.basis}; {count(done.compared, 'sighting')} compared")
    say(
        f"{count(seen, 'sighting')}: {count(len(done.links.vehicles), 'vehicle')}, "
        f"{count(len(joined), 'of them has', 'of them have')} {together:,} sightings together"
    )
    if cfg.sheet is not None and joined:
        say(f"wrote {link_sheet(Path(cfg.sheet), gallery, joined, title=str(gallery.root))}")
    return len(done.links.vehicles)


def list_(cfg: DictConfig) -> None:
    """The vehicles that several sightings were joined to."""
    gallery = opened(cfg)
    found, problem = linked_before(gallery)
    print_links(found.joined, {one.id: one for one in problem.seen})
    alone = len(found.vehicles) - len(found.joined)
    say(f"{count(len(found.joined), 'vehicle')} of several sightings; {alone:,} were seen once")
    if cfg.sheet is not None and found.joined:
        say(f"wrote {link_sheet(Path(cfg.sheet), gallery, found.joined, title=str(gallery.root))}")


def show(cfg: DictConfig) -> None:
    """Why the sightings of a vehicle are one."""
    gallery = opened(cfg)
    found, problem = linked_before(gallery)
    vehicle = _vehicle(found, cfg.vehicle)
    print_evidence(vehicle, problem)
    if cfg.sheet is not None:
        say(f"wrote {link_sheet(Path(cfg.sheet), gallery, [vehicle], title=vehicle.name)}")


def undo(cfg: DictConfig) -> None:
    """Part a vehicle into the folders of its sightings, or take one sighting out of it: a person's word from now on."""
    gallery = opened(cfg)
    vehicle = _vehicle(read_links(gallery.root), cfg.vehicle)
    if cfg.sighting is not None:
        if cfg.sighting not in vehicle.sightings:
            raise ReIDError(
                f"sighting={cfg.sighting} is none of {vehicle.name}; expected one of: {', '.join(vehicle.sightings)}."
            )
        pairs = [(cfg.sighting, other) for other in vehicle.sightings if other != cfg.sighting]
    else:
        folders = {one: gallery.locations.known(one) for one in vehicle.sightings}
        pairs = [
            (one, other)
            for one, other in combinations(vehicle.sightings, 2)
            if folders[one] is None or folders[one] != folders[other]
        ]
    if not pairs:
        raise ReIDError(
            f"{vehicle.name} has nothing to undo: all its sightings lie in one folder, or there is one. Those of one "
            "folder are parted by sighting=<id>."
        )
    answer = Answers(gallery.root).add(pairs, "different", by=user(cfg))
    say(
        f"undone: {count(len(pairs), 'pair')} of {vehicle.name} are different from now on; link again: reid link. "
        f"Take that back: reid review undo answer={answer.id}"
    )


def opened(cfg: DictConfig) -> GalleryReader:
    """The gallery, which must be there."""
    gallery = GalleryReader(cfg.gallery)
    if not gallery.root.is_dir():
        raise ReIDError(f"There is no gallery at {cfg.gallery}; `reid register` makes one.")
    return gallery


def user(cfg: DictConfig) -> str:
    """Who answers: who is named, or whoever uses this computer."""
    try:
        return str(cfg.by) if cfg.by is not None else getpass.getuser()
    except (OSError, KeyError, ImportError) as error:
        raise ReIDError("by is null, and this computer does not say who uses it; give by=<name>.") from error


def _threshold(cfg: DictConfig, fingerprint: str) -> float | None:
    """What looks must reach: a number that was given, or the bundle's own; None: what strangers say."""
    if isinstance(cfg.min_score, float | int):
        return float(cfg.min_score)
    folder = find_bundle(cfg.bundle)
    options = read_options(folder / OPTS_NAME)
    if options.fingerprint != fingerprint:
        raise ReIDError(
            f"bundle={cfg.bundle} is the model {options.fingerprint}, the gallery's vectors are of {fingerprint}, and "
            "a threshold belongs to its model. Name the bundle that embedded them, or give min_score=<number>."
        )
    values = options.calibration.get(f"{IMAGE_TO_IMAGE}, cosine")
    if values is not None:
        calibration = Calibration(**values)
        return min(calibration.threshold, 1.0) if cfg.min_score == "calibrated" else threshold_for_links(calibration)
    if cfg.min_score == "calibrated":
        raise ReIDError(
            f"min_score=calibrated: the bundle {folder} has no calibrated threshold. Put one into it: reid evaluate "
            "checkpoint=<bundle> data=<your pictures> store_threshold=true; or leave it to min_score=auto."
        )
    return None


def _note_unknown_cameras(times: TravelTimes, cameras: set[str]) -> None:
    unknown = sorted(cameras - set(times.cameras))
    if unknown:
        say(f"travel_times has no line for {', '.join(unknown)}: times to and from there say nothing")


def _vehicle(found: Links, name: str) -> LinkedVehicle:
    by_name = {vehicle.name: vehicle for vehicle in found.vehicles}
    vehicle = by_name.get(name) or found.of_sighting.get(name)
    if vehicle is None:
        inside = [one for one in found.vehicles if name in one.folders]
        if len(inside) != 1:
            raise ReIDError(f"no vehicle {name!r} was linked; `reid link list` shows those that were.")
        vehicle = inside[0]
    return vehicle
