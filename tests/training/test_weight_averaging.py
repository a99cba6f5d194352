"""The moving average of weights: its arithmetic, what is validated and saved, and what a run goes on with."""

import copy
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from toy_run import PREPROCESSING, batches, exit_codes, noise_pictures, quiet_trainer, two_nodes

from reid_lightning.bundle import bundle
from reid_lightning.bundle.weights import read_checkpoint
from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.errors import ReIDError
from reid_lightning.losses import TripletLoss, WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.training.callbacks import RetrievalMetrics
from reid_lightning.training.callbacks.weight_averaging import MovingAverage, check_averaging, decay_at, move_average
from reid_lightning.training.module import ReIDModule
from reid_lightning.training.resuming import check_resumable

EPOCHS, BATCHES = 3, 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return noise_pictures(tmp_path_factory.mktemp("pictures"), images_per_identity=2)


def fit(dataset, folder, *callbacks, backbone="test_resnet", lr=0.01, epochs=EPOCHS, **trainer_options):
    datamodule = batches(dataset, 2, 2)
    torch.manual_seed(0)
    ibn = "a" if backbone == "test_resnet" else None
    model = ReIDModel(backbone, ibn=ibn, last_stride=2, pooling="avg", neck="none", embedding_dim=8)
    terms = {"triplet": {"weight": 1.0, "input": "embeddings", "loss": TripletLoss(margin=0.3)}}
    loss = WeightedSum(terms, num_identities=8, embedding_dim=8)
    module = ReIDModule(model, loss, PREPROCESSING, optimizer=partial(torch.optim.SGD, lr=lr))
    trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=list(callbacks), **trainer_options)
    trainer.fit(module, datamodule)
    return trainer, module


def test_an_early_average_forgets_its_random_start():
    assert decay_at(1, limit=0.999) == 2 / 11
    assert decay_at(8, limit=0.999) == 0.5
    assert decay_at(300, limit=0.999) == 301 / 310
    assert decay_at(100_000, limit=0.999) == 0.999
    assert decay_at(100, limit=0.1) == 0.1


class Toy(nn.Module):
    """A model with batch norm, and a loss with a weight and a memory."""

    def __init__(self, value):
        super().__init__()
        self.model = nn.BatchNorm1d(1)
        self.loss = nn.Linear(1, 1, bias=False)
        self.loss.register_buffer("memory", torch.tensor([0.0]))
        with torch.no_grad():
            for tensor in (*self.parameters(), *self.buffers()):
                tensor.fill_(value)


def test_weights_and_statistics_are_averaged_and_the_rest_is_copied():
    average, live = Toy(2), Toy(10)
    move_average(average, live, decay=0.75)
    expected = {name: 0.75 * 2 + 0.25 * 10 for name in live.state_dict()}
    expected |= {"model.num_batches_tracked": 10, "loss.memory": 10}
    assert {name: float(value) for name, value in average.state_dict().items()} == expected
    assert all(value.eq(10).all() for value in live.state_dict().values())


class Watch(pl.Callback):
    """Keeps the live weights after every optimiser step, and what was validated."""

    def __init__(self):
        self.live, self.validated, self.steps = [], [], 0

    def on_train_start(self, trainer, module):
        self.start = copy.deepcopy(module.state_dict())

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step > self.steps:
            self.steps = trainer.global_step
            self.live.append(copy.deepcopy(module.state_dict()))

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 0:
            self.validated.append((copy.deepcopy(module.state_dict()), batch.images, outputs["embeddings"]))

    def on_train_epoch_end(self, trainer, module):  # after the validation
        assert_equal(module.state_dict(), self.live[-1])


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def slow_average(start, states, limit):
    """The formula, in float64, one number after the other in time."""
    average = {name: value.double() for name, value in start.items()}
    for step, state in enumerate(states, start=1):
        decay = min(limit, (1 + step) / (10 + step))
        for name, value in state.items():
            is_counter = name.endswith("num_batches_tracked")
            average[name] = value.double() if is_counter else decay * average[name] + (1 - decay) * value.double()
    return average


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_validates_keeps_and_ends_with_the_average(dataset, tmp_path, accumulate):
    watch = Watch()
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/mAP", mode="max", save_top_k=-1, every_n_epochs=1)
    _, module = fit(
        dataset,
        tmp_path,
        MovingAverage(decay=0.3),
        watch,
        RetrievalMetrics(),
        best,
        enable_checkpointing=True,
        accumulate_grad_batches=accumulate,
    )
    per_epoch = BATCHES // accumulate
    assert len(watch.live) == EPOCHS * per_epoch
    expected = [slow_average(watch.start, watch.live[: (epoch + 1) * per_epoch], 0.3) for epoch in range(EPOCHS)]
    for (state, images, embeddings), average in zip(watch.validated, expected, strict=True):
        for name, value in state.items():
            torch.testing.assert_close(value.double(), average[name], rtol=1e-5, atol=1e-6)
        validated = copy.deepcopy(module)
        validated.load_state_dict(state)
        torch.testing.assert_close(validated.eval()(images), embeddings)
    assert_equal(module.state_dict(), watch.validated[-1][0])

    checkpoint = read_checkpoint(best.best_model_path and sorted(tmp_path.glob("*.ckpt"))[-1])
    epoch = checkpoint["epoch"]
    assert_equal(checkpoint["state_dict"], watch.validated[epoch][0])
    assert_equal(checkpoint["current_model_state"], watch.live[(epoch + 1) * per_epoch - 1])


