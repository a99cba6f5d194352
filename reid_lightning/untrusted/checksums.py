"""Whether every byte of a model's file is as it was written: torch and ONNX Runtime compare no checksums."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from reid_lightning.atomic import write_atomically

_DIGITS = 64
_SEAL = b"sha256\x12\x40"  # a pair of an ONNX file's metadata, as protobuf writes it: the key, then 64 bytes of value


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
    except Exception:  # zipfile raises many kinds on damaged bytes; the list of contents stands at the end
        return f"cut short after {size:,} bytes" if size else "empty"
    with archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            return "packed, which torch writes no checkpoint"
        if sum(entry.file_size for entry in entries) > size:
            return "it says that more is in it than its size allows"
        try:
            changed = archive.testzip()
        except Exception as error:
            return f"its bytes have changed: {error}"
    return None if changed is None else f"its bytes have changed, in {changed}"


def write_checksum(path: Path) -> None:
    """Write the SHA-256 of a file beside it, as `sha256sum --check` reads it."""
    write_atomically(_beside(path), f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")


def onnx_damage(path: Path) -> str | None:
    """What is wrong with the bytes of an ONNX file, or None: with a checksum beside it, or within, where earlier
    versions wrote it."""
    content = bytearray(path.read_bytes())
    if _beside(path).is_file():
        with _beside(path).open("rb") as file:
            expected = file.read(_DIGITS)
    elif (place := content.rfind(_SEAL)) >= 0:  # of all the rest, with zeros in its own place
        within = slice(place + len(_SEAL), place + len(_SEAL) + _DIGITS)
        expected, content[within] = bytes(content[within]), b"0" * _DIGITS
    else:
        return f"no checksum, neither beside nor in its {len(content):,} bytes"
    return None if hashlib.sha256(content).hexdigest().encode() == expected else "its bytes have changed"


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
