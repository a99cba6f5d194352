"""One preprocessing for files and pictures, and training pictures that depend on their key alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.entry_point import build
from reid_lightning.data.augmentation import Flip, PadCrop, RandomPatch, Torchvision
from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.images.reading import load_image
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


def test_training_pictures_are_smaller_and_a_bundle_does_not_say_so():
    preprocessing = Preprocessing(128, 100, interpolation="bicubic", train_scale=0.75)
    assert preprocessing.for_training() == Preprocessing(96, 75, interpolation="bicubic")
    assert Preprocessing(40, 40, train_scale=0.5).for_training() == Preprocessing(32, 32)
    assert preprocessing.as_dict() == Preprocessing(128, 100, interpolation="bicubic").as_dict()


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"height": 0}, "height"),
        ({"width": "64"}, "width"),
        ({"interpolation": "cubic"}, "interpolation"),
        ({"resize": "reduced"}, "resize"),
        ({"train_scale": 1.5}, "train_scale"),
        ({"train_scale": "half"}, "train_scale"),
        ({"mean": [0.5]}, "mean"),
        ({"std": [0, 1, 1]}, "std"),
    ],
)
def test_wrong_values_are_named(values, name):
    with pytest.raises(ReIDError, match=f"input.{name}"):
        Preprocessing(**{"height": 64, "width": 64, **values})


@pytest.fixture
def path(tmp_path):
    PICTURE.save(tmp_path / "picture.jpg", quality=90)
    return tmp_path / "picture.jpg"


@pytest.mark.parametrize("resize", ["exact", "fast"])
@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos"])
def test_a_file_and_its_picture_give_the_same_numbers(path, resize, interpolation):
    preprocessing = Preprocessing(32, 48, interpolation=interpolation, resize=resize)
    images = preprocessing.load(path)[None]
    assert images.dtype == torch.uint8
    assert images.shape == (1, 32, 48, 3)
    finished = preprocessing.finish(images.expand(2, -1, -1, -1))
    assert finished.shape == (2, 3, 32, 48)
    assert finished.is_contiguous(memory_format=torch.channels_last)
    with Image.open(path) as picture:
        assert torch.equal(finished[1], preprocessing(picture))


def test_the_fast_way_is_one_level_off_the_exact_one_at_most(path):
    exact, fast = (Preprocessing(32, 48, resize=resize).load(path).int() for resize in ("exact", "fast"))
    assert (exact - fast).abs().max() <= 1


def test_exact_is_unsaid_so_that_older_bundles_keep_their_fingerprint():
    assert list(Preprocessing(32, 48).as_dict()) == ["height", "width", "interpolation", "mean", "std"]
    assert Preprocessing(32, 48, resize="fast").as_dict()["resize"] == "fast"


def test_without_augmentation_training_sees_the_fast_way(path):
    preprocessing = Preprocessing(32, 48)
    transform = TrainTransform(preprocessing)
    assert torch.equal(transform.load(path, 1), replace(preprocessing, resize="fast").load(path))
    images = transform.load(path, 1)[None]
    assert torch.equal(transform.finish(images, key=1), preprocessing.finish(images))


def everything() -> TrainTransform:
    return TrainTransform(
        Preprocessing(32, 48),
        on_picture={"flip": Flip(0.5), "shift": PadCrop(4), "policy": Torchvision(v2.RandAugment())},
        on_batch={"patch": RandomPatch(0.5, area=(0.1, 0.5), aspect=(0.5, 2))},
    )


class Keyed(Dataset[torch.Tensor]):
    def __init__(self, path):
        self.path = path

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return everything().load(self.path, 2**64 - 1 - index)


def test_a_picture_depends_on_its_key_and_not_on_its_worker(path):
    alone, shared = (torch.stack(list(DataLoader(Keyed(path), batch_size=None, num_workers=n))) for n in (0, 2))
    assert torch.equal(alone, shared)
    assert len({image.numpy().tobytes() for image in alone}) > 6


def test_a_finished_batch_depends_on_its_key(path):
    transform = everything()
    images = torch.stack([transform.load(path, key) for key in range(6)])
    first, again, other = (transform.finish(images, key=key) for key in (2**64 - 1, 2**64 - 1, 3))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype == torch.float32 and first.shape == (6, 3, 32, 48)
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_steps_run_in_order_and_null_leaves_one_out(path):
    class Note:
        def __init__(self, level):
            self.level = level

        def on_picture(self, pixels, draw):
            return pixels // 2 + self.level

        def on_batch(self, images, generator):
            return images / 2 + self.level

    steps = {"one": Note(10), "none": None, "two": Note(30)}
    transform = TrainTransform(Preprocessing(32, 48), on_picture=steps)
    plain = TrainTransform(Preprocessing(32, 48)).load(path, 0)
    assert torch.equal(transform.load(path, 0), (plain // 2 + 10) // 2 + 30)
    batched = TrainTransform(Preprocessing(32, 48), on_batch=steps).finish(plain[None], key=0)
    expected = Preprocessing(32, 48).finish(((plain.float() / 2 + 10) / 2 + 30)[None])
    torch.testing.assert_close(batched, expected)


def test_a_step_in_the_wrong_group_is_refused():
    with pytest.raises(ReIDError, match=r"transforms.on_batch.policy is .* has no method on_batch"):
        TrainTransform(Preprocessing(32, 32), on_batch={"policy": Torchvision(v2.RandAugment())})


@pytest.mark.parametrize("choice", sorted(file.stem for file in (CONFIG_DIR / "transforms").glob("*.yaml")))
def test_every_choice_of_transforms_works_on_a_batch(path, choice):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=[f"transforms={choice}", "input.height=32", "input.width=48"])
    transform = build(cfg, "transforms")(instantiate(cfg.input))
    images = torch.stack([transform.load(path, key) for key in range(8)])
    finished = transform.finish(images, key=0)
    assert finished.shape == (8, 3, 32, 48) and finished.isfinite().all()
    assert len({one.numpy().tobytes() for one in finished}) == (1 if choice == "none" else 8)


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
