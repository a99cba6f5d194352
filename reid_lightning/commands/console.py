"""What a command shows: on a console of any encoding, without the secrets of its command line, a screen at most."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TextIO
from urllib.parse import quote, unquote

from reid_lightning.commands.config_checks import describe, fits
from reid_lightning.errors import one_screen, printable
from reid_lightning.redaction import MASK, SCHEME, SERVER, has_user, is_secret, without_password
from reid_lightning.user_messages import shown

_USER = re.compile(rf"(?is){SCHEME}([^/:]*:.*)@")
_BARE_USER = re.compile(rf"(?s)(?:^|=)([^\s/@:=]+(?::(?![/\\]).*)?)@{SERVER}")
_HOST = re.compile(rf"(?i){SCHEME}([^/@?#]*)(?:[/?#]|$)")
_FIELD = re.compile(r"(?s)[?&][^=&]*=([^&]*)")
_SHORTEST = 3  # letters of a secret that is hidden wherever it stands; a shorter one is hidden in its address alone


@contextlib.contextmanager
def safe_console(words: Sequence[str] = ()) -> Iterator[None]:
    """While the body runs, stdout and stderr take every text: what they cannot encode is written as \\u4eac, secrets
    among the `words` of the command line as ***; one that is closed swallows what it is given. An exception that leaves
    the body is a bug: its traceback is printed in the same way, and the command ends with status 1."""
    before = sys.stdout, sys.stderr
    hide = _Hiding(secrets_of(words))
    sys.stdout, sys.stderr = (hide.around(_encoding_all(stream)) for stream in before)
    try:
        yield
    except Exception as error:
        sys.stderr.write(without_password("".join(traceback.format_exception(error))))
        sys.exit(1)
    finally:
        sys.stdout, sys.stderr = before
        for stream in filter(None, before):
            try:
                stream.flush()
            except (OSError, ValueError):  # whoever read it has gone
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def fail(message: str) -> NoReturn:
    """Print the one message of a command that ends with status 1."""
    sys.stderr.write(f"\nerror: {printable(one_screen(without_password(message)))}\n")
    sys.exit(1)


class ArgumentParser(argparse.ArgumentParser):
    """For commands without Hydra; its errors fit on a screen."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(one_screen(without_password(message))))


def argument_of(hint: Any, make: Callable[[str], Any] = str) -> Callable[[str], Any]:
    """For `type=` of an argument: what is made of the text that was typed, if it is of a type of `config_types`."""

    def checked(text: str) -> Any:
        if not fits(text, hint):
            raise argparse.ArgumentTypeError(f"{shown('', text)} was given; expected {describe(hint)}")
        return make(text)

    return checked


def secrets_of(words: Iterable[str]) -> frozenset[str]:
    """The passwords and tokens among the words of a command line, and their words."""
    found: set[str] = set()
    after = ""
    for word in words:
        key, equals, value = word.partition("=")
        if is_secret((key if equals else after).lstrip("-+").rpartition(".")[2]):
            found.add(value if equals else word)
        user, host = _USER.search(word) or _BARE_USER.search(word), _HOST.search(word)
        both = user[1] if user else host[1] if host and has_user(host[1]) else ""
        found.update((both, both.partition(":")[2]))
        if without_password(word) != word:
            address, _, fragment = word.rpartition("@")[2].partition("#")
            found.update((fragment, *_FIELD.findall(address.partition("?")[2] and "?" + address.partition("?")[2])))
        after = word if word.startswith("--") and not equals else ""
    parts = {part for secret in found for part in re.split(r"[\W_]+", secret)}
    parts |= {part for secret in found for part in re.split(r"[:/?#@&\s]+", secret)}
    every = {
        text for secret in found | parts for text in (secret, _quoted(secret), unquote(secret), repr(secret)[1:-1])
    }
    return frozenset(text for text in every if len(text) >= _SHORTEST and not text.startswith("${"))


def _quoted(text: str) -> str:
    return quote(text, errors="surrogatepass")


class _Hiding:
    """Replaces secrets in what is written to a stream."""

    def __init__(self, secrets: Iterable[str]) -> None:
        longest_first = sorted(secrets, key=len, reverse=True)
        words = "|".join(map(re.escape, longest_first))
        self._secrets = re.compile(rf"(?<!\w)(?:{words})(?!\w)") if words else None

    def around(self, stream: TextIO) -> TextIO:
        return stream if self._secrets is None else _HidingStream(stream, self._secrets)  # type: ignore[return-value]


class _HidingStream:
    def __init__(self, stream: TextIO, secrets: re.Pattern[str]) -> None:
        self._stream = stream
        self._secrets = secrets

    def write(self, text: str) -> int:
        self._stream.write(self._secrets.sub(MASK, text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _encoding_all(stream: TextIO | None) -> TextIO:
    if stream is None or stream.closed:
        return open(os.devnull, "w", encoding="utf-8")
    with contextlib.suppress(AttributeError, ValueError):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    return stream
