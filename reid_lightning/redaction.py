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

SCHEME = r"(?:[a-z][a-z0-9+.-]{1,20}:/{1,2}|(?:rtsp[stu]?|rtmps?|https?|udp|tcp|srt)(?::/{0,2}|//))"
"""Of two letters or more: C:/ is a disk. Of one that is known, a sign may be missing: rtsp//, rtsp:."""
_WHOLE = re.compile(rf"(?is)((?:[\w./+~@-]+=)?[\'\"]?{SCHEME})(.*)")
_WITHIN = re.compile(rf"(?i)\b({SCHEME})(\S*[^\s\'\"),.;:])")
SERVER = r"(?:[\w.-]+:\d+|\d+(?:\.\d+){3})"
_BARE = re.compile(rf"(?s)()([^\s/@:]+(?::(?![/\\]).*)?@{SERVER}(?:/.*)?)")
"""user:password@host:port, or the one alone."""
_HOST = re.compile(r"[\w.%~-]*(?::\d{0,5})?|\[[\w:.%]+\](?::\d{0,5})?")
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


def is_address(text: str) -> bool:
    """Whether a text is an address, or holds a password as one does."""
    return re.match(SCHEME, text, re.IGNORECASE) is not None or "://" in text or without_password(text) != text


def has_user(host: str) -> bool:
    """Whether what stands for an address's host is user:password, the @ behind it not typed."""
    return ":" in host and not _HOST.fullmatch(host)


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
    path, in_path, _ = path.rpartition("@")[2].partition("#")
    query, in_query, _ = query.partition("#")
    host, slash, path = path.partition("/")
    host = MASK if has_user(host) else host
    fields = (field if _TELLING.fullmatch(field) else _masked(field) for field in query.split("&"))
    shown = scheme + host + _FIELD.sub(rf"\1{MASK}", slash + path)
    fragment = f"#{MASK}" if in_path or in_query else ""
    return shown + fragment if in_path else shown + mark + "&".join(fields) + fragment


def _masked(field: str) -> str:
    name, equals, _ = field.rpartition("=") if "=" not in field else field.partition("=")
    return f"{name}{equals}{MASK}" if field else field
