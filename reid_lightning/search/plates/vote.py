"""One plate from the readings of a track's frames, each of which may be wrong in another character.

Every character is put to the vote, weighted by the confidence of the reading it comes from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates.patterns import ANY, PlatePatterns, is_plausible, normalise
from reid_lightning.search.plates.reader import PlateReading

Ballot = tuple[str, float]


@dataclass(frozen=True)
class PlateVote:
    """What a track's frames agree on.

    `confidence` from 0 to 1: how sure the readings are of a character on average over the frames that read anything,
    each weighing as much as its own confidence and counting 0 where it says another character or has another length.
    One frame alone gives its own. `votes` is the number of frames that read a text of this length.
    """

    text: str
    confidence: float
    votes: int


def vote(
    readings: Sequence[Sequence[PlateReading]],
    *,
    patterns: PlatePatterns = ANY,
    min_confidence: float = 0.0,
) -> PlateVote | None:
    """The plate of a track.

    A frame votes with its best text that fits the patterns (`PlatePatterns.fit`). Only where no frame has one do
    plausible texts vote. Texts of the length with the greatest sum of confidences then vote place by place; if that
    gives no plate of the patterns, the single text with the greatest sum wins. Ties go to the text read with the
    greatest confidence, then to the first in the alphabet, so the order of frames never matters.

    Args:
        readings: per frame, best first, as `PlateReader.read` gives them.
        patterns: of the reader.
        min_confidence: below it the outcome is no plate.

    Returns:
        None: nothing was read, or not clearly enough.
    """
    if not 0 <= min_confidence <= 1:
        raise ReIDError(f"min_confidence is {min_confidence}; expected a share from 0 to 1.")
    ballots = _ballots(readings, patterns, fitting=True) or _ballots(readings, patterns, fitting=False)
    if not ballots:
        return None
    sums: dict[int, float] = defaultdict(float)
    for text, confidence in ballots:
        sums[len(text)] += confidence
    length = max(sums, key=lambda size: (sums[size], size))
    group = sorted((ballot for ballot in ballots if len(ballot[0]) == length), key=lambda one: (-one[1], one[0]))
    text = "".join(_winner([(characters[place], weight) for characters, weight in group]) for place in range(length))
    if not patterns.accepts(text):
        text = _winner(group)
    agreeing = sum(
        weight * weight * sum(one == other for one, other in zip(said, text, strict=True)) / length
        for said, weight in group
    )
    total = sum(weight for _, weight in ballots)
    outcome = PlateVote(text, agreeing / total, len(group))
    return outcome if outcome.confidence >= min_confidence else None


def _ballots(readings: Sequence[Sequence[PlateReading]], patterns: PlatePatterns, *, fitting: bool) -> list[Ballot]:
    """The first text of each frame that fits, or is plausible, with a confidence above 0."""
    ballots = []
    for frame in readings:
        for reading in frame:
            text = normalise(reading.text)
            fitted = patterns.fit(text) if fitting else text if is_plausible(text) else None
            if fitted is not None and reading.confidence > 0:
                ballots.append((fitted, min(1.0, reading.confidence)))
                break
    return ballots


def _winner(votes: Sequence[Ballot]) -> str:
    """The greatest sum; of equals the first in `votes`."""
    sums: dict[str, float] = defaultdict(float)
    for said, weight in votes:
        sums[said] += weight
    return max(sums, key=lambda said: sums[said])
