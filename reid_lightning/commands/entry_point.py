"""What every entry point shares: Hydra composition, and one clear message instead of a traceback for user mistakes.

A mistake of the user (a `ReIDError`, an unknown config key, a folder that cannot be written) prints one message and
exits with status 1. Anything else is a bug and keeps its traceback; `HYDRA_FULL_ERROR=1` keeps it for everything.
"""

from __future__ import annotations

import functools
import inspect
import io
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from reid_lightning.atomic import write_atomically
from reid_lightning.commands.command_line import CommandLine, as_typed, read_words
from reid_lightning.commands.config_checks import check_values
from reid_lightning.commands.config_mistakes import check_missing, explained
from reid_lightning.commands.config_types import declared_for
from reid_lightning.commands.console import fail, safe_console
from reid_lightning.commands.logs import keep_back
from reid_lightning.commands.resumed import with_settings_of_run
from reid_lightning.commands.run_folder import RunFolderTaken, release
from reid_lightning.errors import ReIDError
from reid_lightning.ranks import is_rank_zero
from reid_lightning.redaction import without_secrets
from reid_lightning.user_messages import user_message

CONFIG_DIR = next(folder / "conf" for folder in Path(__file__).resolve().parents[1:3] if (folder / "conf").is_dir())
"""In the installed package, or beside it in a clone."""

_log = logging.getLogger(__name__)

_FULL_ERROR = "HYDRA_FULL_ERROR"
_SWEEP = ("--m", "hydra.mode=", "+hydra.mode=", "++hydra.mode=")  # Hydra takes --multirun shortened, too
_REPORT = "REID_LIGHTNING_REPORT"


def entry_point(
    config_name: str, *, sweeps: bool = True
) -> Callable[[Callable[[DictConfig], object]], Callable[[], None]]:
    """Turn `task(cfg)` into a command: compose `conf/<config_name>.yaml` and the command line, run, report.

    Args:
        sweeps: whether `-m` makes sense. Hydra writes and prints the command lines of a sweep as they are: with the
            passwords of cameras and servers.
    """

    def decorate(task: Callable[[DictConfig], object]) -> Callable[[], None]:
        keep_traceback = os.environ.get(_FULL_ERROR, "0") == "1" and _REPORT not in os.environ
        notes: list[str] = []

        def report(error: Exception, line: CommandLine | None = None) -> NoReturn:
            message = None if line is None else explained(error, line)
            message = message or user_message(error)
            if message is None or keep_traceback:
                raise error
            fail(message)

        @functools.wraps(task)
        def job(cfg: DictConfig) -> object:
            try:
                _log_in_utf8()
                if notes:
                    keep_back()
                for note in notes if is_rank_zero() else ():
                    _log.info("%s", note)
                check_composed(cfg, config_name, choices=HydraConfig.get().runtime.choices)
                return task(cfg)
            except Exception as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise  # one job of a sweep: Hydra goes on or stops, as its launcher says
                report(error)

        def main() -> None:
            before, words, line = os.environ.get(_FULL_ERROR), sys.argv[1:], None
            os.environ[_FULL_ERROR] = "1"  # Hydra re-raises instead of printing, so that `report` decides
            if not keep_traceback:
                os.environ[_REPORT] = "1"  # processes that the trainer starts inherit both: they report alike
            with safe_console(words):
                try:
                    if not sweeps and any(word == "-m" or word.startswith(_SWEEP) for word in words):
                        raise ReIDError(
                            f"{config_name}.py makes no sweeps; start it once for each setting, without -m."
                        )
                    line = read_words(words, config_name=config_name, config_dir=str(CONFIG_DIR))
                    if line is not None:
                        if config_name == "train":
                            line, notes[:] = with_settings_of_run(line)
                        sys.argv[1:] = [*line.options, *as_typed(line)]
                    hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(job)()
                except Exception as error:
                    report(error, line)
                except RunFolderTaken as taken:
                    report(taken.error, line)
                except KeyboardInterrupt:  # what was begun has said what it wrote
                    sys.stderr.write("\nstopped by Ctrl+C\n")
                    sys.exit(130)
                finally:
                    release()
                    sys.argv[1:] = words
                    os.environ.pop(_REPORT, None)
                    os.environ.pop(_FULL_ERROR) if before is None else os.environ.update({_FULL_ERROR: before})

        return main

    return decorate


def check_composed(cfg: DictConfig, config_name: str, *, choices: Mapping[str, str | None]) -> None:
    """ReIDError for a key of a command that has no value, or one that does not fit; see `config_checks`."""
    check_missing(cfg, config=CONFIG_DIR / f"{config_name}.yaml", choices=choices)
    check_values(cfg, declared_for(config_name))


def _log_in_utf8() -> None:
    """The files of Hydra's log take every text, whatever the console's encoding."""
    for handler in logging.root.handlers:
        if isinstance(handler, logging.FileHandler) and isinstance(handler.stream, io.TextIOWrapper):
            handler.stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def build(cfg: DictConfig, group: str) -> Callable[..., Any]:
    """Instantiate a group that is finished at run time (`_partial_: true`); ReIDError for a key its target lacks."""
    made = instantiate(cfg[group])
    try:
        inspect.signature(made.func).bind_partial(**made.keywords)
    except TypeError as error:
        raise ReIDError(f"{group}: {made.func.__qualname__} {error}. Correct the key below {group}=.") from error
    return made


def read_dataset(cfg: DictConfig) -> Any:
    """What the reader of `data` makes; `data.validation` is the training's own key."""
    node = cfg.data.copy()
    with open_dict(node):
        node.pop("validation", None)
    return instantiate(node)


def save_config(cfg: DictConfig, run_dir: Path) -> Path:
    """Write the composed and resolved configuration as `config.yaml` into the run directory, without its secrets."""
    return write_atomically(run_dir / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain_config(cfg))))


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain values, without its secrets."""
    content: dict[str, Any] = without_secrets(OmegaConf.to_container(cfg, resolve=True))
    return content
