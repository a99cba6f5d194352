"""Damaged files of every format, ten of each: the full thousand is `benchmarks/drills/damaged_inputs.py`. And the drill
itself, which must notice what a reader does wrong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.drills import damaged_inputs
from benchmarks.drills.damaged_inputs import Outcome, Whole, Worker, outcome_of
from benchmarks.drills.formats import FORMATS, Format, Unsound
from reid_lightning.commands.allocator import keep_freed_memory
from reid_lightning.errors import ReIDError

OF_EACH = 10
SEED = 7
LIMIT = 60  # seconds, until a reader counts as hanging


class Hangs(BaseException):
    """No `Exception`, which a reader could take for a damaged file."""


@contextmanager
def time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("row", range(len(FORMATS)), ids=[form.name for form in FORMATS])
def test_no_damaged_file_is_a_fault(whole: Whole, row: int) -> None:
    with time_limit():
        whole.read_whole(FORMATS[row])
        outcomes = {
            number: outcome_of(whole, number, seed=SEED) for number in range(row, OF_EACH * len(FORMATS), len(FORMATS))
        }
    assert {number: outcome.what for number, outcome in outcomes.items() if outcome.kind == "fault"} == {}
    assert any(outcome.kind == "reported" for outcome in outcomes.values())


def test_an_input_is_a_function_of_seed_and_number(whole: Whole, tmp_path: Path) -> None:
    def content(number: int, seed: int, name: str) -> bytes:
        return whole.damaged_copy(FORMATS[0], number, tmp_path / name, seed=seed).read_bytes()

    assert content(0, 1, "a") == content(0, 1, "b")
    assert len({content(0, 1, "c"), content(0, 2, "d"), content(len(FORMATS), 1, "e")}) == 3


def a_format(read: Callable[[], object]) -> Format:
    def write(folder: Path) -> list[Path]:
        (folder / "file").write_bytes(bytes(100))
        return [folder / "file"]

    def call(folder: Path, path: Path) -> tuple[str, ...]:
        assert path.read_bytes() != bytes(100)
        return read() or ()

    return Format("toy", write, call)


def refuse(message: str) -> None:
    raise ReIDError(message)


def accept_nonsense() -> None:
    raise Unsound("a picture of (0,)")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("read", "kind", "what"),
    [
        (lambda: None, "fine", ""),
        (lambda: ("one picture was left out",), "reported", "one picture was left out"),
        (lambda: refuse("the file is cut short"), "reported", "the file is cut short"),
        (lambda: refuse(" "), "fault", "a message of 1 characters"),
        (lambda: refuse("x" * 10_000), "fault", "a message of 10,000 characters"),
        (lambda: {}["x"], "fault", "KeyError at test_damaged_inputs.py"),
        (accept_nonsense, "fault", "accepted: a picture of (0,)"),
        (lambda: b"x" * (64 << 20) and None, "fault", "MiB of memory"),
        (kill, "fault", "the process ended (SIGKILL)"),
        (lambda: time.sleep(LIMIT), "fault", "no answer in 1 s"),
    ],
)
def test_the_drill_notices_what_a_reader_does(
    read: Callable[[], object], kind: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damaged_inputs, "FORMATS", (a_format(read),))
    monkeypatch.setattr(damaged_inputs, "SECONDS", 1 if "no answer" in what else LIMIT)
    monkeypatch.setattr(damaged_inputs, "MEMORY", 32 << 20)
    worker = Worker(Whole(tmp_path / "whole"), seed=0)
    for number in (0, 1):  # the second time in a new process where the first one ended it
        outcome = worker.outcome(number)
        assert isinstance(outcome, Outcome) and outcome.kind == kind and what in outcome.what
    worker.close()


def test_memory_that_was_freed_before_does_not_hide_what_a_reader_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> None:
        keep_freed_memory()  # in the worker's process alone
        b"x" * (64 << 20)

    monkeypatch.setattr(damaged_inputs, "FORMATS", (a_format(read),))
    monkeypatch.setattr(damaged_inputs, "MEMORY", 32 << 20)
    worker = Worker(Whole(tmp_path / "whole"), seed=0)
    for number in (0, 1):  # the second finds what the first one freed
        outcome = worker.outcome(number)
        assert isinstance(outcome, Outcome) and "MiB of memory" in outcome.what
    worker.close()
