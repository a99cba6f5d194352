"""A job of a sweep over several processes becomes a command: the same job, alone, and nothing of it stays behind."""

import json
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.errors import ReIDError
from reid_lightning.sweeps.jobs import place_in_sweep
from reid_lightning.sweeps.launching import (
    job_command,
    needs_own_process,
    run_command,
    run_in_own_process,
    started_with,
)
from reid_lightning.training.lightning_internals import starts_its_ranks
from reid_lightning.training.loggers import wandb_logger

HARD_TO_QUOTE = [
    r'model.pretrained="^layer1\.(0|1)[ab]{2},x=${loss.terms.circle.weight} $"',
    "model.backbone='a, b = c'",
    "+note={a: [1, 'two, three']}",
    "~callbacks.progress_bar",
    "loss.terms.circle.weight=0.25",
]


def composed(overrides):
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=overrides, return_hydra_config=True)


@pytest.fixture
def sweep_job(tmp_path):
    """Stand in job 3 of a sweep, in a folder whose name is hard to quote; gives a function of its overrides."""
    folder = tmp_path / "a sweep, 'its=$folder'" / "3"

    def enter(*overrides):
        folder.mkdir(parents=True, exist_ok=True)
        cfg = composed([*overrides, "hydra.mode=MULTIRUN"])
        OmegaConf.set_readonly(cfg.hydra, False)
        with open_dict(cfg.hydra):
            cfg.hydra.overrides.hydra = ["hydra.verbose=false", "hydra.mode=MULTIRUN"]
            cfg.hydra.overrides.task = list(overrides)
            cfg.hydra.runtime.output_dir = str(folder)
            cfg.hydra.runtime.cwd = str(tmp_path)
            cfg.hydra.sweep.dir = folder.parent.name
            cfg.hydra.job.num = 3
            cfg.hydra.job.id = "train_3"
        HydraConfig.instance().set_config(cfg)
        return folder

    before = HydraConfig.instance().cfg
    yield enter
    HydraConfig.instance().cfg = before


def trainer_of(world_size, *, num_nodes=1):
    launcher = _SubprocessScriptLauncher(LightningEnvironment(), world_size, 1)
    return SimpleNamespace(world_size=world_size, num_nodes=num_nodes, strategy=SimpleNamespace(launcher=launcher))


def test_only_a_job_of_a_sweep_whose_ranks_lightning_starts_needs_its_own_process(sweep_job, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert not needs_own_process(trainer_of(2))  # no sweep
    sweep_job()
    assert needs_own_process(trainer_of(2)) and starts_its_ranks(trainer_of(2))
    assert not starts_its_ranks(trainer_of(1))
    assert not starts_its_ranks(SimpleNamespace(world_size=2, strategy=SimpleNamespace(launcher=object())))


def test_ranks_that_each_have_the_whole_sweep_are_refused(sweep_job, monkeypatch):
    sweep_job()
    with pytest.raises(ReIDError, match="launcher=slurm"):
        needs_own_process(trainer_of(4, num_nodes=2))
    monkeypatch.setenv("LOCAL_RANK", "0")  # as torchrun sets it
    with pytest.raises(ReIDError, match="torchrun"):
        needs_own_process(trainer_of(2))
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")  # SLURM starts each rank with one job
    assert not needs_own_process(trainer_of(2, num_nodes=2))


def test_the_command_is_the_same_job_alone_with_its_number_and_folder(sweep_job):
    folder = sweep_job(*HARD_TO_QUOTE)
    command = job_command(["reid", "train"])
    assert command[:3] == [sys.executable, "reid", "train"]
    command = command[1:]
    assert command[2:6] == ["--config-name", "train", "--config-path", str(CONFIG_DIR)]
    again, expected = composed(command[6:]), composed(HARD_TO_QUOTE)
    assert again.model.pretrained == r"^layer1\.(0|1)[ab]{2},x=0.25 $"
    assert {key: again[key] for key in ("note", "loss", "callbacks")} == {
        key: expected[key] for key in ("note", "loss", "callbacks")
    }
    assert again.hydra.mode.name == "RUN"
    assert again.hydra.run.dir == str(folder)
    assert again.hydra.sweep.dir == str(folder.parent)
    assert again.hydra.output_subdir is None
    assert (again.hydra.job.num, again.hydra.job.id) == (3, "train_3")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train.py", "-m", "seed=1"], ["{here}/train.py"]),
        (["/bin/reid", "train", "--config-name", "x", "seed=1"], ["/bin/reid", "train"]),
        (["/bin/reid", "data", "report", "~data.x"], ["/bin/reid", "data", "report"]),
    ],
)
def test_a_command_is_repeated_by_the_words_that_started_it(monkeypatch, words, expected):
    monkeypatch.setattr(sys, "argv", words)
    assert started_with() == [word.format(here=os.getcwd()) for word in expected]


