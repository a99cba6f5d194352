"""CPU time and memory of a server: its process and what that has started."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Processes:
    """Those of a server by the id of its first one; None: there is no server."""

    pid: int | None

    def cpu(self) -> float:
        """CPU seconds, those of its processes that have ended included."""
        if self.pid is None:
            return 0.0
        return _cpu(self.pid, ended=True) + sum(_cpu(child, ended=False) for child in self.children())

    def resident(self) -> float:
        """MiB; what several of them share counts once."""
        return 0.0 if self.pid is None else sum(_resident(pid) for pid in (self.pid, *self.children()))

    def children(self) -> list[int]:
        """The ids of what the first one has started."""
        with suppress(OSError):
            return [int(child) for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []


def own_memory(pid: int) -> float:
    """MiB that a process holds itself (RssAnon), without pages of files, which the system may drop; 0: it has ended."""
    with suppress(OSError):
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def _cpu(pid: int, *, ended: bool) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(field) for field in fields[11 : 15 if ended else 13]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _resident(pid: int) -> float:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) / 1024
    return 0.0
