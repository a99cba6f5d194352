"""Which epoch is kept as the best, and what is said of how it was chosen."""

from types import SimpleNamespace

import pytest
import torch

from reid_lightning.bundle.model_card import CHOSEN_ON, MEASURED_ON
from reid_lightning.training.callbacks import retrieval_metrics
from reid_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from reid_lightning.training.callbacks.retrieval_metrics import choice_of, is_best_epoch


@pytest.mark.parametrize(
    ("mode", "before", "now", "best"),
    [
        ("max", None, 0.1, True),
        ("max", 0.5, 0.6, True),
        ("max", 0.5, 0.4, False),
        ("max", 0.5, 0.5, True),
        ("min", 0.5, 0.5, True),
    ],
)
def test_the_best_epoch_is_the_one_that_the_checkpoint_will_keep(tmp_path, mode, before, now, best):
    checkpoint = BestCheckpoint(tmp_path, "best", "val/mAP", mode=mode)
    if before is not None:
        before = torch.tensor(before)
        checkpoint.best_model_score, checkpoint.kth_best_model_path = before, "before"
        checkpoint.best_k_models = {"before": before}
    now = torch.tensor(now)
    agreeing = SimpleNamespace(reduce_boolean_decision=bool)
    trainer = SimpleNamespace(checkpoint_callback=checkpoint, callback_metrics={"val/mAP": now}, strategy=agreeing)
    assert is_best_epoch(trainer) is best
    assert checkpoint.check_monitor_top_k(trainer, now) is best


@pytest.mark.parametrize(
    ("epochs", "every", "interval", "key"),
    [
        (1, 1, 1.0, MEASURED_ON),
        (20, 20, 1.0, MEASURED_ON),
        (39, 20, 1.0, MEASURED_ON),
        (40, 20, 1.0, CHOSEN_ON),
        (2, 1, 1.0, CHOSEN_ON),
        (1, 1, 0.5, CHOSEN_ON),
        (1, None, 100, CHOSEN_ON),
        (-1, 1, 1.0, CHOSEN_ON),
        (None, 1, 1.0, CHOSEN_ON),
    ],
)
def test_of_the_only_validated_epoch_it_is_not_said_that_it_was_chosen(monkeypatch, epochs, every, interval, key):
    module = SimpleNamespace(divided=SimpleNamespace(chosen_on="others"))
    monkeypatch.setattr(retrieval_metrics, "datamodule_of", lambda trainer: module)
    trainer = SimpleNamespace(max_epochs=epochs, check_val_every_n_epoch=every, val_check_interval=interval)
    assert choice_of(trainer) == {key: "others"}
