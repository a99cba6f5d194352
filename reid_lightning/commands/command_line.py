"""What is typed is what is meant: the words of a command line, made ready for Hydra.

Hydra's grammar takes a value such as `clip (1).mp4` or `epoch=3.ckpt` for a mistake, `1E5` for a number, `NULL` for
nothing and `a,b` for two. Where a key is a text (by `config_types`, or the signature of a `_target_`) its value is the
text that was typed; where it is not, Hydra's reading stands, and what Hydra cannot read is a text. Lists, values in
quotes, `null`, interpolations that resolve, and sweeps after `-m` are what they are in Hydra.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationResolutionError, InterpolationToMissingValueError

from reid_lightning.commands.config_checks import Takes, taken_by
from reid_lightning.commands.config_files import choices_of
from reid_lightning.commands.config_mistakes import is_list_for_one, no_setting, one_choice
from reid_lightning.commands.config_types import declared_for
from reid_lightning.errors import ReIDError, shortened
from reid_lightning.user_messages import no_value

_WORD = re.compile(r"(?s)(?P<before>\+{0,2}[^=+~][^=]*=)(?P<value>.*)")
_PARSER = OverridesParser.create()
_BEFORE_A_RUN = "HydraConfig was not set"  # what its resolver says when there is no run yet


@dataclass(frozen=True)
class CommandLine:
    """The words of a command line: what Hydra calls overrides, and its options before them."""

    options: tuple[str, ...]
    overrides: tuple[str, ...]
    command: str
    config_name: str
    config_dir: str
    """Where configurations are looked for first: the user's folder where `--config-dir` names one."""
    more_configs: str | None
    """Where they are looked for then."""
    sweep: bool
    """Whether `-m` is among the options; a configuration may ask for a sweep as well."""

    def composed(self, overrides: Sequence[str] = ()) -> DictConfig:
        """The configuration with these overrides, and its node `hydra`; whatever Hydra raises."""
        path = create_config_search_path(self.config_dir)
        if self.more_configs is not None:
            path.prepend(
                "command-line", f"file://{os.path.abspath(self.more_configs)}", SearchPathQuery("schema", None)
            )
        version.setbase("1.3")
        GlobalHydra.instance().clear()
        try:
            hydra = Hydra.create_main_hydra2("command_line", path)
            return hydra.compose_config(self.config_name, list(overrides), RunMode.RUN, from_shell=False)
        finally:
            GlobalHydra.instance().clear()


