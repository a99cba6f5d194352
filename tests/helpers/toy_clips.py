"""Clips of coloured rectangles, a detector that sees them, and a plate reader that knows their plates."""

from functools import partial

import av
import numpy as np

from reid_lightning.search.plates import ANY, PlateReading
from reid_lightning.search.records import Detections
from reid_lightning.search.video.tracking import VehicleTracker

RED, BLUE = (250, 0, 0), (0, 0, 250)
build_tracker = partial(VehicleTracker, lost_seconds=0.5)


def share_of(picture, colour):
    return (np.abs(picture.astype(int) - colour) < 60).all(axis=2).mean()


class BrightBoxes:
    """Sees every rectangle of its colours, however still it stands."""

    name = "bright"
    works_on_pictures = True
    knows_vehicles = True
    types = ((RED, "car"), (BLUE, "truck"))
    started = False

    def start(self):
        self.started = True

    def detect(self, picture):
        boxes, types = [], []
        for colour, kind in self.types:
            rows, columns = np.nonzero((np.abs(picture.astype(int) - colour) < 60).all(axis=2))
            if len(rows):
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                types.append(kind)
        if not boxes:
            return Detections.none()
        return Detections(np.array(boxes, np.float32), np.full(len(boxes), 0.9, np.float32), tuple(types))


class NeedsVideo(BrightBoxes):
    name = "needs-video"
    works_on_pictures = False
    knows_vehicles = False


class KnowsRed:
    """Reads the plate of what is red, and nothing else."""

    name = "knows-red"
    patterns = ANY

    def read(self, picture):
        return [PlateReading("AB12CDE", 0.9, (0.0, 0.0, 5.0, 2.0))] if share_of(picture, RED) > 0.5 else []


def scene(red=None, blue=None):
    """160 x 120 pixels with vehicles of 60 x 40 pixels in these colours at (x, y)."""
    canvas = np.full((120, 160, 3), 90, np.uint8)
    for place, colour in ((red, RED), (blue, BLUE)):
        if place is not None:
            x, y = place
            canvas[y : y + 40, x : x + 60] = colour
            canvas[y + 10 : y + 40 : 10, x : x + 60] = 235  # without any detail it would be no picture worth keeping
    return canvas


def write_clip(path, pictures):
    """10 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def car_and_truck(path):
    """A red car drives by for 30 frames and is gone; a blue truck comes at the 16th and stays to the last, the 55th."""
    frames = [scene(red=(3 * n, 10), blue=(80, 70) if n >= 15 else None) for n in range(30)]
    return write_clip(path, frames + [scene(blue=(80, 70)) for _ in range(25)])
