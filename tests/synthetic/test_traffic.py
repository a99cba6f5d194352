"""Drawn traffic: the plan keeps its promises, the truth is where the pixels are, the folder is whole or not there."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from running import reid_command

from reid_lightning.errors import ReIDError
from reid_lightning.synthetic.fleet.look import fleet_looks
from reid_lightning.synthetic.traffic import (
    CAMERAS,
    TrafficPlan,
    TrafficSpec,
    TrafficTruth,
    draw,
    draw_traffic,
    plan_traffic,
    read_truth,
)
from reid_lightning.synthetic.traffic.clip import build_model, draw_clip
from reid_lightning.synthetic.traffic.plan import GAP, LANES, PLATE_DIGITS, PLATE_LETTERS, PlannedPassage
from reid_lightning.synthetic.traffic.site import build_site
from reid_lightning.synthetic.traffic.spec import AFTER, BEFORE, LEAD

SPEC = TrafficSpec(vehicles=3, seconds=13.5, frames_per_second=4, width=320, height=180, travel=(1.2, 1.6))
TINY = TrafficSpec(vehicles=3, seconds=13.5, frames_per_second=8, width=800, height=450, travel=(1.2, 1.6))


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_traffic(tmp_path_factory.mktemp("traffic"), SPEC)


@pytest.fixture(scope="module")
def truth(traffic: Path) -> TrafficTruth:
    return read_truth(traffic)


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("spec", [TrafficSpec(), TINY, TrafficSpec(seed=5, vehicles=40, seconds=120.0)])
def test_plan_keeps_distances_plates_apart_and_everyone_within_the_clip(spec: TrafficSpec) -> None:
    plan = plan_traffic(spec)
    plates = [vehicle.plate for vehicle in plan.vehicles]
    assert len(set(plates)) == len(plates) == spec.vehicles
    for plate in plates:
        letters, digits = plate[:2] + plate[4:], plate[2:4]
        assert len(plate) == 7
        assert set(letters) <= set(PLATE_LETTERS)
        assert set(digits) <= set(PLATE_DIGITS)
    passes: dict[str, dict[str, float]] = {}
    for camera in CAMERAS:
        lanes: dict[float, list[float]] = {lane: [] for lane in LANES}
        for passage in plan.at(camera):
            assert LEAD + BEFORE <= passage.seconds <= spec.seconds - AFTER
            assert camera not in passes.setdefault(passage.vehicle, {})
            passes[passage.vehicle][camera] = passage.seconds
            lanes[passage.lane].append(passage.seconds)
        for times in lanes.values():
            assert all(later - earlier >= GAP - 1e-9 for earlier, later in pairwise(times))
    assert set(passes) == {vehicle.name for vehicle in plan.vehicles}
    alone = [vehicle for vehicle, cameras in passes.items() if len(cameras) == 1]
    assert len(alone) == max(1, spec.vehicles // 4)
    assert all(times["south"] > times["north"] for times in passes.values() if len(times) == 2)


def test_a_stranger_looks_like_a_vehicle_that_passes_both_cameras() -> None:
    for seed in range(5):
        plan = plan_traffic(TrafficSpec(seed=seed))
        kinds = [(vehicle.look.model.name, vehicle.look.paint) for vehicle in plan.vehicles]
        assert kinds[0] == kinds[1]
        assert plan.vehicles[0].look != plan.vehicles[1].look
        assert [p.camera for p in plan.passages if p.vehicle == "v01"] == ["north", "south"]
        assert [p.camera for p in plan.passages if p.vehicle == "v02"] == ["south"]


def test_no_vehicle_is_one_of_the_drawn_fleet() -> None:
    for seed in range(3):
        fleet = [look for split in (0, 1, 9) for look in fleet_looks(seed, split, list(range(60))).values()]
        assert all(vehicle.look not in fleet for vehicle in plan_traffic(TrafficSpec(seed=seed)).vehicles)


def test_another_seed_is_other_traffic_in_another_folder() -> None:
    one, two = plan_traffic(SPEC), plan_traffic(dataclasses.replace(SPEC, seed=1))
    assert {vehicle.plate for vehicle in one.vehicles}.isdisjoint(vehicle.plate for vehicle in two.vehicles)
    assert one.spec.folder_name != two.spec.folder_name
    assert plan_traffic(SPEC) == one


def test_clips_say_when_they_start_and_how_fast_they_are(traffic: Path, truth: TrafficTruth) -> None:
    assert [camera.camera for camera in truth.cameras] == list(CAMERAS)
    for camera in truth.cameras:
        with av.open(str(traffic / camera.video)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == SPEC.frames_per_second == camera.frames_per_second
            assert (stream.width, stream.height) == (SPEC.width, SPEC.height) == (camera.width, camera.height)
            assert container.metadata["creation_time"].startswith("2026-01-01T08:00:00")
            assert camera.start == "2026-01-01T08:00:00Z"
            assert sum(1 for _ in container.decode(video=0)) == SPEC.frames == camera.frames == 54


def test_pixels_change_where_the_truth_has_vehicles(traffic: Path, truth: TrafficTruth) -> None:
    for camera in CAMERAS:
        empty = build_site(SPEC, camera)
        road = empty.picture(empty.empty).astype(int)
        at = truth.at(camera)
        for number, picture in enumerate(pictures(traffic / f"{camera}.mp4")):
            change = np.abs(picture.astype(int) - road).mean(axis=2)
            for box in at.get(number, ()):
                x1, y1, x2, y2 = (round(value) for value in box.box)
                if box.visible > 0.5:
                    assert np.mean(change[y1:y2, x1:x2] > 12) > 0.5
            if number not in at:
                assert np.mean(change > 24) < 0.005


def test_box_of_a_vehicle_in_full_view_is_that_of_its_projected_mesh() -> None:
    plan = plan_traffic(SPEC)
    site = build_site(SPEC, "north")
    models = {vehicle.name: build_model(vehicle) for vehicle in plan.vehicles}
    passages = {passage.vehicle: passage for passage in plan.at("north")}
    checked = 0
    for _, boxes in draw_clip(plan, site, models):
        for box in boxes:
            if box.visible < 1.0:
                continue
            passage = passages[box.vehicle]
            x = site.middle - passage.speed * (box.frame / SPEC.frames_per_second - passage.seconds)
            points = np.concatenate([part.points() for part in models[box.vehicle].at((x, passage.lane))])
            corners, _ = site.view.project(points)
            expected = [*corners.min(axis=0), *corners.max(axis=0)]
            assert np.abs(np.array(box.box) - expected).max() < 1.5
            checked += 1
    assert checked >= 5


def test_a_vehicle_behind_another_shows_less_and_edges_cut() -> None:
    plan = plan_traffic(SPEC)
    times = {"v01": 0.0, "v02": 0.7, "v03": 5.0}
    passages = tuple(PlannedPassage(name, "north", seconds, LANES[0], 7.0) for name, seconds in times.items())
    jam = TrafficPlan(SPEC, plan.vehicles, passages)
    models = {vehicle.name: build_model(vehicle) for vehicle in plan.vehicles}
    frames = [boxes for _, boxes in islice(draw_clip(jam, build_site(SPEC, "north"), models), 20)]
    first = {box.vehicle: box for box in frames[0]}
    assert set(first) == {"v01", "v02"}
    assert first["v01"].visible > 0.97
    assert first["v02"].visible < 0.9
    leaving = [box for boxes in frames for box in boxes if box.vehicle == "v01"]
    assert leaving[-1].visible < 0.5
    assert leaving[-1].box[3] == SPEC.height
    assert leaving[-1].plate_box is None
    assert not leaving[-1].legible


def test_truth_is_consistent(truth: TrafficTruth) -> None:
    assert {vehicle.type for vehicle in truth.vehicles} <= {"car", "truck"}
    for box in truth.boxes:
        x1, y1, x2, y2 = box.box
        assert 0 <= x1 < x2 <= SPEC.width
        assert 0 <= y1 < y2 <= SPEC.height
        assert 0.02 <= box.visible <= 1
        if box.plate_box is not None:
            assert x1 <= box.plate_box[0] < box.plate_box[2] <= x2
            assert y1 <= box.plate_box[1] < box.plate_box[3] <= y2
    for vehicle in truth.vehicles:
        for passage in vehicle.passages:
            frames = [b.frame for b in truth.boxes if (b.vehicle, b.camera) == (vehicle.vehicle, passage.camera)]
            assert (passage.first_frame, passage.last_frame) == (min(frames), max(frames))
            assert passage.first_second == passage.first_frame / SPEC.frames_per_second
            assert frames == list(range(min(frames), max(frames) + 1))


def test_same_spec_gives_the_same_bytes_and_is_drawn_once(
    traffic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / f".{SPEC.folder_name}.part"
    part.mkdir()
    (part / "of a killed run").write_text("x")
    again = draw_traffic(tmp_path, SPEC)
    assert digests(again) == digests(traffic)
    assert not part.exists()
    assert sorted(digests(again)) == ["ground_truth.json", "north.mp4", "sheet.jpg", "south.mp4", "traffic.json"]
    monkeypatch.setattr(draw, "_draw_all", lambda *_: pytest.fail("drew again"))
    assert draw_traffic(tmp_path, SPEC) == again


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, _: TrafficPlan) -> None:
        (folder / "north.mp4").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(draw, "_draw_all", full)
    with pytest.raises(ReIDError, match=r"No space left.*choose another root"):
        draw_traffic(tmp_path, SPEC)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1; expected 0"),
        ({"vehicles": 0}, "vehicles is 0; expected 1"),
        ({"width": 321}, "H.264 needs even numbers"),
        ({"travel": (3.0, 2.0)}, "travel is"),
        ({"seconds": 9.0}, r"seconds is 9, too short for 3 vehicles.*at least 13\.4"),
    ],
)
def test_bad_specs_say_what_is_expected(change: dict, message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        dataclasses.replace(SPEC, **change)


def test_shortest_clip_the_error_names_is_accepted() -> None:
    assert dataclasses.replace(SPEC, seconds=13.4).headway >= 1.25


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"format": 1}', '{"format": 7}'])
def test_a_folder_without_truth_is_an_error_with_its_name(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ground_truth.json").write_text(content)
    with pytest.raises(ReIDError, match=r"ground_truth\.json"):
        read_truth(tmp_path)


def test_command_draws_and_explains_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = ["data", "traffic", f"folder={tmp_path}"]
    small = ["vehicles=1", "seconds=22", "width=160", "height=120", "frames_per_second=1"]
    assert reid_command(*drawing, *small) == 0
    said, *_, register, search = capsys.readouterr().out.splitlines()
    folder = Path(said.removeprefix("Traffic: "))
    assert register == f"  reid register source={folder}/north.mp4 camera=north"
    assert search == f"  reid search query={folder}/south.mp4 camera=south min_score=0.35"
    assert folder.parent == tmp_path
    assert len(read_truth(folder).vehicles) == 1
    assert reid_command(*drawing, "seconds=3") == 1
    assert "too short for 8 vehicles" in capsys.readouterr().err
    for seconds in ("nan", "inf"):
        assert reid_command(*drawing, f"seconds={seconds}") == 1
        assert f"seconds is {seconds}; expected a number above 0" in capsys.readouterr().err


@pytest.mark.slow
def test_a_reader_reads_the_plates_and_a_motion_detector_sees_the_vehicles(tmp_path: Path) -> None:
    rapidocr, cv2 = pytest.importorskip("rapidocr"), pytest.importorskip("cv2")
    folder = draw_traffic(tmp_path, TINY)
    truth = read_truth(folder)
    read = rapidocr.RapidOCR(params={"Global.log_level": "error", "Det.limit_side_len": 480, "Det.limit_type": "min"})
    plates = {vehicle.vehicle: vehicle.plate for vehicle in truth.vehicles}
    right, seen, read_once = [], [], set()
    for camera in CAMERAS:
        motion = cv2.createBackgroundSubtractorMOG2(detectShadows=True)
        for number, picture in enumerate(pictures(folder / f"{camera}.mp4")):
            moving = motion.apply(picture) == 255
            for box in truth.at(camera).get(number, ()):
                x1, y1, x2, y2 = (round(value) for value in box.box)
                if box.visible > 0.9:
                    seen.append(moving[y1:y2, x1:x2].mean() > 0.4)
                if box.legible:
                    texts = read(np.ascontiguousarray(picture[y1:y2, x1:x2, ::-1])).txts or ()
                    right.append(plates[box.vehicle] in ["".join(filter(str.isalnum, text)) for text in texts])
                    read_once |= {(box.vehicle, camera)} if right[-1] else set()
    assert len(right) >= 5
    assert np.mean(right) > 0.6
    assert {vehicle for vehicle, camera in read_once if camera == "north"} == {"v01", "v03"}
    assert np.mean(seen) > 0.9
