"""Work that goes on in another thread while what it gave is used: reading, detecting and reading plates overlap.

Decoders, OpenCV and ONNX Runtime let other threads run meanwhile. What comes, and in which order, is what would come
without the thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from threading import Condition, Thread, current_thread
from typing import Generic, TypeVar

from reid_lightning.errors import ReIDError

T = TypeVar("T")
_LOOK = 0.05  # seconds after which a thread that waits looks whether anybody still wants what it makes


class ClosedError(ReIDError):
    """Somebody asks for more of what was closed."""


class _Worker(Thread):
    wanted = True


class Ahead(Iterator[T], Generic[T]):
    """Goes through `items` in a thread of its own, which begins with the first `next` and ends with the last item.

    An error of theirs comes where the item would have come that they failed to give. Whoever stops earlier has to
    `close`; `ahead` does.

    Args:
        items: whatever they do, they do in the thread; an iterator is closed there, too.
        size: items in memory at most that nobody has asked for yet, besides the one that is being made.
    """

    def __init__(self, items: Iterable[T], *, size: int) -> None:
        self._items = items
        self._size = size
        self._ready: deque[T] = deque()
        self._changed = Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread: _Worker | None = None

    def __next__(self) -> T:
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = _Worker(target=self._run, name="ahead", daemon=True)
                self._thread.start()
            while not (self._ready or self._ended or self._closed):
                self._changed.wait(_LOOK)
                _check_wanted()
            _check_wanted()
            if self._closed:
                raise ClosedError("it was closed while somebody still read it.")
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Nothing more is wanted. Returns when the thread has ended: it does not begin with another item, and threads
        that work for it have ended before."""
        with self._changed:
            self._closed = True
            if self._thread is not None:
                self._thread.wanted = False
            self._ready.clear()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not current_thread():
            self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            items = iter(self._items)
            try:
                for item in items:
                    if not self._put(item):
                        break
                    del item  # a frame is not kept while the next one is made
            finally:
                if hasattr(items, "close"):
                    items.close()
        except BaseException as raised:  # for whoever waits, Ctrl+C of a callback included
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def _put(self, item: T) -> bool:
        """Whether it is still wanted, once there is room for it."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._size or self._closed)
            if not self._closed:
                self._ready.append(item)
                self._changed.notify_all()
            return not self._closed


def _check_wanted() -> None:
    """Before a thread of ours begins with what another one has made for it."""
    worker = current_thread()
    if isinstance(worker, _Worker) and not worker.wanted:
        raise ClosedError("nobody wants what is made of it any more.")


def ahead(items: Iterable[T], *, size: int) -> Generator[T, None, None]:
    """The items, made in another thread, see `Ahead`; closed with this generator."""
    made = Ahead(items, size=size)
    try:
        yield from made
    finally:
        made.close()
