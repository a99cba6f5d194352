"""What a person sees of registering and searching: progress while a source is read, tables and pictures at its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby, islice
from pathlib import Path

from PIL import Image
from rich.console import Console, RenderableType
from rich.markup import escape

from reid_lightning.atomic import write_atomically
from reid_lightning.drawing.fonts import plain_text
from reid_lightning.drawing.progress import progress_bar
from reid_lightning.drawing.tables import Name, middle_shortened, new_table, print_written, say, titled
from reid_lightning.errors import count
from reid_lightning.search.matching.threshold import Threshold
from reid_lightning.search.matching.track_decisions import TrackDecision
from reid_lightning.search.output.contact_sheet import (
    REGISTERED_SIDE,
    ROWS,
    RegisteredPicture,
    read_in_words,
    registered_sheet,
)
from reid_lightning.search.records import UNCONFIRMED, Match, time_code
from reid_lightning.search.registration import Registered
from reid_lightning.search.video.sources import Source
from reid_lightning.search.video.track_source import Step
from reid_lightning.search.video.vehicle_finder import TrackCounts

_ROWS = 20
"""Rows of a printed table."""
_NAME = 24
"""Cells of a source's name beside a bar."""
_NEXT = 3
"""Tracks without an answer that are shown where no track has one."""


def console() -> Console:
    """One that shows texts as they are, and paths in one piece."""
    return Console(highlight=False, markup=False)


@contextmanager
def watching(source: Source) -> Iterator[Callable[[Step], None]]:
    """A bar on the terminal while the body reads the source: give it every step."""
    with progress_bar() as progress:
        name = escape(middle_shortened(plain_text(source.name), _NAME))
        task = progress.add_task(name, total=source.length)
        video = source.in_video
        tracks = 0

        def on_step(step: Step) -> None:
            nonlocal tracks
            tracks = max([tracks, *(box.track for box in step.boxes)])
            place = f" {time_code(step.frame.seconds)[:-4]}" if video else ""
            said = f"{name}{place}, {count(tracks, 'track' if video else 'vehicle')}"
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
        self._pictures: list[RegisteredPicture] = []
        self._vehicles: set[str] = set()
        self._all = self._unconfirmed = 0
        self.new = 0
        """Sightings that the gallery did not have."""

    def begin(self, source: Source, *, camera: str, known: bool) -> None:
        """A source follows, or is left out because it is known."""
        said = {"source": source.name, "fingerprint": source.fingerprint, "camera": camera, "known": known}
        self._sightings: list[dict[str, object]] = []  # of this source
        self._sources.append({**said, "sightings": self._sightings})
        self._title = f"{plain_text(source.name)}, camera {plain_text(camera)}"
        names = ("vehicle", "plate read", "")
        self._table = new_table("vehicle", "plate read", "type", "time", "crops", "", names=names)
        if known:
            say(f"{source.name} was registered for camera {camera} before: nothing to add.")

    def add(self, one: Registered) -> None:
        """A vehicle of the source."""
        sighting = one.sighting
        self.new += one.is_new
        self._all += 1
        self._vehicles.add(sighting.vehicle)
        self._unconfirmed += not sighting.confirmed
        self._sightings.append(asdict(sighting) | {"is_new": one.is_new})
        if len(self._sightings) <= _ROWS:
            plate = plain_text(read_in_words(sighting))
            span = _span(one.found.first, one.found.last)
            kind = sighting.type if sighting.confirmed else UNCONFIRMED
            cells = (kind, span, str(len(sighting.crops)), "" if one.is_new else "known")
            self._table.add_row(Name(plain_text(sighting.vehicle), least=_NAME), Name(plate), *cells)
        if len(self._pictures) < ROWS:
            self._pictures.append(_pictured(one))

    def end(self, source: Source, counts: TrackCounts) -> None:
        """The source was read to its end, or as far as somebody wished."""
        if self._sightings:
            console().print(titled(self._table, self._title))
            if len(self._sightings) > _ROWS:
                say(f"and {len(self._sightings) - _ROWS:,} more")
        last = self._sources[-1]
        if not last["known"]:
            say(f"{source.name}, {counts.describe('registered', in_video=source.in_video)}")
            last["tracks"] = asdict(counts)
        last["warning"] = source.warning
        print_warning(source)

    def write(self) -> None:
        """Write both files, and say what is where now."""
        write_atomically(self._folder / "registered.json", json.dumps(self._sources, indent=2) + "\n")
        if self._pictures:
            shown = "" if self._all == len(self._pictures) else f"The first {len(self._pictures):,} of them."
            explained = "Each with its best picture, the plate that was read (and how sure that is), camera and time."
            title = f"Registered: {self._counted()}"
            notes = [explained, shown, self._warning()]
            registered_sheet(self._folder / "registered.jpg", self._pictures, title=title, notes=notes)
            say(f"{self._counted()} registered in {self._gallery}, {self.new:,} of them new")
        if warning := self._warning():
            say(warning, stderr=True, style="yellow")
        print_written(console(), [self._folder / name for name in ("registered.json", "registered.jpg")])

    def _warning(self) -> str:
        if not self._unconfirmed:
            return ""
        return (
            f"{self._unconfirmed:,} of {self._all:,} {UNCONFIRMED}: they moved, and no vehicle model says that they "
            "are vehicles. detector=yolox would; and whoever renames or merges them confirms them."
        )

    def _counted(self) -> str:
        vehicles = count(len(self._vehicles), "vehicle")
        return vehicles if self._all == len(self._vehicles) else f"{self._all:,} sightings of {vehicles}"


