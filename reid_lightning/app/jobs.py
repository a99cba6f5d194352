"""Long work outside the pages' thread: it goes on while a page is drawn again, says how far it is, can be stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from reid_lightning.app.text import count
from reid_lightning.user_messages import user_message

State = Literal["running", "done", "failed", "cancelled"]

_GONE_AFTER = 150.0  # seconds without its browser tab, until a job stops: a lost connection comes back sooner
_LOOK_EVERY = 5.0
_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised inside the work when it was asked to stop."""


def counting(job: Job, what: str, *, before: str = "") -> Callable[[int, int], None]:
    """What tells a job how many are done, of how many; a text before the numbers."""
    return lambda done, total: job.step(done=done, total=total, note=f"{before}{done:,} of {count(total, what)}")


class Job:
    """One piece of work in a thread of its own, started at once.

    It stops by itself when the browser tab that wanted it has been closed for some minutes.

    Args:
        title: what is being done, in a few words.
        work: is called with this job; it calls `step` often, must not call Streamlit, and its value is the `result`.
        lasting: goes on to its end when the tab has been closed.
    """

    def __init__(self, title: str, work: Callable[[Job], Any], *, lasting: bool = False) -> None:
        self.title = title
        self.state: State = "running"
        self.done = 0
        self.total: int | None = None
        self.note = ""
        self.result: Any = None
        self.error = ""
        """What went wrong, for the user."""
        self._stop = threading.Event()
        context = get_script_run_ctx(suppress_warning=True)
        self._session = None if context is None or lasting else context.session_id
        self._seen = self._looked = time.monotonic()
        self._thread = threading.Thread(target=self._run, args=(work,), name=title, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still works."""
        return self.state == "running"

    @property
    def share(self) -> float | None:
        """How much of it is done, from 0 to 1; None: nobody knows how much there is."""
        return None if not self.total else min(self.done / self.total, 1.0)

    def step(self, *, done: int | None = None, total: int | None = None, note: str | None = None) -> None:
        """Say how far the work is; without `done` it is one further. Raises `Cancelled` when it shall stop."""
        self.done = self.done + 1 if done is None else done
        self.total = self.total if total is None else total
        self.note = self.note if note is None else note
        if self._stop.is_set() or self._is_abandoned():
            raise Cancelled

    def cancel(self) -> None:
        """Ask it to stop at its next step."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Until it has ended, or for so long; returns whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, work: Callable[[Job], Any]) -> None:
        try:
            self.result = work(self)
            self.state = "done"
        except Cancelled:
            self.state = "cancelled"
        except Exception as error:
            self.error = user_message(error) or ""
            if not self.error:
                _log.exception("%s failed", self.title)
                self.error = f"a fault of the program, {type(error).__name__}: the server's log says more."
            self.state = "failed"

    def _is_abandoned(self) -> bool:
        now = time.monotonic()
        if self._session is None or now - self._looked < _LOOK_EVERY or not exists():
            return False
        self._looked = now
        if get_instance().is_active_session(self._session):
            self._seen = now
        return now - self._seen > _GONE_AFTER
