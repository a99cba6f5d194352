"""What a child does to itself before its command begins, so that a drill needs no rights: a disk that takes no more,
rights that hold for root too, a clock that jumps."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time

DAY = 86400.0
JUMPED = "the clock has jumped"

_CAPABILITIES = 0x20080522  # version 3 of Linux' call


def no_larger_files(size: int) -> None:
    """Let every write beyond `size` bytes of a file fail with "File too large", much as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def ordinary_rights() -> None:
    """Let the modes of files and folders hold for this process even if it is root's (Linux)."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "the capabilities of this process cannot be given up")


def clock_that_jumps(*, after: int, by: float = -DAY) -> None:
    """Let `time.time` and `time.time_ns` jump by so many seconds at their `after`-th call, and say so."""
    tell = time.time
    calls = 0

    def jumping() -> float:
        nonlocal calls
        calls += 1
        if calls == after:
            os.write(2, f"{JUMPED}\n".encode())
        return tell() + (by if calls >= after else 0.0)

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)
