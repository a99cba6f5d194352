"""Files of `torch.load` from anywhere: looked through before they are read, and read without pickle's code."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reid_lightning.errors import ReIDError, first_line, shortened
from reid_lightning.regular_files import check_regular
from reid_lightning.untrusted.checksums import damage
from reid_lightning.untrusted.pickle_calls import Claims, RefusedPickleError, follow

TIED = 4
"""How many times the size of a file its tensors may claim together: tied ones share their storage."""

_SMALL_FILE = 1 << 20
_ZIP = b"PK\x03\x04"  # by which torch tells the two formats apart
_PICKLES_BEFORE = 3  # in the format before torch 1.6: a magic number, a version and the writer's machine
# torchreid keeps a rank-1 rate beside the weights: a numpy number, plain data that weights_only does not know.
_NUMPY_NUMBERS: list[Any] = [
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


class UnreadableFileError(ReIDError):
    """A file that cannot or may not be read; the message is the reason alone, for the sentence of the caller."""


def load_torch_file(path: Path, *, mmap: bool = False) -> Any:
    """What `torch.save` has written to `path`, on the CPU, if that is tensors and plain values, numpy's included.

    It takes no more memory than a small multiple of the file. Raises UnreadableFileError.
    """
    check_torch_file(path)
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS):
            return torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
    except Exception as error:  # torch's reader of pickles raises many kinds on what it does not know
        raise UnreadableFileError(_reason(error)) from error


def check_torch_file(path: Path) -> None:
    """UnreadableFileError when a file of `torch.save` holds anything but tensors, no larger than what is stored of
    them, and plain values. Checksums are not compared, see `damage`."""
    try:
        check_regular(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
            file.seek(0)
            claims = _of_zip(path) if is_zip else _of_old_format(file, size)
    except RefusedPickleError as error:
        raise UnreadableFileError(shortened(error, 300)) from error
    except OSError as error:
        raise UnreadableFileError(f"not readable: {error.strerror or error}") from error
    if claims.tensor_bytes > TIED * size + _SMALL_FILE:
        raise UnreadableFileError(
            f"its tensors would take {claims.tensor_bytes:,} bytes, and it has {size:,}: numbers are not stored but "
            "repeated"
        )


def _of_zip(path: Path) -> Claims:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
        reader = torch._C.PyTorchFileReader(str(path))
        names = [name.lower() for name in reader.get_all_records()]  # torch's reader takes either case
        content = reader.get_record("data.pkl")
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise RefusedPickleError(damage(path) or first_line(error)) from error
    sizes = {entry.filename.partition("/")[2].lower(): entry.file_size for entry in entries}
    if sorted(names) != sorted(sizes) or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise RefusedPickleError("its list of contents is not as torch writes it")
    claims = follow(io.BytesIO(content))
    for key, claimed in claims.storages.items():
        if claimed > sizes.get(f"data/{key}".lower(), 0):
            raise RefusedPickleError(f"the numbers at data/{key[:80]} are fewer than it says")
    return claims


def _of_old_format(file: Any, size: int) -> Claims:
    for _ in range(_PICKLES_BEFORE):
        follow(file)
    claims = follow(file)
    follow(file)  # the keys of what is stored
    if sum(claims.storages.values()) > size:
        raise RefusedPickleError("it has fewer numbers than it says")
    return claims


def _reason(error: Exception) -> str:
    """What torch says, without its advice to read the file with `weights_only=False`."""
    text = str(error)
    if "weights_only" not in text and "Weights only" not in text:
        return first_line(error)
    found = re.search(r"(?:WeightsUnpickler error:\s*|\n\n)(.+?)(?:\. Please use|\.?\n|$)", text)
    return shortened(found[1], 300) if found else "it holds more than tensors and plain values"
