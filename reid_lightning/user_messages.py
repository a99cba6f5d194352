"""What users read: one message for a mistake that they can fix, values as they are shown, what was expected."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from reid_lightning.errors import ReIDError, shortened
from reid_lightning.redaction import without_secrets
from reid_lightning.regular_files import in_words

_WRITE_ERRORS = {errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EDQUOT, errno.EFBIG}
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, of Linux
_LOADER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)"
)
_OF_A_LIBRARY = re.compile(r"Error in call to target '(?!reid_lightning\.)\w+\.")
_SHARED_MEMORY = re.compile(r"insufficient shared memory|unable to (?:write|open|allocate|mmap).*shared memory")
_RANK = re.compile(
    r"gloo.*(?:closed by peer|reset by peer|broken pipe|timed? ?out|refused)"
    r"|nccl.*(?:remote process exited|remote error|timed? ?out|timeout|aborted)"
    r"|(?:connection|socket).*(?:closed by peer|reset by peer|connection reset).*(?:store|rendezvous|tcp)",
    re.IGNORECASE | re.DOTALL,
)


def user_message(error: BaseException) -> str | None:
    """The message for a mistake the user can fix, or None when `error` is a bug and deserves its traceback."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, ReIDError):
            return str(cause).rsplit("ReIDError: ", 1)[-1].strip()  # a loader process puts its traceback before it
        if type(cause).__name__ == "MisconfigurationException":  # Lightning's word for what a user asked wrongly
            return _one_paragraph(cause)
        if (message := lost_process_message(cause)) is not None:
            return message
    for cause in chain:
        if isinstance(cause, OSError) and (message := in_words(cause)) is not None:
            return message
        if isinstance(cause, FileNotFoundError) and cause.filename is None:
            return "the folder that this was started from is not there any more; change to one that is."
        if isinstance(cause, OSError) and cause.errno in _WRITE_ERRORS:
            where = cause.filename or "the run directory"
            return (
                f"cannot write to {where}: {cause.strerror}. Free some space there, or choose another folder with "
                "hydra.run.dir=<folder>."
            )
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name: only commands import Hydra
    if "InstantiationException" in kinds:
        called_wrongly = isinstance(error.__cause__, TypeError) and "argument" in str(error.__cause__)
        missing = isinstance(error.__cause__, ImportError | AttributeError) or "Error locating target" in str(error)
        refused = isinstance(error.__cause__, TypeError | ValueError) and _OF_A_LIBRARY.match(str(error))
        return _one_paragraph(error) if called_wrongly or missing or refused or error.__cause__ is None else None
    if "InterpolationResolutionError" in kinds and (key := getattr(error, "full_key", None)):
        return no_value(key, getattr(error, "child_node", None))
    if kinds & {"HydraException", "OmegaConfBaseException"}:
        return _one_paragraph(error)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:  # an error of gRPC is its own cause
        seen.add(id(current))
        yield current
        current = current.__cause__


def _one_paragraph(error: BaseException) -> str:
    """Without Hydra's advice to add what is misspelt."""
    lines = (line for line in str(error).splitlines() if line.strip())
    return "\n  ".join(line for line in lines if not line.startswith(("To append to your", "See https://hydra.cc")))


@dataclass(frozen=True)
class Expected:
    """In an `Annotated` type: what is expected, in words, and whether a value of the type is that."""

    words: str
    holds: Callable[[Any], bool] = lambda value: True


Positive = Annotated[int, Expected("a whole number of 1 or more", lambda value: 1 <= value < 1 << 31)]
NotNegative = Annotated[int, Expected("a whole number of 0 or more", lambda value: 0 <= value < 1 << 31)]


def is_path(text: object) -> bool:
    """Whether a file or folder can be called so: what no name can hold is no path."""
    return bool(str(text)) and "\0" not in str(text) and _too_long(str(text)) == ""


def is_utf8(text: str) -> bool:
    """False where bytes of a command line or a file's name were none."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def shown(key: str, value: object) -> str:
    """A value in a message: one line, without secrets, of a long one the beginning and the end."""
    hidden = without_secrets({key.rpartition(".")[2]: value})[key.rpartition(".")[2]]
    if hidden is None or isinstance(hidden, bool):
        return {None: "null", True: "true", False: "false"}[hidden]
    if isinstance(hidden, int) and hidden >= 1 << 31:
        return f"{shortened(hidden)} (too large)"
    text = repr(hidden) if isinstance(hidden, str) else str(hidden)
    return shortened(text) + (_trouble(hidden) if isinstance(hidden, str) else "")


def no_value(key: str, text: object) -> str:
    """A message for `${...}` that names nothing."""
    return (
        f"{key} is {shown(key, None if text is None else str(text))}: there is no such key or environment variable. "
        f"Type a value, {key}=<value>, or set what ${{...}} names."
    )


def _trouble(text: str) -> str:
    if "\0" in text:
        return " (which holds a zero byte)"
    if not is_utf8(text):
        return " (which is not UTF-8)"
    return _too_long(text)


def _too_long(text: str) -> str:
    encoded = text.encode(errors="surrogatepass")
    longest = max(map(len, encoded.split(b"/")))
    if longest > _LONGEST_NAME:
        return f" (a name of {longest:,} bytes; a file's has {_LONGEST_NAME} at most)"
    return f" (a path of {len(encoded):,} bytes)" if len(encoded) > _LONGEST_PATH else ""


def lost_process_message(error: BaseException) -> str | None:
    """What happened and what to do, or None when `error` tells of something else. torch raises a RuntimeError for all
    of it, which only its words tell apart."""
    if not isinstance(error, RuntimeError):
        return None
    words = str(error)
    if _SHARED_MEMORY.search(words):
        return (
            "the processes that load pictures have too little shared memory. Give the container more (docker run "
            "--shm-size=8g), or set loader.num_workers=0."
        )
    loader = _LOADER.search(words)
    if loader is not None:
        signal = f" by the signal {loader[1]}" if loader[1] else ""
        return (
            f"a process that loads pictures was ended{signal}, most often for want of memory. Use fewer of them "
            "(loader.num_workers) or a smaller cache (loader.cache_mib); a training then goes on with "
            "resume=<its folder>."
        )
    if _RANK.search(words):
        return (
            "another process of this run has ended or cannot be reached any more; the reason stands in its own output. "
            "When it is fixed, the training goes on with resume=<its folder>."
        )
    return None
