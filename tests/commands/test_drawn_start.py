"""`model.pretrained=drawn`: weights of the drawn fleet, trained at first use and kept."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors.torch import load_file

from reid_lightning.commands import drawn_start
from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.drawn_start import built_without, drawn_bundle, start_from_drawn
from reid_lightning.data.images.preprocessing import Preprocessing
from reid_lightning.errors import ReIDError

CROPS = ("data=folder", "data.root=crops", "model.pretrained=drawn")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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


def test_the_fleet_is_trained_on_once_with_this_network_alone(composed_run, trainings):
    cfg = composed_run(*CROPS, "model.embedding_dim=64", "loss=id_triplet", "input.height=128", "seed=3")
    folder = drawn_bundle(cfg)
    command, _ = trainings.pop()
    words = [word for word in command if "=" in word]
    assert {"model=efficientnet_lite0", "model.embedding_dim=64", "model.levels=[4, 5, 6, 7]"} <= set(words)
    assert not [word for word in words if word.startswith(("model.pretrained", "loss", "input", "seed", "data="))]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        own = [word for word in words if not word.startswith("hydra.")]
        inner = compose("train", overrides=own)  # words that Hydra's grammar takes
    assert (inner.model.pretrained, inner.model.embedding_dim, inner.data.root) == ("wheel", 64, own[-1].split("=")[1])

    assert drawn_bundle(cfg) == folder and not trainings
    assert [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] == [folder.name]
    assert drawn_bundle(composed_run(*CROPS, "model.ibn=a")) != folder  # another network
    assert len(trainings) == 1


def test_a_network_begins_with_these_weights_and_keeps_their_statistics(composed_run, trainings, bundle):
    small = ["model=timm", "model.backbone=test_resnet", "model.last_stride=2", "model.frozen_statistics=true"]
    cfg = composed_run(*CROPS, *small, "model.embedding_dim=8")
    model = built_without(cfg).train()
    assert model.backbone.weights_report is None and not trainings
    start_from_drawn(cfg, model, Preprocessing(32, 32))
    wanted = {name: value for name, value in load_file(bundle / "model.safetensors").items() if "backbone" in name}
    found = model.state_dict()
    assert wanted and all(torch.equal(found[name], value) for name, value in wanted.items())
    assert model.backbone.weights_report.missing == () and model.training and len(trainings) == 1
    assert not any(module.training for module in model.backbone.modules() if isinstance(module, torch.nn.BatchNorm2d))


def test_kept_weights_that_were_damaged_are_named(composed_run, trainings):
    small = ["model=timm", "model.backbone=test_resnet", "model.last_stride=2", "model.embedding_dim=8"]
    cfg = composed_run(*CROPS, *small)
    weights = drawn_bundle(cfg) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 0x41
    weights.write_bytes(content)
    with pytest.raises(ReIDError, match=r"does not belong to its opts\.yaml.*Remove the folder .*drawn-"):
        start_from_drawn(cfg, built_without(cfg), Preprocessing(32, 32))


def test_two_runs_that_start_together_train_the_fleet_once(composed_run, trainings):
    cfg = composed_run(*CROPS)
    found = []
    threads = [threading.Thread(target=lambda: found.append(drawn_bundle(cfg))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1 and len(trainings) == 1


def test_ranks_and_jobs_around_it_do_not_reach_the_training(composed_run, trainings, monkeypatch):
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    drawn_bundle(composed_run(*CROPS))
    _, environment = trainings.pop()
    assert not {"LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_NTASKS", "MASTER_ADDR"} & set(environment)
    assert "PATH" in environment


def test_a_training_that_fails_is_one_message_and_leaves_nothing(composed_run, monkeypatch, tmp_path):
    monkeypatch.setattr(drawn_start, "run_command", lambda *_, **__: (1, "no space left on the disk"))
    with pytest.raises(ReIDError, match="training on the drawn fleet failed: no space left on the disk"):
        drawn_bundle(composed_run(*CROPS))
    assert not [entry for entry in (tmp_path / "cache" / "reid_lightning").iterdir() if entry.is_dir()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=folder", "data.root=nowhere"], "there is no folder nowhere"),
        (["data=synthetic"], "have learned from the drawn fleet already; leave model.pretrained out"),
    ],
)
def test_a_mistake_is_told_before_the_fleet_is_trained_on(run_command, trainings, tmp_path, words, message):
    finished = run_command("train.py", *words, "model.pretrained=drawn", "hydra.run.dir=run")
    assert finished.returncode == 1 and message in finished.stderr
    assert not trainings and not (tmp_path / "run").exists()
