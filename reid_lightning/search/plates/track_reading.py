"""Reading the pictures of one track: the best first, none that can hold no plate, and no more than the vote needs.

Reading costs more than all else that is done for a vehicle, and most vehicles are too far away for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reid_lightning.search.plates.reader import PlateReader, PlateReading, SelectiveReader
from reid_lightning.search.plates.vote import PlateVote, vote

SURE = 0.93
"""A vote of two frames or more that is so sure ends the reading."""


def read_track(
    reader: PlateReader, pictures: Sequence[np.ndarray], qualities: Sequence[float], *, min_confidence: float = 0.0
) -> PlateVote | None:
    """The plate that the pictures (height, width, 3) uint8 RGB of a track agree on; see `vote`.

    Pictures are read from the highest quality on, until the vote is sure.
    """
    order = sorted(range(len(pictures)), key=lambda number: (-qualities[number], number))
    readings: list[list[PlateReading]] = []
    for number in order:
        if isinstance(reader, SelectiveReader) and not reader.may_hold_plate(pictures[number]):
            continue
        readings.append(reader.read(pictures[number]))
        agreed = vote(readings, patterns=reader.patterns)
        if agreed is not None and agreed.votes > 1 and agreed.confidence >= SURE:
            break
    return vote(readings, patterns=reader.patterns, min_confidence=min_confidence)
