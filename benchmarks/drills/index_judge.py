"""What a user sees of an index: whether a search answers rightly, says one line, or shows what nobody should meet."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from reid_lightning.bundle.embedder import Embedder
from reid_lightning.commands.main import main as reid
from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, open_store


class Fault(Exception):
    """What a user should not have met."""


def searched(root: Path, embedder: Embedder, *, indexed: bool, uri: str | None = None) -> bool | str:
    """Whether every registered picture finds itself first, and all there are are found; or what the search says.
    `uri`: of its vectors, which are its own by default."""
    gallery = Gallery(root)
    expected = {
        f"{one.id}-{number}": (one.vehicle, path)
        for one in gallery.sightings(on_problem=lambda problem: None)
        for number, path in enumerate(gallery.crop_paths(one))
    }
    vectors = embedder.embed([Image.open(path) for _, path in expected.values()]).numpy()
    try:
        model = {"fingerprint": embedder.options.fingerprint, "dim": embedder.embedding_dim}
        store = open_store(uri or root / ".index", **model, create=False, **({"exact_up_to": 0} if indexed else {}))
        hits = store.search(vectors, top_k=len(expected) + 10)
    except ReIDError as error:
        return one_line(str(error))
    names = {name: vehicle for name, (vehicle, _) in expected.items()}
    for found, query in zip(hits, vectors, strict=True):
        if {hit.record.id: hit.record.vehicle for hit in found} != names or len(found) != len(names):
            return False
        true = {name: float(query @ vector) for name, vector in zip(expected, vectors, strict=True)}
        if any(abs(hit.score - true[hit.record.id]) > 5e-3 for hit in found):
            return False
    return True


def check_after(root: Path, embedder: Embedder, *, indexed: bool, what: str, named: bool = False) -> None:
    found = searched(root, embedder, indexed=indexed)
    if found is not True and not named:
        raise Fault(f"after {what}: {found or 'a wrong answer'}")


def _reid(words: Sequence[str]) -> int:
    sys.argv = ["reid", "gallery", *words]
    try:
        reid()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def run(*arguments: str) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = _reid(arguments)
    if "Traceback" in said.getvalue():
        raise Fault(f"{arguments[0]}: {said.getvalue()}")
    return status, " ".join(said.getvalue().split())[-600:]


def one_line(message: str) -> str:
    if "\n" in message or not 20 < len(message) < 1_000:
        raise Fault(f"a message that is no line: {message!r}")
    return message


@contextmanager
def nothing_shown() -> Iterator[None]:
    """`Fault` if a panic is printed within, past what Python knows of."""
    before = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
        file.seek(0)
        if b"panicked at" in (shown := file.read()):
            raise Fault(f"a panic is shown: {shown[:300]!r}")
