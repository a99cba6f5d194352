"""Plates: reading them on pictures of vehicles, agreeing over a track, and safe folder names made of them."""

from reid_lightning.search.plates.names import folder_name, unknown_name, vehicle_name
from reid_lightning.search.plates.patterns import ANY, PlatePatterns, is_plausible, normalise
from reid_lightning.search.plates.reader import NoPlateReader, PlateReader, PlateReading
from reid_lightning.search.plates.vote import PlateVote, vote

__all__ = [
    "ANY",
    "NoPlateReader",
    "PlatePatterns",
    "PlateReader",
    "PlateReading",
    "PlateVote",
    "folder_name",
    "is_plausible",
    "normalise",
    "unknown_name",
    "vehicle_name",
    "vote",
]
