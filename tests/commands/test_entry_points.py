"""The entry points as a user starts them: from another folder, with a command line."""

import csv
import json
import math
import re
import shutil

import pytest
import torch
import yaml

from reid_lightning.bundle.bundle import open_model
from reid_lightning.search import load_reid_model

FAST = [
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
    "trainer.check_val_every_n_epoch=1",
    "loader.identities_per_batch=4",
    "loader.num_workers=0",
    "input.height=32",
    "input.width=32",
    "model.embedding_dim=32",
]


@pytest.fixture(scope="module")
def tiny(fleet_root):
    return [f"data.root={fleet_root}", "data.size=tiny"]


@pytest.fixture
def train(run_command, tiny):
    return lambda *arguments: run_command("train.py", *tiny, *FAST, *arguments)


@pytest.fixture
def train_process(run_process, tiny):
    return lambda *arguments, **variables: run_process("train.py", *tiny, *FAST, *arguments, **variables)


def logged(run, column):
    """The whole numbers of one column of a run's metrics.csv."""
    with (run / "logs/metrics.csv").open(newline="") as file:
        return [int(row[column]) for row in csv.DictReader(file) if row[column]]


def error_of(finished):
    """The one message of a run that failed as it should: status 1, no traceback."""
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr, finished.stderr
    assert finished.stderr.count("error: ") == 1, finished.stderr
    return finished.stderr.split("error: ")[1]


def test_train_evaluate_and_export_leave_what_the_readme_promises(train_process, train, run_command, tiny, tmp_path):
    finished = train_process("hydra.run.dir=run", "callbacks.average_with_start.when=never")
    assert finished.returncode == 0, finished.stderr
    run = tmp_path / "run"
    for name in ("config.yaml", "train.log", "logs/metrics.csv", "pictures/ranked_lists.png", "bundle/model_card.md"):
        assert (run / name).is_file(), name
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["protocol"] == "image to image"
    assert metrics["junk"] == "same identity and same camera"
    assert "mAP" in finished.stdout
    log = (run / "train.log").read_text()
    assert re.search(r"INFO epoch 1/1: loss [\d.]+ \(id .*\), mAP [\d.]+, rank-1 [\d.]+; ", log)
    assert f"INFO wrote {run / 'bundle'}\n" in log.replace("wrote run/", f"wrote {run}/")
    assert "epoch 1/1: loss" in finished.stdout and "v_num" not in finished.stdout
    assert "UserWarning" not in finished.stdout + finished.stderr
    measured = metrics["best_epoch"]["measured_on"]
    assert measured == "pictures of 2 of 8 training identities, which were put aside"
    assert f"one epoch validated, so none chosen, on {measured} (mAP " in " ".join(finished.stdout.split())
    assert "best epoch" not in finished.stdout
    assert "run/bundle" in finished.stdout
    assert "Traceback" not in finished.stderr
    header = (run / "logs/metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/id", "train/contrastive", "train/circle", "train/loss", "val/mAP", "val/rank-1"} <= set(header)

    best = open_model(run / "checkpoints/best.ckpt")
    bundle = load_reid_model(run / "bundle/opts.yaml", run / "bundle/model.safetensors")
    assert bundle.options.fingerprint == best.options.fingerprint == metrics["model"]
    assert bundle.options.metrics["mAP"] == metrics["mAP"] != best.options.data["validation mAP"]
    assert bundle.options.data["validation mAP"] == pytest.approx(best.options.data["validation mAP"], abs=1e-6)
    assert (bundle.options.data["training identities"], best.options.metrics) == (6, {})
    assert (run / "checkpoints/last.ckpt").is_file()

    evaluated = run_command("evaluate.py", *tiny, "checkpoint=run/checkpoints/best.ckpt", "hydra.run.dir=evaluated")
    assert evaluated.returncode == 0, evaluated.stderr
    again = json.loads((tmp_path / "evaluated/metrics.json").read_text())
    assert again["mAP"] == pytest.approx(metrics["mAP"], abs=1e-6)
    assert again["best_epoch"] == pytest.approx(metrics["best_epoch"], abs=1e-6)
    assert (tmp_path / "evaluated/pictures/ranked_lists.png").is_file()

    exported = run_command("export.py", "checkpoint=run/bundle", "formats=[safetensors]", "hydra.run.dir=exported")
    assert exported.returncode == 0, exported.stderr
    report = json.loads((tmp_path / "exported/bundle/exports.json").read_text())
    assert report["fingerprint"] == metrics["model"]
    assert set(report["largest_difference_to_eager"]) == {"safetensors"}  # others: test_exporters
    assert all(difference <= 1e-4 for difference in report["largest_difference_to_eager"].values())
    for name in ("model.safetensors", "opts.yaml"):
        assert (tmp_path / "exported/bundle" / name).is_file()
    log = (tmp_path / "exported/export.log").read_text().splitlines()
    assert [re.sub(r"^.* INFO ", "", line) for line in log] == exported.stdout.splitlines()

    other = train("hydra.run.dir=other", "resume=run/checkpoints/last.ckpt", "model.ibn=b")
    assert "another architecture" in error_of(other)
    more = train("hydra.run.dir=more", "resume=run/checkpoints/last.ckpt", "trainer.max_epochs=2")
    assert more.returncode == 0, more.stderr
    epochs, steps = (logged(tmp_path / "more", name) for name in ("epoch", "step"))
    assert set(epochs) == {1}
    assert min(steps) == max(logged(run, "step")) + 1

    other = train("hydra.run.dir=other", "resume=run/checkpoints/last.ckpt", "loss=circle")
    assert "another loss" in error_of(other)
    other = train("hydra.run.dir=other", "resume=run/checkpoints/last.ckpt", "input.height=48")
    assert "input" in error_of(other)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert "trainer.max_epochs" in error_of(run_command("train.py", "resume=run"))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    other = run_command("train.py", "resume=run", "trainer.max_epochs=2", "seed=1")
    assert "other identities" in error_of(other) and "validated on vehicles that it knows" in other.stderr
    longer = run_command("train.py", "resume=run", "trainer.max_epochs=2")
    assert longer.returncode == 0, longer.stderr
    assert f"going on with the settings of {run}; changed: trainer.max_epochs=2 (was 1)" in longer.stdout
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["embedding_dim"] == 32
    assert "trainer.max_epochs=2" in yaml.safe_load((run / ".hydra/overrides.yaml").read_text())
    assert set(logged(run, "epoch")) == {0, 1}