def test_a_checkpoint_loads_as_its_average_and_can_be_resumed(dataset, tmp_path):
    watch = Watch()
    last = ModelCheckpoint(tmp_path, filename="kept", monitor="epoch", mode="max")
    callbacks = [MovingAverage(decay=0.3), watch, RetrievalMetrics()]
    trainer, module = fit(dataset, tmp_path, *callbacks, last, enable_checkpointing=True, epochs=1)
    loaded = bundle.open_model(tmp_path / "kept.ckpt").model
    assert_equal({f"model.{name}": value for name, value in loaded.state_dict().items()}, watch.validated[0][0])
    trainer.fit_loop.max_epochs = 5
    check_resumable(tmp_path / "kept.ckpt", module, trainer)
    checkpoint = read_checkpoint(tmp_path / "kept.ckpt")
    check_averaging(checkpoint, callbacks)
    with pytest.raises(ReIDError, match=r"callbacks=ema"):
        check_averaging(checkpoint, [RetrievalMetrics()])
    check_averaging({"state_dict": {}}, [RetrievalMetrics()])


class Fail(pl.Callback):
    """Breaks off in the middle of a validation, and sees what would be saved then."""

    def on_validation_batch_end(self, *_):
        raise RuntimeError("the disk is gone")

    def on_exception(self, trainer, module, exception):
        self.at_exception = copy.deepcopy(module.state_dict())


def test_a_validation_that_breaks_off_leaves_the_live_weights(dataset, tmp_path):
    watch, fail = Watch(), Fail()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        fit(dataset, tmp_path, MovingAverage(decay=0.3), watch, fail)
    assert_equal(fail.at_exception, watch.live[-1])


@pytest.mark.parametrize("decay", [0, 1.0, -0.1, "0.9", True])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ReIDError, match=r"callbacks\.ema\.decay"):
        MovingAverage(decay=decay)


def test_options_of_callbacks_add_up():
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        both = compose("train", overrides=["callbacks=[early_stopping,ema]"]).callbacks
        default = compose("train").callbacks
    assert set(both) == set(default) | {"ema", "early_stopping"}
    assert set(default) < set(both)


class CountEpochs(pl.Callback):
    """Writes how many epochs each rank has trained."""

    def on_fit_end(self, trainer, module):
        path = Path(trainer.default_root_dir) / f"epochs_{trainer.global_rank}"
        path.write_text(str(trainer.current_epoch))


def run_until_it_stops(dataset, folder, options, **trainer_options):
    callbacks = [RetrievalMetrics(), EarlyStopping(**options), CountEpochs()]
    fit(dataset, folder, *callbacks, backbone="test_convnext", lr=0.0, epochs=6, **trainer_options)


@pytest.mark.parametrize("ranks", [1, 2])
def test_early_stopping_ends_the_run_on_every_rank(dataset, tmp_path, ranks):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        options = dict(compose("train", overrides=["callbacks=early_stopping"]).callbacks.early_stopping)
    assert options.pop("_target_").endswith("callbacks.EarlyStopping")
    run = partial(run_until_it_stops, dataset, tmp_path, options | {"patience": 2})
    if ranks == 1:
        run()
    else:
        assert exit_codes(*two_nodes(partial(run, strategy="ddp", num_nodes=2))) == [0, 0]
    trained = {path.name: path.read_text() for path in tmp_path.glob("epochs_*")}
    assert trained == {f"epochs_{rank}": "3" for rank in range(ranks)}  # one that is best, and two that are no better
