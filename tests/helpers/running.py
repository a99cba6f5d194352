"""Commands of the project inside the process of the tests."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import runpy
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from reid_lightning.commands.main import main

PROJECT = Path(__file__).resolve().parents[2]
_ALLOCATOR = "reid_lightning.commands.entry_point.keep_freed_memory"  # would change the process of all other tests


def run_here(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python <script> <arguments>` or `reid <arguments>` from `folder`, inside this process; `-m` and a module do as
    well."""
    output, errors, status = io.StringIO(), io.StringIO(), 0
    handlers = logging.root.handlers[:]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [script, *arguments] if script != "-m" else list(arguments))
        patch.setattr(_ALLOCATOR, lambda: False)
        if "onnx=true" not in arguments:  # seconds a training, for a file that few tests look at
            patch.setattr("reid_lightning.bundle.exporters.add_onnx", lambda bundle: False)
        try:
            if script == "-m":
                runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
            elif script == "reid":
                main()
            else:
                name = Path(script).stem
                getattr(importlib.import_module(name), name)()
        except SystemExit as stop:
            status = stop.code or 0
        except Exception:
            traceback.print_exc()
            status = 1
    for handler in [one for one in logging.root.handlers if one not in handlers]:  # Hydra's log files
        logging.root.removeHandler(handler)
        handler.close()
    logging.root.handlers[:] = handlers
    return subprocess.CompletedProcess([script, *arguments], status, output.getvalue(), errors.getvalue())


def gallery_command(*words: str) -> int:
    """`reid gallery <words>` inside this process; returns the exit status."""
    return reid_command("gallery", *words)


def reid_command(*words: str) -> int:
    """`reid <words>` inside this process, with the output left where it goes; returns the exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["reid", *words])
        patch.setattr(_ALLOCATOR, lambda: False)
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0