@pytest.mark.parametrize(
    "loss",
    ["circle", "id_triplet", *(pytest.param(one, marks=pytest.mark.slow) for one in ("id", "contrastive", "triplet"))],
)
def test_every_loss_trains_and_logs_its_terms(train, tmp_path, loss):
    finished = train(f"loss={loss}", "hydra.run.dir=run", "evaluation.pictures=false", "~callbacks.ranked_lists")
    assert finished.returncode == 0, finished.stderr
    header, *rows = (tmp_path / "run/logs/metrics.csv").read_text().splitlines()
    for term in loss.split("_"):
        column = header.split(",").index(f"train/{term}")
        values = [float(row.split(",")[column]) for row in rows if row.split(",")[column]]
        assert values and all(math.isfinite(value) for value in values)


@pytest.mark.slow  # test_loggers has an offline run in this process
def test_wandb_works_offline_without_a_key(train_process, tmp_path):
    finished = train_process("logger=wandb", "hydra.run.dir=run", WANDB_MODE="", WANDB_API_KEY="", HOME=str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    runs = list((tmp_path / "run/wandb").glob("offline-run-*"))
    assert len(runs) == 1
    assert list(runs[0].glob("files/media/images/**/*.jpg"))
    binary = next(runs[0].glob("*.wandb")).read_bytes()
    assert b"val/mAP" in binary
    assert b"identities_per_batch" in binary


def test_tensorboard_gets_metrics_and_pictures(train, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finished = train("logger=tensorboard", "hydra.run.dir=run")
    assert finished.returncode == 0, finished.stderr
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert "val/mAP" in events.Tags()["scalars"]
    assert {"val/ranked_lists", "final/hardest_queries", "final/roc"} <= set(events.Tags()["images"])


@pytest.mark.slow  # test_ddp has the parts, in one start of two processes
def test_two_processes_train_and_score_what_one_process_scores(train_process, tmp_path):
    finished = train_process(
        "trainer=ddp_cpu", "loader.identities_per_batch=2", "data.validation=test", "hydra.run.dir=run"
    )
    assert finished.returncode == 0, finished.stderr
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())  # the bundle, evaluated by one process
    in_training = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["reid"]["metrics"]
    assert in_training["mAP"] == pytest.approx(metrics["mAP"], abs=1e-6)
    assert in_training["queries"] == metrics["queries"]
    assert metrics["best_epoch"] == {"measured_on": "the very query and gallery pictures of the final figures"}
    assert finished.stdout.count("wrote ") == len(set(finished.stdout.split("wrote "))) - 1  # printed by one rank only


@pytest.mark.slow  # test_loggers and test_evaluation have sweeps
def test_a_sweep_trains_once_for_each_choice(run_command, tiny, tmp_path):
    finished = run_command("train.py", "-m", *tiny, *FAST, "loss=id,circle", "hydra.sweep.dir=sweep")
    assert finished.returncode == 0, finished.stderr
    losses = [
        set(yaml.safe_load((tmp_path / f"sweep/{job}/config.yaml").read_text())["loss"]["terms"]) for job in (0, 1)
    ]
    assert losses == [{"id"}, {"circle"}]
    assert (tmp_path / "sweep/1/bundle/opts.yaml").is_file()


def test_a_debugging_run_writes_neither_checkpoint_nor_bundle(train, tmp_path):
    finished = train("trainer=debug", "hydra.run.dir=run")
    assert finished.returncode == 0, finished.stderr
    assert not (tmp_path / "run/bundle").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data=veri776", "data.root=nowhere"], ["nowhere", "image_train"]),
        (["data=veri776"], ["data.root"]),
        (["loader.identities_per_batch=500"], ["loader.identities_per_batch=500", "identities"]),
        (["loader.identitys_per_batch=4"], ["identitys_per_batch", "identities_per_batch"]),
        (["+loss.colour=1"], ["colour"]),
        (["loss=cosine"], ["loss=cosine", "id_triplet"]),
        (["looss=id"], ["looss", "did you mean loss"]),
        (["model=timm", "model.backbone=resnet19"], ["resnet19", "did you mean"]),
        (["model.pretrained=weights.pth"], ["weights.pth"]),
        (["trainer=gpu"], ["no GPU", "trainer=cpu"]),
        (["resume=nowhere.ckpt"], ["nowhere.ckpt"]),
        (["input.height=4"], ["input.height"]),
        (["+optimizer.momentm=0.9"], ["momentm", "optimizer"]),
        (["+trainer.max_epoch=3"], ["max_epoch", "trainer"]),
        (["+loader.workers=3"], ["workers", "loader"]),
        (["model=timm", "model.backbone=mixer_s32_224"], ["mixer_s32", "96 x 96", "input.height"]),
        (["loader.num_workers=-1"], ["loader.num_workers"]),
        (["trainer=ddp_cpu", "loader.identities_per_batch=5"], ["on each of 2 ranks", "identities"]),
        (["hydra.run.dir=/dev/null/run"], ["/dev/null is a device", "expected a folder"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and "=" in value[-1] else "",
)
def test_mistakes_are_one_clear_message_before_training(run_command, tiny, arguments, words, tmp_path):
    if arguments == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    fleet = [] if arguments[0].startswith("data=") else [*tiny, "loader.identities_per_batch=4"]
    finished = run_command("train.py", *fleet, *arguments)
    message = error_of(finished)
    for word in words:
        assert word in message
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_truncated_picture_is_named_or_skipped(run_command, fleet_root, tmp_path):
    root = tmp_path / "fleet"
    shutil.copytree(fleet_root, root)
    picture = sorted(next(root.iterdir()).glob("image_train/*.jpg"))[3]
    picture.write_bytes(picture.read_bytes()[:-200])
    veri = ["data=veri776", f"data.root={picture.parent.parent}"]
    assert picture.name in error_of(run_command("train.py", *veri, *FAST))
    skipped = run_command("train.py", *veri, *FAST, "data.on_bad_image=skip", "hydra.run.dir=run")
    assert skipped.returncode == 0, skipped.stderr
    assert picture.name in (tmp_path / "run/train.log").read_text()
    assert yaml.safe_load((tmp_path / "run/bundle/opts.yaml").read_text())["data"]["skipped pictures"] == 1
