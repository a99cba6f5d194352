"""What all commands share: Hydra composition, and one clear message instead of a traceback for user mistakes.

A mistake of the user (a `ReIDError`, an unknown config key, a folder that cannot be written) prints one message and
exits with status 1. Anything else is a bug and keeps its traceback; `HYDRA_FULL_ERROR=1` keeps it for everything.
"""

from __future__ import annotations

import importlib
import inspect
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from hydra.version import setbase
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from reid_lightning.atomic import write_atomically
from reid_lightning.commands import run_folder
from reid_lightning.commands.allocator import keep_freed_memory
from reid_lightning.commands.catalogue import COMMANDS, CONFIG_DIR, Command
from reid_lightning.commands.command_line import CommandLine, as_typed, read_words
from reid_lightning.commands.config_checks import check_values
from reid_lightning.commands.config_mistakes import check_missing, explained
from reid_lightning.commands.config_types import declared_for
from reid_lightning.commands.console import fail
from reid_lightning.commands.logs import keep_back
from reid_lightning.commands.resumed import with_settings_of_run
from reid_lightning.commands.run_folder import RunFolderTaken, release
from reid_lightning.errors import ReIDError, first_line
from reid_lightning.ranks import is_rank_zero
from reid_lightning.redaction import without_secrets
from reid_lightning.user_messages import shown, user_message

_log = logging.getLogger(__name__)

_FULL_ERROR = "HYDRA_FULL_ERROR"
_REPORT = "REID_LIGHTNING_REPORT"
_SWEEP = ("--m", "hydra.mode=", "+hydra.mode=", "++hydra.mode=")  # Hydra takes --multirun shortened, too


def run(command: Command, words: Sequence[str], *, before: Sequence[str] = ()) -> None:
    """Compose `conf/<config>.yaml` and the command line, check both, then import the command's work and call it.

    Args:
        before: the words that name the command, if this process was started with those in front of the others: whoever
            repeats the command line (Lightning, for other ranks) repeats them.
    """
    keep_freed_memory()
    keep_traceback = os.environ.get(_FULL_ERROR, "0") == "1" and _REPORT not in os.environ
    notes: list[str] = []

    def report(error: Exception, line: CommandLine | None = None) -> NoReturn:
        message = None if line is None else explained(error, line)
        message = message or user_message(error)
        if message is None or keep_traceback:
            raise error
        fail(message)

    def check_first(composed: DictConfig) -> None:
        cfg = composed.copy()
        HydraConfig.instance().set_config(cfg)  # the folder's name may be made of it
        with read_write(cfg), read_write(cfg.hydra), open_dict(cfg):
            cfg.hydra.runtime.output_dir = cfg.hydra.run.dir
            HydraConfig.instance().set_config(cfg)
            choices = cfg.pop("hydra").runtime.choices
        check_composed(cfg, command.name, choices=choices)

    def job(cfg: DictConfig) -> object:
        try:
            _log_in_utf8()
            if notes:
                keep_back()
            for note in notes if is_rank_zero() else ():
                _log.info("%s", note)
            check_composed(cfg, command.name, choices=HydraConfig.get().runtime.choices)
            return task_of(command)(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # one job of a sweep: Hydra goes on or stops, as its launcher says
            report(error)

    full_error, argv, line = os.environ.get(_FULL_ERROR), sys.argv[:], None
    os.environ[_FULL_ERROR] = "1"  # Hydra re-raises instead of printing, so that `report` decides
    if not keep_traceback:
        os.environ[_REPORT] = "1"  # processes that the trainer starts inherit both: they report alike
    try:
        if not command.sweeps and any(word == "-m" or word.startswith(_SWEEP) for word in words):
            raise ReIDError(f"reid {command.name} makes no sweeps; start it once for each setting, without -m.")
        run_folder.check_first = check_first
        line = read_words(words, command=command.name, config_name=command.config, config_dir=str(CONFIG_DIR))
        if command.name == "train":
            line, notes[:] = with_settings_of_run(line)
        typed = [*line.options, *as_typed(line)]
        sys.argv[1:] = [*before, *typed]
        parser = get_args_parser()
        setbase("1.3")
        _run_hydra(
            args=parser.parse_args(typed),
            args_parser=parser,
            task_function=job,
            config_path=str(CONFIG_DIR),
            config_name=command.config,
        )
    except Exception as error:
        report(error, line)
    except RunFolderTaken as taken:
        report(taken.error, line)
    finally:
        release()
        run_folder.check_first = None
        sys.argv[:] = argv
        os.environ.pop(_REPORT, None)
        os.environ.pop(_FULL_ERROR) if full_error is None else os.environ.update({_FULL_ERROR: full_error})


def task_of(command: Command) -> Callable[[DictConfig], object]:
    """What a command does, imported."""
    module, _, name = command.task.partition(":")
    task: Callable[[DictConfig], object] = getattr(importlib.import_module(f"reid_lightning.commands.{module}"), name)
    return task


def check_composed(cfg: DictConfig, name: str, *, choices: Mapping[str, str | None]) -> None:
    """ReIDError for a key of a command that has no value, or one that does not fit; see `config_checks`."""
    check_missing(cfg, config=CONFIG_DIR / f"{COMMANDS[name].config}.yaml", choices=choices)
    check_values(cfg, declared_for(name))


def _log_in_utf8() -> None:
    """The files of Hydra's log take every text, whatever the console's encoding."""
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
            handler.stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def build(cfg: DictConfig, group: str) -> Callable[..., Any]:
    """Instantiate a group that is finished at run time (`_partial_: true`); ReIDError for a key its target lacks, and
    for a value that it refuses then, if it is a library's."""
    made = instantiate(cfg[group])
    name = made.func.__qualname__
    try:
        inspect.signature(made.func).bind_partial(**made.keywords)
    except TypeError as error:
        raise ReIDError(f"{group}: {name} {error}. Correct the key below {group}=.") from error

    def finish(*args: Any, **kwargs: Any) -> Any:
        try:
            return made(*args, **kwargs)
        except (TypeError, ValueError) as error:
            said = first_line(error).removesuffix(".")
            keys = (key for key in made.keywords if re.search(rf"\b{key}\b", said))
            values = (f"{group}.{key} is {shown(key, made.keywords[key])}" for key in keys)
            raise ReIDError(f"{next(values, group)}: {name} says: {said}. Correct the key below {group}=.") from error

    return made if made.func.__module__.startswith("reid_lightning.") else finish


def read_dataset(cfg: DictConfig) -> Any:
    """What the reader of `data` makes, less what `data.test_cameras` takes away; `data.validation` is the training's
    own key."""
    from reid_lightning.data.readers.cameras import keep_for_test

    node = cfg.data.copy()
    with open_dict(node):
        node.pop("validation", None)
        cameras = node.pop("test_cameras", None)
    return keep_for_test(instantiate(node), cameras)


def save_config(cfg: DictConfig, run_dir: Path) -> Path:
    """Write the composed and resolved configuration as `config.yaml` into the run directory, without its secrets."""
    return write_atomically(run_dir / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain_config(cfg))))


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain values, without its secrets."""
    content: dict[str, Any] = without_secrets(OmegaConf.to_container(cfg, resolve=True))
    return content
