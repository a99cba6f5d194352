"""The files of `conf/` as a user reads them: groups and their choices, keys and the comments beside them.

Help and the errors of a command line are made of it, without Hydra, whose composing takes as long as its import.
Hydra stays the judge of what is valid: `written` follows its rules for defaults lists as far as `conf/` uses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_PACKAGE = re.compile(r"(?m)\A(?:#.*\n)*?# *@package +(\S+)")
_LINE = re.compile(r"^(?P<indent> *)(?P<dash>- +)?(?P<key>[\w/@.-]+): *(?P<value>.*?)(?:(?:^| +)# +(?P<comment>.*))?$")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Choice = str | list[str] | None


@dataclass
class Written:
    """What the files say for one choice of each group."""

    choices: dict[str, Choice] = field(default_factory=dict)
    """Of each group, by the name that chooses it: `model`, `protocol/rerank`, `data@data.sets.veri776`."""
    tree: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    """By key, and by group for its line in a defaults list."""
    missing: list[str] = field(default_factory=list)
    """Choices whose file does not exist, `<group>/<choice>`."""

    def values(self) -> dict[str, Any]:
        """By the keys of all depths."""
        return dict(_items(self.tree, ""))


def choices_of(group: str, folders: Sequence[Path]) -> list[str]:
    """The names of the files of a group."""
    return sorted({path.stem for folder in folders for path in (folder / group.partition("@")[0]).glob("*.yaml")})


def written(
    config: str, folders: Sequence[Path], chosen: Mapping[str, Choice], added: Mapping[str, Choice] | None = None
) -> Written:
    """Follow the defaults list of `<config>.yaml`, with the choices that were typed.

    Args:
        folders: those of the configuration; the first that has a file counts.
        added: choices of groups that no defaults list has, such as `+model=resnet18` of evaluate.
    """
    given, added = dict(chosen), added or {}
    for _ in range(4):  # a file that is chosen may choose for others, and one that no longer is chooses for nobody
        reading = _Reading(folders, given)
        reading.follow(config, group="", package="")
        now = {**reading.overrides, **chosen}
        if now == given:
            break
        given = now
    for group in [one for one in added if one not in reading.written.choices and not one.startswith("hydra/")]:
        name, _, package = group.partition("@")
        if any((folder / name).is_dir() for folder in folders):
            reading.choose(group, added[group], name, package or name.replace("/", "."))
    return reading.written


@dataclass
class _Reading:
    folders: Sequence[Path]
    given: Mapping[str, Choice]
    overrides: dict[str, Choice] = field(default_factory=dict)
    written: Written = field(default_factory=Written)

    def follow(self, name: str, *, group: str, package: str) -> None:
        """One file: what it names before `_self_`, itself, what it names behind."""
        path = next((path for folder in self.folders if (path := folder / f"{name}.yaml").is_file()), None)
        if path is None:
            self.written.missing.append(name)
            return
        text = path.read_text(encoding="utf-8")
        content: dict[str, Any] = yaml.load(text, _LOADER) or {}
        defaults = content.pop("defaults", [])
        if match := _PACKAGE.match(text):
            package = "" if match[1] == "_global_" else match[1]
        found = comments(text)
        if "_self_" not in defaults:
            defaults = [*defaults, "_self_"]  # as Hydra has it since 1.1
        is_override = [isinstance(entry, dict) and next(iter(entry)).startswith("override ") for entry in defaults]
        for _, entry in sorted(zip(is_override, defaults, strict=True), key=lambda pair: not pair[0]):
            if entry == "_self_":
                self._merge(content, package)
                for key, comment in found.items():
                    if not key.startswith("defaults."):
                        self.written.comments[f"{package}.{key}".strip(".")] = comment
            elif isinstance(entry, str):
                name = entry.removeprefix("/") if entry.startswith("/") else f"{group}/{entry}".strip("/")
                self.follow(name, group=name.rpartition("/")[0], package=package)
            else:
                self._choice(entry, group, package, found)

    def _choice(self, entry: Mapping[str, Choice], group: str, package: str, found: Mapping[str, str]) -> None:
        (said, choice), *_ = entry.items()
        words = said.split()
        target, _, below = words[-1].partition("@")
        name = target.removeprefix("/") if target.startswith("/") else f"{group}/{target}".strip("/")
        if "override" in words:  # the outermost counts, and is met first
            self.overrides.setdefault(name, choice)
            return
        key = f"{name}@{below}" if below else name
        place = below or (target.replace("/", ".") if target.startswith("/") else f"{package}.{target}".strip("."))
        if comment := found.get(f"defaults.{words[-1]}"):
            self.written.comments[key] = comment
        if not name.startswith("hydra/"):
            self.choose(key, self.given.get(key, choice), name, place.lstrip("."))

    def choose(self, key: str, choice: Choice, name: str, package: str) -> None:
        self.written.choices[key] = choice
        for one in [choice] if isinstance(choice, str) else choice or []:
            self.follow(f"{name}/{one}", group=name, package=package)

    def _merge(self, content: dict[str, Any], package: str) -> None:
        for part in reversed(package.split(".") if package else []):
            content = {part: content}
        _merge(self.written.tree, content)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            _merge(below[name], value)
        else:
            below[name] = value


def _items(node: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        yield f"{above}{name}", value
        if isinstance(value, dict):
            yield from _items(value, f"{above}{name}.")


def comments(text: str) -> dict[str, str]:
    """The comments at the ends of lines, by key; those in the defaults list by `defaults.<group>`."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        indent = len(match["indent"]) + len(match["dash"] or "")
        while above and above[-1][0] >= indent:
            above.pop()
        key = ".".join([name for _, name in above] + [match["key"]])
        if match["comment"]:
            found[key] = match["comment"].strip()
        above.append((indent, match["key"]))
    return found
