"""The sheet shows the plain pictures and what training makes of them, and its command leaves that one file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import run_here

from reid_lightning.data.augmentation import Flip, PadCrop
from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.inspection.sheet import augmented_columns, describe, draw_sheet, spread
from reid_lightning.data.records import VehicleImage


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    made = [tmp_path / f"{number}.png" for number in range(3)]
    for path in made:
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return made


def test_columns_hold_the_plain_pictures_then_the_draws(paths):
    preprocessing = Preprocessing(32, 48)
    transform = TrainTransform(preprocessing, on_picture={"flip": Flip(0.5)}, on_batch={"flip": Flip(1)})
    plain, *draws = augmented_columns(paths, transform, draws=6, seed=0, track=iter)
    assert np.array_equal(plain, np.stack([preprocessing.load_fast(path) for path in paths]))
    assert len(draws) == 6
    mirrored = sum(
        np.array_equal(one, image[:, ::-1]) for column in draws for one, image in zip(column, plain, strict=True)
    )
    same = sum(np.array_equal(one, image) for column in draws for one, image in zip(column, plain, strict=True))
    assert mirrored + same == 18 and 3 < mirrored < 15
    again = augmented_columns(paths, transform, draws=6, seed=0, track=iter)
    assert np.array_equal(np.stack(again), np.stack([plain, *draws]))


def test_the_sheet_shows_every_picture_enlarged_by_a_whole_number(paths):
    columns = augmented_columns(paths, TrainTransform(Preprocessing(32, 48)), draws=2, seed=0, track=iter)
    sheet = np.asarray(draw_sheet(columns, title="transforms=none", lines=["no augmentation " * 30]))
    enlarged = columns[0].repeat(2, axis=1).repeat(2, axis=2)  # 48 to 96: 3 times would be above 128
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], enlarged.shape[1:3])
    for picture in enlarged[..., 0]:
        corners = np.argwhere((windows[:, :, 0, 0] == picture[0, 0]) & (windows[:, :, -1, -1] == picture[-1, -1]))
        assert sum(np.array_equal(windows[top, left], picture) for top, left in corners) == 3  # plain and two draws


def test_steps_are_described():
    transform = TrainTransform(Preprocessing(32, 32), on_picture={"a": Flip(0.5)}, on_batch={"b": PadCrop(4)})
    assert describe(transform) == ["on_picture.a: Flip(probability=0.5)", "on_batch.b: PadCrop(padding=4)"]
    assert describe(TrainTransform(Preprocessing(32, 32))) == ["no augmentation"]


def test_pictures_are_spread_over_the_data():
    images = tuple(VehicleImage(Path(f"{number}"), "a", None) for number in range(10))
    assert [int(path.name) for path in spread(images, 5)] == [0, 2, 4, 6, 8]
    assert len(spread(images, 99)) == 10


@pytest.fixture
def run(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_here(tmp_path, "reid", "data", "augmentation_sheet", *arguments)

    return run


def test_the_command_leaves_the_sheet_and_nothing_else(run, tmp_path, fleet_root):
    settings = ("data.size=tiny", f"data.root={fleet_root}", "transforms=strong", "pictures=2", "draws=3")
    done = run(*settings, "output=sheets/a.png")
    assert done.returncode == 0, done.stderr
    assert "2 pictures, 3 draws each: sheets/a.png" in done.stdout
    left = [path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert left == ["a.png"]
    with Image.open(tmp_path / "sheets" / "a.png") as sheet:
        assert sheet.width > 4 * 96 and sheet.height > 2 * 96


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("output=sheet.pdf",), "output is sheet.pdf; expected a name that ends in .png or .jpg"),
        (("draws=0",), "draws is 0"),
        (("transforms=stronger",), "stronger"),
        (("transforms.on_picture.flip.probability=2",), "Flip.probability is 2"),
        (("transforms.on_picure={}",), "on_picure"),
        (("data=folder", "data.root=absent"), "absent"),
    ],
)
def test_mistakes_end_with_one_message_and_status_1(run, tmp_path, words, message):
    done = run(*words)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.png"))
