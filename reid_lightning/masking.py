"""Passwords and tokens taken out of what is shown, written or sent."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
_NAMES = r"pass(?:word|wd|phrase)?|pwd|token|secret|credentials?|auth(?:orization)?|(?:api|access|secret)[_-]?key"
_NEAR_USER = re.compile(r"(?<=://)[^/\s]*@")
_ADDRESS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s'\"]+")
_USER = re.compile(r"(?<=://)[^?#]*@")  # one with a slash in the password
_FIELD = re.compile(rf"(?i)((?:^|[?&;/_.-])(?:{_NAMES})[=:])[^&;'\"\s]+")
_KEY = re.compile(rf"(?i)(?:^|[_-])(?:{_NAMES})$")


def without_password(text: str) -> str:
    """The text without user and password in its addresses, and with *** for values in them such as `password=`."""
    text = _NEAR_USER.sub("", text)
    return _ADDRESS.sub(lambda found: _FIELD.sub(rf"\1{MASK}", _USER.sub("", found[0])), text)


def without_secrets(value: Any) -> Any:
    """A configuration of plain values, with *** for every token, password and key, and its texts `without_password`."""
    if isinstance(value, dict):
        return {
            key: MASK if _KEY.search(str(key)) and entry is not None else without_secrets(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(entry) for entry in value]
    return without_password(value) if isinstance(value, str) else value
