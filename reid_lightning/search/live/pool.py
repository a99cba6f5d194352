"""The processes that watch: started, looked after, started again when one has died, and asked to end."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from reid_lightning.errors import ReIDError, count
from reid_lightning.search.live.cameras import Camera
from reid_lightning.search.live.clock import Clock, Pauses
from reid_lightning.search.live.status import CameraStatus
from reid_lightning.search.live.worker import Report, Work, run

_logger = logging.getLogger(__name__)

_IN_VAIN = 3  # deaths before it has ever said anything
_LASTING = 60.0  # seconds that a process has to live to count as one that works


def shared_out(cameras: Sequence[Camera], processes: int) -> list[tuple[Camera, ...]]:
    """The cameras of each process: as many of each as can be, and no process without any."""
    number = max(1, min(processes, len(cameras)))
    return [tuple(cameras[first::number]) for first in range(number)]


@dataclass
class _Member:
    """A process, what it said last, and what those before it have counted."""

    work: Work
    statuses: dict[str, CameraStatus]
    before: dict[str, CameraStatus]
    pauses: Pauses = field(default_factory=Pauses)
    process: BaseProcess | None = None
    connection: Connection | None = None
    began: float = 0.0
    due: float = 0.0
    has_begun: bool = False
    in_vain: int = 0
    has_said_goodbye: bool = False
    has_ended: bool = False


class Pool:
    """Processes of `worker.run`, one for each work.

    Args:
        works: what each does.
        clock: by which those that have died are started again, with growing pauses.
        start: starts one, given its work; another one for tests.
    """

    def __init__(
        self,
        works: Sequence[Work],
        *,
        clock: Clock | None = None,
        start: Callable[[Work], tuple[BaseProcess, Connection]] | None = None,
    ) -> None:
        self.clock, self._start = clock or Clock(), start or started
        self._members = []
        for work in works:
            empty = {camera.name: CameraStatus(camera.name) for camera in work.cameras}
            self._members.append(_Member(work, empty, dict(empty)))
        self.restarts = 0
        self._stopping = False

    @property
    def statuses(self) -> list[CameraStatus]:
        """Of all cameras, as far as is known by now."""
        return [
            status.plus(member.before[name]) for member in self._members for name, status in member.statuses.items()
        ]

    @property
    def has_ended(self) -> bool:
        """Whether no process is left, and none will be started."""
        return all(member.has_ended for member in self._members)

    def begin(self) -> None:
        """Start all of them."""
        for member in self._members:
            self._begin(member)

    def look(self, seconds: float) -> None:
        """Take what they say within so many seconds at most, and start again those that have died.

        Raises:
            ReIDError: one could not even begin: what it says.
        """
        ready = wait([member.connection for member in self._members if member.connection is not None], seconds)
        for member in self._members:
            if member.connection in ready:
                self._hear(member)
            if member.connection is None and not member.has_ended and self.clock.now() >= member.due:
                if self._stopping:
                    member.has_ended = True
                else:
                    self._begin(member)

    def stop(self) -> None:
        """Ask all of them to end; `look` until `has_ended`."""
        self._stopping = True
        for member in self._members:
            if member.connection is not None:
                with suppress(OSError):
                    member.connection.send("stop")

    def kill(self) -> None:
        """End those that still live at once."""
        for member in self._members:
            if member.process is not None and member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.has_ended = True

    def _begin(self, member: _Member) -> None:
        member.process, member.connection = self._start(member.work)
        member.began = self.clock.now()

    def _hear(self, member: _Member) -> None:
        connection = member.connection
        assert connection is not None
        try:
            while connection.poll():
                self._take(member, connection.recv())
        except (EOFError, OSError):
            self._gone(member)

    def _take(self, member: _Member, report: Report) -> None:
        for level, text in report.said:
            _logger.log(level, "%s", text)
        if report.failed and not member.has_begun:
            raise ReIDError(report.failed)
        if report.failed:
            _logger.error("%s", report.failed)
        if report.cameras:
            member.has_begun = True
            member.statuses = {status.name: status for status in report.cameras}
        member.has_said_goodbye = report.ended

    def _gone(self, member: _Member) -> None:
        """Its connection is closed: it has ended, or died."""
        assert member.process is not None and member.connection is not None
        member.connection.close()
        member.connection = None
        member.process.join()
        if member.has_said_goodbye or self._stopping:
            member.has_ended = True
            return
        self.restarts += 1
        member.in_vain += not member.has_begun
        if member.in_vain >= _IN_VAIN:
            of = f"the process of {count(len(member.work.cameras), 'camera')}"
            raise ReIDError(f"{of} dies as it begins ({_how(member.process)}); what it said stands above.")
        if self.clock.now() - member.began >= _LASTING:
            member.pauses.succeeded()
        pause = member.pauses.next()
        member.due = self.clock.now() + pause
        reason = f"the process of {count(len(member.work.cameras), 'camera')} died ({_how(member.process)})"
        _logger.warning("%s; it is started again in %g s.", reason, pause)
        for name, status in member.statuses.items():
            member.before[name] = status.plus(member.before[name])
            member.statuses[name] = CameraStatus(name, state="pausing", error=reason)


def started(work: Work) -> tuple[BaseProcess, Connection]:
    """A process, from a server that has imported all of it and has no threads, and our end of the connection."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reid_lightning.search.live.worker", work.build_module])
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(work, theirs), name=f"watch {work.number}")
    process.start()
    theirs.close()
    return process, ours


def works_of(first: Work, cameras: Sequence[Camera], processes: int) -> list[Work]:
    """The work of each process, like the `first` one but for its cameras and its number."""
    shares = shared_out(cameras, processes)
    return [replace(first, number=n, workers=len(shares), cameras=share) for n, share in enumerate(shares)]


def _how(process: BaseProcess) -> str:
    status = process.exitcode or 0
    return f"signal {-status}" if status < 0 else f"status {status}"
