"""What a zip holds of one vehicle, checked piece by piece and added to a gallery."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reid_lightning.atomic import flush_folder
from reid_lightning.data.images.formats import FORMATS, IMAGE_SUFFIXES, format_of
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery.adding import waiting
from reid_lightning.search.gallery.archive_entries import Entries, TooMuch, shown
from reid_lightning.search.gallery.folder import Gallery
from reid_lightning.search.gallery.sidecar import LARGEST_SIDECAR, SUFFIX, from_json
from reid_lightning.search.gallery.vehicle_folder import holds_crop_mark, is_picture, numbered, sighting_of
from reid_lightning.search.plates.names import vehicle_name
from reid_lightning.search.records import Sighting
from reid_lightning.untrusted.names import LONGEST_NAME
from reid_lightning.user_messages import is_utf8

_LATEST = 253_370_764_800.0  # the year 9999 begins: a calendar ends with it, wherever it is shown
_MOST_PIXELS = 1 << 27  # of one sighting's crops together, which are in memory at once
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")


@dataclass
class SightingImporter:
    """Adds from the entries of a zip; what does not fit is reported in `entries.problems`."""

    gallery: Gallery
    entries: Entries

    def add_vehicle(self, vehicle: str, names: Sequence[str]) -> Iterator[bool | None]:
        """For each sighting among the files of a vehicle: whether it was new; None: it was left out.

        Raises:
            ReIDError: the gallery cannot be written, or the zip unpacks to too much.
        """
        claimed = {name for name in names if name.endswith(SUFFIX)}
        damaged: set[str] = set()
        for name in sorted(claimed):
            sighting = None
            with self._named(vehicle, name):
                sighting = self._sidecar(vehicle, name)
                claimed.update(crop.file for crop in sighting.crops)
            if sighting is None:
                damaged.add(name.removesuffix(SUFFIX))
                yield None
            else:
                yield self._add(sighting, name)
        for name in names:
            if name not in claimed and sighting_of(name) not in damaged:  # whose sidecar was named already
                yield self._add_picture(vehicle, name)

    def _add(self, sighting: Sighting, name: str) -> bool | None:
        if self.gallery.locations.known(sighting.id) is not None:
            return False
        with self._named(sighting.vehicle, name):
            vehicle_name(sighting.vehicle)
            pictures = self._crops(sighting)
            try:
                return self.gallery.add(sighting, pictures)
            except ReIDError as error:
                if isinstance(error.__cause__, OSError):
                    raise NotWritable(str(error)) from error
                raise
        return None

    def _add_picture(self, vehicle: str, name: str) -> bool | None:
        """A user's own, under its name, or under a second one where that is taken by another picture."""
        with self._named(vehicle, name):
            begins = self.entries.head(f"{vehicle}/{name}")
            if not name.lower().endswith(IMAGE_SUFFIXES) and format_of(begins) not in FORMATS:
                raise ReIDError("it is no part of a gallery")
            content, _ = self.entries.picture(f"{vehicle}/{name}")
            if holds_crop_mark(content):
                raise ReIDError("it is a crop of a sighting that is not in the zip")
            return self._keep_picture(vehicle, name, content)
        return None

    def _keep_picture(self, vehicle: str, name: str, content: bytes) -> bool:
        root = self.gallery.root
        self.gallery.place_of(vehicle)  # says what is wrong with a name, before anything is made
        try:
            with waiting(root, [content]) as (file,), self.gallery.locations.index.changing():
                folder = self.gallery.place_of(vehicle)
                if folder.is_symlink():
                    raise ReIDError(f"{folder} is a link, and links in a gallery are not followed")
                path = _free_or_same(folder / name, content)
                if path is None:
                    return False
                self.gallery.locations.index.note(folder.name)
                with self.gallery.locations.index.making(folder.name):
                    folder.mkdir(exist_ok=True)
                    file.replace(path)
                flush_folder(folder)
                return True
        except OSError as error:
            raise NotWritable(f"{root / vehicle / name} cannot be written: {error.strerror or error}.") from error

    @contextmanager
    def _named(self, vehicle: str, name: str) -> Iterator[None]:
        """What is wrong inside becomes a line in the report."""
        try:
            yield
        except (TooMuch, NotWritable):
            raise
        except ReIDError as error:
            self.entries.problems.add(f"{shown(f'{vehicle}/{name}')}: {str(error).removesuffix('.')}.")

    def _sidecar(self, vehicle: str, name: str) -> Sighting:
        content = self.entries.read(f"{vehicle}/{name}", at_most=LARGEST_SIDECAR)
        sighting = from_json(content, vehicle=vehicle, name=name)
        if is_picture(sighting):
            raise ReIDError("it names neither a source nor a detector")
        if _ID.fullmatch(sighting.id) is None:
            raise ReIDError(f"its id is {shown(sighting.id)}; expected letters, digits, dots, dashes, at most 100")
        for text in (value for value in asdict(sighting).values() if isinstance(value, str)):
            _check_text(text)
        for name, seconds in (("start", sighting.start), ("end", sighting.end)):
            if seconds is not None and not 0 <= seconds < _LATEST:
                raise ReIDError(f"its {name} is {seconds:g} s after 1970; expected a time of the years 1970 to 9998")
        return sighting

    def _crops(self, sighting: Sighting) -> list[np.ndarray]:
        pictures: list[np.ndarray] = []
        pixels = 0
        for crop in sighting.crops:
            name = f"{sighting.vehicle}/{crop.file}"
            if name not in self.entries:
                raise ReIDError(f"its crop {shown(crop.file)} is missing")
            try:
                pictures.append(self.entries.picture(name)[1])
            except TooMuch:
                raise
            except ReIDError as error:
                raise ReIDError(f"its crop {shown(crop.file)} cannot be used: {error}") from error
            pixels += pictures[-1].size // 3
            if pixels > _MOST_PIXELS:
                raise ReIDError(f"its crops have more than {_MOST_PIXELS:,} pixels together")
        return pictures


class NotWritable(ReIDError):
    """The gallery's disk refuses: nothing more can be imported."""


def _free_or_same(path: Path, content: bytes) -> Path | None:
    """A name that no other picture has; None: this very picture is there."""
    for free in numbered(path):
        if not os.path.lexists(free):
            return free
        if free.is_file() and not free.is_symlink() and free.read_bytes() == content:
            break
    return None


def _check_text(text: str) -> None:
    """What a vector store would refuse later, with all that is embedded beside it."""
    if not is_utf8(text):
        raise ReIDError(f"{shown(text)} in it is no valid text")
    if any(unicodedata.category(sign) == "Cc" for sign in text):  # a terminal would obey them
        raise ReIDError(f"{shown(text)} in it holds control characters")
    if len(text.encode()) > LONGEST_NAME:
        raise ReIDError(f"{shown(text)} in it has more than {LONGEST_NAME} bytes")