def read_words(words: Sequence[str], *, command: str, config_name: str, config_dir: str) -> CommandLine:
    """The words in order.

    Raises:
        ReIDError: a word is neither an option nor `key=value`, or there is no such option.
    """
    parser, said = get_args_parser(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            known, others = parser.parse_known_args(list(words))
        except SystemExit:  # a wrong option
            raise ReIDError(f"{said.getvalue().strip().rpartition('error: ')[2]}. {_OPTIONS}") from None
    first = (known.run, known.multirun, known.cfg is not None, known.info is not None, known.shell_completion)
    if sum(map(bool, first)) > 1:
        raise ReIDError(
            "one of --run, --multirun (-m), --cfg, --info and --shell-completion can be given, not several."
        )
    overrides = [*known.overrides, *(word for word in others if not word.startswith("-"))]
    if known.experimental_rerun:  # it would load a pickle
        others.append("--experimental-rerun")
    for word in others:
        if word.startswith("-"):
            raise ReIDError(f"there is no option {shortened(word)}. {_OPTIONS}")
    for word in overrides:
        if ("=" not in word and not word.startswith("~")) or word.startswith("="):
            raise ReIDError(no_setting(word, command))
        _check_word(word, declared_for(command))
    options, more_configs = tuple(_options(words, overrides)), known.config_dir
    for option, folder in (("--config-path", known.config_path), ("--config-dir", more_configs)):
        if folder is not None and not os.path.isdir(folder):
            raise ReIDError(f"{option} {shortened(folder)} is no folder; expected one of configurations.")
    if known.config_path:
        config_dir = os.path.abspath(known.config_path)
    elif more_configs is not None:  # Hydra looks there last; with the two exchanged a user's file goes before ours
        config_dir, more_configs = os.path.abspath(more_configs), config_dir
        options += ("--config-path", config_dir, "--config-dir", more_configs)
    return CommandLine(
        options=options,
        overrides=tuple(overrides),
        command=command,
        config_name=known.config_name or config_name,
        config_dir=config_dir,
        more_configs=more_configs,
        sweep=known.multirun,
    )


def _check_word(word: str, declared: Mapping[str, Any]) -> None:
    """ReIDError for what Hydra takes and fails with later, or writes into the current folder for."""
    key, _, value = word.partition("=")
    if key.startswith("~") and key[1:] in declared:
        raise ReIDError(f"{word}: {key[1:]} is a setting of this command and cannot be taken out; set it instead.")
    if key.lstrip("+~") == "hydra":
        raise ReIDError(
            f"{shortened(word)}: hydra is no setting; expected one below it, such as hydra.run.dir=<folder>."
        )
    if key.lstrip("+") in ("hydra.run.dir", "hydra.sweep.dir") and value in ("", "null", "''", '""'):
        raise ReIDError(f"{key} is {value or 'empty'}; expected a folder for what is written.")


def _check_new(typed: Sequence[_Typed | str], reading: _Reading) -> None:
    """ReIDError for a key that no command has, which nothing would read."""
    known = [*reading.declared, *reading.choices]
    for one in typed:
        if isinstance(one, str) or not one.before.startswith("+") or one.group in known:
            continue
        if one.key.partition(".")[0] in {name.partition("@")[0].partition("/")[0] for name in ("hydra", *known)}:
            continue  # what it belongs to says whether it takes it
        used = any(f"${{{one.key}}}" in (other if isinstance(other, str) else other.value) for other in typed)
        if reading.declared and one.key not in known and not used:
            near = get_close_matches(one.key, known, n=3)
            guess = f"did you mean {' or '.join(near)}? " if near else ""
            raise ReIDError(f"there is no key {shortened(one.key)!r} to set; {guess}--help shows what there is.")


_OPTIONS = "Options are --help, --cfg job, -m, --config-dir <folder>, --info and --shell-completion; keys have none."


def _options(words: Sequence[str], overrides: Sequence[str]) -> Iterator[str]:
    left = list(overrides)
    for word in words:
        if word in left:
            left.remove(word)
        else:
            yield word


def as_typed(line: CommandLine) -> list[str]:
    """The overrides in Hydra's writing, each with the value that was typed; those in it already stay as they are.

    Raises:
        ReIDError: a group that wants a choice is given none, or several; `${...}` names nothing.
        MissingConfigException: there is no such choice.
    """
    typed = [_Typed.read(word) for word in line.overrides]
    folders = [Path(folder) for folder in (line.config_dir, line.more_configs) if folder is not None]
    for one in typed:
        if isinstance(one, _Typed) and is_list_for_one(one.group, one.value) and choices_of(one.group, folders):
            raise ReIDError(one_choice(one.group, one.value, choices_of(one.group, folders)))
    given = [one if isinstance(one, str) else one.for_composing() for one in typed]
    try:
        cfg = line.composed([word for word in given if word is not None])
    except MissingConfigException:
        raise
    except Exception:  # Hydra will say what is wrong
        return [one if isinstance(one, str) else one.for_hydra(_Reading(None, {}, line.sweep)) for one in typed]
    sweep = line.sweep or cfg.hydra.mode == RunMode.MULTIRUN
    reading = _Reading(cfg, declared_for(line.command), sweep)
    _check_new(typed, reading)
    left_out = [
        one for one in typed if isinstance(one, _Typed) and one.value == "null" and one.group in reading.choices
    ]
    for one in left_out:
        if (choice := reading.choices[one.group]) is not None:
            raise ReIDError(f"{one.group} is null; expected a choice, such as {one.group}={choice}.")
    return [one if isinstance(one, str) else one.for_hydra(reading) for one in typed if one not in left_out]


@dataclass(frozen=True)
class _Reading:
    """What the values are read by: the configuration without those that no type depends on, its types, and whether
    commas part the jobs of a sweep."""

    cfg: DictConfig | None
    declared: Mapping[str, Any]
    sweep: bool

    @property
    def choices(self) -> Mapping[str, str | None]:
        """Of each group; None for one that may be left out."""
        return {} if self.cfg is None else self.cfg.hydra.runtime.choices

    def takes(self, one: _Typed) -> Takes:
        if one.group in self.choices:
            return Takes.TEXTS
        return Takes.ANYTHING if self.cfg is None else taken_by(self.cfg, self.declared, one.key)


@dataclass(frozen=True)
class _Typed:
    """One `key=value` as it was typed."""

    before: str
    value: str

    @classmethod
    def read(cls, word: str) -> _Typed | str:
        """What is deleted (`~key`), or has a key that Hydra will refuse, stays a plain word."""
        match = _WORD.fullmatch(word)
        if match is None or _parsed(f"{match['before']}x") is None:
            return word
        return cls(match["before"], match["value"])

    @property
    def group(self) -> str:
        """As a group: `protocol/rerank`, `data@data.sets.veri776`."""
        return self.before.lstrip("+").removesuffix("=")

    @property
    def key(self) -> str:
        """As a key."""
        return self.group.partition("@")[0].replace("/", ".")

    def _is_plain(self, text: str, takes: Takes, reading: _Reading) -> bool:
        """Whether `${...}` that names nothing may be part of a file's name or a password: in a command's own texts.
        Those of a `_target_` Hydra would look for again, and an environment's variable is nothing else."""
        own = self.group in reading.choices or (self.key in reading.declared and takes is not Takes.ANYTHING)
        return own and "${oc.env:" not in text

    def for_composing(self) -> str | None:
        """A word that composes as this one does; None for a value that no type depends on."""
        value = next(iter(_split(self.value)), "")
        override = _parsed(self.before + value)
        if override is None or override.is_sweep_override() or "${" in value or value == "null":
            return None
        return self.before + (value if isinstance(override._value, list | dict) else quoted(value))

    def for_hydra(self, reading: _Reading) -> str:
        """This word in Hydra's writing."""
        takes = reading.takes(self)
        whole = _parsed(self.before + self.value)
        if reading.sweep and whole is not None and whole.is_sweep_override() and not _is_simple_sweep(whole):
            return self.before + self.value  # choice(a,b), range(1,3), glob(*)
        pieces = _split(self.value) if reading.sweep else [self.value]
        return self.before + ",".join(self._written(piece, takes, reading) for piece in pieces)

    def _written(self, text: str, takes: Takes, reading: _Reading) -> str:
        override = _parsed("x=" + text)
        value = None if override is None else override._value
        if text == "null" or isinstance(value, QuotedString):
            return text
        listed = text.startswith("[") and text.endswith("]")
        if listed and (takes is Takes.TEXTS or (takes is Takes.ANYTHING and override is None)):
            each = Takes.TEXT if takes is Takes.TEXTS else takes
            items = "[" + ",".join(self._written(piece.strip(), each, reading) for piece in _split(text[1:-1])) + "]"
            if _parsed("x=" + items) is not None:
                return items
        if "${" in text:
            if override is not None and _resolves(reading.cfg, self.key, text, takes):
                return text
            if reading.cfg is None or self._is_plain(text, takes, reading):
                return quoted(text)
            raise ReIDError(no_value(self.key, text))
        if takes is Takes.ANYTHING:
            return quoted(text) if override is None or _is_simple_sweep(override) else text
        if isinstance(value, list | dict) or (isinstance(value, str) and value == text):
            return text
        return quoted(os.path.expanduser(text) if text.startswith("~/") else text)  # as bash does after a =


def _is_simple_sweep(override: Override) -> bool:
    return isinstance(override._value, ChoiceSweep) and override._value.simple_form


def _parsed(word: str) -> Override | None:
    try:
        return _PARSER.parse_override(word)
    except (HydraException, RecursionError, ValueError):
        return None


def _resolves(cfg: DictConfig | None, key: str, text: str, takes: Takes) -> bool:
    """Whether `${...}` in the value of a key means something: a key or a resolver that exists."""
    if cfg is None or "\\${" in text:
        return cfg is None
    node = cfg.copy()
    try:
        OmegaConf.update(node, key, text, force_add=True)
        is_node = OmegaConf.is_config(OmegaConf.select(node, key))
    except InterpolationToMissingValueError:
        return True
    except (InterpolationResolutionError, GrammarParseError) as error:
        return "${hydra:" in text or _BEFORE_A_RUN in str(error)  # what is known when the run begins, and what names it
    except Exception:
        return True
    return takes is Takes.ANYTHING or not is_node


def _split(text: str) -> list[str]:
    """At its commas, but for those in quotes and brackets."""
    pieces, depth, quote, start = [], 0, "", 0
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and text[place - 1] != "\\" else quote
        elif sign in "'\"" and not text[start:place].strip(" [{("):
            quote = sign  # a quote within a name is a letter of it
        elif sign in "[{(":
            depth += 1
        elif sign in "]})":
            depth -= 1
        elif sign == "," and depth <= 0:
            pieces.append(text[start:place])
            start = place + 1
    return [*pieces, text[start:]]


def quoted(text: str) -> str:
    """A text in Hydra's quotes, in which nothing is more than a letter."""
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return QuotedString(escaped, Quote.single).with_quotes()
