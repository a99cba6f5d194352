"""The pictures of a folder; what else lies there is counted and named, so that nobody misses what was passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePath

from reid_lightning.data.images.counting import counting
from reid_lightning.data.images.formats import FORMATS, IMAGE_SUFFIXES, format_of, head_of
from reid_lightning.data.records import PassedOver
from reid_lightning.errors import shortened
from reid_lightning.regular_files import SpecialFileError, check_regular
from reid_lightning.untrusted.names import readable

_OBVIOUS = (".csv", ".json", ".log", ".md", ".mp4", ".npz", ".py", ".tar", ".txt", ".xml", ".yaml", ".yml", ".zip")
_NAMED = 8  # endings in a message


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """`names`: sorted paths below `folder`, written with "/". `passed_over`: a sentence without a full stop about the
    other files, or None; `formats`: of pictures among these."""

    folder: Path
    names: tuple[str, ...]
    passed_over: str | None = None
    formats: tuple[str, ...] = ()

    def reported(self) -> tuple[PassedOver, ...]:
        """What was passed over, if there is something, for `VehicleDataset`."""
        if self.passed_over is None:
            return ()
        return (PassedOver(f"{readable(str(self.folder))}: {self.passed_over}.", self.formats),)


def find_pictures(
    folder: Path,
    *,
    below: bool = True,
    follow_links: bool = False,
    apart_from: Collection[str] = (),
    on_unreadable: Callable[[OSError], None] | None = None,
) -> PictureFiles:
    """The pictures in `folder`. Hidden files and folders do not count.

    What ends like a picture is one; whether it can be read is left to who reads it. Of all else the first bytes say it,
    unless its ending is plainly another one (.txt).
    Pipes, sockets and devices are passed over, whatever they are called.

    Args:
        folder: exists.
        below: in the folders below it as well.
        follow_links: go into folders that are links, each folder once.
        apart_from: paths below `folder` that do not count either.
        on_unreadable: is called with the error for a folder that cannot be read; None: it is passed over and named.
    """
    names: list[str] = []
    others: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    visited: set[str] = set()
    pending = [PurePath()]
    with counting(f"listing {readable(folder.name)}") as count:
        while pending:
            place = pending.pop()
            real = os.path.realpath(folder / place)
            if real in visited:
                continue
            visited.add(real)
            try:
                with os.scandir(folder / place) as scanned:
                    entries = [entry for entry in scanned if not entry.name.startswith(".")]
            except OSError as error:
                if on_unreadable is not None:
                    on_unreadable(error)
                others["folder that cannot be read"] += 1
                continue
            for entry in entries:
                count()
                name = place / entry.name
                if entry.is_dir():
                    if below and (follow_links or not entry.is_symlink()):
                        pending.append(name)
                elif name.as_posix() not in apart_from:
                    kind = _other_than_picture(entry)
                    if kind is None:
                        names.append(name.as_posix())
                    else:
                        others[kind[0]] += 1
                        formats.update(kind[1:])
    sentence = _sentence(others, formats, len(names)) if others else None
    return PictureFiles(folder, tuple(sorted(names)), sentence, tuple(sorted(formats)))


def no_pictures(found: PictureFiles) -> str:
    """The message about a folder in which no picture was found."""
    others = "" if found.passed_over is None else f" {found.passed_over[0].upper()}{found.passed_over[1:]}."
    return f"{found.folder} holds no pictures; expected some of {', '.join(FORMATS)}.{others}"


def _other_than_picture(entry: os.DirEntry[str]) -> tuple[str, ...] | None:
    """None for a picture; else its ending, or what it is, and where known the format of a picture that is not read."""
    ending = PurePath(entry.name).suffix.lower()
    try:
        if not entry.is_file():
            check_regular(entry.path)
        if ending in IMAGE_SUFFIXES:
            return None
        kind = None if ending in _OBVIOUS else format_of(head_of(Path(entry.path)))
    except SpecialFileError as error:
        return (error.kind,)
    except OSError:
        return ("unreadable",)
    if kind in FORMATS:
        return None
    return (readable(shortened(ending, 20)) or "without an ending", *([] if kind is None else [kind]))


def _sentence(others: Counter[str], formats: Counter[str], pictures: int) -> str:
    named = [f"{what} {count:,}" for what, count in sorted(others.items(), key=lambda item: (-item[1], item[0]))]
    more = [f"{len(named) - _NAMED:,} other kinds"] if len(named) > _NAMED else []
    count = sum(others.values())
    was = "was" if count == 1 else "were"
    text = f"{count:,} of {count + pictures:,} files {was} passed over ({', '.join(named[:_NAMED] + more)})"
    if formats:
        text += f"; {' and '.join(sorted(formats))} cannot be decoded here: save such pictures as JPEG"
    return text
