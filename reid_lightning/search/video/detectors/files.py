"""The file of a detector that is known to work: where it comes from, and how it is known from any other one.

Nothing is fetched unless somebody asks for it: `reid detector fetch`.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from reid_lightning.atomic import cache_folder, write_atomically
from reid_lightning.errors import ReIDError

_WAIT, _ALL_SECONDS = 15.0, 120.0  # for an answer, and for all of it
_BLOCK = 1 << 16
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class KnownFile:
    """`size` in bytes and `sha256` in hexadecimal digits are those of the file at `address`."""

    name: str
    address: str
    licence: str
    size: int
    sha256: str

    def describe(self) -> str:
        """For an error, or whoever wants to fetch it by other means."""
        return f"{self.name} ({self.licence}, {self.size:,} bytes, SHA-256 {self.sha256}) from {self.address}"


YOLOX_NANO = KnownFile(
    "yolox_nano.onnx",
    "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx",
    "Apache-2.0",
    3_659_407,
    "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
)
"""Ge et al., 2021, trained on COCO, 416 x 416 pixels."""
KNOWN = {"yolox_nano": YOLOX_NANO}


def default_folder() -> Path:
    """`detectors` in the user's cache."""
    return cache_folder() / "detectors"


def fetched(known: KnownFile, folder: str | Path | None = None) -> Path | None:
    """The file, if it was fetched before. ReIDError: what lies there is another one."""
    path = Path(folder or default_folder()) / known.name
    if not path.is_file():
        return None
    _check(known, path.read_bytes() if path.stat().st_size == known.size else b"", str(path), "Fetch it again.")
    return path


def fetch(known: KnownFile, folder: str | Path | None = None, *, address: str | None = None) -> Path:
    """Fetch a file, check it, and put it into a folder, whole or not at all; one that is there already stays.

    Args:
        known: which one.
        folder: where it goes, the user's cache by default.
        address: a copy of it elsewhere: https://, file://, or http:// on this machine.

    Raises:
        ReIDError: no network, an address of another kind or one that leads to one, another file, or no place for it.
    """
    path = Path(folder or default_folder()) / known.name
    try:
        if (there := fetched(known, path.parent)) is not None:
            return there
    except ReIDError:
        pass  # damaged: replaced
    content = _read(known, address or known.address)
    _check(known, content, address or known.address, "Nothing was kept.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ReIDError(f"{path} cannot be written: {error.strerror or error}.") from error
    return path


def _check(known: KnownFile, content: bytes, where: str, remedy: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != known.sha256:
        raise ReIDError(f"{where} is not the {known.name} that is known: expected SHA-256 {known.sha256}. {remedy}")


def _read(known: KnownFile, address: str) -> bytes:
    """Not a byte more than it should have."""
    _check_address(address)
    content, until = bytearray(), time.monotonic() + _ALL_SECONDS
    try:
        with build_opener(_ToHttpsOnly).open(Request(address), timeout=_WAIT) as answer:
            while block := answer.read1(_BLOCK) if hasattr(answer, "read1") else answer.read(_BLOCK):
                content += block
                if len(content) > known.size:
                    raise ReIDError(f"{address} has more than the {known.size:,} bytes of {known.name}.")
                if time.monotonic() > until:
                    raise ReIDError(
                        f"{address} gave {len(content):,} bytes in {_ALL_SECONDS:g} s; try another network."
                    )
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise ReIDError(
            f"{address} cannot be read: {reason}. On a machine with a network fetch {known.describe()}; copy it here "
            "and set detector.path=<file>."
        ) from error
    return bytes(content)


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme in ("https", "file") or (parts.scheme == "http" and parts.hostname in _HERE):
        return
    raise ReIDError(f"the address is {address}; expected https://, file://, or http:// on this machine.")


class _ToHttpsOnly(HTTPRedirectHandler):
    """Releases are kept by another host; a redirect may lead to any, by https alone."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            raise ReIDError(f"{req.full_url} leads to {newurl}; expected a redirect to https://.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
