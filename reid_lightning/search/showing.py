"""What a person sees of registering and searching: progress while a source is read, tables and pictures at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from reid_lightning.search.following import Step
from reid_lightning.search.fonts import plain_text
from reid_lightning.search.records import Match, by_frame
from reid_lightning.search.registration import Registered
from reid_lightning.search.results import time_code
from reid_lightning.search.sources import Source
from reid_lightning.search.track_decisions import TrackDecision

_ROWS = 20
"""Rows of a printed table."""


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


def print_registered(source: Source, registered: Sequence[Registered], *, camera: str, known: bool) -> None:
    """A row for each sighting of a source; or that it was registered before."""
    console = Console(soft_wrap=True, highlight=False)
    name = escape(plain_text(source.name))
    if known:
        console.print(f"{name} was registered for camera {escape(camera)} before: nothing to add.")
        return
    table = Table("vehicle", "plate read", "type", "time", "pictures", "", title=f"{name}, camera {escape(camera)}")
    for one in registered[:_ROWS]:
        sighting = one.sighting
        plate = "" if sighting.plate is None else f"{plain_text(sighting.plate)} {sighting.plate_confidence:.2f}"
        span = f"{time_code(one.found.first)} - {time_code(one.found.last)}"
        cells = (plain_text(sighting.vehicle), plate, sighting.type, span, str(len(sighting.crops)))
        table.add_row(*map(escape, cells), "" if one.is_new else "known")
    console.print(table)
    if len(registered) > _ROWS:
        console.print(f"and {len(registered) - _ROWS:,} more")
    if source.warning is not None:
        console.print(f"[yellow]{escape(source.warning)}[/yellow]")


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
            table.add_row(*map(escape, cells), f"{match.score:.3f}", escape(match.camera or ""))
    console.print(table)
    if len(frames) > _ROWS:
        console.print(f"and {len(frames) - _ROWS:,} more frames")


def registered_rows(registered: Sequence[Registered]) -> list[tuple[Image.Image, Match]]:
    """For `contact_sheet`: the best picture of each sighting, with the confidence of its plate as the score."""
    rows = []
    for one in registered:
        best = max(one.found.crops, key=lambda crop: crop.quality)
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
        rows.append((Image.fromarray(best.picture), match))
    return rows
