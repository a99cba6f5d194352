"""Kept pictures are shared by all workers, stay within the bound, and change nothing but the time."""

from __future__ import annotations

import pickle
import shutil
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reid_lightning.data.images.cache import PictureCache
from reid_lightning.errors import ReIDError

PATHS = [Path(f"{number}.jpg") for number in range(10)]
ONE = 32 * 48 * 3 / 2**20  # MiB of a picture


def picture(path: Path) -> np.ndarray:
    """A picture with its number in every pixel."""
    return np.full((32, 48, 3), int(path.stem), np.uint8)


def cache_of(pictures: float, paths: list[Path] = PATHS) -> PictureCache:
    return PictureCache(paths, height=32, width=48, limit_mib=pictures * ONE)


class Counted(Dataset[tuple[Tensor, int]]):
    """Items are (picture, how often any worker has read it)."""

    def __init__(self, cache: PictureCache) -> None:
        self.cache = cache
        self.reads = torch.zeros(len(PATHS), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(PATHS)

    def read(self, path: Path) -> np.ndarray:
        self.reads[int(path.stem)] += 1
        return picture(path)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.cache.get(PATHS[index], self.read)).clone(), int(self.reads[index])


def test_a_picture_is_read_once():
    data = Counted(cache_of(10))
    for _ in range(3):
        for number in range(10):
            assert torch.equal(data[number][0], torch.from_numpy(picture(PATHS[number])))
    assert data.reads.tolist() == [1] * 10
    assert len(data.cache) == 10


@pytest.mark.parametrize(("room", "kept"), [(4.5, 4), (1, 1), (0.5, 0), (10, 10), (1000, 10)])
def test_the_bound_holds_and_the_rest_is_read_each_time(room, kept):
    data = Counted(cache_of(room))
    assert data.cache.capacity == kept
    for _ in range(3):
        for number in range(10):
            assert torch.equal(data[number][0], torch.from_numpy(picture(PATHS[number])))
    assert sorted(data.reads.tolist()) == [1] * kept + [3] * (10 - kept)
    assert len(data.cache) == kept


def test_kept_pictures_are_spread_over_the_data():
    data = Counted(cache_of(5))
    for _ in range(2):
        for number in range(10):
            data[number]
    assert [sum(reads == 1 for reads in data.reads[start : start + 2].tolist()) for start in range(0, 10, 2)] == [1] * 5


def test_a_path_that_comes_twice_takes_one_place():
    assert cache_of(10, [PATHS[0], PATHS[1], PATHS[0]]).capacity == 2


def test_paths_that_were_not_announced_are_read():
    cache = cache_of(10, PATHS[:2])
    assert cache.get(PATHS[7], picture)[0, 0, 0] == 7
    assert len(cache) == 0


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), pytest.param("spawn", 1, marks=pytest.mark.slow)])
def test_workers_share_what_any_of_them_has_read(method, workers):
    data = Counted(cache_of(6))
    loader = DataLoader(
        data, batch_size=1, num_workers=workers, persistent_workers=True, multiprocessing_context=method
    )
    for _ in range(3):
        numbers = [int(pixels[0, 0, 0, 0]) for pixels, _ in loader]
        assert numbers == list(range(10))
    assert sorted(data.reads.tolist()) == [1] * 6 + [3] * 4
    assert len(data.cache) == 6, "the parent sees it as well"


def test_it_travels_to_a_spawned_worker_without_its_pictures():
    cache = cache_of(10)
    travelled = pickle.loads(ForkingPickler.dumps(cache))  # as torch sends a data set
    assert cache.get(PATHS[3], picture)[0, 0, 0] == 3
    assert travelled.get(PATHS[3], lambda path: pytest.fail("read again"))[0, 0, 0] == 3


def test_an_unreadable_picture_is_not_kept(tmp_path):
    def fail(path):
        raise ReIDError(f"{path} cannot be read")

    cache = cache_of(10)
    with pytest.raises(ReIDError, match="cannot be read"):
        cache.get(PATHS[3], fail)
    assert cache.get(PATHS[3], picture)[0, 0, 0] == 3


@pytest.mark.parametrize("limit", [0, -5, "8GB"])
def test_a_bound_that_is_none_is_refused(limit):
    with pytest.raises(ReIDError, match=r"loader\.cache_mib is"):
        PictureCache(PATHS, height=32, width=48, limit_mib=limit)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no /dev/shm on this system")
def test_too_little_shared_memory_is_an_error_at_once(monkeypatch):
    usage = shutil.disk_usage("/dev/shm")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=64 << 20))
    with pytest.raises(ReIDError, match=r"/dev/shm has 64 MiB free.*--shm-size"):
        PictureCache([Path(f"{n}") for n in range(20_000)], height=64, width=64, limit_mib=500)


def test_training_pictures_are_the_same_with_and_without(tmp_path):
    from dataclasses import replace

    from reid_lightning.data.augmentation import ColourJitter, Erase, Flip, PadCrop, ResizedCrop
    from reid_lightning.data.augmentation.train_transform import TrainTransform
    from reid_lightning.data.images.preprocessing import Preprocessing

    rng = np.random.default_rng(0)
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.jpg")
        Image.fromarray(rng.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(paths[-1])
    transform = TrainTransform(
        Preprocessing(32, 48),
        on_picture={
            "flip": Flip(0.5),
            "shift": PadCrop(4),
            "crop": ResizedCrop(area=(0.6, 1), aspect=(0.9, 1.1)),
            "colour": ColourJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
            "erase": Erase(0.5, area=(0.1, 0.3), aspect=(0.5, 2), colour=(0.5, 0.5, 0.5)),
        },
    )
    cached = replace(transform, cache=cache_of(2.5, paths))
    for key in range(12):
        for path in paths:
            assert torch.equal(cached.load(path, key), transform.load(path, key))
    assert len(cached.cache) == 2
