"""A sweep leaves a table of all its jobs, also of those that failed or were stopped."""

import csv
import json
import statistics

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf, open_dict, read_write
from PIL import Image

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.errors import ReIDError
from reid_lightning.sweeps.jobs import (
    RECORD,
    SweepJob,
    SweepPlace,
    read_records,
    swept_keys,
    write_record,
    write_started,
)
from reid_lightning.sweeps.pruning import HISTORY, Verdict, write_history
from reid_lightning.sweeps.results import choices, own_settings, read_sweep, shared_settings
from reid_lightning.sweeps.table import SweepTable, write_sweep_table


def finish(sweep, number, overrides, status="completed", *, mAP=None, message=""):
    """Leave in the sweep's folder what a job leaves."""
    folder = sweep / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    write_record(SweepPlace(sweep, number, folder, tuple(overrides)), status, message)
    if mAP is not None:
        rest = {"metric": "cosine", "ap": "step", "junk": "none", "queries": 1678, "gallery": 11579}
        metrics = {"mAP": mAP, "cmc": {"1": mAP + 0.1}, "mINP": mAP / 2, "protocol": "image to image", **rest}
        (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def sweep(tmp_path):
    """Circle with three seeds, of which one failed; id with two; triplet, pruned; contrastive, killed."""
    folder = tmp_path / "sweep"
    finish(folder, 0, ["model=resnet18", "loss=circle", "seed=1"], mAP=0.50)
    finish(folder, 1, ["model=resnet18", "loss=circle", "seed=2"], mAP=0.56)
    finish(folder, 2, ["model=resnet18", "loss=circle", "seed=3"], "failed", mAP=0.99, message="disk | full")
    finish(folder, 3, ["model=resnet18", "loss=id", "seed=1"], mAP=0.60)
    finish(folder, 10, ["model=resnet18", "loss=id", "seed=2"], mAP=0.62)
    finish(folder, 5, ["model=resnet18", "loss=triplet", "seed=1"], "pruned", mAP=0.10, message="after epoch 2 ...")
    finish(folder, 6, ["model=resnet18", "loss=contrastive", "seed=1"], "running")
    return folder


def test_overrides_are_settings_whatever_sign_they_carry():
    overrides = ("loss=circle", "+trainer.num_nodes=2", "++a.b=x=y", "~callbacks.progress_bar=null", "~callbacks.lr")
    settings = SweepJob(0, "0", overrides, "completed").settings
    assert settings["loss"] == "circle"
    assert settings["trainer.num_nodes"] == "2"
    assert settings["a.b"] == "x=y"
    assert settings["callbacks.progress_bar"] == "null"
    assert settings["callbacks.lr"] == ""


def test_jobs_are_read_by_number_as_they_were_written(sweep):
    jobs = read_records(sweep)
    assert [job.number for job in jobs] == [0, 1, 2, 3, 5, 6, 10]
    assert jobs[2] == SweepJob(2, "2", ("model=resnet18", "loss=circle", "seed=3"), "failed", "disk | full")


def test_seeds_are_taken_together_and_only_finished_jobs_count(sweep):
    table = choices(read_sweep(sweep))
    assert [choice.name for choice in table[:2]] == ["loss=id", "loss=circle"]  # by mean mAP
    assert {choice.name for choice in table[2:]} == {"loss=triplet", "loss=contrastive"}
    circle = table[1]
    assert circle.mean_mAP == pytest.approx(53.0)
    assert circle.summary("mAP") == "53.00 ± 4.24"  # sqrt(3^2 + 3^2) = 4.24: n - 1 below the fraction
    assert circle.summary("rank-1") == "63.00 ± 4.24"
    assert circle.ends == "2 of 3, 1 failed"
    assert table[0].ends == "2"
    pruned = next(choice for choice in table if choice.name == "loss=triplet")
    assert (pruned.summary("mAP"), pruned.ends) == ("", "0 of 1, 1 pruned")
    assert next(choice for choice in table if choice.name == "loss=contrastive").ends == "0 of 1, 1 running"


def test_one_seed_has_no_spread_and_a_sweep_of_seeds_is_one_choice(tmp_path):
    finish(tmp_path, 0, ["seed=1"], mAP=0.5)
    [choice] = choices(read_sweep(tmp_path))
    assert choice.summary("mAP") == "50.00"
    finish(tmp_path, 1, ["seed=2"], mAP=0.7)
    [choice] = choices(read_sweep(tmp_path))
    assert choice.name == "as configured"
    assert choice.summary("mAP") == f"60.00 ± {statistics.stdev([50, 70]):.2f}"


def test_a_key_that_only_some_jobs_have_tells_them_apart(tmp_path):
    finish(tmp_path, 0, ["data=veri776", "optimizer.lr=0.00034567891234"], mAP=0.5)
    finish(tmp_path, 1, ["data=veri776"], mAP=0.7)
    jobs = read_sweep(tmp_path)
    assert [choice.name for choice in choices(jobs)] == ["as configured", "optimizer.lr=0.000346"]
    assert shared_settings(jobs) == {"data": "veri776"}
    assert own_settings(jobs[0].job, jobs) == {"optimizer.lr": "0.00034567891234"}


def test_the_files_show_every_job(sweep):
    write_sweep_table(sweep)
    with (sweep / "sweep.csv").open(newline="") as file:
        rows = {row["job"]: row for row in csv.DictReader(file)}
    assert len(rows) == 7
    assert rows["0"]["loss"] == "circle"
    assert float(rows["0"]["mAP"]) == pytest.approx(50)
    assert float(rows["5"]["mAP"]) == pytest.approx(10)  # where it was stopped
    assert rows["2"]["status"] == "failed"
    assert rows["2"]["mAP"] == ""  # what an earlier run left in that folder is not its score
    assert rows["2"]["message"] == "disk | full"
    assert "AP as step, junk: none; 1,678 queries, gallery of 11,579" in rows["0"]["protocol"]
    text = (sweep / "sweep.md").read_text()
    lines = text.splitlines()
    assert lines[0] == "| | mAP | rank-1 | mINP | jobs |"
    assert lines[2] == "| loss=id | 61.00 ± 1.41 | 71.00 ± 1.41 | 30.50 ± 0.71 | 2 |"
    assert "All jobs: `model=resnet18`" in lines
    assert "- job 2, failed: disk | full" in lines
    assert "- job 6, running: no word of it" in lines
    assert "image to image, cosine, AP as step" in text
    Image.open(sweep / "sweep.png").verify()


def test_the_keys_that_a_sweep_varies_are_those_of_several_values_and_those_that_are_searched(tmp_path):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=["sweep=optuna"], return_hydra_config=True)
    place = SweepPlace(tmp_path, 0, tmp_path / "0", ())
    assert swept_keys(place) == set()  # nobody says so
    typed = ["data=veri776", "loss=circle,id", "+seed=range(1,3)", "optimizer.lr=tag(log,interval(0.1,1))"]
    with open_dict(cfg), read_write(cfg.hydra):
        cfg.hydra.overrides.task = typed
        cfg.hydra.runtime.cwd, cfg.hydra.sweep.dir = "/", str(tmp_path)
    write_started(cfg)
    assert swept_keys(place) == {"loss", "seed", "optimizer.lr", "optimizer.weight_decay"}


