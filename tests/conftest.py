"""Shared fixtures: one tiny drawn fleet for the whole session, one small untrained model, a runner for entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"


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
    from reid_lightning.data.synthetic import read_synthetic

    root = tmp_path_factory.mktemp("fleet")
    read_synthetic(root=root, size="tiny")
    return root


@pytest.fixture
def small_model():
    """An untrained ResNet18-IBN-a with an embedding of 32 numbers, in evaluation mode."""
    from reid_lightning.models import ReIDModel

    torch.manual_seed(0)
    return ReIDModel("resnet18", ibn="a", last_stride=2, embedding_dim=32).eval()


@pytest.fixture
def run_command(tmp_path: Path):
    """Run `python <script> <arguments>` from an empty folder, as a user would; returns the finished process."""

    def run(script: str, *arguments: str, timeout: int = 600, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROJECT / script), *arguments]
        variables = {**os.environ, "WANDB_MODE": "offline", "COLUMNS": "200", "OMP_NUM_THREADS": "2", **environment}
        variables.pop("HYDRA_FULL_ERROR", None)
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=timeout)

    return run
