import pytest
import torch
from PIL import Image
from toy_run import assert_equal

from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.training.datamodule import ReIDDataModule

PREPROCESSING = Preprocessing(32, 32)


@pytest.fixture
def dataset(tmp_path):
    def records(identities, per_identity):
        images = []
        for identity in identities:
            for number in range(per_identity):
                path = tmp_path / f"{identity}_{number}.png"
                Image.new("RGB", (20, 20), (ord(identity), number, 0)).save(path)
                images.append(VehicleImage(path, identity, f"c{number % 2}"))
        return tuple(images)

    return VehicleDataset("toy", train=records("dacb", 4), query=records("x", 1), gallery=records("xy", 2))


def build(dataset, **changes):
    options = {
        "train_transform": TrainTransform(PREPROCESSING),
        "identities_per_batch": 2,
        "images_per_identity": 2,
        "sampling": "pk",
        "eval_batch_size": 2,
        "num_workers": 0,
        "cache_mib": None,
        "seed": 0,
    }
    return ReIDDataModule(dataset, PREPROCESSING, **{**options, **changes})


def test_labels_number_the_sorted_identities_and_batches_hold_p_times_k(dataset):
    module = build(dataset)
    assert module.numbering["identity"] == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert module.num_identities == 4
    batch = next(iter(module.train_dataloader()))
    assert batch.images.shape == (4, 32, 32, 3) and batch.images.dtype == torch.uint8
    assert module.on_after_batch_transfer(batch, 0).images.shape == (4, 3, 32, 32)
    assert batch.labels.unique(return_counts=True)[1].tolist() == [2, 2]


def test_training_pictures_may_be_of_another_size_than_those_that_are_evaluated(dataset):
    module = build(dataset, train_transform=TrainTransform(Preprocessing(32, 40)), cache_mib=1)
    for _ in range(2):  # read, and out of the cache
        assert next(iter(module.train_dataloader())).images.shape == (4, 32, 40, 3)
    assert next(iter(module.val_dataloader())).images.shape == (2, 32, 32, 3)


def test_a_picture_keeps_its_label(dataset):
    for batch in build(dataset).train_dataloader():
        red = batch.images[:, 0, 0, 0].tolist()
        assert [chr(value) for value in red] == ["abcd"[label] for label in batch.labels]
        assert [dataset.train[row].identity for row in batch.rows] == ["abcd"[label] for label in batch.labels]
        assert [dataset.train[row].camera for row in batch.rows] == [("c0", "c1")[camera] for camera in batch.cameras]
        assert batch.viewpoints.tolist() == [-1] * 4


def test_validation_is_queries_then_gallery_by_row(dataset):
    batches = list(build(dataset).val_dataloader())
    assert torch.cat([batch.rows for batch in batches]).tolist() == [0, 1, 2, 3, 4]
    assert torch.cat([batch.labels for batch in batches]).tolist() == [-1] * 5
    assert torch.cat([batch.cameras for batch in batches]).tolist() == [0, 0, 1, 0, 1]


class Noise(TrainTransform):
    """Draws from its key alone."""

    def load(self, path, key):
        return super().load(path, key) ^ torch.randint(256, (32, 32, 3), generator=torch.Generator().manual_seed(key))


@pytest.mark.parametrize("done", [0, 1, 2])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_interrupted_loader_goes_on_with_the_very_next_batch(dataset, done, num_workers):
    def loader(workers):
        return build(dataset, num_workers=workers, train_transform=Noise(PREPROCESSING)).train_dataloader()

    whole = list(loader(0))
    interrupted = loader(num_workers)
    for _ in zip(range(done), interrupted):  # noqa: B905
        pass
    assert interrupted.state_dict() == {"epoch": 0, "batches": done}
    resumed = loader(num_workers)
    resumed.load_state_dict(interrupted.state_dict())
    assert resumed.state_dict() == interrupted.state_dict()
    rest = list(resumed)
    assert len(rest) == len(whole) - done
    for here, there in zip(rest, whole[done:], strict=True):
        assert_equal(here, there)


def test_random_batches_are_a_choice(dataset):
    batches = list(build(dataset, sampling="random").train_dataloader())
    assert sum(len(batch.labels) for batch in batches) == 16


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"identities_per_batch": 5}, "identities_per_batch=5"), ({"sampling": "pkk"}, "loader.sampling")],
)
def test_mistakes_are_named_at_once(dataset, changes, words):
    with pytest.raises(ReIDError, match=words):
        build(dataset, **changes)


@pytest.mark.parametrize("split", ["train", "query", "gallery"])
def test_a_data_set_without_a_split_is_refused(dataset, split):
    from dataclasses import replace

    with pytest.raises(ReIDError, match="holds no"):
        build(replace(dataset, **{split: ()}))


def test_a_cache_changes_no_picture_and_is_bounded(dataset):
    plain = list(build(dataset).train_dataloader())
    module = build(dataset, cache_mib=0.02)  # room for 6 pictures of 16
    for _ in range(2):
        cached = list(module.train_dataloader())
        assert all(torch.equal(one.images, other.images) for one, other in zip(plain, cached, strict=True))
    assert len(module.train_transform.cache) == module.train_transform.cache.capacity == 6
