"""What train.py refuses before it reads anything, and of its data before it learns them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf, open_dict

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.commands.parts import Parts
from reid_lightning.commands.preflight import check_data, check_length, check_loss, check_seeds
from reid_lightning.data.records import VehicleDataset, VehicleImage
from reid_lightning.errors import ReIDError


def composed(*overrides):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def message_of(finished):
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr, finished.stderr
    return finished.stderr.split("error: ")[1]


@pytest.mark.parametrize("seed", ["-1", "5000000000", "4294967296", "abc", "null", "1.5", "true", '"7"'])
def test_a_seed_that_no_generator_takes_is_refused(seed):
    with pytest.raises(ReIDError, match=r"^seed is .*; expected a whole number from 0 to 4294967295"):
        check_seeds(composed(f"seed={seed}"))


def test_the_seeds_of_the_groups_are_whole_numbers_too():
    for seed in ("0", "4294967295"):
        check_seeds(composed(f"seed={seed}", "data.seed=-3", "loader.seed=-1"))
    sets = ["data=joined", "+data@data.sets.v=vehicleid", "data.sets.v.root=x"]
    check_seeds(composed(*sets))
    for *words, key in (["data.seed"], ["loader.seed"], ["module.seed"], [*sets, "data.sets.v.seed"]):
        with pytest.raises(ReIDError, match=f"^{key} is 'abc'; expected a whole number"):
            check_seeds(composed(*words, f"{key}=abc"))


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.max_epochs=1"],
        ["trainer.max_epochs=null"],  # Lightning's 1,000
        ["trainer.max_epochs=-1", "+trainer.max_steps=10"],
        ["+trainer.max_steps=10"],
        ["+trainer.max_steps=-1"],
        ["+trainer.max_time=00:01:00:00"],
        ["trainer.max_epochs=0", "+trainer.fast_dev_run=true"],  # which sets one epoch itself
    ],
)
def test_a_run_of_some_length_is_fine(words):
    check_length(composed(*words).trainer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.max_epochs=0"], r"trainer\.max_epochs is 0; .*evaluate"),
        (["trainer.max_epochs=abc"], r"trainer\.max_epochs is 'abc'"),
        (["trainer.max_epochs=1.5"], r"trainer\.max_epochs is 1\.5"),
        (["+trainer.max_steps=0"], r"trainer\.max_steps is 0"),
        (["+trainer.max_steps=null"], r"trainer\.max_steps is None"),
        (["trainer.max_epochs=null", "+trainer.max_time=00:01:00:00"], r"max_epochs is None, a run without an end"),
        (["trainer.max_epochs=-1"], r"without an end.*\+trainer\.max_steps="),
        (["trainer.check_val_every_n_epoch=0"], r"trainer\.check_val_every_n_epoch is 0; expected a whole number of 1"),
    ],
)
def test_a_run_of_no_length_is_refused(words, message):
    with pytest.raises(ReIDError, match=message):
        check_length(composed(*words).trainer)


def test_a_loss_says_what_it_is():
    cfg = composed("loss=supcon")
    check_loss(cfg)
    with open_dict(cfg):
        del cfg.loss["_target_"]
    with pytest.raises(ReIDError):
        check_loss(cfg)
    with pytest.raises(ReIDError, match="there is no loss; choose one"):
        check_loss(OmegaConf.create({"loss": None}))


def test_the_file_of_the_loss_is_named_with_the_line_it_lacks(run_command, tmp_path):
    text = (CONFIG_DIR / "loss/supcon.yaml").read_text()
    (tmp_path / "mine/loss").mkdir(parents=True)
    (tmp_path / "mine/loss/ours.yaml").write_text(text.replace("_target_: reid_lightning.losses.WeightedSum\n", ""))
    finished = run_command("train.py", "--config-dir", str(tmp_path / "mine"), "loss=ours")
    message = message_of(finished)
    assert "loss/ours.yaml has no _target_" in message
    assert "_target_: reid_lightning.losses.WeightedSum" in message
    assert not (tmp_path / "data").exists(), "nothing was drawn"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=abc"], "seed is 'abc'"),
        (["data.seed=abc"], "data.seed is 'abc'"),
        (["trainer.max_epochs=0"], "trainer.max_epochs is 0"),
        (["trainer.devices=["], "trainer.devices is '[': Trainer says: "),
        (["trainer.accelerator=foo"], "trainer.accelerator is 'foo': Trainer says: "),
        (["+trainer.strategy=foo"], "trainer.strategy is 'foo': Trainer says: "),
        (["optimizer.lr=-1"], "optimizer: AdamW says: Invalid learning rate: -1. Correct the key below optimizer=."),
        (["scheduler.warmup=2"], "scheduler.warmup is [2]"),
    ],
)
def test_these_are_refused_before_anything_is_drawn(run_command, tmp_path, words, said):
    message = message_of(run_command("train.py", "trainer=cpu", *words))
    assert said in message
    assert not (tmp_path / "data").exists()


def images(*names):
    """Pictures called "identity_number"."""
    return tuple(VehicleImage(Path("pictures", name), name.split("_")[0]) for name in names)


def test_a_picture_on_both_sides_is_refused():
    dataset = VehicleDataset("cars", images("a_1", "b_1", "b_2"), query=images("b_2"), gallery=images("b_1", "b_2"))
    with pytest.raises(
        ReIDError, match=r"2 pictures of data set 'cars' .* such as pictures/b_2: .*Remove them from one"
    ):
        check_data(dataset)


def test_an_identity_on_both_sides_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        check_data(VehicleDataset("cars", images("a_1", "b_1"), query=images("c_1"), gallery=images("c_2", "c_1")))
    assert not caplog.records
    check_data(
        VehicleDataset("cars", images(*(f"{n}_1" for n in range(9))), images("c_1"), images("c_2", "3_2", "5_2"))
    )
    assert "2 identities of data set 'cars' are in training and in query or gallery (3, 5)" in caplog.text


def test_a_table_with_every_picture_on_both_sides_is_not_trained_on(run_command, fleet_root, tmp_path):
    pictures = sorted(next(fleet_root.iterdir()).glob("image_train/*.jpg"))
    lines = [
        f"{picture},{picture.name[:4]},{picture.name[5:9]},{split}"
        for split in ("train", "test")
        for picture in pictures
    ]
    (tmp_path / "leak.csv").write_text("\n".join(["path,identity,camera,split", *lines]))
    finished = run_command("train.py", "data=csv", "data.path=leak.csv", "loader.identities_per_batch=4")
    assert f"{len(pictures)} pictures of data set 'leak' are in training and in query or gallery" in message_of(
        finished
    )
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_default_network_trains_on_smaller_pictures_than_it_embeds(composed_run, tmp_path) -> None:
    words = ["model.pretrained=null", "trainer=cpu", "callbacks={}", "data.validation=test", f"run_dir={tmp_path}"]
    parts = Parts.of(composed_run(*words))
    dataset = VehicleDataset("cars", images("a_1", "a_2", "b_1"), query=images("c_1"), gallery=images("c_2"))
    module, datamodule = parts.with_data(dataset)
    trained = datamodule.train_transform.preprocessing
    assert (trained.height, trained.width) == (96, 96)
    for given in (datamodule.preprocessing, module.preprocessing):
        assert (given.height, given.width) == (128, 128)
