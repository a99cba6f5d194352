"""Weights that change while training: values by hand, jumps, and settings that make no sense."""

from __future__ import annotations

import math

import pytest

from reid_lightning.errors import ReIDError
from reid_lightning.losses import Ramp


@pytest.mark.parametrize(
    ("progress", "linear", "cosine"),
    # A quarter of the way along half a cosine is (1 - cos 45 degrees) / 2 = 0.146447.
    [(0.0, 2.0, 2.0), (0.2, 2.0, 2.0), (0.3, 1.75, 2 - 0.146447), (0.4, 1.5, 1.5), (0.6, 1.0, 1.0), (1.0, 1.0, 1.0)],
)
def test_by_hand(progress: float, linear: float, cosine: float) -> None:
    ramp = {"before": 2.0, "after": 1.0, "begin": 0.2, "end": 0.6}
    assert Ramp(**ramp)(progress) == pytest.approx(linear)
    assert Ramp(**ramp, shape="cosine")(progress) == pytest.approx(cosine, abs=1e-6)


def test_begin_equal_to_end_is_a_jump() -> None:
    jump = Ramp(before=0.0, after=0.5, begin=0.25, end=0.25)
    assert [jump(share) for share in (0.0, 0.249, 0.25, 1.0)] == [0.0, 0.0, 0.5, 0.5]
    assert Ramp(before=0.0, after=0.5, begin=0.0, end=0.0)(0.0) == 0.5
    last = Ramp(before=0.0, after=0.5, begin=1.0, end=1.0)
    assert last(0.999) == 0.0 and last(1.0) == 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"before": -1.0}, r"before=-1\.0"),
        ({"after": math.inf}, "after=inf"),
        ({"after": math.nan}, "after=nan"),
        ({"begin": 0.9}, r"begin=0\.9, end=0\.6: expected shares of the training"),
        ({"end": 60}, "end=60"),
        ({"shape": "step"}, "shape='step': expected 'linear' or 'cosine'"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        Ramp(**{"before": 0.0, "after": 1.0, "begin": 0.2, "end": 0.6, **wrong})
