"""`resume=<run>` goes on with the run's own settings: its recorded words come before those that are typed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from reid_lightning.atomic import write_atomically
from reid_lightning.commands.command_line import CommandLine, quoted
from reid_lightning.commands.config_mistakes import RENAMED, explained
from reid_lightning.errors import ReIDError, first_line, shortened
from reid_lightning.redaction import MASK
from reid_lightning.sweeps.jobs import place_in_sweep

_BEFORE = {"data.validation": "test"}
"""Keys that are younger than some runs, with what those runs did."""
_NAMED = 8  # keys in a message
_NOT_OF_A_RUN = ("resume", "sweep")


@dataclass(frozen=True)
class _Record:
    """What a run's folder says of its settings."""

    folder: Path
    words: tuple[str, ...]
    choices: Mapping[str, Any]
    values: DictConfig
    searchpath: tuple[str, ...]
    more_configs: str | None

    @classmethod
    def of(cls, folder: Path) -> _Record | None:
        """None where the folder is not a run's, or that of a run that recorded nothing."""
        try:
            words: Any = OmegaConf.load(folder / ".hydra/overrides.yaml")
            hydra = OmegaConf.load(folder / ".hydra/hydra.yaml").hydra
            values: Any = OmegaConf.load(folder / "config.yaml")
        except OSError:
            return None
        sources = [one.path for one in hydra.runtime.config_sources if one.provider == "command-line"]
        return cls(
            folder,
            tuple(_renamed(word) for word in words if _key(word) not in _NOT_OF_A_RUN),
            hydra.runtime.choices,
            values,
            tuple(word for word in hydra.overrides.hydra if _key(word) == "hydra.searchpath"),
            sources[0] if sources else None,
        )


def with_settings_of_run(line: CommandLine) -> tuple[CommandLine, list[str]]:
    """The command line with the settings of the run that `resume` names, and what is to be said of that.

    A run's folder goes on where it is, unless `hydra.run.dir` is given; a checkpoint file starts a folder of its own.
    What is typed counts more than what the run recorded, and what the run recorded more than today's defaults.

    Raises:
        ReIDError: there are no such settings any more.
    """
    path = _resumed(line)
    record = None if path is None else _Record.of(_run_of(path))
    if path is None or record is None:
        return line, []
    typed = [word for word in line.overrides if not _key(word).startswith("hydra.")]
    before = replace(line, more_configs=line.more_configs or record.more_configs)
    try:
        words, cfg = _words_of(record, before)
    except Exception as error:
        mistake = explained(error, replace(before, overrides=record.words)) or first_line(error)
        raise ReIDError(
            f"resume={shortened(str(path))}: {record.folder} was trained with settings that are none any more: "
            f"{mistake} Start a run of today's settings with model.pretrained=<its checkpoint>."
        ) from error
    kept = [word for word in words if not _is_replaced(word, typed, cfg.hydra.runtime.choices)]
    own = {} if path.is_file() else {"hydra.run.dir": quoted(os.fspath(record.folder))}
    given = {_key(word): word for word in line.overrides}
    folder = given["hydra.run.dir"].partition("=")[2].strip("'\"") if "hydra.run.dir" in given else None
    if path.is_dir() if folder is None else Path(folder).resolve() == record.folder.resolve():
        own["hydra.output_subdir"] = "null"  # written by `record_words`, when all is checked
    hydra = [f"{key}={value}" for key, value in ({"hydra.mode": "RUN"} | own).items() if key not in given]
    options = line.options
    if line.more_configs is None and record.more_configs is not None:
        options = (*options, "--config-dir", record.more_configs)
    went_on = replace(before, options=options, overrides=(*record.searchpath, *kept, *line.overrides, *hydra))
    return went_on, _notes(record, typed, cfg)


def record_words(cfg: DictConfig) -> None:
    """Write what Hydra would have written before the checks, where `with_settings_of_run` kept it from that."""
    hydra = HydraConfig.get()
    if cfg.resume is None or hydra.output_subdir is not None or place_in_sweep() is not None:
        return
    folder = Path(hydra.runtime.output_dir) / ".hydra"
    contents: dict[str, Any] = {"overrides": hydra.overrides.task, "config": cfg, "hydra": {"hydra": hydra}}
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / f"{name}.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))


