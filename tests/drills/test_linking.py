"""Processes that link and answer beside one that changes the gallery, killed at random."""

from __future__ import annotations

import pytest

from benchmarks.drills import linking


@pytest.mark.slow
def test_linking_and_answering_lose_and_overrule_nothing(tmp_path):
    outcome = linking.drill(tmp_path / "drill", seconds=60)
    assert outcome.kills and outcome.linked and outcome.answers
    assert (outcome.lost, outcome.overruled, outcome.missing, outcome.hung) == (0, 0, 0, 0)
    assert not outcome.faults
