"""`reid <command> [key=value ...]`: finds the command, answers `--help` and slips, and starts it.

Nothing heavy is imported before the command line is known to be right.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from reid_lightning import __version__
from reid_lightning.commands.catalogue import COMMANDS, ROOMS, Command
from reid_lightning.commands.config_mistakes import mistake_in
from reid_lightning.commands.console import fail, safe_console
from reid_lightning.commands.help import help_of, overview
from reid_lightning.errors import shortened

_HELP = ("--help", "-h")


def main() -> None:
    """The command `reid`, and `python -m reid_lightning.commands`."""
    words = sys.argv[1:]
    if words[:1] == ["-sc"]:
        return _complete(words)
    if command := _named(words):
        count = len(command.name.split())
        return _start(command, words[count:], before=words[:count])
    with safe_console(words):
        first, second = [*words[:2], "", ""][:2]
        if not words or first in _HELP:
            print(overview())
        elif first in ("--version", "-V"):
            print(f"reid_lightning {__version__}")
        elif first in ROOMS and (not second or second in _HELP):
            print(overview(first))
        else:
            fail(_unknown(first, second))


def _named(words: Sequence[str]) -> Command | None:
    return COMMANDS.get(" ".join(words[:2])) or COMMANDS.get(" ".join(words[:1]))


def _complete(words: Sequence[str]) -> None:
    """`reid -sc install=bash`, and what its script asks when the tab key is pressed: commands, then groups and keys."""
    typed = os.environ.get("COMP_LINE", "reid").split()[1:]
    command = _named(typed)
    if command is None and words[1:] == ["query=bash"]:
        first = typed[0] if typed and typed[0] in ROOMS else ""
        print(*dict.fromkeys(name.removeprefix(first).split()[0] for name in COMMANDS if name.startswith(first)))
        return
    if command is not None:
        line = os.environ["COMP_LINE"].replace(f"{command.name} ", "", 1)
        os.environ.update({"COMP_LINE": line, "COMP_POINT": str(len(line))})
    _start(command or COMMANDS["train"], words)


def door(name: str) -> Callable[[], None]:
    """A command for a file of its own, such as `train.py`."""
    return lambda: _start(COMMANDS[name], sys.argv[1:])


def _start(command: Command, words: Sequence[str], *, before: Sequence[str] = ()) -> None:
    with safe_console(words):
        if any(word in _HELP for word in words):
            print(help_of(command))
        elif message := mistake_in(words, command):
            fail(message)
        else:
            from reid_lightning.commands.entry_point import run  # Hydra, and behind it what the command works with

            run(command, words, before=before)


def _unknown(first: str, second: str) -> str:
    if first in ROOMS:
        names = [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{first} ")]
        typed, of = second, f"reid {first}"
    else:
        names, typed, of = list(dict.fromkeys(name.partition(" ")[0] for name in COMMANDS)), first, "reid"
    near = get_close_matches(typed, names, n=1)
    guess = f"; did you mean {of} {near[0]}?" if near else "."
    return f"{of} has no command {shortened(typed)!r}{guess} There are: {', '.join(names)}."