def _pictured(one: Registered) -> RegisteredPicture:
    """The best picture, small."""
    best = max(one.found.crops, key=lambda crop: crop.quality)
    picture = Image.fromarray(best.picture)
    picture.thumbnail((REGISTERED_SIDE, REGISTERED_SIDE))
    return RegisteredPicture(picture, one.sighting, best.seconds, one.is_new)


def print_warning(source: Source) -> None:
    """What could not be read of a source, if anything."""
    if source.warning is not None:
        say(source.warning, stderr=True, style="yellow")


def print_threshold(threshold: Threshold, *, pictures: int) -> None:
    """Before the work begins: the least score, what it means, and what speaks against it."""
    say(f"Matches {threshold.describe()}.", stderr=True)
    if warning := threshold.warning(pictures=pictures):
        say(warning, stderr=True, style="yellow")


def print_found(
    source: Source,
    matches: Sequence[Match],
    decisions: Sequence[TrackDecision],
    *,
    threshold: Threshold,
    tracks: int,
    one_vehicle: bool = False,
) -> None:
    """What each track is (of pictures: each vehicle in one), and the matches of single frames, as far as there is room.

    `tracks` were seen, with and without a decision; `one_vehicle`: all pictures are one track, of which all vehicles
    are named.
    """
    shown = console()
    for table in (
        _all_pictures(decisions) if one_vehicle else _tracks(source, decisions, threshold, tracks),
        _frames(source, matches, threshold),
    ):
        if table is not None:
            shown.print(table)
    frames = len({match.frame for match in matches})
    unit = "frame" if source.in_video else "picture"
    if not frames:
        say(f"no {unit} shows a registered vehicle with a score of {threshold.used:.2f} or more.")
        if decisions and not any(one.accepted for one in decisions):
            closest = max(one.similarity for one in decisions)
            say(f"The closest has {closest:.2f}: a lower min_score shows more, and more that are wrong.")
        elif tracks and not decisions:
            seen = f"{count(tracks, 'vehicle was', 'vehicles were')} seen, none of them compared"
            say(f"{seen}: their pictures are too poor (min_quality).")
    elif frames > _ROWS:
        say(f"and {count(frames - _ROWS, f'more {unit}')}")
    say(f"Scores {threshold.describe()}.")


def _tracks(
    source: Source, decisions: Sequence[TrackDecision], threshold: Threshold, tracks: int
) -> RenderableType | None:
    """The tracks that are a registered vehicle, else those that come closest."""
    first = [one for one in decisions if one.rank == 1]
    if not first:
        return None
    accepted = [one for one in first if one.accepted]
    video = source.in_video
    title = f"{'Whole tracks' if video else 'Vehicles on pictures'}: {len(accepted):,} of {len(first):,} found again"
    title += f", the first {_ROWS} of them" if len(accepted) > _ROWS else ""
    if tracks > len(first):
        title += f" ({tracks:,} seen, {tracks - len(first):,} left out: poor pictures)"
    table = new_table(
        *("track" if video else "picture", "vehicle", "similarity", *(("time", "crops") if video else ()), ""),
        names=("vehicle",),
    )
    for one in accepted[:_ROWS] or sorted(first, key=lambda one: -one.similarity)[:_NEXT]:
        where = (_span(one.first_seconds, one.last_seconds), str(one.crops)) if video else ()
        number = str(one.track if video else one.first_frame)
        verdict = _and_mark("" if one.accepted else f"below {threshold.used:.2f}", one)
        table.add_row(number, Name(plain_text(one.vehicle)), f"{one.similarity:.3f}", *where, verdict)
    return titled(table, title)


def _all_pictures(decisions: Sequence[TrackDecision]) -> RenderableType | None:
    """One track that all pictures belong to: its vehicles, and which one is the answer."""
    if not decisions:
        return None
    answer = next((plain_text(one.vehicle) for one in decisions if one.accepted), "no registered vehicle")
    title = f"All pictures together: {answer}"
    table = new_table("rank", "vehicle", "similarity", "crops", "", names=("vehicle",))
    for one in decisions[:_ROWS]:
        verdict = _and_mark("the answer" if one.accepted else "", one)
        name = Name(plain_text(one.vehicle))
        table.add_row(str(one.rank), name, f"{one.similarity:.3f}", str(one.crops), verdict)
    return titled(table, title)


def _frames(source: Source, matches: Sequence[Match], threshold: Threshold) -> RenderableType | None:
    """The first frames with matches. Where a score is no cosine similarity, that stands beside it."""
    if not matches:
        return None
    video, compared = source.in_video, threshold.reranked or bool(threshold.weighed)
    scores = ("re-ranked" if threshold.reranked else "score", *(("cosine",) if compared else ()))
    where = ("frame", "time") if video else ("picture",)
    title = "Single frames" if video else "Single pictures"
    table = new_table(*where, "vehicle", *scores, "registered by", names=("vehicle", "registered by"))
    for _, found in islice(groupby(matches, key=lambda match: match.frame), _ROWS):  # there may be very many
        for match in found:
            time = (time_code(match.seconds),) if video else ()
            cosine = (f"{match.details.get('cosine', match.score):.3f}",) if compared else ()
            camera = Name(plain_text(_and_mark(match.camera, match)))
            name = Name(plain_text(match.vehicle))
            table.add_row(str(match.frame), *time, name, f"{match.score:.3f}", *cosine, camera)
    return titled(table, title)


def _and_mark(said: str | None, found: Match | TrackDecision) -> str:
    """What is said of a find, and that nobody has confirmed the vehicle, if so."""
    return ", ".join(filter(None, (said, "" if found.confirmed else UNCONFIRMED)))


def _span(first: float, last: float) -> str:
    return f"{time_code(first)[:-4]}-{time_code(last)[:-4]}"
