"""Files that came through the browser: bounded, checked, and kept under harmless names until the tab is closed."""

from __future__ import annotations

import shutil
import tempfile
import unicodedata
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from reid_lightning.data.images.formats import HEAD_BYTES, MAY_BE_PICTURES, format_of
from reid_lightning.errors import ReIDError
from reid_lightning.search.video.sources import open_source

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
"""Endings of videos that the upload field lets through; what a file really is, its content says."""
ENDINGS = [suffix.removeprefix(".") for suffix in (*VIDEO_SUFFIXES, *MAY_BE_PICTURES)]
"""All that the field lets through, without the dot."""
PICTURE_ENDINGS = [suffix.removeprefix(".") for suffix in MAY_BE_PICTURES]
_LONGEST_NAME = 120  # bytes: file systems take 255, and others write names of their own around it


class Upload(Protocol):
    """What Streamlit gives for an uploaded file."""

    name: str
    size: int

    def getbuffer(self) -> memoryview: ...


class Uploads:
    """A folder of one browser tab; it goes with this object.

    Args:
        max_bytes: of one upload, all its files together.
        max_pictures: of one upload.
    """

    def __init__(self, *, max_bytes: int, max_pictures: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="reid_lightning-"))
        self._max_bytes = max_bytes
        self._max_pictures = max_pictures
        self._number = 0
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)  # also when the server ends

    def keep(self, files: Sequence[Upload]) -> Path:
        """Save one video, one picture, or several pictures; returns the file, or the folder of several pictures, whose
        contents are left to `check_pictures`: opening thousands of them is no work for a page.

        Raises:
            ReIDError: too much, a mixture, not what its ending says, or the disk is full; nothing is kept then.
        """
        if not files:
            raise ReIDError("no file was chosen; choose a video or some pictures.")
        size = sum(file.size for file in files)
        if size > self._max_bytes:
            raise ReIDError(
                f"the files have {size / 2**20:,.0f} MiB together; at most {self._max_bytes / 2**20:,.0f} MiB are "
                "taken at once. Choose fewer, or name a folder of the server (larger: max_upload_mib)."
            )
        if len(files) > self._max_pictures:
            raise ReIDError(f"{len(files):,} files came; at most {self._max_pictures:,} are taken at once.")
        names = [harmless_name(file.name) for file in files]
        kinds = {kind_of(name, bytes(file.getbuffer()[:HEAD_BYTES])) for name, file in zip(names, files, strict=True)}
        if kinds == {"video", "picture"} or (kinds == {"video"} and len(files) > 1):
            raise ReIDError(f"{len(files)} files came; expected one video, or pictures only.")
        self._number += 1
        folder = self.folder / str(self._number) / ("" if len(files) == 1 else "pictures")
        with self._whole(folder):
            folder.mkdir(parents=True)
            paths = [folder / (name if len(files) == 1 else f"{row:05d}_{name}") for row, name in enumerate(names)]
            for path, file in zip(paths, files, strict=True):
                path.write_bytes(file.getbuffer())
            if len(paths) == 1:
                _check(paths[0])
        return paths[0] if len(files) == 1 else folder

    def keep_as(self, name: str, file: Upload) -> Path:
        """Save one file, whatever it is, under a name of ours. ReIDError: the disk is full; nothing is kept."""
        folder = self.new_folder()
        with self._whole(folder):
            (folder / name).write_bytes(file.getbuffer())
        return folder / name

    def new_folder(self) -> Path:
        """An empty folder for results. ReIDError: the disk is full."""
        self._number += 1
        folder = self.folder / str(self._number)
        with self._whole(folder):
            folder.mkdir()
        return folder

    def drop(self, path: Path) -> None:
        """Remove what `keep` or `new_folder` gave."""
        relative = path.relative_to(self.folder)
        shutil.rmtree(self.folder / relative.parts[0], ignore_errors=True)

    @contextmanager
    def _whole(self, folder: Path) -> Iterator[None]:
        """Nothing is left of a folder that cannot be filled."""
        try:
            yield
        except BaseException as error:
            self.drop(folder)
            if isinstance(error, OSError):  # its text may name the server's folders
                raise ReIDError(
                    f"the server cannot keep the files: {error.strerror or 'its disk refuses'}. Make room in its "
                    "folder for temporary files, or name files that lie on the server already."
                ) from error
            raise


def harmless_name(name: str) -> str:
    """The last part of a file's name, with letters, digits, `-`, `_` and its ending only, at most 120 bytes, for files
    and for people."""
    last = PurePosixPath(name.replace("\\", "/")).name
    stem, dot, ending = last.rpartition(".")
    stem, ending = (stem, ending) if dot else (last, "")
    text = unicodedata.normalize("NFC", stem)
    kept = "".join(sign if unicodedata.category(sign)[0] in "LN" or sign in "-_" else "_" for sign in text)
    letters = "".join(sign for sign in ending.lower() if sign.isascii() and sign.isalnum())[:8]
    ending = f".{letters}" if letters else ""
    start = kept.strip("_").encode(errors="ignore")[: _LONGEST_NAME - len(ending)]
    return f"{start.decode(errors='ignore') or 'file'}{ending}"


def kind_of(name: str, head: bytes) -> str:
    """`picture` or `video`, by its first bytes; of what they do not tell, by its ending. ReIDError: neither."""
    suffix = Path(name).suffix.lower()
    if format_of(head) is not None or suffix in MAY_BE_PICTURES:
        return "picture"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    known = ", ".join((*MAY_BE_PICTURES, *VIDEO_SUFFIXES))
    raise ReIDError(f"{name} is no picture or video by its ending or its first bytes; expected {known}.")


def check_pictures(place: Path, *, on_progress: Callable[[int, int], None]) -> None:
    """Open all pictures of a folder that `Uploads.keep` gave; anything else was checked before.

    Args:
        place: what it gave.
        on_progress: is called with the pictures that are done, and all of them; what it raises stops the work.

    Raises:
        ReIDError: one of them is no picture.
    """
    paths = sorted(place.iterdir()) if place.is_dir() else []
    for done, path in enumerate(paths, 1):
        _check(path)
        on_progress(done, len(paths))


def _check(path: Path) -> None:
    """It can be opened."""
    try:
        open_source(path).close()
    except ReIDError as error:
        raise ReIDError(str(error).replace(f"{path.parent}/", "")) from error  # nobody asked for the server's folders
