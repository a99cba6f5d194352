"""Memory that is freed and asked for again."""

from __future__ import annotations

import resource
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from toy_run import child, exit_codes

from reid_lightning.commands.allocator import keep_freed_memory


def _count_faults(answer: Path, keep: bool) -> None:
    kept = keep_freed_memory() if keep else False
    torch.ones(1 << 24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(1 << 24)  # 64 MiB
    answer.write_text(f"{kept} {resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before}")


@pytest.mark.skipif(sys.platform != "linux", reason="needs the page faults that Linux counts")
def test_memory_that_is_used_again_is_not_zeroed_again_by_the_system(tmp_path: Path) -> None:
    answers = {}
    for keep in (False, True):
        answer = tmp_path / f"{keep}"
        assert exit_codes(child(partial(_count_faults, answer, keep))) == [0]
        answers[keep] = answer.read_text().split()
    if answers[True][0] == "False":
        pytest.skip("not glibc")
    assert int(answers[True][1]) < int(answers[False][1]) / 4


def test_a_c_library_without_the_switch_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert keep_freed_memory() is False
