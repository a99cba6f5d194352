"""What a user reads of a key or a choice that does not exist, and of a key that wants a value.

`mistake_in` reads the words of a command line and the files of `conf/` alone, so that a slip costs no more than reading
them; `explained` is for what Hydra finds.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from reid_lightning.commands.catalogue import COMMANDS, CONFIG_DIR, Command
from reid_lightning.commands.config_files import Choice, Written, choices_of, comments, written
from reid_lightning.commands.config_types import declared_for
from reid_lightning.errors import ReIDError, first_line, shortened

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from reid_lightning.commands.command_line import CommandLine

RENAMED = {"vectors": "stores"}
"""Keys and groups by the names that they had in earlier releases."""
SEVERAL = ("callbacks", "logger", "experiment", "plates")
"""Groups whose choices add up, so that they take a list."""
AT_LEAST_ONE = ("plates",)
"""Of these the groups that take no empty list."""


def no_setting(word: str, command: str) -> str:
    """A message for a word that is neither an option nor `key=value`."""
    examples = COMMANDS[command].examples if command in COMMANDS else ()
    example = next((one for words in examples for one in words.split() if "=" in one), "key=value")
    return (
        f"{shortened(word)!r} is no setting; expected key=value, such as {example}. "
        "A value with spaces wants quotes around the whole word: 'key=a b'."
    )


def mistake_in(words: Sequence[str], command: Command) -> str | None:
    """A message for the first word that names what does not exist, or for a key that wants a value.

    None where there is nothing wrong or the files alone do not tell, such as with another folder of configurations.
    """
    plain = [word for word in words if word not in ("-m", "--multirun")]
    sweep = len(plain) < len(words) or any(word.startswith(("sweep=", "hydra.")) for word in words)
    words = plain
    if any(word.startswith(("-", "hydra.searchpath", "+hydra.searchpath", "resume=")) for word in words):
        return None  # another folder of files, or another run's settings
    for text in words:
        if ("=" not in text and not text.startswith("~")) or text.startswith("="):
            return no_setting(text, command.name)
    typed = [_Word.read(word) for word in words]
    chosen = [word for word in typed if word.sign != "~" and not word.is_free]
    given, added = (
        {word.key: _choice(word.value) for word in chosen if word.sign in signs} for signs in (("", "++"), ("+", "++"))
    )
    own = written(command.config, [CONFIG_DIR], given)
    files = written(command.config, [CONFIG_DIR], given, added) if added else own
    declared = declared_for(command.name)
    if command.own:
        files.tree = {key: value for key, value in files.tree.items() if key in declared or isinstance(value, dict)}
    for word in typed:
        if message := _mistake(word, files, own, sweep=sweep):
            return message
    for key in files.choices:
        if sum(word.key == key for word in typed) > 1:
            return f"{key} is chosen twice; keep one of {', '.join(word.text for word in typed if word.key == key)}."
    hints = declared if command.own else {}
    wanted = [key for key, value in files.values().items() if is_wanted(value, hints.get(key))]
    set_below = tuple(f"{word.path}." for word in typed if word.key not in files.choices)
    missing = [key for key in wanted if not f"{key}.".startswith(set_below)]
    return "\n  ".join(_missing(key, files.comments.get(key)) for key in missing) or None


@dataclass(frozen=True)
class _Word:
    """`key=value` with the sign before it: +, ++, ~ or none."""

    sign: str
    key: str
    value: str

    @classmethod
    def read(cls, word: str) -> _Word:
        key, _, value = word.partition("=")
        bare = key.lstrip("+~")
        return cls(key[: len(key) - len(bare)], bare, value)

    @property
    def path(self) -> str:
        """As a key."""
        return self.key.partition("@")[0].replace("/", ".")

    @property
    def text(self) -> str:
        return f"{self.sign}{self.key}={shortened(self.value)}"

    @property
    def is_free(self) -> bool:
        """Whether only Hydra knows what the value is."""
        return any(sign in self.value for sign in "$()*?")


def _choice(value: str) -> Choice:
    """As a choice of a group; of a sweep the first."""
    if value in ("null", ""):
        return None
    if value.startswith("["):
        return [one.strip(" '\"") for one in value.strip("[]").split(",") if one.strip()]
    return value.split(",")[0].strip("'\"")


def _mistake(word: _Word, files: Written, own: Written, *, sweep: bool) -> str | None:
    """With what the files say for all choices, and without those that the command line adds."""
    if word.key.partition(".")[0].partition("/")[0] == "hydra":
        return None
    if word.sign == "+" and (word.key in own.choices or (word.key not in files.choices and word.path in own.values())):
        return f"{word.key} is there already; write {word.key}={shortened(word.value)}"
    if word.sign == "~" and word.key in own.choices:
        return f"{word.text.removesuffix('=')}: {word.key} cannot be taken out; set it instead, {word.key}=<choice>."
    if word.key in files.choices:
        known = choices_of(word.key, [CONFIG_DIR])
        if is_list_for_one(word.key, word.value):
            return one_choice(word.key, word.value, known)
        choices = [] if word.is_free else _choices(word.value, sweep=sweep)
        wrong = [one for one in choices if one not in known]
        return no_choice(word.key, wrong[0], known) if wrong else None
    if word.sign in ("+", "++") or word.path in files.values():
        return None
    return _nothing_there(word.path, files)


def _nothing_there(key: str, files: Written) -> str:
    node, parts = files.tree, key.split(".")
    for depth, part in enumerate(parts):
        above, value = ".".join(parts[:depth]), node.get(part)
        if depth + 1 == len(parts) or not isinstance(value, dict):
            break
        node = value
    other = re.fullmatch(r"\$\{(\w[\w.]*)\}", value) if isinstance(value, str) else None
    if other is not None:
        return f"{key}: {above}.{part} is what {other[1]} is; set {'.'.join([other[1], *parts[depth + 1 :]])} instead."
    if part in node:
        whole = f"{above}.{part}".strip(".")
        return f"{shortened(key)}: nothing is below {whole}, which is {shortened(value)}; write {whole}=<value>."
    names = list(dict.fromkeys([*files.choices, *files.values()]))
    return no_key(key, names, files.choices, above=above, below=node if above else None)


def _choices(value: str, *, sweep: bool) -> list[str]:
    """Those of a list, or of the jobs of a sweep."""
    listed = value.strip("[]").split(",") if value.startswith("[") or sweep else [value]
    return [one for one in (one.strip(" '\"[]") for one in listed) if one != "null"]


def is_wanted(value: Any, hint: Any) -> bool:
    """Whether a key of this value wants one. `hint`: its type, where the file is that of several commands, else
    None."""
    return value == "???" or (value is None and hint is not None and types.NoneType not in get_args(hint))


def no_choice(group: str, choice: str, known: Sequence[str]) -> str:
    """A message for a choice that a group does not have."""
    several = ""
    if "," in choice:
        several = (
            f" Several are a list: {group}=[{choice}]." if group in SEVERAL else " Several are the jobs of a sweep: -m."
        )
    return f"{group}={shortened(choice)}: there is no such choice. {_likely(choice, known)}{several}"


def is_list_for_one(group: str, value: str) -> bool:
    """Whether a list is chosen for a group of which Hydra would mix the files into one that nobody wrote, or an empty
    one where a choice is needed."""
    if not value.startswith("[") or group.startswith("hydra/"):
        return False
    return group not in SEVERAL or (group in AT_LEAST_ONE and not value.strip("[] "))


def one_choice(group: str, value: str, known: Sequence[str]) -> str:
    """A message for a list where a group takes one choice."""
    expected = "a choice, or several" if group in SEVERAL else "one choice, no list"
    return f"{group} is {shortened(value)}; expected {expected}. {_likely(value, known)}"


def no_key(
    key: str,
    names: Sequence[str],
    choices: Mapping[str, Choice],
    *,
    above: str = "",
    below: Mapping[Any, Any] | None = None,
) -> str:
    """A message for a key that does not exist.

    Args:
        above: the part of it that does.
        below: the keys there.
    """
    first, _, rest = key.partition(".")
    if (now := RENAMED.get(first)) in names:
        return f"{first} is called {now} now; write {'.'.join(filter(None, (now, rest)))}=..."
    if below is not None:
        kind = f"{above}={choices[above]}" if choices.get(above) else above
        name = key.removeprefix(f"{above}.").partition(".")[0]
        return f"{shortened(key)}: {kind} has no key {shortened(name)!r}. {_likely(name, list(map(str, below)))}"
    near = get_close_matches(key, names, n=3)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    return f"there is no key {shortened(key)!r}; {guess}--help shows what there is."


def _likely(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=3)
    guess = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{guess}There are: {', '.join(one for one in names if not one.startswith('_'))}."


def explained(error: BaseException, line: CommandLine) -> str | None:
    """A message for what could not be composed; None where the words of the command line have nothing to do with it."""
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, MissingConfigException):
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if not group:
            return f"--config-name is {shortened(choice)}: there is no such file in the folder of the configuration."
        return no_choice(group, choice, error.options or choices_of(group, [CONFIG_DIR]))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _unknown_key(line) or _wrong_value(error)
    return None


def _wrong_value(error: BaseException) -> str | None:
    """What the library behind Hydra says of a value, with the word that Hydra names."""
    match = re.fullmatch(r"Error merging override (.*)", str(error), flags=re.DOTALL)
    return f"{shortened(match[1])}: {first_line(error.__cause__)}" if match and error.__cause__ else None


def _unknown_key(line: CommandLine) -> str | None:
    """A message for the first key of the command line that the configuration does not have."""
    from omegaconf import DictConfig, OmegaConf

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
        parent = key.rpartition(".")[0]
        holder = OmegaConf.select(cfg, parent) if parent in names else None
        return no_key(key, names, groups, above=parent, below=holder if isinstance(holder, DictConfig) else None)
    return None


def _names(node: DictConfig, above: str = "") -> Iterator[str]:
    from omegaconf import DictConfig, OmegaConf

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
        raise ReIDError("\n  ".join(_missing(key, _comment(key, config, choices)) for key in missing))


def _is_missing(cfg: DictConfig, key: str) -> bool:
    from omegaconf import OmegaConf

    parent, _, name = key.rpartition(".")
    return OmegaConf.is_missing(OmegaConf.select(cfg, parent) if parent else cfg, name)


def _missing(key: str, comment: str | None) -> str:
    return f"{key} is missing: {comment.removesuffix('.') if comment else f'give it a value, {key}=<value>'}."


def _comment(key: str, config: Path, choices: Mapping[str, str | None]) -> str | None:
    places = [(key, config)]
    for group, choice in choices.items():
        name, _, package = group.partition("@")
        above = f"{package or name.replace('/', '.')}."
        if choice is not None and key.startswith(above):
            places.append((key.removeprefix(above), config.parent / name / f"{choice}.yaml"))
    found = (comments(path.read_text(encoding="utf-8")).get(name) for name, path in places if path.is_file())
    return next(filter(None, found), None)
