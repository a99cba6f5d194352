"""Claim: how many cameras of 25 frames a second two cores carry, by `reid watch` as it is set and otherwise.

python benchmarks/watch_cameras.py video=<clip> bundle=<bundle> [yolox=<yolox_nano.onnx>] [frames=1500]
    [output=benchmarks/results] [name=watch_cameras]
The first `frames` frames of a clip of 25 frames a second go through what `reid watch` does with a camera's: decoding,
detection, tracking, the choice of crops, plates, saving, embedding, comparing with a watch list of a plate and of the
first vehicle. CPU seconds of all threads for a second of video; two cores carry 2 / these, if nothing else runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Lock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from common import report
from omegaconf import OmegaConf

from reid_lightning.search import Embedder, load_reid_model
from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
from reid_lightning.search.live.cameras import WatchList
from reid_lightning.search.live.checked_registrar import CheckedRegistrar
from reid_lightning.search.live.spool import Spool
from reid_lightning.search.live.watching import Checker, Watched
from reid_lightning.search.plates import NoPlateReader, PlateReader
from reid_lightning.search.plates.rapidocr import RapidOcrReader
from reid_lightning.search.records import Frame
from reid_lightning.search.video.detectors import Detector
from reid_lightning.search.video.detectors.motion import MotionDetector
from reid_lightning.search.video.detectors.onnx import YoloxDetector
from reid_lightning.search.video.source_base import Source
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.tracking import VehicleTracker
from reid_lightning.search.video.vehicle_finder import VehicleFinder

RATE, CORES = 25.0, 2


class Beginning(Source):
    """The first frames of a video, as a camera would send them: decoded all, turned into pictures every n-th."""

    kind, warning, length, start = "stream", None, None, 1e9

    def __init__(self, video: Path, frames: int, every: int) -> None:
        self._video, self._frames, self.every = open_source(video, every=every), frames, every
        self.name, self.frames_per_second = video.name, RATE

    @property
    def fingerprint(self) -> str:
        """Of no file: each row has a gallery of its own."""
        return "0123456789abcdef"

    def __iter__(self) -> Iterator[Frame]:
        for waiting in self._video.unconverted():
            if waiting.number >= self._frames:
                return
            yield Frame(waiting.picture(), waiting.number, waiting.number / RATE)

    def close(self) -> None:
        """Close the video."""
        self._video.close()


def measure(
    video: Path, embedder: Embedder, detector: Detector, reader: PlateReader, *, frames: int, every: int
) -> dict:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        gallery = Gallery(root / "gallery")
        store = open_store(
            str(root / "gallery/.index"), fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim
        )
        index = GalleryIndex(gallery, store, embed=lambda pictures: embedder.embed(pictures).numpy())
        spool = Spool(root / "spool", ["webhook"], most=1000)
        finder = VehicleFinder(detector, reader, build_tracker=partial(VehicleTracker))
        checker = Checker(Watched((WatchList("plates", ("LS15EBC",)),), gallery, index), spool)
        registrar = CheckedRegistrar(gallery, finder, index=index, checker=checker, saving=Lock())
        vehicles, began = 0, time.process_time()
        with Beginning(video, frames, every) as source, closing(finder.find(source)) as found:
            for one in found:
                saved = registrar.save(one, source, camera="north", start=source.start).sighting
                vehicles += 1
                if vehicles == 1:
                    lists = (*checker.watched.lists, WatchList("looks", (), (saved.vehicle,), min_score=0.6))
                    registrar.checker = Checker(Watched(lists, gallery, index), spool)
        spent = (time.process_time() - began) / (frames / RATE)
    return {
        "detector": detector.name,
        "every": str(every),
        "plates": reader.name,
        "vehicles a minute": f"{vehicles / (frames / RATE / 60):.0f}",
        "CPU s a second of video": f"{spent:.3f}",
        f"cameras on {CORES} cores": f"{int(CORES / spent)}",
    }


def main() -> None:
    """Measure all settings."""
    cfg = OmegaConf.merge(
        {
            "video": "???",
            "bundle": "???",
            "yolox": None,
            "frames": 1500,
            "output": "benchmarks/results",
            "name": "watch_cameras",
        },
        OmegaConf.from_cli(),
    )
    torch.set_num_threads(1)
    video, embedder = Path(cfg.video), load_reid_model(cfg.bundle)
    with open_source(video) as source:
        width, height, rate = source._stream.width, source._stream.height, source.frames_per_second
    detectors = [MotionDetector] + ([partial(YoloxDetector, cfg.yolox, threads=1)] if cfg.yolox else [])
    rows = []
    for make in detectors:
        for every in (1, 2, 5):
            for reader in (RapidOcrReader(), NoPlateReader()):
                rows.append(measure(video, embedder, make(), reader, frames=cfg.frames, every=every))
                print(rows[-1], flush=True)
    note = (
        f"A drawn clip of {width} x {height} pixels at {rate:g} frames a second, its first {cfg.frames:,} frames; "
        "one process, one thread for each network."
    )
    report(str(cfg.name), rows, Path(cfg.output), note=note)


if __name__ == "__main__":
    main()
