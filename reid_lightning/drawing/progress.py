"""The bar of long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(*, transient: bool = False, shown: bool = True) -> Progress:
    """A bar on stderr: what is done, how much of how much, the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=transient, disable=not shown)


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar; gives what to call with what is done and how much there is."""
    with progress_bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
