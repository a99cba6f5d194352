"""Several processes that change one gallery, killed at random."""

from __future__ import annotations

import pytest

from benchmarks.drills import many_writers


@pytest.mark.slow
def test_many_writers_lose_double_and_leave_nothing(tmp_path):
    outcome = many_writers.drill(tmp_path / "drill", seconds=60, writers=2)
    assert outcome.kills and outcome.actions
    assert (outcome.lost, outcome.doubled, outcome.off, outcome.left, outcome.hung) == (0, 0, 0, 0, 0)
    assert not outcome.faults
