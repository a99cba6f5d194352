"""A run that is asked to stop finishes its step, saves, and leaves with a status that schedulers know."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest
import torch
from toy_run import BATCHES, EPOCHS, At, Finished, assert_same_end, child, exit_codes, fit, noise_pictures, two_nodes

from reid_lightning.training.resuming import resume_path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return noise_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole"), dataset, every=100)


@pytest.fixture(autouse=True)
def usual_interrupt():
    """Ctrl+C as in a terminal, even where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def sends(*numbers):
    def send():
        for number in numbers:
            os.kill(os.getpid(), number)

    return send


def steps_saved(folder, name="checkpoints/last.ckpt"):
    return torch.load(folder / name, weights_only=True)["global_step"]


@pytest.mark.parametrize(
    ("hook", "batch", "numbers", "status", "steps"),
    [
        ("on_before_zero_grad", 3, [signal.SIGTERM, signal.SIGTERM], 143, 4),  # in the middle of the fourth step
        ("on_train_batch_start", 2, [signal.SIGINT], 130, 3),
        ("on_validation_batch_end", 5, [signal.SIGTERM], 143, BATCHES),  # the validation is finished
    ],
)
def test_the_step_is_finished_and_saved_and_the_run_goes_on_exactly(
    dataset, whole, tmp_path, caplog, hook, batch, numbers, status, steps
):
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path, dataset, At(hook, batch, sends(*numbers)), every=100)
    assert stop.value.code == status
    assert steps_saved(tmp_path) == steps
    last = tmp_path / "checkpoints/last.ckpt"
    lines = [record.getMessage() for record in caplog.records if "To go on" in record.getMessage()]
    assert len(lines) == 1
    assert f"stopped after {steps} steps" in lines[0] and lines[0].endswith(f"resume={tmp_path}")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # as before the run
    assert_same_end(fit(tmp_path, dataset, resume=last, every=100), whole)


def test_gradients_that_wait_for_the_rest_of_their_step_are_not_lost(dataset, tmp_path):
    with pytest.raises(SystemExit):
        here = At("on_train_batch_start", 1, sends(signal.SIGTERM))
        fit(tmp_path, dataset, here, every=100, accumulate=4)
    saved = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 1
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"] == 4


def test_a_run_that_is_complete_ends_as_usual(dataset, whole, tmp_path):
    last_batch = EPOCHS * BATCHES - 1
    run = fit(tmp_path, dataset, At("on_validation_batch_end", last_batch, sends(signal.SIGTERM)), every=100)
    assert_same_end(run, whole)


def test_a_second_interrupt_stops_at_once(dataset, tmp_path):
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path, dataset, At("on_train_batch_start", 2, sends(signal.SIGINT, signal.SIGINT)), every=1)
    assert stop.value.code == 1
    assert steps_saved(tmp_path) == 2  # nothing is saved in the middle of a step


def run_whose_group_is_signalled(folder, dataset):
    os.setsid()
    here = At("on_train_batch_start", 2, lambda: os.killpg(0, signal.SIGTERM))
    fit(folder, dataset, here, every=100, workers=2)


def test_loader_processes_that_get_the_signal_as_well_go_on_until_the_step_is_done(dataset, tmp_path):
    """Schedulers and terminals signal every process of a job."""
    assert exit_codes(child(partial(run_whose_group_is_signalled, tmp_path, dataset))) == [143]
    assert steps_saved(tmp_path) == 3


def run_stopped_on_the_second(folder, dataset, **options):
    here = At("on_before_zero_grad", 1, sends(signal.SIGTERM) if os.environ["RANK"] == "1" else list)
    fit(folder, dataset, here, **options)


@pytest.mark.slow
def test_two_machines_stop_at_the_same_step_when_one_of_them_is_taken_back(dataset, tmp_path):
    options = {"every": 100, "num_nodes": 2, "strategy": "ddp"}
    whole, run = tmp_path / "whole", tmp_path / "run"
    resumed = partial(fit, run, dataset, resume=run / "checkpoints/last.ckpt", **options)
    stopped = partial(run_stopped_on_the_second, run, dataset, **options)
    for function, status in ((partial(fit, whole, dataset, **options), 0), (stopped, 143), (resumed, 0)):
        assert exit_codes(*two_nodes(function)) == [status, status]
    assert_same_end(Finished(run, {}), Finished(whole, {}))


def test_slurm_requeues_a_job_that_then_goes_on_exactly(dataset, whole, tmp_path, monkeypatch):
    """What SLURM does: SIGUSR1 some time before the end, and SIGTERM to what `scontrol requeue` takes off the machine;
    then the same command again, with a count of restarts."""
    calls = tmp_path / "calls"
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nkill -TERM $PPID\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    for name, value in {"JOB_ID": 4711, "JOB_NAME": "reid", "NTASKS": 1, "NTASKS_PER_NODE": 1, "NNODES": 1}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")

    run = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        fit(run, dataset, At("on_before_zero_grad", 3, sends(signal.SIGUSR1)), every=100)
    assert stop.value.code == 143
    assert calls.read_text() == "requeue 4711\n"
    assert steps_saved(run, "hpc_ckpt_1.ckpt") == 4

    (run / "checkpoints/last.ckpt").unlink()  # as if SLURM had not waited for it
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    resume = resume_path(None, run)
    assert resume == run / "hpc_ckpt_1.ckpt"
    assert_same_end(fit(run, dataset, resume=resume, every=100), whole)
