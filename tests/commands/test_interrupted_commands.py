"""The commands themselves: killed, asked to stop, spread over machines. Slow, for each process imports everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from toy_run import Finished, assert_equal, free_port

from reid_lightning.search import load_reid_model

pytestmark = pytest.mark.slow

SMALL = [
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "loader.identities_per_batch=2",
    "loader.num_workers=0",
    "input.height=32",
    "input.width=32",
    "model=timm",
    "model.backbone=test_efficientnet",
    "model.embedding_dim=16",
    "callbacks.last.every_n_steps=2",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture
def start(project, fleet_root, tmp_path):
    """Start a training from an empty folder, with a file of its output; all that still runs is killed at the end."""
    processes = []

    def start(run, *arguments, launcher=(sys.executable,)):
        command = [*launcher, str(project / "train.py"), f"data.root={fleet_root}", "data.size=tiny", *SMALL]
        output = tmp_path / f"output_{len(processes)}.txt"
        with output.open("w") as file:
            process = subprocess.Popen(
                [*command, f"hydra.run.dir={run}", *arguments],
                cwd=tmp_path,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return SimpleNamespace(process=process, output=output, folder=tmp_path / run)

    yield start
    for process in processes:
        process.kill()
        process.wait()


def status(started):
    return started.process.wait(timeout=600)


def wait_for_rows(started, rows):
    log = started.folder / "logs/metrics.csv"
    while not log.exists() or len(log.read_bytes().splitlines()) <= rows:
        assert started.process.poll() is None, started.output.read_text()
        time.sleep(0.01)


def assert_same_end(run, other):
    one, two = Finished(run, {}), Finished(other, {})
    assert_equal(one.state(), two.state())
    assert one.log == two.log
    bundles = [load_reid_model(folder / "bundle").options for folder in (run, other)]
    assert bundles[0].fingerprint == bundles[1].fingerprint


def test_a_killed_command_given_again_with_resume_auto_ends_as_if_it_had_not_been_killed(start):
    whole = start("whole", "loader.num_workers=2")
    assert status(whole) == 0, whole.output.read_text()
    killed = start("run", "loader.num_workers=2", "resume=auto")
    wait_for_rows(killed, 3)
    killed.process.send_signal(signal.SIGKILL)
    assert status(killed) == -signal.SIGKILL
    again = start("run", "loader.num_workers=2", "resume=auto")
    assert status(again) == 0, again.output.read_text()
    assert_same_end(again.folder, whole.folder)


def test_two_processes_of_one_machine_leave_together_when_the_first_is_told_to_stop(start):
    stopped = start("run", "trainer=ddp_cpu", "trainer.max_epochs=100", "callbacks.last.every_n_steps=100000")
    wait_for_rows(stopped, 2)
    stopped.process.terminate()
    assert status(stopped) == 143, stopped.output.read_text()
    saved = torch.load(stopped.folder / "checkpoints/last.ckpt", weights_only=True)["global_step"]
    output = stopped.output.read_text()
    assert f"stopped after {saved} steps" in output
    assert "Traceback" not in output


def test_two_machines_train_and_export_once(start):
    """The command of the documentation, with the second machine on this one."""
    port = free_port()
    nodes = [
        start(
            "run",
            "trainer=ddp_cpu",
            "trainer.num_nodes=2",
            "trainer.devices=1",
            launcher=[
                *TORCHRUN,
                *f"--nnodes 2 --nproc-per-node 1 --node-rank {node} --master-addr 127.0.0.1".split(),
                *f"--master-port {port}".split(),
            ],
        )
        for node in (0, 1)
    ]
    assert [status(node) for node in nodes] == [0, 0], "\n".join(node.output.read_text() for node in nodes)
    outputs = [node.output.read_text() for node in nodes]
    assert ["wrote " in output for output in outputs].count(True) == 1
    assert {path.name for path in (nodes[0].folder / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
        "last.previous.ckpt",
    }
    assert load_reid_model(nodes[0].folder / "bundle").options.metrics["mAP"] > 0
