import numpy as np
import pytest
import torch
from PIL import Image

from reid_lightning.data.images import load_image
from reid_lightning.data.transforms import Preprocessing, TrainTransform
from reid_lightning.errors import ReIDError

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8))


def test_preprocessing_is_resize_scale_normalise():
    preprocessing = Preprocessing(32, 48, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    pixels = np.asarray(PICTURE.resize((48, 32), Image.Resampling.BILINEAR), dtype=np.float64) / 255
    expected = ((pixels - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).transpose(2, 0, 1)
    np.testing.assert_allclose(preprocessing(PICTURE).numpy(), expected, atol=1e-5)


def test_preprocessing_survives_its_dictionary():
    preprocessing = Preprocessing(32, 48, interpolation="bicubic", std=[1, 1, 1])
    assert Preprocessing(**preprocessing.as_dict()) == preprocessing


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"height": 0}, "height"),
        ({"width": "64"}, "width"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"mean": [0.5]}, "mean"),
        ({"std": [0, 1, 1]}, "std"),
    ],
)
def test_wrong_values_are_named(values, name):
    with pytest.raises(ReIDError, match=f"input.{name}"):
        Preprocessing(**{"height": 64, "width": 64, **values})


@pytest.fixture
def path(tmp_path):
    PICTURE.save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_a_file_and_its_picture_give_the_same_numbers(path):
    preprocessing = Preprocessing(32, 48)
    images = preprocessing.load(path)[None]
    assert images.dtype == torch.uint8
    assert images.shape == (1, 32, 48, 3)
    finished = preprocessing.finish(images)
    assert finished.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(finished[0], preprocessing(PICTURE))


def test_without_augmentation_training_sees_what_evaluation_sees(path):
    preprocessing = Preprocessing(32, 32)
    transform = TrainTransform(preprocessing)
    assert torch.equal(transform.finish(transform.load(path, 1)[None], key=1)[0], preprocessing(PICTURE))


def test_a_turned_picture_is_turned_upright_whichever_way_it_comes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    PICTURE.save(tmp_path / "turned.png", exif=exif)
    preprocessing = Preprocessing(32, 32)
    with Image.open(tmp_path / "turned.png") as turned:
        assert torch.equal(preprocessing(turned), preprocessing(load_image(tmp_path / "turned.png")))
    assert torch.equal(
        preprocessing(load_image(tmp_path / "turned.png")), preprocessing(PICTURE.rotate(-90, expand=True))
    )


def test_sixteen_bits_of_grey_keep_their_shades():
    grey = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    expected = Image.fromarray((grey >> 8).astype(np.uint8)).convert("RGB")
    preprocessing = Preprocessing(32, 32)
    assert torch.equal(preprocessing(Image.fromarray(grey)), preprocessing(expected))
