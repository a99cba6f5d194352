"""Checkpoints are whole or not there, and a run goes on from the newest whole one."""

import errno
import os
import resource
import signal
import zipfile
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from reid_lightning.errors import ReIDError
from reid_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from reid_lightning.training.checkpoints import AtomicCheckpointIO, bytes_of_run, checkpoint_bytes
from reid_lightning.training.resuming import choose_checkpoint, resume_path
from reid_lightning.untrusted.checksums import damage
from reid_lightning.user_messages import user_message


def content(step, size=1000):
    return {"global_step": step, "state_dict": {"weight": torch.full((size,), float(step))}}


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


@pytest.fixture
def save(tmp_path):
    io = AtomicCheckpointIO()

    def save(step, name="last.ckpt", size=1000):
        path = tmp_path / "checkpoints" / name
        io.save_checkpoint(content(step, size), path)
        return path

    return save


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def change_a_byte(path):
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 255
    path.write_bytes(changed)


def test_the_version_before_stays_for_last_alone(save, tmp_path):
    for step in (1, 2, 3):
        last = save(step)
        save(step, "best.ckpt")
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", "last.previous.ckpt", "best.ckpt"}
    assert step_of(last) == 3
    assert step_of(last.parent / "last.previous.ckpt") == 2


@pytest.mark.parametrize(
    ("call", "number"),
    [("os.fsync", 0), ("os.link", 0), ("pathlib.Path.replace", 0), ("pathlib.Path.replace", 1), ("os.fsync", 1)],
)
def test_a_kill_at_any_moment_of_saving_leaves_a_whole_one(save, tmp_path, call, number):
    save(1)
    last = save(2)
    seen = []

    def killed(real):
        def stand_in(*arguments):
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append(arguments)
            return real(*arguments)

        return stand_in

    child = os.fork()
    if child == 0:
        holder, name = (Path if call.startswith("pathlib") else os), call.rpartition(".")[2]
        setattr(holder, name, killed(getattr(holder, name)))
        save(3)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    whole = [path for path in last.parent.glob("last*.ckpt") if damage(path) is None]
    assert {step_of(path) for path in whole} & {2, 3}
    assert step_of(choose_checkpoint(tmp_path)) >= 2
    save(4)
    assert not [path.name for path in last.parent.iterdir() if path.name.startswith(".")]


