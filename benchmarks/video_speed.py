"""Claim: video goes through decoding, detection, tracking, the choice of crops and embedding at a steady pace, and
memory does not grow over ten thousand frames.

python benchmarks/video_speed.py video=<clip> bundle=<bundle> [yolox=<yolox_nano.onnx>] [frames=10000]
    [output=benchmarks/results] [name=video_speed]
The clip is gone through again and again until `frames` frames have passed, by the motion detector and, if a file is
given, by YOLOX, each on one thread. Every vehicle of every frame is embedded, as a search does. CPU milliseconds a
frame by stage; resident memory after a tenth of the frames, and the most that was seen after it.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np
import torch
from common import report
from omegaconf import OmegaConf

from reid_lightning.search import Embedder, load_reid_model
from reid_lightning.search.records import Frame
from reid_lightning.search.video.best_crops import BestCrops
from reid_lightning.search.video.detectors import Detector
from reid_lightning.search.video.detectors.motion import MotionDetector
from reid_lightning.search.video.detectors.onnx import YoloxDetector
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.tracking import VehicleTracker

LOOKS = 10  # at the memory


def loop(video: Path, count: int) -> Iterator[Frame]:
    """`count` frames of the clip, from its start again at each end, with numbers and seconds that go on."""
    number, begun = 0, 0.0
    while number < count:
        seconds = 0.0
        with open_source(video) as source:
            for frame in source:
                if number == count:
                    return
                seconds = frame.seconds
                yield Frame(frame.picture, number, begun + seconds)
                number += 1
            begun += seconds + 1 / (source.frames_per_second or 25.0)


def measure(detector: Detector, embedder: Embedder, video: Path, count: int) -> dict[str, str]:
    """One row of the table."""
    with open_source(video) as source:
        tracker = VehicleTracker(frame_rate=source.frames_per_second or 25.0)
    spent: dict[str, float] = defaultdict(float)
    crops: dict[int, BestCrops] = {}
    memory, tracks, embedded, began, mark = [], 0, 0, time.perf_counter(), time.process_time()

    def stage(name: str) -> None:
        nonlocal mark
        now = time.process_time()
        spent[name] += now - mark
        mark = now

    detector.start()
    for frame in loop(video, count):
        stage("decode")
        found = detector.detect(frame.picture)
        stage("detect")
        tracked = tracker.update(found, seconds=frame.seconds)
        ended = tracker.finished()
        stage("track")
        for one in tracked:
            others = [other.box for other in tracked if other is not one]
            crops.setdefault(one.track, BestCrops()).add(frame, one, others)
        for track in ended:
            tracks += 1
            crops.pop(track, None)
        stage("crop")
        embedded += len(embedder.embed([np.ascontiguousarray(frame.crop(one.box)) for one in tracked]))
        stage("embed")
        if (frame.number + 1) % max(1, count // LOOKS) == 0:
            memory.append(resident_mebibytes())
    each = {name: 1000 * seconds / count for name, seconds in spent.items()}
    return {
        "detector": detector.name,
        "frames": f"{count:,}",
        "tracks": str(tracks + len(crops)),
        "embedded": f"{embedded:,}",
        "frames/s": f"{count / (time.perf_counter() - began):.1f}",
        "frames/CPU-s": f"{1000 / sum(each.values()):.1f}",
        **{f"{name} ms": f"{value:.2f}" for name, value in each.items()},
        "MiB at first": f"{memory[0]:.0f}",
        "most MiB later": f"{max(memory):.0f}",
    }


def resident_mebibytes() -> float:
    """Memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    arguments = OmegaConf.from_cli()
    cv2.setNumThreads(1)
    video, count = Path(arguments.video), arguments.get("frames", 10_000)
    detectors: list[Detector] = [MotionDetector()]
    if "yolox" in arguments:
        detectors.append(YoloxDetector(arguments.yolox, threads=1))
    embedder = load_reid_model(arguments.bundle)
    torch.set_num_threads(1)
    rows = [measure(detector, embedder, video, count) for detector in detectors]
    folder, name = Path(arguments.get("output", "benchmarks/results")), arguments.get("name", "video_speed")
    report(name, rows, folder, note=f"{video.name}, one thread.")


if __name__ == "__main__":
    main()
