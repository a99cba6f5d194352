"""A damaged index is never in the way of its own remedy, and one that is older than it was is noticed."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from running import gallery_command
from test_vector_stores import DIM, MODEL, records, vectors
from toy_gallery import pictures, sighting

from reid_lightning.errors import ReIDError
from reid_lightning.search.gallery import Gallery, open_store
from reid_lightning.search.records import Filter
from reid_lightning.search.stores.base import DamagedStoreError, StoreError
from reid_lightning.search.stores.lance_errors import reported, without_panics_shown
from reid_lightning.search.stores.lance_folder import TableFolder


def newest(table: Path) -> Path:
    """The manifest: versions count down in the names."""
    return min((table / "_versions").glob("*.manifest"), key=lambda path: int(path.stem))


def one_of(table: Path, part: str) -> Path:
    return min(path for path in (table / part).rglob("*") if path.is_file())


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x80
    path.write_bytes(content)


def becomes(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


def swap(one: Path, other: Path) -> None:
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a bit of the manifest": lambda table: flip(newest(table), -16),
    "an empty manifest": lambda table: newest(table).write_bytes(b""),
    "a cut manifest": lambda table: newest(table).write_bytes(newest(table).read_bytes()[:40]),
    "a folder for a manifest": lambda table: becomes(newest(table), Path.mkdir),
    "two manifests swapped": lambda table: swap(newest(table), max((table / "_versions").glob("*.manifest"))),
    "no versions": lambda table: shutil.rmtree(table / "_versions"),
    "a bit of the data": lambda table: flip(one_of(table, "data"), 100),
    "a cut data file": lambda table: one_of(table, "data").write_bytes(b"damaged"),
    "no data": lambda table: shutil.rmtree(table / "data"),
    "no deletions": lambda table: shutil.rmtree(table / "_deletions"),
    "a bit of a deletion": lambda table: flip(one_of(table, "_deletions"), 200),
    "an empty table": lambda table: becomes(table, Path.mkdir),
    "a file for a table": lambda table: becomes(table, Path.touch),
    "a link to nothing": lambda table: becomes(table, lambda path: path.symlink_to("/nowhere")),
    "a folder for the lock": lambda table: becomes(table.with_name(".vehicles.lock"), Path.mkdir),
    "a file for the index": lambda table: becomes(table.parent, Path.touch),
    "a link to nothing for the index": lambda table: becomes(table.parent, lambda path: path.symlink_to("/nowhere")),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three writes and a deletion, in a folder of its own."""
    folder = tmp_path_factory.mktemp("whole")
    store = open_store(folder / ".index", **MODEL)
    for part in range(3):
        store.upsert(records(12)[4 * part : 4 * part + 4], vectors(12)[4 * part : 4 * part + 4])
    store.delete([records(12)[1].id])
    return folder


