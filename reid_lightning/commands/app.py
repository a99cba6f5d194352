"""Serve the application: `reid app [gallery=...] [bundle=...] ...`."""

import os
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from reid_lightning.commands.catalogue import CONFIG_DIR
from reid_lightning.errors import extra

PAGE = Path(__file__).resolve().parents[1] / "app" / "main.py"


def app(cfg: DictConfig) -> None:
    """Become Streamlit's server, which reads the same keys again; `STREAMLIT_...` variables are its own settings."""
    with extra("app"):
        import streamlit  # noqa: F401
    hydra = HydraConfig.get()
    first = next(source.path for source in hydra.runtime.config_sources if source.provider == "main")
    words = [] if Path(first) == CONFIG_DIR else ["--config-dir", first]
    command = [sys.executable, "-m", "streamlit", "run", str(PAGE), "--", *words, *hydra.overrides.task]
    sys.stdout.flush()
    os.execv(sys.executable, command)
