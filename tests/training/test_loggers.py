"""W&B, offline and without a server: what the run's file holds afterwards."""

import csv
import io
import json
import re
import subprocess

import numpy as np
import pytest
import wandb
from PIL import Image
from pytorch_lightning.loggers import CSVLogger
from running import reid_command, run_here
from wandb.errors import AuthenticationError, CommError
from wandb.util import get_core_path

from benchmarks.drills.wandb_server import WandbServer
from reid_lightning.errors import ReIDError
from reid_lightning.training.logged_pictures import small_jpeg
from reid_lightning.training.loggers import finishing_wandb, has_wandb_key, wandb_logger

KEY = "0123456789012345678901234567890123456789"


def without_account(patch, home):
    """Neither the key nor the settings of whoever runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        patch.delenv(name, raising=False)
    patch.setenv("HOME", str(home))
    patch.setenv("WANDB_SILENT", "true")


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    without_account(monkeypatch, tmp_path)


@pytest.fixture
def make_logger(tmp_path):
    def make(**changes):
        settings = {"project": "p", "name": None, "group": None, "job_type": "train", "tags": [], "offline": None}
        return wandb_logger(save_dir=tmp_path, init_timeout=2, finish_timeout=60, **settings | changes)

    return make


def records(folder, kind):
    """What the one offline run below `folder` has recorded of a kind, read by W&B's own reader."""
    wandb.teardown()  # what `finish` leaves to W&B's own process is written when that ends
    [path] = folder.glob("wandb/offline-run-*/*.wandb")
    command = [get_core_path(), "leet", "inspect", "-no-observability", "-json", "-run-file", str(path)]
    written = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [one[kind] for one in map(json.loads, written.splitlines()) if one["type"] == kind]


def merged(changes):
    """The last values of the records of a summary or a configuration, by key."""
    values = {}
    for change in changes:
        values |= change.get("update", {})
    return values


def test_an_unreachable_server_makes_the_run_an_offline_one(make_logger, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    logger = make_logger()
    with finishing_wandb([logger]):
        logger.log_metrics({"val/mAP": 0.3}, step=1)
    assert "cannot be reached" in caplog.text
    assert [one["item"]["val/mAP"] for one in records(tmp_path, "history")] == [0.3]


def test_a_server_that_refuses_the_key_is_a_mistake_to_correct(make_logger, monkeypatch):
    def refuse(**settings):
        raise AuthenticationError("invalid key")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ReIDError, match=r"refused.*invalid key.*wandb login"):
        _ = make_logger().experiment


def test_a_resumed_training_goes_on_in_its_run(make_logger, tmp_path):
    first = make_logger(resume="auto").experiment.id  # nothing to go on from yet
    wandb.finish()
    assert make_logger(resume=str(tmp_path)).experiment.id == first
    wandb.finish()
    assert make_logger().experiment.id != first
    wandb.finish()


