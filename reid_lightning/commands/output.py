"""What the small commands print: lines that stay whole, and a bar while one waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reid_lightning.errors import one_screen, printable
from reid_lightning.redaction import without_password


def say(text: str) -> None:
    """One message, without what a file from elsewhere may have put into it to steer a terminal."""
    Console(soft_wrap=True, highlight=False).print(printable(one_screen(without_password(text))), markup=False)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; gives what to call with what is done and how much there is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
