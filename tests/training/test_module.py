"""What a training step does: it is seeded by its number, and a loss that is no number is named and does not spread."""

import random
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from toy_run import PREPROCESSING, batches, noise_pictures, quiet_trainer

from reid_lightning.errors import ReIDError
from reid_lightning.losses import WeightedSum
from reid_lightning.models import ReIDModel
from reid_lightning.training.module import ReIDModule


class Chosen(nn.Module):
    """The mean square of the embeddings; not a number in the chosen calls."""

    def __init__(self, bad=(), value=float("nan")):
        super().__init__()
        self.calls, self.bad, self.value = 0, bad, value

    def forward(self, embeddings, labels):
        self.calls += 1
        loss = embeddings.square().mean()
        return loss * self.value if self.calls - 1 in self.bad else loss


class Watch(pl.Callback):
    """Keeps weights after every step, and what each generator would give next in it."""

    def __init__(self):
        self.weights, self.draws = [], []

    def on_before_zero_grad(self, trainer, module, optimizer):
        self.draws.append((float(torch.rand(())), float(np.random.rand()), random.random()))

    def on_train_batch_end(self, trainer, module, *_):
        self.weights.append(module.model.reduction.weight.detach().clone())


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return noise_pictures(tmp_path_factory.mktemp("pictures"), images_per_identity=4)


def run(dataset, folder, losses, *, watch=None, seed=0, on_non_finite="stop", **trainer_options):
    datamodule = batches(dataset, 2, 2)
    torch.manual_seed(0)
    model = ReIDModel("test_convnext", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=8)
    terms = {name: {"weight": 1.0, "input": "embeddings", "loss": loss} for name, loss in losses.items()}
    loss = WeightedSum(terms, num_identities=8, embedding_dim=8)
    optimizer = partial(torch.optim.AdamW, lr=0.01)
    module = ReIDModule(model, loss, PREPROCESSING, optimizer=optimizer, seed=seed, on_non_finite=on_non_finite)
    trainer = quiet_trainer(folder, max_epochs=1, limit_val_batches=0, callbacks=[watch or Watch()], **trainer_options)
    trainer.fit(module, datamodule)
    return module


def test_terms_are_logged_in_the_steps_that_the_trainer_logs_and_read_there(dataset, tmp_path, monkeypatch):
    """In the steps between nothing may wait for the device, so nothing is there that a progress bar could read."""
    logged = []

    def log(module, name, value, **options):
        logged.append((module.global_step, name))
        assert isinstance(value, float) or (value.device.type == "cpu" and not value.requires_grad)

    monkeypatch.setattr(ReIDModule, "log", log)
    monkeypatch.setattr(ReIDModule, "log_dict", lambda self, given, **kw: [log(self, *pair) for pair in given.items()])
    run(dataset, tmp_path, {"a": Chosen(), "b": Chosen()}, log_every_n_steps=3)
    assert [step for step, name in logged if name == "train/loss"] == [2, 5]
    assert {name for _, name in logged} == {"train/loss", "train/a", "train/b", "lr"}


def test_every_step_is_seeded_by_seed_and_number_alone(dataset, tmp_path):
    first, again, other = Watch(), Watch(), Watch()
    run(dataset, tmp_path, {"a": Chosen()}, watch=first)
    torch.rand(1000)
    run(dataset, tmp_path, {"a": Chosen()}, watch=again)
    run(dataset, tmp_path, {"a": Chosen()}, watch=other, seed=1)
    assert first.draws == again.draws
    assert len({draw for draws in first.draws for draw in draws}) == 3 * len(first.draws)
    assert not set(first.draws) & set(other.draws)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_names_term_and_pictures(dataset, tmp_path, value):
    watch = Watch()
    with pytest.raises(ReIDError) as caught:
        run(dataset, tmp_path, {"good": Chosen(), "circle": Chosen(bad=[3], value=value)}, watch=watch)
    message = str(caught.value)
    assert "loss term circle is not finite at step 3, epoch 0" in message
    assert f"circle={value:.4g}" in message and "The weights were finite" in message
    assert "module.on_non_finite=skip" in message
    listed = (tmp_path / "non_finite_batch.txt").read_text().splitlines()
    known = {str(image.path) for image in dataset.train}
    assert len(listed) == 4 and set(listed) <= known and listed[0] in message
    assert len(watch.weights) == 3 and all(weights.isfinite().all() for weights in watch.weights)


def test_weights_that_broke_before_are_told_from_a_loss_that_broke(dataset, tmp_path):
    class Spoil(Watch):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 2:
                module.model.reduction.weight.data[0, 0] = float("nan")

    with pytest.raises(ReIDError, match=r"not finite any more before this step.*optimizer.lr"):
        run(dataset, tmp_path, {"a": Chosen()}, watch=Spoil())


def test_a_skipped_step_changes_nothing_and_training_goes_on(dataset, tmp_path):
    watch = Watch()
    module = run(dataset, tmp_path, {"a": Chosen(bad=[3, 5])}, watch=watch, on_non_finite="skip")
    assert module._guard.skipped == 2
    moved = [not torch.equal(one, other) for one, other in zip(watch.weights, watch.weights[1:], strict=False)]
    assert moved == [number + 1 not in (3, 5) for number in range(len(moved))]
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_a_bad_piece_of_an_accumulated_step_skips_the_whole_step(dataset, tmp_path):
    watch = Watch()
    losses = {"a": Chosen(bad=[2])}
    module = run(dataset, tmp_path, losses, watch=watch, on_non_finite="skip", accumulate_grad_batches=2)
    steps = watch.weights[1::2]  # after batches 1, 3, 5, ...
    assert torch.equal(steps[0], steps[1]) and not torch.equal(steps[1], steps[2])
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_an_unknown_way_to_treat_them_is_named():
    from reid_lightning.training.non_finite import NonFiniteGuard

    with pytest.raises(ReIDError, match=r"module.on_non_finite is 'ignore'"):
        NonFiniteGuard("ignore", error=lambda *_: ReIDError(""))
