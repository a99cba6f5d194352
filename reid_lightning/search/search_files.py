"""The files of a search: matches and tracks for programs and spreadsheets, annotated frames and a sheet for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from reid_lightning.pictures import save_atomically
from reid_lightning.search.annotate import AnnotatedVideo, annotate
from reid_lightning.search.contact_sheet import contact_sheet
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.records import Match
from reid_lightning.search.results import write_csv, write_json, write_tracks_csv
from reid_lightning.search.sources import Source
from reid_lightning.search.track_decisions import TrackDecision
from reid_lightning.search.vehicle_search import SearchedFrame

VIDEO, PICTURES, SHEET = "annotated.mp4", "annotated", "matches.jpg"


class SearchFiles:
    """Collects what a search finds and writes it into a folder; a context manager.

    `matches.json`, `matches.csv`, `tracks.csv`; `annotated.mp4`, or a folder `annotated` of pictures; `matches.jpg`,
    the best crop of each track and vehicle beside the registered picture. Memory holds one crop for each of these.

    Args:
        folder: where they go.
        source: what is searched.
        gallery: names the registered pictures, relative to its root.
        draw: False: no pictures.
    """

    def __init__(self, folder: Path, source: Source, gallery: Gallery, *, draw: bool = True) -> None:
        self.matches: list[Match] = []
        self._folder = folder
        self._source = source
        self._gallery = gallery
        self._draw = draw
        self._video: AnnotatedVideo | None = None
        self._stack = ExitStack()
        self._best: dict[tuple[int | None, str], tuple[np.ndarray, Match]] = {}

    def __enter__(self) -> SearchFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, searched: SearchedFrame) -> None:
        """A frame and its matches."""
        matches = [replace(match, picture=self._path(match)) for match in searched.matches]
        self.matches += matches
        if not self._draw:
            return
        for match in matches:
            key = match.track, match.vehicle
            if key not in self._best or match.score > self._best[key][1].score:
                crop = searched.frame.picture if match.box is None else searched.frame.crop(np.array(match.box))
                self._best[key] = crop.copy(), match
        frame = searched.frame
        if self._source.kind in ("video", "stream"):
            if self._video is None:
                height, width = frame.picture.shape[:2]
                rate = (self._source.frames_per_second or 25.0) / self._source.every
                self._video = self._stack.enter_context(AnnotatedVideo(self._folder / VIDEO, width, height, rate))
            self._video.add(frame, matches)
        elif matches:
            pictures = self._folder / PICTURES
            pictures.mkdir(exist_ok=True)
            name = "picture" if frame.path is None else frame.path.stem
            save_atomically(annotate(frame, matches), pictures / f"{frame.number:06d}_{name}.jpg")

    def finish(self, decisions: Sequence[TrackDecision], *, query: Mapping[str, Any]) -> None:
        """Everything was searched: write the tables and the sheet."""
        write_json(self._folder / "matches.json", self.matches, decisions=decisions, query=query)
        write_csv(self._folder / "matches.csv", self.matches)
        write_tracks_csv(self._folder / "tracks.csv", decisions)
        if self._draw:
            rows = sorted(self._best.values(), key=lambda row: -row[1].score)
            contact_sheet(self._folder / SHEET, rows, gallery=self._gallery.root, title=self._source.name)

    def _path(self, match: Match) -> str | None:
        """The registered picture's path in the gallery: a match names the vector's id, `<sighting>-<number>`."""
        if match.picture is None:
            return None
        sighting_id, _, number = match.picture.rpartition("-")
        sighting = self._gallery.find(sighting_id)
        paths = [] if sighting is None else self._gallery.crop_paths(sighting)
        if not number.isdigit() or int(number) >= len(paths):
            return match.picture
        return str(paths[int(number)].relative_to(self._gallery.root))
