"""What `--help` shows: of `reid` the commands, of a command its groups, the keys that matter and examples."""

from __future__ import annotations

import textwrap
from typing import Any

from reid_lightning.commands.catalogue import COMMANDS, CONFIG_DIR, ROOMS, Command
from reid_lightning.commands.config_files import Written, choices_of, written
from reid_lightning.commands.config_mistakes import is_wanted
from reid_lightning.commands.config_types import declared_for

_WIDTH = 80


def overview(room: str = "") -> str:
    """All commands with an example each, or those whose first word is `room`."""
    words = f"reid {room}".rstrip()
    lines = [f"{words} <command> [key=value ...]: {ROOMS.get(room, 'recognise a vehicle again across cameras.')}", ""]
    first: dict[str, list[Command]] = {}
    for command in COMMANDS.values():
        one, _, two = command.name.partition(" ")
        if room in ("", one):
            first.setdefault(two if room else one, []).append(command)
    for name, commands in first.items():
        command = commands[0]
        if len(commands) > 1:
            names = ", ".join(filter(None, (one.name.partition(" ")[2] for one in commands)))
            does = command.does if command.name == name else ROOMS[name]
            lines += [*_wrapped(does, f"  {name:<10}", 12), *_wrapped(names, f"{'':<12}", 12)]
        else:
            lines += _wrapped(command.does, f"  {name:<10}", 12)
            lines.append(f"{'':<12}{_typed(command, command.examples[0])}")
    lines += ["", f"{words} <command> --help shows its keys. Without installation, from a clone:", "  python -m "]
    lines[-1] += f"reid_lightning.commands {words.removeprefix('reid')} <command> ...".replace("  ", " ")
    return "\n".join(lines)


def help_of(command: Command) -> str:
    """A page on one command."""
    files = written(command.config, [CONFIG_DIR], {})
    lines = [f"reid {command.name} {'[group=choice ...] ' if _groups(files) else ''}[key=value ...]"]
    lines += [*_wrapped(command.does, "", 0), ""]
    if groups := _groups(files):
        lines.append("Groups, each choice a file in conf/<group>/, and what is chosen:")
        width = max(map(len, groups)) + 1
        for name in groups:
            chosen = files.choices[name]
            names = [one for one in choices_of(name, [CONFIG_DIR]) if one != chosen]
            shown = ", ".join([f"{chosen or 'null'} (chosen)", *names])
            lines += _wrapped(shown, f"  {name:<{width}}", width + 2)
        lines.append("")
    lines.append("Keys that matter most:")
    for key in command.keys:
        lines += _key(key, files, declared_for(command.name).get(key) if command.own else None)
    lines += ["", "Examples:", *(f"  {_typed(command, one)}" for one in command.examples), ""]
    lines.append(f"All keys and values: reid {command.name} --cfg job")
    if command.sweeps:
        lines.append("Several values, such as seed=1,2, are the jobs of a sweep: -m")
    if groups:
        lines.append("A folder of choices of your own: --config-dir <folder>")
    return "\n".join(lines)


def _typed(command: Command, example: str) -> str:
    """An example as it is typed: a shell takes brackets apart unless they are in quotes."""
    words = [f"'{word}'" if any(sign in word for sign in "[]?&()") else word for word in example.split()]
    return " ".join(["reid", command.name, *words])


def _groups(files: Written) -> list[str]:
    return [name for name in files.choices if not name.startswith("hydra")]


def _key(key: str, files: Written, hint: Any) -> list[str]:
    values, value = files.values(), "null"
    if key in values:
        value = "<value>" if is_wanted(values[key], hint) else _plain(values[key])
    comment = files.comments.get(key, "") if key in values else _comment_elsewhere(key)  # of another choice
    return _wrapped(comment, f"{f'  {key}={value}':<34} ", 35)


def _comment_elsewhere(key: str) -> str:
    group, _, name = key.partition(".")
    for choice in choices_of(group, [CONFIG_DIR]):
        if comment := written(f"{group}/{choice}", [CONFIG_DIR], {}).comments.get(name):
            return comment
    return ""


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_plain, value))}]"
    return f"{value}"


def _wrapped(text: str, start: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=" " * indent, break_on_hyphens=False
    ) or [start.rstrip()]
