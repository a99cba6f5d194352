"""YAML from strangers as plain values: bounded in size, without aliases, which can unfold to gigabytes, and without a
key twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from reid_lightning.errors import ReIDError
from reid_lightning.regular_files import open_regular

LARGEST = 1 << 18
"""Bytes; the options of a bundle take some thousands."""

_LONGEST_REASON = 300


def read_plain_yaml(path: Path) -> Any:
    """What the file holds: dicts, lists, texts, numbers, dates, None.

    Raises:
        ReIDError: it cannot be read, is larger than LARGEST, is no YAML, or has tags, aliases or a key twice.
    """
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ReIDError(f"{path} cannot be read: {error.strerror or error}.") from error
    if len(content) > LARGEST:
        raise ReIDError(f"{path} has more than {LARGEST:,} bytes, which no options have. Fetch the file again.")
    try:
        return yaml.load(content.decode("utf-8"), Loader=_PlainLoader)
    except Exception as error:  # PyYAML raises many kinds on what is not what it looks like, such as 2026-99-99
        reason = (str(error) or type(error).__name__)[:_LONGEST_REASON]
        raise ReIDError(f"{path} is not readable as YAML: {reason}") from error


_LONGEST_NUMBER = 64  # signs: YAML reads 1:1:1:... as a number of base 60, in a time that grows with their square


class _PlainLoader(yaml.SafeLoader):
    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(node.value) > _LONGEST_NUMBER:
            raise yaml.constructor.ConstructorError(None, None, "a number that long", node.start_mark)
        return super().construct_scalar(node)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"the alias *{event.anchor}", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep=deep)
