"""Claim: asked for the likeliest text that is a plate, the same networks read nearly half as many plates again, and
text on pictures of vehicles is found in a third of RapidOCR's time.

python benchmarks/plates.py data=<folder of shared data> [every=2] [slow_every=16] [output=benchmarks/results]
Three tasks, read with a country's forms, with any plausible text, and by RapidOCR as it comes: default settings, its
surest text first, normalised alike; with and without its text detector where pictures show plates alone.
plates_cn: 200 pictures of plates, 94 x 24 pixels; the text is known.
plates_ro: dash-cam frames with labelled plates, without text. Read is the surroundings of the first one as a vehicle's
  box would cut them out (five plate widths wide, three of them above it, one below); counted are pictures where a text
  that overlaps the label has the Romanian form, right or wrong.
video: the largest vehicle that yolox_nano finds in every fifth frame of one_car_readable_plate.mp4 (LS15EBC), the share
  of frames whose first text is right, and the vote over all of them; RapidOCR's is the text with the greatest sum of
  confidences, because our rules of what is a plate are not its own.
`every`: each n-th picture of plates_cn and plates_ro; `slow_every`: of plates_cn for RapidOCR with its detector, which
takes seconds. CPU time of this process on one thread; vehicle detection and decoding are not counted.
"""

from __future__ import annotations

import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from common import report
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from rapidocr import RapidOCR

from reid_lightning.search.plates import PlatePatterns, PlateReading, normalise, vote
from reid_lightning.search.plates.rapidocr import RapidOcrReader
from reid_lightning.search.video.detectors.onnx import YoloxDetector
from reid_lightning.search.video.sources import open_source

CONFIG_DIR = Path(__file__).resolve().parents[1] / "conf"
LABEL = "LS15EBC"
FIFTH = 5

Read = Callable[[np.ndarray], list[PlateReading]]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """What is read, and what is known of it: the text, or where a plate is."""

    pixels: np.ndarray
    text: str = ""
    box: Box | None = None


@dataclass(frozen=True)
class Outcome:
    """The readings of each picture, and CPU seconds a picture."""

    readings: list[list[PlateReading]]
    seconds: float


def chinese(data: Path) -> list[Picture]:
    """Pictures of plates whose file names are the text."""
    files = sorted((data / "plates_cn" / "img").glob("*.jpg"))
    return [Picture(_pixels(file), text=file.stem) for file in files]


def romanian(data: Path) -> list[Picture]:
    """The surroundings of the first labelled plate of each frame."""
    pictures = []
    for file in sorted((data / "plates_ro" / "annots").glob("*.xml")):
        label = ElementTree.parse(file).getroot().find("object/bndbox")
        x1, y1, x2, y2 = (float(label.find(side).text) for side in ("xmin", "ymin", "xmax", "ymax"))
        width, middle = x2 - x1, (x1 + x2) / 2
        left, top = max(0, int(middle - 2.5 * width)), max(0, int(y1 - 3 * width))
        frame = _pixels(data / "plates_ro" / "images" / f"{file.stem}.jpg")
        cut = frame[top : int(y2 + width), left : int(middle + 2.5 * width)]
        pictures.append(Picture(cut, box=(x1 - left, y1 - top, x2 - left, y2 - top)))
    return pictures


def driving(data: Path) -> list[Picture]:
    """The largest vehicle of every fifth frame."""
    detector = YoloxDetector(data / "detectors" / "yolox_nano.onnx", threads=1)
    pictures = []
    with open_source(data / "videos" / "one_car_readable_plate.mp4", every=FIFTH) as source:
        for frame in source:
            boxes = detector.detect(frame.picture).boxes
            if len(boxes):
                areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
                pictures.append(Picture(frame.crop(boxes[areas.argmax()]).copy(), text=LABEL))
    return pictures


def rapidocr_alone(*, detect: bool) -> Read:
    """RapidOCR as it comes, but on one thread."""
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    engine = RapidOCR(params={"Global.log_level": "critical", **threads})

    def read(picture: np.ndarray) -> list[PlateReading]:
        found = engine(np.ascontiguousarray(picture[:, :, ::-1]), use_det=detect, use_cls=detect, use_rec=True)
        if not found.txts:
            return []
        height, width = picture.shape[:2]
        corners = found.boxes if detect else [[(0, 0), (width, height)]]
        texts = zip(found.txts, found.scores, corners, strict=True)
        readings = [PlateReading(normalise(text), float(score), _around(four)) for text, score, four in texts]
        return sorted(readings, key=lambda reading: -reading.confidence)

    return read


def run(read: Read, pictures: Sequence[Picture]) -> Outcome:
    """Everything, one after the other, once the networks are warm."""
    read(pictures[0].pixels)
    start = time.process_time()
    readings = [read(picture.pixels) for picture in pictures]
    return Outcome(readings, (time.process_time() - start) / len(pictures))


