"""A picture inside a shard, which stands where other records have the path of a file."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from functools import lru_cache

OPEN_SHARDS = 128
"""Shards that a process keeps open at most; of more, those that were not read for the longest time are closed."""


@dataclass(frozen=True, slots=True)
class PackedPicture:
    """`length` bytes at `offset` of the tar file `shard`, called `member` in it, with the CRC-32 of these bytes.

    It has what is asked of a picture's `Path` (`str`, `name`, `suffix`, `read_bytes`), and nothing by which a file
    could be opened. Equal is what lies at the same place.
    """

    shard: str
    offset: int
    length: int = field(compare=False)
    crc32: int = field(compare=False)
    member: str = field(compare=False)

    def __str__(self) -> str:
        return f"{self.shard}/{self.member}"

    @property
    def name(self) -> str:
        """The member's."""
        return self.member

    @property
    def suffix(self) -> str:
        """Of the member, with its dot."""
        return os.path.splitext(self.member)[1]

    def read_bytes(self) -> bytes:
        """The picture's file. `OSError`, as from a path, if the shard is missing, too short or damaged here."""
        shard = _opened(self.shard)  # by a name, so that it stays open until it is read, whatever other threads open
        data = os.pread(shard.descriptor, self.length, self.offset)
        if len(data) != self.length:
            raise OSError(f"the shard ends {self.length - len(data):,} bytes before the picture does")
        if zlib.crc32(data) != self.crc32:
            raise OSError("these bytes are not those that were written (their checksum differs)")
        return data


class _OpenShard:
    """An open file, closed when nobody needs it any more: not the cache, nor a thread that reads at this moment."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # not if the file could not be opened
            os.close(self.descriptor)


# By process and not by set: forked workers may share what is open, since a positioned read moves no file's position,
# and spawned ones open what they read.
@lru_cache(maxsize=OPEN_SHARDS)
def _opened(path: str) -> _OpenShard:
    return _OpenShard(path)


def close_shards() -> None:
    """Close this process's shards; what is read next opens them again, as for files that were replaced."""
    _opened.cache_clear()
