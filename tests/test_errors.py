"""What of a value fits into a message."""

from __future__ import annotations

import pytest

from reid_lightning.errors import count


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("picture",), "0 pictures"),
        (1, ("picture",), "1 picture"),
        (2, ("query", "queries"), "2 queries"),
        (1, ("query", "queries"), "1 query"),
        (12_345, ("vehicle was", "vehicles were"), "12,345 vehicles were"),
    ],
)
def test_one_is_said_otherwise_than_several(number: int, words: tuple[str, ...], said: str) -> None:
    assert count(number, *words) == said
