"""Which text boxes may be one plate: boxes side by side on a line, and two lines one above the other.

Text detectors cut plates at wide gaps, and motorcycles (in many countries lorries, too) carry two lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from reid_lightning.search.records import Box

MAX_GAP = 2.0  # between neighbours on a line, in heights
MAX_LINE_GAP = 0.8  # between an upper and a lower line, in heights
MAX_SIZE_RATIO = 2.2  # of heights: the upper line of a plate is often the smaller one
MAX_PIECES = 3  # of a line


def arrangements(boxes: Sequence[Box]) -> list[tuple[int, ...]]:
    """The boxes (by number) that may be read as one plate, each in reading order: every box alone, runs of up to three
    neighbours on a line, and two such lines one above the other."""
    lines: list[tuple[int, ...]] = [(number,) for number in range(len(boxes))]
    for start in range(len(boxes)):
        run: tuple[int, ...] = (start,)
        while len(run) < MAX_PIECES and (following := _neighbour(boxes, run[-1])) is not None:
            run = (*run, following)
            lines.append(run)
    stacked = [
        upper + lower
        for upper in lines
        for lower in lines
        if not set(upper) & set(lower) and _is_above(around(boxes, upper), around(boxes, lower))
    ]
    return lines + stacked


def around(boxes: Sequence[Box], numbers: Sequence[int]) -> Box:
    """The smallest box around some boxes."""
    x1, y1, x2, y2 = zip(*(boxes[number] for number in numbers), strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def _neighbour(boxes: Sequence[Box], number: int) -> int | None:
    """The nearest box to the right on the same line."""
    left = boxes[number]
    found = [other for other, right in enumerate(boxes) if other != number and _is_left_of(left, right)]
    return min(found, key=lambda other: (boxes[other][0], other), default=None)


def _is_left_of(left: Box, right: Box) -> bool:
    lower, higher = sorted((left[3] - left[1], right[3] - right[1]))
    shared = min(left[3], right[3]) - max(left[1], right[1])
    gap = right[0] - left[2]
    if right[0] <= left[0]:
        return False
    return higher <= MAX_SIZE_RATIO * lower and shared > lower / 2 and -lower / 2 <= gap <= MAX_GAP * lower


def _is_above(upper: Box, lower: Box) -> bool:
    smaller, larger = sorted((upper[3] - upper[1], lower[3] - lower[1]))
    narrower = min(upper[2] - upper[0], lower[2] - lower[0])
    shared = min(upper[2], lower[2]) - max(upper[0], lower[0])
    gap = lower[1] - upper[3]
    return (
        larger <= MAX_SIZE_RATIO * smaller and shared > narrower / 2 and -smaller / 2 <= gap <= MAX_LINE_GAP * smaller
    )
