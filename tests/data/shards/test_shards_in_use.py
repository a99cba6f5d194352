"""Training, evaluation and the commands: the same batches and figures from shards as from loose files."""

from __future__ import annotations

import pytest
from running import run_here
from toy_run import assert_equal
from toy_shards import PREPROCESSING, contents, left_in

from reid_lightning.bundle import bundle
from reid_lightning.data.augmentation.train_transform import TrainTransform
from reid_lightning.data.shards.reading import read_shards
from reid_lightning.training.datamodule import ReIDDataModule


def module(dataset, workers):
    return ReIDDataModule(
        dataset,
        PREPROCESSING,
        train_transform=TrainTransform(PREPROCESSING),
        identities_per_batch=3,
        images_per_identity=4,
        sampling="pk",
        eval_batch_size=16,
        num_workers=workers,
        cache_mib=None,
        seed=3,
    )


def two_epochs(dataset, workers, *, resumed_at=None):
    """All batches of two epochs; with `resumed_at` (epoch, batches) only those behind it, from a new loader."""
    loader = module(dataset, workers).train_dataloader()
    epochs = [0, 1]
    if resumed_at is not None:
        loader.load_state_dict({"epoch": resumed_at[0], "batches": resumed_at[1]})
        epochs = epochs[resumed_at[0] :]
    batches = []
    for epoch in epochs:
        loader.batch_sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_loose_files_and_so_is_a_resumed_training(fleet, shards, workers):
    packed = read_shards(root=shards)
    loose = two_epochs(fleet, 0)
    assert_equal(two_epochs(packed, workers), loose)
    in_an_epoch = len(loose) // 2
    assert in_an_epoch > 2
    assert_equal(two_epochs(packed, workers, resumed_at=(1, 2)), loose[in_an_epoch + 2 :])
    assert_equal(list(module(packed, workers).val_dataloader()), list(module(fleet, 0).val_dataloader()))


def test_evaluation_gives_the_same_figures_and_pictures(run_command, small_model, fleet_root, shards, tmp_path):
    bundle.save_bundle(tmp_path / "bundle", small_model, PREPROCESSING, metrics={}, data={})
    readers = {
        "loose": ("data=synthetic", "data.size=tiny", f"data.root={fleet_root}"),
        "packed": ("data=shards", f"data.root={shards}"),
    }
    for name, words in readers.items():
        settings = ("checkpoint=bundle", "evaluation.num_workers=0", f"hydra.run.dir={name}")
        done = run_command("evaluate.py", *settings, *words)
        assert done.returncode == 0, done.stderr
    for file in ("metrics.json", "pictures/hardest_queries.png", "pictures/ranked_lists.png"):
        one, other = ((tmp_path / name / file).read_bytes() for name in readers)
        assert one == other, file


@pytest.fixture
def command(tmp_path):
    def run(name, *words):
        done = run_here(tmp_path, "reid", "data", name, *words)
        return done.returncode, done.stdout, done.stderr

    return run


def test_the_command_writes_what_the_reader_and_the_report_read(command, fleet, fleet_root, tmp_path):
    words = ("data=synthetic", "data.size=tiny", f"data.root={fleet_root}", "output=out", "shard_mib=1")
    status, output, errors = command("shards", *words)
    assert status == 0, errors
    assert "data=shards" in output and "3 shards" in output
    assert left_in(tmp_path) == ["out"]
    assert contents(read_shards(root=tmp_path / "out")) == contents(fleet)
    status, output, _ = command("report", "data=shards", "data.root=out")
    assert status == 0 and "No problem found" in output
    status, _, errors = command("shards", *words[:3], "output=out")
    assert status == 1 and "exists" in errors and "Traceback" not in errors


def test_mistakes_are_found_before_the_data_is_read(command, tmp_path):
    for words, message in (
        (("output=absent/out",), "absent is no folder that you may write to"),
        (("output=out", "shard_mib=0"), "shard_mib is 0"),
        (("output=out", "shard_mib=big"), "shard_mib is 'big'"),
        ((), "output"),
    ):
        status, _, errors = command("shards", "data=folder", "data.root=nowhere", *words)
        assert status == 1 and message in errors and "nowhere" not in errors
    assert left_in(tmp_path) == []
