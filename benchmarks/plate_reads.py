"""Claim: reading a track's best pictures first, none that can hold no plate, and no more than the vote needs costs a
fraction of reading all of them, and no plate is lost by it.

python benchmarks/plate_reads.py data=<folder of shared data> [traffic=<folder of reid data traffic>] [drawn=26]
    [seed=9] [videos=[one_car_readable_plate,fixed_camera_highway]] [output=benchmarks/results]
The pictures that `reid register` keeps of each track (YOLOX nano on the videos, the motion detector on drawn traffic),
and `drawn` vehicles of `drawn_plates.py` in five views each, read in both ways with plates=any (the videos and the
traffic: plates=gb). Votes of .6 and more count as plates, as in `reid register`; right are those of a plate that is
known: LS15EBC, the traffic's and the drawn ones. CPU time of reading on one thread.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
from common import report
from drawn_plates import draw_vehicles
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from plates_drawn import reader_of

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.search.plates import PlateReader, PlateReading, PlateVote, vote
from reid_lightning.search.plates.track_reading import read_track
from reid_lightning.search.video.best_crops import sharpness
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.vehicle_finder import VehicleFinder

PLATE_CONFIDENCE = 0.6
Track = tuple[list[np.ndarray], list[float]]
"""Pictures and their qualities."""


@dataclass
class Counting:
    """A reader that counts what it is asked to read."""

    reader: PlateReader
    reads: int = 0
    name = "counting"

    @property
    def patterns(self) -> object:
        return self.reader.patterns

    def read(self, picture: np.ndarray) -> list[PlateReading]:
        self.reads += 1
        return self.reader.read(picture)

    def may_hold_plate(self, picture: np.ndarray) -> bool:
        return self.reader.may_hold_plate(picture)


def tracks_of(video: Path, *, detector: Sequence[str]) -> list[Track]:
    """What `reid register` would read."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("register", overrides=["source=x", "camera=x", "plate_reader=none", *detector])
    finder = VehicleFinder(
        instantiate(cfg.detector),
        instantiate(cfg.plate_reader),
        build_tracker=instantiate(cfg.tracker),
        **{key: cfg[key] for key in ("crops", "min_frames", "min_side", "min_quality")},
    )
    with open_source(str(video)) as source, closing(finder.find(source)) as found:
        return [([c.picture for c in one.crops], [c.quality for c in one.crops]) for one in found]


def read_all(reader: PlateReader, track: Track) -> PlateVote | None:
    """Every picture."""
    frames = [reader.read(picture) for picture in track[0]]
    return vote(frames, patterns=reader.patterns, min_confidence=PLATE_CONFIDENCE)


def read_some(reader: PlateReader, track: Track) -> PlateVote | None:
    """As `VehicleFinder` does."""
    return read_track(reader, *track, min_confidence=PLATE_CONFIDENCE)


def rows_of(name: str, tracks: Sequence[Track], country: str, known: Sequence[set[str]]) -> list[dict[str, str]]:
    """Both ways; `known`: of each track the plates that are right."""
    rows = []
    for way, read in (("all", read_all), ("what the vote needs", read_some)):
        reader = Counting(reader_of(country))
        start = time.process_time()
        votes = [read(reader, track) for track in tracks]
        seconds = time.process_time() - start
        rows.append(
            {
                "source": name,
                "pictures read": way,
                "vehicles": str(len(tracks)),
                "reads": str(reader.reads),
                "a vehicle": f"{reader.reads / max(1, len(tracks)):.1f}",
                "CPU s": f"{seconds:.1f}",
                "plates": str(sum(one is not None for one in votes)),
                "right": str(
                    sum(one is not None and one.text in right for one, right in zip(votes, known, strict=True))
                ),
            }
        )
    return rows


def main() -> None:
    """Every source in both ways."""
    defaults = {
        "data": "???",
        "traffic": None,
        "drawn": 26,
        "seed": 9,
        "videos": ["one_car_readable_plate", "fixed_camera_highway"],
        "output": "benchmarks/results",
    }
    cfg = OmegaConf.merge(defaults, OmegaConf.from_cli())
    cv2.setNumThreads(1)
    rows = []
    vehicles = draw_vehicles("reporting", cfg.drawn, seed=cfg.seed, views=5)
    tracks = [
        (list(one.views), [min(1, min(view.shape[:2]) / 224) * sharpness(view) for view in one.views])
        for one in vehicles
    ]
    if cfg.drawn:
        rows += rows_of("drawn vehicles", tracks, "any", [{one.text} for one in vehicles])
    yolox = ["detector=yolox", f"detector.path={Path(cfg.data).resolve() / 'detectors' / 'yolox_nano.onnx'}"]
    for name in cfg.videos:
        tracks = tracks_of(Path(cfg.data) / "videos" / f"{name}.mp4", detector=yolox)
        rows += rows_of(name, tracks, "gb", [{"LS15EBC"}] * len(tracks))
    if cfg.traffic is not None:
        truth = json.loads((Path(cfg.traffic) / "ground_truth.json").read_text(encoding="utf-8"))
        plates = {one["plate"] for one in truth["vehicles"]}
        for name in ("north", "south"):
            tracks = tracks_of(Path(cfg.traffic) / f"{name}.mp4", detector=["detector=motion"])
            rows += rows_of(f"drawn traffic, {name}", tracks, "gb", [plates] * len(tracks))
    report("plate_reads", rows, Path(cfg.output), note=f"Drawn vehicles: seed {cfg.seed}; one thread.")


if __name__ == "__main__":
    main()
