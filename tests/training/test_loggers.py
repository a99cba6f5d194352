"""W&B, offline and without a server: what the run's file holds afterwards."""

import json
import struct

import pytest
import wandb
from pytorch_lightning.loggers import CSVLogger
from wandb.errors import AuthenticationError, CommError
from wandb.proto import wandb_internal_pb2

from reid_lightning.errors import ReIDError
from reid_lightning.training.loggers import finishing_wandb, has_wandb_key, log_bundle, wandb_logger

KEY = "0123456789012345678901234567890123456789"
METRICS = {"mAP": 0.819, "cmc": {"1": 0.97, "5": 0.99}, "mINP": 0.4, "protocol": "image to image"}


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    """Neither the key nor the settings of whoever runs the tests."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture
def make_logger(tmp_path):
    def make(**changes):
        settings = {"project": "p", "name": None, "group": None, "job_type": "train", "tags": [], "offline": None}
        return wandb_logger(save_dir=tmp_path, init_timeout=2, finish_timeout=60, **settings | changes)

    return make


BLOCK, HEADER, CHECKSUM = 32768, 7, 4  # of the file of an offline run, which is a LevelDB log behind seven bytes
WHOLE, LAST = 1, 4


def records(folder):
    """What the one offline run below `folder` has recorded."""
    wandb.teardown()  # what `finish` leaves to W&B's own process is written when that ends
    [path] = folder.glob("wandb/offline-run-*/*.wandb")
    data, place, record, found = path.read_bytes(), HEADER, b"", []
    while place + HEADER <= len(data):
        room = BLOCK - place % BLOCK
        if room < HEADER:
            place += room
            continue
        length, kind = struct.unpack_from("<HB", data, place + CHECKSUM)
        record += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (WHOLE, LAST):
            found.append(wandb_internal_pb2.Record.FromString(record))
            record = b""
    return found


def items(record):
    """A record's values by key."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record}


def summary_of(written):
    """The last values of a run by key."""
    summary = {}
    for one in written:
        if one.WhichOneof("record_type") == "summary":
            summary |= items(one.summary.update)
    return summary


def test_a_run_holds_its_group_configuration_metrics_and_the_bundle(make_logger, tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "opts.yaml").write_text("x: 1")
    logger = make_logger(group="a comparison", name="circle", tags=["paper"])
    with finishing_wandb([logger]):
        logger.log_hyperparams({"loss": {"weight": 0.5}})
        logger.log_metrics({"val/mAP": 0.3}, step=7)
        log_bundle([logger, CSVLogger(tmp_path)], bundle, metrics=METRICS, epoch=4)
    assert wandb.run is None
    written = records(tmp_path)
    [run] = [one.run for one in written if one.WhichOneof("record_type") == "run"]
    assert (run.run_group, run.job_type, run.display_name, list(run.tags)) == (
        "a comparison",
        "train",
        "circle",
        ["paper"],
    )
    config = [items(one.config.update) for one in written if one.WhichOneof("record_type") == "config"]
    assert any(one.get("loss") == {"weight": 0.5} for one in config)
    history = [items(one.history.item) for one in written if one.WhichOneof("record_type") == "history"]
    assert any(one.get("val/mAP") == 0.3 and one["trainer/global_step"] == 7 for one in history)
    summary = summary_of(written)
    assert summary["best/mAP"] == 0.819
    assert summary["best/rank-1"] == 0.97
    assert summary["best/epoch"] == 4
    [artifact] = [one.artifact for one in written if one.WhichOneof("record_type") == "artifact"]
    assert artifact.type == "model"
    assert {"best", "epoch-4"} <= set(artifact.aliases)
    assert json.loads(artifact.metadata)["mAP"] == 0.819
    assert [entry.path for entry in artifact.manifest.contents] == ["opts.yaml"]


def test_an_unreachable_server_makes_the_run_an_offline_one(make_logger, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    logger = make_logger()
    with finishing_wandb([logger]):
        logger.log_metrics({"val/mAP": 0.3}, step=1)
    assert "cannot be reached" in caplog.text
    history = [items(one.history.item) for one in records(tmp_path) if one.WhichOneof("record_type") == "history"]
    assert [one["val/mAP"] for one in history] == [0.3]


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


def test_a_sweep_groups_its_runs_with_their_ranked_lists_and_bundles(run_command, fleet_root, tmp_path):
    finished = run_command(
        "train.py", "-m", f"data.root={fleet_root}", "data.size=tiny", "trainer=cpu", "trainer.max_epochs=1",
        "loader.identities_per_batch=4,500", "loader.num_workers=0", "evaluation.num_workers=0", "input.height=32",
        "input.width=32", "model.embedding_dim=32", "evaluation.pictures=false", "logger=wandb",
        "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stderr.endswith("Set loader.identities_per_batch=6 or less.\n")
    assert finished.stderr.count("error: ") == 1
    assert not list((tmp_path / "sweep/1").glob("wandb/*"))  # the job that failed had not come to that
    written = records(tmp_path / "sweep/0")
    [run] = [one.run for one in written if one.WhichOneof("record_type") == "run"]
    assert (run.run_group, run.display_name) == ("sweep", "sweep/0")
    history = [items(one.history.item) for one in written if one.WhichOneof("record_type") == "history"]
    [at] = [one["trainer/global_step"] for one in history if "val/mAP" in one]
    [pictures] = [one for one in history if "val/ranked_lists/filenames" in one]
    assert pictures["trainer/global_step"] == at  # under one another in W&B
    [picture] = pictures["val/ranked_lists/filenames"]
    assert list((tmp_path / "sweep/0").glob(f"wandb/offline-run-*/files/{picture}"))
    metrics = json.loads((tmp_path / "sweep/0/metrics.json").read_text())
    assert summary_of(written)["best/mAP"] == pytest.approx(metrics["mAP"])
    [artifact] = [one.artifact for one in written if one.WhichOneof("record_type") == "artifact"]
    assert {"opts.yaml", "model.safetensors"} <= {entry.path for entry in artifact.manifest.contents}
