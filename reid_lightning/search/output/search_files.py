"""The files of a search: matches and tracks for programs and spreadsheets, annotated frames and a sheet for people."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from reid_lightning.atomic import save_picture
from reid_lightning.search.gallery import Gallery
from reid_lightning.search.gallery.summary import summary_of
from reid_lightning.search.matching.match_spool import MatchSpool
from reid_lightning.search.matching.threshold import Threshold
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.matching.vehicle_search import SearchedFrame
from reid_lightning.search.output.annotate import AnnotatedVideo, annotate
from reid_lightning.search.output.contact_sheet import ROWS, contact_sheet, thumbnail
from reid_lightning.search.output.results import write_csv, write_json, write_tracks_csv
from reid_lightning.search.records import Frame, Match, box_of
from reid_lightning.search.video.sources import Source

VIDEO, PICTURES, SHEET = "annotated.mp4", "annotated", "matches.jpg"
_Found = TypeVar("_Found", Match, TrackDecision)
_STEM = 50  # characters of a picture's name: a file's name has room for 255 bytes


class SearchFiles(ExitStack):
    """Collects what a search finds and writes it into a folder; a context manager.

    `matches.json`, `matches.csv`, `tracks.csv`; `annotated.mp4`, or a folder `annotated` of pictures; `matches.jpg`,
    the best crop of each track and vehicle beside the registered picture.

    Matches lie in a file without a name until `finish` writes them; memory holds the small crops of one sheet.

    `add_all` keeps what was found before a search was interrupted, for `finish`: the video then ends with the last
    frame added. A `with` block that ends by an error leaves no video.

    Args:
        folder: where they go.
        source: what is searched.
        gallery: names the registered pictures, relative to its root.
        draw: False: no pictures.
        threshold: what the least score means; it stands in `matches.json`, on the sheet and in the video. None: not.
    """

    def __init__(
        self, folder: Path, source: Source, gallery: Gallery, *, draw: bool = True, threshold: Threshold | None = None
    ) -> None:
        super().__init__()
        self.matches = MatchSpool(folder)
        """All so far."""
        self._folder = folder
        self._source = source
        self._gallery = gallery
        self._draw = draw
        self._threshold = threshold
        self._note = "" if threshold is None else threshold.short()
        self._video: AnnotatedVideo | None = None
        self._size = (0, 0)  # of the video
        self.frames = 0
        """How many were added."""
        self._confirmed: dict[str, bool] = {}
        self._best: dict[tuple[int | None, str], tuple[Image.Image, Match]] = {}

    def add(self, searched: SearchedFrame) -> None:
        """A frame and its matches. A video's frames of another size than its first are drawn into the size of that."""
        matches = [replace(match, picture=self._path(match)) for match in self.marked(searched.matches)]
        self.matches.extend(matches)
        self.frames += 1
        if not self._draw:
            return
        frame = searched.frame
        for match in matches:
            self._keep_best(frame, match)
        if self._source.in_video:
            if self._video is None:
                height, width = frame.picture.shape[:2]
                rate = (self._source.frames_per_second or 25.0) / self._source.every
                self._video = self.enter_context(
                    AnnotatedVideo(self._folder / VIDEO, width, height, rate, note=self._note)
                )
                self._size = width, height
            self._video.add(*_scaled(frame, matches, self._size))
        elif matches:
            pictures = self._folder / PICTURES
            pictures.mkdir(exist_ok=True)
            stem = "picture" if frame.path is None else frame.path.stem[:_STEM]
            name = "".join(sign if sign.isprintable() else "_" for sign in stem)  # a terminal would obey the others
            picture = annotate(frame, matches, note=self._note)
            save_picture(picture, pictures / f"{frame.number:06d}_{name}.jpg")

    def marked(self, found: Iterable[_Found]) -> list[_Found]:
        """With `confirmed` as the gallery has it, see `VehicleSummary`; of each vehicle it is asked once."""
        return [replace(one, confirmed=self._is_confirmed(one.vehicle)) for one in found]

    def add_all(self, searched: Iterable[SearchedFrame]) -> BaseException | None:
        """Add frames to their end. What ended them early (Ctrl+C, or an error after the first frame) is returned."""
        try:
            for one in searched:
                self.add(one)
        except KeyboardInterrupt as stopped:
            return stopped
        except Exception as error:
            if not self.frames:
                raise
            return error
        return None

    def finish(self, decisions: Sequence[TrackDecision], *, query: Mapping[str, Any]) -> None:
        """Everything was searched: write the tables and the sheet. What could not be read of the source stands in
        `matches.json` as the `warning` of the query."""
        decisions, notes = self.marked(decisions), []
        if self._threshold is not None:
            query = {**query, "threshold": self._threshold.as_dict()}
            notes = [f"Scores {self._threshold.describe()}.", self._threshold.warning()]
        if self._source.warning is not None:
            query = {**query, "warning": self._source.warning}
        write_json(self._folder / "matches.json", self.matches, decisions=decisions, query=query)
        write_csv(self._folder / "matches.csv", self.matches)
        write_tracks_csv(self._folder / "tracks.csv", decisions)
        if self._draw:
            contact_sheet(
                self._folder / SHEET,
                self._best_rows(),
                gallery=self._gallery.root,
                decisions=decisions,
                title=self._source.name,
                notes=notes,
                in_video=self._source.in_video,
                total=len({(match.track, match.vehicle) for match in self.matches}),
            )

    def written(self) -> list[Path]:
        """What there is of these files now."""
        names = ("matches.json", "matches.csv", "tracks.csv", VIDEO, PICTURES, SHEET)
        return [self._folder / name for name in names if (self._folder / name).exists()]

    def _keep_best(self, frame: Frame, match: Match) -> None:
        key = match.track, match.vehicle
        if key in self._best and match.score <= self._best[key][1].score:
            return
        crop = frame.picture if match.box is None else frame.crop(match.box)
        self._best[key] = thumbnail(crop), match
        if len(self._best) >= 2 * ROWS:
            self._best = {(match.track, match.vehicle): (picture, match) for picture, match in self._best_rows()}

    def _best_rows(self) -> list[tuple[Image.Image, Match]]:
        return sorted(self._best.values(), key=lambda row: -row[1].score)[:ROWS]

    def _is_confirmed(self, vehicle: str) -> bool:
        if vehicle not in self._confirmed:
            sightings = list(self._gallery.sightings_of(vehicle, on_problem=lambda problem: None))
            self._confirmed[vehicle] = summary_of(vehicle, sightings).confirmed
        return self._confirmed[vehicle]

    def _path(self, match: Match) -> str | None:
        """The registered picture's path in the gallery, None where it is gone: a match names the vector's id."""
        if match.picture is None:
            return None
        path = self._gallery.picture_path(match.picture, vehicle=match.vehicle)
        return None if path is None else str(path.relative_to(self._gallery.root))


def _scaled(frame: Frame, matches: Sequence[Match], size: tuple[int, int]) -> tuple[Frame, Sequence[Match]]:
    """The frame and the boxes in it, in a size (width, height): as large as fits, black around it."""
    height, width = frame.picture.shape[:2]
    if (width, height) == size:
        return frame, matches
    by = min(size[0] / width, size[1] / height)
    inside = max(1, round(width * by)), max(1, round(height * by))
    left, top = (size[0] - inside[0]) // 2, (size[1] - inside[1]) // 2
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[top : top + inside[1], left : left + inside[0]] = np.asarray(Image.fromarray(frame.picture).resize(inside))
    stretch = (inside[0] / width, inside[1] / height) * 2
    moved = [
        match
        if match.box is None
        else replace(match, box=box_of(map(operator.add, map(operator.mul, match.box, stretch), (left, top) * 2)))
        for match in matches
    ]
    return replace(frame, picture=picture), moved
