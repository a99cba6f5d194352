import pytest
import torch
from PIL import Image

from reid_lightning.data.datamodule import ReIDDataModule
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.data.transforms import Preprocessing, TrainTransform
from reid_lightning.errors import ReIDError

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
        "seed": 0,
    }
    return ReIDDataModule(dataset, PREPROCESSING, **{**options, **changes})


def test_labels_number_the_sorted_identities_and_batches_hold_p_times_k(dataset):
    module = build(dataset)
    assert module.label_of == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert module.num_identities == 4
    pictures, labels = next(iter(module.train_dataloader()))
    assert pictures.shape == (4, 3, 32, 32)
    assert labels.unique(return_counts=True)[1].tolist() == [2, 2]


def test_a_picture_keeps_its_label(dataset):
    for pictures, labels in build(dataset).train_dataloader():
        red = pictures[:, 0].mean((1, 2)) * PREPROCESSING.std[0] + PREPROCESSING.mean[0]
        assert [chr(round(value * 255)) for value in red.tolist()] == ["abcd"[label] for label in labels]


def test_validation_is_queries_then_gallery_by_row(dataset):
    rows = torch.cat([rows for _, rows in build(dataset).val_dataloader()])
    assert rows.tolist() == [0, 1, 2, 3, 4]


def test_random_batches_are_a_choice(dataset):
    batches = list(build(dataset, sampling="random").train_dataloader())
    assert sum(len(labels) for _, labels in batches) == 16


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
