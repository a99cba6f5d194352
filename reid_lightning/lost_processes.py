"""What to say when a process that a run needs was killed: of those that load pictures, or another rank."""

from __future__ import annotations

import re

_LOADER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)"
)
_SHARED_MEMORY = re.compile(r"insufficient shared memory|unable to (?:write|open|allocate|mmap).*shared memory")
_RANK = re.compile(
    r"gloo.*(?:closed by peer|reset by peer|broken pipe|timed? ?out|refused)"
    r"|nccl.*(?:remote process exited|remote error|timed? ?out|timeout|aborted)"
    r"|(?:connection|socket).*(?:closed by peer|reset by peer|connection reset).*(?:store|rendezvous|tcp)",
    re.IGNORECASE | re.DOTALL,
)


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
            "When it is mended, the training goes on with resume=<its folder>."
        )
    return None
