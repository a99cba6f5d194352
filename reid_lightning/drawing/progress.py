"""The bar of long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(*, transient: bool = False, shown: bool = True) -> Progress:
    """A bar on stderr: what is done, how much of how much, the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=transient, disable=not shown)


@contextmanager
def counted(what: str, *, least: int = 0) -> Iterator[Callable[[int, int], None]]:
    """A bar; gives what to call with what is done and how much there is. Nothing is drawn for less than `least`, which
    is short."""
    with ExitStack() as stack:
        bar = progress_bar()
        task = bar.add_task(what, total=None)
        drawn = least == 0
        if drawn:
            stack.enter_context(bar)

        def on_progress(done: int, total: int) -> None:
            nonlocal drawn
            if not drawn and total >= least:
                stack.enter_context(bar)
                drawn = True
            bar.update(task, completed=done, total=total)

        yield on_progress
