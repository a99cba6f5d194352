"""What a command or an application opens first: the bundle, the gallery and its vectors, times in words."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import torch

from reid_lightning.bundle import OPTS_NAME
from reid_lightning.errors import ReIDError
from reid_lightning.search.embedder import Embedder

LATEST = "latest"


def find_bundle(bundle: str | Path, *, runs: str | Path = "runs") -> Path:
    """The folder of a bundle; `latest` is the newest one below `runs`.

    Raises:
        ReIDError: there is none.
    """
    if str(bundle) != LATEST:
        folder = Path(bundle)
        if not (folder / OPTS_NAME).is_file():
            raise ReIDError(f"bundle={bundle} is not the folder of a bundle; expected {OPTS_NAME} in it.")
        return folder
    found = [path.parent for path in Path(runs).glob(f"train/*/bundle/{OPTS_NAME}")]
    if not found:
        raise ReIDError(
            f"there is no model yet: no bundle below {Path(runs) / 'train'}. Train one (make train, some minutes with "
            "the drawn fleet), or name a bundle's folder: bundle=<folder>."
        )
    return max(found, key=lambda folder: (folder / OPTS_NAME).stat().st_mtime)


def threshold_of(min_score: float | str, embedder: Embedder) -> float:
    """The least score: a number, or the bundle's calibrated threshold for `calibrated`.

    Raises:
        ReIDError: neither, or the bundle has none.
    """
    if min_score != "calibrated":
        if isinstance(min_score, bool) or not isinstance(min_score, int | float):
            raise ReIDError(f"min_score is {min_score!r}; expected a cosine similarity from -1 to 1, or calibrated.")
        return float(min_score)
    if embedder.threshold is None:
        raise ReIDError(
            "min_score=calibrated: this bundle has no calibrated threshold. Put one into it: "
            "python evaluate.py checkpoint=<bundle> data=<your pictures> store_threshold=true; or give a number."
        )
    return embedder.threshold


def seconds_since_1970(time: str | None, *, key: str) -> float | None:
    """A time in words of ISO 8601, such as `2026-01-31T08:00:00+01:00`; without an offset it is local time.

    Raises:
        ReIDError: it is none; `key` is what the user calls it.
    """
    if time is None:
        return None
    try:
        return datetime.fromisoformat(str(time)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ReIDError(f"{key} is {time!r}; expected a time such as 2026-01-31T08:00:00+01:00 (ISO 8601).") from error


def best_device(name: str, *, backend: str = "torch") -> str:
    """`auto` is the GPU when there is one, else the CPU, where ONNX Runtime always runs; any other name is itself."""
    if name != "auto":
        return name
    if backend == "onnx":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