def test_of_a_long_command_inside_another_its_progress_and_its_error_are_shown(capsys):
    lines = "print('epoch 1/4'); print('wrote a'); sys.stderr.write('warning: b\\nerror: no room\\n'); sys.exit(3)"
    status, message = run_command([sys.executable, "-c", f"import sys; {lines}"], only="epoch ")
    said = capsys.readouterr()
    assert (status, message) == (3, "no room")
    assert (said.out, said.err) == ("epoch 1/4\n", "warning: b\n")


def test_the_job_still_knows_its_place_in_the_sweep(sweep_job):
    folder = sweep_job("loss=id", "seed=2")
    HydraConfig.instance().set_config(composed_as_a_run(job_command(["train.py"])[6:], folder))
    place = place_in_sweep()
    assert (place.sweep, place.number, place.folder) == (folder.parent, 3, folder)
    logger = wandb_logger(
        save_dir=folder, project="p", name=None, group=None, job_type="train", tags=[], offline=True,
        init_timeout=1, finish_timeout=1,
    )  # fmt: skip
    assert logger._wandb_init["group"] == folder.parent.name
    assert logger._wandb_init["name"] == "loss=id seed=2"


def composed_as_a_run(overrides, folder):
    cfg = composed(overrides)
    OmegaConf.set_readonly(cfg.hydra, False)
    cfg.hydra.runtime.output_dir = str(folder)
    cfg.hydra.runtime.cwd = str(folder.parents[1])
    return cfg


def test_a_run_of_its_own_is_in_no_sweep():
    assert place_in_sweep() is None
    cfg = composed([])
    HydraConfig.instance().set_config(cfg)
    try:
        assert place_in_sweep() is None
    finally:
        HydraConfig.instance().cfg = None


@pytest.fixture
def run(sweep_job, tmp_path, monkeypatch):
    """Run a few lines of Python as the job's command."""

    script = tmp_path / "script.py"
    monkeypatch.setattr(sys, "argv", [str(script)])

    def start(*lines):
        folder = sweep_job()
        script.write_text("\n".join(["import os, signal, subprocess, sys, time", *lines]))
        return run_in_own_process(folder)

    start.folder = tmp_path / "a sweep, 'its=$folder'" / "3"
    return start


def test_the_job_gives_back_the_mAP_that_its_command_left(run):
    path = run.folder / "metrics.json"
    assert run(f"open({str(path)!r}, 'w').write({json.dumps({'mAP': 0.625})!r})") == 0.625
    assert run("pass") is None  # what an earlier run left there does not count


def test_the_message_of_a_failed_command_is_the_error_and_its_other_words_are_passed_on(run, capfd):
    with pytest.raises(ReIDError) as error:
        run("sys.stderr.write('warning: slow disk\\n\\nerror: no folder at x.\\n  Give another.\\n')", "sys.exit(1)")
    assert str(error.value) == "no folder at x.\n  Give another."
    written = capfd.readouterr().err
    assert "warning: slow disk" in written
    assert "error:" not in written


def test_a_crash_is_told_by_the_rank_that_failed_first(run, capfd):
    lines = ["[rank1]:   File x", "[rank1]: ValueError: the cause", "[rank0]: RuntimeError: Connection closed by peer"]
    with pytest.raises(ReIDError, match=r"^ValueError: the cause$"):
        run(f"sys.stderr.write({chr(10).join(lines)!r})", "sys.exit(1)")
    assert "Connection closed" in capfd.readouterr().err