def test_nothing_is_written_where_no_job_ran(tmp_path):
    assert write_sweep_table(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def job_config(sweep, number, overrides, *, mode="MULTIRUN"):
    """Hydra's configuration of one job of a sweep."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("export", overrides=[*overrides, f"hydra.mode={mode}"], return_hydra_config=True)
    folder = sweep / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.set_readonly(cfg.hydra, False)
    with open_dict(cfg.hydra):
        cfg.hydra.runtime.output_dir = str(folder)
        cfg.hydra.runtime.cwd = str(sweep.parent)
        cfg.hydra.sweep.dir = sweep.name
        cfg.hydra.job.num = number
        cfg.hydra.overrides.task = list(overrides)
    return cfg


def job_end(cfg, *, value=None, error=None):
    job_return = JobReturn()
    job_return.return_value = value if error is None else error
    job_return.status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
    SweepTable().on_job_end(cfg, job_return)
    return job_return


def test_a_failed_job_does_not_end_the_sweep_but_the_command_fails(tmp_path, capsys):
    sweep, table = tmp_path / "sweep", SweepTable()
    first, second, third = (job_config(sweep, number, [f"checkpoint=run{number}"]) for number in range(3))
    table.on_job_start(first)
    assert read_records(sweep)[0].status == "running"  # as it would stay if it were killed
    assert job_end(first, value=0.25).return_value == 0.25
    assert job_end(second, error=ReIDError("no folder at x.")).return_value == 0.0
    write_history(sweep / "2" / HISTORY, {0: 0.1}, Verdict(0, 0.1, 0.2, 4))
    job_end(third, value=0.1)
    assert [job.status for job in read_records(sweep)] == ["completed", "failed", "pruned"]
    assert (sweep / "sweep.md").is_file()  # before the sweep ends
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        table.on_multirun_end(first)
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert "3 jobs" in printed.out
    assert printed.err == "\nerror: 1 of 3 jobs failed. Job 1 (checkpoint=run1): no folder at x.\n"


def test_a_bug_in_a_job_keeps_its_traceback_in_the_log(tmp_path, caplog):
    try:
        raise KeyError("bug")
    except KeyError as error:
        job_end(job_config(tmp_path / "sweep", 0, ["checkpoint=x"]), error=error)
    assert "KeyError" in read_records(tmp_path)[0].message
    assert "Traceback" in caplog.text


def test_a_run_of_its_own_and_other_ranks_keep_no_record(tmp_path, monkeypatch):
    sweep = tmp_path / "sweep"
    alone = job_config(sweep, 0, ["checkpoint=x"], mode="RUN")
    SweepTable().on_job_start(alone)
    job_end(alone, value=0.5)
    monkeypatch.setenv("SLURM_PROCID", "1")
    SweepTable().on_job_start(job_config(sweep, 1, ["checkpoint=x"]))
    assert not list(sweep.rglob(RECORD))
    SweepTable().on_multirun_end(alone)  # a sweep of another command: nothing to say
    assert not (sweep / "sweep.csv").exists()


@pytest.mark.parametrize("name", ["optuna", "optuna_weights"])
def test_a_search_maximises_and_knows_the_keys_it_searches(name):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=[f"sweep={name}"], return_hydra_config=True)
    sweeper = cfg.hydra.sweeper
    assert sweeper._target_.endswith("OptunaSweeper")
    assert str(sweeper.direction) == "maximize"
    assert cfg.hydra.mode.name == "MULTIRUN"
    assert len(sweeper.params) >= 2
    for key in sweeper.params:
        assert isinstance(OmegaConf.select(cfg, key), float), key
    assert "prune" in cfg.callbacks


def test_without_a_sweep_nothing_is_pruned_or_searched():
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", return_hydra_config=True)
    assert cfg.hydra.mode is None
    assert cfg.hydra.sweeper._target_.endswith("BasicSweeper")
    assert "prune" not in cfg.callbacks


def test_slurm_starts_a_task_and_gives_a_gpu_for_each_rank():
    given = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "trainer=ddp", "trainer.devices=4"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train", overrides=given, return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert (launcher.tasks_per_node, launcher.gpus_per_node, launcher.partition) == (4, 4, "gpu")
