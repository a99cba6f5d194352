"""Whether every byte of a model's file is as it was written: torch and ONNX Runtime compare no checksums."""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from pathlib import Path

_DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)  # all of these come out of zipfile on damaged bytes

_SEAL = b"sha256\x12\x40"  # a pair of an ONNX file's metadata, as protobuf writes it: the key, then 64 bytes of value
UNSEALED = {"sha256": "0" * 64}
"""What `seal_onnx` needs among the metadata of an ONNX model."""


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file, in a few words, or None when every byte of it is as it was written.

    torch.load itself takes a file with changed bytes: it checks the list of contents and not the sums of the contents.
    A file that would unpack to more than it holds, as none that torch has written, counts as damaged too.
    """
    try:
        size = path.stat().st_size
        archive = zipfile.ZipFile(path)
    except OSError as error:
        return f"not readable: {error.strerror or error}"
    except _DAMAGE:  # the list of contents stands at the end
        return f"cut short after {size:,} bytes" if size else "empty"
    with archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            return "packed, which torch writes no checkpoint"
        if sum(entry.file_size for entry in entries) > size:
            return "it says that more is in it than its size allows"
        try:
            changed = archive.testzip()
        except _DAMAGE as error:
            return f"its bytes have changed: {error}"
    return None if changed is None else f"its bytes have changed, in {changed}"


def seal_onnx(path: Path) -> None:
    """Write into an ONNX file, whose metadata hold `UNSEALED`, the SHA-256 of all that it holds otherwise."""
    content, seal = _unsealed(path)
    if seal is None:
        raise ValueError(f"{path} has no place for a checksum among its metadata")
    start = content.rindex(_SEAL) + len(_SEAL)
    content[start : start + 64] = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes(content)


def onnx_damage(path: Path) -> str | None:
    """What is wrong with the bytes of an ONNX file that `seal_onnx` has sealed, or None."""
    content, seal = _unsealed(path)
    if seal is None:
        return f"no checksum in its {len(content):,} bytes"
    return None if hashlib.sha256(content).hexdigest().encode() == seal else "its bytes have changed"


def _unsealed(path: Path) -> tuple[bytearray, bytes | None]:
    """The bytes of a file with zeros for its checksum, and the checksum, if there is one."""
    content = bytearray(path.read_bytes())
    place = content.rfind(_SEAL)
    if place < 0:
        return content, None
    start = place + len(_SEAL)
    seal = bytes(content[start : start + 64])
    content[start : start + 64] = b"0" * 64
    return content, seal
