"""Shared fixtures: one tiny drawn fleet for the whole session, one small untrained model, a runner for entry points."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: a thread for each of the test processes
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from running import PROJECT, run_here
from torch import multiprocessing

SHARED_DATA = PROJECT.parent / "shared" / "data"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells have it for what they start in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a process that a test starts shall find imported: the server that starts it imports once for all of them. It is
# no fork of this process, which after a compilation or a convolution on several threads would crash or hang.
multiprocessing.set_forkserver_preload(
    ["pytest", "reid_lightning.losses", "reid_lightning.evaluation.metrics", "reid_lightning.commands.preflight"]
)


@pytest.fixture(autouse=True)
def no_run_of_hydra_left():
    """What a command that a test runs in this process said to Hydra about its run ends with the test."""
    yield
    if "hydra.core.hydra_config" in sys.modules:
        sys.modules["hydra.core.hydra_config"].HydraConfig.instance().cfg = None


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root folder."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real pictures and label files, read where they lie."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real data is not beside the project")
    return SHARED_DATA


@pytest.fixture(scope="session")
def fleet_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's tiny fleet is drawn: pass it as data.root with data.size=tiny."""
    from reid_lightning.synthetic.fleet import read_synthetic

    root = tmp_path_factory.mktemp("fleet")
    read_synthetic(root=root, size="tiny")
    return root


@pytest.fixture
def small_model():
    """An untrained ResNet18-IBN-a with an embedding of 32 numbers, in evaluation mode."""
    from reid_lightning.models import ReIDModel

    torch.manual_seed(0)
    return ReIDModel("resnet18", ibn="a", last_stride=2, embedding_dim=32).eval()


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest model, exported. Not trained: the colours of drawn vehicles are far enough apart for any network."""
    from reid_lightning.bundle.bundle import save_bundle
    from reid_lightning.data.images.preprocessing import Preprocessing
    from reid_lightning.models import ReIDModel

    torch.manual_seed(0)
    model = ReIDModel("test_resnet", ibn=None, last_stride=2, pooling="avg", neck="none", embedding_dim=16).eval()
    return save_bundle(tmp_path_factory.mktemp("model") / "bundle", model, Preprocessing(32, 32), metrics={}, data={})


@pytest.fixture
def run_process(tmp_path: Path):
    """Run `python <script> <arguments>` in a process of its own from an empty folder, as a user would."""

    def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROJECT / script), *arguments]
        variables = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1", **environment}
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=900)

    return run


@pytest.fixture
def run_command(tmp_path: Path):
    """The same inside this process, which saves ten seconds of imports a command."""
    return functools.partial(run_here, tmp_path)


@pytest.fixture
def composed_run():
    """Gives a function of words: the configuration of `reid train` with them, as Hydra has it while a run goes on."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    from reid_lightning.commands.catalogue import CONFIG_DIR

    before = HydraConfig.instance().cfg

    def start(*words):
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("train", overrides=list(words), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return cfg

    yield start
    HydraConfig.instance().cfg = before
