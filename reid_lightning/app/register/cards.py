"""The vehicles found in a source before they are saved: corrected, merged, left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import unknown_name, vehicle_name
from reid_lightning.search.registration import sighting_of
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.vehicle_finder import FoundVehicle


@dataclass(frozen=True)
class _Part:
    """A track, and what its card said before it was merged into another."""

    vehicle: FoundVehicle
    name: str
    keep: bool = True


@dataclass
class Card:
    """One vehicle as the user sees it: the tracks it was found in, its name (empty: unknown), whether to keep it."""

    number: int
    parts: list[_Part]
    name: str
    keep: bool = True

    @property
    def vehicles(self) -> list[FoundVehicle]:
        """Its tracks."""
        return [part.vehicle for part in self.parts]

    @property
    def best(self) -> FoundVehicle:
        """The track to show it by."""
        return max(self.vehicles, key=lambda vehicle: max(crop.quality for crop in vehicle.crops))

    @property
    def confirmed(self) -> bool:
        """A vehicle model says of one of its tracks that it is a vehicle."""
        return any(one.confirmed for one in self.vehicles)

    @property
    def confidence(self) -> float | None:
        """Of the plate that was read with the most confidence; None: nothing legible."""
        return max((one.plate.confidence for one in self.vehicles if one.plate is not None), default=None)


@dataclass
class Cards:
    """All of one source."""

    cards: dict[int, Card] = field(default_factory=dict)

    @classmethod
    def of(cls, vehicles: Sequence[FoundVehicle]) -> Cards:
        """One card for each vehicle, numbered from 1, named by its plate."""
        parts = [_Part(vehicle, "" if vehicle.plate is None else vehicle.plate.text) for vehicle in vehicles]
        return cls({number: Card(number, [part], part.name) for number, part in enumerate(parts, 1)})

    def merge(self, numbers: Sequence[int]) -> Card:
        """Make one card of several; it is called as the first of them that has a name, and keeps the lowest number.

        Raises:
            ReIDError: fewer than two.
        """
        some = [self.cards[number] for number in sorted(set(numbers)) if number in self.cards]
        if len(some) < 2:
            raise ReIDError("choose two cards or more that show the same vehicle.")
        for card in some:
            if len(card.parts) == 1:
                card.parts = [replace(card.parts[0], name=card.name, keep=card.keep)]
        first, *others = some
        for other in others:
            first.parts += other.parts
            first.name = first.name or other.name
            del self.cards[other.number]
        first.keep = True
        return first

    def take_apart(self, number: int) -> None:
        """Undo `merge`: each track has a card of its own again, as it was."""
        first, *others = self.cards[number].parts
        self.cards[number] = Card(number, [first], first.name, first.keep)
        for free, part in enumerate(others, max(self.cards) + 1):
            self.cards[free] = Card(free, [part], part.name, part.keep)

    @property
    def kept(self) -> list[Card]:
        """Those that shall be saved."""
        return [card for card in self.cards.values() if card.keep]

    def vehicles(self) -> list[FoundVehicle]:
        """Those that shall be saved, in the order in which they were found."""
        return sorted((one for card in self.kept for one in card.vehicles), key=lambda one: one.track)

    def names(self, source: Source, *, camera: str, start: float | None) -> dict[int, str]:
        """What each track's vehicle shall be called, for `Registrar.keep`.

        Raises:
            ReIDError: a name of which nothing remains as a folder's name; it says of which card.
        """
        names: dict[int, str] = {}
        for card in self.kept:
            try:
                name = card.name if card.name.strip() else None
                if name is not None:
                    vehicle_name(name)
            except ReIDError as error:
                raise ReIDError(f"card {card.number}: {error}") from error
            if name is None:  # called after its first track, all of them alike
                first = sighting_of(card.vehicles[0], source, camera=camera, start=start)
                name = unknown_name(first.id)
            names.update(dict.fromkeys((vehicle.track for vehicle in card.vehicles), name))
        return names
