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
Ballots = list[list[Ballot]]
"""Of each frame that read anything."""

LOOK_ALIKE = 0.5
"""What the reading of a text of no form also counts for the form that its look-alikes make of it."""
FURTHER_FRAMES = 0.2
"""What the second and every further frame that agrees counts: frames of one track are blurred and lit alike."""


@dataclass(frozen=True)
class PlateVote:
    """What a track's frames agree on.

    `confidence` from 0 to 1: how sure the text is right. One frame alone gives its own, frames that agree add to it and
    others take from it. `votes` is the number of frames that read this text or one like it.
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

    Every frame votes with all its texts that fit the patterns or are plausible, each weighing as much as its
    confidence. The text that most is read like (by the share of equal characters, if half of them are and the length is
    the same) wins; then those like it vote place by place, and if that gives a text that nobody read and that fits no
    pattern, it stays as it was. Ties go to the text read with the greatest confidence, then to the first in the
    alphabet, so the order of frames never matters.

    The confidence is 1 - (1 - a)(1 - b)^f(1 - c)^f..., a the greatest of how surely the frames read the outcome's
    characters and f = 0.2, times the share that they have in what all frames read most surely.

    Args:
        readings: per frame, as `PlateReader.read` gives them.
        patterns: of the reader.
        min_confidence: below it the outcome is no plate.

    Returns:
        None: nothing was read, or not clearly enough.
    """
    if not 0 <= min_confidence <= 1:
        raise ReIDError(f"min_confidence is {min_confidence}; expected a share from 0 to 1.")
    frames = [ballots for frame in readings if (ballots := _ballots(frame, patterns))]
    if not frames:
        return None
    surest: dict[str, float] = defaultdict(float)
    for text, weight in (ballot for frame in frames for ballot in frame):
        surest[text] = max(surest[text], weight)
    texts = sorted(surest, key=lambda text: (-surest[text], text))
    text = max(texts, key=lambda one: round(sum(_support(frame, one) for frame in frames), 9))
    mixed = _by_place(frames, text, texts)
    if mixed in surest or patterns.accepts(mixed):
        text = mixed
    outcome = _outcome(text, frames)
    return outcome if outcome.confidence >= min_confidence else None


def _outcome(text: str, frames: Ballots) -> PlateVote:
    agreeing = sorted((support for frame in frames if (support := _support(frame, text)) > 0), reverse=True)
    doubt = 1 - agreeing[0]
    for support in agreeing[1:]:
        doubt *= (1 - support) ** FURTHER_FRAMES
    share = sum(agreeing) / sum(max(weight for _, weight in frame) for frame in frames)
    return PlateVote(text, (1 - doubt) * min(1.0, share), len(agreeing))


def _ballots(frame: Sequence[PlateReading], patterns: PlatePatterns) -> list[Ballot]:
    """The texts of a frame that may be plates, each once."""
    weights: dict[str, float] = {}
    for reading in frame:
        text = normalise(reading.text)
        if reading.confidence > 0 and (patterns.accepts(text) or is_plausible(text)):
            weights[text] = max(weights.get(text, 0.0), min(1.0, reading.confidence))
    for text, weight in list(weights.items()):
        fitted = patterns.fit(text)
        if fitted is not None and fitted not in weights:  # else the reader has weighed it
            weights[fitted] = LOOK_ALIKE * weight
    return list(weights.items())


def _support(frame: Sequence[Ballot], text: str) -> float:
    """How surely a frame read a text's characters."""
    return max(weight * _likeness(said, text) for said, weight in frame)


def _likeness(one: str, other: str) -> float:
    """The share of equal characters; 0 for another length or for less than half."""
    if len(one) != len(other):
        return 0.0
    equal = sum(left == right for left, right in zip(one, other, strict=True))
    return equal / len(one) if 2 * equal >= len(one) else 0.0


def _by_place(frames: Ballots, text: str, texts: Sequence[str]) -> str:
    """Of the texts like one the character with the greatest sum at each place; of equals that of the first in
    `texts`."""
    sums: list[dict[str, float]] = [{} for _ in text]
    weights: dict[str, float] = defaultdict(float)
    for said, weight in (ballot for frame in frames for ballot in frame):
        weights[said] += weight
    for said in texts:
        if _likeness(said, text):
            for place, character in enumerate(said):
                sums[place][character] = sums[place].get(character, 0.0) + weights[said]
    return "".join(max(said, key=lambda character: round(said[character], 9)) for said in sums)
