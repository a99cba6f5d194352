"""Plates read by RapidOCR's networks (PP-OCR), which come inside its wheel: nothing is ever downloaded.

Its detector finds text; its recogniser is run by ONNX Runtime, because the country's forms want its probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from reid_lightning.bundle.onnx_sessions import open_session
from reid_lightning.errors import ReIDError, extra
from reid_lightning.search.plates.decoding import TextDecoder
from reid_lightning.search.plates.lines import around, arrangements
from reid_lightning.search.plates.patterns import ANY, PlatePatterns
from reid_lightning.search.plates.reader import PlateReading, check_picture
from reid_lightning.search.plates.weighing import PlateWeigher
from reid_lightning.search.records import Box, box_of

with extra("search"):
    import cv2
    import onnxruntime
    import rapidocr
    from rapidocr.ch_ppocr_det import TextDetector


HEIGHT = 48  # of a line of text as the recogniser was trained with
MIN_PIXELS = 8  # of either side: nothing can be read on less
MAX_RATIO = 16  # of a line's width to its height; longer ones are no plates and are squeezed
MAX_ENLARGEMENT = 3.0
PLATE_HEIGHT, PLATE_RATIO = 64, 2.2  # a picture lower and wider than this is a plate and no vehicle


VEHICLE_SIDE = 72
"""Pixels of a vehicle's longer side below which nothing is read: a plate of 40 pixels is hardly ever read right, and is
little more than half of a picture."""
STROKES = 4.0
"""Grey levels a pixel, across, that the sharpest place of a plate's size has at least; legible plates have 7."""
PLACE = (40, 10)  # width and height of such a place in pixels


