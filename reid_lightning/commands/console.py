"""What a command shows: on a console of any encoding, without the secrets of its command line, a screen at most."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TextIO, cast
from urllib.parse import quote, unquote

from reid_lightning.errors import one_screen, printable
from reid_lightning.redaction import MASK, SCHEME, SERVER, has_user, is_secret, without_password

_USER = re.compile(rf"(?is){SCHEME}([^/:]*:.*)@")
_BARE_USER = re.compile(rf"(?s)(?:^|=)([^\s/@:=]+(?::(?![/\\]).*)?)@{SERVER}")
_HOST = re.compile(rf"(?i){SCHEME}([^/@?#]*)(?:[/?#]|$)")
_FIELD = re.compile(r"(?s)[?&][^=&]*=([^&]*)")
_READER_GONE = {errno.EPIPE, errno.EIO}
_SHORTEST = 3  # letters of a secret that is hidden wherever it stands; a shorter one is hidden in its address alone


@contextlib.contextmanager
def safe_console(words: Sequence[str] = ()) -> Iterator[None]:
    """While the body runs, stdout and stderr take every text: what they cannot encode is written as \\u4eac, secrets
    among the `words` of the command line as ***; one that is closed swallows what it is given. So does one that takes
    nothing, such as a file on a full disk, for the work goes on; of stdout an error says so at the end. An
    exception that leaves the body is a bug: its traceback is printed in the same way, and the command ends with
    status 1. Ctrl+C is no bug: one line, status 130."""
    before, secrets = (sys.stdout, sys.stderr), _pattern(secrets_of(words))
    out, err = (_Console(_encoding_all(stream), secrets) for stream in before)
    sys.stdout, sys.stderr = cast(TextIO, out), cast(TextIO, err)
    try:
        yield
        with contextlib.suppress(OSError, ValueError):  # whoever read it has gone
            out.flush()
        if out.lost:
            fail(f"cannot write to stdout: {out.lost}. Some of what was to be printed is missing; nothing else is.")
    except KeyboardInterrupt:  # what was begun has said what it wrote
        sys.stderr.write("\nstopped by Ctrl+C\n")
        sys.exit(130)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _READER_GONE and out.is_left:
            sys.exit(1)  # as in `reid gallery list | head`
        sys.stderr.write(without_password("".join(traceback.format_exception(error))))
        sys.exit(1)
    finally:
        sys.stdout, sys.stderr = before
        for stream in filter(None, before):
            try:
                stream.flush()
            except (OSError, ValueError):  # whoever read it has gone, or it is lost
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def fail(message: str) -> NoReturn:
    """Print the one message of a command that ends with status 1. Ctrl+C is no bug: one line, status 130."""
    sys.stderr.write(f"\nerror: {printable(one_screen(without_password(message)))}\n")
    sys.exit(1)


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


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    words = "|".join(map(re.escape, sorted(secrets, key=len, reverse=True)))
    return re.compile(rf"(?<!\w)(?:{words})(?!\w)") if words else None


class _Console:
    """A stream in which secrets are hidden."""

    def __init__(self, stream: TextIO, secrets: re.Pattern[str] | None) -> None:
        self._stream, self._secrets = stream, secrets
        self.lost = ""
        """Why it takes nothing any more."""
        self.is_left = False
        """Whether whoever read it has gone."""

    def write(self, text: str) -> int:
        self._do(lambda: self._stream.write(text if self._secrets is None else self._secrets.sub(MASK, text)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._do(self._stream.flush)

    def _do(self, action: Callable[[], object]) -> None:
        if self.lost:
            return
        try:
            action()
        except OSError as error:
            if error.errno in _READER_GONE:
                self.is_left = True
                raise
            self.lost = error.strerror or str(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _encoding_all(stream: TextIO | None) -> TextIO:
    if stream is None or stream.closed:
        return open(os.devnull, "w", encoding="utf-8")
    with contextlib.suppress(AttributeError, ValueError):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    return stream
