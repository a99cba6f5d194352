"""Detectors: clean boxes, motion on drawn scenes, YOLOX's decoding, torchvision's labels, and clear errors."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_providers import OPENVINO, stand_in

from reid_lightning.errors import ReIDError
from reid_lightning.search.records import UNKNOWN_TYPE, Detections
from reid_lightning.search.video.detectors import torchvision as torchvision_detector
from reid_lightning.search.video.detectors.duplicates import clean, inside_frame, merge_duplicates
from reid_lightning.search.video.detectors.motion import MotionDetector
from reid_lightning.search.video.detectors.onnx import YoloxDetector, decode_boxes
from reid_lightning.search.video.detectors.torchvision import TorchvisionDetector
from reid_lightning.search.video.sources import open_source


def detections(*rows: tuple[float, ...], types: tuple[str, ...] | None = None) -> Detections:
    """From rows of x1, y1, x2, y2, score."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(table[:, :4], table[:, 4], types or ("car",) * len(table))


def overlap_of(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union, the slow way."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


class TestDuplicates:
    def test_a_car_and_a_truck_at_one_place_are_the_better_one(self):
        found = merge_duplicates(
            detections(
                (0, 0, 100, 50, 0.4), (2, 1, 101, 52, 0.7), (300, 0, 400, 50, 0.5), types=("car", "truck", "bus")
            )
        )
        assert found.types == ("truck", "bus")
        np.testing.assert_allclose(found.scores, [0.7, 0.5])

    def test_the_threshold_is_intersection_over_union(self):
        pair = detections((0, 0, 10, 10, 0.9), (0, 0, 10, 6, 0.8), (0, 4, 10, 14, 0.7))  # .6 and 60/140 = .43
        assert len(merge_duplicates(detections((0, 0, 10, 10, 0.9), (0, 4, 10, 14, 0.7)), overlap=0.42)) == 1
        assert len(merge_duplicates(detections((0, 0, 10, 10, 0.9), (0, 4, 10, 14, 0.7)), overlap=0.44)) == 2
        assert len(merge_duplicates(pair, overlap=0.44)) == 2

    def test_a_small_car_before_a_bus_stays_and_half_of_a_vehicle_goes(self):
        bus = (0, 0, 200, 100, 0.9)
        assert len(merge_duplicates(detections(bus, (50, 50, 120, 100, 0.8)))) == 2  # .175 of the bus
        assert len(merge_duplicates(detections(bus, (0, 0, 110, 100, 0.8)))) == 1  # .55 of it, all inside
        assert len(merge_duplicates(detections(bus, (150, 0, 260, 100, 0.8)))) == 2  # .55 of it, half inside

    @pytest.mark.parametrize("seed", range(5))
    def test_same_as_a_slow_loop(self, seed: int):
        generator = np.random.default_rng(seed)
        corners = generator.uniform(0, 60, (40, 2))
        boxes = np.concatenate([corners, corners + generator.uniform(20, 40, (40, 2))], axis=1).astype(np.float32)
        scores = generator.permutation(np.linspace(0.1, 0.9, 40)).astype(np.float32)
        found = merge_duplicates(Detections(boxes, scores, ("car",) * 40), overlap=0.5)

        kept: list[int] = []
        for row in sorted(range(40), key=lambda row: -scores[row]):
            duplicate = False
            for better in kept:
                areas = [float((boxes[one, 2:] - boxes[one, :2]).prod()) for one in (row, better)]
                union = overlap_of(boxes[row], boxes[better])
                shared = union * sum(areas) / (1 + union)
                duplicate |= union > 0.5 or (shared > 0.85 * min(areas) and min(areas) > 0.5 * max(areas))
            if not duplicate:
                kept.append(row)
        np.testing.assert_array_equal(found.boxes, boxes[kept])
        assert 3 < len(kept) < 40

    def test_boxes_end_with_the_frame(self):
        nan = float("nan")
        found = inside_frame(
            detections((-5, -5, 10, 10, 0.9), (90, 40, 130, 70, 0.8), (200, 0, 300, 9, 0.7), (nan, 0, 9, 9, 0.6)),
            100,
            50,
        )
        np.testing.assert_array_equal(found.boxes, [[0, 0, 10, 10], [90, 40, 100, 50]])
        assert found.boxes.dtype == np.float32

    def test_nothing_stays_nothing(self):
        assert len(clean(Detections.none(), 10, 10)) == 0


def scene(left: int | None, number: int = 0, *, light: float = 0.0, size: tuple[int, int] = (320, 180)) -> np.ndarray:
    """A grey road with noise, another one in each frame, and a blue car of 60 x 36 pixels at `left`."""
    generator = np.random.default_rng(number if left is None else left + 1000)
    picture = np.full((size[1], size[0], 3), 110 + light) + generator.normal(0, 3, (size[1], size[0], 1))
    if left is not None:
        picture[80:116, max(left, 0) : left + 60] = (20, 40, 190)
    return picture.clip(0, 255).astype(np.uint8)


class TestMotion:
    def test_a_car_that_drives_through_is_found_where_it_is(self):
        detector = MotionDetector()
        detector.start()
        for number in range(15):  # longer than the car takes to pass any place
            assert len(detector.detect(scene(None, number))) == 0
        for left in range(10, 250, 6):
            found = detector.detect(scene(left))
            assert len(found) == 1 and found.types == (UNKNOWN_TYPE,)
            assert overlap_of(found.boxes[0], np.array([left, 80, left + 60, 116])) > 0.75
            assert 0.9 < found.scores[0] <= 1.0
            assert found.boxes.dtype == found.scores.dtype == np.float32

    def test_boxes_are_in_pixels_of_the_frame_whatever_it_is_looked_at_in(self):
        detector = MotionDetector(long_side=160)
        for number in range(8):
            detector.detect(scene(None, number))
        [box] = detector.detect(scene(100)).boxes
        assert overlap_of(box, np.array([100, 80, 160, 116])) > 0.7

    def test_a_still_scene_and_slow_light_are_no_motion(self):
        detector = MotionDetector()
        assert all(len(detector.detect(scene(None, number, light=number / 20))) == 0 for number in range(60))

    def test_small_long_and_huge_things_do_not_count(self):
        def moved(**limits: float) -> int:
            detector = MotionDetector(**limits)
            for number in range(8):
                detector.detect(scene(None, number))
            return len(detector.detect(scene(100)))

        assert moved() == 1
        assert moved(min_area=0.06) == 0  # the car is .0375 of the frame
        assert moved(max_area=0.02) == 0
        assert moved(max_aspect=1.2) == 0  # and 1.67 times as long as high

    def test_a_new_source_starts_afresh(self):
        detector = MotionDetector()

        def run() -> list[np.ndarray]:
            detector.start()
            return [detector.detect(scene(left, 3)).boxes for left in [None] * 8 + list(range(10, 100, 10))]

        first, second = run(), run()
        assert sum(map(len, first)) > 5
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_frame_of_another_size_is_another_scene(self):
        detector = MotionDetector()
        for number in range(10):
            detector.detect(scene(None, number))
        assert len(detector.detect(scene(50, size=(200, 180)))) == 0

    def test_a_tiny_picture_is_no_accident(self):
        detector = MotionDetector()
        assert all(len(detector.detect(np.zeros((1, 1, 3), np.uint8))) == 0 for _ in range(8))

    @pytest.mark.parametrize("arguments", [{"long_side": 8}, {"warm_up": 0}, {"min_area": 0.7}, {"max_aspect": 0.5}])
    def test_arguments_out_of_range_are_named(self, arguments: dict):
        with pytest.raises(ReIDError, match=next(iter(arguments))):
            MotionDetector(**arguments)


def save_network(path: Path, *, cells: int = 84, columns: int = 85, side: int | str = 64) -> Path:
    """An ONNX file that gives a constant: cell 0 (column 0, row 0, stride 8) sees a car and, less, a truck; cell 10 a
    person."""
    table = np.zeros((1, cells, columns), np.float32)
    table[0, 0, :9] = [2.0, 3.0, np.log(3), np.log(2), 0.9, 0, 0, 0.8, 0]
    if columns == 85:
        table[0, 0, 5 + 7] = 0.5
    table[0, 10, :6] = [0, 0, 1, 1, 1, 1]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    constant = helper.make_tensor("value", TensorProto.FLOAT, table.shape, table.ravel())
    nodes = [
        helper.make_node("Constant", [], ["table"], value=constant),
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["nothing"]),
        helper.make_node("Add", ["table", "nothing"], ["output"]),
    ]
    graph = helper.make_graph(nodes, "detector", [image], [output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class TestYolox:
    def test_boxes_by_hand(self):
        """Cell (3, 2) of stride 16: centre (3.5 * 16, 2.25 * 16), sides 2 * 16 and 1 * 16."""
        box = decode_boxes(np.array([[0.5, 0.25, np.log(2), 0.0]]), np.array([[3, 2, 16]]))
        np.testing.assert_allclose(box, [[40, 28, 72, 44]])

    def test_it_runs_on_the_provider_that_is_asked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        asked = stand_in(monkeypatch, [OPENVINO])
        detector = YoloxDetector(save_network(tmp_path / "net.onnx"), providers=["openvino"], threads=1)
        assert asked[0][0] == (OPENVINO, {"num_of_threads": "1"})
        assert len(detector.detect(np.zeros((64, 128, 3), np.uint8))) == 1
        with pytest.raises(ReIDError, match=r"names cuda, but .* offers cpu, openvino only"):
            YoloxDetector(tmp_path / "net.onnx", providers="cuda")

    def test_a_network_of_64_pixels_on_a_frame_of_128(self, tmp_path: Path):
        detector = YoloxDetector(save_network(tmp_path / "net.onnx"), threads=1)
        found = detector.detect(np.zeros((64, 128, 3), np.uint8))
        # centre (2, 3) * 8, sides (3, 2) * 8: x 4..28, y 16..32 of the input, which is half the frame
        np.testing.assert_allclose(found.boxes, [[8, 32, 56, 64]], atol=1e-4)
        np.testing.assert_allclose(found.scores, [0.72], atol=1e-6)
        assert found.types == ("car",) and detector.name == "net" and detector.works_on_pictures
        assert (
            len(YoloxDetector(tmp_path / "net.onnx", min_score=0.73, threads=1).detect(np.zeros((9, 9, 3), np.uint8)))
            == 0
        )

    def test_no_file_says_what_to_set(self, tmp_path: Path):
        with pytest.raises(ReIDError, match=r"detector\.path=<file>.*detector=motion"):
            YoloxDetector(tmp_path / "none.onnx")

    def test_what_is_no_network_or_another_one_is_named(self, tmp_path: Path):
        (tmp_path / "text.onnx").write_text("no network")
        with pytest.raises(ReIDError, match=r"text\.onnx, which onnxruntime cannot load"):
            YoloxDetector(tmp_path / "text.onnx")
        with pytest.raises(ReIDError, match=r"gives \(84, 9\).*expected.*\(84, 85\)"):
            YoloxDetector(save_network(tmp_path / "nine.onnx", columns=9), threads=1)
        with pytest.raises(ReIDError, match=r"gives \(50, 85\)"):
            YoloxDetector(save_network(tmp_path / "fifty.onnx", cells=50), threads=1)
        with pytest.raises(ReIDError, match="fixed multiples of 32"):
            YoloxDetector(save_network(tmp_path / "any.onnx", side="side"), threads=1)

    @pytest.mark.parametrize("arguments", [{"min_score": 0}, {"overlap": 1.5}])
    def test_arguments_out_of_range_are_named(self, tmp_path: Path, arguments: dict):
        with pytest.raises(ReIDError, match=next(iter(arguments))):
            YoloxDetector(tmp_path / "net.onnx", **arguments)

    def test_a_real_car_is_found_once(self, shared_data: Path):
        detector = YoloxDetector(shared_data / "detectors" / "yolox_nano.onnx", threads=1)
        with open_source(shared_data / "videos" / "one_car_readable_plate.mp4", every=100) as source:
            picture = next(iter(source)).picture
        found = detector.detect(picture)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        large = np.flatnonzero(sides[:, 0] > 300)
        assert len(large) == 1 and found.types[large[0]] == "car" and found.scores[large[0]] > 0.7
        assert overlap_of(found.boxes[large[0]], np.array([220, 215, 630, 430])) > 0.7  # by eye


class MuchOfNothing:
    """A few bytes of pickle that ask for 3 GB."""

    def __reduce__(self) -> tuple:
        return bytearray, (3_000_000_000,)


class TestTorchvision:
    def test_random_weights_run(self):
        torch.manual_seed(0)
        detector = TorchvisionDetector(weights=None)
        detector.start()
        found = detector.detect(np.zeros((60, 80, 3), np.uint8))
        assert found.boxes.shape == (len(found), 4) and detector.name == "ssdlite320_mobilenet_v3_large"

    def test_labels_count_from_one_and_others_are_left_out(self, monkeypatch: pytest.MonkeyPatch):
        class Stub(torch.nn.Module):
            def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
                assert images[0].shape == (3, 50, 100) and float(images[0].max()) == 1.0
                boxes = [
                    [0, 0, 20, 20],
                    [1, 0, 20, 20],
                    [30, 0, 50, 20],
                    [60, 0, 80, 20],
                    [80, 30, 140, 60],
                    [0, 30, 9, 40],
                ]
                return [
                    {
                        "boxes": torch.tensor(boxes).float(),
                        "labels": torch.tensor([3, 8, 1, 4, 6, 8]),
                        "scores": torch.tensor([0.9, 0.8, 0.99, 0.6, 0.7, 0.1]),
                    }
                ]

        monkeypatch.setattr(torchvision_detector, "_load", lambda model, weights: Stub())
        found = TorchvisionDetector(weights=None).detect(np.full((50, 100, 3), 255, np.uint8))
        assert found.types == ("car", "bus", "motorcycle")
        np.testing.assert_array_equal(found.boxes, [[0, 0, 20, 20], [80, 30, 100, 50], [60, 0, 80, 20]])

    def test_without_a_network_the_error_names_what_works(self, monkeypatch: pytest.MonkeyPatch):
        def refuse(*arguments: object, **options: object) -> None:
            raise URLError("no route to host")

        monkeypatch.setattr(torchvision_detector, "get_model", refuse)
        with pytest.raises(ReIDError, match=r"cannot be downloaded.*detector\.weights.*yolox.*motion"):
            TorchvisionDetector()

    def test_weights_from_a_file(self, tmp_path: Path):
        torch.manual_seed(0)
        network = TorchvisionDetector(weights=None)._network
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        torch.manual_seed(1)
        loaded = TorchvisionDetector(weights=tmp_path / "weights.pth")._network
        for one, other in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True):
            assert torch.equal(one, other)
        torch.save({"other": torch.zeros(1)}, tmp_path / "weights.pth")
        with pytest.raises(ReIDError, match="does not hold the weights"):
            TorchvisionDetector(weights=tmp_path / "weights.pth")
        torch.save([1], tmp_path / "weights.pth")
        with pytest.raises(ReIDError, match="does not hold the weights"):
            TorchvisionDetector(weights=tmp_path / "weights.pth")
        torch.save(MuchOfNothing(), tmp_path / "weights.pth")
        with pytest.raises(ReIDError, match=r"does not hold the weights.*calls builtins\.bytearray"):
            TorchvisionDetector(weights=tmp_path / "weights.pth")
        with pytest.raises(ReIDError, match="which is no file"):
            TorchvisionDetector(weights=tmp_path / "none.pth")

    def test_an_unknown_model_is_named_with_those_that_exist(self):
        with pytest.raises(ReIDError, match=r"'yolo9'.*ssdlite320_mobilenet_v3_large"):
            TorchvisionDetector("yolo9")

    def test_a_device_that_is_not_there_is_named_before_anything_is_loaded(self):
        with pytest.raises(ReIDError, match="device is 'cuda:99', which cannot be used here"):
            TorchvisionDetector(device="cuda:99")
