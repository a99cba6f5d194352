"""What a person sees while cameras are watched: one table, drawn again and again on a terminal, else lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from reid_lightning.drawing.fonts import plain_text
from reid_lightning.drawing.tables import Name, new_table, print_logged, titled
from reid_lightning.search.live.metrics import Standing
from reid_lightning.search.live.status import CameraStatus

_logger = logging.getLogger(__name__)


def table_of(standing: Standing, shown: Mapping[str, str], *, now: float) -> RenderableType:
    """The table of all cameras and receivers.

    Args:
        standing: of this moment.
        shown: the source of each camera, without a password.
        now: in seconds since 1970.
    """
    names = ("camera", "source", "", "what is wrong")
    table = new_table("camera", "source", "", "last frame", "frames", "dropped", "vehicles", "hits", names=names)
    for one in standing.cameras:
        last = "" if not one.last_frame else f"{max(0.0, now - one.last_frame):.0f} s ago"
        counts = (f"{number:,}" for number in (one.frames, one.dropped, one.vehicles, one.hits))
        table.add_row(
            Name(plain_text(one.name)), Name(plain_text(shown.get(one.name, ""))), Name(one.state), last, *counts
        )
    lines = [f"{plain_text(one.name)}: {plain_text(one.error)}" for one in standing.cameras if one.error]
    for receiver in standing.receivers:
        lines.append(
            f"{receiver.name} {plain_text(receiver.address)}: {receiver.delivered:,} delivered, "
            f"{receiver.waiting:,} waiting{f': {plain_text(receiver.error)}' if receiver.error else ''}"
        )
    if dropped := sum(one.hits_dropped for one in standing.cameras):
        lines.append(f"{dropped:,} hits were dropped: the spool was full")
    watching = sum(one.state == "watching" for one in standing.cameras)
    title = f"{watching:,} of {len(standing.cameras):,} cameras watched"
    return Group(titled(table, title), *(Text(line, style="dim") for line in lines))


class Changes:
    """Logs a line for each camera that changes its state, but for what follows of the first."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def look(self, cameras: Sequence[CameraStatus]) -> None:
        """Log what is another than at the last look."""
        for one in cameras:
            state, before = (one.state, one.error), self._known.get(one.name)
            if state == before or one.state in ("waiting", "connecting"):
                continue
            self._known[one.name] = state
            reason = f": {one.error}" if one.error else ""
            _logger.log(logging.WARNING if one.error else logging.INFO, "%s is %s%s", one.name, one.state, reason)


@contextmanager
def shown_status(console: Console, shown: Mapping[str, str]) -> Iterator[StatusTable]:
    """A table on the terminal while the body gives it what changes, and once at the end."""
    table = StatusTable(console, shown)
    try:
        with table.live:
            yield table
    finally:
        table.finish()


class StatusTable:
    """See `shown_status`; where there is no terminal it logs changes."""

    def __init__(self, console: Console, shown: Mapping[str, str]) -> None:
        self._console, self._shown = console, shown
        self._changes = Changes()
        self._last: Standing | None = None
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, standing: Standing) -> None:
        """Everything stands like this now."""
        self._last = standing
        self._changes.look(standing.cameras)
        if self._console.is_terminal:
            self.live.update(table_of(standing, self._shown, now=time.time()), refresh=True)

    def finish(self) -> None:
        """Print it once more, to stay."""
        if self._last is not None:
            print_logged(self._console, table_of(self._last, self._shown, now=time.time()))
