"""Serve the application: `reid app [gallery=...] [bundle=...] ...`."""

import os
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from reid_lightning.errors import extra

PAGE = Path(__file__).resolve().parents[1] / "app" / "main.py"


def app(cfg: DictConfig) -> None:
    """Become Streamlit's server, which reads the same keys again; `STREAMLIT_...` variables are its own settings."""
    with extra("app"):
        import streamlit  # noqa: F401
    command = [sys.executable, "-m", "streamlit", "run", str(PAGE), "--", *HydraConfig.get().overrides.task]
    sys.stdout.flush()
    os.execv(sys.executable, command)
