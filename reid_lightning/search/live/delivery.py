"""Hits go from the spool to a receiver, at least once, in a thread of its own; who does not answer is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Event, Lock, Thread
from typing import Protocol

from reid_lightning.search.live.clock import Clock, Pauses
from reid_lightning.search.live.spool import Spool, Waiting
from reid_lightning.search.live.status import ReceiverStatus, reason_without_password

_LOOK = 0.5  # seconds between two looks into the spool
_LONGEST = 300.0  # seconds between two tries


class UndeliveredError(Exception):
    """Why a hit did not arrive; `is_refused`: the receiver answers and does not take this one, so that others may."""

    def __init__(self, reason: str, *, is_refused: bool = False) -> None:
        super().__init__(reason)
        self.is_refused = is_refused


class Sender(Protocol):
    """Tells one receiver."""

    name: str
    address: str
    """As it may be shown."""

    def send(self, hit: str, content: bytes) -> None:
        """Returns when the receiver has said that it has the hit of this id. UndeliveredError: it has not."""

    def close(self) -> None:
        """Let go of the connection."""


class Delivery:
    """Delivers what waits for one receiver, the oldest first.

    After a failure nothing is sent for a pause, which grows to five minutes; a hit that is refused waits by itself.
    """

    def __init__(self, spool: Spool, sender: Sender, *, clock: Clock | None = None) -> None:
        self._spool, self._sender, self._clock = spool, sender, clock or Clock()
        self._stop, self._lock = Event(), Lock()
        self._pauses, self._due = Pauses(longest=_LONGEST), 0.0
        self._refused: dict[str, tuple[Pauses, float]] = {}
        self._thread: Thread | None = None
        self._status = ReceiverStatus(sender.name, sender.address)

    @property
    def status(self) -> ReceiverStatus:
        """By now, with what waits on the disk."""
        with self._lock:
            status = self._status
        return replace(status, waiting=len(self._spool.waiting(self._sender.name)))

    def begin(self) -> None:
        """Deliver from now on."""
        self._thread = Thread(target=self._run, name=f"deliver to {self._sender.name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Try once more what waits, whatever pause there is, and end; what cannot be delivered stays in the spool."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._due, self._refused = 0.0, {}
        self.round()
        self._sender.close()

    def round(self) -> None:
        """Send all that is due."""
        if self._clock.now() < self._due:
            return
        waiting = self._spool.waiting(self._sender.name)
        known = {one.path.name for one in waiting}
        self._refused = {name: kept for name, kept in self._refused.items() if name in known}
        for one in waiting:
            if self._clock.now() >= self._refused.get(one.path.name, (None, 0.0))[1] and not self._send(one):
                return

    def _send(self, one: Waiting) -> bool:
        """Whether the next one is to be tried."""
        try:
            content = one.content()
            if content is None:
                return True
            self._sender.send(one.id, content)
            one.delivered()
        except UndeliveredError as error:
            self._failed(str(error))
            if error.is_refused:
                pauses = self._refused.get(one.path.name, (Pauses(longest=_LONGEST), 0.0))[0]
                self._refused[one.path.name] = pauses, self._clock.now() + pauses.next()
                return True
            self._due = self._clock.now() + self._pauses.next()
            return False
        except OSError as error:  # of the disk
            self._failed(f"{one.path} cannot be read: {error.strerror or error}")
            return True
        self._pauses.succeeded()
        with self._lock:
            self._status = replace(self._status, delivered=self._status.delivered + 1, error="")
        return True

    def _failed(self, reason: str) -> None:
        with self._lock:
            self._status = replace(self._status, failed=self._status.failed + 1, error=reason_without_password(reason))

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(FileNotFoundError):  # somebody has removed the spool's folder
                self.round()
            self._clock.wait(self._stop, _LOOK)


def deliveries_of(spool: Spool, senders: Sequence[Sender]) -> list[Delivery]:
    """One for each."""
    return [Delivery(spool, sender) for sender in senders]
