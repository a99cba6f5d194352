import pytest
import torch

from reid_lightning.errors import ReIDError
from reid_lightning.ranks import is_rank_zero
from reid_lightning.training.acceleration import check_accelerator

NAMES = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")


@pytest.mark.parametrize("name", NAMES)
def test_rank_zero_is_zero_in_all_that_launchers_set(name, monkeypatch):
    for one in NAMES:
        monkeypatch.delenv(one, raising=False)
    assert is_rank_zero()
    for value, first in (("0", True), ("", True), ("1", False)):
        monkeypatch.setenv(name, value)
        assert is_rank_zero() == first


def test_what_torchrun_says_counts_alone(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("SLURM_PROCID", "1")
    assert is_rank_zero()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert not is_rank_zero()


def test_a_gpu_that_is_not_there_is_an_error_that_names_the_way_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    check_accelerator("auto", 1)
    check_accelerator("cpu", 8)
    with pytest.raises(ReIDError, match="trainer=cpu"):
        check_accelerator("gpu", 1)


def test_more_gpus_than_there_are_is_an_error_that_counts_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    check_accelerator("gpu", 2)
    check_accelerator("gpu", -1)
    with pytest.raises(ReIDError, match=r"devices is 4.*has 2 GPU"):
        check_accelerator("gpu", 4)
