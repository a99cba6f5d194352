"""A process that watches some of the cameras, a thread each, with one model and one plate reader for all of them."""

from __future__ import annotations

import logging
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Lock, Thread

import torch

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, GalleryIndex
from reid_lightning.search.live.camera_loop import CameraLoop
from reid_lightning.search.live.cameras import Camera, WatchList
from reid_lightning.search.live.checked_registrar import CheckedRegistrar
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.live.status import CameraStatus, reason_without_password
from reid_lightning.search.live.watching import Checker, Watched
from reid_lightning.search.video.sources import Source, open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

_REPORTS = 0.5  # seconds between two
_TIDY = 1000  # sightings after which the store is put in order, which else has a piece for each
_STOPPING = 0.1
_ENDING = 90.0  # seconds for the cameras' threads: a camera may keep one waiting for a minute


@dataclass(frozen=True)
class Parts:
    """What the cameras of a process share; made in it.

    `finder` makes one more, with a detector and a tracker of its own where they remember frames; `settings` is as in
    `Registrar`; `threshold` turns `calibrated` into a number.
    """

    gallery: Gallery
    index: GalleryIndex | None
    finder: Callable[[], VehicleFinder]
    settings: str
    threshold: Callable[[float | str], float] = float


@dataclass(frozen=True)
class Work:
    """What a process is told to do; plain values, but for `build`, a function of a module with such arguments.

    `number` is its own of `workers`.
    """

    number: int
    workers: int
    cameras: tuple[Camera, ...]
    build: Callable[[], Parts]
    lists: tuple[WatchList, ...] = ()
    min_score: float | str = 0.6
    spool: Path = Path("spool")
    receivers: tuple[str, ...] = ()
    most_hits: int = 10_000
    every: int = 1
    allow_redirects: bool = False
    threads: int = 1
    timeout: float = 10.0

    @property
    def build_module(self) -> str:
        """Where `build` is."""
        return str(getattr(self.build, "func", self.build).__module__)


@dataclass(frozen=True)
class Report:
    """What a process says: where its cameras stand; `failed`: it could not begin; `ended`: nothing more will come."""

    cameras: tuple[CameraStatus, ...] = ()
    failed: str = ""
    said: tuple[tuple[int, str], ...] = ()
    """Levels and texts of its log."""
    ended: bool = False


def run(work: Work, connection: Connection) -> None:
    """Watch until the other end of the connection says something or is closed, a signal comes, or all recordings have
    ended."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    torch.set_num_threads(work.threads)
    log = _Log()
    logging.root.addHandler(log)
    logging.root.setLevel(logging.INFO)
    spool = Spool(work.spool, work.receivers, most=work.most_hits, writer=work.number)
    try:
        with spool.held():
            try:
                worker = Worker(work, spool, stop)
            except ReIDError as error:
                connection.send(Report(failed=reason_without_password(str(error))))
                return
            worker.watch(connection, log.taken)
    except (BrokenPipeError, ConnectionResetError):
        stop.set()  # nobody is there any more, and the threads end with this one


class Worker:
    """Cameras, a thread each, and what they share."""

    def __init__(self, work: Work, spool: Spool, stop: Event) -> None:
        self._stop, self._saving, self._tidied = stop, Lock(), 0
        self._parts = parts = work.build()
        if work.number == 0:
            spool.take_over(work.workers)
        lists = tuple(
            replace(one, min_score=parts.threshold(work.min_score if one.min_score is None else one.min_score))
            for one in work.lists
        )
        self._checker = Checker(Watched(lists, parts.gallery, parts.index), spool)
        self._loops = [self._loop(camera, work) for camera in work.cameras]

    def _loop(self, camera: Camera, work: Work) -> CameraLoop:
        parts = self._parts
        registrar = CheckedRegistrar(
            parts.gallery,
            parts.finder(),
            index=parts.index,
            settings=parts.settings,
            checker=self._checker,
            saving=self._saving,
        )
        loop = CameraLoop(camera, partial(_open, camera, work), registrar, stop=self._stop)
        registrar.on_hits = lambda hits, dropped: loop.counted(hits=len(hits), dropped=dropped)
        return loop

    def watch(self, connection: Connection, said: Callable[[], tuple[tuple[int, str], ...]]) -> None:
        """Report on the connection until all cameras have ended. OSError: nobody listens any more."""
        connection.send(Report(self._statuses()))
        self._finish()
        threads = [Thread(target=loop.run, name=loop.camera.name, daemon=True) for loop in self._loops]
        for thread in threads:
            thread.start()
        given_up: float | None = None
        while any(thread.is_alive() for thread in threads):
            if connection.poll(_REPORTS):
                self._stop.set()
                with suppress(EOFError):
                    connection.recv()
            if self._stop.is_set():
                given_up = given_up or time.monotonic() + _ENDING
                if time.monotonic() > given_up:
                    break
                time.sleep(_STOPPING)  # the connection may be closed, which counts as something to read
            self._report(connection, said())
            self._tidy(least=_TIDY)
        self._tidy(least=1)
        self._report(connection, said(), ended=True)

    def _finish(self) -> None:
        """Compare the sightings that a killed process has left."""
        with self._saving:
            for hit in self._checker.finish():
                for loop in self._loops:
                    if loop.camera.name == hit.sighting.camera:
                        loop.counted(hits=1, dropped=0)

    def _statuses(self) -> tuple[CameraStatus, ...]:
        return tuple(loop.status for loop in self._loops)

    def _report(self, connection: Connection, said: tuple[tuple[int, str], ...], *, ended: bool = False) -> None:
        try:
            connection.send(Report(self._statuses(), said=said, ended=ended))
        except OSError:
            if not self._stop.is_set():  # whoever started it was killed: save what is seen, then end
                self._stop.set()

    def _tidy(self, *, least: int) -> None:
        saved = sum(loop.status.vehicles - loop.status.known for loop in self._loops)
        if self._parts.index is not None and saved - self._tidied >= least:
            self._tidied = saved
            with self._saving:
                self._parts.index.tidy()


def _open(camera: Camera, work: Work) -> Source:
    every = camera.every or work.every
    return open_source(camera.source, every=every, timeout=work.timeout, allow_redirects=work.allow_redirects)


class _Log(logging.Handler):
    """Keeps what is logged until it is reported; the newest lines, if nobody asks."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: deque[tuple[int, str]] = deque(maxlen=100)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self._lines.append((record.levelno, reason_without_password(record.getMessage())))

    def taken(self) -> tuple[tuple[int, str], ...]:
        """What was logged since the last time."""
        lines = []
        with suppress(IndexError):
            while True:
                lines.append(self._lines.popleft())
        return tuple(lines)
