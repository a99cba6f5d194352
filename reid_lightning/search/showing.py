"""What a person sees of registering and searching: progress while a source is read, tables and pictures at its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from reid_lightning.atomic import replacing
from reid_lightning.search.contact_sheet import contact_sheet
from reid_lightning.search.following import Step
from reid_lightning.search.fonts import plain_text
from reid_lightning.search.records import Match, by_frame
from reid_lightning.search.registration import Registered
from reid_lightning.search.results import time_code
from reid_lightning.search.sources import Source
from reid_lightning.search.track_decisions import TrackDecision

_ROWS = 20
"""Rows of a printed table."""
_PICTURES, _SIDE = 200, 128
"""Vehicles on the sheet, and pixels of the pictures held for it."""


@contextmanager
def watching(source: Source) -> Iterator[Callable[[Step], None]]:
    """A bar on the terminal while the body reads the source: give it every step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        name = escape(plain_text(source.name))
        task = progress.add_task(name, total=source.length)
        tracks = 0

        def on_step(step: Step) -> None:
            nonlocal tracks
            tracks = max([tracks, *(box.track for box in step.boxes)])
            said = f"{name} {time_code(step.frame.seconds)}, {tracks} vehicles"
            progress.update(task, advance=1, description=said)

        yield on_step
        progress.update(task, total=progress.tasks[task].completed)


class RegisteredFiles:
    """Keeps what is needed of each registered vehicle, prints the table of a source, and writes `registered.json`
    and `registered.jpg` at the end. Of the first vehicles it holds a small picture, of all a record."""

    def __init__(self, folder: Path, gallery: Path) -> None:
        self._folder = folder
        self._gallery = gallery
        self._sources: list[dict[str, object]] = []
        self._rows: list[tuple[Image.Image, Match]] = []
        self._console = Console(soft_wrap=True, highlight=False)
        self.new = 0
        """Sightings that the gallery did not have."""

    def begin(self, source: Source, *, camera: str, known: bool) -> None:
        """A source follows, or is left out because it is known."""
        said = {"source": source.name, "fingerprint": source.fingerprint, "camera": camera, "known": known}
        self._sightings: list[dict[str, object]] = []  # of this source
        self._sources.append({**said, "sightings": self._sightings})
        name = escape(plain_text(source.name))
        self._table = Table(title=f"{name}, camera {escape(camera)}")
        for column in ("vehicle", "plate read", "type", "time", "pictures", ""):
            self._table.add_column(column, no_wrap=column == "vehicle", overflow="fold")
        if known:
            self._console.print(f"{name} was registered for camera {escape(camera)} before: nothing to add.")

    def add(self, one: Registered) -> None:
        """A vehicle of the source."""
        sighting = one.sighting
        self.new += one.is_new
        self._sightings.append(asdict(sighting) | {"is_new": one.is_new})
        if len(self._sightings) <= _ROWS:
            plate = "" if sighting.plate is None else f"{plain_text(sighting.plate)} {sighting.plate_confidence:.2f}"
            span = f"{time_code(one.found.first)} - {time_code(one.found.last)}"
            cells = (plain_text(sighting.vehicle), plate, sighting.type, span, str(len(sighting.crops)))
            self._table.add_row(*map(escape, cells), "" if one.is_new else "known")
        if len(self._rows) < _PICTURES:
            self._rows.append(_pictured(one))

    def end(self, source: Source) -> None:
        """The source was read to its end."""
        if self._sightings:
            self._console.print(self._table)
            if len(self._sightings) > _ROWS:
                self._console.print(f"and {len(self._sightings) - _ROWS:,} more")
        self._sources[-1]["warning"] = source.warning
        print_warning(source)

    def write(self) -> None:
        """Write both files."""
        with replacing(self._folder / "registered.json") as unfinished:
            unfinished.write_text(json.dumps(self._sources, indent=2) + "\n", encoding="utf-8")
        if self._rows:
            title = "Registered vehicles; the number is the confidence of the plate"
            contact_sheet(self._folder / "registered.jpg", self._rows, gallery=self._gallery, title=title)


def _pictured(one: Registered) -> tuple[Image.Image, Match]:
    """For `contact_sheet`: the best picture, small, with the confidence of the plate as the score."""
    best = max(one.found.crops, key=lambda crop: crop.quality)
    picture = Image.fromarray(best.picture)
    picture.thumbnail((_SIDE, _SIDE))
    sighting = one.sighting
    match = Match(
        sighting.vehicle,
        sighting.plate_confidence,
        best.frame,
        best.seconds,
        track=sighting.track,
        camera=sighting.camera,
        picture=str(Path(sighting.vehicle) / sighting.crops[0].file),
    )
    return picture, match


def print_warning(source: Source) -> None:
    """What could not be read of a source, if anything."""
    if source.warning is not None:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[yellow]{escape(source.warning)}[/yellow]")


def print_found(matches: Sequence[Match], decisions: Sequence[TrackDecision], *, min_score: float) -> None:
    """The vehicles of each track, and the best match of each frame where there are few."""
    console = Console(soft_wrap=True, highlight=False)
    table = Table(
        "track", "vehicle", "similarity", "time", "crops", title=f"whole tracks (from {min_score:.2f} on: found)"
    )
    accepted = [one for one in decisions if one.accepted]
    for one in accepted[:_ROWS] or [one for one in decisions if one.place == 1][:3]:
        span = f"{time_code(one.first_seconds)} - {time_code(one.last_seconds)}"
        name = escape(plain_text(one.vehicle))
        verdict = f"{one.similarity:.3f}" if one.accepted else f"[dim]{one.similarity:.3f} (below)[/dim]"
        table.add_row(str(one.track), name, verdict, span, str(one.crops))
    if decisions:
        console.print(table)
    frames = list(by_frame(list(matches)))
    if not matches:
        console.print(f"no frame shows a registered vehicle with a score of {min_score:.2f} or more.")
        return
    table = Table("frame", "time", "vehicle", "score", "seen by", title="single frames")
    for _, found in frames[:_ROWS]:
        for match in found:
            cells = (str(match.frame), time_code(match.seconds), plain_text(match.vehicle))
            table.add_row(*map(escape, cells), f"{match.score:.3f}", escape(plain_text(match.camera or "")))
    console.print(table)
    if len(frames) > _ROWS:
        console.print(f"and {len(frames) - _ROWS:,} more frames")
