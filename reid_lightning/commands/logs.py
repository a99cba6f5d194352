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


def _once() -> Callable[..., None]:
    reported: set[str] = set()

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        text = " ".join(str(message).split())
        if text not in reported:
            reported.add(text)
            logging.getLogger(category.__name__).warning("%s (%s:%d)", text, Path(filename).name, lineno)

    return show
