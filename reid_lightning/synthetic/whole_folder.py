"""Drawing into a folder: behind a lock, and either whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import in_words


def draw_once(
    folder: Path,
    draw: Callable[[Path], None],
    *,
    what: str,
    megabytes: int,
    key: str,
    errors: tuple[type[Exception], ...],
) -> Path:
    """`folder`, drawn by `draw` into a hidden sibling that is renamed when all is written, unless it is there already.

    A lock keeps a second process from drawing the same at the same time; what a killed run has left is removed first.

    Raises:
        ReIDError: for an OSError or one of `errors`: `what` cannot be drawn, about how many `megabytes` it takes, and
            which `key` names another place.
    """
    if folder.is_dir():
        return folder
    failures: tuple[type[Exception], ...] = (OSError, *errors)
    part = folder.with_name(f".{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if folder.is_dir():
                return folder
            shutil.rmtree(part, ignore_errors=True)
            try:
                part.mkdir()
                draw(part)
                os.rename(part, folder)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
    except failures as error:
        raise ReIDError(
            f"Cannot draw {what} into {folder}: {in_words(error) or f'{error}.'} Expected a writable folder with about "
            f"{megabytes} MB free; free some space or choose another {key}."
        ) from error
    return folder
