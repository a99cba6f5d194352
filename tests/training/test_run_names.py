"""What a run is called, by what was typed."""

import pytest

from reid_lightning.training.run_names import run_fields, run_name


@pytest.mark.parametrize(
    ("words", "name", "choice"),
    [
        ([], "default", "default"),
        (["seed=1"], "seed=1", "default"),
        (["loss=circle", "seed=1", "data.root=x", "trainer=cpu", "logger=wandb"], "loss=circle seed=1", "loss=circle"),
        (["+trainer.max_steps=9", "optimizer.lr=0.00034567891"], *2 * ["trainer.max_steps=9 optimizer.lr=0.000346"]),
        (["experiment=twocam", "data.root=x", "~callbacks.progress_bar=null"], *2 * ["experiment=twocam"]),
    ],
)
def test_a_run_is_named_by_what_was_typed(composed_run, words, name, choice):
    composed_run(*words)
    assert (run_name(), run_fields(0)["choice"]) == (name, choice)


def test_a_long_command_line_makes_no_longer_name_than_wandb_takes(composed_run):
    composed_run(*(f"+trainer.key_{number}=1" for number in range(20)))
    assert len(run_name()) <= 128
