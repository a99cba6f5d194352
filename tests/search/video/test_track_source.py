"""Sources followed frame by frame: tracks of a video, pictures that stand for themselves."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from toy_clips import RED, BrightBoxes, KnowsRed, NeedsVideo, build_tracker, car_and_truck, scene, share_of, write_clip

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import NoPlateReader
from reid_lightning.search.records import UNKNOWN_TYPE, Detections
from reid_lightning.search.video.detectors.onnx import YoloxDetector
from reid_lightning.search.video.sources import open_source
from reid_lightning.search.video.track_source import follow
from reid_lightning.search.video.vehicle_finder import VehicleFinder


@pytest.fixture
def clip(tmp_path):
    return car_and_truck(tmp_path / "clip.mp4")


def test_tracks_of_a_video_go_on_and_end(clip):
    detector = BrightBoxes()
    with open_source(clip) as source:
        steps = list(follow(source, detector, build_tracker))
    assert detector.started
    assert [step.frame.number for step in steps] == list(range(55))
    tracks = {box.track for step in steps for box in step.boxes}
    assert tracks == {1, 2}
    ended = [(step.frame.number, track) for step in steps for track in step.ended]
    assert [track for _, track in ended] == [1, 2]
    assert 30 < ended[0][0] < 54 and ended[1][0] == 54  # the truck with the last frame


def test_pictures_stand_for_themselves(tmp_path):
    for number, pixels in enumerate([scene(red=(5, 5), blue=(80, 70)), scene(), scene(blue=(2, 2))]):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")

    def boxes(**options):
        with open_source(tmp_path) as source:
            steps = list(follow(source, BrightBoxes(), build_tracker, **options))
        assert all(step.ended == tuple(box.track for box in step.boxes) for step in steps)
        return [[(box.track, box.type, box.box.tolist()) for box in step.boxes] for step in steps]

    red, blue = (1, "car", [5, 5, 65, 45]), (2, "truck", [80, 70, 140, 110])
    last = (3, "truck", [2, 2, 62, 42])
    whole = [0, 0, 160, 120]
    assert boxes() == boxes(pictures="scenes") == [[red, blue], [], [last]]
    assert boxes(whole_if_none=True) == [[red, blue], [(3, UNKNOWN_TYPE, whole)], [(4, *last[1:])]]
    assert boxes(pictures="crops") == [[(n, UNKNOWN_TYPE, whole)] for n in (1, 2, 3)]


@pytest.mark.parametrize(("side", "is_crop"), [(100, False), (130, True)])
def test_a_vehicle_that_fills_its_picture_is_a_crop_that_stays_one(tmp_path, side, is_crop):
    """100 of 160 pixels by 90 of 120 are .47 of a picture, 130 are .61."""
    picture = np.zeros((120, 160, 3), np.uint8)
    found = Detections(
        np.array([[5, 5, 5 + side, 95], [150, 100, 158, 110]], np.float32),
        np.array([0.9, 0.8], np.float32),
        ("bus", "car"),
    )
    Image.fromarray(picture).save(tmp_path / "a.png")
    detector = SimpleNamespace(works_on_pictures=True, start=lambda: None, detect=lambda picture: found, name="fixed")
    with open_source(tmp_path / "a.png") as source:
        (step,) = follow(source, detector, build_tracker, whole_if_none=True)
    boxes = [(box.type, box.box.tolist()) for box in step.boxes]
    scene = [("bus", [5, 5, 5 + side, 95]), ("car", [150, 100, 158, 110])]
    assert boxes == ([("bus", [0, 0, 160, 120])] if is_crop else scene)
    with open_source(tmp_path / "a.png") as source:  # as registering does
        (step,) = follow(source, detector, build_tracker)
    assert len(step.boxes) == 2


def test_a_box_is_the_vehicle_of_one_picture_or_an_error(tmp_path):
    Image.fromarray(scene(red=(5, 5))).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        (step,) = follow(source, NeedsVideo(), build_tracker, box=(10.0, 20.0, 160.0, 120.0))
    assert [(box.track, box.type, box.box.tolist()) for box in step.boxes] == [(1, UNKNOWN_TYPE, [10, 20, 160, 120])]
    assert step.ended == (1,)
    for box in ((10, 20, 161, 50), (-1, 0, 5, 5), (20, 20, 20, 40), (50, 5, 20, 40), (0, 0, 5, float("nan"))):
        with (
            open_source(tmp_path / "a.png") as source,
            pytest.raises(ReIDError, match=r"a\.png, which is 160 x 120 pixels"),
        ):
            list(follow(source, NeedsVideo(), build_tracker, box=box))
    with open_source(tmp_path) as source, pytest.raises(ReIDError, match=r"a folder, came together"):
        list(follow(source, NeedsVideo(), build_tracker, box=(1, 2, 3, 4)))


@pytest.mark.parametrize("fills", [False, True])
def test_a_real_detector_finds_the_vehicle_of_a_scene_and_leaves_a_crop_whole(shared_data, tmp_path, fills):
    path = shared_data / "detectors" / "yolox_nano.onnx"
    crops = sorted((shared_data / "veri_sample").rglob("*.jpg"))
    if not path.is_file() or not crops:
        pytest.skip("no detector file or no pictures of VeRi beside the project")
    crop = Image.open(crops[0]).convert("RGB")
    width, height = crop.size
    picture = crop if fills else Image.new("RGB", (3 * width, 2 * height), (110, 110, 110))
    if not fills:
        picture.paste(crop, (width, height // 2))
    picture.save(tmp_path / "a.png")
    detector = YoloxDetector(path, threads=1)
    with open_source(tmp_path / "a.png") as source:
        (step,) = follow(source, detector, build_tracker, whole_if_none=True)
    whole = [0, 0, *picture.size]
    assert len(step.boxes) >= 1 and (step.boxes[0].box.tolist() == whole) == fills


def test_a_detector_that_needs_a_video_takes_pictures_for_crops_or_says_so(tmp_path):
    Image.fromarray(scene(red=(5, 5))).save(tmp_path / "a.png")
    with open_source(tmp_path) as source:
        (step,) = follow(source, NeedsVideo(), build_tracker)
    assert step.boxes[0].box.tolist() == [0, 0, 160, 120]
    with open_source(tmp_path) as source, pytest.raises(ReIDError, match=r"needs-video.*detector=yolox"):
        list(follow(source, NeedsVideo(), build_tracker, pictures="scenes"))


def finder(reader=None, **options):
    return VehicleFinder(BrightBoxes(), reader or NoPlateReader(), build_tracker=build_tracker, **options)


def test_vehicles_come_with_type_plate_and_the_pictures_worth_keeping(clip):
    with open_source(clip) as source:
        car, truck = finder(KnowsRed(), crops=3).find(source)
    assert (car.type, truck.type) == ("car", "truck")
    assert car.plate.text == "AB12CDE" and truck.plate is None
    assert 0 < len(car.crops) <= 3 and len(truck.crops) <= 3
    assert car.first < 0.3 and car.last == pytest.approx(2.9, abs=0.15) and car.frames >= 28
    for crop in car.crops:
        assert share_of(crop.picture, RED) > 0.6
    assert car.frame is None


def test_flickers_and_specks_are_left_out(clip):
    with open_source(clip) as source:
        assert [found.type for found in finder(min_frames=35).find(source)] == ["truck"]
    with open_source(clip) as source:
        assert list(finder(min_side=50).find(source)) == []


def test_a_vehicle_of_a_picture_needs_one_frame_only(tmp_path):
    Image.fromarray(scene(red=(5, 5))).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        (found,) = finder(min_frames=9).find(source)
    assert found.plate is None and found.frame.path == tmp_path / "a.png" and len(found.crops) == 1


def test_a_word_that_says_nothing_of_pictures_is_refused(clip):
    with open_source(clip) as source, pytest.raises(ReIDError, match="'scene'; expected one of auto, scenes, crops"):
        list(follow(source, BrightBoxes(), build_tracker, pictures="scene"))


def test_another_size_is_another_scene(tmp_path):
    """A broadcast goes from one programme to the next: no track goes on across it, and no number comes again."""
    pictures = [scene(red=(3 * number, 10)) for number in range(8)]
    parts = []
    for size in ((160, 120), (320, 240)):
        resized = [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.NEAREST)) for picture in pictures]
        parts.append(write_clip(tmp_path / f"{size[0]}.ts", resized).read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    with open_source(tmp_path / "both.ts") as source:
        steps = list(follow(source, BrightBoxes(), build_tracker))
    assert [step.frame.picture.shape[1] for step in steps] == [160] * 8 + [320] * 8
    assert [(step.frame.number, track) for step in steps for track in step.ended] == [(7, 1), (15, 2)]
    assert [{box.track for box in step.boxes} for step in steps[2:8]] == [{1}] * 6
    assert [{box.track for box in step.boxes} for step in steps[10:]] == [{2}] * 6
