"""The ground truth of drawn traffic: where each vehicle is in each picture, its plate, and when it passes which camera.

`ground_truth.json` holds one object with the fields of `TrafficTruth`; boxes are rows, as the fields of `BoxTruth`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lightning.errors import ReIDError

TRUTH_FILE = "ground_truth.json"
APART = 5.0
"""Seconds out of sight after which a vehicle passes a camera again."""
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class BoxTruth:
    """A vehicle in a picture.

    `box` is x1, y1, x2, y2 in pixels around what shows of it; `visible` the share that shows, 0 to 1, of what would
    show with nothing before it and no edges; `plate_box` around what shows of its plate, None: nothing; `plate_width`
    in pixels; `legible`: the plate shows as a whole and is wide enough to be read.
    """

    camera: str
    frame: int
    vehicle: str
    box: tuple[float, float, float, float]
    visible: float
    plate_box: tuple[float, float, float, float] | None
    plate_width: float
    legible: bool


@dataclass(frozen=True, slots=True)
class PassageTruth:
    """First and last picture of a vehicle before a camera, by number and in seconds from the clip's start."""

    camera: str
    first_frame: int
    last_frame: int
    first_second: float
    last_second: float
    legible: bool


@dataclass(frozen=True, slots=True)
class VehicleTruth:
    """A vehicle: `type` is what detectors call it (car, truck), `body` what it is (sedan, van, ...), VeRi's colour."""

    vehicle: str
    plate: str
    type: str
    body: str
    colour: str
    passages: tuple[PassageTruth, ...]


@dataclass(frozen=True, slots=True)
class CameraTruth:
    """A clip: its file beside the ground truth, when it starts (ISO 8601, UTC), how many pictures of which size."""

    camera: str
    video: str
    start: str
    frames: int
    frames_per_second: float
    width: int
    height: int


@dataclass(frozen=True)
class TrafficTruth:
    """All that is known of a piece of traffic."""

    cameras: tuple[CameraTruth, ...]
    vehicles: tuple[VehicleTruth, ...]
    boxes: tuple[BoxTruth, ...]

    def at(self, camera: str) -> dict[int, list[BoxTruth]]:
        """The boxes of one camera by picture; a picture without a vehicle is left out."""
        frames: dict[int, list[BoxTruth]] = {}
        for box in self.boxes:
            if box.camera == camera:
                frames.setdefault(box.frame, []).append(box)
        return frames


def passages_of(boxes: Iterable[BoxTruth], vehicle: str, frames_per_second: float) -> tuple[PassageTruth, ...]:
    """What the boxes of a vehicle say of its passages, in the order of their boxes: one for each camera, and another
    one where it comes again after `APART` seconds or more."""
    seen: list[list[BoxTruth]] = []
    latest: dict[str, list[BoxTruth]] = {}
    for box in (box for box in boxes if box.vehicle == vehicle):
        now = latest.get(box.camera)
        if now is None or box.frame - now[-1].frame >= APART * frames_per_second:
            now = latest[box.camera] = []
            seen.append(now)
        now.append(box)
    return tuple(
        PassageTruth(
            camera=of_passage[0].camera,
            first_frame=of_passage[0].frame,
            last_frame=of_passage[-1].frame,
            first_second=round(of_passage[0].frame / frames_per_second, 3),
            last_second=round(of_passage[-1].frame / frames_per_second, 3),
            legible=any(box.legible for box in of_passage),
        )
        for of_passage in seen
    )


def write_truth(path: Path, truth: TrafficTruth) -> None:
    """Write a ground truth, one box a line."""
    head = {"format": _FORMAT, "cameras": [dataclasses.asdict(camera) for camera in truth.cameras]}
    head["vehicles"] = [dataclasses.asdict(vehicle) for vehicle in truth.vehicles]
    rows = ",\n  ".join(json.dumps(dataclasses.asdict(box)) for box in truth.boxes)
    path.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "boxes": [\n  {rows}\n ]\n}}\n')


def read_truth(folder: Path | str) -> TrafficTruth:
    """Read the ground truth of a folder of drawn traffic.

    Raises:
        ReIDError: there is none, or it is not one.
    """
    path = Path(folder) / TRUTH_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ReIDError(f"{path} has format {content['format']!r}; expected {_FORMAT}. Draw the traffic again.")
        vehicles = tuple(
            VehicleTruth(**{**row, "passages": tuple(PassageTruth(**passage) for passage in row["passages"])})
            for row in content["vehicles"]
        )
        boxes = tuple(BoxTruth(**{**row, **_tuples(row)}) for row in content["boxes"])
        return TrafficTruth(tuple(CameraTruth(**row) for row in content["cameras"]), vehicles, boxes)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReIDError(
            f"Cannot read the ground truth {path}: {error}. Expected a folder that `reid data traffic` has drawn."
        ) from error


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """The boxes of a row, which JSON keeps as lists."""
    return {name: None if row[name] is None else tuple(row[name]) for name in ("box", "plate_box")}
