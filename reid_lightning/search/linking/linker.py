"""Sightings of all cameras joined to vehicles: who is new is compared, what was said is heard, all is grouped.

Nothing of the gallery is changed: what comes out is a layer beside it (`links.py`), made anew each time from what was
compared (`comparisons.py`), so that the outcome does not depend on when who was linked.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid_lightning.atomic import locked
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import VectorStore
from reid_lightning.search.gallery.reader import GalleryReader
from reid_lightning.search.gallery.sighting_list import Seen, all_seen
from reid_lightning.search.linking import comparisons, links
from reid_lightning.search.linking.answers import FOLDER, Answers
from reid_lightning.search.linking.comparisons import Comparisons
from reid_lightning.search.linking.links import Links
from reid_lightning.search.linking.problem import LinkOptions, Problem, as_values, options_of, problem_of
from reid_lightning.search.linking.vectors import SightingVectors
from reid_lightning.search.records import OnProgress, unseen
from reid_lightning.search.stores.base import again as begun_again

LEAST, _BELOW = 0.4, 0.25  # similarity by the mean: who is less, or so much less than the threshold, is not compared


@dataclass(frozen=True)
class Linked:
    """What `link` found; `compared` sightings were new, `without_vectors` have no embedding yet."""

    links: Links
    problem: Problem
    compared: int
    without_vectors: int


def link(
    gallery: GalleryReader, store: VectorStore, options: LinkOptions, *, on_progress: OnProgress = unseen
) -> Linked:
    """Join the sightings of a gallery to vehicles, and keep that beside it.

    Who is new since the last time is compared; what was compared before is not, unless the model is another one or the
    gallery has doubled. A killed process leaves what was there before.

    Raises:
        ReIDError: the gallery has no sighting with a vector, another process links it, or the disk is full.
    """
    folder = gallery.root / FOLDER
    if folder.is_symlink():
        raise ReIDError(f"{folder} is a link, and links in a gallery are not followed. Remove it.")
    try:
        folder.mkdir(exist_ok=True)
        with locked(folder / ".link.lock"):
            seen = all_seen(gallery.locations.index)
            made, new = _compared(gallery.root, store, seen, options, on_progress)
            problem = problem_of(seen, made, Answers(gallery.root), options)
            found = Links(
                links.named(problem.vehicles()),
                problem.rules.threshold,
                made.model,
                round(time.time(), 3),
                {
                    "basis": problem.basis,
                    "steepness": round(problem.rules.steepness, 2),
                    "travel_times": as_values(options.travel_times),
                    "use_plates": options.use_plates,
                    "threshold": options.threshold,
                },
                problem.notes,
            )
            comparisons.keep(gallery.root, made)
            links.keep(gallery.root, found)
    except OSError as error:
        raise ReIDError(
            f"The links cannot be kept in {folder}: {error.strerror or error}. What was linked before is as it was; "
            "make room, and link again."
        ) from error
    return Linked(found, problem, new, len(seen) - len(made.ids))


def linked_before(gallery: GalleryReader) -> tuple[Links, Problem]:
    """What was linked last, and by what, with the words that people have said since. Nothing is compared.

    Raises:
        ReIDError: nothing was linked yet, or what was is damaged.
    """
    found = links.read(gallery.root)
    made = comparisons.read(gallery.root)
    if made is None:
        raise ReIDError(
            f"What was compared in {gallery.root} is gone or damaged; link again: reid link gallery=<folder>."
        )
    return found, problem_of(all_seen(gallery.locations.index), made, Answers(gallery.root), options_of(found.settings))


def _compared(
    root: Path, store: VectorStore, seen: Sequence[Seen], options: LinkOptions, on_progress: OnProgress
) -> tuple[Comparisons, int]:
    cameras = {one.id: one.camera for one in seen}
    vectors = begun_again(lambda: SightingVectors(store.scan(), wanted=cameras, dim=store.dim, folder=root / FOLDER))
    if not vectors.ids:
        raise ReIDError(
            f"No sighting of {root} has a vector; embed them first: reid gallery sync gallery=<folder> bundle=<folder>."
        )
    return comparisons.brought_up_to_date(
        None if options.again else comparisons.read(root),
        vectors,
        [cameras[name] for name in vectors.ids],
        model=store.fingerprint,
        least=LEAST if options.threshold is None else min(options.threshold - _BELOW, LEAST),
        on_progress=on_progress,
    )