def test_online_needs_a_key_and_offline_can_be_asked_for(make_logger, monkeypatch, tmp_path):
    modes = []

    def init(**settings):
        modes.append(settings["mode"])
        if settings["mode"] is None:
            raise CommError("no server")

    monkeypatch.setattr(wandb, "init", init)
    _ = make_logger().experiment
    assert modes == ["offline"]
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    _ = make_logger().experiment
    assert modes == ["offline", None, "offline"]  # tried, then kept here
    _ = make_logger(offline=True).experiment
    assert modes[3:] == ["offline"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    _ = make_logger().experiment
    assert modes[4:] == ["offline"]


def test_a_key_is_found_in_the_environment_or_for_the_right_host(monkeypatch, tmp_path):
    assert not has_wandb_key()
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {KEY}\n")
    netrc.chmod(0o600)
    assert has_wandb_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert has_wandb_key()


def test_a_run_that_fails_is_closed_as_failed_and_other_loggers_are_left_alone(make_logger, monkeypatch, tmp_path):
    closed = []
    monkeypatch.setattr(wandb, "finish", lambda exit_code=0: closed.append(exit_code))
    with finishing_wandb([CSVLogger(tmp_path)]):
        pass
    assert closed == []
    with pytest.raises(KeyError), finishing_wandb([make_logger()]):
        raise KeyError("bug")
    with finishing_wandb([make_logger()]):
        pass
    assert closed == [1, 0]


PICTURES = ("ranked_lists", "hardest_queries", "precision_recall", "cmc", "camera_pairs", "scores", "roc")


@pytest.fixture(scope="module")
def swept(fleet_root, tmp_path_factory):
    """The folder of a sweep of two jobs, of which the second one fails."""
    folder = tmp_path_factory.mktemp("swept")
    with pytest.MonkeyPatch.context() as patch:
        without_account(patch, folder)
        finished = run_here(
            folder, "train.py", "-m", f"data.root={fleet_root}", "data.size=tiny", "trainer=cpu",
            "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "loader.identities_per_batch=4",
            "loader.num_workers=0", "evaluation.num_workers=0", "input.height=32", "input.width=32",
            "model.embedding_dim=32", "logger=wandb", "loss=id_triplet", "seed=1,-1",
            "module.layer_decay=choice(0.5)", "hydra.sweep.dir=sweep",
        )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stderr.count("error: ") == 1 and "seed is -1" in finished.stderr
    return folder / "sweep"


def test_a_run_of_a_sweep_is_named_by_what_was_chosen_and_grouped_with_the_others(swept):
    assert not list((swept / "1").glob("wandb/*"))  # the job that failed had not come to that
    [run] = records(swept / "0", "run")
    name = "loss=id_triplet seed=1 module.layer_decay=0.5"
    assert (run["run_group"], run["job_type"], run["display_name"]) == ("sweep", "train", name)
    config = merged([run["config"], *records(swept / "0", "config")])
    flat = {name: config[name] for name in ("loss", "model", "transforms", "data", "optimizer", "seed", "choice")}
    assert flat == {
        "loss": "id_triplet", "model": "efficientnet_lite0", "transforms": "strong", "data": "synthetic",
        "optimizer": "adamw", "seed": 1, "choice": "loss=id_triplet module.layer_decay=0.5",
    }  # fmt: skip
    assert config["config"]["model"]["embedding_dim"] == 32


def test_the_history_has_one_learning_rate_and_pictures_beside_the_validation(swept):
    history = records(swept / "0", "history")
    items = [one["item"] for one in history]
    steps = [one for one in items if "train/loss" in one]
    assert len(steps) > 1 and all("lr" in one for one in steps)
    assert {name for one in items for name in one if re.match("lr|learning", name)} == {"lr"}
    whole = merged([*(one["config"] for one in records(swept / "0", "run")), *records(swept / "0", "config")])
    assert max(one["lr"] for one in steps) > 0.5 * whole["config"]["optimizer"]["lr"]  # the backbone's are below
    with (swept / "0/logs/metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["lr"]]
    assert [float(row["lr"]) for row in rows] == [one["lr"] for one in steps]
    [at] = [one["trainer/global_step"] for one in items if "val/mAP" in one]
    [lists] = [one for one in items if "val/ranked_lists.filenames" in one]
    assert lists["trainer/global_step"] == at  # under one another in W&B


def test_the_summary_has_best_and_final_figures_with_intervals_protocol_and_threshold(swept):
    summary, metrics = merged(records(swept / "0", "summary")), json.loads((swept / "0/metrics.json").read_text())
    shares = {"mAP": metrics["mAP"], "mINP": metrics["mINP"], **{f"rank-{k}": v for k, v in metrics["cmc"].items()}}
    for name, share in shares.items():
        ends = [summary[f"final/{name}_{end}"] for end in ("low", "high")]
        assert (summary[f"final/{name}"], ends) == (share, metrics["confidence_95"][name])
    assert summary["best/mAP"] == pytest.approx(metrics["best_epoch"]["validation_mAP"], abs=1e-6)
    assert summary["best/mAP_low"] <= summary["best/mAP"] <= summary["best/mAP_high"]
    assert summary["best/rank-1"] == pytest.approx(summary["val/rank-1"], abs=1e-6)  # of the only epoch
    assert (summary["best/epoch"], summary["final/epoch"]) == (0, 0)
    assert summary["final/protocol"].startswith("image to image, cosine, AP as")
    assert summary["final/threshold"] == metrics["calibration"]["threshold"]


def test_the_pictures_of_the_end_are_there_and_small(swept):
    logged = {name for one in records(swept / "0", "history") for name in one["item"] if name.endswith(".filenames")}
    assert logged == {f"final/{name}.filenames" for name in PICTURES} | {"val/ranked_lists.filenames"}
    files = list((swept / "0").glob("wandb/offline-run-*/files/media/images/**/*.jpg"))
    assert len(files) == len(logged)
    for path in files:
        with Image.open(path) as picture:
            assert picture.format == "JPEG" and max(picture.size) <= 1200
        assert path.stat().st_size <= 300_000


def test_the_best_bundle_is_an_artifact_of_the_run(swept):
    [artifact] = records(swept / "0", "artifact")
    assert artifact["type"] == "model" and {"best", "epoch-0"} <= set(artifact["aliases"])
    metrics = json.loads((swept / "0/metrics.json").read_text())
    assert json.loads(artifact["metadata"])["mAP"] == pytest.approx(metrics["mAP"])
    assert {"opts.yaml", "model.safetensors"} <= {entry["path"] for entry in artifact["manifest"]["contents"]}


@pytest.fixture
def dashboard(swept, capsys):
    """Give the command for the sweep; returns what it says and the spec that it writes."""

    def give(*words):
        assert reid_command("dashboard", f"folder={swept}", *words) == 0
        return capsys.readouterr().out, json.loads((swept / "dashboard.json").read_text())

    return give


def test_a_dashboard_shows_what_the_runs_of_the_sweep_have_logged(dashboard, swept):
    said, spec = dashboard("entity=team")
    assert said.endswith("not published: give the command again after `wandb login`, with the network.\n")
    assert Image.open(swept / "dashboard.png").width > 1000
    section = spec["spec"]["section"]
    [runs] = section["runSets"]
    assert [(one["key"], one["value"]) for one in runs["filters"]["filters"]] == [
        ({"section": "run", "name": "group"}, "sweep")
    ]
    assert runs["grouping"] == [{"section": "config", "name": "choice.value"}]
    written = records(swept / "0", "history")
    logged = {name.removesuffix(".filenames") for one in written for name in one["item"]}
    summary = merged(records(swept / "0", "summary"))
    configs = [panel["config"] for one in section["panelBankConfig"]["sections"] for panel in one["panels"]]
    bars = {name for one in configs if "vertical" in one for name in one["metrics"]}
    curves = {name for one in configs if "xAxis" in one for name in (*one["metrics"], one["xAxis"])}
    pictures = {name for one in configs for name in one.get("mediaKeys", ())}
    columns = {name.removeprefix("summary:") for name in runs["runFeed"]["columnPinned"]} - {"run:displayName"}
    assert {"val/mAP", "lr", "final/mAP", "final/roc"} < bars | curves | pictures
    assert bars | columns <= set(summary)
    assert curves | pictures <= logged


def test_a_dashboard_is_published_with_a_key(dashboard, monkeypatch):
    server = WandbServer()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    said, spec = dashboard("project=cars")
    assert (spec["project"], spec["entity"]) == ("cars", "")
    assert "published: http" in said and "/drill/cars?nw=drill" in said  # the entity of the key's owner
    assert server.seen["UpsertView2"] == 1

    def refuse():
        raise CommError("no server")

    monkeypatch.setattr(wandb, "Api", refuse)
    assert "not published, for W&B did not take it; give the command again later. (no server)" in dashboard()[0]
    server.die()


def test_a_dashboard_wants_a_sweep_and_a_name_that_wandb_can_filter(swept, tmp_path, capsys):
    assert reid_command("dashboard", f"folder={tmp_path}") == 1
    assert "holds no jobs of a sweep; expected such as" in capsys.readouterr().err
    assert reid_command("dashboard", f"folder={swept}", "group=loss=a") == 1
    assert "take no =" in capsys.readouterr().err


def test_a_picture_of_noise_is_made_small_enough(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    small = small_jpeg(tmp_path / "noise.png")
    assert len(small) <= 300_000 and max(Image.open(io.BytesIO(small)).size) <= 1200
