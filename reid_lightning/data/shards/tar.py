"""Tar files of bounded size in WebDataset's layout, written one after the other."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from reid_lightning.atomic import flush
from reid_lightning.data.packed_picture import PackedPicture

_BLOCK = tarfile.BLOCKSIZE  # 512 bytes, in multiples of which a tar file is written
_SECTION = 1 << 20  # bytes that go to the disk at once


class TarShards:
    """Writes `<split>-<number>.tar` into `folder`, each of at most `shard_bytes` unless one picture alone is larger.

    A context manager. The bytes depend on what is added alone: no times, no owners.
    """

    def __init__(self, folder: Path, *, shard_bytes: int) -> None:
        self.sizes: dict[str, int] = {}
        """Bytes of every finished shard, by name."""
        self.sums: dict[str, str] = {}
        """Their SHA-256."""
        self._folder, self._shard_bytes = folder, shard_bytes
        self._file: BinaryIO | None = None
        self._split, self._name = "", ""

    def __enter__(self) -> TarShards:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        elif self._file is not None:
            self._file.close()

    def add(self, data: bytes, known: Mapping[str, object], *, split: str, key: str, ending: str) -> PackedPicture:
        """Append a picture as `<key>.<ending>` and what is known of it as `<key>.json`; says where the picture lies.

        Pictures of a split come one behind the other: a change of `split` ends the shard.
        """
        text = json.dumps(known).encode("ascii")
        needed = sum(_BLOCK + len(content) + _filling(content) for content in (data, text))
        if split != self._split or self._position + needed + 2 * _BLOCK > self._shard_bytes:
            self._finish()
            self._begin(split)
        offset = self._append(f"{key}.{ending}", data)
        self._append(f"{key}.json", text)
        return PackedPicture(self._name, offset, len(data), zlib.crc32(data), f"{key}.{ending}")

    def _begin(self, split: str) -> None:
        number = 1 + int(self._name[-10:-4]) if split == self._split else 0
        self._split, self._name = split, f"{split}-{number:06d}.tar"
        self._position, self._digest = 0, hashlib.sha256()
        self._file = open(self._folder / self._name, "xb", buffering=_SECTION)  # noqa: SIM115, closed by `_finish`

    def _append(self, member: str, content: bytes) -> int:
        header = tarfile.TarInfo(member)
        header.size = len(content)
        self._write(header.tobuf(tarfile.USTAR_FORMAT))
        offset = self._position
        self._write(content)
        self._write(bytes(_filling(content)))
        return offset

    def _write(self, content: bytes) -> None:
        if self._file is None:
            raise ValueError("no shard is open")
        self._file.write(content)
        self._digest.update(content)
        self._position += len(content)

    def _finish(self) -> None:
        if self._file is None:
            return
        self._write(bytes(2 * _BLOCK))  # the end of a tar file
        with self._file as file:
            flush(file)
        self.sizes[self._name], self.sums[self._name] = self._position, self._digest.hexdigest()
        self._file = None


def _filling(content: bytes) -> int:
    """Bytes to the end of the last block."""
    return -len(content) % _BLOCK