def text_row(name: str, pictures: Sequence[Picture], outcome: Outcome) -> dict[str, str]:
    """Shares of texts that are right, and right but for one character."""
    edits = [
        distance(found[0].text if found else "", picture.text)
        for picture, found in zip(pictures, outcome.readings, strict=True)
    ]
    return _row(
        name,
        pictures,
        outcome,
        exact=np.mean([count == 0 for count in edits]),
        near=np.mean([count <= 1 for count in edits]),
    )


def form_row(name: str, pictures: Sequence[Picture], outcome: Outcome, patterns: PlatePatterns) -> dict[str, str]:
    """The share of pictures with a text of the form on the label."""
    hits = [
        any(patterns.accepts(one.text) and _overlap(one.box, picture.box) for one in found)
        for picture, found in zip(pictures, outcome.readings, strict=True)
    ]
    return _row(name, pictures, outcome, form=np.mean(hits))


def ours_agreed(readings: Sequence[Sequence[PlateReading]], patterns: PlatePatterns) -> str:
    """The vote over the frames, with its confidence."""
    agreed = vote(readings, patterns=patterns)
    return "nothing" if agreed is None else f"{agreed.text} ({agreed.confidence:.2f})"


def loudest(readings: Sequence[Sequence[PlateReading]]) -> str:
    """Of the frames' first texts, the one with the greatest sum of confidences."""
    sums: dict[str, float] = defaultdict(float)
    for found in readings:
        if found:
            sums[found[0].text] += found[0].confidence
    return max(sums, key=lambda text: (sums[text], text), default="nothing")


def distance(one: str, other: str) -> int:
    """Levenshtein's: insertions, deletions and replacements."""
    row = list(range(len(other) + 1))
    for count, here in enumerate(one, start=1):
        corner, row[0] = row[0], count
        for place, there in enumerate(other, start=1):
            corner, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, corner + (here != there))
    return row[-1]


def _row(name: str, pictures: Sequence[Picture], outcome: Outcome, **shares: float) -> dict[str, str]:
    percent = {name: f"{100 * share:.1f}" for name, share in shares.items()}
    return {
        "read by": name,
        "pictures": str(len(pictures)),
        "exact %": percent.get("exact", "-"),
        "within one %": percent.get("near", "-"),
        "of the form %": percent.get("form", "-"),
        "vote": "-",
        "CPU ms": f"{1000 * outcome.seconds:.0f}",
    }


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _around(corners: Sequence[Sequence[float]]) -> Box:
    (x1, y1), (x2, y2) = np.min(corners, axis=0), np.max(corners, axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def _overlap(one: Box, other: Box) -> bool:
    return all(min(one[axis + 2], other[axis + 2]) > max(one[axis], other[axis]) for axis in (0, 1))


def _patterns(country: str) -> PlatePatterns:
    return instantiate(OmegaConf.load(CONFIG_DIR / "plates" / f"{country}.yaml"))


def main() -> None:
    """Read everything with everybody."""
    defaults = {"data": "???", "every": 2, "slow_every": 16, "output": "benchmarks/results"}
    cfg = OmegaConf.merge(defaults, OmegaConf.from_cli())
    cv2.setNumThreads(1)
    data, country = Path(cfg.data), {name: _patterns(name) for name in ("any", "cn", "ro", "gb")}
    readers = {name: RapidOcrReader(patterns).read for name, patterns in country.items()}
    alone, recogniser_alone = rapidocr_alone(detect=True), rapidocr_alone(detect=False)

    plates = chinese(data)
    some, few = plates[:: cfg.every], plates[:: cfg.slow_every]
    rows = [
        text_row("plates_cn: plates=cn", some, run(readers["cn"], some)),
        text_row("plates_cn: plates=any", some, run(readers["any"], some)),
        text_row("plates_cn: RapidOCR, recogniser", some, run(recogniser_alone, some)),
        text_row("plates_cn: RapidOCR", few, run(alone, few)),
    ]
    some = romanian(data)[:: cfg.every]
    contestants = {"plates=ro": readers["ro"], "plates=any": readers["any"], "RapidOCR": alone}
    for name, read in contestants.items():
        rows.append(form_row(f"plates_ro: {name}", some, run(read, some), country["ro"]))
    some = driving(data)
    contestants = {"plates=gb": readers["gb"], "plates=any": readers["any"], "RapidOCR": alone}
    for name, read in contestants.items():
        outcome = run(read, some)
        agreed = loudest(outcome.readings)
        if name != "RapidOCR":
            agreed = ours_agreed(outcome.readings, country[name.removeprefix("plates=")])
        rows.append({**text_row(f"video: {name}", some, outcome), "vote": agreed})
    note = (
        f"Every {cfg.every}. picture of plates_cn and plates_ro (every {cfg.slow_every}. for RapidOCR with its "
        f"detector on plates_cn), every {FIFTH}. frame of the video; one thread."
    )
    report("plates", rows, Path(cfg.output), note=note)


if __name__ == "__main__":
    main()
