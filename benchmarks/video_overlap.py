"""Claim: a clip is registered at twice the frames a second of wall time on two cores that it took before its stages
overlapped, with the same crops and sidecars to the last byte, and with no more CPU time.

python benchmarks/video_overlap.py video=<clip> before=<checkout of 880e999> [yolox=<yolox_nano.onnx>] [pairs=5]
    [frames=300] [bundle=starter] [plates=rapidocr] [output=benchmarks/results] [name=video_overlap]
Two processes, one a checkout, register the clip's first frames in turns, each time into an empty gallery: detecting,
tracking, choosing crops, reading plates, saving and embedding, with the threads that `reid register` takes. Each pair
gives a ratio, of which the median stands in the table; models are loaded and used once before.
`others` is how many cores other work on the machine took meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from omegaconf import OmegaConf

HERE = Path(__file__).resolve().parents[1]
DEFAULTS = {"pairs": 5, "frames": 300, "bundle": "starter", "plates": "rapidocr", "yolox": None}


def serve(arguments: Any) -> None:
    """In a process of one checkout: register at each line that comes, and answer with a line of JSON."""
    import numpy as np
    import torch

    from reid_lightning.bundle.loading import load_by_keys
    from reid_lightning.search.gallery import Gallery, GalleryIndex, open_store
    from reid_lightning.search.plates import NoPlateReader
    from reid_lightning.search.registration import Registrar
    from reid_lightning.search.video.detectors.motion import MotionDetector
    from reid_lightning.search.video.detectors.onnx import YoloxDetector
    from reid_lightning.search.video.sources import open_source
    from reid_lightning.search.video.tracking import VehicleTracker
    from reid_lightning.search.video.vehicle_finder import VehicleFinder

    reader: Any = NoPlateReader()
    if arguments.plates == "rapidocr":
        from reid_lightning.search.plates.rapidocr import RapidOcrReader

        reader = RapidOcrReader()
    detectors = {"motion": MotionDetector()}
    if arguments.yolox:
        detectors["yolox"] = YoloxDetector(arguments.yolox)
    embedder = load_by_keys(arguments.bundle)
    if arguments.overlap:
        torch.set_num_threads(1)  # as commands/register.py does
    grey = np.full((90, 120, 3), 128, np.uint8)
    embedder.embed([grey]), reader.read(grey)
    answers, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        detector = detectors[line.strip()]
        with tempfile.TemporaryDirectory() as folder:
            gallery = Gallery(Path(folder) / "gallery")
            store = open_store(
                str(gallery.root / ".index"), fingerprint=embedder.options.fingerprint, dim=embedder.embedding_dim
            )
            index = GalleryIndex(gallery, store, embed=lambda pictures: embedder.embed(pictures).numpy())
            finder = VehicleFinder(detector, reader, build_tracker=VehicleTracker)
            frames = 0

            def on_step(step: Any) -> None:
                nonlocal frames
                frames += 1

            busy, wall, cpu = cores_busy(), time.perf_counter(), time.process_time()
            with open_source(arguments.video) as source:
                registrar = Registrar(gallery, finder, index=index)
                vehicles = sum(1 for _ in registrar.register(source, camera="a", start=0.0, on_step=on_step))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            others = (cores_busy() - busy - cpu) / wall
            told = {"frames": frames, "vehicles": vehicles, "wall": wall, "cpu": cpu, "others": others}
            print(json.dumps(told | {"results": digest(gallery.root)}), file=answers, flush=True)


def cores_busy() -> float:
    """Seconds of CPU time that all of the machine has spent since it was started."""
    user, nice, system, _, _, interrupts, soft, stolen, *_ = map(
        int, Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def digest(gallery: Path) -> str:
    """Over all crops and sidecars: names and bytes."""
    all_of_it = hashlib.sha256()
    for path in sorted(gallery.rglob("*")):
        if path.suffix in (".jpg", ".json") and not str(path.relative_to(gallery)).startswith("."):
            all_of_it.update(f"{path.relative_to(gallery)}\0".encode() + path.read_bytes())
    return all_of_it.hexdigest()


class Side:
    """A checkout's process."""

    def __init__(self, checkout: Path, words: list[str], *, overlap: bool) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "serve=true", f"overlap={overlap}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
        )
        self._line()

    def register(self, detector: str) -> dict[str, Any]:
        """One turn."""
        assert self._process.stdin is not None
        print(detector, file=self._process.stdin, flush=True)
        told: dict[str, Any] = json.loads(self._line())
        return told

    def close(self) -> None:
        """It ends with its input."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a side of the comparison has ended early; what it said stands above.")
        return line


def shortened(video: Path, frames: int, target: Path) -> Path:
    """Its first packets, as they are."""
    import av

    with av.open(str(video)) as source, av.open(str(target), "w") as container:
        stream = source.streams.video[0]
        copied = container.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.dts is None or number == frames:
                break
            packet.stream = copied
            container.mux(packet)
    return target


def row(detector: str, pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, str]:
    """Of the table; `pairs` are (before, now)."""
    before, now = ([pair[side] for pair in pairs] for side in (0, 1))

    def rate(side: list[dict[str, Any]], what: str) -> str:
        return f"{median(one['frames'] / one[what] for one in side):.1f}"

    def ratio(what: str) -> str:
        ratios = sorted(one[what] / other[what] for one, other in pairs)
        return f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"

    return {
        "detector": detector,
        "frames": str(now[0]["frames"]),
        "vehicles": str(now[0]["vehicles"]),
        "frames/s before": rate(before, "wall"),
        "frames/s": rate(now, "wall"),
        "times": ratio("wall"),
        "frames/CPU-s before": rate(before, "cpu"),
        "frames/CPU-s": rate(now, "cpu"),
        "times ": ratio("cpu"),
        "same crops and sidecars": "yes" if len({one["results"] for one in before + now}) == 1 else "NO",
        "others": f"{median(one['others'] for one in before + now):.1f}",
    }


def main() -> None:
    arguments = OmegaConf.merge(DEFAULTS, OmegaConf.from_cli())
    if arguments.get("serve"):
        serve(arguments)
        return
    sys.path.insert(0, str(HERE))
    from common import report

    video = Path(arguments.video).resolve()
    with tempfile.TemporaryDirectory() as folder:
        clip = shortened(video, arguments.frames, Path(folder) / f"clip{video.suffix}")
        words = [f"video={clip}", f"bundle={arguments.bundle}", f"plates={arguments.plates}"]
        words += [f"yolox={Path(arguments.yolox).resolve()}"] if arguments.yolox else []
        sides = [
            Side(Path(arguments.before).resolve(), words, overlap=False),
            Side(HERE, words, overlap=True),
        ]
        rows = []
        for detector in ("motion", "yolox") if arguments.yolox else ("motion",):
            pairs = []
            for number in range(arguments.pairs):
                order = (0, 1) if number % 2 == 0 else (1, 0)
                told = {side: sides[side].register(detector) for side in order}
                pairs.append((told[0], told[1]))
                print(detector, json.dumps(pairs[-1]), file=sys.stderr, flush=True)
            rows.append(row(detector, pairs))
        for side in sides:
            side.close()
    note = f"{video.name}, {arguments.pairs} pairs in turns, bundle {arguments.bundle}, plates {arguments.plates}."
    report(arguments.get("name", "video_overlap"), rows, Path(arguments.get("output", "benchmarks/results")), note=note)


if __name__ == "__main__":
    main()