@pytest.fixture
def uri(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "gallery")
    return tmp_path / "gallery" / ".index"


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "of an earlier release"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_told_in_a_line_and_made_anew(
    uri: Path, damage: str, noted: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the note of what was written a changed bit of the data may be read as it is."""
    note = uri.with_name(".index.vehicles.state")
    if not noted:
        note.unlink()
    DAMAGE[damage](uri / "vehicles.lance")
    try:
        open_store(uri, **MODEL, create=False).search(vectors(1), top_k=20)
    except StoreError as error:
        message = str(error)
        assert "rebuild" in message and "panicked at" not in message and "\n" not in message
    else:
        assert "lock" in damage or (not noted and damage in ("a bit of the data", "a bit of a deletion"))
    again = open_store(uri, **MODEL, any_model=True)
    again.replace([(records(5), vectors(5))])
    assert open_store(uri, **MODEL).count() == 5
    assert again.search(vectors(1), top_k=1)[0][0].record == records(1)[0]
    assert {path.name for path in uri.iterdir()} <= {"vehicles.lance", ".vehicles.lock", ".vehicles.whole.lock"}
    assert "panicked" not in capfd.readouterr().err or "data" in damage or "deletion" in damage
    assert open_store(uri, **MODEL).problems() == []


@pytest.mark.parametrize("loss", ["newest manifest", "older copy", "older copy, of before a purge", "table", "index"])
def test_an_index_that_is_older_than_it_was_is_noticed_until_it_was_compared(uri: Path, loss: str) -> None:
    table, copy = uri / "vehicles.lance", uri.parent / "copy"
    store = open_store(uri, **MODEL)
    shutil.copytree(uri, copy)
    store.upsert(records(2, prefix="n"), vectors(2))
    if "purge" in loss:
        store.purge()
    if "manifest" in loss:
        newest(table).unlink()
    elif "copy" in loss:
        shutil.rmtree(uri)
        copy.rename(uri)
    else:
        shutil.rmtree(table if loss == "table" else uri)
    for opened in (open_store(uri, **MODEL), open_store(uri, **MODEL)):
        with pytest.raises(StoreError, match=r"older than it was.*gallery sync"):
            opened.search(vectors(1), top_k=1)
        opened.upsert(records(1, prefix="later"), vectors(1))  # which is no remedy
    with pytest.raises(StoreError, match="older than it was"):
        opened.require_complete()
    assert "older than it was" in opened.problems()[0]
    opened.purge()
    with pytest.raises(StoreError, match="older than it was"):
        open_store(uri, **MODEL).search(vectors(1), top_k=1)
    opened.mark_complete()
    assert len(open_store(uri, **MODEL).search(vectors(1), top_k=1)[0]) == 1
    assert opened.problems() == []


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


def test_what_happens_to_sound_stores_is_no_loss(uri: Path, tmp_path: Path) -> None:
    note = uri.with_name(".index.vehicles.state")
    reader, before = open_store(uri, **MODEL), note.read_bytes()
    open_store(uri, **MODEL).upsert(records(2, prefix="n"), vectors(2))
    note.write_bytes(before)  # its writer was killed before it wrote that down
    assert reader.count() == 13 and len(reader.search(vectors(1), top_k=20)[0]) == 13
    open_store(uri, **MODEL).purge()
    note.unlink()  # as after a kill between the two
    assert len(reader.search(vectors(1), top_k=20)[0]) == 13
    open_store(uri, **MODEL).drop()
    assert len(open_store(uri, **MODEL).search(vectors(1), top_k=20)[0]) == 0


def test_a_purge_beside_a_rebuild_takes_nothing_from_it(uri: Path) -> None:
    """Files that belong to no version yet are those of who is writing."""
    keeper, cleaner = open_store(uri, **MODEL), open_store(uri, **MODEL)

    def batches():
        yield records(2000, prefix="n"), vectors(2000)
        cleaner.purge()
        yield records(2000, prefix="m"), vectors(2000)

    keeper.replace(batches())
    assert open_store(uri, **MODEL).count() == 4000 and keeper.problems() == []


def test_leavings_of_killed_rebuilds_go_and_a_strangers_table_stays(uri: Path) -> None:
    (uri / ".new-killed").mkdir()
    (uri / ".new-killed" / "lock").touch()
    open_store(uri, **MODEL).purge()
    assert not (uri / ".new-killed").exists()
    import lancedb
    import pyarrow as pa

    lancedb.connect(str(uri)).create_table("theirs", pa.table({"x": [1, 2]}))
    with pytest.raises(ReIDError, match="not made by this program"):
        open_store(uri, **MODEL, name="theirs", any_model=True).replace([(records(1), vectors(1))])
    assert lancedb.connect(str(uri)).open_table("theirs").count_rows() == 2


def test_vectors_of_a_newer_format_are_told_and_made_anew(uri: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("reid_lightning.search.stores.lance_rows._FORMAT", "2")
        open_store(uri, **MODEL, any_model=True).replace([(records(3), vectors(3))])
    with pytest.raises(StoreError, match=r"format '2'.*rebuild"):
        open_store(uri, **MODEL)
    open_store(uri, **MODEL, any_model=True).replace([(records(3), vectors(3))])
    assert open_store(uri, **MODEL).count() == 3


class PanicException(BaseException):
    """As that of pyo3."""


@pytest.mark.parametrize(
    ("error", "words", "is_damage"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some space", False),
        (RuntimeError("lance error: IO: Permission denied (os error 13)"), "rights", False),
        (RuntimeError("lance error: IO: Read-only file system (os error 30)"), "writable", False),
        (RuntimeError("Too many open files (os error 24)"), "ulimit", False),
        (PanicException("range end index 9 out of range"), "its engine stopped .*rebuild", True),
        (RuntimeError("Invalid range 0..0, /x/src/dataset.rs:804:43"), "pictures are not touched.*rebuild", True),
    ],
)
def test_advice_fits_the_cause(tmp_path: Path, error: BaseException, words: str, is_damage: bool) -> None:
    message = reported(error, str(tmp_path), done="read")
    assert re.search(words, str(message)) and ".rs:" not in str(message)
    assert isinstance(message, DamagedStoreError) == is_damage == ("rebuild" in str(message))


def test_no_damage_is_told_where_there_is_none(uri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in ((uri, "a/b"), (uri, ""), (uri, ".."), (uri, "a\0b"), (f"{uri}\0", "vehicles")):
        with pytest.raises(ReIDError, match="expected") as raised:
            open_store(place, **MODEL, name=name)
        assert "rebuild" not in str(raised.value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="region and credentials"):
        open_store("s3://bucket/x", **MODEL)
    store = open_store(uri, **MODEL, exact_up_to=0)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="set TMPDIR") as raised:
        store.upsert(records(1), vectors(1))
    assert "rebuild" not in str(raised.value)


def test_a_commit_that_comes_between_two_looks_is_no_damage(uri: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = open_store(uri), TableFolder.newest_version
    looks: list[int] = []

    def ahead(place: TableFolder) -> int:  # of a table that took the place, or of a commit that is not to be opened yet
        looks.append(real(place))
        return looks[-1] + (len(looks) < 3)

    monkeypatch.setattr(TableFolder, "newest_version", ahead)
    assert store.count() and len(looks) == 3
    monkeypatch.setattr(TableFolder, "newest_version", lambda place: real(place) + 1)
    with pytest.raises(DamagedStoreError, match="says it is"):
        store.count()


def test_only_panics_are_kept_from_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with without_panics_shown():
        os.write(2, b"before\n")
        os.write(2, b"\nthread 'lancedb-tokio-worker' (30831) panicked at /x/table.rs:804:43:\nrange end index 9\n")
        os.write(2, b"stack backtrace:\n   0: a\n             at b\nnote: Some details are omitted\nafter\n")
    assert capfd.readouterr().err == "before\nafter\n"


@pytest.fixture
def gallery(tmp_path: Path, bundle: Path) -> Gallery:
    made = Gallery(tmp_path / "gallery")
    for number, vehicle in enumerate("ABCD"):
        made.add(sighting(number, vehicle, end=1e9 + number), pictures(number))
    assert gallery_command("sync", f"gallery={made.root}", f"bundle={bundle}") == 0
    return made


@pytest.mark.parametrize(
    "damage",
    ["a bit of the manifest", "a cut data file", "an empty table", "a file for the index", "a link to nothing"],
)
def test_commands_about_the_files_work_whatever_the_index_is(gallery: Gallery, bundle: Path, damage: str, capsys):
    at = [f"gallery={gallery.root}"]
    ((_, rows),) = open_store(gallery.root / ".index").scan(Filter(vehicles=("A",)))
    traces = [row.astype(np.float16).tobytes() for row in rows]
    DAMAGE[damage](gallery.root / ".index" / "vehicles.lance")
    capsys.readouterr()
    assert gallery_command("check", *at) == 1
    assert "1 problem" in (said := capsys.readouterr().out) and "rebuild" in said
    assert gallery_command("list", *at) == 0 and "C" in capsys.readouterr().out
    for change, status in (
        (["delete", "vehicle=A"], 1),
        (["rename", "vehicle=B", "to=E"], 1),
        (["merge", "vehicle=C", "into=E"], 1),
    ):
        assert gallery_command(*change, *at) == status
        error = capsys.readouterr().err
        assert "files are changed as asked" in error and "`rebuild`" in error and "Traceback" not in error
    assert gallery_command("forget", "before=1990-01-01", *at) == 0
    assert gallery_command("forget", "before=2001-09-09T01:46:43Z", *at) == 1
    assert [one.vehicle for one in gallery.sightings()] == ["D"]
    assert gallery_command("delete", "vehicle=nobody", *at) == 1 and "no vehicle 'nobody'" in capsys.readouterr().err
    assert gallery_command("export", f"file={gallery.root.parent / 'g.zip'}", *at) == 0
    assert gallery_command("rebuild", *at, f"bundle={bundle}") == 0
    assert "2 vectors: 2 embedded" in capsys.readouterr().out
    assert gallery_command("check", *at, f"bundle={bundle}") == 0
    contents = [path.read_bytes() for path in gallery.root.rglob("*") if path.is_file()]
    assert not any(trace in content for trace in traces for content in contents)


def test_a_rebuild_puts_a_folder_in_the_place_of_a_link(gallery: Gallery, bundle: Path, capsys) -> None:
    index, target = gallery.root / ".index", gallery.root.parent / "elsewhere"
    index.rename(target)
    index.symlink_to(target)
    at = [f"gallery={gallery.root}"]
    assert gallery_command("check", *at) == 1 and "is a link" in capsys.readouterr().err
    assert gallery_command("rebuild", *at, f"bundle={bundle}") == 0 and gallery_command("check", *at) == 0
    assert not index.is_symlink() and open_store(target).count() == 8


def test_check_compares_the_index_with_the_disk(gallery: Gallery, bundle: Path, capsys) -> None:
    at = [f"gallery={gallery.root}"]
    store = open_store(gallery.root / ".index")
    assert gallery_command("check", *at, f"bundle={bundle}") == 0
    gallery.rename("A", "Z")
    gallery.delete("B")
    store.delete(["a3-0"])
    capsys.readouterr()
    assert gallery_command("check", *at) == 1
    said = capsys.readouterr().out.replace("\n", " ")
    assert (
        "1 pictures (a3-0) are not in the vectors" in said and "2 pictures (a1-0, a1-1) are in the vectors, but" in said
    )
    assert "2 pictures (a0-0, a0-1) are in the vectors under another vehicle" in said and "3 problems" in said
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0 and gallery_command("check", *at) == 0
    open_store(gallery.root / ".index", fingerprint="other", dim=DIM, any_model=True).replace([])
    assert gallery_command("check", *at, f"bundle={bundle}") == 1 and "model other" in capsys.readouterr().out


def test_sync_mends_an_index_that_was_put_back(gallery: Gallery, bundle: Path, capsys) -> None:
    at, index = [f"gallery={gallery.root}"], gallery.root / ".index"
    shutil.copytree(index, gallery.root.parent / "copy")
    gallery.add(sighting(9, "N"), pictures(9))
    assert gallery_command("sync", *at, f"bundle={bundle}") == 0
    shutil.rmtree(index)
    (gallery.root.parent / "copy").rename(index)
    with pytest.raises(StoreError, match="older than it was"):
        open_store(index).require_complete()
    assert gallery_command("check", *at) == 1 and "older than it was" in capsys.readouterr().out
    for remedy in ("sync", "rebuild"):
        assert gallery_command(remedy, *at, f"bundle={bundle}") == 0
        assert gallery_command("check", *at) == 0
        open_store(index).require_complete()
        index.with_name(".index.vehicles.state").write_bytes(b"no note")
        capsys.readouterr()
        assert gallery_command("check", *at) == 1
        assert "is damaged" in (said := capsys.readouterr().out) and "1 problem" in said
