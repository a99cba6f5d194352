"""Passwords and tokens taken out of what is shown, written or sent."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
_KEYS = r"(?:api|access|encryption|license|private|secret|wandb)[_-]?key"
_NAMES = (
    rf"pass(?:word|wd|phrase)?|loginpas(?:s|sword)?|pw|pwd|psw|token|jwt|secret|credentials?|auth(?:orization)?|{_KEYS}"
)
_KEY = re.compile(rf"(?i)(?:^|[_-])(?:{_NAMES})$")
_FIELD = re.compile(rf"(?i)((?:^|[&;/_.-])(?:{_NAMES})[=:])[^&]+")

_SCHEME = r"[a-z][a-z0-9+.-]{1,20}:/{1,2}"  # of two letters or more: C:/ is a disk
_WHOLE = re.compile(rf"(?is)((?:[\w./+~@-]+=)?[\'\"]?{_SCHEME})(.*)")
_WITHIN = re.compile(rf"(?i)\b({_SCHEME})(\S*[^\s\'\"),.;:])")
_BARE = re.compile(r"(?s)()([^\s/@:]+:.*@[\w.-]+:\d+(?:/.*)?)")  # user:password@host:port
_HOST = re.compile(r"[\w.-]*(?::\d+)?|\[[0-9a-f:.%]+\](?::\d+)?")
_PAIRS = re.compile(r"[\w%.-]+=[^&]*(?:&[\w%.-]+=[^&]*)*")
_TELLING = re.compile(
    r"(?i)(cam(?:era)?|ch(?:annel)?|codec|fps|id|profile|resolution|stream(?:type)?|subtype|type|v)=[^&]*"
)
"""Of a query's values those that are no secret, and tell one camera from another."""


def without_password(text: str) -> str:
    """The text without user and password in its addresses, and with *** for the values in their queries.

    An address that is the whole text may hold spaces and quotes; within a text it ends before them.
    """
    whole = _WHOLE.fullmatch(text) or _BARE.fullmatch(text)
    return _shown(whole) if whole else _WITHIN.sub(_shown, text)


def is_secret(key: str) -> bool:
    """Whether a key of a configuration is the name of a token, password or key."""
    return _KEY.search(key) is not None


def without_secrets(value: Any) -> Any:
    """A configuration of plain values, with *** for every token, password and key, and its texts `without_password`."""
    if isinstance(value, dict):
        return {
            key: MASK if is_secret(str(key)) and entry is not None else without_secrets(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(entry) for entry in value]
    return without_password(value) if isinstance(value, str) else value


def _shown(address: re.Match[str]) -> str:
    scheme, rest = address.groups()
    path, mark, query = rest.partition("?")
    host = re.split(r"[/#]", path, maxsplit=1)[0]
    if "@" in query and (not _PAIRS.fullmatch(query) or not ("@" in path or _HOST.fullmatch(host))):
        path, mark, query = rest.rpartition("@")[2].partition("?")  # the user's name and password have a ? in them
    path = path.rpartition("@")[2]
    fields = (field if _TELLING.fullmatch(field) else _masked(field) for field in query.split("&"))
    return scheme + _FIELD.sub(rf"\1{MASK}", path) + mark + "&".join(fields)


def _masked(field: str) -> str:
    name, equals, _ = field.rpartition("=") if "=" not in field else field.partition("=")
    return f"{name}{equals}{MASK}" if field else field
