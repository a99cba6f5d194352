"""Sources followed frame by frame: tracks of a video, pictures that stand for themselves."""

import numpy as np
import pytest
from PIL import Image
from toy_clips import RED, BrightBoxes, KnowsRed, NeedsVideo, build_tracker, car_and_truck, scene, share_of, write_clip

from reid_lightning.errors import ReIDError
from reid_lightning.search.plates import NoPlateReader
from reid_lightning.search.records import UNKNOWN_TYPE
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
