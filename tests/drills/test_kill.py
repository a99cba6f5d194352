"""kill -9 just before chosen changes of the file system, which are the same moments in every run."""

from __future__ import annotations

import json
import random

import pytest
from PIL import Image

from benchmarks.drills.commands import KILLED, Command, Kill, run
from benchmarks.drills.jobs import half_written, leftovers
from benchmarks.drills.kill import Round, drawn_kill, drill, rows_of


def killed_at(name, jobs, whole, folder, *shares):
    """A round with a kill at each of these shares of the changes that the job makes."""
    place, undisturbed = whole(name)
    kills = [Kill(change=max(1, round(share * undisturbed.changes))) for share in shares]
    return drill(jobs[name], folder / name, whole_run=undisturbed, whole=place, kills=kills)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("training", (0.6, 0.3)),
        ("export", (0.8,)),
        ("drawing", (0.7,)),
        ("sharding", (0.8,)),
        pytest.param("registration", (0.7,), marks=pytest.mark.slow),
    ],
)
def test_a_killed_command_given_again_ends_as_if_it_had_not_been_killed(jobs, whole, tmp_path, name, shares):
    one = killed_at(name, jobs, whole, tmp_path, *shares)
    assert all(kill.startswith("change") for kill in one.kills)  # they came before the end
    assert (one.half_written, one.wrong) == ((), ())


@pytest.mark.slow
def test_a_training_killed_after_its_last_epoch_still_exports_and_evaluates(jobs, whole, tmp_path):
    """The same command finds all epochs trained."""
    place, undisturbed = whole("training")
    for change in range(undisturbed.changes - 2, 0, -6):  # the last ones are the evaluation's
        folder = tmp_path / f"at_{change}"
        assert run(jobs["training"].command, folder, kill=Kill(change=change)).status == KILLED
        if not (folder / "run/metrics.json").exists():
            break
    else:
        pytest.fail("no kill came before metrics.json")
    assert (folder / "run/checkpoints/best.ckpt").is_file()
    again = run(jobs["training"].command, folder)
    assert again.status == 0, again.output
    assert jobs["training"].differences(folder, place) == []


@pytest.mark.slow
def test_an_older_bundle_is_there_until_the_new_one_is(jobs, whole, tmp_path):
    """Exporting once more into the same folder, killed before each change: there is a whole bundle at every moment."""
    place, undisturbed = whole("export")
    folder = tmp_path / "again"
    assert run(jobs["export"].command, folder).status == 0
    for change in range(2, undisturbed.changes + 1, 4):
        run(jobs["export"].command, folder, kill=Kill(change=change))
        assert jobs["export"].differences(folder, place) == [] and half_written(folder) == []
    assert run(jobs["export"].command, folder).status == 0
    assert not [name for name in leftovers(folder) if ".bundle" in name]


@pytest.mark.slow
def test_drawing_processes_do_not_outlive_the_command_that_was_killed(jobs, whole, tmp_path):
    place, undisturbed = whole("drawing")
    kills = [Kill(seconds=0.6 * undisturbed.seconds)]
    one = drill(jobs["drawing"], tmp_path / "drawing", whole_run=undisturbed, whole=place, kills=kills)
    assert (one.half_written, one.wrong) == ((), ())


def test_what_is_cut_short_is_seen(tmp_path):
    picture = tmp_path / "a/cut.jpg"
    picture.parent.mkdir()
    Image.effect_noise((64, 64), 80).save(picture)
    (tmp_path / "whole.json").write_text("[1]")
    (tmp_path / ".hidden.json").write_text("[1")
    (tmp_path / "locked.lock").write_text("")
    assert half_written(tmp_path) == []
    picture.write_bytes(picture.read_bytes()[:-40])
    (tmp_path / "half.json").write_text("[1")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    assert [line.split(":")[0] for line in half_written(tmp_path)] == [
        "a/cut.jpg", "empty.yaml", "half.json", "last.ckpt"
    ]  # fmt: skip
    assert leftovers(tmp_path) == [".hidden.json"]


def test_moments_are_drawn_over_the_whole_run_and_repeat(tmp_path):
    undisturbed = run(Command("reid", ("data", "fleet", "folder=x", "workers=x")), tmp_path / "none")
    assert undisturbed.status == 1 and "workers is 'x'" in undisturbed.output
    whole = type(undisturbed)(0, "", 8.0, 5)
    drawn = [drawn_kill(random.Random(seed), whole) for seed in range(200)]
    assert drawn == [drawn_kill(random.Random(seed), whole) for seed in range(200)]
    assert {kill.change for kill in drawn} == {None, 1, 2, 3, 4, 5}
    times = [kill.seconds for kill in drawn if kill.seconds is not None]
    assert 60 < len(times) < 140 and min(times) < 1 and 7 < max(times) <= 8


def test_the_table_counts_rounds_and_kills():
    rounds = [
        Round("export", 0, ("change 3", "0.50 s"), (), (), ()),
        Round("export", 1, ("none, it was done",), (), ("status 1",), (".bundle.1",)),
        Round("sharding", 2, ("change 1",), ("a.tar: short",), (), ()),
    ]
    table = rows_of(rounds)
    assert [list(row.values()) for row in table] == [
        ["export", "2", "2", "1", "0", "1", "1"],
        ["sharding", "1", "1", "1", "1", "0", "0"],
        ["all", "3", "3", "2", "1", "1", "1"],
    ]
    json.dumps(table)
