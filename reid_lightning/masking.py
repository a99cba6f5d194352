"""Passwords and tokens taken out of what is shown, written or sent."""

from __future__ import annotations

import re

MASK = "***"
_NAMES = r"pass(?:word|wd|phrase)?|pwd|token|secret|credentials?|auth|(?:api|access|secret)_?key"
_ADDRESS = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s'\"]+")
_USER = re.compile(r"(?<=://).*@")
_FIELD = re.compile(rf"(?i)((?:^|[?&;/_.-])(?:{_NAMES})[=:])[^&;'\"\s]+")
_LINE = re.compile(rf"(?mi)^(\s*\w*(?:{_NAMES}):) (?!null$)(?:[|>].*\n(?:\s+.*(?:\n|$))+|.+$)")


def without_password(text: str) -> str:
    """The text without user and password in its addresses, and with *** for values in them such as `password=`."""
    return _ADDRESS.sub(lambda found: _FIELD.sub(rf"\1{MASK}", _USER.sub("", found[0])), text)


def without_secrets(text: str) -> str:
    """YAML with *** as well for every token, password and key."""
    return _LINE.sub(rf"\1 '{MASK}'", without_password(text))
