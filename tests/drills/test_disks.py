"""Disks that take no more, and folders that cannot be written."""

from __future__ import annotations

import pytest
from PIL import Image

from benchmarks.drills import full_disk, read_only
from benchmarks.drills.commands import Ended, failed_clearly, said_by
from reid_lightning.atomic import save_picture


@pytest.mark.slow
@pytest.mark.parametrize("name", ["export", "sharding"])
def test_a_disk_that_takes_no_more_is_one_message_and_nothing_half_written(jobs, whole, tmp_path, name):
    case = full_disk.drill(jobs[name], tmp_path / name, whole=whole(name)[0], share=0.3)
    assert case.wrong == (), case.said


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("name", ["training", "drawing", "registration", "search"])
def test_the_slower_commands_on_a_disk_that_takes_no_more(jobs, whole, tmp_path, name, share):
    case = full_disk.drill(jobs[name], tmp_path / name, whole=whole(name)[0], share=share)
    assert case.wrong == (), case.said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["training", "export", "drawing", "registration", "sharding", "search"])
def test_a_file_system_without_room(jobs, whole, tmp_path, name):
    if not full_disk.can_mount(tmp_path):
        pytest.skip("mounting needs root")
    case = full_disk.drill_on_full_disk(jobs[name], tmp_path / name, whole=whole(name)[0], share=0.5)
    assert case.wrong == (), case.said


def test_a_picture_that_does_not_fit_is_an_error_and_not_a_cut_picture(tmp_path, monkeypatch):
    """Pillow itself ignores what the system says of the last bytes."""
    picture = Image.effect_noise((64, 64), 80)
    written = []

    def full(path, content):
        written.append(len(content))
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_picture(picture, tmp_path / "sheet.jpg")
    assert written[0] > 1000 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["export", "drawing", "sharding"])
def test_a_folder_that_cannot_be_written_is_one_message(jobs, tmp_path, name):
    case = read_only.drill(jobs[name], tmp_path / name)
    assert case.wrong == (), case.said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["export", "sharding"])
def test_results_in_a_folder_that_cannot_be_written_stay_as_they_are(jobs, whole, tmp_path, name):
    case = read_only.drill(jobs[name], tmp_path / name, results_of=whole(name)[0])
    assert case.wrong == (), case.said


def test_a_clear_failure_is_one_message_with_its_words():
    assert failed_clearly(Ended(1, "[INFO]\nerror: no space.\n", 1.0, 0), "space") == []
    assert said_by(Ended(1, "drew\nerror: no\n space.\n", 1.0, 0)) == "no space."
    assert said_by(Ended(1, "drew\nCannot draw: full.\n", 1.0, 0)) == "Cannot draw: full."
    wrong = failed_clearly(Ended(-9, "Traceback\nerror: a\nerror: b\n", 1.0, 0), "space")
    assert len(wrong) == 4
