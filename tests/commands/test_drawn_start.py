"""`model.pretrained=drawn`: weights of the drawn fleet, trained at first use and kept."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from safetensors.torch import load_file

from reid_lightning.commands import drawn_start
from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.drawn_start import with_drawn_start
from reid_lightning.errors import ReIDError

CROPS = ("data=folder", "data.root=crops", "model.pretrained=drawn")


@pytest.fixture
def compose_run(monkeypatch, tmp_path):
    """Gives a function of overrides: the configuration of `reid train`, as Hydra has it while a run goes on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = HydraConfig.instance().cfg

    def composed(*overrides):
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("train", overrides=list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return cfg

    yield composed
    HydraConfig.instance().cfg = before


@pytest.fixture
def trainings(monkeypatch, bundle):
    """The commands that were run, each of which leaves a bundle in its run folder."""
    commands = []

    def run_command(command, *, environment, only):
        commands.append((command, environment))
        run = next(word.removeprefix("hydra.run.dir=") for word in command if word.startswith("hydra.run.dir="))
        shutil.copytree(bundle, Path(run) / "bundle")
        return 0, ""

    monkeypatch.setattr(drawn_start, "run_command", run_command)
    return commands


def test_the_fleet_is_trained_on_once_with_this_network_alone(compose_run, trainings, bundle):
    cfg = compose_run(*CROPS, "model.embedding_dim=64", "loss=id_triplet", "input.height=128", "seed=3")
    started = with_drawn_start(cfg)
    weights = Path(started.model.pretrained)
    assert cfg.model.pretrained == "drawn"  # what the run's config.yaml says, on any machine
    assert all(
        torch.equal(value, load_file(bundle / "model.safetensors")[key]) for key, value in load_file(weights).items()
    )

    command, _ = trainings.pop()
    words = [word for word in command if "=" in word]
    assert (
        "model=efficientnet_lite0" in words
        and "model.embedding_dim=64" in words
        and "model.levels=[4, 5, 6, 7]" in words
    )
    assert not [word for word in words if word.startswith(("model.pretrained", "loss", "input", "seed", "data="))]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        own = [word for word in words if not word.startswith("hydra.")]
        inner = compose("train", overrides=own)  # words that Hydra's grammar takes
    assert (inner.model.pretrained, inner.model.embedding_dim, inner.data.root) == ("wheel", 64, own[-1].split("=")[1])

    assert with_drawn_start(cfg).model.pretrained == str(weights) and not trainings
    assert [entry.name for entry in weights.parent.parent.iterdir() if entry.is_dir()] == [weights.parent.name]
    with_drawn_start(compose_run(*CROPS, "model.ibn=a"))  # another network
    assert len(trainings) == 1


def test_two_runs_that_start_together_train_the_fleet_once(compose_run, trainings):
    cfg = compose_run(*CROPS)
    found = []
    threads = [threading.Thread(target=lambda: found.append(with_drawn_start(cfg).model.pretrained)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1 and len(trainings) == 1


def test_ranks_and_jobs_around_it_do_not_reach_the_training(compose_run, trainings, monkeypatch):
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    with_drawn_start(compose_run(*CROPS))
    _, environment = trainings.pop()
    assert not {"LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "MASTER_ADDR"} & set(environment)
    assert "PATH" in environment


def test_a_training_that_fails_is_one_message_and_leaves_nothing(compose_run, monkeypatch, tmp_path):
    monkeypatch.setattr(drawn_start, "run_command", lambda *_, **__: (1, "no space left on the disk"))
    with pytest.raises(ReIDError, match="training on the drawn fleet failed: no space left on the disk"):
        with_drawn_start(compose_run(*CROPS))
    assert not [entry for entry in (tmp_path / "cache" / "reid_lightning").iterdir() if entry.is_dir()]


def test_the_drawn_fleet_itself_cannot_start_there(compose_run, trainings):
    with pytest.raises(ReIDError, match=r"have learned from the drawn fleet already; leave model\.pretrained out"):
        with_drawn_start(compose_run("model.pretrained=drawn"))
    cfg = compose_run("data=folder", "data.root=crops")
    assert with_drawn_start(cfg) is cfg and not trainings