def test_without_hard_links_the_version_before_stays_as_well(save, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    save(1)
    last = save(2)
    assert step_of(last) == 2
    assert step_of(last.parent / "last.previous.ckpt") == 1


def test_a_full_disk_is_one_message_and_leaves_the_old_one(save):
    last = save(1)
    before = {path.name: path.read_bytes() for path in last.parent.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError) as caught:
            save(2, size=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = user_message(caught.value)
    assert str(last) in message and "Free some space" in message
    assert {path.name: path.read_bytes() for path in last.parent.iterdir()} == before


def test_of_slurms_checkpoints_the_two_latest_stay(save):
    for number in (1, 2, 9, 10, 11):
        path = save(number, f"hpc_ckpt_{number}.ckpt")
    assert {file.name for file in path.parent.iterdir()} == {"hpc_ckpt_10.ckpt", "hpc_ckpt_11.ckpt"}


@pytest.mark.parametrize("harm", [cut, change_a_byte, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_is_refused_and_the_whole_one_beside_it_named(save, harm):
    save(1)
    last = save(2)
    harm(last)
    with pytest.raises(ReIDError) as error:
        choose_checkpoint(last)
    previous = last.parent / "last.previous.ckpt"
    assert f"resume={last} is damaged" in str(error.value)
    assert f"resume={previous}" in str(error.value)
    assert choose_checkpoint(previous) == previous


def test_torch_alone_would_take_changed_bytes(save):
    """Why the sums are checked: if this fails, torch does it and `damage` can go."""
    last = save(1, size=100_000)
    change_a_byte(last)
    assert not torch.equal(torch.load(last, weights_only=True)["state_dict"]["weight"], torch.full((100_000,), 1.0))
    assert "changed" in damage(last)


@pytest.mark.parametrize("folder", [".", "checkpoints"])
def test_of_a_run_the_newest_whole_one_is_taken_and_what_is_passed_over_said(save, tmp_path, folder, caplog):
    save(10, "best.ckpt")
    save(20)
    last = save(30)
    assert choose_checkpoint(tmp_path / folder) == last
    save(40, "../hpc_ckpt_1.ckpt")
    assert choose_checkpoint(tmp_path / folder).name == "hpc_ckpt_1.ckpt"
    cut(tmp_path / "hpc_ckpt_1.ckpt")
    change_a_byte(last)
    assert choose_checkpoint(tmp_path / folder).name == "last.previous.ckpt"
    assert "hpc_ckpt_1.ckpt: cut short" in caplog.text
    assert "last.ckpt: its bytes have changed" in caplog.text
    (last.parent / "last.previous.ckpt").unlink()
    assert choose_checkpoint(tmp_path / folder).name == "best.ckpt"


def test_at_equal_steps_last_is_taken(save, tmp_path):
    for name in ("best.ckpt", "last.ckpt", "epoch_001.ckpt"):
        save(5, name)
    assert choose_checkpoint(tmp_path).name == "last.ckpt"


def test_nothing_to_go_on_from_is_said(save, tmp_path):
    with pytest.raises(ReIDError, match="no checkpoint at resume="):
        choose_checkpoint(tmp_path / "nowhere.ckpt")
    with pytest.raises(ReIDError, match=r"there is no \.ckpt file"):
        choose_checkpoint(tmp_path)
    cut(save(1))
    with pytest.raises(ReIDError, match=r"last\.ckpt: cut short"):
        choose_checkpoint(tmp_path)
    with pytest.raises(ReIDError, match="no whole one beside it"):
        choose_checkpoint(tmp_path / "checkpoints/last.ckpt")
    torch.save({"weight": torch.ones(3)}, tmp_path / "checkpoints/last.ckpt")
    with pytest.raises(ReIDError, match="not a checkpoint of a run"):
        choose_checkpoint(tmp_path)


class MuchOfNothing:
    """A few bytes of pickle that ask for 3 GB."""

    def __reduce__(self):
        return bytearray, (3_000_000_000,)


def test_a_checkpoint_that_asks_for_more_than_it_has_is_no_checkpoint(save, tmp_path, caplog):
    last = save(1)
    other = last.with_name("other.ckpt")
    torch.save({"global_step": 2, "state_dict": MuchOfNothing()}, other)
    with pytest.raises(ReIDError, match=r"resume=.*other\.ckpt is no checkpoint of a run: it calls builtins"):
        choose_checkpoint(other)
    assert choose_checkpoint(tmp_path) == last
    assert "other.ckpt: it calls builtins.bytearray" in caplog.text


def test_auto_goes_on_or_begins_and_a_requeued_job_does_so_by_itself(save, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    assert resume_path(None, tmp_path) is None
    assert resume_path("auto", tmp_path) is None
    last = save(1)
    assert resume_path(None, tmp_path) is None
    assert resume_path("auto", tmp_path) == last
    assert resume_path(str(last), tmp_path / "elsewhere") == last
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert resume_path(None, tmp_path) == last


def test_the_best_so_far_comes_along_into_another_folder(save, tmp_path):
    def callback(folder):
        best = BestCheckpoint(folder, "best", "val/mAP", mode="max", enable_version_counter=False)
        best.dirpath = str(folder)
        return best

    old = callback(tmp_path / "checkpoints")
    path = str(save(1, "best.ckpt"))
    score = torch.tensor(0.75)
    state = {
        "dirpath": old.dirpath,
        "best_model_path": path,
        "kth_best_model_path": path,
        "best_model_score": score,
        "current_score": score,
        "best_k_models": {path: score},
        "kth_value": score,
        "last_model_path": "",
    }
    AtomicCheckpointIO().save_checkpoint(content(1) | {"callbacks": {old.state_key: state}}, path)
    new = callback(tmp_path / "other")
    new.load_state_dict(state)
    assert new.best_model_path == str(tmp_path / "other/best.ckpt")
    assert new.best_k_models == {new.best_model_path: score}
    assert float(new.kth_value) == 0.75
    assert step_of(tmp_path / "other/best.ckpt") == 1

    later = state | {"best_model_score": torch.tensor(0.5)}  # what is resumed knew an earlier best
    fresh = callback(tmp_path / "third")
    fresh.load_state_dict(later)
    assert fresh.best_model_path == "" and fresh.best_k_models == {}

    same = callback(tmp_path / "checkpoints")
    same.load_state_dict(later)
    assert same.best_model_path == path


def test_the_disk_a_run_needs_by_hand(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    module = nn.Sequential(nn.Linear(10, 10, bias=False), nn.BatchNorm1d(10))
    module[0].weight.requires_grad_(False)
    states = 4 * (100 + 10 + 10 + 10 + 10) + 8  # weights, batch norm, its counter of 64 bits
    assert checkpoint_bytes(module) == states + 2 * 4 * 20
    assert checkpoint_bytes(module, averaged=True) == 2 * states + 2 * 4 * 20
    trainer = pl.Trainer(callbacks=[BestCheckpoint(save_top_k=1)], logger=False, accelerator="cpu")
    assert bytes_of_run(module, trainer) == 4 * checkpoint_bytes(module) + states
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert bytes_of_run(module, trainer) == 6 * checkpoint_bytes(module) + states


def test_a_checkpoint_that_would_unpack_to_more_than_it_holds_is_damaged(tmp_path):
    packed = tmp_path / "packed.ckpt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data", bytes(1000))
    assert damage(packed) == "packed, which torch writes no checkpoint"
    with zipfile.ZipFile(tmp_path / "plain.ckpt", "w") as archive:
        archive.writestr("data", bytes(1000))
    content = (tmp_path / "plain.ckpt").read_bytes()
    (tmp_path / "claims.ckpt").write_bytes(
        content.replace((1000).to_bytes(4, "little"), (1 << 30).to_bytes(4, "little"))
    )
    assert damage(tmp_path / "plain.ckpt") is None
    assert damage(tmp_path / "claims.ckpt") == "it says that more is in it than its size allows"
