"""A camera that moves is distinguished from vehicles, light, noise and shaking before one that stands still."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import toy_clips
from toy_clips import build_tracker, write_clip

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import NoPlateReader
from reid_lightning.search.records import TrackedBox
from reid_lightning.search.video.camera_motion import CameraMotion
from reid_lightning.search.video.detectors.motion import MotionDetector
from reid_lightning.search.video.fixed_camera import FixedCamera
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.track_source import follow
from reid_lightning.search.video.vehicle_finder import VehicleFinder

RATE = 10
WIDTH, HEIGHT = 320, 180


def street(seed: int) -> np.ndarray:
    """(450, 800, 3): walls, windows, signs and leaves, as far as a camera can tell."""
    generator = np.random.default_rng(seed)
    picture = cv2.resize(generator.integers(60, 190, (18, 32), np.uint8), (800, 450), interpolation=cv2.INTER_CUBIC)
    for left, top in generator.integers((0, 0), (760, 420), (250, 2)):
        width, height = generator.integers(6, 40, 2)
        picture[top : top + height, left : left + width] = generator.integers(20, 235)
    return np.repeat(picture[..., None], 3, axis=2)


STREET, LORRY = street(0), street(1)
NOISE = np.random.default_rng(2)


def view(t: float, x: float = 0.0, y: float = 0.0, zoom: float = 1.0, scene: np.ndarray = STREET) -> np.ndarray:
    """What a camera sees that has turned by x and y of its picture's width from the middle of the street."""
    width, height = WIDTH / zoom, HEIGHT / zoom
    left, top = 400 + x * WIDTH - width / 2, 225 + y * WIDTH - height / 2
    matrix = np.array([[1 / zoom, 0, left], [0, 1 / zoom, top]])
    return cv2.warpAffine(scene, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def lorry(t: float, length: float) -> np.ndarray:
    """From the first second on a lorry drives through, as high as the picture and so many times longer than it."""
    picture = view(t)
    left = round(WIDTH * (1 - (t - 1.2) * 1.2))
    start, end = max(0, left), min(WIDTH, left + round(length * WIDTH))
    if start < end:
        picture[:, start:end] = LORRY[:HEIGHT, (np.arange(start, end) - left) % 800]
    return picture


def shaken(t: float, by: float) -> np.ndarray:
    x, y = NOISE.normal(0, by, 2)
    return view(t, x, y)


def noisy(t: float, light: float, sigma: float) -> np.ndarray:
    return (view(t) * light + NOISE.normal(0, sigma, (HEIGHT, WIDTH, 3))).clip(0, 255).astype(np.uint8)


STANDS = {
    "nothing happens": view,
    "a wall without any structure": lambda t: np.full((HEIGHT, WIDTH, 3), 90, np.uint8),
    "light jumps": lambda t: (view(t) * (1.0 if int(2 * t) % 2 else 0.5)).astype(np.uint8),
    "noise at night": lambda t: noisy(t, 0.25, 12),
    "two cars and nothing else to see": lambda t: toy_clips.scene(
        red=(round(20 * t), 10), blue=(100 - round(20 * t), 70)
    ),
    "small shaking": lambda t: shaken(t, 0.004),
    "a lorry hides everything for a second": lambda t: lorry(t, 2.2),
    "every second another shot": lambda t: view(t, scene=street(int(t / 1.5))),
}
MOVES = {
    "slow turn": lambda t: view(t, x=0.02 * t),
    "turn": lambda t: view(t, x=0.1 * t),
    "tilt": lambda t: view(t, y=0.05 * t),
    "fast turn": lambda t: view(t, x=-0.7 + 0.35 * t),
    "drives on": lambda t: view(t, zoom=0.8 * np.exp(0.2 * t)),
    "held by hand": lambda t: view(t, x=0.12 * np.sin(1.7 * t), y=0.06 * np.sin(2.9 * t + 1)),
    "with a bonnet and a clock": lambda t: with_bonnet(view(t, x=0.1 * t)),
    "a frame a second": lambda t: view(t, x=np.floor(t) * 0.3 - 0.6, scene=street(int(t))),
}


def with_bonnet(picture: np.ndarray) -> np.ndarray:
    picture[-HEIGHT // 4 :] = STREET[: HEIGHT // 4, :WIDTH] // 2
    return cv2.putText(picture, "2026-01-31 08:00:00", (4, 14), 0, 0.5, (255, 255, 255), 1)


def seen(scene: Callable[[float], np.ndarray], seconds: float, rate: float = RATE) -> CameraMotion:
    camera = CameraMotion()
    for number in range(round(seconds * rate)):
        camera.see(scene(number / rate), number / rate)
    return camera


@pytest.mark.parametrize("name", STANDS)
def test_a_camera_that_stands_still(name: str):
    assert seen(STANDS[name], 5.0).spans == ()


@pytest.mark.parametrize("name", MOVES)
def test_a_camera_that_moves(name: str):
    slow = name == "a frame a second"
    [(start, end)] = seen(MOVES[name], 10.0 if slow else 4.0, rate=1 if slow else RATE).spans
    assert start < 1.5 and end > (8 if slow else 3.8)


def test_a_movement_has_a_beginning_and_an_end():
    camera = seen(lambda t: view(t, x=0.1 * np.clip(t - 3, 0, 2)), 12.0)
    [(start, end)] = camera.spans
    assert 2.0 <= start <= 3.3 and 5.0 <= end < 10.0 and not camera.moves
    assert camera.moved_between(4.0, 4.5) and camera.moved_between(0.0, 3.5) and not camera.moved_between(10.5, 11.0)


def test_frames_without_times_of_another_size_or_tiny_are_no_accident():
    camera = CameraMotion()
    for size in ((HEIGHT, WIDTH), (90, 160), (1, 1), (3, 400), (HEIGHT, WIDTH)):
        for _ in range(8):
            assert not camera.see(cv2.resize(STREET, size[::-1]), 0.0)
    assert not camera.see(STREET, -5.0)


def clip(path: Path, scene: Callable[[float], np.ndarray], seconds: float) -> Path:
    return write_clip(path, [scene(number / 10) for number in range(round(10 * seconds))])


def with_car(picture: np.ndarray, left: float) -> np.ndarray:
    picture[100:140, max(0, round(left)) : max(0, round(left) + 60)] = (30, 60, 220)
    return picture


def finder() -> VehicleFinder:
    return VehicleFinder(MotionDetector(), NoPlateReader(), build_tracker=build_tracker)


def test_before_a_moving_camera_nothing_is_found_and_the_error_names_what_to_use(tmp_path: Path):
    dash = clip(tmp_path / "dash.mp4", MOVES["turn"], 5)
    with open_source(dash) as source, pytest.raises(ReIDError, match=r"of dash\.mp4 moves.*trees.*detector=yolox"):
        list(finder().find(source))


def test_a_long_clip_is_not_looked_at_to_its_end(tmp_path: Path):
    with open_source(clip(tmp_path / "long.mp4", lambda t: view(t, x=0.3 * np.sin(t)), 14)) as source:
        steps = follow(source, MotionDetector(), build_tracker)
        with pytest.raises(ReIDError, match="moves"):
            for step in steps:
                assert step.frame.number < 110


def test_what_was_seen_while_the_camera_moved_is_left_out_and_told(tmp_path: Path):
    """A car from 1 s to 3 s, the camera turns from 5 s to 7 s, a car from 13 s to 15 s."""

    def scene(t: float) -> np.ndarray:
        picture = view(t, x=0.1 * np.clip(t - 5, 0, 2))
        return with_car(with_car(picture, 180 * (t - 1) - 60), 180 * (t - 13) - 60)

    one = finder()
    with open_source(clip(tmp_path / "turned.mp4", scene, 16)) as source:
        found = list(one.find(source))
        warning = source.warning
    assert [round(vehicle.first) for vehicle in found] == [1, 13]
    assert all(not vehicle.confirmed for vehicle in found)
    assert "turned.mp4 moved (00:00:0" in warning and "detector=yolox" in warning


def test_tracks_that_end_before_the_movement_is_noticed_are_left_out(tmp_path: Path):
    """One is seen at 1 s, the other one at 3.5 s; the camera turns from 3 s on, slowly."""
    box = {10: TrackedBox(1, np.zeros(4), 0.9, "vehicle"), 35: TrackedBox(2, np.zeros(4), 0.9, "vehicle")}
    sorted_out: list[tuple[int, ...]] = [(), ()]
    with open_source(clip(tmp_path / "slow.mp4", lambda t: view(t, x=0.03 * max(0, t - 3)), 6)) as source:
        camera = FixedCamera(source)
        for frame in source:
            camera.stands_still(frame)
            boxes, ended = [box[frame.number]] if frame.number in box else [], {15: [1], 40: [2]}.get(frame.number, [])
            reported = camera.sort_out(boxes, ended, seconds=frame.seconds, last=frame.number == 59)
            assert frame.number > 40 or reported == ((), ())
            sorted_out = [one + more for one, more in zip(sorted_out, reported, strict=True)]
    assert sorted_out == [(1,), (2,)]


def test_real_clips(shared_data: Path):
    moved = {}
    for name in ("fixed_camera_highway", "roadside", "one_car_readable_plate"):
        camera = CameraMotion()
        with open_source(shared_data / "videos" / f"{name}.mp4", every=3) as source:
            for frame in source:
                camera.see(frame.picture, frame.seconds)
        moved[name] = [(round(start), round(end)) for start, end in camera.spans]
    assert moved == {"fixed_camera_highway": [], "roadside": [], "one_car_readable_plate": [(0, 5)]}
