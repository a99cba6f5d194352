"""Averaging checkpoints: the mean by hand, what is refused, and a run that exports the average of its best epochs."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from reid_lightning.bundle import bundle
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.data.readers.validation import divide
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError
from reid_lightning.models import ReIDModel
from reid_lightning.training.average_checkpoints import average_checkpoints
from reid_lightning.training.callbacks.average_checkpoints import AverageCheckpoints

PREPROCESSING = Preprocessing(32, 32)


def network(seed, **changes):
    torch.manual_seed(seed)
    arguments = {"backbone": "test_resnet", "ibn": "a", "last_stride": 2, "embedding_dim": 8} | changes
    model = ReIDModel(**arguments)
    model.train()(torch.randn(4, 3, 32, 32) * (1 + seed))  # statistics of its own
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("num_batches_tracked"):
                buffer.fill_(10 * seed)
    return model.eval()


def save_checkpoint(path, model, preprocessing=PREPROCESSING):
    """A checkpoint as training writes it, as far as it matters here."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()} | {"loss.weight": torch.ones(3)}
    record = bundle.training_record(model, preprocessing) | {"metrics": {"mAP": 0.9}}
    torch.save({"state_dict": state, "reid": record, "epoch": 0}, path)
    return path


@pytest.fixture
def models():
    return [network(seed) for seed in (1, 2, 3)]


@pytest.fixture
def paths(models, tmp_path):
    first, second = (save_checkpoint(tmp_path / f"{name}.ckpt", models[name]) for name in (0, 1))
    third = bundle.save_bundle(tmp_path / "bundle", models[2], PREPROCESSING, metrics={"mAP": 0.5}, data={"name": "x"})
    return [first, second, third]


def test_every_weight_and_statistic_is_the_mean_and_counters_are_the_last(models, paths):
    averaged = average_checkpoints(paths)
    states = [model.state_dict() for model in models]
    assert averaged.model.state_dict().keys() == states[0].keys()
    for name, tensor in averaged.model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(tensor) == 30
            continue
        assert tensor.dtype == torch.float32
        parts = zip(*(state[name].flatten().tolist()[:50] for state in states), strict=True)
        for value, numbers in zip(tensor.flatten().tolist()[:50], parts, strict=True):
            assert value == pytest.approx(math.fsum(numbers) / 3, rel=1e-6, abs=1e-9), name
    assert not averaged.model.training


def test_the_average_is_a_new_model_that_nobody_has_measured(models, paths, tmp_path):
    averaged = average_checkpoints(paths)
    assert averaged.options.metrics == {} and averaged.options.calibration == {}
    assert averaged.options.fingerprint == bundle.fingerprint(averaged.model, PREPROCESSING)
    assert averaged.options.fingerprint not in {bundle.fingerprint(model, PREPROCESSING) for model in models}
    bundle.save_bundle(tmp_path / "average", averaged.model, PREPROCESSING, metrics={}, data={})
    assert bundle.open_model(tmp_path / "average").options.fingerprint == averaged.options.fingerprint


def test_the_order_does_not_matter(paths):
    one, other = average_checkpoints(paths), average_checkpoints([paths[1], paths[0], paths[2]])
    assert one.options.fingerprint == other.options.fingerprint


def test_one_checkpoint_is_itself(paths):
    one = average_checkpoints(paths[2:])
    assert one.options == bundle.open_model(paths[2]).options


@pytest.mark.parametrize(
    ("changes", "preprocessing", "named"),
    [({"embedding_dim": 9}, PREPROCESSING, "architecture"), ({}, Preprocessing(48, 48), "preprocessing")],
)
def test_checkpoints_of_different_kinds_are_refused(paths, tmp_path, changes, preprocessing, named):
    other = save_checkpoint(tmp_path / "other.ckpt", network(4, **changes), preprocessing)
    with pytest.raises(ReIDError, match=rf"other\.ckpt.* differ in their {named}"):
        average_checkpoints([paths[0], other])


def test_what_is_missing_is_named(paths, tmp_path):
    with pytest.raises(ReIDError, match="no checkpoint was named"):
        average_checkpoints([])
    with pytest.raises(ReIDError, match=r"nothing.ckpt"):
        average_checkpoints([paths[0], tmp_path / "nothing.ckpt"])


def test_a_run_exports_the_average_of_the_checkpoints_it_kept(models, tmp_path):
    callback = AverageCheckpoints(tmp_path / "bundle", dirpath=tmp_path, monitor="val/mAP", count=2)
    image = VehicleImage(tmp_path / "x.png", "x", "c")
    dataset = VehicleDataset("toy", train=(image,), query=(image,), gallery=(image,))
    module = SimpleNamespace(model=models[0])
    trainer = SimpleNamespace(
        is_global_zero=True,
        datamodule=SimpleNamespace(divided=divide(dataset, "test", seed=0)),
        checkpoint_callback=SimpleNamespace(best_model_score=None),
        check_val_every_n_epoch=1,
        val_check_interval=1.0,
        max_epochs=2,
    )
    callback.on_fit_end(trainer, module)
    assert not (tmp_path / "bundle").exists()  # nothing was kept
    kept = [str(save_checkpoint(tmp_path / f"epoch_{n}.ckpt", models[n])) for n in (0, 1)]
    callback.best_k_models = dict.fromkeys(kept, torch.tensor(0.5))
    other_rank = copy.copy(trainer)
    other_rank.is_global_zero = False
    callback.on_fit_end(other_rank, module)
    assert not (tmp_path / "bundle").exists()
    callback.on_fit_end(trainer, module)
    exported = bundle.open_model(tmp_path / "bundle").options
    assert exported.fingerprint == average_checkpoints(kept).options.fingerprint
    assert exported.data["name"] == "toy"


@pytest.mark.parametrize("count", [1, 0, 2.0, True])
def test_a_count_that_averages_nothing_is_refused(tmp_path, count):
    with pytest.raises(ReIDError, match=r"callbacks\.average\.count"):
        AverageCheckpoints(tmp_path, dirpath=tmp_path, monitor="val/mAP", count=count)


def test_training_ends_with_the_average_of_its_best_epochs(run_command, fleet_root, tmp_path):
    finished = run_command(
        "train.py",
        *[f"data.root={fleet_root}", "data.size=tiny", "hydra.run.dir=run", "trainer=cpu", "trainer.max_epochs=3"],
        *["callbacks=average", "callbacks.average.count=2", "callbacks.average.monitor=epoch"],
        *[
            "model=resnet18_ibn_a",
            "model.backbone=test_resnet",
            "loader.num_workers=0",
            "loader.identities_per_batch=4",
        ],
        *["+trainer.limit_train_batches=2", "evaluation.pictures=false"],
    )
    assert finished.returncode == 0, finished.stderr
    kept = sorted(path for path in (tmp_path / "run/checkpoints").glob("epoch_*.ckpt"))
    assert [path.name for path in kept] == ["epoch_001.ckpt", "epoch_002.ckpt"]  # the last two
    exported = bundle.open_model(tmp_path / "run/bundle").options
    assert exported.fingerprint == average_checkpoints(kept).options.fingerprint
