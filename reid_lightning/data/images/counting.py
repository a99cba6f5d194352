"""A sign of life where files are looked at one by one, and nobody knows yet how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

_SHOWN_FROM = 5_000
_EVERY = 100


@contextmanager
def counting(what: str, *, console: Console | None = None) -> Iterator[Callable[[], None]]:
    """Call what it gives for each file: from the 5,000th on a terminal shows how many there were, until the body ends.

    Args:
        what: is done with them.
        console: standard error.
    """
    progress: Progress | None = None
    number = 0

    def count() -> None:
        nonlocal progress, number
        number += 1
        if number == _SHOWN_FROM:
            progress = _started(what, console or Console(stderr=True))
        if progress is not None and number % _EVERY == 0:
            progress.update(progress.task_ids[0], completed=number)

    try:
        yield count
    finally:
        if progress is not None:
            progress.stop()


def _started(what: str, console: Console) -> Progress | None:
    if not console.is_interactive:
        return None
    words = TextColumn("{task.description}: {task.completed:,.0f} files", markup=False)
    progress = Progress(words, TimeElapsedColumn(), console=console, transient=True)
    progress.add_task(what, total=None, completed=_SHOWN_FROM)
    progress.start()
    return progress
