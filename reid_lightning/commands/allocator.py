"""How this process asks the system for memory. Maps of a network are megabytes, which glibc takes from the system and
gives back each time: every page of them is then zeroed again, a third of the time of a training step or an embedding.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process use its freed memory again instead of giving it back, up to 2 GiB; it takes no more at its peak.

    For processes that compute and end. Returns whether the C library can do it (glibc; others are left as they are).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _LARGEST_INT))
