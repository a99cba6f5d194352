"""One camera, watched until somebody says stop: opened, read, and opened again whenever it is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field, replace
from threading import Event, Lock
from typing import Any

from reid_lightning.errors import ReIDError
from reid_lightning.search.live.cameras import Camera
from reid_lightning.search.live.clock import Clock, Pauses
from reid_lightning.search.live.newest_frames import NewestFrames, checked_stream
from reid_lightning.search.live.status import CameraStatus, reason_without_password
from reid_lightning.search.registration import Registered, Registrar
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.track_source import Step
from reid_lightning.search.video.vehicle_finder import FoundVehicle

_LASTING = 10.0  # seconds after which a connection counts as one that worked


class _Stopped(Exception):
    """Somebody wants to stop in the middle of a recording."""


@dataclass
class CameraLoop:
    """A stream is read as it comes and opened again with growing pauses; a recording is read once, as fast as it goes.

    Args:
        camera: whom to watch.
        open: gives an open source; a ReIDError of it is a camera that does not answer.
        registrar: keeps what is found.
        stop: ends the loop; tracks that are seen then end with it, and are saved.
        changed: is called with every new status, in several threads.
    """

    camera: Camera
    open: Callable[[], Source]
    registrar: Registrar
    _: KW_ONLY
    stop: Event
    clock: Clock = field(default_factory=Clock)
    pauses: Pauses = field(default_factory=Pauses)
    changed: Callable[[CameraStatus], None] = lambda status: None

    def __post_init__(self) -> None:
        self.status = CameraStatus(self.camera.name)
        self._lock = Lock()

    def run(self) -> None:
        """Returns when it is stopped, or a recording has ended."""
        while not self.stop.is_set():
            began = self.clock.now()
            self._tell(state="connecting")
            try:
                is_done = self._watch()
            except ReIDError as error:
                is_done, reason = False, str(error)
            except OSError as error:  # a disk that is full for a while
                is_done, reason = False, f"{error.filename or 'a file'}: {error.strerror or error}"
            else:
                reason = self._ended
            if is_done:
                self._tell(state="done", error=reason_without_password(reason))
                return
            if self.stop.is_set():
                break
            if self.clock.now() - began >= _LASTING and self._came:
                self.pauses.succeeded()
            self._tell(state="pausing", error=reason_without_password(reason))
            self.clock.wait(self.stop, self.pauses.next())
        self._tell(state="stopped")

    def counted(self, *, hits: int, dropped: int) -> None:
        """Hits of this camera's sightings were found; others dropped for want of room."""
        with self._lock:
            before = self.status
            self.status = replace(before, hits=before.hits + hits, hits_dropped=before.hits_dropped + dropped)

    def _watch(self) -> bool:
        """Read the source until it ends; whether that was a recording's end."""
        self._ended, self._came = "", False
        with self.open() as source:
            if source.kind == "video":
                return self._read_recording(source)
            before, connected = self.status, self.status.connections + 1

            def on_frame(came: int, dropped: int) -> None:
                self._came = True
                counts = {"frames": before.frames + came, "dropped": before.dropped + dropped}
                self._tell(**counts, state="watching", last_frame=self.clock.date())

            self._tell(state="watching", error="", connections=connected)
            stream = checked_stream(source)
            with NewestFrames(stream, stop=self.stop, on_frame=on_frame, clock=self.clock) as newest:
                with closing(self.registrar.finder.find(newest)) as vehicles:
                    for found in vehicles:
                        self._keep(found, newest)
                self._ended = newest.warning or f"{source.name} has ended."
        return False

    def _read_recording(self, source: Source) -> bool:
        self._tell(state="watching", error="", connections=self.status.connections + 1)

        def on_step(step: Step) -> None:
            self._tell(frames=self.status.frames + 1, last_frame=self.clock.date())
            if self.stop.is_set():
                raise _Stopped

        try:
            registered = self.registrar.register(source, camera=self.camera.name, on_step=on_step)
            with closing(registered) as vehicles:
                for one in vehicles:
                    self._saved(one)
        except _Stopped:
            return False
        except ReIDError as error:
            if self.registrar.finder.counts.found:
                raise  # it could not be saved: done again from the start, where nothing is doubled
            self._ended = str(error)  # it holds no vehicle
        self._ended = self._ended or source.warning or ""
        return True

    def _keep(self, found: FoundVehicle, source: NewestFrames) -> None:
        """Save a vehicle, which nobody can see again, as often as that fails; at least once after a stop."""
        pauses = Pauses()
        while True:
            is_last = self.stop.is_set()
            try:
                saved = self.registrar.save(found, source, camera=self.camera.name, start=source.start)
            except (ReIDError, OSError) as error:
                self._tell(error=reason_without_password(str(error)))
                if is_last:
                    raise
                self.clock.wait(self.stop, pauses.next())
            else:
                self._saved(saved)
                return

    def _saved(self, one: Registered) -> None:
        self._tell(vehicles=self.status.vehicles + 1, known=self.status.known + (not one.is_new))

    def _tell(self, **changes: Any) -> None:
        with self._lock:
            self.status = status = replace(self.status, **changes)
        self.changed(status)
