"""What is logged, on the console and in the file of a command."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TextIO


class ConsoleHandler(logging.StreamHandler[TextIO]):
    """Messages on what is the standard output at that moment: above a progress bar, while one is shown. Python's
    warnings become messages, too, none of them twice."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        warnings.showwarning = _once()

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The standard output of this moment."""
        return sys.stdout

    def filter(self, record: logging.LogRecord) -> bool:
        """Not what `drawing.tables` printed already."""
        return not getattr(record, "printed", False) and bool(super().filter(record))

    def format(self, record: logging.LogRecord) -> str:
        """A warning says that it is one."""
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class LogFile(logging.FileHandler):
    """A file that is there when something was logged; what is kept back is in it when `write_kept` says so."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename, encoding="utf-8", errors="backslashreplace", delay=True)
        self.kept: list[logging.LogRecord] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write, or keep."""
        if self.kept is None:
            super().emit(record)
        else:
            self.kept.append(record)


def keep_back() -> None:
    """Nothing goes to the files of the log until `write_kept`."""
    for file in _files():
        file.kept = []


def write_kept() -> None:
    """Write what was kept back."""
    for file in _files():
        kept, file.kept = file.kept or [], None
        for record in kept:
            file.handle(record)


def _files() -> list[LogFile]:
    return [handler for handler in logging.root.handlers if isinstance(handler, LogFile)]


def _once() -> Callable[..., None]:
    reported: set[str] = set()

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        text = " ".join(str(message).split())
        if text not in reported:
            reported.add(text)
            logging.getLogger(category.__name__).warning("%s (%s:%d)", text, Path(filename).name, lineno)

    return show