def _resumed(line: CommandLine) -> Path | None:
    """What `resume` names, where it names something that is there."""
    values = [word.partition("=")[2].strip("'\"") for word in line.overrides if _key(word) == "resume"]
    if line.sweep or not values or values[-1] in ("", "null", "auto"):
        return None
    path = Path(values[-1]).expanduser()
    return path if path.exists() else None


def _run_of(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    return (folder.parent if folder.absolute().name == "checkpoints" else folder).absolute()


def _words_of(record: _Record, line: CommandLine) -> tuple[list[str], DictConfig]:
    """The words that give a run's settings today, and the configuration of them."""
    words = list(record.words)
    cfg = line.composed([*record.searchpath, *words])
    today = cfg.hydra.runtime.choices
    chosen = {_key(word) for word in words}
    for group, choice in record.choices.items():
        ours = group in today and group not in chosen and not str(group).startswith(("hydra/", *_NOT_OF_A_RUN))
        if ours and choice != today[group] and choice is not None:
            words.insert(0, f"{group}={_written(choice)}")
    if len(words) > len(record.words):
        cfg = line.composed([*record.searchpath, *words])
    words += [f"{key}={_written(value)}" for key, value in _differences(cfg, record.values)]
    return words, cfg


def _differences(cfg: DictConfig, values: DictConfig) -> Iterator[tuple[str, Any]]:
    """Keys that the run recorded with another value than today's files give, with that value."""
    for key, value in _leaves(cfg):
        nothing = object()
        came = OmegaConf.select(values, key, default=nothing)
        if came is nothing:
            if key in _BEFORE:
                yield key, _BEFORE[key]
        elif not isinstance(came, DictConfig) and came != value and MASK not in str(came):
            yield key, came


def _leaves(node: DictConfig, above: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values that stand in the files themselves: neither what is interpolated nor what a key names as code."""
    for name in map(str, node):
        key = f"{above}{name}"
        if name.startswith("_") or key in ("hydra", *_NOT_OF_A_RUN) or OmegaConf.is_interpolation(node, name):
            continue
        value = None if OmegaConf.is_missing(node, name) else node[name]
        if isinstance(value, DictConfig):
            yield from _leaves(value, f"{key}.")
        elif not isinstance(value, ListConfig) or not any(isinstance(one, DictConfig | ListConfig) for one in value):
            yield key, value


def _written(value: Any) -> str:
    """A plain value in Hydra's writing."""
    if isinstance(value, list | tuple | ListConfig):
        return f"[{','.join(map(_written, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if isinstance(value, int | float) else quoted(str(value))


def _is_replaced(word: str, typed: Sequence[str], choices: Mapping[str, Any]) -> bool:
    """Whether what is typed takes the place of a recorded word: its key, or a choice of the group that it is in."""
    key = _key(word).replace("/", ".")
    for other in typed:
        group = _key(other).partition("@")[0]
        if key == group.replace("/", ".") or (group in choices and key.startswith(group.replace("/", ".") + ".")):
            return True
    return False


def _notes(record: _Record, typed: Sequence[str], cfg: DictConfig) -> list[str]:
    choices, nothing = cfg.hydra.runtime.choices, "not there"
    changed = []
    for word in typed:
        key, _, value = word.lstrip("+").partition("=")
        if key in _NOT_OF_A_RUN:
            continue
        was = choices[key] if key in choices else OmegaConf.select(record.values, key, default=nothing)
        if str(was) != value:
            changed.append(f"{shortened(word)} (was {shortened(str(was))})")
    kept = [key for key, _ in _differences(cfg, record.values)]
    notes = [f"going on with the settings of {record.folder}" + ("; changed: " + ", ".join(changed) if changed else "")]
    if kept:
        more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
        notes.append(f"today's defaults are others; as in that run: {', '.join(kept[:_NAMED])}{more}")
    return notes


def _renamed(word: str) -> str:
    key, equals, value = word.partition("=")
    first, dot, rest = key.partition(".")
    return f"{RENAMED.get(first, first)}{dot}{rest}{equals}{value}"


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
