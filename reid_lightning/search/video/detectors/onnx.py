"""YOLOX detectors (Ge et al., 2021, arXiv:2107.08430) from ONNX files, with onnxruntime.

The exported network gives raw grid output; here it is turned into boxes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reid_lightning.bundle.onnx_sessions import open_session
from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.records import Detections
from reid_lightning.search.video.detectors.duplicates import clean
from reid_lightning.search.video.detectors.files import YOLOX_NANO, fetched

with extra("search"):
    import cv2
    import onnxruntime


VEHICLE_CLASSES = {2: "car", 3: "motorcycle", 5: "bus", 7: "truck"}
"""COCO's 80 classes, counted from 0."""

_STRIDES = (8, 16, 32)
_COLUMNS = 5 + 80  # x, y, width, height, is it an object, classes
_GREY = 114  # what YOLOX was trained with where a picture does not fill the input


class YoloxDetector:
    """Vehicles by a YOLOX network: BGR 0 to 255 in, letterboxed to the upper left; (1, cells, 85) out.

    Args:
        path: the ONNX file, as YOLOX's own export writes it; None: the one that was fetched, see `files`.
        min_score: boxes below are dropped; objectness times class probability.
        overlap: intersection over union from which two boxes are one vehicle, whatever their types.
        threads: frames of a source that are looked at at a time, each by one thread; 0: as many as there are cores.
        providers: what ONNX Runtime computes with, see `open_session`.
        device: for the provider `auto` and the number of a GPU, as `open_session` takes it.

    Raises:
        ReIDError: no file, or a network of another kind.
    """

    works_on_pictures = True
    knows_vehicles = True

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        min_score: float = 0.3,
        overlap: float = 0.45,
        threads: int = 0,
        providers: str | Sequence[str] = "auto",
        device: str = "cpu",
    ) -> None:
        if not 0 < min_score < 1 or not 0 < overlap < 1:
            raise ReIDError(f"min_score is {min_score} and overlap {overlap}; expected numbers between 0 and 1.")
        if threads < 0:
            raise ReIDError(f"threads is {threads}; expected a whole number of 0 or more.")
        path = _known() if path is None else Path(path)
        if not path.is_file():
            raise ReIDError(f"detector.path is {path}, which is no file. {_REMEDY}")
        self.name = path.stem
        self.min_score, self.overlap = min_score, overlap
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # two frames by a thread each are sooner done than each of them by two
        self.side_by_side = threads or os.cpu_count() or 1
        options.log_severity_level = 3
        try:
            self._session = open_session(
                path, options, what=f"detector {self.name}", providers=providers, device=device
            )
        except ReIDError:
            raise
        except Exception as error:  # onnxruntime's own exceptions have no common base but this
            raise ReIDError(f"detector.path is {path}, which onnxruntime cannot load: {error}") from error
        entry = self._session.get_inputs()[0]
        if len(entry.shape) != 4 or not all(isinstance(side, int) and side % 32 == 0 for side in entry.shape[2:]):
            raise ReIDError(
                f"{path} takes {entry.shape}; expected a YOLOX network, which takes (1, 3, height, width) with fixed "
                "multiples of 32."
            )
        self._input = entry.name
        self._height, self._width = map(int, entry.shape[2:])
        self._cells = _grid(self._width, self._height)
        came = self._run(np.zeros((1, 1, 3), np.uint8)).shape
        if came != (len(self._cells), _COLUMNS):
            raise ReIDError(
                f"{path} gives {came} numbers; expected YOLOX's raw grid output, ({len(self._cells)}, {_COLUMNS})."
            )

    def start(self) -> None:
        """Nothing is remembered from frame to frame."""

    def detect(self, picture: np.ndarray) -> Detections:
        """See `Detector.detect`."""
        height, width = picture.shape[:2]
        output = self._run(picture)
        classes = list(VEHICLE_CLASSES)
        scores = output[:, 4:5] * output[:, [5 + number for number in classes]]
        best = scores.argmax(axis=1)
        rows = np.flatnonzero(scores.max(axis=1) >= self.min_score)
        boxes = decode_boxes(output[rows, :4], self._cells[rows]) / self._scale(width, height)
        found = Detections(
            boxes.astype(np.float32),
            scores[rows, best[rows]].astype(np.float32),
            tuple(VEHICLE_CLASSES[classes[best[row]]] for row in rows),
        )
        return clean(found, width, height, overlap=self.overlap)

    def _scale(self, width: int, height: int) -> float:
        return min(self._width / width, self._height / height)

    def _run(self, picture: np.ndarray) -> np.ndarray:
        """(cells, columns) of the network's raw output."""
        height, width = picture.shape[:2]
        scale = self._scale(width, height)
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        canvas = np.full((self._height, self._width, 3), _GREY, np.uint8)
        canvas[: size[1], : size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)[..., ::-1]
        batch = np.ascontiguousarray(canvas.transpose(2, 0, 1)[None], dtype=np.float32)
        output: np.ndarray = self._session.run(None, {self._input: batch})[0][0]
        return output


def _known() -> Path:
    path = fetched(YOLOX_NANO)
    if path is None:
        raise ReIDError(
            f"detector=yolox needs a network's file: detector.path is not set, and none was fetched. {_REMEDY}"
        )
    return path


_REMEDY = (
    "`reid detector fetch` fetches "
    f"{YOLOX_NANO.describe()}; or set detector.path=<file> to a YOLOX ONNX file, or use detector=motion, which needs "
    "none."
)


def decode_boxes(output: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) as x1, y1, x2, y2 in pixels of the input, from raw output (N, 4) and cells (N, 3) of column, row and
    stride: centre = (output + cell) * stride, sides = exp(output) * stride."""
    centres = (output[:, :2] + cells[:, :2]) * cells[:, 2:]
    half = np.exp(output[:, 2:4]) * cells[:, 2:] / 2
    return np.concatenate([centres - half, centres + half], axis=1)


def _grid(width: int, height: int) -> np.ndarray:
    """(cells, 3) column, row and stride of each row of the output."""
    parts = []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        parts.append(np.stack([columns.ravel(), rows.ravel(), np.full(rows.size, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)
