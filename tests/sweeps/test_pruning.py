"""The median stopping rule, by hand and inside a training loop."""

import json
import random
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from reid_lightning.errors import ReIDError
from reid_lightning.sweeps.jobs import SweepPlace
from reid_lightning.sweeps.pruning import HISTORY, median_rule, read_history, why_pruned, write_history
from reid_lightning.training.callbacks import prune
from reid_lightning.training.callbacks.prune import PruneBelowMedian


def test_a_job_below_the_median_of_the_others_is_stopped():
    others = [{0: 0.1, 1: 0.5}, {0: 0.2, 1: 0.3}, {0: 0.3, 1: 0.4}]
    verdict = median_rule({0: 0.35, 1: 0.1}, others, epoch=1, min_jobs=3)
    assert (verdict.best, verdict.median, verdict.jobs) == (0.35, 0.4, 3)  # its best counts, not its last
    assert median_rule({0: 0.45, 1: 0.1}, others, epoch=1, min_jobs=3) is None
    assert median_rule({0: 0.4, 1: 0.1}, others, epoch=1, min_jobs=3) is None  # equal is not below


def test_too_few_others_that_have_come_as_far_stop_nobody():
    others = [{0: 0.5, 1: 0.5}, {0: 0.5}, {}]
    assert median_rule({1: 0.1}, others, epoch=1, min_jobs=2) is None
    assert median_rule({1: 0.1}, others, epoch=1, min_jobs=1) is not None
    assert median_rule({0: 0.1}, [], epoch=0, min_jobs=0) is None


def test_what_the_others_did_later_does_not_count_and_gaps_do_not_matter():
    later = [{0: 0.1, 2: 0.2, 4: 0.9}, {1: 0.3, 4: 0.8}]
    assert median_rule({0: 0.26, 2: 0.26}, later, epoch=2, min_jobs=2) is None  # median of 0.2 and 0.3
    assert median_rule({0: 0.24, 2: 0.24}, later, epoch=2, min_jobs=2) is not None


def test_the_rule_against_a_loop():
    draw = random.Random(0)
    stopped = 0
    for _ in range(200):
        jobs = [{at: draw.random() for at in range(draw.randint(0, 6))} for _ in range(draw.randint(1, 8))]
        own, *others = jobs
        if not own:
            continue
        epoch = max(own)
        best = sorted(max(job[at] for at in range(epoch + 1)) for job in others if len(job) > epoch)
        expected = False
        if len(best) >= 2:
            middle = len(best) // 2
            median = best[middle] if len(best) % 2 else (best[middle - 1] + best[middle]) / 2
            expected = max(own.values()) < median
        assert (median_rule(own, others, epoch=epoch, min_jobs=2) is not None) == expected
        stopped += expected
    assert stopped > 20


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A callback as it is in job 3 of a sweep, beside the histories of three others."""
    for number, values in enumerate([{0: 0.5, 1: 0.6}, {0: 0.4, 1: 0.7}, {0: 0.3, 1: 0.8}]):
        (tmp_path / str(number)).mkdir()
        write_history(tmp_path / str(number) / HISTORY, values)
    folder = tmp_path / "3"
    folder.mkdir()
    monkeypatch.setattr(prune, "place_in_sweep", lambda: SweepPlace(tmp_path, 3, folder, ()))
    return PruneBelowMedian(monitor="val/mAP", warmup_epochs=1, min_jobs=3)


def trainer_at(epoch, value, **changes):
    """A trainer after a validation; `sent` is what rank zero broadcast."""
    sent = []
    trainer = SimpleNamespace(
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        sanity_checking=False,
        fast_dev_run=False,
        is_global_zero=True,
        current_epoch=epoch,
        max_epochs=5,
        callback_metrics={"val/mAP": torch.tensor(value)},
        strategy=SimpleNamespace(broadcast=lambda verdict: sent.append(verdict) or verdict),
        should_stop=False,
        sent=sent,
    )
    vars(trainer).update(changes)
    return trainer


def test_a_job_that_falls_behind_stops_after_the_warm_up_and_says_why(job, tmp_path):
    trainer = trainer_at(0, 0.01)
    job.on_train_start(trainer, None)
    job.on_validation_end(trainer, None)
    assert not trainer.should_stop  # warm-up
    trainer = trainer_at(1, 0.02)
    job.on_validation_end(trainer, None)
    assert trainer.should_stop
    assert read_history(tmp_path / "3" / HISTORY) == pytest.approx({0: 0.01, 1: 0.02})
    assert "0.0200" in why_pruned(tmp_path / "3") and "0.7000" in why_pruned(tmp_path / "3")


def test_a_job_that_keeps_up_or_is_at_its_end_goes_on(job, tmp_path):
    trainer = trainer_at(1, 0.75)
    job.on_validation_end(trainer, None)
    assert not trainer.should_stop
    last = trainer_at(1, 0.01, max_epochs=2)
    job.on_validation_end(last, None)
    assert not last.should_stop
    assert why_pruned(tmp_path / "3") is None


def test_rank_zero_decides_and_the_others_follow(job, tmp_path):
    zero = trainer_at(1, 0.02)
    job.on_validation_end(zero, None)
    assert zero.sent == [True]
    (tmp_path / "3" / HISTORY).unlink()
    other = trainer_at(1, 0.02, is_global_zero=False)
    other.strategy.broadcast = lambda own: zero.sent[0]  # whatever it thinks itself
    job.on_validation_end(other, None)
    assert other.should_stop
    assert not (tmp_path / "3" / HISTORY).exists()  # rank zero alone writes


def test_outside_of_a_sweep_nothing_is_stopped_or_written(job, monkeypatch, tmp_path):
    monkeypatch.setattr(prune, "place_in_sweep", lambda: None)
    trainer = trainer_at(1, 0.0)
    job.on_train_start(trainer, None)
    job.on_validation_end(trainer, None)
    assert not trainer.should_stop
    assert not (tmp_path / "3" / HISTORY).exists()


def test_a_run_that_starts_again_forgets_what_it_had_and_a_resumed_one_does_not(job, tmp_path):
    write_history(tmp_path / "3" / HISTORY, {0: 0.1, 1: 0.2, 2: 0.3})
    job.on_train_start(trainer_at(2, 0.0), None)
    assert read_history(tmp_path / "3" / HISTORY) == {0: 0.1, 1: 0.2}
    job.on_train_start(trainer_at(0, 0.0), None)
    assert json.loads((tmp_path / "3" / HISTORY).read_text()) == {"values": {}, "pruned": None}


def test_a_monitor_that_is_not_logged_is_an_error_that_names_what_is(job):
    with pytest.raises(ReIDError, match=r"val/mAP is not logged; there is val/loss"):
        job.on_validation_end(trainer_at(0, 0.0, callback_metrics={"val/loss": torch.tensor(1.0)}), None)


def test_other_jobs_are_found_below_any_depth_of_folders(tmp_path):
    for name in ("a/0", "a/1", "b/0"):
        (tmp_path / name).mkdir(parents=True)
        write_history(tmp_path / name / HISTORY, {0: 0.5})
    (tmp_path / "a/0/deeper").mkdir()
    write_history(tmp_path / "a/0/deeper" / HISTORY, {0: 0.5})
    place = SweepPlace(tmp_path, 0, tmp_path / "a/0", ())
    assert [path.parent for path in place.siblings(HISTORY)] == [tmp_path / "a/1", tmp_path / "b/0"]
