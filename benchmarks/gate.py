"""A trainer that was not made to be interrupted, timed a few steps at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any


class Gate:
    """A loader that hands out batches only while it is open, so that a whole trainer can run in a thread behind it.

    A trainer asks for a batch when it is done with the one before, loggers and callbacks included: between two
    openings nothing is under way on the CPU.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self._batches = batches
        self._tickets = threading.Semaphore(0)
        self._idle = threading.Event()
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return 1_000_000  # an epoch that does not end here; schedules want a number

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            if not self._tickets.acquire(blocking=False):
                self._idle.set()
                self._tickets.acquire()
            yield batch

    def start(self, train: Callable[[], object]) -> None:
        """Run `train`, which draws from this gate, in a thread that ends with the process."""

        def run() -> None:
            try:
                train()
            except BaseException as error:
                self._error = error
                self._idle.set()

        threading.Thread(target=run, daemon=True).start()

    def open(self, steps: int) -> None:
        """Let `steps` batches through and wait until they are trained on."""
        self._idle.wait()  # until the trainer asks for its first
        self._idle.clear()
        self._tickets.release(steps)
        self._idle.wait()
        if self._error is not None:
            raise RuntimeError("the trainer behind the gate failed") from self._error
