"""A run that was interrupted ends with the bits of one that was not."""

from __future__ import annotations

import csv
import time
from functools import partial

import pytest
from toy_run import BATCHES, EPOCHS, At, assert_same_end, child, exit_codes, fit, noise_pictures

from reid_lightning.training.checkpoints import AtomicCheckpointIO
from reid_lightning.training.resuming import choose_checkpoint, resume_path


class Killed(BaseException):
    """Stands for SIGKILL: nobody handles it."""


def kill():
    raise Killed


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return noise_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """Uninterrupted runs, one for each set of options."""
    runs = {}

    def run(**options):
        key = tuple(sorted(options.items()))
        if key not in runs:
            runs[key] = fit(tmp_path_factory.mktemp("whole"), dataset, **options)
        return runs[key]

    return run


def interrupted(folder, dataset, *places, **options):
    """The same, killed at each of `places` (hook, batch) and resumed from what is on the disk then."""
    resume = None
    for place in places:
        with pytest.raises(Killed):
            fit(folder, dataset, At(*place, kill), resume=resume, **options)
        resume = choose_checkpoint(folder) if list((folder / "checkpoints").glob("*.ckpt")) else None
    return fit(folder, dataset, resume=resume, **options)


def test_the_uninterrupted_run_validates_and_logs_every_step(whole):
    with (whole().folder / "logs/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = EPOCHS * BATCHES
    assert [name for name in rows[0] if name.startswith("lr")] == ["lr"]  # of two parameter groups
    assert [int(row["step"]) for row in rows if row["train/loss"]] == list(range(steps))
    assert [int(row["step"]) for row in rows if row["lr"]] == list(range(steps))
    assert [int(row["step"]) for row in rows if row["val/mAP"]] == [BATCHES - 1, 2 * BATCHES - 1]


@pytest.mark.parametrize(
    "places",
    [
        [("on_train_batch_start", 3), ("on_validation_batch_end", 5)],
        [("on_train_epoch_end", 5), ("on_save_checkpoint", 7)],
    ],
    ids=lambda places: " ".join(f"{hook[3:]}-{batch}" for hook, batch in places),
)
def test_a_run_killed_twice_ends_like_one_that_was_not(dataset, whole, tmp_path, places):
    assert_same_end(interrupted(tmp_path, dataset, *places), whole())


def test_a_process_that_is_killed_while_it_works_loses_nothing(dataset, whole, tmp_path):
    """SIGKILL, at whatever moment the process has reached when it has logged the seventh step."""
    process = child(partial(fit, tmp_path, dataset))
    log = tmp_path / "logs/metrics.csv"
    while not log.exists() or len(log.read_bytes().splitlines()) < 1 + 7:
        assert process.exitcode is None
        time.sleep(0.001)
    process.kill()
    assert exit_codes(process) == [-9]
    assert len(log.read_bytes().splitlines()) < 1 + EPOCHS * BATCHES  # it was not done
    assert_same_end(fit(tmp_path, dataset, resume=resume_path("auto", tmp_path)), whole())


def test_workers_that_were_ahead_when_the_run_was_killed_change_nothing(dataset, whole, tmp_path):
    assert_same_end(interrupted(tmp_path, dataset, ("on_train_batch_end", 8), workers=2), whole())


def test_gradients_are_never_lost_between_the_batches_of_a_step(dataset, whole, tmp_path):
    options = {"accumulate": 4, "every": 1, "ema": True}  # an epoch is a step of four batches and one of two
    assert_same_end(interrupted(tmp_path, dataset, ("on_train_batch_start", 6), **options), whole(**options))


def test_validation_within_an_epoch_is_neither_left_out_nor_done_twice(dataset, whole, tmp_path):
    options = {"val_check_interval": 0.5, "ema": True, "every": 3}
    assert_same_end(interrupted(tmp_path, dataset, ("on_validation_batch_end", 3), **options), whole(**options))


def test_a_row_is_not_lost_when_the_run_is_killed_between_its_checkpoint_and_its_log(
    dataset, whole, tmp_path, monkeypatch
):
    save = AtomicCheckpointIO.save_checkpoint

    def save_and_die(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path)
        if checkpoint["global_step"] == 4:
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(AtomicCheckpointIO, "save_checkpoint", save_and_die)
        fit(tmp_path, dataset)
    assert_same_end(fit(tmp_path, dataset, resume=choose_checkpoint(tmp_path)), whole())
