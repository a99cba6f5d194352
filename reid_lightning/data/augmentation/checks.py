"""Checks of the settings of augmentation steps, which come from the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from reid_lightning.errors import ReIDError


def share(name: str, value: float) -> float:
    """A number from 0 to 1, or a `ReIDError` that names it."""
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ReIDError(f"{name} is {value!r}; expected a number from 0 to 1.")
    return float(value)


def span(name: str, values: Sequence[float], *, most: float = float("inf")) -> tuple[float, float]:
    """(least, most): two numbers above 0 in order, the second at most `most`, or a `ReIDError` that names them."""
    numbers = tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else ()
    if len(numbers) != 2 or not all(isinstance(one, int | float) for one in numbers):
        raise ReIDError(f"{name} is {values!r}; expected two numbers, the least and the most.")
    if not 0 < numbers[0] <= numbers[1] <= most:
        limit = "" if most == float("inf") else f" and at most {most:g}"
        raise ReIDError(f"{name} is {list(numbers)}; expected [least, most], above 0{limit}.")
    return float(numbers[0]), float(numbers[1])


def colour(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1, or a `ReIDError` that names them."""
    numbers = tuple(values) if isinstance(values, Sequence) and not isinstance(values, str) else ()
    if len(numbers) != 3 or not all(isinstance(one, int | float) and 0 <= one <= 1 for one in numbers):
        raise ReIDError(f"{name} is {values!r}; expected red, green and blue, each from 0 to 1.")
    red, green, blue = map(float, numbers)
    return red, green, blue
