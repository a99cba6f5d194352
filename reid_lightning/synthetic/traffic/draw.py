"""Draws traffic into a folder: behind a lock, and either whole or not at all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from reid_lightning.atomic import save_picture
from reid_lightning.drawing.progress import progress_bar
from reid_lightning.errors import extra
from reid_lightning.synthetic.traffic.clip import build_model, draw_clip
from reid_lightning.synthetic.traffic.network import SPREAD, plan_network, usual_seconds
from reid_lightning.synthetic.traffic.plan import TrafficPlan, plan_traffic
from reid_lightning.synthetic.traffic.site import build_site
from reid_lightning.synthetic.traffic.spec import CAMERAS, TRAFFIC_VERSION, TrafficSpec
from reid_lightning.synthetic.traffic.truth import (
    TRUTH_FILE,
    BoxTruth,
    CameraTruth,
    TrafficTruth,
    VehicleTruth,
    passages_of,
    write_truth,
)
from reid_lightning.synthetic.whole_folder import draw_once

with extra("search"):
    import av


START = "2026-01-01T08:00:00Z"
SHEET_FILE = "sheet.jpg"
TRAVEL_TIMES_FILE = "travel_times.csv"
_QUALITY = "21"
_CELL = (240, 180)
_COLUMNS = 24


def draw_traffic(root: Path | str, spec: TrafficSpec) -> Path:
    """Draw the clips with their ground truth, unless they are there already.

    The pictures depend on the spec alone; the bytes of the clips on the version of the H.264 library, too.

    Args:
        root: where drawn traffic is kept; made if missing.
        spec: what to draw.

    Returns:
        The folder `root/spec.folder_name`, with `north.mp4`, `south.mp4`, ..., `ground_truth.json`, `traffic.json` (the
        spec), `sheet.jpg` (each vehicle at its nearest before each camera) and, of four cameras, `travel_times.csv`.

    Raises:
        ReIDError: the folder cannot be written, or the disk is full.
    """
    return draw_once(
        Path(root).expanduser() / spec.folder_name,
        lambda folder: _draw_all(folder, (plan_traffic if spec.cameras == len(CAMERAS) else plan_network)(spec)),
        what="traffic",
        megabytes=5 + spec.cameras * spec.frames * spec.width * spec.height // 20_000_000,
        key="root",
        errors=(av.FFmpegError,),
    )


def _draw_all(folder: Path, plan: TrafficPlan) -> None:
    """Write every file of a piece of traffic into a new folder."""
    spec = plan.spec
    models = {vehicle.name: build_model(vehicle) for vehicle in plan.vehicles}
    boxes: list[BoxTruth] = []
    nearest: dict[tuple[str, str], tuple[float, Image.Image]] = {}
    with progress_bar(transient=True) as progress:
        bar = progress.add_task("Drawing traffic", total=spec.frames * spec.cameras)
        for camera in spec.camera_names:
            site = build_site(spec, camera)
            with _video(folder / f"{camera}.mp4", spec) as write:
                for picture, found in draw_clip(plan, site, models):
                    write(picture)
                    boxes += found
                    for box in found:
                        _keep_nearest(nearest, picture, box)
                    progress.advance(bar)
    write_truth(folder / TRUTH_FILE, _truth(plan, boxes))
    if spec.cameras > len(CAMERAS):
        (folder / TRAVEL_TIMES_FILE).write_text(_travel_times(spec))
    parameters = {"generator": TRAFFIC_VERSION, **dataclasses.asdict(spec)}
    (folder / "traffic.json").write_text(json.dumps(parameters, indent=2) + "\n")
    save_picture(_sheet(plan, nearest), folder / SHEET_FILE, quality=90)


def _travel_times(spec: TrafficSpec) -> str:
    """The table that `travel_times=` reads: usual seconds and their spread, as who knows the roads would write it."""
    rows = (
        f"{start},{end},{usual_seconds(spec, start, end):g},{SPREAD:g}"
        for start, end in combinations(spec.camera_names, 2)
    )
    return "\n".join(["from,to,seconds,spread", *rows, ""])


@contextmanager
def _video(path: Path, spec: TrafficSpec) -> Iterator[Callable[[np.ndarray], None]]:
    """A clip to write pictures (height, width, 3) uint8 to; one thread, so that its bytes never change."""
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["creation_time"] = START
        options = {"crf": _QUALITY, "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=spec.frames_per_second, options=options)
        stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, spec.frames_per_second)
        number = 0

        def write(picture: np.ndarray) -> None:
            nonlocal number
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, stream.codec_context.time_base
            container.mux(stream.encode(frame))
            number += 1

        yield write
        container.mux(stream.encode())


def _truth(plan: TrafficPlan, boxes: list[BoxTruth]) -> TrafficTruth:
    """The ground truth of drawn boxes."""
    spec = plan.spec
    cameras = tuple(
        CameraTruth(name, f"{name}.mp4", START, spec.frames, float(spec.frames_per_second), spec.width, spec.height)
        for name in spec.camera_names
    )
    vehicles = tuple(
        VehicleTruth(
            vehicle=vehicle.name,
            plate=vehicle.plate,
            type="truck" if vehicle.look.model.type in ("truck", "pickup") else "car",
            body=vehicle.look.model.type,
            colour=vehicle.look.colour,
            passages=passages_of(boxes, vehicle.name, spec.frames_per_second),
        )
        for vehicle in plan.vehicles
    )
    return TrafficTruth(cameras, vehicles, tuple(boxes))


def _keep_nearest(
    nearest: dict[tuple[str, str], tuple[float, Image.Image]], picture: np.ndarray, box: BoxTruth
) -> None:
    """Keep a vehicle's picture if it is its largest before that camera that shows all of it."""
    x1, y1, x2, y2 = (round(value) for value in box.box)
    score = box.visible**8 * (x2 - x1) * (y2 - y1)
    key = (box.vehicle, box.camera)
    if key not in nearest or score > nearest[key][0]:
        nearest[key] = (score, Image.fromarray(picture[y1:y2, x1:x2]))


def _sheet(plan: TrafficPlan, nearest: dict[tuple[str, str], tuple[float, Image.Image]]) -> Image.Image:
    """A column for each vehicle with its name and plate, a row for each camera; empty where it does not pass. After
    `_COLUMNS` vehicles the next ones begin below."""
    width, height = _CELL
    band = 20 + height * plan.spec.cameras
    columns = min(_COLUMNS, len(plan.vehicles))
    sheet = Image.new("RGB", (width * columns, band * -(-len(plan.vehicles) // columns)), (24, 24, 26))
    pen = ImageDraw.Draw(sheet)
    for number, vehicle in enumerate(plan.vehicles):
        left, top = width * (number % columns), band * (number // columns)
        pen.text((left + 6, top + 4), f"{vehicle.name}  {vehicle.plate}", fill=(235, 235, 235))
        for row, camera in enumerate(plan.spec.camera_names):
            if (vehicle.name, camera) in nearest:
                picture = nearest[vehicle.name, camera][1]
                picture.thumbnail((width - 4, height - 4))
                sheet.paste(picture, (left + 2, top + 22 + row * height))
    return sheet