def test_a_killed_command_is_told_by_its_signal(run):
    with pytest.raises(ReIDError, match=r"was killed by SIGKILL.*has its log"):
        run("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ReIDError, match="ended with status 3"):
        run("sys.exit(3)")


def gone(pid, *, seconds=10.0):
    """Whether a process ends within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


SLEEPER = "rank = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def test_a_failed_command_leaves_no_rank_behind(run, tmp_path):
    note = tmp_path / "pid"
    with pytest.raises(ReIDError):
        run(SLEEPER, f"open({str(note)!r}, 'w').write(str(rank.pid))", "sys.exit(1)")
    assert gone(int(note.read_text()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_command_which_may_finish_its_work(run, tmp_path, number):
    saved, ready = tmp_path / "saved", tmp_path / "ready"
    before = signal.getsignal(signal.SIGTERM)

    def send():
        while not ready.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(SystemExit) as stop:
        run(
            SLEEPER,
            "def save(*_):",
            f"    open({str(saved)!r}, 'w').write(str(rank.pid))",
            "    sys.exit(0)",
            f"signal.signal({int(number)}, save)",
            f"open({str(ready)!r}, 'w').close()",
            "time.sleep(60)",
        )
    thread.join()
    assert stop.value.code == 128 + number
    assert gone(int(saved.read_text()))
    assert signal.getsignal(signal.SIGTERM) == before


PROBE = '''
import hashlib, json, os
from pathlib import Path
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig

class Probe(pl.Callback):
    """Notes what a rank starts with; fails on rank 1 where asked."""

    def __init__(self, folder, note, fail):
        self.folder, self.note, self.fail = Path(folder), note, fail

    def setup(self, trainer, module, stage):
        weights = hashlib.sha256()
        for name, tensor in sorted(module.state_dict().items()):
            weights.update(tensor.detach().contiguous().numpy().tobytes())
        hydra = HydraConfig.get()
        noted = {
            "weights": weights.hexdigest(), "seed": os.environ["PL_GLOBAL_SEED"], "mode": hydra.mode.name,
            "task": list(hydra.overrides.task), "note": self.note, "world": trainer.world_size, "pid": os.getpid(),
        }
        (self.folder / f"rank_{trainer.global_rank}.json").write_text(json.dumps(noted))

    def on_train_start(self, trainer, module):
        if self.fail and trainer.global_rank == 1:
            raise ValueError("on rank 1")
'''


@pytest.mark.slow
def test_a_sweep_over_two_processes_a_job_is_one_run_a_job_and_survives_a_crash(run_process, fleet_root, tmp_path):
    (tmp_path / "rank_probe.py").write_text(PROBE)
    finished = run_process(
        "train.py", "-m", f"data.root={fleet_root}", "data.size=tiny", "trainer=ddp_cpu", "trainer.max_epochs=1",
        "loader.identities_per_batch=2", "loader.num_workers=0", "input.height=32", "input.width=32",
        "model.embedding_dim=32", "evaluation.pictures=false", "hydra.sweep.dir='a sweep'",
        "+callbacks.probe.fail=true,false",
        "+callbacks.probe._target_=rank_probe.Probe", "+callbacks.probe.folder=${run_dir}",
        r'+callbacks.probe.note="^layer1\.(0|1),[ab]={x} $"', PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert finished.returncode == 1
    assert finished.stderr.count("\nerror: ") == 1
    assert "1 of 2 jobs failed" in finished.stderr
    jobs = [tmp_path / "a sweep" / str(number) for number in range(2)]
    assert not (jobs[0] / "metrics.json").exists()
    assert (jobs[1] / "bundle/opts.yaml").is_file()
    folders = {entry.name for entry in (tmp_path / "a sweep").iterdir() if entry.is_dir()}
    assert folders == {"0", "1"} and (tmp_path / "a sweep/sweep.md").is_file()
    for job in jobs:
        zero, one = (json.loads((job / f"rank_{rank}.json").read_text()) for rank in range(2))
        for key in ("weights", "seed", "mode", "task", "note", "world"):
            assert zero[key] == one[key], key
        assert (zero["mode"], zero["world"], zero["note"]) == ("RUN", 2, r"^layer1\.(0|1),[ab]={x} $")
        assert gone(zero["pid"]) and gone(one["pid"])
    records = [json.loads((job / "sweep_job.json").read_text()) for job in jobs]
    assert [record["status"] for record in records] == ["failed", "completed"]
