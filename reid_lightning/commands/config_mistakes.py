"""What a user is told of a key or a choice that does not exist, and of a key that wants a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from reid_lightning.commands.command_line import CommandLine
from reid_lightning.errors import ReIDError, shortened

RENAMED = {"vectors": "stores"}
"""Keys and groups by the names that they had in earlier releases."""


def explained(error: BaseException, line: CommandLine) -> str | None:
    """A message for what could not be composed; None where the words of the command line have nothing to do with it."""
    if isinstance(error, MissingConfigException):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if not group:
            return f"--config-name is {shortened(choice)}: there is no such file in the folder of the configuration."
        several = " Several are the jobs of a sweep: -m." if "," in choice else ""
        return f"{group}={shortened(choice)}: there is no such choice. {_likely(choice, error.options or ())}{several}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _unknown_key(line)
    return None


def _unknown_key(line: CommandLine) -> str | None:
    """A message for the first key of the command line that the configuration does not have."""
    keys = [word.partition("=")[0] for word in line.overrides if not word.startswith("+")]
    try:
        groups = line.composed().hydra.runtime.choices
        cfg = line.composed([word for word in line.overrides if word.partition("=")[0] in groups])
    except Exception:
        return None
    names = list(dict.fromkeys([*groups, *_names(cfg)]))
    for key in (key.lstrip("~") for key in keys):
        if key in names or key.startswith("hydra/") or OmegaConf.select(cfg, key, default=names) is not names:
            continue
        first, _, rest = key.partition(".")
        if (now := RENAMED.get(first)) in names:
            return f"{first} is called {now} now; write {'.'.join(filter(None, (now, rest)))}=..."
        parent, _, name = key.rpartition(".")
        holder = OmegaConf.select(cfg, parent) if parent in names else None
        if isinstance(holder, DictConfig):
            kind = f"{parent}={groups[parent]}" if groups.get(parent) else parent
            return f"{shortened(key)}: {kind} has no key {shortened(name)!r}. {_likely(name, list(map(str, holder)))}"
        near = get_close_matches(key, names, n=3)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        return f"there is no key {shortened(key)!r}; {guess}--help shows all of them."
    return None


def _likely(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=3)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{guess}There are: {', '.join(one for one in names if not one.startswith('_'))}."


def _names(node: DictConfig, above: str = "") -> Iterator[str]:
    for name in map(str, node):
        yield f"{above}{name}"
        child = None if OmegaConf.is_missing(node, name) or OmegaConf.is_interpolation(node, name) else node[name]
        if isinstance(child, DictConfig):
            yield from _names(child, f"{above}{name}.")


def check_missing(cfg: DictConfig, *, config: Path, choices: Mapping[str, str | None]) -> None:
    """ReIDError for keys that want a value, with what the comment beside them in `conf/` says of them.

    Args:
        config: the file of the command's own keys; those of a group stand in `<folder>/<group>/<choice>.yaml`.
        choices: of each group.
    """
    missing = [key for key in _names(cfg) if _is_missing(cfg, key)]
    if missing:
        told = [f"{key} is missing: {_comment(key, config, choices)}" for key in missing]
        raise ReIDError("\n  ".join(told))


def _is_missing(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    return OmegaConf.is_missing(OmegaConf.select(cfg, parent) if parent else cfg, name)


def _comment(key: str, config: Path, choices: Mapping[str, str | None]) -> str:
    places = [(key, config)]
    for group, choice in choices.items():
        name, _, package = group.partition("@")
        above = f"{package or name.replace('/', '.')}."
        if choice is not None and key.startswith(above):
            places.append((key.removeprefix(above), config.parent / name / f"{choice}.yaml"))
    for name, path in places:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if match := re.search(rf"(?m)^{re.escape(name)}: *\?\?\? *# *(.+)$", text):
            return f"{match[1].strip().removesuffix('.')}."
    return f"give it a value, {key}=<value>."