class RapidOcrReader:
    """Reads the plates on pictures of vehicles, or pictures of plates.

    Args:
        patterns: the plates to expect. With a country's, every text is read once more as the likeliest plate of that
            country, and both are weighed (`PlateWeigher`).
        side: pixels of the longer side at which text is looked for: larger pictures are reduced for it (and read in
            full), smaller ones enlarged up to three times. 320 takes half the time and misses more.
        tight: True: pictures show a plate and nothing else, and are read as a line of text. None: those are that are
            lower than 64 pixels and more than 2.2 times as wide.
        max_texts: at most so many texts are read on a picture, the largest: lorries are covered with them.
        threads: of ONNX Runtime, for each of the two networks.
        providers: what ONNX Runtime computes with, see `open_session`.
        device: for the provider `auto` and the number of a GPU, as `open_session` takes it.
        models: the folder with `*_det_*.onnx` and `*_rec_*.onnx`; None: that of the installed rapidocr.

    Raises:
        ReIDError: a model is missing, or an argument is out of range.
    """

    name = "rapidocr"

    def __init__(
        self,
        patterns: PlatePatterns = ANY,
        *,
        side: int = 480,
        tight: bool | None = None,
        max_texts: int = 12,
        threads: int = 1,
        providers: str | Sequence[str] = "auto",
        device: str = "cpu",
        models: str | Path | None = None,
    ) -> None:
        for argument, value, least in (("side", side, 32), ("max_texts", max_texts, 1), ("threads", threads, 1)):
            if value < least:
                raise ReIDError(f"plate_reader.{argument} is {value}; expected {least} or more.")
        self.patterns, self.side, self.tight, self.max_texts = patterns, side, tight, max_texts
        folder = Path(rapidocr.__file__).parent / "models" if models is None else Path(models)
        opened = {}
        for kind in ("rec", "det"):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.log_severity_level = 3
            options.enable_cpu_mem_arena = kind == "rec"  # the other sees pictures of many sizes
            opened[kind] = open_session(
                _model(folder, kind), options, what=f"plate reader ({kind})", providers=providers, device=device
            )
        self._recogniser = opened["rec"]
        characters = self._recogniser.get_modelmeta().custom_metadata_map.get("character")
        if characters is None:
            raise ReIDError(f"{_model(folder, 'rec')} has no `character` list; expected a model made for RapidOCR.")
        self._weigher = PlateWeigher(patterns)
        self._decoder = TextDecoder(["", *characters.splitlines(), " "], patterns.forms, self._weigher.weights)
        self._detector = _text_finder(opened["det"], side=side)

    def read(self, picture: np.ndarray) -> list[PlateReading]:
        """The texts on a picture (height, width, 3) uint8 RGB that may be a plate, the surest first."""
        check_picture(picture)
        height, width = picture.shape[:2]
        if min(height, width) < MIN_PIXELS:
            return []
        tight = self._is_tight(picture)
        picture = np.ascontiguousarray(picture[:, :, ::-1])  # the networks know OpenCV's order of colours
        if tight:
            above, aside = round(height / 12), round(height / 3)  # they also know text only with something around it
            padded = cv2.copyMakeBorder(picture, above, above, aside, aside, cv2.BORDER_REPLICATE)
            return self._readings([(0.0, 0.0, float(width), float(height))], [self._recognise(padded)])
        scale = min(MAX_ENLARGEMENT, max(1.0, self.side / max(height, width)))
        if scale > 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        corners = self._find(picture)
        boxes = [box_of(np.concatenate([four.min(axis=0), four.max(axis=0)]) / scale) for four in corners]
        return self._readings(boxes, [self._recognise(_upright(picture, four)) for four in corners])

    def may_hold_plate(self, picture: np.ndarray) -> bool:
        """Whether a picture is a plate's, or large and sharp enough for one that can be read."""
        check_picture(picture)
        if self._is_tight(picture):
            return True
        if max(picture.shape[:2]) < VEHICLE_SIDE:
            return False
        grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), (3, 3), 0)
        across = cv2.absdiff(grey[:, 2:], grey[:, :-2]) / 2
        return bool(cv2.boxFilter(across, -1, PLACE, borderType=cv2.BORDER_REFLECT).max() >= STROKES)

    def _is_tight(self, picture: np.ndarray) -> bool:
        height, width = picture.shape[:2]
        return height < PLATE_HEIGHT and width > PLATE_RATIO * height if self.tight is None else self.tight

    def _find(self, picture: np.ndarray) -> np.ndarray:
        """The corners (N, 4, 2) float32 of the largest texts, clockwise from the upper left one."""
        # every flag, every time: those of a call stay for the next one
        found = self._detector(picture, use_det=True, use_cls=False, use_rec=False).boxes
        if found is None or not len(found):
            return np.empty((0, 4, 2), np.float32)
        corners = np.asarray(found, np.float32)
        heights = np.linalg.norm(corners[:, 0] - corners[:, 3], axis=1)
        return corners[np.sort(np.argsort(-heights, kind="stable")[: self.max_texts])]

    def _recognise(self, line: np.ndarray) -> np.ndarray:
        """Probabilities (steps, tokens) of a line of text (height, width, 3) BGR."""
        width = round(HEIGHT * min(MAX_RATIO, max(0.5, line.shape[1] / line.shape[0])))
        pixels = cv2.resize(line, (width, HEIGHT)).astype(np.float32) / 127.5 - 1
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]
        probabilities: np.ndarray = self._recogniser.run(None, {self._recogniser.get_inputs()[0].name: batch})[0][0]
        return probabilities

    def _readings(self, boxes: Sequence[Box], lines: Sequence[np.ndarray]) -> list[PlateReading]:
        found: dict[str, PlateReading] = {}
        for numbers in arrangements(boxes):
            probabilities = np.concatenate([lines[number] for number in numbers])
            readings = self._decoder.free_text(probabilities), self._decoder.text_of_form(probabilities)
            for one in self._weigher.weigh(*readings):
                if one.text not in found or one.confidence > found[one.text].confidence:
                    found[one.text] = PlateReading(one.text, one.confidence, around(boxes, numbers))
        return sorted(found.values(), key=lambda reading: (-reading.confidence, reading.text))


def _text_finder(session: Any, *, side: int) -> Any:
    """RapidOCR with the session of its detector of text, in place of the one on the CPU that it would make."""
    finder = rapidocr.RapidOCR(
        params={"Global.log_level": "critical", "Det.limit_type": "max", "Det.limit_side_len": side}
    )
    settings: Any = OmegaConf.create(OmegaConf.to_container(finder.cfg.Det), flags={"allow_objects": True})
    settings.session = session
    vars(finder)["text_det"] = TextDetector(settings)
    return finder


def _model(folder: Path, kind: str) -> Path:
    found = sorted(folder.glob(f"*_{kind}_*.onnx"))
    if len(found) != 1:
        raise ReIDError(
            f"{folder} has {len(found)} files *_{kind}_*.onnx; expected one. Those of `pip install rapidocr` are found "
            "without plate_reader.models."
        )
    return found[0]


def _upright(picture: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """The pixels between four corners (4, 2), made a rectangle."""
    width = max(
        1, round(float(np.linalg.norm(corners[0] - corners[1]))), round(float(np.linalg.norm(corners[3] - corners[2])))
    )
    height = max(
        1, round(float(np.linalg.norm(corners[0] - corners[3]))), round(float(np.linalg.norm(corners[1] - corners[2])))
    )
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target)
    return cv2.warpPerspective(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
