"""What is known of each camera and of each receiver while they are watched: plain numbers, handed between processes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

from reid_lightning.redaction import without_password


def reason_without_password(reason: str) -> str:
    """A message that may begin with an address, and goes on behind it."""
    return without_password(f". {reason}")[2:]  # an address that begins a text is taken for all of it


State = Literal["waiting", "connecting", "watching", "pausing", "done", "stopped"]
"""`pausing`: it does not answer, or has stopped sending, and is tried again; `done`: a recording has ended."""


@dataclass(frozen=True)
class CameraStatus:
    """Of one camera since the command was started; `error` is why it was last lost, "" where it was not.

    `frames` came, `dropped` of them because nobody had time for them; `vehicles` were saved, `known` of them before;
    `connections` were made, `last_frame` is when the last frame came, in seconds since 1970 (0: none has).
    """

    name: str
    state: State = "waiting"
    error: str = ""
    frames: int = 0
    dropped: int = 0
    vehicles: int = 0
    known: int = 0
    hits: int = 0
    hits_dropped: int = 0
    connections: int = 0
    last_frame: float = 0.0

    def plus(self, earlier: CameraStatus) -> CameraStatus:
        """With the counts of a process that has ended before this one."""
        sums = {name: getattr(self, name) + getattr(earlier, name) for name in COUNTS}
        return replace(self, **sums, last_frame=max(self.last_frame, earlier.last_frame))


COUNTS = tuple(field.name for field in fields(CameraStatus) if field.type == "int")
"""The fields that only grow."""


@dataclass(frozen=True)
class ReceiverStatus:
    """Of one receiver of hits: those that wait on the disk, and of this start those delivered and the tries that
    failed; `error` is why the last one did."""

    name: str
    address: str
    waiting: int = 0
    delivered: int = 0
    failed: int = 0
    error: str = ""
