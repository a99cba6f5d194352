"""Damage to a gallery's index, a few pieces of it; and that the drill sees what goes wrong."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from benchmarks.drills import damaged_index, index_judge
from benchmarks.drills.damaged_index import WholeGallery, outcome_of
from benchmarks.drills.index_damages import damage
from benchmarks.drills.index_judge import Fault
from benchmarks.drills.jobs import digests

SEED = 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> WholeGallery:
    return WholeGallery(tmp_path_factory.mktemp("indexes") / "whole")


@pytest.mark.parametrize("number", range(4))
def test_a_damaged_index_is_right_or_reported_and_rebuilt(whole: WholeGallery, tmp_path: Path, number: int) -> None:
    outcome = outcome_of(whole, number, tmp_path, seed=SEED)
    assert outcome.kind in ("right", "reported"), outcome


def test_damage_is_a_function_of_seed_and_number(whole: WholeGallery, tmp_path: Path) -> None:
    done = []
    for name in "ab":
        for folder in whole.galleries[False].parent.glob("small*"):
            shutil.copytree(folder, tmp_path / name / folder.name)
        done.append((damage(tmp_path / name / "small", random.Random(SEED)), digests(tmp_path / name / "small")))
    assert done[0] == done[1]


@pytest.mark.parametrize(
    ("name", "does", "what"),
    [
        ("_reid", lambda arguments: print("Traceback (most recent call last)") or 1, "Traceback"),
        ("_reid", lambda arguments: 0, "delete ended with 0"),
        ("searched", lambda *_, **__: False, "a wrong answer"),
        ("searched", lambda *_, **__: {}["x"], "KeyError"),
    ],
)
def test_the_drill_sees_what_goes_wrong(whole, tmp_path, monkeypatch, name, does, what) -> None:
    monkeypatch.setattr(index_judge if name == "_reid" else damaged_index, name, does)
    monkeypatch.setattr(damaged_index, "damage", lambda root, chance: "nothing")
    outcome = outcome_of(whole, 0, tmp_path, seed=SEED)
    assert outcome.kind == "fault" and what in outcome.what


def test_the_drill_sees_a_panic_that_is_shown() -> None:
    with pytest.raises(Fault, match="a panic is shown"), index_judge.nothing_shown():
        os.write(2, b"\nthread 'x' panicked at y.rs:1:2:\nz\n")
