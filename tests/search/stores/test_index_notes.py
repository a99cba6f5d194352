"""The note beside an index of what was written to it: one that is damaged is reported until the index was compared."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from damaged_index import becomes, flip
from toy_vectors import MODEL, records, vectors

from reid_lightning.search.gallery import open_store
from reid_lightning.search.stores.base import StoreError


def written(**values: object) -> bytes:
    """A note whose checksum is right."""
    said = {"lineage": "a", "version": 1, "complete": True, "files": {}} | values
    content = json.dumps({name: value for name, value in said.items() if value != "left out"}).encode()
    return b"%08x\n%b" % (zlib.crc32(content), content)


NOTES: dict[str, Callable[[Path], object]] = {
    "words": lambda note: note.write_bytes(b"no note"),
    "nothing": lambda note: note.write_bytes(b""),
    "cut short": lambda note: note.write_bytes(note.read_bytes()[:-9]),
    "bytes": lambda note: note.write_bytes(bytes(range(256))),
    "a bit": lambda note: flip(note, 30),
    "edited": lambda note: note.write_bytes(note.read_bytes().replace(b"true", b"null")),
    "no object": lambda note: note.write_bytes(b"%08x\n[]" % zlib.crc32(b"[]")),
    "a version that is a text": lambda note: note.write_bytes(written(version="4")),
    "files that are none": lambda note: note.write_bytes(written(files={"data/x": 3})),
    "a key too many": lambda note: note.write_bytes(written(more=1)),
    "a key too few": lambda note: note.write_bytes(written(lineage="left out")),
    "deep": lambda note: note.write_bytes(b"%08x\n%b" % (zlib.crc32(b"[" * 100_000), b"[" * 100_000)),
    "a folder": lambda note: becomes(note, lambda path: (path / "with a file").mkdir(parents=True)),
    "a pipe": lambda note: becomes(note, os.mkfifo),
    "a link to nothing": lambda note: becomes(note, lambda path: path.symlink_to("/nowhere")),
}


@pytest.mark.parametrize("damage", NOTES)
def test_a_damaged_note_is_told_until_the_index_was_compared_or_made_anew(uri: Path, damage: str) -> None:
    note = uri.with_name(".index.vehicles.state")
    for remedy in (lambda store: store.mark_complete(), lambda store: store.replace([(records(5), vectors(5))])):
        NOTES[damage](note)
        store = open_store(uri, **MODEL, any_model=True)
        with pytest.raises(StoreError, match=r"\.index\.vehicles\.state, is damaged.*gallery sync"):
            store.search(vectors(1), top_k=1)
        assert ["is damaged" in problem for problem in store.problems()] == [True]
        store.upsert(records(1, prefix="later"), vectors(1))  # which is no remedy
        with pytest.raises(StoreError, match="is damaged"):
            open_store(uri, **MODEL).require_complete()
        remedy(store)
        assert len(open_store(uri, **MODEL).search(vectors(1), top_k=1)[0]) == 1
        assert store.problems() == [] and note.is_file()
