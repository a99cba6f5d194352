"""Small files that want much: each is to be refused with one clear error, before it has taken the memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reid_lightning.errors import ReIDError

MIB = 1 << 20
LONGEST_MESSAGE = 2_000


@contextmanager
def refused(message: str, *, mib: int = 200) -> Iterator[None]:
    """`ReIDError` with a message that is short, and no more memory than `mib` at any moment (where /proc tells)."""
    before = peak(reset=True)
    with pytest.raises(ReIDError, match=message) as caught:
        yield
    assert len(str(caught.value)) < LONGEST_MESSAGE
    assert peak() - before < mib * MIB


def peak(*, reset: bool = False) -> int:
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))[1]) << 10
    except OSError:
        return 0
