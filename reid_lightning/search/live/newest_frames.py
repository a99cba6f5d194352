"""A camera's stream for whoever may be too slow for it: what has waited longest is dropped, and counted.

A thread decodes as the camera sends. What is dropped was decoded, for others are made of it, and became no picture.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from hashlib import blake2b
from threading import Condition, Event, Thread

from reid_lightning.errors import ReIDError
from reid_lightning.search.live.clock import Clock, Offset
from reid_lightning.search.records import Frame
from reid_lightning.search.video.source_base import Source
from reid_lightning.search.video.video_source import VideoSource
from reid_lightning.search.video.waiting_frame import WaitingFrame

WAITING, WAITING_BYTES = 75, 1 << 26
"""Frames that wait at most, and all of them together: three seconds of a small picture, 21 frames of a large one, in
which plates are read and vehicles saved; as many come at once when a camera has answered."""
_LOOK = 0.5  # seconds after which whoever waits for a frame looks whether to stop


class NewestFrames(Source):
    """An open stream, whose frames are given out some seconds after they came at most.

    Frames' seconds are the camera's, which are smooth; `start` is where they begin by this machine's clock as it stands
    now. Its fingerprint is its own, however often the same address was opened before, so that no two sightings have one
    id.

    Args:
        source: an open stream; closed with this one.
        stop: ends the frames, as if the camera had stopped sending.
        on_frame: is called with the frames that came so far, and those of them that were dropped.
    """

    kind = "stream"
    length = None

    def __init__(
        self,
        source: VideoSource,
        *,
        stop: Event,
        on_frame: Callable[[int, int], None] = lambda came, dropped: None,
        clock: Clock | None = None,
    ) -> None:
        self.name, self.every, self.frames_per_second = source.name, source.every, source.frames_per_second
        self._source, self._stop, self._on_frame, self._clock = source, stop, on_frame, clock or Clock()
        self._opened, self._offset = self._clock.now(), Offset()
        self._fingerprint = blake2b(f"{source.fingerprint} {secrets.token_hex(8)}".encode(), digest_size=8).hexdigest()
        self._waiting: deque[WaitingFrame] = deque()
        self._changed = Condition()
        self._came = self._dropped = 0
        self._ended = False
        self._error: BaseException | None = None
        self._thread: Thread | None = None

    @property
    def start(self) -> float:  # type: ignore[override]
        """Of the machine's clock, which may have been set meanwhile."""
        return self._clock.date() - (self._clock.now() - self._opened) + self._offset.seconds

    @property
    def fingerprint(self) -> str:
        """16 hex digits, others each time."""
        return self._fingerprint

    def __iter__(self) -> Iterator[Frame]:
        self._thread = Thread(target=self._read, name=f"read {self.name}", daemon=True)
        self._thread.start()
        while (waiting := self._take()) is not None:
            yield Frame(waiting.picture(), waiting.number, waiting.seconds)
        self.warning = self._source.warning if not self._stop.is_set() else None

    def close(self) -> None:
        """Returns when the thread has ended, which may wait for the camera's next frame."""
        with self._changed:
            self._ended = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._source.close()

    def _take(self) -> WaitingFrame | None:
        with self._changed:
            while not (self._waiting or self._ended or self._stop.is_set()):
                self._changed.wait(_LOOK)
            if self._waiting and not self._stop.is_set():
                return self._waiting.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            for waiting in self._source.unconverted():
                self._offset.see(self._clock.now() - self._opened, waiting.seconds)
                if not self._put(waiting):
                    return
        except BaseException as raised:  # for whoever reads
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _put(self, waiting: WaitingFrame) -> bool:
        """Whether more is wanted."""
        most = max(2, min(WAITING, WAITING_BYTES // max(1, waiting.bytes)))
        with self._changed:
            if self._ended or self._stop.is_set():
                return False
            self._waiting.append(waiting)
            self._came += 1
            while len(self._waiting) > most:
                self._waiting.popleft().pass_over()
                self._dropped += 1
            came, dropped = self._came, self._dropped
            self._changed.notify_all()
        self._on_frame(came, dropped)
        return True


def checked_stream(source: Source) -> VideoSource:
    """A source that never ends. ReIDError: it is a picture."""
    if not isinstance(source, VideoSource) or source.kind != "stream":
        raise ReIDError(f"{source.name} is a {source.kind}; expected a camera's stream or a video.")
    return source
