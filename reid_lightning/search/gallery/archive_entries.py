"""The entries of a zip from anywhere, by plain names and within bounds; whatever is odd is named and left out."""

from __future__ import annotations

import io
import stat
import zipfile
import zlib
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from reid_lightning.data.images.colours import as_seen
from reid_lightning.data.images.formats import DECODE_ERRORS, HEAD_BYTES, opened, reason
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.sidecar import is_plain_name

MANIFEST = "manifest.json"
MAX_ENTRIES = 500_000
"""For every 16 GiB that may come out."""
MAX_PIXELS = 1 << 25
"""Of a picture, 33 million: more than any camera's crop."""
LARGEST_PICTURE = 1 << 26
"""Bytes of a picture's file."""
MOST_PROBLEMS = 1000

_LARGEST_READ = 1 << 26  # bytes at once: the zip's table of contents, which says itself how long it is
_LINE = 256  # bytes of that table for an entry of ours
_PIECE = 1 << 16
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack any amount at once
_LONGEST_NAME = 120  # signs, in messages
_LONGEST_FILE = 200  # bytes
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


class Problems:
    """Lines about what was left out; of very many only the first are kept."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """One more."""
        self.count += 1
        if len(self.lines) < MOST_PROBLEMS:
            self.lines.append(line)


class Entries(ExitStack):
    """The files of a zip that lie in a folder of one level, `<vehicle>/<file>`; closes with a `with` block.

    Args:
        file: the zip.
        max_bytes: that may come out of it, all together.

    Raises:
        ReIDError: it is no zip, or too much is in it.
    """

    def __init__(self, file: Path, *, max_bytes: int) -> None:
        super().__init__()
        self._file = file
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._most = MAX_ENTRIES * max(1, max_bytes >> 34)
        self.problems = Problems()
        try:
            stream = self.enter_context(_Bounded(file, max(_LARGEST_READ, self._most * _LINE)))
        except FileNotFoundError as error:
            raise ReIDError(f"There is no file {file}.") from error
        except OSError as error:
            raise ReIDError(f"{file} cannot be read: {error.strerror or error}.") from error
        try:
            self._zip = self.enter_context(zipfile.ZipFile(stream))
            self._infos = self._plain_ones()
        except (*_UNREADABLE, ValueError) as error:
            self.close()
            raise ReIDError(f"{file.name} is no zip, or not all of one ({error}). Copy or export it again.") from error
        except BaseException:
            self.close()
            raise

    def folders(self) -> dict[str, list[str]]:
        """The names of the files of each vehicle, both sorted."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._infos):
            vehicle, _, file = name.partition("/")
            if file:
                found.setdefault(vehicle, []).append(file)
            elif name != MANIFEST:
                self.problems.add(f"{shown(name)}: it is no part of a gallery.")
        return found

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def read(self, name: str, *, at_most: int) -> bytes:
        """What an entry holds. ReIDError: it is damaged or larger; says why, without a full stop."""
        info = self._infos[name]
        if info.file_size > at_most:
            raise ReIDError(f"it has more than {at_most:,} bytes")
        content = io.BytesIO()
        try:
            with self._zip.open(info) as stream:
                while piece := stream.read(_PIECE):
                    self._left -= len(piece)
                    if self._left < 0:
                        raise self._too_much()
                    if content.tell() + len(piece) > at_most:
                        raise ReIDError(f"it has more than {at_most:,} bytes")
                    content.write(piece)
        except _UNREADABLE as error:
            raise ReIDError(f"the zip is damaged there ({error})") from error
        return content.getvalue()

    def head(self, name: str) -> bytes:
        """The first bytes of an entry, by which a picture is known. ReIDError: it is damaged."""
        try:
            with self._zip.open(self._infos[name]) as stream:
                return stream.read(HEAD_BYTES)
        except _UNREADABLE as error:
            raise ReIDError(f"the zip is damaged there ({error})") from error

    def picture(self, name: str) -> tuple[bytes, np.ndarray]:
        """A picture's file and its pixels, (height, width, 3) uint8 RGB. ReIDError: says why it is none."""
        content = self.read(name, at_most=LARGEST_PICTURE)
        try:
            with opened(io.BytesIO(content), max_pixels=MAX_PIXELS) as image:
                return content, np.asarray(as_seen(image))
        except DECODE_ERRORS as error:
            raise ReIDError(f"it is no whole picture that can be read: {reason(error)}") from error

    def _too_much(self) -> TooMuch:
        most = f"{self._max_bytes:,} bytes"
        return TooMuch(f"{self._file.name} unpacks to more than {most}, which is as much as is read.")

    def _plain_ones(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if len(infos) > self._most:
            raise TooMuch(f"{self._file.name} holds {len(infos):,} files; at most {self._most:,} are read.")
        if sum(info.file_size for info in infos) > self._max_bytes:
            raise self._too_much()
        times = Counter(info.orig_filename for info in infos)
        plain = {}
        for info in infos:
            if info.filename.endswith("/") and _odd(info.orig_filename.rstrip("/")) is None:
                continue
            odd = _odd(info.orig_filename) or _not_a_file(info)
            if odd is None and times[info.orig_filename] > 1:
                odd = "it is in the zip more than once"
            if odd is None:
                plain[info.orig_filename] = info
            else:
                self.problems.add(f"{shown(info.orig_filename)}: {odd}.")
        return plain


class TooMuch(ReIDError):
    """More comes out of a zip than may."""


class _Bounded(io.FileIO):
    """Does not read any amount at once, whatever a zip says of itself."""

    def __init__(self, file: Path, most: int) -> None:
        super().__init__(file)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._most:
            raise zipfile.BadZipFile("its table of contents is too large")
        return super().read(self._most if size is None or size < 0 else size) or b""


def shown(name: str) -> str:
    """A name from a zip in one line, shortened, without signs that a terminal would obey."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")


def _odd(name: str) -> str | None:
    """Why a name is not read; None: it is `manifest.json` or `<vehicle>/<file>`, and plain."""
    parts = name.split("/")
    if len(parts) > 2 or not all(is_plain_name(part) and ":" not in part for part in parts):
        return "its name is not <vehicle>/<file>"
    if not name.isprintable():
        return "its name has signs that cannot be seen"
    return "its name is too long" if any(len(part.encode()) > _LONGEST_FILE for part in parts) else None


def _not_a_file(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "it is a link or another special file, which are not read"
    if info.flag_bits & 0x1:
        return "it is encrypted"
    if info.compress_type not in _METHODS:
        return f"it is packed by method {info.compress_type}; expected stored or deflated"
    return None
