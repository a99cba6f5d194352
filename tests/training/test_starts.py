"""Where a training begins, and how far what it exports goes back there."""

from __future__ import annotations

import dataclasses

import pytest
import pytorch_lightning as pl
import torch
from toy_run import fit, noise_pictures

from reid_lightning.bundle.bundle import load
from reid_lightning.errors import ReIDError
from reid_lightning.training.callbacks.average_with_start import AverageWithStart
from reid_lightning.training.callbacks.whitened_start import WhitenedStart


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return noise_pictures(tmp_path_factory.mktemp("pictures"))


class Kept(pl.Callback):
    """The weights and the embeddings of the training pictures before the first step."""

    def on_train_start(self, trainer, pl_module):
        pictures = trainer.datamodule.plain_loader(trainer.datamodule.dataset.train)
        images = torch.cat([trainer.datamodule.preprocessing.finish(batch.images) for batch in pictures])
        model = pl_module.model
        was = model.training
        with torch.no_grad():
            self.embeddings = model.eval()(images).embeddings
        model.train(was)
        self.weights = {key: value.clone() for key, value in model.state_dict().items()}


def test_a_whitened_start_centres_the_training_pictures_and_a_run_that_goes_on_keeps_its_weights(dataset, tmp_path):
    kept = Kept()
    finished = fit(tmp_path / "a", dataset, WhitenedStart(pictures=1000), kept)
    assert kept.embeddings.mean(dim=0).abs().max() < 1e-2
    again = Kept()
    fit(tmp_path / "b", dataset, WhitenedStart(pictures=1000), again)
    assert all(torch.equal(value, again.weights[key]) for key, value in kept.weights.items()), "not at random"
    last = tmp_path / "a/checkpoints/last.ckpt"
    resumed = fit(tmp_path / "a", dataset, WhitenedStart(pictures=1000), resume=str(last))
    assert all(torch.equal(value, finished.weights[key]) for key, value in resumed.weights.items()), "nor again"


@pytest.mark.parametrize(
    ("when", "drawn", "goes_back"), [("always", False, True), ("drawn", True, False), ("never", True, False)]
)
def test_half_of_the_way_back(dataset, tmp_path, when, drawn, goes_back):
    kept = Kept()
    back = AverageWithStart(tmp_path / "bundle", start=tmp_path / "start", when=when)
    fit(tmp_path, dataclasses.replace(dataset, drawn=drawn), kept, back)
    assert (tmp_path / "bundle").exists() == goes_back, "random weights have nothing to go back to"
    if goes_back:
        averaged = load(tmp_path / "bundle", None)
        trained = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
        for key, value in averaged.model.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value, (kept.weights[key] + trained[f"model.{key}"]) / 2)
        assert "before the first step" in averaged.options.data["weights"] and not averaged.options.metrics


def test_words_that_mean_nothing():
    with pytest.raises(ReIDError, match="expected drawn, always or never"):
        AverageWithStart("a", start="b", when="sometimes")
    with pytest.raises(ReIDError, match="2 or more"):
        WhitenedStart(pictures=1)
