"""Loader processes and ranks that die, a clock that jumps, a W&B server that goes away."""

from __future__ import annotations

import logging

import pytest
from wandb.errors import AuthenticationError

from benchmarks.drills import clock_jump, dying_rank, dying_worker, wandb_unreachable
from reid_lightning.training.loggers import log_bundle, wandb_logger
from reid_lightning.user_messages import lost_process_message, user_message


@pytest.mark.slow
def test_a_loader_process_that_dies_is_one_message_and_the_training_can_go_on(prepared, tmp_path):
    case = dying_worker.drill(prepared, tmp_path, workers=2)
    assert case.wrong == (), case.said


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_other_with_one_message(prepared, tmp_path):
    [case] = dying_rank.drill(prepared, tmp_path, killed=1)
    assert case.wrong == (), case.said


@pytest.mark.slow
def test_the_first_rank_that_dies_ends_the_other_too(prepared, tmp_path):
    [case] = dying_rank.drill(prepared, tmp_path, killed=0)
    assert case.wrong == (), case.said


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_ranks_that_the_trainer_started_itself_do_not_hang(prepared, tmp_path, killed):
    [case] = dying_rank.drill_own_processes(prepared, tmp_path, killed=killed)
    assert case.wrong == (), case.said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["search", pytest.param("registration", marks=pytest.mark.slow)])
def test_a_clock_that_jumps_changes_nothing(jobs, whole, tmp_path, name):
    case = clock_jump.drill(jobs[name], tmp_path / name, whole=whole(name)[0])
    assert case.wrong == (), case.said


@pytest.mark.slow
def test_the_last_checkpoint_is_the_one_with_the_most_steps_whatever_its_time(jobs, whole, tmp_path):
    place, undisturbed = whole("training")
    change = undisturbed.changes * 3 // 4
    case = clock_jump.drill_resuming(jobs["training"], tmp_path / "run", whole=place, change=change)
    assert case.wrong == (), case.said


@pytest.mark.slow
def test_a_wandb_server_that_dies_does_not_touch_the_training(prepared, tmp_path):
    case = wandb_unreachable.drill(prepared, tmp_path)
    assert case.wrong == (), case.said


def test_a_bundle_that_wandb_does_not_take_is_a_warning(tmp_path, monkeypatch, caplog):
    class Run:
        def __init__(self):
            self.id = "x"

        def log_artifact(self, artifact, aliases):
            raise AuthenticationError("cannot verify\nmore")

    settings = {"project": "p", "name": None, "group": None, "job_type": "train", "tags": [], "offline": True}
    logger = wandb_logger(save_dir=tmp_path, init_timeout=1, finish_timeout=1, **settings)
    monkeypatch.setattr(type(logger), "experiment", Run())
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/opts.yaml").write_text("x: 1")
    with caplog.at_level(logging.WARNING):
        log_bundle([logger], tmp_path / "bundle", metrics={"mAP": 0.5, "cmc": {"1": 0.5}}, epoch=0)
    assert "has not got the bundle" in caplog.text and "(cannot verify)" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("DataLoader worker (pid 12) is killed by signal: Killed. ", "ended by the signal Killed, most often for want"),
        ("DataLoader worker (pid(s) 12, 13) exited unexpectedly", "was ended, most often for want of memory"),
        ("DataLoader worker (pid 1) is killed by signal: Bus error. This might be caused by insufficient shared memory",
         "too little shared memory"),
        ("[gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1", "another process"),
        ("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 1800000ms for recv operation", "another process"),
        ("NCCL error: remote process exited or there was a network error", "another process"),
    ],
)  # fmt: skip
def test_words_of_torch_about_lost_processes_are_understood(words, said):
    assert said in lost_process_message(RuntimeError(words))
    try:
        raise ValueError("while training") from RuntimeError(words)
    except ValueError as error:
        assert said in user_message(error)


def test_other_errors_stay_what_they_are():
    for error in (RuntimeError("size mismatch"), ValueError("DataLoader worker (pid 1) is killed by signal: Killed.")):
        assert lost_process_message(error) is None
        assert user_message(error) is None
