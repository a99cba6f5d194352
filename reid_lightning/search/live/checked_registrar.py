"""A registrar whose sightings are compared with the watch lists, one at a time in a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from reid_lightning.search.live.hits import Hit
from reid_lightning.search.live.watching import Checker
from reid_lightning.search.registration import Registered, Registrar, sighting_of
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.vehicle_finder import FoundVehicle

OnHits = Callable[[Sequence[Hit], int], None]
"""Is called with new hits, and how many others were dropped for want of room."""


def _nobody(hits: Sequence[Hit], dropped: int) -> None:
    """An `OnHits` where nobody counts."""


@dataclass
class CheckedRegistrar(Registrar):
    """See `Registrar`; each sighting's hits are in the spool when it has been saved.

    Args:
        checker: compares.
        saving: held while one is saved: gallery, store and model are those of all cameras of the process.
        on_hits: is told.
    """

    checker: Checker = field(kw_only=True)
    saving: Lock = field(kw_only=True)
    on_hits: OnHits = field(kw_only=True, default=_nobody)

    def save(
        self, found: FoundVehicle, source: Source, *, camera: str, start: float | None, vehicle: str | None = None
    ) -> Registered:
        """Save and compare one vehicle."""
        with self.saving:
            self.checker.begin(sighting_of(found, source, camera=camera, start=start, vehicle=vehicle).id)
            saved = super().save(found, source, camera=camera, start=start, vehicle=vehicle)
            hits, dropped = self.checker.check(saved.sighting)
        self.on_hits(hits, dropped)
        return saved
